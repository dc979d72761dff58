"""Each night: newest data, a look of the monitor, the pipeline, and what waits for a person.

Airflow has an environment of its own and only starts commands: those of the project's environment,
in its working copy. UNDERSTUDY_HOME names that (default /srv/understudy), UNDERSTUDY_BIN the folder
of its programs (default .venv/bin there). MLFLOW_TRACKING_URI and its like come from the
environment of Airflow's workers. Nothing here promotes to Production.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

HOME = os.environ.get("UNDERSTUDY_HOME", "/srv/understudy")
BIN = os.environ.get("UNDERSTUDY_BIN", f"{HOME}/.venv/bin")
NEWEST_DATA = os.environ.get("UNDERSTUDY_NEWEST_DATA", "git pull --ff-only && dvc pull data")
"""How the newest data version comes into the working copy."""


def command(name: str, does: str, text: str, **options: object) -> BashOperator:
    """A task that runs in the working copy, with the project's programs first on PATH."""
    return BashOperator(
        task_id=name,
        doc_md=does,
        bash_command=f"set -euo pipefail\n{text}",
        cwd=HOME,
        env={
            "PATH": os.pathsep.join([BIN, os.environ.get("PATH", "/usr/bin:/bin")]),
            "UNDERSTUDY_ACTOR": "auto:airflow",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "DVC_NO_ANALYTICS": "true",
        },
        append_env=True,
        **options,
    )


with DAG(
    dag_id="understudy_nightly",
    description="Newest data, monitor, pipeline; promotion waits for a person",
    doc_md=__doc__,
    schedule="17 2 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,  # two runs of a pipeline in one working copy would be in each other's way
    dagrun_timeout=timedelta(hours=6),
    tags=["understudy"],
):
    data = command("data", "Bring the newest data version.", NEWEST_DATA, retries=2)
    # Before the pipeline, so that a retraining that the monitor calls for carries its reasons.
    monitor = command(
        "monitor",
        "Judge the windows that are over; alert, retrain, roll back as params.yaml allows.",
        "understudy monitor check || [ $? -eq 3 ]  # 3: something was found, and told of",
    )
    pipeline = command(
        "pipeline", "`dvc repro`: trains where data, code or params changed.", "dvc repro"
    )
    waiting = command("waiting", "What a person may promote now.", "understudy status")
    data >> monitor >> pipeline >> waiting
