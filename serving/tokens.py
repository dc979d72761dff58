"""Who may ask and who may decide: API tokens, kept as hashes and compared in constant time.

A token is 32 random bytes, so that its plain SHA-256 tells nothing; no salt or slow hash is needed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from registry import turn
from registry.errors import UnderstudyError

Scope = Literal["predict", "admin"]
FILE = "tokens.json"
PATIENCE = 30.0
"""Seconds to wait for somebody else who changes them."""


class TokensUnreadable(UnderstudyError):
    """Nobody can say who may; nothing is guessed."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} holds no tokens; delete it, and make them anew with `understudy token`"
        )


class TokensBusy(UnderstudyError):
    """Somebody else has been changing them for too long."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"another `understudy token` has been changing {path} for {PATIENCE:g} s; end it first"
        )


def new() -> str:
    """A token that nobody can guess."""
    return secrets.token_urlsafe(32)


def hashed(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


class Tokens:
    """The tokens that a gateway takes; `admin` ones may also predict."""

    def __init__(self, folder: Path, own: str) -> None:
        """Those of a folder, and one of the gateway's own. Raises TokensUnreadable, OSError."""
        self._path, self._own = folder / FILE, ("admin", hashed(own))
        self._written: tuple[int, int, int] | None = None
        self._known: list[tuple[str, str]] = []
        self._take(folder)

    def look(self) -> bool:
        """Take the file anew if it was written; whether it was. Raises TokensUnreadable, OSError.

        Where it raises, the tokens that were known go on being taken.
        """
        if _written(self._path) == self._written:
            return False
        self._take(self._path.parent)
        return True

    def _take(self, folder: Path) -> None:
        self._written = _written(self._path)
        found = read(folder)
        self._known = [(entry["scope"], entry["sha256"]) for entry in found.values()]

    @property
    def predicting_needs_one(self) -> bool:
        """Whether there is any token for predicting; without one everybody may."""
        return any(scope == "predict" for scope, _ in self._known)

    def allows(self, authorization: str, scope: Scope) -> bool:
        """Whether an `Authorization: Bearer ...` header is good enough. Looks at every token."""
        kind, _, token = authorization.partition(" ")
        given = hashed(token.strip()) if kind.lower() == "bearer" else ""
        found = False
        for has, known in (*self._known, self._own):
            same = hmac.compare_digest(known, given)
            found |= same and (has == "admin" or has == scope)
        return found


def _written(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is written; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def read(folder: Path) -> dict[str, dict[str, str]]:
    """Names, scopes and hashes as they are kept in a folder. Raises TokensUnreadable, OSError."""
    try:
        raw = json.loads((folder / FILE).read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        raise TokensUnreadable(folder / FILE) from None
    if not isinstance(raw, dict) or not all(
        isinstance(v, dict) and {"scope", "sha256"} <= v.keys() for v in raw.values()
    ):
        raise TokensUnreadable(folder / FILE)
    return raw


@contextmanager
def changing(folder: Path) -> Iterator[dict[str, dict[str, str]]]:
    """What `read` gives, to be changed in the block and kept after it, by one at a time.

    Raises TokensUnreadable, TokensBusy, OSError. Nothing is kept of a block that raises.
    """
    with turn.of(str(folder.resolve()), FILE, PATIENCE) as ours:
        if not ours:
            raise TokensBusy(folder / FILE)
        known = read(folder)
        yield known
        _write(folder / FILE, known)


def _write(path: Path, known: Mapping[str, Mapping[str, str]]) -> None:
    """Keep names, scopes and hashes, readable for this user only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new_path = path.with_suffix(".new")
    handle = os.open(new_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as stream:
        json.dump({k: dict(v) for k, v in known.items()}, stream, indent=2)
    new_path.replace(path)
