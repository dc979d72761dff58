"""Manifests: valid by the official schemas, the same of the same ledger, and what the ledger says.

`UNDERSTUDY_GOLDEN=write pytest tests/delivery/test_kubernetes.py` renews the files in
golden/kubernetes; read the difference before it is committed.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from referencing import Registry, Resource

from delivery import docker_text
from delivery.kubernetes import names
from delivery.kubernetes.errors import (
    FormRefused,
    GatewayRefused,
    HostnameRefused,
    ImageDigestRefused,
    ImageMissing,
    ImageRefused,
    NamespaceRefused,
    SecretInAddress,
    WeightWithoutChallenger,
)
from delivery.kubernetes.live import Live, live
from delivery.kubernetes.manifests import KUSTOMIZATION, files, render, together, unpinned
from delivery.kubernetes.route import HEAD, shares
from delivery.kubernetes.wishes import Form, Wishes
from registry.errors import DigestUnknown, NothingInStage
from registry.stages import Stage
from registry.state import State
from registry.traffic import MODES, Traffic
from tests.conftest import REPOSITORY

GOLDEN = Path(__file__).parent / "golden" / "kubernetes"
IMAGE = "registry.example.org/models/{model}:v{version}"
PROJECT = "registry.example.org/project@sha256:" + "ab" * 32
RULE = {"name": "g", "rules": [{"alert": "A", "expr": "up == 0", "for": "1m"}]}


def digest_of(version: int) -> str:
    return f"{version:064x}"


def state(
    production: int | None = 2,
    former: tuple[int, ...] = (1,),
    staging: int | None = None,
    traffic: Traffic | None = None,
) -> State:
    stages = {1: Stage.ARCHIVED, 2: Stage.ARCHIVED, 3: Stage.NONE}
    stages |= {staging: Stage.STAGING} if staging else {}
    stages |= {production: Stage.PRODUCTION} if production else {}
    return State(MappingProxyType(stages), former, traffic=traffic)


def trial(mode: str, weight: float, challenger: int = 3) -> Traffic:
    return Traffic(2, challenger, mode, weight, "e" * 64, "2026-01-01T00:00:00Z")


def seen(found: State, model: str = "m") -> Live:
    return live(model, "f" * 64, found, digest_of)


def wishes(form: Form = "gateway", **given: Any) -> Wishes:
    return Wishes(**{"form": form, "image": IMAGE, "project_image": PROJECT, **given})


def by_name(documents: Any) -> dict[tuple[str, str], Any]:
    return {(d["kind"], d["metadata"]["name"]): d for d in documents}


def weights(documents: Any, model: str = "m") -> dict[str, int]:
    (rule,) = by_name(documents)["HTTPRoute", names.of_model(model)]["spec"]["rules"]
    return {b["name"]: b["weight"] for b in rule["backendRefs"]}


# Valid: by the official schemas, and for the three kinds that have none there, by what their
# documentation allows.


NEWEST = kubernetes_validate.utils.all_versions()[-2:]
"""The two newest releases of Kubernetes whose schemas there are, the newest last."""


@functools.cache
def schema(version: str, file: str) -> Any:
    return kubernetes_validate.utils.schema_contents(
        f"kubernetes-json-schema/v{version}-local-strict/{file}", version
    )


@functools.cache
def official(version: str, api: str, kind: str) -> jsonschema.Draft202012Validator:
    """As kubernetes_validate.validate(strict=True) does, which reads the schemas for each call."""
    group = re.sub(r"^([^./]*)(?:[.][^/]*)?/", r"\1-", api)
    found = schema(version, f"{kind.lower()}-{group}.json")
    parts = [Resource.from_contents(s) for s in (found, schema(version, "_definitions.json"))]
    registry = parts[1] @ (parts[0] @ Registry())
    return jsonschema.Draft202012Validator(found, registry=registry)


def closed(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "required": list(required),
    }


def listed(item: Any, least: int = 1, most: int = 16) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": least, "maxItems": most}


TEXT = {"type": "string", "minLength": 1, "maxLength": 253}
NAME = {"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
WEIGHT = {"type": "integer", "minimum": 0, "maximum": 1_000_000}
FRACTION = closed(
    ("numerator",),
    numerator={"type": "integer", "minimum": 0},
    denominator={"type": "integer", "minimum": 1},
)
PATH = closed(("type", "value"), type={"enum": ["Exact"]}, value={"pattern": "^/[A-Za-z0-9/_.-]*$"})
REWRITE = closed(type={"enum": ["ReplaceFullPath"]}, replaceFullPath=TEXT)
MIRROR = closed(("backendRef",), backendRef=closed(("name", "port"), name=NAME, port=PORT),
                fraction=FRACTION)  # fmt: skip
FILTER = closed(
    ("type",),
    type={"enum": ["URLRewrite", "RequestMirror"]},
    urlRewrite=closed(path=REWRITE),
    requestMirror=MIRROR,
)
RULES = closed(
    matches=listed(closed(path=PATH, method={"enum": ["POST"]}), most=64),
    filters=listed(FILTER),
    backendRefs=listed(closed(("name", "port"), name=NAME, port=PORT, weight=WEIGHT)),
)
OWN = {
    "HTTPRoute": closed(
        ("parentRefs", "rules"),
        parentRefs=listed(closed(("name",), name=TEXT, namespace=NAME), most=32),
        hostnames=listed({"pattern": r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[-a-z0-9]+)*$"}),
        rules=listed(RULES),
    ),
    "ServiceMonitor": closed(
        ("selector", "endpoints"),
        selector=closed(matchLabels={"type": "object"}),
        endpoints=listed(
            closed(
                port=TEXT,
                path=TEXT,
                interval={"pattern": "^[0-9]+s$"},
                relabelings=listed(closed(targetLabel=TEXT, replacement=TEXT)),
            )
        ),
    ),
    "PrometheusRule": closed(("groups",), groups=listed({"type": "object", "required": ["name"]})),
    "InferenceService": closed(
        ("predictor",),
        predictor={
            "type": "object",
            "properties": {
                "canaryTrafficPercent": {"type": "integer", "minimum": 0, "maximum": 100},
                "minReplicas": {"type": "integer", "minimum": 0},
                "maxReplicas": {"type": "integer", "minimum": 1},
            },
        },
    ),
}
"""By https://gateway-api.sigs.k8s.io/reference/spec, https://prometheus-operator.dev/docs/api-reference
and https://kserve.github.io/website/docs/reference/crd-api, no more of it than is rendered."""
OF_KSERVE = ("canaryTrafficPercent", "minReplicas", "maxReplicas")


