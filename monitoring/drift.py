"""From the profile of a window to findings about its columns. Pure.

A finding needs an effect of at least the policy's threshold and a p-value of at most
`alpha / tests`: the first keeps harmless differences of large windows out, the second chance in
small ones (monitoring/distances.py says with which measures and why). Tests of shares that so few
rows have that they cannot reject are not counted, nor are those of jumps, whose thresholds lie
beyond what chance does. A distance must also be sure itself, at `alpha`: that something differs
may be certain while how much it does is noise.

A column whose values are all the same in the reference has no standard deviation: its drift is the
share of rows that differ from it (total variation), and each of them is outside.

What is outside the range of a sample, or in none of its categories, is not zero in another of the
same origin, and is compared with how often that is so when each row of the sample is held against
the others (`alone`). The effect of `outside` and `unseen` is the share beyond that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from monitoring import distances
from monitoring.findings import Finding
from monitoring.profile import Categorical, Names, Numbers, Numeric, Profile, Reference
from monitoring.sections import DriftPolicy
from monitoring.values import Floats

SCORE = "answer"
"""The column that holds the model's answers."""
FEWEST = 20
"""Values of the reference below which the distribution of a column is not compared."""
FAR = 0.5
"""How far beyond the range of the reference values look broken, in lengths of that range."""
OFTEN = 10
"""Rows of the reference with a category from which on that is compared by itself. Rarer ones are
compared together with unseen ones: what a sample happens to hold once or twice comes less often in
another of the same origin, and what it happens to lack comes more often."""
SHOWN = 3
"""Unseen categories that a sentence names, ..."""
LETTERS = 40
"""... and how much of each."""


@dataclass(frozen=True)
class _Draft:
    """A finding before it is known how many tests there are."""

    kind: str
    column: str
    measure: str
    effect: float
    threshold: float
    p: float
    broken: bool
    """Whether that looks like a fault if it is found."""
    sentence: str
    least: float = 0.0
    """The smallest p-value that there could be."""
    chance: float = 0.0
    """How often chance brings so large an effect, where that is not what `p` says."""


def compare(
    reference: Reference, profile: Profile, before: Profile | None, policy: DriftPolicy
) -> tuple[Finding, ...]:
    """Every comparison of a window, found or not, column by column in the reference's order.

    `before` is the profile of the window before, of the same reference. Nothing is compared in a
    window of fewer than `policy.minimum` rows, and nothing but missing values where so few rows
    have one. Raises ValueError for a profile of another reference.
    """
    for one in (profile, before):
        if one is not None and one.reference is not reference and one.reference != reference:
            raise ValueError("a window can only be compared with the reference it was counted by")
    if profile.rows < policy.minimum:
        return ()
    if before is not None and before.rows < policy.minimum:
        before = None
    drafts = [
        draft
        for column in reference.columns
        if column not in policy.ignore
        for draft in _column(reference, profile, before, policy, column)
    ]
    least = [draft.least for draft in drafts if draft.kind not in ("gone", "jump")]
    tests = distances.counted(least, policy.alpha)
    return tuple(_finding(draft, policy.alpha, tests) for draft in drafts)


def _finding(draft: _Draft, alpha: float, tests: int) -> Finding:
    sure = draft.p <= alpha / tests and draft.chance <= alpha
    found = sure and draft.effect >= draft.threshold
    return Finding(
        draft.kind,
        draft.column,
        draft.measure,
        draft.effect,
        draft.threshold,
        found,
        found and draft.broken,
        draft.sentence,
    )


def _column(
    reference: Reference,
    profile: Profile,
    before: Profile | None,
    policy: DriftPolicy,
    column: str,
) -> Iterator[_Draft]:
    if column in reference.numeric:
        known, window = reference.numeric[column], profile.numeric[column]
        former = before.numeric[column] if before else None
        drift = _numeric_drift(column, known, window, policy)
    else:
        names, found = reference.categorical[column], profile.categorical[column]
        earlier = before.categorical[column] if before else None
        drift = _categorical_drift(column, names, found, policy)
    if column == SCORE:
        yield from drift
    elif column in reference.numeric:
        yield from _missing(column, reference, known.missing, window, profile.rows, policy)
        yield from drift
        yield from _outside(column, known, window, policy)
        yield from _numeric_jump(column, known, window, former, policy)
    else:
        yield from _missing(column, reference, names.missing, found, profile.rows, policy)
        yield from drift
        yield from _unseen(column, names, found, policy)
        yield from _categorical_jump(column, found, earlier, policy)


