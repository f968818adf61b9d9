"""What an instructor should look at: code that reaches out of its process, or into the course.

This reads code as text, so it finds what is written plainly and nothing that is hidden on purpose;
the limits of the process, not this file, keep the machine safe, and `watch` sees what ran.
"""

import ast

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


def chain(node: ast.AST) -> list[str]:
    """`pt.lora.LoRALinear` as its three names; a call or an index in it counts as "…".

    So does the beginning of what is too long.
    """
    names: list[str] = []
    while isinstance(node, ast.Attribute) and len(names) < _LONGEST_CHAIN:
        names.append(node.attr)
        node = node.value
    return [node.id if isinstance(node, ast.Name) else "…", *reversed(names)]
