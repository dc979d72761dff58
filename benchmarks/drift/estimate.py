"""The estimate without labels on the flights of 2013: `python -m benchmarks.drift.estimate`.

The demonstration's pipeline trains on January to June (its last 5 % held out, as params.yaml says)
and answers every scheduled flight of July to December, cancelled ones included. A window's true
metrics are over its flights that landed. Windows are months, or weeks from July 1. Scenarios:

uncalibrated     the model's own probabilities
frozen           calibrated once, on the held-out rows of June: no label since
adaptive         calibrated for each window on the held-out rows and all labels that were there
                 before it began; a label comes a day after the scheduled departure
platt-frozen     as frozen, and
platt-adaptive   as adaptive, by plain logistic regression: its slope is not drawn to 1

Beside them, of ROC AUC, what an estimate is worth: the figure of the held-out rows taken for every
window; the truth of the window before (of the held-out rows for the first); and that truth moved
by as much as the uncalibrated estimate moved since (Guillory's difference of confidences).

Without chance but the training's seed. Writes results-estimate.json beside this file.
"""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from benchmarks.pipeline.run import machine
from monitoring.estimate import Calibration, estimate
from monitoring.outcomes import outcomes, scores
from monitoring.quality import measure
from monitoring.sections import QualityPolicy
from pipelines import conform, flights, schema, split, train
from pipelines.params import all_params
from registry.record import Record
from registry.settings import find_root

HERE = Path(__file__).parent
SPLIT = pd.Timestamp("2013-07-01")
LABEL_AFTER = pd.Timedelta(days=1)
FEWEST = 2000
"""Flights of a window; the last week of the year is shorter."""
METRICS = ("roc_auc", "log_loss", "brier", "accuracy")


@dataclass(frozen=True)
class Rows:
    """Flights in the order of their time, with the model's answers."""

    times: pd.Series[Any]
    answers: list[Any]
    labels: list[Any]

    def take(self, mask: Any) -> Rows:
        """Those where `mask` holds."""
        kept = np.flatnonzero(mask)
        return Rows(
            self.times.iloc[kept],
            [self.answers[i] for i in kept],
            [self.labels[i] for i in kept],
        )

    def and_then(self, others: Rows) -> Rows:
        """These, then others."""
        return Rows(
            pd.concat([self.times, others.times]),
            [*self.answers, *others.answers],
            [*self.labels, *others.labels],
        )


def answered() -> tuple[Record, Rows, Rows]:
    """How to read the model's answers, the held-out rows of June, and those of July to December."""
    params = all_params(find_root())
    files = [pd.read_csv(io.StringIO(flights.text(step))) for step in flights.steps()]
    raw = pd.concat(files, ignore_index=True)
    contract = schema.resolve(raw, params.data)
    typed = conform.validate(raw, contract, params.data)
    moments = str(contract.time)
    known = typed[typed[moments] < SPLIT].dropna(subset=[contract.target])
    parts = split.split(
        known, time=contract.time, valid=params.data.valid, holdout=params.data.holdout
    )
    rows = pd.concat([parts[split.TRAIN], parts[split.VALID]], ignore_index=True)
    model = train.fit(contract, params, rows)

    def ask(some: pd.DataFrame) -> Rows:
        some = some.sort_values(moments, kind="stable")
        answers = train.answer(model, contract, some).to_dict("records")
        labels = some[contract.target].astype(object)
        return Rows(some[moments], answers, labels.where(labels.notna(), None).tolist())

    later = typed[typed[moments] >= SPLIT]
    return train.about(contract, params), ask(parts[split.HOLDOUT]), ask(later)


def platt(record: Record, rows: Rows) -> Calibration:
    """Logistic regression as it is."""
    from sklearn.linear_model import LogisticRegression

    names, usable = outcomes(record, rows.labels)
    chances = scores(record, rows.answers)[usable, record.classes.index(str(record.positive))]
    odds = np.log(chances / (1 - chances)).reshape(-1, 1)
    fitted = LogisticRegression(C=math.inf).fit(odds, names[usable] == record.positive)
    slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    return Calibration("logistic", slope, intercept, int(usable.sum()))


def ours(record: Record, rows: Rows) -> Calibration:
    """As the monitor does it."""
    return Calibration.fit(record, rows.answers, rows.labels)


