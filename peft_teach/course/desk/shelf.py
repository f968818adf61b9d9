"""What the notebooks that are given out say of themselves: title, paper, place of each exercise."""

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import PeftTeachError

# In an installed package the notebooks lie inside it; in a checkout, beside it.
INSTALLED = Path(__file__).parents[2] / "_lessons"
CHECKOUT = Path(__file__).parents[3] / "lessons"

# "Hu et al. 2021, *LoRA*, arXiv 2106.09685", as it stands below a lesson's sources.
_PAPER = re.compile(r"[^\W\d_][^;:*\n]*? \d{4}, \*[^*]+\*, (?:arXiv|doi) \S+[^\s.,;:)]")
_LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")


@dataclass(frozen=True)
class Shelved:
    """A lesson's notebook: its file, its title, its paper, and where in it each exercise is."""

    file: str = ""
    name: str = ""                             # "07 · LoRA"
    question: str = ""                         # "a thin correction to a large matrix"
    paper: str = ""
    anchors: Mapping[str, str] = field(default_factory=dict)    # of the headings, by exercise


def notebooks() -> list[Path]:
    """Return the notebooks as they are given out. Raises `PeftTeachError` where there are none."""
    return sorted(source().glob("*.ipynb"))


def source() -> Path:
    """Return the folder in which they lie."""
    for folder in (INSTALLED, CHECKOUT):
        if folder.is_dir():
            return folder
    raise PeftTeachError("The lessons are not in this installation.",
                         hint="install the course from its repository, or from a wheel of it")


@functools.cache
def shelf() -> dict[str, Shelved]:
    """Return the notebooks by the numbers of their lessons; none where they were not installed."""
    try:
        return {file.name[:2]: _shelved(file.name, json.loads(file.read_text("utf-8")))
                for file in notebooks() if file.name[:2].isdigit()}
    except (PeftTeachError, OSError, ValueError):
        return {}


def in_two(title: str) -> tuple[str, str]:
    """Return a lesson's title in two: "07 · LoRA", and its question, "" for none."""
    name, *question = re.split(r"[:,]", title, maxsplit=1)
    return name.strip(), "".join(question).strip()


def _shelved(file: str, notebook: dict) -> Shelved:
    title, above, sources, anchors = "", "", "", {}
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            headings = re.findall(r"^#+ (.+)", text, re.MULTILINE)
            title, above = title or (headings or [""])[0], (headings or [above])[-1]
            sources = text.partition("**Sources**")[2] or sources
        elif found := re.search(r"\bcheck\(\"(\w+\.\w+)\"", text):
            anchors[found[1]] = above.replace(" ", "-")
    name, question = in_two(title)
    papers = _PAPER.findall(_LINK.sub(r"\1", sources))
    method = name.rpartition(" ")[2]    # of BitFit, the paper that is called so
    paper = next((each for each in papers if f"*{method}" in each), (papers or [""])[0])
    return Shelved(file, name, question,
                   " ".join(paper.replace("*", "").split()), anchors)
