"""What a reader leaves behind: kept once, over kernels, and never lost by a damaged file."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from together import run_together

import peft_teach as pt
from peft_teach.course.desk import buttons, predict, work
from peft_teach.errors import BadConfig


@pytest.fixture(autouse=True)
def folder(reader_folder, monkeypatch):
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    monkeypatch.setattr(work, "_here", {})
    monkeypatch.setattr(work, "_told", set())
    return reader_folder


def test_a_prediction_can_be_changed_until_its_result(folder, capsys):
    assert work.committed("lora.rank") is None
    assert work.commit("lora.rank", ...) is None
    assert work.commit("lora.rank", 2) == 2
    assert work.commit("lora.rank", 8) == 8
    clicked = time.time() - 1    # a clock may stand still between two lines
    work.resolve("lora.rank")
    assert work.commit("lora.rank", 2) == 8
    assert work.committed("lora.rank") == 8
    code = "from peft_teach.course.desk import work; print(work.committed('lora.rank'))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout == "8\n"
    assert work.commit("lora.rank", 4, clicked) == 4    # it was made before, and came late
    assert pt.commit("pair", (0.9, 0.5), like=[0.9, 0.5]) == [0.9, 0.5]    # as JSON gives it back
    assert "not taken" not in capsys.readouterr().out
    work.resolve("late")
    assert work.commit("late", 1) is work.committed("late") is None


def test_what_a_lesson_saves_stands_with_all_that_is_kept(folder, monkeypatch):
    assert pt.course.in_work("movie-lora") == folder / "work" / "movie-lora"
    monkeypatch.setenv(work.VARIABLE, "")
    assert pt.course.in_work("movie-lora") == Path("work", "movie-lora")


def test_sentences_checks_and_points_are_kept(folder):
    work.write("a", "First.")
    work.write("a", "Better.")
    work.checked("lora.layer", "passed")
    work.checked("lora.count", "wrong")
    work.add_point("lora", {"rank": 4, "accuracy": 0.8})
    work.add_point("lora", {"rank": 8, "accuracy": 0.81})
    assert work.written("a") == "Better."
    assert work.states() == {"lora.layer": "passed", "lora.count": "wrong"}
    assert [p["rank"] for p in work.points("lora")] == [4, 8]
    work.add_point("lora", {"rank": 8, "accuracy": 0.82}, replaces=("rank",))
    assert [p["accuracy"] for p in work.points("lora")] == [0.8, 0.82]
    assert work.points("full") == []
    work.forget("lora.layer")
    assert work.states() == {"lora.count": "wrong"}
    kept = json.loads((folder / work.FILE).read_text())
    assert kept["sentences"]["a"]["value"] == "Better."


def test_forgetting_everything_sets_it_aside(folder):
    work.commit("a", 1)
    work.forget()
    assert work.committed("a") is None
    work.commit("a", 2)
    work.forget()
    assert sorted(p.name for p in (folder / "work").glob("*.json")) == ["course.1.json",
                                                                        "course.2.json"]


@pytest.mark.parametrize("text", ["{", "[]", '{"points": 3}', '{"predictions": {"a": 8}}',
                                  '{"points": {"lora": 3}}', "[" * 99999, "\x00", '"\\ud800"'])
def test_a_damaged_file_is_set_aside_and_said(folder, text, capsys):
    file = folder / work.FILE
    file.parent.mkdir()
    file.write_text(text)
    assert work.committed("a") is None
    assert "is damaged. It is kept as course.1.json" in capsys.readouterr().out
    assert work.commit("a", 3) == 3
    assert (file.parent / "course.1.json").read_text() == text


@pytest.mark.parametrize("empty", [{work.VARIABLE: ""}, {"NBGRADER_EXECUTION": "autograde"}])
def test_where_nothing_is_kept_a_kernel_remembers(folder, monkeypatch, empty):
    for name, value in empty.items():
        monkeypatch.setenv(name, value)
    assert work.folder() is None
    assert work.commit("a", 1) == 1
    work.resolve("a")
    assert work.commit("a", 2) == 1
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_written_costs_one_line(folder, capsys, monkeypatch):
    (folder / "work").write_text("a file in the way")
    assert work.commit("a", 1) == 1
    assert work.commit("b", 2) == 2
    assert work.committed("a") == 1
    assert capsys.readouterr().out.count("not kept") == 1


@pytest.mark.parametrize("value", [float("nan"), (float("nan"),), object(), (object(),), {1: 2},
                                   {"a": {3}}])
def test_only_plain_data_is_kept(folder, value):
    with pytest.raises(BadConfig, match="plain data"):
        work.commit("a", value)
    assert not (folder / work.FILE).exists()


def add_one(meet, name):
    write_whole = work.write_whole
    work.write_whole = lambda *whole: (meet(), write_whole(*whole))
    work.add_point("lora", {"of": name})


@pytest.mark.long
def test_two_kernels_at_once_lose_nothing(folder):
    run_together(add_one, [("a",), ("b",)])
    assert sorted(point["of"] for point in work.points("lora")) == ["a", "b"]


def test_a_named_guess_can_be_changed_until_its_result(capsys):
    guess = pt.widgets.Guess("Which?", (1, 2, 4), "demo.rank")
    assert guess.value is None
    assert "pt.commit('demo.rank', 1)" in guess.still()[0]    # where no buttons are shown
    for choice in (2, 4):
        guess.buttons.value = choice
        assert work.committed("demo.rank") == choice
        assert "You may change it" in guess.still()[0]
    pt.compare("demo.rank", 1)
    assert "You said 4; it is 1." in capsys.readouterr().out    # how far: not of a button's number
    guess.buttons.value = 1
    assert guess.value == 4
    assert "stands" in guess.still()[0]
    again = pt.widgets.Guess("Which?", (1, 2, 4), "demo.rank")
    assert again.value == 4
    again.buttons.value = 1
    assert (again.value, work.committed("demo.rank")) == (4, 4)
    assert pt.widgets.Guess("Which?", (1, 2), None).value is None
    other = pt.widgets.Guess("Which?", (1, 2), "demo.rank")    # as a later release may ask
    assert other.value is None


@pytest.mark.parametrize(("value", "said"), [
    (["a", "b"], "a · b"), (["a", True], "a · yes"), (["a", 0.9], "a, 90% sure")])
def test_only_a_number_says_how_sure_one_is(capsys, value, said):
    pt.commit("demo.pair", value)
    pt.compare("demo.pair", "c")
    assert f"You said {said}; it is c." in capsys.readouterr().out


def test_a_guess_after_its_result_says_that_it_counts_as_none():
    pt.compare("demo.rank", 1)
    guess = pt.widgets.Guess("Which?", (1, 2, 4), "demo.rank")
    guess.buttons.value = 1
    assert predict.TOO_LATE in guess.still()[0]
    assert work.committed("demo.rank") is None
    assert guess.value == 1    # a picture that waits for it opens


@pytest.mark.parametrize(("earlier", "counts"), [(60, True), (-60, False)])
def test_a_click_that_waited_for_cells_counts_by_when_it_was_made(monkeypatch, earlier, counts):
    """Its message bears that time; the comparison, shown by then, is shown anew."""
    shown = []
    monkeypatch.setattr(predict, "show", lambda card, may_change: SimpleNamespace(
        update=lambda card: shown.append(repr(card))))
    guess = pt.widgets.Guess("Which?", (1, 2, 4), "demo.rank")
    pt.compare("demo.rank", 2)
    sent = datetime.fromtimestamp(time.time() - earlier, UTC)
    parent = {"header": {"msg_type": "comm_msg", "date": sent}}
    kernel = SimpleNamespace(get_parent=lambda: parent)
    monkeypatch.setattr(buttons, "shell", lambda: SimpleNamespace(kernel=kernel))
    guess.buttons.value = 2
    assert work.committed("demo.rank") == (2 if counts else None)
    assert (predict.STANDS in guess.still()[0]) == counts
    assert ("✓ As you said: 2." in shown[-1]) == counts


def test_a_guess_is_none_until_it_is_made():
    guess = pt.widgets.Guess("Which?", (1, 2, 4))
    assert guess.value is None
    guess.buttons.value = 4
    assert guess.value == 4
    assert guess.still()[0] == "<b>Which?</b> 1 / 2 / <b>[4]</b>"
