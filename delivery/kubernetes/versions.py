"""A model server for each version that runs. Pure."""

from __future__ import annotations

from typing import Any

from delivery import docker_text
from delivery.kubernetes import names
from delivery.kubernetes.live import Live, Version
from delivery.kubernetes.objects import DIGEST, TMP, VERSION, Document, Place, container, scratch
from delivery.kubernetes.server import Server, answering, from_namespace, policy
from delivery.kubernetes.wishes import Wishes

COMPONENT = "model"
ASK = [f"{docker_text.VENV}/bin/python", "-I", f"{docker_text.SERVING}/healthy.py"]
"""The image's health check: it sends the model its own example, and fails without an answer."""

VOLUMES = (scratch(TMP, "64Mi", in_memory=True),)


def labels(place: Place, version: Version) -> dict[str, str]:
    """By which the pods of a version are found."""
    return {**place.labels(COMPONENT), VERSION: str(version.number)}


def held(live: Live, version: Version, wishes: Wishes, name: str, **further: Any) -> Document:
    """The container of a version's model server; at its start it holds its files against DIGEST."""
    return container(
        name,
        wishes.image_of(live.model, version.number),
        cpu="250m",
        memory=("512Mi", "1Gi"),
        volumeMounts=[TMP],
        env=[{"name": "UNDERSTUDY_DIGEST", "value": version.digest}],
        **further,
    )


def documents(live: Live, wishes: Wishes) -> tuple[Document, ...]:
    """All of them, and who may reach them: the Gateway; they reach nobody."""
    place = Place.of(live.model, wishes)
    ask = {"exec": {"command": ASK}}
    probes = answering(startup=ask, readiness=ask, liveness="/ping")
    servers = [
        Server(
            place,
            names.of_version(live.model, version.number),
            labels(place, version),
            held(live, version, wishes, COMPONENT, **probes),
            VOLUMES,
            annotations={DIGEST: version.digest},
            labels={"understudy/role": version.role, DIGEST: version.digest[:16]},
        )
        for version in live.versions
    ]
    callers = [from_namespace(wishes.parent[0])]
    return (
        *(document for server in servers for document in server.documents()),
        policy(place, COMPONENT, callers, calls_out=False),
    )
