"""What runs of the project itself: its gateway, and retraining and the monitor as jobs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from delivery.docker_text import PORT, PROJECT
from delivery.kubernetes.objects import (
    COMPONENT,
    TMP,
    Document,
    Place,
    container,
    pod,
    scratch,
)
from delivery.kubernetes.route import route
from delivery.kubernetes.server import (
    Server,
    answering,
    from_namespace,
    from_prometheus,
    get,
    policy,
)
from delivery.kubernetes.wishes import Wishes
from serving import nearby

GATEWAY = "gateway"
JOB = "job"
STATE = {"name": "state", "mountPath": f"{PROJECT}/{nearby.FOLDER}"}
"""Where gateway and monitor keep what they need, which here ends with the pod."""
RETRAIN_AT, MONITOR_AT = "0 3 * * *", "*/15 * * * *"
_VOLUMES = (scratch(TMP, "10Gi"), scratch(STATE, "4Gi"))


def gateway(model: str, wishes: Wishes) -> tuple[Document, ...]:
    """The gateway that follows the ledger by itself, and what tells Prometheus of it."""
    place = Place.of(model, wishes)
    known = place.labels(GATEWAY)
    command = ["understudy", "serve", "--model", model, "--host", "0.0.0.0"]  # noqa: S104
    command += ["--port", str(PORT), "--json"]
    ready = get("/ready")  # which says yes once the live version has answered
    held = _container(
        place,
        wishes,
        GATEWAY,
        command,
        **answering(startup=ready, readiness=ready, liveness="/v2/health/live"),
    )
    server = Server(place, f"{place.name}-{GATEWAY}", known, held, _VOLUMES)
    callers = [from_namespace(wishes.parent[0]), from_prometheus()]
    backends = [{"name": server.name, "port": 80}]
    return (
        *server.documents(),
        policy(place, GATEWAY, callers, calls_out=True),
        route(model, wishes, backends, {}, []),
        _scraped(place, server.name),
        *_alerts(place, wishes),
    )


def jobs(model: str, wishes: Wishes) -> tuple[Document, ...]:
    """CronJobs: retraining where it is wished, the monitor where it has a log to look at."""
    if not wishes.project_image:
        return ()
    place = Place.of(model, wishes)
    found = []
    if wishes.retrain:
        command = ["mlflow", "run", wishes.retrain, "--env-manager", "local"]
        found.append(_cron(place, wishes, "retrain", RETRAIN_AT, command))
    if wishes.monitored:
        # 3 says that something was found, which is no failure of the job.
        check = f"understudy monitor check --model {model} || [ $? -eq 3 ]"
        found.append(_cron(place, wishes, "monitor", MONITOR_AT, ["sh", "-c", check]))
    return (*found, policy(place, JOB, [], calls_out=True)) if found else ()


def _container(
    place: Place, wishes: Wishes, name: str, command: list[str], **further: Any
) -> Document:
    """With what the Secret says of the registry: MLFLOW_TRACKING_URI, passwords, keys."""
    return container(
        name,
        wishes.project_image,
        cpu="500m",
        memory=("1Gi", "4Gi"),
        command=command,
        volumeMounts=[TMP, STATE],
        envFrom=[{"secretRef": {"name": f"{place.name}-registry"}}],
        **further,
    )


def _cron(place: Place, wishes: Wishes, name: str, at: str, command: list[str]) -> Document:
    """A job that is not begun while the last one goes on, nor tried again by itself."""
    known = place.labels(JOB)
    held = _container(place, wishes, name, command)
    job = {
        "backoffLimit": 0,
        "activeDeadlineSeconds": 6 * 3600,
        "ttlSecondsAfterFinished": 86_400,
        "template": {
            "metadata": {"labels": known},
            "spec": pod(place, held, _VOLUMES, restartPolicy="Never"),
        },
    }
    return place.object(
        ("batch/v1", "CronJob"),
        f"{place.name}-{name}",
        labels={COMPONENT: JOB},
        spec={
            "schedule": at,
            "timeZone": "Etc/UTC",
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 600,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {"spec": job},
        },
    )


def _scraped(place: Place, name: str) -> Document:
    """The ServiceMonitor; its job has the name that the alert rules know."""
    return place.object(
        ("monitoring.coreos.com/v1", "ServiceMonitor"),
        name,
        labels={COMPONENT: GATEWAY},
        spec={
            "selector": {"matchLabels": place.labels(GATEWAY)},
            "endpoints": [
                {
                    "port": "http",
                    "path": "/metrics",
                    "interval": "15s",
                    "relabelings": [{"targetLabel": "job", "replacement": "understudy-gateway"}],
                }
            ],
        },
    )


def _alerts(place: Place, wishes: Wishes) -> tuple[Document, ...]:
    if not wishes.rules:
        return ()
    groups: list[Mapping[str, Any]] = list(wishes.rules)
    kind = ("monitoring.coreos.com/v1", "PrometheusRule")
    return (place.object(kind, place.name, spec={"groups": groups}),)
