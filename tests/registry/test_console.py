"""What every command has of the console: here, that it does not look for garbage in its imports."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import REPOSITORY

SCRIPT = """
import atexit, gc
import click
from registry.console import Command

@click.command(cls=Command)
def command():
    print(gc.get_threshold()[0])

atexit.register(lambda: print(gc.get_freeze_count() > 1000))
command(args=[])
"""


def test_the_collector_comes_seldom_and_not_at_all_in_the_end() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={"PYTHONPATH": str(REPOSITORY)},  # and not what lets all processes of the tests do so
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "20000\nTrue\n"
