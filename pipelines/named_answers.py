"""Ships inside a model's artifact: makes a scikit-learn classifier's answer name its classes.

Needs nothing but mlflow and pandas, so that `mlflow models serve` works without this project.
"""

from typing import Any

import mlflow.sklearn
import pandas as pd


class NamedAnswers:
    """A fitted classifier whose `predict` gives the class and the probability of each class."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline

    def get_raw_model(self) -> Any:
        """The scikit-learn Pipeline itself."""
        return self.pipeline

    def predict(self, model_input: Any, params: Any = None) -> Any:
        """Columns `prediction` and `probability_CLASS` of each class, one row for each row."""
        shares = self.pipeline.predict_proba(model_input)
        classes = self.pipeline.classes_
        answer = {"prediction": classes[shares.argmax(axis=1)]}
        answer.update((f"probability_{name}", shares[:, i]) for i, name in enumerate(classes))
        return pd.DataFrame(answer)


def _load_pyfunc(path: str) -> NamedAnswers:
    """MLflow's hook for loading a model whose loader this module is."""
    return NamedAnswers(mlflow.sklearn._load_pyfunc(path).get_raw_model())
