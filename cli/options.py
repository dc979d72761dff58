"""Options that several commands share, and how their results are printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from registry.errors import ApprovalsMissing, GateRefused

if TYPE_CHECKING:
    from understudy import Outcome

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

model = click.option("--model", help="Registered model; default: registry.model of params.yaml.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
reason = click.option("--reason", default="", help="Why, in a sentence; kept for ever.")
actor = click.option("--actor", help="Who; default: UNDERSTUDY_ACTOR, else your login name.")
_dry_run = click.option("--dry-run", is_flag=True, help="Show what would happen, change nothing.")


override = click.option(
    "--override", metavar="GATE", multiple=True, help="Let this gate refuse; needs --reason."
)
report = click.option(
    "--report", metavar="FILE", type=click.Path(dir_okay=False), help="Write the gate report here."
)


def changing(function: AnyFunction) -> AnyFunction:
    """The options of every command that changes something."""
    for option in (as_json, _dry_run, actor, reason, model):
        function = option(function)
    return function


def progress(quiet: bool) -> Callable[[str], None]:
    """Says on stderr what is under way, so that stdout stays what was asked for."""

    def say(sentence: str) -> None:
        if not quiet:
            click.echo(f"... {sentence}", err=True)

    return say


def reported(path: str | None, ask: Callable[[], Outcome]) -> Outcome:
    """Do what goes through the gates; their report is written to `path`, also of a refusal."""
    try:
        done = ask()
    except (GateRefused, ApprovalsMissing) as refused:
        _write(path, refused.page)
        raise
    _write(path, done.page)
    return done


def _write(path: str | None, page: str) -> None:
    if path and page:
        try:
            Path(path).write_text(page)
        except OSError as error:
            raise click.ClickException(f"the report: {path}: {error.strerror}") from None


def show_json(value: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their longest cell."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    )
    return "\n".join(lines)


def next_command(command: str) -> None:
    """Name the next useful command."""
    click.echo(f"next: {command}")
