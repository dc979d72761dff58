"""`understudy traffic` as a person meets it: what it writes, says and refuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cli.traffic import share
from registry.sections import GATES
from tests.cli.conftest import OFF, Shell

PASSED = (
    "gate location: passed: the artifact lies inside the artifacts of its experiment\n"
    "gate intact: passed: every file is as it was registered\n"
    "gate loads: passed: the artifact loads and predicts its own input example\n"
    "gate signature: passed: "
)
TOKEN = "of-this-user"  # noqa: S105 - of a server that lives as long as its test


@pytest.fixture
def live(shell: Shell, one_live: Path) -> Shell:
    """`m` with v1 in Production, v2 entered and v3 archived; no gate is asked, for that is slow."""
    shutil.copy2(one_live, database(shell))
    params(shell)
    return shell


def database(shell: Shell) -> Path:
    return Path(shell.tiny.uri.removeprefix("sqlite:///"))


def params(shell: Shell, gate: str = f"skip: [{', '.join(GATES)}]", **experiment: Any) -> None:
    text = f"registry: {{model: m}}\ngate: {{{gate}}}\nexperiment: {json.dumps(experiment)}\n"
    (shell.root / "params.yaml").write_text(text)


def evidence(shell: Shell) -> Mapping[str, Any]:
    found: Mapping[str, Any] = shell.json("history")[-1]["evidence"]
    return found


# a gateway that runs nearby


class Gateway:
    """A small server that says of the experiment what a real guard would, and leaves its file."""

    def __init__(self, shell: Shell, name: str = "one") -> None:
        self.report: Any = None
        self.said: bytes | None = None
        self.seen: list[str] = []
        gateway = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                gateway.seen.append(f"GET {self.path}")
                self._say(gateway._status())

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                gateway.seen.append(f"POST {self.path}")
                self._say(b"{}")

            def _say(self, said: bytes) -> None:
                known = self.headers["Authorization"] == f"Bearer {TOKEN}"
                self.send_response(200 if known else 401)
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        folder = shell.root / ".understudy" / "gateways"
        folder.mkdir(parents=True, exist_ok=True)
        known = {"pid": os.getpid(), "address": self.address, "token": TOKEN}
        known |= {"uri": shell.tiny.uri, "models": ["m"], "certificate": ""}
        (folder / f"{name}.json").write_text(json.dumps(known))

    def _status(self) -> bytes:
        return self.said or json.dumps({"models": {"m": {"experiment": self.report}}}).encode()

    def close(self) -> None:
        """Go, as one that was killed: its file stays."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def gateway(live: Shell) -> Iterator[Gateway]:
    found = Gateway(live)
    yield found
    found.close()


def report(*, failing: int = 0, answers: int = 400, ended: bool = False, **more: Any) -> Any:
    """What a real guard says once v2 has answered 100 of so many requests, `failing` in vain."""
    import understudy
    from serving.guard import Guard

    now = understudy.traffic()
    assert now is not None
    guard = Guard(now, None)
    arms = [i % 4 == 0 for i in range(answers)]
    failed = [arm and sum(arms[:i]) < failing for i, arm in enumerate(arms)]
    guard.evidence.add_answers(arms, [0.25] * answers, failed, [False] * answers, [5.0] * answers)
    guard.judge()
    guard.close()
    return {**guard.report(dropped=0, is_open=not ended, ended=ended), **more}


# from the first share to the end


