"""The contexts of `understudy package docker`: what is in them, and what refuses to be one."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cli.main import main
from delivery import docker, docker_healthy, docker_lock, docker_text
from delivery.errors import ExampleMissing, LockMissing, LockUnfit, SourcesMissing
from delivery.making import MANIFEST, making
from registry import artifact, digest, register
from registry.promote import Wish
from registry.store import Store
from tests.conftest import REPOSITORY

BASE = f"registry.example.org/python:3.11-slim@sha256:{'0a' * 32}"
LOCK = REPOSITORY / "requirements.lock"


@pytest.fixture(scope="module")
def project(
    tiny_template: tuple[Path, dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A project of model `m`, whose version 1 is in the ledger."""
    root = tmp_path_factory.mktemp("project")
    database, runs = tiny_template
    shutil.copy2(database, root / "mlflow.db")
    # The lock that the runs were made with, whatever has become of the repository's since.
    shutil.copy2(database.parent / "requirements.lock", root)
    (root / "params.yaml").write_text("registry: {model: m}\n")
    (root / "files").mkdir()
    store = Store(f"sqlite:///{root}/mlflow.db")
    register.register_run(store, "m", runs["better"], wish=Wish("ana"), folder=root / "files")
    return root


def package(project: Path, *arguments: str, code: int = 0, base: str = "") -> Result:
    """Run the command in the project, with UNDERSTUDY_BASE."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/mlflow.db")
        patch.setenv("UNDERSTUDY_BASE", base)
        done = CliRunner().invoke(main, ["package", "docker", *arguments], prog_name="understudy")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done


@pytest.fixture(scope="module")
def output(project: Path) -> Path:
    """What is made of version 1."""
    done = package(project, "--version", "1", "--base", BASE, "--output", "out/image")
    assert "contexts of two images in out/image: model (version 1 of m) and gateway" in done.stdout
    assert "next: docker build --tag m:v1 out/image/model" in done.stdout
    return project / "out" / "image"


@pytest.fixture
def store(project: Path) -> Store:
    return Store(f"sqlite:///{project}/mlflow.db")


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Instruction and what follows it, in one line each."""
    text = re.sub(r"\\\n", " ", dockerfile.read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]


def pairs(dockerfile: Path, instruction: str) -> dict[str, str]:
    """What a LABEL or ENV sets."""
    (found,) = (rest for name, rest in instructions(dockerfile) if name == instruction)
    return dict(word.split("=", 1) for word in shlex.split(found))


def test_the_model_s_context_holds_the_verified_files_and_nothing_else(
    output: Path, store: Store
) -> None:
    context = output / "model"
    chosen = artifact.choose(store, "m", 1)
    assert digest.of_folder(context / "model") == chosen.digest
    others = {
        p.relative_to(context).as_posix()
        for p in context.rglob("*")
        if p.is_file() and p.relative_to(context).parts[0] != "model"
    }
    assert others == {
        ".dockerignore", "Dockerfile", "requirements.txt",
        "serving/check.json", "serving/healthy.py", "serving/serve.sh",
    }  # fmt: skip
    assert not (context / "model" / "registered_model_meta").exists()
    said = json.loads((output / MANIFEST).read_text())
    assert (said["kind"], said["base"], said["digest"]) == ("docker", BASE, chosen.digest)


@pytest.mark.parametrize("name", ["model", "gateway"])
def test_what_is_sent_is_what_is_copied(output: Path, name: str) -> None:
    everything, *allowed = (output / name / ".dockerignore").read_text().split()
    assert everything == "*"
    found = instructions(output / name / "Dockerfile")
    copied = {
        rest.split()[0].split("/")[0] for i, rest in found if i == "COPY" and "--" not in rest
    }
    assert copied == {line.removeprefix("!") for line in allowed}
    assert all((output / name / source).exists() for source in copied)


@pytest.mark.parametrize("name", ["model", "gateway"])
def test_an_image_runs_unprivileged_on_a_pinned_base(output: Path, name: str) -> None:
    found = instructions(output / name / "Dockerfile")
    assert [rest.split()[0] for i, rest in found if i == "FROM"] == [BASE, BASE]
    last = max(n for n, (i, _) in enumerate(found) if i == "FROM")
    final = found[last:]
    assert "RUN" not in {i for i, _ in final}  # what installs stays behind
    assert dict(final)["USER"] == "10001:10001"
    assert dict(final)["STOPSIGNAL"] == "SIGTERM"
    for instruction in ("ENTRYPOINT", "HEALTHCHECK"):
        words = json.loads(dict(final)[instruction].partition("[")[2].join("[ "))
        assert Path(words[0]).is_absolute()
    assert pairs(output / name / "Dockerfile", "ENV").items() >= {
        "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
    }.items()  # fmt: skip


