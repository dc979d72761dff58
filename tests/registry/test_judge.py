"""All gates on real versions of a real store: what is asked, what stops what, what is run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from registry import projection, record, register
from registry.gate import Check
from registry.judge import Case, Judgement, judge
from registry.promote import Wish
from registry.sections import GATES, GateParams
from registry.stages import Stage
from registry.state import state_of
from tests.conftest import Tiny

WISH = Wish("ana", "because")
SLOW = ("serves", "latency", "lineage")
"""Switched off where a test is not about them: a server takes seconds, a tiny model has no git."""


class Bench:
    """Enters versions of tiny models and has them judged."""

    def __init__(self, store: Any, tiny: Tiny, folder: Path) -> None:
        self.store, self.tiny, self.folder = store, tiny, folder
        self.said: list[str] = []

    def enter(self, name: str) -> int:
        """Register a run's model."""
        where = self._folder()
        run = self.tiny.runs[name]
        return register.register_run(self.store, "m", run, wish=WISH, folder=where).version

    def enter_copy(
        self, name: str, change: Callable[[Path], None] | None = None
    ) -> tuple[int, Path]:
        """A version whose files are a copy of its own, changed before it is registered."""
        run = self.store.run(self.tiny.runs[name])
        files = self.store.download_model(f"models:/{run.models[0]}", self._folder())
        copy = self._folder() / "model"
        shutil.copytree(files, copy)
        (copy / "registered_model_meta").unlink(missing_ok=True)
        if change is not None:
            change(copy)
        if not self.store.models():
            self.store._client.create_registered_model("m")
        made = self.store._client.create_model_version(
            "m", source=str(copy), run_id=self.tiny.runs[name]
        )
        number = int(made.version)
        register.register_version(self.store, "m", number, wish=WISH, folder=self._folder())
        return number, copy

    def judge(
        self,
        version: int,
        champion: int | None = None,
        to: Stage = Stage.PRODUCTION,
        overrides: tuple[str, ...] = (),
        skip: tuple[str, ...] = SLOW,
        **limits: Any,
    ) -> Judgement:
        """Judge with everything under the test's folder allowed."""
        params = GateParams(skip=skip, roots=(str(self.folder), *self._shared()), **limits)
        return self.judge_with(params, version, champion, to, overrides)

    def judge_with(
        self,
        params: GateParams,
        version: int,
        champion: int | None = None,
        to: Stage = Stage.PRODUCTION,
        overrides: tuple[str, ...] = (),
    ) -> Judgement:
        """Judge with these parameters as they are."""
        found = projection.read(self.store, "m")
        assert version in state_of(found).stages
        case = Case("m", version, to, champion, found, self.store.shown("m"))
        where = self._folder()
        return judge(
            self.store, case, params, folder=where, overrides=overrides, say=self.said.append
        )

    def _folder(self) -> Path:
        where = self.folder / f"work-{len(list(self.folder.iterdir()))}"
        where.mkdir()
        return where

    def _shared(self) -> tuple[str, ...]:
        return (self.store.experiment_location(self.tiny.runs["good"]),)


@pytest.fixture
def bench(store: Any, tiny: Tiny, tmp_path: Path) -> Bench:
    return Bench(store, tiny, tmp_path)


def by_name(found: Judgement) -> dict[str, Check]:
    return {check.name: check for check in found.verdict.checks}


def refusals(found: Judgement) -> list[str]:
    return [check.name for check in found.verdict.checks if check.refused]


@contextmanager
def changed_signature(files: Path) -> Iterator[Any]:
    """The signature of a model's files, to be changed in place."""
    raw = yaml.safe_load((files / "MLmodel").read_text())
    parts = {k: json.loads(v) for k, v in raw["signature"].items() if v}
    yield parts
    raw["signature"] = {k: json.dumps(v) for k, v in parts.items()}
    (files / "MLmodel").write_text(yaml.safe_dump(raw))


def marked(files: Path, mark: Path) -> None:
    """Let the code that ships with a model leave a mark when it is run."""
    (code,) = (files / "code").glob("*.py")
    code.write_text(code.read_text() + f"\nopen({str(mark)!r}, 'w').close()\n")


