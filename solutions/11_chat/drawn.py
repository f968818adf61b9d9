"""Lesson 11: labels, and curves of the record."""

import numpy as np
from picture_checks import Shown, hue

from peft_teach.course import records
from peft_teach.course.lessons.chat.measure import style

RECORD = records.load("chat")
MAIN = [row for row in RECORD["checkpoints"] if row["group"] == "main"]
LOOKS = {"lora": ("lora", "-", "s"), "qlora": ("lora", "--", "D"), "full": ("full", "-", "o")}
NAMES = {"lora": "LoRA", "full": "full fine-tuning", "qlora": "QLoRA, dashed"}
KINDS = ("voice", "chat", "news", "code")


def labels(shown: Shown) -> None:
    ax, = shown.panels
    ax.named()
    assert shown.title == "The loss counts 2 of 3 tokens"
    ax.names = {"counted": hue("trained"), "not counted": hue("frozen"), "the end of a turn": "#000000"}
    H, i, end = (ax.box(letter, colour) for letter, colour in (
        ("H", "frozen"), ("i", "trained"), ("!", "trained")))
    assert H[0] + H[2] < i[0] < i[0] + i[2] < end[0]
    assert len({tuple(box[1:]) for box in (H, i, end)}) == 1


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
