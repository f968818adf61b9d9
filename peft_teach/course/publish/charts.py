"""Three of the lessons' pictures on pages without a kernel: a menu shows one of each choice.

They are the lessons' own, drawn from the same numbers, each in one file: `rank.html`,
`updates.html`, `ladder.html`. Without scripts its pictures stand one below the other.
"""

from collections.abc import Callable, Mapping
from html import escape
from itertools import product
from pathlib import Path

from ...plots import html
from ...widgets import Explorer
from .. import records
from ..lessons.ladder.picture_of_costs import explore_costs
from ..lessons.lora.picture_of_rank import Budget, draw_budget, measured
from ..lessons.lora.picture_of_updates import explore_updates

PAGE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>{name}</title>
<style>body {{ font: 14px sans-serif; margin: 0 }}</style>
<label>{question} <select>{options}</select></label>
{pictures}
<script>
const menu = document.querySelector("select"), pictures = document.querySelectorAll("figure");
menu.onchange = () => pictures.forEach((each, i) => each.hidden = i !== menu.selectedIndex);
menu.onchange();
</script>
"""


def draw(folder: Path) -> None:
    """Write every chart into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (question, make) in CHARTS.items():
        found = make()
        options = "".join(f"<option>{escape(choice)}</option>" for choice in found)
        (folder / f"{name}.html").write_text(PAGE.format(
            name=name, question=question, options=options, pictures="\n".join(found.values())),
            encoding="utf-8")


def rank() -> dict[str, str]:
    """Return a picture of what ranks cost and reach for each choice of matrices that was run."""
    found = measured(records.load("lora"))
    shown = {setting.where_in_words: Budget(setting, found, {}, None, is_open=True)
             for setting in sorted(found, key=lambda setting: setting.rank)}
    return {where: html(draw_budget(budget), "A dot is a rank, its line spans three seeds.")
            for where, budget in sorted(shown.items(), key=lambda item: item[0] != "query, value")}


def updates() -> dict[str, str]:
    """Return a picture of the updates of each matrix."""
    return _each(explore_updates(records.load("lora")), lambda place, block:
                 f"{place}, block {block}")


def ladder() -> dict[str, str]:
    """Return a picture of all methods for each cost."""
    return _each(explore_costs(records.load("ladder")), str)


CHARTS: Mapping[str, tuple[str, Callable[[], dict[str, str]]]] = {
    "rank": ("Where LoRA stands", rank), "updates": ("Matrix", updates), "ladder": ("Cost", ladder)}


def _each(picture: Explorer, named: Callable[..., str]) -> dict[str, str]:
    """Return the picture for each setting of its controls, by name."""
    found = {}
    for values in product(*(control.options for control in picture.controls.values())):
        data = picture.compute(**dict(zip(picture.controls, values)))
        found[named(*values)] = html(picture.draw(data), picture.caption(data))
    return found
