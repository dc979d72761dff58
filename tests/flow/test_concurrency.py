"""Real processes promote and roll back at the same time, on every kind of store."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.flow import racing, servers

pytestmark = pytest.mark.flow


def assert_in_order(uri: str) -> None:
    """One Production version whenever nobody is at work; who was told of success, succeeded."""
    before = racing.apart(racing.found, uri)
    raced = racing.race(uri, kind="understudy", processes=4, rounds=3, each=2, seed=0)
    after = racing.apart(racing.found, uri)
    strange = {call.error for call in raced.calls} - {"", *racing.EXPECTED}
    assert not strange
    assert [rest for rest in raced.rests if len(rest) != 1] == []
    assert after.shown == (after.production,)
    assert after.differences == ()
    successes = sorted(call.number for call in raced.calls if call.number)
    assert successes == sorted(set(after.winners) - set(before.winners))
    assert len(successes) + sum(bool(call.error) for call in raced.calls) == len(raced.calls) == 24
    assert len(successes) >= 3


def test_on_a_sqlite_file(migrated: Path, tmp_path: Path) -> None:
    shutil.copy2(migrated, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    racing.apart(racing.prepare, uri, (tmp_path / "artifacts").as_uri())
    assert_in_order(uri)


def test_through_a_server_with_two_workers(
    migrated: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    shutil.copy2(migrated, tmp_path / "mlflow.db")
    with servers.mlflow_server(tmp_path, environment, f"sqlite:///{tmp_path}/mlflow.db") as uri:
        racing.apart(racing.prepare, uri)
        assert_in_order(uri)


def test_on_postgresql(tmp_path: Path) -> None:
    try:
        with servers.postgres() as uri:
            racing.apart(racing.prepare, uri, (tmp_path / "artifacts").as_uri())
            assert_in_order(uri)
    except servers.NotThere as reason:
        pytest.skip(str(reason))