def check(document: Mapping[str, Any], version: str) -> None:
    """Raises jsonschema.ValidationError, or where no schema is."""
    name = document["metadata"]["name"]
    assert re.fullmatch(NAME["pattern"], name), name
    assert len(name) <= (52 if document["kind"] == "CronJob" else 63)
    for value in document["metadata"]["labels"].values():
        assert re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", value), value
    own = OWN.get(document["kind"])
    if own is None:
        official(version, document["apiVersion"], document["kind"]).validate(document)
        return
    jsonschema.validate(document["spec"], own, jsonschema.Draft202012Validator)
    bare = {k: v for k, v in document.items() if k != "spec"}
    if document["kind"] == "InferenceService":  # the predictor is a pod's spec, and a little more
        pod = {k: v for k, v in document["spec"]["predictor"].items() if k not in OF_KSERVE}
        bare = {**bare, "spec": pod}
    official(version, "v1", "Pod").validate({**bare, "apiVersion": "v1", "kind": "Pod"})


# States and wishes


@st.composite
def states(draw: st.DrawFn) -> State:
    """Any that a ledger can lead to."""
    versions = draw(st.lists(st.integers(1, 10**6), min_size=1, max_size=6, unique=True))
    production, *others = versions
    stages = dict.fromkeys(others, Stage.ARCHIVED) | {production: Stage.PRODUCTION}
    former = tuple(draw(st.lists(st.sampled_from(others), max_size=4))) if others else ()
    goes_on = None
    if others and draw(st.booleans()):
        stages[others[0]] = draw(st.sampled_from([Stage.STAGING, Stage.NONE]))
        weight = draw(st.floats(0, 1, exclude_min=True))
        mode = draw(st.sampled_from(MODES))
        goes_on = replace(trial(mode, weight, others[0]), champion=production)
    return State(MappingProxyType(stages), former, traffic=goes_on)


MODELS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}", fullmatch=True)


