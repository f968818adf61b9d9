"""The drawn block: orange stands where a method trains, its counts are the method's own, it is to
scale, every text has its room on both widths, and a theme changes nothing but ink."""

from functools import cache
from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.text import Text

import peft_teach as pt
from peft_teach import drawing, ink, outlines
from peft_teach.drawing import layouts, words
from peft_teach.methods import METHODS

D, FF, BLOCKS = 384, 1536, 6    # MiniLM's
ALL = 22_713_216
SIX = {"query", "key", "value", "attention_out", "ffn_in", "ffn_out"}
# Where the paper of each method trains, said once more; and how many numbers that is.
TRAINS = {
    "": (set(), 0),
    "full": ({*SIX, "attention_norm", "ffn_norm"}, ALL),
    "bitfit": ({*SIX, "attention_norm", "ffn_norm"}, pt.bitfit.count(BLOCKS, D, FF)),
    "prompt": ({"words"}, pt.prompt.count(20, D)),
    "prefix": ({"key", "value"}, pt.prefix.count(20, BLOCKS, D)),
    "bottleneck": ({"ffn_norm"}, BLOCKS * pt.bottleneck.count(D, 64)),
    "ia3": ({"key", "value", "ffn_out"}, pt.ia3.count(BLOCKS, D, D, FF)),
    "lora": ({"query", "value"}, 2 * BLOCKS * pt.lora.count(D, D, 8)),
    "dora": ({"query", "value"}, 2 * BLOCKS * pt.dora.count(D, D, 8)),
    "qlora": (SIX, BLOCKS * (4 * pt.lora.count(D, D, 8) + 2 * pt.lora.count(D, FF, 8))),
}
# The same in SmolLM2's block, as deep, and as wide in queries and in keys.
SMALL, DEEP, WIDE, GROUPED, INNER = 134_515_008, 30, 576, 192, 1536
SEVEN = {*SIX, "ffn_gate"}
LORA_SIX = (2 * WIDE + 2 * (WIDE + GROUPED) + 2 * WIDE + 3 * (WIDE + INNER)) * 8
IN_A_DECODER = {
    "": (set(), 0),
    "full": ({*SEVEN, "input_layernorm", "post_attention_layernorm"}, SMALL),
    "prompt": ({"words"}, pt.prompt.count(20, WIDE)),
    "prefix": ({"key", "value"}, pt.prefix.count(20, DEEP, GROUPED)),
    "bottleneck": ({"the end"}, DEEP * pt.bottleneck.count(WIDE, 64)),
    "ia3": ({"key", "value", "ffn_out"}, pt.ia3.count(DEEP, GROUPED, GROUPED, INNER)),
    "lora": ({"query", "value"}, DEEP * (pt.lora.count(WIDE, WIDE, 8)
                                         + pt.lora.count(WIDE, GROUPED, 8))),
    "dora": ({"query", "value"}, DEEP * (pt.dora.count(WIDE, WIDE, 8)
                                         + pt.dora.count(WIDE, GROUPED, 8))),
    "qlora": (SEVEN, DEEP * LORA_SIX),
}
IN_MODEL = {"minilm": TRAINS, "smollm2": IN_A_DECODER}
EVERY = [(model, method) for model, trains in IN_MODEL.items() for method in trains]
# What a picture is asked for, by a name: all methods, placements and places.
ASKED = {method: (method, None, "") for method in TRAINS} | {
    "houlsby": ("bottleneck", pt.bottleneck.HOULSBY, ""),
    "bapna": ("bottleneck", pt.bottleneck.BAPNA, ""),
    "parallel": ("bottleneck", pt.bottleneck.PARALLEL, ""),
    "lora 64": ("lora", pt.lora.Config(rank=64, targets=("ffn_in", "attention_out")), "ffn_in"),
    "ia3 inside": ("ia3", None, "ffn_out"), "qlora out": ("qlora", None, "ffn_out"),
    "a block": ("", None, "ffn_out"), "full in": ("full", None, "ffn_in"),
    "prompt 5": ("prompt", pt.prompt.Config(length=5), ""),
    "prefix 10": ("prefix", pt.prefix.Config(length=10), ""),
    "ends": ("bottleneck", pt.bottleneck.ENDS, ""), "dora value": ("dora", None, "value"),
    "late": ("lora", pt.lora.Config(layers=(4, 5)), ""),
}
NOT_IN = {"smollm2": {"bitfit"}}    # it has no biases
DRAWN = [(model, name) for model in IN_MODEL for name in ASKED if name not in NOT_IN.get(model, ())]
WIDTHS = {"wide": ink.WIDE, "phone": ink.PHONE}


