"""One delivery from beginning to end: the version, its verified files, a folder, a note in MLflow.

The folder appears whole or not at all, and the note is written once it is there.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from delivery.errors import OutputTaken, OutputUnwritable
from registry import artifact, digest, produced
from registry.artifact import Chosen
from registry.errors import RegistryRefused, RegistryUnreachable
from registry.store import Store

MANIFEST = "understudy.json"
"""In every delivered folder: the version's facts, and the SHA-256 of each other file."""


@dataclass
class Making:
    """What a packager works with."""

    chosen: Chosen
    store: Store
    model: Path
    """The verified files of the version, a folder that MLflow can load; not to be changed."""
    folder: Path
    """Where to write; it becomes the output when all is done."""
    output: Path
    facts: dict[str, Any] = field(default_factory=dict)
    """Go into MANIFEST and the note (largest difference to scikit-learn, say)."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Go into the note's run."""
    run: str = ""
    """The id of the note's run, once all is done; empty where the registry did not take it."""
    unnoted: str = ""
    """Why the registry did not take the note."""


@contextmanager
def making(
    store: Store, model: str, version: int | None, kind: str, output: Path
) -> Iterator[Making]:
    """Choose, fetch and verify a version; whatever the block writes becomes `output`.

    Raises OutputTaken before anything is fetched, OutputUnwritable, and what
    `registry.artifact` raises. A block that raises leaves nothing behind.
    """
    output = output.absolute()
    require_free(output)
    chosen = artifact.choose(store, model, version)
    with tempfile.TemporaryDirectory(prefix="understudy-") as fetched:
        files = artifact.fetch(store, model, chosen.version, chosen.digest, Path(fetched) / "model")
        above = [folder for folder in output.parents if not folder.exists()]
        new = _beside(output)
        try:
            made = Making(chosen, store, files, new, output)
            try:
                yield made
                _finish(made, kind)
            except OSError as error:
                raise OutputUnwritable(output, _why(error)) from None
        finally:
            shutil.rmtree(new, ignore_errors=True)
            if not output.exists():
                for folder in above:  # that were made for it, as far as nobody else uses them
                    with suppress(OSError):
                        folder.rmdir()
    try:
        made.run = produced.note(
            store, chosen, kind, facts={**made.facts, "output": str(output)}, metrics=made.metrics
        )
    except (RegistryUnreachable, RegistryRefused) as error:
        made.unnoted = str(error)  # what was made is there, and says itself what it is
    except (KeyboardInterrupt, SystemExit):  # the second one comes of SIGTERM
        made.unnoted = "interrupted"


def require_free(output: Path) -> None:
    """Raises OutputTaken."""
    if output.exists() or output.is_symlink():
        raise OutputTaken(output)


def _beside(output: Path) -> Path:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        found = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
        found.chmod(0o755)
    except OSError as error:
        raise OutputUnwritable(output, _why(error)) from None
    return found


def _why(error: OSError) -> str:
    """Copying a tree gathers what went wrong with each file, as text; the first one says enough."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        _, _, said = error.args[0][0]
        return str(said).rpartition("] ")[2].partition(":")[0]
    return error.strerror or type(error).__name__


def _finish(made: Making, kind: str) -> None:
    listed = {"kind": kind, **made.chosen.facts(), **made.facts}
    listed["files"] = digest.manifest(made.folder)
    (made.folder / MANIFEST).write_text(json.dumps(listed, indent=2) + "\n")
    require_free(made.output)  # somebody may have been quicker
    made.folder.rename(made.output)
