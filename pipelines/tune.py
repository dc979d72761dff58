"""The MLproject's entry point tune: looks for better train.params on the validation rows.

The held-out rows are not touched here: who chooses by them has nothing left to judge by.
"""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pandas as pd

from pipelines import model, paths, train, tune_apply, tune_plots
from pipelines.errors import NoTrialSucceeded, TrialFailed
from pipelines.obtain import prepared
from pipelines.params import AllParams, all_params
from pipelines.schema import Contract
from pipelines.split import TRAIN, VALID
from pipelines.tune_params import Dimension, TuneParams, tune_params
from registry import metrics, record
from registry.console import Command
from registry.errors import ParamsInvalid, UnderstudyError
from registry.settings import find_root

if TYPE_CHECKING:
    from optuna import Trial as Asking

    from pipelines.tune_store import Question, Study, Trial

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"


@dataclass(frozen=True)
class Objective:
    """What is asked of a trial: fit on the training rows, score on the validation rows.

    It holds its rows itself, so that it can be sent to where the trial runs.
    """

    contract: Contract
    params: AllParams
    space: dict[str, Dimension]
    rows: dict[str, pd.DataFrame]

    def __call__(self, trial: Asking) -> float:
        """The metric with the parameters that are suggested. Raises TrialFailed."""
        return self.score({name: suggest(trial, name, d) for name, d in self.space.items()})

    def score(self, chosen: dict[str, Any]) -> float:
        """The metric with these train.params. Raises TrialFailed with the estimator's words."""
        inner = self.params.train.model_copy(
            update={"params": {**self.params.train.params, **chosen}}
        )
        params = self.params.model_copy(update={"train": inner})
        try:
            fitted = train.fit(self.contract, params, self.rows[TRAIN])
            found = train.score(
                fitted, train.about(self.contract, params), self.contract, self.rows[VALID]
            )
        except UnderstudyError as error:
            raise TrialFailed(str(error)) from None
        except Exception as error:  # estimators have exceptions of their own
            said = str(error).strip().partition("\n")[0][:300]
            raise TrialFailed(f"{inner.estimator}: {said or type(error).__name__}") from None
        value = found.get(params.metric, float("nan"))
        if value != value:
            raise TrialFailed(f"{params.metric} is not defined on the validation rows")
        return value


def suggest(trial: Asking, name: str, dimension: Dimension) -> Any:
    """Ask a trial for one parameter."""
    if dimension.choices is not None:
        return trial.suggest_categorical(name, dimension.choices)
    (low, high), step = dimension.ends, dimension.step
    if dimension.whole:
        return trial.suggest_int(name, int(low), int(high), step=int(step or 1), log=dimension.log)
    return trial.suggest_float(name, low, high, step=step, log=dimension.log)


def objective(root: Path) -> tuple[Objective, TuneParams]:
    """What params.yaml and the prepared rows ask. Raises ParamsInvalid, EstimatorRefused."""
    params, tuned = all_params(root), tune_params(root)
    contract = Contract.read(root / paths.CONTRACT)
    fitted = model.build(contract, params.train).named_steps["estimate"]
    known = fitted.get_params(deep=False)
    if not tuned.space:
        raise ParamsInvalid(
            [f"tune.space is empty; name parameters of {type(fitted).__name__} and their ranges"]
        )
    unknown = [name for name in tuned.space if name not in known]
    if unknown:
        raise ParamsInvalid(
            [
                f"tune.space.{name} is not a parameter of {type(fitted).__name__}; "
                f"it has {', '.join(known)}"
                for name in unknown
            ]
        )
    train.about(contract, params)  # refuses what cannot work before a study is opened
    rows = {
        name: pd.read_parquet(root / paths.PREPARED / f"{name}.parquet") for name in (TRAIN, VALID)
    }
    return Objective(contract, params, tuned.space, rows), tuned


def question(asked: Objective) -> Question:
    """The same for the study's run. A study goes on where all of this is as it was."""
    from pipelines.tune_store import Question

    chosen = asked.params.train
    others = {k: v for k, v in chosen.params.items() if k not in asked.space}
    up = metrics.get(asked.params.metric, asked.contract.problem).greater_is_better
    return Question(
        metric=f"{VALID}/{asked.params.metric}",
        direction="maximize" if up else "minimize",
        asked={
            "data": {name: record.rows_sha256(rows) for name, rows in asked.rows.items()},
            "train": {**chosen.model_dump(mode="json"), "params": others},
            "metric": asked.params.metric,
            "space": {k: d.model_dump(exclude_unset=True) for k, d in asked.space.items()},
        },
        params={"train.estimator": chosen.estimator, "train.seed": chosen.seed},
    )


