"""The report of a window: what it says, that it draws what was found, and that it escapes."""

from __future__ import annotations

import html
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitoring import drift, report, report_drift, report_quality, report_shapes
from monitoring import report_words as told
from monitoring.decide import Decision
from monitoring.findings import Estimate, Finding, Judged, Measured, Quality
from monitoring.profile import Profile, Reference
from monitoring.sections import DriftPolicy
from tests.serving.test_page import CHROMIUM, HOSTILE, Seen, browse, hostile, rows, said

DAY = 86_400.0
START = 1_372_636_800.0  # 1 July 2013, UTC
NOTHING = Decision("nothing").as_dict()


def found(
    kind: str, column: str = "", effect: float = 0.5, *, broken: bool = False, **more: Any
) -> Finding:
    """A finding with a threshold of 0.1; smaller effects are not found."""
    values: dict[str, Any] = {
        "measure": "share",
        "threshold": 0.1,
        "found": effect >= 0.1,
        "broken": broken,
        "sentence": f"{column or kind} is {effect:g} away",
        **more,
    }
    return Finding(kind, column, effect=effect, **values)


def performance(value: float, base: float = 0.75, metric: str = "roc_auc") -> Finding:
    worse = base - value
    return found("performance", "", worse, measure=metric, threshold=0.05, found=worse >= 0.05)


def quality(value: float, version: int = 4, metric: str = "roc_auc", **more: Any) -> Quality:
    measured = (Measured(metric, value, value - 0.02, value + 0.02, 900),)
    values: dict[str, Any] = {"rows": 1000, "labelled": 920, "unusable": 20, "metrics": measured}
    return Quality(version, **{**values, "delay": {"median": 7200.0, "p90": 90_000.0}, **more})


def window(number: int = 1, *findings: Finding, **more: Any) -> Judged:
    values: dict[str, Any] = {"rows": 1000, "version": 4, **more}
    since = START + number * DAY
    return Judged("flights", number, since, since + DAY, findings=findings, **values)


def shown(newest: Judged, decision: Mapping[str, Any] = NOTHING, *before: Judged) -> Seen:
    return Seen(report.page(newest, decision, [*before, newest], None, None))


def decided(action: Any, *reasons: str, **more: Any) -> dict[str, Any]:
    return Decision(action, reasons, **more).as_dict()


@cache
def real() -> tuple[tuple[Judged, ...], Reference, Profile]:
    """Five windows by the real detectors; in the last one a unit and a category changed."""
    drawn = np.random.default_rng(3)

    def sample(rows: int) -> pd.DataFrame:
        temp = drawn.normal(50, 10, rows)
        where = drawn.choice(["EWR", "JFK", "LGA"], rows, p=[0.5, 0.3, 0.2])
        day = drawn.integers(0, 7, rows)
        answer = drawn.beta(2, 6, rows)
        return pd.DataFrame({"temp": temp, "day": day, "where": where, "answer": answer})

    reference = Reference.of(sample(4000), ["temp", "day", "answer"], ["where"])
    windows: list[Judged] = []
    before = None
    for number in range(5):
        rows = sample(1500)
        if number == 4:
            rows["temp"] = (rows["temp"] - 32) / 1.8
            rows.loc[rows["where"] == "LGA", "where"] = "La Guardia"
            rows.loc[rows.index[:300], "day"] = None
        profile = Profile(reference)
        profile.add(rows)
        compared = drift.compare(reference, profile, before, DriftPolicy())
        value = 0.75 - 0.02 * number
        more = (performance(value),)
        windows.append(
            window(
                number,
                *compared,
                *more,
                rows=len(rows),
                quality=(quality(value),),
                estimates=(Estimate(4, 1500, {"roc_auc": value + 0.01, "brier": 0.2}, 800),),
                labels={"late": 0.2, "on_time": 0.8},
            )
        )
        before = profile
    assert before is not None
    return tuple(windows), reference, before


def real_page() -> str:
    windows, reference, profile = real()
    return report.page(windows[-1], NOTHING, windows, reference, profile)


# What it says


