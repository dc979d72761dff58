"""What a served version takes and gives, column by column, from its file MLmodel. No mlflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry import fit

# The MLflow type of a tensor's numpy type; what is not here keeps numpy's name.
_OF_NUMPY = {
    "bool": "boolean",
    "int32": "integer",
    "int64": "long",
    "float32": "float",
    "float64": "double",
    "datetime64[ns]": "datetime",
    "bytes": "binary",
    "object": "string",
    "str": "string",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One input, output or parameter."""

    name: str
    """Empty where the signature gives none."""
    type: str
    """MLflow's word (`double`, `long`, `string`, ...), or numpy's where MLflow has none."""
    required: bool = True
    shape: tuple[int, ...] = (-1,)
    """Of all rows together; -1 is any length."""
    default: Any = None
    """Of a parameter."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives."""

    inputs: tuple[Column, ...] = ()
    outputs: tuple[Column, ...] = ()
    params: tuple[Column, ...] = ()
    by_column: bool = False
    """Whether it takes named columns; otherwise tensors, or there is no signature."""


NOTHING_KNOWN = Signature()
"""The signature of a model that has none."""


def read(folder: Path) -> Signature:
    """The signature of a model's files, NOTHING_KNOWN without one. Raises ValueError, OSError."""
    found = fit.read(folder)
    return NOTHING_KNOWN if found is None else of(found)


def of(found: fit.Signature) -> Signature:
    """A signature as `registry.fit` reads it, in plain columns. Raises ValueError."""
    by_column = all(c["type"] != "tensor" and c.get("name") for c in found.inputs)
    return Signature(
        _columns(found.inputs), _columns(found.outputs), _columns(found.params), by_column
    )


def _columns(raw: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    return tuple(_column(c) for c in raw)


def _column(raw: Mapping[str, Any]) -> Column:
    name, kind, required = str(raw.get("name") or ""), str(raw["type"]), raw.get("required", True)
    if kind != "tensor":
        shape = tuple(raw.get("shape") or (-1,))
        return Column(name, kind, required is not False, shape, raw.get("default"))
    try:
        spec = raw["tensor-spec"]
        dtype, shape = str(spec["dtype"]), tuple(int(n) for n in spec["shape"])
    except (KeyError, TypeError, ValueError):
        raise ValueError("its signature cannot be read (a tensor without type and shape)") from None
    plain = "str" if dtype.startswith(("<U", "str")) else dtype
    return Column(name, _OF_NUMPY.get(plain, plain), required is not False, shape)
