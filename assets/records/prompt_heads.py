"""Make a second record of lesson 03: the prompt on MiniLM and on SmolLM2, one change a run.

    python assets/records/prompt_heads.py              all that is missing, about 20 minutes

Writes `prompt_heads.json`: one row a run, with the accuracy `before` training if the head is
trained already. On MiniLM the recipe is that of `rates.py`, which has the run that the others
differ from: 20 vectors that start at random, a new head that learns while they do, on [CLS]; 120
steps of 16 reviews, 1,000 test reviews. On SmolLM2 it is that of `prompt.py`, where the model's own
words are the answer: 10 vectors that start as an instruction, 32 steps of 8 short reviews, 100 test
reviews. What is changed:

    head   "new", learned with the prompt; "trained" to its end before and frozen then: on MiniLM
           the head of `full.py` (4,000 reviews, no penalty), on SmolLM2 one of 256 reviews, at the
           place of the answer; the prompt learns from reviews that this head has not seen
    read   what MiniLM's head reads: "cls", or "first", the first vector of the prompt; SmolLM2's
           reads the place of the "answer"
    start  "random" in ±0.5, or "text", an instruction

The rows with `"length": 0` have the trained head and no prompt.
"""

import runpy
from pathlib import Path

import torch
from torch import nn

import peft_teach as pt
from peft_teach.course import recording
from peft_teach.course.checks.stand_ins import Output
from peft_teach.course.desk import reviews as reading

FULL, PROMPT = (runpy.run_path(str(Path(__file__).with_name(f"{name}.py")))
                for name in ("full", "prompt"))
LENGTH, STEPS, BATCH, TESTS, START, LR = (PROMPT[name] for name in (
    "LENGTH", "STEPS", "BATCH", "TESTS", "START", "LR"))

SEARCHED = {"head": "solved", "prompt": "not searched"}
RATE = 3e-2                                  # on MiniLM: the library's, see rates.py
MINILM = {"length": 20, "steps": 120, "batch": 16, "tests": 1000}
HEAD_LR = 1e-3                               # of SmolLM2's new head, whose states are large
PENALTY = 1e-2                               # of its trained one: more features than reviews


def settings():
    """Yield (group, setting) of every run, the most needed first."""
    def minilm(seed, **change):
        return {"length": 20, "head": "new", "read": "cls", "start": "random", "seed": seed,
                "lr": RATE, **change}

    def smollm2(seed, **change):
        return {"length": LENGTH, "start": "text", "seed": seed, "lr": LR, **change}

    yield "minilm", {"length": 0, "head": "trained", "read": "cls"}
    yield "smollm2", {"length": 0, "head": "trained"}
    for seed in (0, 1, 2):
        yield "minilm", minilm(seed, start="text", head="trained")
        yield "smollm2", smollm2(seed, head="trained")
        yield "minilm", minilm(seed, start="text")
        yield "minilm", minilm(seed, read="first")
        yield "smollm2", smollm2(seed, head="new")


# ── MiniLM ───────────────────────────────────────────────────────────────────────────────────


def on_minilm(setting, data):
    """Put a prompt before MiniLM, train and test it; return its row."""
    pt.seed(setting.get("seed", 0))
    model, tokenizer = pt.models.load("minilm", labels=2)
    first = FULL["EXAMPLES"] if setting["head"] == "trained" else 0       # reviews new to the head
    batches = pt.data.batches(data.train[first:first + MINILM["steps"] * MINILM["batch"]],
                              tokenizer, MINILM["batch"], seed=setting.get("seed", 0))
    tests = pt.data.batches(data.test[:MINILM["tests"]], tokenizer, 64, shuffle=False)
    if setting["length"]:
        start = setting["start"]
        config = pt.prompt.Config(setting["length"], start=start, pool=setting["read"],
                                  words=(START,) if start == "text" else ())
        model = pt.prompt.inject(model, config, tokenizer)
    if setting["head"] == "trained":
        put_head(model.classifier, data)
    row = {}
    if setting["length"]:
        if setting["head"] == "trained":
            row["before"] = round(pt.evaluate(model, tests).accuracy, 4)
        row["losses"] = [round(step.loss, 3) for step in pt.train(model, batches, setting["lr"])]
    return row | {"accuracy": round(pt.evaluate(model, tests).accuracy, 4)}


def put_head(classifier, data):
    """Put the head that was trained to its end into a model, frozen."""
    head = FULL["ended"]({"pool": "cls", "penalty": 0.0}, data)[0]
    read = FULL["features"]("cls", data)[0]["train"]                         # (sentences, 384)
    mean, spread = read.mean(0), read.std(0)
    weight = head.weight.detach() / spread
    with torch.no_grad():
        classifier.weight.copy_(weight)
        classifier.bias.copy_(head.bias - weight @ mean)
    classifier.requires_grad_(False)


