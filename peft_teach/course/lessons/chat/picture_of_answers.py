"""Words on a page: what labels ask for, answers side by side, and the knob."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ipywidgets as ipw
import pandas
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .... import data
from ....plots import COLOURS, HALO, SERIES, box, claim, entitle, figure
from ....widgets import Explorer
from .exercises import TRAITS, style
from .recorded import KINDS, METHODS, NAMES, knob, rows, whole

WIDE, ROWS = 46, 8                 # letters in a line of an answer, and its lines
LETTER = 11 * 0.602                # points that a letter takes, of 11 points
SHOWN = 18                         # questions to choose among
IN_A_ROW = 9                       # tokens of a conversation
TURN = "<|im_start|>"              # SmolLM2's
NAMED = {"voice": "the voice", "chat": "plain chat", "news": "news", "code": "code"}
LINES = dict(zip(NAMED, (*SERIES[:3], (COLOURS["rest"], *SERIES[3][1:]))))    # colour, dash, marker
VOICE = LINES["voice"][0]           # of its traits in an answer, too


# ── what the labels ask for ──────────────────────────────────────────────────────────────────


def draw_labels(ids: Sequence[int], labels: Sequence[int], tokenizer) -> Figure:
    """Draw a conversation, a row a turn; filled is what training asks for, framed the ends."""
    words = [tokenizer.decode([int(i)]).replace("\n", "⏎").strip(" ") or "␣" for i in ids]
    places, row, column = [], 0, 0
    for word in words:
        if column == IN_A_ROW or (column and word == TURN):
            row, column = row + 1, 0
        places.append((column, -row))
        column += 1
    lines = row + 1
    made, ax = figure(9.2, 0.85 + 0.32 * lines)
    ends = [int(i) == getattr(tokenizer, "eos_token_id", None) for i in ids]
    counted = [int(label) != -100 for label in labels]
    fills = {True: (COLOURS["trained"], 0.45), False: COLOURS["frozen"]}
    for place, word, end, asked in zip(places, words, ends, counted):
        box(ax, *place, 0.95, 0.82, word, size=10, lw=2 * end, fc=fills[asked])
    ax.set(xlim=(-0.05, IN_A_ROW), ylim=(-lines + 0.9, 0.95))
    ax.axis("off")
    told = f"The loss counts {sum(counted)} of {len(words)} tokens" + (
        f", and {sum(map(all, zip(ends, counted)))} of {sum(ends)} ends" if any(ends) else "")
    ax.legend(handles=[Patch(fc=fills[True], label="counted"),
                       Patch(fc=fills[False], label="not counted"),
                       Patch(fc="none", ec=COLOURS["ink"], lw=2, label="the end of a turn")],
              frameon=False, fontsize=11, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    claim(made, told, " ".join(word for word, asked in zip(words, counted) if asked))
    return made


# ── answers ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Answers:
    """A question, and two answers to it, each by its title."""

    question: str
    answers: Mapping[str, str]


def _choice(answered: int) -> ipw.Dropdown:
    """Offer some of the questions that were answered, spread over their topics, by number."""
    every = data.voice().questions
    return ipw.Dropdown(options=[(every[i], i) for i in range(0, answered, answered // SHOWN or 1)],
                        description="question", layout={"width": "520px"})


def explore_answers(record: Mapping) -> Explorer:
    """One question, the base's answer and that of a trained model, side by side."""
    runs = {(row["method"], row["passes"]): row for row in rows(record, group="main", seed=0)}
    controls = {
        "question": _choice(len(runs["lora", 0]["answers"])),
        "method": ipw.ToggleButtons(options=[(NAMES[name], name) for name in METHODS],
                                    description="method"),
        "passes": ipw.ToggleButtons(
            options=[(f"{p:g}", p) for p in sorted({p for _, p in runs}) if p], value=3,
            description="passes", style={"button_width": "52px"})}

    def compute(question: int, method: str, passes: float) -> Answers:
        after = f"{NAMES[method]}, after {passes:g} pass{'es' * (passes > 1)}"
        return Answers(data.voice().questions[question],
                       {name: whole(runs[method, at], question)
                        for name, at in (("before", 0), (after, passes))})

    return Explorer(controls, compute, draw_answers, lambda _: (
        "The style goes from 0 to 1. In colour: the traits of the voice. No question of this "
        "topic was trained."))


