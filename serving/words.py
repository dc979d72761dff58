"""Numbers, times and sentences as the gateway's pages write them; nothing here is escaped. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

LONGEST = 300
"""Characters that are shown of a sentence."""


def short(text: str) -> str:
    """At most LONGEST characters of a text."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1].rstrip()}…"


def ended(sentence: str) -> str:
    """On one line, cut where it is very long, and with a full stop."""
    text = short(" ".join(sentence.split()))
    return text if text.endswith((".", "…", "!", "?")) else f"{text}."


def sentence(text: str) -> str:
    """The same with a capital letter, unless it begins with a version."""
    found = ended(text)
    return found if re.match(r"v\d", found) else found[:1].upper() + found[1:]


def span(seconds: float) -> str:
    """How long, in the two largest units."""
    left, parts = int(seconds), []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def percent(share: float) -> str:
    """A share from 0 to 1."""
    return f"{100 * share:.3g} %"


def signed(value: float, digits: int = 4) -> str:
    """A difference, with a sign that is as wide as the other."""
    text = f"{value:+.{digits}f}".replace("-", "\u2212")
    return text if float(f"{value:.{digits}f}") else text[1:]


def moment(said: Any) -> datetime | None:
    """A time that was written in ISO 8601, in UTC; None where it is none."""
    try:
        return datetime.fromisoformat(str(said)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def when(said: Any) -> str:
    """A time that was written in ISO 8601 as an HTML element; empty where it is none."""
    at = moment(said)
    if at is None:
        return ""
    return f'<time datetime="{at:%Y-%m-%dT%H:%M:%SZ}">{at.day} {at:%b %Y, %H:%M}</time>'
