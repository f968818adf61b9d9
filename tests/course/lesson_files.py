"""What an author writes of a lesson beside its source; of the demonstration course, too."""

from functools import cache
from pathlib import Path
from types import ModuleType

from peft_teach.course.publish import authored

DEMO = Path(__file__).parent / "demo_lessons/kinds"    # of the demonstration course


@cache
def homes() -> dict[str, Path]:
    """The folder of each lesson by the name that its exercises begin with: {"lora": …}."""
    return authored.homes() | {DEMO.name: DEMO}


def module(lesson: str, name: str) -> ModuleType:
    """One file of a lesson, such as ("lora", "answers")."""
    return authored.module(homes()[lesson], name)
