"""Images and how they start: `python -m benchmarks.container.run --project DIR`.

image-size     megabytes of the model server's image, unpacked, beside the one that MLflow makes of
               the same files (`mlflow models generate-dockerfile`, of which `build-docker` builds)
image-start    seconds from `podman run` to the first answer on /invocations, of each, in turns
image-gateway  megabytes of the gateway's image, and seconds until it answers with the version in
               Production, of which `mlflow server` tells it

All are built in the same way on the same base, which is put into MLflow's Dockerfile in place of
its own, and ours run read-only and without privileges. DIR is a project with a version in
Production on its own mlflow.db, made with artifacts in its folder; a note of the delivery is left
in its MLflow. Needs what tests/flow/images.py needs. Writes results.json beside this file.
"""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import click

from tests.flow import images
from tests.flow.servers import free_port, mlflow_server

HERE = Path(__file__).parent
PATIENCE = 120.0


def packaged(project: Path, base: str, output: Path) -> None:
    """The contexts of the model server and of the gateway."""
    program = str(Path(sys.executable).with_name("understudy"))
    command = [program, "package", "docker", "--base", base, "--output", str(output)]
    subprocess.run(command, cwd=project, check=True, stdout=subprocess.DEVNULL)


def mlflows(model: Path, base: str, output: Path) -> Path:
    """The context that MLflow makes of the same files, on this base."""
    command = [sys.executable, "-m", "mlflow", "models", "generate-dockerfile"]
    subprocess.run([*command, "-m", str(model), "-d", str(output)], check=True, capture_output=True)
    file = output / "Dockerfile"
    file.write_text(re.sub(r"(?m)^FROM .*$", f"FROM {base}", file.read_text(), count=1))
    return output


def start(image: str, port: int, request: bytes, *options: str, confined: bool) -> float:
    """Seconds until it answers a request."""
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", request, {"Content-Type": "application/json"}
    )
    begin = time.monotonic()
    with images.running(image, *options, confined=confined) as container:
        while True:
            try:
                with urllib.request.urlopen(asked, timeout=60):  # noqa: S310
                    return time.monotonic() - begin
            except OSError as error:
                if time.monotonic() - begin > PATIENCE:
                    logs = images.podman("logs", container)
                    raise click.ClickException(f"{error}\n{logs.stdout}{logs.stderr}") from None
                time.sleep(0.05)


def gateway(context: Path, project: Path, request: bytes, runs: int) -> dict[str, Any]:
    """The gateway's image: its size, and seconds until it answers a request."""
    port = free_port()
    command = ["/opt/venv/bin/understudy", "serve", "--host", "127.0.0.1", "--port", str(port),
               "--folder", "/tmp/understudy"]  # noqa: S108 # fmt: skip
    with tempfile.TemporaryDirectory() as folder, images.built(context) as image:
        backend = f"sqlite:///{project}/mlflow.db"
        with mlflow_server(Path(folder), os.environ, backend) as address:
            options = ("--volume", f"{project}:{project}:ro", "--entrypoint", json.dumps(command),
                       "--env", f"MLFLOW_TRACKING_URI={address}")  # fmt: skip
            taken = [start(image, port, request, *options, confined=True) for _ in range(runs)]
        return {
            "MB": round(images.size(image) / 1e6),
            "median s": round(statistics.median(taken), 2),
            "runs": [round(s, 2) for s in taken],
        }


def machine() -> dict[str, str]:
    """What the figures were taken on."""
    return {"processors": str(os.cpu_count()), "python": platform.python_version()}


@click.command()
@click.option("--project", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--runs", default=5, show_default=True, help="Starts of each.")
def main(project: Path, runs: int) -> None:
    """Build both, start both, write results.json."""
    base = images.base()
    with tempfile.TemporaryDirectory() as folder:
        project = project.resolve()
        packaged(project, base, Path(folder) / "ours")
        ours = Path(folder) / "ours" / "model"
        theirs = mlflows(ours / "model", base, Path(folder) / "theirs")
        request = json.loads((ours / "serving" / "check.json").read_text())["request"].encode()
        with images.built(ours) as image, images.built(theirs, knows_secrets=False) as other:
            sizes = {n: images.size(i) / 1e6 for n, i in (("ours", image), ("mlflow", other))}
            sizes["base"] = images.size(base) / 1e6
            taken: dict[str, list[float]] = {"ours": [], "mlflow": []}
            for _ in range(runs):
                port = free_port()
                options = ("--env", f"PORT={port}")
                taken["ours"].append(start(image, port, request, *options, confined=True))
                # One process of it, too, and without its nginx, which listens at 8080, fails now
                # and then while MLflow links its log away, and takes time of its own.
                options = ("--env", "MLFLOW_MODELS_WORKERS=1", "--env", "DISABLE_NGINX=true")
                taken["mlflow"].append(start(other, 8000, request, *options, confined=False))
        before_it = gateway(ours.with_name("gateway"), project, request, runs)
    result: dict[str, Any] = {
        "machine": machine(),
        "image-size": {
            "MB": {name: round(mb) for name, mb in sizes.items()},
            "ours to mlflow": round(sizes["ours"] / sizes["mlflow"], 3),
            "allowed": 0.6,
        },
        "image-start": {
            "median s": {name: round(statistics.median(s), 2) for name, s in taken.items()},
            "runs": {name: [round(s, 2) for s in found] for name, found in taken.items()},
        },
        "image-gateway": before_it,
    }
    (HERE / "results.json").write_text(json.dumps(result, indent=2) + "\n")
    click.echo(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
