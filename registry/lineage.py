"""Where a run came from: commit, data version, parameters and lock of the working copy."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

PREFIX = "understudy."
LOCK = "requirements.lock"
POINTERS = ("dvc.lock",)
"""May differ from the commit without the code being dirty, as the data's .dvc file may: what
they hold is in the lineage itself (the data's md5) or is the pipeline's own output."""


@dataclass(frozen=True)
class Lineage:
    """Everything by which a run can be made again; empty text where a part is unknown."""

    git_commit: str
    git_dirty: str
    """`true` or `false`; empty outside a git repository."""
    data_md5: str
    params_sha256: str
    lock_sha256: str

    def tags(self) -> dict[str, str]:
        """As tags of a run, unknown parts left out."""
        return {PREFIX + key: value for key, value in asdict(self).items() if value}


def collect(root: Path) -> Lineage:
    """Read the lineage off the working copy in `root`. Never raises: what is unknown is empty."""
    commit = _git(root, "rev-parse", "HEAD").strip()
    return Lineage(
        git_commit=commit,
        git_dirty=str(bool(dirty_files(root))).lower() if commit else "",
        data_md5=data_md5(root),
        params_sha256=_sha256(root / "params.yaml"),
        lock_sha256=_sha256(root / LOCK),
    )


def dirty_files(root: Path) -> tuple[str, ...]:
    """Tracked files that differ from the commit, and new ones git does not ignore."""
    changed = _git(root, "diff", "--name-only", "--relative", "HEAD").splitlines()
    new = _git(root, "ls-files", "--others", "--exclude-standard").splitlines()
    known = {*POINTERS, data_pointer(root).relative_to(root).as_posix()}
    return tuple(name for name in (*changed, *new) if name not in known)


def data_pointer(root: Path) -> Path:
    """The .dvc file of the data that params.yaml names; data.dvc unless it says otherwise."""
    try:
        path = str(yaml.safe_load((root / "params.yaml").read_text())["data"]["path"])
    except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError):
        path = "data"
    return root / f"{path.rstrip('/')}.dvc"


def data_md5(root: Path) -> str:
    """The data version that the .dvc file names, empty if there is none."""
    pointer = data_pointer(root)
    try:
        return str(yaml.safe_load(pointer.read_text())["outs"][0]["md5"])
    except (OSError, yaml.YAMLError, ValueError, KeyError, IndexError, TypeError):
        return ""


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
