"""What Prometheus is told of the newest window."""

from __future__ import annotations

from pathlib import Path

from monitoring.findings import Estimate, Finding, Judged, Measured, Quality
from monitoring.gauges import COLUMNS, Gauges


def finding(kind: str, column: str, effect: float, *, found: bool = True) -> Finding:
    return Finding(kind, column, "wasserstein", effect, 0.1, found, False, "it moved")


def window(number: int, *found: Finding, labelled: int = 50) -> Judged:
    metrics = (Measured("roc_auc", 0.7, 0.6, 0.8, labelled),) if labelled else ()
    return Judged(
        "m", number, 10.0 * number, 10.0 * number + 10, 100, 2, found,
        (Quality(2, 100, labelled, 0, metrics=metrics),), (Estimate(2, 100, {"roc_auc": 0.72}),),
    )  # fmt: skip


def shown(gauges: Gauges, *windows: Judged, action: str = "nothing") -> str:
    gauges.show("m", windows, {"action": action}, muted=False, unsent=2, problem=False)
    return gauges.text().decode()


def test_the_newest_window_and_the_newest_labels() -> None:
    gauges = Gauges()
    text = shown(
        gauges, window(1, finding("drift", "a", 0.5)),
        window(2, finding("drift", "a", 0.05, found=False), finding("score", "", 0.3), labelled=0),
        action="alert",
    )  # fmt: skip
    for line in (
        'understudy_monitor_drift{column="a",measure="wasserstein",model="m"} 0.05',
        'understudy_monitor_drift{column="answer",measure="wasserstein",model="m"} 0.3',
        'understudy_monitor_finding{column="a",kind="drift",model="m"} 0.0',
        'understudy_monitor_performance{metric="roc_auc",model="m",version="2"} 0.7',
        'understudy_monitor_estimate{metric="roc_auc",model="m",version="2"} 0.72',
        'understudy_monitor_label_coverage{model="m",version="2"} 0.0',
        'understudy_monitor_decision{action="alert",model="m"} 1.0',
        'understudy_monitor_decision{action="nothing",model="m"} 0.0',
        'understudy_monitor_window_end_seconds{model="m"} 30.0',
        'understudy_monitor_unsent_alerts{model="m"} 2.0',
    ):
        assert line in text.splitlines()


def test_what_the_window_before_had_is_gone() -> None:
    gauges = Gauges()
    shown(gauges, window(1, finding("drift", "old", 0.5)))
    text = shown(gauges, window(2, finding("drift", "new", 0.5)))
    assert 'column="new"' in text
    assert 'column="old"' not in text


def test_of_very_many_features_some_are_shown() -> None:
    many = [finding("drift", f"f{n:04}", 0.5) for n in range(COLUMNS + 200)]
    text = shown(Gauges(), window(1, *many))
    assert text.count("understudy_monitor_drift{") == COLUMNS


def test_before_there_is_any_window() -> None:
    text = shown(Gauges())
    assert "understudy_monitor_last_check_seconds{" in text
    assert "understudy_monitor_window_rows{" not in text


def test_the_file_is_there_whole(tmp_path: Path) -> None:
    gauges = Gauges()
    shown(gauges, window(1))
    gauges.write(tmp_path / "monitor.prom")
    assert (tmp_path / "monitor.prom").read_bytes() == gauges.text()
    assert [p.name for p in tmp_path.iterdir()] == ["monitor.prom"]
