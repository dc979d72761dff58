"""`understudy serve` that counts nothing, which no setting allows; for switched-off."""

from __future__ import annotations

import sys
from typing import Any

import prometheus_client

from serving.metrics import Metrics

_COUNTING = {
    Metrics: ("answered", "refuse"),
    prometheus_client.Histogram: ("observe",),
    prometheus_client.Counter: ("inc",),
}


def _nothing(*_: Any) -> None:
    return None


def main() -> None:
    """As the command `understudy serve`."""
    for kind, names in _COUNTING.items():
        for name in names:
            setattr(kind, name, _nothing)
    from cli.main import main as command

    sys.argv = ["understudy", "serve"]
    command()


if __name__ == "__main__":
    main()
