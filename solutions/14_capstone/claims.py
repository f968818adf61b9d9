"""The capstone: what its prose judges, by the records."""

import torch
from claim_checks import of
from quote_checks import record

from peft_teach.course import protocol
from peft_teach.course.lessons.capstone.pictures import recorded
from peft_teach.course.verdicts import BETTER, POINT, UNSURE, verdict

FAR, NEAR = recorded()
DECIDED, ALIKE = (verdict(*pair.values(), POINT) for pair in (FAR, NEAR))


def of_ladder(one, other):
    ladder = record("ladder")
    return verdict(*protocol.shared(protocol.scores(
        protocol.finals(ladder), protocol.rated(ladder)), one, other))


def mean_r2(method):
    return torch.tensor(of("ladder", "r2", group="final", method=method)).mean().item()


MASK = of_ladder("mask", "lora 8")
CLAIMS = ()    # what the lesson claims is the reader's page
JUDGED = {
    "will your adapter be ahead? And how sure are you that it is ahead at all": "the question",
    "that your adapter would be ahead": "the question",
    "where the majority is 57.4": lambda: [round(100 * score) for score in sorted(
        [*FAR.values()][1].mean(-1).tolist())][::2] == [58, 67],
    "Nine in ten, and cannot tell": "what a bet tells",
    "The first pair decides": lambda: DECIDED.word == BETTER and DECIDED.low > 2 * POINT,
    "a few points, and an interval that reaches zero": lambda: (
        ALIKE.word == UNSURE and ALIKE.high - ALIKE.low > 4 * POINT),
    "\"Cannot tell\" is a result": "the rule",
    "The entries are ahead by 0.028 (0.014 to 0.043), over ten seeds": lambda: [
        round(each, 3) for each in (MASK.difference, MASK.low, MASK.high)] == [.028, .014, .043],
    "An R² of 0.55 for LoRA 8, since LoRA is said to be level with full fine-tuning. It has 0.50":
        lambda: round(mean_r2("lora 8"), 2) == 0.5 and mean_r2("full") > 0.55,
}
