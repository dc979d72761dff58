"""Recalibration: from a model's probabilities to how often they come true. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from monitoring.outcomes import Floats, number, outcomes, readable, scores

if TYPE_CHECKING:
    from registry.record import Record

MINIMUM = 500
"""Rows below which scores are taken as they are."""
CLIP = 1e-6
"""Probabilities are kept so far from 0 and 1, where log-odds are infinite."""
BLOCKS = 10
"""Into which rows are cut: longer than what hangs together, and enough for a variance."""
STEPS = 100
"""The most steps of Newton's method; it takes about ten."""

Kind = Literal["identity", "logistic", "temperature"]


@dataclass(frozen=True)
class Calibration:
    """From a model's probabilities to how often they come true.

    `logistic`, of two classes: sigmoid(slope x + intercept) of the positive class's log-odds x
    (Platt 1999). `temperature`, of more: probabilities to the power of `slope`, made to sum to
    one (Guo, Pleiss, Sun and Weinberger, ICML 2017; `slope` is one over their temperature).

    The slope b of the greatest likelihood is drawn to 1, which is to take the scores as they are:
    1 + (b - 1) max(0, 1 - v / (b - 1)^2), nothing at one standard error and nearly all of it at
    many (empirical Bayes; the positive part as James and Stein have it). The outcomes of one day
    hang together, so that thousands of rows may be worth ten; v is therefore computed from the
    sums of ten blocks of rows in their order (Liang and Zeger, Biometrika 1986).
    """

    kind: Kind = "identity"
    slope: float = 1.0
    intercept: float = 0.0
    rows: int = 0
    """With an outcome, from which it was made; 0 for `identity`."""

    @classmethod
    def fit(cls, record: Record, answers: Sequence[Any], labels: Sequence[Any]) -> Calibration:
        """Made from the rows that have an outcome, both of shape (rows,), by maximum likelihood.

        Nothing is changed (`identity`) where there are fewer than 500 such rows, where all of
        them have one outcome, and of a regression. The rows should be ones that the model was not
        trained on, in the order of their time; newer ones serve newer windows better.
        """
        if record.problem == "regression":
            return cls()
        found = scores(record, answers)
        names, usable = outcomes(record, labels)
        both = usable & readable(found)
        found, hits = found[both], names[both][:, None] == np.asarray(record.classes, dtype=object)
        if len(found) < MINIMUM or (hits.sum(axis=0) > 0).sum() < 2:
            return cls()
        if record.problem == "binary":
            column = record.classes.index(str(record.positive))
            slope, intercept = _logistic(_log_odds(found[:, column]), hits[:, column])
            return cls("logistic", slope, intercept, len(found))
        return cls("temperature", _temperature(_logs(found), hits), 0.0, len(found))

    def apply(self, found: Floats) -> Floats:
        """Calibrated probabilities of the same shape.

        Of two classes (`logistic`) shape (rows,), the positive's; of more (rows, classes).
        """
        calibrated: Floats
        match self.kind:
            case "logistic":
                calibrated = _sigmoid(self.slope * _log_odds(found) + self.intercept)
            case "temperature":
                calibrated = _softmax(self.slope * _logs(found))
            case _:
                calibrated = found
        return calibrated

    def as_dict(self) -> dict[str, Any]:
        """For keeping; JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Calibration:
        """Read back what `as_dict` gave. Raises ValueError for anything else."""
        try:
            found = cls(**raw)
        except TypeError as error:
            raise ValueError(f"this is no calibration ({error})") from None
        figures = [number(value) for value in (found.slope, found.intercept, found.rows)]
        if found.kind not in get_args(Kind) or not np.isfinite(figures).all():
            raise ValueError(f"this is no calibration ({dict(raw)!r})")
        return found


def _log_odds(chances: Floats) -> Floats:
    near = np.clip(chances, CLIP, 1 - CLIP)
    return np.asarray(np.log(near / (1 - near)), dtype=np.float64)


def _logs(chances: Floats) -> Floats:
    return np.asarray(np.log(np.clip(chances, CLIP, 1)), dtype=np.float64)


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -700, 700))), dtype=np.float64)


def _softmax(x: Floats) -> Floats:
    grown = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(grown / grown.sum(axis=1, keepdims=True), dtype=np.float64)


def _logistic(x: Floats, positive: np.ndarray) -> tuple[float, float]:
    """Slope, drawn to 1, and the intercept that goes with it.

    Outcomes are drawn in from 0 and 1 as Platt does, so that the likelihood has a maximum also
    where the classes do not overlap.
    """
    ups, downs = positive.sum(), (~positive).sum()
    goal = np.where(positive, (ups + 1) / (ups + 2), 1 / (downs + 2))
    slope, intercept = _newton(x, goal, free=True)
    chances = _sigmoid(slope * x + intercept)
    weights = chances * (1 - chances)
    around = x - (weights @ x) / weights.sum()
    slope = _drawn_in(slope, around * (goal - chances), float(weights @ around**2))
    return slope, _newton(slope * x, goal, free=False)[1]


def _newton(x: Floats, goal: Floats, *, free: bool) -> tuple[float, float]:
    """Slope (1 unless `free`) and intercept of the logistic regression of `goal` on `x`."""
    middle, spread = float(x.mean()), float(x.std()) or 1.0
    scaled = (x - middle) / spread
    share = float(goal.mean())
    at = np.array([0.0 if free else spread, np.log(share / (1 - share))])
    moves = np.array([1.0 if free else 0.0, 1.0])
    loss = _logistic_loss(at, scaled, goal)
    for _ in range(STEPS):
        chances = _sigmoid(at[0] * scaled + at[1])
        wrong, weights = chances - goal, chances * (1 - chances) + 1e-9
        first = np.array([wrong @ scaled, wrong.sum()]) * moves
        mixed = (weights @ scaled) * moves[0]
        curve = [[weights @ scaled**2 + 1e-9, mixed], [mixed, weights.sum()]]
        step = np.linalg.solve(curve, first)
        size = 1.0
        while size > 1e-6 and _logistic_loss(at - size * step * moves, scaled, goal) > loss:
            size /= 2
        at = at - size * step * moves
        loss = _logistic_loss(at, scaled, goal)
        if np.abs(step).max() < 1e-9:
            break
    return float(at[0] / spread), float(at[1] - at[0] * middle / spread)


def _logistic_loss(at: Floats, x: Floats, goal: Floats) -> float:
    odds = at[0] * x + at[1]
    return float((np.logaddexp(0, odds) - goal * odds).sum())


def _drawn_in(slope: float, pulls: Floats, curvature: float) -> float:
    """The slope, as near to 1 as the disagreement between blocks of rows leaves open.

    `pulls` are the derivatives of the rows' log-likelihoods by the slope, shape (rows,).
    """
    if curvature < 1e-9:  # equal scores say nothing about a slope
        return 1.0
    block = np.arange(len(pulls)) * BLOCKS // len(pulls)
    sums = np.bincount(block, weights=pulls)
    variance = float(sums @ sums) / curvature**2 * BLOCKS / (BLOCKS - 1)
    away = (slope - 1) ** 2
    return 1 + (slope - 1) * max(0.0, 1 - variance / away) if away > 0 else slope


def _temperature(logs: Floats, hits: np.ndarray) -> float:
    """The power with the greatest likelihood, between 0.01 and 100, drawn to 1."""
    from scipy.optimize import minimize_scalar

    def worse(log_power: float) -> float:
        return -float(np.log(np.clip(_softmax(np.exp(log_power) * logs)[hits], 1e-300, 1)).sum())

    limit = float(np.log(100.0))
    power = float(np.exp(minimize_scalar(worse, bounds=(-limit, limit), method="bounded").x))
    chances = _softmax(power * logs)
    expected = (chances * logs).sum(axis=1)
    spread = (chances * logs**2).sum(axis=1) - expected**2
    return _drawn_in(power, logs[hits] - expected, float(spread.sum()))
