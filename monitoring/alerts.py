"""Sends alerts: a line on the terminal, a webhook, an e-mail. Each is tried until it is taken."""

from __future__ import annotations

import json
import os
import smtplib
import ssl
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from email.message import EmailMessage
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from monitoring.kept import TRIES, Kept, Unsent
from monitoring.sections import MonitorParams

WAIT = 10.0
"""Seconds for whoever takes an alert."""

REASONS = 3
"""That a line tells."""

Say = Callable[[str], None]


class NotTaken(Exception):
    """An alert that was not delivered; the text says why."""


def channels(policy: MonitorParams) -> tuple[str, ...]:
    """Through which alerts go."""
    found = ["log"]
    if policy.webhook:
        found.append("webhook")
    if policy.mail_to:
        found.append("mail")
    return tuple(found)


def deliver(kept: Kept, policy: MonitorParams, say: Say) -> int:
    """Send what waits; how many still do. Raises MonitorStoreRefused."""
    left = 0
    silent: set[str] = set()
    for alert in kept.unsent():
        if alert.channel in silent:  # it does not answer: the others must not wait for it, too
            left += 1
            continue
        try:
            _send(alert, policy, say)
        except NotTaken as error:
            silent.add(alert.channel)
            kept.sent(alert.id, str(error))
            last = alert.tries + 1 >= TRIES
            left += not last
            then = "it is given up" if last else "it is tried again"
            say(f"an alert was not taken by {alert.channel} ({error}); {then}")
        else:
            kept.sent(alert.id)
    return left


def _send(alert: Unsent, policy: MonitorParams, say: Say) -> None:
    """Raises NotTaken."""
    if alert.channel == "webhook":
        if policy.webhook:
            _post(policy.webhook, alert)
    elif alert.channel == "mail":
        if policy.mail_to:
            _mail(policy, alert)
    else:
        say(headline(alert.content))


def headline(content: Mapping[str, Any]) -> str:
    """An alert in one line; of many reasons the first."""
    about = first(content.get("reasons") or ())
    return f"ALERT {content.get('model')}: {content.get('sentence')}" + (
        f": {about}" if about else ""
    )


def first(reasons: Sequence[str]) -> str:
    """The first of many reasons, in one line."""
    more = len(reasons) - REASONS
    return "; ".join(reasons[:REASONS]) + (f"; and {more} more" if more > 0 else "")


def _post(address: str, alert: Unsent) -> None:
    body = json.dumps({**alert.content, "text": headline(alert.content)}).encode()
    heads = {"Content-Type": "application/json", "Idempotency-Key": f"understudy-{alert.id}"}
    parts = urlsplit(address)
    if parts.username is not None:
        said = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        heads["Authorization"] = f"Basic {b64encode(said).decode()}"
        address = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    request = urllib.request.Request(  # noqa: S310 - http or https, params.yaml is checked
        address, body, heads
    )
    try:
        with urllib.request.urlopen(request, timeout=WAIT):  # noqa: S310
            return
    except urllib.error.HTTPError as error:
        raise NotTaken(f"it answered {error.code}") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", None) or error
        raise NotTaken(str(getattr(why, "strerror", None) or why)[:200]) from None


def _mail(policy: MonitorParams, alert: Unsent) -> None:
    content = alert.content
    message = EmailMessage()
    message["Subject"] = " ".join(
        f"[understudy] {content.get('model')}: {content.get('sentence')}".split()
    )[:200]
    message["From"], message["To"] = policy.mail_from, ", ".join(policy.mail_to)
    message["Message-ID"] = f"<understudy-{alert.id}-{int(content.get('time') or 0)}@monitor>"
    lines = [str(content.get("sentence")), ""]
    lines += [f"- {reason}" for reason in content.get("reasons") or ()]
    if held := content.get("held"):
        lines += ["", "Not done:", *(f"- {why}" for why in held)]
    lines += ["", str(content.get("then") or ""), ""]
    message.set_content("\n".join(lines))
    host, _, port = policy.mail_server.partition(":")
    try:
        with smtplib.SMTP(host, int(port or 25), timeout=WAIT) as server:
            if policy.mail_tls:
                server.starttls(context=ssl.create_default_context())
            if user := os.environ.get("UNDERSTUDY_SMTP_USER"):
                server.login(user, os.environ.get("UNDERSTUDY_SMTP_PASSWORD", ""))
            server.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        codes = sorted({str(code) for code, _ in error.recipients.values()})
        raise NotTaken(f"the mail server refused every recipient ({', '.join(codes)})") from None
    except smtplib.SMTPResponseException as error:
        raise NotTaken(f"the mail server answered {error.smtp_code}") from None
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise NotTaken(str(getattr(error, "strerror", None) or error)[:200]) from None
