"""What deploy/ and .github/ hold: Prometheus, Compose, systemd and GitHub take it; alerts fire."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from cli.main import main
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


# Compose


COMPOSE = DEPLOY / "compose"
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yml").read_text())
    return found


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def schema_says(name: str, *files: Path) -> None:
    """Hold files against a schema that check-jsonschema carries. Skips where it is not there."""
    if importlib.util.find_spec("check_jsonschema") is None:
        pytest.skip("check-jsonschema, which carries the schemas, is not installed")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", name, *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_compose_keeps_the_official_schema() -> None:
    schema_says("vendor.compose-spec", COMPOSE / "compose.yml")


def test_compose_is_what_docker_takes(tmp_path: Path) -> None:
    asked = ["docker", "compose", "version"]
    if shutil.which("docker") is None or subprocess.run(asked, capture_output=True).returncode:
        pytest.skip("there is no `docker compose` here")
    config = ["docker", "compose", "--file", str(COMPOSE / "compose.yml"), "--env-file"]
    filled = (COMPOSE / "env.example").read_text()
    (tmp_path / "empty").write_text(filled)
    (tmp_path / "filled").write_text(re.sub("=$", "=a-password", filled, flags=re.MULTILINE))
    for name, code in (("filled", 0), ("empty", 1)):
        command = [*config, str(tmp_path / name), "config", "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert bool(done.returncode) == bool(code), done.stderr


def test_images_are_pinned_to_a_release() -> None:
    lines = (COMPOSE / "Dockerfile").read_text().splitlines()
    images = [line.removeprefix("ARG BASE=") for line in lines if line.startswith("ARG BASE=")]
    images += [s["image"] for s in services().values() if "build" not in s]
    assert len(images) == 5
    for image in images:
        assert re.search(r":v?\d+\.\d+", image), image


def test_nothing_starts_without_its_passwords() -> None:
    text = (COMPOSE / "compose.yml").read_text()
    needed = {name for name, how, _ in VARIABLE.findall(text) if how == "?"}
    usual = {name for name, how, _ in VARIABLE.findall(text) if how == "-"}
    example = (COMPOSE / "env.example").read_text()
    assert set(re.findall(r"^(\w+)=$", example, re.MULTILINE)) == needed
    assert set(re.findall(r"^(\w+)=.+$", example, re.MULTILINE)) == usual
    for name, service in services().items():
        for key, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|_KEY", key):
                assert re.fullmatch(r"\$\{\w+:\?fill in deploy/compose/.env\}", value), (name, key)
    assert ".env" in (COMPOSE / ".gitignore").read_text().split()


def test_services_are_watched_restarted_and_published_to_this_machine_only() -> None:
    there = services()
    for name, service in there.items():
        once = name in ("buckets", "users")
        assert ("healthcheck" in service) != once, name
        assert service["restart"] == ("on-failure:5" if once else "unless-stopped")
        assert "no-new-privileges:true" in service["security_opt"], name
        assert all(port.startswith("${BIND:-127.0.0.1}:") for port in service.get("ports", ())), (
            name
        )
        for other, how in service.get("depends_on", {}).items():
            once = other in ("buckets", "users")
            wanted = "service_completed_successfully" if once else "service_healthy"
            assert how["condition"] == wanted, (name, other)


def test_what_is_mounted_is_there() -> None:
    volumes = compose()["volumes"]
    for name, service in services().items():
        for mount in service.get("volumes", ()):
            source, _, *mode = mount.split(":")
            if source.startswith("."):
                assert (COMPOSE / source).is_file(), (name, mount)
                assert mode == ["ro"], (name, mount)
            else:
                assert source in volumes, (name, mount)


def test_its_prometheus_asks_its_services_for_the_same_jobs(tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text((COMPOSE / "prometheus.yml").read_text())
    (tmp_path / "rules.yml").write_text(RULES.read_text())
    ours = yaml.safe_load((COMPOSE / "prometheus.yml").read_text())["scrape_configs"]
    plain = yaml.safe_load(CONFIG.read_text())["scrape_configs"]
    assert [job["job_name"] for job in ours] == [job["job_name"] for job in plain]
    for job in ours:
        name, _, port = job["static_configs"][0]["targets"][0].partition(":")
        assert port in services()[name]["command"], name
    promtool("check", "config", tmp_path / "prometheus.yml")


def test_grafana_finds_its_data_source_and_its_dashboard() -> None:
    mounts = dict(m.split(":")[:2] for m in services()["grafana"]["volumes"])
    (source,) = yaml.safe_load((COMPOSE / "grafana-datasources.yml").read_text())["datasources"]
    wanted = next(v for v in dashboard()["templating"]["list"] if v["name"] == "datasource")
    assert (source["type"], source["isDefault"]) == (wanted["query"], True)
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((COMPOSE / "grafana-dashboards.yml").read_text())["providers"]
    assert mounts["../grafana/understudy.json"].startswith(provider["options"]["path"] + "/")


def test_commands_in_compose_and_units_are_ones() -> None:
    commands = [s["command"] for s in services().values() if "understudy" in s.get("command", ())]
    for unit in UNITS:
        words = re.findall(r"^ExecStart=\S+/bin/(understudy .*)$", unit.read_text(), re.MULTILINE)
        commands += [line.split() for line in words]
    assert len(commands) == 4
    for words in commands:
        done = CliRunner().invoke(main, [*words[1:], "--help"])  # refuses what it does not know
        assert done.exit_code == 0, done.output


def test_the_lock_of_the_image_is_the_one_that_is_tested() -> None:
    lock = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)
    tested = dict(lock.findall((DEPLOY.parent / "requirements-dev.lock").read_text()))
    there = dict(lock.findall((COMPOSE / "server.lock").read_text()))
    wanted = (COMPOSE / "server.in").read_text().lower().split()
    assert {name: tested.get(name) for name in there} == there
    assert set(wanted) <= set(there)


def test_the_image_has_every_package_and_nothing_that_is_not_committed() -> None:
    ignored = (COMPOSE / "Dockerfile.dockerignore").read_text().splitlines()
    packages = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())
    names = {name.partition(".")[0] for name in packages["tool"]["setuptools"]["packages"]}
    kept = {line[1:] for line in ignored if line.startswith("!")}
    assert ignored[1] == "*"
    assert names <= kept
    assert all((DEPLOY.parent / name).exists() for name in kept)


# systemd


UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


def units(tmp_path: Path) -> list[Path]:
    """The units, their programs being ones that exist here."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here")
    programs = tmp_path / "bin"
    programs.mkdir()
    found = []
    for unit in sorted((DEPLOY / "systemd").iterdir()):
        text = unit.read_text()
        for path, name in re.findall(r"^ExecStart=(/\S+/bin/(\w+))", text, re.MULTILINE):
            (programs / name).write_text("#!/bin/sh\n")
            (programs / name).chmod(0o755)
            text = text.replace(f"ExecStart={path}", f"ExecStart={programs / name}")
        found.append(tmp_path / unit.name)
        found[-1].write_text(text)
    return found


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    command = ["systemd-analyze", "verify", "--man=no", *map(str, units(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    said = [line for line in done.stderr.splitlines() if str(tmp_path) in line]
    assert (done.returncode, said) == (0, [])


def test_the_services_are_confined(tmp_path: Path) -> None:
    services = [unit for unit in units(tmp_path) if unit.suffix == ".service"]
    assert len(services) == 3
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20"]
    for unit in services:
        done = subprocess.run([*command, str(unit)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout[-300:] + done.stderr


# GitHub


WORKFLOWS = sorted((DEPLOY.parent / ".github/workflows").glob("*.yml"))


def test_workflows_keep_the_official_schema_and_end() -> None:
    assert [path.stem for path in WORKFLOWS] == ["checks", "nightly", "promote"]
    schema_says("vendor.github-workflows", *WORKFLOWS)
    schema_says("custom.github-workflows-require-timeout", *WORKFLOWS)


def test_actionlint_has_nothing_to_say() -> None:
    if shutil.which("actionlint") is None:
        pytest.skip("there is no actionlint on PATH; https://github.com/rhysd/actionlint has it")
    done = subprocess.run(["actionlint", *WORKFLOWS], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_is_pinned_may_little_and_runs_nothing_that_was_typed(path: Path) -> None:
    flow = yaml.safe_load(path.read_text())
    assert flow["permissions"] == {"contents": "read"}
    assert "group" in flow["concurrency"]
    for job in flow["jobs"].values():
        assert set(job.get("permissions", {}).values()) <= {"read"}
        for step in job["steps"]:
            assert re.fullmatch(
                r"actions/[\w-]+@[0-9a-f]{40}", step.get("uses", "actions/x@" + "0" * 40)
            )
            assert "${{" not in step.get("run", ""), step  # where a sentence could be a command
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_a_promotion_waits_for_reviewers_and_is_in_the_name_of_who_asked() -> None:
    flow = yaml.safe_load((DEPLOY.parent / ".github/workflows/promote.yml").read_text())
    assert list(flow[True]) == ["workflow_dispatch"]  # YAML 1.1 reads `on` as true
    for name, job in flow["jobs"].items():
        may = [s["run"] for s in job["steps"] if "understudy promote" in s.get("run", "")]
        assert len(may) == 1
        assert ("--dry-run" in may[0]) == (name == "asked")
        assert job["environment"] == ("nightly" if name == "asked" else "production")
        assert job["env"]["UNDERSTUDY_ACTOR"] == "${{ github.actor }}"
    for path in WORKFLOWS:
        if path.stem != "promote":
            assert "understudy promote" not in path.read_text()
