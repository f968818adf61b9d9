"""Make the records of lesson 05: three placements at one budget, and a large start.

    python assets/records/adapters.py            all that is missing, about 20 minutes
    python assets/records/adapters.py --again    all anew

Writes `adapters.json`: one row a run, with settings, accuracy and losses. Interrupted, it goes on
where it stopped. MiniLM, movie reviews with |rating| > 0.5, once through 2,000 training sentences,
batches of 16, at most 32 tokens: what `change.json` calls "short", so that its head and its full
fine-tuning are the ends of this ruler.

    rates        each placement at a few learning rates, seed 0; the highest on 512 validation
                 sentences is its own rate
    placements   the same at its own rate, seeds 1 and 2 (seed 0 stands under "rates")
    starts       PFEIFFER with both matrices drawn `start` times as large as they should be

`deviation` is how far the last hidden states of 64 test sentences lie from the base's before any
training, as a share of their length.
"""

import dataclasses
import time

import torch

import peft_teach as pt
from peft_teach.course import recording

EXAMPLES = 2000
BUDGET = 300_000                         # own parameters, at most
PLACEMENTS = ("pfeiffer", "houlsby", "parallel")
RATES = (1e-3, 3e-3)


def settings():
    """Yield (group, settings) of every run, the most needed first."""
    for lr in RATES:
        for name in PLACEMENTS:
            yield "rates", {"placement": name, "lr": lr, "seed": 0}
    yield "starts", {"placement": "pfeiffer", "start": 10, "seed": 0}
    for seed in (1, 2):
        for name in PLACEMENTS:
            yield "placements", {"placement": name, "seed": seed}
        yield "starts", {"placement": "pfeiffer", "start": 10, "seed": seed}


def config(setting):
    """Return the placement's config, as wide as the budget allows or as the setting says."""
    found = getattr(pt.bottleneck, setting["placement"].upper())
    modules, size = 12 if setting["placement"] == "houlsby" else 6, 1
    while modules * pt.bottleneck.count(384, size + 1) <= BUDGET:
        size += 1
    return dataclasses.replace(found, size=size)


def run(setting, data, lr):
    """Train and test one setting; return its row."""
    began = time.process_time()
    pt.seed(setting["seed"])
    model, tokenizer = pt.models.load("minilm", labels=2)
    probe = pt.data.batches(data.test[:64], tokenizer, 64)[0]
    before = hidden(model, probe)
    wide = config(setting)
    model = pt.bottleneck.inject(model, wide)
    with torch.no_grad():
        for adapter in pt.adapters(model).values():
            for W in (adapter.A.W_down, adapter.A.W_up):
                W.mul_(setting.get("start", 1))
    deviation = (hidden(model, probe) - before).norm() / before.norm()
    batches = pt.data.batches(data.train[:EXAMPLES], tokenizer, seed=setting["seed"])
    steps = list(pt.train(model, batches, lr))
    row = {**setting, "lr": lr, "size": wide.size,
           "parameters": sum(p.numel() for p in pt.adapter_parameters(model).values()),
           "deviation": float(f"{deviation.item():.3g}")}
    if "lr" in setting:
        row["validation"] = test(model, tokenizer, data.validation[:512])
    return row | {"accuracy": test(model, tokenizer, data.test),
                  "losses": [round(s.loss, 3) for s in steps],
                  "cpu_seconds": round(time.process_time() - began)}


def hidden(model, batch):
    """Return the last hidden states of the batch's real tokens."""
    model.eval()
    inputs = {k: v for k, v in batch.items() if k != "labels"}
    with torch.no_grad():
        return model.bert(**inputs).last_hidden_state[batch["attention_mask"].bool()]


def test(model, tokenizer, examples):
    """Return the accuracy."""
    batches = pt.data.batches(examples, tokenizer, 64)    # of like length: less padding
    return round(pt.evaluate(model, batches).accuracy, 4)


def own_rate(record, name):
    """Return the rate of the run that was highest on validation sentences."""
    rows = [row for row in record.read()["runs"]
            if row["group"] == "rates" and row["placement"] == name]
    return max(rows, key=lambda row: row["validation"])["lr"]


def main():
    """Make what is missing, one run after the other, saving after each."""
    options = recording.arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    data = pt.data.load("movies")
    shared = recording.setting(data, train_examples=EXAMPLES, budget=BUDGET)
    record = recording.Record(__file__, shared, options.again)

    def make(about):
        setting = about["setting"]
        return run(setting, data, setting.get("lr") or own_rate(record, setting["placement"])), {}

    record.make(({"group": group, "setting": setting} for group, setting in settings()), make)


if __name__ == "__main__":
    main()
