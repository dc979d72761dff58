"""The MLflow registry behind one narrow class: the only module here that imports mlflow."""

from __future__ import annotations

import io
import logging
import re
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any

from registry import settings
from registry.errors import (
    DriverMissing,
    ModelGone,
    ModelNotFound,
    RegistryRefused,
    RegistryUnreachable,
    RunNotFound,
    StoreMissing,
)
from registry.sections import LEDGER_SUFFIX
from registry.settings import without_password
from registry.stages import Stage

settings.quiet()

import mlflow  # noqa: E402 - the switches above are read while it is imported
from mlflow.entities import Metric, Param, RunTag  # noqa: E402
from mlflow.entities.model_registry import ModelVersion  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository  # noqa: E402
from mlflow.store.artifact.runs_artifact_repo import RunsArtifactRepository  # noqa: E402
from sqlalchemy.exc import SQLAlchemyError  # noqa: E402 - MLflow lets these through

# It logs the stack of what it raises as well, and a gateway would fill its log at each look.
logging.getLogger("mlflow.store.db.utils").addFilter(lambda found: found.levelno < logging.ERROR)

ENTRY_TAG = "understudy.entry"
HEAD_TAG = "understudy.head"
"""On the registered model: the ledger head that stages and aliases were last set from."""

STAGES_TAG = "understudy.stages"
"""On the registered model: `none` where the registry has no stages, only aliases."""

REPORT_TAG = "understudy.gate_report"
"""On a version: where among its run's artifacts the newest gate report lies."""
_REPORT_LINK = "[Gate report]"

# Unity Catalog says "unsupported"; other servers do not know the call at all.
_NO_SUCH_CALL = ("NOT_IMPLEMENTED", "ENDPOINT_NOT_FOUND", "FEATURE_DISABLED")
_SAYS_NO_STAGES = re.compile(r"stages? .*(not|un)[ -]?(supported|implemented)|unsupported", re.I)
_UNREACHABLE = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "IO_ERROR")


@dataclass(frozen=True)
class Version:
    """A model version as MLflow has it."""

    number: int
    stage: Stage
    source: str
    run_id: str
    model_id: str
    created: int
    """Milliseconds since 1970, UTC."""
    tags: dict[str, str]


@dataclass(frozen=True)
class Run:
    """A run as MLflow has it; `metrics` are the newest values, `models` the ids it logged."""

    tags: dict[str, str]
    metrics: dict[str, float]
    models: tuple[str, ...]
    params: dict[str, str] = field(default_factory=dict)
    experiment_id: str = ""


@dataclass(frozen=True)
class Shown:
    """What MLflow shows of a model: versions by number, alias to version, head last projected."""

    versions: dict[int, Version]
    aliases: dict[str, int]
    head: str
    has_stages: bool = True


class NumberTaken(Exception):
    """MLflow tried to number an entry, and others were faster every time; nothing was written."""


class NoStages(Exception):
    """The registry knows aliases and no stages."""


class _Client(mlflow.MlflowClient):  # type: ignore[misc] # mlflow ships no types
    """MLflow's client without a question before each write, whether the model is a prompt.

    Who writes here has read the model just before. It is a third of all requests to a server.
    """

    def _raise_if_prompt(self, name: str) -> None:
        pass