def today(asked: Objective) -> dict[str, Any] | None:
    """The parameters of params.yaml, where the space holds them all: the trial to be beaten."""
    now = asked.params.train.params
    inside = all(name in now and d.holds(now[name]) for name, d in asked.space.items())
    return {name: now[name] for name in asked.space} if inside else None


@dataclass
class Found:
    """How far a study has come."""

    study: str
    metric: str
    up: bool
    run: str = ""
    trials: tuple[Trial, ...] = ()
    stopped: bool = False

    @property
    def best(self) -> Trial | None:
        """Of equally good ones the first."""
        good = [t for t in self.trials if t.value is not None]
        return min(good, key=lambda t: -(t.value or 0) if self.up else t.value or 0, default=None)

    @property
    def failed(self) -> list[Trial]:
        """Those without a value."""
        return [t for t in self.trials if t.value is None]

    def table(self) -> dict[str, Any]:
        """For machines."""
        best = self.best
        return {
            "study": self.study,
            "run": self.run,
            "metric": self.metric,
            "trials": len(self.trials),
            "failed": len(self.failed),
            "stopped": self.stopped,
            "best": best and {"trial": best.number, "run": best.run, "value": best.value,
                              "params": dict(best.params)},
        }  # fmt: skip


def tune(
    root: Path, asked: Objective, tuned: TuneParams, study: str, *, on_spark: bool, say: Say
) -> Found:
    """Run a study until it has its trials. Raises NoTrialSucceeded, StudyDiffers, SparkError.

    Ctrl-C ends it with what there is until then.
    """
    from pipelines.tune_store import opened

    begun = question(asked)
    found = Found(study, asked.params.metric, begun.direction == "maximize")
    try:
        with opened(root, study, begun) as kept:
            found.run = kept.run
            try:
                _run(kept, asked, tuned, found, on_spark=on_spark, say=say)
            except KeyboardInterrupt:
                found.stopped = True
            found.trials = tuple(kept.trials())
            _keep(kept, asked, found, tuned.seed)
            if found.stopped:
                raise KeyboardInterrupt  # the study's run is to say so
            if found.best is None:
                raise NoTrialSucceeded(study, len(found.failed), found.failed[-1].why)
    except KeyboardInterrupt:
        found.stopped = True
    return found


Say = Callable[[str], None]


def _run(
    kept: Study, asked: Objective, tuned: TuneParams, found: Found, *, on_spark: bool, say: Say
) -> None:
    before = kept.trials()
    left, began = tuned.trials - len(before), time.monotonic()
    found.trials = tuple(before)

    def told(trial: Trial) -> None:
        found.trials = (*found.trials, trial)
        say(_line(found, trial, tuned.trials))

    if before:
        say(f"study {found.study} has {len(before)} trials")
    first = None if before else today(asked)
    here = max(left, 0) if not on_spark else int(left > 0 and first is not None)
    if here:
        kept.optimize(asked, here, seed=tuned.seed, seconds=tuned.seconds, first=first, told=told)
        left -= here
    if on_spark and left > 0:
        spent = time.monotonic() - began
        say(f"{left} trials on Spark")
        kept.optimize_on_spark(
            asked,
            left,
            seed=tuned.seed,
            seconds=None if tuned.seconds is None else max(tuned.seconds - spent, 0.0),
        )


def _line(found: Found, trial: Trial, of: int) -> str:
    best = found.best
    said = (
        f"{found.metric} {trial.value:.5f}" if trial.value is not None else f"failed: {trial.why}"
    )
    rest = f", best {best.value:.5f} (trial {best.number})" if best else ""
    return f"trial {trial.number}, {len(found.trials)} of {of}: {said}{rest}, {trial.seconds:.1f} s"


def _keep(kept: Study, asked: Objective, found: Found, seed: int) -> None:
    best = found.best
    if best is None or best.value is None:
        return
    points = [(t.number, t.value) for t in found.trials if t.value is not None]
    figures = {
        "history": tune_plots.history(
            points, [t.number for t in found.failed], asked.params.metric, found.up
        )
    }
    if shares := kept.importances(seed):
        figures["importances"] = tune_plots.importances(shares)
    kept.keep(found.table(), best.value, figures)


