"""Types a table by its contract, and names every way in which it breaks it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from pipelines.errors import ContractBroken
from pipelines.params import ColumnRule, DataParams
from pipelines.schema import Contract, class_names, is_truth

EXAMPLES = 3


def validate(table: pd.DataFrame, contract: Contract, params: DataParams) -> pd.DataFrame:
    """The table's columns with their types: float64, text, datetime64. Missing stays missing.

    Raises ContractBroken naming every violation at once, with counts and examples.
    """
    typed = pd.DataFrame(index=table.index)
    violations = list(_misused_rules(contract, params))
    used = [*contract.features, contract.target, *([contract.time] if contract.time else [])]
    for name in used:
        typed[name] = _typed(table[name], name, contract)
        kind = "a date or time" if name == contract.time else "a number"
        if name in contract.categorical and is_truth(table[name]):
            violations.append(f"column {name} holds truth values; name it in data.numeric instead")
        failed = typed[name].isna() & table[name].notna()
        if failed.any():
            violations.append(_sentence(table[name], failed, f"not {kind}"))
    violations += _broken_rules(table, typed, contract, params)
    if violations:
        raise ContractBroken(violations)
    return typed


def _typed(column: pd.Series[Any], name: str, contract: Contract) -> Any:
    if name == contract.time:
        # Mixed forms are parsed value by value; zones are brought to one, UTC.
        moments = pd.to_datetime(column, format="mixed", errors="coerce", utc=True)
        return moments.dt.tz_localize(None)
    if _is_numeric(name, contract) and is_truth(column):
        return column.map({True: 1.0, False: 0.0}).astype("float64")
    if _is_numeric(name, contract):
        return pd.to_numeric(column, errors="coerce").astype("float64")
    return class_names(column)


def _is_numeric(name: str, contract: Contract) -> bool:
    if name == contract.target:
        return contract.problem == "regression"
    return name in contract.numeric


def _misused_rules(contract: Contract, params: DataParams) -> Iterator[str]:
    known = {*contract.features, contract.target}
    for name, rule in params.contract.items():
        if name not in known:
            yield f"data.contract names column {name}, which the model does not use"
        elif not _is_numeric(name, contract) and (rule.min, rule.max) != (None, None):
            yield f"data.contract bounds column {name}, which holds no numbers"
        elif _is_numeric(name, contract) and _words(rule):
            words = ", ".join(_words(rule))
            yield f"data.contract allows {words} in column {name}, which holds numbers"


def _words(rule: ColumnRule) -> list[str]:
    """The allowed values that are no numbers."""
    return [v for v in rule.allowed or () if pd.isna(pd.to_numeric(v, errors="coerce"))]


def _broken_rules(
    table: pd.DataFrame, typed: pd.DataFrame, contract: Contract, params: DataParams
) -> Iterator[str]:
    """What pandera finds, all at once, as sentences."""
    import pandera.pandas as pa

    columns = {
        name: pa.Column(
            checks=_checks(pa, rule, numeric=_is_numeric(name, contract)), nullable=True
        )
        for name, rule in params.contract.items()
        if name in typed.columns
    }
    if contract.time:
        columns[contract.time] = pa.Column(nullable=False)
    try:
        pa.DataFrameSchema(columns).validate(typed, lazy=True)
    except pa.errors.SchemaErrors as error:
        yield from _sentences(error.failure_cases, table, typed)


def _checks(pa: Any, rule: ColumnRule, *, numeric: bool) -> list[Any]:
    found = []
    if numeric and rule.min is not None:
        found.append(pa.Check.ge(rule.min, error=f"below {rule.min:g}"))
    if numeric and rule.max is not None:
        found.append(pa.Check.le(rule.max, error=f"above {rule.max:g}"))
    if rule.allowed is not None and not (numeric and _words(rule)):
        allowed = [float(v) if numeric else v for v in rule.allowed]
        found.append(pa.Check.isin(allowed, error=f"not one of {', '.join(rule.allowed)}"))
    limit = rule.missing
    if limit < 1:
        found.append(
            pa.Check(
                lambda s: float(s.isna().mean()) <= limit,
                ignore_na=False,
                error=f"missing in more than {limit:.0%} of the rows",
            )
        )
    return found


def _sentences(cases: pd.DataFrame, table: pd.DataFrame, typed: pd.DataFrame) -> Iterable[str]:
    """One sentence for each column and check."""
    for (column, check), group in cases.groupby(["column", "check"], sort=True):
        rows = group["index"].dropna()
        if check == "not_nullable":
            # A value that is no date is reported as such, and is missing only for that reason.
            empty = typed[column].isna() & table[column].isna()
            if empty.any():
                yield _sentence(table[column], empty, "missing, and must not be")
        elif rows.empty:
            yield f"column {column}: {check}"
        else:
            yield _sentence(table[column], table.index.isin(rows), str(check))


def _sentence(column: pd.Series[Any], bad: Any, what: str) -> str:
    """How many values are bad, the first of them, and where."""
    values = column[bad]
    examples = ", ".join(repr(v) for v in values.dropna().unique()[:EXAMPLES].tolist())
    shown = f", such as {examples}" if examples else ""
    first = int(column.index.get_loc(values.index[0])) + 1
    return (
        f"column {column.name}: {len(values)} of {len(column)} values are {what}{shown}, "
        f"first in row {first}"
    )
