"""A study in MLflow: the only module of tuning that imports it, and Optuna's study with it.

A study is a run of the experiment NAME-tuning, and each of its trials a run below it, both kept by
MLflow's own storage for Optuna. What further belongs to a run is written here.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from matplotlib.figure import Figure

from pipelines import spark
from pipelines.errors import SparkFailed, StudyDiffers, TrialFailed
from pipelines.paths import PARENT_RUN
from registry import lineage, settings, store

settings.quiet()

import mlflow  # noqa: E402 - the switches above are read while it is imported
import optuna  # noqa: E402
from mlflow.entities import Param, RunTag  # noqa: E402
from mlflow.exceptions import ExecutionException  # noqa: E402
from mlflow.optuna.storage import MlflowStorage  # noqa: E402
from optuna.trial import FrozenTrial, TrialState  # noqa: E402

SUFFIX = "-tuning"
ASKED_TAG = "understudy.tune."
"""On a study, by part of what it asks: a hash. Trials of another question are not comparable."""
FAILURE = "failure"
"""Optuna's user attribute of a trial: why it failed. One that was interrupted has none."""
NOTE = "mlflow.note.content"
INTERRUPTED = "interrupted"
Direction = Literal["maximize", "minimize"]

optuna.logging.set_verbosity(optuna.logging.CRITICAL)  # what it says is said here, in sentences


@dataclass(frozen=True)
class Question:
    """What a study asks, and what is written into the run of each trial beside its parameters."""

    metric: str
    direction: Direction
    asked: Mapping[str, Any]
    """Part by part, as JSON can hold it: all that makes trials comparable."""
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Trial:
    """A trial that ended: with a value, or with a sentence why there is none."""

    number: int
    run: str
    params: Mapping[str, Any]
    value: float | None
    why: str
    seconds: float


class _Storage(MlflowStorage):  # type: ignore[misc] # mlflow ships no types
    """MLflow's, with trials in the order of their numbers, and each read once after its end.

    MLflow's own gives them newest first, those of one millisecond in any order, on which the
    sampler's choice depends; and reads all of them again, with five requests each, for each new.
    """

    def __init__(self, experiment: str) -> None:
        super().__init__(experiment)
        self._ended: dict[str, FrozenTrial] = {}

    def get_all_trials(
        self,
        study_id: str,
        deepcopy: bool = True,  # noqa: ARG002 - Optuna's signature
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        self.flush_all_batches()
        runs = self._mlflow_client.search_runs(
            [self._experiment_id], f"tags.mlflow.parentRunId = '{study_id}'", max_results=5000
        )
        found = [self._trial(run.info.run_id) for run in runs]
        return sorted(
            (t for t in found if states is None or t.state in states),
            # On Spark MLflow may give one number to two that begin in the same millisecond.
            key=lambda t: (t.number, _run(t)),
        )

    def _trial(self, run: str) -> FrozenTrial:
        trial = self._ended.get(run) or self.get_trial(run)
        if trial.state.is_finished():
            self._ended[run] = trial
        return trial


@dataclass(frozen=True)
class _Logged:
    """An objective that also writes what this project has in every run. Goes to Spark's workers."""

    objective: Callable[[optuna.Trial], float]
    study: str
    metric: str
    params: Mapping[str, str]
    tags: Mapping[str, str]

    def __call__(self, trial: optuna.Trial) -> float:
        client, run = mlflow.MlflowClient(), _run(trial)
        tags = {**self.tags, "mlflow.runName": f"{self.study}/{trial.number}"}
        client.log_batch(
            run,
            params=[Param(k, v) for k, v in self.params.items()],
            tags=[RunTag(k, v) for k, v in tags.items()],
        )
        try:
            value = self.objective(trial)
        except TrialFailed as error:
            trial.set_user_attr(FAILURE, str(error))
            client.set_tag(run, NOTE, str(error))
            raise
        except KeyboardInterrupt:
            client.set_tag(run, NOTE, INTERRUPTED)
            raise
        client.log_metric(run, self.metric, value)
        return value


def _run(trial: optuna.Trial | FrozenTrial) -> str:
    """A trial's run: MLflow's storage uses its id as Optuna's, which Optuna keeps to itself."""
    return str(trial._trial_id)


class _CtrlC:
    """Ctrl-C that stops a fit at once, and waits for the end of what Optuna and MLflow write.

    Optuna writes a trial's end in a `finally` that reads what the `try` has not set where it was
    interrupted: an UnboundLocalError takes the KeyboardInterrupt's place, and the trial stays open.
    """

    def __init__(self) -> None:
        self._fitting = self._pressed = False

    @classmethod
    @contextmanager
    def held(cls) -> Iterator[_CtrlC]:
        """Only of signals that raise KeyboardInterrupt, SIGTERM where `mlflow run` sends it."""
        self, usual = cls(), signal.default_int_handler
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        ours = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is usual]
        for number in ours:
            signal.signal(number, self._press)
        try:
            yield self
        finally:
            for number in ours:
                signal.signal(number, usual)
        self.heed()

    def _press(self, *_: object) -> None:
        self._pressed = True
        if self._fitting:
            self.heed()

    def heed(self) -> None:
        """Raise KeyboardInterrupt if it was pressed."""
        if self._pressed:
            raise KeyboardInterrupt

    def stops(self, objective: Callable[[optuna.Trial], float]) -> Callable[[optuna.Trial], float]:
        """The same objective, to be interrupted."""

        def fit(trial: optuna.Trial) -> float:
            try:
                self._fitting = True
                self.heed()
                return objective(trial)
            finally:
                self._fitting = False

        return fit


