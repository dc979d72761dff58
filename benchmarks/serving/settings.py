"""How long and how often is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Of one call; results.json is for the defaults."""

    runs: int = 5
    seconds: float = 8
    """Of each measurement by wrk."""
    soak: float = 300
    """Of the decisions under load; there is one every 3 s."""
