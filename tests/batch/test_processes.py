"""Processes that die, each for real: the reader, a predictor, one that cannot even begin."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from batch import local
from batch.errors import ModelUnusable, WorkerDied
from batch.job import Job
from batch.model import load
from tests.batch import kills
from tests.batch.inline import by
from tests.batch.test_local import rows, tree
from tests.conftest import REPOSITORY

Make = Callable[..., Job]


@pytest.mark.flow
def test_killed_three_times_it_ends_like_an_undisturbed_job(files: Path, tmp_path: Path) -> None:
    given = tmp_path / "in.csv"
    table = rows(20_000).astype({"a": object})
    table.loc[::97, "a"] = "x"
    table.to_csv(given, index=False)
    words = [str(given), str(tmp_path / "killed" / "out.csv"), str(files)]
    folder, moments = tmp_path / "killed" / ".out.csv.score", random.Random(7)  # noqa: S311
    seen = 0
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.batch.kills", *words],
            cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        kills.until(folder, seen + moments.randint(1, 25), process)
        time.sleep(moments.uniform(0, 0.03))
        workers = psutil.Process(process.pid).children()
        process.kill()
        process.communicate(timeout=60)
        gone, alive = psutil.wait_procs(workers, timeout=60)
        assert gone
        assert not alive  # nobody predicts on for a reader who is dead
        seen = kills.receipts(folder)
        assert 0 < seen < 400
    start = by(load(files))
    done = local.score(kills.job(*words), lambda _: None, start)
    assert done.resumed >= 50 * seen - 50
    alone = replace(kills.job(*words), output=str(tmp_path / "alone" / "out.csv"), processes=3)
    local.score(alone, lambda _: None, start)
    assert tree(tmp_path / "killed") == tree(tmp_path / "alone")


def test_a_process_that_is_killed_is_told(job: Make) -> None:
    def kill(_: object) -> None:
        for child in multiprocessing.active_children():
            child.kill()

    with pytest.raises(WorkerDied, match=r"ended unexpectedly \(exit code -9\)"):
        local.score(job(rows(300), "in.csv"), kill)
    assert not multiprocessing.active_children()


def test_a_model_that_does_not_load(job: Make, files: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(files, broken)
    (broken / "model.skops").unlink()
    made = job(rows(30), "in.csv", model=broken)
    with pytest.raises(ModelUnusable, match=r"v2 cannot be loaded here \(\w+"):
        local.score(made, lambda _: None)
