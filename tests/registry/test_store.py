"""What the store keeps to itself: how MLflow is written to, and which of its lines are heard."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from registry import store as module
from registry.errors import RegistryUnreachable


def test_a_run_that_can_be_seen_has_its_tags(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lists the runs of an experiment reads them, while the rest is being written."""

    def fail(*_: object, **__: object) -> None:
        raise MlflowException("the rest could not be written")

    monkeypatch.setattr(store._client, "log_batch", fail)
    with pytest.raises(RegistryUnreachable, match="the rest could not be written"):
        store.publish(
            "m-tests", "first", params={}, metrics={}, tags={"a": "b"}, files={}, parent="0" * 32
        )
    where = store._client.get_experiment_by_name("m-tests").experiment_id
    (run,) = store._client.search_runs([where])
    assert run.data.tags.items() >= {"a": "b", "mlflow.parentRunId": "0" * 32}.items()


def test_all_is_heard_again_when_the_last_thread_is_done() -> None:
    logger = logging.getLogger("mlflow")
    level, stderr = logger.level, sys.stderr
    one, other = module._silent(), module._silent()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert logger.level == logging.ERROR
    assert sys.stderr is not stderr
    other.__exit__(None, None, None)
    assert logger.level == level != logging.ERROR
    assert sys.stderr is stderr
