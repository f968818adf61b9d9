"""Make the record of lesson 04's demonstration: messages that a prefix carries, and a prompt.

    python assets/records/messages.py         all that is missing; five minutes on one core

Writes `messages.json`. A message to each layer of MiniLM (`lessons/prefix/messages.py`), carried by
a prefix of one vector, and by a prompt of twelve: as many numbers. Groups:

    rates    how each learning rate was found: seed 0, `validation` on other sentences
    final    five other seeds, messages among them, at that rate
    last     the same for three of them, where only the last layer gets a message

`arrived` is the share of each layer's message that arrives on test sentences, `share` their mean.
"""

from statistics import mean

import torch

import peft_teach as pt
from peft_teach.course import recording
from peft_teach.course.lessons.prefix.messages import BATCH, STEPS, TOKENS, Messages

LADDER = tuple(0.0125 * 2**k for k in range(-2, 9))      # 0.003 to 3.2
METHODS = {"prefix": (pt.prefix.Prefix, 1, 0.2), "prompt": (pt.prompt.SoftPrompt, 12, 0.05)}
SEARCHED = {"*": {"by": "lr", "groups": ("rates",), "where": {"seed": 0},
                  "used": ("final", "last")}}
TESTS = 64


def wanted(record):
    """Yield what is asked of every run, in order."""
    for method, (_, _, first) in METHODS.items():
        def found(method=method):
            return {row["lr"]: row["validation"] for row in record.read().get("runs", ())
                    if (row["group"], row["method"]) == ("rates", method)}

        while rate := recording.next_rate(found(), LADDER, first):
            yield {"group": "rates", "method": method, "lr": rate, "seed": 0}
        best = max(found(), key=found().get)
        for group, seeds in (("final", 5), ("last", 3)):
            for seed in range(1, seeds + 1):
                yield {"group": group, "method": method, "lr": best, "seed": seed}


def run(wish, movies, plain, tokenizer):
    """Train one; return its row."""
    tests = (movies.validation if wish["group"] == "rates" else movies.test)[:TESTS]
    messages = Messages(plain, tokenizer, movies.train[:BATCH * STEPS], tests, wish["seed"],
                        5 if wish["group"] == "last" else 0)
    kind, length, _ = METHODS[wish["method"]]
    pt.seed(wish["seed"])
    model = kind(plain, length).eval()
    for p in pt.adapter_parameters(model).values():
        torch.nn.init.normal_(p, 0, 0.02)
    for _ in messages.train(model, wish["lr"]):
        pass
    arrived = messages.arrived(model)
    name = "validation" if wish["group"] == "rates" else "share"
    return {name: round(mean(arrived), 4), "arrived": [round(x, 3) for x in arrived],
            "parameters": sum(p.numel() for p in pt.adapter_parameters(model).values())}


def main():
    """Make what is missing, one run after the other."""
    options = recording.arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    movies = pt.data.load("movies")
    plain, tokenizer = pt.models.load("minilm", device="cpu")
    plain.requires_grad_(False).eval()
    record = recording.Recorder(__file__, {"model": "minilm", "tests": TESTS, "batch": BATCH,
                                         "steps": STEPS, "tokens": TOKENS,
                                         "torch": torch.__version__}, options.again, options.forget)
    record.make(wanted(record), lambda wish: (run(wish, movies, plain, tokenizer), {}))


if __name__ == "__main__":
    main()
