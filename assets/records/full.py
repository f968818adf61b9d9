"""Make the records of lesson 01: the runs that it shows and does not train itself.

    python assets/records/full.py            all that is missing; 40 minutes on one core
    python assets/records/full.py --again    all anew

Writes `full.json`: one row a run, with its settings, the loss of every step, the accuracy on
held-out sentences along the way (seed 0), and the test accuracy. Interrupted, it goes on where it
stopped. One setting, that of `lora.py`: MiniLM, movie reviews with |rating| > 0.5, 4,000 training
reviews once, batches of 16, at most 32 tokens; what differs stands in the row. Full fine-tuning and
the head alone stand in `lora.json` with three seeds; here they run once more, for their curves, and
the head three times on the mean of all tokens, which `lora.json` does not have.
"""

import peft_teach as pt
from peft_teach.course import recording

EXAMPLES = 4000
HELD_OUT = 1000                                          # validation sentences, for the curves
LR = {"head": 1e-1, "full": 1e-4, "scratch": 1e-4}
LOOKS = (0, 5, 10, 20, 30, 45, 60, 80, 100, 130, 160, 200, 250)    # steps before a look


def settings():
    """Yield (group, settings) of every run, the most needed first."""
    for method in ("head", "scratch", "full"):
        yield "curves", {"method": method, "seed": 0}
    yield "rates", {"method": "scratch", "lr": 1e-3, "seed": 0}
    for seed in (0, 1, 2):
        yield "pooling", {"method": "head", "pool": "mean", "lr": 3e-2, "seed": seed}
    yield "longer", {"method": "scratch", "epochs": 5, "seed": 0}


def run(setting, data):
    """Train one setting, look at held-out sentences along the way; return its row."""
    seed, method = setting["seed"], setting["method"]
    pt.seed(seed)
    model, tokenizer = pt.models.load("minilm", labels=2, pool=setting.get("pool", "cls"),
                                      pretrained=method != "scratch")
    model = pt.full.inject(model, pt.full.Config(train="head" if method == "head" else "all"))
    lr, epochs = setting.get("lr", LR[method]), setting.get("epochs", 1)
    batches = pt.data.batches(data.train[:EXAMPLES], tokenizer, seed=seed, epochs=epochs)
    held_out = pt.data.batches(data.validation[:HELD_OUT], tokenizer, 64, shuffle=False)
    looks = {*LOOKS, *range(250, len(batches) + 1, 125)}
    if seed > 0 or "pool" in setting:
        looks = ()                                       # one curve is enough, and a look is slow
    losses, curve = [], [(0, look(model, held_out))] if looks else []
    for step in pt.train(model, batches, lr):
        losses.append(round(step.loss, 3))
        if len(losses) in looks:
            curve.append((len(losses), look(model, held_out)))
            print(*curve[-1], losses[-1], flush=True)
    test, validation = (
        pt.evaluate(model, pt.data.batches(part, tokenizer, 64, shuffle=False)).accuracy
        for part in (data.test, data.validation))
    return {**setting, "lr": lr, "epochs": epochs, "accuracy": round(test, 4),
            "validation": round(validation, 4), "curve": curve or None, "losses": losses}


def look(model, batches):
    """Return the accuracy on held-out sentences."""
    return round(pt.evaluate(model, batches).accuracy, 4)


def main():
    """Make what is missing, one run after the other, saving after each."""
    options = recording.arguments(__doc__).parse_args()
    data = pt.data.load("movies")
    shared = recording.setting(data, train_examples=EXAMPLES, held_out=HELD_OUT)
    recording.Record(__file__, shared, options.again).make(
        ({"group": group, "setting": setting} for group, setting in settings()),
        lambda about: (run(about["setting"], data), {}))


if __name__ == "__main__":
    main()
