"""The pictures of all lessons: each draws, speaks, keeps to the palette, and moves as it should.

They are found on disk: a lesson's `pictures.py` names one of each in `EXAMPLES`. What each shows
stands in each lesson's `drawn.py`, from the record; what is computed for them is tested beside, in
`test_<lesson>.py`.
"""

import dataclasses
import html
import inspect
import re
from itertools import combinations

import ipywidgets as ipw
import numpy as np
import picture_checks
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

import peft_teach as pt
from peft_teach import ink, plots
from peft_teach.course import lessons, protocol, records
from peft_teach.course.desk import board, board_picture, work
from peft_teach.widgets import Choices, Explorer

EXAMPLES = {f"{name}.{picture}": make for name in lessons.with_pictures()
            for picture, make in lessons.pictures(name).EXAMPLES.items()}
GENERAL = {
    "board": lambda: board_picture.draw(board.frame({row["method"]: row for row in board_rows()})),
    "curves": lambda: plots.curves({"a": [1.0, 0.5], "b": [0.9, 0.8]}, dashed=("b",)),
    "dots": lambda: plots.dots({"a": [0.8, 0.7], "c": [0.6]}, {"b": (0.75, plots.COLOURS["full"])},
                               {"c": (plots.COLOURS["lora"], "s")}),
}


def board_rows():
    """A reader's rows of three rungs: recorded ones, of another seed than a colleague's."""
    return [row for row in protocol.finals(records.load("ladder")) if row["seed"] == 6
            and row["method"] in ("lora 8", "prompt", "full")]


PALETTE = {to_hex(colour) for colour in (*plots.COLOURS.values(), *(s[0] for s in plots.SERIES))}


@pytest.fixture(autouse=True, scope="module")
def _small_pictures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "DPI", 20)
        patch.setenv(work.VARIABLE, "")    # no reader works here: what is hidden from one is seen
        yield


@pytest.fixture(params=EXAMPLES, scope="module")
def picture(request) -> Figure | Explorer:
    torch.manual_seed(picture_checks.SEED)
    return EXAMPLES[request.param]()


def figure_of(picture: Figure | Explorer) -> Figure:
    return picture.figure if isinstance(picture, Explorer) else picture


def controls(box: ipw.Widget) -> list[ipw.Widget]:
    """What a reader can set in a box, but for the buttons of a bet."""
    if isinstance(box, ipw.Box) and not isinstance(box, Choices):
        return [each for child in box.children for each in controls(child)]
    still = (ipw.HTML, ipw.Label, ipw.Button, ipw.Play)
    bet = isinstance(box, ipw.ToggleButtons) and box.value is None
    return [] if isinstance(box, still) or bet or getattr(box, "disabled", False) else [box]


