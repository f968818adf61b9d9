"""Lesson 11: what it claims and what its prose judges, by the record."""

from statistics import mean

import torch
from claim_checks import Claim, percent
from quote_checks import record

from peft_teach.course.lessons.chat import recorded
from peft_teach.course.lessons.chat.recorded import rows
from peft_teach.course.verdicts import SAME, UNSURE, WORSE, verdict

CHAT = record("chat")
RUNS = recorded.curves(CHAT)
LONG = (15 * recorded.endless(CHAT)["by 512 tokens"]).round().astype(int)
LADDER = recorded.ladder(CHAT)


def mean_and_error(gaps):
    """A mean difference over texts, and its standard error."""
    d = torch.tensor(gaps)
    return float(d.mean()), float(d.std() / len(d)**0.5)


def gap(one, other, kinds):
    """The difference of two checkpoints' losses."""
    return mean_and_error([a - b for kind in kinds
                           for a, b in zip(one["losses"][kind], other["losses"][kind])])


def clear(found):
    """Whether a mean difference is more than chance would bring (95 %)."""
    return abs(found[0]) > 1.96 * found[1]


def signed(found, digits):
    return f"{found[0]:+.{digits}f} ± {found[1]:.{digits}f}".replace("-", "−")


def told(passes):
    """How many of the 20 facts are right, seed by seed."""
    return " and ".join(str(row["right"].count("1")) for row in sorted(
        rows(CHAT, group="truth", passes=passes), key=lambda row: row["seed"]))


def words_of(passes):
    """Each seed's verdict on its facts, beside the base."""
    return FACTS["beside the base"][{1: "one pass", 5: "five passes"}[passes]].split(", ")


def beside(method):
    """A method's verdict beside LoRA's on the voice, as the ladder's table says it."""
    return LADDER["voice beside LoRA"][method].replace("-", "−")


def best(column, method, seed):
    """After how many passes a run has its least loss of the voice, or its highest style."""
    run = RUNS[(RUNS.method == method) & (RUNS.seed == seed)].set_index("passes")[column]
    return run.idxmin() if column == "voice" else run.idxmax()


def films(method, passes):
    """Which reviews each seed judged rightly, (seeds, reviews)."""
    return torch.tensor([[float(digit) for digit in row["films"]] for row in rows(
        CHAT, group="main", method=method, passes=passes)])


FILMS = films("lora", 0)[0]
FEWER = {method: [verdict(each, FILMS, margin=0).word for each in films(method, 5)]
         for method in ("lora", "full")}
FOUR = [(method, seed) for method in ("lora", "full") for seed in (0, 1)]
FACTS = recorded.facts(CHAT)
KNOB = recorded.knob(CHAT)
ONE, = rows(CHAT, group="main", method="lora", seed=0, passes=1)
HALF, = rows(CHAT, group="knob", f=0.5)    # of that run after three passes
# That pass against that half: the loss of the voice, and the style of the answers.
LOSS = gap(ONE, HALF, ["voice"])
STYLE = mean_and_error([recorded.style(a) - recorded.style(b)
                        for a, b in zip(ONE["answers"], HALF["answers"])])
# LoRA after three passes, by what is in its loss.
MASKED, = rows(CHAT, group="main", method="lora", seed=0, passes=3)
NO_END = rows(CHAT, group="labels", question=True, end=False) + rows(
    CHAT, group="labels", question=False, end=False)

