"""The commands as a person or a script meets them: output, exit code, and what changed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli.main import COMMANDS, main
from registry.sections import GATES
from tests.cli.conftest import OFF, Shell

ARTIFACT = (
    "gate location: passed: the artifact lies inside the artifacts of its experiment\n"
    "gate intact: passed: every file is as it was registered\n"
)
LOADS = "gate loads: passed: the artifact loads and predicts its own input example\n"
"""A tiny model has no clean commit, and a server takes seconds."""
CHANGING = {
    "register": ("RUN",),
    "promote": ("2", "--to", "staging"),
    "rollback": (),
    "archive": ("2",),
    "approve": ("2",),
    "adopt": ("2",),
}
COMMON = {"--model", "--json", "--reason", "--actor", "--dry-run"}
NOT_ALL = {
    "repair": {"--model", "--json", "--dry-run"},  # it decides nothing: no reason and no actor
    "reproduce": COMMON - {"--dry-run"},
    "key": {"--json", "--actor"},
    "token": {"--json"},  # of a gateway, not of a model
    "traffic": set(),  # a group
    "monitor": set(),  # a group
    "package": set(),  # a group
    "explain": {"--json"},  # an answer knows its model
}


@pytest.fixture
def script(shell: Shell, environment: dict[str, str]) -> Callable[..., Any]:
    """The installed `understudy` as a process of its own, in the folder of `shell`."""

    def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["understudy", *arguments],
            cwd=shell.root,
            env={**environment, "MLFLOW_TRACKING_URI": shell.tiny.uri, **env},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


# help and usage


def test_help_lists_every_command_and_an_example_without_importing_mlflow(
    script: Callable[..., Any],
) -> None:
    done = script("--help", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    width = max(map(len, COMMANDS))
    for name, about in COMMANDS.items():
        assert f"  {name.ljust(width)}  {about}\n" in done.stdout
    assert "Example: understudy promote 2 --to production --reason" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "cli.main" in imported
    assert not imported & {"mlflow", "pandas", "sklearn", "registry.store", "understudy"}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_says_what_the_list_says_and_gives_an_example(name: str) -> None:
    done = CliRunner().invoke(main, [name, "-h"], prog_name="understudy")
    assert done.exit_code == 0
    assert f"Usage: understudy {name} [OPTIONS]" in done.stdout
    assert f"Example: understudy {name} " in done.stdout
    options = {o for o in COMMON if re.search(rf"^  {o}\b", done.stdout, re.MULTILINE)}
    assert options == NOT_ALL.get(name, COMMON if name in CHANGING else {"--model", "--json"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "Error: No such command 'nonsense'."),
        (["status", "--nope"], "Error: No such option '--nope'."),
        (["status", "extra"], "Error: Got unexpected extra argument (extra)"),
        (["promote"], "Error: Missing argument 'VERSION'."),
        (["promote", "1"], "Error: Missing option '--to'."),
        (["promote", "1", "--to", "live"], "Error: Invalid value for '--to': 'live' is not one of"),
        (["promote", "one", "--to", "staging"], "Error: Invalid value for 'VERSION': 'one' is not"),
        (["promote", "0", "--to", "staging"], "Error: Invalid value for 'VERSION': 0 is not in"),
        (["rollback", "--to", "-1"], "Error: Invalid value for '--to': -1 is not in the range"),
        (["archive"], "Error: Missing argument 'VERSION'."),
        (["register", "run", "--version", "1"], "Error: give a RUN_ID or --version, not both"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_wrong(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(main, arguments, prog_name="understudy")
    assert done.exit_code == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert done.stderr.startswith("Usage: understudy")


# register, status, history


def test_register_names_the_version_and_the_next_command(shell: Shell) -> None:
    next_line = "next: understudy promote 1 --to production\n"
    assert shell("register", "good").output == f"version 1 registered\n{next_line}"
    assert shell("register", "good").output == "version 1 was there\nnext: understudy status\n"
    assert shell.json("register", "better") == {"version": 2, "new": True, "dry_run": False}
    assert shell.json("register", "better") == {"version": 2, "new": False, "dry_run": False}


def test_register_without_a_run_takes_the_last_of_the_pipeline(shell: Shell) -> None:
    note = shell.root / "artifacts" / "train" / "run.json"
    note.parent.mkdir(parents=True)
    note.write_text(json.dumps({"run_id": shell.tiny.runs["better"]}))
    assert shell.json("register")["new"] is True
    assert shell.json("status")["versions"][0]["run_id"] == shell.tiny.runs["better"]


def test_register_enters_a_version_made_by_other_means(shell: Shell, store: Any) -> None:
    store.create_version("m", store.run(shell.tiny.runs["good"]).models[0], {})
    done = shell("status")
    assert "1        (not in the ledger)" in done.stdout
    assert done.stderr == (
        "differs: v1 is in MLflow and not in the ledger; "
        "`understudy register --version 1` enters it\n"
    )
    assert shell.json("register", "--version", "1") == {
        "version": 1,
        "new": True,
        "dry_run": False,
    }
    assert shell("status").stderr == ""


def test_status_is_a_table_of_versions_the_newest_first(registered: Shell) -> None:
    lines = registered("status").stdout.splitlines()
    assert lines[:2] == ["m: nothing is live; no former version", ""]
    head = "version stage alias created (UTC) data held-out metrics"
    assert lines[2].split() == head.split()
    assert [line.split()[:2] for line in lines[3:6]] == [
        ["3", "None"],
        ["2", "None"],
        ["1", "None"],
    ]
    assert lines[6:] == ["next: understudy promote 3 --to production"]


def test_status_shows_what_is_live_where_a_rollback_goes_and_what_comes_next(
    registered: Shell,
) -> None:
    registered("promote", "1", "--to", "production")
    assert registered("status").stdout.splitlines()[-1] == (
        "next: understudy promote 3 --to production --dry-run"
    )
    registered("promote", "2", "--to", "production")
    registered("archive", "3")
    lines = registered("status").stdout.splitlines()
    assert lines[0] == "m: v2 is in Production; a rollback would go to v1"
    assert [line.split()[:3] for line in lines[4:6]] == [
        ["2", "Production", "production"],
        ["1", "Archived", lines[5].split()[2]],
    ]
    assert lines[-1] == ("next: understudy serve")
    found = registered.json("status")
    assert (found["model"], found["production"], found["staging"]) == ("m", 2, None)
    assert (found["former"], found["differences"]) == ([1], [])
    assert [(v["version"], v["stage"], v["shown_stage"]) for v in found["versions"]] == [
        (1, "Archived", "Archived"),
        (2, "Production", "Production"),
        (3, "Archived", "Archived"),
    ]
    assert [v["aliases"] for v in found["versions"]] == [[], ["production"], []]


def test_status_shows_a_stage_moved_by_hand(registered: Shell, store: Any) -> None:
    from registry.stages import Stage

    registered("promote", "1", "--to", "production")
    store.set_stage("m", 2, Stage.STAGING)
    sentence = "v2 is in None by the ledger and shown in Staging"
    assert registered("status").stderr == f"differs: {sentence}\n"
    assert registered.json("status")["differences"] == [sentence]


def test_history_tells_every_decision_the_oldest_first(registered: Shell) -> None:
    registered("promote", "2", "--to", "staging", "--reason", "look closer", "--actor", "ana")
    registered("archive", "3")
    lines = registered("history").stdout.splitlines()
    assert lines[0].split() == ["entry", "time", "(UTC)", "actor", "what", "reason"]
    assert [(x.split()[0], " ".join(x.split()[2:])) for x in lines[1:-1]] == [
        ("1", "tester v1 registered try good"),
        ("2", "tester v2 registered try better"),
        ("3", "tester v3 registered try worse"),
        ("4", "ana v2 to Staging look closer"),
        ("5", "tester v3 archived"),
    ]
    assert all(line.split()[1].endswith("Z") for line in lines[1:-1])
    assert lines[-1] == "next: understudy status"


def test_history_as_json_is_a_chain_that_can_be_checked(registered: Shell) -> None:
    from registry.ledger import GENESIS, Entry
    from registry.stages import Stage

    registered("promote", "2", "--to", "staging")
    found = registered.json("history")
    assert [e["number"] for e in found] == [1, 2, 3, 4]
    assert [e["prev"] for e in found] == [GENESIS, *(e["hash"] for e in found[:-1])]
    for raw in found:
        claimed = raw.pop("hash")
        raw.pop("number")
        stages = {"source": Stage(raw["source"]), "target": Stage(raw["target"])}
        assert Entry(**{**raw, **stages}).hash == claimed
    assert found[3]["evidence"]["gate"]["passed"] is True
    assert len(found[0]["evidence"]["digest"]) == 64


# promote, rollback, archive


def test_promote_prints_the_gates_the_moves_the_entry_and_the_next_command(
    registered: Shell,
) -> None:
    text = registered("promote", "1", "--to", "production").stdout
    gates, _, done = text.partition("m: v1 to Production\n")
    lines = gates.splitlines(keepends=True)
    off = "skipped: params.yaml skips it (gate.skip)\n"
    no_rival = "passed: there is no Production version to compare with\n"
    assert "".join(lines[:5]) == (f"{ARTIFACT}gate lineage: {off}{LOADS}gate signature: {no_rival}")
    assert lines[5].startswith("gate floor: passed: roc_auc 0.")
    assert lines[5].endswith("; params.yaml sets no gate.floor\n")
    assert "".join(lines[6:]) == (
        f"gate not_worse: {no_rival}"
        "gate slices: passed: params.yaml names no gate.slices\n"
        f"gate serves: {off}gate latency: {off}"
    )
    report, _, rest = done.partition("gate report: ")
    assert report == "  v1: None -> Production\nledger entry 4\n"
    where, _, then = rest.partition("\n")
    assert re.fullmatch(r"gate/v1-\S+\.html, among the artifacts of the version's run", where)
    assert then == "next: understudy serve\n"
    assert registered("promote", "2", "--to", "STAGING").stdout == (
        f"{ARTIFACT}{LOADS}"
        "m: v2 to Staging\n"
        "  v2: None -> Staging\n"
        "ledger entry 5\n"
        "next: understudy promote 2 --to production\n"
    )


def test_promote_as_json_names_the_moves_and_every_gate(registered: Shell) -> None:
    registered("promote", "1", "--to", "production")
    found = registered.json("promote", "2", "--to", "production")
    checks = found["gate"].pop("checks")
    assert found.pop("report").startswith("gate/v2-")
    assert found == {
        "model": "m",
        "action": "promote",
        "version": 2,
        "from": "None",
        "to": "Production",
        "moves": [
            {"version": 1, "source": "Production", "target": "Archived"},
            {"version": 2, "source": "None", "target": "Production"},
        ],
        "gate": {"passed": True},
        "dry_run": False,
        "ledger_entry": 5,
    }
    assert [c["name"] for c in checks] == list(GATES)
    assert all(c["passed"] for c in checks)
    assert [c["name"] for c in checks if c["skipped"]] == ["lineage", "serves", "latency"]
    not_worse = checks[GATES.index("not_worse")]
    assert not_worse["value"] == pytest.approx(not_worse["detail"]["low"], rel=1e-4)
    assert not_worse["value"] > not_worse["limit"] == 0


def test_rollback_prints_the_way_back(registered: Shell) -> None:
    for version in ("1", "2"):
        registered("promote", version, "--to", "production")
    assert registered("rollback", "--reason", "late").stdout == (
        "m: rolled back to v1\n"
        "  v1: Archived -> Production\n"
        "  v2: Production -> Archived\n"
        "ledger entry 6\n"
        "next: understudy history\n"
    )
    found, past = registered.seen()
    assert (found["production"], found["former"], past[-1]["reason"]) == (1, [], "late")


def test_rollback_to_a_version_as_json(registered: Shell) -> None:
    for version in ("1", "2"):
        registered("promote", version, "--to", "production")
    found = registered.json("rollback", "--to", "1")
    assert (found["action"], found["version"], found["ledger_entry"]) == ("rollback", 1, 6)
    assert found["gate"] == {"passed": True, "checks": []}


def test_archive_prints_what_it_did(registered: Shell) -> None:
    assert registered("archive", "3").stdout == (
        "m: v3 archived\n  v3: None -> Archived\nledger entry 4\nnext: understudy status\n"
    )
    found = registered.json("archive", "2")
    assert (found["action"], found["to"], found["ledger_entry"]) == ("archive", "Archived", 5)


@pytest.mark.parametrize("name", ["register", "promote", "rollback", "archive"])
def test_a_dry_run_tells_the_same_and_changes_nothing(registered: Shell, name: str) -> None:
    if name == "rollback":
        for version in ("1", "2"):
            registered("promote", version, "--to", "production")
    arguments = [a.replace("RUN", registered.tiny.runs["same"]) for a in CHANGING[name]]
    before = registered.seen()
    dry = registered.json(name, *arguments, "--dry-run")
    text = registered(name, *arguments, "--dry-run").stdout
    assert "nothing was changed (--dry-run)\n" in text
    assert "next:" not in text
    assert registered.seen() == before
    done = registered.json(name, *arguments)
    assert (dry.pop("dry_run"), done.pop("dry_run")) == (True, False)
    if name != "register":
        assert dry.pop("ledger_entry") is None
        assert done.pop("ledger_entry") == len(before[1]) + 1
    assert dry == done
    assert registered.seen() != before


def test_a_dry_run_of_a_refused_promotion_is_refused(registered: Shell) -> None:
    registered("promote", "2", "--to", "production")
    sentence = registered.refused("promote", "3", "--to", "production", "--dry-run")
    assert sentence.startswith("version 3 of m was not promoted: gate not_worse: roc_auc 0.")


# what is refused, and how


def test_a_refused_promotion_names_the_gate_and_both_numbers_and_changes_nothing(
    registered: Shell,
) -> None:
    registered("promote", "2", "--to", "production")
    before = registered.seen()
    sentence = registered.refused("promote", "3", "--to", "production")
    assert sentence.startswith("version 3 of m was not promoted: gate not_worse: roc_auc 0.")
    assert " of Production v2 on the same 400 rows: improvement -0." in sentence
    assert "whose lower end is below +0.0000 (margin 0); no stage was changed" in sentence
    assert re.search(r"; the report is gate/v3-\S+\.html in its run$", sentence)
    after = registered.seen()
    tags = after[0]["versions"][2]["tags"]
    assert tags.pop("understudy.gate_report").startswith("gate/v3-")
    assert after == before


def test_the_limits_are_those_of_params(registered: Shell) -> None:
    params = registered.root / "params.yaml"
    params.write_text(f"registry: {{model: m}}\ngate: {{floor: 0.99, {OFF}}}\n")
    sentence = registered.refused("promote", "2", "--to", "production")
    assert " is below the limit 0.9900; no stage was changed" in sentence
    params.write_text(f"registry: {{model: m}}\ngate: {{margin: 1, {OFF}}}\n")
    registered("promote", "2", "--to", "production")
    assert registered.json("promote", "3", "--to", "production")["ledger_entry"] == 5


NO_ROOM = "in Production and cannot be"
REFUSALS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "a version that does not exist": (
        ("promote", "9", "--to", "staging"),
        "m has no version 9; it has 1, 2, 3",
    ),
    "another version that does not exist": (
        ("register", "--version", "9"),
        "m has no version 9; it has 1, 2, 3",
    ),
    "promoting what is live": (
        ("promote", "1", "--to", "production"),
        "version 1 of m is already in Production; there is nothing to do",
    ),
    "moving what is live": (
        ("promote", "1", "--to", "staging"),
        f"version 1 of m is {NO_ROOM} moved to Staging; promote another version or roll back first",
    ),
    "archiving what is live": (
        ("archive", "1"),
        f"version 1 of m is {NO_ROOM} archived; promote another version or roll back first",
    ),
    "promoting what is archived": (
        ("promote", "3", "--to", "production"),
        "version 3 of m is archived and cannot be promoted to Production; "
        "`understudy promote 3 --to staging` takes it out of the archive first",
    ),
    "rolling back with nothing former": (
        ("rollback",),
        "m has no former Production version to roll back to; "
        "`understudy history` shows what was live",
    ),
    "a model that does not exist": (
        ("status", "--model", "other"),
        "no registered model 'other'; there are: m",
    ),
    "promoting a version of no model": (
        ("promote", "1", "--to", "staging", "--model", "other"),
        "no registered model 'other'; there are: m",
    ),
    "the history of no model": (
        ("history", "--model", "other"),
        "no registered model 'other'; there are: m",
    ),
    "a name that no model can have": (
        ("status", "--model", "a/b"),
        "'a/b' cannot be a model's name: letters, digits, '_', '-' and '.' make a name, "
        "200 of them at the most",
    ),
    "a ledger taken for a model": (
        ("register", "--version", "1", "--model", "m.ledger"),
        "'m.ledger' cannot be a model's name: what ends in .ledger is a model's ledger",
    ),
    "a run that does not exist": (
        ("register", "nope"),
        "run 'nope' cannot be registered: there is no such run; `mlflow run . -e train` makes one",
    ),
    "a pipeline that has not run": (
        ("register",),
        "run 'artifacts/train/run.json' cannot be registered: the pipeline has not trained yet; "
        "`mlflow run . -e train` makes one",
    ),
    "a reason that is none": (
        ("archive", "2", "--reason", "x" * 2001),
        "the reason has 2,001 characters, at most 2,000 are kept; "
        "put the long text where it can be linked",
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_cannot_be_done_ends_with_1_and_a_sentence_and_changes_nothing(
    shell: Shell, one_live: Path, what: str
) -> None:
    arguments, sentence = REFUSALS[what]
    database = Path(shell.tiny.uri.removeprefix("sqlite:///"))
    shutil.copy2(one_live, database)
    before = shell.json("history")
    assert shell.refused(*arguments) == sentence.format(uri=shell.tiny.uri)
    assert shell.json("history") == before


def test_the_first_model_is_yet_to_be_registered(shell: Shell) -> None:
    for arguments in (("status",), ("history",), ("rollback",), ("archive", "1")):
        assert shell.refused(*arguments) == (
            "no registered model 'm'; none is registered yet; run `dvc repro`"
        )


def test_a_run_with_no_model_is_refused(shell: Shell) -> None:
    import mlflow

    client = mlflow.MlflowClient(shell.tiny.uri)
    run = client.create_run(client.get_experiment_by_name("tiny").experiment_id).info.run_id
    assert shell.refused("register", run) == (
        f"run '{run}' cannot be registered: it logged 0 models, one is needed; "
        "`mlflow run . -e train` makes one"
    )


def test_an_empty_stage_is_named_with_the_way_to_fill_it(registered: Shell) -> None:
    import understudy
    from registry.errors import NothingInStage

    registered("promote", "1", "--to", "production")
    assert understudy.resolve() == 1
    with pytest.raises(NothingInStage) as nothing:
        understudy.resolve("staging")
    assert str(nothing.value) == (
        "m has no version in Staging; `understudy promote VERSION --to staging` puts one there"
    )


def race(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let another rollback come first whenever the next entry is appended."""
    import understudy
    from registry.store import Store

    append = Store.append

    def after_another(self: Store, *arguments: Any) -> int:
        monkeypatch.setattr(Store, "append", append)
        understudy.rollback(actor="faster")
        return append(self, *arguments)

    monkeypatch.setattr(Store, "append", after_another)