@effort(max_examples=12, deadline=None)
@given(states(), MODELS, st.sampled_from(["gateway", "kserve", "understudy"]), st.booleans())
def test_whatever_the_ledger_says_is_valid(
    found: State, model: str, form: Form, full: bool
) -> None:
    further = {"retrain": "https://git.example.org/p.git", "monitored": True, "rules": [RULE],
               "hostnames": ("*.example.org", "a.example.org")} if full else {}  # fmt: skip
    asked = wishes(form, **further)
    here = seen(found, model)
    try:
        documents = render(here, asked)
    except FormRefused:
        goes_on = found.traffic
        assert form == "kserve"
        assert goes_on is not None
        assert goes_on.mode == "shadow" or round(100 * goes_on.weight) / 100 != goes_on.weight
        return
    for document in documents:
        check(document, NEWEST[-1])
    assert len(by_name(documents)) == len(documents)
    assert documents == render(seen(found, model), asked)
    told = files(here, asked, documents)
    kustomization = yaml.safe_load(told.pop(KUSTOMIZATION))
    assert kustomization["resources"] == list(told)
    assert [yaml.safe_load(text) for text in told.values()] == list(documents)


@pytest.mark.parametrize("version", NEWEST)
@pytest.mark.parametrize("form", ["gateway", "kserve", "understudy"])
def test_the_two_newest_releases_take_it(version: str, form: Form) -> None:
    asked = wishes(form, retrain="git@git.example.org:p.git", monitored=True, rules=[RULE])
    for document in render(seen(state(traffic=trial("canary", 0.05))), asked):
        check(document, version)


def test_kubernetes_validate_itself_has_nothing_to_say() -> None:
    for document in render(seen(state(staging=3)), wishes()):
        if document["kind"] not in OWN:
            kubernetes_validate.validate(document, NEWEST[-1], strict=True)


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("Deployment", lambda spec: spec.update(replica=2)),
        ("Deployment", lambda spec: spec["template"]["spec"]["containers"][0].update(ports="8080")),
        ("HorizontalPodAutoscaler", lambda spec: spec.pop("maxReplicas")),
        ("NetworkPolicy", lambda spec: spec["podSelector"].update(matchLabel={})),
        ("HTTPRoute", lambda spec: spec["rules"][0]["backendRefs"][0].update(weight=-1)),
        ("HTTPRoute", lambda spec: spec["rules"][0].update(backendRef=[])),
    ],
)
def test_the_schemas_see_what_is_wrong(kind: str, spoil: Any) -> None:
    document = next(d for d in render(seen(state()), wishes()) if d["kind"] == kind)
    spoil(document["spec"])
    with pytest.raises(jsonschema.ValidationError):
        check(document, NEWEST[-1])


# What is in them


@effort(max_examples=30, deadline=None)
@given(states())
def test_weights_are_those_of_the_ledger(found: State) -> None:
    here = seen(found)
    told = weights(render(here, wishes()))
    assert set(told) == {f"m-v{v.number}" for v in here.versions}
    whole, goes_on = sum(told.values()), found.traffic
    expected = dict.fromkeys(told, 0.0) | {f"m-v{found.production}": 1.0}
    if goes_on is not None and goes_on.mode != "shadow":
        expected[f"m-v{goes_on.challenger}"] = goes_on.weight
        expected[f"m-v{goes_on.champion}"] = 1 - goes_on.weight
        assert told[f"m-v{goes_on.challenger}"] > 0
    assert {name: part / whole for name, part in told.items()} == pytest.approx(
        expected, abs=1.1e-6
    )


@given(st.floats(0, 1, exclude_min=True))
def test_shares_are_whole_parts_and_forget_nobody(weight: float) -> None:
    rest, part = shares(weight)
    assert rest + part in (100, 10_000, 1_000_000)
    assert part > 0
    assert (rest > 0) == (weight < 1)
    assert part / (rest + part) == pytest.approx(weight, abs=1.1e-6)


@pytest.mark.parametrize(
    ("weight", "parts"),
    [(0.05, (95, 5)), (1, (0, 100)), (0.125, (8750, 1250)), (1 / 3, (666_667, 333_333)),
     (1e-12, (999_999, 1)), (1 - 1e-8, (1, 999_999))],
)  # fmt: skip
def test_shares_are_as_plain_as_they_can_be(weight: float, parts: tuple[int, int]) -> None:
    assert shares(weight) == parts


