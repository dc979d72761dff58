"""The report of a window as one HTML page, for a person who asks what monitoring saw. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from monitoring import report_drift, report_quality, report_shapes, report_style
from monitoring import report_words as told
from monitoring.drift import SCORE
from monitoring.findings import Finding, Judged, Quality
from monitoring.report_words import figure, text
from serving.style import FAVICON, ICONS, MARK, SHEET

if TYPE_CHECKING:
    from monitoring.profile import Profile, Reference

WINDOWS = 100
"""Newest windows that are drawn."""
LISTED = 8
"""Sentences that are written out above; the table has them all."""
SHAPES = 6
"""Features whose distribution is drawn."""
OPEN = 40
"""Rows up to which the table is open where nothing was found."""
TABLE = 3000
"""Rows of the table of findings, the largest first."""


def page(
    window: Judged,
    decision: Mapping[str, Any],
    history: Sequence[Judged],
    reference: Reference | None = None,
    profile: Profile | None = None,
) -> str:
    """The whole page; it needs nothing beside itself, and runs nothing.

    `decision` is what monitoring.decide.Decision.as_dict gives, `history` has the newest window
    last, which is this one. Without `reference` and `profile` no distributions are drawn. Every
    text from elsewhere is escaped.
    """
    shown = [*[w for w in history if w.number != window.number], window][-WINDOWS:]
    sentence = told.headline(window, decision)
    level = told.level(window, decision)
    title = text(f"{window.model}, window {window.number}", 120)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{title}: {text(sentence, 300)}</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="{FAVICON}"><style>{SHEET}{report_style.SHEET}</style></head>\n'
        f'<body><main class="all"><h1>{MARK}Understudy, what monitoring saw</h1>\n'
        f'<article class="model"><div><h2>{title}</h2>'
        f'<p class="soft">{told.when(window.since)} to {told.when(window.until)} UTC</p></div>\n'
        f'<div><p class="verdict {level}">{ICONS[level]}<span>{text(sentence, 300)}</span></p>'
        f"{_why(window, decision)}</div>\n"
        f"{_window(window)}{_performance(window, shown)}{_drift(shown)}"
        f"{_shapes(window, reference, profile)}{_findings(window)}"
        "</article></main></body></html>\n"
    )


# What was found, decided and held back


def _why(window: Judged, decision: Mapping[str, Any]) -> str:
    """Reasons of the decision, what else was found, and what was held back."""
    by_sentence = {f.sentence: f for f in window.findings}
    found = [f.sentence for f in window.found]
    every = dict.fromkeys([window.problem, *told.reasons(decision), *found])
    ranked = sorted(filter(None, every), key=lambda said: _rank(by_sentence.get(said)))
    lines = [
        _line("bad" if s == window.problem or _looks_broken(by_sentence.get(s)) else "warn", s)
        for s in ranked
    ]
    more = len(lines) - LISTED
    if more > 0:
        rest = f"And {told.count(more, 'further finding')}, in the table below."
        lines = [*lines[:LISTED], f"<li>{rest}</li>"]
    held = [f'<li class="held"><b>Held back:</b> {told.said(h)}</li>' for h in told.held(decision)]
    listed = "".join([*lines, *held])
    return f'<ul class="reasons">{listed}</ul>{_note(window, decision)}'


def _rank(finding: Finding | None) -> tuple[int, float]:
    """What is no finding of this window first, then faults, the model, and features by size."""
    if finding is None:
        return 0, 0.0
    order = 1 if finding.broken else 3 if finding.kind in told.FEATURE_KINDS else 2
    return order, -told.ratio(finding)


def _looks_broken(finding: Finding | None) -> bool:
    return finding is not None and finding.broken


def _line(level: str, sentence: str) -> str:
    return f'<li class="{level}">{told.said(sentence)}</li>'


def _note(window: Judged, decision: Mapping[str, Any]) -> str:
    """What else a reader of the headline should know."""
    said = []
    if window.found and not told.reasons(decision):
        said.append("It did not show in enough of the newest windows to be acted upon.")
    if not window.found and not window.problem and window.findings and window.rows:
        said.append(
            f"{told.count(len(window.findings), 'comparison')} of "
            f"{told.count(window.rows, 'row')} showed nothing to tell of."
        )
    if not window.findings and not window.problem:
        said.append("Windows of fewer rows than monitor.drift.minimum are not judged.")
    number = decision.get("window")
    if isinstance(number, int) and number and number != window.number:
        said.append(f"The decision was taken at window {number}.")
    return f'<p class="soft">{text(" ".join(said), 300)}</p>' if said else ""


def _largest(findings: Iterable[Finding]) -> list[Finding]:
    """What was found and what looks broken first, then by size."""
    return sorted(findings, key=lambda f: (not f.found, not f.broken, -told.ratio(f), f.name))


# The window


def _window(window: Judged) -> str:
    pairs = [
        ("From", f"{told.when(window.since)} UTC"),
        ("to", f"{told.when(window.until)} UTC"),
        ("Rows", f"{window.rows:,}"),
        ("Live", f"v{window.version}"),
    ]
    for quality in window.quality:
        name = "Labels" if len(window.quality) == 1 else f"Labels of v{quality.version}"
        pairs.append((name, text(told.coverage(quality), 300)))
    if window.rows and not window.quality:
        pairs.append(("Labels", "none so far"))
    if window.labels:
        pairs.append(("Outcomes", _outcomes(window.labels)))
    return _section("Window", told.facts(pairs))


def _outcomes(labels: Mapping[str, float]) -> str:
    """The shares of the largest outcomes; a regression's mean."""
    if set(labels) <= {"mean", "sd"}:
        return ", ".join(f"{name} {figure(v)}" for name, v in labels.items())
    largest = sorted(labels.items(), key=lambda item: (-item[1], item[0]))
    more = f", and {len(largest) - 5} more" if len(largest) > 5 else ""
    return ", ".join(f"{text(name)} {told.percent(v)}" for name, v in largest[:5]) + more


