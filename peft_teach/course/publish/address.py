"""The address of the git repository: one entry in pyproject.toml, and what is made of it.

    [tool.peft-teach]
    address = "https://github.com/someone/peft-teach"

`peft-teach build` writes it into the README, CITATION.cff, the site's first page and the first
cell of each notebook. Where it is not set, each of these says so in a comment.
"""

import tomllib
from pathlib import Path

from .source import wrong

COLAB = "https://colab.research.google.com/github/"
_GITHUB = "https://github.com/"    # Colab opens the notebooks of no other host by address
_UNSET = "`address` in pyproject.toml is not set"


def of(root: Path) -> str:
    """Return the address, or nothing. Raises `PeftTeachError` if it is not https."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    address = project.get("tool", {}).get("peft-teach", {}).get("address", "")
    if address and not address.startswith("https://"):
        raise wrong(f"pyproject.toml: the address of the course is {address!r}",
                    "an https address of the git repository, or none")
    return address


def on_colab(lesson: str, address: str) -> str:
    """Return the link that opens a notebook on Colab; empty where Colab does not open the address.

    `lesson` is a notebook's name in `lessons`, such as "07_lora".
    """
    if not address.startswith(_GITHUB):
        return ""
    repository = address.removeprefix(_GITHUB).strip("/").removesuffix(".git")
    return f"{COLAB}{repository}/blob/main/lessons/{lesson}.ipynb"


def clone(root: Path) -> str:
    """Return the lines that bring the course to a reader's machine, for a page."""
    address = of(root)
    if not address:
        return ("\nClone or unpack this repository; then, in its folder:\n"
                f"<!-- {_UNSET}: no line to clone it -->\n")
    folder = address.strip("/").removesuffix(".git").rpartition("/")[2]
    return f"\n```\ngit clone {address} && cd {folder}\n```\n"


def colab(root: Path) -> str:
    """Return how the course starts on Colab, for a page."""
    link = on_colab("START", of(root))
    if link:
        return f"\nOn Colab, [open the course]({link}), and run its first cell.\n"
    return ("\nOn Colab, put the course's folder at `/content/peft-teach` (upload or clone it), "
            "open a\nlesson from it, and run its first cell.\n<!-- one click will do once `address` in "
            "pyproject.toml names a GitHub repository -->\n")


def citation(root: Path) -> str:
    """Return the line of CITATION.cff, between marks that are comments there."""
    address = of(root)
    return f'\nrepository-code: "{address}"\n# ' if address else f"\n# {_UNSET}.\n# "
