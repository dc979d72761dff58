"""Every kind of change to a ledger, an artifact or a projection is found and named."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from registry import ledger, promote, register, verify
from registry.errors import ModelGone
from registry.ledger import Entry
from registry.promote import Wish
from registry.sections import GATES, GateParams
from registry.stages import Stage
from registry.store import ENTRY_TAG, Store
from registry.verify import Report

OFF = GateParams(skip=GATES)


@pytest.fixture(scope="module")
def template(
    tiny_template: tuple[Path, dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A ledger of seven entries: three versions, two promotions, an archive, a rollback."""
    database, runs = tiny_template
    folder = tmp_path_factory.mktemp("ledger")
    shutil.copy2(database, folder / "mlflow.db")
    store = Store(f"sqlite:///{folder}/mlflow.db")
    for name in ("good", "same", "better"):
        where = folder / name
        where.mkdir()
        register.register_run(store, "m", runs[name], wish=Wish("ana"), folder=where)
    for version in (1, 2):
        where = folder / f"p{version}"
        where.mkdir()
        promote.promote(
            store, "m", version, to=Stage.PRODUCTION, params=OFF, wish=Wish("ben"), folder=where
        )
    promote.archive(store, "m", 3, wish=Wish("ana"))
    promote.rollback(store, "m", to=None, wish=Wish("ben", "late answers"))
    return folder / "mlflow.db"


class Ledger:
    """The template's copy, and how somebody with its database would change it."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path, self.folder = path, folder
        self.store = Store(f"sqlite:///{path}")

    def sql(self, statement: str, *values: Any) -> None:
        """Run a statement on the database itself."""
        with closing(sqlite3.connect(self.path)) as base:
            base.execute(statement, values)
            base.commit()

    def text(self, number: int) -> str:
        """An entry's text."""
        return dict(self.store.entries("m"))[number]

    def write(self, number: int, text: str) -> None:
        """Replace an entry's text."""
        self.sql(
            "UPDATE model_version_tags SET value = ? WHERE name = 'm.ledger' AND version = ?",
            text,
            number,
        )

    def describe(self, number: int, sentence: str) -> None:
        """Replace an entry's description."""
        self.sql(
            "UPDATE model_versions SET description = ? WHERE name = 'm.ledger' AND version = ?",
            sentence,
            number,
        )

    def remove(self, number: int) -> None:
        """Delete an entry through MLflow."""
        self.store._client.delete_model_version("m.ledger", str(number))

    def append(self, entry: Entry, signature: ledger.Signature | None = None) -> None:
        """Append an entry, whatever it says."""
        about = self.store.shown("m").versions[1]
        self.store.append("m", about, ledger.render(entry, signature), entry.sentence)

    def head(self) -> str:
        """Hash of the last entry that counts."""
        return verify.walk("m", self.store.records("m"), verify.Findings()).head

    def verify(self, **options: Any) -> Report:
        """What `understudy verify` does."""
        options.setdefault("keys", {})
        return verify.verify(self.store, "m", folder=self.folder, **options)


@pytest.fixture
def made(template: Path, tmp_path: Path) -> Ledger:
    shutil.copy2(template, tmp_path / "mlflow.db")
    return Ledger(tmp_path / "mlflow.db", tmp_path)


def kinds(report: Report) -> set[str]:
    return {finding.kind for finding in report.findings}


def only(report: Report) -> str:
    (finding,) = report.findings
    return f"{finding.kind}: {finding.sentence}"


def test_what_nobody_touched_is_sound(made: Ledger) -> None:
    report = made.verify()
    assert report.findings == ()
    assert report.notes == ()
    assert (report.sound, report.entries, report.artifacts) == (True, 7, 3)
    assert report.as_dict()["head"] == made.head()
    assert made.verify(noted=[made.head()]).sound


def test_a_changed_entry(made: Ledger) -> None:
    made.write(5, made.text(5).replace('"actor":"ben"', '"actor":"eve"'))
    assert only(made.verify()) == (
        "entry_changed: entry 5 was changed: its content does not match its hash"
    )


def test_an_entry_that_cannot_be_read(made: Ledger) -> None:
    made.write(7, "promoted by hand")
    report = made.verify()
    sentences = [f.sentence for f in report.findings if f.entry == 7]
    assert sentences == ["entry 7 was changed: it cannot be read"]


def test_an_entry_replaced_with_a_hash_of_its_own(made: Ledger) -> None:
    forged = dataclasses.replace(ledger.parse(made.text(5)), actor="eve")
    made.write(5, ledger.render(forged))
    made.describe(5, forged.sentence)
    assert only(made.verify()) == (
        "chain_broken: entry 6 does not follow on the one before it: entry 5 was replaced, "
        "hash and all"
    )


def test_the_last_entry_replaced_with_a_hash_of_its_own(made: Ledger) -> None:
    forged = dataclasses.replace(ledger.parse(made.text(7)), actor="eve")
    made.write(7, ledger.render(forged))
    made.describe(7, forged.sentence)
    assert only(made.verify()).startswith("head_missing: the entry that was shown last is not in")


