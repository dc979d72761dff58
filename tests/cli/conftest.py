"""A project whose commands run in this process, on a store with tiny real models."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.main import main
from tests.conftest import Tiny

OFF = "skip: [lineage, serves, latency]"


@dataclass(frozen=True)
class Shell:
    """A project folder whose commands run in this process: importing mlflow takes seconds."""

    root: Path
    tiny: Tiny

    def __call__(self, *arguments: str, code: int = 0) -> Result:
        """Run a command, which must end with this exit code and never with a trace."""
        words = [self.tiny.runs.get(a, a) for a in arguments]
        done = CliRunner().invoke(main, words, prog_name="understudy")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        return done

    def json(self, *arguments: str) -> Any:
        """What a command prints with --json; nothing else may be printed."""
        done = self(*arguments, "--json")
        assert done.stderr == ""
        return json.loads(done.stdout)

    def refused(self, *arguments: str, code: int = 1) -> str:
        """The one sentence of a command that fails; before it only what it was about."""
        done = self(*arguments, code=code)
        assert done.stdout == ""
        *progress, sentence = done.stderr.splitlines()
        assert all(line.startswith("... ") for line in progress)
        assert sentence.startswith("Error: ")
        return sentence.removeprefix("Error: ")

    def seen(self) -> tuple[Any, Any]:
        """All that status and history tell."""
        return self.json("status"), self.json("history")


@pytest.fixture
def shell(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A project of model `m`, on a store with runs and without any registered model."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "params.yaml").write_text(f"registry: {{model: m}}\ngate: {{{OFF}}}\n")
    monkeypatch.chdir(root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tiny.uri)
    monkeypatch.setenv("UNDERSTUDY_ACTOR", "tester")
    return Shell(root, tiny)


@pytest.fixture(scope="session")
def registered_store(
    tiny_template: tuple[Path, dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The database behind `registered`."""
    from registry import register
    from registry.promote import Wish
    from registry.store import Store

    database, runs = tiny_template
    folder = tmp_path_factory.mktemp("registered")
    copy = Path(shutil.copy2(database, folder / "mlflow.db"))
    for name in ("good", "better", "worse"):
        wish = Wish("tester", f"try {name}")
        register.register_run(Store(f"sqlite:///{copy}"), "m", runs[name], wish=wish, folder=folder)
    return copy


@pytest.fixture
def registered(shell: Shell, registered_store: Path) -> Shell:
    """`m` with version 1 (good), 2 (better) and 3 (worse), none of them in a stage."""
    shutil.copy2(registered_store, shell.tiny.uri.removeprefix("sqlite:///"))
    return shell


@pytest.fixture(scope="session")
def one_live(registered_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which version 1 is in Production and version 3 is archived."""
    from registry import promote
    from registry.promote import Wish
    from registry.sections import GateParams
    from registry.stages import Stage
    from registry.store import Store

    folder = tmp_path_factory.mktemp("live")
    copy = Path(shutil.copy2(registered_store, folder / "mlflow.db"))
    store, wish = Store(f"sqlite:///{copy}"), Wish("tester")
    params = GateParams(skip=("lineage", "serves", "latency"))
    promote.promote(store, "m", 1, to=Stage.PRODUCTION, params=params, wish=wish, folder=folder)
    promote.archive(store, "m", 3, wish=wish)
    return copy