def test_of_two_rollbacks_in_the_same_moment_only_one_goes_back(
    registered: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("1", "2"):
        registered("promote", version, "--to", "production")
    for version in ("3", "1"):
        registered("promote", version, "--to", "staging")
    params = f"registry: {{model: m}}\ngate: {{margin: 1, {OFF}}}\n"
    (registered.root / "params.yaml").write_text(params)
    registered("promote", "1", "--to", "production")
    assert registered.json("status")["former"] == [1, 2]
    race(monkeypatch)
    assert registered.refused("rollback") == (
        "not done: rolled back to v2 (m), because somebody else changed it in the same moment; "
        "now v2 is in Production; look at `understudy history` and ask again if you still want it"
    )
    assert registered.json("status")["production"] == 2
    assert registered.json("history")[-1]["actor"] == "faster"


def test_a_rollback_that_lost_the_last_way_back_is_told_that_it_lost(
    registered: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("1", "2"):
        registered("promote", version, "--to", "production")
    race(monkeypatch)
    assert registered.refused("rollback").startswith("not done: rolled back to v1 (m)")
    assert registered.json("status")["production"] == 1
    assert registered.json("history")[-1]["actor"] == "faster"


def test_of_a_promotion_and_a_rollback_in_the_same_moment_both_come_to_pass(
    registered: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("1", "2"):
        registered("promote", version, "--to", "production")
    race(monkeypatch)
    found = registered.json("promote", "3", "--to", "staging")
    history = registered.json("history")
    assert [e["actor"] for e in history[-2:]] == ["faster", "tester"]
    assert found["ledger_entry"] == history[-1]["number"] == history[-2]["number"] + 2


def test_a_broken_ledger_is_named_with_its_entry(registered: Shell) -> None:
    import mlflow

    from registry.store import ENTRY_TAG

    client = mlflow.MlflowClient(registered.tiny.uri, registry_uri=registered.tiny.uri)
    text = client.get_model_version("m.ledger", "2").tags[ENTRY_TAG]
    client.set_model_version_tag("m.ledger", "2", ENTRY_TAG, text.replace("tester", "nobody"))
    for arguments in (("status",), ("history",), ("promote", "1", "--to", "staging")):
        assert registered.refused(*arguments) == (
            "the ledger of m is broken at entry 2: its content does not match its hash"
        )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "gate: {}",
            "params.yaml has no section 'registry'; add it, docs/parameters.md lists its keys",
        ),
        ("registry: {modle: m}", "params.yaml: registry.model is missing; "
         "unknown key registry.modle; registry has model, keys"),
    ],
)  # fmt: skip
def test_wrong_params_are_named(shell: Shell, text: str, sentence: str) -> None:
    (shell.root / "params.yaml").write_text(text)
    assert shell.refused("status") == sentence