def _section(name: str, body: str) -> str:
    return f'<section class="block"><h3>{name}</h3>{body}</section>\n' if body else ""


# Performance


def _performance(window: Judged, history: Sequence[Judged]) -> str:
    name = report_quality.metric(window, history)
    plot = report_quality.plot(history, name) if name else ""
    table = _metrics(window)
    own = [q for q in window.quality if q.slices]
    own.sort(key=lambda q: (q.version != window.version, q.version))
    sliced = report_quality.slices(own[0]) if own else ""
    if sliced:
        note = (
            f"{text(name)} of v{own[0].version} with its interval, and the number of labelled "
            "rows; the dotted line is that of all rows."
        )
        sliced = f'<h4>Slices</h4><p class="soft">{note}</p>{sliced}'
    body = plot + table + sliced
    if not body:
        body = '<p class="nothing">No labels have come yet, and nothing could be estimated.</p>'
    elif not any(q.metrics for q in window.quality):
        what = "an estimate stands in for them" if window.estimates else "and there is no estimate"
        body = f'<p class="soft">Of this window there are too few labels yet: {what}.</p>{body}'
    return _section(f"Performance{f': {text(name)}' if name else ''}", body)


def _metrics(window: Judged) -> str:
    """A row for each metric of each version, measured and estimated."""
    guesses = {g.version: g for g in window.estimates}
    measured = {q.version: q for q in window.quality}
    rows = []
    for version in sorted({*guesses, *measured}, key=lambda v: (v != window.version, v)):
        quality = measured.get(version, Quality(version, 0, 0, 0))
        expected = dict(guesses[version].metrics) if version in guesses else {}
        by_name = {m.metric: m for m in quality.metrics}
        for name in [*by_name, *(n for n in expected if n not in by_name)]:
            m = by_name.get(name)
            cells = [figure(m.value), figure(m.low), figure(m.high)] if m else [told.NONE] * 3
            cells.append(f"{m.rows:,}" if m else "0")
            cells.append(figure(expected[name]) if name in expected else told.NONE)
            rows.append((f"v{version}", text(name), *cells))
    heads = ("Version", "Metric", "Measured", "From", "To", "Labelled rows", "Estimated")
    return _table("Metrics", heads, rows, numbers=range(2, 7)) if rows else ""


