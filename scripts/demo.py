"""`make demo`: the whole loop on real data, in a few minutes; may be run again.

Data version -> dvc repro -> promote -> next data version -> dvc repro -> promote or be refused ->
serve -> ask -> roll back -> ask again. Every step is a command that a person could type.
"""

from __future__ import annotations

import json
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import yaml

from pipelines import ingest, paths
from registry.errors import UnderstudyError
from registry.settings import find_root, quiet

START = time.monotonic()
SERVER_SECONDS = 90


def say(text: str) -> None:
    """A heading with the time so far."""
    click.secho(f"\n[{time.monotonic() - START:4.0f} s] {text}", bold=True)


def run(command: str, *, may_refuse: bool = False) -> bool:
    """Run one command in view; returns whether it ended well."""
    click.secho(f"$ {command}", fg="cyan")
    done = subprocess.run(shlex.split(command))
    if done.returncode and not may_refuse:
        raise click.ClickException(f"{command!r} ended with {done.returncode}; see above")
    return done.returncode == 0


def status() -> dict[str, Any]:
    """What `understudy status --json` says."""
    done = subprocess.run(["understudy", "status", "--json"], capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {"versions": []}
    return found


def train() -> int:
    """`dvc repro`; returns the version it registered."""
    run("dvc repro")
    version = int(paths.read_json(paths.VERSION)["version"])
    if version not in [v["version"] for v in status()["versions"]]:
        # DVC remembers a run that this MLflow store, a new one, has never seen.
        run("dvc repro --force --single-item train evaluate register")
        version = int(paths.read_json(paths.VERSION)["version"])
    return version


def promote(version: int, reason: str) -> bool:
    """Promote to Production; a refusal is shown and is no failure of the demonstration."""
    stage = {v["version"]: v["stage"] for v in status()["versions"]}[version]
    if stage == "Production":
        click.echo(f"version {version} is in Production already")
        return True
    if stage == "Archived":  # of an earlier demonstration
        run(f"understudy promote {version} --to staging --reason 'the demonstration again'")
    command = f"understudy promote {version} --to production --reason {shlex.quote(reason)}"
    return run(command, may_refuse=True)


@contextmanager
def served() -> Iterator[str]:
    """`understudy serve`; gives its address once it answers and the way back is rehearsed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = f"understudy serve --port {port}"
    click.secho(f"$ {command}", fg="cyan")
    log = Path(".understudy/demo-gateway.log")
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as stream:
        gateway = subprocess.Popen(shlex.split(command), stdout=stream, stderr=stream)
    address = f"http://127.0.0.1:{port}"
    try:
        until_ready(address, gateway, log)
        yield address
    finally:
        gateway.send_signal(signal.SIGINT)
        try:
            gateway.wait(30)
        except subprocess.TimeoutExpired:
            gateway.kill()


def until_ready(address: str, gateway: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the live version answers and the former one has been rehearsed."""
    end = time.monotonic() + SERVER_SECONDS
    while time.monotonic() < end and gateway.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/status", timeout=30) as answer:  # noqa: S310
                (found,) = json.load(answer)["models"].values()
        except (urllib.error.URLError, ConnectionError):
            found = {"ready": False}
        way_back = found.get("understudy") is None or found["rollback_ready"]
        if found["ready"] and not found["starting"] and way_back:
            click.echo(f"version {found['version']} answers; its page is at {address}/")
            return
        time.sleep(0.2)
    lines = log.read_text().splitlines()
    last = lines[-1] if lines else "it said nothing"
    raise click.ClickException(f"the gateway does not answer ({last}); all it said is in {log}")


def ask(address: str, rows: dict[str, Any]) -> None:
    """One request, and which version answered."""
    body = json.dumps({"dataframe_split": rows}).encode()
    request = urllib.request.Request(  # noqa: S310 - our own gateway on this machine
        f"{address}/invocations", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        found = json.load(answer)["predictions"][0]
        version = answer.headers["X-Understudy-Version"]
    click.echo(f"version {version} answers {json.dumps(found)}")


def example() -> dict[str, Any]:
    """One held-out row, as a caller would send it."""
    import pandas as pd

    rows = pd.read_parquet(paths.PREPARED / "holdout.parquet").head(1)
    features = yaml.safe_load(paths.CONTRACT.read_text())
    columns = [*features["categorical"], *features["numeric"]]
    found: dict[str, Any] = json.loads(rows[columns].to_json(orient="split", index=False))
    return {"columns": found["columns"], "data": found["data"]}


def first_data_version(root: Path) -> str:
    """Put data.dvc back to the committed one, if it is the demonstration's; returns its step."""
    source = ingest.load_source(root)
    shown = subprocess.run(["git", "show", "HEAD:data.dvc"], capture_output=True, text=True)
    if shown.returncode:
        raise click.ClickException("no commit here holds data.dvc; the demonstration starts there")
    committed = yaml.safe_load(shown.stdout)["outs"][0]["md5"]
    now = yaml.safe_load((root / "data.dvc").read_text())["outs"][0]["md5"]
    files = ingest.recorded(source, committed)
    if now != committed:
        ingest.recorded(source, now)  # raises if it is somebody's own data
        (root / "data.dvc").write_text(shown.stdout)
    return source.steps()[len(files) - 1]


def next_step(root: Path, step: str) -> str:
    """The data version after `step`."""
    steps = ingest.load_source(root).steps()
    return steps[steps.index(step) + 1]


def demonstrate() -> None:
    """The whole loop."""
    root = find_root()
    say("the data: the version that data.dvc names, written from its source")
    step = first_data_version(root)
    run("python -m pipelines.ingest")
    run("dvc add --quiet data")  # into DVC's cache, so that there is a way back to it
    say("the pipeline: validate, prepare, train (an MLflow Project run), evaluate, register")
    first = train()
    say(f"version {first} to Production, through the gates")
    promote(first, f"trained on data through {step}")
    later = next_step(root, step)
    say(f"the next data version, through {later}, and the same pipeline")
    run(f"python -m pipelines.ingest --through {later}")
    run("dvc add --quiet data")
    second = train()
    run("dvc metrics diff", may_refuse=True)
    say(f"version {second} against version {first} on the same held-out rows")
    passed = promote(second, f"trained on data through {later}")
    if not passed:
        click.echo(f"refused, as it may be; version {first} stays in Production")
    row = example()
    say("a gateway before `mlflow models serve`, and one prediction over HTTP")
    with served() as address:
        ask(address, row)
        if passed:
            say("rollback while it serves, and the same question again")
            run("understudy rollback --reason 'demonstration of a rollback'")
            ask(address, row)
    say("what was decided, by whom, when and why")
    run("understudy history")
    click.secho("\nGo on with:", bold=True)
    click.echo(
        "  source .venv/bin/activate\n"
        "  mlflow ui                # http://127.0.0.1:5000\n"
        "  understudy status\n"
        "  understudy serve         # http://127.0.0.1:8080\n"
        "  mlflow run . -e train --env-manager local -P max_iter=50\n"
        f"data.dvc and dvc.lock now name the data through {later}: commit them, or "
        "`git checkout data.dvc && dvc checkout data` goes back."
    )


def main() -> None:
    """Run it; errors are sentences, Ctrl-C leaves nothing broken."""
    quiet()
    try:
        demonstrate()
    except (UnderstudyError, click.ClickException) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo("\ninterrupted; what was registered stays, `make demo` goes on from there")
        sys.exit(130)


if __name__ == "__main__":
    main()
