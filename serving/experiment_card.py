"""The card of an experiment on the gateway's page, as HTML. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from serving import experiment_words as told
from serving import sequence, words


def card(report: Mapping[str, Any]) -> str:
    """What is tried, the verdict, the evidence, and the plot of the decisive difference."""
    last = "Last experiment, ended. " if report.get("ended") else ""
    since = words.when(report.get("began"))
    more = " ".join(s for s in (told.setting(report), told.closed(report)) if s)
    return (
        f'<section class="experiment" aria-label="{escape(told.title(report))}">'
        f"<div><h3>{last}{escape(told.title(report))}{f', since {since}' if since else ''}</h3>"
        f'<p class="setting">{escape(more)}</p></div>'
        f"{told.verdict_lines(report)}"
        f'<div class="sides"><div>{sequence.inline(report)}'
        f'<p class="more">{escape(told.rule(report))}</p>{told.facts(told.counts(report))}</div>'
        f"{told.evidence_list(report)}</div></section>"
    )


def problem(report: Mapping[str, Any]) -> str:
    """Why an experiment does not go as agreed, as a sentence; empty where it does."""
    said = str(report.get("problem") or "")
    if not said:
        return ""
    what = "guard of" if report.get("mode") == "guard" else "experiment with"
    return f"The {what} {told.challenger(report)} does not go as agreed: {words.ended(said)}"


def waiting(report: Mapping[str, Any]) -> str:
    """What a person is to decide, as a sentence; empty where nobody has to."""
    if not told.waits_for_a_person(report):
        return ""
    return words.sentence(str(report["decided"]))
