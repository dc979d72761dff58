"""Errors of serving; each class builds its own sentence from values.

UnderstudyError
└── LogError
    ├── LogUrlRefused
    ├── LogUnreachable
    ├── LogMissing
    ├── LogOff
    ├── LogOfAnotherKind
    └── PredictionNotFound
"""

from __future__ import annotations

from registry.errors import UnderstudyError
from registry.settings import without_password


class LogError(UnderstudyError):
    """The prediction log is not what it should be."""


class LogUrlRefused(LogError):
    """No log can ever be kept at this address."""

    def __init__(self, url: str, why: str) -> None:
        self.why = without_password(why)
        super().__init__(
            f"serve.records is {without_password(url)!r}, and no prediction log can be kept there "
            f"({self.why}); sqlite:///FILE and postgresql+psycopg2://... are taken, "
            "`off` keeps none"
        )


class LogUnreachable(LogError):
    """The database of the log does not answer, or refuses."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(
            f"the prediction log at {without_password(url)} does not answer "
            f"({without_password(why)}); start its database, or correct serve.records"
        )


class LogMissing(LogError):
    """Nothing was ever logged there."""

    def __init__(self, url: str) -> None:
        super().__init__(
            f"there is no prediction log at {without_password(url)} yet; `understudy serve` makes "
            "one, at the place that serve.records of params.yaml names"
        )


class LogOff(LogError):
    """params.yaml keeps no log."""

    def __init__(self) -> None:
        super().__init__(
            "serve.records of params.yaml is 'off', so no prediction is logged; name a database "
            "there, or leave it out for a file in the project"
        )


class LogOfAnotherKind(LogError):
    """A log that another release wrote, or no log of ours at all."""

    def __init__(self, url: str, found: str, known: int) -> None:
        super().__init__(
            f"the prediction log at {without_password(url)} is of format {found}, and this release "
            f"knows format {known}; `understudy serve` brings an older one up to it, for any other "
            "use the release that wrote it, or name another log in serve.records"
        )


class PredictionNotFound(LogError):
    """No prediction of this id."""

    def __init__(self, prediction_id: str, rows: int = 0) -> None:
        name = prediction_id[:80]
        why = (
            f"request {name!r} had several rows, and each has an id of its own: {name}-0 to "
            f"{name}-{rows - 1}"
            if rows
            else f"there is no prediction {name!r} in the log; it may be older than what is kept "
            "(serve.records_days), or was never logged"
        )
        super().__init__(why)
