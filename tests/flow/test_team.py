"""A team: MLflow behind passwords on PostgreSQL and S3, git and DVC remotes, and two machines.

The machines have homes, users and working copies of their own, and share nothing but servers.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from tests.conftest import REPOSITORY, Project
from tests.flow.gateways import Got, send, until
from tests.flow.servers import free_port, mlflow_server, stop
from tests.flow.test_own_data import DIABETES, diabetes

pytestmark = [pytest.mark.flow, pytest.mark.slow]

ADMIN, PASSWORD = "keeper", "a-long-enough-password"
USERS = {"ana": "ana-password-1234", "ben": "ben-password-1234", "eve": "eve-password-1234"}
"""Ana trains, Ben decides; Eve has an account and may look."""


@dataclass(frozen=True)
class Servers:
    """Their addresses; all that the machines have in common."""

    mlflow: str
    git: str
    s3: str
    records: str
    """SQLAlchemy URL of the prediction log."""
    data: str
    """Of the DVC remote."""


@contextmanager
def listening(port: int, *command: str, **env: str) -> Iterator[None]:
    """A process, once it listens."""
    process = subprocess.Popen(
        command, env={**os.environ, **env}, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:

        def answers() -> bool:
            assert process.poll() is None, command
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True

        until(answers)
        yield
    finally:
        stop(process)


def databases(url: str, *names: str) -> list[str]:
    """New databases beside the one of `url`."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as there:
        for name in names:
            there.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return [url.rpartition("/")[0] + f"/{name}" for name in names]


