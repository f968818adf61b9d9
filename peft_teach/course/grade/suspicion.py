"""What an instructor should look at: code that reaches out of its process, or into the course.

This reads code as text, so it finds what is written plainly and nothing that is hidden on purpose;
the sandbox, not this file, keeps the machine safe, and `watch` sees what ran.
"""

import ast
from collections.abc import Sequence

from ..reading.cells import chain

# No exercise needs these. Attributes are a set of their own: `model.eval()` is not suspicious.
_NAMES = {"socket", "subprocess", "ctypes", "multiprocessing", "threading", "signal", "importlib",
          "gc", "inspect", "sys", "exec", "eval", "compile", "globals", "__import__",
          "__builtins__"}
_INNOCENT = {f"sys.{name}" for name in ("version", "version_info", "platform", "stdout", "stderr",
                                        "maxsize", "float_info", "getsizeof")}
_ATTRIBUTES = {"_exit", "fork", "kill", "system", "popen", "unlink", "rmtree", "__dict__",
               "__subclasses__", "__globals__", "__closure__", "_getframe"}
_COMPARISONS = {"allclose", "equal"}    # of a check: suspicious if they are assigned to
_RECORDS = "peft_teach.course.records."
_COURSE = "peft_teach.course"           # the checks and this grader: no answer needs them


def suspicious(nodes: Sequence[ast.AST]) -> set[str]:
    """The suspicious names in a piece of code, whatever name the package was imported under."""
    parts = [part for node in nodes for part in ast.walk(node)]
    called = {"pt": "peft_teach"} | {
        alias.asname: alias.name for part in parts if isinstance(part, ast.Import)
        for alias in part.names if alias.asname}
    inner = {id(part.value) for part in parts if isinstance(part, ast.Attribute)}
    found = set()
    for part in parts:
        paths = []
        if isinstance(part, ast.Import):
            paths = [alias.name for alias in part.names if alias.name != "sys"]
        elif isinstance(part, ast.ImportFrom):
            paths = [f"{part.module}.{alias.name}" for alias in part.names]
        elif isinstance(part, ast.Name | ast.Attribute) and id(part) not in inner:
            head, *rest = chain(part)
            paths = [".".join([called.get(head, head), *rest])]
        found |= {path.partition(".")[0] for path in paths
                  if ".".join(path.split(".")[:2]) not in _INNOCENT} & _NAMES
        found |= {_COURSE for path in paths if f"{path}.".startswith(f"{_COURSE}.")
                  and not f"{path}.".startswith(_RECORDS)}
        if isinstance(part, ast.Attribute):
            found |= {part.attr} & _ATTRIBUTES
            if isinstance(part.ctx, ast.Store):
                found |= {part.attr} & _COMPARISONS
    return found
