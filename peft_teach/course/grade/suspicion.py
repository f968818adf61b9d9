"""What an instructor should look at: code that reaches for the reference, or out of its process.

This reads code as text, so it finds what is written plainly and nothing that is hidden on purpose;
the limits of the process, not this file, keep the machine safe.
"""

import ast

from ..exercise import Exercise

# Names that no exercise needs. Attributes are told apart: `model.eval()` is nothing strange.
_NAMES = {"socket", "subprocess", "ctypes", "multiprocessing", "threading", "signal", "importlib",
          "gc", "inspect", "sys", "exec", "eval", "compile", "globals", "__import__",
          "__builtins__"}
_ATTRIBUTES = {"_exit", "fork", "kill", "system", "popen", "unlink", "rmtree", "__dict__",
               "__subclasses__", "__globals__", "_getframe", "allclose", "equal"}


def suspicious(node: ast.AST) -> set[str]:
    """The strange names in a piece of code; of `allclose` and `equal`, only where they are set."""
    found = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and part.id in _NAMES:
            found.add(part.id)
        elif isinstance(part, ast.Import):
            found |= {alias.name.split(".")[0] for alias in part.names} & _NAMES
        elif isinstance(part, ast.ImportFrom):
            found |= {(part.module or "").split(".")[0]} & _NAMES
        elif isinstance(part, ast.Attribute) and part.attr in _ATTRIBUTES and (
                part.attr not in ("allclose", "equal") or isinstance(part.ctx, ast.Store)):
            found.add(part.attr)
    return found


def names_reference(node: ast.AST, exercise: Exercise) -> bool:
    """Whether code names an exercise's reference in plain words, as `pt.spectra.truncate(…)` does.

    `pt.check` counts too: it gives the reference back for an answer that is wrong.
    """
    return any(_names_reference(part, path) for part in ast.walk(node)
               for path in exercise.references)


def _names_reference(part: ast.AST, path: str) -> bool:
    module, _, attributes = path.partition(":")
    within, (*owner, last) = module.split(".")[-1], attributes.split(".")
    outer = owner[0] if owner else last            # the class of a method, or the function itself
    if isinstance(part, ast.Attribute):
        chain = _chain(part)
        return (chain[-2:] == [within, outer] or chain[-2:] == ["course", "exercises"]
                or chain in (["pt", "check"], ["peft_teach", "check"])
                or (bool(owner) and chain[-1] == last and isinstance(part.ctx, ast.Load)
                    and chain[0] != "self"))
    if isinstance(part, ast.ImportFrom) and (part.module or "").split(".")[0] == "peft_teach":
        names = {alias.name for alias in part.names}
        return ("exercises" in names or "check" in names or "course.exercises" in part.module
                or (part.module.split(".")[-1] == within and bool(names & {outer, "*"})))
    if isinstance(part, ast.Import):
        return any("course.exercises" in alias.name for alias in part.names)
    return False


def _chain(node: ast.AST) -> list[str]:
    """`pt.lora.LoRALinear` as its three names; a call or an index in it counts as "…"."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    return [node.id if isinstance(node, ast.Name) else "…", *names]
