"""The class as a board: gain against bytes, in groups that overlap, so that luck ranks nobody.

Two adapters are in different groups only if the intervals of all in the one lie above those of all
in the other. Within a group the smallest comes first.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import PeftTeachError
from ..checks.exercise import Measured
from .private import store

NAMES, PSEUDONYMS = "names", "pseudonyms"
APART, MOST_NAMED = 1.6, 20    # kB between two of equal size; adapters with names in the picture
KEY = "board.key"    # in the instructor's folder: with it, names give pseudonyms
DIGITS = 8    # of a pseudonym, the same for all, so that nobody's depends on who else is there


class Entry(NamedTuple):
    """One adapter on the board."""

    name: str
    found: Measured


def groups(entries: Sequence[Entry]) -> list[list[Entry]]:
    """The adapters in groups whose intervals overlap, the best group first; in it by size."""
    made: list[list[Entry]] = []
    for entry in sorted(entries, key=lambda each: (-each.found.high, each.name)):
        if not made or entry.found.high < min(each.found.low for each in made[-1]):
            made.append([])
        made[-1].append(entry)
    return [sorted(each, key=lambda e: (e.found.size_bytes, e.name)) for each in made]


def draw(entries: Sequence[Entry]) -> Any:
    """Draw each adapter's gain against its bytes, with its interval, a colour for each group.

    Those of equal size stand side by side; where there are many, the table alone has the names.
    """
    from ...plots import COLOURS, figure

    made, ax = figure(8, 3.8)
    tones = [COLOURS[name] for name in ("yours", "full", "lora", "subspace", "random", "head")]
    of_group = {entry: number for number, each in enumerate(groups(entries)) for entry in each}
    said, x = [], 0.0
    for name, m in sorted(entries, key=lambda each: (each.found.size_bytes, each.name)):
        x = max(m.size_bytes / 1e3, x + APART)
        ax.errorbar(x, 100 * m.gain, fmt="o", capsize=3,
                    color=tones[of_group[name, m] % len(tones)],
                    yerr=[[100 * (m.gain - m.low)], [100 * (m.high - m.gain)]])
        if len(entries) <= MOST_NAMED:
            ax.annotate(name, (x, 100 * m.high), xytext=(0, 5), textcoords="offset points",
                        rotation=90, ha="center", va="bottom", color=COLOURS["ink"],
                        parse_math=False)
        said.append(f"{name}: {m.size_bytes / 1e3:.0f} kB, {100 * m.gain:.1f} points "
                    f"({100 * m.low:.1f} to {100 * m.high:.1f}).")
    ax.axhline(0, color=COLOURS["quiet"], lw=1)
    ax.margins(y=0.3)
    ax.set(xlim=(0, max(66, x + 2)), xlabel="size of the file, kB",
           ylabel="gain over the head on the mean, points")
    made.set_label(" ".join(said))
    return made


def table(entries: Sequence[Entry]) -> str:
    """The board in HTML: a line for each adapter, the groups apart."""
    lines = [f"<tr><td>{number}</td><td>{escape(name)}</td><td>{m.size_bytes:,}</td>"
             f"<td>{100 * m.gain:+.1f}</td><td>{100 * m.low:+.1f} to {100 * m.high:+.1f}</td></tr>"
             for number, group in enumerate(groups(entries), 1) for name, m in group]
    head = "".join(f"<th>{each}</th>" for each in ("group", "adapter", "bytes", "gain", "95 %"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def pseudonyms(students: Sequence[str], out: Path, noun: str = "adapter") -> dict[str, str]:
    """A pseudonym for each student, the same in every run into this folder, whose key gives it."""
    path = out / KEY
    if not path.exists():
        store(path, secrets.token_hex(16))
    key, given = path.read_bytes(), {}
    for student in students:
        digest = hmac.new(key, student.encode(), hashlib.sha256).hexdigest()
        given[student] = f"{noun} {digest[:DIGITS]}"
    if len({*given.values()}) < len(given):
        raise PeftTeachError("Two students have one pseudonym.", expected="another for each",
                             hint=f"delete {path}: all of them are drawn anew")
    return given
