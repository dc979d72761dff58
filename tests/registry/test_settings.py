"""What the registry reads off a working copy: params.yaml, lineage, digests, records, stages."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from registry import digest, lineage, record, settings, stages
from registry.errors import ParamsInvalid, ParamsMissing, ProjectError, ProjectNotFound
from registry.record import Record
from registry.sections import GateParams, RegistryParams, Section
from registry.stages import ALIASES, Stage

quick = hypothesis_settings(deadline=None, max_examples=50)
SECTIONS = "ingest, data, train, evaluate, tune, registry, gate, serve, experiment, monitor"

NAME = "letters, digits, '_', '-' and '.' make a name, 200 of them at the most"


def project(folder: Path, text: str | bytes) -> Path:
    path = folder / "params.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


# params.yaml


def test_the_project_is_the_nearest_folder_with_params(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    project(tmp_path, "")
    assert settings.find_root(inner) == tmp_path.resolve()
    project(tmp_path / "a", "")
    assert settings.find_root(inner) == (tmp_path / "a").resolve()


def test_the_project_is_looked_for_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inner").mkdir()
    project(tmp_path, "registry: {model: m}")
    monkeypatch.chdir(tmp_path / "inner")
    assert settings.find_root() == tmp_path.resolve()
    assert settings.registry_params() == RegistryParams(model="m")


def test_a_folder_named_params_is_no_project(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").mkdir()
    with pytest.raises(ProjectNotFound) as missing:
        settings.find_root(tmp_path)
    assert str(missing.value) == (
        f"no params.yaml in {tmp_path.resolve()} or in any folder above it; "
        "change into the project, or name the model with --model and the server with "
        "MLFLOW_TRACKING_URI"
    )


def test_sections_are_read_with_their_defaults(tmp_path: Path) -> None:
    project(tmp_path, "registry: {model: m.2_x-y}\ngate: {floor: 0.5}\ntrain: {anything: 1}")
    assert settings.registry_params(tmp_path).model == "m.2_x-y"
    assert settings.gate_params(tmp_path) == GateParams(floor=0.5, margin=0.0)
    project(tmp_path, "gate:\n  margin: 1\n")
    assert settings.gate_params(tmp_path) == GateParams(floor=None, margin=1.0)


@pytest.mark.parametrize("text", ["registry: {model: m}", "gate:\n"])
def test_a_section_whose_keys_all_have_defaults_may_be_absent_or_empty(
    tmp_path: Path, text: str
) -> None:
    assert settings.gate_params(project(tmp_path, text)) == GateParams()


def test_a_needed_section_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParamsMissing) as missing:
        settings.registry_params(project(tmp_path, "gate: {}"))
    assert str(missing.value) == (
        "params.yaml has no section 'registry'; add it, docs/parameters.md lists its keys"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it has no sections"),
        ("just words", "it has no sections"),
        ("- a list", "it has no sections"),
        ("registry: {model: m}\ngate: [", "it is not valid YAML at line 2"),
        ("registry: !!python/object:os.system {}", "it is not valid YAML at line 1"),
        (b"registry: {model: \xff}", "it is not valid YAML"),
        ("registry: {model: \x01}", "it is not valid YAML"),
        ("modle: {}", f"unknown section 'modle'; there are {SECTIONS}"),
        ("1: {}", f"unknown section '1'; there are {SECTIONS}"),
        (
            "Gate: {}\nregistry: {model: m}\nsrve: {}",
            f"unknown section 'Gate'; there are {SECTIONS}; "
            f"unknown section 'srve'; there are {SECTIONS}",
        ),
        ("registry: m", "registry must be a table of keys and values"),
        ("registry: [m]", "registry must be a table of keys and values"),
        ("registry: {}", "registry.model is missing"),
        ("registry:", "registry.model is missing"),
        ("registry: {model: 3}", "registry.model is 3: input should be a valid string"),
        (
            "registry: {model: ''}",
            "registry.model is '': " + NAME,
        ),
        (
            "registry: {model: a/b}",
            "registry.model is 'a/b': " + NAME,
        ),
        (
            'registry: {model: "m\\n"}',
            "registry.model is 'm\\n': " + NAME,
        ),
        (
            "registry: {model: m, name: n}",
            "unknown key registry.name; registry has model, keys",
        ),
        (
            "registry: {modle: m, name: n}",
            "registry.model is missing; unknown key registry.modle; registry has model, keys; "
            "unknown key registry.name; registry has model, keys",
        ),
    ],
)
def test_every_problem_of_params_is_named(tmp_path: Path, text: str | bytes, problem: str) -> None:
    with pytest.raises(ParamsInvalid) as invalid:
        settings.registry_params(project(tmp_path, text))
    assert str(invalid.value) == f"params.yaml: {problem}"
    assert "; ".join(invalid.value.problems) == problem
    assert isinstance(invalid.value, ProjectError)


def test_several_wrong_values_are_named_together(tmp_path: Path) -> None:
    with pytest.raises(ParamsInvalid) as invalid:
        settings.gate_params(project(tmp_path, "gate: {floor: high, margin: -1, flor: 1}"))
    assert invalid.value.problems == (
        "gate.floor is 'high': input should be a valid number",
        "gate.margin is -1: input should be greater than or equal to 0",
        f"unknown key gate.flor; gate has {', '.join(GateParams.model_fields)}",
    )


def test_sections_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        GateParams().margin = 1.0  # type: ignore[misc]


def test_a_value_error_of_a_section_is_its_sentence() -> None:
    from pydantic import field_validator

    class Even(Section):
        count: int

        @field_validator("count")
        @classmethod
        def _is_even(cls, value: int) -> int:
            if value % 2:
                raise ValueError("It must be even")
            return value

    with pytest.raises(ParamsInvalid) as invalid:
        settings.check_section("pairs", Even, {"count": 3})
    assert str(invalid.value) == "params.yaml: pairs.count is 3: it must be even"


@pytest.mark.parametrize("text", ["{floor: .nan}", "{floor: -.inf}", "{margin: .inf}"])
def test_a_limit_is_a_finite_number(tmp_path: Path, text: str) -> None:
    with pytest.raises(ParamsInvalid):
        settings.gate_params(project(tmp_path, f"gate: {text}"))


def test_a_date_that_does_not_exist_is_a_problem_of_params(tmp_path: Path) -> None:
    with pytest.raises(ParamsInvalid):
        settings.gate_params(project(tmp_path, "gate: {floor: 2024-13-45}"))


def test_the_tracking_uri_is_the_environments_or_the_projects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example")
    assert settings.tracking_uri(tmp_path) == "http://mlflow.example"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert settings.tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.chdir(project(tmp_path, ""))
    assert settings.tracking_uri() == f"sqlite:///{tmp_path.resolve()}/mlflow.db"


def test_telemetry_is_switched_off_unless_someone_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_DISABLE_TELEMETRY", "DVC_NO_ANALYTICS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DO_NOT_TRACK", "mine")
    settings.quiet()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == os.environ["DVC_NO_ANALYTICS"] == "true"
    assert os.environ["DO_NOT_TRACK"] == "mine"


# stages


@pytest.mark.parametrize("stage", Stage)
def test_a_stage_is_read_whatever_its_capitals(stage: Stage) -> None:
    for word in (stage.value, stage.upper(), stage.lower(), f" {stage}\n"):
        assert stages.parse(word) is stage


@pytest.mark.parametrize("word", ["", "live", "prod", "Production2"])
def test_a_word_that_is_no_stage_is_refused_with_those_that_are(word: str) -> None:
    with pytest.raises(ValueError, match="not a stage") as refused:
        stages.parse(word)
    assert str(refused.value) == (
        f"{word!r} is not a stage; the stages are None, Staging, Production, Archived"
    )


def test_the_stages_that_hold_one_version_have_an_alias() -> None:
    assert ALIASES == {Stage.STAGING: "staging", Stage.PRODUCTION: "production"}


# digest

FILES = {"MLmodel": b"flavors", "model.skops": b"\x00\xff", "code/a.py": b"", "code/B b.py": b"x"}


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def test_the_digest_is_that_of_a_manifest_made_with_sha256sum(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", {**FILES, "code.txt": b"1", "Z": b"2", "ä": b"3"})
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    manifest = subprocess.run(
        ["sha256sum", *sorted(names)], cwd=folder, check=True, capture_output=True
    ).stdout
    assert hashlib.sha256(manifest).hexdigest() == digest.of_folder(folder)


def test_the_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\x00" * 3_000_000)
    assert digest.of_file(tmp_path / "f") == hashlib.sha256(b"\x00" * 3_000_000).hexdigest()


def test_the_digest_does_not_depend_on_the_order_files_were_made_in(tmp_path: Path) -> None:
    one = write(tmp_path / "one", FILES)
    other = write(tmp_path / "other", dict(reversed(FILES.items())))
    assert digest.of_folder(one) == digest.of_folder(other)


@pytest.mark.parametrize(
    "change",
    [
        *({name: content + b"."} for name, content in FILES.items()),
        {"model.skops": b"\x00\xfe"},
        {"new": b""},
        {"code/new": b""},
    ],
    ids=str,
)
def test_the_digest_changes_with_any_byte_and_any_file(
    tmp_path: Path, change: dict[str, bytes]
) -> None:
    folder = write(tmp_path / "model", FILES)
    before = digest.of_folder(folder)
    write(folder, change)
    assert digest.of_folder(folder) != before


@pytest.mark.parametrize("rename", [("MLmodel", "mlmodel"), ("code/a.py", "a.py")])
def test_the_digest_changes_with_a_name(tmp_path: Path, rename: tuple[str, str]) -> None:
    folder = write(tmp_path / "model", FILES)
    before = digest.of_folder(folder)
    (folder / rename[0]).rename(folder / rename[1])
    assert digest.of_folder(folder) != before


def test_the_digest_changes_when_a_file_is_gone(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", FILES)
    before = digest.of_folder(folder)
    (folder / "code/a.py").unlink()
    assert digest.of_folder(folder) != before


def test_what_mlflow_adds_to_a_download_is_not_of_the_model(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", FILES)
    before = digest.of_folder(folder)
    write(folder, {"registered_model_meta": b"model_version: 2"})
    assert digest.of_folder(folder) == before


# record

TABLE = pd.DataFrame({"a": [1.0, 2.5], "b": ["x", None], "y": ["no", "yes"]})
words = st.text(min_size=1, max_size=8)
records = st.builds(
    Record,
    problem=st.sampled_from(["binary", "multiclass", "regression"]),
    target=words,
    features=st.lists(words, max_size=4).map(tuple),
    metric=words,
    classes=st.lists(words, max_size=4).map(tuple),
    positive=st.none() | words,
)


@quick
@given(records)
def test_a_record_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, one: Record
) -> None:
    folder = tmp_path_factory.mktemp("record") / record.FOLDER
    record.write(folder, one, holdout=TABLE, reference=TABLE[:1])
    assert record.read(folder) == one


def test_the_rows_of_a_record_are_read_as_they_were_written(tmp_path: Path) -> None:
    one = Record("binary", "y", ("a", "b"), "roc_auc", ("no", "yes"), "yes")
    record.write(tmp_path, one, holdout=TABLE, reference=TABLE[:1])
    pd.testing.assert_frame_equal(record.holdout(tmp_path), TABLE)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / record.REFERENCE), TABLE[:1])


def test_the_truth_of_a_record_is_its_target() -> None:
    one = Record("binary", "y", ("a", "b"), "roc_auc", ("no", "yes"), "yes")
    truth = one.truth(TABLE)
    assert truth.labels.tolist() == ["no", "yes"]
    assert (truth.problem, truth.classes, truth.positive) == ("binary", ("no", "yes"), "yes")
    numbers = dataclasses.replace(one, problem="regression", target="a").truth(TABLE)
    assert numbers.labels.dtype == float
    assert numbers.labels.tolist() == [1.0, 2.5]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (None, "FileNotFoundError"),
        (lambda _: "{", "JSONDecodeError"),
        (lambda _: "[]", "TypeError"),
        (lambda raw: json.dumps({k: v for k, v in raw.items() if k != "features"}), "KeyError"),
        (lambda raw: json.dumps({k: v for k, v in raw.items() if k != "target"}), "TypeError"),
        (lambda raw: json.dumps({**raw, "extra": 1}), "TypeError"),
        (lambda raw: json.dumps({**raw, "classes": None}), "TypeError"),
    ],
)
def test_a_record_of_another_form_is_refused(
    tmp_path: Path, change: Callable[[dict[str, object]], str] | None, why: str
) -> None:
    one = Record("binary", "y", ("a",), "roc_auc", ("no", "yes"), "yes")
    record.write(tmp_path, one, holdout=TABLE, reference=TABLE)
    path = tmp_path / record.RECORD
    if change is None:
        path.unlink()
    else:
        path.write_text(change(json.loads(path.read_text())))
    with pytest.raises(ValueError, match="cannot be read") as refused:
        record.read(tmp_path)
    assert str(refused.value) == f"record.json cannot be read ({why})"


def test_rows_that_are_missing_or_no_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holdout\.parquet cannot be read \(FileNotFoundError\)"):
        record.holdout(tmp_path)
    (tmp_path / record.HOLDOUT).write_bytes(b"no table")
    with pytest.raises(ValueError, match=r"holdout\.parquet cannot be read \(ArrowInvalid\)"):
        record.holdout(tmp_path)


# lineage


@pytest.fixture
def git(tmp_path: Path, environment: dict[str, str]) -> Callable[..., str]:
    """Git in a committed project: params.yaml, requirements.lock, code.py, data.dvc, dvc.lock."""

    def run(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=tmp_path,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    project(tmp_path, "registry: {model: m}")
    write(tmp_path, {"requirements.lock": b"mlflow==3.17\n", "code.py": b"", ".gitignore": b"*.db"})
    write(tmp_path, {"data.dvc": b"outs:\n- md5: abc.dir\n  path: data\n", "dvc.lock": b"{}"})
    run("init", "-q")
    run("add", "-A")
    run("commit", "-q", "-m", "start")
    return run


def test_the_lineage_of_a_clean_copy(tmp_path: Path, git: Callable[..., str]) -> None:
    found = lineage.collect(tmp_path)
    assert found == lineage.Lineage(
        git_commit=git("rev-parse", "HEAD").strip(),
        git_dirty="false",
        data_md5="abc.dir",
        params_sha256=hashlib.sha256(b"registry: {model: m}").hexdigest(),
        lock_sha256=hashlib.sha256(b"mlflow==3.17\n").hexdigest(),
    )
    assert found.tags()["understudy.git_dirty"] == "false"
    assert len(found.tags()) == 5


@pytest.mark.parametrize(
    ("change", "files"),
    [
        ({"code.py": b"x"}, ("code.py",)),
        ({"params.yaml": b"registry: {model: n}"}, ("params.yaml",)),
        ({"new.py": b""}, ("new.py",)),
        ({"code.py": b"x", "deep/new.py": b""}, ("code.py", "deep/new.py")),
        ({"mlflow.db": b""}, ()),
        ({"data.dvc": b"outs:\n- md5: def.dir\n", "dvc.lock": b"{x: 1}"}, ()),
    ],
)
def test_code_and_parameters_make_a_copy_dirty_and_pointers_to_data_do_not(
    tmp_path: Path, git: Callable[..., str], change: dict[str, bytes], files: tuple[str, ...]
) -> None:
    write(tmp_path, change)
    for _ in ("changed", "staged"):
        assert lineage.dirty_files(tmp_path) == files
        assert lineage.collect(tmp_path).git_dirty == ("true" if files else "false")
        git("add", "-A")


def test_a_deleted_file_makes_a_copy_dirty(tmp_path: Path, git: Callable[..., str]) -> None:
    (tmp_path / "code.py").unlink()
    assert lineage.dirty_files(tmp_path) == ("code.py",)


def test_another_data_version_is_in_the_lineage(tmp_path: Path, git: Callable[..., str]) -> None:
    write(tmp_path, {"data.dvc": b"outs:\n- md5: def.dir\n"})
    assert lineage.collect(tmp_path).data_md5 == "def.dir"


def test_the_pointer_is_that_of_the_path_in_params(tmp_path: Path, git: Callable[..., str]) -> None:
    project(tmp_path, "data: {path: table/}")
    write(tmp_path, {"table.dvc": b"outs:\n- md5: 123\n"})
    assert lineage.data_pointer(tmp_path) == tmp_path / "table.dvc"
    assert lineage.collect(tmp_path).data_md5 == "123"
    git("add", "-A")
    git("commit", "-q", "-m", "another table")
    write(tmp_path, {"table.dvc": b"outs:\n- md5: 456\n", "data.dvc": b""})
    assert lineage.dirty_files(tmp_path) == ("data.dvc",)


def test_a_pointer_in_a_folder_does_not_make_a_copy_dirty(
    tmp_path: Path, git: Callable[..., str]
) -> None:
    project(tmp_path, "data: {path: tables/flights}")
    write(tmp_path, {"tables/flights.dvc": b"outs:\n- md5: 123\n"})
    git("add", "-A")
    git("commit", "-q", "-m", "another table")
    write(tmp_path, {"tables/flights.dvc": b"outs:\n- md5: 456\n"})
    assert lineage.dirty_files(tmp_path) == ()


def test_a_project_in_a_folder_of_its_repository_has_the_lineage_of_that_folder(
    tmp_path: Path, git: Callable[..., str]
) -> None:
    inner = tmp_path / "inner"
    write(inner, {"params.yaml": b"gate: {}", "data.dvc": b"outs:\n- md5: 789\n"})
    git("add", "-A")
    git("commit", "-q", "-m", "inner")
    write(inner, {"data.dvc": b"outs:\n- md5: 790\n"})
    found = lineage.collect(inner)
    assert (found.data_md5, found.git_dirty) == ("790", "false")
    write(inner, {"new.py": b""})
    assert lineage.dirty_files(inner) == ("new.py",)


def test_without_git_the_rest_is_known(tmp_path: Path) -> None:
    project(tmp_path, "gate: {}")
    found = lineage.collect(tmp_path)
    assert (found.git_commit, found.git_dirty) == ("", "")
    assert found.tags() == {"understudy.params_sha256": hashlib.sha256(b"gate: {}").hexdigest()}


def test_without_the_git_program_the_rest_is_known(
    tmp_path: Path, git: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = lineage.collect(tmp_path)
    assert (found.git_commit, found.git_dirty, found.data_md5) == ("", "", "abc.dir")


@pytest.mark.parametrize(
    "files",
    [
        {"data.dvc": b"outs: []"},
        {"data.dvc": b"{"},
        {"data.dvc": b"outs: {md5: 1}"},
        {"params.yaml": b"data: words"},
        {"params.yaml": b"["},
        pytest.param(
            {"params.yaml": b"\xff"},
        ),
    ],
)
def test_what_cannot_be_read_is_unknown(tmp_path: Path, files: dict[str, bytes]) -> None:
    write(tmp_path, files)
    assert lineage.collect(tmp_path).data_md5 == ""
