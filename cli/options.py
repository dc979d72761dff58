"""Options that several commands share, and how their results are printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

model = click.option("--model", help="Registered model; default: registry.model of params.yaml.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
_reason = click.option("--reason", default="", help="Why, in a sentence; kept for ever.")
_actor = click.option("--actor", help="Who; default: UNDERSTUDY_ACTOR, else your login name.")
_dry_run = click.option("--dry-run", is_flag=True, help="Show what would happen, change nothing.")


def changing(function: AnyFunction) -> AnyFunction:
    """The options of every command that changes something."""
    for option in (as_json, _dry_run, _actor, _reason, model):
        function = option(function)
    return function


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
