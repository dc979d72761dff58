"""Reads the sections `ingest`, `data`, `train` and `evaluate` of params.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from registry.problems import METRICS, Problem
from registry.sections import Section
from registry.settings import check_section, read_params, read_section


def class_name(value: Any) -> str:
    """A class may be a word, a number or a truth value; it has one name all the same."""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value)


ClassName = Annotated[str, BeforeValidator(class_name)]


class IngestParams(Section):
    """`ingest:` where the data comes from when no DVC remote has it."""

    source: str | None = None
    """Import path of a module with `steps` and `tables` (see pipelines/ingest.py)."""


class ColumnRule(Section):
    """What one column may hold, beyond its type."""

    min: float | None = None
    max: float | None = None
    allowed: tuple[ClassName, ...] | None = None
    missing: float = Field(default=1.0, ge=0, le=1)
    """Largest share of missing values, 0 to 1."""

    @model_validator(mode="after")
    def _is_not_empty(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        return self


class DataParams(Section):
    """`data:` what the table is and what is to be learnt from it."""

    path: str = "data"
    target: str
    problem: Problem
    positive: ClassName | None = None
    time: str | None = None
    numeric: tuple[str, ...] | None = None
    categorical: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    contract: dict[str, ColumnRule] = Field(default_factory=dict)
    valid: float = Field(default=0.1, gt=0, lt=0.5)
    """Share of the rows for validation, 0 to 0.5."""
    holdout: float = Field(default=0.2, gt=0, lt=0.5)
    """Share of the rows that no fit ever sees, 0 to 0.5."""

    @model_validator(mode="after")
    def _roles_are_disjoint(self) -> Self:
        given = [
            ("target", (self.target,)),
            ("time", (self.time,) if self.time else ()),
            ("numeric", self.numeric or ()),
            ("categorical", self.categorical or ()),
            ("ignore", self.ignore),
        ]
        roles: dict[str, str] = {}
        for role, columns in given:
            for column in columns:
                if column in roles:
                    raise ValueError(f"column {column} is both {roles[column]} and {role}")
                roles[column] = role
        if self.positive is not None and self.problem != "binary":
            raise ValueError(f"positive is for a binary problem, this one is {self.problem}")
        return self


class TrainParams(Section):
    """`train:` the estimator and its parameters."""

    estimator: str
    params: dict[str, Any] = Field(default_factory=dict)
    packages: tuple[str, ...] = ("sklearn",)
    """Top-level packages that an estimator may come from."""
    encoding: Literal["auto", "onehot", "ordinal"] = "auto"
    seed: int = Field(default=0, ge=0)


class EvaluateParams(Section):
    """`evaluate:` what is reported of a trained model."""

    metric: str | None = None
    """The primary metric; default: the first of the problem's."""
    slices: tuple[str, ...] = ()
    """Columns for whose values the metrics are reported one by one."""
    slice_rows: int = Field(default=50, ge=1)
    """A slice with fewer held-out rows than this is not reported."""
    reference_rows: int = Field(default=5000, ge=1)


class AllParams(Section):
    """The sections that training and evaluation read, together."""

    data: DataParams
    train: TrainParams
    evaluate: EvaluateParams

    @model_validator(mode="after")
    def _metric_fits_the_problem(self) -> Self:
        known = METRICS[self.data.problem]
        if self.evaluate.metric is not None and self.evaluate.metric not in known:
            raise ValueError(
                f"evaluate.metric {self.evaluate.metric!r} is not a metric of a "
                f"{self.data.problem} problem; there are {', '.join(known)}"
            )
        return self

    @property
    def metric(self) -> str:
        """Name of the primary metric."""
        return self.evaluate.metric or METRICS[self.data.problem][0]


def ingest_params(root: Path) -> IngestParams:
    """Section `ingest`."""
    return read_section(root, "ingest", IngestParams)


def data_params(root: Path) -> DataParams:
    """Section `data`."""
    return read_section(root, "data", DataParams)


def all_params(root: Path, overrides: dict[str, Any] | None = None) -> AllParams:
    """The sections data, train and evaluate; `overrides` go into train.params."""
    sections = {
        "data": data_params(root),
        "train": read_section(root, "train", TrainParams),
        "evaluate": read_section(root, "evaluate", EvaluateParams),
    }
    if overrides:
        raw = read_params(root)["train"]
        merged = {**raw, "params": {**(raw.get("params") or {}), **overrides}}
        sections["train"] = check_section("train", TrainParams, merged)
    return check_section("", AllParams, sections)