@pytest.mark.parametrize(
    ("newest", "decision", "level", "sentence"),
    [
        (window(1, found("drift", "temp", 0.0)), NOTHING, "good", "All is well."),
        (
            window(1, found("drift", "temp"), found("missing", "temp"), found("gone", "wind")),
            decided("alert", "temp is 0.5 away"),
            "warn",
            "2 features differ from the reference. An alert goes out.",
        ),
        (
            window(1, performance(0.6), found("estimate"), found("score")),
            decided("retrain", "it is worse"),
            "warn",
            "v4 does worse than it did on its held-out rows and the answers have moved. "
            "A retraining was decided on.",
        ),
        (
            window(1, performance(0.6)),
            decided("rollback", "it is worse"),
            "bad",
            "v4 does worse than it did on its held-out rows. A rollback to the version before "
            "was decided on.",
        ),
        (
            window(1, found("unseen", "carrier", broken=True)),
            decided("nothing", "carrier is 0.5 away", held=("muted by ana",)),
            "bad",
            "1 feature differs from the reference. 1 finding looks like a fault in the data. "
            "Nothing is done about it.",
        ),
        (
            window(1, problem="the reference is gone"),
            decided("alert", "the reference is gone"),
            "bad",
            "This window could not be judged. An alert goes out.",
        ),
        (
            window(1, found("empty", broken=True), rows=0),
            decided("alert", "empty is 0.5 away"),
            "bad",
            "Nobody asked the model anything in this window. An alert goes out.",
        ),
        (window(1, rows=17), NOTHING, "wait", "Nothing was compared in a window of 17 rows."),
        (
            window(1, found("drift", "temp", 0.0)),
            decided("alert", "labels of the week before changed"),
            "warn",
            "Nothing was found in this window. An alert goes out.",
        ),
    ],
)
def test_the_headline_says_what_was_found_and_decided(
    newest: Judged, decision: dict[str, Any], level: str, sentence: str
) -> None:
    source = report.page(newest, decision, [newest])
    text = said(Seen(source))
    assert f'class="verdict {level}"' in source
    assert text.count(sentence) == 2  # in the title, too
    for reason in (*decision["reasons"], *decision["held"]):
        assert f"{reason}." in text


def test_nothing_is_said_twice_and_faults_come_first() -> None:
    drifted = [found("drift", f"f{at}", 0.2 + at / 10) for at in range(12)]
    fault = found("missing", "z", 0.15, broken=True)
    newest = window(1, *drifted, performance(0.6), fault)
    reasons = [f.sentence for f in (*drifted, fault)]
    source = report.page(newest, decided("alert", *reasons), [newest])
    listed = re.findall(r"<li.*?</li>", source)
    texts = [html.unescape(re.sub("<.*?>", "", line)) for line in listed]
    assert texts[:3] == [f"{fault.sentence}.", f"{performance(0.6).sentence}.", "f11 is 1.3 away."]
    assert len(set(texts)) == len(texts) == report.LISTED + 1
    assert texts[-1] == f"And {14 - report.LISTED} further findings, in the table below."


def test_what_was_not_seen_often_enough_is_told() -> None:
    text = said(shown(window(1, found("drift", "temp"))))
    assert "Nothing is done about it." in text
    assert "It did not show in enough of the newest windows" in text


def test_a_decision_of_another_window_is_told() -> None:
    text = said(shown(window(3, found("drift", "temp")), decided("alert", "x", window=7)))
    assert "The decision was taken at window 7." in text


def test_the_window_and_its_labels() -> None:
    newest = window(1, quality=(quality(0.7), quality(0.72, 5, labelled=0, delay={})))
    text = said(shown(newest))
    assert "From 2 Jul 2013, 00:00 UTC" in text
    assert "to 3 Jul 2013, 00:00 UTC" in text
    assert (
        "Labels of v4 920 of 1,000 predictions (92 %), 20 of them unusable; "
        "delay: median 2 h, 90 % within 1 d 1 h" in text
    )
    assert "Labels of v5 none of 1,000 predictions so far" in text


def test_every_finding_is_in_the_table_with_its_numbers() -> None:
    windows, _, _ = real()
    source = real_page()
    table = source[source.index("All findings") :]
    cells = [
        [html.unescape(re.sub("<.*?>", "", c)) for c in re.findall(r"<t[hd].*?</t[hd]>", row)]
        for row in re.findall(r'<tr class="is-.*?</tr>', table, re.S)
    ]
    wanted = Counter(
        (f.column or told.NONE, f.kind, f.found, told.figure(f.effect), told.short(f.threshold))
        for f in windows[-1].findings
    )
    assert Counter((c[0], c[1], c[2] != "no", c[4], c[5]) for c in cells) == wanted
    order = [c[2] for c in cells]
    assert order == sorted(order, key=["looks broken", "found", "no"].index)
    assert {"looks broken", "found", "no"} == set(order)


