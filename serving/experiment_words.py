"""An experiment's report in words and bars, for the gateway's page and the report of it. Pure.

What is said as a sentence is not escaped; what returns HTML says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from serving import sequence, words
from serving.sequence import PAIRED, number
from serving.style import ICONS

Report = Mapping[str, Any]
GOOD, MISMATCH = "good_enough", "mismatch"
"""Names of the two findings that are not `it is worse`."""
QUESTIONS = {
    MISMATCH: "Arms not as the weights say",
    "errors": "Fails more often",
    "answers": "More answers without a number",
    "latency": "Slower",
    "loss": "Worse by its labels",
    GOOD: "Good enough",
}
"""What each finding asks, by its name."""
_NAMES = {"canary": "Canary", "ab": "A/B", "shadow": "Shadow", "guard": "Guard"}
_UNBELIEVABLE = 1e6
"""Odds above this are not written out."""


def champion(report: Report) -> str:
    """The version that was there before."""
    return f"v{int(number(report.get('champion')) or 0)}"


def challenger(report: Report) -> str:
    """The version that is judged."""
    return f"v{int(number(report.get('challenger')) or 0)}"


def title(report: Report) -> str:
    """What kind of experiment it is, and between whom."""
    old, new = champion(report), challenger(report)
    mode = str(report.get("mode"))
    if mode == "guard":
        return f"Guard of {new}"
    return f"{_NAMES.get(mode, 'Experiment')}: {new} beside {old}"


def setting(report: Report) -> str:
    """Who answers and who sees what, as a sentence; of an experiment that ended, who did."""
    old, new, past = champion(report), challenger(report), bool(report.get("ended"))
    weight = number(report.get("weight")) or 0.0
    share, sees = words.percent(weight), "saw" if past else "sees"
    of = "every request" if weight >= 1 else f"{share} of the requests"
    match report.get("mode"):
        case "guard":
            if past:
                return f"{new} was guarded after its promotion: {old} saw a copy of {of}."
            return (
                f"{new} is guarded since its promotion: {old} sees a copy of {of}, and {new} is "
                f"rolled back to {old} where it is worse."
            )
        case "shadow":
            whose = "got" if past else "gets"
            return f"{new} {sees} a copy of {of}; nobody {whose} its answers."
        case _:
            rest = "" if weight >= 1 else f", {old} the rest"
            return f"{new} {'answered' if past else 'answers'} {of}{rest}."


def closed(report: Report) -> str:
    """That the challenger gets nothing at present, as a sentence; empty where it does."""
    if report.get("open") or report.get("ended"):
        return ""
    if report.get("mode") in PAIRED:
        return "At present no copies are made."
    return f"At present {champion(report)} answers everything."


def rule(report: Report) -> str:
    """What decides, as sentences."""
    new, margin = challenger(report), number(report.get("margin")) or 0.0
    what = sequence.what(report)
    below = f"less than {margin:g} above" if margin else "below"
    units = "labelled units" if report.get("metric") != "none" else "units"
    minimum = _count(report.get("minimum"), "unit").replace("unit", units.removesuffix("s"))
    alpha = words.percent(number(report.get("alpha")) or 0.05)
    return (
        f"The {what} of {new} must be shown to be {below} that of {champion(report)}, "
        f"by {minimum} of {new} at the least. A wrong verdict has a chance of at most {alpha}, "
        "however often one looks."
    )


def verdict(report: Report) -> Mapping[str, Any]:
    """The report's verdict; empty before there is any."""
    found = report.get("verdict")
    return found if isinstance(found, Mapping) else {}


def headline(report: Report) -> tuple[str, str]:
    """The verdict as (`good`, `bad` or `wait`, a few words)."""
    found = {f.name for f in findings(report) if f.found}
    new = challenger(report)
    match verdict(report).get("decision"):
        case "promote":
            return "good", f"{new} is good enough"
        case "abort" if MISMATCH in found:
            return "bad", "The arms cannot be compared"
        case "abort" if found - {GOOD}:
            return "bad", f"{new} is worse"
        case "abort":
            return "wait", f"Nothing was shown in time: {champion(report)} stays"
    if report.get("ended"):
        return "wait", "Ended without a verdict"
    if not verdict(report):
        return "wait", "Nothing to judge yet"
    return "wait", "Good so far" if GOOD in found else "Not decided yet"


def reason(report: Report) -> str:
    """Why the verdict is what it is, as a sentence; empty before there is any."""
    said = str(verdict(report).get("reason") or "")
    return words.sentence(said) if said else ""


def needed(report: Report) -> str:
    """How many more requests a verdict likely needs, as a sentence; empty where there is one."""
    if verdict(report).get("decision") != "wait" or report.get("ended"):
        return ""
    more = number(verdict(report).get("more"))
    if more is None:
        return "How many more requests it needs cannot be told yet."
    kinds = ("labelled", report.get("metric") != "none"), ("copied", report.get("mode") in PAIRED)
    about = " ".join([*(kind for kind, is_so in kinds if is_so), "request"])
    if more <= 0:
        return "It is about to be decided."
    return f"About {_count(_rounded(more), f'more {about}')} {_are(more)} likely needed."


