"""`understudy lineage`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

import understudy
from cli import options
from registry.console import Command
from registry.explain import Decision, Known

FILES = 4
"""So many files of the data are listed by name."""


@click.command(cls=Command, epilog="Example: understudy lineage 2 --json")
@click.argument("version", type=click.IntRange(min=1))
@options.model
@options.as_json
def command(version: int, model: str | None, as_json: bool) -> None:
    """Where VERSION came from, what was decided of it, and every stage it was in."""
    known = understudy.lineage(version, model=model)
    if as_json:
        options.show_json(known.as_dict())
        return
    click.echo(f"{known.model} v{known.version}: {known.stage}\n")
    for title, lines in (
        ("run", _run(known)),
        ("code", _code(known)),
        ("data", _data(known)),
        ("params", _params(known)),
        ("environment", _environment(known)),
        ("decided", _decided(known)),
        ("stages", _stages(known)),
    ):
        for number, line in enumerate(lines):
            click.echo(f"{'' if number else title:<13}{line}")
    options.next_command(f"understudy reproduce {version}")


def _run(known: Known) -> Iterator[str]:
    yield f"{known.run_id or 'unknown'}, trained by {known.trained_by or 'unknown'}"
    parent = f"v{known.parent}" if known.parent else "none"
    yield f"parent: {parent} (in Production when it was registered)"


def _code(known: Known) -> Iterator[str]:
    code = known.code
    if not code.commit:
        yield "commit unknown"
        return
    about = code.subject if code.subject is not None else "(not in this repository)"
    yield f"{code.commit[:12]} {about}"
    if code.dirty:
        yield f"with uncommitted changes, {f'kept as {code.diff}' if code.diff else 'not kept'}"


def _data(known: Known) -> Iterator[str]:
    data = known.data
    yield data.md5 or "unknown"
    if data.span:
        yield f"from {data.span[0]} to {data.span[1]}"
    if data.rows:
        yield ", ".join(f"{name} {rows:,}" for name, rows in data.rows.items()) + " rows"
    for file in data.files[:FILES]:
        yield f"{file.get('path')}  {_size(file.get('size'))}  {file.get('md5')}"
    if len(data.files) > FILES:
        yield f"and {len(data.files) - FILES} more files (--json lists them)"


def _params(known: Known) -> Iterator[str]:
    train: Mapping[str, Any] = known.params.get("train") or {}
    if not train:
        yield "not kept"
        return
    yield str(train.get("estimator"))
    yield f"{_short(train.get('params'))}, seed {train.get('seed')}"


def _environment(known: Known) -> Iterator[str]:
    there = known.environment
    python = f"Python {there.python} on {there.platform}" if there.python else "Python unknown"
    yield f"{python}; lock {known.lock_sha256[:12] or 'unknown'}"
    if there.packages:
        yield ", ".join(f"{name} {version}" for name, version in there.packages.items())


def _decided(known: Known) -> Iterator[str]:
    if known.gate is None:
        yield "no gate was asked for Production or Staging yet"
    else:
        checks = [c for c in known.gate.get("checks", []) if isinstance(c, dict)]
        for word in ("passed", "overridden", "skipped", "refused"):
            if names := [str(c.get("name")) for c in checks if _word(c) == word]:
                yield f"gates {word}: {', '.join(names)}"
    if known.gate_report:
        yield f"gate report: {known.gate_report}"
    for approval in known.approvals:
        yield f"approved by {approval.actor}, {_when(approval.time)}"
    for again in known.reproductions:
        yield f"reproduced {_when(again['time'])}: {again.get('sentence', 'no verdict')}"


def _word(check: Mapping[str, Any]) -> str:
    """What became of a gate."""
    if check.get("skipped"):
        return "skipped"
    if check.get("passed"):
        return "passed"
    return "overridden" if check.get("overridden") else "refused"


def _stages(known: Known) -> Iterator[str]:
    for stay in known.stays:
        until = f"to {_when(stay.end.time)}" if stay.end else "since"
        yield f"{stay.stage:<11}{_when(stay.begin.time)} {until}  {_decision(stay.begin, known)}"


def _decision(decision: Decision, known: Known) -> str:
    other = f" of v{decision.version}" if decision.version != known.version else ""
    reason = f": {_short(decision.reason)}" if decision.reason else ""
    return f"entry {decision.number}, {decision.kind}{other} by {decision.actor}{reason}"


def _size(value: object) -> str:
    return f"{value:,} bytes" if isinstance(value, int) else "size unknown"


def _when(time: str) -> str:
    return time[:19].replace("T", " ")


def _short(value: object, length: int = 60) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 3] + "..."
