"""Stage check: the data is there, and is the version that its .dvc file names.

Runs on every `dvc repro`. DVC alone would take changed data for the next version and write its
md5 into data.dvc by itself (docs/decisions/0002-data-check.md).
"""

from __future__ import annotations

from dataclasses import asdict

import click

from pipelines import data, paths
from pipelines.errors import NoGitRepository
from pipelines.params import data_params, ingest_params
from registry import lineage
from registry.console import Command
from registry.settings import find_root


@click.command(cls=Command)
def main() -> None:
    """Compare the data with its .dvc file."""
    root = find_root()
    name = data_params(root).path
    if not lineage.collect(root).git_commit:
        raise NoGitRepository
    ingest = "`python -m pipelines.ingest`" if ingest_params(root).source else None
    md5, files = data.check(root, name, ingest)
    paths.write_json(
        root / paths.DATA, {"path": name, "md5": md5, "files": [asdict(f) for f in files]}
    )


if __name__ == "__main__":
    main()
