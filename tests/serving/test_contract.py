"""Contract violations: what counts as one, and that each counts once, whatever writers do."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import ParamsInvalid
from serving import page
from serving import rules as contract_rules
from serving.contract import RULES, Checks, Contracts, Rule, add, checks, kinds, nothing, total
from serving.metrics import Metrics
from serving.recorder import LAUNCH
from serving.signature import Column, Signature
from tests.serving.test_records import ANSWER, drained, record, recording, run, until

KINDS = {"distance": "numeric", "origin": "text", "when": ""}
RULES_OF = {
    "distance": Rule(min=1, max=6000, missing=0),
    "origin": Rule(allowed=("EWR", "JFK"), missing=0),
}
GOOD = {"distance": 200.0, "origin": "JFK", "when": "2013-07-01"}


def broken(row: dict[str, Any], *, typed: bool = True) -> dict[str, dict[str, int]]:
    return Checks(RULES_OF, KINDS).count([row], typed=typed)["violations"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {}),
        ({"distance": 1}, {}),
        ({"distance": 6000}, {}),
        ({"distance": 0.999}, {"distance": {"min": 1}}),
        ({"distance": 6001}, {"distance": {"max": 1}}),
        ({"distance": float("inf")}, {"distance": {"max": 1}}),
        ({"distance": None}, {"distance": {"missing": 1}}),
        ({"distance": float("nan")}, {"distance": {"missing": 1}}),
        ({"distance": "200"}, {"distance": {"type": 1}}),
        ({"distance": True}, {}),  # a truth value is a number to a model
        ({"distance": [200]}, {"distance": {"type": 1}}),
        ({"origin": "LGA"}, {"origin": {"allowed": 1}}),
        ({"origin": "jfk"}, {"origin": {"allowed": 1}}),
        ({"origin": 7}, {"origin": {"type": 1}}),
        ({"origin": {"a": 1}}, {"origin": {"type": 1}}),
        ({"when": 7}, {}),
        ({"more": "whatever"}, {}),
        ({"distance": -1, "origin": None}, {"distance": {"min": 1}, "origin": {"missing": 1}}),
    ],
)
def test_each_rule_finds_what_breaks_it_and_nothing_else(
    change: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert broken({**GOOD, **change}) == expected


def test_a_column_that_is_left_out_is_missing_where_the_model_takes_it() -> None:
    assert broken({"origin": "JFK"}) == {"distance": {"missing": 1}}
    unknown = Checks(RULES_OF, {})  # of the model's columns nothing is known
    assert unknown.count([{"origin": "JFK"}]) == {"checked": 1, "violations": {}}
    assert unknown.count([{"origin": None}])["violations"] == {"origin": {"missing": 1}}
    foreign = Checks({"arrival": Rule(missing=0)}, KINDS)  # a rule about no input of the model
    assert foreign.count([GOOD])["violations"] == {}


def test_a_share_of_missing_values_says_nothing_of_one_row() -> None:
    some = Checks({"distance": Rule(missing=0.2)}, KINDS)
    assert some.count([{"distance": None}] * 10)["violations"] == {}


def test_csv_does_not_tell_text_from_numbers() -> None:
    numbers = {"origin": Rule(allowed=("1", "2.5"))}
    row: dict[str, Any] = {"origin": 1}
    assert Checks(numbers, KINDS).count([row], typed=False)["violations"] == {}
    assert Checks(numbers, KINDS).count([row])["violations"] == {"origin": {"type": 1}}
    assert Checks(numbers, KINDS).count([{"origin": 3}], typed=False)["violations"] == {
        "origin": {"allowed": 1}
    }


@pytest.mark.parametrize("value", [1, 1.0, "1", True])
def test_one_value_has_one_name_as_it_has_in_training(value: Any) -> None:
    rule = Rule.model_validate({"allowed": [value]})
    for same in (1, 1.0) if value is not True else (True,):
        assert Checks({"a": rule}, {"a": "numeric"}).count([{"a": same}])["violations"] == {}
    assert Checks({"a": rule}, {"a": "numeric"}).count([{"a": 2}])["violations"]


def test_the_gateway_reads_a_rule_as_the_pipeline_does() -> None:
    from pipelines.params import ColumnRule

    assert set(Rule.model_fields) == set(ColumnRule.model_fields)
    raw: dict[str, Any] = {"min": 1, "max": "7", "allowed": [1.0, True, "x"], "missing": 0}
    assert Rule(**raw).model_dump() == ColumnRule(**raw).model_dump()


def test_rows_without_the_names_of_columns_are_not_checked() -> None:
    counted = Checks(RULES_OF, KINDS).count([{"0": 1, "1": "x"}, GOOD])
    assert counted == {"checked": 1, "violations": {}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
ROWS = st.lists(st.dictionaries(st.sampled_from(["distance", "origin", "when", "x"]), JSON))


@given(ROWS, st.booleans())
def test_whatever_comes_is_counted_within_bounds(rows: list[dict[str, Any]], typed: bool) -> None:
    counted = Checks(RULES_OF, KINDS).count(rows, typed=typed)
    assert counted["checked"] <= len(rows)
    for column, found in counted["violations"].items():
        assert column in KINDS
        assert set(found) <= set(RULES)
        assert all(0 < n <= counted["checked"] for n in found.values())
    json.dumps(counted)


@given(ROWS, ROWS)
def test_counts_add_up_however_rows_are_divided(
    some: list[dict[str, Any]], others: list[dict[str, Any]]
) -> None:
    every = Checks(RULES_OF, KINDS)
    sums = nothing()
    add(sums, every.count(some))
    add(sums, every.count(others))
    assert sums == every.count([*some, *others])
    assert total(sums) == sum(total(every.count([row])) for row in [*some, *others])


# Writers

SIGNED = Signature((Column("a", "double"), Column("b", "string")), by_column=True)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Of an empty log."""
    return f"sqlite:///{tmp_path}/kept/predictions.db"


