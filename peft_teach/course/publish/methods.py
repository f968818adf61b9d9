"""What the site's pages say of each method, from `assets/site/methods/NAME.py`.

    TITLE     as the map names it
    LESSON    its lesson's folder in `solutions`, or None
    EQUATION  in the map's words, with TeX
    COMPUTES  the same, for the library's table
    SETTINGS  the settings that are counted: "rank {rank}", with the fields of its Config
    WHEN      to take it

and, where there is such a thing,

    EQUALS    what a test finds it equal to
    MERGES    into what, if not into the same layers
    IN_PEFT   what peft writes, and the same here

The pages' tables are made of these and of what is counted and recorded (`tables`). A drawing needs
none of them: `drawing` reads off a model what a method trains.
"""

import runpy
from pathlib import Path
from types import SimpleNamespace

from ...methods import METHODS
from .source import wrong

CARDS = Path("assets/site/methods")
HEAD = "head"    # a row of the map: full fine-tuning of the head alone
NEEDED = ("TITLE", "LESSON", "EQUATION", "WHEN")


def cards(root: Path) -> dict[str, SimpleNamespace]:
    """Return what the pages say of each method, and of the head alone, in the map's order.

    Raises `PeftTeachError` naming the file or the variable that is missing.
    """
    names = [name for method in METHODS for name in (method, *([HEAD] * (method == "full")))]
    return {name: _card(root / CARDS / f"{name}.py", needed=NEEDED + ("COMPUTES",) * (name != HEAD))
            for name in names}


def _card(file: Path, needed: tuple[str, ...]) -> SimpleNamespace:
    if not file.is_file():
        raise wrong(f"{CARDS / file.name} is missing, and {file.stem!r} stands in METHODS.",
                    f"write it as {CARDS}/lora.py, for the tables of the pages")
    said = {name: value for name, value in runpy.run_path(str(file)).items() if name.isupper()}
    for name in needed:
        if name not in said:
            raise wrong(f"{CARDS / file.name} has no {name}.", f"write it as in {CARDS}/lora.py")
    return SimpleNamespace(**{"SETTINGS": "", "EQUALS": "", "IN_PEFT": (), "MERGES": ""} | said)
