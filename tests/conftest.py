"""What all tests share: a migrated MLflow database, tiny real models, copies of the project."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import yaml

REPOSITORY = Path(__file__).parent.parent
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
os.environ.update(QUIET)
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(REPOSITORY / "tests/quick"), os.environ.get("PYTHONPATH", "")])
)
# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")
# A job in the background of a shell ignores Ctrl-C, and so would all processes that tests start.
with contextlib.suppress(ValueError):  # not in the main thread
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Project:
    """A working copy of this project in a folder of its own, under git."""

    root: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def run(
        self, *command: str, code: int | None = 0, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it; `code` is the exit code it must end with, None any."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=850,
            stdin=subprocess.DEVNULL,
        )
        if code is not None:
            assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def module(self, name: str, *arguments: str, code: int | None = 0, **env: str) -> Any:
        """Run `python -m NAME`."""
        return self.run(sys.executable, "-m", name, *arguments, code=code, **env)

    def params(self, **sections: Any) -> None:
        """Write params.yaml."""
        (self.root / "params.yaml").write_text(yaml.safe_dump(sections, sort_keys=False))

    def edit(self, section: str, **values: Any) -> None:
        """Change keys of one section of params.yaml."""
        raw = yaml.safe_load((self.root / "params.yaml").read_text())
        raw.setdefault(section, {}).update(values)
        self.params(**raw)

    def commit(self, message: str = "as it is") -> None:
        """Commit everything."""
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "--allow-empty", "-m", message)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast files come first; then flows, slow ones before others, so that none is left alone."""
    marks: dict[Path, set[str]] = {}
    for item in items:
        marks.setdefault(item.path, set()).update(mark.name for mark in item.iter_markers())
    items.sort(key=lambda i: ("flow" in marks[i.path], "slow" not in marks[i.path]))


@pytest.fixture(autouse=True, scope="module")
def _what_stays_is_no_garbage() -> Iterator[None]:
    """MLflow's stores keep millions of objects for their databases, to be looked at each time."""
    yield
    gc.freeze()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database with its schema; making one takes seconds, copying none."""
    path = tmp_path_factory.mktemp("migrated") / "mlflow.db"
    script = f"import mlflow; mlflow.MlflowClient('sqlite:///{path}').search_experiments()"
    # In a folder of its own: what goes to the Default experiment lies below where this ran.
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, cwd=path.parent)
    return path


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What commands run with: this environment's programs, an empty home, no telemetry."""
    # A home without matplotlib's list of fonts gets one at the first plot; where that takes long,
    # matplotlib says so, and who draws would be taken for one who complains.
    import matplotlib.font_manager

    home = tmp_path_factory.mktemp("home")
    (home / ".gitconfig").write_text(
        "[user]\n name = Test\n email = test@example.invalid\n[init]\n defaultBranch = main\n"
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "DVC_", "GIT_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"HOME": str(home), "PATH": path, "MPLCONFIGDIR": matplotlib.get_cachedir()}
    return {**kept, **QUIET, **own, "UNDERSTUDY_ACTOR": "tester"}


@pytest.fixture(scope="session")
def make_project(
    migrated: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Project]:
    """Make a copy of the project with another table: `make_project(params, {"data/a.csv": text})`.

    Every file of the repository is in it but data.dvc and dvc.lock; the files are versioned.
    """

    def make(params: Mapping[str, Any], files: Mapping[str, str | bytes]) -> Project:
        root = tmp_path_factory.mktemp("project") / "work"
        root.mkdir()
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=REPOSITORY,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.splitlines()
        for name in listed:
            if (REPOSITORY / name).is_file() and not name.startswith("tests/"):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / name, root / name)
        shutil.copy2(migrated, root / "mlflow.db")
        project = Project(root, environment)
        project.run("git", "init", "-q")
        (root / "data.dvc").unlink(missing_ok=True)
        (root / "dvc.lock").unlink(missing_ok=True)
        project.params(**params)
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        project.commit("start")
        project.run("dvc", "add", "-q", "data")
        project.commit("data")
        return project

    return make


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A database of a PostgreSQL of its own, whose tables each test takes out first."""
    from tests.flow.servers import NotThere, postgres

    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(postgres())
        except NotThere as error:
            pytest.skip(str(error))
        yield found


@pytest.fixture(autouse=True)
def _mlflow_as_it_was() -> Iterator[None]:
    """MLflow keeps its server and active run in globals; each test starts without them."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
    if "mlflow" in sys.modules:
        import mlflow

        while mlflow.active_run():
            mlflow.end_run()
        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri(None)


@dataclass(frozen=True)
class Tiny:
    """A store with runs of tiny real models, none of them registered yet."""

    uri: str
    runs: Mapping[str, str]
    """Name to run id: good, better, worse, same (as good), broken (its artifact does not load)."""


@pytest.fixture(scope="session")
def tiny_template(
    migrated: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, str]]:
    """The database behind `tiny`; its artifacts are shared, and nothing writes to them."""
    from tests.tiny import make_runs

    folder = tmp_path_factory.mktemp("tiny")
    shutil.copy2(migrated, folder / "mlflow.db")
    # In a project of its own: the working copy of this one would be the lineage of the runs.
    for name in ("MLproject", "params.yaml", "requirements.lock", "data.dvc"):
        shutil.copy2(REPOSITORY / name, folder)
    (folder / ".gitignore").write_text("mlflow.db*\nartifacts/\n")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "start"]):
        subprocess.run(["git", *command], cwd=folder, env=environment, check=True)
    with warnings.catch_warnings(), contextlib.chdir(folder):
        warnings.simplefilter("ignore")
        return folder / "mlflow.db", make_runs(folder)


@pytest.fixture
def tiny(tiny_template: tuple[Path, dict[str, str]], tmp_path: Path) -> Tiny:
    """A fresh copy of the store with tiny models."""
    database, runs = tiny_template
    shutil.copy2(database, tmp_path / "mlflow.db")
    return Tiny(f"sqlite:///{tmp_path}/mlflow.db", runs)


@pytest.fixture
def store(tiny: Tiny) -> Any:
    """A registry store on `tiny`."""
    from registry.store import Store

    return Store(tiny.uri)
