"""What a version is compared with: its reference sample, and how it did on its held-out rows.

Fetched once, verified against the ledger, and kept on disk; the registry may be away afterwards.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from monitoring import drift, habit
from monitoring.errors import ReferenceMissing
from monitoring.profile import Profile, Reference
from monitoring.sections import DriftPolicy
from registry import answer as form
from registry import digest, metrics, record, trial
from registry.ledger import Replay
from registry.record import Record
from registry.store import Store, Version

FORMAT = 2
ANSWER = "answer"
"""Column of a profile that holds the model's answer, as one number or category."""
MOST = 20_000
"""Held-out rows that are kept for the calibration of estimates."""


@dataclass(frozen=True)
class Baseline:
    """Of one version."""

    version: int
    record: Record
    reference: Reference
    columns: tuple[str, ...]
    """The features that the reference has."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """On the held-out rows."""
    answers: tuple[Any, ...] = ()
    """To held-out rows, in the form in which the gateway gives them."""
    labels: tuple[Any, ...] = ()
    """Of the same rows."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Of each outcome in the held-out rows; of a regression `mean` and `sd`."""
    jumps: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    """By the size of blocks of held-out rows: the largest jumps between them (monitoring.habit)."""
    data_md5: str = ""
    span: tuple[str, str] | None = None
    """First and last moment of the data that it was trained on."""
    rows: int = 0
    """Of that data."""


def fetch(
    store: Store,
    found: Replay,
    version: Version,
    folder: Path,
    cache: Path,
    policy: DriftPolicy,
    ignore: Sequence[str],
) -> Baseline:
    """The baseline of a version, from `cache` or made anew with downloads into `folder`.

    Raises ReferenceMissing, RegistryUnreachable.
    """
    entered = found.about(version.number, "register")
    evidence = entered.entry.evidence if entered else {}
    key = str(evidence.get("digest") or "")[:16] or "unentered"
    path = cache / f"v{version.number}-{key}.json"
    if (known := _cached(path)) is not None:
        return known
    made = _made(store, evidence, version, folder, policy, ignore)
    cache.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(_as_dict(made)))
    part.replace(path)
    return made


def cached(cache: Path, version: int) -> Baseline | None:
    """What was fetched before, for when the registry is away."""
    for path in sorted(cache.glob(f"v{version}-*.json"), key=lambda p: -p.stat().st_mtime):
        if (known := _cached(path)) is not None:
            return known
    return None


def answer_column(about: Record, answers: Sequence[Any]) -> list[Any]:
    """Each answer as one value: the probability of the positive class, else the prediction."""
    if about.problem == "binary":
        name = form.PROBABILITY + str(about.positive)
        return [a.get(name) if isinstance(a, dict) else None for a in answers]
    return [a.get(form.PREDICTION) if isinstance(a, dict) else a for a in answers]


def _made(
    store: Store,
    evidence: Mapping[str, Any],
    version: Version,
    folder: Path,
    policy: DriftPolicy,
    ignore: Sequence[str],
) -> Baseline:
    number = version.number
    kept = trial.fetch_kept(store, version, folder / f"kept-{number}")
    if isinstance(kept, str):
        raise ReferenceMissing(number, kept)
    if evidence.get("kept") and digest.of_folder(kept) != evidence["kept"]:
        raise ReferenceMissing(number, "what its run keeps is not what was registered")
    try:
        about = record.read(kept)
        sample, answers = record.reference(kept)
    except ValueError as error:
        raise ReferenceMissing(number, str(error)) from None
    columns = tuple(c for c in about.features if c in sample.columns and c not in ignore)
    numeric = [c for c in columns if pd.api.types.is_numeric_dtype(sample[c])]
    table = sample[list(columns)].copy()
    said = answers.to_dict("records")
    table[ANSWER] = answer_column(about, said)
    is_number = about.problem != "multiclass"
    reference = Reference.of(
        table,
        [*numeric, *([ANSWER] if is_number else [])],
        [*(c for c in columns if c not in numeric), *([] if is_number else [ANSWER])],
    )
    origin = record.read_origin(kept).data
    known = Baseline(
        number,
        about,
        reference,
        columns,
        data_md5=origin.md5,
        span=origin.span,
        rows=sum(origin.rows.values()),
    )
    return _with_holdout(store, evidence, version, folder, kept, known, policy)


