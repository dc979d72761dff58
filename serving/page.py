"""The page at `/`: what is live, what waits, and the last minutes. No script, no other place."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

from serving import experiment_card, plot, words
from serving.contract import total
from serving.style import FAVICON, ICONS, MARK, SHEET

if TYPE_CHECKING:
    from serving.metrics import Second

Model = Mapping[str, Any]
ENTRIES = 8
REFRESH = 5
"""Seconds after which a browser asks again."""


def render(
    status: Mapping[str, Any],
    minutes: Mapping[str, Sequence[Second]],
    now: float | None = None,
) -> str:
    """The page as HTML: `status` is Gateway.status(), `minutes` what Metrics.last_minutes() gives.

    Everything that comes from elsewhere (names, sentences, reasons) is escaped.
    """
    now = time.time() if now is None else now
    up = float(status.get("seconds_up") or 0)
    models: Mapping[str, Model] = status["models"]
    default = status.get("default")
    cards = "".join(
        _model(
            name, model, plot.gather(minutes.get(name, ()), now, up, _swaps(model)), default, now
        )
        for name, model in models.items()
    )
    clock = datetime.fromtimestamp(now, UTC)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{_headline(models)}</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="refresh" content="{REFRESH}">'
        f'<link rel="icon" href="{FAVICON}"><style>{SHEET}</style></head>'
        f'<body><div class="all"><header><h1>{MARK}Understudy</h1>'
        f'<p>up for {words.span(up)}; as of <time datetime="{clock:%Y-%m-%dT%H:%M:%SZ}">'
        f"{clock:%H:%M:%S} UTC</time></p></header>"
        f'<main class="all">{_summary(models)}{_asked(models)}{cards}</main>'
        f"{_FOOTER}</div></body></html>"
    )


# Words


def problems(model: Model) -> list[tuple[str, str]]:
    """What is wrong with a model, as (`bad` or `warn`, a sentence); texts are not escaped."""
    found = []
    version, ledger = model.get("version"), model.get("ledger") or {}
    wanted, problem = ledger.get("production"), str(model.get("problem") or "")
    if version is None:
        starting = model.get("starting")
        then = f" v{starting} is being started." if starting else ""
        if wanted is None and not problem and ledger.get("followed", True):
            then = then or " Nothing is in Production yet: `understudy promote` puts it there."
        found.append(("warn" if starting else "bad", f"No version answers.{then}"))
    elif not model.get("ready"):
        found.append(("bad", f"No process of v{version} answers; one is being started again."))
    if problem:
        if wanted is not None and wanted != version:
            goes_on = f" v{version} goes on answering." if version is not None else ""
            found.append(("bad", f"v{wanted} is not served: {words.ended(problem)}{goes_on}"))
        else:
            found.append(("warn", f"No version stands by: {words.ended(problem)}"))
    if not ledger.get("followed", True):
        reason = words.ended(str(ledger.get("reason") or "it does not answer"))
        goes_on = "What was live stays live; what is decided meanwhile is not seen here."
        found.append(("warn", f"The registry is not followed: {reason} {goes_on}"))
    reason = str(model.get("rollback_reason") or "")
    if model.get("understudy") is not None and not model.get("rollback_ready") and reason:
        found.append(
            (
                "warn",
                f"v{model['understudy']}, standing by, failed a rehearsal: {words.ended(reason)}",
            )
        )
    if hindered := experiment_card.problem(model.get("experiment") or {}):
        found.append(("warn", hindered))
    return found


def _headline(models: Mapping[str, Model]) -> str:
    count = sum(len(problems(m)) for m in models.values())
    state = "all is well" if not count else f"{count} to look at"
    return f"Understudy: {state}"


def _asked(models: Mapping[str, Model]) -> str:
    """What a person is to decide: nothing is wrong then, but somebody should see it."""
    return "".join(
        _line("ask", f"<b>{escape(name)}</b>: {escape(said)}")
        for name, model in models.items()
        if (said := experiment_card.waiting(model.get("experiment") or {}))
    )


def _summary(models: Mapping[str, Model]) -> str:
    found = [(level, name) for name, m in models.items() for level, _ in problems(m)]
    if not found:
        waits = all(m.get("rollback_ready") for m in models.values())
        more = " and a rollback is one step" if waits else ""
        who = "The model answers" if len(models) == 1 else f"All {len(models)} models answer"
        return _line("good", f"All is well. {who}{more}.")
    level = "bad" if any(level == "bad" for level, _ in found) else "warn"
    names = ", ".join(dict.fromkeys(escape(name) for _, name in found))
    things = "One thing needs" if len(found) == 1 else f"{len(found)} things need"
    return _line(level, f"{things} a look: {names}.")


def _line(level: str, html: str) -> str:
    return f'<p class="summary {level}" role="status">{ICONS[level]}<span>{html}</span></p>'


# One model


def _model(name: str, model: Model, minutes: plot.Minutes, default: Any, now: float) -> str:
    anchor = f"m-{escape(name)}"
    path = "/invocations" if name == default else f"/models/{name}/invocations"
    plots = plot.requests(minutes) + plot.latency(minutes) + plot.errors(minutes)
    cast = _live(model) + _waiting(model, now) + _starting(model)
    return (
        f'<section class="model" aria-labelledby="{anchor}"><div class="title">'
        f'<h2 id="{anchor}">{escape(name)}</h2>{_state(model)}'
        f'<span class="path"><code>POST {escape(path)}</code></span></div>'
        f'{_problems(model)}<div class="cast">{cast}</div>{_traffic(model)}'
        f'{_experiment(model)}<div class="plots">{plots}</div>'
        f"{_ledger(model)}{_facts(model)}</section>"
    )


def _state(model: Model) -> str:
    if model.get("ready"):
        return f'<span class="state good">{ICONS["good"]}answers</span>'
    if model.get("starting") and model.get("version") is None:
        return f'<span class="state warn">{ICONS["warn"]}is being started</span>'
    return f'<span class="state bad">{ICONS["bad"]}does not answer</span>'


def _problems(model: Model) -> str:
    items = "".join(
        f'<li class="{level}">{ICONS[level]}<span>{escape(sentence)}</span></li>'
        for level, sentence in problems(model)
    )
    return f'<ul class="problems" aria-label="Problems">{items}</ul>' if items else ""


def _part(kind: str, title: str, version: int | None, more: str) -> str:
    shown = f'<p class="version">v{escape(str(version))}</p>' if version is not None else _NONE
    return f'<div class="part {kind}"><h3>{title}</h3>{shown}{more}</div>'


_NONE = '<p class="version none">none</p>'


def _live(model: Model) -> str:
    version, count = model.get("version"), int(model.get("processes") or 0)
    more = f'<p class="more">{count} process{"" if count == 1 else "es"}</p>'
    return _part("live", "Live", version, more if version is not None else "")


def _waiting(model: Model, now: float) -> str:
    """The version that stands by, with the rollback light."""
    version, took = model.get("understudy"), model.get("rollback_milliseconds")
    light = _light("warn", "Rollback not ready")
    if version is None:
        more = "No former Production version runs; going back would have to start one."
    elif model.get("rollback_ready"):
        light = _light("good", "Rollback ready")
        ago = now - float(model.get("rehearsed_at") or now)
        measured = f"; it answered a rehearsal in {plot.duration(took)}" if took else ""
        more = (
            f"Going back is one step{measured}, {words.span(ago)} ago."
            if took
            else "Going back is one step."
        )
    elif reason := model.get("rollback_reason"):
        light = _light("bad", "Rollback not ready")
        text = words.ended(str(reason))
        more = escape(text[:1].upper() + text[1:])
    else:
        more = "It is about to be rehearsed."
    return _part("standby", "Standing by", version, f'{light}<p class="more">{more}</p>')


def _light(level: str, text: str) -> str:
    return f'<p class="light {level}">{ICONS[level]}<span>{text}</span></p>'


def _starting(model: Model) -> str:
    version = model.get("starting")
    if version is None:
        return ""
    more = '<p class="more">It is verified, started and tried; then it takes its place.</p>'
    return _part("starting", "Being started", version, more)


def _traffic(model: Model) -> str:
    """Who answers how much; until an experiment says otherwise, the live version everything."""
    given = model.get("traffic") or {}
    champion = given.get("champion") or model.get("version")
    challenger, weight = given.get("challenger"), float(given.get("weight") or 0)
    if champion is None:
        return ""
    mode = str(given.get("mode") or "")
    mode = "A/B" if mode == "ab" else mode
    if challenger is None:
        weight = 0.0
    elif _closed(model):
        return _split(1.0, f"v{champion} answers 100 %", f"v{challenger} gets nothing at present")
    elif mode == "shadow":
        first = f"v{champion} answers 100 %"
        return _split(
            1.0, first, f"v{challenger} sees a copy of {words.percent(weight or 1)}, unheard"
        )
    weight = min(max(weight, 0.0), 1.0)
    second = f"v{challenger} {words.percent(weight)}" if challenger is not None else ""
    return _split(
        1 - weight,
        f"v{champion} answers {words.percent(1 - weight)}",
        f"{second} ({mode})" if second and mode else second,
    )


def _closed(model: Model) -> bool:
    """Whether the gateway gives the ledger's challenger nothing: not yet, or not any more."""
    given, report = model.get("traffic") or {}, model.get("experiment") or {}
    same = bool(report) and report.get("experiment") == given.get("experiment")
    return same and not report.get("open")


