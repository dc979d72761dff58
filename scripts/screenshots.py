"""`python scripts/screenshots.py`: docs/images/ui-*.png, taken of MLflow's UI by headless Chromium.

Needs a mlflow.db with a version in Production (`make demo` makes one) and the program `chromium`.
It talks to Chromium over its DevTools protocol: https://chromedevtools.github.io/devtools-protocol
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from PIL import Image

from registry.errors import UnderstudyError
from registry.sections import LEDGER_SUFFIX
from registry.settings import find_root, quiet, registry_params

WIDTH, HEIGHT = 1280, 900
MAX_BYTES = 200_000
WAIT_SECONDS = 60
SETTLE_SECONDS = 1.5
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER_OPTIONS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
    # Nothing but this machine is asked for anything.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
# What MLflow's UI keeps in localStorage: the side bar of model training, no panel beside the page,
# and the switch "New model registry UI" (off: pages show stages, on: aliases), kept inverted.
SETTINGS = """
localStorage.setItem('mlflow.workflowType_v1', '"machine_learning"');
for (const key of Object.keys(localStorage))
  if (key.endsWith('.panelOpen_v1')) localStorage.setItem(key, 'false');
localStorage.setItem('_mlflow_user_setting_dismiss_next_model_registry_ui', '%s');
"""
# The artifact view shows where a file lies on this machine; a round button floats over the corner.
HIDE = """
const hide = element => { element.style.visibility = 'hidden'; };
for (const e of document.querySelectorAll('body *')) {
  if (!e.children.length && e.innerText?.startsWith('Path:')) hide(e.parentElement);
  if (getComputedStyle(e).position === 'fixed' && e.offsetWidth && e.offsetWidth < 80) hide(e);
}
"""


class Failed(Exception):
    """A picture could not be taken; the text says why."""


@dataclass(frozen=True)
class Subject:
    """What the pictures are of: the version in Production, its run, and the ledger."""

    model: str
    ledger: str
    version: int
    run_id: str
    entry: int
    """The ledger's newest."""


@dataclass(frozen=True)
class Shot:
    """One picture: a page of the UI, and the texts that are on it once it has loaded."""

    file: str
    page: str
    texts: tuple[str, ...]
    ready: str = "true"
    """JavaScript that is true once the rest has loaded too."""
    aliases: bool = False
    """Aliases are shown where MLflow would show stages."""
    height: int = HEIGHT


def subject() -> Subject:
    """The project's live version, by the ledger."""
    import understudy

    model = registry_params().model
    found = understudy.status(model)
    if found.production is None:
        raise Failed(f"no version of {model} is in Production; run `make demo` first")
    run_id = found.shown.versions[found.production].run_id
    newest = understudy.history(model)[-1].number
    return Subject(model, model + LEDGER_SUFFIX, found.production, run_id, newest)


