"""Processes killed with SIGKILL in the middle of a promotion leave nothing that stays wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.flow import racing

pytestmark = pytest.mark.flow


def test_a_hundred_kills_leave_what_the_next_command_or_a_repair_puts_right(
    migrated: Path, tmp_path: Path
) -> None:
    shutil.copy2(migrated, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    racing.apart(racing.prepare, uri, (tmp_path / "artifacts").as_uri())
    done = racing.apart(racing.killing, uri, 100, 0)
    assert done.broken == ()
    assert done.kills == 100
    assert done.lagging > 5  # else no kill hit what it was meant to
    assert done.successes > 10
