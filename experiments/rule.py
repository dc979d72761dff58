"""What is agreed before an experiment begins: what decides, and how sure one must be. Pure."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from registry.sections import Section

Mode = Literal["canary", "ab", "shadow"]
Metric = Literal["none", "error", "brier", "absolute"]
Proxy = Literal["errors", "answers", "latency"]
GUARDS: tuple[Proxy, ...] = ("errors", "answers", "latency")
"""What may end an experiment before any label is there: failing answers, answers with missing or
infinite numbers, slow ones."""
MISMATCH = 0.001
"""Level of the test whether units went to the arms as the weights say."""


class Rule(Section):
    """`experiment:` of params.yaml, and what the ledger keeps of it when an experiment begins."""

    metric: Metric = "none"
    """Loss of a labelled prediction, between 0 and 1: `error` 1 for a wrong class, `brier` squared
    difference of probability and outcome, `absolute` distance over `scale`. `none`: no labels are
    awaited, the guards decide."""
    scale: float | None = Field(default=None, gt=0, allow_inf_nan=False, strict=False)
    """Distance that counts as a whole loss, for `absolute`."""
    alpha: float = Field(default=0.05, gt=0, le=0.5, strict=False)
    """Chance of any wrong verdict where the arms do not differ, however often one looks."""
    margin: float = Field(default=0.0, ge=0, lt=1, strict=False)
    """Loss by which the challenger may be worse and still be promoted; 0: it must be better."""
    errors_margin: float = Field(default=0.01, gt=0, lt=1, strict=False)
    """With `metric: none`: share of failing answers by which it may be worse."""
    minimum: int = Field(default=200, ge=1, strict=True)
    """Units of the challenger (labelled ones where labels decide) before it is promoted."""
    wait_days: float = Field(default=30.0, gt=0, allow_inf_nan=False, strict=False)
    """After so long without a verdict the experiment ends and the champion stays."""
    guards: tuple[Proxy, ...] = GUARDS
    """Which of GUARDS may."""
    slower: float = Field(default=1.25, ge=1, allow_inf_nan=False, strict=False)
    """An answer is slow above so many times the champion's 90 % quantile, ..."""
    slower_ms: float = Field(default=10.0, ge=0, allow_inf_nan=False, strict=False)
    """... and at least so many milliseconds above it."""
    steps: tuple[float, ...] = ()
    """Weights that a canary goes through, each after `step_units` of the challenger's."""
    step_units: int = Field(default=200, ge=1, strict=True)

    @field_validator("steps")
    @classmethod
    def _grow(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < w <= 1 for w in value) or list(value) != sorted(set(value)):
            raise ValueError("steps are weights above 0 and up to 1 that grow")
        return value

    @model_validator(mode="after")
    def _has_its_scale(self) -> Self:
        if self.metric == "absolute" and self.scale is None:
            raise ValueError(
                "metric `absolute` needs `scale`, the distance that counts as a whole loss"
            )
        return self

    # The levels of all findings add up to alpha (Bonferroni). The guards get little of it: what
    # they are there for, failing or hanging answers, is evident after a few requests.

    @property
    def guard_level(self) -> float:
        """Share of alpha for each guard."""
        return self.alpha / 10

    @property
    def decisive_level(self) -> float:
        """Share of alpha for calling the challenger good enough, and as much for worse."""
        return self.alpha * (1 - len(GUARDS) / 10) / 2