class Store:
    """One MLflow store, by tracking URI.

    Raises RegistryUnreachable, RegistryRefused, DriverMissing.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
            raise StoreMissing(uri)  # MLflow would make an empty one, for a mistyped path as well
        self._entries: dict[str, list[tuple[int, str]]] = {}
        with self._reaching():
            mlflow.set_tracking_uri(uri)
            mlflow.set_registry_uri(uri)
            self._client = _Client(tracking_uri=uri, registry_uri=uri)

    # What is there

    def models(self) -> list[str]:
        """Names of all registered models, ledgers left out."""
        with self._reaching():
            found = self._client.search_registered_models(max_results=1000)
        return [m.name for m in found if not m.name.endswith(LEDGER_SUFFIX)]

    def shown(self, model: str) -> Shown:
        """Stages and aliases as they are. Raises ModelNotFound."""
        with self._reaching():
            try:
                registered = self._client.get_registered_model(model)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                if left := len(self._search(model + LEDGER_SUFFIX)):
                    raise ModelGone(model, left) from None
                raise ModelNotFound(model, self.models()) from None
            versions = [_version(v) for v in self._search(model)]
        return Shown(
            {v.number: v for v in versions},
            {alias: int(v) for alias, v in registered.aliases.items()},
            registered.tags.get(HEAD_TAG, ""),
            registered.tags.get(STAGES_TAG, "") != "none",
        )

    def entries(self, model: str, after: int = 0, *, fresh: bool = False) -> list[tuple[int, str]]:
        """The ledger's (number, text) pairs above a number, in order; empty where there is none.

        What this store read before is not fetched again (entries are only ever appended), unless
        it has to be `fresh`.
        """
        known = [] if fresh else self._entries.get(model, [])
        last = known[-1][0] if known else 0
        known += [(number, text) for number, text, _ in self.records(model, last)]
        self._entries[model] = known
        return [pair for pair in known if pair[0] > after]

    def records(self, model: str, after: int = 0) -> list[tuple[int, str, str]]:
        """The ledger's (number, text, sentence) above a number, in order."""
        since = f" and version_number > {after}" if after else ""
        with self._reaching():
            found = self._search(model + LEDGER_SUFFIX, since)
        return sorted(
            (int(v.version), v.tags.get(ENTRY_TAG, ""), v.description or "") for v in found
        )

    def run(self, run_id: str) -> Run:
        """A run's tags, metrics and models. Raises RunNotFound."""
        with self._reaching():
            try:
                found = self._client.get_run(run_id)
            except MlflowException as error:
                if error.error_code in _UNREACHABLE:
                    raise
                raise RunNotFound(run_id, "there is no such run") from None
        return _run(found)

    def runs(self, run_ids: Collection[str]) -> dict[str, Run]:
        """Those of the runs that exist, by id; a hundred with each request."""
        ids = sorted({r for r in run_ids if re.fullmatch(r"[\w-]+", r)})
        found: dict[str, Run] = {}
        with self._reaching():
            experiments = [e.experiment_id for e in self._client.search_experiments()]
            for some in (ids[i : i + 100] for i in range(0, len(ids), 100)):
                quoted = ", ".join(f"'{r}'" for r in some)
                page = self._client.search_runs(
                    experiments, f"attributes.run_id IN ({quoted})", max_results=len(some)
                )
                found.update((r.info.run_id, _run(r)) for r in page)
        return found

    def location(self, version: Version) -> str:
        """Where a version's files lie, without a `models:` or `runs:` in it.

        It is the version's source that is followed, for that is what is downloaded; its model's id
        and its run are only what somebody has written beside it.
        """
        found = version.source
        with self._reaching():
            mlflow.set_tracking_uri(self.uri)  # whoever follows `models:` asks MLflow's global one
            for _ in range(10):  # a version may be a copy of a copy
                if found.startswith("models:"):
                    found = str(ModelsArtifactRepository.get_underlying_uri(found))
                elif found.startswith("runs:"):
                    found = str(RunsArtifactRepository.get_underlying_uri(found, self.uri))
        return found

    def experiment_location(self, run_id: str) -> str:
        """Where the artifacts of a run's experiment lie, as a URI."""
        with self._reaching():
            experiment = self._client.get_run(run_id).info.experiment_id
            return str(self._client.get_experiment(experiment).artifact_location)

    def kept(self, run_id: str, folder: str) -> list[str]:
        """Paths of the files directly in one folder of a run's artifacts."""
        with self._reaching():
            return [a.path for a in self._client.list_artifacts(run_id, folder) if not a.is_dir]

    # What is written

    def create_version(self, model: str, model_id: str, tags: dict[str, str]) -> int:
        """Register a logged model; returns the number MLflow gave it."""
        with self._reaching(), _silent():
            made = mlflow.register_model(f"models:/{model_id}", model, tags=tags)
        return int(made.version)

    def append(self, model: str, about: Version, text: str, sentence: str) -> int:
        """Add a ledger entry about a version; returns the entry's number.

        MLflow gives out the numbers atomically; over REST an entry must name a source that
        exists, which is why it borrows that of the version it speaks of.
        """
        with self._reaching(), _silent_logs():
            try:
                return self._append(model, about, text, sentence)
            except MlflowException as error:
                if error.error_code == "RESOURCE_ALREADY_EXISTS":
                    # Three lost races for a number, one after the other: MLflow gives up then.
                    raise NumberTaken from None
                # A server with users says that one may not, of what is not there, too.
                if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "PERMISSION_DENIED"):
                    raise
                before = error
            try:
                self._client.create_registered_model(
                    model + LEDGER_SUFFIX,
                    description=f"The ledger of {model}: one version per decision.",
                )
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                if before.error_code == "PERMISSION_DENIED":  # it is there, and is not ours
                    raise before from None
            return self._append(model, about, text, sentence)

    def _append(self, model: str, about: Version, text: str, sentence: str) -> int:
        made = self._client.create_model_version(
            model + LEDGER_SUFFIX,
            source=about.source,
            run_id=about.run_id or None,
            model_id=about.model_id or None,
            tags={ENTRY_TAG: text},
            description=sentence,
            await_creation_for=0,
        )
        return int(made.version)

    def set_stage(self, model: str, version: int, stage: Stage) -> None:
        """Show a version in a stage, archiving whoever MLflow has there. Raises NoStages."""
        with self._reaching(), warnings.catch_warnings():
            # MLflow deprecates stages in words since 2.9; they are what this project shows.
            warnings.simplefilter("ignore", FutureWarning)
            try:
                self._client.transition_model_version_stage(
                    model,
                    str(version),
                    stage.value,
                    archive_existing_versions=stage in (Stage.STAGING, Stage.PRODUCTION),
                )
            except MlflowException as error:
                if error.error_code in _NO_SUCH_CALL or _SAYS_NO_STAGES.search(error.message):
                    raise NoStages from None
                raise

    def note_no_stages(self, model: str) -> None:
        """Remember that this registry knows aliases only."""
        with self._reaching():
            self._client.set_registered_model_tag(model, STAGES_TAG, "none")

    def set_alias(self, model: str, alias: str, version: int | None) -> None:
        """Point an alias at a version, or take it away."""
        with self._reaching():
            if version is None:
                self._client.delete_registered_model_alias(model, alias)
            else:
                self._client.set_registered_model_alias(model, alias, str(version))

    def set_version_tag(self, model: str, version: int, key: str, value: str) -> None:
        """Set a tag of a version."""
        with self._reaching():
            self._client.set_model_version_tag(model, str(version), key, value)

    def link_report(self, model: str, version: Version, path: str) -> None:
        """Point a version at its gate report: a tag, and a link for the MLflow UI.

        The link is the version's description, unless somebody wrote another one there.
        """
        number = str(version.number)
        with self._reaching():
            self._client.set_model_version_tag(model, number, REPORT_TAG, path)
            before = self._client.get_model_version(model, number).description or ""
            if before and not before.startswith(_REPORT_LINK):
                return
            experiment = self._client.get_run(version.run_id).info.experiment_id
            page = f"#/experiments/{experiment}/runs/{version.run_id}/artifacts/{path}"
            self._client.update_model_version(model, number, f"{_REPORT_LINK}({page})")

    def set_head(self, model: str, head: str) -> None:
        """Note up to which entry stages and aliases are set."""
        with self._reaching():
            self._client.set_registered_model_tag(model, HEAD_TAG, head)

    # Artifacts

    def attach(self, run_id: str, text: str, path: str) -> None:
        """Keep a text among a run's artifacts, at `path`."""
        with self._reaching(), _silent_logs():
            self._client.log_text(run_id, text, path)

    def publish(
        self,
        experiment: str,
        name: str,
        *,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        files: Mapping[str, str],
        run: str | None = None,
        moment: float | None = None,
        parent: str | None = None,
    ) -> str:
        """Write a finished run of its own, with texts as artifacts by their path; its id.

        With `run`, that one gets it instead, where it still exists. Metrics are those of a moment
        (seconds since 1970), which is their step, too; `parent` is the run it is shown below.
        """
        step = 0 if moment is None else int(moment)
        stamp = int((time.time() if moment is None else moment) * 1000)
        with self._reaching(), _silent_logs():
            if run is None or not self._is_there(run):
                found = self._client.get_experiment_by_name(experiment)
                where = (
                    found.experiment_id
                    if found
                    else self._client.create_experiment(experiment, self._beside(experiment))
                )
                # A run that anybody can see has its tags, even if nothing more comes of it.
                below = {"mlflow.parentRunId": parent} if parent else {}
                made = self._client.create_run(where, run_name=name, tags={**below, **tags})
                run = str(made.info.run_id)
                tags = {}
            self._client.log_batch(
                run,
                params=[Param(key, text) for key, text in params.items()],
                tags=[RunTag(key, text) for key, text in tags.items()],
            )
            values = [Metric(key, value, stamp, step) for key, value in metrics.items()]
            for start in range(0, len(values), 1000):  # as many as MLflow takes at once
                self._client.log_batch(run, metrics=values[start : start + 1000])
            for path, text in files.items():
                self._client.log_text(run, text, path)
            self._client.set_terminated(run)
            return run

    def _beside(self, experiment: str) -> str | None:
        """Where artifacts of a new experiment go: beside a database file, else the server's way.

        MLflow itself would put them into whatever folder the process runs in.
        """
        if not self.uri.startswith("sqlite:///"):
            return None
        folder = Path(self.uri.removeprefix("sqlite:///")).resolve().parent
        return (folder / "mlruns" / experiment).as_uri()

    def _is_there(self, run: str) -> bool:
        """Whether a run can be written to."""
        try:
            return str(self._client.get_run(run).info.lifecycle_stage) == "active"
        except MlflowException as error:
            if error.error_code in _UNREACHABLE:
                raise
            return False

    def download_model(self, source: str, folder: Path) -> Path:
        """Copy the files of a model (`models:/...`, or any artifact URI) below `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        with self._reaching(), _silent_logs():
            return Path(mlflow.artifacts.download_artifacts(source, dst_path=str(folder)))

    def download_run_folder(self, run_id: str, path: str, folder: Path) -> Path:
        """Copy one folder or file of a run's artifacts below `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        with self._reaching():
            return Path(self._client.download_artifacts(run_id, path, str(folder)))

    def _search(self, name: str, further: str = "") -> list[ModelVersion]:
        found: list[ModelVersion] = []
        token: str | None = ""
        while token is not None:
            page = self._client.search_model_versions(
                f"name='{name}'{further}", max_results=1000, page_token=token or None
            )
            found.extend(page)
            token = page.token or None
        return found

    def _reaching(self) -> AbstractContextManager[None]:
        return reaching(self.uri)


