"""The types of a tensor's elements, and which values they hold. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from serving.wire import NotAccepted

INTEGERS = {
    f"{sign}INT{bits}": ((0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
    for sign in ("", "U")
    for bits in (8, 16, 32, 64)
}
LARGEST = {"FP16": 65504.0, "FP32": 3.4028234663852886e38, "FP64": 1.7976931348623157e308}
DATATYPES = ("BOOL", *INTEGERS, *LARGEST, "BYTES")
"""The protocol's types of a tensor's elements."""

OF_TYPE = {
    "boolean": "BOOL",
    "integer": "INT32",
    "long": "INT64",
    "float": "FP32",
    "double": "FP64",
    "int8": "INT8",
    "int16": "INT16",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "float16": "FP16",
}
ANSWER = "predictions"
"""Name of the output of a model whose signature names none."""
NAMED = 5
"""Columns that one sentence names."""


def _is_integer(low: int, high: int) -> Callable[[Any], bool]:
    return lambda v: type(v) is int and low <= v <= high


def _is_float(largest: float) -> Callable[[Any], bool]:
    return lambda v: v is None or (type(v) in (int, float) and -largest <= v <= largest)


CHECKS: dict[str, Callable[[Any], bool]] = {
    "BOOL": lambda v: type(v) is bool,
    "BYTES": lambda v: v is None or type(v) is str,
    **{name: _is_integer(*limits) for name, limits in INTEGERS.items()},
    **{name: _is_float(largest) for name, largest in LARGEST.items()},
}
WORDS = {
    "BOOL": "true or false",
    "BYTES": "a text or null",
    **{n: f"an integer from {low} to {high} ({n})" for n, (low, high) in INTEGERS.items()},
    **{n: f"a number within {n}, or null" for n in LARGEST},
}


def bad(sentence: str) -> NotAccepted:
    """A request that is not as the protocol has it."""
    return NotAccepted("BAD_REQUEST", sentence, 400)
