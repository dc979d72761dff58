"""Whether an artifact lies inside a place that is allowed. Reads nothing but symbolic links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_HOSTS = ("http", "https", "mlflow-artifacts")
"""Schemes whose authority is a host's name, which knows no capitals."""


@dataclass(frozen=True)
class _Place:
    """A location taken apart: `parts` are the segments of its path, as they are written."""

    scheme: str
    authority: str
    query: str
    parts: tuple[str, ...]


def inside(uri: str, root: str) -> bool:
    """Whether `uri` is `root` or lies below it, however either is spelled.

    Both are absolute: paths, `file:` URIs, or URIs of an object store. Local paths are compared
    after their symbolic links are followed. Object stores take a path literally, their clients
    do not: there, `..` is never inside, and a path has to be inside both as it is written and
    with its doubled slashes made one. Percent-escapes may be decoded by any of the programs in
    between, so the answer must be the same before and after.
    """
    try:
        pairs = list(_readings(uri, root))
        return bool(pairs) and all(_below(_place(one), _place(other)) for one, other in pairs)
    except (ValueError, OSError, RuntimeError):  # NUL in a path, a bad authority, a loop of links
        return False


def _readings(uri: str, root: str) -> Iterator[tuple[str, str]]:
    """Both as they are, and decoded again and again until nothing changes."""
    for _ in range(5):
        yield uri, root
        decoded = unquote(uri), unquote(root)
        if decoded == (uri, root):
            return
        uri, root = decoded
    raise ValueError("it is escaped more than four times over")


def _place(text: str) -> _Place:
    if not _SCHEME.match(text):
        return _local(text)
    found = urlsplit(text)
    scheme, authority = found.scheme.lower(), found.netloc
    if scheme == "file":
        if authority.lower() not in ("", "localhost"):
            raise ValueError("a file on another machine")
        return _local(found.path, f"{found.query}#{found.fragment}")
    if "\\" in text or ".." in found.path.split("/"):
        raise ValueError("a path that other programs read otherwise")
    if scheme in _HOSTS:
        authority = authority.lower()
    rest = f"{found.query}#{found.fragment}"
    return _Place(scheme, authority, rest, tuple(found.path.split("/")))


def _local(path: str, query: str = "#") -> _Place:
    if not path.startswith("/"):
        raise ValueError("a relative path means another place in every folder")
    return _Place("file", "", query, Path(path).resolve().parts)


def _below(place: _Place, root: _Place) -> bool:
    same = (place.scheme, place.authority, place.query) == (
        root.scheme,
        root.authority,
        root.query,
    )
    return same and all(
        _starts(form(place.parts), form(root.parts)) for form in (_as_written, _without_gaps)
    )


def _starts(parts: tuple[str, ...], root: tuple[str, ...]) -> bool:
    return parts[: len(root)] == root


def _as_written(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Only the slashes at the end left out, for they say nothing."""
    end = len(parts)
    while end and not parts[end - 1]:
        end -= 1
    return parts[:end]


def _without_gaps(parts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part for part in parts if part not in ("", "."))
