"""What the commands below `understudy package` share: their options, and how the end is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli import options

if TYPE_CHECKING:
    from delivery.making import Making

version = click.option(
    "--version", type=click.IntRange(min=1), help="Default: the version in Production."
)


def output(usual: str) -> Callable[[options.AnyFunction], options.AnyFunction]:
    """--output, a folder to be made."""
    return click.option(
        "--output",
        "-o",
        type=click.Path(path_type=Path),
        default=usual,
        show_default=True,
        help="Folder to make; it must not be there yet.",
    )


@contextmanager
def made(model: str | None, version: int | None, kind: str, output: Path) -> Iterator[Making]:
    """`delivery.making` for the project around the current folder. Raises UnderstudyError."""
    from delivery.making import making, require_free
    from registry import settings

    require_free(output.absolute())  # before anything takes seconds
    from registry.store import connect

    name = model or settings.registry_params().model
    with connect() as (store, _), making(store, name, version, kind, output) as found:
        yield found


def show(found: Making, sentence: str, *, as_json: bool, then: str = "") -> None:
    """Tell what was made."""
    if as_json:
        facts = {**found.chosen.facts(), **found.facts, **found.metrics}
        options.show_json({**facts, "output": str(found.output), "run": found.run or None})
    else:
        click.echo(sentence)
    if found.unnoted:
        click.echo(f"not noted in MLflow: {found.unnoted}", err=True)
    if then and not as_json:
        options.next_command(then)
