"""`understudy history`."""

from __future__ import annotations

from dataclasses import asdict

import click

import understudy
from cli import options
from registry.console import Command
from registry.ledger import Numbered, describe


@click.command(cls=Command, epilog="Example: understudy history --json")
@options.model
@options.as_json
def command(model: str | None, as_json: bool) -> None:
    """Every decision, with actor, reason and time; the oldest first."""
    found = understudy.history(model)
    if as_json:
        options.show_json(
            [{"number": w.number, "hash": w.entry.hash, **asdict(w.entry)} for w in found]
        )
        return
    rows = [
        (
            str(w.number),
            w.entry.time.replace("+00:00", "Z"),
            w.entry.actor,
            describe(w.entry.kind, w.entry.version, w.entry.target, w.entry.evidence),
            " ".join([*w.entry.reason.split(), *_overrides(w)]),
        )
        for w in found
    ]
    click.echo(options.table(("entry", "time (UTC)", "actor", "what", "reason"), rows))
    options.next_command("understudy status")


def _overrides(numbered: Numbered) -> list[str]:
    """The gates that refused and were overridden, as words after the reason."""
    gate = numbered.entry.evidence.get("gate")
    checks = gate.get("checks", []) if isinstance(gate, dict) else []
    names = [str(c.get("name")) for c in checks if isinstance(c, dict) and c.get("overridden")]
    return [f"(overridden: {', '.join(names)})"] if names else []
