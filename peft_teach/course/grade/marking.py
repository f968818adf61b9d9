"""`peft-teach mark`: the pages that students wrote, one after another, in a browser.

    grade ──> marks/pages.json ──> mark ──> marks/overrides.csv ──> grade, which applies them

Each page stands part by part beside the outputs that it cites and the rubric. Keys give the points;
whatever is given is written at once, as a line of overrides.csv: the points, once all parts have
some, and a comment that names them part by part, which the student reads.

The server listens on this machine alone, under an address with a word of its own. What students
wrote is escaped, and no script but the page's own runs.
"""

import html
import json
import re
import secrets
import threading
import webbrowser
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import PeftTeachError
from ..lessons import parts
from . import overrides, own, written
from .report import Row

FILE = "pages.json"
EACH = 3                   # points of a part, one for each thing that the rubric names
LARGEST_REQUEST = 100_000  # bytes
_GIVEN = re.compile(r"(?m)^\.?(.+?) (\d+|–)/3")
HOST = "127.0.0.1"


class Given(NamedTuple):
    """What stands for a page so far: points by part, None for none yet; and a comment."""

    points: tuple[int | None, ...]
    comment: str
    total: float | None    # by hand, however it came there


def write(rows: Sequence[Row], out: Path) -> int:
    """Write what there is to mark, for `serve`; how many pages still wait."""
    pages = [{"student": row.student, "exercise": mark["exercise"], "maximum": mark["maximum"],
              "parts": list(mark["page"]),
              "measured": [each["message"] for each in row.marks if each.get("measured")]}
             for row in rows for mark in row.marks if mark.get("page")]
    (out / FILE).unlink(missing_ok=True)
    if pages:
        own.store(out / FILE, json.dumps(pages, indent=1, ensure_ascii=False))
    return sum(row.waits(mark) for row in rows for mark in row.marks)


