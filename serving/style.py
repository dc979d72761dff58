"""How the gateway's page looks: light and dark, from a telephone to a wall."""

LIGHT = """
  --paper: #f6f5f1; --card: #fffefb; --edge: #e2dfd6; --ink: #20262a; --soft: #5b646a;
  --live: #0b6b62; --wash: #0b6b6220; --wait: #6b4f9c; --waitwash: #6b4f9c1c;
  --bad: #a8261c; --badwash: #a8261c12; --warn: #8a5200; --warnwash: #b26a0014; --good: #1c6b33;
"""
DARK = """
  --paper: #121517; --card: #1a1f22; --edge: #2e363b; --ink: #e7eaea; --soft: #a3adb2;
  --live: #5cc8ba; --wash: #5cc8ba26; --wait: #b9a2ea; --waitwash: #b9a2ea22;
  --bad: #ff9a8d; --badwash: #ff9a8d18; --warn: #f0b561; --warnwash: #f0b56116;
  --good: #7fd494;
"""
"""What the colours are called; a drawing that stands on its own needs them, too."""

SEQUENCE = """
.sequence {
  font: .75rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  font-variant-numeric: tabular-nums; color: var(--soft);
}
.sequence .paper { fill: var(--card); }
.sequence text { fill: var(--soft); }
.sequence .name { fill: var(--ink); font-weight: 600; }
.sequence .says {
  fill: var(--ink); stroke: var(--card); stroke-width: 4px; stroke-linejoin: round;
  paint-order: stroke;
}
.sequence .rule { stroke: var(--edge); stroke-width: 1; }
.sequence .none { stroke: var(--soft); stroke-width: 1.5; }
.sequence .margin { stroke: var(--wait); stroke-width: 2; stroke-dasharray: 7 4; }
.sequence .enough { fill: var(--waitwash); }
.sequence .band { fill: var(--live); fill-opacity: .22; }
.sequence .edge, .sequence .mean {
  fill: none; stroke: var(--live); vector-effect: non-scaling-stroke; stroke-linejoin: round;
}
.sequence .edge { stroke-width: 1; stroke-opacity: .7; }
.sequence .mean { stroke-width: 2.5; stroke-linecap: round; }
.sequence .last { fill: var(--live); stroke: var(--card); stroke-width: 2; }
.sequence .reach { stroke: var(--live); stroke-width: 2; }
.sequence .future { fill: var(--edge); opacity: .4; }
.sequence .likely {
  stroke: var(--soft); stroke-width: 1.5; stroke-dasharray: 1 4; stroke-linecap: round;
}
"""
"""Of a confidence sequence, in the page and in a file of its own."""

