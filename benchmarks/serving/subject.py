"""What is served: a registry with three versions of a model, and requests of one row."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from registry import promote, register
from registry.errors import VersionArchived
from registry.promote import Wish
from registry.sections import GATES, GateParams
from registry.stages import Stage
from registry.store import Store

OFF = GateParams(skip=GATES)
WISH = Wish("benchmark", "a benchmark")
COLUMNS = [f"x{i}" for i in range(16)]


@dataclass(frozen=True)
class Subject:
    """A registry: v2 in Production after v1, and v3 that waits."""

    root: Path
    rows: pd.DataFrame

    @property
    def uri(self) -> str:
        """Of the store."""
        return f"sqlite:///{self.root}/mlflow.db"

    @property
    def split(self) -> bytes:
        """A request of one row to `/invocations`."""
        return split(self._row(0))

    @property
    def tensors(self) -> bytes:
        """The same row for the Open Inference Protocol."""
        return tensors(self._row(0))

    def files(self, version: int) -> Path:
        """Where the artifact of a version lies."""
        store = Store(self.uri)
        place = store.location(store.shown("m").versions[version])
        return Path(place.removeprefix("file://"))

    def promote(self, version: int) -> int:
        """To Production, without gates and without a word to any gateway; the ledger entry.

        One that was there before goes by Staging, as it must.
        """
        try:
            return self._move(version, Stage.PRODUCTION)
        except VersionArchived:
            self._move(version, Stage.STAGING)
            return self._move(version, Stage.PRODUCTION)

    def _move(self, version: int, to: Stage) -> int:
        with tempfile.TemporaryDirectory() as name:
            done = promote.promote(
                Store(self.uri), "m", version, to=to, params=OFF, wish=WISH, folder=Path(name)
            )
        return done.number or 0

    def rollback(self) -> int:
        """To the former version, without a word to any gateway; the ledger entry."""
        return promote.rollback(Store(self.uri), "m", to=None, wish=WISH).number or 0

    def _row(self, number: int) -> list[float]:
        return [float(value) for value in self.rows.iloc[number]]


def split(row: Sequence[float]) -> bytes:
    """One row as MLflow's `dataframe_split`."""
    return json.dumps({"dataframe_split": {"columns": COLUMNS, "data": [list(row)]}}).encode()


def tensors(row: Sequence[float]) -> bytes:
    """One row as a tensor for each column; MLServer's MLflow runtime takes named columns so."""
    inputs: list[dict[str, Any]] = [
        {"name": name, "shape": [1], "datatype": "FP64", "data": [value]}
        for name, value in zip(COLUMNS, row, strict=True)
    ]
    return json.dumps({"inputs": inputs}).encode()


def make(root: Path) -> Subject:
    """Train and register the versions in a new store below `root`."""
    import mlflow
    from sklearn.ensemble import HistGradientBoostingClassifier

    drawn = np.random.default_rng(0)
    rows = pd.DataFrame(drawn.normal(size=(20_000, 16)), columns=COLUMNS)
    label = (rows.sum(axis=1) + drawn.normal(size=len(rows)) > 0).astype(int)
    subject = Subject(root, rows.head(100))
    mlflow.MlflowClient(subject.uri).search_experiments()
    mlflow.set_tracking_uri(subject.uri)
    experiment = mlflow.create_experiment("benchmark", (root / "artifacts").as_uri())
    store = Store(subject.uri)
    store._client.create_registered_model("m")
    for number in (1, 2, 3):
        model = HistGradientBoostingClassifier(max_iter=300, random_state=number).fit(rows, label)
        with mlflow.start_run(experiment_id=experiment) as run, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = mlflow.sklearn.log_model(
                model,
                name="model",
                input_example=rows.head(3),
                pip_requirements=["mlflow", "scikit-learn"],
                skops_trusted_types=[
                    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
                ],
            )
        store._client.create_model_version(
            "m", made.model_uri, run_id=run.info.run_id, model_id=made.model_id
        )
        where = root / f"register-{number}"
        where.mkdir()
        register.register_version(store, "m", number, wish=WISH, folder=where)
        if number < 3:
            subject.promote(number)
    return subject
