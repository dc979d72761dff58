"""A store with versions whose pipelines have text, numbers and gaps, as the pipeline logs them."""

from __future__ import annotations

import contextlib
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder

from cli.main import main
from registry.record import ANSWER, Record

FEATURES = ("town", "kind", "heat (°C)", "wet")
TEXT, NUMBERS = FEATURES[:2], FEATURES[2:]
HGB, UNCONVERTIBLE, NOTHING_KEPT, REQUIRED = 1, 2, 3, 4
"""What the versions are."""


def rows(count: int, seed: int, towns: int = 60) -> pd.DataFrame:
    """FEATURES and `y`; 60 towns, a kind that may be missing, and gaps in one number."""
    rng = np.random.default_rng(seed)
    town, heat = rng.integers(0, towns, count), rng.normal(10, 8, count)
    table = pd.DataFrame(
        {
            "town": [f"town {n}" for n in town],
            "kind": pd.Series(rng.choice(["a", "ü", "c d"], count), dtype=object),
            "heat (°C)": np.where(rng.random(count) < 0.2, np.nan, heat),
            "wet": rng.integers(0, 4, count).astype(float),
        }
    )
    table.loc[rng.random(count) < 0.1, "kind"] = None
    chance = (town % 3 == 0) + (heat > 10) + (table["kind"] == "a") + rng.normal(0, 0.7, count)
    table["y"] = np.where(chance > 1.3, "yes", "no")
    return table


def ordinal(estimator: Any) -> Pipeline:
    """Categories as codes, NaN where they are unseen or missing; the rarest share one."""
    encoder = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan,
        max_categories=50,
    )  # fmt: skip
    return _pipeline(encoder, "passthrough", estimator)


def onehot(estimator: Any, number: Any = "passthrough", **options: Any) -> Pipeline:
    """Categories as columns of zeros and ones."""
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False, **options)
    return _pipeline(encoder, number, estimator)


def _pipeline(encoder: Any, number: Any, estimator: Any) -> Pipeline:
    parts = [("categorical", encoder, list(TEXT)), ("numeric", number, list(NUMBERS))]
    return Pipeline([("prepare", ColumnTransformer(parts)), ("estimate", estimator)])


def boosted() -> Pipeline:
    """As params.yaml of the demonstration has it, in small."""
    return ordinal(HistGradientBoostingClassifier(max_iter=40, categorical_features=[0, 1]))


def _pipelines() -> dict[int, Pipeline]:
    log = ColumnTransformer([("log", FunctionTransformer(np.log1p), ["wet"])])
    plain = ColumnTransformer([("same", "passthrough", ["wet"])])
    return {
        HGB: boosted(),
        UNCONVERTIBLE: Pipeline([("prepare", log), ("estimate", LogisticRegression())]),
        NOTHING_KEPT: Pipeline([("prepare", plain), ("estimate", LogisticRegression())]),
        REQUIRED: Pipeline([("prepare", plain), ("estimate", LogisticRegression())]),
    }


def make_store(migrated: Path, folder: Path) -> Path:
    """The database of a store with these versions; its artifacts lie beside it."""
    import mlflow

    from pipelines import track
    from pipelines.named_answers import NamedAnswers
    from registry import promote, register
    from registry.promote import Wish
    from registry.sections import GATES, GateParams
    from registry.stages import Stage
    from registry.store import Store

    database = Path(shutil.copy2(migrated, folder / "mlflow.db"))
    uri = f"sqlite:///{database}"
    about = Record("binary", "y", FEATURES, "roc_auc", ("no", "yes"), "yes")
    train, held = rows(1500, 1), rows(500, 2)
    with contextlib.chdir(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.set_tracking_uri(uri)
        mlflow.create_experiment("mixed", artifact_location=(folder / "artifacts").as_uri())
        mlflow.set_experiment("mixed")
        for number, pipeline in _pipelines().items():
            features = train[list(FEATURES)]
            pipeline.fit(features, train["y"])
            with mlflow.start_run() as run:
                track.model(pipeline, features, ("sklearn",))
                answers = NamedAnswers(pipeline).predict(features).add_prefix(ANSWER)
                if number != NOTHING_KEPT:
                    reference = pd.concat([train, answers], axis=1)
                    track.keep(about, holdout=held, reference=reference)
            wish = Wish("tester")
            register.register_run(Store(uri), "m", run.info.run_id, wish=wish, folder=folder)
        params = GateParams(skip=tuple(g for g in GATES if g != "loads"))
        promote.promote(
            Store(uri), "m", HGB, to=Stage.PRODUCTION, params=params, wish=wish, folder=folder
        )
        mlflow.set_tracking_uri(None)
    return database


@dataclass(frozen=True)
class Mixed:
    """A project of model `m` whose commands run in this process; version 1 is in Production."""

    root: Path

    def __call__(self, *arguments: str, code: int = 0) -> Result:
        """Run `understudy package ...`, which must end with this exit code, never with a trace."""
        done = CliRunner().invoke(main, ["package", *arguments], prog_name="understudy")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        return done

    def files(self) -> list[Path]:
        """All files of the project."""
        return sorted(path for path in self.root.rglob("*") if not path.is_dir())

    def refused(self, *arguments: str, code: int = 1) -> str:
        """The sentence of a command that fails and leaves nothing."""
        before = self.files()
        done = self(*arguments, code=code)
        assert done.stdout == ""
        assert self.files() == before
        return done.stderr.strip().splitlines()[-1].removeprefix("Error: ")


@contextlib.contextmanager
def opened(template: Path, folder: Path) -> Iterator[Mixed]:
    """A project below `folder`, which is the current one meanwhile, on a copy of that store."""
    (folder / "store").mkdir()
    shutil.copy2(template, folder / "store" / "mlflow.db")
    (root := folder / "project").mkdir()
    (root / "params.yaml").write_text("registry: {model: m}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/store/mlflow.db")
        patch.setenv("UNDERSTUDY_ACTOR", "tester")
        yield Mixed(root)