def wide(name: str, width: str) -> int:
    """How many pixels a picture takes."""
    return ink.PAGE if (name, width) == ("all methods", "wide") else WIDTHS[width]


@cache
def drawn(name: str, width: str = "wide", theme: str = "light", model: str = "minilm"):
    if name == "all methods":
        return drawing.methods(wide(name, width), theme)
    method, config, zoom = ASKED[name]
    return drawing.block(method, config, model=model, zoom=zoom, pixels=WIDTHS[width],
                         theme=theme)


def texts(figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if text.get_text().strip()]


def said(figure) -> str:
    return " ".join(text.get_text() for text in texts(figure))


def boxes(figure, kind: str) -> list[tuple[float, float, float, float]]:
    """Left, top, right, bottom of the shapes of a kind, in inches; the legend's left out."""
    found = []
    for shape in figure.axes[0].patches:
        if shape.get_gid() == kind:
            (x, y), (right, bottom) = shape.get_path().get_extents(shape.get_patch_transform()
                                                                   ).get_points()
            found.append((x, y, right, bottom))
    return [box for box in found if box[3] > 0.8]


def near(box, units: float, left: float, line: float, model: str = "minilm") -> str:
    """The part of the block beside which a box stands: the one that is least far away."""
    places = layouts.layout(model).boxes | {"words": (6.8, 0, 6, 5)}
    if model == "smollm2":    # where no norm closes the block
        places["the end"] = (117, 0, 2, 2)

    def far(place: str) -> float:
        x, up, width, height = places[place]
        dx = abs((box[0] + box[2]) / 2 - left - units * x) - units * width / 2
        dy = abs((box[1] + box[3]) / 2 - line + units * up) - units * height / 2
        return max(dx, 0) ** 2 + max(dy, 0) ** 2

    return min(places, key=far)


# ── what it claims ───────────────────────────────────────────────────────────────────────────


def test_every_method_is_drawn():
    assert TRAINS.keys() == {"", *METHODS}


@pytest.mark.parametrize(("model", "method"), [
    pytest.param(*row, marks=[pytest.mark.long] if row == ("smollm2", "qlora") else [])
    for row in EVERY])
def test_orange_stands_where_the_method_trains_and_nowhere_else(model, method):
    figure = drawn(method, model=model)
    units = (figure.get_figwidth() - 0.2) / layouts.LENGTH
    word = min(boxes(figure, "passing"), key=lambda box: box[0])
    line = (word[1] + word[3]) / 2
    large = [box for box in boxes(figure, "trained") if box[3] < line + 17 * units]
    assert {near(box, units, 0.1, line, model) for box in large} == IN_MODEL[model][method][0]
    assert {colour for shape in figure.axes[0].patches for colour in [to_hex(
        shape.get_facecolor(), keep_alpha=True)] if shape.get_gid() == "trained"} <= {
            ink.TRAINED.lower() + "ff"}


@pytest.mark.parametrize(("model", "method"), [row for row in EVERY if row[1]])
def test_counts_are_those_of_the_methods_own_closed_forms(model, method):
    count = IN_MODEL[model][method][1]
    for width in WIDTHS:
        figure = drawn(method, width, model=model)
        assert f"trained {count:,}" in said(figure)
        assert f"Trained: {count:,} numbers" in figure.get_label()
        assert model != "minilm" or f"{count:,}" in said(drawn("all methods", width))
    assert drawing.parts(method, model=model).numbers.sum() == count


def test_what_stands_still_is_counted():
    assert f"frozen {ALL:,}" in said(drawn("lora"))
    on = outlines.adapted("minilm", "bitfit")    # the pretrained biases among them: b comes on top
    assert sum(p.numel() for p in on.parameters() if not p.requires_grad) == ALL
    assert f"frozen {ALL:,}" in said(drawn("bitfit"))
    assert "on top of the frozen bias" in said(drawn("bitfit")).replace("\n", " ")
    packed = BLOCKS * (4 * D * D + 2 * D * FF)
    assert f"frozen in 4 bits {packed:,}" in said(drawn("qlora"))
    assert "4.13 bits a number" in said(drawn("qlora")).replace("\n", " ")    # as qlora.py says
    assert "frozen" not in said(drawn("full"))
    assert f"{ALL:,} in all" in said(drawn("all methods"))


