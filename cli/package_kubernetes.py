"""`understudy package kubernetes`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import options
from registry.console import Command

if TYPE_CHECKING:
    from delivery.kubernetes.packaging import Packed


@click.command(
    cls=Command,
    epilog="Example: understudy package kubernetes "
    "--image 'registry.example.org/models/{model}:v{version}'",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    default="kubernetes",
    show_default=True,
    help="Folder; what was rendered into it before is replaced.",
)
@click.option(
    "--form",
    type=click.Choice(["gateway", "kserve", "understudy"]),
    default="gateway",
    show_default=True,
    help="What shares the traffic out: a Gateway's route, KServe, or the gateway of this project.",
)
@click.option("--namespace", default="default", show_default=True)
@click.option(
    "--image", default="", metavar="PATTERN", help="Of the model servers, with {version} in it."
)
@click.option(
    "--image-digest",
    "digests",
    metavar="VERSION=sha256:...",
    multiple=True,
    help="Pin the image of a version; repeat for others.",
)
@click.option(
    "--gateway-name",
    "gateway",
    metavar="[NAMESPACE/]NAME",
    default="understudy",
    show_default=True,
    help="The Gateway that the route hangs on.",
)
@click.option("--hostname", "hostnames", multiple=True, help="Of the route; repeat for several.")
@click.option(
    "--project-image",
    default="",
    metavar="IMAGE",
    help="Of this project, for its gateway and for jobs.",
)
@click.option(
    "--retrain",
    default="",
    metavar="URI",
    help="Git URI of the project: retrain from it every night.",
)
@options.model
@options.as_json
def command(
    output: Path, model: str | None, digests: tuple[str, ...], as_json: bool, **wished: Any
) -> None:
    """Manifests of what the ledger says: Production, experiment, the version before.

    Render again after every decision and commit the folder; going back is rendering after a
    rollback. docs/kubernetes.md tells how, and what the forms differ in.
    """
    from delivery.kubernetes.packaging import package
    from delivery.kubernetes.wishes import Wishes
    from registry import settings
    from registry.store import connect

    known = _of_project() if wished["project_image"] else {}
    wishes = Wishes(image_digests=_by_version(digests), **wished, **known)
    name = model or settings.registry_params().model
    with connect() as (store, _):
        found = package(store, name, wishes, output)
    unused = wishes.image_digests.keys() - {v.number for v in found.live.versions}
    for version in sorted(unused):
        click.echo(f"note: v{version} is not rendered, so its --image-digest is not used", err=True)
    _show(found, output, wishes.project_image, as_json=as_json)


def _of_project() -> dict[str, Any]:
    """What the project's own files say: whether there is a log to monitor, and the alert rules."""
    import yaml

    from delivery.kubernetes.errors import RulesRefused
    from registry import settings
    from serving.sections import ServeParams

    root = settings.find_root()
    records = settings.read_section(root, "serve", ServeParams).records or ""
    rules = root / "deploy" / "prometheus" / "rules.yml"
    try:
        groups = yaml.safe_load(rules.read_text())["groups"] if rules.is_file() else ()
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
        raise RulesRefused(rules) from None
    return {"monitored": records.startswith("postgresql"), "rules": groups}


def _by_version(given: tuple[str, ...]) -> dict[int, str]:
    from delivery.kubernetes.errors import ImageDigestRefused

    found: dict[int, str] = {}
    for text in given:
        version, _, digest = text.partition("=")
        if not version.isdecimal():
            raise ImageDigestRefused(text)
        if found.setdefault(int(version), digest) != digest:
            raise click.UsageError(f"--image-digest gives v{int(version)} two digests")
    return found


def _show(found: Packed, output: Path, own: str, *, as_json: bool) -> None:
    written = found.written
    how = ("see --image-digest", "--project-image may have one, NAME@sha256:...")
    if as_json:
        files = {"added": written.added, "changed": written.changed, "removed": written.removed}
        said = {"output": str(output), **files, "run": found.run or None}
        options.show_json({**found.facts, **said})
    else:
        roles = ", ".join(f"v{v.number} {v.role}" for v in found.live.versions)
        state = "holds" if written.anything else "already held"
        click.echo(f"{output} {state} what the ledger says of {found.live.model}: {roles}")
        for done in ("added", "changed", "removed"):
            for name in getattr(written, done):
                click.echo(f"{done}: {name}")
        for image in found.facts["unpinned"]:
            click.echo(f"note: {image} has no digest, and a tag may be moved; {how[image == own]}")
        options.next_command(f"kubectl kustomize {output}")
    if found.unnoted:
        click.echo(f"not noted in MLflow: {found.unnoted}", err=True)
