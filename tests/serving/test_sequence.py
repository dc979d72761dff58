"""The plot of a confidence sequence and the report of an experiment, as texts and in a browser."""

from __future__ import annotations

import math
import re
import typing
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from experiments.rule import Metric, Mode, Rule
from serving import experiment_report, sequence, state_schemas
from serving import experiment_words as told
from tests.serving import pages
from tests.serving.test_page import CHROMIUM, HOSTILE, Seen, browse, hostile, rows, said

SVG = "{http://www.w3.org/2000/svg}"
REPORTS = {
    "waiting": pages.waiting(),
    "better": pages.better(decided=pages.ASKED),
    "broken": pages.broken(),
    "guard": pages.guarded(),
    "begun": pages.experiment("shadow"),
    "one": pages.experiment(units=50, loss=(0.3, 0.2)),
}


def drawn(report: Any) -> ElementTree.Element:
    return ElementTree.fromstring(sequence.svg(report))  # noqa: S314 - our own


def texts(report: Any) -> list[str]:
    return [e.text or "" for e in drawn(report).iter(f"{SVG}text")]


def framed(report: Any) -> sequence.Frame:
    return sequence.frame(report, sequence.points(report))


def at(share: str) -> float:
    return float(share.removesuffix("%"))


# The plot


@pytest.mark.parametrize("name", REPORTS)
def test_a_file_stands_on_its_own(name: str) -> None:
    source = sequence.svg(REPORTS[name])
    root = ElementTree.fromstring(source)  # noqa: S314 - our own
    assert root[0].tag == f"{SVG}title"
    assert len(root[1].text or "") > 30
    assert "prefers-color-scheme: dark" in source
    assert not {"script", "image", "foreignObject"} & {e.tag.removeprefix(SVG) for e in root.iter()}
    assert re.findall(r"https?://[^\"]+", source) == ["http://www.w3.org/2000/svg"]
    assert "nan" not in source
    assert "inf" not in source
    used = set(re.findall(r"var\((--\w+)\)", source))
    assert used <= set(re.findall(r"(--\w+):", source))


def test_what_is_drawn_is_what_was_found() -> None:
    """The dot, the threshold and the ends of the band, read back by the numbers of the axis."""
    report = pages.waiting(margin=0.02)
    root = drawn(report)
    units, mean, low, high = report["path"][-1]
    known = {}
    for text in root.iter(f"{SVG}text"):
        if text.get("x") == "-8":
            known[float((text.text or "").replace("\u2212", "-"))] = at(text.get("y") or "")
    (one, y_one), (other, y_other) = min(known.items()), max(known.items())

    def value(y: float) -> float:
        return one + (y - y_one) * (other - one) / (y_other - y_one)

    dot = next(e for e in root.iter(f"{SVG}circle") if e.get("class") == "last")
    assert value(at(dot.get("cy") or "")) == pytest.approx(mean, abs=1e-4)
    margin = next(e for e in root.iter(f"{SVG}line") if e.get("class") == "margin")
    assert value(at(margin.get("y1") or "")) == pytest.approx(0.02, abs=1e-4)
    edge = next(e for e in root.iter(f"{SVG}path") if e.get("class") == "edge").get("d") or ""
    ends = [value(float(part.split("L")[-1].split()[1]) / 10) for part in edge.split("M")[1:]]
    assert ends == pytest.approx([high, low], abs=2e-4)
    # The horizontal axis: the dot stands at its units between the numbers.
    marks = {
        float((t.text or "").replace(",", "").replace("k", "000")): at(t.get("x") or "")
        for t in root.iter(f"{SVG}text")
        if t.get("dy") == "17"
    }
    most = max(marks)
    assert at(dot.get("cx") or "") / marks[most] == pytest.approx(units / most, abs=1e-3)


def test_the_first_wide_intervals_do_not_flatten_the_rest() -> None:
    report = pages.waiting()
    first, last = report["path"][0], report["path"][-1]
    frame = framed(report)
    assert first[3] - first[2] > 5 * (last[3] - last[2])
    assert (last[3] - last[2]) / (frame.top - frame.bottom) > 0.25
    assert frame.bottom < min(last[2], 0) <= max(last[3], 0) < frame.top


def test_where_a_verdict_is_likely_is_drawn_when_it_is_near() -> None:
    report = pages.waiting()
    more, units = report["verdict"]["more"], report["path"][-1][0]
    near = {**report, "verdict": {**report["verdict"], "more": units}}
    assert more
    assert "likely decided" in texts(near)
    assert framed(near).likely == 2 * units
    for far in (None, 100 * units):
        distant = {**report, "verdict": {**report["verdict"], "more": far}}
        assert "likely decided" not in texts(distant)
        assert framed(distant).right < 1.1 * units
    assert "likely decided" not in texts({**near, "ended": True})


def test_a_single_point_is_drawn_with_its_interval() -> None:
    root = drawn(REPORTS["one"])
    assert len(REPORTS["one"]["path"]) == 1
    assert [e.get("class") for e in root.iter(f"{SVG}line") if e.get("class") == "reach"]