def test_every_gate_is_recorded_and_the_ones_that_are_off_as_off(bench: Bench) -> None:
    found = bench.judge(bench.enter("good"), floor=0.5)
    assert [c.name for c in found.verdict.checks] == list(GATES)
    assert found.verdict.passed, found.verdict.failures
    assert [c.name for c in found.verdict.checks if c.skipped] == ["lineage", "serves", "latency"]
    assert not any("server" in sentence for sentence in bench.said)


def test_to_staging_only_the_artifact_is_tried(bench: Bench) -> None:
    found = bench.judge(bench.enter("worse"), to=Stage.STAGING, floor=0.99)
    assert [c.name for c in found.verdict.checks] == ["location", "intact", "loads"]
    assert found.verdict.passed
    assert found.page == ""


def test_a_worse_model_is_refused_and_the_page_shows_both(bench: Bench) -> None:
    champion, version = bench.enter("better"), bench.enter("worse")
    found = bench.judge(version, champion, floor=0.1, margin=0.01)
    assert refusals(found) == ["not_worse"]
    assert "of Production v1 on the same 400 rows" in by_name(found)["not_worse"].sentence
    for text in ("m v2 to Production: refused by 1 gate", "Reliability", "Metric", "Lineage"):
        assert text in found.page
    assert "<script" not in found.page
    assert "http://" not in found.page.replace("http://www.w3.org", "")


def test_the_same_model_again_is_not_worse(bench: Bench) -> None:
    champion, version = bench.enter("good"), bench.enter("same")
    found = by_name(bench.judge(version, champion))
    assert found["not_worse"].passed
    assert found["not_worse"].value == 0


def test_one_refusal_does_not_hide_the_others(bench: Bench) -> None:
    champion, version = bench.enter("good"), bench.enter("broken")
    found = bench.judge(version, champion, skip=("serves", "latency"), slices={"a": 0.1})
    assert refusals(found) == ["loads", "floor", "not_worse", "slices"]
    checks = by_name(found)
    assert checks["loads"].sentence.startswith("the artifact does not load (FileNotFoundError: ")
    assert str(bench.folder) not in checks["loads"].sentence
    assert checks["floor"].sentence == (
        "the candidate cannot be scored: it does not load, see gate loads"
    )
    assert checks["signature"].passed


def test_an_override_is_marked_and_keeps_its_sentence(bench: Bench) -> None:
    version = bench.enter("good")
    found = bench.judge(version, floor=0.99, overrides=("floor", "intact"))
    assert found.verdict.passed
    checks = by_name(found)
    assert (checks["floor"].passed, checks["floor"].overridden) == (False, True)
    assert "is below the limit 0.9900" in checks["floor"].sentence
    assert not checks["intact"].overridden
    assert "1 refusal overridden" in found.page


def test_slices_are_cut_from_the_held_out_rows(bench: Bench) -> None:
    champion, version = bench.enter("better"), bench.enter("good")
    found = by_name(bench.judge(version, champion, slices={"nowhere": 0.1}))["slices"]
    assert not found.passed
    assert found.sentence.endswith("they have a, b, y")


def test_an_artifact_elsewhere_is_refused_and_its_code_is_not_run(bench: Bench) -> None:
    mark = bench.folder / "mark"
    version, _ = bench.enter_copy("good", lambda files: marked(files, mark))
    found = bench.judge_with(GateParams(skip=SLOW), version)
    assert refusals(found) == ["location", "loads", "floor"]
    assert by_name(found)["loads"].sentence == (
        "not tried, for gate location refused and this would run the artifact's code"
    )
    assert not mark.exists()
    assert bench.judge_with(GateParams(skip=SLOW), version, overrides=("location",)).verdict.passed
    assert mark.exists()


def test_an_altered_artifact_is_refused_and_its_code_is_not_run(bench: Bench) -> None:
    mark = bench.folder / "mark"
    version, files = bench.enter_copy("good")
    assert bench.judge(version).verdict.passed
    marked(files, mark)
    found = bench.judge(version)
    assert "the artifact is not what was registered" in by_name(found)["intact"].sentence
    assert "loads" in refusals(found)
    assert not mark.exists()


