"""The gate report: one HTML page that needs nothing beside itself, and runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from registry.bootstrap import Comparison
from registry.gate import Check, Verdict
from registry.quality import Scored, Slice
from registry.sections import GateParams

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: #1f2933;
       background: #f4f6f8; margin: 0; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 48px; }
header { border-left: 6px solid var(--mark); background: #fff; padding: 16px 22px;
         border-radius: 4px; box-shadow: 0 1px 2px #0002; }
h1 { font-size: 22px; margin: 0; overflow-wrap: anywhere; }
header p { margin: 4px 0 0; color: #52606d; }
h2 { font-size: 17px; margin: 30px 0 10px; }
section > p { max-width: 76ch; color: #52606d; margin: 0 0 10px; }
table { border-collapse: collapse; width: 100%; background: #fff; box-shadow: 0 1px 2px #0002;
        border-radius: 4px; }
th, td { text-align: left; padding: 8px 12px; border-bottom: 1px solid #e4e7eb;
         vertical-align: top; overflow-wrap: anywhere; }
tr:last-child > * { border-bottom: 0; }
thead th { font-size: 12px; letter-spacing: .04em; text-transform: uppercase; color: #616e7c; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th.number { text-align: right; }
tbody th { font-weight: 600; white-space: nowrap; }
.badge { display: inline-block; min-width: 5.6em; text-align: center; border-radius: 3px;
         font-size: 13px; font-weight: 600; padding: 1px 8px;
         white-space: nowrap; }
.passed { background: #e3f5e9; color: #14612f; }
.refused { background: #fde4e1; color: #97180c; }
.overridden { background: #fff1d0; color: #7a4d00; }
.skipped { background: #e8ebee; color: #52606d; }
code { font: 13px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
figure { margin: 0; background: #fff; padding: 14px; border-radius: 4px;
         box-shadow: 0 1px 2px #0002; }
figure img { display: block; width: 100%; height: auto; }
"""
_FACTS = {
    "git_commit": "git commit",
    "git_dirty": "uncommitted changes",
    "data_md5": "data (md5)",
    "params_sha256": "params.yaml (SHA-256)",
    "lock_sha256": "requirements.lock (SHA-256)",
}


@dataclass(frozen=True)
class Facts:
    """What is judged, and where it comes from."""

    model: str
    version: int
    champion: int | None
    lineage: Mapping[str, Any]
    digest: str
    run_id: str


@dataclass(frozen=True)
class Measured:
    """What was measured on the held-out rows; `slices` worst first."""

    scored: Scored
    compared: Comparison | None
    slices: tuple[Slice, ...]


def page(
    facts: Facts, verdict: Verdict, params: GateParams, measured: Measured | None = None
) -> str:
    """The whole page. Every text in it is escaped; pictures are data URIs."""
    title = f"{facts.model} v{facts.version} to Production"
    refused = len(verdict.failures)
    overridden = sum(c.overridden for c in verdict.checks)
    outcome = "passed the gates" if not refused else f"refused by {_count(refused, 'gate')}"
    if overridden:
        outcome += f", {_count(overridden, 'refusal')} overridden"
    rival = f"compared with v{facts.champion}" if facts.champion else "nothing is in Production yet"
    mark = "#1a7f45" if not refused and not overridden else "#b3261e" if refused else "#b77400"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<header style="--mark: {mark}"><h1>{escape(title)}: {escape(outcome)}</h1>'
        f"<p>Gate report; {escape(rival)}.</p></header>\n"
        f"{_gates(verdict)}{_pictures(measured, params)}{_lineage(facts)}"
        "</main>\n</body>\n</html>\n"
    )


def _gates(verdict: Verdict) -> str:
    rows = "".join(
        f"<tr><th>{escape(c.name)}</th><td>{_badge(c)}</td>"
        f'<td class="number">{_number(c, c.value)}</td>'
        f'<td class="number">{_number(c, c.limit)}</td>'
        f"<td>{escape(c.sentence)}</td></tr>\n"
        for c in verdict.checks
    )
    return (
        "<section><h2>Gates</h2>\n<table><thead><tr><th>Gate</th><th>Verdict</th>"
        '<th class="number">Value</th><th class="number">Limit</th><th>Why</th></tr></thead>\n'
        f"<tbody>{rows}</tbody></table></section>\n"
    )


def _badge(check: Check) -> str:
    word = (
        "skipped"
        if check.skipped
        else "passed"
        if check.passed
        else "overridden"
        if check.overridden
        else "refused"
    )
    return f'<span class="badge {word}">{word}</span>'


def _pictures(measured: Measured | None, params: GateParams) -> str:
    """The plots, as far as something was measured."""
    if measured is None or measured.scored.candidate is None:
        return ""
    from registry import report_plots  # matplotlib takes a second, and only a page needs it

    scored, found = measured.scored, []
    if measured.compared is not None:
        left_out = measured.compared.left_out
        note = f"{left_out} of them are left out, the metric is not defined there. "
        found.append(
            _figure(
                "Metric",
                f"{params.confidence * 100:g} % intervals by {params.resamples:,} paired bootstrap "
                f"resamples of the {measured.compared.rows:,} held-out rows. "
                + (note if left_out else "")
                + "The improvement's interval must not reach below the margin.",
                report_plots.intervals(scored, measured.compared, params.margin),
            )
        )
    found.append(
        _figure("Reliability", report_plots.reads(scored), report_plots.reliability(scored))
    )
    if measured.slices:
        shown = measured.slices[: report_plots.SLICES]
        found.append(
            _figure(
                "Slices",
                f"{len(shown)} of {len(measured.slices)} slices: those beyond their margin, and "
                "then those that come nearest to it. A slice is refused when the point, not its "
                "interval, lies beyond the margin.",
                report_plots.slices(scored, shown),
            )
        )
    return "".join(found)


def _figure(title: str, text: str, source: str) -> str:
    return (
        f"<section><h2>{escape(title)}</h2>\n<p>{escape(text)}</p>\n"
        f'<figure><img alt="{escape(title)}" src="{source}"></figure></section>\n'
    )


def _lineage(facts: Facts) -> str:
    known = [(word, facts.lineage.get(key)) for key, word in _FACTS.items()]
    known += [("artifact (SHA-256 of its manifest)", facts.digest), ("run", facts.run_id)]
    rows = "".join(
        f"<tr><th>{escape(word)}</th><td>"
        + (f"<code>{escape(str(value))}</code>" if value else "unknown")
        + "</td></tr>\n"
        for word, value in known
    )
    return f"<section><h2>Lineage</h2>\n<table><tbody>{rows}</tbody></table></section>\n"


def _number(check: Check, value: float | None) -> str:
    if value is None:
        return ""
    if check.name == "latency":
        return f"{value:,.1f} ms"
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.1f}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")