def test_a_config_is_what_is_drawn():
    figure = drawn("lora 64")
    assert f"trained {BLOCKS * (pt.lora.count(D, FF, 64) + pt.lora.count(D, D, 64)):,}" in said(
        figure)
    assert "64 × 384" in said(figure)
    assert "enlarged: ffn_in" in said(figure)
    assert "enlarged: value" in said(drawn("lora"))
    assert "5 trained vectors" in said(drawn("prompt 5")).replace("\n", " ")
    assert "x +" in said(drawn("bitfit"))    # W x + b: a matrix and a vector have no sum
    assert "x ⊙" in said(drawn("ia3"))       # W x ⊙ l, but of inputs W (x ⊙ l)
    assert {"(x ⊙", ")"} <= {text.get_text() for text in texts(drawn("ia3 inside"))}
    rows = drawing.parts("bottleneck", pt.bottleneck.HOULSBY)
    assert {*rows.place[rows.block == 0]} == {"attention_out", "ffn_out"}
    assert rows.columns.tolist() == ["block", "place", "wrapper", "name", "shape", "numbers"]


def test_what_stands_at_both_ends_of_a_model_is_drawn_there():
    """`ENDS`: beside the words, and behind the norm, or the sum, that ends the last block."""
    for model, last in (("minilm", "ffn_norm of the last block"), ("smollm2", "last")):
        figure = drawn("ends", model=model)
        assert f"at embeddings, {last}." in figure.get_label()
        units = (figure.get_figwidth() - 0.2) / layouts.LENGTH
        block = [box for box in boxes(figure, "trained") if box[2] - box[0] < 4 * units]
        ends = sorted((box[0] - 0.1) / units for box in block)
        assert len(ends) == 4    # two bows, each of two halves
        assert ends[1] < 13
        assert ends[2] > 110


def test_a_method_on_some_blocks_is_drawn_in_one_of_them():
    assert drawn("late").get_label().count(" of 2 of 6 blocks") == 2
    assert len(boxes(drawn("late"), "trained")) == len(boxes(drawn("lora"), "trained"))


def test_a_decoders_block_is_drawn_to_scale_and_as_it_is():
    """Seven matrices, keys and values a third as high; a norm before each half; a gate."""
    figure = drawn("", model="smollm2")
    unit = 5 * (figure.get_figwidth() - 0.2) / layouts.LENGTH / WIDE
    large = [box for box in boxes(figure, "frozen") if box[3] < 3]
    assert sorted((round((box[3] - box[1]) / unit), round((box[2] - box[0]) / unit))
                  for box in large if box[2] - box[0] > 0.9 * WIDE * unit) == sorted([
        (WIDE, WIDE), (GROUPED, WIDE), (GROUPED, WIDE), (WIDE, WIDE), (INNER, WIDE), (INNER, WIDE),
        (WIDE, INNER)])
    norms = [box[0] for box in large if box[2] - box[0] < 0.5 * WIDE * unit]
    matrices = sorted(box[0] for box in large if box[2] - box[0] > 0.9 * WIDE * unit)
    assert norms[0] < matrices[0]
    assert matrices[3] < norms[1] < matrices[4]
    assert {"ffn_gate", "ffn_in", "ffn_out", "q", "k", "v"} <= {*said(figure).split()}
    assert "seven matrices" in said(figure)
    assert "SmolLM2's thirty such blocks" in figure.get_label()
    told = said(drawn("prefix", model="smollm2"))
    assert "9 heads of queries share 3 of keys and values" in told
    assert "20 × 192" in told
    assert "20 × 576" in said(drawn("prompt", model="smollm2"))
    assert "share" not in said(drawn("prefix"))


@pytest.mark.parametrize("method", ["lora", "bottleneck"])
def test_without_counts_nothing_enlarged_tells_its_size(method):
    for pixels in WIDTHS.values():
        bare = drawing.block(method, pixels=pixels, counts=False)
        trained = f"trained {TRAINS[method][1]:,}"
        left = said(bare).replace(trained, "").replace(f"frozen {ALL:,}", "")
        assert trained in said(bare)
        if method == "bottleneck":    # how it stands to the model's width, in words
            for told in ("size × 384", "384 × size", "384"):
                assert told in left
                left = left.replace(told, "", 1)
        assert not any(letter.isdigit() for letter in left)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("rank", [8, 64])
