"""What an author writes of a lesson beside its source, in `solutions/07_lora/`, as modules."""

import importlib.util
import re
from functools import cache
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
DEMO = Path(__file__).parent / "demo_lessons/kinds"    # of the demonstration course


@cache
def homes() -> dict[str, Path]:
    """The folder of each lesson by the name that its exercises begin with: {"lora": …}."""
    sources = sorted(ROOT.glob("solutions/*/lesson.py"))
    return {re.search(r'exercise="(\w+)\.', source.read_text("utf-8"))[1]: source.parent
            for source in sources} | {DEMO.name: DEMO}


@cache
def module(lesson: str, name: str) -> ModuleType:
    """One file of a lesson, such as ("lora", "answers")."""
    spec = importlib.util.spec_from_file_location(f"{lesson}_{name}",
                                                  homes()[lesson] / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found
