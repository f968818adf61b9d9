"""Bars where one waits: a line of a notebook's page, a line of a terminal, nothing elsewhere."""

import itertools
import re
import sys
import types

import IPython.display
import pytest
import tqdm.std

import peft_teach as pt
from peft_teach import progress_bar


@pytest.fixture
def page(monkeypatch):
    """A reader's notebook, as the list of its lines; half a second goes by at each look."""
    lines = []

    def display(data, raw, display_id):
        lines.append([data["text/html"]])
        told = lines[-1].append
        return types.SimpleNamespace(update=lambda data, raw: told(data["text/html"]))

    clock = itertools.count()
    monkeypatch.setattr(tqdm.std, "time", lambda: next(clock) / 2)
    monkeypatch.setattr(IPython.display, "display", display)
    monkeypatch.setattr(progress_bar, "_shell_of_a_page",
                        lambda: types.SimpleNamespace(execution_count=7))
    monkeypatch.setattr(progress_bar.bar, "_lines", {})
    monkeypatch.delenv("PEFT_TEACH_WORK")
    return lines


def test_bars_within_bars_are_two_lines_that_end_empty(page, capsys):
    for _ in pt.bar(range(3), "rates"):
        assert list(pt.bar(range(12), "steps")) == [*range(12)]
    inner, outer = page
    assert 'value="4" max="12"' in inner[2]
    told = {int(n): " left" in line for line in inner for n in re.findall(r"steps: (\d+) of", line)}
    assert told == {n: n in (10, 11) for n in told}
    assert {9, 10, 11, 12} <= set(told)
    assert "rates: 1 of 3<" in outer[0]    # of so few steps no pace is told
    assert inner[-1] == outer[-1] == ""
    assert capsys.readouterr() == ("", "")    # nothing red


def test_what_is_short_shows_no_bar(page):
    assert list(pt.bar(range(1), "steps")) == [0]
    assert page == []


def test_an_evaluation_shows_a_bar(page, tiny, inputs):
    model = tiny("bert", "classifier")
    pt.evaluate(model, [inputs(model)] * 9)
    assert "evaluating: 2 of 9" in page[0][0]


@pytest.mark.parametrize(("terminal", "work", "shown"), [
    (True, "here", True), (True, "", False), (False, "here", False)])
def test_a_terminal_shows_it_and_builds_tests_and_files_do_not(monkeypatch, terminal, work, shown):
    monkeypatch.setenv("PEFT_TEACH_WORK", work)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    assert pt.bar([1], "steps").disable is not shown
