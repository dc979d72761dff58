"""What MLflow's plug-ins of this project do in any process of its environment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import QUIET, REPOSITORY

# MLflow takes each of these for a sign that nobody's usage is to be counted.
SIGNS_OF_CI = ("CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST", "PYTEST_VERSION")


@pytest.mark.parametrize("plugged_in", [True, False])
def test_usage_telemetry_is_off_wherever_the_plugin_is_installed(
    environment: dict[str, str], tmp_path: Path, plugged_in: bool
) -> None:
    bare = {k: v for k, v in environment.items() if k not in {*QUIET, *SIGNS_OF_CI}}
    hide = "" if plugged_in else (
        "import importlib.metadata as m; old = m.entry_points\n"
        "m.entry_points = lambda **k: [] if 'mlflow' in k.get('group', '') else old(**k)\n"
    )  # fmt: skip
    # Without the plug-in no client is made either here, but it would be: the switch is what counts.
    script = hide + (
        "import mlflow, mlflow.telemetry.utils as u, json\n"
        "print(json.dumps(u.is_telemetry_disabled()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=bare, capture_output=True, text=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) is plugged_in, done.stderr


def test_dvc_sends_nothing_from_this_repository() -> None:
    assert "analytics = false" in (REPOSITORY / ".dvc" / "config").read_text()
