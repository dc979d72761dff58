"""`understudy explain`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from cli import options
from registry.console import Command

if TYPE_CHECKING:
    from serving.explain import Explained

LONGEST = 100
"""Letters of one value on a terminal; --json shows all."""


@click.command(cls=Command, epilog="Example: understudy explain 9f86d081884c0000002a --json")
@click.argument("prediction_id")
@click.option("--log", "url", help="URL of the prediction log; default: serve.records.")
@options.as_json
def command(prediction_id: str, url: str | None, as_json: bool) -> None:
    """Where an answer came from, down to data and code.

    PREDICTION_ID is in the answer's header X-Understudy-Prediction-Id.
    """
    from registry import settings
    from registry.errors import ProjectNotFound
    from serving.errors import LogOff
    from serving.recorder import url_of
    from serving.records import Log
    from serving.sections import ServeParams

    try:
        root = settings.find_root()
    except ProjectNotFound:
        if url is None:
            raise
        root = None
    if url is None and root is not None:
        serve = settings.read_section(root, "serve", ServeParams)
        url = url_of(serve.records, root / ".understudy")
    if not url:
        raise LogOff
    log = Log(url)
    log.one(prediction_id)  # who mistyped it need not wait for mlflow, whose import takes seconds
    from serving.explain import explain

    found = explain(log, settings.tracking_uri(root), prediction_id, root)
    if as_json:
        options.show_json(found.as_dict())
        return
    for title, lines in (
        ("prediction", _prediction(found)),
        ("inputs", _inputs(found)),
        ("answer", [_short(found.prediction.answer)]),
        ("label", _labels(found)),
        ("decided", _decided(found)),
        ("origin", _origin(found)),
    ):
        for number, line in enumerate(lines):
            click.echo(f"{'' if number else title:<13}{line}")
    options.next_command(f"understudy lineage {found.prediction.version}")


def _prediction(found: Explained) -> Iterator[str]:
    known = found.prediction
    arm = f", arm {known.arm}" if known.arm else ""
    yield f"{known.id} by {known.model} v{known.version}{arm}"
    key = f", key {known.key}" if known.key else ""
    yield f"{found.time}, status {known.status} in {known.milliseconds:.1f} ms{key}"


def _inputs(found: Explained) -> Iterator[str]:
    features = found.prediction.features
    if features is None:
        yield "not kept"
        return
    for name, value in features.items():
        yield f"{name} = {_short(value)}"


def _labels(found: Explained) -> Iterator[str]:
    if not found.labels:
        yield "none yet"
    for known in found.labels:
        marks = [m for m, so in (("late", known.late), ("replaced", not known.counts)) if so]
        yield _short(known.label) + (f" ({', '.join(marks)})" if marks else "")


def _decided(found: Explained) -> Iterator[str]:
    origin = found.origin
    if origin is None:
        yield found.problem
        return
    decision = origin.decision
    if decision is None:
        yield "no entry put it into Production before it answered"
        return
    reason = f": {_short(decision.reason)}" if decision.reason else ""
    yield f"entry {decision.number}, {decision.kind} by {decision.actor}, {decision.time}{reason}"
    if origin.gate is None:
        yield "no gate was asked"
        return
    checks = [c for c in origin.gate.get("checks", []) if isinstance(c, dict)]
    names = ", ".join(f"{c.get('name')}{'' if c.get('passed') else ' (!)'}" for c in checks)
    yield f"gates {'passed' if origin.gate.get('passed') else 'refused'}: {names}"


def _origin(found: Explained) -> Iterator[str]:
    origin = found.origin
    if origin is None:
        return
    dirty = " with uncommitted changes" if origin.git_dirty else ""
    yield f"commit {origin.git_commit[:12] or 'unknown'}{dirty}"
    yield f"data {origin.data_md5 or 'unknown'}"
    yield f"run {origin.run_id or 'unknown'}, trained by {origin.trained_by or 'unknown'}"
    yield f"now {origin.stage}"


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."
