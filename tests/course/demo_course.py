"""A course of two demo lessons, for the tests of the machinery: exercises, sources, a tree."""

import importlib
import textwrap
from pathlib import Path

import pytest

from peft_teach import work
from peft_teach.course import learner

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


@pytest.fixture(autouse=True)
def demo(monkeypatch):
    """The demo exercises are all there are, and nothing has been checked yet."""
    monkeypatch.setattr(exercises, "__path__", [str(FOLDER)])
    monkeypatch.setattr(learner, "_kernel", learner._Kernel())
    monkeypatch.setattr(work, "_here", {})
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    return importlib.import_module("peft_teach.course.lessons.demo.exercises")


@pytest.fixture
def tree(tmp_path):
    """A checkout with two lessons' sources, of the release 1.2.3."""
    (tmp_path / "solutions").mkdir()
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    write(tmp_path, "97_demo", LESSON_97)
    write(tmp_path, "98_later", LESSON_98)
    return tmp_path


def write(tree, name, text):
    (tree / "solutions" / f"{name}.py").write_text(textwrap.dedent(text).lstrip())