def _experiment(model: Model) -> str:
    report = model.get("experiment")
    return experiment_card.card(report) if report else ""


def _split(share: float, first: str, second: str) -> str:
    rest = f'<div class="share second" style="flex:{1 - share:.4f}"></div>' if share < 1 else ""
    return (
        '<div class="split"><h3>Traffic</h3><div class="row" aria-hidden="true">'
        f'<div class="share" style="flex:{share:.4f}"></div>{rest}</div>'
        f"<p><span>{escape(first)}</span><span>{escape(second)}</span></p></div>"
    )


def _ledger(model: Model) -> str:
    """The last entries where the status has them, otherwise the one that counts."""
    ledger = model.get("ledger") or {}
    entries = list(model.get("entries") or ())
    if not entries and ledger.get("says"):
        entries = [{"entry": ledger.get("entry"), "sentence": ledger["says"]}]
    if not entries:
        return ""
    newest = sorted(entries, key=lambda e: -int(e.get("entry") or 0))[:ENTRIES]
    items = "".join(
        f'<li><span class="number">{int(e.get("entry") or 0)}</span>'
        f"<span>{escape(words.short(str(e.get('sentence') or e.get('kind') or '')))}</span>"
        f"{words.when(e.get('time'))}</li>"
        for e in newest
    )
    to = f", followed to entry {int(ledger['entry'])}" if ledger.get("entry") else ""
    return f'<div class="ledger"><h3>Ledger{to}</h3><ol>{items}</ol></div>'


