"""Reads the section `tune` of params.yaml: how long to look, and where."""

from __future__ import annotations

import math
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, PlainValidator, model_validator

from registry.sections import Section
from registry.settings import read_section

Scalar = bool | int | float | str | None


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("it is not a number")
    return value


def _scalars(value: Any) -> tuple[Scalar, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("it is not a list of values")
    if not all(v is None or isinstance(v, bool | int | float | str) for v in value):
        raise ValueError("a choice is a word, a number, true, false or null")
    return tuple(value)


Number = Annotated[int | float, PlainValidator(_number)]


class Dimension(Section):
    """`tune.space.PARAMETER:` the values that one parameter may take.

    A range of whole numbers where `low`, `high` and `step` are whole, otherwise of all numbers
    between; or a list of choices.
    """

    low: Number | None = None
    high: Number | None = None
    log: bool = False
    """Draw from the logarithm: 0.01 to 0.1 is as wide as 0.1 to 1."""
    step: Number | None = None
    choices: Annotated[tuple[Scalar, ...] | None, PlainValidator(_scalars)] = None

    @model_validator(mode="after")
    def _is_a_range_or_choices(self) -> Self:
        if self.choices is not None:
            if self.model_fields_set != {"choices"}:
                raise ValueError("choices stand alone, without low, high, log and step")
            return self
        if self.low is None or self.high is None:
            raise ValueError("it needs low and high, or choices")
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs a low above 0, and no step")
        if self.step is not None and (
            self.step <= 0
            or (Decimal(str(self.high)) - Decimal(str(self.low))) % Decimal(str(self.step))
        ):
            raise ValueError(f"high is not low plus a multiple of step {self.step:g}")
        return self

    @property
    def ends(self) -> tuple[int | float, int | float]:
        """`low` and `high` of a range."""
        if self.low is None or self.high is None:
            raise ValueError("choices have no ends")
        return self.low, self.high

    @property
    def whole(self) -> bool:
        """Whether it is a range of whole numbers."""
        return all(v is None or isinstance(v, int) for v in (self.low, self.high, self.step))

    def holds(self, value: Any) -> bool:
        """Whether `value` is one of these values."""
        if self.choices is not None:
            return any(type(c) is type(value) and c == value for c in self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        low, high = self.ends
        if not low <= value <= high or (self.whole and not isinstance(value, int)):
            return False
        steps = (value - low) / self.step if self.step else 0
        return abs(steps - round(steps)) < 1e-9  # 0.1 + 2 * 0.1 is not quite 0.3


class TuneParams(Section):
    """`tune:` of params.yaml."""

    trials: int = Field(default=20, ge=1, le=1000)
    """How many a study has in all; MLflow's storage reads no more than a thousand."""
    seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """No trial begins after so many."""
    seed: int = Field(default=0, ge=0, le=2**31)
    space: dict[str, Dimension] = Field(default_factory=dict)


def tune_params(root: Path) -> TuneParams:
    """Section `tune`."""
    return read_section(root, "tune", TuneParams)