def test_a_canary_from_its_first_share_to_its_end(live: Shell) -> None:
    params(live, OFF)
    text = live("traffic", "canary", "2", "--weight", "5%", "--reason", "try it").stdout
    assert text.startswith(PASSED)
    assert text.endswith(
        "m: v2 challenges: canary, 5 % of the traffic\n"
        "ledger entry 6\n"
        "next: understudy traffic status\n"
    )
    known = evidence(live)
    assert (known["mode"], known["weight"]) == ("canary", 0.05)
    assert known["rule"]["metric"] == "none"
    assert known["gate"]["passed"] is True
    assert live("traffic", "weight", "25 %").stdout == (
        "m: v2 gets 25 % of the traffic\nledger entry 7\nnext: understudy traffic status\n"
    )
    lines = live("status").stdout.splitlines()
    assert lines[1].startswith("traffic: canary, v2 challenges v1 with 25 % of the traffic; it be")
    assert lines[-1] == "next: understudy traffic status"
    assert [w["weight"] for w in live.json("status")["traffic"]["weights"]] == [0.05, 0.25]
    assert live("traffic", "stop", "--reason", "enough").stdout == (
        "m: v2 taken out of the traffic\nledger entry 8\nnext: understudy status\n"
    )
    assert live.json("status")["traffic"] is None
    assert "traffic:" not in live("status").stdout
    told = [line.split("tester", 1)[1] for line in live("history").stdout.splitlines()[-4:-1]]
    assert [" ".join(line.split()) for line in told] == [
        "v2 challenges: canary, 5 % of the traffic try it",
        "v2 gets 25 % of the traffic",
        "v2 taken out of the traffic enough",
    ]
    assert "m: sound\n" in live("verify").stdout


@pytest.mark.parametrize(("mode", "weight"), [("canary", 0.05), ("ab", 0.5), ("shadow", 1.0)])
def test_the_usual_shares_as_json(live: Shell, mode: str, weight: float) -> None:
    dry = live.json("traffic", mode, "2", "--dry-run")
    assert live.json("status")["traffic"] is None
    done = live.json("traffic", mode, "2")
    assert (done["action"], done["mode"], done["weight"]) == ("traffic", mode, weight)
    assert (dry.pop("dry_run"), done.pop("dry_run")) == (True, False)
    assert (dry.pop("ledger_entry"), done.pop("ledger_entry")) == (None, 6)
    assert dry == done
    assert live.json("status")["traffic"]["weight"] == weight


@pytest.mark.parametrize("written", ["7%", "7 %", " 0.07", ".07", "7e-2"])
def test_ways_to_write_a_weight(written: str) -> None:
    assert share(written) == 0.07


def test_steps_are_in_the_rule_and_the_first_is_the_weight(live: Shell) -> None:
    found = live.json("traffic", "canary", "2", "--steps", "5%,25%, 0.5,100%", "--dry-run")
    assert (found["weight"], found["rule"]["steps"]) == (0.05, [0.05, 0.25, 0.5, 1.0])
    params(live, steps=[0.1, 0.4], minimum=7)
    found = live.json("traffic", "canary", "2", "--dry-run")
    assert (found["weight"], found["rule"]["steps"], found["rule"]["minimum"]) == (
        0.1,
        [0.1, 0.4],
        7,
    )
    assert live.json("traffic", "canary", "2", "--weight", "20%", "--dry-run")["weight"] == 0.2
    found = live.json("traffic", "shadow", "2", "--dry-run")
    assert (found["weight"], found["rule"]["steps"]) == (1.0, [])


def test_options_change_the_rule_of_one_experiment(live: Shell) -> None:
    params(live, metric="brier", alpha=0.01, margin=0.02)
    words = ("--metric", "error", "--minimum", "50", "--wait-days", "2")
    rule = live.json("traffic", "ab", "2", *words)["rule"]
    assert (rule["metric"], rule["minimum"], rule["wait_days"]) == ("error", 50, 2.0)
    assert (rule["alpha"], rule["margin"]) == (0.01, 0.02)
    assert live.json("status")["traffic"]["rule"] == rule
    params(live, alpha=0.4)  # what was agreed stays
    assert live.json("traffic", "status")["traffic"]["rule"] == rule
    assert (
        "agreed: labels decide; it is good where its error loss is at most 0.02 more; after at "
        "least 50 units; within 2 days; a wrong verdict has a chance of 0.01 at the most\n"
    ) in live("traffic", "status").stdout


