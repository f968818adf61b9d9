"""Make the records of lesson 01: the runs that it shows and does not train itself.

    python assets/records/full.py            all that is missing; 30 minutes on one core
    python assets/records/full.py --again    all anew

Writes `full.json`: one row a run, with its settings and the test accuracy. Interrupted, it goes on
where it stopped. One setting, that of `lora.py`: MiniLM, movie reviews with |rating| > 0.5, 4,000
training reviews once, batches of 16, at most 32 tokens; what differs stands in the row. Full
fine-tuning and the head alone stand in `lora.json`.

Groups `curves` and `longer`: all weights drawn at random, with the loss of every step.

Group `converged`: the head alone, trained to its end on features that were computed once, without
dropout. That is logistic regression, and convex: there is one end, whatever the seed, the order of
the sentences or the rate. L-BFGS in float64 goes there, from zero, until no entry of the gradient
is above 1e-6. `penalty` is added to the mean loss as penalty / 2 · ‖w‖², on features brought to
mean 0 and standard deviation 1; without one this changes the way and not the end.

Group `read`: the head alone for 250 steps or ten times as many, batches of 16 in one order, on
such features as they come or standardized. `tried` has by rate the accuracies on validation and
test sentences; the rate that counts is the best on validation.

Group `poolers`: the same as `converged`, with the model's pooler drawn anew from a seed, as a new
model's is, or with "none": the first token's hidden state as it comes.

Group `reads`: the same as `converged`, on other vectors of each sentence than a head is given.
Before the first block no token has read another: that mean is one of word vectors alone.

Group `counting`: no network. Naive Bayes on word pieces, each counted once more than it was seen.
"""

from collections import Counter
from functools import cache
from math import log
from statistics import fmean

import torch
from torch import nn

import peft_teach as pt
from peft_teach.course import recording

EXAMPLES = 4000
SEARCHED = {"head": "solved", "counting": "solved", "scratch": "not searched"}
READS = {    # of the hidden states: which layer's, (batch, seq, 384), which tokens of each sentence
    "all tokens, last block": (-1, lambda mask: mask),
    "all tokens, before the first block": (0, lambda mask: mask),
    "[CLS], last block": (-1, lambda mask: first(mask, 0)),
    "[CLS], one block earlier": (-2, lambda mask: first(mask, 0)),
    "first word piece, last block": (-1, lambda mask: first(mask, 1)),
}
LR = 1e-4                                                # from scratch
PENALTIES = (0.0, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0)    # of heads on features


def settings():
    """Yield (group, settings) of every run, the most needed first."""
    yield "curves", {"method": "scratch", "seed": 0}
    yield "longer", {"method": "scratch", "epochs": 5, "seed": 0}
    for pool in ("cls", "mean"):
        for penalty in PENALTIES:
            yield "converged", {"method": "head", "pool": pool, "penalty": penalty}
    for pooler in (0, 1, 2, 3, "none"):
        yield "poolers", {"method": "head", "pool": "cls", "penalty": 0.0, "pooler": pooler}
    yield "counting", {"method": "counting"}
    for reads in READS:
        yield "reads", {"method": "head", "pool": reads, "penalty": 0.0}
    for pool in ("cls", "mean"):
        for standardized in (False, True):
            for steps in (250, 2500):
                for seed in (0, 1, 2):
                    yield "read", {"method": "head", "pool": pool, "standardized": standardized,
                                   "steps": steps, "seed": seed}


def run(setting, data):
    """Train all weights from scratch; return the row."""
    seed, epochs = setting["seed"], setting.get("epochs", 1)
    pt.seed(seed)
    model, tokenizer = pt.models.load("minilm", labels=2, pretrained=False)
    model = pt.full.inject(model)
    batches = pt.data.batches(data.train[:EXAMPLES], tokenizer, seed=seed, epochs=epochs)
    losses = [round(step.loss, 3) for step in pt.train(model, batches, LR)]
    test, validation = (
        pt.evaluate(model, pt.data.batches(part, tokenizer, 64, shuffle=False)).accuracy
        for part in (data.test, data.validation))
    return {**setting, "lr": LR, "epochs": epochs, "accuracy": round(test, 4),
            "validation": round(validation, 4), "losses": losses, "pretrained": False}


def converged(setting, data):
    """Train the head to its end on features computed once; return its row."""
    head, x, y, gradient = ended(setting, data)
    with torch.no_grad():
        loss = nn.functional.cross_entropy(head(x["train"]), y["train"]).item()
        right = {part: (head(x[part]).argmax(-1) == y[part]).double().mean().item() for part in x}
    return {**setting, "accuracy": round(right["test"], 4),
            "validation": round(right["validation"], 4), "training": round(right["train"], 4),
            "loss": round(loss, 4), "gradient": gradient}


def counting(setting, data):
    """Count word pieces in praise and in complaint; return the row of what the counts answer."""
    tokenizer = pt.models.load("minilm", labels=2)[1]
    special = {*tokenizer.all_special_ids}

    def pieces(text):
        found = tokenizer(text, truncation=True, max_length=32)["input_ids"]
        return [piece for piece in found if piece not in special]

    seen = Counter((label, piece) for text, label in data.train[:EXAMPLES]
                   for piece in pieces(text))
    total = [len(tokenizer) + sum(n for (of, _), n in seen.items() if of == label)
             for label in (0, 1)]

    def praised(text):
        return sum(log((seen[1, piece] + 1) / total[1]) - log((seen[0, piece] + 1) / total[0])
                   for piece in pieces(text)) > 0

    test, validation = (fmean(label == praised(text) for text, label in part)
                        for part in (data.test, data.validation))
    return {**setting, "accuracy": round(test, 4), "validation": round(validation, 4)}


