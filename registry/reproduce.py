"""Makes a version again from its record, compares, and writes the verdict into the ledger."""

from __future__ import annotations

import json
import math
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from registry import compare, difference, explain, promote, rebuild, record
from registry.compare import Found, Gap, Result
from registry.errors import (
    CommitUnknown,
    DataUnobtainable,
    DiffMissing,
    EnvironmentFailed,
    FolderTaken,
    PipelineFailed,
    RecordAltered,
    ToleranceRefused,
)
from registry.promote import Wish
from registry.rebuild import Recipe, Workshop
from registry.record import Origin
from registry.store import Run, Store, Version

KIND = "reproduce"
TAG = "understudy.reproduced"
"""On a version: the last verdict, and when."""
TOLERANCE = 0.001
"""How far the held-out metrics may lie apart, in each metric's own unit."""
RUN_FILE = Path("artifacts/train/run.json")
"""Where the pipeline notes the run that it trained."""

_OF_THE_ENVIRONMENT = {"conda.yaml", "python_env.yaml", "requirements.txt"}
"""Files that MLflow writes of what is installed, pip among it, which no lock holds."""

# Runs in the version's own environment, on a model's files, and needs no package of ours.
_ANSWER = """
import sys, warnings
warnings.simplefilter("ignore")
import mlflow.pyfunc, pandas
rows = pandas.read_parquet(sys.argv[1])
for model, out in zip(sys.argv[2::2], sys.argv[3::2]):
    try:
        found = pandas.DataFrame(mlflow.pyfunc.load_model(model).predict(rows))
        found.columns = ["prediction" if c == 0 else str(c) for c in found]
        found.to_parquet(out)
    except Exception as error:
        print(model, type(error).__name__, error)
"""


@dataclass(frozen=True)
class Reproduction:
    """What came of it; `number` is the ledger entry's."""

    model: str
    version: int
    result: Result
    environment: str
    """Where it was made, in words."""
    data_from: str
    seconds: float
    number: int

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {
            "model": self.model,
            "version": self.version,
            **self.result.as_dict(),
            "environment": self.environment,
            "data_from": self.data_from,
            "seconds": self.seconds,
            "ledger_entry": self.number,
        }


@dataclass(frozen=True)
class Made:
    """A model with what its run kept, downloaded."""

    run: Run
    origin: Origin
    files: Path
    kept: Path | None
    """The folder of what the run kept (registry.record), None where it is gone."""


