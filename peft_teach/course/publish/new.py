"""`peft-teach new method NAME`, `new lesson NN NAME`: the skeleton that every guard knows.

    assets/skeleton/method/    method.py, card.py, oracle.py, and a row in each table of methods
    assets/skeleton/lesson/    the files of a lesson, which builds and passes as it is

In these files NAME, Name and NN stand for what is asked for. Everything is read and checked before
the first file is written.
"""

import ast
import keyword
import re
import textwrap
from pathlib import Path

import peft_teach

from ...folder import write_whole
from ...methods import METHODS
from .. import lessons
from . import start_page
from .methods import CARDS
from .notebooks import LESSONS
from .source import wrong

SKELETON = Path("assets/skeleton")
WIDTH = 100
LAW = '''"NAME": Method(
    pt.NAME, lambda family: pt.NAME.Config(targets=some(family)),
    lambda family, kind: 2 * sum(sizes(family)[t][1] for t in some(family)),
    closed=lambda family: 2 * sum(pt.NAME.count(sizes(family)[t][1]) for t in some(family)))'''


def method(root: Path | str, name: str) -> str:
    """Write a method's skeleton and its rows; return what is left to do.

    "BOFT" is the method's name on the pages, and "boft" its module's. Raises `PeftTeachError` for
    a name that is taken or malformed, and then writes nothing.
    """
    root = Path(root).resolve()
    title, name = (name.title() if name.islower() else name).replace("_", ""), name.lower()
    _check_name(name, {*METHODS, *peft_teach.__all__, *(
        file.stem for file in (root / "peft_teach").rglob("*.py"))})
    here, public = "peft_teach/methods/__init__.py", "peft_teach/__init__.py"
    export, laws = "peft_teach/export/writing.py", "tests/library/test_laws.py"
    edited = {path: _text(root / path) for path in (here, public, export, laws)}
    edited[here] = _entry(_imported(edited[here], None, name), "METHODS", f'"{name}": {name}')
    edited[public] = _listed(_imported(edited[public], "methods", name), name)
    edited[export] = _entry(edited[export], "NOT_WRITTEN",
                            f'"{name}": "peft\'s form of {name} is not written here."')
    edited[laws] = _entry(edited[laws], "METHODS", LAW.replace("NAME", name))
    files = {"method.py": f"peft_teach/methods/{name}.py",
             "card.py": f"{CARDS.as_posix()}/{name}.py",
             "oracle.py": f"tests/oracles/test_{name}_oracle.py"}
    _write(root, "method", files, {"NAME": name, "Name": title}, edited)
    return _told(files.values(), edited, f"""
        1. {files["method.py"]}: its key page, then the code. Its row of METHODS in
           {laws} says once more, independently, how many numbers train,
           how near the base it starts (`start`), and whether it merges.
        2. {files["oracle.py"]}: `reference`, the same by code that is not ours.
        3. {files["card.py"]}: what the pages say of it.
        4. Its learning rate, sought and recorded, and its race:
             python assets/records/rates.py --search {name}
             python assets/records/rates.py --methods {name}
             python assets/records/benchmark.py --methods full {name}
        5. peft-teach build 00      writes the tables of the pages

        At any time, all of its guards:   pytest --method {name}""")


def lesson(root: Path | str, number: str, name: str) -> str:
    """Write a lesson's skeleton; return what is left to do.

    Raises `PeftTeachError` for a number or a name that is taken or malformed, and writes nothing.
    """
    root = Path(root).resolve()
    _check_name(name, {*lessons.names(), *(
        file.stem.removeprefix("test_") for file in (root / "tests/course").glob("test_*.py"))})
    if not re.fullmatch(r"\d\d", number):
        raise wrong(f"{number!r} is not a lesson number.", "two digits, such as 15")
    for taken in (root / "solutions").glob(f"{number}_*"):
        raise wrong(f"Lesson {number} already exists: {taken.name}.", "take another number")
    author, kernel = f"solutions/{number}_{name}", f"{LESSONS.as_posix()}/{name}"
    homes = {author: ("lesson", "guide", "further", "answers", "claims", "drawn"),
             kernel: ("__init__", "exercises", "pictures")}
    files = {path.name: f"{folder}/{path.name}" for folder, stems in homes.items()
             for path in sorted((root / SKELETON / "lesson").glob("*")) if path.stem in stems}
    files["test.py"] = f"tests/course/test_{name}.py"
    words = {"NAME": name, "Name": name.title().replace("_", " "), "NN": number}
    title = start_page.title(_text(root / SKELETON / "lesson/lesson.py")).partition(" · ")[2]
    row = (f"| [{number} · {title.replace('Name', words['Name'])}](lessons/{number}_{name}.ipynb) "
           "| a function, a value |")
    edited = {"README.md": _row(_text(root / "README.md"), row)}
    _write(root, "lesson", files, words, edited)
    return _told(files.values(), edited, f"""
        1. peft-teach build --execute {number}    and the lesson is there, as it is
        2. {author}/lesson.py and {kernel}/exercises.py, in small steps;
           with each exercise its answers.py, further.py and row in guide.md
        3. README.md: its row in the table has its title, and says what one builds

        At any time, all of its guards:   pytest --lesson {name}""")