def test_a_shadow_gets_copies_and_no_share() -> None:
    part = render(seen(state(traffic=trial("shadow", 0.2))), wishes())
    whole = render(seen(state(traffic=trial("shadow", 1.0))), wishes())
    assert weights(part) == weights(whole) == {"m-v1": 0, "m-v2": 1, "m-v3": 0}

    def mirror(documents: Any) -> Any:
        return by_name(documents)["HTTPRoute", "m"]["spec"]["rules"][0]["filters"][1]

    copies = {"backendRef": {"name": "m-v3", "port": 80}}
    assert mirror(whole) == {"type": "RequestMirror", "requestMirror": copies}
    fraction = {"numerator": 20, "denominator": 100}
    assert mirror(part)["requestMirror"] == {**copies, "fraction": fraction}


def test_a_route_has_the_addresses_of_the_gateway_of_the_project() -> None:
    def matched(asked: Wishes, model: str = "My_Model.2") -> Any:
        route = by_name(render(seen(state(), model), asked))["HTTPRoute", names.of_model(model)]
        paths = [m["path"]["value"] for m in route["spec"]["rules"][0]["matches"]]
        return paths, route["spec"]["parentRefs"], route["spec"].get("hostnames")

    own = "/models/My_Model.2/invocations"
    assert matched(wishes()) == ([own], [{"name": "understudy", "namespace": "default"}], None)
    asked = wishes(gateway="infra/web", hostnames=("m.example.org",), namespace="models")
    parent = {"name": "web", "namespace": "infra"}
    assert matched(asked) == ([own, "/invocations"], [parent], ["m.example.org"])


def test_pods_may_do_nothing_and_are_asked_for_an_answer() -> None:
    for form in ("gateway", "kserve", "understudy"):
        documents = render(seen(state()), wishes(form, retrain="u", monitored=True, namespace="n"))  # type: ignore[arg-type]
        held = list(containers(documents))
        assert held
        for container in held:
            allowed = container["securityContext"]
            assert allowed["runAsNonRoot"]
            assert allowed["readOnlyRootFilesystem"]
            assert allowed["allowPrivilegeEscalation"] is False
            assert allowed["capabilities"] == {"drop": ["ALL"]}
            assert allowed["seccompProfile"] == {"type": "RuntimeDefault"}
            assert container["resources"]["limits"]["memory"]
            assert container["volumeMounts"][0]["mountPath"] == "/tmp"  # noqa: S108
            if container["name"] not in ("retrain", "monitor"):
                asks = container["readinessProbe"]
                answers = asks.get("exec") or asks["httpGet"]["path"] == "/ready"
                assert answers, "a ping says nothing of the model"
                assert container["livenessProbe"]["httpGet"]["path"] != "/ready"


def containers(part: Any) -> Any:
    if isinstance(part, dict):
        yield from part.get("containers", ())
        part = list(part.values())
    if isinstance(part, list | tuple):
        for inner in part:
            yield from containers(inner)


def test_an_image_of_other_files_than_the_ledgers_does_not_start() -> None:
    for form in ("gateway", "kserve"):
        for container in containers(render(seen(state()), wishes(form))):  # type: ignore[arg-type]
            version = int(container["image"].rpartition(":v")[2])
            assert container["env"] == [{"name": "UNDERSTUDY_DIGEST", "value": digest_of(version)}]


def test_digests_of_images_are_pinned_where_they_are_known() -> None:
    known = "sha256:" + "9" * 64
    documents = render(seen(state()), wishes(image_digests={2: known}))
    images = {c["image"] for c in containers(documents)}
    assert images == {
        f"registry.example.org/models/m:v2@{known}",
        "registry.example.org/models/m:v1",
    }
    assert unpinned(documents) == ("registry.example.org/models/m:v1",)


def test_nobody_but_the_gateway_reaches_a_model_and_it_reaches_nobody() -> None:
    policy = by_name(render(seen(state()), wishes(gateway="infra/web")))["NetworkPolicy", "m-model"]
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in policy["spec"]
    (rule,) = policy["spec"]["ingress"]
    known = {"kubernetes.io/metadata.name": "infra"}
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": known}}]
    pods = by_name(render(seen(state()), wishes()))["Deployment", "m-v2"]["spec"]["template"]
    chosen = policy["spec"]["podSelector"]["matchLabels"]
    assert chosen.items() <= pods["metadata"]["labels"].items()


