"""Make the record of lesson 04: prefixes at their own rate, by length, by start, and with a gate.

    python assets/records/prefix.py              all that is missing, about 40 minutes on one core

Writes `prefix.json`: one row a run, on SmolLM2 with the accuracy `before` training. The recipes are
those of `rates.py`, which has prefixes at the library's rate, 0.01: MiniLM with a new head, 120
steps of 16 reviews, 1,000 test reviews; SmolLM2, 40 steps of 4 short reviews, 100 test reviews.
Groups, each with MiniLM's 20 vectors that start as small random numbers where nothing else is said:

    rate     at 0.03; once at 0.1
    start    the keys and values of an instruction; on SmolLM2, too, where they do what its words do
    lengths  fewer vectors, and more
    gate     a gate that starts at 0, g λ instead of λ; g is trained with keys and values
    head     the head alone, as many steps; `frozen`: behind a prefix that stays as it starts;
             `head_rates`: alone at 0.1, the library's rate for a head, and at 0.01
    still    without dropout: the head alone, at 0.1, and behind a prefix, at 0.03
    parts    the run at 0.03 once more: with its keys, its values or both put back to their start
             after training, and `cls`, the λ of [CLS], which alone the head reads in the last layer
    prompt   a soft prompt that trains as many parameters as a prefix of 20: 240 vectors
    long     as the course's other methods: 4,000 sentences once, 250 steps, all test sentences; a
             prefix and a gated one at 0.03, prompts of 20 at 0.03 and 0.1 that start as small as
             the prefix does
    bound    no training: SmolLM2's own words, with and without the instruction, and a bound between
             the answers that is best on the 160 training reviews; `plain` is the accuracy at 0

`shares` are λ by layer before and after training, a mean over heads, words and 50 test reviews;
`opened` is how many of the 72 heads take more than before. With a gate they are g λ.
"""

import torch
from torch import nn

import peft_teach as pt
from peft_teach.course import recording
from peft_teach.course.desk import reviews as reading
from peft_teach.course.lessons.inside.exercises import attention
from peft_teach.course.lessons.prefix.mixture import gated, prefix_share
from peft_teach.course.lessons.prefix.pictures import shares

RATE = 3e-2
TEXT = "Classify the sentiment of this film review.\n"
SIZES = {"minilm": {"steps": 120, "batch": 16, "tests": 1000},
         "long": {"steps": 250, "batch": 16, "tests": 2563},
         "smollm2": {"steps": 40, "batch": 4, "tests": 100}}
SHORT = 16                                # words of a review for SmolLM2
AS_LARGE = 240                            # vectors of a prompt: 20 keys and values in six layers
METHODS = {"gate": "gated prefix", "frozen": "head", "bound": "none", "prompt": "prompt"}
SEARCHED = {"*": "not searched"}          # one rate, or two: no claim compares methods here
LOOKED = 50                               # reviews whose λ is looked at


def settings():
    """Yield (group, setting) of every run, the most needed first."""
    def minilm(seed, **change):
        return {"model": "minilm", "length": 20, "seed": seed, "lr": RATE, **change}

    def smollm2(seed, **change):
        return {"model": "smollm2", "length": 20, "seed": seed, **change}

    for seed in (0, 1, 2):
        yield "rate", minilm(seed)
        yield "gate", minilm(seed)
        yield "head", minilm(seed, length=0)
    for text in ("", TEXT):
        yield "bound", {"model": "smollm2", "text": text}
    for seed in (0, 1, 2):
        yield "frozen", minilm(seed)
        yield "parts", minilm(seed)
    for seed in (0, 1, 2):
        yield "start", minilm(seed, start="text")
        yield "start", smollm2(seed, start="text", lr=1e-2)
    yield "rate", minilm(0, lr=1e-1)
    for seed in (0, 1, 2):
        for length in (1, 5, 50):
            yield "lengths", minilm(seed, length=length)
    yield "prompt", minilm(0, length=AS_LARGE)
    for seed in (0, 1, 2):
        for lr in (1e-1, 1e-2):
            yield "head_rates", minilm(seed, length=0, lr=lr)
    for seed in (0, 1, 2):
        yield "still", minilm(seed, length=0, lr=1e-1)
        yield "still", minilm(seed)
    for seed in (0, 1, 2):
        yield "long", minilm(seed)
        yield "long", minilm(seed, method="gated prefix")
        for lr in (1e-1, RATE):
            yield "long", minilm(seed, method="prompt", lr=lr)


