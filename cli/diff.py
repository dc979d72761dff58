"""`understudy diff`."""

from __future__ import annotations

from collections.abc import Iterator

import click

import understudy
from cli import options
from registry.console import Command
from registry.difference import Difference, change

LINES = 12
"""So many commits, files or packages are listed; --json has them all."""


@click.command(cls=Command, epilog="Example: understudy diff 1 2")
@click.argument("first", type=click.IntRange(min=1))
@click.argument("second", type=click.IntRange(min=1))
@options.model
@options.as_json
def command(first: int, second: int, model: str | None, as_json: bool) -> None:
    """What changed from version FIRST to SECOND: data, params, code, lock, metrics."""
    found = understudy.diff(first, second, model=model)
    if as_json:
        options.show_json(found.as_dict())
        return
    click.echo(f"{found.model}: v{first} -> v{second}\n")
    for title, lines in (
        ("data", _data(found)),
        ("params", _params(found)),
        ("code", _code(found)),
        ("lock", _lock(found)),
        ("metrics", _metrics(found)),
    ):
        for number, line in enumerate(lines):
            click.echo(f"{'' if number else title:<9}{line}")
    options.next_command(f"understudy lineage {second}")


def _data(found: Difference) -> Iterator[str]:
    data = found.data
    one, two = (md5 or "unknown" for md5 in data.md5)
    yield f"the same, {one}" if one == two else f"{one} -> {two}"
    if not data.listed and one != two:
        yield "files and rows were not kept with both runs"
    for sign, names in (("+", data.added), ("-", data.removed), ("~", data.changed)):
        yield from _some([f"{sign} {name}" for name in names])
    for name, (a, b) in data.rows.items():
        yield f"{name} rows {_number(a)} -> {_number(b)}" if a != b else f"{name} rows {_number(a)}"
    if data.span[0] != data.span[1]:
        yield " -> ".join(" to ".join(span) if span else "no span" for span in data.span)
    if data.columns_added:
        yield f"columns added: {', '.join(data.columns_added)}"
    if data.columns_removed:
        yield f"columns removed: {', '.join(data.columns_removed)}"


def _params(found: Difference) -> Iterator[str]:
    if not found.params_kept:
        yield "not kept with both runs"
    elif not found.params:
        yield "the same"
    for name, (a, b) in found.params.items():
        yield f"{name}: {a!r} -> {b!r}"


def _code(found: Difference) -> Iterator[str]:
    one, two = (commit[:12] or "unknown" for commit in found.commits)
    yield f"the same commit, {one}" if one == two else f"{one} -> {two}"
    for version, dirty in zip((found.first, found.second), found.dirty, strict=True):
        if dirty:
            yield f"v{version} with uncommitted changes (`understudy lineage {version}`)"
    if not found.code.known:
        yield "one of the commits is not in this repository; `git fetch` may bring it"
    yield from _some([f"+ {line}" for line in found.code.added])
    yield from _some([f"- {line}" for line in found.code.removed])
    yield from _some([f"  {line}" for line in found.code.files])


def _lock(found: Difference) -> Iterator[str]:
    lock = found.lock
    if lock.same:
        yield "the same" if lock.sha256[0] else "unknown"
        return
    one, two = (sha[:12] or "unknown" for sha in lock.sha256)
    yield f"{one} -> {two}"
    if lock.packages is None:
        yield "the locks were not kept with both runs"
    yield from _some([f"{n}: {a} -> {b}" for n, (a, b) in (lock.packages or {}).items()])


def _metrics(found: Difference) -> Iterator[str]:
    if not found.metrics:
        yield "none were logged on held-out rows"
        return
    rows = []
    for name, (a, b) in found.metrics.items():
        apart = change(a, b)
        rows.append((name, _value(a), _value(b), "" if apart is None else f"{apart:+.4f}"))
    head = ("held out", f"v{found.first}", f"v{found.second}", "difference")
    yield from options.table(head, rows).splitlines()
    if found.data.same_holdout is False:
        yield "each on its own held-out rows, which differ: the difference is not the model's alone"
    elif found.data.same_holdout is None:
        yield "whether both held out the same rows was not kept"


def _some(lines: list[str]) -> Iterator[str]:
    yield from lines[:LINES]
    if len(lines) > LINES:
        yield f"and {len(lines) - LINES} more (--json lists them)"


def _number(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _value(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
