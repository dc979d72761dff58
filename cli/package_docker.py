"""`understudy package docker`."""

from __future__ import annotations

from pathlib import Path

import click

from cli import delivered, options
from registry.console import Command


@click.command(
    cls=Command,
    epilog="Example: understudy package docker --base docker.io/library/python:3.11-slim@sha256:..."
    " --output build/image",
)
@delivered.version
@delivered.output("build/image")
@click.option(
    "--base",
    metavar="IMAGE@sha256:DIGEST",
    envvar="UNDERSTUDY_BASE",
    show_envvar=True,
    help="Image with Python to build on, such as python:3.11-slim, by its digest.",
)
@options.model
@options.as_json
def command(
    version: int | None, output: Path, base: str | None, model: str | None, as_json: bool
) -> None:
    """Contexts of two images: the model server and the gateway.

    OUTPUT/model holds the verified files of the version and what MLflow's scoring server needs of
    the lock that it was trained with; OUTPUT/gateway holds the project, which follows the registry
    at MLFLOW_TRACKING_URI. Both run as an unprivileged user on a read-only file system.
    """
    from delivery import docker
    from registry import settings

    pinned = docker.require_base(base)
    with delivered.made(model, version, docker.KIND, output) as made:
        docker.write(made, pinned, settings.find_root())
    tag = f"{made.chosen.model.lower()}:v{made.chosen.version}"
    delivered.show(
        made,
        f"contexts of two images in {output}: model (version {made.chosen.version} of "
        f"{made.chosen.model}) and gateway",
        as_json=as_json,
        then=f"docker build --tag {tag} {output / 'model'}",
    )