def readable(mask, batch, seq, device):
    """Return transformers' mask of an attention as (batch, seq, seq), true where one may read."""
    if mask is None:
        return torch.ones(batch, seq, seq, dtype=torch.bool, device=device)
    mask = mask if mask.dtype == torch.bool else mask > -1
    return mask[:, 0, :, -seq:].expand(batch, seq, -1)


class Gated(pt.Adapter):
    """A prefix around one attention of an encoder, with a gate for each head that starts at 0."""

    def __init__(self, base, length):
        super().__init__(base)
        self.heads, d = base.num_attention_heads, base.query.out_features
        self.K, self.V = (nn.Parameter(0.02 * torch.randn(length, d)) for _ in "KV")
        self.g = nn.Parameter(torch.zeros(self.heads))
        self.share = None                                        # g λ, (batch, heads, queries)

    def forward(self, x, attention_mask=None, **rest):
        words, weights = self.base(x, attention_mask, **rest)    # (batch, seq, d)
        q, k = self.base.query(x), self.base.key(x)
        K, V = (p.expand(len(x), -1, -1) for p in (self.K, self.V))
        mask = readable(attention_mask, *q.shape[:2], x.device)
        read = attention(q, K, V, self.heads, mask.new_ones(*q.shape[:2], K.shape[1]))
        share = prefix_share(q, k, K, self.heads, mask)
        self.share = (self.g[:, None] * share).detach()
        return gated(words, read, share, self.g), weights


def run(setting, group, data):
    """Train one setting; return its row."""
    name, sizes = setting["model"], sizes_of(setting, group)
    pt.seed(setting["seed"])
    if name == "minilm":
        model, tokenizer = pt.models.load(name, labels=2)
        batches = pt.data.batches(data.train[:sizes["steps"] * sizes["batch"]], tokenizer,
                                  sizes["batch"], seed=setting["seed"])
    else:
        model, tokenizer = pt.models.load(name)
        batches = reading.ask(short(data.train, sizes["steps"] * sizes["batch"]), tokenizer,
                              sizes["batch"])
        order = torch.randperm(len(batches), generator=torch.Generator().manual_seed(
            setting["seed"]))
        batches = [batches[i] for i in order]
    model = put(model, tokenizer, setting, group)
    looked = [tokenizer(example.text, return_tensors="pt")["input_ids"] for example in
              data.test[:LOOKED]] if name == "minilm" and group not in (
                  "head", "head_rates", "still", "frozen", "prompt", "long") else []
    first, cls = by_head(model, looked), by_head(model, looked, 0)
    row = {"before": accuracy(name, model, tokenizer, data.test)} if name == "smollm2" else {}
    start = {name: p.detach().clone() for name, p in model.named_parameters()
             if group == "parts" and name.endswith((".K", ".V"))}
    losses = [round(step.loss, 3) for step in pt.train(model, batches, setting["lr"])]
    row |= {"accuracy": accuracy(name, model, tokenizer, data.test, sizes["tests"]),
            "losses": losses}
    if group == "long":
        row["parameters"] = sum(p.numel() for p in pt.adapter_parameters(model).values())
    if looked:
        last = by_head(model, looked)
        row |= {"shares": by_layer(first, last), "opened": int((last > first).sum()),
                "largest": round(last.max().item(), 3),
                "cls": by_layer(cls, by_head(model, looked, 0))}
    if group == "parts":
        row["put_back"] = put_back(
            model, start, lambda: accuracy(name, model, tokenizer, data.test))
    return row


def sizes_of(setting, group):
    """Return how many steps, sentences a step and test sentences a run has."""
    return SIZES["long" if group == "long" else setting["model"]]


def method_of(setting, group):
    """Return the method of a run, as its row names it."""
    own = "head" if setting.get("length") == 0 else METHODS.get(group, "prefix")
    return setting.get("method", own)


