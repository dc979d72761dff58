"""The MLproject's main entry point: brings the data where it is missing, then `dvc repro`."""

from __future__ import annotations

import os
import subprocess
import sys

import click

from pipelines import obtain
from pipelines.paths import PARENT_RUN
from registry.console import Command
from registry.settings import find_root, quiet


@click.command(cls=Command)
@click.option("--force", type=bool, default=False, help="Run every stage, changed or not.")
def main(force: bool) -> None:
    """Run the whole pipeline."""
    quiet()
    root = find_root()
    obtain.data(root)
    # `mlflow run` inside a stage names its own experiment, and takes no second one from here.
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
    if parent := os.environ.pop("MLFLOW_RUN_ID", None):
        os.environ[PARENT_RUN] = parent
    command = ["dvc", "repro", *(["--force"] if force else [])]
    sys.exit(1 if subprocess.run(command, cwd=root).returncode else 0)


if __name__ == "__main__":
    main()