def _missing(
    column: str,
    reference: Reference,
    known: int,
    window: Numbers | Names,
    rows: int,
    policy: DriftPolicy,
) -> Iterator[_Draft]:
    """How much is missing; and whether the column is, as far as any row says.

    A column of values that are no numbers is not gone.
    """
    strange = window.not_numbers if isinstance(window, Numbers) else 0
    was, share = known / reference.rows, window.missing / rows
    shares = (known, reference.rows), (window.missing, rows)
    p = distances.p_share(*shares)
    told = f", {_percent(strange / rows)} because they are no numbers" if strange else ""
    absent = window.absent == rows
    # What mostly has no value anyway may well have none for a while.
    none = window.missing == rows and not strange
    gone = absent or (none and share - was >= policy.broken_missing)
    why = "the rows do not have it" if absent else "no row has a value of it"
    yield _Draft(
        "gone",
        column,
        "share",
        float(gone),
        1.0,
        p if gone else 1.0,  # the same test as of `missing`, which is counted
        broken=True,
        sentence=f"{column} is gone: {why}" if gone else f"{column} is there",
    )
    yield _Draft(
        "missing",
        column,
        "share",
        abs(share - was),
        policy.missing,
        p,
        share - was >= policy.broken_missing,
        f"{column} is missing in {_percent(share)} of rows{told} (was {_percent(was)})",
        least=distances.least_share(*shares),
    )


def _numeric_drift(
    column: str, known: Numeric, window: Numbers, policy: DriftPolicy
) -> Iterator[_Draft]:
    if not _enough(known.values, window.values, policy):
        return
    kind, where = ("score", "") if column == SCORE else ("drift", column)
    shown = "the model's answer" if column == SCORE else column
    counts = np.array(known.counts)
    if known.sd == 0:
        same = int(counts.max())
        differ = window.values - int(window.counts[int(counts.argmax())])
        share = differ / window.values
        p = distances.p_share((0, same), (differ, window.values), 1)
        yield _Draft(
            kind,
            where,
            "total_variation",
            share,
            policy.categorical,
            p,
            broken=False,
            sentence=f"{shown} is not {_number(known.mean)} in {_percent(share)} of rows "
            "(it always was)",
            least=p,
        )
        return
    effect, chance = distances.wasserstein(
        _scored(known), (counts, np.array(known.sums)), (window.counts, window.sums)
    )
    mean, sd = _moments(known, window)
    yield _Draft(
        kind,
        where,
        "wasserstein",
        effect,
        policy.score if column == SCORE else policy.numeric,
        distances.p_numeric(counts, window.counts),
        broken=False,
        sentence=f"{shown} moved by {_number(effect)} standard deviations of the reference on "
        f"average (mean {_number(mean)}, was {_number(known.mean)}; "
        f"standard deviation {_number(sd)}, was {_number(known.sd)})",
        chance=chance,
    )


def _outside(column: str, known: Numeric, window: Numbers, policy: DriftPolicy) -> Iterator[_Draft]:
    rows, of = window.values + window.infinite, known.values + known.infinite
    if not known.edges or not _enough(of, rows, policy):
        return
    count = int(window.counts[0] + window.counts[-1]) + window.infinite
    effect = max(count / rows - known.alone / of, 0.0)
    shares = (known.alone, of), (count, rows)
    infinite = f", {_percent(window.infinite / rows)} infinite" if window.infinite else ""
    yield _Draft(
        "outside",
        column,
        "share",
        effect,
        policy.outside,
        distances.p_share(*shares, 1),
        effect >= policy.broken_share and _far(known, window, policy),
        f"{column} is outside {_number(known.min)} to {_number(known.max)}, the range of the "
        f"reference, in {_percent(count / rows)} of rows{infinite}",
        least=distances.least_share(*shares, 1),
    )


def _far(known: Numeric, window: Numbers, policy: DriftPolicy) -> bool:
    """Whether what is outside lies so far out that no season explains it: FAR on average.

    A summer is warmer than every day of a winter's reference; a unit that changed is another
    matter.
    """
    rows = window.values + window.infinite
    if known.sd == 0 or window.infinite >= policy.broken_share * rows:
        return True
    low, high = known.scores(np.array([known.min, known.max]))
    below, above = int(window.counts[0]), int(window.counts[-1])
    beyond = (low * below - window.sums[0]) + (window.sums[-1] - high * above)
    return bool(beyond >= FAR * (high - low) * (below + above))