def put(model, tokenizer, setting, group):
    """Put on a model what a group has; return the model to keep."""
    if group == "still":
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    if setting["length"] == 0:
        model.requires_grad_(False).classifier.requires_grad_(True)
        return model
    if method_of(setting, group) == "gated prefix":
        places = tuple(name for name, _ in model.named_modules() if name.endswith(".self"))
        return pt.core.attach(model, places, lambda base: Gated(base, setting["length"]))
    if method_of(setting, group) == "prompt":
        model = pt.prompt.inject(model, pt.prompt.Config(setting["length"]), tokenizer)
        if group == "long":
            model.bert.P.data.normal_(0, 0.02)
        return model
    start = setting.get("start", "random")
    model = pt.prefix.inject(model, pt.prefix.Config(
        setting["length"], start=start, words=(TEXT,) if start == "text" else ()), tokenizer)
    if group == "frozen":
        model.bert.K.requires_grad_(False), model.bert.V.requires_grad_(False)
    return model


def put_back(model, start, test):
    """Return the accuracy with keys, values, both put back to their start, the head as trained."""
    trained, found = {name: dict(model.named_parameters())[name].detach().clone()
                      for name in start}, {}
    for what in ("K", "V", "KV"):
        for name, p in model.named_parameters():
            if name in start:
                p.data.copy_((start if name[-1] in what else trained)[name])
        found[what] = test()
    return found


def by_layer(first, last):
    """Return λ by layer, a mean over the heads, before and after training."""
    return {when: [round(x, 3) for x in table.mean(1).tolist()]
            for when, table in (("before", first), ("after", last))}


def short(split, number):
    """Return the first so many reviews of at most `SHORT` words."""
    return reading.short(split, SHORT)[:number]


@torch.no_grad()
def by_head(model, looked, place=None):
    """Return λ by layer and head, (layers, heads): of a place, or a mean over words; some reviews.
    """
    found = []
    for ids in looked:
        if isinstance(model.bert, pt.prefix.Prefix):
            prefix = model.bert
            found.append(torch.tensor(shares(prefix.base, prefix.K, prefix.V, ids, place)))
        else:
            model(input_ids=ids)
            found.append(torch.stack([
                at.share[0].mean(-1) if place is None else at.share[0, :, place]
                for at in pt.adapters(model).values()]))
    return torch.stack(found).mean(0) if found else None


def bound(setting, data):
    """Return the accuracy of the plain words, and that with the bound best on training reviews."""
    model, tokenizer = pt.models.load(setting["model"])
    sizes, words = SIZES[setting["model"]], reading.two_words(tokenizer)
    seen, tests = (short(split, number) for split, number in (
        (data.train, sizes["steps"] * sizes["batch"]), (data.test, sizes["tests"])))
    margins = [reading.gaps(model, reading.ask(each, tokenizer, 20, setting["text"]), words)
               for each in (seen, tests)]
    truths = [torch.tensor([example.label for example in each]) for each in (seen, tests)]

    def right(which, least):
        return ((margins[which] > least).long() == truths[which]).double().mean().item()

    best = max(margins[0].tolist(), key=lambda least: right(0, least))
    return {"plain": round(right(1, 0), 4), "bound": round(best, 3),
            "training": round(right(0, best), 4), "accuracy": round(right(1, best), 4)}


def accuracy(name, model, tokenizer, split, number=None):
    """Return the share of test reviews that a model gets right; of the first `number`."""
    if name == "minilm":
        number = number or SIZES[name]["tests"]
        tests = pt.data.batches(split[:number], tokenizer, 64, shuffle=False)
        return round(pt.evaluate(model, tests).accuracy, 4)
    tests = short(split, SIZES[name]["tests"])
    found = reading.gaps(model, reading.ask(tests, tokenizer, 20), reading.two_words(tokenizer))
    truth = torch.tensor([example.label for example in tests])
    return round(((found > 0).long() == truth).double().mean().item(), 4)


def main():
    """Make what is missing, one run after the other, saving after each."""
    options = recording.arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    data = pt.data.load("movies")
    record = recording.Record(__file__, {**SIZES, "short": SHORT, "looked": LOOKED, "start": TEXT,
                                         "torch": torch.__version__}, options.again, options.forget)

    def make(about):
        group, setting = about["group"], about["setting"]
        row = bound(setting, data) if group == "bound" else run(setting, group, data)
        return row | {"method": method_of(setting, group),
                      "tests": sizes_of(setting, group)["tests"]}, {}

    record.make([{"group": group, "setting": setting} for group, setting in settings()], make)


if __name__ == "__main__":
    main()
