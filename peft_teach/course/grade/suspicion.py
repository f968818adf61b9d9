"""What an instructor should look at: code that reaches out of its process, or into the course.

This reads code as text, so it finds what is written plainly and nothing that is hidden on purpose;
the sandbox, not this file, keeps the machine safe, and `watch` sees what ran.
"""

import ast

from .cells import chain

# No exercise needs these. Attributes are a set of their own: `model.eval()` is not suspicious.
_NAMES = {"socket", "subprocess", "ctypes", "multiprocessing", "threading", "signal", "importlib",
          "gc", "inspect", "sys", "exec", "eval", "compile", "globals", "__import__",
          "__builtins__"}
_ATTRIBUTES = {"_exit", "fork", "kill", "system", "popen", "unlink", "rmtree", "__dict__",
               "__subclasses__", "__globals__", "__closure__", "_getframe"}
_COMPARISONS = {"allclose", "equal"}    # of a check: suspicious if they are assigned to
_COURSE = "peft_teach.course"           # the checks and this grader: no answer needs them


def suspicious(node: ast.AST) -> set[str]:
    """The suspicious names in a piece of code."""
    found = set()
    for part in ast.walk(node):
        paths = []
        if isinstance(part, ast.Import):
            paths = [alias.name for alias in part.names]
        elif isinstance(part, ast.ImportFrom):
            paths = [f"{part.module}.{alias.name}" for alias in part.names]
        elif isinstance(part, ast.Name | ast.Attribute):
            paths = [".".join(chain(part)).replace("pt.", "peft_teach.", 1)]
        found |= {path.partition(".")[0] for path in paths} & _NAMES
        found |= {_COURSE for path in paths if f"{path}.".startswith(f"{_COURSE}.")}
        if isinstance(part, ast.Attribute):
            found |= {part.attr} & _ATTRIBUTES
            if isinstance(part.ctx, ast.Store):
                found |= {part.attr} & _COMPARISONS
    return found
