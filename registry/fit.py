"""Whether what callers of one model send today still works with another: their signatures. Pure.

The rules are those by which MLflow enforces a signature when a model is called
(https://mlflow.org/docs/latest/ml/model/signatures/#signature-enforcement): a column may be sent
in a smaller type of the same kind, an extra column is ignored, a missing one must be optional.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Column = Mapping[str, Any]
"""One column, tensor or parameter, as MLflow writes it into an artifact's file MLmodel."""

# From the type that is sent to the wider ones that a model may ask for.
_WIDER = {
    "integer": ("long", "double"),
    "float": ("double",),
}
_WIDER_PARAMS = {
    "integer": ("long", "float", "double"),
    "long": ("float", "double"),
    "float": ("double",),
}


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives; a column's keys are MLflow's own."""

    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...] = ()
    params: tuple[Column, ...] = ()


def read(folder: Path) -> Signature | None:
    """The signature of a downloaded model, None without one. Raises ValueError, OSError."""
    try:
        found = (yaml.safe_load((folder / "MLmodel").read_text()) or {}).get("signature")
        parts = {k: json.loads(v) if v else () for k, v in (found or {}).items()}
        columns = {k: tuple(parts.get(k) or ()) for k in ("inputs", "outputs", "params")}
        if not all(isinstance(c, dict) and "type" in c for side in columns.values() for c in side):
            raise ValueError("a column has no type")
    except (yaml.YAMLError, ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"its signature cannot be read ({type(error).__name__})") from None
    return Signature(**columns) if columns["inputs"] else None


def problems(sent: Signature, asked: Signature) -> list[str]:
    """What breaks when callers of the model `sent` meet the model `asked`; empty when nothing."""
    return [
        *_inputs(sent.inputs, asked.inputs),
        *_params(sent.params, asked.params),
        *_outputs(sent.outputs, asked.outputs),
    ]


def _inputs(sent: Sequence[Column], asked: Sequence[Column]) -> list[str]:
    if _named(sent) != _named(asked):
        return ["one names its inputs and the other does not"]
    if not _named(asked):
        if len(asked) > len(sent):
            return [f"it takes {len(asked)} inputs, callers send {len(sent)}"]
        pairs = [(f"input {n}", s, a) for n, (s, a) in enumerate(zip(sent, asked, strict=False), 1)]
        return [p for name, s, a in pairs for p in _given(name, s, a)]
    known = {c["name"]: c for c in sent}
    found: list[str] = []
    for column in asked:
        name = column["name"]
        if name in known:
            found += _given(f"input {name}", known[name], column)
        elif column.get("required", True):
            found.append(f"input {name} is required, and callers do not send it")
    return found


def _given(name: str, sent: Column, asked: Column) -> list[str]:
    """What is wrong with one input that both models know."""
    if asked.get("required", True) and not sent.get("required", True):
        return [f"{name} is required, and callers may leave it out"]
    if _takes(sent, asked):
        return []
    return [f"{name} takes {_type(asked)}, callers send {_type(sent)}"]


def _takes(sent: Any, asked: Any) -> bool:
    """Whether a value of type `sent` is accepted where `asked` is declared."""
    one, other = sent["type"], asked["type"]
    if one == other == "tensor":
        return _takes_tensor(sent["tensor-spec"], asked["tensor-spec"])
    if one == other == "array":
        return _takes(sent["items"], asked["items"])
    if one == other == "map":
        return _takes(sent["values"], asked["values"])
    if one == other == "object":
        return _takes_object(sent["properties"], asked["properties"])
    return bool(one == other or other == "any" or other in _WIDER.get(one, ()))


def _takes_object(sent: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """A property too many is refused by MLflow, as is one too few."""
    needed = {k for k, v in asked.items() if v.get("required", True)}
    given = {k for k, v in sent.items() if v.get("required", True)}
    return (
        set(sent) <= set(asked) and needed <= given and all(_takes(sent[k], asked[k]) for k in sent)
    )


def _takes_tensor(sent: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """The same type, and a shape that each of the sent ones has; -1 is any length."""
    one, other = sent["shape"], asked["shape"]
    return bool(
        sent["dtype"] == asked["dtype"]
        and len(one) == len(other)
        and all(a in (-1, s) for s, a in zip(one, other, strict=True))
    )


def _params(sent: Sequence[Column], asked: Sequence[Column]) -> list[str]:
    """Inference parameters: MLflow drops one it does not know without an error, so say it here."""
    known = {p["name"]: p for p in asked}
    found: list[str] = []
    for param in sent:
        name = f"parameter {param['name']}"
        if param["name"] not in known:
            found.append(f"{name} is no longer known")
            continue
        new = known[param["name"]]
        same = param["type"] == new["type"] or new["type"] in _WIDER_PARAMS.get(param["type"], ())
        if not same or _shape(param) != _shape(new):
            found.append(f"{name} takes {_type(new)}, callers send {_type(param)}")
    return found


def _shape(param: Column) -> tuple[int, ...] | None:
    return tuple(param["shape"]) if param.get("shape") else None


def _outputs(old: Sequence[Column], new: Sequence[Column]) -> list[str]:
    """Every output that callers read today is there, in the same type."""
    if not old:
        return []
    if not new:
        return ["it does not say what it gives"]
    if not _named(old) or not _named(new):
        if _named(old) != _named(new) or len(old) != len(new):
            return ["its output has another form"]
        pairs = [(f"output {n}", o, a) for n, (o, a) in enumerate(zip(old, new, strict=True), 1)]
    else:
        known = {c["name"]: c for c in new}
        missing = [f"output {c['name']} is gone" for c in old if c["name"] not in known]
        if missing:
            return missing
        pairs = [(f"output {c['name']}", c, known[c["name"]]) for c in old]
    return [f"{name} was {_type(o)} and is {_type(a)}" for name, o, a in pairs if not _same(o, a)]


def _same(old: Column, new: Column) -> bool:
    if old["type"] == new["type"] == "tensor":
        return _takes_tensor(new["tensor-spec"], old["tensor-spec"])
    if old.get("required", True) and not new.get("required", True):
        return False
    plain = [{k: v for k, v in c.items() if k not in ("name", "required")} for c in (old, new)]
    return plain[0] == plain[1]


def _named(columns: Sequence[Column]) -> bool:
    return any(c.get("name") is not None for c in columns)


def _type(column: Column) -> str:
    """A type in words, short enough for a sentence."""
    kind = str(column["type"])
    if kind == "tensor":
        spec = column["tensor-spec"]
        kind = f"tensor of {spec['dtype']}, shape {tuple(spec['shape'])}"
    elif kind in ("array", "map", "object"):
        rest = {k: v for k, v in column.items() if k in ("items", "values", "properties")}
        kind = f"{kind} {json.dumps(rest)[:120]}"
    elif column.get("shape"):
        kind = f"{kind}, shape {tuple(column['shape'])}"
    return kind
