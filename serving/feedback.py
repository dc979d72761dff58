"""Labels as callers send them: one, or a list of them, each for one prediction. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from serving.wire import NotAccepted

ITEMS = 10_000
BYTES = 1_000_000
NAME_LIMIT = 200
"""Characters of a prediction id, a key or a model's name."""
LABEL_LIMIT = 1000
"""Characters of a label that is a text."""

Label = str | int | float | bool

RESULTS = ("stored", "duplicate", "replaced", "late", "unknown", "ambiguous")
"""What becomes of a label.

`stored`: it is the prediction's label now. `duplicate`: the prediction has this label already;
nothing changes, so that a request may safely be sent again. `replaced`: it had another one, which
stays in its history; the label that came last counts. `late`: it came longer after the prediction
than `label_days`; it counts, and is marked, so that who reads may leave it out. `unknown`: there is
no such prediction (any more), nothing is stored. `ambiguous`: the request had several rows, each
of which has an id of its own (ID-0, ID-1, ...); nothing is stored.
"""


@dataclass(frozen=True, slots=True)
class Item:
    """One label; exactly one of `prediction_id` and `key` is not empty.

    A key means the newest prediction with this key that was not made after `time` (of `model`,
    where one is named). So a label that is sent twice meets the same prediction twice.
    """

    label: Label
    prediction_id: str = ""
    key: str = ""
    model: str = ""
    time: float | None = None
    """Seconds since 1970 when the outcome was there, None where that was not said."""

    def as_list(self) -> list[Any]:
        """For the frame to the writer; `Item(*...)` reads it back."""
        return [self.label, self.prediction_id, self.key, self.model, self.time]


def parse_feedback(body: bytes) -> list[Item]:
    """The labels of a request, in their order. Raises NotAccepted."""
    if len(body) > BYTES:
        sentence = f"the body is larger than {BYTES} bytes; send the labels in several requests"
        raise NotAccepted("REQUEST_TOO_LARGE", sentence, 413)
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise NotAccepted("BAD_REQUEST", "the body is not valid JSON in UTF-8") from None
    items = found if type(found) is list else [found]
    if not items:
        raise NotAccepted("BAD_REQUEST", "the list holds no label")
    if len(items) > ITEMS:
        sentence = f"{len(items)} labels are more than the {ITEMS} of one request"
        raise NotAccepted("REQUEST_TOO_LARGE", sentence, 413)
    return [_item(raw, f"label {n}" if len(items) > 1 else "it") for n, raw in enumerate(items)]


_KEYS = {"prediction_id", "key", "label", "time", "model"}


def _item(raw: Any, which: str) -> Item:
    if type(raw) is not dict:
        raise _wrong(which, "must be an object with `prediction_id` or `key`, and `label`")
    if not _KEYS.issuperset(raw):
        raise _wrong(which, f"has a key that is none of {', '.join(sorted(_KEYS))}")
    if ("prediction_id" in raw) == ("key" in raw):
        raise _wrong(which, "must have one of `prediction_id` and `key`")
    return Item(
        label=_label(raw.get("label"), which),
        prediction_id=_name(raw, "prediction_id", which),
        key=_name(raw, "key", which),
        model=_name(raw, "model", which),
        time=_time(raw.get("time"), which),
    )


def _label(value: Any, which: str) -> Label:
    if type(value) is str and len(value) <= LABEL_LIMIT:
        return value
    if type(value) is bool or (type(value) in (int, float) and math.isfinite(value)):
        return value  # type: ignore[no-any-return]
    raise _wrong(
        which,
        f"must have a `label`: a number, true, false or a text of up to {LABEL_LIMIT} letters",
    )


def _name(raw: dict[str, Any], name: str, which: str) -> str:
    if name not in raw:
        return ""
    value = raw[name]
    if type(value) is not str or not 0 < len(value) <= NAME_LIMIT or not value.isprintable():
        raise _wrong(which, f"has a `{name}` that is not a text of 1 to {NAME_LIMIT} letters")
    return value


def _time(value: Any, which: str) -> float | None:
    if value is None:
        return None
    try:
        if type(value) in (int, float) and 0 <= value < 1e11:
            return float(value)
        if type(value) is str:
            read = datetime.fromisoformat(value)
            if read.tzinfo is not None and read.year >= 1970:
                return read.timestamp()
    except (ValueError, OverflowError):
        pass
    sentence = "has a `time` that is neither seconds since 1970 nor ISO 8601 with its offset to UTC"
    raise _wrong(which, sentence)


def _wrong(which: str, what: str) -> NotAccepted:
    return NotAccepted("BAD_REQUEST", f"{which} {what}")
