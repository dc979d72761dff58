"""Predicts in this process what `batch.pool` has predicted by others, with the same code."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from batch.model import Model
from batch.source import Chunk
from batch.worker import Failed, Part, Plan, answer

Predict = Callable[[Any], Any]


class Inline:
    """An Asked of so many places; it answers in the order in which it was asked."""

    def __init__(self, predict: Predict, plan: Plan, places: int) -> None:
        self._plan, self._places = plan, places
        self._model = Model(predict, plan.outputs)
        self._waiting: deque[Chunk] = deque()

    @property
    def idle(self) -> bool:
        return len(self._waiting) < self._places

    @property
    def busy(self) -> bool:
        return bool(self._waiting)

    def ask(self, chunk: Chunk) -> None:
        self._waiting.append(chunk)

    def answer(self) -> Part | Failed:
        return answer(self._waiting.popleft(), self._plan, self._model)

    def end(self) -> None:
        self._waiting.clear()


def by(predict: Predict) -> Callable[[Plan, int], Inline]:
    """A start of `local.score`."""
    return lambda plan, places: Inline(predict, plan, places)
