"""The tables of README.md from results.json: `python -m benchmarks.drift.table`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.drift.streams import DRIFTS

HERE = Path(__file__).parent
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
COLUMN, WHOLE = "Evidently, column", "Evidently, data set"


def alarms(kept: dict[str, Any]) -> list[str]:
    """Windows without a drift that matters in which anything was found."""
    lines = [
        "| windows of | rows | ours | | Evidently, any column | | Evidently, data set | |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        "| | | per 1,000 | of windows | per 1,000 | of windows | per 1,000 | of windows |",
    ]
    for name in ("stable", "harmless"):
        for size, by in kept.get(name, {}).items():
            cells = [name, f"{int(size):,}"]
            for how in ("ours", COLUMN, WHOLE):
                found = by.get(how)
                cells += (
                    [str(found["alarms per 1,000"]), f"{found['windows']:,}"] if found else 2 * [""]
                )
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def drifts(kept: dict[str, Any]) -> list[str]:
    """How surely and how soon a drift is found."""
    lines = [
        "| drift | rows | found in 2 windows | windows until found | never in 10 | of streams | "
        "alarms before, of windows | Evidently: found in 2 windows | windows until found | "
        "never in 10 | of streams | alarms before, of windows |",
        "|---|---:|" + 10 * "---:|",
    ]
    for name in DRIFTS:
        for size, by in kept.get(name, {}).items():
            cells = [name, f"{int(size):,}"]
            for how in ("ours", COLUMN):
                found = by.get(how)
                cells += _drift(found) if found else 5 * [""]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _drift(found: dict[str, Any]) -> list[str]:
    until = found["windows until found, mean"]
    return [
        f"{100 * found['found in two windows']:.1f} %",
        "" if until is None else f"{until:.2f}",
        str(found["never found"]),
        str(found["streams"]),
        f"{found['of which alarmed']} of {found['stable windows']}",
    ]


def million(kept: dict[str, Any]) -> list[str]:
    """Time and memory."""
    lines = [
        "| 1,000,000 against 1,000,000 rows | seconds | of the processor | peak MB | runs |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, shown in (("million", "ours"), ("million-evidently", "Evidently")):
        if found := kept.get(name):
            seconds = f"{found['seconds']} | {found['of the processor']}"
            lines.append(f"| {shown} | {seconds} | {found['peak MB']:.0f} | {found['runs']} |")
    return lines


def main() -> None:
    """Write the tables between their marks in README.md."""
    kept = json.loads((HERE / "results.json").read_text())
    path = HERE / "README.md"
    before, _, rest = path.read_text().partition(BEGIN)
    parts = [[f"Measured on {kept['machine']}."], alarms(kept), drifts(kept), million(kept)]
    tables = "\n\n".join("\n".join(lines) for lines in parts)
    path.write_text(f"{before}{BEGIN}\n\n{tables}\n\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
