"""`peft-teach mark`: the pages that students wrote, one after another, in a browser.

    grade ──> marks/pages.json ──> mark ──> marks/overrides.csv ──> grade, which applies them

Each page stands part by part beside the outputs that it cites and the rubric. Keys give the points;
whatever is given is written at once, as a line of overrides.csv: the points, once all parts have
some, and a comment that names them part by part, which the student reads.

The server listens on this machine alone, under an address with a word of its own. No script but
the page's own runs.
"""

import json
import re
import secrets
import threading
import webbrowser
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ...errors import PeftTeachError
from . import overrides, private
from .marking_page import Given, listed, most, shown
from .row import Row

FILE = "pages.json"
LARGEST_REQUEST = 100_000  # bytes
_GIVEN = re.compile(r"(?m)^\.?(.+?) (\d+|–)/\d+")
HOST = "127.0.0.1"


def write(rows: Sequence[Row], out: Path) -> int:
    """Write what there is to mark, for `serve`; how many pages still wait."""
    pages = [{"student": row.student, "exercise": mark["exercise"], "maximum": mark["maximum"],
              "parts": list(mark["page"]),
              "measured": [each["message"] for each in row.marks if each.get("measured")]}
             for row in rows for mark in row.marks if mark.get("page")]
    (out / FILE).unlink(missing_ok=True)
    if pages:
        private.store(out / FILE, json.dumps(pages, indent=1, ensure_ascii=False))
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
            each is not None and each not in range(most(page) + 1) for each in points):
        raise PeftTeachError(f"{list(points)} are not points of this page.")
    before = given(page, overrides.read(out, bonus=True))
    if (points, comment) == ([None] * len(points), before.comment):
        return    # nothing was given
    told = "; ".join(f"{each['heading']} {'–' if n is None else n}/{most(page)}"
                     for each, n in zip(page["parts"], points))
    total = before.total if set(before.points) == {None} else None    # which stood there already
    total = total if None in points else float(sum(points))
    overrides.add(out, page["student"], page["exercise"], total,
                  f"{told}. {' '.join(comment.split())}".strip())


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
