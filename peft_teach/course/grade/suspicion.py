"""What an instructor should look at: code that reaches for the reference, or out of its process.

This reads code as text, so it finds what is written plainly and nothing that is hidden on purpose;
the limits of the process, not this file, keep the machine safe.
"""

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from ..exercise import Exercise

# Names that no exercise needs. Attributes are told apart: `model.eval()` is nothing strange.
_NAMES = {"socket", "subprocess", "ctypes", "multiprocessing", "threading", "signal", "importlib",
          "gc", "inspect", "sys", "exec", "eval", "compile", "globals", "__import__",
          "__builtins__"}
_ATTRIBUTES = {"_exit", "fork", "kill", "system", "popen", "unlink", "rmtree", "__dict__",
               "__subclasses__", "__globals__", "__closure__", "_getframe", "allclose", "equal"}


_LONGEST_CHAIN = 20
_COURSE = "peft_teach.course"    # the checks, and this grader: nothing to import for an answer


def suspicious(node: ast.AST) -> set[str]:
    """The strange names in a piece of code; of `allclose` and `equal`, only where they are set."""
    found = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and part.id in _NAMES:
            found.add(part.id)
        elif isinstance(part, ast.Import):
            found |= {alias.name.split(".")[0] for alias in part.names} & _NAMES
            found |= {_COURSE for alias in part.names if f"{alias.name}.".startswith(f"{_COURSE}.")}
        elif isinstance(part, ast.ImportFrom):
            found |= {(part.module or "").split(".")[0]} & _NAMES
            if any(f"{part.module}.{a.name}.".startswith(f"{_COURSE}.") for a in part.names):
                found.add(_COURSE)
        elif isinstance(part, ast.Attribute) and chain(part)[:2] in (["pt", "course"],
                                                                     ["peft_teach", "course"]):
            found.add(_COURSE)
        elif isinstance(part, ast.Attribute) and part.attr in _ATTRIBUTES and (
                part.attr not in ("allclose", "equal") or isinstance(part.ctx, ast.Store)):
            found.add(part.attr)
    return found


def names_reference(nodes: Sequence[ast.AST], exercise: Exercise) -> bool:
    """Whether code names an exercise's reference in plain words, as `pt.spectra.truncate(…)` does.

    `pt.check` counts too: it gives the reference back for an answer that is wrong. An import counts
    where what it brings is used; what the code makes itself under the same name is no reference.
    """
    parts = [part for node in nodes for part in ast.walk(node)]
    seen = _Seen(
        used={p.id for p in parts if isinstance(p, ast.Name) and isinstance(p.ctx, ast.Load)},
        own={p.name for p in parts if isinstance(p, ast.ClassDef)},
        given={tuple(chain(p)) for p in parts
               if isinstance(p, ast.Attribute) and isinstance(p.ctx, ast.Store)},
        arguments={p.arg for p in parts if isinstance(p, ast.arg)})
    return any(_names_reference(part, path, seen) for part in parts for path in exercise.references)


@dataclass(frozen=True)
class _Seen:
    """What there is in the code beside the part that is looked at."""

    used: set[str]                   # names that are read
    own: set[str]                    # classes
    given: set[tuple[str, ...]]      # attributes that are set: ("result", "merged")
    arguments: set[str]              # of functions


def _names_reference(part: ast.AST, path: str, seen: _Seen) -> bool:
    module, _, attributes = path.partition(":")
    within, (*owner, last) = module.split(".")[-1], attributes.split(".")
    outer = owner[0] if owner else last            # the class of a method, or the function itself
    if isinstance(part, ast.Attribute):
        names = chain(part)
        if names[0] in seen.own:
            return False
        if names[-2:] == [within, outer] or names[-2:] == ["course", "lessons"]:
            return True
        its_own = tuple(names) in seen.given and names[0] not in seen.arguments
        return (names in (["pt", "check"], ["peft_teach", "check"])
                or (bool(owner) and names[-1] == last and isinstance(part.ctx, ast.Load)
                    and names[0] != "self" and not its_own))
    if isinstance(part, ast.ImportFrom) and (part.module or "").split(".")[0] == "peft_teach":
        if "lessons" in {alias.name for alias in part.names} or "course.lessons" in part.module:
            return True
        used = {alias.name for alias in part.names
                if alias.name == "*" or (alias.asname or alias.name) in seen.used}
        inside = part.module.split(".")[-1] == within
        return "check" in used or (inside and bool(used & {outer, "*"}))
    if isinstance(part, ast.Import):
        return any("course.lessons" in alias.name for alias in part.names)
    return False


def chain(node: ast.AST) -> list[str]:
    """`pt.lora.LoRALinear` as its three names; a call or an index in it counts as "…".

    So does the beginning of what is too long.
    """
    names: list[str] = []
    while isinstance(node, ast.Attribute) and len(names) < _LONGEST_CHAIN:
        names.append(node.attr)
        node = node.value
    return [node.id if isinstance(node, ast.Name) else "…", *reversed(names)]