SHEET = (
    f":root {{\n  color-scheme: light dark;{LIGHT}}}\n"
    f"@media (prefers-color-scheme: dark) {{\n:root {{{DARK}}}\n}}\n"
    f"{SEQUENCE}"
    """* { box-sizing: border-box; margin: 0; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  background: var(--paper); color: var(--ink); padding: 1.25rem 1rem 3rem;
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere;
}
.all {
  width: 100%; max-width: 72rem; margin: 0 auto; display: grid; gap: 1.25rem;
  grid-template-columns: minmax(0, 1fr);
}
h1, h2, h3 { font-weight: 600; line-height: 1.25; }
h1 { font-size: 1.125rem; letter-spacing: .01em; display: flex; align-items: center; gap: .55rem; }
h1 svg { width: 1.5rem; height: 1.5rem; }
h2 { font-size: 1.5rem; letter-spacing: -.01em; }
h3 { font-size: .875rem; color: var(--soft); font-weight: 500; }
a { color: inherit; text-underline-offset: .2em; }
a:focus-visible { outline: 2px solid var(--live); outline-offset: 3px; border-radius: 2px; }
header {
  display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; align-items: center;
  justify-content: space-between;
}
header p { color: var(--soft); font-size: .875rem; }
.summary { font-size: 1.125rem; display: flex; gap: .6rem; align-items: flex-start; }
.icon { flex: none; width: 1.25em; height: 1.25em; margin-top: .125em; }
.good { color: var(--good); }
.warn { color: var(--warn); }
.bad { color: var(--bad); }

.model {
  background: var(--card); border: 1px solid var(--edge); border-radius: 14px;
  padding: 1.5rem; display: grid; gap: 1.5rem; grid-template-columns: minmax(0, 1fr);
}
.title { display: flex; flex-wrap: wrap; align-items: baseline; gap: .25rem .9rem; }
.title .state { display: inline-flex; gap: .35rem; font-size: .9375rem; font-weight: 500; }
.title .path { color: var(--soft); font-size: .875rem; margin-left: auto; }
code { font: .9375em ui-monospace, "SF Mono", Menlo, Consolas, monospace; }

.problems { list-style: none; padding: 0; display: grid; gap: .5rem; }
.problems li {
  display: flex; gap: .65rem; padding: .7rem .85rem; border-radius: 10px; border-left: 4px solid;
}
.problems li.bad { background: var(--badwash); }
.problems li.warn { background: var(--warnwash); }
.problems li > span { color: var(--ink); min-width: 0; }

.cast {
  display: grid; gap: .75rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 14.5rem), 1fr));
}
.part {
  border: 1px solid var(--edge); border-top: 4px solid var(--edge); border-radius: 10px;
  padding: .8rem 1rem .9rem;
}
.part.live { border-top-color: var(--live); }
.part.standby { border-top: 4px double var(--wait); }
.part.starting { border-top: 4px dotted var(--soft); }
.part .version {
  font-size: 2rem; font-weight: 600; line-height: 1.15; letter-spacing: -.02em; margin-top: .1rem;
}
.part .version.none { color: var(--soft); font-weight: 400; }
.part .light { display: flex; gap: .4rem; font-weight: 500; margin-top: .2rem; }
.part .more { color: var(--soft); font-size: .875rem; margin-top: .2rem; }

.split .row {
  display: flex; gap: 2px; height: .875rem; border-radius: 7px; overflow: hidden;
  background: var(--edge); margin: .4rem 0 .3rem;
}
.split .share { background: var(--live); min-width: 3px; }
.split .share.second {
  background: repeating-linear-gradient(135deg, var(--wait) 0 5px, var(--waitwash) 5px 9px);
}
.split p {
  display: flex; flex-wrap: wrap; justify-content: space-between; gap: .1rem 1rem;
  font-size: .9375rem;
}

.plots {
  display: grid; gap: 1.75rem 2.25rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 17.5rem), 1fr));
}
.plot { min-width: 0; }
.plot .figure { font-size: .9375rem; min-height: 2.1rem; color: var(--soft); }
.plot .figure b {
  font-size: 1.375rem; font-weight: 600; color: var(--ink); letter-spacing: -.01em;
}
.plot .note { color: var(--soft); font-size: .8125rem; margin-bottom: 1.25rem; }
.key {
  width: 1.5rem; height: .5rem; display: inline-block; vertical-align: middle; margin-right: .3rem;
}
.key:not(:first-child) { margin-left: .6rem; }
.canvas { position: relative; height: 7rem; margin-left: 3.5rem; }
.canvas > svg { display: block; width: 100%; height: 100%; overflow: visible; }
.canvas > div { font-size: .75rem; line-height: 1; white-space: nowrap; }
.y { color: var(--soft); }
.y span { position: absolute; right: calc(100% + .5rem); transform: translateY(-50%); }
.x {
  display: flex; justify-content: space-between; margin: .45rem 0 0 3.5rem;
  font-size: .75rem; color: var(--soft);
}
.flags { color: var(--wait); }
.flags span { position: absolute; top: -1.05rem; transform: translateX(-50%); }
.empty {
  position: absolute; inset: 0; display: grid; place-items: center; color: var(--soft);
  text-align: center;
}
.empty span { background: var(--card); padding: .15rem .5rem; border-radius: 4px; }
.empty { font-size: .8125rem; }
svg .grid, svg .line, svg .mark { vector-effect: non-scaling-stroke; fill: none; }
svg .grid { stroke: var(--edge); stroke-width: 1; }
svg .line {
  stroke: var(--live); stroke-width: 2; stroke-linecap: round; stroke-linejoin: round;
}
svg .line.thin { stroke-width: 1.25; stroke-dasharray: 3 3; }
svg .area { fill: var(--wash); }
svg .bar { fill: var(--bad); }
svg .mark { stroke: var(--wait); stroke-width: 1.5; stroke-dasharray: 1 3; stroke-linecap: round; }
svg .away { fill: var(--edge); opacity: .45; }

.sequence figcaption { display: grid; gap: .1rem; margin-bottom: 1.4rem; }
.sequence figcaption b { font-size: .875rem; font-weight: 600; color: var(--ink); }
.sequence .key { width: 1.5rem; height: .75rem; }
.sequence .canvas { height: 15rem; margin: 0 1.6rem 3rem 3.5rem; }
.nothing { color: var(--soft); font-size: .9375rem; }

.experiment {
  border: 1px solid var(--edge); border-radius: 10px; padding: 1.1rem 1.2rem 1.3rem;
  display: grid; gap: 1.25rem; grid-template-columns: minmax(0, 1fr);
}
.experiment .setting { margin-top: .2rem; }
.experiment .more { color: var(--soft); font-size: .9375rem; }
.verdict {
  display: flex; gap: .55rem; font-size: 1.75rem; font-weight: 600; line-height: 1.2;
  letter-spacing: -.015em; margin-bottom: .35rem;
}
.verdict .icon { margin-top: .05em; width: 1.1em; height: 1.1em; }
.verdict.wait { color: var(--ink); }
.verdict.wait .icon { color: var(--soft); }
.decided {
  display: flex; gap: .65rem; padding: .7rem .85rem; border-radius: 10px; margin-top: .8rem;
  border-left: 4px solid var(--wait); background: var(--waitwash);
}
.decided .icon { color: var(--wait); }
.summary.ask { color: var(--wait); }
.summary.ask span { color: var(--ink); }
.sides {
  display: grid; gap: 1.5rem 2.25rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr));
}
.sides > * { min-width: 0; }
.sides > :first-child { display: grid; gap: 1rem; align-content: start; }
.evidence { list-style: none; padding: 0; display: grid; gap: .85rem; margin-top: .6rem; }
.evidence p { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 1rem; }
.evidence b { font-weight: 600; }
.evidence .icon { width: 1.1em; height: 1.1em; margin: 0 .3em -.2em 0; }
.evidence .odds { font-size: .875rem; white-space: nowrap; }
.evidence .said { color: var(--soft); font-size: .875rem; }
.meter { height: .5rem; border-radius: 4px; background: var(--edge); margin: .2rem 0 .25rem; }
.meter span {
  display: block; height: 100%; border-radius: 4px; background: var(--soft); max-width: 100%;
}
.found.bad .meter span { background: var(--bad); }
.found.good .meter span { background: var(--good); }
.found.good, .found.bad { color: var(--ink); }
.found.bad b { color: var(--bad); }
.found.good b { color: var(--good); }
.arms { font-size: .9375rem; }
.soft { color: var(--soft); font-size: .9375rem; }
.report h3 { font-size: 1.125rem; color: var(--ink); font-weight: 600; }
.report section > .soft, .report .facts { margin-top: .25rem; }
.wide { overflow-x: auto; margin-top: .5rem; }
table { border-collapse: collapse; font-size: .9375rem; }
th, td {
  text-align: left; padding: .45rem .75rem .45rem 0; border-top: 1px solid var(--edge);
  vertical-align: top; overflow-wrap: normal;
}
thead th { color: var(--soft); font-weight: 500; font-size: .875rem; border-top: 0; }
tbody th { font-weight: 600; min-width: 10rem; }
td:last-child { min-width: 5rem; }
td.answer + td + td + td { min-width: 16rem; }
td.answer { white-space: nowrap; }
th.number, td.number { text-align: right; padding-right: 1.25rem; white-space: nowrap; }
th .icon { width: 1.1em; height: 1.1em; margin: 0 .3em -.2em 0; }
.found.bad th { color: var(--bad); }
.found.good th { color: var(--good); }

.ledger ol { list-style: none; padding: 0; margin-top: .35rem; }
.ledger li {
  display: grid; grid-template-columns: 2.5rem minmax(0, 1fr) auto; gap: .1rem .75rem;
  padding: .45rem 0; border-top: 1px solid var(--edge);
}
.ledger li:first-child { border-top: 0; }
.ledger .number { color: var(--soft); }
.ledger time { color: var(--soft); font-size: .875rem; white-space: nowrap; }
.facts {
  display: flex; flex-wrap: wrap; gap: .2rem 1.5rem; color: var(--soft); font-size: .875rem;
}
.facts div { display: flex; gap: .4rem; }
.facts dd { color: var(--ink); margin: 0; }
footer {
  color: var(--soft); font-size: .875rem; display: flex; flex-wrap: wrap; gap: .25rem 1.25rem;
  justify-content: space-between;
}
@media (max-width: 34rem) {
  .model { padding: 1rem; gap: 1.25rem; }
  .experiment { padding: .9rem .8rem 1rem; }
  .title .path { margin-left: 0; width: 100%; }
  .ledger li { grid-template-columns: 2rem minmax(0, 1fr); }
  .ledger time { grid-column: 2; }
}
"""
)