def test_nothing_yet_is_said_and_not_drawn() -> None:
    assert texts(REPORTS["begun"]) == [sequence.NOTHING]
    assert "<svg" not in sequence.inline(REPORTS["begun"])


def test_in_words_it_says_what_is_seen() -> None:
    words = sequence.in_words(REPORTS["better"], sequence.points(REPORTS["better"]))
    _, mean, low, high = REPORTS["better"]["path"][-1]
    for value in (mean, low, high):
        assert f"\u2212{abs(value):.4f}" in words
    assert "It lies below the threshold 0" in words
    assert "96.5 % interval" in words
    assert "does not lie below" in sequence.in_words(
        REPORTS["waiting"], sequence.points(REPORTS["waiting"])
    )


numbers = st.floats(-1, 1)


@given(
    st.lists(st.tuples(st.integers(1, 10**9), numbers, numbers, numbers), max_size=8),
    st.floats(0, 0.99),
    st.one_of(st.none(), st.integers(0, 10**9)),
)
def test_whatever_the_numbers_are_it_is_drawn(path: Any, margin: float, more: Any) -> None:
    ordered = [[u, *sorted(v)] for u, *v in sorted(path)]
    path = [[u, mean, low, high] for u, low, mean, high in ordered]
    verdict = {**REPORTS["waiting"]["verdict"], "more": more}
    report = {**REPORTS["waiting"], "path": path, "margin": margin, "verdict": verdict}
    root = drawn(report)
    source = ElementTree.tostring(root, "unicode")
    assert not re.search(r"\b(nan|inf)\b", source)
    labels = [e.text for e in root.iter(f"{SVG}text") if e.get("dy") == "17"]
    assert not path or 2 <= len(labels) <= 6
    Seen(sequence.inline(report))


def test_what_is_no_number_is_left_out() -> None:
    path = [[1, 0.0, -1, 1], [2, math.nan, 0, 0], [3, None, 0, 0], "x", [1, 0, 0, 0], [4, 0, 0, 0]]
    assert [p.units for p in sequence.points({"path": path})] == [1, 4]


def test_a_mean_that_no_difference_can_have_is_drawn_at_the_end_of_its_interval() -> None:
    """A canary at 5 % that fails everything is stopped after a few units, of great weight each."""
    report = dict(REPORTS["broken"])
    *before, (units, _, low, _) = report["path"]
    report["path"] = [*before, [units, 1.36, low, 1.0]]
    assert sequence.points(report)[-1].mean == 1
    root = drawn(report)
    dot = next(e for e in root.iter(f"{SVG}circle") if e.get("class") == "last")
    assert 0 < at(dot.get("cy") or "") < 100


# The report


@pytest.mark.parametrize("name", REPORTS)
def test_the_report_has_verdict_rule_units_findings_and_last_values(name: str) -> None:
    report = REPORTS[name]
    text = said(Seen(experiment_report.page(report, "flights")))
    assert f"flights, {told.title(report)}" in text
    assert told.headline(report)[1] in text
    assert told.rule(report) in text
    for finding in (report["verdict"] or {}).get("findings", ()):
        drawn = report["mode"] not in sequence.PAIRED
        assert (finding["sentence"][1:] in text) == (drawn or finding["name"] != told.MISMATCH)
    for units in report["units"]:
        assert f"{units:,}" in text
    for units, *_ in report["path"][-3:]:
        assert f"{units:,}" in text


@pytest.mark.parametrize("name", REPORTS)
def test_hostile_texts_stay_texts(name: str) -> None:
    source = experiment_report.page(hostile(REPORTS[name]), HOSTILE)
    seen = Seen(source)
    assert HOSTILE in seen.text
    assert not {tag for tag, _ in seen.tags} & {"script", "img", "iframe", "object", "form"}
    assert not any(k.startswith("on") for _, attributes in seen.tags for k in attributes)
    assert "evil" not in sequence.svg(hostile(REPORTS[name]))
    assert len(experiment_report.params(hostile(REPORTS[name]))) > 5


def test_a_report_of_nothing_is_still_a_page() -> None:
    assert "Nothing to judge yet" in said(Seen(experiment_report.page({}, "flights")))
    assert experiment_report.summary({}) == {}
    assert experiment_report.params({}) == {"decision": "none"}


def test_mlflow_keeps_numbers_as_metrics_and_words_as_parameters() -> None:
    report = REPORTS["better"]
    metrics, params = experiment_report.summary(report), experiment_report.params(report)
    _, mean, low, high = report["path"][-1]
    assert (metrics["difference_mean"], metrics["difference_low"]) == (mean, low)
    assert metrics["difference_high"] == high
    assert [metrics["champion_units"], metrics["challenger_units"]] == report["units"]
    assert metrics["log_evidence_good_enough"] >= metrics["log_needed_good_enough"]
    assert all(isinstance(v, float) and math.isfinite(v) for v in metrics.values())
    assert not any("decision" in name for name in metrics)
    assert params["decision"] == "promote"
    assert params["reason"] == report["verdict"]["reason"]
    assert all(isinstance(v, str) and len(v) <= 250 for v in params.values())