def options(control: ipw.Widget) -> list:
    """What a reader can choose: all of three at most, of more the ends and a middle."""
    match control:
        case Choices():
            every = tuple(thing for thing, box in control.boxes.items() if not box.disabled)
            return [(), every, every[:1], every[-1:]]
        case ipw.Text():
            return [control.value, "Another text"]
        case ipw.IntRangeSlider(min=low, max=high):
            return [(low, low), (high, high), (low, high)]
        case ipw.IntSlider(min=low, max=high, step=step):
            return sorted({low, high - (high - low) // (2 * step) * step, high})
        case ipw.Checkbox():
            return [True, False]
        case _:
            values = [value for _, value in control._options_full]
            return values if len(values) < 4 else [values[0], values[len(values) // 2], values[-1]]


def colours(figure: Figure) -> set[str]:
    """The colour of every part of a figure that the eye sees."""
    found = []
    for artist in figure.findobj():
        if not artist.get_visible():
            continue
        for ask in ("get_color", "get_facecolor", "get_edgecolor", "get_markerfacecolor",
                    "get_markeredgecolor"):
            if hasattr(artist, ask):
                value = getattr(artist, ask)()
                many = isinstance(value, np.ndarray) and value.ndim == 2
                found += list(value) if many else [value]
    clear = [c for c in found if isinstance(c, str) and c in ("none", "auto")]
    return {to_hex(c) for c in found if not any(c is each for each in clear)
            and not (len(c) == 4 and not isinstance(c, str) and c[3] == 0)}


# ── all of them ──────────────────────────────────────────────────────────────────────────────


def test_no_picture_is_left_out():
    """Each function of a lesson that returns a figure or an explorer is in an example."""
    assert EXAMPLES
    for name in lessons.with_pictures():
        module = lessons.pictures(name)
        folder = module.__name__.rpartition(".")[0]
        offered = {f.__name__ for _, f in inspect.getmembers(module, inspect.isfunction)
                   if f.__module__.startswith(folder) and not f.__name__.startswith("_")
                   and inspect.signature(f).return_annotation in (Figure, Explorer)}
        left_out = offered - reached(module.EXAMPLES.values(), folder)
        assert not left_out, f"EXAMPLES in {module.__file__} has none of {sorted(left_out)}"


def reached(makers, folder: str) -> set[str]:
    """The names of the lesson's functions that these call, and that those call."""
    found, todo = set(), [*makers]
    while todo:
        function = getattr(todo[-1], "func", todo.pop())    # of a partial
        if function in found or not inspect.isfunction(function):
            continue
        found.add(function)
        codes = [function.__code__]
        for code in codes:
            codes += filter(inspect.iscode, code.co_consts)
            names = {*code.co_names, *code.co_freevars}
            own = [function.__globals__, *(vars(each) for each in map(
                function.__globals__.get, names) if inspect.ismodule(each))]
            todo += [scope[name] for scope in own for name in names if name in scope
                     and getattr(scope[name], "__module__", "").startswith(folder)]
    return {function.__name__ for function in found}


def test_a_picture_that_an_example_only_mentions_is_not_made_by_it():
    def mentions():
        """Tells of figure_of(picture)."""
        return "figure_of(picture)"

    assert reached([mentions], __name__) == {"mentions"}
    assert reached([lambda: figure_of(mentions())], __name__) == {"<lambda>", "figure_of"}


def test_each_mark_of_a_picture_is_where_the_record_says(picture, request):
    picture_checks.check(request.node.callspec.params["picture"], figure_of(picture))


def test_a_picture_says_its_numbers_and_its_caption(picture):
    figure = figure_of(picture)
    assert re.search(r"\d", figure.get_label())
    if isinstance(picture, Explorer):
        assert_shown(picture)


def assert_shown(explorer: Explorer) -> None:
    """What stands on the page is the figure's text, the record's caption, and one picture.

    No text of it is cut at its edge.
    """
    shown = explorer.picture.value
    assert f'alt="{html.escape(explorer.figure.get_label())}"' in shown
    assert html.escape(explorer.caption(explorer.data)) in shown
    assert shown.count("<img") == 1
    page = explorer.figure.bbox.padded(6)    # drawn as small as here, letters are wider
    for ax in explorer.figure.axes:
        for text in (ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts):
            both = page.union([page, text.get_window_extent()])
            assert not text.get_text() or both.bounds == page.bounds, f"cut: {text.get_text()}"


def test_what_is_drawn_is_a_typed_record(picture):
    if isinstance(picture, Explorer):
        record = picture.data
        assert dataclasses.is_dataclass(record)
        assert record.__dataclass_params__.frozen
        name = dataclasses.fields(record)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, name, None)


@pytest.mark.long
def test_every_control_changes_its_picture_or_says_why_not(picture):
    """Options of each control show another picture than the start, or another caption.

    And has a name: a list whose value is None is blank in a page.
    """
    if not isinstance(picture, Explorer):
        return

    def shown() -> tuple[str, str]:
        assert_shown(picture)
        return re.search(r'src="(.*?)"', picture.picture.value)[1], picture.caption(picture.data)

    for control in controls(picture.box):
        name, start, before = control.description, control.value, shown()
        same = []
        for value in options(control):
            assert value is not None, f"{name}: an option of value None"
            control.value = value
            same += [value] * (value != start and shown() == before)
        assert not same, f"{name}: {same} show what {start!r} shows, and no word says why"
        control.value = start
        assert shown() == before, f"{name}: back where it was, another picture"


def test_text_can_be_read_at_the_size_shown(picture):
    """An inch is 96 px wide: a page of 900 px shows these at their size, and 9 points are 12 px."""
    figure = figure_of(picture)
    sizes = [text.get_fontsize() for text in figure.findobj(Text) if text.get_text()]
    assert min(sizes) >= 9
    assert figure.get_figwidth() <= 9.3


@pytest.mark.long
@pytest.mark.parametrize("name", EXAMPLES | GENERAL)
def test_on_a_phone_each_text_is_ten_pixels_high_whole_and_on_no_other(name):
    torch.manual_seed(picture_checks.SEED)
    with ink.on_a_phone():
        figure = figure_of((EXAMPLES | GENERAL)[name]())
    assert faults_on_a_phone(figure) == []


def faults_on_a_phone(figure: Figure) -> list[str]:
    """Which texts are hard to read where a figure is shown as wide as a phone."""
    shown = min(1, ink.PHONE / ink.PIXELS / figure.get_figwidth())
    figure.set_dpi(ink.DPI)
    figure.draw_without_rendering()
    boxes = [(text.get_text(), Text.get_window_extent(text)) for text in (*figure.texts, *(
        each for ax in figure.axes for each in (ax.title, ax.xaxis.label, ax.yaxis.label,
                                                *ax.texts))) if text.get_text()]
    return [*(f"small: {text.get_text()}" for text in figure.findobj(Text) if text.get_text()
              and text.get_fontsize() / 72 * ink.PIXELS * shown < 10 - 1e-6),
            *(f"cut: {text}" for text, box in boxes
              if figure.bbox.union([figure.bbox.padded(4), box]).bounds
              != figure.bbox.padded(4).bounds),
            *(f"{one} on {other}" for (one, a), (other, b) in combinations(boxes, 2)
              if min(a.x1, b.x1) - max(a.x0, b.x0) > 4 and min(a.y1, b.y1) - max(a.y0, b.y0) > 6)]


def test_on_a_phone_a_table_of_shades_keeps_its_label_below_a_claim_of_two_lines():
    pictures, tokens = lessons.pictures("inside"), [*16 * ["actors"], ".", "[SEP]"]
    with ink.on_a_phone():
        figure = pictures.draw_attention(pictures.Attention((0, 1), tokens, torch.eye(18)))
    assert "\n" in figure.get_suptitle()
    assert faults_on_a_phone(figure) == []


def test_a_text_that_is_small_or_cut_or_on_another_is_seen():
    with ink.on_a_phone():
        made, ax = plots.figure()
    for place, text, size in ((0.5, "one", 12), (0.5, "other", 8), (1, "as long as a line", 12)):
        ax.text(place, 0.5, text, fontsize=size).set_in_layout(False)
    assert faults_on_a_phone(made) == [
        "small: other", "cut: as long as a line", "one on other"]


def test_all_colours_are_of_the_palette(picture):
    assert colours(figure_of(picture)) <= PALETTE


@pytest.mark.parametrize("name", GENERAL)
def test_pictures_of_many_lessons_show_their_numbers_and_keep_to_the_palette(name):
    figure = GENERAL[name]()
    picture_checks.check(f"plots.{name}", figure)
    assert colours(figure) <= PALETTE


def test_what_is_drawn_and_claimed_by_nothing_is_seen():
    made, ax = plots.figure()
    ax.plot([0, 1], [0, 1])
    with pytest.raises(AssertionError, match="claimed by nothing"):
        picture_checks.Shown(made).nothing_is_left()


def test_another_colour_is_seen():
    made, ax = plots.figure()
    ax.plot([0, 1], [0, 1])
    assert colours(made) - PALETTE == {"#1f77b4"}    # matplotlib's own


# ── who loads them ───────────────────────────────────────────────────────────────────────────


def test_a_lesson_without_pictures_is_told():
    with pytest.raises(pt.errors.UnknownName, match=r"lesson with pictures.*'none'"):
        pt.course.pictures("none")


def test_the_grader_leaves_pictures_out_of_what_it_runs():
    from peft_teach.course.reading.cells import Code
    from peft_teach.course.reading.notebook import Cell

    lines = ('import peft_teach as pt\npictures = pt.course.pictures("lora")\n'
             'pt.plots.show(pictures.draw_to_scale(384, 384, 8), "")\nx = 1')
    statements = Code([Cell(1, lines)]).statements
    assert [each.heavy for each in statements] == [False, True, True, False]
