"""A model that echoes its rows, or misbehaves as its version or a row tells it to.

A version turns to something else once a file `turned-VERSION` says what.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import mlflow
from mlflow.pyfunc import PythonModel


class Puppet(PythonModel):
    """`behaviour.json` says what the version does, a row's column `do` what that row does."""

    def load_context(self, context):
        self.told = json.loads(Path(context.artifacts["behaviour"]).read_text())
        if self.told["does"] == "fail to load":
            raise RuntimeError("this version does not load")
        listen_to_moods(Path(self.told["moods"]))

    def predict(self, context, model_input):  # noqa: ARG002 - MLflow's signature
        turned = Path(self.told["moods"]) / f"turned-{self.told['version']}"
        does = turned.read_text() if turned.exists() else self.told["does"]
        if does == "die":
            os._exit(3)
        if does == "fail":
            raise ValueError("this version fails at everything")
        if does == "hang" and "mlflow.pyfunc.scoring_server.app" in sys.modules:
            time.sleep(600)  # MLflow asks for the example when it logs a model, too
        if does == "slow":
            time.sleep(0.4)
        rows = model_input.to_dict(orient="records")
        for row in rows:
            if row["do"] == "raise":
                raise ValueError("this row is bad")
            if row["do"] == "die":
                os._exit(3)
            if row["do"] == "hang":
                time.sleep(600)
            if row["do"] == "wait":
                time.sleep(0.3)
            if row["do"] == "wait long":
                time.sleep(2)
            if row["do"] == "pid":
                time.sleep(0.05)
                row["x"] = os.getpid() + 0.5
        if does == "nan":
            return [float("nan")] * len(rows)
        if does == "number":
            return [row["x"] for row in rows]
        if does == "other form":
            return [[row["id"], row["x"]] for row in rows]
        if does == "too few":
            return [self.echo(row) for row in rows[:-1]]
        return [self.echo(row) for row in rows]

    def echo(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"id": row["id"], "x": row["x"], "version": self.told["version"]}


def listen_to_moods(folder: Path) -> None:
    """As long as `folder` has a file `mood-PID` of this process, it says what stands there."""
    from mlflow.pyfunc import scoring_server

    honest = scoring_server.predictions_to_json

    def predictions_to_json(predictions, output, metadata=None):
        try:
            says = (folder / f"mood-{os.getpid()}").read_text()
        except FileNotFoundError:
            honest(predictions, output, metadata)
            return
        if says == "too few":
            honest(predictions[:-1], output, metadata)
        elif says == "too many":
            honest([*predictions, predictions[0]], output, metadata)
        else:
            output.write(says)

    scoring_server.predictions_to_json = predictions_to_json


mlflow.models.set_model(Puppet())
