"""Dashboard and alert rules: they name metrics that exist, Prometheus takes them, alerts fire."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.gauges import Gauges
from serving.metrics import Metrics

DEPLOY = Path(__file__).parent.parent / "deploy"
DASHBOARD = DEPLOY / "grafana" / "understudy.json"
RULES = DEPLOY / "prometheus" / "rules.yml"
CONFIG = DEPLOY / "prometheus" / "prometheus.yml"
MONITOR = {
    f"understudy_monitor_{name}"
    for name in (
        "last_check_seconds", "window_end_seconds", "window_rows", "drift", "finding", "broken",
        "performance", "estimate", "label_coverage", "decision", "problem", "muted",
        "unsent_alerts",
    )
}  # fmt: skip
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
SEVERITIES = {"critical", "warning", "info"}


def exported(text: bytes) -> set[str]:
    """The names of series that an exposition may have, also of those without any label yet."""
    found = set()
    for name, kind in re.findall(r"^# TYPE (understudy_\w+) (\w+)$", text.decode(), re.MULTILINE):
        if kind in SUFFIXES and not name.endswith("_created"):
            plain = name.removesuffix("_total")
            found |= {plain + suffix for suffix in SUFFIXES[kind]}
    return found


def known() -> set[str]:
    return exported(Metrics().text()) | MONITOR


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def asked() -> Iterator[tuple[str, str]]:
    """Every expression, with where it stands."""
    for rule in alerts():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for annotation in dashboard()["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


def promtool(*arguments: str | Path) -> None:
    """Run it. Skips where it is not there."""
    if shutil.which("promtool") is None:
        pytest.skip("there is no promtool; Debian and Ubuntu have it in the package prometheus")
    done = subprocess.run(
        ["promtool", *arguments], capture_output=True, text=True, timeout=60, cwd=RULES.parent
    )
    assert done.returncode == 0, done.stdout + done.stderr


# Names


def test_the_monitor_has_the_gauges_that_are_asked_for() -> None:
    assert exported(Gauges().text()) >= MONITOR


def test_every_metric_that_is_asked_for_exists() -> None:
    there = known()
    for where, expression in asked():
        names = set(re.findall(r"\bunderstudy_\w+", expression))
        assert names <= there, where
        assert names or "up{" in expression, where


def test_each_metric_of_the_monitor_is_shown() -> None:
    shown = " ".join(expression for _, expression in asked())
    assert [name for name in sorted(MONITOR) if name not in shown] == []


def test_labels_in_legends_and_groupings_are_those_of_the_metrics() -> None:
    labels = {"model", "version", "status", "kind", "column", "rule", "measure", "metric"}
    labels |= {"action", "job", "instance", "le"}
    for where, expression in asked():
        for group in re.findall(r"\b(?:by|on|without) \(([^)]*)\)", expression):
            assert {name.strip() for name in group.split(",")} <= labels, where
    for panel in panels():
        for target in panel["targets"]:
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels


# The dashboard


def test_the_dashboard_has_what_grafana_needs_to_load_it() -> None:
    found = dashboard()
    assert found["uid"] == "understudy"
    assert found["title"]
    assert found["schemaVersion"] >= 36
    assert "id" not in found  # Grafana gives one; another dashboard's would be overwritten
    variables = {v["name"]: v for v in found["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    assert variables["model"]["datasource"]["uid"] == "${datasource}"
    ids = [panel["id"] for panel in found["panels"]]
    assert len(ids) == len(set(ids))
    for panel in panels():
        assert panel["title"]
        assert panel["description"]
        assert panel["type"] in ("stat", "timeseries", "table")
        assert panel["targets"]
        assert len({t["refId"] for t in panel["targets"]}) == len(panel["targets"])
        for source in (panel, *panel["targets"]):
            assert source["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_panels_lie_beside_one_another_and_within_the_width() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_prometheus_can_read_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    expressions = [expression for _, expression in asked()]
    plain = [e.replace("$__rate_interval", "1m").replace("$model", "m") for e in expressions]
    rules = [{"record": f"panel:{n}", "expr": expression} for n, expression in enumerate(plain)]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", file)


# The rules


def test_prometheus_takes_rules_and_config() -> None:
    promtool("check", "rules", RULES)
    promtool("check", "config", CONFIG)


def test_each_alert_says_what_is_the_case_and_what_to_do() -> None:
    found = alerts()
    assert len({rule["alert"] for rule in found}) == len(found)
    for rule in found:
        assert rule["labels"]["severity"] in SEVERITIES
        assert set(rule["annotations"]) == {"summary", "action"}
        assert all(text.endswith(".") for text in rule["annotations"].values())


def test_the_jobs_of_the_config_are_those_of_the_rules() -> None:
    jobs = {job["job_name"] for job in yaml.safe_load(CONFIG.read_text())["scrape_configs"]}
    named = {job for _, e in asked() for job in re.findall(r'job="([^"]+)"', e)}
    assert named == jobs


M = 'model="m"'
EVENTS = ("swaps", "refusals", "rehearsals", "rehearsals_failed", "looks_failed", "restarts")
CHECKED = "understudy_monitor_last_check_seconds"
HEALTHY = {
    'up{job="understudy-gateway",instance="g"}': "1xN",
    'up{job="understudy-monitor",instance="w"}': "1xN",
    f"understudy_ready{{{M}}}": "1xN",
    f"understudy_version_standing_by{{{M}}}": "2xN",
    f"understudy_rollback_ready{{{M}}}": "1xN",
    f'understudy_requests_total{{{M},version="3",status="200"}}': "0+600xN",
    f'understudy_requests_total{{{M},version="3",status="500"}}': "0+5xN",
    f"understudy_rows_total{{{M}}}": "0+600xN",
    f'understudy_refused_total{{{M},kind="BAD_REQUEST"}}': "0+600xN",
    f"understudy_request_seconds_count{{{M}}}": "0+600xN",
    f'understudy_request_seconds_bucket{{{M},le="0.005"}}': "0+590xN",
    f'understudy_request_seconds_bucket{{{M},le="1.0"}}': "0+600xN",
    f'understudy_request_seconds_bucket{{{M},le="+Inf"}}': "0+600xN",
    **{f'understudy_events_total{{{M},kind="{kind}"}}': "0xN" for kind in EVENTS},
    'understudy_records_total{kind="lost"}': "0xN",
    f'understudy_contract_violations_total{{{M},column="a",rule="min"}}': "0+5xN",
    f"{CHECKED}{{{M}}}": "0+60xN",
    f"understudy_monitor_problem{{{M}}}": "0xN",
    f"understudy_monitor_broken{{{M}}}": "0xN",
    f'understudy_monitor_finding{{{M},kind="performance",column=""}}': "0xN",
    f'understudy_monitor_finding{{{M},kind="drift",column="a"}}': "1xN",
    f'understudy_monitor_finding{{{M},kind="empty",column=""}}': "0xN",
    f'understudy_monitor_decision{{{M},action="nothing"}}': "1xN",
    f'understudy_monitor_decision{{{M},action="rollback"}}': "0xN",
    f"understudy_monitor_muted{{{M}}}": "0xN",
    f"understudy_monitor_unsent_alerts{{{M}}}": "0xN",
}
"""A sample each minute, N of them: 10 requests a second, less than 1 % in error or out of contract;
drift alone is no alert, the monitor decides what it comes to."""


def event(kind: str) -> str:
    return f'understudy_events_total{{{M},kind="{kind}"}}'


FAULTS: dict[str, dict[str, str]] = {
    "UnderstudyGatewayDown": {'up{job="understudy-gateway",instance="g"}': "0xN"},
    "UnderstudyModelDoesNotAnswer": {f"understudy_ready{{{M}}}": "0xN"},
    "UnderstudyServerErrors": {
        f'understudy_requests_total{{{M},version="3",status="500"}}': "0+7xN"
    },
    "UnderstudyOverloaded": {f'understudy_refused_total{{{M},kind="OVERLOADED"}}': "0+1xN"},
    "UnderstudySlow": {f'understudy_request_seconds_bucket{{{M},le="1.0"}}': "0+590xN",
                       f'understudy_request_seconds_bucket{{{M},le="2.5"}}': "0+600xN"},
    "UnderstudyRollbackNotReady": {f"understudy_rollback_ready{{{M}}}": "0xN"},
    "UnderstudyVersionRefused": {event("refusals"): "0x55 1xN"},
    "UnderstudyRegistryNotFollowed": {event("looks_failed"): "0+2xN"},
    "UnderstudyProcessesRestart": {event("restarts"): "0+1xN"},
    "UnderstudyPredictionsNotLogged": {'understudy_records_total{kind="lost"}': "0x57 1xN"},
    "UnderstudyContractViolations": {
        f'understudy_contract_violations_total{{{M},column="a",rule="min"}}': "0+7xN"
    },
    "UnderstudyMonitorDown": {'up{job="understudy-monitor",instance="w"}': "0xN"},
    "UnderstudyMonitorSilent": {f"{CHECKED}{{{M}}}": "-130000xN"},
    "UnderstudyMonitorProblem": {f"understudy_monitor_problem{{{M}}}": "1xN"},
    "UnderstudyDataBroken": {f"understudy_monitor_broken{{{M}}}": "1xN"},
    "UnderstudyPerformanceWorse": {
        f'understudy_monitor_finding{{{M},kind="performance",column=""}}': "1xN"
    },
    "UnderstudyMonitorDecided": {
        f'understudy_monitor_decision{{{M},action="rollback"}}': "1xN"
    },
    "UnderstudyNoTraffic": {f'understudy_monitor_finding{{{M},kind="empty",column=""}}': "1xN"},
    "UnderstudyMonitorMuted": {f"understudy_monitor_muted{{{M}}}": "1xN"},
    "UnderstudyAlertsUnsent": {f"understudy_monitor_unsent_alerts{{{M}}}": "2xN"},
}  # fmt: skip
"""What goes wrong, and the one alert that follows."""
FIRING = 'count by (alertname) (ALERTS{alertstate="firing"})'


def scenario(change: dict[str, str], *firing: str, at: str = "60m") -> dict[str, Any]:
    series = {**HEALTHY, **change}
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in firing]
    minutes = 1500 if at.endswith("h") else 60
    return {
        "interval": "1m",
        "input_series": [
            {"series": name, "values": values.replace("N", str(minutes))}
            for name, values in series.items()
        ],
        "promql_expr_test": [{"expr": FIRING, "eval_time": at, "exp_samples": samples}],
    }


def hold(tmp_path: Path, *scenarios: dict[str, Any]) -> None:
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": list(scenarios)}))
    promtool("test", "rules", file)


def test_there_is_a_fault_for_each_alert() -> None:
    assert set(FAULTS) == {rule["alert"] for rule in alerts()}
    for name, change in FAULTS.items():
        assert set(change) - set(HEALTHY) or any(change[k] != HEALTHY[k] for k in change), name


def test_each_fault_leads_to_its_alert_and_to_no_other(tmp_path: Path) -> None:
    late = {"UnderstudyMonitorMuted": "25h"}
    hold(
        tmp_path,
        scenario({}),
        *(scenario(FAULTS[name], name, at=late.get(name, "60m")) for name in FAULTS),
    )


def test_what_passes_soon_is_no_alert_but_what_is_over_or_was_judged_is_one(tmp_path: Path) -> None:
    waits = {rule["alert"]: rule.get("for") for rule in alerts()}
    early = {"1m": "0m", "2m": "1m", "5m": "4m", "10m": "9m", "15m": "14m", "30m": "29m"}
    at_once = {"VersionRefused", "ProcessesRestart", "PredictionsNotLogged"}
    at_once |= {"DataBroken", "PerformanceWorse", "MonitorDecided"}
    held = [name for name in FAULTS if name.removeprefix("Understudy") not in at_once]
    held.remove("UnderstudyMonitorMuted")  # a day
    hold(tmp_path, *(scenario(FAULTS[name], at=early[waits[name]]) for name in held))


def test_a_few_requests_are_no_share(tmp_path: Path) -> None:
    few = {name: "0+1xN" for name in HEALTHY if "_requests_total" in name}
    few |= {name: "0+1xN" for name in HEALTHY if "request_seconds" in name and "Inf" in name}
    few |= {name: "0xN" for name in HEALTHY if "_bucket" in name and "Inf" not in name}
    few |= {f"understudy_request_seconds_count{{{M}}}": "0+1xN"}
    few |= {f"understudy_rows_total{{{M}}}": "0+1xN"}
    few |= {f'understudy_contract_violations_total{{{M},column="a",rule="min"}}': "0x50 8xN"}
    hold(tmp_path, scenario(few))


def test_sentences_name_model_column_and_share(tmp_path: Path) -> None:
    name = "UnderstudyContractViolations"
    rule = next(rule for rule in alerts() if rule["alert"] == name)
    half = {f'understudy_contract_violations_total{{{M},column="a",rule="min"}}': "0+300xN"}
    labels = {"model": "m", "column": "a", "rule": "min"}
    told = scenario(half, name)
    said = "50% of the rows sent to m break `min` of column a."
    told["alert_rule_test"] = [
        {
            "eval_time": "60m",
            "alertname": name,
            "exp_alerts": [
                {
                    "exp_labels": {"severity": "warning", **labels},
                    "exp_annotations": {**rule["annotations"], "summary": said},
                }
            ],
        }
    ]
    hold(tmp_path, told)
