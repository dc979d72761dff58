"""What Evidently says of the same streams and rows; runs in an environment of Evidently's own.

`python -m benchmarks.drift.peer RUNS` prints a line of JSON for each scenario and size: how,
name, size, figures. benchmarks.drift.detectors and benchmarks.drift.million start it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd

from benchmarks.drift import streams


def preset(reference: pd.DataFrame) -> Callable[[pd.DataFrame], dict[str, Any]]:
    """From a window to the report of DataDriftPreset with its defaults."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    parts = DataDefinition(
        numerical_columns=streams.NUMERIC, categorical_columns=streams.CATEGORICAL
    )
    known = Dataset.from_pandas(reference, data_definition=parts)

    def look(window: pd.DataFrame) -> dict[str, Any]:
        current = Dataset.from_pandas(window, data_definition=parts)
        found: dict[str, Any] = Report([DataDriftPreset()]).run(current, known).dict()
        return found

    return look


def theirs(reference: pd.DataFrame, by: str) -> Callable[[pd.DataFrame], set[str]]:
    """Columns called drifted: by itself (`column`), or all if the data set is (`data set`)."""
    report = preset(reference)

    def look(window: pd.DataFrame) -> set[str]:
        metrics = report(window)["metrics"]
        if by == "data set":
            whole = next(m for m in metrics if "drift_share" in m["config"])
            drifted = float(whole["value"]["share"]) >= float(whole["config"]["drift_share"])
            return {*streams.NUMERIC, *streams.CATEGORICAL} if drifted else set()
        return {
            str(m["config"]["column"])
            for m in metrics
            if "column" in m["config"]
            and is_drift(m["config"]["method"], float(m["value"]), float(m["config"]["threshold"]))
        }

    return look


def is_drift(method: str, value: float, threshold: float) -> bool:
    """A p-value is drift below its threshold, a distance from it on."""
    return value < threshold if "p_value" in method else value >= threshold


def main(runs: str) -> int:
    """Every scenario at every size of RUNS, a mapping of sizes to numbers of streams."""
    from benchmarks.drift.detectors import play

    sizes = {int(size): (int(a), int(b)) for size, (a, b) in json.loads(runs).items()}
    still = {size: (count, 0) for size, (count, _) in sizes.items()}
    for by, chosen in (("column", sizes), ("data set", still)):
        for name, size, figures in play(partial(theirs, by=by), chosen, 2):
            sys.stdout.write(json.dumps([f"Evidently, {by}", name, size, figures]) + "\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
