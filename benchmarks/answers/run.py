"""Scenario answers-form: what it costs that a classifier's answer names its classes.

Three forms of the same fitted pipeline: the plain scikit-learn flavour answering bare
probabilities; MLflow's models-from-code; and ours, the scikit-learn flavour with a loader that
ships in the artifact. In process and over HTTP from a real `mlflow models serve`, in turns.
`python -m benchmarks.answers.run`; seed 0; writes results.json beside this file.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.pipeline.run import machine
from pipelines import track
from pipelines.named_answers import NamedAnswers

FROM_CODE = """
import mlflow.sklearn
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Named(PythonModel):
    def load_context(self, context):
        self.pipeline = mlflow.sklearn.load_model(context.artifacts["sklearn"])

    def predict(self, context, model_input, params=None):
        shares, classes = self.pipeline.predict_proba(model_input), self.pipeline.classes_
        answer = {"prediction": classes[shares.argmax(axis=1)]}
        answer.update((f"probability_{c}", shares[:, i]) for i, c in enumerate(classes))
        return pd.DataFrame(answer)


set_model(Named())
"""


def fitted() -> tuple[Pipeline, pd.DataFrame]:
    """A gradient boosting on 20 columns and 20,000 rows, and the rows."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(20_000, 20)), columns=[f"x{i}" for i in range(20)])
    labels = np.where(rows["x0"] + rng.normal(size=len(rows)) > 0, "yes", "no")
    model = HistGradientBoostingClassifier(max_iter=100, random_state=0)
    return make_pipeline(StandardScaler(), model).fit(rows, labels), rows


def log_all(folder: Path) -> tuple[dict[str, str], pd.DataFrame]:
    """Form to model URI, and the rows."""
    import mlflow
    from mlflow.models import infer_signature

    pipeline, rows = fitted()
    example = rows.head(5)
    pins = track.requirements(())
    types = track.trusted_types(pipeline, ("sklearn",))
    named = infer_signature(example, NamedAnswers(pipeline).predict(example))
    (folder / "from_code.py").write_text(FROM_CODE)
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment("answers")
    with mlflow.start_run():
        plain = mlflow.sklearn.log_model(
            pipeline, name="plain", pyfunc_predict_fn="predict_proba", input_example=example,
            pip_requirements=pins, skops_trusted_types=types,
        )  # fmt: skip
        inner = folder / "sklearn"
        mlflow.sklearn.save_model(
            pipeline, str(inner), pip_requirements=pins, skops_trusted_types=types
        )
        code = mlflow.pyfunc.log_model(
            name="code", python_model=str(folder / "from_code.py"), signature=named,
            artifacts={"sklearn": str(inner)}, input_example=example, pip_requirements=pins,
        )  # fmt: skip
        ours = track.model(pipeline, rows, ("sklearn",))
    forms = {
        "plain flavour, no names": plain.model_uri,
        "models-from-code": code.model_uri,
        "flavour with loader (used)": ours,
    }
    return forms, rows


def in_process(models: dict[str, Any], rows: pd.DataFrame, size: int) -> dict[str, float]:
    """Median milliseconds of `predict` on `size` rows, 60 calls each, in turns."""
    taken: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(60):
        for name, model in models.items():
            start = time.perf_counter()
            model.predict(rows.head(size))
            taken[name].append(1000 * (time.perf_counter() - start))
    return {name: round(statistics.median(t), 2) for name, t in taken.items()}


def over_http(uri: str, store: Path, body: str) -> float:
    """Median milliseconds of 200 requests, one after another, to `mlflow models serve`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{store}/mlflow.db"}
    server = subprocess.Popen(
        ["mlflow", "models", "serve", "-m", uri, "--env-manager", "local", "-p", str(port)],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        end = time.monotonic() + 90
        while socket.socket().connect_ex(("127.0.0.1", port)) and time.monotonic() < end:
            time.sleep(0.5)
        connection, taken = http.client.HTTPConnection("127.0.0.1", port), []
        for number in range(220):
            start = time.perf_counter()
            connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise click.ClickException(f"{uri} answered {answer.status}")
            if number >= 20:
                taken.append(1000 * (time.perf_counter() - start))
        return round(statistics.median(taken), 2)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


@click.command()
def main() -> None:
    """Measure all three and write results.json."""
    os.environ.update(OMP_NUM_THREADS="1")
    warnings.simplefilter("ignore")
    import mlflow

    with tempfile.TemporaryDirectory() as temporary:
        os.chdir(temporary)
        forms, rows = log_all(Path(temporary))
        models = {name: mlflow.pyfunc.load_model(uri) for name, uri in forms.items()}
        body = json.dumps({"dataframe_split": json.loads(rows.head(1).to_json(orient="split"))})
        result = {
            "machine": machine(),
            "in process, ms": {f"{n} rows": in_process(models, rows, n) for n in (1, 100, 1000)},
            "over HTTP, 1 row, ms": {
                name: over_http(uri, Path(temporary), body) for name, uri in forms.items()
            },
        }
    (Path(__file__).parent / "results.json").write_text(json.dumps(result, indent=2) + "\n")
    click.echo(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
