"""What the report of a window says in words: headline, numbers, times, names. Pure.

`text` is the only way by which anything from elsewhere comes into the page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from html import escape
from typing import Any

from monitoring.findings import Finding, Judged, Quality
from serving import words

FEATURE_KINDS = ("drift", "missing", "unseen", "outside", "gone", "jump")
"""Kinds of findings that are about one feature."""
LONGEST = 60
"""Characters of a name that are shown."""
FARTHEST = 999.0
"""A difference of more thresholds is drawn and told like one of so many."""

NONE, TIMES = "\u2013", "\u00d7"
"""What stands for no value, and for thresholds."""

_DECIDED = {
    "alert": "An alert goes out.",
    "retrain": "A retraining was decided on.",
    "rollback": "A rollback to the version before was decided on.",
}


def text(value: object, longest: int = LONGEST) -> str:
    """Anything as HTML text on one line: escaped, cut, without what no file can hold."""
    line = " ".join(str(value).split())
    plain = "".join(c if c.isprintable() else "\ufffd" for c in line)  # a surrogate is not, either
    return escape(plain if len(plain) <= longest else f"{plain[: longest - 1]}…")


def said(sentence: object) -> str:
    """A sentence as HTML text, with a full stop; it may begin with a column's name, as it is."""
    return text(words.ended(str(sentence)), words.LONGEST + 1).replace(" %", "\u00a0%")


def ratio(finding: Finding) -> float:
    """Effect in thresholds, from 0 to FARTHEST; what is no number is 0."""
    if finding.threshold <= 0:
        return FARTHEST if finding.effect > 0 else 0.0
    found = finding.effect / finding.threshold
    return 0.0 if math.isnan(found) else min(max(found, 0.0), FARTHEST)


def times(value: float) -> str:
    """So many thresholds."""
    if value >= 10:
        return f"{value:.0f}{TIMES}" if value < FARTHEST else f"over {FARTHEST:.0f}{TIMES}"
    return f"{value:.1f}{TIMES}"


def figure(value: float) -> str:
    """A number in four significant digits; a dash for what is none."""
    if not math.isfinite(value):
        return NONE
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-4:
        return f"{value:.3g}".replace("-", "\u2212")
    digits = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 10 else 3 if size >= 1 else 4
    shown = f"{value:,.{digits}f}"
    if digits and not float(shown.replace(",", "")) % 1 and not value % 1:
        shown = f"{value:,.0f}"
    return shown.replace("-", "\u2212")


def short(value: float) -> str:
    """A number in at most four significant digits, for where it stands alone."""
    if not math.isfinite(value):
        return NONE
    large = 1e4 <= abs(value) < 1e9
    return (f"{value:,.0f}" if large else f"{value:.4g}").replace("-", "\u2212")


def percent(share: float) -> str:
    """A share from 0 to 1, on one line."""
    return f"{100 * share:.3g}\u00a0%"


def count(number: int, one: str, more: str = "") -> str:
    """A number with its noun."""
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def moment(seconds: float) -> datetime | None:
    """UTC; None for what is no time."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def when(seconds: float) -> str:
    """A time as an HTML element."""
    at = moment(seconds)
    return (words.when(at.isoformat()) if at else "") or "an unknown time"


def day(window: Judged, *, year: bool = False) -> str:
    """When a window began, short: the hour only where windows are shorter than a day."""
    at = moment(window.since)
    if at is None:
        return f"window {window.number}"
    hour = f" {at:%H:%M}" if window.until - window.since < 86_400 else ""
    return f"{at.day} {at:%b}{f' {at.year}' if year else ''}{hour}"


# The headline


def level(window: Judged, decision: Mapping[str, Any]) -> str:
    """good, wait, warn or bad: the icon of the headline."""
    if window.problem or window.broken or decision.get("action") == "rollback":
        return "bad"
    if window.found or reasons(decision):
        return "warn"
    return "good" if window.findings and window.rows else "wait"


def headline(window: Judged, decision: Mapping[str, Any]) -> str:
    """What was found and what was decided, in two sentences; not escaped."""
    decided = _DECIDED.get(str(decision.get("action")), "Nothing is done about it.")
    what = _what(window)
    if not what:
        if reasons(decision):
            return f"Nothing was found in this window. {decided}"
        return "All is well."
    if not window.findings and not window.problem and not reasons(decision):
        return what
    return f"{what} {decided}"


def _what(window: Judged) -> str:
    if window.problem:
        return "This window could not be judged."
    if window.rows == 0:
        return "Nobody asked the model anything in this window."
    if not window.findings:
        return f"Nothing was compared in a window of {count(window.rows, 'row')}."
    kinds = {f.kind for f in window.found}
    parts = []
    if "performance" in kinds:
        parts.append(f"v{window.version} does worse than it did on its held-out rows")
    elif "estimate" in kinds:
        parts.append(f"v{window.version} is estimated to do worse than on its held-out rows")
    if columns := {f.column for f in window.found if f.kind in FEATURE_KINDS}:
        verb = "differs" if len(columns) == 1 else "differ"
        parts.append(f"{count(len(columns), 'feature')} {verb} from the reference")
    if "score" in kinds:
        parts.append("the answers have moved")
    if "labels" in kinds:
        parts.append("the outcomes have changed abruptly")
    if "reversed" in kinds:
        parts.append("outcomes go against the answers")
    if not parts:
        return ""
    sentence = _listed(parts)
    sentence = f"{sentence[:1].upper() if sentence[0] != 'v' else 'v'}{sentence[1:]}"
    if broken := len(window.broken):
        looks = "looks" if broken == 1 else "look"
        return f"{sentence}. {count(broken, 'finding')} {looks} like a fault in the data."
    return f"{sentence}."


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def reasons(decision: Mapping[str, Any]) -> tuple[str, ...]:
    """Why, as sentences; not escaped."""
    return tuple(map(str, decision.get("reasons") or ()))


def held(decision: Mapping[str, Any]) -> tuple[str, ...]:
    """What was held back and why, as sentences; not escaped."""
    return tuple(map(str, decision.get("held") or ()))


def coverage(quality: Quality) -> str:
    """How many labels there are and how long they took."""
    if not quality.labelled:
        return f"none of {count(quality.rows, 'prediction')} so far"
    share = percent(quality.labelled / quality.rows) if quality.rows else NONE
    found = f"{quality.labelled:,} of {count(quality.rows, 'prediction')} ({share})"
    if quality.unusable:
        found += f", {quality.unusable:,} of them unusable"
    named = (("median", "median"), ("p90", "90 % within"), ("largest", "longest"))
    delays = [
        f"{name} {words.span(max(quality.delay[key], 0))}"
        for key, name in named
        if math.isfinite(quality.delay.get(key, math.nan))
    ]
    return f"{found}; delay: {', '.join(delays)}" if delays else found


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and what they are, which must be HTML, as one list."""
    listed = "".join(f"<div><dt>{escape(k)}</dt><dd>{v}</dd></div>" for k, v in pairs if v)
    return f'<dl class="facts">{listed}</dl>'
