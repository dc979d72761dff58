"""The column contract: which columns play which part, given or inferred."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.errors import ContractBroken, OneClassOnly
from pipelines.params import DataParams, class_name
from registry.problems import Problem

CATEGORIES = 50
"""When columns are inferred, text with more distinct values than this is left out as free text."""


@dataclass(frozen=True)
class Contract:
    """The part each column plays. `classes` are sorted names; empty for a regression."""

    target: str
    problem: Problem
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    time: str | None = None
    positive: str | None = None
    classes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    inferred: bool = False

    @property
    def features(self) -> tuple[str, ...]:
        """Categorical columns first, the order in which a model takes them."""
        return (*self.categorical, *self.numeric)

    def write(self, path: Path) -> None:
        """Keep it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> Contract:
        """Read back what `write` wrote."""
        raw: dict[str, Any] = json.loads(path.read_text())
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
        return cls(**values)


def class_names(labels: pd.Series[Any]) -> pd.Series[Any]:
    """Labels as text, missing ones kept missing: 1, 1.0 and "1" are the same class."""
    names = {value: class_name(value) for value in labels.dropna().unique()}
    found: pd.Series[Any] = labels.astype(object).map(names)
    return found


def resolve(table: pd.DataFrame, params: DataParams) -> Contract:
    """Give every column its part, inferring those that params.yaml does not name.

    Raises ContractBroken for columns that are not there, OneClassOnly.
    """
    named = {params.target, params.time, *(params.numeric or ()), *(params.categorical or ())}
    missing = sorted(str(c) for c in named - {None} - set(table.columns))
    if missing:
        shown = ", ".join(map(str, table.columns))
        raise ContractBroken([f"column {c} is missing; the table has {shown}" for c in missing])
    spare = [str(c) for c in table.columns if c not in named and c not in params.ignore]
    numeric, categorical = params.numeric, params.categorical
    if numeric is None:
        numeric = tuple(c for c in spare if _is_number(table[c]))
    if categorical is None:
        categorical = tuple(c for c in spare if c not in numeric and _is_category(table[c]))
    classes = _classes(table[params.target], params)
    return Contract(
        target=params.target,
        problem=params.problem,
        numeric=numeric,
        categorical=categorical,
        time=params.time,
        positive=_positive(classes, params),
        classes=classes,
        left_out=tuple(
            str(c)
            for c in table.columns
            if c not in {params.target, params.time, *numeric, *categorical}
        ),
        inferred=params.numeric is None or params.categorical is None,
    )


def is_truth(column: pd.Series[Any]) -> bool:
    """Whether a column holds truth values, with or without gaps.

    They are numbers to a model, 1 and 0: a caller sends them as JSON's true and false, which
    MLflow passes on as numbers, while a category would have to be the text "True".
    """
    values = column.dropna()
    return len(values) > 0 and bool(values.map(lambda v: isinstance(v, bool | np.bool_)).all())


def _is_number(column: pd.Series[Any]) -> bool:
    return pd.api.types.is_numeric_dtype(column) or is_truth(column)


def _is_category(column: pd.Series[Any]) -> bool:
    if _is_number(column) or pd.api.types.is_datetime64_any_dtype(column):
        return False
    return int(column.nunique()) <= CATEGORIES


def _classes(labels: pd.Series[Any], params: DataParams) -> tuple[str, ...]:
    if params.problem == "regression":
        return ()
    names = tuple(sorted(class_names(labels).dropna().unique()))
    if len(names) < 2:
        raise OneClassOnly(params.target, "the data", names)
    if params.problem == "binary" and len(names) > 2:
        shown = ", ".join(names[:6])
        raise ContractBroken(
            [f"column {params.target} has {len(names)} classes ({shown}), a binary problem has two"]
        )
    return names


def _positive(classes: tuple[str, ...], params: DataParams) -> str | None:
    if params.problem != "binary":
        return None
    if params.positive is None:
        return classes[-1]
    if params.positive not in classes:
        raise ContractBroken(
            [
                f"data.positive is {params.positive!r}, "
                f"column {params.target} has {' and '.join(classes)}"
            ]
        )
    return params.positive
