"""The plain script that `dvc repro` is held against: same files, same model, same metrics."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from sklearn import metrics as sk
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder


def measure(labels: pd.Series, share: np.ndarray) -> dict[str, float]:
    """The six metrics of a binary problem."""
    late = (labels == "late").to_numpy()
    guess = share >= 0.5
    found = {
        "log_loss": sk.log_loss(late, share),
        "brier": sk.brier_score_loss(late, share),
        "accuracy": sk.accuracy_score(late, guess),
        "f1": sk.f1_score(late, guess, zero_division=0.0),
    }
    if late.any() and not late.all():
        found["roc_auc"] = sk.roc_auc_score(late, share)
        found["average_precision"] = sk.average_precision_score(late, share)
    return {k: float(v) for k, v in found.items()}


def main(folder: Path) -> None:
    """Print the metrics on the held-out rows as JSON."""
    params = yaml.safe_load((folder / "params.yaml").read_text())
    data, train = params["data"], params["train"]
    table = pd.concat([pd.read_csv(f) for f in sorted((folder / "data").glob("*.csv"))])
    table = table.dropna(subset=[data["target"]]).sort_values(data["time"], kind="stable")
    place = (table[data["time"]].rank(method="min").to_numpy() - 1) / len(table)
    held = place >= 1 - data["holdout"]
    valid = (place >= 1 - data["holdout"] - data["valid"]) & ~held
    columns = [*data["categorical"], *data["numeric"]]

    def fit(rows: pd.DataFrame) -> Pipeline:
        encode = OrdinalEncoder(
            handle_unknown="use_encoded_value",
            unknown_value=np.nan,
            encoded_missing_value=np.nan,
            max_categories=254,
        )
        prepare = ColumnTransformer(
            [("c", encode, data["categorical"]), ("n", "passthrough", data["numeric"])]
        )
        estimate = HistGradientBoostingClassifier(
            categorical_features=list(range(len(data["categorical"]))),
            random_state=train["seed"],
            **train["params"],
        )
        return Pipeline([("prepare", prepare), ("estimate", estimate)]).fit(
            rows[columns], rows[data["target"]]
        )

    def share(model: Pipeline, rows: pd.DataFrame) -> np.ndarray:
        return np.asarray(model.predict_proba(rows[columns])[:, list(model.classes_).index("late")])

    first = fit(table[~held & ~valid])
    for rows in (table[~held & ~valid], table[valid]):
        measure(rows[data["target"]], share(first, rows))
    model, rows = fit(table[~held]), table[held]
    answers = share(model, rows)
    found = measure(rows[data["target"]], answers)
    for column in params["evaluate"]["slices"]:
        for value, count in rows[column].value_counts().items():
            if count >= 50:
                mask = (rows[column] == value).to_numpy()
                measure(rows[data["target"]][mask], answers[mask])
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
