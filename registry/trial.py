"""Loads versions and scores them on the candidate's held-out rows: the numbers the gate judges."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from registry import metrics, record, store
from registry.gate import Trial
from registry.record import Record
from registry.store import Store, Version


def load_problem(model_store: Store, candidate: Version, folder: Path) -> tuple[str | None, Any]:
    """Load the artifact and let it predict its own input example.

    Returns (None, model), or the sentence that says what is wrong and None.
    """
    try:
        files = model_store.download_model(candidate.source, folder)
        model = store.load(files)
    except Exception as error:  # an artifact may fail in any way whatever
        return f"the artifact does not load ({_name(error)})", None
    example = store.input_example(files)
    if example is None:
        return "the artifact carries no input example to try it with", None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = model.predict(example)
    except Exception as error:
        return f"the artifact does not predict its own input example ({_name(error)})", None
    if len(answer) != len(example):
        return f"it gave {len(answer)} answers to the {len(example)} rows of its example", None
    return None, model


def score(
    model_store: Store,
    candidate: tuple[Version, Any],
    champion: Version | None,
    folder: Path,
) -> Trial:
    """Score candidate and champion, both afresh, on the rows the candidate held out."""
    version, model = candidate
    number = champion.number if champion else None
    try:
        kept = model_store.download_run_folder(version.run_id, record.FOLDER, folder)
        about, rows = record.read(kept), record.holdout(kept)
    except Exception as error:
        why = f"its run carries no held-out rows ({_name(error)})"
        metric = metrics.get("accuracy", "multiclass")
        return Trial(metric, None, None, number, {"candidate": why})
    problems: dict[str, str] = {}
    values: dict[str, float | None] = {"candidate": None, "champion": None}
    contenders: list[tuple[str, Any]] = [("candidate", model)]
    if champion is not None:
        problem, champion_model = load_problem(model_store, champion, folder / "champion")
        if problem:
            problems["champion"] = f"Production v{number} cannot be scored: {problem}"
        else:
            contenders.append(("champion", champion_model))
    for who, contender in contenders:
        try:
            values[who] = _value(contender, about, rows)
        except Exception as error:
            problems[who] = f"the {who} cannot be scored on the held-out rows ({_name(error)})"
    metric = metrics.get(about.metric, about.problem)
    return Trial(metric, values["candidate"], values["champion"], number, problems)


def _value(model: Any, about: Record, rows: pd.DataFrame) -> float:
    truth = about.truth(rows)
    answer = model.predict(rows[list(about.features)])
    found = metrics.compute(truth, truth.scores(answer), [about.metric])
    if about.metric not in found:
        raise ValueError(f"{about.metric} is not defined on these rows")
    return found[about.metric]


def _name(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:160]}" if text else type(error).__name__
