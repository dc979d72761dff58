"""`understudy serve`."""

from __future__ import annotations

from pathlib import Path

import click

from cli import options
from registry.console import Command


@click.command(cls=Command, epilog="Example: understudy serve --port 8080")
@click.option(
    "--model", "models", multiple=True, help="Registered model; repeat for several in one gateway."
)
@click.option("--host", help="Address to listen at; default: serve.host of params.yaml.")
@click.option("--port", type=click.IntRange(0, 65535), help="Default: serve.port of params.yaml.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where it keeps what it needs.")
@options.as_json
def command(
    models: tuple[str, ...], host: str | None, port: int | None, folder: Path | None, as_json: bool
) -> None:
    """Serve what is in Production, and follow the ledger.

    MLflow's scoring protocol, before processes of `mlflow models serve`. A promoted version is
    verified, started and tried before it answers; the former one stays up, so that
    `understudy rollback` takes a moment. The page at / shows it.
    """
    from experiments.rule import Rule
    from registry import settings
    from registry.errors import ModelNameRefused, ProjectNotFound
    from registry.sections import GateParams, name_problem
    from serving import run
    from serving.sections import ServeParams

    try:
        root: Path | None = settings.find_root()
    except ProjectNotFound:
        if not models:
            raise
        root = None
    for name in models:
        if problem := name_problem(name):
            raise ModelNameRefused(name, problem)
    params = settings.read_section(root, "serve", ServeParams) if root else ServeParams()
    if root is not None:  # params.yaml means files beside itself
        beside = {"certificate": params.certificate, "key": params.key}
        files = {k: str(root / v) for k, v in beside.items() if v}
        params = params.model_copy(update=files)
    given = {k: v for k, v in (("host", host), ("port", port)) if v is not None}
    run.run(
        run.Setting(
            models or (settings.registry_params(root).model,),
            settings.tracking_uri(root),
            folder or (root or Path.cwd()) / ".understudy",
            params.model_copy(update=given),
            settings.gate_params(root) if root else GateParams(),
            settings.read_section(root, "experiment", Rule) if root else Rule(),
            as_json,
        )
    )