def read(setting, data):
    """Train a head of so many steps at each rate on features computed once; return its row."""
    x, y = features(setting["pool"], data)
    x = {part: values.float() for part, values in x.items()}
    if setting["standardized"]:
        mean, spread = x["train"].mean(0), x["train"].std(0)
        x = {part: (values - mean) / spread for part, values in x.items()}
    tried = {}
    for lr in RATES:
        head = trained(x["train"], y["train"], lr, setting["steps"], setting["seed"])
        with torch.no_grad():
            right = {part: (head(x[part]).argmax(-1) == y[part]).double().mean().item()
                     for part in ("validation", "test")}
        tried[f"{lr:g}"] = [round(share, 4) for share in right.values()]
    best = max(tried, key=lambda lr: tried[lr][0])
    return {**setting, "lr": float(best), "epochs": 16 * setting["steps"] // EXAMPLES,
            "accuracy": tried[best][1], "validation": tried[best][0], "tried": tried}


def trained(x, y, lr, steps, seed):
    """Return a head trained so long on batches of 16, in one order again and again, as in `run`."""
    pt.seed(seed)
    head = nn.Linear(x.shape[1], 2)
    nn.init.normal_(head.weight, std=0.02)               # as a new head of MiniLM
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.AdamW(head.parameters(), lr=lr, weight_decay=0.0)
    batches = torch.randperm(len(x)).split(16)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * pt.training.rate(step, steps, warmup=0.1)
        batch = batches[step % len(batches)]
        loss = nn.functional.cross_entropy(head(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
    return head


def ended(setting, data):
    """Return a head trained to its end, features and labels by part, and the gradient there."""
    x, y = features(setting["pool"], data, setting.get("pooler"))
    mean, spread = x["train"].mean(0), x["train"].std(0)
    x = {part: (values - mean) / spread for part, values in x.items()}
    head = nn.Linear(x["train"].shape[1], 2, dtype=torch.float64)
    head.load_state_dict({name: torch.zeros_like(p) for name, p in head.state_dict().items()})
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=5000, tolerance_grad=1e-8,
                                  tolerance_change=0, history_size=50,
                                  line_search_fn="strong_wolfe")

    def objective():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(head(x["train"]), y["train"])
        loss = loss + setting["penalty"] / 2 * head.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(objective)
    objective()
    gradient = max(p.grad.abs().max().item() for p in head.parameters())
    return head, x, y, float(f"{gradient:.1e}")


def first(mask, n):
    """Return a mask of the n-th token alone, (batch, seq)."""
    return torch.nn.functional.one_hot(torch.full((len(mask),), n), mask.shape[1])


@cache
def features(pool, data, pooler=None):
    """Return what the head reads of each sentence, and its label, by part of the data."""
    if pool in READS:
        x, y = states(data)
        return {part: found[pool] for part, found in x.items()}, y
    model, tokenizer = pt.models.load("minilm", labels=2, pool=pool)
    if pooler == "none":
        model.bert.pooler.forward = lambda states: states[:, 0]
    elif pooler is not None:
        pt.seed(pooler)
        nn.init.normal_(model.bert.pooler.dense.weight, std=model.config.initializer_range)
    read = []
    model.classifier.register_forward_pre_hook(lambda head, inputs: read.append(inputs[0].double()))
    x, y = {}, {}
    for part, examples in (("train", data.train[:EXAMPLES]), ("validation", data.validation),
                           ("test", data.test)):
        read.clear()
        batches = pt.data.batches(examples, tokenizer, 64, shuffle=False)
        pt.evaluate(model, batches)
        x[part], y[part] = torch.cat(read), torch.cat([batch["labels"] for batch in batches])
    return x, y                                          # (sentences, 384), (sentences,)


@cache
def states(data):
    """Return by part what `READS` names of each sentence, (sentences, 384), and the labels."""
    model, tokenizer = pt.models.load("minilm", labels=2)
    x, y = {}, {}
    for part, examples in (("train", data.train[:EXAMPLES]), ("validation", data.validation),
                           ("test", data.test)):
        found, y[part] = {reads: [] for reads in READS}, []
        for batch in pt.data.batches(examples, tokenizer, 64, shuffle=False):
            mask = batch["attention_mask"]
            with torch.no_grad():
                hidden = model.bert(batch["input_ids"], mask, output_hidden_states=True
                                    ).hidden_states
            for reads, (layer, chosen) in READS.items():
                weights = chosen(mask).unsqueeze(-1)                       # (batch, seq, 1)
                found[reads].append(((hidden[layer] * weights).sum(1) / weights.sum(1)).double())
            y[part].append(batch["labels"])
        x[part] = {reads: torch.cat(each) for reads, each in found.items()}
        y[part] = torch.cat(y[part])
    return x, y


WAYS = {"converged": converged, "poolers": converged, "reads": converged,
        "read": read, "counting": counting}


def main():
    """Make what is missing, one run after the other, saving after each."""
    options = recording.arguments(__doc__).parse_args()
    data = pt.data.load("movies")
    shared = recording.setting(data, train_examples=EXAMPLES)
    recording.Recorder(__file__, shared, options.again, options.forget).make(
        ({"group": group, "setting": setting} for group, setting in settings()),
        lambda about: (WAYS.get(about["group"], run)(about["setting"], data), {}))


if __name__ == "__main__":
    main()
