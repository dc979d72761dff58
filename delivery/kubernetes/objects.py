"""The parts that all objects share: names, labels, and what a pod may do. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from delivery import docker_text
from delivery.kubernetes import names
from delivery.kubernetes.wishes import Wishes

Document: TypeAlias = dict[str, Any]
"""One object of Kubernetes, or a part of one, as its YAML says it."""

USER = int(docker_text.USER.partition(":")[0])
TMP = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108 - a pod's own
"""Where every container may write."""
NAME = "app.kubernetes.io/name"
COMPONENT = "app.kubernetes.io/component"
VERSION = "app.kubernetes.io/version"
DIGEST = "understudy/digest"


@dataclass(frozen=True)
class Place:
    """A model in its namespace."""

    model: str
    namespace: str

    @classmethod
    def of(cls, model: str, wishes: Wishes) -> Place:
        """Where these wishes put the model."""
        return cls(model, wishes.namespace)

    @property
    def name(self) -> str:
        """The model's, as Kubernetes takes it."""
        return names.of_model(self.model)

    def labels(self, component: str) -> dict[str, str]:
        """By which one component's pods are found; these never change, as selectors may not."""
        return {NAME: self.name, COMPONENT: component}

    def object(
        self,
        kind: tuple[str, str],
        name: str,
        *,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        **content: Any,
    ) -> Document:
        """An object; `kind` is its apiVersion and its kind."""
        known = {NAME: self.name, "app.kubernetes.io/managed-by": "understudy", **(labels or {})}
        return {
            "apiVersion": kind[0],
            "kind": kind[1],
            "metadata": {
                "name": name,
                "namespace": self.namespace,
                "labels": known,
                "annotations": {"understudy/model": self.model, **(annotations or {})},
            },
            **content,
        }


def account(place: Place) -> Document:
    """The ServiceAccount of all pods of a model; it may do nothing."""
    kind = ("v1", "ServiceAccount")
    return place.object(kind, place.name, automountServiceAccountToken=False)


def container(
    name: str, image: str, *, cpu: str, memory: tuple[str, str], **further: Any
) -> Document:
    """A container without privileges; `memory` is what it is given and what it may not exceed.

    The processor has no limit: one would slow answers down while the node has nothing to do.
    """
    return {
        "name": name,
        "image": image,
        **further,
        "resources": {
            "requests": {"cpu": cpu, "memory": memory[0]},
            "limits": {"memory": memory[1]},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def pod(place: Place, held: Document, volumes: Sequence[Document], **further: Any) -> Document:
    """The spec of a pod with one container."""
    return {
        "serviceAccountName": place.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **further,
        "containers": [held],
        "volumes": list(volumes),
    }


def scratch(mount: Document, limit: str, *, in_memory: bool = False) -> Document:
    """The volume behind a mount, which ends with its pod."""
    medium = {"medium": "Memory"} if in_memory else {}
    return {"name": mount["name"], "emptyDir": {**medium, "sizeLimit": limit}}