# Every kind of window makes a page


def many() -> tuple[Judged, ...]:
    """Three windows with 300 features, of which all were found in the last one."""
    return tuple(
        window(
            number,
            *(found("drift", f"feature {at}", (at + 1) * number / 1500) for at in range(300)),
            *(found("missing", f"feature {at}", 0.0) for at in range(300)),
        )
        for number in (1, 2, 3)
    )


def states() -> dict[str, Sequence[Judged]]:
    """Histories, the newest last."""
    bare = window(2, found("drift", "temp", 0.01))
    error = Measured("rmse", 12.5, math.nan, math.inf, 40)
    outcomes = {f"class {at}": 1 / 30 for at in range(30)}
    accuracy = quality(
        0.8, metric="accuracy", slices={"where": {"JFK": Measured("accuracy", 0.8, 0.7, 0.9, 300)}}
    )
    odd = (
        found("drift", "temp", math.nan, sentence="no number"),
        found("outside", "wind", math.inf, threshold=0.0, sentence="endless"),
    )
    return {
        "real": real()[0],
        "empty": [bare, window(3, found("empty", broken=True), rows=0)],
        "never asked": [window(1, found("empty", effect=0.0), rows=0)],
        "problem": [bare, window(3, problem="the log holds no features")],
        "no labels": [window(1, found("drift", "x"), estimates=(Estimate(4, 9, {"brier": 0.2}),))],
        "regression": [window(1, quality=(quality(12.5, metrics=(error,)),), labels={"mean": 3.0})],
        "multiclass": [bare, window(3, quality=(accuracy,), labels=outcomes)],
        "many": many(),
        "odd numbers": [window(1, *odd)],
        "no time": [replace(window(1, *odd), since=-1e300, until=math.nan)],
        "promoted": [*real()[0], window(9, performance(0.8, 0.81), quality=(quality(0.8, 5),))],
    }


@pytest.mark.parametrize("name", states())
def test_every_window_makes_a_page(name: str) -> None:
    """Each tag is closed, nothing is fetched or run, and no number is written that is none."""
    history = states()[name]
    source = report.page(history[-1], NOTHING, history)
    seen = Seen(source)
    for section in ("Window", "Performance", "Drift over time", "All findings"):
        assert section in seen.text
    links = re.findall(r"(?:src|href)=[\"']?([^\"' >]+)", source)
    assert [link.split(",")[0] for link in links] == ["data:image/svg+xml"]
    assert not {"script", "img", "iframe", "object", "form"} & {tag for tag, _ in seen.tags}
    assert not re.search(r"\b(nan|inf|None)\b", source.partition("</style>")[2])
    used = set(re.findall(r"var\((--\w+)\)", source))
    assert used <= set(re.findall(r"(--\w+):", source))


def test_three_hundred_features_make_a_page_of_moderate_size() -> None:
    windows = many()
    seen = shown(windows[-1], NOTHING, *windows[:-1])
    text = said(seen)
    labels = [label for label in seen.labels if label.startswith("feature")]
    assert len(labels) == report_drift.ROWS
    assert labels[0].startswith(f"feature 299: 6.0{told.TIMES} the threshold now; found in 3 of 3")
    assert f"{300 - report_drift.ROWS} features with smaller differences are not drawn" in text
    assert sum(tag == "tr" for tag, _ in seen.tags) == 600 + 2
    hundred = [replace(windows[-1], number=n) for n in range(1, 200)]
    assert len(report.page(hundred[-1], NOTHING, hundred)) < 1_500_000


# Escaping


def test_hostile_texts_stay_texts() -> None:
    windows, _, _ = real()
    worst = window(
        9,
        *(replace(f, column=HOSTILE, sentence=HOSTILE, measure=HOSTILE) for f in windows[-1].found),
        labels={HOSTILE: 1.0},
        problem=HOSTILE,
        quality=(
            quality(0.7, metric=HOSTILE, slices={HOSTILE: {HOSTILE: quality(0.7).metrics[0]}}),
        ),
        estimates=(Estimate(4, 10, {HOSTILE: 0.5}),),
    )
    worst = replace(worst, model=HOSTILE)
    source = report.page(worst, hostile(decided("alert", "why", held=("held",))), [worst])
    seen = Seen(source)
    assert HOSTILE[:50] in seen.text
    assert not {"script", "img", "iframe", "object", "form"} & {tag for tag, _ in seen.tags}
    assert not any(k.startswith("on") for _, attributes in seen.tags for k in attributes)
    assert "<script" not in source


