"""The HTTPRoute that shares the traffic out as the ledger says. Pure.

https://gateway-api.sigs.k8s.io/reference/spec/#httproute
"""

from __future__ import annotations

from delivery.kubernetes import names
from delivery.kubernetes.live import Live
from delivery.kubernetes.objects import Document, Place
from delivery.kubernetes.wishes import Wishes
from registry.traffic import SHADOW

HEAD = "understudy/ledger-head"
INVOCATIONS = "/invocations"
_WHOLES = (100, 10_000, 1_000_000)
"""Parts that the traffic may be cut into; more than the last one Kubernetes does not take."""


def shares(weight: float) -> tuple[int, int]:
    """The parts of the champion and of the challenger with this share of 0 to 1.

    Their sum is 100 where that tells the weight exactly, at most a million; what is rounded there
    still leaves no side without a part that the ledger gives one.
    """
    for whole in _WHOLES:
        part = round(weight * whole)
        if part / whole == weight:
            return whole - part, part
    part = min(max(part, 1), whole - 1)
    return whole - part, part


def documents(live: Live, wishes: Wishes) -> tuple[Document, ...]:
    """The route to the version servers.

    Those that wait or are kept warm are in it with weight 0: a promotion of what was in Staging and
    a rollback, change numbers and not what is there.
    """
    weights = dict.fromkeys(sorted(v.number for v in live.versions), 0)
    weights[live.production.number] = 1
    mirror: list[Document] = []
    if live.traffic is not None:
        rest, part = shares(live.traffic.weight)
        if live.traffic.mode == SHADOW:
            mirror = [_mirror(live.model, live.traffic.challenger, part, rest + part)]
        else:
            weights |= {live.traffic.champion: rest, live.traffic.challenger: part}
    backends = [
        {**_service(names.of_version(live.model, number)), "weight": weight}
        for number, weight in weights.items()
    ]
    return (route(live.model, wishes, backends, {HEAD: live.head}, mirror, INVOCATIONS),)


def route(
    model: str,
    wishes: Wishes,
    backends: list[Document],
    annotations: dict[str, str],
    filters: list[Document],
    rewritten: str | None = None,
) -> Document:
    """A model's route: at /models/MODEL/invocations, with host names of its own /invocations, too.

    These are the addresses of Understudy's gateway, so that callers need not know what answers.
    """
    place = Place.of(model, wishes)
    # Argo CD brings up what is without a wave before it lets the traffic there.
    known = {**annotations, "argocd.argoproj.io/sync-wave": "1"}
    paths = [f"/models/{model}{INVOCATIONS}", *([INVOCATIONS] if wishes.hostnames else [])]
    matches = [{"path": {"type": "Exact", "value": path}, "method": "POST"} for path in paths]
    namespace, name = wishes.parent
    change = [{"type": "URLRewrite", "urlRewrite": {"path": _full(rewritten)}}] if rewritten else []
    rule = {"matches": matches, "filters": [*change, *filters], "backendRefs": backends}
    return place.object(
        ("gateway.networking.k8s.io/v1", "HTTPRoute"),
        place.name,
        annotations=known,
        spec={
            "parentRefs": [{"name": name, "namespace": namespace}],
            **({"hostnames": list(wishes.hostnames)} if wishes.hostnames else {}),
            "rules": [{k: v for k, v in rule.items() if v}],
        },
    )


def _service(name: str) -> Document:
    return {"name": name, "port": 80}


def _full(path: str) -> Document:
    return {"type": "ReplaceFullPath", "replaceFullPath": path}


def _mirror(model: str, challenger: int, part: int, whole: int) -> Document:
    """Copies of a fraction of the requests; of all of them where nothing is said."""
    mirrored: Document = {"backendRef": _service(names.of_version(model, challenger))}
    if part < whole:
        mirrored["fraction"] = {"numerator": part, "denominator": whole}
    return {"type": "RequestMirror", "requestMirror": mirrored}