def _facts(model: Model) -> str:
    counts = model.get("counts") or {}
    rehearsals, failed = counts.get("rehearsals", 0), counts.get("rehearsals_failed", 0)
    facts = {
        "requests waiting": model.get("waiting", 0),
        "route changes": counts.get("swaps", 0),
        "versions refused": counts.get("refusals", 0),
        "rehearsals": f"{rehearsals}, {failed} failed" if failed else rehearsals,
        "processes restarted": model.get("restarts", 0),
    }
    if model.get("contract"):
        facts["contract violations"] = total(model["contract"])
    items = "".join(f"<div><dt>{k}</dt><dd>{escape(str(v))}</dd></div>" for k, v in facts.items())
    return f'<dl class="facts">{items}</dl>'


def _swaps(model: Model) -> list[tuple[float, int]]:
    """When the route was changed, and to what, as far as the status says it."""
    return [(float(s["at"]), int(s["version"])) for s in model.get("swaps") or ()]


_FOOTER = (
    '<footer><nav aria-label="For programs"><a href="/status">status</a> · '
    '<a href="/metrics">metrics</a> · <a href="/ready">ready</a> · '
    '<a href="/openapi.json">OpenAPI</a></nav>'
    f"<span>This page asks again every {REFRESH} seconds.</span></footer>"
)
