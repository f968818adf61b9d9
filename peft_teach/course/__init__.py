"""The course: exercises and their checks, the build of the notebooks, the command line.

Light to import: notebook tools and models arrive when something uses them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from . import records
from .desk.budget import Budget, budget
from .desk.doors import doors
from .desk.learner import check, hint, require, reset
from .desk.mine import audit, mine
from .desk.predict import commit, compare, sentence
from .desk.progress import next_step, progress
from .desk.shown import install as _install
from .desk.work import in_work
from .lessons import pictures
from .verdicts import verdict

if TYPE_CHECKING:
    from .desk import board, live

__all__ = ["Budget", "audit", "board", "budget", "check", "commit", "compare", "doors", "hint",
           "in_work", "live", "mine", "next_step", "pictures", "progress", "records", "require",
           "reset", "sentence", "verdict"]

_install()    # a page of the course shows tables, where there is a page


def __getattr__(name: str):
    if name in ("board", "live"):    # they bring pandas: only when first used
        return import_module(f".desk.{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
