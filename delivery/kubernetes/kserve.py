"""The InferenceService of KServe, with its canary. Pure.

https://kserve.github.io/website/docs/model-serving/predictive-inference/rollout-strategies/canary
"""

from __future__ import annotations

from delivery.docker_text import PORT
from delivery.kubernetes import versions
from delivery.kubernetes.errors import FormRefused
from delivery.kubernetes.live import Live, Version
from delivery.kubernetes.objects import COMPONENT, DIGEST, VERSION, Document, Place
from delivery.kubernetes.server import REPLICAS, answering
from delivery.kubernetes.wishes import Wishes
from registry.traffic import SHADOW

CONTAINER = "kserve-container"
"""The name by which KServe knows the container that answers."""


def documents(live: Live, wishes: Wishes) -> tuple[Document, ...]:
    """One InferenceService. Raises FormRefused.

    It holds the newest version only; KServe itself remembers which one had all the traffic before,
    and gives it what the canary does not get.
    """
    place = Place.of(live.model, wishes)
    shown, percent = _shown(live)
    low, high = REPLICAS
    predictor = {
        **percent,
        "minReplicas": low,
        "maxReplicas": high,
        "serviceAccountName": place.name,
        "containers": [_container(live, shown, wishes)],
        "volumes": list(versions.VOLUMES),
    }
    known = {COMPONENT: versions.COMPONENT, VERSION: str(shown.number), DIGEST: shown.digest[:16]}
    # Not the ledger's head: KServe hands these on to the pods, and makes a new revision of each
    # change. "Serverless" is the only mode with a canary.
    said = {"serving.kserve.io/deploymentMode": "Serverless", DIGEST: shown.digest}
    return (
        place.object(
            ("serving.kserve.io/v1beta1", "InferenceService"),
            place.name,
            labels=known,
            annotations=said,
            spec={"predictor": predictor},
        ),
    )


def _shown(live: Live) -> tuple[Version, Document]:
    challenger = live.of_role("challenger")
    if live.traffic is None or challenger is None:
        return live.production, {}
    if live.traffic.mode == SHADOW:
        raise FormRefused("copies no requests to a shadow")
    percent = round(100 * live.traffic.weight)
    if percent / 100 != live.traffic.weight:
        raise FormRefused(f"shares out whole percents, and not {100 * live.traffic.weight:.7g} %")
    return challenger, {"canaryTrafficPercent": percent}


def _container(live: Live, version: Version, wishes: Wishes) -> Document:
    """As in a Deployment, without what Knative refuses unless a flag is set."""
    ask = {"exec": {"command": versions.ASK}}
    parts = answering(startup=ask, readiness=ask, liveness="/ping")
    kept = {k: v for k, v in parts.items() if k not in ("startupProbe", "lifecycle")}
    kept["ports"] = [{"containerPort": PORT}]  # whose name Knative wants to give
    return versions.held(live, version, wishes, CONTAINER, **kept)