@example("\ud800\x00\u202e")
@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=80))
@settings(max_examples=60, deadline=None)
def test_no_name_changes_what_the_page_is_made_of(name: str) -> None:
    """The same tags with the same attributes, whatever a column, a class or a value is called."""

    def tags(named: str) -> Counter[tuple[str, tuple[str, ...]]]:
        frame = pd.DataFrame({"a": ["x", "y"] * 40, "b": range(80)})
        reference = Reference.of(frame, ["b"], ["a"])
        profile = Profile(reference)
        profile.add(frame.assign(a=["x"] * 79 + [f"{named} is unseen"]))
        newest = window(
            1,
            found("drift", "a", sentence=f"{named} moved"),
            found("missing", f"{named}.", 0.3),
            quality=(quality(0.7, slices={named: {named: quality(0.7).metrics[0]}}),),
            labels={f"{named}.": 1.0},
        )
        source = report.page(
            newest, decided("alert", f"{named} moved"), [newest], reference, profile
        )
        source.encode()
        return Counter((tag, tuple(sorted(a))) for tag, a in Seen(source).tags)

    assert tags(name) == tags("carrier")


# What is drawn is what was found


def values_of(source: str, kind: str) -> list[float]:
    """The heights of a curve, read back by the numbers beside the plot."""
    plot = source[source.index('class="canvas"') :]
    beside = re.findall(r'<span style="top:([\d.]+)%">([^<]+)</span>', plot)
    known = sorted((float(y), float(v.replace("\u2212", "-"))) for y, v in beside)
    (y_one, one), (y_other, other) = known[0], known[-1]
    path = re.search(f'<path class="{kind}" d="([^"]+)"', plot)
    assert path
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ (-?[\d.]+)", path.group(1))]
    return [one + (y - y_one) * (other - one) / (y_other - y_one) for y in heights]


def test_the_curves_are_the_numbers() -> None:
    source = report_quality.plot(real()[0], "roc_auc")
    assert values_of(source, "line") == pytest.approx([0.75, 0.73, 0.71, 0.69, 0.67], abs=1e-4)
    assert values_of(source, "guess") == pytest.approx([0.76, 0.74, 0.72, 0.7, 0.68], abs=1e-4)
    assert values_of(source, "limit") == pytest.approx([0.7], abs=1e-4)
    assert values_of(source, "held-out") == pytest.approx([0.75], abs=1e-4)
    low = [0.65, 0.67, 0.69, 0.71, 0.73]
    band = values_of(source, "band")
    assert band == pytest.approx([0.77, 0.75, 0.73, 0.71, 0.69, *low], abs=1e-4)
    assert source.count('class="dot told"') == 2  # of 0.69 and 0.67
    ticks = re.findall(r'<span style="top:([\d.]+)%">0(\.\d+)</span>', source)
    assert len(ticks) > 1
    assert sorted(ticks, key=lambda t: float(t[0])) == sorted(ticks, key=lambda t: -float(t[1]))


def test_a_lower_metric_has_its_threshold_above() -> None:
    newest = window(
        1,
        found("performance", effect=0.3, measure="log_loss", threshold=0.1),
        quality=(quality(0.8, metric="log_loss"),),
    )
    (point,) = report_quality.points([newest], "log_loss")
    assert (point.held_out, point.limit) == pytest.approx((0.5, 0.6))


def test_a_window_without_labels_leaves_a_gap_and_takes_its_version_s_threshold() -> None:
    windows = list(real()[0])
    windows[2] = replace(windows[2], quality=(), findings=(), estimates=())
    point = report_quality.points(windows, "roc_auc")[2]
    assert (point.measured, point.limit) == (None, pytest.approx(0.7))
    line = re.search('<path class="line" d="(M0[^"]+)"', report_quality.plot(windows, "roc_auc"))
    assert line
    assert line.group(1).count("M") == 2


def test_a_change_of_version_is_marked() -> None:
    history = states()["promoted"]
    history = [*history[:-1], replace(history[-1], version=5)]
    seen = shown(history[-1], NOTHING, *history[:-1])
    assert "→ v5" in seen.text


