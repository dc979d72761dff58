"""Build contexts of two images: one that serves a version, and one of the project, its gateway."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tomllib
from collections.abc import Iterable
from pathlib import Path

import yaml

from delivery import docker_healthy, docker_lock, docker_text
from delivery.errors import (
    BaseMissing,
    BaseNotPinned,
    ExampleMissing,
    LockMissing,
    SourcesMissing,
)
from delivery.making import Making
from registry import explain, lineage, scoring
from registry import store as stores

KIND = "docker"
HERE = Path(__file__).resolve().parent.parent
"""Where the sources of the project lie that is running."""
USUAL_PYTHON = "3.11"
_PINNED = re.compile(r"[a-z0-9][\w.:/-]*@sha256:[0-9a-f]{64}")


def require_base(base: str | None) -> str:
    """A base image that is the same tomorrow. Raises BaseMissing, BaseNotPinned."""
    if not base:
        raise BaseMissing(USUAL_PYTHON)
    if not _PINNED.fullmatch(base):
        raise BaseNotPinned(base)
    return base


def write(made: Making, base: str, root: Path, sources: Path = HERE) -> None:
    """Folders `model` and `gateway`, each a context; `root` is the folder of params.yaml.

    Raises LockMissing, LockUnfit, ExampleMissing, SourcesMissing.
    """
    lock = _lock(made, (root, sources))
    requirements = docker_lock.reduced(lock, _text(made.model / "requirements.txt"))
    made.facts["base"] = base
    made.metrics["packages"] = requirements.count("==")
    _model(made, base, requirements)
    _gateway(made.folder / "gateway", base, root, sources)
    _readable(made.folder)


def _model(made: Making, base: str, requirements: str) -> None:
    folder, chosen = made.folder / "model", made.chosen
    shutil.copytree(made.model, folder / "model", ignore=_no_bytecode)
    # MLflow adds it to what it downloads; it is not in the digest.
    (folder / "model" / "registered_model_meta").unlink(missing_ok=True)
    (folder / "serving").mkdir()
    (folder / "serving" / docker_healthy.CHECK).write_text(_check(made))
    shutil.copyfile(docker_healthy.__file__, folder / "serving" / "healthy.py")
    (folder / "serving" / "serve.sh").write_text(docker_text.START)
    (folder / "requirements.txt").write_text(requirements)
    text = docker_text.model(base, chosen.model, chosen.facts(), _python(made.model))
    (folder / "Dockerfile").write_text(text)
    _only(folder, ("requirements.txt", "model", "serving"))


def _gateway(folder: Path, base: str, root: Path, sources: Path) -> None:
    needed = ("pyproject.toml", lineage.LOCK)
    if missing := [name for name in needed if not (sources / name).is_file()]:
        raise SourcesMissing(sources, missing)
    about = tomllib.loads((sources / "pyproject.toml").read_text())
    packages = {str(p).partition(".")[0] for p in about["tool"]["setuptools"]["packages"]}
    files = ("pyproject.toml", str(about["project"]["readme"]))
    wanted = [*files, *sorted(packages)]
    if missing := [name for name in wanted if not (sources / name).exists()]:
        raise SourcesMissing(sources, missing)
    for name in packages:
        shutil.copytree(sources / name, folder / "project" / name, ignore=_no_bytecode)
    for name in files:
        shutil.copyfile(sources / name, folder / "project" / name)
    shutil.copyfile(root / "params.yaml", folder / "project" / "params.yaml")
    shutil.copyfile(sources / lineage.LOCK, folder / "requirements.txt")
    commit = lineage.collect(sources).git_commit
    text = docker_text.gateway(base, str(about["project"]["version"]), commit)
    (folder / "Dockerfile").write_text(text)
    _only(folder, ("requirements.txt", "project"))


def _lock(made: Making, folders: Iterable[Path]) -> str:
    """The lock that the version was trained with: the one whose SHA-256 its lineage names."""
    wanted = made.chosen.lineage.get("lock_sha256", "")
    for folder in folders:
        text = _text(folder / lineage.LOCK)
        if text and wanted in ("", hashlib.sha256(text.encode()).hexdigest()):
            return text
    about = made.store.shown(made.chosen.model).versions[made.chosen.version]
    text = explain.lock(made.store, about)
    if not text or wanted not in ("", hashlib.sha256(text.encode()).hexdigest()):
        raise LockMissing(made.chosen.version, wanted)
    return text


def _check(made: Making) -> str:
    """What the health check asks: the model's own example."""
    example = stores.input_example(made.model)
    if example is None:
        raise ExampleMissing(made.chosen.version, "it was logged without an input example")
    try:
        request, rows = scoring.example_request(made.model, example)
        return json.dumps({"rows": rows, "request": request.decode()})
    except (scoring.NotServed, ValueError) as error:
        raise ExampleMissing(made.chosen.version, str(error)) from None


def _python(model: Path) -> str:
    """MAJOR.MINOR of the Python that the model was trained with; empty where it is not known."""
    try:
        flavor = yaml.safe_load(_text(model / "MLmodel"))["flavors"]["python_function"]
        found = re.match(r"\d+\.\d+", str(flavor["python_version"]))
    except (yaml.YAMLError, KeyError, TypeError):
        return ""
    return found[0] if found else ""


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, UnicodeDecodeError):
        return ""


def _no_bytecode(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "__pycache__"]


def _only(folder: Path, names: Iterable[str]) -> None:
    """Nothing else that comes to lie in the folder is sent to whoever builds."""
    (folder / ".dockerignore").write_text("".join(("*\n", *(f"!{name}\n" for name in names))))


def _readable(folder: Path) -> None:
    """The user of the image owns none of it, whatever this user's umask is."""
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
