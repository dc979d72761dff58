"""The gateway's page: what it says, that it escapes, and how a real browser shows it."""

from __future__ import annotations

import html
import http.server
import json
import re
import shutil
import struct
import subprocess
import threading
import time
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import page, plot
from serving.metrics import Metrics, Second
from tests.serving import pages
from tests.serving.pages import NOW

HOSTILE = "<script>alert(1)</script>\"'&<img src=http://evil.example/x onerror=x>"
VOID = {"meta", "link", "path", "circle", "rect", "line"}


class Seen(HTMLParser):
    """The text of a page, its tags, and whether each that opens is closed."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.text, self.tags, self.labels = "", [], []  # type: ignore[var-annotated]
        self._open: list[str] = []
        self.feed(source)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        self.labels += [v for k, v in attrs if k == "aria-label"]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += f"{data} "


def shown(name: str) -> Seen:
    return Seen(page.render(*pages.states()[name], NOW))


def of(**more: Any) -> Seen:
    return Seen(page.render(pages.status(pages.model(**more)), {}, NOW))


def said(seen: Seen) -> str:
    return " ".join(seen.text.split())


# What it says


def test_versions_light_split_and_ledger() -> None:
    seen = shown("healthy")
    text = said(seen)
    assert "All is well." in text
    assert "Live v4 2 processes" in text
    assert "Standing by v3 Rollback ready" in text
    assert "it answered a rehearsal in 6.1 ms, 4 s ago." in text
    assert "v4 answers 100 %" in text
    assert "v4 approved by ben" in text
    assert "21 Sep 2026, 09:15" in text
    assert "up for 1 d 2 h" in text


def test_plots_have_units_and_say_in_words_what_they_show() -> None:
    seen = shown("refused")
    requests, latency, errors = (
        label for label in seen.labels if label != "Problems" and "." in label
    )
    assert re.search(r"Requests per second .* in the last minute, \d.* at most", requests)
    assert re.search(r"logarithmic scale: mean \d.* ms, longest \d.* ms", latency)
    assert re.search(r"Errors over the last 10 minutes: \d+ requests without an answer", errors)
    for unit in ("100/s", "10 ms", "10 min ago", "now"):
        assert unit in said(seen)


@pytest.mark.parametrize(
    ("name", "sentences"),
    [
        ("refused", ["v5 is not served: its answers have another form", "v4 goes on answering."]),
        (
            "away",
            [
                "The registry is not followed: the MLflow store at http://127.0.0.1:5000",
                "What was live stays live",
                "v3, standing by, failed a rehearsal: it takes 1430 ms",
                "Rollback not ready",
            ],
        ),
        ("nothing", ["no requests in the last 10 minutes", "started"]),
        ("starting", ["No version answers. v1 is being started.", "is being started"]),
        ("two", ["does not answer", "v1 is not served", "v5 10 % (canary)", "Being started v5"]),
    ],
)
def test_problems_are_said_in_words(name: str, sentences: list[str]) -> None:
    text = said(shown(name))
    for sentence in sentences:
        assert sentence in text


def test_a_registry_without_anything_in_production() -> None:
    ledger = {"entry": 0, "production": None, "says": "", "followed": True, "reason": ""}
    nothing = {"version": None, "ready": False, "understudy": None, "entries": None}
    assert "Nothing is in Production yet" in said(of(ledger=ledger, **nothing))


def test_a_shadow_is_not_said_to_answer() -> None:
    traffic = {"champion": 4, "challenger": 5, "weight": 0.5, "mode": "shadow"}
    text = said(of(traffic=traffic))
    assert "v4 answers 100 %" in text
    assert "v5 sees a copy of 50 %" in text


# An experiment


def without(source: str, start: str, end: str) -> str:
    """A text without what lies between two others."""
    before, _, rest = source.partition(start)
    return before + rest.partition(end)[2]


def test_a_model_without_an_experiment_is_shown_as_before() -> None:
    bare = page.render(pages.status(pages.model()), {}, NOW)
    none = page.render(pages.status(pages.model(traffic=None, experiment=None)), {}, NOW)
    assert bare == none
    assert "experiment" not in without(bare, "<style>", "</style>").lower()


@pytest.mark.parametrize(
    ("name", "sentences"),
    [
        (
            "canary",
            [
                "All is well.",
                "Canary: v5 beside v4, since 21 Sep 2026, 08:00",
                "v5 answers 10 % of the requests, v4 the rest.",
                "Not decided yet It is not decided: the difference of the error loss is",
                "more labelled requests are likely needed.",
                "Fails more often: not shown",
                "Good enough: not shown",
                "Error loss, v5 minus v4",
                "labels counted 5,000",
            ],
        ),
        (
            "asking",
            [
                "All is well.",
                f"flights : {pages.ASKED}.",
                "v5 is good enough",
                "Good enough: shown",
            ],
        ),
        (
            "aborted",
            [
                "Last experiment, ended. Canary: v5 beside v4",
                "v5 answered 5 % of the requests",
                "v5 is worse The challenger is worse: ",
                "Fails more often: shown",
                "of 200",
                "v5 was taken out of the traffic.",
            ],
        ),
        (
            "guard",
            [
                "One thing needs a look",
                "The guard of v4 does not go as agreed: v3 does not answer: no process runs.",
                "v4 is guarded since its promotion: v3 sees a copy of 10 % of the requests, and "
                "v4 is rolled back to v3 where it is worse.",
                "copies dropped 3",
                "Share of failing answers, v4 minus v3",
            ],
        ),
        (
            "begun",
            [
                "v4 answers 100 %",
                "v5 gets nothing at present",
                "At present no copies are made.",
                "Nothing to judge yet",
                "Nothing was compared yet, so there is no plot.",
            ],
        ),
    ],
)
def test_an_experiment_is_told_in_words(name: str, sentences: list[str]) -> None:
    text = said(shown(name))
    for sentence in sentences:
        assert sentence in text


def test_what_waits_for_a_person_is_no_problem() -> None:
    report = pages.better(decided=pages.ASKED)
    assert page.problems(pages.model(**pages.tried(report))) == []
    step = "the next step waits for a person (gate.automation): understudy traffic weight 25%"
    assert "flights : The next step waits for a person" in said(
        of(**pages.tried(pages.waiting(decided=step)))
    )
    done = pages.better(decided=pages.ASKED, ended=True, open=False)
    assert f"flights : {pages.ASKED}" not in said(of(traffic=None, experiment=done))


def test_the_bars_are_as_long_as_the_evidence() -> None:
    source = page.render(*pages.states()["canary"], NOW)
    widths = [float(w) for w in re.findall(r'class="meter".*?width:([\d.]+)%', source)]
    findings = pages.waiting()["verdict"]["findings"]
    assert len(widths) == len(findings) == 6
    for width, finding in zip(widths, findings, strict=True):
        wanted = max(0.0, finding["log_evidence"] / finding["log_needed"])
        assert width == pytest.approx(100 * wanted, abs=0.06)
    assert 10 < max(widths) < 100


def test_the_ledger_s_last_sentence_stands_in_for_its_entries() -> None:
    assert "v4 to Production by ana: nightly retrain" in said(of(entries=None))


# Escaping


def hostile(value: Any) -> Any:
    """The same, with every text replaced."""
    if isinstance(value, dict):
        return {k: hostile(v) for k, v in value.items()}
    if isinstance(value, list):
        return [hostile(v) for v in value]
    return HOSTILE if isinstance(value, str) else value


@pytest.mark.parametrize("name", sorted(pages.states()))
def test_hostile_texts_stay_texts(name: str) -> None:
    status, minutes = pages.states()[name]
    models = {HOSTILE + key: hostile(model) for key, model in status["models"].items()}
    source = page.render({**status, "models": models, "default": HOSTILE}, minutes, NOW)
    seen = Seen(source)
    assert HOSTILE in seen.text
    names = {tag for tag, _ in seen.tags}
    assert not names & {"script", "img", "iframe", "object", "form"}
    assert not any(k.startswith("on") for _, attributes in seen.tags for k in attributes)
    assert "<script" not in source


def test_nothing_is_asked_of_another_place() -> None:
    source = page.render(*pages.states()["two"], NOW)
    links = re.findall(r"(?:src|href)=[\"']?([^\"' >]+)", source)
    assert {link.split(",")[0] for link in links} == {
        "data:image/svg+xml", "/status", "/metrics", "/ready", "/openapi.json"
    }  # fmt: skip
    assert "@import" not in source
    assert "url(" not in source


def test_a_very_long_reason_is_cut() -> None:
    assert "x" * 400 not in of(problem="x" * 100_000).text


# Numbers


@given(
    st.lists(
        st.builds(
            Second,
            st.integers(int(NOW) - 700, int(NOW)),
            st.integers(0, 10_000),
            st.integers(0, 100),
            st.floats(0, 1e4),
            st.floats(0, 60),
        ),
        max_size=30,
    ),
    st.floats(0, 2000),
)
def test_every_second_is_counted_once_and_everything_is_drawn(seconds: Any, up: float) -> None:
    minutes = plot.gather(seconds, NOW, up)
    inside = [s for s in seconds if minutes.end - plot.POINTS * plot.STEP <= s.at < minutes.end]
    assert minutes.answered == sum(s.requests for s in inside)
    assert minutes.failed == sum(s.errors for s in inside)
    assert 0 <= minutes.unknown <= 1
    for draw in (plot.requests, plot.latency, plot.errors):
        source = draw(minutes)
        assert "nan" not in source
        assert "inf" not in source
        Seen(source)


def test_what_the_gateway_counts_is_what_is_drawn() -> None:
    metrics = Metrics()
    for _ in range(40):
        metrics.answered("m", 1, 200, 0.004)
    metrics.refuse("m", "OVERLOADED")
    minutes = plot.gather(metrics.last_minutes("m"), time.time() + plot.STEP, 60)
    assert (minutes.answered, minutes.failed) == (40, 1)
    # Two means where a step ended between them.
    assert {round(v, 6) for v in minutes.mean if v is not None} == {4}


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0.25, "0.25 ms"), (6.14, "6.1 ms"), (143, "143 ms"), (2400, "2.4 s")],
)
def test_times_have_units(milliseconds: float, text: str) -> None:
    assert plot.duration(milliseconds) == text


# In a browser

CHROMIUM = shutil.which("chromium")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:"
FRAME = """<!doctype html><link rel="icon" href="data:,"><body style="margin:0">
<iframe id="f" src="/%s" style="border:0;display:block;width:%dpx;height:%dpx"></iframe>
<pre id="o"></pre><script>
f.onload = () => {
  const d = f.contentDocument, wide = d.documentElement.clientWidth
  const out = [...d.querySelectorAll('body *')].filter(e =>
    !e.closest('svg') && e.getBoundingClientRect().right > wide + 0.5)
  o.textContent = JSON.stringify({
    scroll: d.documentElement.scrollWidth, width: wide,
    cut: [...d.querySelectorAll('.sequence text')].filter(e => {
      const box = e.getBoundingClientRect(), room = e.closest('.sequence').getBoundingClientRect()
      return box.left < room.left || box.right > room.right || box.bottom > room.bottom
    }).map(e => e.textContent),
    out: out.map(e => e.tagName + '.' + e.className),
    height: d.documentElement.scrollHeight,
  })
}
</script>"""


class Pages(http.server.BaseHTTPRequestHandler):
    """Serves the states with the gateway's own policy, and remembers what was asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        kind, _, name = self.path[1:].partition("/")
        body, policy = b"", None
        if kind == "page":
            body, policy = page.render(*pages.states()[name], NOW).encode(), POLICY
        elif kind == "wrong":
            body, policy = b"<!doctype html><script>let a</script><img src=/no.png>", POLICY
        elif kind == "frame":
            width, height, name = name.split("/")
            body = (FRAME % (f"page/{name}", int(width), int(height))).encode()
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        if policy:
            self.send_header("Content-Security-Policy", policy)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        del args


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    Pages.asked = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def browse(folder: Path, url: str, *options: str, width: int = 800, height: int = 900) -> Any:
    assert CHROMIUM
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        "--enable-logging=stderr", "--no-first-run", "--disable-dev-shm-usage",
        f"--user-data-dir={folder}/profile", f"--window-size={width},{height}", *options, url,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def rows(png: bytes) -> int:
    """How many different rows of pixels a screenshot has; 1 where nothing is on it."""
    assert png.startswith(b"\x89PNG")
    at, data, width = 8, b"", struct.unpack(">I", png[16:20])[0]
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + size]
        at += size + 12
    raw = zlib.decompress(data)
    stride = len(raw) // (struct.unpack(">I", png[20:24])[0])
    assert stride > width
    return len({raw[i : i + stride] for i in range(0, len(raw), stride)})


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH")
@pytest.mark.parametrize("name", ["two", "away", "canary"])
def test_a_browser_shows_it_without_a_complaint(name: str, site: str, tmp_path: Path) -> None:
    Pages.asked.clear()
    picture = tmp_path / "page.png"
    done = browse(tmp_path, f"{site}/page/{name}", f"--screenshot={picture}")
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert complaints == []
    assert set(Pages.asked) == {f"/page/{name}"}  # no icon, no font, nothing
    assert rows(picture.read_bytes()) > 100


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH")
def test_what_a_browser_complains_of_would_be_seen(site: str, tmp_path: Path) -> None:
    Pages.asked.clear()
    done = browse(tmp_path, f"{site}/wrong/", f"--screenshot={tmp_path}/page.png")
    assert "CONSOLE" in done.stderr
    assert "/no.png" in Pages.asked
    assert rows((tmp_path / "page.png").read_bytes()) < 100


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH")
@pytest.mark.parametrize(
    ("name", "width"),
    [("two", 390), ("refused", 320), ("healthy", 1200), ("canary", 320), ("asking", 390)],
)
def test_nothing_is_wider_than_the_screen(name: str, width: int, site: str, tmp_path: Path) -> None:
    url = f"{site}/frame/{width}/900/{name}"
    done = browse(tmp_path, url, "--dump-dom", "--virtual-time-budget=3000", width=1300)
    found = re.search(r'<pre id="o">(.+?)</pre>', done.stdout)
    assert found, done.stdout[:500]
    measured = json.loads(html.unescape(found[1]))
    assert measured["width"] == width
    assert measured["scroll"] <= width
    assert measured["out"] == []
    assert measured["cut"] == []
