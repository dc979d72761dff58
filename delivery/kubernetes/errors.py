"""Errors of rendering manifests.

UnderstudyError
└── DeliveryError
    └── KubernetesRefused
        ├── NamespaceRefused
        ├── GatewayRefused
        ├── HostnameRefused
        ├── ImageMissing
        ├── ImageRefused
        ├── RetrainRefused
        ├── ImageDigestRefused
        ├── FormRefused
        ├── RulesRefused
        ├── WeightWithoutChallenger
        ├── FilesForeign
        └── FilesChanged
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from delivery.errors import DeliveryError


class KubernetesRefused(DeliveryError):
    """What Kubernetes would not take, or would not do as it is meant."""


class NamespaceRefused(KubernetesRefused):
    """No namespace has such a name."""

    def __init__(self, namespace: str) -> None:
        super().__init__(
            f"{namespace!r} is no namespace; small letters, digits and '-' make one, 63 at the "
            "most, with a letter or digit at both ends; name one with --namespace"
        )


class GatewayRefused(KubernetesRefused):
    """No Gateway has such a name."""

    def __init__(self, gateway: str) -> None:
        super().__init__(
            f"{gateway!r} is no Gateway; it is named NAME or NAMESPACE/NAME, of small letters, "
            "digits, '-' and '.', with --gateway-name"
        )


class HostnameRefused(KubernetesRefused):
    """No host has such a name."""

    def __init__(self, hostname: str) -> None:
        super().__init__(
            f"{hostname!r} is no host name that a route takes; models.example.org and "
            "*.example.org are, in small letters and without a port"
        )


class ImageMissing(KubernetesRefused):
    """Nobody said which image is to run."""

    def __init__(self, option: str) -> None:
        shown = {
            "--image": "registry.example.org/models/{model}:v{version}",
            "--project-image": "registry.example.org/project:1",
        }
        super().__init__(
            f"what is to be rendered needs an image: name it with {option}, such as "
            f"{shown[option]}; `understudy package docker` makes its build context"
        )


class ImageRefused(KubernetesRefused):
    """The name of an image, or a pattern of names, that does not do."""

    def __init__(self, option: str, image: str, why: str) -> None:
        allowed = (
            "registry.example.org/models/{model}:v{version} does, and digests go to --image-digest"
            if option == "--image"
            else "registry.example.org/project:1 does, and the same with @sha256:DIGEST"
        )
        super().__init__(f"{option} {image!r} {why}; {allowed}")


class SecretInAddress(KubernetesRefused):
    """A password or token on its way into git."""

    def __init__(self, option: str) -> None:
        super().__init__(
            f"{option} carries a name or a password, and manifests are kept in git; name the "
            "address without it, and give pods the credentials as a Secret (docs/kubernetes.md)"
        )


class RetrainRefused(KubernetesRefused):
    """What `mlflow run` would not take for a repository."""

    def __init__(self, given: str) -> None:
        super().__init__(
            f"--retrain {given!r} names no git repository; https://git.example.org/project.git and "
            "git@git.example.org:project.git do, and #FOLDER may follow"
        )


class ImageDigestRefused(KubernetesRefused):
    """A digest that is none, or of no version."""

    def __init__(self, given: str) -> None:
        super().__init__(
            f"--image-digest {given!r} names no image; it is VERSION=sha256: and 64 hexadecimal "
            "digits, as the registry of images shows it after a push"
        )


class FormRefused(KubernetesRefused):
    """KServe cannot do what the ledger says."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"KServe {what}; render with --form gateway, or end the experiment with "
            "`understudy traffic stop`"
        )


class RulesRefused(KubernetesRefused):
    """A file of alert rules that holds none."""

    def __init__(self, rules: Path) -> None:
        super().__init__(
            f"{rules} holds no `groups` of Prometheus rules; mend it, `promtool check rules` says "
            "where, or remove it to go without"
        )


class WeightWithoutChallenger(KubernetesRefused):
    """The ledger gives traffic to a version that cannot take it."""

    def __init__(self, model: str, challenger: int, weight: float, why: str) -> None:
        super().__init__(
            f"the ledger gives {100 * weight:.4g} % of the traffic of {model} to v{challenger}, "
            f"{why}; end that with `understudy traffic stop`"
        )


class FilesForeign(KubernetesRefused):
    """The folder holds what was not rendered."""

    def __init__(self, output: Path, names: Sequence[str]) -> None:
        super().__init__(
            f"{output} holds files that were not rendered here ({_few(names)}) and is left as it "
            "is; move them away, or name another folder with --output"
        )


class FilesChanged(KubernetesRefused):
    """Somebody has edited what was rendered."""

    def __init__(self, output: Path, names: Sequence[str]) -> None:
        super().__init__(
            f"in {output} somebody has changed {_few(names)}, which would be lost; keep changes in "
            "an overlay (docs/kubernetes.md), and remove these files to go on"
        )


def _few(names: Sequence[str]) -> str:
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more} more" if more > 0 else "")
