"""A new data version is looked at before it is learnt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from monitoring import training_data
from monitoring.baseline import Baseline
from monitoring.profile import Reference
from monitoring.sections import MonitorParams
from registry.record import Record

RECORD = Record("binary", "y", ("temp", "code", "day"), "roc_auc", ("no", "yes"), "yes")
POLICY = MonitorParams(window_rows=500)


def table(days: int, start: str = "2026-01-01", seed: int = 0) -> pd.DataFrame:
    """500 rows a day: a temperature, a code, and the day of the week, which jumps every night."""
    rng = np.random.default_rng(seed)
    moments = pd.date_range(start, periods=days * 500, freq=pd.Timedelta(days=1) / 500)
    count = len(moments)
    return pd.DataFrame(
        {
            "at": moments.astype(str),
            "temp": 60 + 15 * rng.normal(size=count),
            "code": rng.choice(["UA", "B6", "DL"], count, p=[0.5, 0.3, 0.2]),
            "day": moments.dayofweek,
            "y": np.where(rng.random(count) < 0.25, "yes", "no"),
        }
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    raw = {
        "data": {
            "path": "data", "target": "y", "problem": "binary", "positive": "yes", "time": "at",
            "numeric": ["temp", "day"], "categorical": ["code"],
        }
    }  # fmt: skip
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    (tmp_path / "data").mkdir()
    return tmp_path


def problems(root: Path, rows: pd.DataFrame, *, known: int = 14) -> list[str]:
    """Of a data version whose first days are what the live version knows."""
    rows.to_csv(root / "data/rows.csv", index=False)
    old = table(known)
    baseline = Baseline(
        1, RECORD, Reference.of(old, ["temp", "day"], ["code"]), RECORD.features,
        shares={"no": 0.75, "yes": 0.25}, rows=len(old), span=(old["at"].min(), old["at"].max()),
    )  # fmt: skip
    return training_data.problems(root, baseline, POLICY)


def with_new(change: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([table(14), change], ignore_index=True)


NEW = table(7, "2026-01-15", seed=1)


def test_more_of_the_same_is_learnt_though_the_day_of_the_week_jumps(root: Path) -> None:
    assert problems(root, with_new(NEW)) == []
    assert problems(root, table(14)) == []  # nothing new


def test_a_unit_that_changed_is_named_with_its_rows(root: Path) -> None:
    changed = NEW.copy()
    changed.loc[1000:1999, "temp"] = (changed.loc[1000:1999, "temp"] - 32) * 5 / 9
    first, *_ = problems(root, with_new(changed))
    assert first.startswith("rows 1,001 to 1,500 of the new ones: temp ")


def test_a_code_that_was_renamed(root: Path) -> None:
    found = problems(root, with_new(NEW.assign(code=NEW["code"].replace("B6", "JB"))))
    assert any("code" in sentence for sentence in found)


def test_outcomes_that_turn_over(root: Path) -> None:
    turned = NEW.assign(y=NEW["y"].map({"yes": "no", "no": "yes"}))
    first, *_ = problems(root, with_new(turned))
    assert "the outcomes jump to no 0.2" in first


def test_rows_that_were_lost(root: Path) -> None:
    (found,) = problems(root, with_new(NEW).iloc[::2].iloc[:4000])
    assert found == (
        "the data version has 4,000 rows, and v1 was trained on 7,000; monitor.retrain_share asks "
        "for 70% of them"
    )


def test_rows_that_were_lost_are_not_hidden_by_new_ones(root: Path) -> None:
    halved = with_new(table(14, "2026-01-15", seed=1)).iloc[::2]
    (found,) = problems(root, halved)
    assert found == (
        "the data version has 3,500 rows of the time from 2026-01-01 to 2026-01-14, and v1 was "
        "trained on 7,000 of it; monitor.retrain_share asks for 70% of them"
    )


def test_data_of_the_last_days_only_are_compared_with_those_days(root: Path) -> None:
    last = with_new(table(14, "2026-01-15", seed=1)).iloc[3500:]
    assert problems(root, last) == []
    (found,) = problems(root, last.iloc[::2])
    assert "3,500 rows" not in found
    assert "v1 was trained on about 3,499 of it" in found


def test_few_new_rows_are_not_judged(root: Path) -> None:
    assert problems(root, with_new(NEW.head(100).assign(temp=0.0))) == []


def test_at_most_a_few_are_told(root: Path) -> None:
    broken = NEW.assign(temp=1e6, code="?", y="yes")
    assert len(problems(root, with_new(broken))) == training_data.SHOWN