def test_the_enlarged_place_is_to_scale(width, rank):
    figure = drawing.block("lora", pt.lora.Config(rank=rank), pixels=WIDTHS[width])
    W = max(boxes(figure, "frozen"), key=lambda box: box[3])
    A, B = sorted((box for box in boxes(figure, "trained") if box[3] > W[1] - 0.3),
                  key=lambda box: box[2] - box[0], reverse=True)
    side = W[2] - W[0]
    assert (W[3] - W[1], A[2] - A[0], B[3] - B[1]) == pytest.approx((side,) * 3)
    assert (A[3] - A[1], B[2] - B[0]) == pytest.approx((side * rank / D,) * 2)
    large = [box for box in boxes(figure, "frozen") if box != W]
    unit = min(box[3] - box[1] for box in large) / D      # the block at large: one scale for all
    assert sorted(((box[3] - box[1]) / unit, (box[2] - box[0]) / unit) for box in large
                  if box[2] - box[0] > 0.9 * D * unit) == [
        pytest.approx(shape) for shape in (*[(D, D)] * 4, (D, FF), (FF, D))]


def test_a_name_says_the_places_where_these_differ():
    matrices = ", ".join(layouts.layout("minilm").shapes)
    at = {", q and v": "at query, value.", ", all matrices": f"at {matrices}."}
    for method, places in words.PLACES.items():
        assert at[places] in drawing.block(method).get_label()


def test_a_method_that_is_not_known_here_is_drawn_by_what_it_registers(monkeypatch):
    for name in ("lora", "dora"):
        monkeypatch.delitem(words.NAMES, name)
    monkeypatch.delitem(words.NOTES, "lora")
    figure = drawing.block("lora")
    assert said(figure).startswith("LoRA: learn a low-rank correction of a frozen weight")
    assert "trained 73,728" in said(figure)
    assert "; DoRA, q and v: 78,336" in drawing.counts_in_words()    # its name, as its file has it


@pytest.mark.parametrize(("ask", "error", "says"), [
    (lambda: drawing.block("lorra"), pt.errors.UnknownName, "lorra"),
    (lambda: drawing.block("lora", zoom="queries"), pt.errors.UnknownName, "did you mean 'query'"),
    (lambda: drawing.block("bottleneck", pt.bottleneck.Config(reads="output", targets=("ffn",))),
     pt.errors.NotSupported, "'ffn' is not drawn"),
    (lambda: drawing.block("lora", model="smollm"), pt.errors.UnknownName, "smollm2"),
    (lambda: drawing.block("bitfit", model="smollm2"), pt.errors.NoTargets, "no biases"),
])
def test_what_cannot_be_drawn_is_told(ask, error, says):
    with pytest.raises(error, match=says):
        ask()


# ── on the page ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.long
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("model", "name"), [*DRAWN, ("minilm", "all methods")])
def test_every_text_has_its_room_and_can_be_read(model, name, width):
    """Inside of the page, on no other text, and no smaller than 11 points of the screen."""
    figure = drawn(name, width, model=model)
    figure.set_dpi(96)
    assert figure.get_figwidth() * 96 == wide(name, width)
    renderer = FigureCanvasAgg(figure).get_renderer()
    page, placed = figure.bbox, []
    for text in texts(figure):
        assert text.get_fontsize() >= 11
        box = text.get_window_extent(renderer)
        assert page.union([page, box]).bounds == page.bounds, f"{text.get_text()!r} is cut"
        placed.append((text.get_text(), box.padded(-1)))
    for (one, a), (other, b) in combinations(placed, 2):
        assert not a.overlaps(b), f"{one!r} lies on {other!r}"


@pytest.mark.parametrize("name", ["lora", "full", "qlora", "houlsby", "all methods"])
def test_a_theme_changes_ink_and_nothing_else(name):
    light, dark = (drawn(name, theme=theme).findobj() for theme in ink.INK)
    assert len(light) == len(dark)
    seen = set()
    for one, other in zip(light, dark):
        for ask in ("get_color", "get_facecolor", "get_edgecolor"):
            if hasattr(one, ask):
                a, b = (to_hex(getattr(each, ask)(), keep_alpha=True) for each in (one, other))
                seen |= {(a, b)} if a != b else set()
    assert seen == {(to_hex(ink.INK["light"]) + "ff", to_hex(ink.INK["dark"]) + "ff")}
    dark_ink = sum(t.get_color() == ink.INK["light"] for t in texts(drawn(name, theme="dark")))
    assert dark_ink == (3 if name == "full" else 0)    # q, k, v, on orange
    told = {drawn(name, width, theme).get_label() for width in WIDTHS for theme in ink.INK}
    assert len(told) == 1


