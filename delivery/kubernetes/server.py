"""A Deployment with all that belongs to it, of a model server or of a gateway. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from delivery.docker_text import PORT
from delivery.kubernetes.objects import COMPONENT, Document, Place, pod

REPLICAS = (2, 10)
"""At least and at most. The version kept warm has as many as the live one: were they fewer, going
back to it would overload them until the autoscaler has noticed."""
BUSY = 70
"""Share in percent of the requested processor from which on there are more."""
_AREAS = ("kubernetes.io/hostname", "topology.kubernetes.io/zone")


@dataclass(frozen=True)
class Server:
    """Pods that answer at PORT."""

    place: Place
    name: str
    selector: Mapping[str, str]
    held: Document
    """The container."""
    volumes: tuple[Document, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Of the objects and the pods."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Of the Deployment alone: a change of what a pod carries would start all pods anew."""

    def documents(self) -> tuple[Document, ...]:
        """Deployment, Service, HorizontalPodAutoscaler and PodDisruptionBudget."""
        low, high = REPLICAS
        busy = {"type": "Utilization", "averageUtilization": BUSY}
        return (
            self._deployment(),
            self._object(
                ("v1", "Service"),
                {
                    "selector": dict(self.selector),
                    "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
                },
            ),
            self._object(
                ("autoscaling/v2", "HorizontalPodAutoscaler"),
                {
                    "scaleTargetRef": {
                        "apiVersion": "apps/v1",
                        "kind": "Deployment",
                        "name": self.name,
                    },
                    "minReplicas": low,
                    "maxReplicas": high,
                    "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": busy}}],
                },
            ),
            self._object(
                ("policy/v1", "PodDisruptionBudget"),
                {
                    "maxUnavailable": 1,
                    "unhealthyPodEvictionPolicy": "AlwaysAllow",
                    "selector": {"matchLabels": dict(self.selector)},
                },
            ),
        )

    def _object(self, kind: tuple[str, str], spec: Document, **labels: str) -> Document:
        known = {**self.selector, **labels}
        return self.place.object(
            kind, self.name, labels=known, annotations=self.annotations, spec=spec
        )

    def _deployment(self) -> Document:
        """Without `replicas`: they are the autoscaler's, and each apply would set them back."""
        spread = [
            {
                "maxSkew": 1,
                "topologyKey": area,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": dict(self.selector)},
            }
            for area in _AREAS
        ]
        grace = {"terminationGracePeriodSeconds": 45, "topologySpreadConstraints": spread}
        said = {"annotations": dict(self.annotations)} if self.annotations else {}
        template = {
            "metadata": {"labels": dict(self.selector), **said},
            "spec": pod(self.place, self.held, self.volumes, **grace),
        }
        return self._object(
            ("apps/v1", "Deployment"),
            {
                # The new pods answer before the old ones end.
                "strategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
                },
                "revisionHistoryLimit": 2,
                "selector": {"matchLabels": dict(self.selector)},
                "template": template,
            },
            **self.labels,
        )


def answering(*, startup: Document, readiness: Document, liveness: str) -> dict[str, Any]:
    """Port and probes of a container; `liveness` is a path that says the process is there.

    A pod takes its time to vanish from everybody's lists; until then it answers (preStop).
    """
    return {
        "ports": [{"name": "http", "containerPort": PORT}],
        "startupProbe": {**startup, "periodSeconds": 2, "timeoutSeconds": 10,
                         "failureThreshold": 90},
        "readinessProbe": {**readiness, "periodSeconds": 10, "timeoutSeconds": 10,
                           "failureThreshold": 3},
        "livenessProbe": {**get(liveness), "periodSeconds": 10, "timeoutSeconds": 5,
                          "failureThreshold": 6},
        "lifecycle": {"preStop": {"sleep": {"seconds": 10}}},
    }  # fmt: skip


def get(path: str) -> Document:
    """A probe that asks for a path."""
    return {"httpGet": {"path": path, "port": PORT}}


def policy(place: Place, component: str, callers: list[Document], *, calls_out: bool) -> Document:
    """Who may reach a component's pods, and whether these may reach anybody."""
    rule = [{"from": callers, "ports": [{"protocol": "TCP", "port": PORT}]}] if callers else []
    return place.object(
        ("networking.k8s.io/v1", "NetworkPolicy"),
        f"{place.name}-{component}",
        labels={COMPONENT: component},
        spec={
            "podSelector": {"matchLabels": place.labels(component)},
            "policyTypes": ["Ingress"] if calls_out else ["Ingress", "Egress"],
            "ingress": rule,
        },
    )


def from_namespace(namespace: str) -> Document:
    """All pods of a namespace."""
    known = {"kubernetes.io/metadata.name": namespace}
    return {"namespaceSelector": {"matchLabels": known}}


def from_prometheus() -> Document:
    """Prometheus, wherever it runs."""
    known = {"app.kubernetes.io/name": "prometheus"}
    return {"namespaceSelector": {}, "podSelector": {"matchLabels": known}}
