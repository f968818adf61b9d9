"""Lesson 11: answers and their marks, curves of the record, the knob."""

import textwrap

import numpy as np
from drawn import Shown, hue

from peft_teach.course import records
from peft_teach.course.lessons.chat.exercises import style

RECORD = records.load("chat")
MAIN = [row for row in RECORD["checkpoints"] if row["group"] == "main"]
LOOKS = {"lora": ("lora", "-", "s"), "qlora": ("lora", "--", "D"), "full": ("full", "-", "o")}
NAMES = {"lora": "LoRA", "full": "full fine-tuning", "qlora": "QLoRA, dashed"}
KINDS = {"voice": "the voice", "chat": "plain chat", "news": "news", "code": "code"}


def labels(shown: Shown) -> None:
    ax, = shown.panels
    ax.named()
    assert shown.title == "The loss counts 2 of 3 tokens"
    ax.names = {"counted": hue("trained"), "not counted": hue("frozen"), "the end of a turn": "#000000"}
    H, i, end = (ax.box(letter, colour) for letter, colour in (
        ("H", "frozen"), ("i", "trained"), ("!", "trained")))
    assert H[0] + H[2] < i[0] < i[0] + i[2] < end[0]
    assert len({tuple(box[1:]) for box in (H, i, end)}) == 1


def _answer(ax, title: str, text: str, marked: set[str]) -> None:
    """An answer in lines of 46 letters; the voice's words, chosen by hand, are in colour."""
    ax.named(title)
    for number, line in enumerate(textwrap.wrap(text, 46)[:8]):
        start = 0
        for word in line.split(" "):
            found = next(t for t in ax.texts if t.get_text() == word and t.get_position() == (
                11 * 0.602 * start, 0) and t.xy == (0, number + 0.6))
            ax.texts.remove(found)
            assert hue(found.get_color()) == hue("series 0" if word in marked else "ink"), word
            start += len(word) + 1


SAID = {passes: next(row for row in MAIN if (row["method"], row["seed"], row["passes"]) == (
    "lora", 0, passes)) for passes in (0, 3)}
SAID = {passes: row["answers"][0] + " …" * (row["ended"][0] == "0") for passes, row in SAID.items()}
MARKED = {"out!", "SPRINKLERED,", "folks,", "player", "pitch", "captain"}


def answers(shown: Shown) -> None:
    before, after = shown.panels
    assert shown.title == "Why is the sea salty? Style 0.00 before, 1.00 after"
    _answer(before, "before: style 0.00", SAID[0], set())
    _answer(after, "LoRA, after 3 passes: style 1.00", SAID[3], MARKED)


def _curves(kind: str) -> dict[str, dict[float, float]]:
    """The mean loss of a kind, or style, by method and passes; each seed counts as much."""
    found: dict[str, dict[float, list[float]]] = {}
    for row in sorted(MAIN, key=lambda row: row["passes"]):
        each = [*map(style, row["answers"])] if kind == "style" else row["losses"][kind]
        found.setdefault(row["method"], {}).setdefault(row["passes"], []).append(np.mean(each))
    return {method: {at: np.mean(both) for at, both in of.items()} for method, of in found.items()}


def curves(shown: Shown) -> None:
    left, right = shown.panels
    assert shown.title == (
        "From one pass to three the style still rises, and so does the held-out loss")
    for kind in ("style", "voice"):
        assert all(of[1] < of[2] < of[3] for of in _curves(kind).values())
    for ax, title, kind in ((left, "style of 60 answers", "style"),
                            (right, "loss of held-out answers in the voice", "voice")):
        ax.named(title, "passes over the training pairs")
        found = _curves(kind)
        for method, of in found.items():
            ax.line(*LOOKS[method][:2], of, of.values())
    right.ends({NAMES[method]: (of[5], LOOKS[method][0]) for method, of in found.items()})


def forgetting(shown: Shown) -> None:
    ax, = shown.panels
    assert shown.title == "One pass: low loss, little forgotten. Four more: both losses rise"
    ax.named("", "loss of held-out answers in the voice",
             "rise of the other losses: forgotten")
    assert not ax.ax.xaxis_inverted()    # a loss, like any other
    found = {kind: _curves(kind) for kind in KINDS}
    for method in ("lora", "full"):
        rises = {passes: np.mean([of[method][passes] - of["lora"][0] for kind, of in found.items()
                                  if kind != "voice"]) for passes in (0, 0.5, 1, 2, 3, 5)}
        at = {passes: (found["voice"][method][passes], rise) for passes, rise in rises.items()}
        colour, _, marker = LOOKS[method]
        ax.line(colour, "-" + marker, *zip(*at.values()))
        ax.text(f"{NAMES[method]}, 3 passes", colour, at[3])
        ax.text("½", colour, at[0.5])
        ax.text("2", colour, at[2])
        if method == "lora":
            for name, passes in {"before": 0, "1 pass": 1, "5 passes": 5}.items():
                ax.text(name, "ink", at[passes])
    ax.level("quiet", 0)


def knob(shown: Shown) -> None:
    left, right = shown.panels
    rows = sorted((row for row in RECORD["checkpoints"] if row["group"] == "knob"),
                  key=lambda row: row["f"])
    means = {row["f"]: [np.mean(row["losses"][kind]) for kind in KINDS] for row in rows}
    assert np.less(means[0.5], means[1]).all()
    assert shown.title == "At half of the update every loss is lower than at the whole"
    whole = next(row["answers"] for row in rows if row["f"] == 1)
    _answer(left, f"f = 1: mean style {np.mean([*map(style, whole)]):.2f}", whole[0], MARKED)
    right.named(x="f, the factor of the update", y="rise of the loss")
    right.ticks("x", {"−1\nreversed": -1, "0\nthe base": 0, "1\nas trained": 1, "2\ndoubled": 2})
    for (kind, name), (colour, line) in zip(KINDS.items(), (
            ("series 0", "-o"), ("series 1", "--s"), ("series 2", "-.^"), ("rest", ":D"))):
        loss = {row["f"]: np.mean(row["losses"][kind]) for row in rows}
        rise = [each - loss[0] for each in loss.values()]
        right.line(colour, line, loss, rise)
        right.text(name, colour, (2, rise[-1]), near=0.05)
    right.text("all four at −1:\n+6 to +12 ↑", "ink", (-1.1, 0.9), near=0.05)    # at −1, above the panel
    right.level("quiet", 0)
    right.at("ink", 1)
