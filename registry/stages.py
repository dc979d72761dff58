"""The words for where a version stands, and which alias mirrors which stage."""

from __future__ import annotations

from enum import StrEnum


class Stage(StrEnum):
    """MLflow's registry stages, by MLflow's own spelling."""

    NONE = "None"
    STAGING = "Staging"
    PRODUCTION = "Production"
    ARCHIVED = "Archived"


# Only these two have an alias: the others may hold many versions, an alias holds one.
ALIASES = {Stage.STAGING: "staging", Stage.PRODUCTION: "production"}


def parse(word: str) -> Stage:
    """Read a stage whatever its capitals; ValueError names the allowed words."""
    for stage in Stage:
        if stage.value.lower() == word.strip().lower():
            return stage
    raise ValueError(f"{word!r} is not a stage; the stages are {', '.join(Stage)}")
