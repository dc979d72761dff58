"""What the ledger wants served, and the verified files of it; blocks, and so runs in a thread.

What was wanted last, and the files of it, are kept on this machine: a gateway that starts while the
registry is away serves what it served before.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from registry import artifact, digest, projection, requirements, scoring
from registry import store as registry_store
from registry.errors import ArtifactUnfetched, DigestUnknown, UnderstudyError
from registry.ledger import Numbered, Replay
from registry.requirements import Wanted as Environment
from registry.stages import Stage
from registry.state import state_of
from registry.store import Store
from registry.traffic import Traffic
from serving import signature
from serving.served import Artifact

ENTRIES = 10
"""Of the ledger, for who looks at the gateway."""
NEW = ".new"
"""Ends the name of what is being fetched."""
PUTS = 5
"""Times that a fetched copy is put where it belongs."""
ABANDONED = 86_400.0
"""Seconds after which nobody fetches any more."""
KEPT_MODELS = 5
"""Verified copies of artifacts that stay on this machine beside those in use, for each model."""


class Unfit(Exception):
    """A version cannot be served; the text says why."""


class OlderLedger(Exception):
    """The registry shows less than it did before; nothing of it is followed."""


@dataclass(frozen=True)
class Live:
    """A version that is to be served, and the digest that its files must have."""

    version: int
    digest: str
    source: str = ""


@dataclass(frozen=True)
class Promotion:
    """How the live version came to be it, where that was a promotion."""

    version: int
    entry: str
    """Hash of the ledger entry."""
    time: str
    """UTC, ISO 8601."""
    age: float
    """Seconds, when the ledger was read."""


@dataclass(frozen=True)
class Wanted:
    """What the ledger says: what answers, and what stands by."""

    head: str = ""
    entry: int = 0
    """Number of the last entry that counts."""
    production: Live | None = None
    former: Live | None = None
    kind: str = ""
    """Of the last entry: promote, rollback, ..."""
    sentence: str = ""
    entries: tuple[dict[str, Any], ...] = ()
    """The last ones: entry, kind, sentence, actor, reason, time."""
    traffic: Traffic | None = None
    """The experiment that goes on."""
    challenger: Live | None = None
    promotion: Promotion | None = None
    known: bool = True
    """False where the registry could not be asked and this is from the last time."""


class Watch:
    """One model's ledger and artifacts, as a gateway needs them."""

    def __init__(self, model: str, uri: str, folder: Path, environment: Environment) -> None:
        self.model, self._uri, self._folder = model, uri, folder
        self._environment = environment
        self._store: Store | None = None
        self._found: Replay | None = None
        folder.mkdir(parents=True, exist_ok=True)

    # The ledger

    def look(self) -> Wanted:
        """What the ledger says now. Raises UnderstudyError, OlderLedger."""
        if self._store is None:
            self._store = Store(self._uri)
        if self._found is None:
            found, _ = projection.look(self._store, self.model)
            self._require_no_older(found)
        else:
            self._require_same(self._store, self._found)
            found = projection.read(self._store, self.model, self._found)
        self._found = found
        wanted = self._wanted(found)
        self._keep(wanted)
        return wanted

    def _require_same(self, store: Store, found: Replay) -> None:
        """The last entry that was read is still there, and the same."""
        if not found.winners:
            return
        last = found.winners[-1]
        entries = store.records(self.model, last.number - 1)
        texts = {number: text for number, text, _ in entries}
        if last.entry.hash not in texts.get(last.number, ""):
            raise OlderLedger(f"ledger entry {last.number} is gone from the registry, or changed")

    def _require_no_older(self, found: Replay) -> None:
        """What was followed before the gateway was started is in the ledger."""
        before = self.remembered()
        if before.head and not any(w.entry.hash == before.head for w in found.winners):
            raise OlderLedger(f"ledger entry {before.entry}, followed before, is not in the ledger")

    def _wanted(self, found: Replay) -> Wanted:
        if not found.winners:
            return Wanted()
        state, last = state_of(found), found.winners[-1]
        former = next((v for v in reversed(state.former) if v != state.production), None)
        return Wanted(
            found.head,
            last.number,
            _live(found, state.production),
            _live(found, former),
            last.entry.kind,
            last.entry.sentence,
            tuple(_entry(winner) for winner in found.winners[-ENTRIES:]),
            state.traffic,
            _live(found, state.traffic.challenger if state.traffic else None),
            _promotion(found, state.production),
        )

    # What stays on this machine

    def remember(self, wanted: Wanted) -> None:
        """Note what is served, for a start without the registry."""
        keep(self._folder / "last.json", asdict(wanted))

    def remembered(self) -> Wanted:
        """What was served last; nothing where that is not known."""
        try:
            raw: dict[str, Any] = json.loads((self._folder / "last.json").read_text())
            live = {
                k: Live(**raw[k]) if raw.get(k) else None
                for k in ("production", "former", "challenger")
            }
            traffic = Traffic(**raw["traffic"]) if raw.get("traffic") else None
            known = {"traffic": traffic, "promotion": None, "known": False}
            return Wanted(**{**raw, **live, **known})
        except (OSError, ValueError, KeyError, TypeError):
            return Wanted(known=False)

    # Artifacts

    def fetch(self, live: Live, in_use: Collection[str] = ()) -> Artifact:
        """The files of a version, with the digest that the ledger has. Raises Unfit.

        The copies of the digests `in_use` stay, however old they are.
        """
        if not live.digest:
            raise Unfit(str(DigestUnknown(live.version)))
        files = self._folder / "models" / live.digest
        if not self._intact(files, live.digest):
            try:
                self._download(live, files)
            except Unfit as error:
                if not files.is_dir():
                    raise
                altered = f"the copy of v{live.version} on this machine is not what was verified"
                raise Unfit(f"{altered}, and there is no other: {error}") from None
            self._forget_old({live.digest, *in_use})
        try:
            os.utime(files)
            example = registry_store.input_example(files)
            if example is None:
                raise Unfit(f"v{live.version} carries no input example to try it with")
            body, rows = scoring.example_request(files, example)
        except Unfit:
            raise
        except Exception as error:  # whatever a flavour's own reading may raise
            name = type(error).__name__
            raise Unfit(f"the input example of v{live.version} cannot be read ({name})") from None
        manager = requirements.manager(files, self._environment)
        try:
            known = signature.read(files)
        except (ValueError, OSError):
            known = signature.NOTHING_KNOWN  # it serves all the same
        return Artifact(live.version, live.digest, files, manager, body, rows, known)

    def _intact(self, files: Path, wanted: str) -> bool:
        return files.is_dir() and digest.of_folder(files) == wanted

    def _download(self, live: Live, files: Path) -> None:
        # Several gateways of one project may fetch the same version at the same time.
        files.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f"{files.name}.", suffix=NEW, dir=files.parent))
        try:
            found = artifact.fetch(
                Store(self._uri), self.model, live.version, live.digest, new / "model"
            )
            self._put(found, files, live.digest)
        except UnderstudyError as error:
            raise Unfit(str(error)) from None
        except OSError as error:
            why = str(ArtifactUnfetched(live.version, type(error).__name__))
            raise Unfit(why) from None
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def _put(self, found: Path, files: Path, wanted: str) -> None:
        """Where it is looked for, unless another gateway was quicker."""
        for _ in range(PUTS):
            try:
                found.replace(files)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                if self._intact(files, wanted):
                    return
                shutil.rmtree(files, ignore_errors=True)
            else:
                return
        raise Unfit("another gateway writes the same copy of it again and again")

    def _keep(self, wanted: Wanted) -> None:
        """Another gateway of this project does not forget what was touched just now."""
        for live in (wanted.production, wanted.former, wanted.challenger):
            if live is not None and live.digest:
                with contextlib.suppress(OSError):  # it is not here, or this is no disk to write to
                    os.utime(self._folder / "models" / live.digest)

    def _forget_old(self, needed: Collection[str]) -> None:
        folder = self._folder / "models"
        for path in folder.glob(f"*{NEW}"):  # of a gateway that ended while it fetched
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > ABANDONED:
                    shutil.rmtree(path, ignore_errors=True)
        others = [p for p in folder.iterdir() if p.name not in needed and not p.name.endswith(NEW)]
        for path in sorted(others, key=_touched)[:-KEPT_MODELS]:
            shutil.rmtree(path, ignore_errors=True)


