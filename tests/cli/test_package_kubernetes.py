"""`understudy package kubernetes` as a person meets it: from decision to decision, to a commit."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from delivery.kubernetes import packaging
from delivery.kubernetes.wishes import Wishes
from registry import artifact, produced
from registry.errors import ArtifactAltered, RegistryUnreachable
from registry.sections import GATES
from registry.store import Store
from tests.cli.conftest import Shell
from tests.conftest import REPOSITORY

IMAGE = "registry.example.org/models/{model}:v{version}"
PACKAGE = ("package", "kubernetes", "--image", IMAGE)


@pytest.fixture
def live(shell: Shell, one_live: Path) -> Shell:
    """`m` with v1 in Production, v2 entered and v3 archived; no gate is asked, for that is slow."""
    shutil.copy2(one_live, shell.tiny.uri.removeprefix("sqlite:///"))
    (shell.root / "params.yaml").write_text(
        f"registry: {{model: m}}\ngate: {{skip: [{', '.join(GATES)}]}}\n"
    )
    return shell


def store(shell: Shell) -> Store:
    return Store(shell.tiny.uri)


def weights(shell: Shell) -> dict[str, int]:
    route = yaml.safe_load((shell.root / "kubernetes" / "httproute-m.yaml").read_text())
    return {b["name"]: b["weight"] for b in route["spec"]["rules"][0]["backendRefs"]}


def git(shell: Shell, *command: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.invalid")
    done = subprocess.run(
        ["git", *who, *command], cwd=shell.root, check=True, capture_output=True, text=True
    )
    return done.stdout


def test_from_decision_to_decision(live: Shell) -> None:
    """Each commit is what the decision changed, and rolling back is rendering again."""
    git(live, "init", "-q")
    ends = {"v1 alone": {"m-v1": 1}}

    def render(message: str) -> dict[str, Any]:
        found: dict[str, Any] = live.json(*PACKAGE)
        git(live, "add", "kubernetes")
        git(live, "commit", "-q", "-m", message)
        return found

    render("v1 alone")
    assert weights(live) == ends["v1 alone"]
    live("promote", "2", "--to", "staging")
    staged = render("v2 waits")
    assert len(staged["added"]) == 4
    live("promote", "2", "--to", "production")
    promoted = render("v2 in Production")
    assert weights(live) == {"m-v1": 0, "m-v2": 1}
    assert promoted["added"] == promoted["removed"] == []
    changed = git(live, "diff", "HEAD~", "--unified=0", "--", "kubernetes/*.yaml")
    lines = [line for line in changed.splitlines() if re.match("[-+][^-+]", line)]
    assert [line for line in lines if "ledger-head" not in line] == [
        "-    understudy/role: production",
        "+    understudy/role: warm",
        "-    understudy/role: staging",
        "+    understudy/role: production",
        "-      weight: 1",
        "+      weight: 0",
        "-      weight: 0",
        "+      weight: 1",
    ]
    live("rollback", "--reason", "worse at noon")
    back = render("back to v1")
    assert weights(live) == ends["v1 alone"]
    assert set(back["removed"]) == set(staged["added"])
    different = git(live, "diff", "--name-only", "HEAD~3", "--", "kubernetes/*.yaml").split()
    assert different == ["kubernetes/httproute-m.yaml", "kubernetes/kustomization.yaml"]
    lines = git(live, "diff", "--unified=0", "HEAD~3", "--", *different).splitlines()
    assert {line[:26] for line in lines if re.match("[-+][^-+]", line)} == {
        "-    understudy/ledger-hea",
        "+    understudy/ledger-hea",
    }


def test_the_same_ledger_gives_the_same_bytes_and_one_note(live: Shell) -> None:
    first = live.json(*PACKAGE)
    again = live.json(*PACKAGE)
    assert again["added"] == again["changed"] == again["removed"] == []
    assert again["run"] is None
    live(*PACKAGE, "--output", "elsewhere")
    here, there = (live.root / name for name in ("kubernetes", "elsewhere"))
    assert {p.name: p.read_bytes() for p in here.iterdir()} == {
        p.name: p.read_bytes() for p in there.iterdir()
    }
    run = store(live).run(first["run"])
    assert run.tags[produced.KIND_TAG] == "kubernetes"
    assert run.params["digest"] == first["digest"] == artifact.choose(store(live), "m").digest
    assert run.metrics == {"objects": len(first["added"]) - 1}
    noted = store(live).download_run_folder(first["run"], "manifests.yaml", live.root / "noted")
    kinds = [d["kind"] for d in yaml.safe_load_all(noted.read_text())]
    assert "HTTPRoute" in kinds
    assert "Kustomization" in kinds


def test_an_experiment(live: Shell) -> None:
    live("traffic", "canary", "2", "--weight", "5%")
    found = live.json(*PACKAGE)
    assert (found["mode"], found["weight"]) == ("canary", 0.05)
    assert found["versions"] == {"1": "production", "2": "challenger"}
    assert weights(live) == {"m-v1": 95, "m-v2": 5}
    live("traffic", "stop")
    done = live(*PACKAGE, "--image-digest", f"2=sha256:{'0' * 64}")
    said = done.stdout
    assert "note: v2 is not rendered, so its --image-digest is not used\n" in done.stderr
    assert weights(live) == {"m-v1": 1}
    assert "kubernetes holds what the ledger says of m: v1 production" in said
    assert "removed: deployment-m-v2.yaml" in said
    assert "note: registry.example.org/models/m:v1 has no digest" in said
    assert said.endswith("next: kubectl kustomize kubernetes\n")


def test_jobs_and_rules_of_the_project(live: Shell) -> None:
    params = (live.root / "params.yaml").read_text()
    (live.root / "params.yaml").write_text(
        f"{params}serve: {{records: 'postgresql://db.example.org/p'}}\n"
    )
    rules = live.root / "deploy" / "prometheus" / "rules.yml"
    rules.parent.mkdir(parents=True)
    shutil.copy2(REPOSITORY / "deploy" / "prometheus" / "rules.yml", rules)
    image = ("--project-image", "registry.example.org/project:1")
    uri = ("--retrain", "https://git.example.org/p.git")
    found = live.json("package", "kubernetes", "--form", "understudy", *image, *uri)
    made = set(found["added"])
    assert {"cronjob-m-monitor.yaml", "cronjob-m-retrain.yaml", "prometheusrule-m.yaml"} <= made
    kept = yaml.safe_load((live.root / "kubernetes" / "prometheusrule-m.yaml").read_text())
    assert kept["spec"] == yaml.safe_load(rules.read_text())
    rules.write_text("groups: {")
    again = ("package", "kubernetes", "--form", "understudy", *image, *uri)
    assert "rules.yml holds no `groups` of Prometheus rules" in live.refused(*again)
    shutil.copy2(REPOSITORY / "deploy" / "prometheus" / "rules.yml", rules)
    (live.root / "params.yaml").write_text(params)
    less = live.json("package", "kubernetes", "--form", "understudy", *image, *uri)
    assert less["removed"] == ["cronjob-m-monitor.yaml"]
    said = live("package", "kubernetes", "--form", "understudy", *image, *uri).stdout
    assert (
        "note: registry.example.org/project:1 has no digest, and a tag may be moved; "
        "--project-image may have one, NAME@sha256:..."
    ) in said


def test_what_is_refused_leaves_nothing(live: Shell) -> None:
    for options, why in (
        (("--namespace", "A"), "'A' is no namespace"),
        (("--image", "m:v1"), "names the same image for every version"),
        (("--image-digest", "x=sha256:1"), "--image-digest 'x=sha256:1' names no image"),
        (
            ("--retrain", "-c x", "--project-image", "p:1"),
            "--retrain '-c x' names no git repository",
        ),
        (("--hostname", "A"), "'A' is no host name"),
        (("--gateway-name", "A"), "'A' is no Gateway"),
        (("--model", "other"), "other"),
    ):
        assert why in live.refused(*PACKAGE, *options)
    assert not (live.root / "kubernetes").exists()
    (live.root / "kubernetes").mkdir()
    (live.root / "kubernetes" / "mine.yaml").touch()
    assert "(mine.yaml)" in live.refused(*PACKAGE)


def test_one_version_has_one_digest(live: Shell) -> None:
    digests = ("--image-digest", f"1=sha256:{'0' * 64}", "--image-digest", f"1=sha256:{'1' * 64}")
    said = live(*PACKAGE, *digests, code=2).stderr
    assert "--image-digest gives v1 two digests" in said
    live(*PACKAGE, *digests[:2], *digests[:2])


def test_nothing_in_production(registered: Shell) -> None:
    assert "Production" in registered.refused(*PACKAGE)


def test_files_that_were_altered(
    live: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = store(live)
    real = found.download_model

    def altered(source: str, folder: Path) -> Path:
        path = real(source, folder)
        (path / "MLmodel").write_text("other")
        return path

    monkeypatch.setattr(found, "download_model", altered)
    with pytest.raises(ArtifactAltered):
        packaging.package(found, "m", Wishes(image=IMAGE), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_registry_that_went_away_does_not_take_what_was_made(
    live: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = store(live)

    def gone(*_: object, **__: object) -> str:
        raise RegistryUnreachable(found.uri, "gone")

    monkeypatch.setattr(found, "publish", gone)
    done = packaging.package(found, "m", Wishes(image=IMAGE), tmp_path / "out")
    assert done.run == ""
    assert "gone" in done.unnoted
    assert json.loads((tmp_path / "out" / "understudy.json").read_text())["version"] == "1"


def test_the_commands_of_the_documentation_have_these_options(shell: Shell) -> None:
    page = (REPOSITORY / "docs" / "kubernetes.md").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in page.splitlines() if line.startswith("    understudy ")]
    assert len(lines) == 6
    for line in lines:
        shell(*shlex.split(line)[1:], "--help")
    with pytest.raises(AssertionError, match="No such option"):
        shell(*PACKAGE, "--imag", "m", "--help")