def contracts() -> Contracts:
    return Contracts({"m": {"a": Rule(min=1, missing=0)}}, lambda: {"m": SIGNED})


def body(*rows: list[Any]) -> bytes:
    return json.dumps({"dataframe_split": {"columns": ["a", "b"], "data": rows}}).encode()


def test_what_is_handed_to_the_writer_is_what_it_checks() -> None:
    handed = json.loads(json.dumps(contracts().settings()))
    counted = checks(handed)["m"].count([{"a": 0, "b": 5}, {"a": None, "b": "x"}])
    assert counted == {
        "checked": 2,
        "violations": {"a": {"min": 1, "missing": 1}, "b": {"type": 1}},
    }


def test_only_named_columns_have_kinds() -> None:
    assert kinds(SIGNED) == {"a": "numeric", "b": "text"}
    assert kinds(Signature((Column("", "double"),))) == {}


def test_each_violation_counts_once_though_a_writer_dies_after_it_wrote(
    tmp_path: Path, url: str
) -> None:
    # The first writer commits and dies before it says so; the next one gets the same rows again.
    once = tmp_path / "once"
    forgetful = tmp_path / "forgetful.py"
    forgetful.write_text(
        "import os, sys\nfrom serving import record_writer as w\n"
        "insert = w.Writer._insert\n"
        "def then_die(self, recorded):\n"
        "    lost = insert(self, recorded)\n"
        f"    if not os.path.exists({str(once)!r}):\n"
        f"        open({str(once)!r}, 'w').close()\n"
        "        os._exit(9)\n"
        "    return lost\n"
        "w.Writer._insert = then_die\nsys.exit(w.main())\n"
    )

    async def act() -> Any:
        kept = contracts()
        launch = (sys.executable, str(forgetful))
        async with recording(url, launch=launch, contracts=kept) as recorder:
            for n in range(20):
                recorder.put(record(f"p{n}", body([n % 2, "x"]), ANSWER))
            await until(drained(recorder))
            assert recorder.starts == 2
            return kept.of("m")

    assert run(act) == {"checked": 20, "violations": {"a": {"min": 10}}}


def test_a_new_live_version_is_checked_by_its_own_columns_and_other_models_by_theirs(
    url: str,
) -> None:
    live = {"m": Signature(), "n": SIGNED}
    kept = Contracts({"m": {"a": Rule(min=1)}}, lambda: dict(live))

    async def act() -> None:
        async with recording(url, launch=LAUNCH, contracts=kept) as recorder:

            async def send(name: str, model: str, *rows: list[Any], **more: Any) -> None:
                given = {"rows": len(rows), "model": model, **more}
                recorder.put(record(name, body(*rows), b'{"predictions":[1,2]}', **given))
                await until(drained(recorder))

            await send("p1", "m", [0, 7], [1, 7])
            assert kept.of("m") == {"checked": 2, "violations": {"a": {"min": 1}}}
            live["m"] = SIGNED
            await send("p2", "m", [0, 7], [1, "x"])
            assert kept.of("m") == {
                "checked": 4,
                "violations": {"a": {"min": 2}, "b": {"type": 1}},
            }
            await send("p3", "n", [0, "x"], ["0", "x"])  # the contract is another model's
            assert kept.of("n") == {"checked": 2, "violations": {"a": {"type": 1}}}
            await send("p4", "m", [0, 7], status=500)  # nobody was answered
            assert kept.of("m")["checked"] == 4

    run(act)
    assert kept.violations() == {
        ("m", "a", "min"): 2, ("m", "a", "type"): 0, ("m", "b", "type"): 1,
        ("n", "a", "type"): 1, ("n", "b", "type"): 0,
    }  # fmt: skip


def test_prometheus_sees_a_zero_before_the_first_violation() -> None:
    metrics = Metrics()
    metrics.violations = contracts().violations()
    lines = metrics.text().decode().splitlines()
    name = "understudy_contract_violations_total"
    assert f'{name}{{column="a",model="m",rule="min"}} 0.0' in lines
    assert len([line for line in lines if line.startswith(f"{name}{{")]) == 4


def test_the_page_tells_how_many_where_anything_is_counted() -> None:
    counted = {"checked": 9, "violations": {"a": {"min": 2, "type": 1}, "b": {"type": 4}}}
    assert "<dt>contract violations</dt><dd>7</dd>" in page._facts({"contract": counted})
    assert "contract violations" not in page._facts({"contract": None})


# params.yaml


def rules(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, *never: str) -> Any:
    (folder / "params.yaml").write_text(text)
    monkeypatch.chdir(folder)
    return contract_rules.read(never)


def test_the_contract_is_the_projects_models_without_outcome_and_what_is_never_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "registry: {model: m}\ndata: {target: y, contract: {a: {min: 1}, s: {missing: 0}, y: }}"
    found = rules(tmp_path, monkeypatch, text, "s")
    assert found == {"m": {"a": Rule(min=1)}}
    assert rules(tmp_path, monkeypatch, "registry: {model: m}\n") == {}


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("{contract: {a: {min: x}}}", r"data\.contract\.a\.min is 'x'"),
        ("{contract: {a: {least: 1}}}", r"unknown key data\.contract\.a\.least"),
        ("{contract: [a]}", r"data\.contract must be a table"),
        ("7", r"data and registry must be tables"),
    ],
)
def test_a_contract_that_cannot_be_read_is_told_of_before_anything_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, sentence: str
) -> None:
    with pytest.raises(ParamsInvalid, match=sentence):
        rules(tmp_path, monkeypatch, f"registry: {{model: m}}\ndata: {data}\n")