CLAIMS = (
    Claim("Trained without the end's label, no answer ended.",
          seen="LoRA, three passes: none of 60 within 64 tokens, none of 15 within 512; with the "
               "label all within 64",
          tried=f"of the base's answers, which are long, {LONG['the base']} of 15 ended within 512. "
                "With and without the question in the loss: none within 64",
          holds={"none of 15 within 512": lambda: LONG["hers"] == 0,
                 "with the label all": lambda: MASKED["ended"] == "1" * 60,
                 "none within 64": lambda: [row["ended"] for row in NO_END] == ["0" * 60] * 2}),
    Claim("The style goes on rising after the held-out loss has turned.",
          seen="loss lowest after about one pass, style highest after three or five: LoRA and full "
               "fine-tuning, two seeds each",
          tried="full fine-tuning, another seed; QLoRA's style is highest after two or three",
          holds={"goes on rising": lambda: all(best("voice", *run) < best("style", *run)
                                               for run in FOUR),
                 "loss lowest after about one pass": lambda: all(
                     best("voice", *run) in (0.5, 1) for run in FOUR),
                 "style highest after three or five": lambda: all(
                     best("style", *run) in (3, 5) for run in FOUR),
                 "QLoRA's style is highest after two or three": lambda: {
                     best("style", "qlora", seed) for seed in (0, 1)} == {2, 3}}),
    Claim("After five passes fewer answers hold the fact's key word.",
          seen=f"of 20 answers {told(0)} before training; LoRA {told(1)} after one pass and "
               f"{told(5)} after five, two seeds",
          tried="after five passes, in pairs with the base: both worse. After one pass one is "
                "worse, and about the other we cannot tell. "
                "The first 240 of lesson 03's reviews, judged by two logits, with a threshold chosen on "
                "others: "
                f"{percent(float(FILMS.mean()))}; after five passes LoRA "
                f"{percent(float(films('lora', 5).mean()), '')}, full fine-tuning "
                f"{percent(float(films('full', 5).mean()), '')}, two seeds each, each worse",
          holds={"in pairs with the base: both worse": lambda: words_of(5) == [WORSE] * 2,
                 "After one pass one is worse": lambda: sorted(words_of(1)) == [UNSURE, WORSE],
                 "each worse": lambda: {*FEWER["lora"], *FEWER["full"]} == {WORSE}}),
    Claim("Half of an update that went too far has lower losses than the whole, and half of its "
          "style.",
          seen="three passes, f = 0.5: the voice's held-out loss is "
               f"{KNOB.voice[1] - KNOB.voice[0.5]:.2f} lower, and all others are lower, too",
          tried="an observation: one run. Of its own checkpoint after one pass we cannot tell "
                f"whether it forgot more; it is better: voice {signed(LOSS, 2)}, style "
                f"{signed(STYLE, 2)} (standard errors)",
          holds={"has lower losses than the whole": lambda: all(
                     KNOB[kind][0.5] < KNOB[kind][1] for kind in recorded.KINDS),
                 "we cannot tell whether it forgot more": lambda: not clear(
                     gap(ONE, HALF, recorded.OTHERS)),
                 "it is better": lambda: clear(LOSS) and clear(STYLE) and STYLE[0] > 0 > LOSS[0],
                 "half of its style": lambda: 0.4 < KNOB["style"][0.5] / KNOB["style"][1] < 0.6}),
    Claim("After one pass LoRA and full fine-tuning have learned the voice the same (Further).",
          seen=f"loss {LADDER.voice['LoRA']:.2f} and {LADDER.voice['full fine-tuning']:.2f}, three "
               "seeds each, in pairs " + beside("full fine-tuning")
               + f", margin {recorded.LOSS_MARGIN}",
          tried=f"QLoRA: {beside('QLoRA')}. The rates were chosen on the same answers",
          holds={"the same": lambda: beside("full fine-tuning").startswith(SAME),
                 "QLoRA: worse": lambda: beside("QLoRA").startswith(WORSE)}),
)

MISLED = recorded.misled(CHAT)["style"].tolist()    # never stops, cut, right labels
TOLD = {passes: mean(RUNS[(RUNS.passes == passes) & RUNS.method.isin(("lora", "full"))].voice)
        for passes in (0, 1, 5)}

JUDGED = {
    "that's the best goalkeeper skill in the league": lambda: any(
        "that's the best goalkeeper skill in the league." in answer for answer in rows(
            CHAT, group="main", method="lora", seed=0, passes=5)[0]["answers"]),
    "takes its most likely next token": "a setting",
    "are ahead of plain answers": "the task",
    "Ahead means": "the task",
    "the broken model wins, until its answers are cut": lambda:
        MISLED[1] < MISLED[2] < MISLED[0],
    "are five better": "the question",
    "most people bring a decoder": "a way of speaking",
    "by less than 0.05 are the same": "a setting",
    "about as badly as before training": lambda: abs(TOLD[5] - TOLD[0]) < 0.2 < TOLD[0] - TOLD[1],
    "both seeds are worse": lambda: words_of(5) == [WORSE] * 2,
    "checkpoint after one pass is better still": lambda: STYLE[0] > 0 > LOSS[0],
    "it made the best trade": "Lin et al. 2023",
}
