"""`python -m pipelines.ingest`: writes the data's files from their source, byte for byte the same.

A source is a module with `steps()`, the names of its data versions in their order, and for each
step `name(step)` and `text(step)`, the one file that this step adds to those before it.
"""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import Protocol, cast

import click

from pipelines.data import folder_md5
from pipelines.errors import IngestFailed
from pipelines.params import data_params, ingest_params
from registry.console import Command
from registry.lineage import data_md5
from registry.settings import find_root


class Source(Protocol):
    """What a source module offers."""

    def steps(self) -> list[str]:
        """Names of the data versions, the oldest first."""

    def name(self, step: str) -> str:
        """The name of the file that this step adds."""

    def text(self, step: str) -> str:
        """The content of that file."""


def load_source(root: Path) -> Source:
    """The module that params.yaml names. Raises IngestFailed."""
    name = ingest_params(root).source
    if not name:
        raise IngestFailed(
            "params.yaml names no ingest.source; put your files into the data folder yourself"
        )
    try:
        source = importlib.import_module(name)
    except Exception as error:  # another's module may fail in any way
        raise IngestFailed(f"ingest.source {name!r} cannot be imported: {error}") from None
    lacking = [verb for verb in ("steps", "name", "text") if not hasattr(source, verb)]
    if lacking:
        raise IngestFailed(f"ingest.source {name!r} has no {', '.join(lacking)}")
    return cast(Source, source)


def version_md5(files: dict[str, str]) -> str:
    """The md5 that DVC would give a folder of these files (name to content)."""
    return folder_md5(
        (n, hashlib.md5(t.encode(), usedforsecurity=False).hexdigest()) for n, t in files.items()
    )


def collect(source: Source, through: str) -> dict[str, str]:
    """Name to content of every file of one data version. Raises IngestFailed."""
    steps = source.steps()
    if through not in steps:
        raise IngestFailed(f"there is no {through!r}; there is {steps[0]} to {steps[-1]}")
    return {source.name(s): source.text(s) for s in steps[: steps.index(through) + 1]}


def recorded(source: Source, md5: str) -> dict[str, str]:
    """The data version that the .dvc file names. Raises IngestFailed."""
    files: dict[str, str] = {}
    for step in source.steps():
        files[source.name(step)] = source.text(step)
        if version_md5(files) == md5:
            return files
    raise IngestFailed(
        f"no version of the source has the recorded md5 {md5 or '(none)'}; "
        "`dvc pull` may have it, or name a version with --through"
    )


def write(folder: Path, files: dict[str, str], others: set[str]) -> None:
    """Put these files into `folder`, each whole or not at all, and take `others` out of it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path, data = folder / name, text.encode()
        if not (path.exists() and path.read_bytes() == data):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Beside the folder and not in it: what a kill leaves must not become data.
            fresh = folder.with_name(f".{path.name}.part")
            fresh.write_bytes(data)
            fresh.replace(path)
        click.echo(f"  {folder.name}/{name}  {len(data) / 1e6:.1f} MB")
    for name in others - set(files):
        (folder / name).unlink(missing_ok=True)


@click.command(
    cls=Command, epilog="Example: python -m pipelines.ingest --through 2013-07 && dvc add data"
)
@click.option("--through", help="The data version; default: the one that the .dvc file names.")
def main(through: str | None) -> None:
    """Write the data's files; the same version has the same bytes everywhere."""
    root = find_root()
    source, name = load_source(root), data_params(root).path
    wanted = data_md5(root)
    files = collect(source, through) if through else recorded(source, wanted)
    write(root / name, files, {source.name(step) for step in source.steps()})
    if version_md5(files) == wanted:
        click.echo(f"this is the version that {name}.dvc names; next: dvc repro")
    else:
        click.echo(f"{name}.dvc names another version; next: dvc add {name}")


if __name__ == "__main__":
    main()
