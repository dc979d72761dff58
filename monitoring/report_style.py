"""What the report of a window adds to the look of the gateway's pages (serving.style)."""

SHEET = """
section.block { display: grid; gap: .6rem; grid-template-columns: minmax(0, 1fr); }
section.block > h3 { font-size: 1.125rem; color: var(--ink); font-weight: 600; }
h4 { font-size: .875rem; font-weight: 600; margin-bottom: .4rem; overflow-wrap: anywhere; }
.reasons { list-style: none; padding: 0; display: grid; gap: .4rem; margin-top: .8rem; }
.reasons li { color: var(--ink); padding-left: .85rem; border-left: 4px solid var(--edge); }
.reasons li.bad { border-color: var(--bad); }
.reasons li.warn { border-color: var(--warn); }
.reasons li.held { border-color: var(--wait); }
.facts dt { flex: none; }
.reasons b { font-weight: 600; }

.wide-plot .canvas { height: 15rem; margin-right: .4rem; }
.wide-plot .note, .heat-key {
  display: flex; flex-wrap: wrap; gap: .15rem 1.1rem; align-items: center;
  color: var(--soft); font-size: .8125rem;
}
.wide-plot .days { margin-right: .4rem; margin-left: 3.5rem; }
.wide-plot .key { height: .75rem; }
.days { position: relative; height: 1.25rem; font-size: .75rem; color: var(--soft); }
.days span { position: absolute; top: .35rem; transform: translateX(-50%); white-space: nowrap; }
.days .first { transform: none; left: 0 !important; }
.days .last { transform: none; left: auto !important; right: 0; }
svg .band { fill: var(--live); fill-opacity: .2; }
svg .guess, svg .limit, svg .held-out, svg .reach, svg .dot {
  fill: none; vector-effect: non-scaling-stroke; stroke-linejoin: round;
}
svg .guess { stroke: var(--wait); stroke-width: 2; stroke-dasharray: 6 4; }
svg .limit { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 2 4; }
svg .held-out { stroke: var(--soft); stroke-width: 1; }
svg .reach { stroke: var(--live); stroke-width: 2; stroke-opacity: .55; }
svg .dot { stroke-width: 7; stroke-linecap: round; stroke-dasharray: none; stroke: var(--live); }
svg .dot.guess { stroke: var(--wait); stroke-width: 6; }
svg .dot.told { stroke: var(--bad); stroke-width: 11; }
i.sign.told {
  display: inline-block; width: .7rem; height: .7rem; border-radius: 50%; margin-right: .3rem;
  background: var(--bad); vertical-align: -.05rem;
}

.slices {
  display: grid; gap: .1rem .7rem; align-items: center; font-size: .875rem;
  grid-template-columns: minmax(3rem, max-content) minmax(4rem, 1fr) max-content max-content;
}
.slices .name { max-width: 9rem; }
.range { width: 100%; height: 1.3rem; display: block; overflow: hidden; }
.range .whole { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 2 3; }
.range .at { fill: var(--live); }
.slices .number, .heat .number { text-align: right; white-space: nowrap; }
.slices .soft { font-size: .75rem; }

.heat {
  --widest: 40rem;
  display: grid; gap: 2px .75rem; align-items: center; font-size: .8125rem; line-height: 1.3;
  grid-template-columns: minmax(4.5rem, max-content) minmax(0, var(--widest)) 3.5rem;
}
.heat .name {
  max-width: 14rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
}
.heat .special { font-style: italic; }
.heat .number { text-align: left; color: var(--soft); }
.heat .number.bad { color: var(--bad); font-weight: 600; }
.cells { width: 100%; height: 1.3rem; display: block; border-radius: 3px; }
.heat .days { width: 100%; }
.heat-key svg, .heat-key i {
  width: 1rem; height: 1rem; display: inline-block; vertical-align: -.2rem; margin: 0 .3rem;
}
.cells rect { stroke: var(--card); stroke-width: 1; }
.h0 { fill: var(--edge); fill-opacity: .45; }
.h1 { fill: var(--live); fill-opacity: .18; }
.h2 { fill: var(--live); fill-opacity: .42; }
.h3 { fill: var(--bad); fill-opacity: .34; }
.h4 { fill: var(--bad); fill-opacity: .62; }
.h5 { fill: var(--bad); }
.cells .none { fill: none; stroke: var(--edge); }
i.h0 { background: var(--edge); opacity: .45; }
i.h1 { background: var(--live); opacity: .18; }
i.h2 { background: var(--live); opacity: .42; }
i.h3 { background: var(--bad); opacity: .34; }
i.h4 { background: var(--bad); opacity: .62; }
i.h5 { background: var(--bad); }
i.none { border: 1px solid var(--edge); }
svg .sign { fill: var(--ink); }
.h4 + .sign, .h5 + .sign { fill: var(--card); }
svg .cross { stroke: var(--ink); stroke-width: 2; stroke-linecap: round; fill: none; }
.h4 + svg .cross, .h5 + svg .cross, .h5 + .cross { stroke: var(--card); }

.shapes {
  display: grid; gap: 1.5rem 2.25rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr));
}
.shape { min-width: 0; }
.shape .note { color: var(--soft); font-size: .8125rem; margin-bottom: .5rem; }
.shape .bars { width: 100%; height: 6.5rem; display: block; border-bottom: 1px solid var(--edge); }
.was { fill: var(--soft); fill-opacity: .45; background: var(--soft); }
.is { fill: var(--live); background: var(--live); }
.shape .days { margin-top: .1rem; }
.categories {
  display: grid; gap: .3rem .6rem; align-items: center; font-size: .8125rem; line-height: 1.2;
  grid-template-columns: minmax(2.5rem, max-content) minmax(0, 1fr) max-content;
}
.categories .name {
  max-width: 8rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
}
.categories .number { color: var(--soft); white-space: nowrap; text-align: right; }
.categories svg { width: 100%; height: 1.05rem; display: block; }
.badge {
  color: var(--bad); font-size: .6875rem; font-weight: 600; margin-left: .3rem;
  text-transform: uppercase; letter-spacing: .03em;
}
.key-box {
  width: .8rem; height: .8rem; display: inline-block; border-radius: 2px; margin-right: .3rem;
  vertical-align: -.08rem;
}
i.was { opacity: .45; }
.keys { display: flex; flex-wrap: wrap; gap: .15rem 1.1rem; }

.findings { font-size: .875rem; }
.findings th, .findings td { padding: .35rem .9rem .35rem 0; }
.findings tbody th, .findings td:last-child { min-width: 7rem; }
.findings tbody th { font-weight: 500; max-width: 14rem; overflow-wrap: anywhere; }
.findings td:last-child { min-width: 18rem; }
.findings td, .findings th { overflow-wrap: anywhere; }
.findings .once, .findings .said { white-space: nowrap; }
.findings tr.is-bad .said { color: var(--bad); font-weight: 600; }
.findings tr.is-warn .said { color: var(--warn); font-weight: 600; }
summary { cursor: pointer; font-size: .9375rem; color: var(--soft); padding: .35rem 0; }
summary:focus-visible { outline: 2px solid var(--live); outline-offset: 3px; border-radius: 2px; }
@media (max-width: 34rem) {
  .verdict { font-size: 1.375rem; }
  .heat { gap: 2px .5rem; grid-template-columns: 6.25rem minmax(0, var(--widest)) 2.75rem; }
  .heat .name { max-width: 6.25rem; }
  .wide-plot .canvas { height: 12rem; }
  .heat .middle { display: none; }
}
"""
