"""The report of an experiment as an HTML page, and what MLflow keeps of it as numbers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from serving import experiment_words as told
from serving import sequence, words
from serving.sequence import number
from serving.style import FAVICON, ICONS, MARK, SHEET

Report = Mapping[str, Any]
LAST = 12
"""Rows of the path that are written out."""
LONGEST = 250
"""Characters of a parameter."""


def page(report: Report, model: str) -> str:
    """The whole page; it needs nothing beside itself, and runs nothing.

    Every text from elsewhere is escaped.
    """
    _, text = told.headline(report)
    heading = f"{model}, {told.title(report)}"
    since = words.when(report.get("began"))
    setting = escape(" ".join(s for s in (told.setting(report), told.closed(report)) if s))
    problem = str(report.get("problem") or "")
    warned = (
        f'<ul class="problems" aria-label="Problems"><li class="warn">{ICONS["warn"]}'
        f"<span>{escape(words.sentence(problem))}</span></li></ul>"
        if problem
        else ""
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(heading)}: {escape(text)}</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="{FAVICON}"><style>{SHEET}</style></head>\n'
        f'<body><main class="all"><h1>{MARK}Understudy, report of an experiment</h1>\n'
        f'<article class="model report"><div><h2>{escape(heading)}</h2>'
        f'<p class="soft">{f"Since {since} UTC. " if since else ""}{setting}</p></div>\n'
        f"{warned}{told.verdict_lines(report)}\n"
        f"{sequence.inline(report)}\n"
        f"{_findings(report)}{_path(report)}{_rule(report)}"
        f"<section><h3>Counted</h3>{told.facts(told.counts(report))}</section>\n"
        "</article></main></body></html>\n"
    )


def _findings(report: Report) -> str:
    rows = [_row(finding) for finding in told.findings(report)]
    if not rows:
        return ""
    note = (
        "Odds are e-values: how many times a bet against chance has multiplied its stake. They "
        "hold however often one looks. The arms are asked first, since all else rests upon them."
    )
    heads = ("Question", "Answer", "Odds", "Needed", "What was seen")
    return _table("Evidence", note, heads, rows)


def _row(finding: told.Finding) -> str:
    kind = f"found {finding.level}" if finding.found else "open"
    sign = ICONS[finding.level] if finding.found else ""
    answer = "shown" if finding.found else "not shown"
    return (
        f'<tr class="{kind}"><th scope="row">{sign}{escape(finding.question)}</th>'
        f'<td class="answer">{answer}</td><td class="number">{finding.odds}</td>'
        f'<td class="number">{finding.wanted}</td><td>{escape(finding.sentence)}</td></tr>\n'
    )


def _path(report: Report) -> str:
    path = sequence.points(report)
    if not path:
        return ""
    rows = [
        f'<tr><td class="number">{p.units:,.0f}</td>'
        + "".join(f'<td class="number">{words.signed(v)}</td>' for v in (p.mean, p.low, p.high))
        + "</tr>\n"
        for p in path[-LAST:]
    ]
    note = (
        f"Difference of the {sequence.what(report)}, {told.challenger(report)} minus "
        f"{told.champion(report)}, with {sequence.confidence(report)} intervals; "
        f"the last {len(rows)} of {len(path)} looks."
    )
    heads = (sequence.unit_name(report), "Mean", "From", "To")
    return _table("Last values", note, (heads[0][:1].upper() + heads[0][1:], *heads[1:]), rows)


_NUMBERS = {"Odds", "Needed", "Mean", "From", "To"}


def _table(name: str, note: str, heads: Iterable[str], rows: Iterable[str]) -> str:
    numeric = [(h, h in _NUMBERS or name == "Last values") for h in heads]
    cells = "".join(
        f'<th scope="col"{" class=number" if right else ""}>{escape(h)}</th>'
        for h, right in numeric
    )
    return (
        f'<section><h3>{name}</h3><p class="soft">{escape(note)}</p>'
        f'<div class="wide" role="region" aria-label="{name}" tabindex="0"><table>'
        f"<thead><tr>{cells}</tr></thead>\n<tbody>{''.join(rows)}</tbody></table></div></section>\n"
    )


def _rule(report: Report) -> str:
    return f"<section><h3>Rule</h3><p>{escape(told.rule(report))}</p></section>\n"


# What MLflow keeps


def summary(report: Report) -> dict[str, float]:
    """Metrics of the experiment's run: units, the decisive difference and its interval, evidence.

    Evidence is the logarithm of the e-value. What is not known or infinite is not there.
    """
    units = [*(report.get("units") or ()), None, None]
    labels = report.get("labels") or {}
    found = {
        "champion_units": units[0],
        "challenger_units": units[1],
        "judged": report.get("judged"),
        "dropped": report.get("dropped"),
        "labels_counted": labels.get("counted"),
        "labels_held": labels.get("held"),
        "labels_unfit": labels.get("unfit"),
        "margin": report.get("margin"),
    }
    if path := sequence.points(report):
        last = path[-1]
        found |= {
            "difference_units": last.units,
            "difference_mean": last.mean,
            "difference_low": last.low,
            "difference_high": last.high,
        }
    for entry in told.verdict(report).get("findings") or ():
        if entry.get("name") in told.QUESTIONS:
            found[f"log_evidence_{entry['name']}"] = entry.get("log_evidence")
            found[f"log_needed_{entry['name']}"] = entry.get("log_needed")
    return {name: kept for name, value in found.items() if (kept := number(value)) is not None}


_PARAMS = (
    "experiment", "mode", "champion", "challenger", "weight", "began",
    "metric", "alpha", "margin", "minimum",
)  # fmt: skip


def params(report: Report) -> dict[str, str]:
    """Parameters of the experiment's run: what was agreed, and what came of it."""
    found = {name: str(report[name]) for name in _PARAMS if report.get(name) is not None}
    verdict = told.verdict(report)
    found["decision"] = str(verdict.get("decision") or "none")
    for name, said in (("reason", verdict.get("reason")), ("decided", report.get("decided"))):
        if said:
            found[name] = str(said)
    return {name: value[:LONGEST] for name, value in found.items()}
