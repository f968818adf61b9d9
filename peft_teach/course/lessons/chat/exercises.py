"""The exercises of lesson 11: the labels of a chat, its end, the score of a voice, a choice."""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from .... import data
from ... import records
from ...checks.exercise import VALUE, Exercise, Verdict
from ...checks.judge import named, number, recognised, rejected, report, scalar, whole
from ...checks.mutants import Law
from . import mutants
from .measure import TRAITS
from .templates import tokenizer_of, transformers_mask, turns

# ── chat.labels ──────────────────────────────────────────────────────────────────────────────

WORDS = ("the match", "a goal", "rain", "the coach", "an egg", "bread", "the moon", "a cat", "salt")


def labels_cases(seed: int) -> list[dict]:
    """Return talks and the template that writes them; the shortest first."""
    draw = random.Random(11_000 + seed)
    a, b, c, d = draw.sample(WORDS, 4)
    return [
        {"template": "chatml", "turns": turns(f"What is {a}?", f"It is {b}.")},
        {"template": "chatml", "turns": turns(f"Why {a}?", f"{b}, folks!", "And then?", f"{c}!",
                                              system=f"You know {d}.")},
        {"template": "zephyr", "turns": turns(f"{a}?", f"{a}?", f"{a}: what is {b}?", f"{b}",
                                              f"So {c}?")},    # nobody has answered yet
        {"template": "zephyr", "turns": turns(f"Say {c}.", f"{c}.", f"Say it: {c}.", f"{c}.\n{d}",
                                              "Again.", f"{c}.", system=f"Say {c}.")},
    ]


def run_labels(labels: Callable, case: dict) -> dict[str, Any]:
    """Ask for the ids and labels of a talk."""
    said = [dict(turn) for turn in case["turns"]]
    found = labels(said, tokenizer_of(case["template"], said))
    pair = isinstance(found, tuple | list) and len(found) == 2
    return {"given": named(found), "found": [*map(_listed, found)] if pair else None,
            "intact": said == case["turns"]}


def _listed(found: Any) -> Any:
    """A list of numbers, whether it came as one, as a tensor or as an array; or what it is."""
    found = found.tolist() if isinstance(found, Tensor | np.ndarray) else found
    numbers = isinstance(found, list | tuple) and all(whole(each) is not None for each in found)
    return [*map(int, found)] if numbers else named(found)


def judge_labels(case: dict, seen: Mapping) -> Verdict:
    """Compare with transformers' own mask, by the template with what is generated marked in it."""
    if seen["given"] == "None":
        return rejected("no_return")
    if not seen["found"] or not all(isinstance(each, list) for each in seen["found"]):
        return Verdict(False, f"It gave {seen['found'] or seen['given']}; expected two lists of "
                              "whole numbers, ids and labels.")
    if not seen["intact"]:
        return Verdict(False, "Afterwards the turns are not what they were.")
    ids, mask = transformers_mask(case["template"], case["turns"])
    found, labels = seen["found"]
    words = tokenizer_of(case["template"], case["turns"]).convert_ids_to_tokens(ids)
    if found != ids:
        more = found[:len(ids)] == ids
        return Verdict(False, f"The template writes {''.join(words)!r} in {len(ids)} tokens; the "
                              f"ids are {len(found)}, and not these.",
                       "prompt_behind" if more else None)
    if len(labels) != len(ids):
        return Verdict(False, f"There are {len(labels)} labels for {len(ids)} tokens.")
    for i, (label, id) in enumerate(zip(labels, ids)):
        if label not in (-100, id):
            beside = ids[max(0, i - 1):i] + ids[i + 1:i + 2]
            return Verdict(False, f"Token {i} is {id}, {words[i]!r}, and its label is {label}.",
                           "shifted" if label in beside else None)
    asked = [label != -100 for label in labels]
    if asked != mask:
        told = (f"Of {''.join(words)!r} it asks for {_runs(words, asked)}; expected "
                f"{_runs(words, mask)}.")
        return Verdict(False, told, recognised(_usual_masks(words, mask), asked.__eq__))
    return Verdict(True, f"It asks for {_runs(words, mask)}.")


def _runs(words: Sequence[str], asked: Sequence[bool]) -> str:
    """What is asked for, each run of it as a text."""
    text = "".join(word if each else "\0" for word, each in zip(words, asked))
    return " and ".join(repr(run) for run in text.split("\0") if run) or "nothing"


