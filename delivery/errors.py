"""Errors of packaging a version.

UnderstudyError
└── DeliveryError
    ├── OutputTaken
    └── OutputUnwritable
"""

from __future__ import annotations

from pathlib import Path

from registry.errors import UnderstudyError


class DeliveryError(UnderstudyError):
    """Nothing was delivered, and nothing half-made is left."""


class OutputTaken(DeliveryError):
    """Something is there already."""

    def __init__(self, output: Path) -> None:
        super().__init__(
            f"{output} exists and is left as it is; name another folder with --output, "
            "or remove it first"
        )


class OutputUnwritable(DeliveryError):
    """The disk is full, or the folder belongs to somebody else."""

    def __init__(self, output: Path, why: str) -> None:
        super().__init__(f"{output} cannot be written: {why}; nothing of it is left")
