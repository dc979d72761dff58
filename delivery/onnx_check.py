"""Whether an ONNX model answers as its scikit-learn Pipeline does, and how much faster.

Asked are the rows that training kept, and rows like them at the edges: missing values, categories
that were never seen, numbers far outside. What scikit-learn refuses to answer is told, and not
compared.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd

from delivery.onnx_model import Input
from registry.answer import PREDICTION, PROBABILITY

EDGE_ROWS = 20
"""Kept rows that each edge is tried with."""
UNSEEN = "never seen before"
TURN, TURNS = 10, 10


@dataclass(frozen=True)
class Checked:
    """What the comparison found."""

    largest: float
    """Largest difference of a probability; of a regression, relative above 1."""
    where: str
    """The rows it was found in, in words."""
    rows: int
    """Kept rows that were compared."""
    edges: int
    """Further rows that were compared."""
    required: tuple[str, ...]
    """Columns that scikit-learn refuses to answer without."""


class Session:
    """An ONNX model on one thread of a processor."""

    def __init__(self, model: bytes, inputs: Sequence[Input]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3  # errors; it warns of what its optimizer leaves out
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        self._inputs = list(zip(inputs, self.names, strict=True))

    @property
    def names(self) -> list[str]:
        """Of the inputs, in the model's order."""
        return [i.name for i in self._session.get_inputs()]

    @property
    def outputs(self) -> dict[str, str]:
        """Of each output its type: `string`, `double` or `int64`."""
        return {o.name: o.type.removeprefix("tensor(")[:-1] for o in self._session.get_outputs()}

    def feeds(self, rows: pd.DataFrame) -> dict[str, Any]:
        """Rows as the model takes them: arrays of shape (rows, 1) by name."""
        return {name: _array(rows[i.name], text=i.text) for i, name in self._inputs}

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """The answers, arrays of shape (rows, 1) by name."""
        names = list(self.outputs)
        return dict(zip(names, self._session.run(names, dict(feeds)), strict=True))


def _array(column: pd.Series, *, text: bool) -> np.ndarray:
    if text:
        return np.array([["" if pd.isna(v) else v] for v in column], dtype=object)
    numbers: np.ndarray = column.to_numpy(dtype=float)
    return numbers.reshape(-1, 1)


def compare(
    pipeline: Any, session: Session, inputs: Sequence[Input], kept: Mapping[str, pd.DataFrame]
) -> Checked:
    """The largest difference over `kept`, tables of rows by what they are, and over their edges."""
    worst, where, edges = 0.0, "all rows", 0
    for name, rows in kept.items():
        found = _difference(_scikit(pipeline, rows), session, rows)
        worst, where = max((worst, where), (found, name))
    required = []
    some = pd.concat([rows.head(EDGE_ROWS) for rows in kept.values()], ignore_index=True)
    for what, column, rows in _edges(some, inputs):
        try:
            answers = _scikit(pipeline, rows)
        except Exception:  # whatever a step raises: it does not answer such rows
            if column:
                required.append(column)
            continue
        found = _difference(answers, session, rows)
        worst, where = max((worst, where), (found, what))
        edges += len(rows)
    return Checked(worst, where, sum(map(len, kept.values())), edges, tuple(required))


def _edges(rows: pd.DataFrame, inputs: Sequence[Input]) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """In words, the column that is missing in it where it is that, and the rows."""
    for column in inputs:
        missing = _filled(rows, column, None if column.text else math.nan)
        yield f"rows without {column.name!r}", column.name, missing
        if column.text:
            yield f"rows with an unseen {column.name!r}", "", _filled(rows, column, UNSEEN)
            continue
        known = rows[column.name]
        span = 10 * (known.max() - known.min()) if known.notna().any() else 1.0
        for far in (known.min() - span, known.max() + span):
            yield f"rows with a far {column.name!r}", "", _filled(rows, column, far)


def _filled(rows: pd.DataFrame, column: Input, value: Any) -> pd.DataFrame:
    kind = object if column.text else float
    return rows.assign(
        **{column.name: pd.Series([value] * len(rows), index=rows.index, dtype=kind)}
    )


def _scikit(pipeline: Any, rows: pd.DataFrame) -> tuple[Any, np.ndarray]:
    """Classes (None of a regression), and values of shape (rows, classes or 1)."""
    if hasattr(pipeline, "predict_proba"):
        return pipeline.classes_, np.asarray(pipeline.predict_proba(rows), dtype=float)
    return None, np.asarray(pipeline.predict(rows), dtype=float).reshape(len(rows), -1)


def _difference(answers: tuple[Any, np.ndarray], session: Session, rows: pd.DataFrame) -> float:
    classes, values = answers
    try:
        found = session.run(session.feeds(rows))
    except Exception:  # every error of the runtime is of a class of its own
        return math.inf
    if classes is None:
        away = np.abs(found[PREDICTION] - values) / np.maximum(1.0, np.abs(values))
        return _largest(away)
    shares = np.hstack([found[f"{PROBABILITY}{c}"] for c in classes])
    labels = np.asarray(found[PREDICTION]).reshape(-1)
    away = np.abs(shares - values)
    # Another class is a difference as large as the lead that it overcame.
    named = {label: n for n, label in enumerate(classes)}
    said = np.array([named[label] for label in labels])
    lead = values.max(axis=1) - values[np.arange(len(values)), said]
    return max(_largest(away), _largest(lead))


def _largest(away: np.ndarray) -> float:
    """NaN is as far away as can be."""
    return float(np.nan_to_num(away, nan=math.inf).max(initial=0.0))


@dataclass(frozen=True)
class Latency:
    """Medians for one row, in milliseconds."""

    onnx: float
    scikit: float

    @property
    def times(self) -> float:
        """How many times faster ONNX is."""
        return self.scikit / self.onnx


def latency(pipeline: Any, session: Session, rows: pd.DataFrame, turns: int = TURNS) -> Latency:
    """One row at a time, TURN rows of one and then of the other.

    scikit-learn is given a table of one row, ONNX arrays of one value.
    """
    onnx: list[float] = []
    scikit: list[float] = []
    for turn in range(turns + 1):
        few = [rows.iloc[[(turn * TURN + n) % len(rows)]] for n in range(TURN)]
        fed = [session.feeds(row) for row in few]
        onnx += [_milliseconds(partial(session.run, feeds)) for feeds in fed]
        scikit += [_milliseconds(partial(_scikit, pipeline, row)) for row in few]
    return Latency(statistics.median(onnx[TURN:]), statistics.median(scikit[TURN:]))


def _milliseconds(act: Callable[[], Any]) -> float:
    start = time.perf_counter()
    act()
    return (time.perf_counter() - start) * 1000