def test_labels_say_which_version_it_is(output: Path, store: Store) -> None:
    facts = artifact.choose(store, "m", 1).facts()
    del facts["stage"]  # moves on
    found = pairs(output / "model" / "Dockerfile", "LABEL")
    assert {f"understudy.{k}": v for k, v in facts.items() if v}.items() <= found.items()
    assert {"data_md5", "git_commit", "digest", "ledger_head"} <= facts.keys()
    oci = {k.rpartition("image.")[2]: v for k, v in found.items() if k.startswith("org.")}
    assert oci == {
        "title": "m",
        "version": "1",
        "revision": facts["git_commit"],
        "base.name": "registry.example.org/python:3.11-slim",
        "base.digest": f"sha256:{'0a' * 32}",
    }
    environment = pairs(output / "model" / "Dockerfile", "ENV")
    assert environment["UNDERSTUDY_DIGEST"] == facts["digest"]


def test_the_model_s_requirements_are_complete_and_no_more(output: Path) -> None:
    text = (output / "model" / "requirements.txt").read_text()
    pinned = [line for line in text.splitlines() if not line[0].isspace()]
    assert set(pinned) <= set(LOCK.read_text().splitlines())
    names = {canonicalize_name(re.split("==", line)[0]) for line in pinned}
    asked: set[str] = set()
    for name in names:  # what pip would find missing, by the packages' own word
        for line in importlib.metadata.requires(name) or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                asked.add(canonicalize_name(needed.name))
    assert asked <= names
    assert {"mlflow-skinny", "scikit-learn", "skops", "uvicorn", "fastapi", "pandas"} <= names
    assert not names & {"mlflow", "pyarrow", "dvc", "matplotlib", "sqlalchemy", "pip", "setuptools"}


def test_the_gateway_s_context_holds_the_project(output: Path) -> None:
    context = output / "gateway"
    assert (context / "requirements.txt").read_bytes() == LOCK.read_bytes()
    there = {p.name for p in (context / "project").iterdir()}
    assert {"pyproject.toml", "params.yaml", "cli", "registry", "serving", "understudy"} <= there
    assert not there & {"tests", "benchmarks", "mlflow.db", ".git", "data"}
    assert not list(context.rglob("__pycache__"))
    assert "model: m" in (context / "project" / "params.yaml").read_text()
    last = dict(instructions(context / "Dockerfile"))
    assert json.loads(last["CMD"])[0] == "serve"


def test_nothing_of_this_machine_is_written(output: Path, project: Path) -> None:
    private = [str(project), str(Path.home()) + "/"]
    private += [v for k, v in os.environ.items() if k.startswith(("PIP_", "UV_")) and len(v) > 3]
    for path in output.rglob("*"):
        if path.is_file() and path.relative_to(output).parts[:2] != ("model", "model"):
            text = path.read_text(errors="replace")
            assert not [word for word in private if word in text], path


def test_whoever_builds_may_read_it_whatever_the_umask_was(project: Path) -> None:
    before = os.umask(0o077)
    try:
        package(project, "--version", "1", "--base", BASE, "--output", "closed")
    finally:
        os.umask(before)
    modes = {
        p.is_dir(): p.stat().st_mode & 0o777 for p in (project / "closed" / "model").rglob("*")
    }
    assert modes == {True: 0o755, False: 0o644}


def test_hadolint_has_nothing_to_say(output: Path) -> None:
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("hadolint is not installed")
    files = [str(output / name / "Dockerfile") for name in ("model", "gateway")]
    done = subprocess.run([program, *files], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


# The start of a model server


def start(model: Path, wanted: str) -> subprocess.CompletedProcess[str]:
    """Run the image's script on a folder, with a program in uvicorn's place that says its words."""
    programs = model.parent / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "uvicorn").write_text('#!/bin/sh\necho "$__pyfunc_model_path__: $*"\n')
    (programs / "uvicorn").chmod(0o755)
    return subprocess.run(
        ["sh", "-c", docker_text.START.replace(docker_text.MODEL, str(model))],
        env={"PATH": f"{programs}:/usr/bin:/bin", "PORT": "81", "UNDERSTUDY_DIGEST": wanted},
        capture_output=True,
        text=True,
    )