# ── names ────────────────────────────────────────────────────────────────────────────────────


def _check_name(name: str, taken: set[str]) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise wrong(f"{name!r} is not a module name.", "lowercase letters, such as boft")
    if name in taken:
        raise wrong(f"{name!r} is taken.", "choose another name, or take the old one away first")


# ── what a table or a list gains ─────────────────────────────────────────────────────────────


def _imported(text: str, module: str | None, name: str) -> str:
    """The text, with one more name in `from .module import …`, in the order that ruff asks for."""
    node = next(node for node in ast.parse(text).body if isinstance(node, ast.ImportFrom)
                and (node.module, node.level) == (module, 1))
    names = sorted({*(alias.name for alias in node.names), name})
    line = f"from .{module or ''} import {', '.join(names)}"
    if len(line) > WIDTH:
        line = line.partition("import ")[0] + "import (\n    " + ",\n    ".join(names) + ",\n)"
    return _replaced(text, node, line)


def _listed(text: str, name: str) -> str:
    """The text, with one more name in `__all__`."""
    node = _assigned(text, "__all__")
    names = sorted({*ast.literal_eval(node.value), name})
    words = textwrap.fill(", ".join(f'"{each}"' for each in names) + ",", WIDTH,
                          initial_indent="    ", subsequent_indent="    ")
    return _replaced(text, node, f"__all__ = [\n{words}\n]")


def _entry(text: str, variable: str, entry: str) -> str:
    """The text, with one more entry at the end of a dict."""
    table = _assigned(text, variable).value
    lines = text.splitlines(keepends=True)
    indent = " " * table.keys[0].col_offset
    row, column = table.end_lineno - 1, _column(lines[table.end_lineno - 1], table.end_col_offset)
    head, tail = lines[row][:column - 1], lines[row][column - 1:]    # around the brace
    entry = textwrap.indent(entry, indent)
    lines[row] = (f"{head.rstrip()},\n{entry}{tail}" if head.strip()
                  else f"{entry},\n{tail}")
    return "".join(lines)


def _row(text: str, row: str) -> str:
    """The README, with one more row in its table of lessons, by number."""
    lines = text.splitlines(keepends=True)
    rows = [n for n, line in enumerate(lines) if re.match(r"\| \[\d\d ", line)]
    after = [n for n in rows if lines[n] < row]
    lines.insert((after or [rows[0] - 1])[-1] + 1, f"{row}\n")
    return "".join(lines)


def _assigned(text: str, variable: str) -> ast.Assign:
    return next(node for node in ast.parse(text).body if isinstance(node, ast.Assign)
                and ast.unparse(node.targets[0]) == variable)


def _replaced(text: str, node: ast.stmt, new: str) -> str:
    lines = text.splitlines(keepends=True)
    return "".join((*lines[:node.lineno - 1], f"{new}\n", *lines[node.end_lineno:]))


def _column(line: str, bytes: int) -> int:
    return len(line.encode()[:bytes].decode())


# ── files ────────────────────────────────────────────────────────────────────────────────────


def _text(path: Path) -> str:
    if not path.is_file():
        raise wrong(f"{path} is missing.", "run this at the top of a checkout of the repository")
    return path.read_text("utf-8")


def _write(root: Path, kind: str, files: dict[str, str], words: dict[str, str],
           edited: dict[str, str]) -> None:
    """Write the skeleton's files, none of which may be there yet, and the edited ones."""
    made = {}
    for source, target in files.items():
        if (root / target).exists():
            raise wrong(f"{target} already exists.", "choose another name, or move it away")
        text = _text(root / SKELETON / kind / source)
        for old, new in words.items():
            text = re.sub(rf"(?<![A-Za-z]){old}(?![a-z])", new, text)
        made[target] = text
    for path in made:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
    write_whole({root / path: text for path, text in {**made, **edited}.items()})


def _told(files, edited, left: str) -> str:
    return "\n".join(("written:  " + "\n          ".join(files),
                      "a row in: " + "\n          ".join(edited),
                      "to undo:  delete the first, with a lesson's notebooks; git checkout the "
                      "others; peft-teach build",
                      "", "what is left:",
                      textwrap.dedent(left).strip("\n")))
