"""Draws docs/images/serving.svg from results.json: `python -m benchmarks.serving.plot`.

Throughput and p99 by connections. The background is left clear and every colour is of middling
lightness, so that a page may be light or dark.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from benchmarks.serving.run import RESULTS

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "serving.svg"
SHOWN = {
    "gateway": ("understudy serve", "#3b82d9", "o"),
    "mlserver": ("MLServer, adaptive batching", "#d9822b", "s"),
    "bare": ("mlflow models serve", "#8b949e", "^"),
}
TEXT, GRID = "#7d8590", "#7d859055"
STYLE: Any = {
    "font.size": 11,
    "font.family": "sans-serif",
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.edgecolor": TEXT,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "svg.fonttype": "path",
    "svg.hashsalt": "understudy",  # equal numbers, equal bytes
}


def draw(results: dict[str, Any], path: Path) -> None:
    """Both pictures beside each other."""
    found = results["connections"]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 4), layout="constrained")
        left, right = figure.subplots(1, 2)
        _lines(left, found, "requests/s", "Answered requests per second")
        _lines(right, found, "p99 ms", "99 of 100 answered within, ms")
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        figure.savefig(path, transparent=True, metadata={"Date": None})


def _lines(axes: Axes, found: dict[str, Any], figure: str, title: str) -> None:
    counts = [int(count) for count in found["gateway"]]
    for name, (label, colour, marker) in SHOWN.items():
        values = [found[name][str(count)][figure] for count in counts]
        axes.plot(counts, values, color=colour, marker=marker, linewidth=2, label=label)
        axes.annotate(
            f"{values[-1]:,.0f}", (counts[-1], values[-1]), (6, 0),
            textcoords="offset points", va="center", color=colour,
        )  # fmt: skip
    axes.set_title(title)
    axes.set_xlabel("connections, one row in each request")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(color=GRID, linewidth=0.7)


@click.command()
@click.option("--results", default=RESULTS, type=click.Path(path_type=Path))
@click.option("--out", default=PICTURE, type=click.Path(path_type=Path))
def main(results: Path, out: Path) -> None:
    """Draw it; the scenario `connections` must have been run."""
    read = json.loads(results.read_text())
    if "connections" not in read:
        raise click.ClickException(f"{results.name} has no scenario `connections`; run it first")
    draw(read, out)
    click.echo(f"wrote {out.name}")


if __name__ == "__main__":
    main()
