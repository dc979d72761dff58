"""Registries that are not as ours: without stages, behind a token, or failing."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from registry import projection, promote, register, verify
from registry.errors import RegistryRefused, RegistryUnreachable, UnderstudyError
from registry.promote import Wish
from registry.sections import GATES, GateParams
from registry.stages import Stage
from registry.state import state_of
from registry.store import STAGES_TAG, Store
from tests.flow.proxy import Answer, proxy
from tests.flow.servers import mlflow_server

pytestmark = pytest.mark.flow

OFF = GateParams(skip=GATES)
WISH = Wish("ana")


@pytest.fixture(scope="module")
def runs(tiny_template: tuple[Path, dict[str, str]]) -> dict[str, str]:
    return tiny_template[1]


@pytest.fixture(scope="module")
def server(
    tiny_template: tuple[Path, dict[str, str]],
    environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """A real server on a copy of the tiny store."""
    folder = tmp_path_factory.mktemp("plain")
    shutil.copy2(tiny_template[0], folder / "mlflow.db")
    with mlflow_server(folder, environment, f"sqlite:///{folder}/mlflow.db") as address:
        yield address


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """One try of a few seconds, so that a test of a server that hangs does not."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")


def fill(store: Store, model: str, runs: dict[str, str], base: Path) -> None:
    """Versions 1 and 2, both promoted, and a rollback to 1."""
    for name in ("good", "better"):
        where = base / f"{model}-{name}"
        where.mkdir()
        register.register_run(store, model, runs[name], wish=WISH, folder=where)
    for version in (1, 2):
        where = base / f"{model}-{version}"
        where.mkdir()
        promote.promote(
            store, model, version, to=Stage.PRODUCTION, params=OFF, wish=WISH, folder=where
        )
    promote.rollback(store, model, to=None, wish=WISH)


def sound(store: Store, model: str, folder: Path) -> None:
    """The ledger, the files and what is shown agree."""
    report = verify.verify(store, model, keys={}, folder=folder)
    assert report.findings == ()
    assert state_of(projection.read(store, model)).production == 1
    assert store.shown(model).aliases == {"production": 1}


REFUSALS = {
    "unity": Answer(
        400,
        '{"error_code": "INTERNAL_ERROR", "message": "Method transition_model_version_stage '
        'is unsupported for models in the Unity Catalog."}',
    ),
    "unknown-call": Answer(404, '{"error_code": "ENDPOINT_NOT_FOUND", "message": "no such call"}'),
    "not-implemented": Answer(
        501, '{"error_code": "NOT_IMPLEMENTED", "message": "no stages here"}'
    ),
    "no-route": Answer(404, "<html><body>Not Found</body></html>", "text/html"),
}


@pytest.mark.parametrize("how", REFUSALS)
def test_where_there_are_no_stages_aliases_carry_the_projection(
    server: str, runs: dict[str, str], how: str, tmp_path: Path
) -> None:
    model = f"stageless-{how}"

    def rule(method: str, path: str, headers: Any) -> Answer | None:
        return REFUSALS[how] if "transition-stage" in path else None

    with proxy(server, rule) as address:
        store = Store(address)
        fill(store, model, runs, tmp_path)
        sound(store, model, tmp_path / "verify")
        shown = store.shown(model)
        assert not shown.has_stages
        assert {v.stage for v in shown.versions.values()} == {Stage.NONE}
        store.set_alias(model, "production", 2)
        found = projection.read(store, model)
        assert projection.seen(state_of(found), store.shown(model), 2) is Stage.PRODUCTION
        (difference,) = projection.differences(state_of(found), store.shown(model))
        assert difference.sentence == "alias production is v1 by the ledger and shows v2"
        projection.project(store, model, found)
        sound(store, model, tmp_path / "again")
        assert store._client.get_registered_model(model).tags[STAGES_TAG] == "none"


