"""Where a run came from: commit, data version, parameters and lock of the working copy."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

PREFIX = "understudy."
LOCK = "requirements.lock"
POINTERS = ("dvc.lock",)
"""May differ from the commit without the code being dirty, as the data's .dvc file may: what
they hold is in the lineage itself (the data's md5) or is the pipeline's own output."""

DIFF_LIMIT = 20_000_000
"""Bytes; a larger difference to the commit (data beside the code, say) is not kept with a run."""


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
    return (*_changed(root), *_new(root))


def diff(root: Path) -> bytes:
    """What makes the working copy dirty, for `git apply` on its commit; empty where nothing does.

    Of the files that `dirty_files` names: against the commit, binary ones and new ones included,
    with paths below `root`. Empty, too, where it would be larger than DIFF_LIMIT.
    """
    changed, new = _changed(root), _new(root)
    if sum(_size(root / name) for name in new) > DIFF_LIMIT:
        return b""  # before anything of it is read
    parts = [_git_bytes(root, *_DIFF, "--relative", "HEAD", "--", *changed)] if changed else []
    # git ends with 1 where two files differ, and these differ from nothing.
    parts += [_git_bytes(root, *_DIFF, "--no-index", "--", os.devnull, n, codes=(1,)) for n in new]
    text = b"".join(parts)
    return text if len(text) <= DIFF_LIMIT else b""


def _changed(root: Path) -> tuple[str, ...]:
    """Tracked files that differ from the commit."""
    return _but_pointers(root, _git(root, "diff", "--name-only", "--relative", "-z", "HEAD"))


def _new(root: Path) -> tuple[str, ...]:
    """Files that git neither tracks nor ignores."""
    return _but_pointers(root, _git(root, "ls-files", "--others", "--exclude-standard", "-z"))


def _but_pointers(root: Path, listed: str) -> tuple[str, ...]:
    known = {*POINTERS, data_pointer(root).relative_to(root).as_posix()}
    return tuple(name for name in listed.split("\0") if name and name not in known)


def data_pointer(root: Path) -> Path:
    """The .dvc file of the data that params.yaml names; data.dvc unless it says otherwise."""
    try:
        path = str(yaml.safe_load((root / "params.yaml").read_text())["data"]["path"])
    except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError):
        path = "data"
    return root / f"{path.rstrip('/')}.dvc"


def data_md5(root: Path) -> str:
    """The data version that the .dvc file names, empty if there is none."""
    try:
        return md5_in(data_pointer(root).read_text())
    except (OSError, ValueError):
        return ""


def md5_in(pointer: str) -> str:
    """The md5 that the text of a .dvc file names, empty if it names none."""
    try:
        return str(yaml.safe_load(pointer)["outs"][0]["md5"])
    except (yaml.YAMLError, ValueError, KeyError, IndexError, TypeError):
        return ""


def pins(text: str) -> dict[str, tuple[str, ...]]:
    """Package to the requirements that a lock has of it, such as `numpy==2.1 ; python<"3.12"`.

    Usually one; a lock for several platforms may hold more. Hashes are left out.
    """
    found: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        pinned = re.match(r"([A-Za-z0-9][\w.-]*)(?:\[[^]]*\])?\s*==[^\\#]*", line)
        if pinned:
            name = re.sub(r"[-_.]+", "-", pinned[1]).lower()
            found[name] = (*found.get(name, ()), pinned[0].strip())
    return found


@dataclass(frozen=True)
class Between:
    """What git knows of two commits; `known` is False where it does not know one of them."""

    known: bool
    added: tuple[str, ...] = ()
    """The commits that only the second has, as `HASH SUBJECT`, the newest first."""
    removed: tuple[str, ...] = ()
    """The commits that only the first has."""
    files: tuple[str, ...] = ()
    """As `git diff --name-status` shows them: `M path`."""


def subject(root: Path, commit: str) -> str | None:
    """The first line of a commit's message; None where the commit is not known here."""
    if not knows(root, commit):
        return None
    return _git(root, "log", "-1", "--format=%s", commit).strip()


def knows(root: Path, commit: str) -> bool:
    """Whether the repository around `root` holds a commit."""
    if not re.fullmatch(r"[0-9a-f]{40,64}", commit):
        return False
    return _git(root, "cat-file", "-t", commit).strip() == "commit"


def between(root: Path, first: str, second: str) -> Between:
    """The commits and the files that lie between two commits."""
    if not (knows(root, first) and knows(root, second)):
        return Between(known=False)
    log = ("log", "--oneline", "--no-decorate")
    status = _git(root, "diff", "--name-status", "--relative", first, second)
    return Between(
        known=True,
        added=tuple(_git(root, *log, f"{first}..{second}").splitlines()),
        removed=tuple(_git(root, *log, f"{second}..{first}").splitlines()),
        files=tuple(" ".join(line.split("\t")) for line in status.splitlines()),
    )


_DIFF = (
    "-c", "core.quotePath=true",
    "diff", "--binary", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames",
    "--src-prefix=a/", "--dst-prefix=b/",
)  # fmt: skip
"""`git diff` as `git apply` reads it, whatever a person's git is set to."""


def _git(root: Path, *arguments: str) -> str:
    return _git_bytes(root, *arguments).decode(errors="surrogateescape")


def _git_bytes(root: Path, *arguments: str, codes: tuple[int, ...] = (0,)) -> bytes:
    command = ["git", "--literal-pathspecs", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=30)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return b""
    return done.stdout if done.returncode in codes else b""


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