def test_the_heat_map_has_a_cell_for_each_feature_and_window() -> None:
    windows, _, _ = real()
    whole, features = report_drift.rows(windows)
    assert [row.name for row in whole] == ["the answers"]
    assert sorted(row.name for row in features) == ["day", "temp", "where"]
    newest = [row.cells[-1].ratio for row in features if row.cells[-1]]
    assert newest == sorted(newest, reverse=True)
    for row in features:
        for at, cell in enumerate(row.cells):
            own = [f for f in windows[at].findings if f.column == row.name]
            assert cell
            assert cell.found == any(f.found for f in own)
            assert cell.broken == any(f.found and f.broken for f in own)
    source = report_drift.heat_map(windows)
    source = source[: source.index("heat-key")]
    cells = [c for row in (*whole, *features) for c in row.cells if c]
    assert source.count('class="cross"') == sum(c.broken for c in cells) > 0
    assert source.count('class="sign"') == sum(c.found and not c.broken for c in cells)
    colours = Counter(re.findall(r'class="h(\d)"', source))
    assert colours == Counter(str(report_drift.step(c.ratio)) for c in cells)


def test_a_feature_that_was_not_compared_has_an_empty_cell() -> None:
    _, (row,) = report_drift.rows([window(1), window(2, found("drift", "temp"))])
    assert row.cells[0] is None
    source = report_drift.heat_map([window(1), window(2, found("drift", "temp"))])
    assert '<rect class="none"' in source


def test_what_was_not_found_does_not_look_broken() -> None:
    """A size that would look broken is not told of where it may be chance."""
    chance = found("jump", "temp", 0.9, found=False, broken=True)
    newest = window(1, chance, found("drift", "temp"), found("drift", "wind", 0.3))
    _, (row, _) = report_drift.rows([newest])
    assert row.name == "temp"
    assert row.cells[0] == report_drift.Cell(5.0, "drift", found=True, broken=False)
    text = said(shown(newest))
    assert "looks broken" not in text[text.index("All findings") :]
    assert text.rindex("wind is 0.3 away") < text.rindex("temp is 0.9 away")


# Distributions

numbers = st.floats(-1e300, 1e300) | st.integers(-3, 3).map(float)


@given(
    st.lists(numbers | st.none(), min_size=1, max_size=60),
    st.lists(numbers | st.none(), min_size=1, max_size=60),
)
@settings(max_examples=80, deadline=None)
def test_bars_of_numbers_hold_every_row(was: Any, now: Any) -> None:
    reference = Reference.of(pd.DataFrame({"x": was}, dtype=object), ["x"], [])
    profile = Profile(reference)
    profile.add(pd.DataFrame({"x": now}, dtype=object))
    found = report_shapes.shape(reference, profile, "x")
    assert found
    assert found.missing == (was.count(None) / len(was), now.count(None) / len(now))
    if was.count(None) == len(was):
        assert found.bars == ()
        return
    assert len(found.bars) <= report_shapes.BARS + 2
    assert sum(b.was for b in found.bars) == pytest.approx(1)
    assert sum(b.now for b in found.bars) == pytest.approx(float(now.count(None) < len(now)))
    assert all(b.was == 0 for b in found.bars if b.new)
    counts = profile.numeric["x"].counts
    outside = (counts[0] + counts[-1]) / max(len(now) - now.count(None), 1)
    assert sum(b.now for b in found.bars if b.new) == pytest.approx(outside)


def test_the_largest_number_there_is_has_a_bar() -> None:
    largest = 1.7976931348623157e308
    reference = Reference.of(pd.DataFrame({"x": [1.0, largest]}), ["x"], [])
    profile = Profile(reference)
    profile.add(pd.DataFrame({"x": [largest, largest, 1.0, 1.0]}))
    found = report_shapes.shape(reference, profile, "x")
    assert found
    for share in ([b.was for b in found.bars], [b.now for b in found.bars]):
        assert sum(share) == pytest.approx(1)
        assert share[-1] >= 0.5


@given(
    st.lists(st.sampled_from("abcdefghijklmnop"), min_size=1, max_size=200),
    st.lists(st.sampled_from("abcdexyz"), min_size=1, max_size=200),
)
@settings(max_examples=60, deadline=None)
def test_bars_of_categories_hold_every_row_and_show_what_is_new(was: Any, now: Any) -> None:
    reference = Reference.of(pd.DataFrame({"c": was}), [], ["c"])
    profile = Profile(reference)
    profile.add(pd.DataFrame({"c": now}))
    found = report_shapes.shape(reference, profile, "c")
    assert found
    assert len(found.bars) <= report_shapes.CATEGORIES + 1
    assert sum(b.was for b in found.bars) == pytest.approx(1)
    assert sum(b.now for b in found.bars) == pytest.approx(1)
    assert any(b.new for b in found.bars) == bool(set(now) - set(was))
    for bar in found.bars:
        if len(bar.name) == 1:
            assert bar.was == pytest.approx(was.count(bar.name) / len(was))
            assert bar.now == pytest.approx(now.count(bar.name) / len(now))


