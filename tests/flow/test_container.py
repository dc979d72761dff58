"""The image of a model server, built and run for real: it answers, unprivileged, read-only."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from registry import artifact, register
from registry.artifact import Chosen
from registry.promote import Wish
from registry.store import Store
from tests.flow import images
from tests.flow.servers import NotThere, free_port

# The first time, debootstrap takes minutes; the base is kept below ~/.cache/understudy.
pytestmark = [pytest.mark.flow, pytest.mark.slow, pytest.mark.timeout(1200)]


@dataclass(frozen=True)
class Image:
    """An image of version 1 of `m`, and the context it was built of."""

    name: str
    context: Path
    chosen: Chosen


@pytest.fixture(scope="module")
def image(
    tiny_template: tuple[Path, dict[str, str]],
    environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Image]:
    """Packaged by the command, built by buildah without a Docker engine."""
    try:
        base = images.base()
    except NotThere as error:
        pytest.skip(str(error))
    root = tmp_path_factory.mktemp("container")
    shutil.copy2(tiny_template[0], root / "mlflow.db")
    shutil.copy2(tiny_template[0].parent / "requirements.lock", root)
    (root / "params.yaml").write_text("registry: {model: m}\n")
    (root / "files").mkdir()
    store = Store(f"sqlite:///{root}/mlflow.db")
    run = tiny_template[1]["better"]
    register.register_run(store, "m", run, wish=Wish("ana"), folder=root / "files")
    command = ["understudy", "package", "docker", "--version", "1", "--base", base]
    subprocess.run(
        [*command, "--output", "image"], cwd=root, env=environment, check=True, capture_output=True
    )
    context = root / "image" / "model"
    with images.built(context) as name:
        yield Image(name, context, artifact.choose(store, "m", 1))


def answer(port: int, path: str, body: bytes | None = None) -> bytes:
    """What a server answers with 200; asked again while it does not listen yet."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", body, {"Content-Type": "application/json"}
    )
    end = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
                return bytes(response.read())
        except urllib.error.HTTPError:
            raise
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def test_it_answers_as_the_model_does_and_holds_nothing_else(image: Image) -> None:
    example = json.loads((image.context / "serving" / "check.json").read_text())
    port = free_port()
    with images.running(image.name, "--env", f"PORT={port}") as container:
        given = json.loads(answer(port, "/invocations", example["request"].encode()))
        assert answer(port, "/ping").strip() == b""

        # Its own health check, as Docker would run it.
        healthy = images.podman("healthcheck", "run", container)
        assert healthy.returncode == 0, healthy.stderr

        # Who it is, and what it may.
        assert images.inside(container, "id", "-u").stdout.strip() == "10001"
        for place in ("/opt/model/MLmodel", "/opt/venv/x", "/x", "/var/x"):
            assert images.inside(container, "sh", "-c", f"echo x >> {place}").returncode != 0
        assert images.inside(container, "sh", "-c", "echo x > /tmp/x").returncode == 0

        # What was needed to build it is gone.
        for program in ("gcc", "cc", "make", "ld"):
            assert images.inside(container, "sh", "-c", f"command -v {program}").returncode != 0
        left = "ls -d /build /opt/tools /opt/venv/bin/pip* /*/.cache /tmp/pip* /var/cache/apt/*.bin"
        assert images.inside(container, "sh", "-c", left).stdout == ""
        held = images.inside(container, "ls", "/opt", "/opt/serving").stdout.split()
        assert set(held) == {
            "/opt:", "model", "serving", "venv",
            "/opt/serving:", "check.json", "healthy.py", "serve.sh",
        }  # fmt: skip
        check = ["/opt/venv/bin/python", "-c", "import pyarrow"]
        assert "No module named 'pyarrow'" in images.inside(container, *check).stderr

        # It ends when it is told to.
        start = time.monotonic()
        assert images.podman("stop", "--time", "30", container).returncode == 0
        assert time.monotonic() - start < 20
        state = images.podman("inspect", "--format", "{{.State.ExitCode}}", container)
        assert state.stdout.strip() == "0"
    rows = json.loads(example["request"])["dataframe_split"]
    loaded = mlflow.pyfunc.load_model(str(image.context / "model"))
    meant = loaded.predict(pd.DataFrame(rows["data"], columns=rows["columns"]))
    assert given["predictions"] == meant.to_dict(orient="records")


def test_its_labels_say_which_version_it_is(image: Image) -> None:
    said = images.podman("image", "inspect", image.name)
    config = json.loads(said.stdout)[0]
    labels = config["Labels"]
    for key in ("model", "version", "digest", "ledger_head", "git_commit", "data_md5"):
        assert labels[f"understudy.{key}"] == image.chosen.facts()[key]
    assert labels["org.opencontainers.image.revision"] == image.chosen.facts()["git_commit"]
    assert config["User"] == "10001:10001"
    # Nothing of how this machine reaches its packages is in the image's history.
    ours = [v for k, v in os.environ.items() if k.startswith("PIP_") and len(v) > 3]
    assert not [value for value in ours if value in said.stdout]


@pytest.mark.parametrize("by", ["the ledger's digest", "the files"])
def test_another_version_than_the_ledger_knows_is_not_served(
    image: Image, by: str, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    if by == "the files":
        text = (image.context / "model" / "requirements.txt").read_text()
        (tmp_path / "altered").write_text(text + "\n")
        options = ["--volume", f"{tmp_path}/altered:/opt/model/requirements.txt:ro"]
    else:
        options = ["--env", f"UNDERSTUDY_DIGEST={'0' * 64}"]
    with images.running(image.name, *options) as container:
        assert images.podman("wait", container).stdout.strip() == "1"
        assert "not started: the model's files have the digest" in (
            images.podman("logs", container).stderr
        )


def test_one_that_does_not_answer_is_not_healthy(image: Image) -> None:
    stopped = ("--entrypoint", '["sleep", "60"]', "--env", f"PORT={free_port()}")
    with images.running(image.name, *stopped) as container:
        done = images.podman("healthcheck", "run", container)
        assert done.returncode == 1
