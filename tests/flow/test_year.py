"""`make year` in small: a month of every twentieth row, through all of its parts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Project

pytestmark = [pytest.mark.flow, pytest.mark.slow]


def test_a_month_is_watched_and_retrained(environment: dict[str, str], tmp_path: Path) -> None:
    project = Project(REPOSITORY, environment)
    command = ("-W", "ignore", "-m", "benchmarks.year.run", "--only", "faulty", "--months", "1")
    done = project.run(sys.executable, *command, "--share", "0.05", "--folder", str(tmp_path))
    (year,) = json.loads((tmp_path / "results.json").read_text())["years"]
    assert year["failed_requests"] == 0
    assert sum(year["windows"].values()) >= 3
    months = [set(scores) for scores in year["scores"].values()]
    assert months == [{"7"}] * 3
    for scores in year["scores"].values():
        for score in scores.values():
            assert 0.5 < score["roc_auc"] < 0.9
            assert score["rows"] > 1000
    # The season drifts, the data of July comes, and the pipeline makes a version of it.
    trained = [
        e for e in year["events"] if e["what"] == "retrain" and e["sentence"].startswith("v2 was")
    ]
    assert trained
    assert year["counts"]["register by auto:monitor"] == len(trained)
    assert {c["fault"] for c in year["caught"]} == {"celsius", "renamed", "flipped", "halved"}
    assert (tmp_path / "year.png").stat().st_size > 10_000
    assert "## The year with four faults planted" in done.stdout
