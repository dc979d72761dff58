"""The gates on what a version is and where it comes from: location, intact, lineage. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from registry.gate import Check
from registry.location import inside

_PARTS = {
    "git_commit": "the git commit is unknown: train in a git repository",
    "git_dirty": "whether the working copy was clean is unknown: train in a git repository",
    "data_md5": "the md5 of the data is unknown: `dvc add` the data before training",
    "params_sha256": "the hash of params.yaml is unknown: train from the project's folder",
    "lock_sha256": "the hash of requirements.lock is unknown: keep the lock in the project",
}
_DIRTY = "the working copy had changes that no commit holds: commit, and train again"


def location(uri: str, roots: Sequence[str], experiment: str | None) -> Check:
    """The files lie inside one of `roots`; where none is given, inside their experiment's.

    `experiment` is where the artifacts of the version's experiment lie, None without a run.
    """
    allowed = tuple(roots) or ((experiment,) if experiment else ())
    detail = {"location": uri[:500], "allowed": [root[:500] for root in allowed[:20]]}
    if not allowed:
        sentence = (
            "the version names no run, so nothing says where it may lie; "
            "name the place in gate.roots of params.yaml"
        )
        return Check("location", False, sentence, detail=detail)
    whose = "gate.roots" if roots else "the artifacts of its experiment"
    if any(inside(uri, root) for root in allowed):
        return Check("location", True, f"the artifact lies inside {whose}", detail=detail)
    places = ", ".join(root[:200] for root in allowed[:5])
    sentence = (
        f"the artifact lies in {uri[:200]!r}, outside {whose} ({places}); log it there, "
        "or add its place to gate.roots of params.yaml"
    )
    return Check("location", False, sentence, detail=detail)


def intact(found: Mapping[str, str | None], known: Mapping[str, Any]) -> Check:
    """Digests as they are now against those of the registration, by the key of its evidence.

    `digest` is the artifact's own; `kept`, of its record and held-out rows, is asked only where
    the registration has it. A digest is None where nothing could be fetched.
    """
    words = {"digest": "the artifact", "kept": "what its run keeps for the gates (understudy/)"}
    detail = {f"{k}_{w}": d.get(k) for k in words for w, d in (("now", found), ("then", known))}
    if not isinstance(known.get("digest"), str):
        sentence = "the ledger has no digest of the artifact; register it again from its run"
        return Check("intact", False, sentence, detail=detail)
    bad = []
    for key, what in words.items():
        if key not in known:
            continue
        if not known[key]:  # there was nothing when it was registered
            bad += [f"{what} was added after the registration"] if found.get(key) else []
        elif found.get(key) is None:
            bad.append(f"{what} cannot be fetched")
        elif found[key] != known[key]:
            bad.append(f"{what} is not what was registered")
    if bad:
        bad.append("restore the files or train again, `understudy verify` says more")
        sentence = "; ".join(bad)
        return Check("intact", False, sentence, detail=detail)
    return Check("intact", True, "every file is as it was registered", detail=detail)


def lineage(known: Mapping[str, Any]) -> Check:
    """Commit, clean working copy, data, parameters and lock are all known."""
    missing = [why for part, why in _PARTS.items() if not known.get(part)]
    if known.get("git_dirty") and known["git_dirty"] != "false":
        missing.append(_DIRTY)
    detail = {part: str(known.get(part) or "")[:100] for part in _PARTS}
    if missing:
        return Check("lineage", False, "; ".join(missing), detail=detail)
    commit, data = str(known["git_commit"])[:8], str(known["data_md5"])[:8]
    return Check("lineage", True, f"clean commit {commit}, data {data}, lock known", detail=detail)