def windows(rows: Rows, kind: str) -> dict[str, Rows]:
    """By month, or by week counted from July 1."""
    if kind == "month":
        names = rows.times.dt.strftime("%Y-%m")
    else:
        names = ((rows.times - SPLIT).dt.days // 7).map(lambda n: f"week {n + 1:02}")
    found = {name: rows.take(names == name) for name in sorted(names.unique())}
    return {name: some for name, some in found.items() if len(some.answers) >= FEWEST}


def play(
    record: Record,
    held_out: Rows,
    later: Rows,
    kind: str,
    fit: Callable[[Record, Rows], Calibration] | None,
    adaptive: bool,
) -> dict[str, Any]:
    """What was estimated of each window, and how far that was from the truth."""
    kept, frozen = {}, fit(record, held_out) if fit else Calibration()
    for name, rows in windows(later, kind).items():
        calibration = frozen
        if fit and adaptive:
            before = later.take(later.times + LABEL_AFTER < rows.times.min())
            calibration = fit(record, held_out.and_then(before))
        guess = estimate(record, 1, rows.answers, calibration)
        assert guess is not None  # noqa: S101
        kept[name] = {
            "slope": round(calibration.slope, 3),
            "calibrated on": calibration.rows,
            **{metric: round(guess.metrics[metric], 4) for metric in METRICS},
        }
    return kept


def true_metrics(record: Record, rows: Rows) -> dict[str, Any]:
    """A window's metrics as its labels have them, and the interval of ROC AUC."""
    times = [0.0] * len(rows.answers)
    quality = measure(record, 1, rows.answers, rows.labels, (times, times), {}, QualityPolicy())
    values = {m.metric: m for m in quality.metrics}
    auc = values["roc_auc"]
    return {
        "rows": quality.rows,
        "labelled": quality.labelled,
        **{metric: round(values[metric].value, 4) for metric in METRICS},
        "roc_auc interval": [round(auc.low, 4), round(auc.high, 4)],
    }


def errors(guesses: dict[str, Any], truth: dict[str, Any]) -> dict[str, float]:
    """Mean absolute error over the windows, and of ROC AUC bias and largest error."""
    away = {m: np.array([guesses[w][m] - truth[w][m] for w in truth]) for m in METRICS}
    return {
        **{f"{m}, mean absolute error": round(float(np.abs(d).mean()), 4) for m, d in away.items()},
        "roc_auc, bias": round(float(away["roc_auc"].mean()), 4),
        "roc_auc, largest error": round(float(np.abs(away["roc_auc"]).max()), 4),
    }


def yardsticks(base: float, truth: dict[str, Any], raw: dict[str, Any]) -> dict[str, float]:
    """Mean absolute error of ROC AUC of guesses that need no method; `base` is the held-out one."""
    true = np.array([one["roc_auc"] for one in truth.values()])
    moved = np.diff([raw[window]["roc_auc"] for window in truth])
    before = np.r_[base, true[:-1]]
    return {
        "the held-out rows' figure": round(float(np.abs(base - true).mean()), 4),
        "the window before's truth": round(float(np.abs(before - true).mean()), 4),
        "the same moved, without the first": round(
            float(np.abs(true[:-1] + moved - true[1:]).mean()), 4
        ),
    }


SCENARIOS: dict[str, tuple[Callable[[Record, Rows], Calibration] | None, bool]] = {
    "uncalibrated": (None, False),
    "frozen": (ours, False),
    "adaptive": (ours, True),
    "platt-frozen": (platt, False),
    "platt-adaptive": (platt, True),
}


@click.command()
def main() -> None:
    """Run every scenario and write results-estimate.json."""
    start = time.perf_counter()
    record, held_out, later = answered()
    record = replace(record, metric="roc_auc")
    base = true_metrics(record, held_out)["roc_auc"]
    kept: dict[str, Any] = {
        "machine": machine(),
        "rows": {"held out": len(held_out.answers), "July to December": len(later.answers)},
        "held out: roc_auc": base,
    }
    for kind in ("month", "week"):
        truth = {n: true_metrics(record, rows) for n, rows in windows(later, kind).items()}
        kept[f"{kind}: truth"] = truth
        for name, (fit, adaptive) in SCENARIOS.items():
            guesses = play(record, held_out, later, kind, fit, adaptive)
            kept[f"{kind}: {name}"] = {**errors(guesses, truth), "windows": guesses}
            click.echo(f"{kind}: {name}: {json.dumps(errors(guesses, truth))}")
            if kind == "month":
                shown = (f"{truth[w]['roc_auc']:.3f}/{guesses[w]['roc_auc']:.3f}" for w in truth)
                click.echo("  true/estimated " + " ".join(shown))
        raw = kept[f"{kind}: uncalibrated"]["windows"]
        kept[f"{kind}: yardsticks"] = yardsticks(base, truth, raw)
        click.echo(f"{kind}: yardsticks: {json.dumps(kept[f'{kind}: yardsticks'])}")
    kept["seconds, training included"] = round(time.perf_counter() - start)
    (HERE / "results-estimate.json").write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main()
