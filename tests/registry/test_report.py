"""The gate report: complete, escaped, self-contained, and the numbers of its pictures."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from registry import gate, metrics, quality, report, report_plots
from registry.gate import Check
from registry.metrics import Truth
from registry.problems import Problem
from registry.quality import Scored
from registry.report import Facts, Measured
from registry.sections import GateParams

EVIL = "<script>alert('x')</script>\"&$1_{"
PARAMS = GateParams(resamples=100, slices={"place": 0.1}, slice_rows=5, margin=0.05)


def facts(champion: int | None = 3) -> Facts:
    return Facts(EVIL, 4, champion, {"git_commit": EVIL, "data_md5": "a" * 32}, "d" * 64, "")


def scored(problem: Problem, *, champion: bool = True, rows: int = 60) -> Scored:
    random = np.random.default_rng(0)
    table = pd.DataFrame({"place": [EVIL if n % 2 else "日本" for n in range(rows)]})
    if problem == "regression":
        truth = Truth(problem, random.normal(size=rows))
        sides = [truth.labels + random.normal(size=rows) for _ in range(2)]
    else:
        classes = ("a", EVIL) if problem == "binary" else ("a", "b", EVIL)
        codes = np.arange(rows) % len(classes)
        labels = np.asarray(classes, dtype=object)[codes]
        truth = Truth(problem, labels, classes, EVIL if problem == "binary" else None)
        raw = [random.random((rows, len(classes))) for _ in range(2)]
        sides = [r / r.sum(axis=1, keepdims=True) for r in raw]
    metric = metrics.get("mae" if problem == "regression" else "accuracy", problem)
    return Scored(metric, truth, table, sides[0], sides[1] if champion else None, 3)


def measured(of: Scored) -> Measured:
    found, _ = quality.cut(of, PARAMS)
    return Measured(of, quality.compare(of, PARAMS), tuple(found))


class Tags(HTMLParser):
    """Collects the tags of a page, and checks that each is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes a tag, which has no handler of events."""
        assert not any(name.startswith("on") for name, _ in attrs)
        self.seen.append(tag)
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Takes away the tag that is closed."""
        assert self.open.pop() == tag


@pytest.mark.parametrize("problem", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("champion", [True, False])
def test_a_page_is_well_formed_and_holds_nothing_that_runs(
    problem: Problem, champion: bool
) -> None:
    verdict = gate.verdict(
        [
            Check("floor", False, EVIL, 0.5, 0.75),
            Check("latency", False, "slow", 12.5, 9),
            gate.skipped("lineage"),
        ],
        ["latency"],
    )
    page = report.page(facts(), verdict, PARAMS, measured(scored(problem, champion=champion)))
    tags = Tags(page)
    assert tags.open == []
    assert "script" not in tags.seen
    assert tags.seen.count("img") == (3 if champion else 1)
    assert EVIL not in page
    assert "refused by 1 gate, 1 refusal overridden" in page
    for word in ("floor", "0.5000", "0.7500", "12.5 ms", ">skipped<", ">overridden<", ">refused<"):
        assert word in page
    for picture in re.findall(r'src="([^"]*)"', page):
        assert picture.startswith("data:image/svg+xml;base64,")
        assert b"<script" not in base64.b64decode(picture.partition(",")[2])


def test_the_same_numbers_give_the_same_bytes() -> None:
    verdict, one = gate.verdict([]), measured(scored("binary"))
    pages = {report.page(facts(), verdict, PARAMS, one) for _ in range(2)}
    assert len(pages) == 1


def test_without_numbers_there_are_the_gates_and_the_lineage() -> None:
    page = report.page(facts(None), gate.verdict([Check("floor", True, "fine")]), PARAMS)
    assert "<img" not in page
    assert "nothing is in Production yet" in page
    assert "passed the gates" in page


def test_a_calibrated_model_lies_on_the_line() -> None:
    random = np.random.default_rng(1)
    share = random.random(20_000)
    labels = np.where(random.random(20_000) < share, "b", "a").astype(object)
    truth = Truth("binary", labels, ("a", "b"), "b")
    of = Scored(metrics.get("brier", "binary"), truth, pd.DataFrame(), None)
    x, y, below, above = report_plots.curve(of, np.c_[1 - share, share])
    assert len(x) == report_plots.BINS
    assert np.abs(x - y).max() < 0.04
    assert ((y - below <= x) & (x <= y + above)).mean() >= 0.8


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_few_rows_still_make_a_curve(rows: int) -> None:
    of = scored("regression", rows=rows)
    assert of.candidate is not None
    assert report_plots.curve(of, of.candidate).shape == (4, rows)