def test_the_same_from_python(live: Shell) -> None:
    import understudy
    from registry.errors import RuleRefused

    assert understudy.traffic() is None
    understudy.challenge(2, mode="shadow", reason="look", actor="ana")
    assert understudy.reweigh(0.5).number == 7
    now = understudy.traffic()
    assert now is not None
    assert (now.mode, now.weight, now.challenger) == ("shadow", 0.5, 2)
    assert understudy.stop_traffic(dry_run=True).number is None
    understudy.stop_traffic(verdict={"decision": "wait"})
    assert evidence(live)["experiment"] == {"decision": "wait"}
    with pytest.raises(RuleRefused, match="only a canary has steps, and this is ab"):
        understudy.challenge(2, mode="ab", steps=(0.1,))
    with pytest.raises(RuleRefused, match=r"unknown key experiment\.metrik; experiment has metric"):
        understudy.challenge(2, rule={"metrik": "error"})


# what is refused


SHARE = "a weight of {} is no share; it lies above 0 and {} 1, as 0.05 or 5%"
NONE = (
    "all traffic of m goes to one version; `understudy traffic canary VERSION --weight 5%` lets "
    "another one try"
)
DOCS = "; docs/parameters.md says what `experiment` may hold"
REFUSALS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "nothing": (("canary", "2", "--weight", "0"), SHARE.format(0, "below")),
    "less than nothing": (("ab", "2", "--weight", "-5%"), SHARE.format(-0.05, "below")),
    "more than all": (("shadow", "2", "--weight", "150%"), SHARE.format(1.5, "up to")),
    "a percentage without its sign": (("canary", "2", "--weight", "5"), SHARE.format(5, "below")),
    "more than there is": (("canary", "2", "--weight", "1e999"), SHARE.format("inf", "below")),
    "all of an A/B test": (
        ("ab", "2", "--weight", "100%"),
        SHARE.format(1, "below") + "; all of the traffic is a promotion",
    ),
    "the champion": (
        ("ab", "1"),
        "version 1 of m is in Production; the challenger is to be another one",
    ),
    "an archived version": (
        ("canary", "3"),
        "version 3 of m is archived and cannot get traffic; "
        "`understudy promote 3 --to staging` takes it out of the archive first",
    ),
    "no version": (("shadow", "9"), "m has no version 9; it has 1, 2, 3"),
    "another share of nothing": (("weight", "25%"), NONE),
    "the end of nothing": (("stop",), NONE),
    "steps that shrink": (
        ("canary", "2", "--steps", "50%,5%"),
        "no experiment can begin with this: experiment.steps is (0.5, 0.05): steps are weights "
        f"above 0 and up to 1 that grow{DOCS}",
    ),
    "a step beyond all": (
        ("canary", "2", "--steps", "5%,500%"),
        "no experiment can begin with this: experiment.steps is (0.05, 5.0): steps are weights "
        f"above 0 and up to 1 that grow{DOCS}",
    ),
    "a weight that is not the first step": (
        ("canary", "2", "--weight", "10%", "--steps", "5%,25%"),
        f"no experiment can begin with this: the weight is 0.1 and the first step 0.05{DOCS}",
    ),
    "a loss without its scale": (
        ("ab", "2", "--metric", "absolute"),
        "no experiment can begin with this: experiment: metric `absolute` needs `scale`, the "
        f"distance that counts as a whole loss{DOCS}",
    ),
    "a chance that is none": (
        ("ab", "2", "--alpha", "2"),
        "no experiment can begin with this: experiment.alpha is 2.0: input should be less than or "
        f"equal to 0.5{DOCS}",
    ),
    "a wait without end": (
        ("ab", "2", "--wait-days", "inf"),
        "no experiment can begin with this: experiment.wait_days is inf: input should be a finite "
        f"number{DOCS}",
    ),
    "a gate that is none": (
        ("ab", "2", "--override", "luck", "--reason", "why not"),
        "there is no gate 'luck'; there are location, intact, lineage, loads, signature, floor, "
        "not_worse, slices, serves, latency",
    ),
    "an override without a reason": (
        ("ab", "2", "--override", "signature"),
        "a gate is not overridden: an override needs a reason, --reason says it",
    ),
    "a program's canary": (
        ("canary", "2", "--actor", "auto:cron"),
        "auto:cron may not do this (v2 challenges: canary, 5 % of the traffic): only where "
        "params.yaml says `gate.automation: canary` or `production` may it give a challenger "
        "traffic",
    ),
    "a model that does not exist": (
        ("status", "--model", "other"),
        "no registered model 'other'; there are: m",
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_cannot_be_ends_with_1_and_a_sentence_and_changes_nothing(
    live: Shell, what: str
) -> None:
    arguments, sentence = REFUSALS[what]
    before = database(live).read_bytes()
    assert live.refused("traffic", *arguments) == sentence
    assert database(live).read_bytes() == before


def test_what_is_no_weight(live: Shell) -> None:
    at_first = database(live).read_bytes()
    live("traffic", "canary", "2")
    before = database(live).read_bytes()
    assert before != at_first  # so that would be noticed
    for weight in ("nan", "five", "0,05", "5%%", "", "--nope"):
        said = live("traffic", "weight", weight, code=2).stderr
        assert f"{weight!r} is no weight; it is written as 5% or 0.05" in said
    said = live("traffic", "canary", "2", "--steps", "5%,,25%", code=2).stderr
    assert "'' is no weight; it is written as 5% or 0.05" in said
    assert live.refused("traffic", "weight", "-5%") == SHARE.format(-0.05, "below")
    assert database(live).read_bytes() == before


def test_two_experiments_at_once(live: Shell) -> None:
    live("traffic", "shadow", "2")
    live("promote", "3", "--to", "staging")
    before = live.json("history")
    for version in ("2", "3"):
        assert live.refused("traffic", "canary", version) == (
            "version 2 of m gets traffic already (shadow); `understudy traffic stop` ends that, "
            "`understudy traffic weight` changes its share"
        )
    assert live.refused("traffic", "weight", "100%") == (
        "version 2 of m gets 100 % already; there is nothing to do"
    )
    assert live.json("history") == before


def test_no_champion(registered: Shell) -> None:
    assert registered.refused("traffic", "canary", "2") == (
        "no version of m is in Production, so none can be challenged; "
        "`understudy promote VERSION --to production` comes first"
    )
    shown = registered("traffic", "status").stdout
    assert shown == "no experiment goes on\nnext: understudy traffic canary VERSION\n"


def test_a_challenger_that_callers_do_not_fit(live: Shell, store: Any) -> None:
    from tests.registry.test_judge import Bench, changed_signature

    def more(files: Path) -> None:
        with changed_signature(files) as parts:
            parts["inputs"].append({"name": "c", "type": "double", "required": True})

    folder = live.root / "bench"
    folder.mkdir()
    number, _ = Bench(store, live.tiny, folder).enter_copy("good", more)
    roots = json.dumps([str(folder), store.experiment_location(live.tiny.runs["good"])])
    params(live, f"skip: [loads], roots: {roots}")
    before = database(live).read_bytes()
    assert live.refused("traffic", "shadow", str(number)) == (
        f"version {number} of m gets no traffic: gate signature: callers of Production v1 would "
        "break: input c is required, and callers do not send it; nothing was changed"
    )
    assert database(live).read_bytes() == before
    words = ("--override", "signature", "--reason", "they will send it")
    assert "gate signature: overridden" in live("traffic", "shadow", str(number), *words).stdout


def test_a_contradiction_in_params_is_told_before_anything_is_written(live: Shell) -> None:
    params(live, metric="absolute")
    before = live.json("history")
    assert live.refused("traffic", "ab", "2") == (
        "params.yaml: experiment: metric `absolute` needs `scale`, the distance that counts as a "
        "whole loss"
    )
    assert live.json("history") == before
    params(live, metric="absolute", scale=60)
    assert live.json("traffic", "ab", "2")["rule"]["scale"] == 60


# what the gateways nearby have found


def test_without_a_gateway_the_ledger_is_told_and_serve_named(live: Shell) -> None:
    live("traffic", "canary", "2", "--steps", "10%,50%")
    live("traffic", "weight", "50%")
    lines = live("traffic", "status").stdout.splitlines()
    assert lines[0].startswith("canary, v2 challenges v1 with 50 % of the traffic; it began 20")
    assert lines[1].startswith("weights: 10 % from 20")
    assert ", 50 % from 20" in lines[1]
    assert lines[2:] == [
        "agreed: no labels are awaited; it is good where at most 0.01 more of its answers fail; "
        "after at least 200 units; within 30 days; a wrong verdict has a chance of 0.05 at the "
        "most; steps 10 %, 50 %, each after 200 units",
        "no gateway of this project runs here, so no traffic is split here",
        "next: understudy serve",
    ]
    assert live.json("traffic", "status")["gateways"] == []


def test_the_verdict_in_words(live: Shell, gateway: Gateway) -> None:
    live("traffic", "ab", "2", "--weight", "25%", "--minimum", "120")
    assert f"gateway at {gateway.address}\n  it knows nothing of this experiment yet\n" in (
        live("traffic", "status").stdout
    )
    gateway.report = report(problem="labels cannot be read: the disk is full")
    verdict = gateway.report["verdict"]
    assert verdict["decision"] == "wait"
    shown = live("traffic", "status").stdout
    lines = shown.partition(f"gateway at {gateway.address}\n")[2].splitlines()
    low, high = verdict["interval"]
    assert lines == [
        "  units: 300 of v1, 100 of v2; 100 of v2 count, 120 are needed",
        f"  verdict: wait: {verdict['reason']}",
        f"  about {verdict['more']:,} more requests are likely needed",
        f"  difference: between {max(low, -1):+.4f} and {high:+.4f} (challenger minus champion); "
        "good enough: below 0.01",
        *(f"  {f['name']}: no: {f['sentence']}" for f in verdict["findings"]),
        "  problem: labels cannot be read: the disk is full",
        "next: understudy traffic status",
    ]
    found = live.json("traffic", "status")
    assert found["gateways"] == [{"address": gateway.address, "report": gateway.report}]
    assert found["traffic"]["experiment"] == gateway.report["experiment"]


def test_a_verdict_against_it_names_the_way_out_and_goes_into_the_ledger(
    live: Shell, gateway: Gateway
) -> None:
    live("traffic", "ab", "2", "--weight", "25%")
    gateway.report = report(failing=60)
    verdict = gateway.report["verdict"]
    assert verdict["decision"] == "abort"
    lines = live("traffic", "status").stdout.splitlines()
    assert f"  verdict: abort: {verdict['reason']}" in lines
    assert any(line.startswith("  errors: yes: 60 of 100 answers") for line in lines)
    assert lines[-1] == "next: understudy traffic stop"
    live("traffic", "stop", "--dry-run")
    done = live("traffic", "stop").stdout
    assert f"the gateway at {gateway.address} follows\n" in done
    assert gateway.seen[-1] == "POST /admin/refresh"
    assert evidence(live)["experiment"] == verdict
    gateway.report |= {"ended": True, "decided": "aborted"}
    shown = live("traffic", "status").stdout
    assert shown.startswith(f"no experiment goes on\ngateway at {gateway.address}\n")
    assert "  the last experiment: ab, v2 against v1, ended\n" in shown
    assert shown.endswith("  decided: aborted\nnext: understudy traffic canary VERSION\n")


def test_a_promotion_keeps_what_the_experiment_has_shown(live: Shell, gateway: Gateway) -> None:
    live("traffic", "ab", "2", "--weight", "25%", "--minimum", "50")
    gateway.report = report(answers=8000)
    verdict = gateway.report["verdict"]
    assert verdict["decision"] == "promote"
    last = live("traffic", "status").stdout.splitlines()[-1]
    assert last == "next: understudy promote 2 --to production"
    second = Gateway(live, "two")
    try:
        second.report = {**report(), "judged": 1}  # it has seen less, and is not believed first
        live("promote", "2", "--to", "production", "--dry-run")
        live("promote", "2", "--to", "production")
    finally:
        second.close()
    assert evidence(live)["experiment"] == verdict
    assert evidence(live)["gate"]["passed"] is True
    assert live.json("status")["traffic"] is None


def test_a_canary_with_steps_is_led_to_the_next_one_before_its_promotion(
    live: Shell, gateway: Gateway
) -> None:
    live("traffic", "canary", "2", "--steps", "25%,50%,100%", "--minimum", "50")
    gateway.report = report(answers=8000)
    assert gateway.report["verdict"]["decision"] == "promote"
    last = live("traffic", "status").stdout.splitlines()[-1]
    assert last == "next: understudy traffic weight 50%"
    live("traffic", "weight", "50%")
    last = live("traffic", "status").stdout.splitlines()[-1]
    assert last == "next: understudy promote 2 --to production"


def test_what_ends_an_experiment_besides_says_so_before_and_after(live: Shell) -> None:
    live("traffic", "canary", "2")
    ends = "v2 archived, which ends the canary of v2 beside v1"
    assert f"would do: {ends}\n" in live("archive", "2", "--dry-run").stdout
    assert live.json("archive", "2", "--dry-run")["ends"]["challenger"] == 2
    assert f"m: {ends}\n" in live("archive", "2").stdout
    assert ends in live("history").stdout


def test_a_promotion_of_another_or_on_strange_evidence_keeps_none(
    live: Shell, gateway: Gateway
) -> None:
    live("traffic", "ab", "2", "--weight", "25%")
    gateway.report = report()
    live("promote", "2", "--to", "staging")
    assert "experiment" not in evidence(live)
    gateway.report["experiment"] = "0" * 64  # of another time
    assert "it knows nothing of this experiment yet" in live("traffic", "status").stdout
    live("promote", "2", "--to", "production")
    assert "experiment" not in evidence(live)


def test_after_a_promotion_that_goes_wrong_the_way_back_is_named(
    live: Shell, gateway: Gateway
) -> None:
    live("traffic", "ab", "2", "--weight", "25%")
    guarding = report(failing=60, mode="guard")
    live("promote", "2", "--to", "production")
    gateway.report = {**guarding, "experiment": "guard-7"}
    shown = live("traffic", "status").stdout
    assert "  v2 is guarded after its promotion, beside the former v1\n" in shown
    assert shown.endswith("next: understudy rollback\n")
    gateway.report["ended"] = True
    assert live("traffic", "status").stdout.endswith("next: understudy traffic canary VERSION\n")


@pytest.mark.parametrize("said", [b"", b"[]", b'{"models": []}', b'{"models": {"m": 3}}', b"{}"])
def test_a_gateway_that_says_nothing_sensible(live: Shell, gateway: Gateway, said: bytes) -> None:
    live("traffic", "canary", "2")
    gateway.said = said or b" "
    shown = live("traffic", "status").stdout
    assert "it does not answer" in shown
    found = live.json("traffic", "status")["gateways"]
    assert found == [{"address": gateway.address, "report": None}]
    live("traffic", "stop")


def test_a_gateway_that_is_gone(live: Shell) -> None:
    gone = Gateway(live)
    gone.close()
    live("traffic", "canary", "2")
    shown = live("traffic", "status").stdout
    assert f"gateway at {gone.address}\n  it does not answer (" in shown
    live("traffic", "stop")


def test_help_is_quick_and_names_what_is_below(environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["understudy", "traffic", "--help"],
        env={**environment, "PYTHONPROFILEIMPORTTIME": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    for name in ("canary", "ab", "shadow", "weight", "stop", "status"):
        assert f"\n  {name} " in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "cli.options" in imported
    assert not imported & {"mlflow", "pandas", "numpy", "pydantic", "understudy"}
