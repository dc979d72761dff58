"""Names and label values that Kubernetes takes, for models whose names it does not. Pure."""

from __future__ import annotations

import hashlib
import re

LONGEST = 40
"""Characters of a model's name: a CronJob's has 52 at the most, and `-retrain` is put behind it."""
_HASH = 10
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PLAIN = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_MADE = re.compile(rf".*-[0-9a-f]{{{_HASH}}}")


def of_model(model: str) -> str:
    """What all objects of a model are called, or begin with: at most LONGEST characters.

    The model's own name where Kubernetes takes it (RFC 1035). Any other gets small letters and
    dashes, and a hash of the whole name behind, so that two models never share an object; a name
    that looks as if it had such a hash gets one, too.
    """
    if _PLAIN.fullmatch(model) and len(model) <= LONGEST and not _MADE.fullmatch(model):
        return model
    stem = re.sub(r"[^a-z0-9-]", "-", model.lower()).strip("-")
    if not stem[:1].isalpha():
        stem = f"m-{stem}"
    mark = hashlib.sha256(model.encode()).hexdigest()[:_HASH]
    return f"{stem[: LONGEST - _HASH - 1].rstrip('-')}-{mark}"


def of_version(model: str, version: int) -> str:
    """What the objects of one version are called."""
    return f"{of_model(model)}-v{version}"


def is_label(text: str) -> bool:
    """Whether this may be a namespace's name (an RFC 1123 label)."""
    return _LABEL.fullmatch(text) is not None


def is_subdomain(text: str) -> bool:
    """Whether this may be a Gateway's name, or without `*.` a host's (an RFC 1123 subdomain)."""
    return len(text) <= 253 and all(_LABEL.fullmatch(part) for part in text.split("."))
