"""`peft-teach release`: the folder that students get.

Lessons and package, with what installing them needs. There is no `solutions/`, and so no solved
notebook and no further case, and no `tests/`, and so no wrong answers. The library, which holds the
references, remains readable; solutions/README.md says what that means.
"""

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..desk import work
from .source import squeeze, wrong

FILES = ("pyproject.toml", "README.md", "LICENSE", "CITATION.cff")
FOLDERS = ("lessons", "peft_teach", "assets")
_LESSON = re.compile(r"\d\d_\w+\.ipynb$")
_LINK = re.compile(r"\[([^\]\[]*)\]\((\d\d_\w+\.ipynb)[^)\s]*\)")
_NUMBER = re.compile(r"(?<![\w.])\d[\w.]*")
_LEFT_OUT = ("__pycache__", ".ipynb_checkpoints", ".pytest_cache", "skeleton",    # for authors
             *work.OWN)


def release(root: Path | str, out: Path | str, lessons: Sequence[str] = ()) -> str:
    """Copy what students get into `out`, a new or empty folder; return what was done.

    With `lessons`, such as "07", only their notebooks are given out, without links to the others.
    Raises `PeftTeachError` if `root` is not a checkout, `out` is not empty, there is no such
    lesson, or a line of a further case would be given out; then nothing is written.
    """
    root, out = Path(root).resolve(), Path(out).resolve()
    if not (root / "solutions").is_dir() or not (root / "lessons").is_dir():
        raise wrong(f"{root} is not a checkout of the course.",
                    "run this at the top of the repository")
    if out.exists() and any(out.iterdir()):
        raise wrong(f"{out} is not empty.", "name a new folder")
    files = list(_given_out(root))
    given = _chosen([file for file in files if _LESSON.match(file.name)
                     and file.parent == root / "lessons"], lessons)
    files = [file for file in files if file in given or file.parent != root / "lessons"
             or not _LESSON.match(file.name)]
    if leaks := secrets_in(root, files):
        raise wrong("What students would get holds lines of further cases:\n" + "\n".join(leaks),
                    "move them out of there")
    for file in files:
        target = out / file.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        if lessons and target.parent == out / "lessons" and target.suffix == ".ipynb":
            target.write_text(_without_links(target.read_text(encoding="utf-8"),
                                             {each.name for each in given}), encoding="utf-8")
    return f"{out}: {len(given)} lessons and the package, {len(files)} files."


def _chosen(notebooks: Sequence[Path], lessons: Sequence[str]) -> set[Path]:
    """The notebooks of these lessons, by number or by name; all without any."""
    asked = {str(each).partition("_")[0].zfill(2) for each in lessons}
    if unknown := sorted(asked - {file.name[:2] for file in notebooks}):
        there = ", ".join(file.name[:2] for file in notebooks)
        raise wrong(f"There is no lesson {', '.join(unknown)}.", f"take some of {there}")
    return {file for file in notebooks if not asked or file.name[:2] in asked}


def _without_links(text: str, there: set[str]) -> str:
    """A notebook's text, in which what would lead to a lesson that is not there leads nowhere."""
    return _LINK.sub(lambda found: found[0] if found[2] in there else found[1], text)


def secrets_in(root: Path, files: list[Path]) -> list[str]:
    """The lines of further cases that occur in any of the files, one line each.

    A line is secret if it has three numbers or is a docstring; others any code may contain.
    """
    secrets = {squeeze(line) for file in sorted(root.glob("solutions/*/further.py"))
               for line in file.read_text(encoding="utf-8").splitlines()
               if len(_NUMBER.findall(line)) >= 3 or ('"""' in line and len(line) > 20)}
    found = []
    for file in files:
        text = squeeze(file.read_text(encoding="utf-8", errors="replace"))
        found += [f"{file.relative_to(root)}: {secret}" for secret in sorted(secrets)
                  if secret in text]
    return found


def _given_out(root: Path) -> Iterator[Path]:
    yield from (root / name for name in FILES)
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and not any(
                    part in _LEFT_OUT for part in path.relative_to(root).parts):
                yield path