# Words


@pytest.mark.parametrize(
    ("mode", "ended", "sentence"),
    [
        ("canary", False, "v5 answers 5 % of the requests, v4 the rest."),
        ("canary", True, "v5 answered 5 % of the requests, v4 the rest."),
        ("shadow", False, "v5 sees a copy of 5 % of the requests; nobody gets its answers."),
        (
            "guard",
            True,
            "v5 was guarded after its promotion: v4 saw a copy of 5 % of the requests.",
        ),
    ],
)
def test_the_setting_in_words(mode: str, ended: bool, sentence: str) -> None:
    report = {**REPORTS["begun"], "mode": mode, "ended": ended, "weight": 0.05}
    assert told.setting(report) == sentence


def test_verdicts_in_words() -> None:
    def headline(**more: Any) -> str:
        return told.headline({**REPORTS["waiting"], **more})[1]

    waiting, broken = REPORTS["waiting"]["verdict"], REPORTS["broken"]["verdict"]
    assert headline() == "Not decided yet"
    assert headline(verdict=None) == "Nothing to judge yet"
    assert headline(ended=True) == "Ended without a verdict"
    assert headline(verdict=broken) == "v5 is worse"
    late = {**waiting, "decision": "abort"}
    assert headline(verdict=late) == "Nothing was shown in time: v4 stays"
    unequal = [{**broken["findings"][0], "found": True}, *broken["findings"][1:]]
    assert broken["findings"][0]["name"] == told.MISMATCH
    assert headline(verdict={**broken, "findings": unequal}) == "The arms cannot be compared"
    good = [{**f, "found": f["name"] == told.GOOD} for f in waiting["findings"]]
    assert headline(verdict={**waiting, "findings": good}) == "Good so far"


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (None, "How many more requests it needs cannot be told yet."),
        (0, "It is about to be decided."),
        (1, "About 1 more labelled request is likely needed."),
        (3421, "About 3,500 more labelled requests are likely needed."),
    ],
)
def test_how_many_more(more: int | None, sentence: str) -> None:
    report = REPORTS["waiting"]
    assert told.needed({**report, "verdict": {**report["verdict"], "more": more}}) == sentence
    assert told.needed({**report, "ended": True}) == ""


def test_a_guard_needs_copies() -> None:
    assert re.fullmatch(
        "About [0-9]+ more copied requests are likely needed.", told.needed(REPORTS["guard"])
    )


@pytest.mark.parametrize(
    ("log", "text"),
    [(-9.0, "under 0.01"), (0.0, "1"), (math.log(200), "200"), (900.0, "over a million")],
)
def test_odds(log: float, text: str) -> None:
    assert told.odds(log) == text


def test_every_finding_has_a_question_of_its_own() -> None:
    """What experiments.evidence asks and what is shown are not to part."""
    names = {f["name"] for r in REPORTS.values() if r["verdict"] for f in r["verdict"]["findings"]}
    assert names == set(told.QUESTIONS)


# The document of the gateway


@pytest.mark.parametrize("name", REPORTS)
def test_the_schema_takes_a_report_and_no_other(name: str) -> None:
    schema = Draft202012Validator(state_schemas.EXPERIMENT)
    assert schema.is_valid(REPORTS[name])
    assert schema.is_valid(None)
    for key in REPORTS[name]:
        assert not schema.is_valid({k: v for k, v in REPORTS[name].items() if k != key})
    assert not schema.is_valid({**REPORTS[name], "path": [[1, 2, 3]]})
    assert not schema.is_valid({**REPORTS[name], "mode": "blue"})
    traffic = pages.tried(REPORTS[name])["traffic"]
    assert Draft202012Validator(state_schemas.TRAFFIC).is_valid(traffic) == (name != "guard")


def test_the_schema_knows_every_metric_and_mode() -> None:
    known = state_schemas.EXPERIMENT["properties"]
    assert set(known["metric"]["enum"]) == set(typing.get_args(Metric))
    assert set(known["mode"]["enum"]) == {*typing.get_args(Mode), "guard"}
    assert all(Rule(metric=m, scale=1.0).metric in sequence.WHAT for m in typing.get_args(Metric))


# In a browser


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH")
def test_a_browser_shows_the_file_and_the_report(tmp_path: Path) -> None:
    for name, source in (
        ("plot.svg", sequence.svg(REPORTS["waiting"])),
        ("report.html", experiment_report.page(REPORTS["better"], "flights")),
    ):
        (tmp_path / name).write_text(source, encoding="utf-8")
        picture = tmp_path / "picture.png"
        done = browse(tmp_path, (tmp_path / name).as_uri(), f"--screenshot={picture}")
        assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
        assert rows(picture.read_bytes()) > 100
