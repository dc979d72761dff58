"""The chain of entries: its text, its replay, and what it notices."""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import LedgerBroken
from registry.ledger import GENESIS, Entry, Numbered, describe, parse, render, replay
from registry.stages import Stage

quick = settings(deadline=None, max_examples=80)
Ledger = list[tuple[int, str]]

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def entries(text: st.SearchStrategy[str], evidence: st.SearchStrategy[Any]) -> Any:
    return st.builds(
        Entry,
        kind=st.sampled_from(["register", "promote", "rollback", "archive"]),
        model=text,
        version=st.integers(1, 10**6),
        source=st.sampled_from(Stage),
        target=st.sampled_from(Stage),
        actor=text,
        reason=text,
        time=text,
        prev=text,
        evidence=st.dictionaries(text, evidence, max_size=3),
    )


def entry(number: int = 1, prev: str = GENESIS, **changes: Any) -> Entry:
    plain = {"kind": "promote", "model": "m", "version": 4, "time": "2026-01-01T00:00:00+00:00"}
    stages = {"source": Stage.NONE, "target": Stage.PRODUCTION}
    about = {"actor": "ana", "reason": f"entry {number}"}
    return Entry(**{**plain, **stages, **about, "prev": prev, **changes})


def ledger_of(back: Sequence[int], gaps: Sequence[int]) -> tuple[Ledger, list[int]]:
    """A ledger whose entry i names the head `back[i]` wins ago, and the numbers of its winners."""
    texts: Ledger = []
    heads, winners, number = [GENESIS], [], 0
    for steps, gap in zip(back, gaps, strict=True):
        number += gap
        made = entry(number, heads[max(-1 - steps, -len(heads))])
        texts.append((number, render(made)))
        if made.prev == heads[-1]:
            winners.append(number)
            heads.append(made.hash)
    return texts, winners


def ledgers(least: int = 0) -> Any:
    """Entries on the head, entries that lost to one, or two, or three others; numbers with gaps."""
    moves = st.tuples(st.integers(0, 3), st.integers(1, 3))
    return st.lists(moves, min_size=least, max_size=12).map(
        lambda pairs: ledger_of([back for back, _ in pairs], [gap for _, gap in pairs])
    )


@quick
@given(entries(st.text(), json_values))
def test_what_is_rendered_is_parsed_back(one: Entry) -> None:
    assert parse(render(one)) == one
    assert parse(render(one)).hash == one.hash


@quick
@given(entries(st.text(), json_values))
def test_the_hash_is_that_of_the_text_without_it(one: Entry) -> None:
    import hashlib

    text = render(one)
    without = text.replace(f',"hash":"{one.hash}"', "", 1).replace(f'"hash":"{one.hash}",', "", 1)
    assert hashlib.sha256(without.encode()).hexdigest() == one.hash


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Entry)])
def test_the_hash_depends_on_every_field(name: str) -> None:
    other: dict[str, Any] = {
        "version": 5,
        "source": Stage.STAGING,
        "target": Stage.ARCHIVED,
        "evidence": {"digest": "0"},
    }
    one = entry()
    assert dataclasses.replace(one, **{name: other.get(name, "other")}).hash != one.hash


@quick
@given(ledgers(), st.randoms())
def test_replay_does_not_depend_on_the_order_of_its_input(
    made: tuple[Ledger, list[int]], random: Any
) -> None:
    texts, _ = made
    shuffled = random.sample(texts, len(texts))
    assert replay("m", iter(shuffled)) == replay("m", texts) == replay("m", reversed(texts))


@quick
@given(ledgers(), st.integers(0, 12))
def test_replay_is_prefix_closed(made: tuple[Ledger, list[int]], length: int) -> None:
    texts, _ = made
    part, whole = replay("m", texts[:length]), replay("m", texts)
    assert part.winners == whole.winners[: len(part.winners)]
    assert part.losers == whole.losers[: len(part.losers)]
    assert len(part.winners) + len(part.losers) == len(texts[:length])


@quick
@given(ledgers())
def test_exactly_those_appended_to_the_head_count(made: tuple[Ledger, list[int]]) -> None:
    texts, winners = made
    found = replay("m", texts)
    assert [w.number for w in found.winners] == winners
    assert [n for n, _ in texts if found.won(n)] == winners
    assert sorted(w.number for w in (*found.winners, *found.losers)) == [n for n, _ in texts]
    assert found.head == (found.winners[-1].entry.hash if winners else GENESIS)


@quick
@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=8, unique=True), st.integers(0, 3))
def test_of_entries_on_the_same_head_the_lowest_number_wins(
    numbers: list[int], before: int
) -> None:
    texts, _ = ledger_of([0] * before, [1] * before)
    head = replay("m", texts).head
    racers = [(n + before, render(entry(n, head, actor=f"a{n}"))) for n in numbers]
    found = replay("m", [*texts, *racers])
    assert [w.number for w in found.winners[before:]] == [min(numbers) + before]
    assert {w.number for w in found.losers} == {n + before for n in numbers} - {
        min(numbers) + before
    }


