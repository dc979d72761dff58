"""What is monitored, and by which rules: the sections of params.yaml that matter, together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monitoring.sections import MonitorParams
from registry.errors import ParamsInvalid
from registry.sections import GateParams
from serving import nearby
from serving.sections import ServeParams

_FAR = ("staging", "canary", "production")


@dataclass(frozen=True)
class Setting:
    """What is monitored, and by which rules."""

    root: Path
    uri: str
    model: str
    policy: MonitorParams
    serve: ServeParams
    gates: GateParams
    rule: Mapping[str, Any]
    """The section `experiment`, for a canary."""
    slices: tuple[str, ...] = ()
    """Those of `evaluate.slices`."""

    def __post_init__(self) -> None:
        """Raises ParamsInvalid where no retraining could come as far as it should."""
        most, goal = self.gates.automation, self.policy.retrain
        if goal != "off" and _FAR.index(goal) > _FAR.index(most):
            raise ParamsInvalid(
                [
                    f"monitor.retrain is {goal}, and gate.automation lets programs go no farther "
                    f"than {most}"
                ]
            )

    @property
    def folder(self) -> Path:
        """Where gateway and monitor of this project keep what they need."""
        return self.root / nearby.FOLDER
