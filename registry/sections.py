"""What the sections `registry` and `gate` of params.yaml may hold. Pure."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

LEDGER_SUFFIX = ".ledger"
"""The ledger of model NAME is the registered model NAME.ledger."""

GATES = (
    "location",
    "intact",
    "lineage",
    "loads",
    "signature",
    "floor",
    "not_worse",
    "slices",
    "serves",
    "latency",
)
"""Every gate by name, in the order in which they are asked."""


class Section(BaseModel):
    """A frozen section: unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


def name_problem(model: str) -> str | None:
    """Why no registered model can have this name, or None."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}", model):
        return "letters, digits, '_', '-' and '.' make a name, 200 of them at the most"
    if model.endswith(LEDGER_SUFFIX):
        return f"what ends in {LEDGER_SUFFIX} is a model's ledger"
    return None


class RegistryParams(Section):
    """`registry:` of params.yaml."""

    model: str
    keys: dict[str, str] = Field(default_factory=dict)

    @field_validator("model")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if problem := name_problem(value):
            raise ValueError(problem)
        return value


class GateParams(Section):
    """`gate:` of params.yaml."""

    floor: float | None = Field(default=None, allow_inf_nan=False, strict=True)
    margin: float = Field(default=0.0, ge=0, allow_inf_nan=False, strict=True)
    confidence: float = Field(default=0.95, gt=0.5, lt=1, strict=True)
    resamples: int = Field(default=1000, ge=100, le=100_000, strict=True)
    slices: dict[str, float] = Field(default_factory=dict)
    slice_rows: int = Field(default=200, ge=1, strict=True)
    environment: Literal["auto", "local", "uv", "conda"] = "auto"
    single_ms: float | None = Field(default=None, gt=0, allow_inf_nan=False, strict=True)
    batch_ms: float | None = Field(default=None, gt=0, allow_inf_nan=False, strict=True)
    roots: tuple[str, ...] = ()
    approvals: int = Field(default=0, ge=0, strict=True)
    automation: Literal["staging", "canary", "production"] = "staging"
    skip: tuple[str, ...] = ()

    @field_validator("slices")
    @classmethod
    def _are_margins(cls, value: dict[str, float]) -> dict[str, float]:
        for column, margin in value.items():
            if not 0 <= margin < float("inf"):
                raise ValueError(f"the margin of {column} is {margin:g}, not a number from 0 up")
        return value

    @field_validator("skip")
    @classmethod
    def _are_gates(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in GATES:
                raise ValueError(f"there is no gate {name!r}; there are {', '.join(GATES)}")
        return value
