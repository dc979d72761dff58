"""Makes runs of tiny real models, each with the rows it held out, as the pipeline logs them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from registry.record import ANSWER, Record

RECORD = Record("binary", "y", ("a", "b"), "roc_auc", ("no", "yes"), "yes")


def table(rows: int, seed: int) -> pd.DataFrame:
    """Columns a, b and y; both numbers tell something of y, `a` more than `b`."""
    rng = np.random.default_rng(seed)
    y = rng.random(rows) < 0.4
    a, b = y + rng.normal(0, 0.9, rows), y + rng.normal(0, 2.5, rows)
    return pd.DataFrame({"a": a, "b": b, "y": np.where(y, "yes", "no")})


def make_runs(folder: Path) -> dict[str, str]:
    """Name to run id; `worse` was trained on shuffled labels, `broken` has lost its model file."""
    import mlflow

    from pipelines import track
    from pipelines.named_answers import NamedAnswers

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.create_experiment("tiny", artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_experiment("tiny")
    train, held = table(600, 1), table(400, 2)
    runs = {}
    for name in ("good", "same", "better", "worse", "broken"):
        rows = train.copy()
        features = ["b"] if name in ("good", "same") else ["a", "b"]
        rows.loc[:, [c for c in ("a", "b") if c not in features]] = 0.0
        if name == "worse":
            rows["y"] = rows["y"].sample(frac=1, random_state=3).to_numpy()
        pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(
            rows[["a", "b"]], rows["y"]
        )
        with mlflow.start_run(run_name=name) as run:
            uri = track.model(pipeline, rows[["a", "b"]], ("sklearn",))
            answers = NamedAnswers(pipeline).predict(rows[["a", "b"]]).add_prefix(ANSWER)
            track.keep(RECORD, holdout=held, reference=pd.concat([rows, answers], axis=1))
        runs[name] = run.info.run_id
        if name == "broken":
            _break(Path(mlflow.artifacts.download_artifacts(uri)))
    mlflow.set_tracking_uri(None)
    return runs


def _break(model: Path) -> None:
    (model / "model.skops").unlink()
    shutil.rmtree(model / "code")