def _numeric_jump(
    column: str, known: Numeric, window: Numbers, former: Numbers | None, policy: DriftPolicy
) -> Iterator[_Draft]:
    if former is None or not known.edges or min(window.values, former.values) < policy.minimum:
        return
    if known.sd == 0:
        one, other = former.counts, window.counts
        yield _jump_of_shares(column, one, other, policy)
        return
    effect, chance = distances.wasserstein(
        _scored(known), (former.counts, former.sums), (window.counts, window.sums)
    )
    mean, was = _moments(known, window)[0], _moments(known, former)[0]
    yield _Draft(
        "jump",
        column,
        "wasserstein",
        effect,
        policy.jump,
        distances.p_numeric(former.counts, window.counts),
        broken=True,
        sentence=f"{column} differs from the window before by {_number(effect)} standard "
        f"deviations of the reference (mean {_number(mean)}, was {_number(was)})",
        chance=chance,
    )


def _categorical_drift(
    column: str, known: Categorical, window: Names, policy: DriftPolicy
) -> Iterator[_Draft]:
    if not _enough(known.values, window.values, policy):
        return
    counts = np.array([*known.counts.values()])
    often = counts >= OFTEN
    one = np.r_[counts[often], counts[~often].sum()]
    other = np.r_[window.counts[often], window.counts[~often].sum() + window.strange]
    effect, chance = distances.total_variation(one, other)
    change = other / other.sum() - one / one.sum()
    place = int(np.argmax(np.abs(change)))
    few = "what hardly any row of the reference has, or none"
    names = [*(_shown(name) for name, of in zip(known.counts, often, strict=True) if of), few]
    is_score = column == SCORE
    yield _Draft(
        "score" if is_score else "drift",
        "" if is_score else column,
        "total_variation",
        effect,
        policy.categorical,
        distances.p_categories(one, other),
        broken=False,
        sentence=f"{_percent(effect)} of rows have another {'answer' if is_score else column} than "
        f"in the reference (most of all {names[place]}: {_percent(other[place] / other.sum())}, "
        f"was {_percent(one[place] / one.sum())})",
        chance=chance,
    )


def _unseen(
    column: str, known: Categorical, window: Names, policy: DriftPolicy
) -> Iterator[_Draft]:
    if not known.counts or not _enough(known.values, window.values, policy):
        return
    share = window.strange / window.values
    effect = max(share - known.alone / known.values, 0.0)
    shares = (known.alone, known.values), (window.strange, window.values)
    listed = sorted(window.unseen.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]
    names = ", ".join(_shown(name) for name, _ in listed)
    yield _Draft(
        "unseen",
        column,
        "share",
        effect,
        policy.unseen,
        distances.p_share(*shares, 1),
        effect >= policy.broken_share,
        f"{column} is none of the categories of the reference in {_percent(share)} of rows"
        + (f" (most of all {names})" if names else ""),
        least=distances.least_share(*shares, 1),
    )


def _categorical_jump(
    column: str, window: Names, former: Names | None, policy: DriftPolicy
) -> Iterator[_Draft]:
    if former is None or min(window.values, former.values) < policy.minimum:
        return
    named = sorted({*window.unseen, *former.unseen})
    one, other = (
        np.array([*found.counts, *(found.unseen.get(n, 0) for n in named), found.others])
        for found in (former, window)
    )
    yield _jump_of_shares(column, one, other, policy)


def _jump_of_shares(
    column: str, one: distances.Counts, other: distances.Counts, policy: DriftPolicy
) -> _Draft:
    effect, chance = distances.total_variation(one, other)
    return _Draft(
        "jump",
        column,
        "total_variation",
        effect,
        policy.jump_share,
        distances.p_categories(one, other),
        broken=True,
        sentence=f"{column} differs from the window before in {_percent(effect)} of rows",
        chance=chance,
    )


def _enough(known: int, values: int, policy: DriftPolicy) -> bool:
    return known >= FEWEST and values >= policy.minimum


def _scored(known: Numeric) -> Floats:
    return known.scores(np.array(known.edges))


def _moments(known: Numeric, window: Numbers) -> tuple[float, float]:
    """Mean and standard deviation in the column's own unit."""
    mean = float(window.sums.sum()) / window.values
    sd = max(window.squares / window.values - mean * mean, 0.0) ** 0.5
    unit = known.sd or 1.0
    return (known.mean or 0.0) + mean * unit, sd * unit


def _shown(category: str) -> str:
    return repr(category[:LETTERS])


def _number(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.4g}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
