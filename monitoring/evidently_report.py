"""Evidently's data drift report of a window: a second opinion, and a report that many know.

Our own detectors (monitoring.drift) decide; nothing is read from this one. It sees at most ROWS
rows of each side. Evidently takes seconds to import and changes the warnings of its process, so it
runs in a process of its own, which may be of another interpreter:

    python -m monitoring.evidently_report REFERENCE.parquet WINDOW.parquet OUT.html

It is an optional extra (`pip install understudy[evidently]`), and its telemetry is switched off.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# Nothing of ours is imported here: the other interpreter has only pandas and Evidently.

ROWS = 5000
"""Of each side, drawn by SEED."""
SEED = 0
SECONDS = 120.0
MISSING = 3
"""Exit code where there is no Evidently."""

_LOOK_ALIKES = str.maketrans({"<": "\u2039", ">": "\u203a", "&": "\uff06"})
"""Texts come from callers, and the report is a page with scripts."""


def attach(
    reference: pd.DataFrame,
    window: pd.DataFrame,
    *,
    numeric: Sequence[str] | None = None,
    python: str = sys.executable,
    seconds: float = SECONDS,
) -> str | None:
    """The report as one HTML page; None where it could not be made, with the reason in the log.

    Columns that both frames have with any value are compared: those of `numeric` as numbers (None
    takes the reference's types), all others as text. It never raises for what the frames hold.
    """
    html, reason = made(reference, window, numeric=numeric, python=python, seconds=seconds)
    if html is None:
        logging.getLogger(__name__).warning("no report by Evidently: %s", reason)
    return html


def made(
    reference: pd.DataFrame,
    window: pd.DataFrame,
    *,
    numeric: Sequence[str] | None = None,
    python: str = sys.executable,
    seconds: float = SECONDS,
) -> tuple[str | None, str]:
    """As `attach`, but the report and the reason why there is none, which is empty where it is."""
    if python == sys.executable and importlib.util.find_spec("evidently") is None:
        return None, "Evidently is not installed (pip install 'understudy[evidently]')"
    was, now, numbers = _alike(reference, window, numeric)
    if not len(was) or not len(now) or not len(was.columns):
        return None, "reference and window have no column in common that holds a value"
    with tempfile.TemporaryDirectory(prefix="understudy-evidently-") as folder:
        paths = [
            Path(folder) / name for name in ("reference.parquet", "window.parquet", "out.html")
        ]
        was.to_parquet(paths[0], index=False)
        now.to_parquet(paths[1], index=False)
        # Not `-m`: the other interpreter need not have this package. -P, because a script's
        # folder comes first else, and `profile` of the standard library would be ours.
        command = [python, "-P", "-W", "ignore", __file__, *map(str, paths), json.dumps(numbers)]
        try:
            done = subprocess.run(
                command,
                env={**os.environ, "DO_NOT_TRACK": "1"},
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return None, f"it was not ready after {seconds:g} s"
        except OSError as error:
            return None, f"{python} does not start ({type(error).__name__})"
        if done.returncode == MISSING:
            return None, f"Evidently is not installed for {python}"
        if done.returncode or not paths[2].is_file():
            # The message may repeat data; the class says enough.
            last = (done.stderr.strip().splitlines() or [""])[-1].partition(":")[0]
            return None, f"it ended with code {done.returncode} ({last[:80]})"
        return paths[2].read_text(encoding="utf-8"), ""


def _alike(
    reference: pd.DataFrame, window: pd.DataFrame, numeric: Sequence[str] | None
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Both frames sampled, with the same columns of the same types; and which are numbers."""
    import pandas as pd

    both = [c for c in dict.fromkeys(reference.columns) if c in window.columns]
    sides = [f[both].sample(min(len(f), ROWS), random_state=SEED) for f in (reference, window)]
    found: list[dict[str, Any]] = [{}, {}]
    numbers = []
    for column in both:
        is_number = (
            column in numeric
            if numeric is not None
            else pd.api.types.is_numeric_dtype(reference[column])
        )
        clean = [(_numbers if is_number else _texts)(side[column]) for side in sides]
        if any(side.isna().all() for side in clean):
            continue
        name = str(column).translate(_LOOK_ALIKES)
        numbers += [name] if is_number else []
        for kept, side in zip(found, clean, strict=True):
            kept[name] = side
    return pd.DataFrame(found[0]), pd.DataFrame(found[1]), numbers


def _numbers(values: pd.Series) -> pd.Series:
    import numpy as np
    import pandas as pd

    found = pd.to_numeric(values, errors="coerce").astype(float)
    return found.replace([np.inf, -np.inf], np.nan).reset_index(drop=True)


def _texts(values: pd.Series) -> pd.Series:
    import pandas as pd

    told = [
        None if pd.api.types.is_scalar(v) and pd.isna(v) else str(v).translate(_LOOK_ALIKES)
        for v in values
    ]
    clean = [t if t is None else t.encode("utf-8", "replace").decode() for t in told]
    return pd.Series(clean, dtype=object)


def main(reference: str, window: str, out: str, numbers: str = "") -> int:
    """Write the report of two parquet files; the exit code."""
    os.environ["DO_NOT_TRACK"] = "1"  # before Evidently is imported
    try:
        import pandas as pd
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset
    except ModuleNotFoundError:
        return MISSING
    was, now = pd.read_parquet(reference), pd.read_parquet(window)
    known = (
        json.loads(numbers)
        if numbers
        else [c for c in was.columns if pd.api.types.is_numeric_dtype(was[c])]
    )
    others = [c for c in was.columns if c not in known]
    kinds = DataDefinition(numerical_columns=known, categorical_columns=others)
    made_of = [Dataset.from_pandas(frame, data_definition=kinds) for frame in (now, was)]
    found = Report([DataDriftPreset()]).run(*made_of)
    Path(out).write_text(found.get_html_str(as_iframe=False), encoding="utf-8")
    return 0


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit("usage: python -m monitoring.evidently_report REFERENCE WINDOW OUT")
    sys.exit(main(*sys.argv[1:]))