@contextmanager
def reaching(uri: str) -> Iterator[None]:
    """Turns what MLflow raises into RegistryUnreachable, RegistryRefused and DriverMissing."""
    try:
        yield
    except MlflowException as error:
        first = without_password(_said(str(error.message)))
        if error.error_code in _UNREACHABLE or "Max retries exceeded" in first:
            raise RegistryUnreachable(
                without_password(uri), _short(first, str(error.message))
            ) from None
        if "unsupported URI" in first:
            first = (
                "MLflow knows no stores of this kind, but those at http:, https:, sqlite:, "
                "postgresql:, mysql: and mssql: addresses"
            )
        if error.error_code == "UNAUTHENTICATED" or "error code 401" in first:
            first = (
                "it asks who you are; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
                "or MLFLOW_TRACKING_TOKEN"
            )
        raise RegistryRefused(
            without_password(uri), shorten(first, 200, placeholder=" ...")
        ) from None
    except ModuleNotFoundError as error:
        raise DriverMissing(without_password(uri), error.name or str(error)) from None
    except SQLAlchemyError as error:
        raise RegistryUnreachable(without_password(uri), type(error).__name__) from None


def load(folder: Path) -> Any:
    """A downloaded model as a Python function with `predict` and `metadata`."""
    with _silent():
        return mlflow.pyfunc.load_model(str(folder))