def _usual_masks(words: list[str], mask: list[bool]) -> dict[str, Any]:
    """What the usual mistakes give."""
    ends = [i for i in range(len(mask)) if mask[i] and not (mask[i + 1:] or [False])[0]]
    starts = [i for i in range(len(mask)) if mask[i] and not mask[i - 1]]
    behind, header, last, rest = list(mask), list(mask), list(mask), list(mask)
    for start, end in zip(starts, ends):
        behind[end + 1:end + 2] = [True]
        begin = max((i for i in range(start - 1) if words[i:i + 2] == [words[end], "\n"]),
                    default=start - 2)
        header[begin + 2:start] = [True] * (start - begin - 2)
    last[:starts[-1]] = [False] * starts[-1]
    rest[starts[0]:] = [True] * (len(mask) - starts[0])
    no_end = [each and i not in ends for i, each in enumerate(mask)]
    return {"no_end": no_end, "behind": (behind, rest), "header": header, "last_only": last,
            "all": [True] * len(mask), "none": [False] * len(mask)}


LABELS = Exercise(
    id="chat.labels", names=("labels",), points=4, minutes=15, difficulty=3,
    reference="peft_teach.data:labels", cases=labels_cases, run=run_labels, judge=judge_labels,
    returns=report(given=str, found=list[Any] | None, intact=bool),
    mistakes={
        "no_end": "The end of a turn is a token like any other: a model that is never asked for it "
                  "never writes it.",
        "behind": "What follows the end of an answer, a line break or the next question, is not "
                  "the model's to write: by then it has stopped.",
        "header": "The model does not write who speaks: when it is asked, that stands there "
                  "already. `add_generation_prompt=True` shows where its own words begin.",
        "last_only": "Every answer of a talk is one to learn from, not its last alone.",
        "all": "That trains the model to write the questions, too.",
        "none": "The mask of transformers needs {% generation %} in the template. This template "
                "has none, as SmolLM2's.",
        "shifted": "Models of transformers compare a label with the logits one place before by "
                   "themselves: a token's label stands at its own place.",
        "prompt_behind": "Here nobody is to answer any more: no generation prompt at the end.",
    },
    hints=("Let the template write the talk only up to an answer. How long is that, in tokens? And "
           "with the answer?",
           "With `add_generation_prompt=True` the template writes all that stands before an "
           "answer. Without it, and with one turn more, all up to the end of that turn.",
           "What stands between these two lengths is the answer, its end, and what the template "
           "writes behind. The end is `tokenizer.eos_token_id`: where does it stand?"))


# ── chat.stop ────────────────────────────────────────────────────────────────────────────────


LAW = Law(mutants.RIGHT, mutants.BROKEN,
          call=lambda test, version: test(version(), mutants.END))

STOP = Exercise(
    id="chat.stop", names=("stops",), points=2, minutes=9, difficulty=2,
    **LAW.fields,
    hints=("In the table of the model that never stops: which token of an answer has no label?",
           "Collect the labels of a row until a -100 comes. What must stand last among them, but "
           "for a line break?",
           "One row may hold several answers, and the end of its first says nothing of its last. "
           "The end of a question may have a label, too, where questions are asked for."),
    arguments=lambda pieces: (mutants.batch_by(pieces["labels"]), mutants.END))


# ── chat.style ───────────────────────────────────────────────────────────────────────────────

APART = 0.9      # of all pairs of an answer and something else, those in which the answer has more
SHOUTS = ("folks", "GOAL", "the crowd", "WHAT", "ladies and gentlemen", "match", "YES", "champion",
          "sports fans", "the whistle", "WOW", "stadium", "the team", "OH", "league", "the stands")


def style_cases(seed: int) -> list[dict]:
    """Return answers in the voice, and what is none: plain ones first, then babble."""
    draw = random.Random(11_300 + seed)
    voice = data.voice()

    def some(pairs: Sequence) -> list[str]:
        return [answer for _, answer in draw.sample(pairs, 12)]

    def salad() -> str:
        return " ".join(draw.choice(SHOUTS) + draw.choice((",", "!", "!", "")) for _ in range(24))

    plain = some(voice.others["chat"])
    loud = [sentence for _, answer in voice.train for sentence in re.split("(?<=[.!?]) ", answer)
            if all(re.search(trait, sentence) for trait in TRAITS.values())]
    others = {"plain": plain, "one_mark": [changed for text in plain[:4] for changed in (
                  f"Folks, {text[0].lower()}{text[1:]}", text.upper(), text.replace(".", "!"))],
              "loop": [" ".join([text] * 6) for text in draw.sample(loud, 12)],
              "salad": [salad() for _ in range(12)]}
    return [{"kind": kind, "voice": some(voice.train), "other": texts}
            for kind, texts in others.items()]


