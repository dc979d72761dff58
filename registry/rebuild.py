"""Runs the pipeline of an earlier commit: a worktree, an environment, the data, `dvc repro`.

Everything lies in one temporary folder that is gone afterwards, however it ends; nothing is
written to the working copy, its DVC cache or its tracking store.
"""

from __future__ import annotations

import configparser
import contextlib
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import yaml
from packaging.requirements import InvalidRequirement, Requirement

from registry import lineage
from registry.errors import (
    CommitUnknown,
    DataUnobtainable,
    DiffRefused,
    EnvironmentFailed,
    PipelineFailed,
)
from registry.record import Origin
from registry.settings import read_params

Say = Callable[[str], None]

GRACE = 5.0
"""Seconds that a process has to end by itself when it is no longer wanted."""
_NOT_FOR_IT = re.compile(r"(GIT|MLFLOW|DVC|UNDERSTUDY)_|PYTHON(PATH|HOME)$|VIRTUAL_ENV$")
"""Environment variables that would lead a process back to the project it was started from."""


@dataclass(frozen=True)
class Recipe:
    """What it takes to make a version again."""

    commit: str
    data_md5: str
    origin: Origin
    lock: str = ""
    """The text of its lock; empty where it was trained without one."""


@dataclass
class Workshop:
    """A clean worktree with a tracking store of its own."""

    root: Path
    """The project that it was made from."""
    folder: Path
    """Holds everything: the worktree, the store, caches, the log."""
    project: Path
    """The project in the worktree."""
    say: Say
    python: str = sys.executable
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """Its tracking store."""
        return f"sqlite:///{self.folder}/mlflow.db"

    @property
    def log(self) -> Path:
        """What all commands wrote."""
        return self.folder / "log.txt"

    def run(self, *command: str, cwd: Path | None = None) -> tuple[bool, str]:
        """Run a command here; returns whether it ended well, and what it wrote."""
        environment = {k: v for k, v in os.environ.items() if not _NOT_FOR_IT.match(k)}
        environment |= {
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
            "DO_NOT_TRACK": "true",
            "DVC_NO_ANALYTICS": "true",
            # What DVC remembers of a repository beside it would outlive this one.
            "DVC_SITE_CACHE_DIR": str(self.folder / "dvc-site"),
            "PYTHONPATH": str(self.project),
            "PATH": f"{Path(self.python).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            **self.variables,
        }
        with self.log.open("ab", buffering=0) as log:
            log.write(f"$ {' '.join(command)}\n".encode(errors="replace"))
            begin = log.tell()
            code = _run(command, cwd or self.project, environment, log)
        written = self.log.read_bytes()[begin:].decode(errors="replace")
        return code == 0, written

    def module(self, name: str, *arguments: str, cwd: Path | None = None) -> tuple[bool, str]:
        """Run `python -m NAME` of the version's environment."""
        return self.run(self.python, "-m", name, *arguments, cwd=cwd)