def test_every_selector_finds_the_pods_of_its_own_deployment_only() -> None:
    documents = render(seen(state(staging=3)), wishes())
    pods = {
        d["metadata"]["name"]: d["spec"]["template"]["metadata"]["labels"]
        for d in documents
        if d["kind"] == "Deployment"
    }
    assert set(pods) == {"m-v1", "m-v2", "m-v3"}
    for document in documents:
        if document["kind"] in ("Service", "PodDisruptionBudget"):
            selector = document["spec"]["selector"]
            chosen = selector.get("matchLabels", selector)
            found = [name for name, labels in pods.items() if chosen.items() <= labels.items()]
            assert found == [document["metadata"]["name"]]


def test_jobs_only_where_they_have_an_image_and_something_to_do() -> None:
    def jobs(**given: Any) -> list[str]:
        documents = render(seen(state()), wishes(**given))
        return [d["metadata"]["name"] for d in documents if d["kind"] == "CronJob"]

    assert jobs() == []
    assert jobs(monitored=True, project_image="") == []
    assert jobs(retrain="u") == ["m-retrain"]
    assert jobs(retrain="u", monitored=True) == ["m-monitor", "m-retrain"]


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_a_finding_of_the_monitor_is_no_failed_job(code: int, tmp_path: Path) -> None:
    cron = by_name(render(seen(state()), wishes(monitored=True)))["CronJob", "m-monitor"]
    (held,) = containers(cron)
    (tmp_path / "understudy").write_text(f'#!/bin/sh\necho "$@"\nexit {code}\n')
    (tmp_path / "understudy").chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(held["command"], env={"PATH": path}, capture_output=True, text=True)
    assert done.stdout == "monitor check --model m\n"
    assert (done.returncode == 0) == (code in (0, 3))


# From one state of the ledger to the next


def difference(before: State, after: State) -> dict[tuple[str, str], Any]:
    """Objects that differ: what changed in them, None for what came, `gone` for what went."""
    old, new = (by_name(render(seen(s), wishes())) for s in (before, after))
    found: dict[tuple[str, str], Any] = dict.fromkeys(new.keys() - old.keys())
    found |= dict.fromkeys(old.keys() - new.keys(), "gone")
    for key in old.keys() & new.keys():
        if old[key] != new[key]:
            found[key] = dict(changes(old[key], new[key]))
    return found


