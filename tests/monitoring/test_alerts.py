"""Alerts to a real web server and a real mail server, which may be away."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from monitoring import alerts
from monitoring.kept import TRIES, Kept
from monitoring.sections import MonitorParams

CONTENT = {
    "model": "m",
    "action": "retrain",
    "sentence": "v3 was trained and went to Staging",
    "reasons": ["roc_auc of v2 is 0.6", "temp moved"],
    "held": ["no rollback: monitor.rollback is off"],
    "then": "`understudy status` shows more",
    "time": 1.0,
}


class Listener(BaseHTTPRequestHandler):
    """Keeps what it is sent."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append((dict(self.headers), json.loads(body)))  # type: ignore[attr-defined]
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def listener() -> Iterator[Any]:
    server: Any = HTTPServer(("127.0.0.1", 0), Listener)
    server.heard, server.status = [], 200
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class MailServer(threading.Thread):
    """Takes one mail after another, by SMTP."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.mails: list[str] = []
        self.refuses = False

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as stream:
                self._talk(stream)

    def _talk(self, stream: Any) -> None:
        def say(line: str) -> None:
            stream.write(f"{line}\r\n".encode())
            stream.flush()

        say("220 here")
        for raw in stream:
            line = raw.decode().strip()
            if line.upper().startswith("QUIT"):
                say("221 bye")
                return
            if line.upper().startswith("RCPT") and self.refuses:
                say("550 nobody here")
            elif line.upper() == "DATA":
                say("354 go on")
                body = []
                while (raw := next(stream)) != b".\r\n":
                    body.append(raw.decode())
                self.mails.append("".join(body))
                say("250 taken")
            else:
                say("250 yes")


@pytest.fixture
def mail() -> Iterator[MailServer]:
    server = MailServer()
    server.start()
    yield server
    server.socket.close()


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(f"sqlite:///{tmp_path}/monitor.db", "m")


def policy(listener: Any = None, mail: Any = None) -> MonitorParams:
    return MonitorParams(
        webhook=f"http://127.0.0.1:{listener.server_port}/hook" if listener else None,
        mail_to=("ana@example.org", "ben@example.org") if mail else (),
        mail_server=f"127.0.0.1:{mail.port}" if mail else "localhost:25",
    )


def test_all_three_hear_of_it_once(kept: Kept, listener: Any, mail: MailServer) -> None:
    asked, said = policy(listener, mail), []
    kept.alert(alerts.channels(asked), CONTENT)
    assert alerts.deliver(kept, asked, said.append) == 0
    assert alerts.deliver(kept, asked, said.append) == 0
    line = "ALERT m: v3 was trained and went to Staging: roc_auc of v2 is 0.6; temp moved"
    assert said == [line]
    ((headers, body),) = listener.heard
    assert body["text"] == line
    assert (body["action"], body["held"]) == ("retrain", CONTENT["held"])
    assert headers["Idempotency-Key"].startswith("understudy-")
    (letter,) = mail.mails
    assert "Subject: [understudy] m: v3 was trained and went to Staging" in letter
    assert "To: ana@example.org, ben@example.org" in letter
    assert "- temp moved" in letter
    assert "- no rollback: monitor.rollback is off" in letter


def test_who_is_away_or_refuses_is_tried_again_and_told_of(
    kept: Kept, listener: Any, mail: MailServer
) -> None:
    asked, said = policy(listener, mail), []
    listener.status, mail.refuses = 500, True
    kept.alert(alerts.channels(asked), CONTENT)
    kept.alert(alerts.channels(asked), {**CONTENT, "sentence": "another"})
    assert alerts.deliver(kept, asked, said.append) == 4
    assert any("by webhook (it answered 500); it is tried again" in s for s in said)
    assert any("by mail (" in s for s in said)
    assert len(listener.heard) == 1  # the second one does not wait for it, too
    listener.status, mail.refuses = 200, False
    assert alerts.deliver(kept, asked, said.append) == 0
    assert [body["sentence"] for _, body in listener.heard[1:]] == [CONTENT["sentence"], "another"]
    assert len(mail.mails) == 2


def test_an_alert_that_nobody_takes_is_given_up_at_last(kept: Kept) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    asked = MonitorParams(webhook=f"http://127.0.0.1:{port}/", mail_to=("a@example.org",),
                          mail_server=f"127.0.0.1:{port}")  # fmt: skip
    said: list[str] = []
    kept.alert(("webhook", "mail"), CONTENT)
    for _ in range(TRIES - 1):
        assert alerts.deliver(kept, asked, said.append) == 2
    assert alerts.deliver(kept, asked, said.append) == 0
    assert "an alert was not taken by webhook (Connection refused); it is given up" in said
    assert alerts.deliver(kept, asked, said.append) == 0


def test_a_header_cannot_be_smuggled_into_a_mail(kept: Kept, mail: MailServer) -> None:
    asked = policy(mail=mail)
    kept.alert(("mail",), {**CONTENT, "sentence": "x\r\nBcc: eve@example.org"})
    assert alerts.deliver(kept, asked, lambda _: None) == 0
    assert "\nBcc:" not in mail.mails[0].partition("\r\n\r\n")[0]


@pytest.mark.parametrize("address", ["ftp://x", "http://", "hook", "file:///etc/passwd"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(ValueError, match="begins with http:// or https://"):
        MonitorParams(webhook=address)
