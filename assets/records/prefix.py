"""Make the record of lesson 04: prefixes at their own rate, by length, by start, and with a gate.

    python assets/records/prefix.py              all that is missing, about 20 minutes on one core

Writes `prefix.json`: one row a run. The recipe is that of `rates.py`, which has prefixes at the
library's rate, 0.01: MiniLM with a new head, 120 steps of 16 reviews, 1,000 test reviews. Groups,
each with 20 vectors that start as small random numbers where nothing else is said:

    rate     at 0.03; once at 0.1
    start    the keys and values of an instruction
    lengths  fewer vectors, and more
    gate     a gate that starts at 0, g λ instead of λ; g is trained with keys and values
    still    without dropout
    prompt   a soft prompt that trains as many parameters as a prefix of 20: 240 vectors

`shares` are λ by layer before and after training, a mean over heads, words and 50 test reviews.
With a gate they are g λ.
"""

import torch
from torch import nn

import peft_teach as pt
from peft_teach.course import recording
from peft_teach.course.lessons.inside.exercises import attention
from peft_teach.course.lessons.prefix.mixture import gated, prefix_share
from peft_teach.course.lessons.prefix.pictures import shares

RATE = 3e-2
TEXT = "Classify the sentiment of this film review.\n"
STEPS, BATCH, TESTS = 120, 16, 1000
AS_LARGE = 240                            # vectors of a prompt: 20 keys and values in six layers
METHODS = {"gate": "gated prefix", "prompt": "prompt"}
SEARCHED = {"*": "not searched"}          # one rate, or two: no claim compares methods here
LOOKED = 50                               # reviews whose λ is looked at


def settings():
    """Yield (group, setting) of every run, the most needed first."""
    def minilm(seed, **change):
        return {"model": "minilm", "length": 20, "seed": seed, "lr": RATE, **change}

    for seed in (0, 1, 2):
        yield "rate", minilm(seed)
        yield "gate", minilm(seed)
        yield "start", minilm(seed, start="text")
        yield "still", minilm(seed)
        for length in (1, 5, 50):
            yield "lengths", minilm(seed, length=length)
    yield "rate", minilm(0, lr=1e-1)
    yield "prompt", minilm(0, length=AS_LARGE)


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
    pt.seed(setting["seed"])
    model, tokenizer = pt.models.load("minilm", labels=2)
    batches = pt.data.batches(data.train[:STEPS * BATCH], tokenizer, BATCH, seed=setting["seed"])
    model = put(model, tokenizer, setting, group)
    looked = [] if group in ("still", "prompt") else [
        tokenizer(example.text, return_tensors="pt")["input_ids"] for example in
        data.test[:LOOKED]]
    first = by_layer(model, looked)
    losses = [round(step.loss, 3) for step in pt.train(model, batches, setting["lr"])]
    tests = pt.data.batches(data.test[:TESTS], tokenizer, 64, shuffle=False)
    row = {"accuracy": round(pt.evaluate(model, tests).accuracy, 4), "losses": losses}
    return row | ({"shares": {"before": first, "after": by_layer(model, looked)}} if looked else {})


def put(model, tokenizer, setting, group):
    """Put on a model what a group has; return the model to keep."""
    if group == "still":
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    if group == "gate":
        places = tuple(name for name, _ in model.named_modules() if name.endswith(".self"))
        return pt.core.attach(model, places, lambda base: Gated(base, setting["length"]))
    if group == "prompt":
        return pt.prompt.inject(model, pt.prompt.Config(setting["length"]), tokenizer)
    start = setting.get("start", "random")
    return pt.prefix.inject(model, pt.prefix.Config(
        setting["length"], start=start, words=(TEXT,) if start == "text" else ()), tokenizer)


@torch.no_grad()
def by_layer(model, looked):
    """Return λ by layer, a mean over heads, words and these reviews."""
    found = []
    for ids in looked:
        if isinstance(model.bert, pt.prefix.Prefix):
            prefix = model.bert
            found.append(torch.tensor(shares(prefix.base, prefix.K, prefix.V, ids)))
        else:
            model(input_ids=ids)
            found.append(torch.stack([at.share[0].mean(-1) for at in pt.adapters(model).values()]))
    return [round(x, 3) for x in torch.stack(found).mean((0, 2)).tolist()] if found else None


def main():
    """Make what is missing, one run after the other, saving after each."""
    options = recording.arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    data = pt.data.load("movies")
    record = recording.Recorder(__file__, {
        "steps": STEPS, "batch": BATCH, "tests": TESTS, "looked": LOOKED, "start": TEXT,
        "torch": torch.__version__}, options.again, options.forget)
    record.make(({"group": group, "setting": setting} for group, setting in settings()), lambda
                about: (run(about["setting"], about["group"], data) | {
                    "method": METHODS.get(about["group"], "prefix"), "tests": TESTS}, {}))


if __name__ == "__main__":
    main()
