"""Make the records of lesson 05: three placements at one budget, large starts, another task.

    python assets/records/adapters.py                     all that is missing, about 25 minutes
    python assets/records/adapters.py --only placements   one part

Writes `adapters.json`: one row a run, with settings, accuracy and losses. Interrupted, it goes on
where it stopped. MiniLM, batches of 16, at most 32 tokens. Movie reviews with |rating| > 0.5, once
through 4,000 training sentences; tweets once through all that there are for training.

    rates        each placement at a few learning rates, seed 0, 60 steps; the highest on 512
                 validation sentences is its own rate
    placements   each at its own rate, all steps, three seeds
    starts       PFEIFFER with both matrices drawn `start` times as large as they should be
    tasks        PFEIFFER on tweets

`deviation` is how far the last hidden states of 64 test sentences lie from the base's before any
training, as a share of their length. `other` is the accuracy on the other task's test sentences,
with the head of the adapter's own task.
"""

import dataclasses
import time

import torch

import peft_teach as pt
from peft_teach.course import recording

EXAMPLES = 4000
BUDGET = 300_000                         # own parameters, at most
PLACEMENTS = ("pfeiffer", "houlsby", "parallel")
RATES, FEW = (1e-3, 3e-3), 60


def settings():
    """Yield (part, group, settings) of every run, the most needed first."""
    for name in PLACEMENTS:
        for lr in RATES:
            yield "placements", "rates", {"placement": name, "lr": lr, "steps": FEW, "seed": 0}
    for name in PLACEMENTS:
        yield "placements", "placements", {"placement": name, "seed": 0}
    yield "tasks", "tasks", {"placement": "pfeiffer", "task": "tweets", "seed": 0}
    yield "starts", "starts", {"placement": "pfeiffer", "start": 10, "seed": 0}
    for seed in (1, 2):
        for name in PLACEMENTS:
            yield "placements", "placements", {"placement": name, "seed": seed}
    for seed in (1, 2):
        yield "starts", "starts", {"placement": "pfeiffer", "start": 10, "seed": seed}
        yield "tasks", "tasks", {"placement": "pfeiffer", "task": "tweets", "seed": seed}


def config(setting):
    """Return the placement's config, as wide as the budget allows or as the setting says."""
    found = getattr(pt.bottleneck, setting["placement"].upper())
    modules, size = 12 if setting["placement"] == "houlsby" else 6, 1
    while modules * pt.bottleneck.count(384, size + 1) <= BUDGET:
        size += 1
    return dataclasses.replace(found, size=size)


def run(setting, tasks, lr):
    """Train and test one setting; return its row."""
    began, name = time.process_time(), setting.get("task", "movies")
    pt.seed(setting["seed"])
    model, tokenizer = pt.models.load("minilm", labels=2)
    probe = pt.data.batches(tasks["movies"].test[:64], tokenizer, 64)[0]
    before = hidden(model, probe)
    wide = config(setting)
    model = pt.bottleneck.inject(model, wide)
    with torch.no_grad():
        for adapter in pt.adapters(model).values():
            for W in (adapter.A.W_down, adapter.A.W_up):
                W.mul_(setting.get("start", 1))
    deviation = (hidden(model, probe) - before).norm() / before.norm()
    batches = pt.data.batches(tasks[name].train[:EXAMPLES], tokenizer, seed=setting["seed"])
    batches = batches[:setting.get("steps")]
    steps = list(pt.train(model, batches, lr))
    row = {**setting, "lr": lr, "size": wide.size,
           "parameters": sum(p.numel() for p in pt.adapter_parameters(model).values()),
           "deviation": float(f"{deviation.item():.3g}")}
    if "steps" in setting:
        row["validation"] = test(model, tokenizer, tasks[name].validation[:512])
    else:
        row["accuracy"] = test(model, tokenizer, tasks[name].test)
    if "task" in setting or setting == {"placement": "pfeiffer", "seed": setting["seed"]}:
        other = "movies" if name == "tweets" else "tweets"
        row["other"] = test(model, tokenizer, tasks[other].test)
    return row | {"losses": [round(s.loss, 3) for s in steps],
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
    """Return the rate of the short run that was highest on validation sentences."""
    rows = [row for row in record.read()["runs"]
            if row["group"] == "rates" and row["placement"] == name]
    return max(rows, key=lambda row: row["validation"])["lr"]


def main():
    """Make what is missing, one run after the other, saving after each."""
    parser = recording.arguments(__doc__)
    parser.add_argument("--only", choices=("placements", "starts", "tasks"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    tasks = {name: pt.data.load(name) for name in ("movies", "tweets")}
    shared = recording.setting(tasks["movies"], train_examples=EXAMPLES, budget=BUDGET,
                               tweets_train=len(tasks["tweets"].train),
                               tweets_test=len(tasks["tweets"].test),
                               tweets_majority=round(tasks["tweets"].majority, 4))
    record = recording.Record(__file__, shared, options.again)

    def make(about):
        setting = about["setting"]
        lr = setting.get("lr") or own_rate(record, setting["placement"])
        return run(setting, tasks, lr), {}

    record.make(({"group": group, "setting": setting} for part, group, setting in settings()
                 if options.only in (None, part)), make)


if __name__ == "__main__":
    main()
