"""What can be wrong with monitoring itself; the text says what to do."""

from __future__ import annotations

from registry.errors import UnderstudyError


class MonitorError(UnderstudyError):
    """Any of these."""


class MonitorBusy(MonitorError):
    """Another monitor is at work on the same model."""

    def __init__(self, model: str, holder: str, seconds: float) -> None:
        super().__init__(
            f"{holder} is looking at {model} at this moment, nothing was done here; if it died, "
            f"its turn ends in {max(seconds, 0):.0f} s"
        )


class NothingLive(MonitorError):
    """A model without a Production version."""

    def __init__(self, model: str) -> None:
        super().__init__(
            f"{model} has no version in Production, so there is nothing to compare with; "
            "`understudy promote VERSION --to production`"
        )


class ReferenceMissing(MonitorError):
    """A version that keeps no reference sample."""

    def __init__(self, version: int, why: str) -> None:
        super().__init__(
            f"v{version} cannot be monitored: {why}; versions of the pipeline's train stage keep "
            "a reference sample (evaluate.reference_rows)"
        )


class RecordsOff(MonitorError):
    """No prediction log is kept."""

    def __init__(self) -> None:
        super().__init__(
            "params.yaml says `serve.records: off`, and monitoring reads the prediction log"
        )


class MonitorStoreRefused(MonitorError):
    """What the monitor knows cannot be kept there."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(
            f"what the monitor knows cannot be kept in {url} ({why}); monitor.store of "
            "params.yaml names the database"
        )


class MuteRefused(MonitorError):
    """A mute that makes no sense."""
