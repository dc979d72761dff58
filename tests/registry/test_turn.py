"""The queue of one machine's writers: given back, passed on, and never waited for too long."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from registry import turn


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(turn, "PATIENCE", 0.2)


def test_a_turn_is_one_persons_and_given_back() -> None:
    with turn.of("a", "m") as first, turn.of("a", "m", patience=0) as second:
        assert (first, second) == (True, False)
    with turn.of("a", "m", patience=0) as again:
        assert again


def test_other_models_and_stores_have_turns_of_their_own() -> None:
    with turn.of("a", "m"), turn.of("a", "n", 0) as other, turn.of("b", "m", 0) as elsewhere:
        assert other
        assert elsewhere


def test_who_waited_too_long_goes_ahead_and_does_not_keep_the_turn_that_comes_later() -> None:
    with turn.of("a", "m"), turn.of("a", "m", 0.1) as late:
        assert not late
    end = time.monotonic() + 5
    while time.monotonic() < end:  # the late one's thread takes the turn and gives it up
        with turn.of("a", "m", 0) as mine:
            if mine:
                break
    assert mine


def test_the_turn_goes_to_who_waits() -> None:
    got: list[bool] = []

    def wait() -> None:
        with turn.of("a", "m", 10) as mine:
            got.append(mine)

    with turn.of("a", "m"):
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.1)
        assert got == []
    waiting.join(10)
    assert got == [True]


def test_a_process_that_is_killed_gives_its_turn_back(tmp_path: Path) -> None:
    script = (
        "import tempfile, time; from registry import turn\n"
        f"tempfile.tempdir = {str(tmp_path)!r}\n"
        "with turn.of('a', 'm') as mine:\n    print(mine, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    with turn.of("a", "m", patience=0) as mine:
        assert not mine
    process.kill()
    process.wait()
    process.stdout.close()
    with turn.of("a", "m", patience=5) as mine:
        assert mine


def test_without_a_place_for_its_file_everybody_goes_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    with turn.of("a", "m") as one, turn.of("a", "m") as other:
        assert one
        assert other