def read(out: Path) -> list[dict[str, Any]]:
    """The pages, as `write` left them. Raises `PeftTeachError` if there are none."""
    try:
        return json.loads((out / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise PeftTeachError(f"There is no page to mark in {out}.",
                             expected="the --out of peft-teach grade, with pages of lesson 14 in "
                             "what was graded") from None


def given(page: Mapping[str, Any], lines: Sequence[overrides.Override]) -> Given:
    """What overrides.csv says of a page."""
    points: tuple[int | None, ...] = (None,) * len(page["parts"])
    comment, total = "", None
    for line in lines:
        if (line.student, line.exercise) != (page["student"], page["exercise"]):
            continue
        total = total if line.points is None else line.points
        told, _, said = line.comment.partition(". ")
        found = dict(_GIVEN.findall(told.replace("; ", "\n")))
        if found.keys() >= {each["heading"] for each in page["parts"]}:
            points = tuple(int(n) if n != "–" else None for n in (
                found[each["heading"]] for each in page["parts"]))
            comment = said
        else:    # a line of the instructor's own
            points, comment = (None,) * len(page["parts"]), line.comment
    return Given(points, comment, total)


def save(out: Path, page: Mapping[str, Any], points: Sequence[int | None], comment: str) -> None:
    """Write what was given as the only line of its kind. Raises `PeftTeachError`."""
    if len(points) != len(page["parts"]) or any(
            each is not None and each not in range(_most(page) + 1) for each in points):
        raise PeftTeachError(f"{list(points)} are no points of this page.")
    before = given(page, overrides.read(out, bonus=True))
    if (points, comment) == ([None] * len(points), before.comment):
        return    # nothing was given
    told = "; ".join(f"{each['heading']} {'–' if n is None else n}/3"
                     for each, n in zip(page["parts"], points))
    total = before.total if set(before.points) == {None} else None    # which stood there already
    total = total if None in points else float(sum(points))
    overrides.add(out, page["student"], page["exercise"], total,
                  f"{told}. {' '.join(comment.split())}".strip())


def _most(page: Mapping[str, Any]) -> int:
    return page["maximum"] if len(page["parts"]) == 1 else EACH


# ── the page ─────────────────────────────────────────────────────────────────────────────────

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --mark: #ffe08a; --on: #1a9850; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 84em; padding: 0 1.2em 6em }
header { display: flex; gap: 1.5em; align-items: baseline; flex-wrap: wrap; padding: .8em 0 }
h1 { font-size: 1.3em; margin: 0 } a { color: inherit }
section { border-top: 1px solid var(--line); padding: .7em 0 1em; display: grid;
  grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 0 2em }
section.on { box-shadow: -6px 0 0 var(--on); padding-left: .6em }
h2 { grid-column: 1 / -1; font-size: 1.05em; margin: .2em 0; display: flex; gap: 1em }
.said { white-space: pre-wrap; max-width: 44em } .rubric { color: GrayText; font-size: .92em }
.rubric li::marker { content: "☐ " } .zero { font-style: italic }
pre { overflow: auto; max-height: 15em; border: 1px solid var(--line); padding: .4em .6em;
  font-size: .82em; margin: .3em 0 } mark { background: var(--mark); color: #222 }
button { font: inherit; min-width: 2.2em; border: 1px solid var(--line); border-radius: 4px;
  background: none; color: inherit; cursor: pointer }
button[aria-pressed=true] { background: var(--on); color: #fff }
.missing { color: #c2410c } textarea { width: 100%; box-sizing: border-box; font: inherit }
footer { position: fixed; bottom: 0; left: 0; right: 0; background: Canvas; padding: .5em 1.2em;
  border-top: 1px solid var(--line) } kbd { border: 1px solid var(--line); padding: 0 .3em }
@media (max-width: 56em) { section { grid-template-columns: minmax(0, 1fr) } }
table { border-collapse: collapse } td, th { text-align: left; padding: 2px 1.2em 2px 0 }
"""
_SCRIPT = """
const sections = [...document.querySelectorAll("section[data-part]")];
const box = document.querySelector("textarea"), told = document.querySelector("#told");
let here = Math.max(0, sections.findIndex(each => !each.querySelector("[aria-pressed=true]")));
const value = each => {
  const on = each.querySelector("[aria-pressed=true]");
  return on ? Number(on.textContent) : null;
};
function show() {
  sections.forEach((each, i) => each.classList.toggle("on", i === here));
  const all = sections.map(value), sum = all.reduce((a, b) => a + (b ?? 0), 0);
  document.querySelector("#sum").textContent = all.includes(null)
    ? `${sum}, ${all.filter(x => x === null).length} to give` : `${sum} points`;
}
let queue = Promise.resolve();
function save() {
  const body = JSON.stringify({points: sections.map(value), comment: box.value});
  told.textContent = "saving …";
  queue = queue.then(() => fetch(location.href, {method: "POST", body,
      headers: {"Content-Type": "application/json"}}))
    .then(async r => { told.textContent = r.ok ? "saved" : await r.text(); return r.ok; })
    .catch(() => { told.textContent = "NOT saved: is peft-teach mark still running?"; });
  return queue;
}
function give(part, n) {
  const buttons = [...sections[part].querySelectorAll("button")];
  const chosen = buttons.find(each => each.textContent === String(n));
  if (!chosen) return;
  buttons.forEach(each => each.setAttribute("aria-pressed", each === chosen));
  here = Math.min(part + 1, sections.length - 1);
  show(); save();
  sections[here].scrollIntoView({block: "nearest"});
}
sections.forEach((each, i) => each.querySelectorAll("button").forEach(button => {
  button.onclick = () => give(i, button.textContent); }));
const go = async name => {
  const link = document.querySelector(`a[rel=${name}]`);
  await queue;
  if (link) location.href = link.href;
};
let waits;
box.oninput = () => { clearTimeout(waits); waits = setTimeout(save, 600); };
box.onchange = () => { clearTimeout(waits); save(); };
document.onkeydown = event => {
  if (event.target === box) {
    if (event.key === "Escape") box.blur();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const step = {j: 1, ArrowDown: 1, k: -1, ArrowUp: -1}[event.key];
  if (/^[0-9]$/.test(event.key)) give(here, event.key);
  else if (step) {
    here = Math.min(Math.max(here + step, 0), sections.length - 1);
    show(); sections[here].scrollIntoView({block: "nearest"});
  } else if (event.key === "c") box.focus();
  else if (event.key === "n" || event.key === "ArrowRight") go("next");
  else if (event.key === "p" || event.key === "ArrowLeft") go("prev");
  else if (event.key === "l") go("up");
  else return;
  event.preventDefault();
};
show();
"""
_FRAME = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{style}</style></head><body>{body}{script}</body></html>
"""
_KEYS = ("<kbd>0</kbd>–<kbd>3</kbd> points, then the next part · <kbd>j</kbd> <kbd>k</kbd> parts · "
         "<kbd>c</kbd> comment, <kbd>Esc</kbd> out · <kbd>n</kbd> <kbd>p</kbd> students · "
         "<kbd>l</kbd> list")


def shown(pages: Sequence[Mapping[str, Any]], index: int, now: Given, nonce: str) -> str:
    """One student's page, to be marked."""
    page = pages[index]
    rubric = {heading: rest for part in parts() for heading, *rest in part.rubric}
    links = [f'<a rel="up" href="./">all {len(pages)}</a>']
    if index:
        links.append(f'<a rel="prev" href="{index}">← before</a>')
    if index + 1 < len(pages):
        links.append(f'<a rel="next" href="{index + 2}">next →</a>')
    by_hand = "" if now.total is None or None not in now.points else (
        f"<span>by hand: {now.total:g} points</span>")
    body = [f"<header><h1>{_text(page['student'])}</h1><span>{index + 1} of {len(pages)}</span>"
            f'<strong id="sum" aria-live="polite"></strong>{by_hand}{" ".join(links)}</header>',
            *(f"<p>Measured: {_text(each)}</p>" for each in page["measured"])]
    for number, (part, points) in enumerate(zip(page["parts"], now.points)):
        buttons = "".join(f'<button aria-pressed="{str(points == n).lower()}">{n}</button>'
                          for n in range(_most(page) + 1))
        earns, zero = rubric.get(part["heading"], ("", ""))
        items = "".join(f"<li>{_text(each)}</li>" for each in filter(None, earns.split("; ")))
        runs = "".join(f"<pre tabindex=0 aria-label='cell {cell}'>cell {cell}\n"
                       f"{_cited(text, part['text'])}</pre>" for cell, text in part["runs"])
        missing = "" if not part["missing"] else (
            f"<p class=missing>In no output of the notebook: {_text(', '.join(part['missing']))}"
            "</p>")
        body.append(
            f"<section data-part={number} aria-label='{_text(part['heading'])}'>"
            f"<h2>{_text(part['heading'])} <span>{buttons}</span></h2>"
            f"<div><div class=said>{_text(part['text'] or '…')}</div><ul class=rubric>{items}</ul>"
            f"<p class='rubric zero'>{_text(f'Zero: {zero}' if zero else '')}</p></div>"
            f"<div>{missing}{runs}</div></section>")
    body.append(f"<section><h2>Comment</h2><textarea rows=3 aria-label='Comment'>"
                f"{_text(now.comment)}</textarea></section>"
                f"<footer>{_KEYS} · <span id=told role=status></span></footer>")
    return _FRAME.format(title=_text(page["student"]), style=_STYLE, body="\n".join(body),
                         script=f'<script nonce="{nonce}">{_SCRIPT}</script>')


def listed(pages: Sequence[Mapping[str, Any]], now: Sequence[Given]) -> str:
    """All students, with what they have."""
    lines = []
    for number, (page, each) in enumerate(zip(pages, now), 1):
        points = "" if each.total is None else f"{each.total:g} of {page['maximum']}"
        lines.append(f'<tr><td><a href="{number}">{_text(page["student"])}</a></td>'
                     f"<td>{points}</td></tr>")
    done = sum(each.total is not None for each in now)
    first = next((n for n, each in enumerate(now, 1) if each.total is None), 1)
    return _FRAME.format(
        title="Pages to mark", style=_STYLE, script="",
        body=f'<header><h1>{done} of {len(pages)} pages are marked</h1>'
             f'<a href="{first}" autofocus>Go on</a></header><table>{"".join(lines)}</table>'
             "<p>Then run <code>peft-teach grade</code> again: it applies them.</p>")


def _text(text: str) -> str:
    return html.escape(str(text))


def _cited(text: str, said: str) -> str:
    return "".join(f"<mark>{_text(piece)}</mark>" if cited else _text(piece)
                   for piece, cited in written.marked_up(text, said))


# ── the server ───────────────────────────────────────────────────────────────────────────────


def server(out: Path) -> tuple[ThreadingHTTPServer, str]:
    """A server of the pages in a folder, and its address. Raises `PeftTeachError` for none."""
    pages, word = read(out), secrets.token_urlsafe(16)
    one_at_a_time = threading.Lock()    # what is saved is read before

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if (index := self._asked()) is None:
                return
            lines, nonce = overrides.read(out, bonus=True), secrets.token_urlsafe(16)
            now = [given(page, lines) for page in pages]
            self._send(200, listed(pages, now) if index < 0 else
                       shown(pages, index, now[index], nonce), nonce)

        def do_POST(self) -> None:
            if (index := self._asked()) is None:
                return
            try:
                size = int(self.headers["Content-Length"])
                if self.headers["Content-Type"] != "application/json" or size > LARGEST_REQUEST:
                    raise ValueError
                sent = json.loads(self.rfile.read(size))
                with one_at_a_time:
                    save(out, pages[index], [*sent["points"]], str(sent["comment"]))
                self._send(200, "saved")
            except PeftTeachError as error:
                self._send(409, str(error))
            except (ValueError, TypeError, KeyError, IndexError):
                self._send(400, "This is not what the page sends.")

        def _asked(self) -> int | None:
            """The index of the page that is asked for, -1 for the list; None if it was refused."""
            path = re.fullmatch(rf"/{word}/(\d{{0,6}})", self.path)
            host = f"{HOST}:{self.server.server_port}"
            number = int(path[1] or 0) if path else -1
            if (not path or self.headers["Host"] != host or number > len(pages)
                    or self.headers.get("Origin", f"http://{host}") != f"http://{host}"
                    or (self.command == "POST" and not number)):
                self._send(404, "There is nothing here.")
                return None
            return number - 1

        def _send(self, status: int, text: str, nonce: str = "") -> None:
            data = text.encode("utf-8", "replace")
            kind = "text/html" if nonce else "text/plain"
            self.send_response(status)
            for name, value in (
                    ("Content-Type", f"{kind}; charset=utf-8"), ("Content-Length", str(len(data))),
                    ("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer"),
                    ("X-Content-Type-Options", "nosniff"),
                    ("Content-Security-Policy",
                     f"default-src 'none'; style-src 'unsafe-inline'; connect-src 'self'; "
                     f"script-src 'nonce-{nonce}'; frame-ancestors 'none'; base-uri 'none'")):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Names nobody in the terminal."""

    made = ThreadingHTTPServer((HOST, 0), Handler)    # a browser may keep a connection idle
    return made, f"http://{HOST}:{made.server_port}/{word}/"


def serve(out: Path | str, browser: bool = True) -> None:
    """Serve the pages in a folder until Ctrl-C."""
    made, address = server(Path(out))
    print(f"{address}\nThe pages to mark; Ctrl-C ends it.", flush=True)
    if browser:
        webbrowser.open(address)
    try:
        made.serve_forever()
    except KeyboardInterrupt:
        print(f"\nWhat was given is in {Path(out) / overrides.FILE}. Run peft-teach grade again: "
              "it applies it.")
    finally:
        made.server_close()