def _or_empty(kind: click.ParamType[Any]) -> Any:
    """A converter for options that MLproject passes as an empty text where they are not given."""
    return lambda context, option, value: kind.convert(value, option, context) if value else None


def _study_name(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if value and not re.fullmatch(NAME, value):
        raise click.BadParameter(
            f"{value!r}: letters, digits, '_', '-' and '.' make a name, 100 of them at the most"
        )
    return value or f"study-{datetime.now(UTC):%Y%m%d-%H%M%S}"


@click.command(
    cls=Command,
    epilog="""\b
Examples:
  mlflow run . -e tune -P trials=20 -P apply=true
  python -m pipelines.tune --trials 50 --study nightly
  python -m pipelines.tune --study nightly --apply
  SPARK_MASTER='local[2]' python -m pipelines.tune --engine spark
""",
)
@click.option(
    "--trials", default="", metavar="N", callback=_or_empty(click.IntRange(1, 1000)),
    help="Trials that the study has in the end; default: tune.trials.",
)  # fmt: skip
@click.option(
    "--seconds", default="", metavar="S", callback=_or_empty(click.FloatRange(0, min_open=True)),
    help="No trial begins after so many; default: tune.seconds.",
)  # fmt: skip
@click.option(
    "--seed", default="", metavar="N", callback=_or_empty(click.IntRange(0, 2**31)),
    help="Of what is tried; default: tune.seed.",
)  # fmt: skip
@click.option(
    "--study", default="", metavar="NAME", callback=_study_name,
    help="A study that goes on, or a new one of this name; default: a new one.",
)  # fmt: skip
@click.option("--engine", type=click.Choice(["local", "spark"]), default="local", show_default=True)
@click.option(
    "--apply", "wanted", type=bool, is_flag=False, flag_value=True, default=False,
    help="Write the best parameters into train.params of params.yaml.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def main(
    trials: int | None,
    seconds: float | None,
    seed: int | None,
    study: str,
    engine: str,
    wanted: bool,
    as_json: bool,
) -> None:
    """Look for better parameters of the estimator, as `tune` of params.yaml says.

    Each trial fits on the training rows and is scored on the validation rows. A study and its
    trials are runs of the MLflow experiment NAME-tuning.
    """
    # `mlflow run` passes Ctrl-C on as SIGTERM.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    root = find_root()
    before = (root / "params.yaml").read_bytes()
    prepared(root)
    asked, tuned = objective(root)
    given = {"trials": trials, "seconds": seconds, "seed": seed}
    tuned = tuned.model_copy(update={k: v for k, v in given.items() if v is not None})
    found = tune(
        root, asked, tuned, study, on_spark=engine == "spark",
        say=lambda text: click.echo(f"... {text}", err=True),
    )  # fmt: skip
    difference = None
    if wanted and found.best and not found.stopped:
        difference = tune_apply.apply(root / "params.yaml", before, found.best.params)
    if as_json:
        click.echo(json.dumps({**found.table(), "difference": difference}, indent=2))
    else:
        click.echo("\n".join(_told(found, difference, trials)))
    if found.stopped:
        raise click.exceptions.Exit(1)


def _told(found: Found, difference: str | None, trials: int | None) -> Sequence[str]:
    again = f"python -m pipelines.tune --study {found.study}"
    again += f" --trials {trials}" if trials is not None else ""
    lines = []
    if found.stopped:
        lines = [f"stopped after {len(found.trials)} trials; `{again}` goes on"]
    if best := found.best:
        values = ", ".join(f"{name}: {value}" for name, value in best.params.items())
        lines.append(
            f"study {found.study}: best {found.metric} {best.value:.5f} in trial {best.number} "
            f"of {len(found.trials)} ({len(found.failed)} failed)"
        )
        lines.append(f"train.params: {{{values}}}")
    if difference:
        lines += [difference.rstrip("\n"), "next: dvc repro"]
    elif difference == "":
        lines.append("params.yaml has these already")
    elif found.best and not found.stopped:
        lines.append(f"next: {again} --apply")
    return lines


if __name__ == "__main__":
    main()
