"""A version for Amazon SageMaker, prepared for and deployed by MLflow's own client.

With serving.deployments and its like, one of the modules that import mlflow.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

from delivery.errors import ExtraMissing, SageMakerRefused
from delivery.making import Making

MODEL, CONFIG = "model", "sagemaker.json"
_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/\S+")
_ECR = re.compile(r"\d{12}\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/\S+")


@dataclass(frozen=True)
class Place:
    """Where and on what a version is to run."""

    endpoint: str
    """Empty: the registered model's name."""
    region: str
    image: str
    """URI of the image in Amazon ECR."""
    role: str
    """ARN of the role that SageMaker takes on to read image and model."""
    bucket: str | None
    """For the model's files; without one, MLflow's usual one is used and made."""
    instance_type: str
    instance_count: int


def require(place: Place, model: str) -> str:
    """What is asked before anything is fetched; the endpoint's name.

    Raises ExtraMissing, SageMakerRefused.
    """
    if importlib.util.find_spec("boto3") is None:
        raise ExtraMissing("boto3", "s3")
    name = place.endpoint or re.sub(r"[^a-zA-Z0-9]+", "-", model).strip("-")
    if not _NAME.fullmatch(name):
        raise SageMakerRefused(
            repr(name), "a name has at most 63 letters, digits and single hyphens; see --endpoint"
        )
    for option, given, pattern, such in (
        ("--role", place.role, _ROLE, "arn:aws:iam::123456789012:role/serving"),
        ("--image", place.image, _ECR, "123456789012.dkr.ecr.eu-west-1.amazonaws.com/m:v1"),
    ):
        if not pattern.fullmatch(given):
            raise SageMakerRefused(repr(name), f"{option} {given!r} is not of the form {such}")
    lies = _ECR.fullmatch(place.image)
    if lies and lies[1] != place.region:
        raise SageMakerRefused(
            repr(name),
            f"--image lies in {lies[1]}, and SageMaker takes images of its own region, here "
            f"{place.region}",
        )
    return name


def prepare(made: Making, place: Place, endpoint: str) -> dict[str, Any]:
    """Write the verified model and the configuration for MLflow's client; that configuration.

    Former models stay with SageMaker (`archive`), so that going back needs no upload there, either.
    """
    shutil.copytree(made.model, made.folder / MODEL)
    facts = made.chosen.facts()
    config: dict[str, Any] = {
        "region_name": place.region,
        "image_url": place.image,
        "execution_role_arn": place.role,
        "bucket": place.bucket,
        "instance_type": place.instance_type,
        "instance_count": place.instance_count,
        "archive": True,
        "variant_name": f"v{made.chosen.version}",
        # Not the stage, which moves on.
        "tags": {f"understudy.{k}": v for k, v in facts.items() if v and k != "stage"},
    }
    said = {"target": _target(place), "endpoint": endpoint, "config": config}
    (made.folder / CONFIG).write_text(json.dumps(said, indent=2) + "\n")
    made.facts |= {"endpoint": endpoint, "region": place.region, "image": place.image}
    return config


def deploy(made: Making, place: Place, endpoint: str, config: dict[str, Any], *, wait: bool) -> str:
    """Make the endpoint, or bring it to this version; `created` or `updated`.

    With `wait`, returns once SageMaker serves it, or raises. Raises SageMakerRefused. Where tags
    could not be written, the fact `untagged` says why.
    """
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError
    from mlflow.deployments import get_deploy_client

    with _refusing(endpoint):
        client = get_deploy_client(_target(place))
        amazon = boto3.client("sagemaker", region_name=place.region)
        # MLflow's list_deployments is the first page of all endpoints, ten by default.
        pages = amazon.get_paginator("list_endpoints").paginate(NameContains=endpoint)
        there = any(e["EndpointName"] == endpoint for page in pages for e in page["Endpoints"])
        act = client.update_deployment if there else client.create_deployment
        # The client writes into the tags that it is given.
        given = {**config, "tags": dict(config["tags"]), "synchronous": wait}
        act(endpoint, str(made.folder / MODEL), flavor="python_function", config=given)
    chosen = made.chosen
    # MLflow's own tag names the folder that it was given, which is gone by now.
    source = {"model_uri": f"models:/{chosen.model}/{chosen.version}"}
    try:
        _tag(amazon, endpoint, {**config["tags"], **source})
    except (BotoCoreError, ClientError) as error:
        made.facts["untagged"] = _short(error)
    done = "updated" if there else "created"
    made.facts["deployed"] = done
    return done


def _tag(amazon: Any, endpoint: str, tags: Mapping[str, str]) -> None:
    """MLflow gives these tags to the model, and to an endpoint only when it makes it."""
    found = amazon.describe_endpoint(EndpointName=endpoint)
    coming = found.get("PendingDeploymentSummary", found)["EndpointConfigName"]
    used = amazon.describe_endpoint_config(EndpointConfigName=coming)
    models = [
        amazon.describe_model(ModelName=variant["ModelName"])["ModelArn"]
        for variant in used["ProductionVariants"]
    ]
    for resource in (found["EndpointArn"], used["EndpointConfigArn"], *models):
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        amazon.add_tags(ResourceArn=resource, Tags=listed)


def _target(place: Place) -> str:
    return f"sagemaker:/{place.region}"


@contextmanager
def _refusing(endpoint: str) -> Iterator[None]:
    """Turns what MLflow and boto3 raise into SageMakerRefused, and keeps their lines back."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
    from mlflow.exceptions import MlflowException

    log = logging.getLogger("mlflow.sagemaker")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    except NoCredentialsError:
        raise SageMakerRefused(
            endpoint,
            "AWS does not know who you are; AWS_PROFILE says it, or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY do",
        ) from None
    except (MlflowException, BotoCoreError, ClientError) as error:
        raise SageMakerRefused(endpoint, _short(error)) from None
    finally:
        log.setLevel(level)


def _short(error: Exception) -> str:
    return shorten(str(error), 300, placeholder=" ...")
