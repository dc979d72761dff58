"""Moments as texts, and back."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(seconds: float) -> str:
    """Seconds since 1970 as UTC, ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def seconds(text: str) -> float:
    """And back; 0 where it is no moment."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