def waits_for_a_person(report: Report) -> bool:
    """Whether it goes on, nothing speaks against it, and it says what is to be done."""
    bad = verdict(report).get("decision") == "abort"
    return bool(report.get("decided")) and not bad and not report.get("ended")


def counts(report: Report) -> dict[str, str]:
    """What was counted, by its name."""
    units = [*(report.get("units") or ()), 0, 0]
    labels = report.get("labels") or {}
    found = {
        f"units of {champion(report)}": _whole(units[0]),
        f"units of {challenger(report)}": _whole(units[1]),
    }
    if report.get("metric") != "none":
        found["labels counted"] = _whole(labels.get("counted"))
        found["labels held until the other version's are as old"] = _whole(labels.get("held"))
        found["labels that do not fit"] = _whole(labels.get("unfit"))
        found[f"judged of {challenger(report)}"] = _whole(report.get("judged"))
    if report.get("mode") in PAIRED:
        found["copies dropped"] = _whole(report.get("dropped"))
    return found


def _whole(value: Any) -> str:
    return f"{int(number(value) or 0):,}"


def _count(value: Any, noun: str) -> str:
    amount = int(number(value) or 0)
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"


def _are(amount: float) -> str:
    return "is" if amount == 1 else "are"


def _rounded(amount: float) -> int:
    """To two digits: it is a guess."""
    size = int(10 ** max(0, len(str(int(amount))) - 2))
    return math.ceil(amount / size) * size


# Findings


@dataclass(frozen=True)
class Finding:
    """One question that was asked of the evidence, and how far the answer is."""

    name: str
    question: str
    found: bool
    share: float
    """Of the needed log evidence, 0 to 1."""
    odds: str
    """Of the e-value, and of the one that is needed."""
    wanted: str
    sentence: str

    @property
    def level(self) -> str:
        """How the answer yes is to be taken."""
        return "good" if self.name == GOOD else "bad"


def findings(report: Report) -> list[Finding]:
    """In the order in which they were asked; whether the arms are as agreed only where they differ.

    Of copies both versions see each, so that nothing is drawn that could go wrong.
    """
    paired = report.get("mode") in PAIRED
    return [
        _finding(entry)
        for entry in verdict(report).get("findings") or ()
        if isinstance(entry, Mapping)
        and not (paired and entry.get("name") == MISMATCH and not entry.get("found"))
    ]


def _finding(entry: Mapping[str, Any]) -> Finding:
    name, found = str(entry.get("name")), bool(entry.get("found"))
    evidence, wanted = number(entry.get("log_evidence")), number(entry.get("log_needed"))
    share = 1.0 if found else 0.0
    if evidence is not None and wanted and not found:
        share = min(max(evidence / wanted, 0.0), 0.99)
    return Finding(
        name,
        QUESTIONS.get(name, words.short(name)),
        found,
        share,
        odds(evidence) if evidence is not None else "none",
        odds(wanted) if wanted is not None else "unknown",
        words.sentence(str(entry.get("sentence") or "")),
    )


def odds(log: float) -> str:
    """An e-value from its logarithm, as people write it."""
    if log > math.log(_UNBELIEVABLE):
        return "over a million"
    value = math.exp(log)
    if value < 0.01:
        return "under 0.01"
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def evidence_list(report: Report) -> str:
    """The findings as bars, as HTML; empty where nothing was asked yet."""
    items = "".join(_item(f) for f in findings(report))
    if not items:
        return ""
    return f'<div><h3>Evidence, as odds against chance</h3><ul class="evidence">{items}</ul></div>'


def _item(finding: Finding) -> str:
    kind = f"found {finding.level}" if finding.found else "open"
    shown = ICONS[finding.level] if finding.found else ""
    answer = "shown" if finding.found else "not shown"
    return (
        f'<li class="{kind}">'
        f"<p><b>{shown}{escape(finding.question)}: {answer}</b>"
        f'<span class="odds">{finding.odds} of {finding.wanted}</span></p>'
        f'<div class="meter" aria-hidden="true">'
        f'<span style="width:{100 * finding.share:.1f}%"></span></div>'
        f'<p class="said">{escape(finding.sentence)}</p></li>'
    )


def facts(items: Mapping[str, str]) -> str:
    """Names and values as an HTML list."""
    parts = (f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in items.items())
    return f'<dl class="facts arms">{"".join(parts)}</dl>'


def verdict_lines(report: Report) -> str:
    """The verdict large, why, what is still needed, and what was done, as HTML."""
    level, text = headline(report)
    lines = [
        f'<p class="verdict {level}">{ICONS[level]}<span>{escape(text)}</span></p>',
        *(f"<p>{escape(said)}</p>" for said in (reason(report),) if said),
        *(f'<p class="more">{escape(said)}</p>' for said in (needed(report),) if said),
    ]
    if decided := str(report.get("decided") or ""):
        text = escape(words.sentence(decided))
        lines.append(f'<p class="decided">{ICONS["ask"]}<span>{text}</span></p>')
    return f"<div>{''.join(lines)}</div>"
