"""A working copy of this project for one year, and the processes in it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from experiments.rule import Rule
from monitoring.check import Monitor
from monitoring.sections import MonitorParams
from monitoring.setting import Setting
from registry import settings
from serving.sections import ServeParams
from tests.flow.servers import free_port

PATIENCE = 180.0


class Project:
    """A git clone with a store of its own, below `folder`."""

    def __init__(self, folder: Path, sections: Mapping[str, Any]) -> None:
        self.folder = folder
        self._sections = sections
        self._said: list[str] = []

    def make(self, source: Path) -> None:
        """Clone the repository at its commit, and write params.yaml."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["git", "clone", "-q", str(source), str(self.folder)], check=True)
        path = self.folder / "params.yaml"
        params = yaml.safe_load(path.read_text())
        for name, values in self._sections.items():
            params[name] = {**params.get(name, {}), **values}
        path.write_text(yaml.safe_dump(params, sort_keys=False))
        # What a commit does not say is a difference that every run would keep.
        for command in (
            ["git", "-c", "user.name=year", "-c", "user.email=year@localhost", "commit", "-qam",
             "the year"],
        ):  # fmt: skip
            subprocess.run(command, cwd=self.folder, check=True)

    def deliver(self, files: Mapping[str, str]) -> None:
        """A new data version."""
        data = self.folder / "data"
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir()
        for name, text in files.items():
            (data / name).write_text(text)
        self.run("dvc", "add", "--quiet", "data")

    def run(self, *command: str, code: int | None = 0) -> str:
        """Run a command in it; what it said. Raises RuntimeError where it ended otherwise."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        if code is not None and done.returncode != code:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        """Of its processes; the year knows no other store."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "UNDERSTUDY_"))}
        beside = str(Path(sys.executable).parent)
        return {**kept, "PATH": os.pathsep.join([beside, kept.get("PATH", "")])}

    def status(self) -> dict[str, Any]:
        """What the ledger says."""
        found: dict[str, Any] = json.loads(self.run("understudy", "status", "--json"))
        return found

    def history(self) -> list[dict[str, Any]]:
        """All decisions."""
        found = json.loads(self.run("understudy", "history", "--json"))
        return list(found["entries"] if isinstance(found, dict) else found)

    def monitor(self) -> Monitor:
        """The monitor of this project, in this process; what it says is kept in a file."""
        root = self.folder
        (root / ".understudy").mkdir(exist_ok=True)
        log = (root / ".understudy" / "monitor.log").open("a", buffering=1)
        setting = Setting(
            root,
            settings.tracking_uri(root),
            settings.registry_params(root).model,
            settings.read_section(root, "monitor", MonitorParams),
            settings.read_section(root, "serve", ServeParams),
            settings.gate_params(root),
            settings.read_section(root, "experiment", Rule).model_dump(mode="json"),
            ("origin",),
        )
        return Monitor(setting, lambda sentence: print(sentence, file=log))

    @contextmanager
    def gateway(self) -> Iterator[Gateway]:
        """`understudy serve`, ready."""
        port = free_port()
        folder = self.folder / ".understudy"
        folder.mkdir(exist_ok=True)
        with (folder / "gateway.log").open("w") as stream:
            process = subprocess.Popen(
                ["understudy", "serve", "--port", str(port)],
                cwd=self.folder,
                env=self.environment,
                stdout=stream,
                stderr=stream,
            )
        found = Gateway(f"http://127.0.0.1:{port}")
        try:
            found.until(lambda s: s["ready"] and not s["starting"])
            yield found
        finally:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()


class Gateway:
    """A running gateway with one model."""

    def __init__(self, address: str) -> None:
        self.address = address

    def about(self) -> dict[str, Any]:
        """What it says of its model."""
        return self._status()[0]

    def _status(self) -> tuple[dict[str, Any], dict[str, Any]]:
        with urllib.request.urlopen(f"{self.address}/status", timeout=60) as answer:  # noqa: S310
            said = json.load(answer)
        (model,) = said["models"].values()
        return model, said

    def until(self, holds: Any) -> dict[str, Any]:
        """Wait for something. Raises RuntimeError where it takes minutes."""
        end = time.monotonic() + PATIENCE
        last: Any = None
        while time.monotonic() < end:
            with suppress(OSError):
                last = self.about()
                if holds(last):
                    return last
            time.sleep(0.1)
        raise RuntimeError(f"the gateway did not get there; it says {json.dumps(last)[:2000]}")

    def written(self) -> None:
        """Wait until the log holds what was answered."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            records = self._status()[1].get("records") or {}
            if not records.get("queued"):
                return
            time.sleep(0.05)
        raise RuntimeError("the prediction log is not written")

    def settled(self) -> dict[str, Any]:
        """Wait until no verdict waits to be carried out, and every version has its place."""

        def calm(about: Mapping[str, Any]) -> bool:
            report = about.get("experiment") or {}
            verdict = (report.get("verdict") or {}).get("decision", "wait")
            # What guards a promotion has nothing to do while the version is good enough.
            acts = ("abort",) if report.get("mode") == "guard" else ("promote", "abort")
            acting = not report.get("ended") and verdict in acts
            refused = "may" in str(report.get("decided") or "")
            return not about["starting"] and (not acting or refused)

        return self.until(calm)
