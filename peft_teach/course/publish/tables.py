"""What the pages count, computed: no number about the methods is kept by hand.

    <!-- computed: library -->
    | `lora` | … | 73,728 (rank 8, query and value) | yes | …
    <!-- end -->

Between such marks `peft-teach build` writes what `METHODS`, the methods' cards (`methods`), models
as shapes, and the benchmark's record give; `--check` says where a page differs.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace

from ... import contents, export
from ...adapter import Adapter, adapters
from ...folder import write_whole
from ...methods import METHODS
from ...models import FAMILIES
from .. import protocol, records
from . import address, blocks, front, speed
from .methods import HEAD, cards
from .source import wrong

PAGES = ("CHANGELOG.md", "CITATION.cff", "README.md", *(f"assets/site/{name}.md" for name in (
    "fast", "index", "library", "map", "peft", "start")))
MARKED = re.compile(r"(<!-- computed: (\w+) -->)(.*?)(<!-- end -->)", re.DOTALL)
WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
         "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
         "nineteen", "twenty")


def write(root: Path) -> list[str]:
    """Write what is computed into the pages; returns the pages that changed."""
    changed = []
    for page in _pages(root):
        old = (root / page).read_text("utf-8")
        new = MARKED.sub(lambda found, page=page: (
            found[1] + computed(root, found[2], page) + found[4]), old)
        if new != old:
            write_whole({root / page: new})
            changed.append(f"{page}: its computed parts written")
    return changed


def problems(root: Path) -> list[str]:
    """Where a page is out of date, a line each: the page, the mark, what to do."""
    found = []
    for page in _pages(root):
        for _, name, stands, _ in MARKED.findall((root / page).read_text("utf-8")):
            lines = computed(root, name, page).splitlines()
            wrong = [line for line in stands.splitlines() if line not in lines]
            if stands.splitlines() != lines:
                found.append(f"{page}, computed {name!r}: is not what METHODS, assets/site/methods "
                             f"and the records give{f', {wrong[0]!r}' if wrong else ''}; "
                             "`peft-teach build` writes it")
    return found


def computed(root: Path, name: str, page: str = "a page") -> str:
    """What belongs between the marks of this name. Raises `PeftTeachError` for an unknown one."""
    if name not in COMPUTED:
        raise wrong(f"{page}: nothing computes {name!r}.", f"one of {', '.join(COMPUTED)}")
    return COMPUTED[name](root)


def _pages(root: Path) -> Iterator[str]:
    return (page for page in PAGES if (root / page).is_file())


# ── what is counted ──────────────────────────────────────────────────────────────────────────


@cache
def count(name: str) -> SimpleNamespace:
    """What a method trains on MiniLM with its default settings, and whether it merges.

    `trained` leaves out the task's head; `merges` is None where there is no adapter to merge.
    """
    from ...outlines import adapted

    method = "full" if name == HEAD else name
    config = METHODS[method].Config(*["head"] * (name == HEAD))
    model = adapted("minilm", method, config)
    on = adapters(model).values()
    return SimpleNamespace(
        trained=sum(p.numel() for p in contents.adapter_parameters(model).values()), config=config,
        merges=all(type(a).merged is not Adapter.merged for a in on) if on else None)


def _number(count: int, what: str) -> str:
    return f"{WORDS[count] if count < len(WORDS) else f'{count:,}'} {what}"


def _methods(root: Path) -> str:
    *names, last = (f"`{name}`" for name in METHODS)
    return f"{_number(len(METHODS), 'methods')}, {', '.join(names)} and {last}"


def _families(root: Path) -> str:
    return _number(len(FAMILIES), "families")


def _times(root: Path) -> list[int]:
    """The minutes that each lesson takes, by its first table; the capstone's is an afternoon."""
    return [int(minutes) for source in sorted((root / "solutions").glob("*/lesson.py"))
            for minutes in re.findall(r"\*\*Time\*\*.*?about (\d+) minutes[ ,]",
                                      source.read_text("utf-8"))]