# ── SmolLM2 ──────────────────────────────────────────────────────────────────────────────────


class NewHead(nn.Module):
    """SmolLM2 asked at the position of the answer, by a new head instead of its words."""

    def __init__(self, model, word):
        super().__init__()
        self.model, self.word = model, word
        self.head = nn.Linear(model.config.hidden_size, 2)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def read(self, input_ids, attention_mask, labels):
        """Return the states at the place of the answer, and the labels: 1 for " positive"."""
        h = self.model.base_model(input_ids, attention_mask=attention_mask).last_hidden_state
        row, place = torch.arange(len(labels)), labels.ne(-100).int().argmax(1)
        return h[row, place - 1], (labels[row, place] == self.word).long()   # (batch, d), (batch,)

    def forward(self, input_ids, attention_mask, labels):
        h, labels = self.read(input_ids, attention_mask, labels)
        logits = self.head(h)
        return Output(loss=nn.functional.cross_entropy(logits, labels), logits=logits)

    @torch.no_grad()
    def accuracy(self, batches):
        """Return the share of reviews that the head gets right."""
        right = []
        for batch in batches:
            h, labels = self.read(**batch)
            right.append(self.head(h).argmax(-1) == labels)
        return round(torch.cat(right).double().mean().item(), 4)


def on_smollm2(setting, data):
    """Put a prompt before SmolLM2 with a head, train and test; return the row."""
    pt.seed(setting.get("seed", 0))
    model, tokenizer = pt.models.load("smollm2")
    asked = NewHead(model.requires_grad_(False), reading.two_words(tokenizer)[1])
    short, many = reading.short(data.train), STEPS * BATCH
    tests = reading.ask(sorted(reading.short(data.test)[:TESTS], key=lambda e: len(e.text)),
                        tokenizer, 20)
    if setting["head"] == "trained":
        end_head(asked, reading.ask(short[many:2 * many], tokenizer, 16))
    if setting["length"]:
        config = pt.prompt.Config(setting["length"], start="text", words=(START,))
        asked.model = pt.prompt.inject(model, config, tokenizer)
    row = {}
    if setting["length"]:
        if setting["head"] == "trained":
            row["before"] = asked.accuracy(tests)
        batches = reading.ask(short[:many], tokenizer, BATCH, seed=setting["seed"])
        groups = [{"params": [asked.model.model.P]},
                  {"params": [p for p in asked.head.parameters() if p.requires_grad],
                   "lr": HEAD_LR}]
        row["losses"] = [round(step.loss, 3) for step in pt.train(
            asked, batches, setting["lr"], groups=[g for g in groups if g["params"]])]
    return row | {"accuracy": asked.accuracy(tests)}


def end_head(asked, batches):
    """Train the head to its end on states computed once, by a penalty on standardized ones."""
    with torch.no_grad():
        read = [asked.read(**batch) for batch in batches]
    h, labels = (torch.cat(part).double() for part in zip(*read))
    mean, spread = h.mean(0), h.std(0) + 1e-6
    x, head = (h - mean) / spread, nn.Linear(h.shape[1], 2, dtype=torch.float64)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=500, line_search_fn="strong_wolfe")

    def objective():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(head(x), labels.long())
        loss = loss + PENALTY / 2 * head.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(objective)
    weight = head.weight.detach() / spread
    with torch.no_grad():
        asked.head.weight.copy_(weight)
        asked.head.bias.copy_(head.bias - weight @ mean)
    asked.head.requires_grad_(False)


def main():
    """Make what is missing, one run after the other, saving after each."""
    options = recording.arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    data = pt.data.load("movies")
    record = recording.Record(__file__, {
        "minilm": MINILM, "smollm2": {"length": LENGTH, "steps": STEPS, "batch": BATCH,
                                      "tests": TESTS},
        "start": START, "torch": torch.__version__}, options.again, options.forget)
    on = {"minilm": on_minilm, "smollm2": on_smollm2}
    wanted = [{"group": group, "setting": setting} for group, setting in settings()]

    def make(about):
        model, setting = about["group"], about["setting"]
        return on[model](setting, data) | {
            "model": model, "method": "prompt" if setting["length"] else "head",
            "read": setting.get("read", "answer"), "tests": record.setting[model]["tests"]}, {}

    record.make(wanted, make)


if __name__ == "__main__":
    main()