def test_behind_a_token(
    server: str, runs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rule(method: str, path: str, headers: Any) -> Answer | None:
        if headers.get("Authorization") == "Bearer a-token":
            return None
        return Answer(401, '{"error_code": "UNAUTHENTICATED", "message": "show your token"}')

    with proxy(server, rule) as address:
        with pytest.raises(RegistryRefused, match="it asks who you are; set"):
            Store(address).shown("tokened")
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a-token")
        store = Store(address)
        fill(store, "tokened", runs, tmp_path)
        sound(store, "tokened", tmp_path / "verify")


FAILURES = {
    "500": (Answer(500, "Internal Server Error", "text/plain"), "does not answer"),
    "503": (Answer(503, "", "text/plain"), "does not answer"),
    "silence": (Answer(200, "{}", seconds=5), "does not answer"),
    "html": (Answer(200, "<html><body>Sign in</body></html>", "text/html"), "does not answer"),
    "login": (Answer(403, "<html><body>Sign in</body></html>", "text/html"), "refused the request"),
    "other": (Answer(200, '["what"]'), "does not answer"),
}


@contextmanager
def failing(server: str, answer: Answer, when: Callable[[str, str], bool]) -> Iterator[Store]:
    """A store whose server answers wrongly to some calls."""
    with ExitStack() as stack:

        def rule(method: str, path: str, headers: Any) -> Answer | None:
            return answer if when(method, path) else None

        yield Store(stack.enter_context(proxy(server, rule)))


@pytest.fixture(scope="module")
def filled(server: str, runs: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model on the plain server, version 1 live."""
    fill(Store(server), "failing", runs, tmp_path_factory.mktemp("filled"))
    return "failing"


@pytest.mark.parametrize("how", FAILURES)
def test_a_server_that_fails_is_said_in_a_sentence(
    server: str, filled: str, how: str, impatient: None
) -> None:
    answer, sentence = FAILURES[how]
    with (
        failing(server, answer, lambda *_: True) as store,
        pytest.raises((RegistryUnreachable, RegistryRefused), match=sentence) as failed,
    ):
        store.shown(filled)
    assert "\n" not in str(failed.value)
    assert "<html" not in str(failed.value)


def flip(store: Store, model: str, folder: Path) -> None:
    """Put the other one of two versions into Production."""
    state = state_of(projection.read(store, model))
    if state.former:
        promote.rollback(store, model, to=None, wish=WISH)
        return
    version = 3 - int(state.production or 0)
    for to in (Stage.STAGING, Stage.PRODUCTION):
        where = folder / to
        where.mkdir()
        promote.promote(store, model, version, to=to, params=OFF, wish=WISH, folder=where)


@pytest.mark.parametrize(
    ("how", "call"),
    [
        ("500", "model-versions/create"),
        ("silence", "transition-stage"),
        ("html", "alias"),
        ("login", "set-tag"),
    ],
)
def test_a_server_that_fails_in_the_middle_leaves_what_the_next_command_finishes(
    server: str, filled: str, how: str, call: str, tmp_path: Path, impatient: None
) -> None:
    def when(method: str, path: str) -> bool:
        return method in ("POST", "PATCH", "PUT") and call in path

    store = Store(server)
    with failing(server, FAILURES[how][0], when) as broken, pytest.raises(UnderstudyError):
        flip(broken, filled, tmp_path)
    found, shown = projection.catch_up(store, filled)
    assert projection.differences(state_of(found), shown) == ()


def test_the_command_says_the_same(
    server: str, environment: dict[str, str], tmp_path: Path
) -> None:
    env = {
        **environment,
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "1",
    }
    (tmp_path / "params.yaml").write_text("registry: {model: m}\n")
    html = Answer(200, "<html>", "text/html")
    with proxy(server, lambda *_: html) as address:
        done = subprocess.run(
            ["understudy", "status"],
            cwd=tmp_path,
            env={**env, "MLFLOW_TRACKING_URI": address},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: the MLflow store at {address} does not answer (")
    assert "Traceback" not in done.stderr
