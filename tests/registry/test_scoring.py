"""A real `mlflow models serve` in a trial: it answers, or fails in a sentence; nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from registry import requirements, scoring, trial
from registry.gate import Latency
from registry.record import Record
from registry.trial import Contender, Rows
from tests.conftest import Tiny


@pytest.fixture
def contender(store: Any, tiny: Tiny, tmp_path: Path) -> Any:
    """Makes the contender of a tiny run, its files downloaded."""

    def make(name: str) -> Contender:
        model = store.run(tiny.runs[name]).models[0]
        files = store.download_model(f"models:/{model}", tmp_path / name)
        return Contender(None, files, None, requirements.manager(files, "auto"))  # type: ignore[arg-type]

    return make


def some_rows() -> Rows:
    table = pd.DataFrame({"a": [0.1, -2.25, 1 / 3], "b": [1.0, np.nan, 7.5], "y": ["no"] * 3})
    table["b"] = table["b"].fillna(0.5)
    return Rows(Record("binary", "y", ("a", "b"), "roc_auc", ("no", "yes"), "yes"), table)


def running(folder: Path) -> set[int]:
    """Processes of the scoring server that was started in `folder`, by id."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder / "serve":
                found.add(int(process.name))
        except OSError:
            continue
    return found


def until(condition: Any, seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_a_good_artifact_answers_exactly_as_it_does_in_process(
    contender: Any, tmp_path: Path
) -> None:
    good, rows = contender("good"), some_rows()
    here = trial.in_process(good, rows)
    served = trial.through_server(good, rows, tmp_path / "serve", score=True, measure=True)
    assert (here.problem, served.problem, served.unscored) == (None, None, None)
    pd.testing.assert_frame_equal(here.answer, served.answer[list(here.answer.columns)])
    assert isinstance(served.latency, Latency)
    assert 0 < served.latency.single_ms < 5000
    assert not running(tmp_path)


def test_an_artifact_that_does_not_start_gives_the_servers_own_error(
    contender: Any, tmp_path: Path
) -> None:
    found = trial.through_server(
        contender("broken"), some_rows(), tmp_path / "serve", score=True, measure=True
    )
    assert found.problem is not None
    assert found.problem.startswith("the scoring server ended by itself; it last wrote: ModuleNot")
    assert found.unscored == found.problem
    assert found.latency == f"it could not be measured: {found.problem}"
    assert not running(tmp_path)


def test_a_start_that_takes_too_long_is_given_up_and_leaves_no_process(
    contender: Any, tmp_path: Path
) -> None:
    good = contender("good")
    (code,) = (good.files / "code").glob("*.py")
    code.write_text("import time\ntime.sleep(600)\n")
    found = trial.through_server(
        good, None, tmp_path / "serve", score=False, measure=False, patience=2.0
    )
    assert found.problem is not None
    assert found.problem.startswith("the scoring server did not answer within 2 s")
    assert not running(tmp_path)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_whoever_tries_it_is_killed_and_leaves_no_process(
    contender: Any, tmp_path: Path, sign: signal.Signals
) -> None:
    good = contender("good")
    (code,) = (good.files / "code").glob("*.py")
    code.write_text("import time\ntime.sleep(600)\n")
    script = (
        "import signal\nfrom pathlib import Path\nfrom registry import scoring\n"
        # Who is started in the background of a shell script ignores it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"with scoring.served(Path({str(good.files)!r}), (b'', 1), manager='local', "
        f"folder=Path({str(tmp_path / 'serve')!r})): pass"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", script], stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        assert until(lambda: running(tmp_path))
    finally:
        os.kill(starter.pid, sign)
        starter.wait(30)
    assert until(lambda: not running(tmp_path))


def test_a_request_keeps_every_digit_and_says_null_for_what_is_missing() -> None:
    rows = pd.DataFrame(
        {
            "n": [0.1 + 0.2, np.nan],
            "i": np.array([2**53 + 1, 2], dtype=np.int64),
            "t": pd.to_datetime(["2026-01-02 03:04:05", None]),
            "s": ["é", None],
            "b": [True, False],
        }
    )
    assert json.loads(scoring.body(rows))["dataframe_split"] == {
        "columns": ["n", "i", "t", "s", "b"],
        "data": [
            [0.1 + 0.2, 2**53 + 1, "2026-01-02T03:04:05", "é", True],
            [None, 2, None, None, False],
        ],
    }


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (f"pandas=={pd.__version__}", []),
        (f"pandas=={pd.__version__} # why", []),
        ("# nothing", []),
        ("pandas>=1", []),
        ("nowhere==1; python_version < '3'", []),
        ("pandas==0.1", [f"pandas==0.1, here {pd.__version__}"]),
        ("not-installed-anywhere==1", ["not-installed-anywhere==1, not installed here"]),
        ("-r other.txt", ["-r other.txt, which only an installer understands"]),
        ("pandas @ https://example.invalid/p.whl", ["pandas @ https://example.invalid/p.whl, "
                                                    f"here {pd.__version__}"]),
    ],
)  # fmt: skip
def test_where_the_environment_differs(tmp_path: Path, line: str, found: list[str]) -> None:
    (tmp_path / "requirements.txt").write_text(line + "\n")
    assert requirements.differences(tmp_path) == found
    assert requirements.manager(tmp_path, "auto") == ("uv" if found else "local")
    assert requirements.manager(tmp_path, "conda") == "conda"


def test_another_python_is_another_environment(tmp_path: Path) -> None:
    (tmp_path / "python_env.yaml").write_text("python: 3.7.1\n")
    assert requirements.manager(tmp_path, "auto") == "uv"
