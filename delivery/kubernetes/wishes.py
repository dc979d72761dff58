"""What a cluster needs to know that no ledger says: images, names, addresses. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from delivery.kubernetes import names
from delivery.kubernetes.errors import (
    GatewayRefused,
    HostnameRefused,
    ImageDigestRefused,
    ImageMissing,
    ImageRefused,
    NamespaceRefused,
    RetrainRefused,
    SecretInAddress,
)

Form = Literal["gateway", "kserve", "understudy"]

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]+)?/)?{_PART}(?:/{_PART})*"
    r"(?::\w[\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?",
    re.ASCII,
)
"""The grammar of github.com/distribution/reference, with the one digest that is in use."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Wishes:
    """Checked when it is made.

    Raises NamespaceRefused, GatewayRefused, HostnameRefused, ImageMissing, ImageRefused,
    ImageDigestRefused, RetrainRefused.
    """

    form: Form = "gateway"
    namespace: str = "default"
    image: str = ""
    """The model servers', with {version} in it and perhaps {model}."""
    image_digests: Mapping[int, str] = field(default_factory=dict)
    """By version: sha256:... of what the registry of images has."""
    gateway: str = "understudy"
    """The Gateway that the route hangs on: NAME, or NAMESPACE/NAME."""
    hostnames: tuple[str, ...] = ()
    project_image: str = ""
    """The image that has the project: for the gateway of Understudy, and for jobs."""
    retrain: str = ""
    """What `mlflow run` is given, a git URI."""
    monitored: bool = False
    """Whether the project's prediction log is a database that a pod reaches."""
    rules: Sequence[Mapping[str, Any]] = ()
    """Groups of Prometheus rules."""

    def __post_init__(self) -> None:
        if not names.is_label(self.namespace):
            raise NamespaceRefused(self.namespace)
        namespace, name = self.parent
        if not (names.is_label(namespace) and names.is_subdomain(name)):
            raise GatewayRefused(self.gateway)
        for hostname in self.hostnames:
            if not names.is_subdomain(hostname.removeprefix("*.")):
                raise HostnameRefused(hostname)
        if re.search(r"//[^/@\s]*@", self.retrain):
            raise SecretInAddress("--retrain")
        if self.retrain.startswith("-") or any(c.isspace() for c in self.retrain):
            raise RetrainRefused(self.retrain)
        self._check_images()

    def _check_images(self) -> None:
        if not self.project_image and (self.form == "understudy" or self.retrain):
            raise ImageMissing("--project-image")
        if not self.image and self.form != "understudy":
            raise ImageMissing("--image")
        if self.project_image and not _IMAGE.fullmatch(self.project_image):
            raise ImageRefused("--project-image", self.project_image, "names no image")
        if self.image:
            self._check_pattern(self.image)
        for version, digest in self.image_digests.items():
            if not _DIGEST.fullmatch(digest):
                raise ImageDigestRefused(f"{version}={digest}")

    def _check_pattern(self, pattern: str) -> None:
        if "{version}" not in pattern:
            raise ImageRefused("--image", pattern, "names the same image for every version")
        if "@" in pattern:
            raise ImageRefused("--image", pattern, "has a digest, which only one version can have")
        if not _IMAGE.fullmatch(_filled(pattern, "m", 1)):
            raise ImageRefused("--image", pattern, "names no image")

    @property
    def parent(self) -> tuple[str, str]:
        """Namespace and name of the Gateway."""
        namespace, _, name = self.gateway.rpartition("/")
        return namespace or self.namespace, name

    def image_of(self, model: str, version: int) -> str:
        """The image of a version, with its digest where that is known."""
        named = _filled(self.image, names.of_model(model), version)
        digest = self.image_digests.get(version)
        return f"{named}@{digest}" if digest else named


def _filled(pattern: str, model: str, version: int) -> str:
    return pattern.replace("{model}", model).replace("{version}", str(version))