def changes(old: Any, new: Any, at: str = "") -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            yield from changes(old.get(key), new.get(key), f"{at}/{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from changes(one, other, f"{at}/{number}")
    elif old != new:
        yield at, (old, new)


ROLE = "/metadata/labels/understudy/role"
BACKEND = "/spec/rules/0/backendRefs/{}/weight"


def test_a_promotion_of_what_was_in_staging_moves_weights_and_starts_nothing() -> None:
    before, after = state(1, (), staging=2), state(2, (1,))
    assert difference(before, after) == {
        ("Deployment", "m-v1"): {ROLE: ("production", "warm")},
        ("Deployment", "m-v2"): {ROLE: ("staging", "production")},
        ("HTTPRoute", "m"): {BACKEND.format(0): (1, 0), BACKEND.format(1): (0, 1)},
    }


def test_a_rollback_moves_weights_and_takes_away_what_is_over() -> None:
    found = difference(state(2, (1,)), state(1, ()))
    parts = ("Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget", "Service")
    assert {key for key, value in found.items() if value == "gone"} == {(k, "m-v2") for k in parts}
    assert found["Deployment", "m-v1"] == {ROLE: ("warm", "production")}
    ((at, (old, new)),) = found["HTTPRoute", "m"].items()
    assert at == "/spec/rules/0/backendRefs"
    assert [b["weight"] for b in old] == [0, 1]
    assert [(b["name"], b["weight"]) for b in new] == [("m-v1", 1)]
    assert len(found) == 6


def test_a_step_of_a_canary_changes_two_numbers() -> None:
    before, after = (state(traffic=trial("canary", w)) for w in (0.05, 0.25))
    assert difference(before, after) == {
        ("HTTPRoute", "m"): {BACKEND.format(1): (95, 75), BACKEND.format(2): (5, 25)}
    }


@effort(max_examples=30, deadline=None)
@given(states())
def test_no_role_touches_a_pod(found: State) -> None:
    """Or a promotion would start all pods anew, and a rollback as well."""
    here = seen(found)
    turned = replace(
        here,
        versions=tuple(replace(v, role="warm") for v in here.versions),
        traffic=None,
        head="0" * 64,
    )
    for form in ("gateway", "kserve"):
        asked = wishes(form)  # type: ignore[arg-type]
        if form == "kserve":
            here, turned = replace(here, traffic=None), turned
        old, new = (by_name(render(x, asked)) for x in (here, turned))
        for key in old:
            if key[0] == "Deployment":
                assert old[key]["spec"] == new[key]["spec"]
            elif key[0] == "InferenceService":
                assert old[key] == new[key]


def test_of_kserve_the_newest_version_with_its_percents() -> None:
    def service(goes_on: Traffic | None) -> Any:
        documents = by_name(render(seen(state(traffic=goes_on)), wishes("kserve")))
        predictor = documents["InferenceService", "m"]["spec"]["predictor"]
        return predictor["containers"][0]["image"][-2:], predictor.get("canaryTrafficPercent")

    assert service(None) == ("v2", None)
    assert service(trial("canary", 0.05)) == ("v3", 5)
    assert service(trial("ab", 0.5)) == ("v3", 50)


def test_the_gateway_of_the_project_is_the_same_whatever_the_ledger_says() -> None:
    asked = wishes("understudy", monitored=True)
    first = render(seen(state(1, ())), asked)
    assert first == render(seen(state(traffic=trial("canary", 0.1))), asked)
    monitor = by_name(first)["ServiceMonitor", "m-gateway"]["spec"]
    service = by_name(first)["Service", "m-gateway"]
    chosen = monitor["selector"]["matchLabels"]
    assert chosen.items() <= service["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]


# Names


@given(st.lists(MODELS, min_size=2, max_size=8, unique=True))
def test_names_are_legal_and_each_models_own(models: list[str]) -> None:
    made = [names.of_model(m) for m in models]
    assert len(set(made)) == len(made)
    for name in made:
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
        assert len(name) <= names.LONGEST


def test_names_stay_where_they_can_and_show_where_they_cannot() -> None:
    assert names.of_model("late-arrivals") == "late-arrivals"
    assert names.of_version("m", 12) == "m-v12"
    seen_once = {names.of_model(m) for m in ("a_b", "a.b", "A-b", "a-B", "a-b-", "a-b")}
    assert len(seen_once) == 6
    assert sum(name.startswith("a-b-") for name in seen_once) == 5
    assert names.of_model("1e3").startswith("m-1e3-")
    made = names.of_model("A" * 200)
    assert len(made) == names.LONGEST
    assert names.of_model(made) != made, "or the two would share their objects"


# What is refused


def test_nothing_in_production() -> None:
    with pytest.raises(NothingInStage, match="m"):
        seen(state(None, ()))


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (state(traffic=trial("canary", 0.1, 9)), "v9, which the ledger does not have"),
        (state(traffic=trial("canary", 0.1, 2)), "v2, which is itself in Production"),
        (state(traffic=trial("canary", 0.1, 1)), "v1, which is archived"),
        (state(1, (), traffic=trial("ab", 0.1)), "v3, beside v2, which is not in Production"),
    ],
)
def test_weights_without_a_challenger(found: State, why: str) -> None:
    with pytest.raises(WeightWithoutChallenger) as refused:
        seen(found)
    assert str(refused.value) == (
        f"the ledger gives 10 % of the traffic of m to {why}; end that with "
        "`understudy traffic stop`"
    )


@pytest.mark.parametrize("without", [1, 2, 3])
def test_a_version_without_digest(without: int) -> None:
    with pytest.raises(DigestUnknown, match=f"v{without}"):
        live(
            "m",
            "f" * 64,
            state(traffic=trial("ab", 0.5)),
            lambda n: "" if n == without else digest_of(n),
        )