@pytest.fixture(scope="module")
def servers(
    postgres_url: str, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    """MLflow with users, on PostgreSQL and an S3 stand-in; a git server; all of them empty."""
    pytest.importorskip("moto.server", reason="moto stands in for S3")
    folder = tmp_path_factory.mktemp("servers")
    store, users, records = databases(postgres_url, "team_mlflow", "team_users", "team_records")
    auth = (REPOSITORY / "deploy/compose/auth.ini").read_text()
    (folder / "auth.ini").write_text(
        re.sub("(?m)^database_uri = .*", f"database_uri = {users}", auth)
    )
    (folder / "git").mkdir()
    bare = ["git", "init", "-q", "--bare", "-b", "main", "work"]
    subprocess.run(bare, cwd=folder / "git", env=environment, check=True)
    s3_port, git_port = free_port(), free_port()
    s3 = f"http://127.0.0.1:{s3_port}"
    env = {
        **environment,
        **keys("mlflow"),
        "MLFLOW_S3_ENDPOINT_URL": s3,
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_USERNAME": ADMIN,
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "for-this-test-only",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes that nothing here needs
    }
    with ExitStack() as stack:
        moto = [sys.executable, "-W", "ignore", "-m", "moto.server", "-p", str(s3_port)]
        stack.enter_context(listening(s3_port, *moto))
        serve = ["git", "daemon", "--export-all", "--enable=receive-pack", "--listen=127.0.0.1"]
        serve += [f"--port={git_port}", f"--base-path={folder / 'git'}", str(folder / "git")]
        stack.enter_context(listening(git_port, *serve))
        for bucket in ("mlflow", "data"):
            made = urllib.request.Request(f"{s3}/{bucket}", method="PUT")  # noqa: S310
            urllib.request.urlopen(made, timeout=30).close()  # noqa: S310
        options = ("--app-name", "basic-auth", "--artifacts-destination", "s3://mlflow/artifacts")
        address = stack.enter_context(mlflow_server(folder, env, store, 1, options))
        remote = "s3://data/dvc"
        if importlib.util.find_spec("dvc_s3") is None:  # then the data goes by a shared folder
            remote = str(folder / "dvc")
        yield Servers(address, f"git://127.0.0.1:{git_port}/work", s3, records, remote)


def keys(name: str) -> dict[str, str]:
    """What a client of S3 shows; each has its own."""
    return {
        "AWS_ACCESS_KEY_ID": name,
        "AWS_SECRET_ACCESS_KEY": f"{name}-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def machine(servers: Servers, environment: dict[str, str], folder: Path, user: str) -> Project:
    """A computer with one user: a home, credentials, and a place for a working copy."""
    home = folder / user
    home.mkdir()
    (home / ".gitconfig").write_text(
        f"[user]\n name = {user}\n email = {user}@example.invalid\n[init]\n defaultBranch = main\n"
    )
    env = {
        **environment,
        **keys(user),
        "HOME": str(home),
        "MLFLOW_TRACKING_URI": servers.mlflow,
        "MLFLOW_TRACKING_USERNAME": user,
        "MLFLOW_TRACKING_PASSWORD": USERS[user],
        "UNDERSTUDY_ACTOR": user,
    }
    return Project(home / "work", env)


def clone(there: Project, servers: Servers) -> None:
    """A working copy from the git server."""
    Project(there.root.parent, there.env).run("git", "clone", "-q", servers.git, "work")


def publish(there: Project, message: str) -> None:
    """Commit, and let others have commit and data."""
    there.commit(message)
    there.run("dvc", "push", "-q", "data")
    there.run("git", "push", "-q", "origin", "HEAD:main")


def tool(there: Project, *arguments: str) -> Any:
    return json.loads(there.run("understudy", *arguments, "--json").stdout)


@contextmanager
def gateway(there: Project) -> Iterator[int]:
    """`understudy serve`; gives its port once it answers."""
    log = there.root.parent / "gateway.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            ["understudy", "serve"], cwd=there.root, env=dict(there.env), stdout=stream,
            stderr=stream, start_new_session=True,
        )  # fmt: skip
    known = there.root / ".understudy/gateways" / f"{process.pid}.json"
    try:
        try:
            until(lambda: process.poll() is not None or known.read_text() != "")
            port = int(json.loads(known.read_text())["address"].rpartition(":")[2])
            until(lambda: send(port, "GET", "/ready", None, {}).status == 200)
        except (AssertionError, OSError):
            pytest.fail(log.read_text()[-3000:])
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def ask(port: int, rows: pd.DataFrame, token: str = "") -> Got:
    columns = rows.drop(columns="target")
    body = json.dumps({"dataframe_split": json.loads(columns.to_json(orient="split", index=False))})
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return send(port, "POST", "/invocations", body.encode(), headers)


@pytest.mark.timeout(600)
def test_the_whole_loop_from_two_machines(
    servers: Servers,
    make_project: Callable[..., Project],
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    table = diabetes()
    params = {
        **DIABETES,
        # The scoring server is asked by other tests; here it takes seconds of each promotion.
        "gate": {"floor": 80, "margin": 5, "skip": ["serves", "latency"]},
        "serve": {"port": 0, "poll": 0.2, "rehearse": 1, "records": servers.records},
    }
    ana, ben, eve = (machine(servers, environment, tmp_path, user) for user in USERS)

    # The administrator makes the users, as docs/team.md says.
    admin = {
        "MLFLOW_TRACKING_URI": servers.mlflow,
        "MLFLOW_TRACKING_USERNAME": ADMIN,
        "MLFLOW_TRACKING_PASSWORD": PASSWORD,
        **{f"PASSWORD_{user.upper()}": password for user, password in USERS.items()},
    }
    keeper = Project(tmp_path, environment)
    users = str(REPOSITORY / "deploy/compose/users.py")
    keeper.run(sys.executable, users, "ana:member", "ben:member", "eve:reader", **admin)

    # Ana's machine: two data versions, two model versions.
    start = make_project(params, {"data/a.csv": table[:300].to_csv(index=False)})
    (start.root / "mlflow.db").unlink()
    start.root.rename(ana.root)
    ana.run("dvc", "remote", "add", "-q", "-d", "team", servers.data)
    if servers.data.startswith("s3:"):
        ana.run("dvc", "remote", "modify", "-q", "team", "endpointurl", servers.s3)
    ana.run("git", "remote", "add", "origin", servers.git)
    ana.commit("remotes")
    ana.run("dvc", "repro", "-q")
    (ana.root / "data/b.csv").write_text(table[300:].to_csv(index=False))
    ana.run("dvc", "add", "-q", "data")
    ana.commit("more data")
    ana.run("dvc", "repro", "-q")
    publish(ana, "two versions")

    # Ben's machine: the same bytes; both versions through the gates, by him.
    clone(ben, servers)
    ben.run("dvc", "pull", "-q", "data")
    assert (ben.root / "data/b.csv").read_bytes() == (ana.root / "data/b.csv").read_bytes()
    for version in ("1", "2"):
        done = tool(ben, "promote", version, "--to", "production", "--reason", "as agreed")
        assert done["gate"]["passed"]

    # Eve may look, and decides nothing; who has no account sees nothing.
    clone(eve, servers)
    assert "v2" in eve.run("understudy", "status").stdout
    refused = eve.run("understudy", "rollback", "--reason", "I want to", code=1).stderr
    assert "Permission denied" in refused
    assert "Traceback" not in refused
    unknown = eve.run("understudy", "status", code=1, MLFLOW_TRACKING_PASSWORD="")
    assert "it asks who you are; set MLFLOW_TRACKING_USERNAME" in unknown.stderr

    # It serves on Ben's machine; Ana rolls back from hers.
    token = ben.run("understudy", "token", "website").stdout.split()[0]
    with gateway(ben) as port:
        assert ask(port, table[:1]).status == 401
        first = ask(port, table[:1], token)
        assert first.version == 2, first.body
        until(lambda: status(port)["rollback_ready"])
        assert tool(ana, "rollback", "--reason", "answers look odd")["version"] == 1
        until(lambda: status(port)["version"] == 1)
        second = ask(port, table[:1], token)
        assert (second.status, second.version) == (200, 1)
        assert second.json["predictions"] != first.json["predictions"]
    explained = tool(ana, "explain", first.headers["x-understudy-prediction-id"])
    assert explained["prediction"]["version"] == 2
    assert explained["origin"]["data_md5"] in (ben.root / "data.dvc").read_text()

    # What each of them sees is the same, and sound.
    history = [(entry["kind"], entry["actor"]) for entry in tool(ben, "history")]
    assert history == [
        *[("register", "ana")] * 2, *[("promote", "ben")] * 2, ("rollback", "ana"),
    ]  # fmt: skip
    assert tool(ben, "verify")["sound"]


def status(port: int) -> Any:
    """Of the one model that a gateway serves."""
    (found,) = json.loads(send(port, "GET", "/status", None, {}).body)["models"].values()
    return found


@pytest.mark.timeout(900)
def test_airflow_runs_the_night(make_project: Callable[..., Project], tmp_path: Path) -> None:
    """`airflow dags test`, on a project with a live version, a prediction log and newer data."""
    airflow = os.environ.get("UNDERSTUDY_AIRFLOW", "")
    if not airflow:
        pytest.skip("UNDERSTUDY_AIRFLOW does not name an airflow; deploy/README.md says how")
    table = diabetes()
    made = make_project(
        {
            **DIABETES,
            "gate": {"skip": ["lineage", "serves", "latency"]},
            "serve": {"port": 0, "poll": 0.2},
        },
        {"data/a.csv": table[:300].to_csv(index=False)},
    )
    made.run("dvc", "repro", "-q")
    made.run("understudy", "promote", "1", "--to", "production")
    with gateway(made) as port:
        assert ask(port, table[:50]).status == 200
    (made.root / "data/b.csv").write_text(table[300:].to_csv(index=False))

    air = Project(
        tmp_path,
        {
            **made.env,
            "AIRFLOW_HOME": str(tmp_path / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "deploy/airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "PYTHONDONTWRITEBYTECODE": "1",
            "UNDERSTUDY_HOME": str(made.root),
            "UNDERSTUDY_BIN": str(Path(sys.executable).parent),
            "UNDERSTUDY_NEWEST_DATA": "dvc add data",
        },
    )
    air.run(airflow, "db", "migrate")
    done = air.run(airflow, "dags", "test", "understudy_nightly")
    assert "state=success" in done.stdout + done.stderr
    found = tool(made, "status")
    assert [(v["version"], v["stage"]) for v in found["versions"]] == [
        (1, "Production"),
        (2, "None"),
    ]
    assert tool(made, "history")[-1]["actor"] == "auto:airflow"
    looked = (made.root / ".understudy/monitor.prom").read_text()
    assert 'understudy_monitor_last_check_seconds{model="diabetes"}' in looked
