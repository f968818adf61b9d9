"""Answers that stand elsewhere than in a cell of code, as the Python that a kernel would have run.

    a text cell    Markdown or Raw, one key in Jupyter away from code; in a fence, or without
    a file         that a cell of %%writefile writes, or that was handed in beside the notebook

Nothing is opened or imported here. `cells` puts the text of a file in place of its import.
"""

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib.util import find_spec

from ..lessons import all_exercises

MY_PEFT = "my_peft"    # the learner's own library, which stays on their machine
WRITES = re.compile(r"\s*%%(?:writefile|file)\s+(?:-a\s+)?[\"']?(?:[\w.-]*/)*(\w+)\.py[\"']?"
                    r"[ \t]*\n")
_FENCE = re.compile(r"\s*(```+|~~~+)[ \t]*\{?(?:i?python\d?|py)?\}?[ \t]*\n(.*)\n\1\s*", re.DOTALL)
_DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def is_own(module: str) -> bool:
    """Whether a module can be the learner's own: no library is called so here."""
    return module == MY_PEFT or (module.isidentifier() and find_spec(module) is None)


def fenced(source: str) -> str:
    """The code of a text that is one fenced block; any other text as it is."""
    found = _FENCE.fullmatch(source)
    return found[2] if found else source


@cache
def _names() -> frozenset[str]:
    return frozenset(name for exercise in all_exercises() for name in exercise.names)


def answers(tree: Collection[ast.stmt]) -> set[str]:
    """The names of exercises that these statements bind, other than by imports."""
    return _names() & set(_bound(tree))


def _bound(tree: Collection[ast.stmt]) -> Iterator[str]:
    for node in tree:
        if isinstance(node, _DEFINITIONS):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            yield from (part.id for part in ast.walk(node) if isinstance(part, ast.Name)
                        and isinstance(part.ctx, ast.Store))


class Files:
    """The modules whose text stands in for their import: once, at the first.

    `trees` are their statements by name, `used` the names that the notebook's code has behind dots.
    """

    def __init__(self, trees: Mapping[str, Collection[ast.stmt]], used: Collection[str]):
        self.trees, self.used = trees, used
        self.put: set[str] = set()

    def imported(self, tree: Collection[ast.stmt]) -> set[str]:
        """Those of the modules that these statements import."""
        return {name for node in tree for name in self._of(node)}

    def instead(self, node: ast.stmt) -> tuple[list[str], str] | None:
        """What stands for an import: modules that are put here, and lines that give the names.

        None for any other statement.
        """
        if not (modules := self._of(node)):
            return None
        new = [name for name in modules if name not in self.put]
        self.put.update(new)
        lines = []
        for alias in node.names:
            name = alias.asname or alias.name
            if isinstance(node, ast.Import):
                lines.append(f"{name} = {self._object(alias.name)}" if alias.name in self.trees
                             else ast.unparse(ast.Import([alias])))
            elif name != alias.name:
                lines.append(f"{name} = {alias.name}")
        return new, "\n".join(lines)

    def _of(self, node: ast.stmt) -> list[str]:
        asked = ([node.module] if isinstance(node, ast.ImportFrom) else
                 [alias.name for alias in node.names] if isinstance(node, ast.Import) else [])
        return [name for name in asked if name in self.trees]

    def _object(self, module: str) -> str:
        """An expression for the module: an object with those of its names that are used."""
        names = dict.fromkeys(name for name in _bound(self.trees[module]) if name in self.used)
        return f"type({module!r}, (), {{{', '.join(f'{name!r}: {name}' for name in names)}}})"
