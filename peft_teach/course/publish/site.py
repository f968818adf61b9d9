"""`peft-teach site`: the course as pages to read, from the executed solution notebooks.

    assets/site/*.md ─────────────────┐
    solved notebooks ──> page.py ─────┼─> a folder for Sphinx ──> HTML that asks no other host
    lessons' pictures ──> moving.py ──┘                           for anything

"""

import functools
import os
import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from ...errors import PeftTeachError
from ..lessons import in_two
from . import front, moving
from .notebooks import make, write
from .page import FOLDED, page, take_pictures_out
from .source import wrong

SOURCES = Path("assets/site")


def site(root: Path | str, out: Path | str, solutions: str = FOLDED,
         most: int = moving.MOST) -> str:
    """Write the site into `out`; return what was done.

    `solutions` is "folded" or "none"; `most`, how many settings of a picture are drawn. Raises
    `PeftTeachError` where `root` is not a checkout, Sphinx is not installed, or Sphinx warns of
    something: a link that leads nowhere, say.
    """
    root, out = Path(root).resolve(), Path(out).resolve()
    if not (root / SOURCES).is_dir():
        raise wrong(f"{root} is not a checkout of the course.",
                    "run this at the top of the repository")
    try:
        from sphinx.cmd.build import build_main
    except ModuleNotFoundError:
        raise wrong("Sphinx is not installed.", 'pip install -e ".[site]"') from None
    with tempfile.TemporaryDirectory() as folder:
        lessons = stage(root, Path(folder), solutions, most)
        if build_main(["-q", "-W", "--keep-going", "-b", "html", folder, str(out)]):
            raise PeftTeachError("Sphinx warned of what stands above; the site is not whole.")
    return f"{out}/index.html: {lessons} lessons."


def _menu(root: Path) -> str:
    """The lessons as lines of Sphinx's menu, each by the first half of its title: one line wide."""
    titles = {source.parent.name: front.title(source.read_text("utf-8"))
              for source in sorted(root.glob("solutions/*/lesson.py"))}
    return "".join(f"{in_two(title)[0]} <lessons/{name}>\n" for name, title in titles.items())


def stage(root: Path, folder: Path, solutions: str = FOLDED, most: int = moving.MOST) -> int:
    """Write what Sphinx reads into a folder; return the number of lessons."""
    shutil.copytree(root / SOURCES, folder, dirs_exist_ok=True)
    for file in folder.glob("*.md"):    # read on GitHub, too, where the lessons lie elsewhere
        file.write_text(file.read_text("utf-8").replace("](../../lessons/", "](lessons/")
                        .replace("lessons/*\n", _menu(root)), "utf-8")
    for name in ("pyproject.toml", "README.md"):    # the settings and a page read them
        shutil.copyfile(root / name, folder / name)
    for film in (root / "assets").glob("*.webp"):
        shutil.copyfile(film, folder / "_static" / film.name)
    lessons = make(root)
    # A process of its own for each core: the pictures take minutes, and torch is not safe to fork.
    cells = [[replace(cell, exercise=None) for cell in lesson.cells] for lesson in lessons]
    with ProcessPoolExecutor(min(len(lessons), os.cpu_count() or 1), get_context("spawn")) as pool:
        drawn = pool.map(functools.partial(
            moving.draw, static=folder / "_static", most=most), cells)
    for lesson, (pictures, phones) in zip(lessons, drawn):
        read = page(lesson, root, solutions, pictures)
        take_pictures_out(read, folder / "_static" / moving.FILES, phones)
        write(read, folder / "lessons" / f"{lesson.name}.ipynb")
    return len(lessons)