def shots(of: Subject, experiment: str) -> tuple[Shot, ...]:
    """All pictures."""
    run = f"experiments/{experiment}/runs/{of.run_id}"
    return (
        Shot("ui-run.png", run, ("Parameters (", "Metrics (", "understudy."), height=1320),
        Shot(
            "ui-artifacts.png",
            f"{run}/artifacts/plots/roc.png",
            ("plots/roc.png",),
            ready="[...document.images].some(image => image.naturalWidth > 400)",
        ),
        Shot("ui-model.png", f"models/{of.model}", ("Production",)),
        Shot(
            "ui-version.png",
            f"models/{of.model}/versions/{of.version}",
            ("Aliases", "production"),
            aliases=True,
        ),
        Shot("ui-ledger.png", f"models/{of.ledger}", (f"Version {of.entry}",)),
        Shot("ui-entry.png", f"models/{of.ledger}/versions/{of.entry}", ("understudy.entry",)),
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop a process and all that it started."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(10)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


@contextmanager
def server(root: Path) -> Iterator[str]:
    """`mlflow server` on mlflow.db; gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    store = f"sqlite:///{root}/mlflow.db"
    command = ["mlflow", "server", "--backend-store-uri", store, "--workers", "1"]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        cwd=root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        _end(process)


@contextmanager
def browser() -> Iterator[Path]:
    """Headless Chromium with a profile of its own; gives the profile's folder."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise Failed(f"there is none of {', '.join(BROWSERS)}; install Debian's package chromium")
    options = [*BROWSER_OPTIONS, f"--window-size={WIDTH},{HEIGHT}"]
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # Chromium has none for root
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [program, *options, f"--user-data-dir={folder}/profile", "about:blank"],
            env={**os.environ, "TMPDIR": folder},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield Path(folder) / "profile"
        finally:
            _end(process)


async def until(what: str, attempt: Any, seconds: float = WAIT_SECONDS) -> Any:
    """The first true answer of `attempt`. Raises Failed when there is none in time."""
    end = asyncio.get_running_loop().time() + seconds
    while not (found := await attempt()):
        if asyncio.get_running_loop().time() > end:
            raise Failed(f"waited {seconds} s for {what}")
        await asyncio.sleep(0.3)
    return found


class Page:
    """One tab of the browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._last = 0

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call one method of the DevTools protocol; events on the way are passed over."""
        self._last += 1
        await self._socket.send_json({"id": self._last, "method": method, "params": params})
        while True:
            answer = await self._socket.receive_json(timeout=WAIT_SECONDS)
            if answer.get("id") == self._last:
                break
        if "error" in answer:
            raise Failed(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    async def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        found = await self.call("Runtime.evaluate", expression=script, returnByValue=True)
        return found["result"].get("value")

    async def take(self, address: str, shot: Shot) -> bytes:
        """Open the page, wait until it shows its texts, and take its picture as PNG."""
        settings = SETTINGS % ("false" if shot.aliases else "true")
        added = await self.call("Page.addScriptToEvaluateOnNewDocument", source=settings)
        size = {"width": WIDTH, "height": shot.height, "deviceScaleFactor": 1, "mobile": False}
        await self.call("Emulation.setDeviceMetricsOverride", **size)
        await self.call("Page.navigate", url="about:blank")
        await self.call("Page.navigate", url=f"{address}/#/{shot.page}")
        shown = "every(text => document.body?.innerText.includes(text))"
        ready = f"{json.dumps(shot.texts)}.{shown} && {shot.ready}"
        await until(f"{shot.file}: the texts {shot.texts}", lambda: self.evaluate(ready))
        await asyncio.sleep(SETTLE_SECONDS)
        await self.evaluate(HIDE)
        found = await self.call("Page.captureScreenshot", format="png")
        await self.call("Page.removeScriptToEvaluateOnNewDocument", **added)
        return base64.b64decode(found["data"])


@asynccontextmanager
async def tab(profile: Path) -> AsyncIterator[Page]:
    """The browser's only tab."""
    note = profile / "DevToolsActivePort"

    async def port() -> str:
        return note.read_text().partition("\n")[0] if note.exists() else ""

    async with aiohttp.ClientSession() as session:
        address = f"http://127.0.0.1:{await until('Chromium', port)}/json/list"

        async def target() -> str:
            async with session.get(address) as answer:
                pages = [t for t in await answer.json() if t["type"] == "page"]
                return pages[0]["webSocketDebuggerUrl"] if pages else ""

        where = await until("Chromium's tab", target)
        async with session.ws_connect(where, max_msg_size=0) as socket:
            page = Page(socket)
            await page.call("Page.enable")
            yield page


def experiment_of(address: str, run_id: str) -> str:
    """The id of a run's experiment; empty while the server starts."""
    url = f"{address}/api/2.0/mlflow/runs/get?run_id={run_id}"
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 - our own server
            return str(json.load(answer)["run"]["info"]["experiment_id"])
    except (urllib.error.URLError, ConnectionError):
        return ""


def write(path: Path, png: bytes) -> None:
    """Keep the picture, with fewer colours where it would be too large."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    for colours in (None, 256, 64, 16):
        buffer = io.BytesIO()
        smaller = image.quantize(colours) if colours else image
        smaller.save(buffer, "PNG", optimize=True)
        if buffer.tell() < MAX_BYTES:
            break
    path.write_bytes(buffer.getvalue())


async def take_all(root: Path) -> None:
    """Every picture, one after the other."""
    of, folder = subject(), root / "docs" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    with server(root) as address, browser() as profile:

        async def experiment() -> str:
            return await asyncio.to_thread(experiment_of, address, of.run_id)

        found = await until("mlflow server", experiment)
        async with tab(profile) as page:
            # The panel beside the page opens by itself the first time.
            await page.take(address, Shot("the first page", "", ("Experiments",)))
            for shot in shots(of, found):
                write(folder / shot.file, await page.take(address, shot))
                size = (folder / shot.file).stat().st_size
                print(f"docs/images/{shot.file}  {size / 1000:.0f} kB")


def main() -> None:
    """Take the pictures; errors are sentences, Ctrl-C leaves no process."""
    quiet()
    root = find_root()
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{root}/mlflow.db"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if not (root / "mlflow.db").exists():
            raise Failed("there is no mlflow.db; run `make demo` first")
        asyncio.run(take_all(root))
    except (Failed, UnderstudyError, aiohttp.ClientError) as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