def _length(root: Path) -> str:
    """How many lessons there are, and hours; the capstone's four are those of an afternoon."""
    minutes = _times(root)
    return f"{len(minutes) + 1} lessons, about {round(sum(minutes) / 60) + 4} hours"


def _minutes(root: Path) -> str:
    minutes = _times(root)
    return f"{min(minutes)} to {max(minutes)}"


def _headline(root: Path) -> str:
    """What LoRA reaches, from all seeds of the ladder, and what it costs."""
    ladder = records.load("ladder")
    reached = {method: [row["r2"] for row in protocol.finals(ladder) if row["method"] == method]
               for method in ("lora 8", "full")}
    lora, full = map(fmean, reached.values())
    frozen, costs = max(protocol.zeros(ladder).values()), ladder["costs"]
    return (f"LoRA trains {count('lora').trained / count('full').trained:.2%} of the parameters,"
            f"\n  keeps {costs['lora 8']['file_bytes'] / 1e6:.1f} MB in place of "
            f"{costs['full']['file_bytes'] / 1e6:.0f} MB, and predicts film ratings with an R² of "
            f"{lora:.2f}, where full fine-tuning reaches {full:.2f} and a new head on the frozen "
            f"model {frozen:.2f} (means of {WORDS[len(reached['full'])]} seeds)")


def _library(root: Path) -> str:
    rows = ["| | what it computes | trained on MiniLM | merges | in peft | equal to |",
            "|---|---|---|---|---|---|"]
    for name, card in cards(root).items():
        if name != HEAD:
            counted = count(name)
            rows.append(_row(f"`{name}`", card.COMPUTES, _trained(card, counted),
                             counted.merges and (card.MERGES or "yes"),
                             "yes" if name in export.WRITTEN else "", card.EQUALS))
    return _block(rows)


def _trained(card: SimpleNamespace, counted: SimpleNamespace) -> str:
    """How many numbers train, with which settings."""
    settings = card.SETTINGS.format_map(vars(counted.config))
    return f"{counted.trained:,}" + (f" ({settings})" if settings else "")


def _map(root: Path) -> str:
    rows = ["|  | equation | parameters | when |", "|---|---|---|---|"]
    for name, card in cards(root).items():
        counted, title = count(name), card.TITLE
        what = {None: "", True: f"; merges {card.MERGES}".rstrip(),
                False: "; stays beside the base"}[counted.merges]
        rows.append(_row(f"[{title}](../../lessons/{card.LESSON}.ipynb)" if card.LESSON else title,
                         card.EQUATION, _trained(card, counted) + what, card.WHEN))
    return _block(rows)


def _peft(root: Path) -> str:
    rows = ["| in peft | here |", "|---|---|"]
    for name, card in cards(root).items():
        if bool(card.IN_PEFT) != (name in export.WRITTEN):
            raise wrong(f"assets/site/methods/{name}.py: IN_PEFT and WRITTEN of "
                        "peft_teach/export/writing.py do not agree.",
                        "give it IN_PEFT if the method is written for peft, and else none")
        if card.IN_PEFT:
            rows.append(_row(*card.IN_PEFT))
    return _block(rows)


def _benchmark(root: Path) -> str:
    return _block([speed.table(records.load("benchmark") | {"nf4": []})])


def _row(*cells: str | None) -> str:
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def _block(lines: list[str]) -> str:
    return "\n" + "\n".join(lines) + "\n"


COMPUTED = {"methods": _methods, "families": _families, "length": _length,
            "minutes": _minutes, "headline": _headline, "library": _library,
            "map": _map, "peft": _peft, "benchmark": _benchmark,
            "blocks": lambda root: blocks.for_readme(),
            "blocks_of_the_site": blocks.for_site,
            "bet_of_the_site": lambda root: front.bet_of_the_site(), "clone": address.clone,
            "colab": address.colab, "citation": address.citation}