def keep(path: Path, what: Mapping[str, Any]) -> None:
    """Write a small file of a gateway's, whole or, where that is not possible, not at all.

    A full disk is no reason not to serve. Other gateways of the project may write it, too.
    """
    new = path.with_suffix(f".{os.getpid()}")
    try:
        new.write_text(json.dumps(what))
        new.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()


def _touched(path: Path) -> float:
    """Seconds since 1970; 0 of what another gateway has just removed."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _entry(winner: Numbered) -> dict[str, Any]:
    entry = winner.entry
    return {
        "entry": winner.number,
        "kind": entry.kind,
        "sentence": entry.sentence,
        "actor": entry.actor,
        "reason": entry.reason,
        "time": entry.time,
    }


def _promotion(found: Replay, live: int | None) -> Promotion | None:
    """That of the live version, unless it came back by a rollback."""
    moves = (w.entry for w in reversed(found.winners) if w.entry.target is Stage.PRODUCTION)
    last = next((e for e in moves if e.kind in ("promote", "adopt", "rollback")), None)
    if last is None or last.kind == "rollback" or last.version != live:
        return None
    age = max(time.time() - datetime.fromisoformat(last.time).timestamp(), 0.0)
    return Promotion(last.version, last.hash, last.time, age)


def _live(found: Replay, version: int | None) -> Live | None:
    if version is None:
        return None
    return Live(version, artifact.known_digest(found, version))