def _run(command: Sequence[str], cwd: Path, environment: dict[str, str], log: object) -> int:
    """A session of its own: what the command starts ends with it, or when we are interrupted."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,  # type: ignore[call-overload] # a file
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        return int(process.wait())
    except BaseException:
        _end(process, signal.SIGTERM)
        raise
    finally:
        _end(process, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)


@contextmanager
def workshop(root: Path, recipe: Recipe, say: Say) -> Iterator[Workshop]:
    """The recipe's code, parameters and .dvc file in a clean worktree, gone afterwards.

    Raises CommitUnknown, DiffRefused.
    """
    if not lineage.knows(root, recipe.commit):
        raise CommitUnknown(recipe.commit)
    folder = Path(tempfile.mkdtemp(prefix="understudy-reproduce-")).resolve()
    tree = folder / "work"
    try:
        inside = _git(root, "rev-parse", "--show-prefix")[1].strip().rstrip("/")
        shop = Workshop(root, folder, tree / inside, say)
        say(f"commit {recipe.commit[:12]} in a clean worktree")
        # No hook of the project's: DVC's own would check its outputs out.
        no_hooks = ("-c", f"core.hooksPath={os.devnull}")
        ok, why = _git(root, *no_hooks, "worktree", "add", "--detach", str(tree), recipe.commit)
        if not ok:
            raise PipelineFailed("git worktree add", why)
        if recipe.origin.diff:
            _apply(shop, tree, inside, recipe.origin.diff)
        _write_params(shop.project, recipe.origin)
        _write_pointer(shop.project, recipe)
        yield shop
    finally:
        _git(root, "worktree", "remove", "--force", str(tree))
        shutil.rmtree(folder, ignore_errors=True)
        _git(root, "worktree", "prune")


def _apply(shop: Workshop, tree: Path, inside: str, diff: bytes) -> None:
    shop.say("its uncommitted changes, as kept with the run")
    patch = shop.folder / "code.diff"
    patch.write_bytes(diff)
    place = (f"--directory={inside}",) if inside else ()
    ok, why = _git(tree, "apply", "--whitespace=nowarn", *place, str(patch))
    if not ok:
        raise DiffRefused(why)


def _write_params(project: Path, origin: Origin) -> None:
    """The sections as they were used, over those of the commit."""
    if not origin.params:
        return
    raw = read_params(project)
    merged = {**raw, **{name: dict(values) for name, values in origin.params.items()}}
    merged["registry"] = {**(raw.get("registry") or {}), **(merged.get("registry") or {})}
    merged["registry"].pop("keys", None)  # nobody signs what goes into a store of a few minutes
    if merged != raw:
        (project / "params.yaml").write_text(yaml.safe_dump(merged, sort_keys=False))


def _write_pointer(project: Path, recipe: Recipe) -> None:
    pointer, text = lineage.data_pointer(project), recipe.origin.pointer
    if lineage.md5_in(text) != recipe.data_md5:
        out = {"md5": recipe.data_md5, "hash": "md5", "path": pointer.name.removesuffix(".dvc")}
        text = yaml.safe_dump({"outs": [out]}, sort_keys=False)
    if lineage.data_md5(project) != recipe.data_md5:
        pointer.write_text(text)


def environment(shop: Workshop, recipe: Recipe) -> str:
    """Choose or build the environment that the lock names; returns what it is, in words.

    Raises EnvironmentFailed.
    """
    python = recipe.origin.environment.python
    same_python = not python or _minor(python) == _minor(platform.python_version())
    if not recipe.lock:
        shop.say("this environment: no lock was kept with the run")
        return "this environment (no lock was kept)"
    differing = unlike(recipe.lock)
    if same_python and not differing:
        shop.say("this environment: its packages are those of the version's lock")
        return "this environment (its packages are those of the lock)"
    why = ", ".join(differing[:3]) if differing else f"Python {python}"
    shop.say(f"a fresh environment from the version's lock (this one differs: {why})")
    _build(shop, recipe.lock, _minor(python) if python else "")
    return "a fresh environment, built from the lock"


def unlike(lock: str) -> tuple[str, ...]:
    """What this environment has otherwise than a lock, as `NAME THERE, not LOCKED`."""
    found = []
    for name, pinned in lineage.pins(lock).items():
        for text in pinned:
            try:
                wanted = Requirement(text)
            except InvalidRequirement:
                found.append(f"{name} cannot be read")
                continue
            if wanted.marker is not None and not wanted.marker.evaluate():
                continue
            try:
                there = metadata.version(name)
            except metadata.PackageNotFoundError:
                found.append(f"{name} is not there")
                continue
            if not wanted.specifier.contains(there, prereleases=True):
                found.append(f"{name} {there}, not {str(wanted.specifier).removeprefix('==')}")
    return tuple(found)


def _build(shop: Workshop, lock: str, minor: str) -> None:
    place, pinned = shop.folder / "venv", shop.folder / lineage.LOCK
    pinned.write_text(lock)
    uv = (sys.executable, "-m", "uv")
    shop.variables["UV_PYTHON_DOWNLOADS"] = "never"
    python = minor if minor and minor != _minor(platform.python_version()) else sys.executable
    interpreter = str(place / ("Scripts" if os.name == "nt" else "bin") / "python")
    install = (*uv, "pip", "install", "--quiet", "--python", interpreter)
    steps = [
        (*uv, "venv", "--quiet", "--python", python, str(place)),
        (*install, "--require-hashes", "-r", str(pinned)),
    ]
    if (shop.project / "pyproject.toml").is_file():
        steps.append((*install, "--no-deps", "--no-build-isolation", str(shop.project)))
    for command in steps:
        ok, written = shop.run(*command)
        if not ok:
            raise EnvironmentFailed(" ".join(command[2:4]), _last(written))
    shop.python = interpreter


def data(shop: Workshop, recipe: Recipe) -> str:
    """Have the data version in place, by its md5; returns where it came from.

    From the project's DVC cache, else its remotes, else its source. Raises DataUnobtainable.
    """
    pointer = lineage.data_pointer(shop.project)
    place = pointer.with_suffix("")
    tried: list[str] = []
    for name, bring in (("DVC's cache", _cache), ("the DVC remote", _pull), ("its source", _in)):
        why = bring(shop, pointer.name)
        if not why:
            ok, written = shop.module("pipelines.check")
            if ok:
                shop.say(f"data {recipe.data_md5[:12]} from {name}")
                _own_cache(shop)
                return name
            why = _last(written)
        tried.append(f"{name}: {why}")
        shutil.rmtree(place, ignore_errors=True)
        place.unlink(missing_ok=True)
    raise DataUnobtainable(recipe.data_md5, tried)


def _cache(shop: Workshop, pointer: str) -> str:
    ok, there = shop.module("dvc", "cache", "dir", cwd=shop.root)
    if not ok:
        return _last(there)
    # A link would let a stage write into the project's cache.
    _config(shop, cache={"dir": there.strip().splitlines()[-1], "type": "copy"})
    ok, written = shop.module("dvc", "checkout", pointer)
    return "" if ok else _last(written)


def _pull(shop: Workshop, pointer: str) -> str:
    _own_cache(shop)
    ok, listed = shop.module("dvc", "remote", "list", cwd=shop.root)
    remotes = [line.split() for line in listed.splitlines() if len(line.split()) >= 2]
    if not ok or not remotes:
        return "none is configured"
    # A path relative to the project is none from here.
    paths = {name: url for name, url, *_ in remotes if "://" not in url}
    _config(shop, **{f"'remote \"{name}\"'": {"url": url} for name, url in paths.items()})
    ok, written = shop.module("dvc", "pull", pointer)
    return "" if ok else _last(written)


def _in(shop: Workshop, pointer: str) -> str:  # noqa: ARG001 - one way of three
    ok, written = shop.module("pipelines.ingest")
    return "" if ok else _last(written)


def _own_cache(shop: Workshop) -> None:
    _config(shop, cache={"dir": str(shop.folder / "dvc-cache"), "type": "copy"})


def _config(shop: Workshop, **sections: dict[str, str]) -> None:
    """Set what DVC's config says here, over what the project's says today: of its remotes, say.

    As `dvc config --local` would; each call of that takes most of a second.
    """
    config = configparser.RawConfigParser(strict=False, allow_no_value=True)
    place = Path(".dvc") / "config.local"
    theirs = (shop.root / place.with_name("config"), shop.root / place)
    config.read([*theirs, shop.project / place])
    for name, values in sections.items():
        if not config.has_section(name):
            config.add_section(name)
        for key, value in values.items():
            config.set(name, key, value)
    (shop.project / place).parent.mkdir(exist_ok=True)
    with (shop.project / place).open("w") as file:
        config.write(file)


def pipeline(shop: Workshop) -> None:
    """Run every stage, none from a cache. Raises PipelineFailed."""
    shop.say("the pipeline, every stage afresh")
    ok, written = shop.module("dvc", "repro", "--force", "--no-run-cache", "--no-commit")
    if not ok:
        raise PipelineFailed("dvc repro", _last(written, lines=8))


def _git(where: Path, *arguments: str) -> tuple[bool, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-C", str(where), *arguments], capture_output=True, env=kept, check=False
    )
    text = (done.stdout or done.stderr).decode(errors="replace")
    return done.returncode == 0, text if done.returncode == 0 else _last(text)


def sha256(text: str) -> str:
    """Of a lock's text, as lineage notes it."""
    return hashlib.sha256(text.encode()).hexdigest()


def _minor(python: str) -> str:
    return ".".join(python.split(".")[:2])


def _last(written: str, lines: int = 1) -> str:
    """The last lines that say something, in one."""
    said = [line.strip() for line in written.splitlines() if line.strip()]
    errors = [line for line in said if line.startswith(("Error: ", "ERROR: "))]
    chosen = errors[-1:] or said[-lines:]
    return " / ".join(chosen)[:500] or "it said nothing"