def test_what_kserve_cannot_do() -> None:
    for goes_on, why in (
        (trial("shadow", 1.0), "KServe copies no requests to a shadow"),
        (trial("canary", 0.125), "KServe shares out whole percents, and not 12.5 %"),
    ):
        with pytest.raises(FormRefused) as refused:
            render(seen(state(traffic=goes_on)), wishes("kserve"))
        assert str(refused.value).startswith(f"{why}; render with --form gateway")


@pytest.mark.parametrize(
    "namespace", ["", "Models", "a_b", "-a", "a-", "a" * 64, "a.b", "ä", "a\n"]
)
def test_illegal_namespaces(namespace: str) -> None:
    with pytest.raises(NamespaceRefused, match="--namespace"):
        wishes(namespace=namespace)


@pytest.mark.parametrize("gateway", ["", "/", "a/", "/A", "a/b/c", "A", "a/b_c"])
def test_illegal_gateways(gateway: str) -> None:
    with pytest.raises(GatewayRefused, match="NAMESPACE/NAME"):
        wishes(gateway=gateway)


@pytest.mark.parametrize(
    "hostname", ["", "M.example.org", "a:80", "https://a", "*", "a.*.b", "a..b"]
)
def test_illegal_host_names(hostname: str) -> None:
    with pytest.raises(HostnameRefused, match=r"models\.example\.org"):
        wishes(hostnames=(hostname,))


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("registry.example.org/m:v1", "names the same image for every version"),
        ("registry.example.org/{model}:v{version}@sha256:" + "a" * 64, "has a digest"),
        ("registry.example.org/M:v{version}", "names no image"),
        ("https://registry.example.org/m:v{version}", "names no image"),
        ("m:{version}{oops}", "names no image"),
        ("m:v{version} ", "names no image"),
    ],
)
def test_patterns_of_images_that_do_not_do(pattern: str, why: str) -> None:
    with pytest.raises(ImageRefused) as refused:
        wishes(image=pattern)
    assert why in str(refused.value)
    assert "{version} does" in str(refused.value)


def test_images_that_nobody_named() -> None:
    with pytest.raises(ImageMissing, match=r"--image, such as .*\{version\}"):
        Wishes()
    for named in ({"form": "understudy"}, {"image": IMAGE, "retrain": "u"}):
        with pytest.raises(ImageMissing, match="--project-image"):
            Wishes(**named)
    with pytest.raises(ImageRefused, match="--project-image 'A' names no image"):
        wishes(project_image="A")


def test_a_password_does_not_go_into_git() -> None:
    with pytest.raises(SecretInAddress, match="--retrain carries a name or a password") as refused:
        wishes("understudy", retrain="https://ana:tok3n@git.example.org/p.git")
    assert "tok3n" not in str(refused.value)


@pytest.mark.parametrize("digest", ["", "sha256:12", "md5:" + "a" * 32, "SHA256:" + "a" * 64])
def test_digests_of_images_that_are_none(digest: str) -> None:
    with pytest.raises(ImageDigestRefused, match="VERSION=sha256:"):
        wishes(image_digests={1: digest})


# As a whole

ALL = {
    "canary": (
        state(traffic=trial("canary", 0.05)),
        wishes(image_digests={2: "sha256:" + "9" * 64}),
    ),
    "kserve": (state(traffic=trial("canary", 0.05)), wishes("kserve", project_image="")),
    "understudy": (
        state(),
        wishes("understudy", monitored=True, retrain="https://git.example.org/p.git", rules=[RULE]),
    ),
}


@pytest.mark.parametrize("name", ALL)
def test_they_are_as_somebody_has_read_them(name: str) -> None:
    found, asked = ALL[name]
    made = together(files(seen(found), asked, render(seen(found), asked)).values())
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("UNDERSTUDY_GOLDEN") == "write":
        path.write_text(made)
    assert made == path.read_text(), "UNDERSTUDY_GOLDEN=write renews it"


