"""approve, adopt, verify and key, as a person or a script meets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from registry.sections import GATES
from tests.cli.conftest import Shell


@pytest.fixture
def ungated(registered: Shell) -> Shell:
    """`m` with three versions and no gates, so that only what is tested here decides."""
    configure(registered)
    return registered


def configure(shell: Shell, keys: dict[str, str] | None = None, **gate: Any) -> None:
    sections = {"registry": {"model": "m", "keys": keys or {}}, "gate": {"skip": [*GATES], **gate}}
    (shell.root / "params.yaml").write_text(yaml.safe_dump(sections))


def test_a_promotion_that_others_must_approve(ungated: Shell) -> None:
    configure(ungated, approvals=1)
    promotion = ("promote", "2", "--to", "production", "--actor", "ana")
    assert ungated.refused(*promotion) == (
        "version 2 of m needs 1 approvals by others than who promotes, trained or registered it, "
        "and has none; `understudy approve 2` gives one"
    )
    assert ungated.refused("approve", "2") == (
        "tester cannot approve version 2 of m: who trained or registered it cannot"
    )
    done = ungated("approve", "2", "--actor", "ben", "--reason", "looked at July")
    assert done.stdout == (
        "m: v2 approved\nledger entry 4\nnext: understudy promote 2 --to production\n"
    )
    assert ungated.json(*promotion)["ledger_entry"] == 5
    approved, promoted = ungated.json("history")[-2:]
    assert (approved["kind"], approved["actor"], approved["reason"]) == (
        "approve",
        "ben",
        "looked at July",
    )
    assert promoted["evidence"]["approvals"] == ["ben"]


def test_an_override_is_recorded_with_its_reason(registered: Shell) -> None:
    configure(registered, floor=0.99, skip=[g for g in GATES if g != "floor"])
    promotion = ("promote", "1", "--to", "production")
    assert "gate floor: roc_auc 0." in registered.refused(*promotion)
    assert registered.refused(*promotion, "--override", "floor") == (
        "a gate is not overridden: an override needs a reason, --reason says it"
    )
    assert registered.refused(*promotion, "--override", "taste", "--reason", "x").startswith(
        "there is no gate 'taste'; there are location, intact,"
    )
    assert "only a person may, with a reason" in registered.refused(
        *promotion, "--override", "floor", "--reason", "x", "--actor", "auto:ci"
    )
    done = registered(*promotion, "--override", "floor", "--reason", "better than nothing")
    assert "gate floor: overridden: roc_auc 0." in done.stdout
    assert "gate loads: skipped: params.yaml skips it" in done.stdout
    verdict = registered.json("history")[-1]["evidence"]["gate"]
    (floor,) = [c for c in verdict["checks"] if c["name"] == "floor"]
    assert (verdict["passed"], floor["passed"], floor["overridden"]) == (True, False, True)


def test_a_program_keeps_to_its_bounds(ungated: Shell) -> None:
    assert ungated.refused("promote", "1", "--to", "production", "--actor", "auto:nightly") == (
        "auto:nightly may not do this (v1 to Production): only where params.yaml says "
        "`gate.automation: production` may it go to Production"
    )
    ungated("promote", "1", "--to", "staging", "--actor", "auto:nightly")
    configure(ungated, automation="production")
    ungated("promote", "1", "--to", "production", "--actor", "auto:nightly")
    assert ungated.json("status")["production"] == 1


def test_a_stage_moved_by_hand_is_shown_and_adopted(ungated: Shell, store: Any) -> None:
    from registry.stages import Stage

    ungated("promote", "1", "--to", "production")
    store.set_stage("m", 2, Stage.PRODUCTION)
    told = ungated("status")
    assert "differs: v2 is in None by the ledger and shown in Production" in told.stderr
    assert "next: understudy repair" in told.stdout
    dry = ungated("adopt", "2", "--dry-run")
    assert "would do: v2 adopted in Production" in dry.stdout
    done = ungated("adopt", "2", "--reason", "it was right")
    assert "m: v2 adopted in Production" in done.stdout
    found = ungated.json("status")
    assert (found["production"], found["former"], found["differences"]) == (2, [1], [])
    assert ungated.refused("adopt", "2") == (
        "version 2 of m is already in Production, by the ledger as in MLflow; there is nothing "
        "to do"
    )


def test_a_version_that_was_registered_and_moved_by_hand_is_adopted(
    ungated: Shell, store: Any
) -> None:
    from registry.stages import Stage

    ungated("promote", "1", "--to", "production")
    store.create_version("m", store.shown("m").versions[2].model_id, {})
    store.set_stage("m", 4, Stage.PRODUCTION)
    assert "version 4 of m is in MLflow and not in the ledger" in ungated.refused(
        "adopt", "4", "--dry-run"
    )
    ungated("adopt", "4")
    assert ungated.json("status")["production"] == 4
    assert [e["kind"] for e in ungated.json("history")[-2:]] == ["register", "adopt"]


def test_verify_says_sound_or_what_is_wrong(ungated: Shell, store: Any) -> None:
    ungated("promote", "1", "--to", "production")
    done = ungated("verify")
    *_, checked, verdict, head = done.stdout.splitlines()
    assert checked == (
        "checked: 4 entries, 0 with a signature that holds; 3 artifacts; stages and aliases"
    )
    assert verdict == "m: sound"
    noted = head.removeprefix("head: ")
    assert noted == ungated.json("history")[-1]["hash"]
    assert ungated.json("verify", "--no-artifacts", "--head", noted)["sound"] is True
    store.set_alias("m", "production", 3)
    wrong = ungated("verify", "--head", "abc", code=1)
    assert wrong.stdout.splitlines()[:2] == [
        "wrong (head_missing): no entry has the hash abc, which was noted elsewhere",
        "wrong (alias): alias production is v1 by the ledger and shows v3",
    ]
    assert "m: 2 things are wrong" in wrong.stdout


def test_keys_from_params_are_asked_for_used_and_demanded(
    ungated: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ungated.json("key", str(tmp_path / "ana.pem"), "--actor", "ana")
    configure(ungated, {"ana": made["public_key"]})
    archive = ("archive", "3", "--actor", "ana")
    assert ungated.refused(*archive) == (
        "the entry cannot be signed: registry.keys of params.yaml asks for ana's key, and "
        "UNDERSTUDY_KEY names no file; `understudy key --help` says how"
    )
    monkeypatch.setenv("UNDERSTUDY_KEY", made["path"])
    assert "has no key of 'ben'" in ungated.refused("archive", "3", "--actor", "ben")
    ungated(*archive)
    found = ungated.json("verify", "--no-artifacts")
    assert (found["sound"], found["signed"]) == (True, 1)
    configure(ungated, {"ana": made["public_key"][::-1]})
    (finding,) = json.loads(ungated("verify", "--no-artifacts", "--json", code=1).stdout)[
        "findings"
    ]
    assert finding["sentence"] == "entry 4: it is signed by a key that is not ana's"


def test_a_key_is_printed_as_params_yaml_wants_it(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "ana.pem"
    lines = shell("key", str(path), "--actor", "ana").stdout.splitlines()
    assert lines[0] == f"private key: {path} (keep it to yourself; it is not encrypted)"
    assert yaml.safe_load("\n".join(lines[2:4]))["keys"]["ana"]
    assert lines[4] == f"next: export UNDERSTUDY_KEY={path}"
    assert "is there already, and a key is never overwritten" in shell.refused("key", str(path))


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("a/b", "'a/b' cannot be a model's name: letters, digits,"),
        ("..", "'..' cannot be a model's name: letters, digits,"),
        ("m; drop", "'m; drop' cannot be a model's name: letters, digits,"),
        ("m' OR '1'='1", "cannot be a model's name: letters, digits,"),
        ('"m"', "cannot be a model's name: letters, digits,"),
        ("m" * 4096, "cannot be a model's name: letters, digits,"),
        ("m.ledger", "what ends in .ledger is a model's ledger"),
        ("", "cannot be a model's name: letters, digits,"),
    ],
)
@pytest.mark.parametrize("words", [("status",), ("verify",), ("promote", "1", "--to", "staging")])
def test_names_no_model_can_have(
    shell: Shell, model: str, sentence: str, words: tuple[str, ...]
) -> None:
    told = shell.refused(*words, "--model", model)
    assert sentence in told
    assert len(told) < 300


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--actor", ""), "the actor is empty; name one with --actor or UNDERSTUDY_ACTOR"),
        (("--actor", "a\nb"), "the actor holds characters that cannot be printed"),
        (("--reason", "x" * 100_000), "the reason has 100,000 characters, at most 2,000 are kept"),
    ],
)
def test_actors_and_reasons_that_are_none(
    ungated: Shell, options: tuple[str, str], sentence: str
) -> None:
    before = ungated.json("history")
    assert sentence in ungated.refused("archive", "3", *options)
    assert ungated.json("history") == before


def test_a_reason_of_several_lines_keeps_history_a_table(ungated: Shell) -> None:
    ungated("archive", "3", "--reason", "first\nsecond")
    row = ungated("history").stdout.splitlines()[4]
    assert " ".join(row.split()[2:]) == "tester v3 archived first second"
    assert ungated.json("history")[-1]["reason"] == "first\nsecond"