class Study:
    """One study, open."""

    def __init__(self, name: str, storage: _Storage, question: Question, root: Path) -> None:
        self.name, self.run = name, str(storage.get_study_id_from_name(name))
        self._storage, self._question, self._root = storage, question, root
        self._client = mlflow.MlflowClient()

    def trials(self) -> list[Trial]:
        """Those that ended with a value or a sentence, by number."""
        found = self._storage.get_all_trials(self.run)
        return [
            _trial(t)
            for t in found
            if t.state == TrialState.COMPLETE
            or (t.state == TrialState.FAIL and FAILURE in t.user_attrs)
        ]

    def optimize(
        self,
        objective: Callable[[optuna.Trial], float],
        count: int,
        *,
        seed: int,
        seconds: float | None = None,
        first: Mapping[str, Any] | None = None,
        told: Callable[[Trial], None],
    ) -> None:
        """Run `count` trials one after the other, `first` (parameter to value) before the others.

        With the same seed and the same trials before them, they are the same trials.
        """
        study = optuna.load_study(
            study_name=self.name, storage=self._storage, sampler=self._sampler(seed)
        )
        if first is not None:
            study.enqueue_trial(dict(first))
        with _CtrlC.held() as ctrl_c:

            def ended(_: optuna.Study, trial: FrozenTrial) -> None:
                told(_trial(trial))
                ctrl_c.heed()

            study.optimize(
                self._logged(ctrl_c.stops(objective), seed),
                n_trials=count,
                timeout=seconds,
                catch=(TrialFailed,),
                callbacks=[ended],
            )

    def optimize_on_spark(
        self,
        objective: Callable[[optuna.Trial], float],
        count: int,
        *,
        seed: int,
        seconds: float | None = None,
    ) -> None:
        """The same on Spark, as many at once as it has cores. Raises SparkError."""
        found = spark.session(f"tune {self.name}")
        from mlflow.pyspark.optuna.study import MlflowSparkStudy

        tasks = count
        if hasattr(found, "sparkContext"):  # not with Spark Connect
            tasks = min(count, int(found.sparkContext.defaultParallelism))
        try:
            with spark.failing():
                study = MlflowSparkStudy(self.name, self._storage, sampler=self._sampler(seed))
                study.optimize(
                    self._logged(objective, seed),
                    n_trials=count,
                    timeout=seconds,
                    n_jobs=tasks,
                    catch=(TrialFailed,),
                )
        except ExecutionException as error:
            raise SparkFailed(spark.reason(str(error.message))) from None

    def _sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        """Seeded anew where a study goes on: the same numbers again would be the same trials."""
        return optuna.samplers.TPESampler(seed=seed + len(self._storage.get_all_trials(self.run)))

    def _logged(self, objective: Callable[[optuna.Trial], float], seed: int) -> _Logged:
        return _Logged(
            objective,
            self.name,
            self._question.metric,
            {k: str(v) for k, v in {**self._question.params, "tune.seed": seed}.items()},
            lineage.collect(self._root).tags(),
        )

    def importances(self, seed: int) -> dict[str, float]:
        """Share of the metric's variance by parameter (fANOVA, Hutter 2014); empty if too few."""
        study = optuna.load_study(study_name=self.name, storage=self._storage)
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(complete) < 4 or len({t.value for t in complete}) == 1:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
        return optuna.importance.get_param_importances(study, evaluator=evaluator)

    def keep(self, best: Mapping[str, Any], value: float, figures: Mapping[str, Figure]) -> None:
        """Write into the study's run what came out until now."""
        self._client.log_dict(self.run, dict(best), "best.json")
        self._client.log_metric(self.run, self._question.metric, value)
        for name, figure in figures.items():
            self._client.log_figure(self.run, figure, f"plots/{name}.png")

    def running(self) -> set[str]:
        """Runs of trials that have not ended."""
        found = self._storage.get_all_trials(self.run, states=(TrialState.RUNNING,))
        return {_run(trial) for trial in found}

    def end(self, status: str, others: Container[str]) -> None:
        """End the study's run, and those of its trials that nobody else runs."""
        for run in self.running():
            if run not in others:
                self._client.set_tag(run, NOTE, INTERRUPTED)
                self._client.set_terminated(run, "FAILED")
        self._client.set_terminated(self.run, status)


