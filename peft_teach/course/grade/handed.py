"""What a lesson marks besides its exercises: an adapter that was handed in, a page to be read.

No code of the learner's runs for it, but the file may claim anything. So it is looked at in a
process that is confined as those of answers are, and judged here, by the plain data that come back.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ...errors import PeftTeachError
from ...store import TENSORS
from ..checks.examination import NOT_ATTEMPTED, PASSED, WRONG
from ..checks.exercise import LIKENESS, Part
from ..lessons import parts
from ..reading.notebook import Notebook
from . import csv_file, similarity, written
from .plain import from_bytes, split
from .run import FAILED, Mark
from .runner import FORKS, Runner, runner
from .sandbox import MEGABYTE, Limits

TO_MARK = "to be marked by a person"    # the state of a page that was written
WAITS = "waiting for your instructor"    # the same, as its student reads it
BY_HAND = "to be marked by hand: peft-teach mark"
AS_READ = "Your page, as it is read:"
NOTHING = f"No {TENSORS} was handed in with the notebook."
NOTE_UNLIKE_THE_FILE = (
    "It passes the checks of the notebook, but with the numbers of the file that was handed in it "
    "gives other answers than the file: another method, rank or scale?")
IN_THE_OPEN = "on sentences that students can read: --held names a folder with others"
SECONDS, A_SENTENCE = 30.0, 0.1    # of CPU time, to look at a file and to read a sentence with it;
#                                    we use 3 and 0.02
FEWEST = 300    # sentences: with these, an adapter that is 4 points ahead seldom falls behind


def examined(notebook: Notebook, lesson: str, held: Sequence[tuple[str, int]],
             warm: bool = FORKS, run: str = "") -> tuple[dict[str, tuple[Any, ...]], list[Mark]]:
    """Further cases that an adapter makes, by their exercise, and the marks of the parts."""
    if not (there := parts(lesson)):
        return {}, []
    if not isinstance(notebook.adapter, bytes) or not notebook.adapter:
        why = notebook.adapter or NOTHING
        return {}, [_mark(part, NOT_ATTEMPTED, why, flag=True) if part.examine else
                    _page(part, notebook) for part in there]
    looking = runner(_limits(held), warm, run, lesson)
    ids = [part.id for part in there if part.examine]
    found, lost, confined = _found(looking, lesson, ids, notebook.adapter, held)
    further = [part.further[0] for part in there if part.further]
    text = similarity.of_bytes(_tensors(notebook.adapter))
    shape = tuple(found.get(LIKENESS, {}).get("found", ()))
    return {id: tuple(found[id]["found"]) for id in further if "found" in found.get(id, ())}, [
        replace(_examined(part, found.get(part.id, lost), held), confined=confined,
                text=text, shape=shape)
        if part.examine else _page(part, notebook) for part in there]


def _tensors(file: bytes) -> bytes:
    """What follows the description at the beginning of a file, which any copy can change."""
    return file[8 + int.from_bytes(file[:8], "little"):] or file


def _limits(held: Sequence[tuple[str, int]]) -> Limits:
    """What looking at one file may take; without `held` the domain's sentences are read."""
    return Limits(seconds=min(3600.0, SECONDS + A_SENTENCE * max(len(held), 1000)))


def _found(looking: Runner, lesson: str, ids: Sequence[str], adapter: bytes,
           held: Sequence[tuple[str, int]]
           ) -> tuple[dict[str, dict[str, Any]], dict[str, str], tuple[str, ...]]:
    """What was found of a file, by part and by exercise; why there is nothing of the others; and
    the sandbox in which it was looked at."""
    ended = looking.ask({
        "lesson": lesson, "parts": list(ids), "sentences": list(held),
        "adapter": torch.frombuffer(bytearray(adapter), dtype=torch.uint8)})
    frames = map(from_bytes, split(ended.sent))
    limits = looking.limits
    why = {
        "time": f"Looking at the file took longer than {limits.seconds:g} seconds.",
        "output": f"What was found of the file has more than {limits.output_bytes // MEGABYTE} MB.",
        "files": f"Looking at the file filled {limits.file_bytes // MEGABYTE} MB of the disk.",
        "server": f"{FAILED}: look at it by hand.",
        "SIGKILL": "Looking at the file takes too much memory.",
    }.get(ended.how, f"Looking at the file crashes the process that does ({ended.how}).")
    lost = {"why": why, "reason": ended.how}
    return {frame["id"]: frame for frame in frames}, lost, ended.confined


def _examined(part: Part, seen: Mapping[str, Any], held: Sequence[tuple[str, int]]) -> Mark:
    """The mark of one part, by what was seen of the file or why nothing was."""
    if "found" not in seen:
        return replace(_mark(part, WRONG, seen["why"], True), reason=seen.get("reason", ""))
    holds, why, measured = part.judge(seen["found"], held)
    flags = () if held or not measured else (IN_THE_OPEN,)
    return _mark(part, PASSED if holds else WRONG, why, not holds, flags,
                 measured and measured.plain())


def _page(part: Part, notebook: Notebook) -> Mark:
    """No points yet, and what the student wrote, if anything stands where the dots were."""
    page = written.read(part, notebook)
    if not page.written:
        return _mark(part, NOT_ATTEMPTED, "No page was found: the dots stand there still.")
    return replace(_mark(part, TO_MARK, f"{AS_READ}\n{page}", flags=(BY_HAND,)),
                   page=tuple(written.beside(page.parts, notebook.outputs)))


def _mark(part: Part, state: str, message: str, flag: bool = False, flags: Sequence[str] = (),
          measured: Mapping | None = None) -> Mark:
    said = [message] if flag else []
    return Mark(part.id, state, part.points if state == PASSED else 0, part.points, message,
                flags=tuple(f"{part.id}: {each}" for each in (*said, *flags)), measured=measured)


def problems(lesson: str, warm: bool = FORKS, run: str = "") -> list[str]:
    """Why a folder of the course's own would get no points here; nothing if all is well."""
    marks = []
    for part in parts(lesson):
        if part.sample:
            with tempfile.TemporaryDirectory() as folder:
                part.sample(Path(folder))
                adapter = Path(folder, TENSORS).read_bytes()
            looking = runner(_limits(()), warm, run, lesson)
            found, lost, _ = _found(looking, lesson, [part.id], adapter, ())
            marks.append(_examined(part, found.get(part.id, lost), ()))
    return [f"{mark.exercise}: {mark.message}" for mark in marks if mark.state != PASSED]


@cache
def read(folder: Path | str) -> tuple[tuple[str, int], ...]:
    """The sentences of a folder's CSV files, with columns text and label, 0 or 1.

    Raises `PeftTeachError` if there are none or too few, and for any other label.
    """
    found = []
    for file in sorted(Path(folder).glob("*.csv")):
        rows = csv_file.read(file, expected="CSV in UTF-8")
        head = next(rows, [])
        for row in rows:
            named = dict(zip(head, row))
            if named.get("label") not in ("0", "1") or not named.get("text", "").strip():
                raise PeftTeachError(f"{file}, line {rows.line_num}: {','.join(row)[:60]!r}.",
                                     expected="columns text and label, and a label of 0 or 1")
            found.append((named["text"], int(named["label"])))
    if len(found) < FEWEST or len({label for _, label in found}) < 2:
        raise PeftTeachError(f"{folder} holds {len(found)} sentences.",
                             expected=f"at least {FEWEST}, of both labels, in *.csv: text,label")
    return tuple(found)
