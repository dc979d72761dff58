"""The processes of a retraining, so that the next monitor can end them where the last one died."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

GRACE = 10.0
"""Seconds that a retraining has to end when it is told to."""


@dataclass(frozen=True)
class Pipeline:
    """A process that leads a group of its own."""

    pid: int
    host: str
    started: str
    """As the system says it; empty where it does not."""

    @classmethod
    def of(cls, pid: int) -> Pipeline:
        """One that runs on this machine."""
        return cls(pid, socket.gethostname(), _started(pid))

    def as_dict(self) -> dict[str, Any]:
        """For keeping."""
        return asdict(self)


def end_left(noted: Any) -> bool:
    """End what a monitor that died has left running on this machine; whether there was anything.

    `noted` is what `Pipeline.as_dict` gave. A number that another process has by now is left alone.
    """
    try:
        known = Pipeline(**noted)
    except TypeError:
        return False
    if known.host != socket.gethostname() or not _goes_on(known.pid):
        return False
    # A number is not given away while a group bears it: without its leader it is still the same.
    if (now := _started(known.pid)) and now != known.started:
        return False
    end_group(known.pid)
    return True


def end_group(pid: int) -> None:
    """End a group of processes, gently first."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, sign)
        end = time.monotonic() + GRACE
        while _goes_on(pid) and time.monotonic() < end:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # one that is over and not fetched is still there
            time.sleep(0.05)


def _goes_on(group: int) -> bool:
    """Whether a group has a process that is not over."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _started(pid: int) -> str:
    """When a process began; empty where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
        return text.rpartition(")")[2].split()[19]  # field 22, in ticks since the machine's start
    except (OSError, IndexError):
        pass
    try:
        command = ["ps", "-o", "lstart=", "-p", str(pid)]
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip()