def input_example(folder: Path) -> Any:
    """The example kept with a downloaded model, or None."""
    return mlflow.models.Model.load(str(folder)).load_input_example(str(folder))


@contextmanager
def connect(root: Path | None = None, *, uri: str | None = None) -> Iterator[tuple[Store, Path]]:
    """A store and a folder for what is downloaded, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="understudy-") as folder:
        yield Store(uri or settings.tracking_uri(root)), Path(folder)


def _run(raw: Any) -> Run:
    outputs = raw.outputs.model_outputs if raw.outputs else []
    return Run(
        tags=dict(raw.data.tags),
        metrics=dict(raw.data.metrics),
        models=tuple(str(output.model_id) for output in outputs),
        params=dict(raw.data.params),
        experiment_id=str(raw.info.experiment_id),
    )


def _version(raw: ModelVersion) -> Version:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # reading a stage warns as well
        stage = Stage(raw.current_stage or "None")
    source = raw.source or ""
    model_id = source.removeprefix("models:/") if source.startswith("models:/m-") else ""
    return Version(
        number=int(raw.version),
        stage=stage,
        source=source,
        run_id=raw.run_id or "",
        model_id=raw.model_id or model_id,
        created=int(raw.creation_timestamp or 0),
        tags=dict(raw.tags),
    )


def _said(message: str) -> str:
    """A line of what the store answered, its body only where it is no page for a browser."""
    said, *body = re.split(r"[.,;]?\s*Response body:?\s*", message.strip())
    lines = [said.partition("\n")[0] or "no reason given"]
    if body and "<" not in body[0]:
        lines += [body[0].strip("'\"\n ").partition("\n")[0]]
    return ": ".join(line for line in lines if line)


def _short(text: str, whole: str = "") -> str:
    """Why a store does not answer, in few words."""
    for sign in ("Connection refused", "timed out", "Name or service not known"):
        if sign in text:
            return sign.lower()
    if told := re.search(r"too many (\d{3}) error responses|error code (\d{3})", whole):
        return f"it answered {told[1] or told[2]}"
    return shorten(text, 120, placeholder=" ...")


class _Shared:
    """A change to the whole process: made by the first thread that wants it, undone by the last."""

    def __init__(self, change: Callable[[], Callable[[], None]]) -> None:
        """`change` makes it, and returns what undoes it."""
        self._change, self._lock, self._count = change, threading.Lock(), 0

    @contextmanager
    def made(self) -> Iterator[None]:
        """For a block."""
        with self._lock:
            self._count += 1
            if self._count == 1:
                self._undo = self._change()
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
                if self._count == 0:
                    self._undo()


def _quiet_loggers() -> Callable[[], None]:
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    levels = [logger.level for logger in loggers]

    def undo() -> None:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

    for logger in loggers:
        logger.setLevel(logging.ERROR)
    return undo


def _no_stderr() -> Callable[[], None]:
    redirected = redirect_stderr(io.StringIO())
    redirected.__enter__()
    return lambda: redirected.__exit__(None, None, None)


_logs, _stderr = _Shared(_quiet_loggers), _Shared(_no_stderr)


def _silent_logs() -> AbstractContextManager[None]:
    """MLflow reports what it writes and migrates in lines nobody asked for."""
    return _logs.made()


@contextmanager
def _silent() -> Iterator[None]:
    """Where it prints them, too, as with each registration, or others do, as models may."""
    with _silent_logs(), _stderr.made():
        yield
