"""SageMaker by MLflow's client, against moto's S3, SageMaker, IAM and STS."""

from __future__ import annotations

import importlib.util
import io
import json
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest

from registry import digest
from tests.delivery import mixed as versions
from tests.delivery.mixed import Mixed

boto3 = pytest.importorskip("boto3", reason="the extra s3 is not installed")
moto = pytest.importorskip("moto", reason="moto is not installed")

REGION = "eu-west-1"
IMAGE = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/m:v1"
ROLE = "arn:aws:iam::123456789012:role/serving"
OPTIONS = ("--image", IMAGE, "--role", ROLE, "--region", REGION)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """moto, and the one call that it lacks: UpdateEndpoint."""
    from moto.core.responses import EmptyResult
    from moto.sagemaker.responses import SageMakerResponse

    def update(self: Any) -> Any:
        backend = self.sagemaker_backend
        endpoint = backend.endpoints[self._get_param("EndpointName")]
        endpoint.endpoint_config_name = self._get_param("EndpointConfigName")
        return EmptyResult()

    monkeypatch.setattr(SageMakerResponse, "update_endpoint", update, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with moto.mock_aws():
        boto3.client("s3").create_bucket(
            Bucket="models", CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        yield


def live() -> tuple[str, Any, Any]:
    """Of the endpoint `m`: its variant's name, the model behind it, and what files that has."""
    sagemaker = boto3.client("sagemaker")
    config = sagemaker.describe_endpoint(EndpointName="m")["EndpointConfigName"]
    variants = sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]
    (variant,) = variants
    model = sagemaker.describe_model(ModelName=variant["ModelName"])
    return variant["VariantName"], variant, model


def test_what_is_prepared_is_the_verified_model(mixed: Mixed) -> None:
    done = json.loads(mixed("sagemaker", *OPTIONS, "--output", "out", "--json").stdout)
    folder = mixed.root / "out"
    assert digest.of_folder(folder / "model") == done["digest"]
    said = json.loads((folder / "sagemaker.json").read_text())
    assert (said["target"], said["endpoint"]) == (f"sagemaker:/{REGION}", "m")
    assert said["config"]["image_url"] == IMAGE
    assert said["config"]["tags"]["understudy.digest"] == done["digest"]
    assert "deployed" not in done


def test_made_updated_and_rolled_back(mixed: Mixed, aws: None) -> None:
    options = (*OPTIONS, "--bucket", "models", "--deploy")
    first = json.loads(mixed("sagemaker", *options, "-o", "one", "--json").stdout)
    assert first["deployed"] == "created"
    name, variant, model = live()
    assert (name, variant["InstanceType"]) == ("v1", "ml.m5.large")
    assert model["PrimaryContainer"]["Image"] == IMAGE
    assert model["ExecutionRoleArn"] == ROLE
    key = model["PrimaryContainer"]["ModelDataUrl"].removeprefix("s3://models/")
    sent = boto3.client("s3").get_object(Bucket="models", Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(sent)) as archive:
        assert "./MLmodel" in archive.getnames() or "MLmodel" in archive.getnames()
    sagemaker = boto3.client("sagemaker")
    tags = sagemaker.list_tags(ResourceArn=model["ModelArn"])["Tags"]
    assert {"Key": "understudy.version", "Value": "1"} in tags

    other = ("--version", str(versions.REQUIRED), "--no-wait")
    said = mixed("sagemaker", *options, *other, "-o", "two").stdout
    assert said.startswith(f"m v{versions.REQUIRED} for SageMaker in ")
    assert said.strip().endswith("endpoint m updated with it, not waited for")
    assert live()[0] == f"v{versions.REQUIRED}"
    mixed("sagemaker", *options, "--no-wait", "-o", "three")  # what is in Production
    assert live()[0] == "v1"
    # The former models are kept, so that SageMaker's own way back works, too.
    assert len(sagemaker.list_models()["Models"]) == 3


def test_what_is_refused(mixed: Mixed, aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    options = (*OPTIONS, "--deploy")
    said = mixed.refused("sagemaker", *options, "--bucket", "nobody-has-it")
    assert said.startswith("the endpoint m was not deployed: ")
    assert "NoSuchBucket" in said
    said = mixed.refused("sagemaker", *OPTIONS, "--endpoint", "no_name")
    assert said.startswith("the endpoint 'no_name' was not deployed: a name has at most 63 letters")
    for option in ("--role", "--image"):
        said = mixed.refused("sagemaker", *OPTIONS, option, "nope")
        assert f"{option} 'nope' is not of the form " in said
    assert "version 9" in mixed.refused("sagemaker", *OPTIONS, "--version", "9")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert "pip install 'understudy[s3]'" in mixed.refused("sagemaker", *OPTIONS)