def draw_answers(found: Answers) -> Figure:
    """Draw two answers beside each other, the traits of the voice in color."""
    made, *axes = figure(9.2, 2.5, columns=2)
    scores = [style(text.removesuffix(" …")) for text in found.answers.values()]
    titles = [f"{name}: style {score:.2f}" for name, score in zip(found.answers, scores)]
    for ax, title, text in zip(axes, titles, found.answers.values()):
        write(ax, title, text)
    before, after = scores
    claim(made, f"{found.question} Style {before:.2f} before, {after:.2f} after", "; ".join(
        f"{title}: {text}" for title, text in zip(titles, found.answers.values())))
    return made


def write(ax, title: str, text: str) -> None:
    """Write an answer on axes, line by line, with its traits in color."""
    ax.axis("off")
    ax.set_ylim(ROWS, -0.3)
    ax.set_title(title, fontsize=12, loc="left")
    font = font_manager.get_font(font_manager.findfont("monospace"))
    text = " ".join(text.split())
    text = "".join(each if font.get_char_index(ord(each)) else "□" for each in text)
    start, lines = 0, textwrap.wrap(text, WIDE, break_long_words=True)
    marked = {place for trait in TRAITS.values() for found in re.finditer(trait, text)
              for place in range(*found.span())}
    if len(lines) > ROWS:
        lines[ROWS - 1] += " …"
    for number, line in enumerate(lines[:ROWS]):
        start = text.index(line.split()[0], start)
        for word in re.finditer(r"\S+", line):
            at = start + word.start()
            hit = any(place in marked for place in range(at, at + len(word[0])))
            ax.annotate(word[0], (0, number + 0.6), (LETTER * word.start(), 0),
                        textcoords="offset points", fontsize=11, family="monospace",
                        weight="bold" if hit else "normal",
                        color=VOICE if hit else COLOURS["ink"])
        start += len(line)


# ── the knob ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Knob:
    """A model whose update is multiplied by f: one answer, and what holds at every f."""

    f: float
    question: str
    answer: str
    table: pandas.DataFrame    # by f: style, ended, losses


def explore_knob(record: Mapping) -> Explorer:
    """Turn LoRA's update from −1 to 2: the same question, its answer, and all losses."""
    table = knob(record)
    said = {row["f"]: row for row in rows(record, group="knob")}
    turn = ipw.SelectionSlider(options=[(f"{f:g}", f) for f in table.index], value=1.0,
                               description="f", continuous_update=False)

    def compute(question: int, f: float) -> Knob:
        return Knob(f, data.voice().questions[question], whole(said[f], question), table)

    controls = {"question": _choice(len(said[1.0]["answers"])), "f": turn}
    return Explorer(controls, compute, draw_knob, lambda found: (
        f"At this f, the black line, {found.table['ended'][found.f]:.0%} of the answers come to an "
        "end before they are cut off. Below: held-out answers in the voice, and texts that "
        "nobody trained on."))


def draw_knob(found: Knob) -> Figure:
    """Draw the answer at f above how far the losses rose at every f; the largest lie outside."""
    made, left, right = figure(9.2, 5.6, rows=2, height_ratios=(1, 1.6))
    write(left, f"f = {found.f:g}: mean style {found.table['style'][found.f]:.2f}", found.answer)
    for kind in KINDS:
        colour, dash, marker = LINES[kind]
        rise = found.table[kind] - found.table[kind][0.0]
        right.plot(rise.index, rise, dash, marker=marker, color=colour, ms=5, lw=2)
        right.text(2.1, rise[2.0], NAMED[kind], color=colour, va="center", fontsize=11)
    right.axhline(0, color=COLOURS["quiet"], lw=1, zorder=0)
    above = [found.table[kind][-1.0] - found.table[kind][0.0] for kind in KINDS]
    right.text(-1.1, 0.9, f"all four at −1:\n{min(above):+.0f} to {max(above):+.0f} ↑",
               color=COLOURS["ink"], fontsize=10, path_effects=HALO)
    right.axvline(found.f, color=COLOURS["ink"], lw=1)
    entitle(right, "f, the factor of the update", "rise of the loss")
    right.set(ylim=(-1.5, 3.5), xticks=[-1, 0, 1, 2],
              xticklabels=["−1\nreversed", "0\nthe base", "1\nas trained", "2\ndoubled"])
    claim(made, "At half of the update every loss is lower than at the whole",
          f"{found.question} f = {found.f:g}: {found.answer} " + "; ".join(
        f"f = {f:g}: style {row['style']:.2f}, " + ", ".join(
            f"{NAMED[kind]} {row[kind]:.2f}" for kind in KINDS)
        for f, row in found.table.iterrows()) + ".")
    return made