def test_wrong_limits_stop_a_promotion_before_anything_is_tried(registered: Shell) -> None:
    (registered.root / "params.yaml").write_text("registry: {model: m}\ngate: {margin: -1}")
    assert registered.refused("promote", "1", "--to", "production") == (
        "params.yaml: gate.margin is -1: input should be greater than or equal to 0"
    )


def test_outside_a_project_the_model_must_be_named(
    registered: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    monkeypatch.chdir(outside)
    sentence = (
        f"no params.yaml in {outside.resolve()} or in any folder above it; "
        "change into the project, or name the model with --model and the server with "
        "MLFLOW_TRACKING_URI"
    )
    assert registered.refused("status") == sentence
    assert registered.json("status", "--model", "m")["model"] == "m"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert registered.refused("status", "--model", "m") == sentence
    assert list(outside.iterdir()) == []


def test_a_reason_that_is_no_text_is_refused_with_a_sentence(registered: Shell) -> None:
    assert "reason" in registered.refused("archive", "2", "--reason", "\udcff")


# the server


def test_a_server_that_does_not_answer_is_named_soon(
    script: Callable[..., Any],
) -> None:
    begin = time.monotonic()
    done = script("status", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert time.monotonic() - begin < 90
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: the MLflow store at http://127.0.0.1:9 does not answer (")
    assert done.stderr.endswith(
        "); nothing was changed here; start it, or correct MLFLOW_TRACKING_URI\n"
    )
    assert done.stderr.count("\n") == 1


def test_a_database_without_its_driver_is_named(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "mysql://ana:secret@127.0.0.1:9/mlflow")
    monkeypatch.setitem(sys.modules, "MySQLdb", None)
    assert shell.refused("status") == (
        "speaking to the MLflow store at mysql://127.0.0.1:9/mlflow needs the Python module "
        "MySQLdb, which is not installed; install it here, or name a tracking server in "
        "MLFLOW_TRACKING_URI, which needs none"
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://ana:secret@127.0.0.1:9/mlflow")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert "write postgresql+psycopg2:// where that one is" in shell.refused("status")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://127.0.0.1/mlflow")
    assert shell.refused("status") == (
        "the MLflow store at nonsense://127.0.0.1/mlflow refused the request: MLflow knows no "
        "stores of this kind, but those at http:, https:, sqlite:, postgresql:, mysql: and mssql: "
        "addresses"
    )


def test_a_server_that_is_busy_is_named_with_what_it_said() -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

    from registry.errors import RegistryUnreachable
    from registry.store import reaching

    with pytest.raises(RegistryUnreachable) as unreachable, reaching("http://me:secret@host:5000"):
        raise MlflowException("try later\nmore", TEMPORARILY_UNAVAILABLE)
    assert str(unreachable.value) == (
        "the MLflow store at http://host:5000 does not answer (try later); "
        "nothing was changed here; start it, or correct MLFLOW_TRACKING_URI"
    )


def test_a_server_that_does_not_answer_is_named_with_the_cause_and_without_the_password() -> None:
    from mlflow.exceptions import MlflowException

    from registry.errors import RegistryUnreachable
    from registry.store import reaching

    uri, path = "http://user:secret@127.0.0.1:9", "/api/2.0/mlflow/model-versions/search"
    message = (
        f"API request to {uri}{path} failed with exception HTTPConnectionPool(host='127.0.0.1', "
        f"port=9): Max retries exceeded with url: {path}?max_results=1000 (Caused by "
        "NewConnectionError('Failed to establish a new connection: Connection refused'))"
    )
    with pytest.raises(RegistryUnreachable) as unreachable, reaching(uri):
        raise MlflowException(message)
    assert str(unreachable.value) == (
        "the MLflow store at http://127.0.0.1:9 does not answer (connection refused); "
        "nothing was changed here; start it, or correct MLFLOW_TRACKING_URI"
    )


def test_a_process_of_its_own_prints_its_lines_and_none_of_mlflows(
    registered: Shell, script: Callable[..., Any]
) -> None:
    done = script("promote", "2", "--to", "production", "--json", UNDERSTUDY_ACTOR="ana")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["ledger_entry"] == 4
    assert registered.json("history")[-1]["actor"] == "ana"


def test_a_stage_moved_by_hand_is_shown_and_repaired(registered: Shell) -> None:
    import mlflow

    registered("promote", "1", "--to", "production")
    client = mlflow.MlflowClient(registered.tiny.uri, registry_uri=registered.tiny.uri)
    client.set_registered_model_alias("m", "production", "2")
    moved = "alias production is v1 by the ledger and shows v2"
    assert registered("status").stdout.endswith("next: understudy repair\n")
    assert registered.json("repair", "--dry-run") == {"repaired": [moved], "dry_run": True}
    assert client.get_model_version_by_alias("m", "production").version == 2
    assert f"put right: {moved}" in registered("repair").stdout
    assert client.get_model_version_by_alias("m", "production").version == 1
    assert "nothing to repair" in registered("repair").stdout