def test_a_removed_entry(made: Ledger) -> None:
    made.remove(6)
    assert "entry_removed: entry 6 was removed" in [
        f"{f.kind}: {f.sentence}" for f in made.verify().findings
    ]


def test_the_last_entry_removed(made: Ledger) -> None:
    made.remove(7)
    assert "head_missing" in kinds(made.verify())
    assert "entry_removed" not in kinds(made.verify())
    promoted = ledger.parse(made.text(6))
    made.append(dataclasses.replace(promoted, prev=promoted.hash, kind="note"))
    assert "entry_removed" in kinds(made.verify())  # the next one makes the gap visible


def test_two_entries_that_changed_places(made: Ledger) -> None:
    fifth, sixth = made.text(5), made.text(6)
    made.write(5, sixth)
    made.write(6, fifth)
    report = made.verify()
    assert "entries were reordered: entry 5 follows on what is now entry 6" in [
        f.sentence for f in report.findings
    ]


def test_a_copied_entry_is_told_and_has_no_effect(made: Ledger) -> None:
    made.append(ledger.parse(made.text(4)))
    report = made.verify()
    assert report.sound
    assert report.notes == ("entry 8 is a copy of entry 4, without effect",)


def test_a_changed_description(made: Ledger) -> None:
    made.describe(4, "v1 to Production by nobody")
    assert only(made.verify()) == (
        "description: the description of entry 4 was changed: it reads 'v1 to Production by "
        "nobody', the entry says 'v1 to Production by ben'"
    )


def test_an_entry_of_another_model(made: Ledger) -> None:
    made.append(dataclasses.replace(ledger.parse(made.text(7)), model="n", prev=made.head()))
    assert only(made.verify()) == "entry_foreign: entry 8 speaks of 'n'"


def test_a_head_that_was_noted_elsewhere_shows_a_ledger_written_anew(made: Ledger) -> None:
    noted = made.head()
    prev = ledger.GENESIS
    for number, text in made.store.entries("m"):
        entry = dataclasses.replace(ledger.parse(text), prev=prev, reason="nothing happened")
        made.write(number, ledger.render(entry))
        made.describe(number, entry.sentence)
        prev = entry.hash
    made.store.set_head("m", prev)
    assert made.verify().sound
    assert only(made.verify(noted=[noted])) == (
        f"head_missing: no entry has the hash {noted}, which was noted elsewhere"
    )


def decision(made: Ledger, **changes: Any) -> Entry:
    """The last promotion once more, on top of the ledger, with changes."""
    return dataclasses.replace(ledger.parse(made.text(5)), prev=made.head(), **changes)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, "version 2 of m is archived and cannot be promoted to Production"),
        ({"version": 9}, "m has no version 9"),
        ({"kind": "obey"}, "there is no decision of the kind 'obey'"),
        ({"target": Stage.STAGING}, "it says from None to Staging, and that was Archived"),
        (
            {"target": Stage.STAGING, "source": Stage.ARCHIVED, "evidence": {}},
            "it carries no verdict of the gates",
        ),
        (
            {
                "target": Stage.STAGING,
                "source": Stage.ARCHIVED,
                "evidence": {"gate": {"passed": False, "checks": []}},
            },
            "the verdict of its gates is a refusal",
        ),
        (
            {
                "target": Stage.STAGING,
                "source": Stage.ARCHIVED,
                "evidence": {"gate": {"passed": True}, "approvals": ["zoe"]},
            },
            "nobody approved it as zoe",
        ),
        (
            {"kind": "archive", "target": Stage.ARCHIVED, "version": 1, "actor": "auto:x"},
            "version 1 of m is in Production and cannot be archived",
        ),
    ],
)
def test_a_decision_that_could_not_have_been_made(
    made: Ledger, changes: dict[str, Any], why: str
) -> None:
    made.append(decision(made, **changes))
    found = [f for f in made.verify().findings if f.kind == "illegal"]
    assert len(found) == 1
    assert found[0].entry == 8
    assert why in found[0].sentence


def test_a_program_that_went_beyond_what_it_may(made: Ledger) -> None:
    first = decision(
        made,
        kind="approve",
        version=2,
        source=Stage.ARCHIVED,
        target=Stage.ARCHIVED,
        actor="auto:x",
    )
    made.append(first)
    (found,) = [f for f in made.verify().findings if f.kind == "illegal"]
    assert "a program approves nothing" in found.sentence