@pytest.mark.parametrize("name", sorted({*ALL, "y", "1e3"}))
def test_kubectl_reads_what_was_meant(name: str, tmp_path: Path) -> None:
    """`y` is a model's name, and no yes; a hash of digits with an e in it is no number."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not there; it renders kustomizations")
    found, asked = ALL.get(name, (state(traffic=trial("shadow", 0.5)), wishes()))
    here = live(name, "1" * 32 + "e" + "1" * 31, found, lambda n: f"{n}e" + "0" * 62)
    documents = render(here, asked)
    for file, text in files(here, asked, documents).items():
        (tmp_path / file).write_text(text)
    done = subprocess.run([kubectl, "kustomize", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert by_name(yaml.safe_load_all(done.stdout)) == by_name(documents)
    assert HEAD not in done.stdout or asked.form == "gateway"


def test_the_image_has_what_the_manifests_ask_of_it() -> None:
    facts = {"model": "m", "version": "1", "digest": digest_of(1)}
    dockerfile = docker_text.model("python:3.11-slim@sha256:" + "a" * 64, "m", facts, "3.11")
    (held,) = containers(by_name(render(seen(state()), wishes()))["Deployment", "m-v1"])
    assert f"CMD {json.dumps(held['readinessProbe']['exec']['command'])}" in dockerfile
    (given_digest,) = held["env"]
    assert f"${given_digest['name']}" in docker_text.START
    security = held["securityContext"]
    assert f"USER {security['runAsUser']}:{security['runAsGroup']}\n" in dockerfile
    assert held["ports"][0]["containerPort"] == docker_text.PORT


MODELS_OF_NPM = "UNDERSTUDY_KUBERNETES_MODELS"
VALIDATE = """
const [{ HTTPRoute }, { ServiceMonitor }, { PrometheusRule }] = await Promise.all([
  import("@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1/HTTPRoute"),
  import("@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor"),
  import("@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule"),
]);
const kinds = { HTTPRoute, ServiceMonitor, PrometheusRule };
let text = "";
for await (const part of process.stdin) text += part;
const [good, bad] = JSON.parse(text);
for (const document of good) new kinds[document.kind](document).validate();
let refused = false;
try { new kinds[bad.kind](bad).validate(); } catch (error) { refused = true; }
console.log(good.length, refused);
"""


def test_the_schemas_of_their_makers_take_route_and_monitor() -> None:
    """Of npm, as neither PyPI nor kubernetes-validate has them; of KServe's there is nothing."""
    folder, node = os.environ.get(MODELS_OF_NPM), shutil.which("node")
    if folder is None or node is None:
        pytest.skip(
            f"node, and {MODELS_OF_NPM} with a folder in which was run: npm install "
            "@kubernetes-models/gateway-api@2.0.0 @kubernetes-models/prometheus-operator@6.0.0"
        )
    states_ = [state(), state(traffic=trial("shadow", 0.2)), state(traffic=trial("canary", 0.05))]
    asked = wishes("understudy", rules=[RULE], hostnames=("*.example.org",))
    made = [d for s in states_ for w in (wishes(), asked) for d in render(seen(s), w)]
    good = [d for d in made if d["kind"] in ("HTTPRoute", "ServiceMonitor", "PrometheusRule")]
    bad = json.loads(json.dumps(good[0]))
    bad["spec"]["rules"][0]["backendRefs"][0]["weight"] = 1_000_001
    done = subprocess.run(
        [node, "--input-type=module", "-e", VALIDATE],
        input=json.dumps([good, bad]), cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == f"{len(good)} true\n", done.stderr


def test_the_overlay_of_the_documentation_changes_what_it_says(tmp_path: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not there; it renders kustomizations")
    page = (REPOSITORY / "docs" / "kubernetes.md").read_text()
    (overlay,) = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    documents = render(seen(state()), wishes())
    for folder, made in (
        ("overlay", {KUSTOMIZATION: overlay}),
        ("kubernetes", files(seen(state()), wishes(), documents)),
    ):
        (tmp_path / folder).mkdir()
        for file, text in made.items():
            (tmp_path / folder / file).write_text(text)
    command = [kubectl, "kustomize", str(tmp_path / "overlay")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, after = by_name(documents), by_name(yaml.safe_load_all(done.stdout))
    memory = "/spec/template/spec/containers/0/resources/limits/memory"
    assert {k: dict(changes(before[k], after[k])) for k in before if before[k] != after[k]} == {
        **{("HorizontalPodAutoscaler", f"m-v{n}"): {"/spec/minReplicas": (2, 4)} for n in (1, 2)},
        **{("Deployment", f"m-v{n}"): {memory: ("1Gi", "2Gi")} for n in (1, 2)},
    }
