"""How the status page looks, and what a browser may load for it: nothing else."""

import base64
import hashlib

STYLE = """
:root {
  color-scheme: light dark;
  --text: #1c2128; --quiet: #57606a; --line: #dce0e5; --ground: #f6f7f9; --card: #fff; --link: #0a56b5;
  --bad: #b3261e; --bad-ground: #fdecea; --warn: #8a4b00; --warn-ground: #fff1d6;
  --review: #6438b5; --review-ground: #f0eafc; --busy: #0a56b5; --busy-ground: #e4f0fd;
  --good: #1a6b33; --good-ground: #fff; --off: #57606a; --off-ground: #eef0f3;
}
@media (prefers-color-scheme: dark) {
  :root {
    --text: #e2e7ec; --quiet: #9da7b2; --line: #2d343c; --ground: #0e1216; --card: #161b21; --link: #79b8ff;
    --bad: #ff9d94; --bad-ground: #3d191b; --warn: #f2b65a; --warn-ground: #3a2808;
    --review: #c6aefc; --review-ground: #2b2148; --busy: #84bcff; --busy-ground: #12263f;
    --good: #74cc8a; --good-ground: #161b21; --off: #9da7b2; --off-ground: #22282f;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: .5rem 1rem .75rem; background: var(--ground); color: var(--text);
  font: 13px/1.5 -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
a { color: var(--link); }
a:focus-visible, summary:focus-visible { outline: 2px solid var(--link); outline-offset: 1px; border-radius: 3px; }
code, .commits { font: 12px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
header { display: flex; flex-wrap: wrap; gap: 0 1.5rem; align-items: baseline; }
h1 { margin: 0; font-size: 1.3rem; line-height: 1.4; overflow-wrap: anywhere; }
h2 { margin: 1.4rem 0 .5rem; font-size: 1rem; }
header p { margin: 0; color: var(--quiet); }
header .pass { margin-left: auto; }
.alarm { margin: .5rem 0 0; padding: .35rem .7rem; border-left: 4px solid var(--bad); background: var(--bad-ground); color: var(--bad); overflow-wrap: anywhere; }
.counts { display: flex; flex-wrap: wrap; gap: .3rem; margin: .4rem 0; padding: 0; list-style: none; }
.counts a { display: block; padding: 0 .6rem; border: 1px solid var(--line); border-radius: 2rem; background: var(--card); text-decoration: none; line-height: 24px; }
.counts a[aria-current] { border-color: currentcolor; font-weight: 650; }
.counts .all { color: var(--text); }
.counts b { font-variant-numeric: tabular-nums; }
.bad { color: var(--bad); } .warn { color: var(--warn); } .review { color: var(--review); }
.busy { color: var(--busy); } .good { color: var(--good); } .off { color: var(--off); }
.bad::before { content: "\\2715\\a0" / ""; } .warn::before { content: "!\\a0" / ""; } .review::before { content: "\\25c6\\a0" / ""; }
.busy::before { content: "\\25b8\\a0" / ""; } .good::before { content: "\\2713\\a0" / ""; } .off::before { content: "\\2013\\a0" / ""; }
table { border-collapse: separate; border-spacing: 0; background: var(--card); border: 1px solid var(--line); border-radius: 6px; }
.grid { width: 100%; table-layout: fixed; min-width: 60rem; }
.grid.wide { width: max-content; min-width: 100%; table-layout: auto; }
.wide td { min-width: 15.5rem; max-width: 24rem; }
.grid thead th:first-child { width: 11rem; border-left: 0; }
caption { text-align: left; color: var(--quiet); padding: 0 0 .3rem; }
th, td { padding: 2px .6rem; text-align: left; vertical-align: top; border-top: 1px solid var(--line); }
th { font-weight: 650; }
thead th { position: sticky; top: 0; z-index: 2; border-top: 0; border-bottom: 1px solid var(--line); background: var(--card); }
tbody tr:first-child > * { border-top: 0; }
.grid th { max-width: 13rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.grid tbody th, .grid thead th:first-child { position: sticky; left: 0; z-index: 1; background: var(--card); border-right: 1px solid var(--line); }
.grid thead th:first-child { z-index: 3; }
.grid td, .grid thead th + th { border-left: 3px solid transparent; }
.grid td div { display: flex; gap: .6rem; align-items: baseline; white-space: nowrap; height: 21px; line-height: 21px; }
.grid td div > :last-child:not(:first-child) { margin-left: auto; }
.message { overflow: hidden; text-overflow: ellipsis; color: var(--quiet); }
.grid td time, .quiet { color: var(--quiet); }
.why { font-weight: 600; text-decoration: none; border-radius: 3px; }
.why:hover, .counts a:hover { text-decoration: underline; }
.commits { color: var(--quiet); font-size: 11.5px; line-height: inherit; overflow: hidden; text-overflow: ellipsis; }
.links { display: flex; flex: none; gap: .55rem; }
td.bad::before, td.warn::before, td.review::before, td.busy::before, td.good::before, td.off::before { content: none; }
.grid td.bad { background: var(--bad-ground); border-left-color: var(--bad); }
.grid td.warn { background: var(--warn-ground); border-left-color: var(--warn); }
.grid td.review { background: var(--review-ground); border-left-color: var(--review); }
.grid td.busy { background: var(--busy-ground); border-left-color: var(--busy); }
.grid td.off { background: var(--off-ground); border-left-color: var(--off); }
details { margin-top: .4rem; }
summary { cursor: pointer; width: max-content; max-width: 100%; }
details li, details dd { overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .25rem 1rem; margin: .6rem 0; }
dd { margin: 0; overflow-wrap: anywhere; }
dt { font-weight: 600; }
.pair { max-width: 66rem; font-size: 15px; }
.pair header .pass { margin-left: 0; }
.pair th[scope="row"] { font-weight: 400; }
.pair td time { white-space: nowrap; }
.pair code { font-size: .9em; }
.pair dt { color: var(--quiet); }
.pair table { width: 100%; }
.pair td { overflow-wrap: anywhere; }
.pair ol, .pair ul { padding-left: 1.4rem; overflow-wrap: anywhere; }
@media (max-width: 60rem) { header .pass { margin-left: 0; } }
@media (max-width: 40rem) {
  dl { grid-template-columns: minmax(0, 1fr); gap: 0; } dd { margin: 0 0 .6rem; }
  .pair td time { white-space: normal; } .pair th { overflow-wrap: anywhere; }
}
"""

POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Content-Security-Policy: the style above and the icon, and nothing from anywhere."""