def _with_holdout(
    store: Store,
    evidence: Mapping[str, Any],
    version: Version,
    folder: Path,
    kept: Path,
    known: Baseline,
    policy: DriftPolicy,
) -> Baseline:
    """With what the held-out rows tell; no answers where the artifact is not the registered one."""
    held = trial.held_out(kept)
    if isinstance(held, str):
        return known
    known = replace(known, jumps=_jumps(held, known, policy))
    contender = trial.fetch(store, version, folder / f"model-{version.number}", "local")
    if contender.files is None or digest.of_folder(contender.files) != evidence.get("digest"):
        return known  # somebody else's code is not run
    rows = trial.Rows(held.record, held.rows.tail(MOST))
    tried = trial.in_process(contender, rows)
    truth = rows.record.truth(rows.rows)
    try:
        found = metrics.compute(truth, truth.scores(tried.answer))
    except ValueError:  # no answer, or one of another form: the gates would have refused it
        return known
    answers = tried.answer
    listed = (
        answers.to_dict("records")
        if isinstance(answers, pd.DataFrame)
        else [float(v) for v in np.asarray(answers).reshape(-1)]
    )
    labels = tuple(v.item() if hasattr(v, "item") else v for v in truth.labels)
    return replace(
        known,
        metrics=found,
        answers=tuple(listed),
        labels=labels,
        shares=_shares(known.record, labels),
    )


def _jumps(held: trial.Rows, known: Baseline, policy: DriftPolicy) -> dict[int, dict[str, float]]:
    """How far blocks of the held-out rows lie from the one before, in the order of the rows."""
    found: dict[int, dict[str, float]] = {}
    about = known.record
    for size in habit.sizes(len(held.rows)):
        before: Profile | None = None
        shares: Mapping[str, float] = {}
        for start in range(0, len(held.rows) - size + 1, size):
            block = held.rows.iloc[start : start + size]
            profile = Profile(known.reference)
            profile.add(block[list(known.columns)])
            now = _shares(about, block[about.target].tolist())
            jumps = habit.largest(drift.compare(known.reference, profile, before, policy))
            if shares and about.problem != "regression":
                jumps["labels"] = sum(abs(now[c] - shares[c]) for c in now) / 2
            kept = found.setdefault(size, {})
            found[size] = {n: max(kept.get(n, 0.0), jumps.get(n, 0.0)) for n in {*kept, *jumps}}
            before, shares = profile, now
    return found


def _shares(about: Record, labels: Sequence[Any]) -> dict[str, float]:
    if about.problem == "regression":
        values = np.asarray(labels, dtype=float)
        return {"mean": float(values.mean()), "sd": float(values.std())}
    return {c: float(np.mean([label == c for label in labels])) for c in about.classes}


def _as_dict(known: Baseline) -> dict[str, Any]:
    plain = {n: getattr(known, n) for n in known.__dataclass_fields__}
    return {
        **plain,
        "format": FORMAT,
        "record": asdict(known.record),
        "reference": known.reference.as_dict(),
    }


def _cached(path: Path) -> Baseline | None:
    try:
        raw = json.loads(path.read_text())
        if raw.pop("format") != FORMAT:
            return None
        about = raw["record"]
        lists = {key: tuple(about[key]) for key in ("features", "classes")}
        return Baseline(
            **{
                **raw,
                "record": Record(**{**about, **lists}),
                "reference": Reference.from_dict(raw["reference"]),
                "columns": tuple(raw["columns"]),
                "answers": tuple(raw["answers"]),
                "labels": tuple(raw["labels"]),
                "span": tuple(raw["span"]) if raw["span"] else None,
                "jumps": {int(size): jumps for size, jumps in raw["jumps"].items()},
            }
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
