"""The terms of the site's glossary, and the links to them."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

GLOSSARY = Path("assets/site/glossary.md")
_NO_PROSE = (r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$\n]*\$|\[[^]\n]*\]\([^)\n]*\)"
             r"|<(code|summary)>.*?</\1>|<[^>]*>|^[#|][^\n]*|\*\*Sources\*\*.*")


def terms(root: Path) -> list[str]:
    """Return the terms of the site's glossary."""
    return re.findall(r"^(\w.*)\n  ", (root / GLOSSARY).read_text("utf-8"), re.MULTILINE)


def link_terms(cells: Iterable[Any], terms: Iterable[str]) -> None:
    """Link the first use of each term in a lesson's prose to the glossary."""
    each = "|".join(sorted(map(re.escape, terms), key=len, reverse=True))
    wanted = re.compile(rf"{_NO_PROSE}|\b(?P<term>{each})\b", re.DOTALL | re.I | re.M)
    used = set()

    def link(found: re.Match) -> str:
        term = (found["term"] or "").lower()
        if not term or term in used:
            return found[0]
        used.add(term)
        return f"{{term}}`{found[0]}`"

    for cell in cells:
        if cell.cell_type == "markdown":
            cell.source = wanted.sub(link, cell.source)
