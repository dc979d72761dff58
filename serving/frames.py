"""What the gateway sends to the writer of its prediction log: records, packed into frames. Pure.

A frame is a head (kind, number, length) and so many bytes. Records are packed as they came, raw:
reading them is the writer's work, so that none of it is done by the event loop.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass

SETTINGS, PREDICTIONS, FEEDBACK = b"S", b"P", b"F"
"""The kinds of frames; settings are the first one that a writer gets."""
HEAD = struct.Struct("<cQI")
LARGEST = 2**31
"""Bytes of one frame; a head that says more is no head."""

_RECORD = struct.Struct("<dqqdqd9I")


@dataclass(slots=True)
class Record:
    """One answered request."""

    id: str
    time: float
    """Seconds since 1970, when it came."""
    model: str
    version: int
    arm: str
    """Of an experiment (split.Split.arm, `shadow`); empty outside of one."""
    key: str
    """By which the caller knows what it asked about; empty where none was given."""
    body: bytes
    content_type: str
    rows: int
    """In the request, 0 where nobody counted; what the writer can read of it decides."""
    answer: bytes
    milliseconds: float
    status: int
    experiment: str = ""
    """Which one (registry.traffic.Traffic.experiment); empty outside of one."""
    weight: float | None = None
    """Of the challenger when the arm was drawn; None where nothing was drawn for this request."""
    fault: str = ""
    """What was the matter with the arm's own answer (split.FAILED, STRANGE), empty for nothing."""

    @property
    def size(self) -> int:
        """Bytes that it holds in memory, about."""
        return len(self.body) + len(self.answer) + OVERHEAD


OVERHEAD = 600
"""Bytes of a record beside body and answer: the object, its texts, its place in a queue."""


def frame(kind: bytes, number: int, content: bytes) -> bytes:
    """A frame, whole."""
    return HEAD.pack(kind, number, len(content)) + content


def pack(records: Iterable[Record]) -> bytes:
    """Records in their order; what cannot be UTF-8 in their texts is replaced."""
    parts: list[bytes] = []
    for r in records:
        texts = (
            r.id.encode("utf-8", "replace"),
            r.model.encode("utf-8", "replace"),
            r.arm.encode("utf-8", "replace"),
            r.key.encode("utf-8", "replace"),
            r.content_type.encode("utf-8", "replace"),
            r.experiment.encode("utf-8", "replace"),
            r.fault.encode("utf-8", "replace"),
            r.body,
            r.answer,
        )
        lengths = map(len, texts)
        weight = math.nan if r.weight is None else r.weight
        numbers = (r.time, r.version, r.rows, r.milliseconds, r.status, weight)
        head = _RECORD.pack(*numbers, *lengths)
        parts.append(head)
        parts.extend(texts)
    return b"".join(parts)


def unpack(content: bytes) -> list[Record]:
    """Read back what `pack` wrote. Raises ValueError for anything else."""
    records: list[Record] = []
    at = 0
    try:
        while at < len(content):
            head = _RECORD.unpack_from(content, at)
            time, version, rows, milliseconds, status, weight = head[:6]
            at += _RECORD.size
            texts = []
            for length in head[6:]:
                texts.append(content[at : at + length])
                at += length
            if at > len(content):
                raise ValueError("it ends in the middle of a record")
            id_, model, arm, key, kind, experiment, fault = (text.decode() for text in texts[:7])
            records.append(
                Record(
                    id_, time, model, version, arm, key, texts[7], kind, rows, texts[8],
                    milliseconds, status, experiment, None if math.isnan(weight) else weight, fault,
                )
            )  # fmt: skip
    except struct.error as error:
        raise ValueError(str(error)) from None
    return records


def take(buffer: bytearray) -> tuple[bytes, int, bytes] | None:
    """The first whole frame of a stream (kind, number, content), taken off; None if there is none.

    Raises ValueError where the stream holds something else.
    """
    if len(buffer) < HEAD.size:
        return None
    kind, number, length = HEAD.unpack_from(buffer)
    if kind not in (SETTINGS, PREDICTIONS, FEEDBACK) or length > LARGEST:
        raise ValueError("what came is no frame")
    end = HEAD.size + length
    if len(buffer) < end:
        return None
    content = bytes(buffer[HEAD.size : end])
    del buffer[:end]
    return kind, number, content