def test_a_rare_new_category_is_shown_among_many() -> None:
    was = list("abcdefghijkl") * 10
    reference = Reference.of(pd.DataFrame({"c": was}), [], ["c"])
    profile = Profile(reference)
    profile.add(pd.DataFrame({"c": [*was, "new"]}))
    found = report_shapes.shape(reference, profile, "c")
    assert found
    assert [b.name for b in found.bars if b.new] == ["new"]
    assert found.bars[-1].name == "5 others"
    assert sum(b.was for b in found.bars) == pytest.approx(1)


def test_few_values_have_a_bar_each() -> None:
    _, reference, profile = real()
    found = report_shapes.shape(reference, profile, "day")
    assert found
    assert [b.name for b in found.bars] == list("0123456")
    assert found.missing == (0.0, 0.2)


def test_numbers_are_spread_where_they_lie() -> None:
    """The mean of the bars is the mean of the values, to half a bar."""
    _, reference, _ = real()
    rows = np.random.default_rng(1).normal(58, 5, 4000)
    profile = Profile(reference)
    profile.add(pd.DataFrame({"temp": rows}))
    found = report_shapes.shape(reference, profile, "temp")
    assert found
    inner = [b for b in found.bars if re.match(r"[\d.]+ to ", b.name)]
    ends = [[float(v) for v in b.name.split(" to ")] for b in inner]
    width = ends[0][1] - ends[0][0]
    mean = sum(b.now * (lo + hi) / 2 for b, (lo, hi) in zip(inner, ends, strict=True))
    assert mean / sum(b.now for b in inner) == pytest.approx(58, abs=width / 2)


def test_the_largest_differences_are_drawn() -> None:
    seen = Seen(real_page())
    text = said(seen)
    assert "Largest differences" in text
    assert "La Guardia new" in text
    assert re.search(r"Missing: 0\s%, now 20\s%", text)
    assert sum(a.get("class") == "shape" for _, a in seen.tags) == 4  # the answers, too


# In a browser

FRAMES = """<!doctype html><link rel="icon" href="data:,"><body>%s<pre id="o"></pre><script>
onload = () => {
  o.textContent = JSON.stringify([...document.querySelectorAll('iframe')].map(f => {
    const d = f.contentDocument, wide = d.documentElement.clientWidth
    const out = [...d.querySelectorAll('body *')].filter(e => !e.closest('svg, .wide')
      && e.getBoundingClientRect().right > wide + 0.5)
    return [f.title, d.documentElement.scrollWidth - wide, out.map(e => e.className),
            d.querySelectorAll('section').length]
  }))
}</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH")
def test_nothing_is_wider_than_the_screen(tmp_path: Path) -> None:
    long = window(1, found("drift", "w" * 300, sentence="s" * 500))
    pages = {"real": real_page(), "long": report.page(long, NOTHING, [long])}
    history = states()["many"]
    pages["many"] = report.page(history[-1], NOTHING, history)
    frames = "".join(
        f'<iframe title="{name} {width}" style="width:{width}px;height:900px;border:0" '
        f'srcdoc="{html.escape(source)}"></iframe>'
        for name, source in pages.items()
        for width in (320, 390, 1200)
    )
    (tmp_path / "frames.html").write_text(FRAMES % frames)
    url = f"file://{tmp_path}/frames.html"
    done = browse(tmp_path, url, "--dump-dom", "--virtual-time-budget=3000", width=1300)
    measured = json.loads(re.search('<pre id="o">(.*?)</pre>', done.stdout, re.S)[1])  # type: ignore[index]
    assert len(measured) == 9
    for title, too_wide, out, sections in measured:
        assert (title, too_wide, out) == (title, 0, [])
        assert sections >= 4


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH")
def test_a_browser_shows_it_without_a_complaint(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(real_page())
    picture = tmp_path / "page.png"
    done = browse(tmp_path, f"file://{tmp_path}/page.html", f"--screenshot={picture}", height=3000)
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    assert rows(picture.read_bytes()) > 500