def _table(
    name: str, heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()
) -> str:
    """A table of cells that are HTML."""
    right = set(numbers)
    kinds = [' class="number"' if at in right else "" for at in range(len(heads))]
    top = "".join(f'<th scope="col"{k}>{h}</th>' for h, k in zip(heads, kinds, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{k}>{c}</td>" for c, k in zip(row, kinds, strict=True)) + "</tr>\n"
        for row in rows
    )
    return (
        f'<div class="wide" role="region" aria-label="{name}" tabindex="0"><table>'
        f"<thead><tr>{top}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


# Drift


def _drift(history: Sequence[Judged]) -> str:
    body = report_drift.heat_map(history)
    if not body:
        body = '<p class="nothing">No feature was compared with the reference.</p>'
    return _section("Drift over time", body)


def _shapes(window: Judged, reference: Reference | None, profile: Profile | None) -> str:
    if reference is None or profile is None:
        return ""
    drawn: list[str] = []
    named: set[str] = set()
    for finding in sorted(window.findings, key=lambda f: (-told.ratio(f), f.name)):
        column = SCORE if finding.kind == "score" else finding.column
        is_shown = finding.kind in told.FEATURE_KINDS or finding.kind == "score"
        if not is_shown or column in named or len(drawn) == SHAPES:
            continue
        named.add(column)
        if body := report_shapes.figure(reference, profile, column, finding):
            drawn.append(body)
    if not drawn:
        return ""
    key = (
        '<p class="soft keys"><span><i class="key-box was"></i>reference</span>'
        '<span><i class="key-box is"></i>this window</span></p>'
    )
    return _section("Largest differences", f'{key}<div class="shapes">{"".join(drawn)}</div>')


# All findings


def _findings(window: Judged) -> str:
    ordered = _largest(window.findings)
    found = [f for f in ordered if f.found]
    others = [f for f in ordered if not f.found]
    body = _finding_table(found) if found else ""
    if others:
        left = others[: max(TABLE - len(found), 0)]
        cut = f", of which the {len(left):,} largest are here" if len(left) < len(others) else ""
        body += (
            f"<details{'' if found or len(left) > OPEN else ' open'}><summary>"
            f"{told.count(len(others), 'comparison')} without a finding{cut}</summary>"
            f"{_finding_table(left)}</details>"
        )
    return _section("All findings", body or '<p class="nothing">Nothing was compared.</p>')


def _finding_table(findings: Sequence[Finding]) -> str:
    heads = ("Feature", "Kind", "Found", "Measure", "Effect", "Threshold", "What was seen")
    top = "".join(
        f'<th scope="col"{" class=number" if h in ("Effect", "Threshold") else ""}>{h}</th>'
        for h in heads
    )
    rows = "".join(map(_finding, findings[:TABLE]))
    return (
        '<div class="wide" role="region" aria-label="Findings" tabindex="0">'
        f'<table class="findings"><thead><tr>{top}</tr></thead>\n'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _finding(finding: Finding) -> str:
    level, answer = "none", "no"
    if finding.found:
        level = "bad" if finding.broken else "warn"
        answer = "looks broken" if finding.broken else "found"
    return (
        f'<tr class="is-{level}"><th scope="row">{text(finding.column) or told.NONE}</th>'
        f'<td class="once">{text(finding.kind)}</td><td class="said">{answer}</td>'
        f'<td class="once">{text(finding.measure.replace("_", " "))}</td>'
        f'<td class="number">{figure(finding.effect)}</td>'
        f'<td class="number">{told.short(finding.threshold)}</td>'
        f"<td>{told.said(finding.sentence) if finding.sentence else ''}</td></tr>\n"
    )
