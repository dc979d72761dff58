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


def everywhere(key: str) -> set[str | None]:
    """A tag's values on the endpoint `m`, its configuration and its model."""
    sagemaker = boto3.client("sagemaker")
    endpoint = sagemaker.describe_endpoint(EndpointName="m")
    name = endpoint["EndpointConfigName"]
    config = sagemaker.describe_endpoint_config(EndpointConfigName=name)
    arns = (endpoint["EndpointArn"], config["EndpointConfigArn"], live()[2]["ModelArn"])
    found = [sagemaker.list_tags(ResourceArn=arn)["Tags"] for arn in arns]
    return {{tag["Key"]: tag["Value"] for tag in tags}.get(key) for tags in found}


def test_one_endpoint_among_many_is_updated(
    mixed: Mixed, aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS lists ten at once, and moto does so where it is told to."""
    from moto.sagemaker.models import SageMakerModelBackend

    listed = SageMakerModelBackend.list_endpoints

    def ten(self: Any, *args: Any, **named: Any) -> Any:
        return listed(self, *args, **{**named, "max_results": 10})

    monkeypatch.setattr(SageMakerModelBackend, "list_endpoints", ten)
    options = (*OPTIONS, "--bucket", "models", "--deploy", "--no-wait")
    mixed("sagemaker", *options, "--endpoint", "another", "-o", "another")
    sagemaker = boto3.client("sagemaker")
    config = sagemaker.describe_endpoint(EndpointName="another")["EndpointConfigName"]
    for number in range(15):
        sagemaker.create_endpoint(EndpointName=f"am{number:02d}", EndpointConfigName=config)
    mixed("sagemaker", *options, "-o", "one")
    assert "m" not in {e["EndpointName"] for e in sagemaker.list_endpoints()["Endpoints"]}
    said = mixed("sagemaker", *options, "-o", "two").stdout
    assert said.strip().endswith("endpoint m updated with it, not waited for")


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
    assert everywhere("understudy.version") == {str(versions.REQUIRED)}
    mixed("sagemaker", *options, "--no-wait", "-o", "three")  # what is in Production
    assert live()[0] == "v1"
    assert everywhere("understudy.version") == {"1"}
    assert everywhere("model_uri") == {"models:/m/1"}
    # The former models are kept, so that SageMaker's own way back works, too.
    assert len(sagemaker.list_models()["Models"]) == 3


def test_what_may_deploy_and_not_tag_says_so(
    mixed: Mixed, aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moto.core.exceptions import JsonRESTError
    from moto.sagemaker.models import SageMakerModelBackend

    def refused(*_: Any, **__: Any) -> None:
        raise JsonRESTError("AccessDeniedException", "not authorized to perform sagemaker:AddTags")

    monkeypatch.setattr(SageMakerModelBackend, "add_tags", refused)
    done = mixed("sagemaker", *OPTIONS, "--bucket", "models", "--deploy", "-o", "one")
    assert "endpoint m created with it" in done.stdout
    assert "deployed, and the tags there are not of this version: " in done.stderr
    assert "AccessDenied" in done.stderr
    assert live()[0] == "v1"


def test_what_is_refused(mixed: Mixed, aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    options = (*OPTIONS, "--deploy")
    said = mixed.refused("sagemaker", *options, "--bucket", "nobody-has-it")
    assert said.startswith("the endpoint m was not deployed: ")
    assert "NoSuchBucket" in said
    with monkeypatch.context() as nobody:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            nobody.delenv(name, raising=False)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            nobody.setenv(name, "/dev/null")
        nobody.setenv("AWS_EC2_METADATA_DISABLED", "true")
        said = mixed.refused("sagemaker", *options)
    assert said == (
        "the endpoint m was not deployed: AWS does not know who you are; AWS_PROFILE says it, or "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY do"
    )
    said = mixed.refused("sagemaker", *OPTIONS, "--endpoint", "no_name")
    assert said.startswith("the endpoint 'no_name' was not deployed: a name has at most 63 letters")
    for option in ("--role", "--image"):
        said = mixed.refused("sagemaker", *OPTIONS, option, "nope")
        assert f"{option} 'nope' is not of the form " in said
    assert "version 9" in mixed.refused("sagemaker", *OPTIONS, "--version", "9")
    assert (
        "--image lies in eu-west-1, and SageMaker takes images of its own region, here us-east-1"
        in mixed.refused("sagemaker", *OPTIONS, "--region", "us-east-1")
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert "pip install 'understudy[s3]'" in mixed.refused("sagemaker", *OPTIONS)