@contextmanager
def opened(root: Path, name: str, question: Question) -> Iterator[Study]:
    """A study by name, a new one or one that goes on; its run ends with the block.

    It ends as KILLED with KeyboardInterrupt and as FAILED with another exception. Raises
    StudyDiffers, RegistryUnreachable, RegistryRefused.
    """
    uri = settings.tracking_uri(root)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    # The run of `mlflow run` is the parent of the study, not the study.
    parent = os.environ.pop("MLFLOW_RUN_ID", None) or os.environ.get(PARENT_RUN)
    with store.reaching(uri):
        storage = _Storage(_experiment(root, uri))
        known = storage.get_study_id_by_name_if_exists(name)
        tags = _asked_tags(question)
        if known is None:
            known = storage.create_new_study([_DIRECTIONS[question.direction]], name)
            _describe(known, question, tags, root, parent)
        else:
            before = mlflow.MlflowClient().get_run(known).data.tags
            differing = [k.removeprefix(ASKED_TAG) for k in tags if before.get(k) != tags[k]]
            if differing:
                raise StudyDiffers(name, differing)
            mlflow.MlflowClient().update_run(known, status="RUNNING")
        study = Study(name, storage, question, root)
        others, status = study.running(), "FAILED"
        try:
            yield study
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            study.end(status, others)


_DIRECTIONS = {
    "maximize": optuna.study.StudyDirection.MAXIMIZE,
    "minimize": optuna.study.StudyDirection.MINIMIZE,
}


def _experiment(root: Path, uri: str) -> str:
    client, name = mlflow.MlflowClient(), settings.registry_params(root).model + SUFFIX
    found = client.get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    # Beside the others of a database file; MLflow would take the current folder.
    place = (root / "mlruns" / name).as_uri() if uri.startswith("sqlite:") else None
    return str(client.create_experiment(name, place))


def _asked_tags(question: Question) -> dict[str, str]:
    """What is asked, as hashes: a tag holds only a few thousand characters."""
    return {
        ASKED_TAG + part: hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
        for part, value in question.asked.items()
    }


def _describe(
    run: str, question: Question, tags: Mapping[str, str], root: Path, parent: str | None
) -> None:
    shown = {**question.asked, **question.params}
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in shown.items()}
    below = {"mlflow.parentRunId": parent} if parent else {}
    tags = {**tags, **lineage.collect(root).tags(), **below}
    mlflow.MlflowClient().log_batch(
        run,
        metrics=(),
        params=[Param(k, v[:6000]) for k, v in texts.items()],
        tags=[RunTag(k, v) for k, v in tags.items()],
    )


def _trial(found: FrozenTrial) -> Trial:
    took = found.duration
    return Trial(
        found.number,
        _run(found),
        dict(found.params),
        found.value if found.state == TrialState.COMPLETE else None,
        str(found.user_attrs.get(FAILURE, "")),
        took.total_seconds() if took else 0.0,
    )
