"""From what is live and what is wished to all objects, and to their text. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

from delivery.kubernetes import kserve, project, route, versions
from delivery.kubernetes.live import Live
from delivery.kubernetes.objects import Document, Place, account
from delivery.kubernetes.wishes import Wishes

KUSTOMIZATION = "kustomization.yaml"


def render(live: Live, wishes: Wishes) -> tuple[Document, ...]:
    """All objects, by kind and name; the same of the same. Raises FormRefused."""
    place = Place.of(live.model, wishes)
    serving: tuple[Document, ...]
    if wishes.form == "gateway":
        serving = (*versions.documents(live, wishes), *route.documents(live, wishes))
    elif wishes.form == "kserve":
        serving = kserve.documents(live, wishes)
    else:
        serving = project.gateway(live.model, wishes)
    found = (account(place), *serving, *project.jobs(live.model, wishes))
    return tuple(sorted(found, key=file_name))


def file_name(document: Document) -> str:
    """The file of an object, such as service-NAME.yaml."""
    return f"{document['kind'].lower()}-{document['metadata']['name']}.yaml"


def files(live: Live, wishes: Wishes, documents: Iterable[Document]) -> dict[str, str]:
    """The text of each of the documents by its file's name, and of their kustomization."""
    found = {file_name(document): text(document) for document in documents}
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "metadata": {"name": Place.of(live.model, wishes).name,
                     "annotations": {route.HEAD: live.head}},
        "namespace": wishes.namespace,
        "resources": list(found),
    }  # fmt: skip
    return {**found, KUSTOMIZATION: text(kustomization)}


def unpinned(documents: Iterable[Document]) -> tuple[str, ...]:
    """The images without a digest, whose tag somebody may move to another one."""
    found = {image for document in documents for image in _images(document)}
    return tuple(sorted(image for image in found if "@" not in image))


def _images(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("image"), str):
            yield part["image"]
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from _images(inner)


def text(document: Mapping[str, Any]) -> str:
    """A document as YAML that means the same to readers of YAML 1.1 and 1.2."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)


def together(texts: Iterable[str]) -> str:
    """Several documents as one text."""
    return "---\n".join(texts)


class _Dumper(yaml.SafeDumper):
    """Quotes every text that some reader might take for something else (1e3, y, 0o7).

    Values that occur twice are written twice: an alias is no help to who reads.
    """

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _quoted(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = None if _SAFE.fullmatch(value) else "|" if "\n" in value else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_SAFE = re.compile(r"[A-Za-z/][A-Za-z_/.{}-]+[A-Za-z0-9_/.{}-]*", re.ASCII)
_Dumper.add_representer(str, _quoted)