@pytest.fixture
def artifact(made: Ledger) -> Iterator[Path]:
    """The model file of v2; it is shared, so it is put back afterwards."""
    location = made.store.location(made.store.shown("m").versions[2])
    folder = Path(location.removeprefix("file://"))
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    yield folder
    for path in folder.rglob("*"):
        if path.is_file() and path not in before:
            path.unlink()
    for path, content in before.items():
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("alter", "what"),
    [
        (lambda f: (f / "MLmodel").write_text("else"), "MLmodel changed"),
        (lambda f: (f / "more.py").write_text("import os"), "more.py added"),
        (lambda f: (f / "requirements.txt").unlink(), "requirements.txt removed"),
    ],
)
def test_an_altered_artifact(
    made: Ledger, artifact: Path, alter: Callable[[Path], Any], what: str
) -> None:
    alter(artifact)
    finding = only(made.verify())
    assert finding == f"artifact_altered: the artifact of v2 was altered: {what}"
    assert made.verify(artifacts=False).sound


def test_an_artifact_that_is_gone(made: Ledger, artifact: Path) -> None:
    moved = artifact.rename(artifact.with_name("moved"))
    try:
        assert only(made.verify()) == "artifact_missing: the artifact of v2 is gone"
    finally:
        moved.rename(artifact)


def test_the_rows_a_version_was_judged_by(made: Ledger) -> None:
    run_id = made.store.shown("m").versions[3].run_id
    location = made.store.experiment_location(run_id).removeprefix("file://")
    record = next(Path(location).glob(f"{run_id}/artifacts/understudy/record.json"))
    before = record.read_text()
    record.write_text(before.replace("roc_auc", "accuracy"))
    try:
        assert only(made.verify()) == (
            "record_altered: the held-out rows or the record that v3 was judged by were altered"
        )
    finally:
        record.write_text(before)


def test_a_version_that_was_pointed_elsewhere(made: Ledger) -> None:
    other = made.store.shown("m").versions[3]
    made.sql(
        "UPDATE model_versions SET source = ?, storage_location = ? "
        "WHERE name = 'm' AND version = 1",
        other.source,
        other.source,
    )
    found = kinds(made.verify())
    assert "repointed" in found
    assert "artifact_altered" in found


def test_a_changed_lineage_tag(made: Ledger) -> None:
    made.sql(
        "UPDATE model_version_tags SET value = 'def' "
        "WHERE name = 'm' AND version = 1 AND key = 'understudy.git_commit'"
    )
    assert only(made.verify()) == (
        "lineage: the tag understudy.git_commit of v1 was changed to 'def'"
    )


def test_a_removed_lineage_tag_is_told_without_fetching_a_file(made: Ledger) -> None:
    made.sql(
        "DELETE FROM model_version_tags "
        "WHERE name = 'm' AND version = 1 AND key = 'understudy.data_md5'"
    )
    assert only(made.verify(artifacts=False)) == (
        "lineage: the tag understudy.data_md5 of v1 was removed"
    )


def test_a_head_that_was_taken_back_or_away(made: Ledger) -> None:
    first = made.store.entries("m")[0][1]
    head = json.loads(first)["hash"]
    made.sql(
        "UPDATE registered_model_tags SET value = ? WHERE name = 'm' AND key = 'understudy.head'",
        head,
    )
    assert only(made.verify()).startswith("head_behind: MLflow notes entry 1 as the last one")
    made.sql("DELETE FROM registered_model_tags WHERE name = 'm' AND key = 'understudy.head'")
    assert only(made.verify()).startswith("head_behind: MLflow notes no entry as the last one")


@pytest.mark.parametrize(
    ("statement", "kind", "sentence"),
    [
        (
            "UPDATE model_versions SET current_stage = 'Production' "
            "WHERE name = 'm' AND version = 2",
            "stage",
            "v2 is in Archived by the ledger and shown in Production",
        ),
        (
            "UPDATE registered_model_aliases SET version = 3 WHERE name = 'm'",
            "alias",
            "alias production is v1 by the ledger and shows v3",
        ),
    ],
)
def test_a_stage_or_alias_moved_by_hand(
    made: Ledger, statement: str, kind: str, sentence: str
) -> None:
    made.sql(statement)
    assert only(made.verify()) == f"{kind}: {sentence}"


def test_a_version_deleted_from_mlflow(made: Ledger) -> None:
    made.store._client.delete_model_version("m", "1")
    assert (
        "v1 is in the ledger (Production) and was deleted from MLflow; roll back or promote another"
        in [f.sentence for f in made.verify().findings if f.kind == "deleted"]
    )


def test_a_version_that_only_mlflow_has(made: Ledger) -> None:
    made.store.create_version("m", made.store.shown("m").versions[1].model_id, {})
    assert only(made.verify()).startswith("unknown: v4 is in MLflow and not in the ledger")


def test_a_deleted_model_whose_ledger_is_left(made: Ledger) -> None:
    made.store._client.delete_registered_model("m")
    with pytest.raises(ModelGone, match="'m' was deleted from MLflow, and its ledger still has 7"):
        made.verify()


def test_the_tag_of_entries_is_what_is_read(made: Ledger) -> None:
    tags = made.store._client.get_model_version("m.ledger", "1").tags
    assert tags[ENTRY_TAG] == made.text(1)
