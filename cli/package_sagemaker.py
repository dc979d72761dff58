"""`understudy package sagemaker`."""

from __future__ import annotations

from pathlib import Path

import click

from cli import delivered, options
from registry.console import Command


@click.command(
    cls=Command,
    epilog="Example: understudy package sagemaker --image URI --role ARN --region eu-west-1",
)
@delivered.version
@options.model
@delivered.output("build/sagemaker")
@click.option("--image", required=True, metavar="URI", help="Image in Amazon ECR; docs/cloud.md.")
@click.option("--role", required=True, metavar="ARN", help="Role that SageMaker takes on.")
@click.option("--region", required=True, help="AWS region, such as eu-west-1.")
@click.option("--bucket", help="S3 bucket for the model; default: the one that MLflow makes.")
@click.option("--endpoint", default="", help="Default: the model's name.")
@click.option("--instance-type", default="ml.m5.large", show_default=True, help="Of the endpoint.")
@click.option(
    "--instance-count",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Instances of the endpoint.",
)
@click.option("--deploy", is_flag=True, help="Make the endpoint, or bring it to this version.")
@click.option("--wait/--no-wait", default=True, help="Until SageMaker serves it; with --deploy.")
@options.as_json
def command(
    version: int | None,
    model: str | None,
    output: Path,
    image: str,
    role: str,
    region: str,
    bucket: str | None,
    endpoint: str,
    instance_type: str,
    instance_count: int,
    deploy: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """A model for Amazon SageMaker, by MLflow's own client.

    Without --deploy only the verified model and the client's configuration are written. Going back
    is the same command after `understudy rollback`. Needs the extra s3.
    """
    from delivery import sagemaker
    from registry import settings

    place = sagemaker.Place(endpoint, region, image, role, bucket, instance_type, instance_count)
    name = model or settings.registry_params().model
    endpoint = sagemaker.require(place, name)
    with delivered.made(name, version, "sagemaker", output) as found:
        config = sagemaker.prepare(found, place, endpoint)
        done = sagemaker.deploy(found, place, endpoint, config, wait=wait) if deploy else ""
    what = f"{found.chosen.model} v{found.chosen.version}"
    state = f"{done} with it{'' if wait else ', not waited for'}" if done else "not touched"
    then = "" if done else "the same command with --deploy and another --output"
    sentence = f"{what} for SageMaker in {found.output}; endpoint {endpoint} {state}"
    if why := found.facts.get("untagged"):
        click.echo(f"deployed, and the tags there are not of this version: {why}", err=True)
    delivered.show(found, sentence, as_json=as_json, then=then)