def test_a_server_starts_on_the_files_that_the_ledger_knows(tmp_path: Path) -> None:
    model = tmp_path / "model"
    names = ("b", "B", "é", "z\U0001f600", "a b", "-x", "n\nl", "back\\slash", "d/e", "d.e", "d-e")
    for name in names:
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_text(name)
    done = start(model, digest.of_folder(model))
    assert done.stdout.startswith(f"{model}: --host 0.0.0.0 --port 81 "), done.stderr


@pytest.mark.parametrize(
    "change",
    [
        lambda m: (m / "model.skops").write_text("other"),
        lambda m: (m / "further").write_text(""),
        lambda m: (m / "link").symlink_to(m / "MLmodel"),
        lambda m: (m / "MLmodel").unlink(),
        lambda m: (m / "MLmodel").rename(m / "mlmodel"),
    ],
    ids=["changed", "added", "linked", "removed", "renamed"],
)
def test_a_server_does_not_start_on_others(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for name in ("MLmodel", "model.skops"):
        (model / name).write_text(name)
    wanted = digest.of_folder(model)
    change(model)
    done = start(model, wanted)
    assert (done.returncode, done.stdout) == (1, "")
    said = f"have the digest {digest.of_folder(model)}, not {wanted}"
    assert said in done.stderr


# The health check


@contextmanager
def answering(status: int, body: bytes) -> Iterator[int]:
    """A server that answers `/invocations` so, whatever it is asked; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status if self.path == "/invocations" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b'{"predictions": [1.5, {"a": "b"}]}', ""),
        (200, b'{"predictions": [1.5]}', "it gave 1 answers to 2 rows"),
        (200, b'{"predictions": [1.5, NaN]}', "no predictions, or some that are not finite"),
        (200, b'{"predictions": null}', "no predictions, or some that are not finite"),
        (200, b"\n", "no predictions, or some that are not finite"),
        (500, b'{"predictions": [1.5, 2]}', "it answered 500"),
    ],
)
def test_healthy_is_what_answers_its_example(status: int, body: bytes, said: str) -> None:
    with answering(status, body) as port:
        found = docker_healthy.problem(*docker_healthy.of_server("{}", port), 2)
    assert found == "" if not said else said in found


def test_the_image_s_own_check_asks_the_real_application(output: Path) -> None:
    serving = output / "model" / "serving"

    def check(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(serving / "healthy.py"), *arguments]
        return subprocess.run(
            command, env={**os.environ, **env}, capture_output=True, text=True, cwd=output
        )

    done = check("build", __pyfunc_model_path__=str(output / "model" / "model"))
    assert done.returncode == 0, done.stderr
    done = check(PORT="1")
    assert (done.returncode, done.stderr) == (1, "it does not answer (ConnectionRefusedError)\n")


# The lock

graphs = st.dictionaries(st.sampled_from("abcdefgh"), st.sets(st.sampled_from("abcdefgh")))


@given(graphs, st.sets(st.sampled_from("abcdefgh")))
def test_a_lock_is_reduced_to_what_is_reached(asks: dict[str, set[str]], wanted: set[str]) -> None:
    names = set("abcdefgh") | set(docker_lock.SERVER)
    lock = "# made by uv\n"
    for name in sorted(names):
        via = sorted(n for n, needed in asks.items() if name in needed)
        lock += f"{name}==1.0 ; python_version < '4' \\\n    --hash=sha256:{name}\n    # via\n"
        lock += "".join(f"    #   {v}\n" for v in (*via, "project (pyproject.toml)"))
    found = docker_lock.reduced(lock, "".join(f"{n}==1.0\n" for n in sorted(wanted)))
    reached, new = set(docker_lock.SERVER), set(wanted)
    while new:
        reached |= new
        new = set().union(*(asks.get(n, set()) for n in new)) - reached
    assert re.findall(r"^(\S+)==", found, re.M) == sorted(reached)
    assert found.count("--hash=") == len(reached)


def test_both_platforms_of_a_pin_are_kept() -> None:
    lock = "".join(f"{n}==1 --hash=sha256:0\n" for n in docker_lock.SERVER if n != "numpy")
    lock += "numpy==2.4 ; python_version < '3.12' \\\n    --hash=sha256:a\n"
    lock += "numpy==2.5 ; python_version >= '3.12' \\\n    --hash=sha256:b\n"
    found = docker_lock.reduced(lock, "numpy==2.4\nmlflow==1 # as skinny\n")
    assert "numpy==2.4 ;" in found
    assert "numpy==2.5 ;" in found


@pytest.mark.parametrize(
    ("requirements", "lock", "said"),
    [
        ("scipy==1.0", "scipy==1.1 --hash=x\n", r"scipy==1\.0 is wanted, it has 1\.1; "),
        ("xgboost==3", "", "xgboost is not in it"),
        ("mlflow==2", "mlflow==2 --hash=x\n", "mlflow==2 is wanted, it has 1"),
        ("scipy==1", "scipy==1\n", "scipy has no hash"),
        ("-r other.txt", "", "-r other.txt is wanted, which only an installer understands"),
        (
            "scipy @ https://example.org/scipy.whl",
            "scipy==1 --hash=x\n",
            "scipy.whl is wanted, it has 1",
        ),
    ],
)
def test_a_lock_that_does_not_fit(requirements: str, lock: str, said: str) -> None:
    lock += "".join(f"{n}==1 --hash=sha256:0\n" for n in docker_lock.SERVER)
    with pytest.raises(LockUnfit, match=r"requirements\.lock does not fit") as caught:
        docker_lock.reduced(lock, requirements)
    assert re.search(said, str(caught.value))


# Texts


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1))
def test_a_label_is_what_was_meant(text: str) -> None:
    quoted = docker_text._quoted(text)
    assert re.fullmatch(r'"([^"\\$]|\\["\\$])*"', quoted)  # nothing ends it or is a variable
    assert re.sub(r'\\(["\\$])', r"\1", quoted[1:-1]) == text


@given(st.text(min_size=1))
def test_no_fact_becomes_an_instruction(text: str) -> None:
    def begins(fact: str) -> list[str]:
        facts = {"model": fact, "version": "1", "digest": fact, "git_commit": fact}
        lines = docker_text.model(BASE, fact, facts, "3.11").split("\n")
        return [line.split("=")[0] for line in lines[1:]]

    assert begins(text) == begins("x")


# Refusals


def test_no_base_is_guessed(project: Path) -> None:
    said = package(project, "--version", "1", code=1).stderr
    assert "docker buildx imagetools inspect python:3.11-slim" in said


@pytest.mark.parametrize(
    "base",
    [
        "python:3.11-slim",
        "python@sha256:0a0a",
        f"python@sha256:{'0A' * 32}",
        f"python@sha256:{'0a' * 32}\nRUN true",
        f"--platform=x python@sha256:{'0a' * 32}",
    ],
)
def test_a_base_without_a_digest_is_refused(project: Path, base: str) -> None:
    said = package(project, "--version", "1", "--base", base, code=1).stderr
    assert "is not pinned" in said


def test_the_base_may_come_from_the_environment(project: Path) -> None:
    package(project, "--version", "1", "--output", "out/env", base=BASE)
    found = instructions(project / "out" / "env" / "model" / "Dockerfile")
    assert found[0] == ("FROM", f"{BASE} AS environment")


def test_what_is_there_already_stays(project: Path, output: Path) -> None:
    done = package(project, "--version", "1", "--output", "out/image", "--base", BASE, code=1)
    assert "out/image exists and is left as it is" in done.stderr


def test_only_the_lock_that_a_version_was_trained_with_will_do(
    store: Store, project: Path, tmp_path: Path
) -> None:
    (tmp_path / "params.yaml").write_text("registry: {model: m}\n")
    (tmp_path / "requirements.lock").write_text("# another\n")
    sha256 = hashlib.sha256((project / "requirements.lock").read_bytes()).hexdigest()
    said = f"requirements.lock with the SHA-256 {sha256[:12]}, which its lineage names"
    with (
        pytest.raises(LockMissing, match=re.escape(said)),
        making(store, "m", 1, "docker", tmp_path / "out") as made,
    ):
        docker.write(made, BASE, tmp_path, tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_model_without_an_example_cannot_be_asked(
    store: Store, project: Path, tmp_path: Path
) -> None:
    with (  # noqa: PT012
        pytest.raises(ExampleMissing, match="version 1 cannot be asked whether it is well: it was"),
        making(store, "m", 1, "docker", tmp_path / "out") as made,
    ):
        text = (made.model / "MLmodel").read_text()
        (made.model / "MLmodel").write_text(re.sub(r"(?m)^saved_input.*\n(^  .*\n)+", "", text))
        docker.write(made, BASE, project)
    assert not (tmp_path / "out").exists()


def test_the_gateway_s_image_needs_the_sources(store: Store, project: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(SourcesMissing, match=r"has no pyproject\.toml, requirements\.lock"),
        making(store, "m", 1, "docker", tmp_path / "out") as made,
    ):
        docker.write(made, BASE, project, tmp_path)
    assert not (tmp_path / "out").exists()
