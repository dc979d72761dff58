"""Stage register: the run's model becomes a version in the registry and in the ledger."""

from __future__ import annotations

import click

import understudy
from pipelines import paths
from registry.console import Command
from registry.settings import find_root


@click.command(cls=Command)
@click.option("--run-id", default="", help="The run; default: the pipeline's last.")
@click.option("--output", default="", help="Folder for version.json; empty writes none.")
@click.option(
    "--reason", default="dvc repro", envvar="UNDERSTUDY_REASON", help="Kept in the ledger."
)
def main(run_id: str, output: str, reason: str) -> None:
    """Register a run's model, once however often it is asked."""
    root = find_root()
    run = run_id or paths.read_json(paths.need(root, paths.RUN, "train"))["run_id"]
    found = understudy.register(run, reason=reason)
    click.echo(f"version {found.version} " + ("registered" if found.new else "was there"))
    if output:
        paths.write_json(root / output / "version.json", {"run_id": run, "version": found.version})


if __name__ == "__main__":
    main()