plain = st.text(sorted(set(string.printable[:95]) - {'"', "\\"}), max_size=12)


@quick
@given(
    entries(plain, plain | st.integers() | st.booleans()),
    st.data(),
    st.sampled_from(string.printable[:95]),
)
def test_a_changed_character_is_noticed_and_its_entry_named(
    one: Entry, data: Any, character: str
) -> None:
    first = entry(1, model=one.model)
    text = render(dataclasses.replace(one, prev=first.hash))
    place = data.draw(st.integers(0, len(text) - 1))
    changed = text[:place] + character + text[place + 1 :]
    texts = [(3, render(first)), (7, changed)]
    if changed == text:
        assert len(replay(one.model, texts).winners) == 2
        return
    with pytest.raises(LedgerBroken) as broken:
        replay(one.model, texts)
    assert broken.value.number == 7


@pytest.mark.parametrize(
    "respell",
    [
        lambda text: text.replace("\\u001f", "\\u001F"),
        lambda text: text.replace("1e+30", "1E+30"),
        lambda text: text.replace("{", "{ ", 1),
        lambda text: text.replace('{"actor":"ana"', '{"actor":"eve","actor":"ana"'),
    ],
    ids=["escape", "number", "blank", "key twice"],
)
def test_another_spelling_of_the_same_entry_is_noticed(respell: Callable[[str], str]) -> None:
    text = render(entry(reason="\x1f", evidence={"value": 1e30}))
    assert respell(text) != text
    with pytest.raises(LedgerBroken):
        replay("m", [(1, respell(text))])


@quick
@given(ledgers(least=2), st.data())
def test_a_winner_removed_from_the_middle_is_noticed(
    made: tuple[Ledger, list[int]], data: Any
) -> None:
    texts, winners = made
    if len(winners) < 2:
        return
    gone = data.draw(st.sampled_from(winners[:-1]))
    lost = parse(dict(texts)[gone]).hash
    left = [(n, text) for n, text in texts if n != gone]
    first_orphan = min(n for n, text in left if parse(text).prev == lost)
    with pytest.raises(LedgerBroken) as broken:
        replay("m", left)
    assert str(broken.value) == (
        f"the ledger of m is broken at entry {first_orphan}: "
        "the entry it follows is missing; one was removed or replaced"
    )


def test_a_forged_entry_with_a_right_hash_of_its_own_is_noticed_by_the_next() -> None:
    texts, _ = ledger_of([0, 0, 0], [1, 1, 1])
    forged = dataclasses.replace(parse(texts[1][1]), actor="eve")
    with pytest.raises(LedgerBroken, match="broken at entry 3: the entry it follows is missing"):
        replay("m", [texts[0], (2, render(forged)), texts[2]])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it cannot be read (JSONDecodeError)"),
        ("[1]", "it cannot be read (TypeError)"),
        ('"x"', "it cannot be read (AttributeError)"),
        ("{}", "it cannot be read (KeyError)"),
        ('{"hash":"1","source":"None","target":"None"}', "it cannot be read (TypeError)"),
        (render(entry()).replace("Production", "Live"), "it cannot be read (ValueError)"),
        (render(entry()).replace('"ana"', '"eve"'), "its content does not match its hash"),
        (render(entry(model="other")), "it speaks of another model, 'other'"),
    ],
)
def test_an_entry_that_cannot_be_true_is_named_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(LedgerBroken) as broken:
        replay("m", [(5, text)])
    assert str(broken.value) == f"the ledger of m is broken at entry 5: {why}"


def test_the_empty_ledger_has_the_first_head_and_no_winner() -> None:
    found = replay("m", [])
    assert (found.winners, found.losers, found.head) == ((), (), GENESIS)
    assert not found.won(1)


def test_numbers_order_as_numbers() -> None:
    texts, _ = ledger_of([0, 0], [9, 1])
    assert [w.number for w in replay("m", texts).winners] == [9, 10]


@pytest.mark.parametrize(
    ("kind", "target", "words"),
    [
        ("register", Stage.NONE, "v4 registered"),
        ("promote", Stage.STAGING, "v4 to Staging"),
        ("promote", Stage.PRODUCTION, "v4 to Production"),
        ("rollback", Stage.PRODUCTION, "rolled back to v4"),
        ("archive", Stage.ARCHIVED, "v4 archived"),
    ],
)
def test_the_sentence_of_an_entry_names_the_version_the_actor_and_the_reason(
    kind: str, target: Stage, words: str
) -> None:
    assert describe(kind, 4, target) == words
    one = entry(kind=kind, target=target, reason="")
    assert one.sentence == f"{words} by ana"
    assert dataclasses.replace(one, reason="why").sentence == f"{words} by ana: why"


def test_a_winner_is_known_by_number_and_entry() -> None:
    first = entry()
    assert replay("m", [(1, render(first))]).winners == (Numbered(1, first),)