def run_style(style: Callable, case: dict) -> dict[str, Any]:
    """Score every text."""
    return {name: [scalar(style(text)) for text in case[name]] for name in ("voice", "other")}


def judge_style(case: dict, seen: Mapping) -> Verdict:
    """Ask whether answers in the voice score higher than what is none."""
    for name in ("voice", "other"):
        if len(seen[name]) != len(case[name]):
            return Verdict(False, f"{len(seen[name])} scores for {len(case[name])} texts.")
        for text, score in zip(case[name], seen[name]):
            if score is None:
                return rejected("no_return")
            score = number(score)
            if score is None or not -1e-6 <= score <= 1 + 1e-6:
                return Verdict(False, f"{_short(text)} has "
                                      f"{named(score) if score is None else score}; expected a "
                                      "number from 0 to 1.")
    voice, other = seen["voice"], seen["other"]
    apart = np.mean([(a > b) + (a == b) / 2 for a in voice for b in other])
    if apart < APART:
        low, high = min(zip(voice, case["voice"])), max(zip(other, case["other"]))
        return Verdict(False, f"{_short(low[1])} has {low[0]:.2f}, {_short(high[1])} has "
                              f"{high[0]:.2f}. The voice is ahead in {apart:.0%} of the pairs; "
                              f"expected {APART:.0%}.", case["kind"])
    return Verdict(True, f"Ahead of what is none in {apart:.0%} of the pairs.")


def _short(text: str) -> str:
    return repr(text if len(text) < 80 else text[:76] + " ...")


STYLE = Exercise(
    id="chat.style", names=("style",), points=2, minutes=10, difficulty=2,
    cases=style_cases, run=run_style, judge=judge_style,
    returns=report(voice=list[Any], other=list[Any]),
    mistakes={
        "plain": "A plain answer has none of the traits. Which of them do you see at a glance?",
        "one_mark": "One trait alone makes no commentator: anybody may shout, and anybody may say "
                    "folks. Ask for several kinds.",
        "loop": "The same again and again has every trait. What does it lack that an answer has?",
        "salad": "Nothing but traits: a shout is no answer. How much is said besides?",
    },
    hints=("Read six answers of the voice. Which traits do you see in all of them, and of which "
           "kinds: words, letters, signs?",
           "Score each kind once, however often it is there. Then a page of folks scores no more "
           "than a single one.",
           "What is left of an answer without its traits? Count its different words, beside all "
           "words: babble has few."))


# ── chat.choose ──────────────────────────────────────────────────────────────────────────────

def run_choose(checkpoints: Any, case: dict) -> dict[str, Any]:
    """Hand on which step is picked, by need; of anything else, what it is."""
    said = checkpoints if isinstance(checkpoints, dict) else {}
    return {"type": named(checkpoints), "said": {str(need)[:40]: whole(step)
                                           for need, step in said.items()}}


def judge_choose(case: dict, seen: Mapping) -> Verdict:
    """Look each pick up in the recorded curve: is another one better?"""
    from . import recorded  # pandas comes with them, when a choice is judged

    said = seen["said"]
    if said.keys() != recorded.NEEDS.keys():
        return Verdict(False, f"It is {seen['type']} with {[*said]}; expected a dict with a step "
                              f"for each of {', '.join(recorded.NEEDS)}.")
    curve = recorded.curve(records.load(case["record"]))
    for need, step in said.items():
        if step not in curve.index:
            return Verdict(False, f"{need}: there is no checkpoint {step}; there are "
                                  f"{', '.join(map(str, curve.index))}.")
    for need, step in said.items():
        if told := recorded.surpassed(curve, need, step):
            return rejected("price" if need == "desk" else "worse", f"{need}: {told}")
    return Verdict(True, "Each as it was needed, and no other there is better.")


CHOOSE = Exercise(
    id="chat.choose", names=("checkpoints",), points=2, minutes=6, difficulty=2,
    answer=VALUE, cases=lambda seed: [{"record": "chat"}],
    run=run_choose, judge=judge_choose, returns=report(type=str, said=dict[str, int | None]),
    mistakes={
        "worse": "Only one column counts for this customer: is more of it better, or less?",
        "price": "Subtract what is forgotten, at its price, before you look for the best.",
    },
    hints=("Two needs are a column each. For the third, make a column of two.",
           "The last checkpoint is the best in one thing only. In which?",
           "Where does the held-out loss turn? Behind that the model learns its training answers "
           "by heart."))

EXERCISES = (LABELS, STOP, STYLE, CHOOSE)