# Signs: each has a shape of its own, so that nothing hangs on its colour


def _icon(body: str) -> str:
    return (
        '<svg class="icon" viewBox="0 0 20 20" aria-hidden="true" fill="none" '
        'stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round">'
        f"{body}</svg>"
    )


ICONS = {
    "good": _icon('<circle cx="10" cy="10" r="8"/><path d="M6.3 10.4l2.5 2.5 5-5.4"/>'),
    "warn": _icon('<path d="M10 2.5l8 14.5H2z"/><path d="M10 8v4"/><path d="M10 14.4v.1"/>'),
    "bad": _icon(
        '<path d="M6.6 2h6.8L18 6.6v6.8L13.4 18H6.6L2 13.4V6.6z"/><path d="M7 7l6 6m0-6l-6 6"/>'
    ),
    "wait": _icon('<circle cx="10" cy="10" r="8"/><path d="M10 5.4v4.9l3.2 1.9"/>'),
    "ask": _icon(
        '<path d="M3 4h14v9.5H9.5L6 17v-3.5H3z"/><path d="M10 6.6v2.8"/><path d="M10 11.4v.1"/>'
    ),
}
MARK = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><circle cx="9" cy="12" r="7" fill="var(--live)"/>'
    '<circle cx="15" cy="12" r="7" fill="none" stroke="var(--wait)" stroke-width="2"/></svg>'
)
FAVICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'%3E"
    "%3Ccircle cx='9' cy='12' r='7' fill='%230b6b62'/%3E%3Ccircle cx='15' cy='12' r='7' "
    "fill='none' stroke='%238a6fc0' stroke-width='2'/%3E%3C/svg%3E"
)
