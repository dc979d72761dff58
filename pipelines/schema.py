"""The column contract: which columns play which part, and every way in which a table breaks it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.errors import ContractBroken, OneClassOnly
from pipelines.params import DataParams
from registry.problems import Problem

CATEGORIES = 50
"""When columns are inferred, text with more distinct values than this is left out as free text."""
EXAMPLES = 3


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
    if pd.api.types.is_float_dtype(labels) and (labels.dropna() % 1 == 0).all():
        labels = labels.astype("Int64")
    return labels.astype(object).where(labels.notna(), None).map(str, na_action="ignore")


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


def _is_number(column: pd.Series[Any]) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


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


def validate(table: pd.DataFrame, contract: Contract, params: DataParams) -> pd.DataFrame:
    """The table's columns with their types: float64, text, datetime64. Missing stays missing.

    Raises ContractBroken naming every violation at once, with counts and examples.
    """
    import pandera.pandas as pa

    violations = _unknown_rules(contract, params)
    used = [*contract.features, contract.target, *([contract.time] if contract.time else [])]
    schema = pa.DataFrameSchema(
        {name: _column(pa, name, contract, params) for name in used}, coerce=True
    )
    typed = table[used].copy()
    for name in contract.categorical:
        typed[name] = class_names(typed[name])
    if contract.problem != "regression":
        typed[contract.target] = class_names(typed[contract.target])
    try:
        with warnings.catch_warnings():
            # Dates are parsed value by value when their form varies; pandas says so each time.
            warnings.simplefilter("ignore", UserWarning)
            checked: pd.DataFrame = schema.validate(typed, lazy=True)
    except pa.errors.SchemaErrors as error:
        violations += _sentences(error.failure_cases, table)
        raise ContractBroken(violations) from None
    if violations:
        raise ContractBroken(violations)
    return checked


def _unknown_rules(contract: Contract, params: DataParams) -> list[str]:
    known = {*contract.features, contract.target}
    return [
        f"data.contract names column {name}, which the model does not use"
        for name in params.contract
        if name not in known
    ]


def _column(pa: Any, name: str, contract: Contract, params: DataParams) -> Any:
    rule = params.contract.get(name)
    checks = []
    if rule and rule.min is not None:
        checks.append(pa.Check.ge(rule.min, error=f"below {rule.min:g}"))
    if rule and rule.max is not None:
        checks.append(pa.Check.le(rule.max, error=f"above {rule.max:g}"))
    if rule and rule.allowed is not None:
        allowed = ", ".join(rule.allowed)
        checks.append(pa.Check.isin(list(rule.allowed), error=f"not one of {allowed}"))
    if rule and rule.missing < 1:
        limit = rule.missing
        checks.append(
            pa.Check(
                lambda s: float(s.isna().mean()) <= limit,
                ignore_na=False,
                error=f"missing in more than {limit:.0%} of the rows",
            )
        )
    number = name in contract.numeric or (
        name == contract.target and contract.problem == "regression"
    )
    kind: Any = "float64" if number else object
    if name == contract.time:
        kind = "datetime64[ns]"
    return pa.Column(kind, checks=checks, nullable=name != contract.time)


def _sentences(cases: pd.DataFrame, table: pd.DataFrame) -> Iterable[str]:
    """One sentence for each column and check, with the count and the first values."""
    kinds = {"float64": "not a number", "datetime64[ns]": "not a date or time"}
    for (column, check), group in cases.groupby(["column", "check"], sort=True):
        if group["index"].isna().all():
            yield f"column {column}: {check}"
            continue
        what = str(check)
        if what.startswith(("coerce_dtype", "dtype(")):
            what = next((word for kind, word in kinds.items() if kind in what), "of a wrong type")
        elif what == "not_nullable":
            what = "missing, and must not be"
        rows = group["index"].dropna().astype(int)
        examples = ", ".join(repr(v) for v in table[column].loc[rows].dropna().unique()[:EXAMPLES])
        first = f", first in row {rows.min() + 1}"
        shown = f", such as {examples}" if examples else ""
        yield f"column {column}: {len(group)} of {len(table)} values are {what}{shown}{first}"