def test_shown_in_a_notebook_it_says_what_it_shows():
    page = pt.plots.html(drawn("lora"), "Six such blocks.")
    assert 'width="700"' in page
    assert 'alt="LoRA: two trained strips beside a frozen matrix. Trained: 73,728' in page


# ── one colour, one meaning ──────────────────────────────────────────────────────────────────

NEUTRAL = ("ink", "rest", "quiet", "frozen", "band", "paper", "flow",
           "head")    # on a frozen network
WAYS = ("trained", "yours", "scratch", "full", "lora", "head", "subspace", "random")
# Machado et al. 2009, table 1: how those without green cones see linear sRGB.
DEUTERANOPIA = np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                         [-0.011820, 0.042940, 0.968881]])
XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                [0.0193339, 0.1191920, 0.9503041]])


def linear(colour: str) -> np.ndarray:
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(colour: str, seen: np.ndarray) -> np.ndarray:
    """CIELAB of a colour as it is seen: distances in it are about as large as they look."""
    x, y, z = np.cbrt(XYZ @ np.clip(seen @ linear(colour), 0, 1) / (0.95047, 1, 1.08883))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def closest(colours: dict[str, str], seen: np.ndarray) -> tuple[float, str, str]:
    return min((float(np.linalg.norm(lab(a, seen) - lab(b, seen))), one, other)
               for (one, a), (other, b) in combinations(colours.items(), 2))


def test_one_colour_has_one_meaning():
    """No two names share a colour, or one that looks alike; the ways to train can be told apart
    by those without green cones, too."""
    every = ink.COLOURS | {f"series {i}": colour for i, (colour, *_) in enumerate(ink.SERIES)}
    assert len({to_hex(colour) for colour in every.values()}) == len(every)
    hues = {name: colour for name, colour in every.items() if name not in NEUTRAL}
    assert closest(hues, np.eye(3))[0] > 15
    assert closest({name: every[name] for name in WAYS}, DEUTERANOPIA)[0] > 12
    assert all(np.linalg.norm(lab(every[name], np.eye(3))[1:]) < 1 for name in NEUTRAL)


def in_the_dark(colour: str) -> str:
    """A colour after `invert(0.935) hue-rotate(180deg)`, as the Filter Effects Module defines them.
    """
    grey = np.array([0.213, 0.715, 0.072])
    return to_hex(np.clip((2 * np.outer(np.ones(3), grey) - np.eye(3))
                          @ (0.935 - 0.87 * np.array(to_rgb(colour))), 0, 1))


def contrast(a: str, b: str) -> float:
    """WCAG's, of two colours."""
    low, high = sorted(float(XYZ[1] @ linear(each)) for each in (a, b))
    return (high + 0.05) / (low + 0.05)


def test_each_line_and_label_can_be_read_on_light_and_in_the_dark():
    """What only fills, recedes or is the ground is none: a fill has an edge or a neighbour."""
    fills = {"trained", *pt.plots.HELD, "quiet", "frozen", "band", "paper", "flow"}
    lines = [*(colour for name, colour in ink.COLOURS.items() if name not in fills),
             *(colour for colour, *_ in ink.SERIES)]
    assert min((contrast(colour, "white"), colour) for colour in lines)[0] >= 4.5
    assert min((contrast(in_the_dark(colour), "#131416"), colour) for colour in lines)[0] >= 4.5
    assert min(contrast(ink.LINE, ground) for ground in ("white", "#131416")) >= 3    # no text


def test_what_training_holds_can_be_told_apart_in_a_dark_theme():
    held = {name: in_the_dark(ink.COLOURS[name]) for name in (*pt.plots.HELD, "working")}
    assert in_the_dark("white") == "#111111"
    assert closest(held, np.eye(3))[0] > 15


def test_the_grey_of_what_is_frozen_is_the_same_in_all_pictures():
    *rgb, alpha = ink.FROZEN
    assert to_hex([alpha * part + 1 - alpha for part in rgb]) == ink.COLOURS["frozen"]
    assert ink.COLOURS is pt.plots.COLOURS
    assert {ink.TRAINED, ink.LINE, ink.INK["light"]} <= {*ink.COLOURS.values()}
