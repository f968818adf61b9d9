"""A course of three demo lessons, for the tests of the machinery: exercises, sources, a tree.

97 and 98 are the smallest there can be; 99 has an exercise of each kind.
"""

import importlib
import shutil
import textwrap
from pathlib import Path
from types import SimpleNamespace

import IPython
import pytest

from peft_teach.course.desk import learner, work
from peft_teach.course.publish.source import SOURCE

exercises = importlib.import_module("peft_teach.course.lessons")

FOLDER = Path(__file__).parent / "demo_lessons"

# A kernel of its own has to be told of the demo exercises. No true lesson does this.
REGISTER = f"""
# %%
import peft_teach.course.lessons

peft_teach.course.lessons.__path__ = [{str(FOLDER)!r}]
"""

LESSON_97 = '''
# %% [markdown]
# # Doubling
#
# Write a function that doubles.

# %%
import torch

import peft_teach as pt

# %% exercise="demo.double" part="solution"
def double(x):
    """Twice x."""
    ### BEGIN SOLUTION
    factor = torch.tensor(2.0)
    return x * factor
    ### END SOLUTION


# %% exercise="demo.double" part="check"
double = pt.check("demo.double", double)

# %% exercise="demo.double" part="grade"
pt.require("demo.double")

# %% exercise="demo.pair" part="solution"
def encode(text):
    ### BEGIN SOLUTION
    return "".join(reversed(text))
    ### END SOLUTION


def decode(text):
    ### BEGIN SOLUTION
    return "".join(reversed(text))
    ### END SOLUTION


# %% exercise="demo.pair" part="check"
encode, decode = pt.check("demo.pair", encode, decode)

# %% exercise="demo.pair" part="grade"
pt.require("demo.pair")

# %% tags=["play"]
# NBVAL_CHECK_OUTPUT
print(double(torch.arange(3)).tolist())
'''

LESSON_98 = '''
# %% exercise="later.add" part="solution"
def later(x):
    ### BEGIN SOLUTION
    return x + x + 0 * x
    ### END SOLUTION


# %% exercise="later.add" part="check"
later = pt.check("later.add", later)

# %% exercise="later.add" part="grade"
pt.require("later.add")
'''

LESSON_99 = '''
# %% [markdown]
# # 99 · Kinds of answers

# %%
import torch

import peft_teach as pt

# %% exercise="kinds.shift" part="solution"
class Shift(pt.Adapter):
    """Adds a trained number to each output of its base."""

    def __init__(self, base):
        super().__init__(base)
        ### BEGIN SOLUTION
        self.b = torch.nn.Parameter(torch.zeros(base.out_features))
        ### END SOLUTION

    def forward(self, x):
        ### BEGIN SOLUTION
        return self.base(x) + self.b
        ### END SOLUTION


# %% exercise="kinds.shift" part="check"
Shift = pt.check("kinds.shift", Shift)

# %% exercise="kinds.shift" part="grade"
pt.require("kinds.shift")

# %% exercise="kinds.rank" part="solution"
# The largest rank at which two factors of a 384 x 384 matrix have fewer numbers than it has.
### BEGIN SOLUTION
smaller = [rank for rank in range(1, 384) if 2 * rank * 384 < 384 * 384]
largest_rank = max(smaller)
### END SOLUTION

# %% exercise="kinds.rank" part="check"
largest_rank = pt.check("kinds.rank", largest_rank)

# %% exercise="kinds.rank" part="grade"
pt.require("kinds.rank")

# %%
largest_rank + 1

# %% exercise="kinds.settings" part="solution"
### BEGIN SOLUTION
slow = {"rank": 4, "lr": 1e-5}
fast = slow | {"lr": 2e-3}
### END SOLUTION

# %% exercise="kinds.settings" part="check"
slow, fast = pt.check("kinds.settings", slow, fast)

# %% exercise="kinds.settings" part="grade"
pt.require("kinds.settings")

# %% exercise="kinds.law" part="solution"
def doubles(double):
    """Objects to a function that does not double."""
    ### BEGIN SOLUTION
    assert double(3) == 6
    assert double(-1) == -2
    ### END SOLUTION


# %% exercise="kinds.law" part="check"
doubles = pt.check("kinds.law", doubles)

# %% exercise="kinds.law" part="grade"
pt.require("kinds.law")

# %%
largest_rank = "another use of the name"
slow["rank"] = 0
print("the end")
'''


@pytest.fixture(autouse=True)
def demo(monkeypatch):
    """The demo exercises are all there are, and nothing has been checked yet."""
    monkeypatch.setattr(exercises, "__path__", [str(FOLDER)])
    monkeypatch.setattr(learner, "_kernel", learner._Kernel())
    monkeypatch.setattr(work, "_here", {})
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    return importlib.import_module("peft_teach.course.lessons.demo.exercises")


@pytest.fixture
def notebook(monkeypatch):
    """Runs cells as a notebook's shell does; gives the state that their last check showed."""
    history = SimpleNamespace(input_hist_raw=[""])
    shell = SimpleNamespace(user_ns={}, history_manager=history)
    cards = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    monkeypatch.setattr("IPython.display.display", cards.append)

    def run(cell):
        history.input_hist_raw.append(cell)
        exec(cell, shell.user_ns)
        return cards[-1].state if cards else None

    run.names, run.ran, run.cards = shell.user_ns, history.input_hist_raw, cards
    run("import torch\nimport peft_teach as pt")
    return run


@pytest.fixture
def tree(tmp_path):
    """A checkout with two lessons' sources, of the release 1.2.3."""
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    write(tmp_path, "97_demo", LESSON_97)
    write(tmp_path, "98_later", LESSON_98)
    return tmp_path


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    """A whole checkout, package and all, with the demo lessons alone.

    Other processes, the grader's and those of kernels, find it by PYTHONPATH.
    """
    root = tmp_path_factory.mktemp("checkout")
    here = Path(__file__).parents[2]
    bare = shutil.ignore_patterns("__pycache__")
    shutil.copytree(here / "peft_teach", root / "peft_teach", ignore=bare)
    lessons = root / "peft_teach/course/lessons"
    for folder in [each for each in lessons.iterdir() if each.is_dir()]:
        shutil.rmtree(folder)
    shutil.copytree(FOLDER, lessons, ignore=bare, dirs_exist_ok=True)
    shutil.copy(here / "pyproject.toml", root)
    for name, text in (("97_demo", LESSON_97), ("98_later", LESSON_98), ("99_kinds", LESSON_99)):
        write(root, name, text)
    return root


def write(tree, name, text):
    folder = tree / "solutions" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SOURCE).write_text(textwrap.dedent(text).lstrip())