def test_an_altered_champion_is_not_run_either(bench: Bench) -> None:
    mark = bench.folder / "mark"
    champion, files = bench.enter_copy("good")
    version = bench.enter("better")
    marked(files, mark)
    found = bench.judge(version, champion)
    assert refusals(found) == ["not_worse"]
    assert "Production v1 cannot be scored: its files are not those registered" in (
        by_name(found)["not_worse"].sentence
    )
    assert not mark.exists()


def test_a_champion_that_is_gone_from_mlflow_is_said(bench: Bench) -> None:
    champion, version = bench.enter("good"), bench.enter("better")
    bench.store._client.delete_model_version("m", str(champion))
    found = bench.judge(version, champion)
    assert refusals(found) == ["signature", "not_worse"]
    assert "MLflow has it no more" in by_name(found)["not_worse"].sentence


def test_a_signature_that_callers_do_not_fit_is_refused(bench: Bench) -> None:
    def more(files: Path) -> None:
        with changed_signature(files) as parts:
            parts["inputs"].append({"name": "c", "type": "double", "required": True})
            parts["outputs"].pop()

    champion = bench.enter("good")
    version, _ = bench.enter_copy("good", more)
    found = bench.judge(version, champion)
    assert by_name(found)["signature"].sentence == (
        "callers of Production v1 would break: input c is required, and callers do not send it; "
        "output probability_yes is gone"
    )


def test_a_model_without_a_signature_is_refused(bench: Bench) -> None:
    def bare(files: Path) -> None:
        raw = yaml.safe_load((files / "MLmodel").read_text())
        raw["signature"] = None
        (files / "MLmodel").write_text(yaml.safe_dump(raw))

    version, _ = bench.enter_copy("good", bare)
    assert refusals(bench.judge(version)) == ["signature"]


def test_a_run_without_held_out_rows_cannot_be_scored(bench: Bench, tiny: Tiny) -> None:
    version = bench.enter("good")
    client, run = bench.store._client, tiny.runs["good"]
    empty = client.create_run(client.get_run(run).info.experiment_id)
    source = bench.store.shown("m").versions[version].source
    made = client.create_model_version("m", source=source, run_id=empty.info.run_id)
    number = int(made.version)
    register.register_version(bench.store, "m", number, wish=WISH, folder=bench._folder())
    found = bench.judge(number)
    assert refusals(found) == ["floor", "not_worse", "slices"]
    assert by_name(found)["floor"].sentence.startswith("its run carries no held-out rows")
    assert record.FOLDER not in found.page
    assert "Reliability" not in found.page


def test_a_lost_artifact_is_said_by_every_gate_that_needs_it(bench: Bench) -> None:
    version, files = bench.enter_copy("good")
    shutil.rmtree(files)
    found = bench.judge(version)
    assert refusals(found) == ["intact", "loads", "signature", "floor"]
    assert "the artifact cannot be fetched" in by_name(found)["loads"].sentence


@pytest.mark.parametrize("form", ["models:/{model}", "runs:/{run}/model", "models:/m/1"])
def test_a_source_is_followed_to_where_its_files_lie(bench: Bench, tiny: Tiny, form: str) -> None:
    version = bench.enter("good")
    shown = bench.store.shown("m").versions[version]
    source = form.format(model=bench.store.run(tiny.runs["good"]).models[0], run=tiny.runs["good"])
    from dataclasses import replace

    where = bench.store.location(replace(shown, source=source))
    home = bench.store.experiment_location(tiny.runs["good"])
    assert where.startswith(home)


def test_a_source_elsewhere_is_not_hidden_by_the_id_of_a_model(bench: Bench) -> None:
    from dataclasses import replace

    version = bench.enter("good")
    shown = bench.store.shown("m").versions[version]
    assert shown.model_id
    assert bench.store.location(replace(shown, source="s3://elsewhere/m")) == "s3://elsewhere/m"


def test_two_models_that_ship_a_module_of_one_name_run_their_own(bench: Bench) -> None:
    champion = bench.enter("better")

    def broken(files: Path) -> None:
        (code,) = (files / "code").glob("*.py")
        code.write_text("raise RuntimeError('not the same code')")

    version, _ = bench.enter_copy("better", broken)
    found = by_name(bench.judge(version, champion))
    assert "not the same code" in found["loads"].sentence
    assert by_name(bench.judge(champion))["loads"].passed
