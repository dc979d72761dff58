"""`understudy package lambda`."""

from __future__ import annotations

from pathlib import Path

import click

from cli import delivered, options
from cli.package_onnx import tolerance
from registry.console import Command


@click.command(
    cls=Command,
    epilog="Example: understudy package lambda --base public.ecr.aws/lambda/python:3.13@sha256:...",
)
@delivered.version
@options.model
@delivered.output("build/lambda")
@click.option(
    "--base",
    required=True,
    metavar="IMAGE@sha256:...",
    help="Image of AWS Lambda for Python to build on, pinned by its digest.",
)
@tolerance
@options.as_json
def command(
    version: int | None,
    model: str | None,
    output: Path,
    base: str,
    tolerance: float,
    as_json: bool,
) -> None:
    """An image for AWS Lambda that answers with onnxruntime.

    The folder is a build context: the ONNX model, checked as by `understudy package onnx`, and a
    handler that answers MLflow's scoring protocol with numpy and onnxruntime alone. Needs the
    extra onnx.
    """
    from delivery import docker, lambda_image, onnx_export

    docker.require_base(base)
    onnx_export.require(tolerance)
    with delivered.made(model, version, "lambda", output) as found:
        done = onnx_export.export(found, tolerance)
        lambda_image.write(found, done, base)
    tag = f"{found.chosen.model}-lambda:v{found.chosen.version}"
    delivered.show(
        found, done.sentence(found), as_json=as_json, then=f"docker build --tag {tag} {output}"
    )