def reproduce(
    store: Store,
    model: str,
    version: int,
    *,
    root: Path,
    wish: Wish,
    tolerance: float = TOLERANCE,
    keep: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Reproduction:
    """Make a version again in a clean worktree and a store of its own, and record the verdict.

    `root` is the project, whose repository must hold the version's commit. With `keep`, the
    rebuilt model, what its run kept and the log are copied there.
    Raises NotReproducible, ToleranceRefused, FolderTaken, VersionNotFound.
    """
    begin = datetime.now(UTC)
    if not 0 <= tolerance < math.inf:
        raise ToleranceRefused(tolerance)
    if keep is not None and keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise FolderTaken(keep)
    # Whatever would keep the verdict from being recorded is said before the work is done.
    rehearsal = replace(wish, dry_run=True)
    promote.note(store, model, version, kind=KIND, evidence={}, wish=rehearsal)
    recipe, about = _recipe(store, model, version, root)
    with tempfile.TemporaryDirectory(prefix="understudy-") as elsewhere:
        original = _download(store, about, Path(elsewhere) / "original")
        with rebuild.workshop(root, recipe, say) as shop, _kept(shop, keep):
            environment = rebuild.environment(shop, recipe)
            data_from = rebuild.data(shop, recipe)
            rebuild.pipeline(shop)
            rebuilt = _rebuilt(shop)
            say("comparing files, answers and metrics")
            found = _compare(shop, original, rebuilt)
            if keep is not None:
                _keep(keep, rebuilt)
        causes = _causes(recipe, original.origin, rebuilt.origin, found)
        result = compare.judge(found, tolerance=tolerance, causes=causes)
    seconds = round((datetime.now(UTC) - begin).total_seconds(), 1)
    number = _record(
        Store(store.uri),  # the one in the workshop was the last that mlflow was pointed at
        model,
        version,
        {**result.as_dict(), "environment": environment, "data_from": data_from},
        replace(wish, reason=wish.reason or result.sentence[:500]),
    )
    return Reproduction(model, version, result, environment, data_from, seconds, number)


def _recipe(store: Store, model: str, version: int, root: Path) -> tuple[Recipe, Version]:
    """What the record says of how to make it. Raises where it does not say enough."""
    _, entered, about = explain.find(store, model, version)
    known = explain.known(store, model, version, root)
    origin = explain.origin(store, about)
    noted = entered.entry.evidence.get("lineage", {}).get("origin_sha256", origin.sha256)
    if noted != origin.sha256:
        raise RecordAltered(version, about.run_id)
    if known.code.subject is None:
        raise CommitUnknown(known.code.commit)
    if known.code.dirty and not origin.diff:
        raise DiffMissing(version, known.code.commit)
    if not known.data.md5:
        raise DataUnobtainable("", ["its record names no data version"])
    return Recipe(
        commit=known.code.commit,
        data_md5=known.data.md5,
        # A difference of what was not dirty is none of this version's.
        origin=origin if known.code.dirty else replace(origin, diff=b""),
        lock=_lock(explain.lock(store, about), known.lock_sha256),
    ), about


def _lock(kept: str, recorded: str) -> str:
    if recorded and rebuild.sha256(kept) != recorded:
        why = "is not the one that its lineage names" if kept else "is gone"
        raise EnvironmentFailed("reading the lock", f"the lock kept with the run {why}")
    return kept


def _download(store: Store, about: Version, folder: Path) -> Made:
    files = store.download_model(about.source, folder / "model")
    kept = None
    if about.run_id and store.kept(about.run_id, record.FOLDER):
        kept = store.download_run_folder(about.run_id, record.FOLDER, folder)
    run = store.run(about.run_id) if about.run_id else Run({}, {}, ())
    return Made(run, record.read_origin(kept or folder), files, kept)


def _rebuilt(shop: Workshop) -> Made:
    try:
        run_id = str(json.loads((shop.project / RUN_FILE).read_text())["run_id"])
    except (OSError, ValueError, KeyError, TypeError):
        raise PipelineFailed("dvc repro", f"it left no run in {RUN_FILE}") from None
    store = Store(shop.uri)
    run = store.run(run_id)
    if len(run.models) != 1:
        raise PipelineFailed("dvc repro", f"its run logged {len(run.models)} models, not one")
    folder = shop.folder / "rebuilt"
    files = store.download_model(f"models:/{run.models[0]}", folder / "model")
    kept = store.download_run_folder(run_id, record.FOLDER, folder)
    return Made(run, record.read_origin(kept), files, kept)


def _compare(shop: Workshop, original: Made, rebuilt: Made) -> Found:
    differing = compare.files(compare.contents(original.files), compare.contents(rebuilt.files))
    return replace(
        _gaps(shop, original, rebuilt),
        files=differing,
        metrics=compare.metrics(original.run.metrics, rebuilt.run.metrics),
    )


def _gaps(shop: Workshop, original: Made, rebuilt: Made) -> Found:
    """The rebuilt model's answers against those kept, and against the original's now.

    The latter on the held-out rows as well: of rows that it was fitted on, a model may know the
    labels by heart.
    """
    try:
        if original.kept is None:
            return Found()
        about = record.read(original.kept)
        sample, then = record.reference(original.kept)
        asked = pd.concat(
            [part[list(about.features)] for part in (sample, record.holdout(original.kept))],
            ignore_index=True,
        )
    except ValueError:
        return Found()
    rows = shop.folder / "rows.parquet"
    asked.to_parquet(rows)
    outs = [shop.folder / f"answers-{name}.parquet" for name in ("rebuilt", "original")]
    pairs = zip((rebuilt.files, original.files), outs, strict=True)
    shop.run(shop.python, "-c", _ANSWER, str(rows), *(str(path) for pair in pairs for path in pair))
    again, now = (pd.read_parquet(out) if out.is_file() else None for out in outs)
    if again is None:
        nothing = Gap(problem="the rebuilt model gives none")
        return Found(kept=nothing, original=nothing)
    kept = compare.answers(then, again.head(len(then)))
    if now is None:
        gone = Gap(problem="the original's artifact gives none")
        return Found(kept=kept, original=gone, artifact=gone)
    return Found(
        kept=kept,
        original=compare.answers(now, again),
        artifact=compare.answers(then, now.head(len(then))),
    )


def _causes(recipe: Recipe, then: Origin, now: Origin, found: Found) -> tuple[str, ...]:
    """What is known to have been otherwise, each as a sentence."""
    causes = []
    if now.data.md5 and now.data.md5 != recipe.data_md5:
        causes.append(f"data: {now.data.md5}, recorded {recipe.data_md5}")
    if then.data.holdout_sha256 and then.data.holdout_sha256 != now.data.holdout_sha256:
        causes.append("data: the held-out rows are not the same")
    for name, (a, b) in difference.params(then.params, now.params).items():
        causes.append(f"params: {name} was {a!r} and is {b!r}")
    if not then.params:
        causes.append("params: not kept with the run, those of its commit were used")
    before, after = then.environment, now.environment
    for name in sorted({*before.packages, *after.packages} if before.packages else ()):
        a, b = before.packages.get(name), after.packages.get(name)
        if a != b:
            causes.append(f"packages: {name} was {a} and is {b}")
    if not recipe.lock:
        causes.append("lock: none was kept, so packages may differ")
    if before.python and before.python != after.python:
        causes.append(f"python: it was {before.python} and is {after.python}")
    here = after.platform or f"{platform.system()} {platform.machine()}"
    if before.platform and before.platform != here:
        causes.append(f"platform: it was {before.platform} and is {here}")
    if found.artifact is not None and not found.artifact.equal:
        causes.append("artifact: the original answers otherwise than it did when it was trained")
    if found.files and set(found.files) <= _OF_THE_ENVIRONMENT:
        causes.append(f"files: only what describes the environment, {', '.join(found.files)}")
    return tuple(causes) or (
        "nothing that was recorded differs: the training is not the same from run to run "
        "(threads, randomness without a seed)",
    )


@contextmanager
def _kept(shop: Workshop, keep: Path | None) -> Iterator[None]:
    """Keep the log, most of all where something fails."""
    try:
        yield
    finally:
        if keep is not None and shop.log.is_file():
            keep.mkdir(parents=True, exist_ok=True)
            shutil.copy2(shop.log, keep / "log.txt")


def _keep(keep: Path, rebuilt: Made) -> None:
    keep.mkdir(parents=True, exist_ok=True)
    shutil.copytree(rebuilt.files, keep / "model")
    if rebuilt.kept is not None:
        shutil.copytree(rebuilt.kept, keep / record.FOLDER)


def _record(store: Store, model: str, version: int, facts: dict[str, Any], wish: Wish) -> int:
    done = promote.note(
        store, model, version, kind=KIND, evidence={"reproduction": facts}, wish=wish
    )
    when = datetime.now(UTC).isoformat(timespec="seconds")
    store.set_version_tag(model, version, TAG, f"{facts['verdict']} {when}")
    return done.number or 0
