"""Puts values into train.params of params.yaml and leaves every other character as it is."""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode

from pipelines.errors import ParamsChanged, ParamsUneditable
from registry.settings import load_yaml

NULL = "tag:yaml.org,2002:null"


def apply(path: Path, before: bytes, values: Mapping[str, Any]) -> str:
    """Write `values` into the file that held `before`; returns the difference, empty for none.

    Raises ParamsChanged where it holds something else by now, and ParamsUneditable; the file is
    then as it was.
    """
    path = path.resolve()
    old = before.decode()
    new = edited(old, values)
    if path.read_bytes() != before:
        raise ParamsChanged(values)
    if new != old:
        _replace(path, new.encode())
    lines = (old.splitlines(keepends=True), new.splitlines(keepends=True))
    return "".join(difflib.unified_diff(*lines, "params.yaml", "params.yaml", n=1))


def edited(text: str, values: Mapping[str, Any]) -> str:
    """`text` with `values` in train.params. Raises ParamsUneditable where YAML is in the way."""
    wanted = load_yaml(text)
    wanted["train"]["params"] = {**(wanted["train"].get("params") or {}), **values}
    new = text
    try:
        for name, value in values.items():
            new = _with(new, name, _flow(value))
        found = load_yaml(new)
    except (yaml.YAMLError, _InTheWayError):
        raise ParamsUneditable(values) from None
    # Anchors, tags and the like can make a value mean more than where it is written.
    same = all(type(found["train"]["params"].get(k)) is type(v) for k, v in values.items())
    if found != wanted or not same:
        raise ParamsUneditable(values)
    return new


class _InTheWayError(Exception):
    """The text is written in a way that cannot be changed piece by piece."""


def _with(text: str, name: str, value: str) -> str:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    train = _child(root, "train")
    params = _child(train, "params")
    if params is None or params.tag == NULL:
        return _set(text, train, "params", f"{{{name}: {value}}}")
    return _set(text, params, name, value)


def _child(node: Node | None, key: str) -> Node | None:
    if not isinstance(node, MappingNode):
        raise _InTheWayError
    # Of a key that is given twice, the last counts.
    return next((v for k, v in reversed(node.value) if k.value == key), None)


def _set(text: str, table: Node | None, key: str, value: str) -> str:
    """`text` with another value of one key of a mapping, or with that key at its end."""
    found = _child(table, key)
    if found is not None:
        start, end = found.start_mark.index, _end(found)
        return f"{text[:start]}{' ' * (start == end)}{value}{text[end:]}"
    if not isinstance(table, MappingNode):
        raise _InTheWayError
    if table.flow_style:
        at = _end(table.value[-1][1]) if table.value else int(table.end_mark.index) - 1
        return f"{text[:at]}{', ' * bool(table.value)}{key}: {value}{text[at:]}"
    line = text.find("\n", _end(table.value[-1][1]))
    rest = "" if line < 0 else text[line:]
    newline = "\r\n" if text[:line].endswith("\r") else "\n"
    whole = text[: len(text) - len(rest)].removesuffix("\r")
    indent = " " * table.value[0][0].start_mark.column
    return f"{whole}{newline}{indent}{key}: {value}{newline if rest else ''}{rest[1:]}"


def _end(node: Node) -> int:
    """Where a value ends. Those in block style end at the next token, behind comments."""
    if (isinstance(node, CollectionNode) and not node.flow_style) or (
        isinstance(node, ScalarNode) and node.style in ("|", ">")
    ):
        raise _InTheWayError
    return int(node.end_mark.index)


def _flow(value: Any) -> str:
    """A scalar as YAML has it inside of brackets."""
    return yaml.safe_dump([value], default_flow_style=True, width=10_000).strip()[1:-1]


def _replace(path: Path, content: bytes) -> None:
    """Whole or not at all, with the file's own permissions."""
    handle, name = tempfile.mkstemp(prefix=".params.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).chmod(path.stat().st_mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise
