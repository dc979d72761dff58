"""A loaded version and its answers as a table; rows on which it fails are found by halving."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from batch.checks import ARROW
from serving.signature import Column

PREDICTION = "prediction"
"""The column of a model that does not name its answer."""
TRIED = 100
"""Rows, spread over a chunk, that are tried before a model that never answered is given up."""


class NoTable(Exception):
    """The answer has no row for each row, or no type; the text says so."""


class AlwaysFails(Exception):
    """No row was ever predicted, and none of those tried."""

    def __init__(self, rows: int, kind: str) -> None:
        super().__init__(rows, kind)
        self.rows, self.kind = rows, kind


def answer_names(outputs: Sequence[Column]) -> list[str]:
    """The names of the answer's columns, as far as a signature tells them."""
    names = [column.name for column in outputs]
    return names if all(names) else [PREDICTION] if len(names) == 1 else []


def load(folder: Path) -> Callable[[pd.DataFrame], Any]:
    """A version's own `predict`. Raises whatever loading a model raises."""
    from registry.store import load

    found: Callable[[pd.DataFrame], Any] = load(folder).predict
    return found


class Model:
    """One version, as long as a process lives."""

    def __init__(self, ask: Callable[[pd.DataFrame], Any], outputs: Sequence[Column]) -> None:
        self._ask, self._outputs = ask, outputs
        self._answered = False

    def predict(self, frame: pd.DataFrame) -> tuple[pa.Table | None, dict[int, str]]:
        """Answers to the rows it can answer, and by position the error's class for the others.

        None where there is no answer at all. Raises NoTable, AlwaysFails.
        """
        failed: dict[int, str] = {}
        parts = self._predict(frame, 0, failed)
        return (pa.concat_tables(parts, promote_options="default") if parts else None), failed

    def _predict(self, frame: pd.DataFrame, start: int, failed: dict[int, str]) -> list[pa.Table]:
        if frame.empty:
            return []
        try:
            answer = self._ask(frame)
        except Exception as error:  # it is somebody else's code
            kind = type(error).__name__
        else:
            self._answered = True
            return [self._table(answer, len(frame))]
        if len(frame) == 1:
            failed[start] = kind
            return []
        if not self._answered and len(frame) >= TRIED:
            self._require_any(frame, kind)
        half = len(frame) // 2
        first = self._predict(frame.iloc[:half], start, failed)
        return [*first, *self._predict(frame.iloc[half:], start + half, failed)]

    def _require_any(self, frame: pd.DataFrame, kind: str) -> None:
        """Raises AlwaysFails. Halving would ask twice for each row of the whole table."""
        places = np.unique(np.linspace(0, len(frame) - 1, TRIED).astype(int))
        for place in places:
            try:
                self._ask(frame.iloc[[place]])
            except Exception as error:  # as above
                kind = type(error).__name__
                continue
            self._answered = True
            return
        raise AlwaysFails(len(places), kind)

    def _table(self, answer: Any, rows: int) -> pa.Table:
        columns = self._columns(answer)
        if any(len(values) != rows for values in columns.values()):
            raise NoTable(f"it has {len(next(iter(columns.values())))} rows for {rows}")
        kinds = {c.name or PREDICTION: ARROW.get(c.type) for c in self._outputs}
        return pa.table({n: _array(n, v, kinds.get(n)) for n, v in columns.items()})

    def _columns(self, answer: Any) -> dict[str, Any]:
        if isinstance(answer, pd.DataFrame):
            return {str(name): answer[name] for name in answer.columns}
        try:
            values = np.asarray(answer)
        except ValueError as error:
            raise NoTable(str(error)) from None
        if values.ndim == 1:
            return {(answer_names(self._outputs) or [PREDICTION])[0]: values}
        if values.ndim != 2:
            raise NoTable(f"it has {values.ndim} dimensions")
        count = values.shape[1]
        names = answer_names(self._outputs)
        if len(names) != count:
            names = [PREDICTION] if count == 1 else [f"{PREDICTION}_{i}" for i in range(count)]
        return {name: values[:, i] for i, name in enumerate(names)}


def _array(name: str, values: Any, kind: pa.DataType | None) -> pa.Array:
    plain = np.asarray(values)
    try:
        return pa.array(plain, kind, from_pandas=plain.dtype == object)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise NoTable(f"column {name}: {str(error).partition(chr(10))[0][:200]}") from None
