"""The year as a table and as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

WHO = {
    "june": "June model, left alone",
    "monthly": "retrained every month, no gates",
    "understudy": "Understudy",
}
COLOURS = {"june": "#8a8f98", "monthly": "#c07a2c", "understudy": "#0b6e69"}
TITLES = {"plain": "The year as it was", "faulty": "The year with four faults planted"}
_MARKS = {
    "live": ("v", "#0b6e69", "a version goes live"),
    "refused": ("X", "#a8261c", "refused: data or gate"),
    "alert": ("o", "#b5832a", "alert"),
    "rollback": ("<", "#7a3fa0", "rollback or aborted canary"),
}


def _month(number: int) -> str:
    return ["Jul", "Aug", "Sep", "Oct", "Nov", "Dec"][number - 7]


def _by(scores: Mapping[str, Any], who: str, month: str | int) -> Mapping[str, Any]:
    of: Mapping[Any, Any] = scores[who]
    found: Mapping[str, Any] = of[month] if month in of else of[int(month)]
    return found


def table(results: Mapping[str, Any]) -> str:
    """Markdown: per month and year, then what came of the faults, then the decisions."""
    return "\n".join(line for year in results["years"] for line in _year(year)) + "\n"


def _year(year: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {TITLES[year['name']]}\n"
    yield (
        "| month | late | findings of windows | ROC AUC: June / monthly / Understudy "
        "| log loss: June / monthly / Understudy | events |"
    )
    yield "|---|---|---|---|---|---|"
    for month, late in year["late"].items():
        scores = [_by(year["scores"], who, month) for who in WHO]
        found = year["findings"].get(month, {})
        count = year["windows"].get(month, 0)
        events = [e for e in year["events"] if e["month"] == int(month) and e["what"] != "data"]
        yield (
            f"| {_month(int(month))} | {late:.1%} | "
            f"{sum(found.values())} in {count} windows | "
            + " / ".join(f"{s['roc_auc']:.3f}" for s in scores)
            + " | "
            + " / ".join(f"{s['log_loss']:.3f}" for s in scores)
            + f" | {_told(events)} |"
        )
    means = [
        (
            sum(s["roc_auc"] for s in year["scores"][who].values()) / len(year["late"]),
            sum(s["log_loss"] for s in year["scores"][who].values()) / len(year["late"]),
        )
        for who in WHO
    ]
    yield (
        "| mean | | | "
        + " / ".join(f"{m[0]:.4f}" for m in means)
        + " | "
        + " / ".join(f"{m[1]:.4f}" for m in means)
        + " | |"
    )
    yield ""
    if year["caught"]:
        yield "| fault | told of by | windows of traffic until then | learnt and in Production |"
        yield "|---|---|---|---|"
        for caught in year["caught"]:
            windows = "-" if caught["windows"] is None else str(caught["windows"])
            live = "yes" if caught["in_production"] else "no"
            yield f"| {caught['fault']} | {caught['how']} | {windows} | {live} |"
        yield ""
    counts = ", ".join(f"{n} x {what}" for what, n in sorted(year["counts"].items()))
    yield f"Ledger: {counts}. Requests that failed: {year['failed_requests']}.\n"


def _told(events: Sequence[Mapping[str, Any]]) -> str:
    names: dict[str, int] = {}
    for event in events:
        name = event["what"] if event["what"] == "live" else f"{event['what']} {event['state']}"
        names[name.strip()] = names.get(name.strip(), 0) + 1
    return ", ".join(f"{n} x {name}" if n > 1 else name for name, n in names.items()) or "-"


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Two metrics by month for each year, with what happened above them."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    years = results["years"]
    figure, axes = plt.subplots(
        3, len(years), figsize=(6.2 * len(years), 7.4), squeeze=False, sharex="col",
        gridspec_kw={"height_ratios": [3, 3, 1.3]}, layout="constrained",
    )  # fmt: skip
    for column, year in enumerate(years):
        months = [int(m) for m in year["late"]]
        for row, (metric, name) in enumerate((("roc_auc", "ROC AUC"), ("log_loss", "log loss"))):
            ax = axes[row][column]
            for who, label in WHO.items():
                values = [_by(year["scores"], who, str(m))[metric] for m in months]
                ax.plot(
                    months, values, marker="o", ms=4, lw=2.4 if who == "understudy" else 1.5,
                    color=COLOURS[who], label=label,
                )  # fmt: skip
            ax.set_ylabel(name)
            ax.grid(axis="y", alpha=0.25)
            ax.spines[["top", "right"]].set_visible(False)
        axes[0][column].set_title(TITLES[year["name"]], loc="left", fontweight="bold")
        _events(axes[2][column], year, months)
    axes[0][0].legend(frameon=False, fontsize=8)
    for row in range(2):
        limits = [ax.get_ylim() for ax in axes[row]]
        for ax in axes[row]:
            ax.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _kind(event: Mapping[str, Any]) -> str | None:
    if event["state"] == "refused":
        return "refused"
    return str(event["what"]) if event["what"] in _MARKS else None


def _events(ax: Any, year: Mapping[str, Any], months: Sequence[int]) -> None:
    levels = {kind: n for n, kind in enumerate(reversed(_MARKS))}
    for event in year["events"]:
        kind = _kind(event)
        if kind is None:
            continue
        mark, colour, _ = _MARKS[kind]
        day = int(event["day"][8:10]) if event["day"] else 1
        ax.plot(event["month"] - 0.5 + day / 31, levels[kind], mark, color=colour, ms=7)
    ax.set_yticks(list(levels.values()), [_MARKS[k][2] for k in levels], fontsize=8)
    ax.set_ylim(-0.7, len(levels) - 0.3)
    ax.set_xticks(list(months), [_month(m) for m in months])
    ax.set_xlim(months[0] - 0.6, months[-1] + 0.6)
    ax.grid(axis="x", alpha=0.2)
    ax.spines[["top", "right"]].set_visible(False)
