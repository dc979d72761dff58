"""An in-memory store that behaves as MLflow's registry does: atomic numbers, stages that race.

Between any two statements that MLflow sends to its database, `point` is called: a test can let
somebody else go first there, or let the call fail.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace

from registry.errors import ModelNotFound, RegistryRefused
from registry.stages import Stage
from registry.store import Shown, Version


@dataclass
class _Model:
    versions: dict[int, Version] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    head: str = ""
    stages: bool = True


class Memory:
    """What promote, projection and resolve ask of `registry.store.Store`.

    `point(name)` is called before and after each effect, and inside the calls that are not atomic.
    """

    uri = "memory"

    def __init__(self, point: Callable[[str], None] = lambda _: None) -> None:
        self.point = point
        self._models: dict[str, _Model] = {}
        self._ledgers: dict[str, list[tuple[str, str]]] = {}

    def copy(self, point: Callable[[str], None]) -> Memory:
        """Another store with the same content."""
        other = Memory(point)
        other._models = deepcopy(self._models)
        other._ledgers = deepcopy(self._ledgers)
        return other

    # What is there

    def models(self) -> list[str]:
        """Names of all registered models."""
        self.point("models")
        return list(self._models)

    def shown(self, model: str) -> Shown:
        """Three statements, as in MLflow: the head's tag, the aliases, the versions."""
        self.point("shown: tags")
        if model not in self._models:
            raise ModelNotFound(model, self._models)
        there = self._models[model]
        head, stages = there.head, there.stages
        self.point("shown: aliases")
        aliases = dict(there.aliases)
        self.point("shown: versions")
        found = Shown(dict(there.versions), aliases, head, stages)
        self.point("shown: done")
        return found

    def entries(self, model: str, after: int = 0, *, fresh: bool = False) -> list[tuple[int, str]]:
        """(number, text) pairs above a number; always fresh."""
        del fresh
        return [(number, text) for number, text, _ in self.records(model, after)]

    def records(self, model: str, after: int = 0) -> list[tuple[int, str, str]]:
        """(number, text, sentence) above a number."""
        self.point("records")
        kept = self._ledgers.get(model, [])
        found = [(n, text, said) for n, (text, said) in enumerate(kept, 1) if n > after]
        self.point("records: done")
        return found

    # What is written

    def create_version(self, model: str, model_id: str, tags: dict[str, str]) -> int:
        """The next version, its number given atomically."""
        self.point("create_version")
        there = self._models.setdefault(model, _Model())
        number = len(there.versions) + 1
        source = f"models:/{model_id}"
        there.versions[number] = Version(number, Stage.NONE, source, "", model_id, 0, dict(tags))
        self.point("create_version: done")
        return number

    def append(self, model: str, about: Version, text: str, sentence: str) -> int:
        """The next entry, its number given atomically."""
        self.point("append")
        self._version(model, about.number)
        kept = self._ledgers.setdefault(model, [])
        kept.append((text, sentence))
        number = len(kept)
        self.point("append: done")
        return number

    def set_stage(self, model: str, version: int, stage: Stage) -> None:
        """As MLflow's: who holds the stage is read first, and only what differs is written."""
        self.point("set_stage: holders")
        there = self._models[model]
        archives = stage in (Stage.STAGING, Stage.PRODUCTION)
        holders = [
            n for n, v in there.versions.items() if archives and v.stage is stage and n != version
        ]
        self.point("set_stage: version")
        before = self._version(model, version).stage
        self.point("set_stage: write")
        for holder in holders:
            there.versions[holder] = replace(there.versions[holder], stage=Stage.ARCHIVED)
        if before is not stage:
            there.versions[version] = replace(there.versions[version], stage=stage)
        self.point("set_stage: done")

    def note_no_stages(self, model: str) -> None:
        """Remember that there are aliases only."""
        self.point("note_no_stages")
        self._models[model].stages = False

    def set_alias(self, model: str, alias: str, version: int | None) -> None:
        """Point an alias at a version, or take it away."""
        self.point("set_alias")
        there = self._models[model]
        if version is None:
            there.aliases.pop(alias, None)
        else:
            self._version(model, version)
            there.aliases[alias] = version
        self.point("set_alias: done")

    def set_version_tag(self, model: str, version: int, key: str, value: str) -> None:
        """Set a tag of a version."""
        self.point("set_version_tag")
        old = self._version(model, version)
        self._models[model].versions[version] = replace(old, tags={**old.tags, key: value})
        self.point("set_version_tag: done")

    def set_head(self, model: str, head: str) -> None:
        """Note the head that was shown last."""
        self.point("set_head")
        self._models[model].head = head
        self.point("set_head: done")

    def _version(self, model: str, version: int) -> Version:
        found = self._models[model].versions.get(version)
        if found is None:
            name = f"Model Version (name={model}, version={version}) not found"
            raise RegistryRefused(self.uri, name)
        return found
