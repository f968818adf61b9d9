"""Make the record of lesson 04: prefixes on MiniLM, by rate, start, place and gate.

    python assets/records/prefix.py            all that is missing, about 20 minutes on one core
    python assets/records/prefix.py --one      the first run that is missing

Writes `prefix.json`: one row a run (settings, accuracy, losses), with the mean λ by layer and head
before and after training, over the first 32 test sentences. Interrupted, it goes on where it
stopped. Movie reviews with |rating| > 0.5, batches of 16, at most 32 tokens. Group "long": once
through 4,000 training sentences, all test sentences; "short": as the runs in `rates.json`, once
through 1,920, the first 1,000 test sentences. Kinds:

    prefix    the library's: keys and values in a cache, the words' positions after it
    inside    an adapter around each attention, without a gate: the words keep their positions
    gated     the same with a gate, one number a head, that starts at zero
"""

import torch

import peft_teach as pt
from peft_teach.course import recording
from peft_teach.course.lessons.prefix.mixing import Inside, prefix_share, seen

SHORT, LONG = 1920, 4000    # training sentences
SHOWN, TESTED = 32, 1000    # test sentences for λ; after a short run
WORDS = "this is a review of a film, and it says if the writer liked it or not, in a few words."
RATE = 3e-2


def settings():
    """Yield (group, settings) of every run, the most needed first."""
    yield "short", setting(lr=3e-2, examples=SHORT)
    yield "short", setting(lr=1e-1, examples=SHORT)
    for seed in (0, 1, 2):
        yield "long", setting(seed=seed)
    for seed in (1, 2):
        yield "short", setting(lr=3e-2, examples=SHORT, seed=seed)
    yield "long", setting("gated")
    yield "long", setting("inside")
    yield "long", setting(start="text")


def setting(kind="prefix", length=20, start="random", lr=RATE, seed=0, examples=LONG):
    """Describe one run."""
    return {"kind": kind, "length": length, "start": start, "lr": lr, "seed": seed,
            "examples": examples}


def made(about):
    """Return a model with the prefix on it, and the tokenizer."""
    pt.seed(about["seed"])
    model, tokenizer = pt.models.load("minilm", labels=2)
    if about["kind"] in ("inside", "gated"):
        return pt.attach(model, tuple(f"bert.encoder.layer.{n}.attention.self" for n in range(6)),
                         lambda base: Inside(base, about["length"],
                                             about["kind"] == "gated")), tokenizer
    config = pt.prefix.Config(about["length"], about["start"],
                              (WORDS,) if about["start"] == "text" else ())
    return pt.prefix.inject(model, config, tokenizer), tokenizer


@torch.no_grad()
def shares(model, tokenizer, examples):
    """Return the mean λ by layer and head, of the real tokens of these sentences."""
    table = torch.zeros(6, 12)
    adapters = list(pt.adapters(model).values())
    for text, _ in examples:
        batch = tokenizer(text, truncation=True, max_length=32, return_tensors="pt")
        with seen(model) as layers:
            model(**batch)
        for n, layer in enumerate(layers):
            K = (adapters[n].K if len(adapters) > 1 else adapters[0].stored()["K"][n])[None]
            mask = torch.ones(1, layer["query"].shape[1], layer["key"].shape[1]).bool()
            found = prefix_share(layer["query"], layer["key"], K, 12, mask)[0]    # (heads, queries)
            table[n] += found.mean(-1) * (1 if getattr(adapters[0], "g", None) is None
                                          else adapters[n].g)
    return [[round(x, 4) for x in row] for row in (table / len(examples)).tolist()]


def run(about, data):
    """Train and test one setting; return its row."""
    model, tokenizer = made(about)
    before = shares(model, tokenizer, data.test[:SHOWN])
    batches = pt.data.batches(data.train[:about["examples"]], tokenizer, seed=about["seed"])
    steps = list(pt.train(model, batches, about["lr"]))
    parameters = sum(p.numel() for a in pt.adapters(model).values()
                     for p in a.own_parameters().values())
    seconds = sorted(step.seconds for step in steps)[len(steps) // 2]
    return {**about, "parameters": parameters, "accuracy": test(
        model, tokenizer, data.test[:TESTED] if about["examples"] == SHORT else data.test),
            "step_seconds": round(seconds, 3), "shares_before": before,
            "shares_after": shares(model, tokenizer, data.test[:SHOWN]),
            "losses": [round(s.loss, 3) for s in steps]}


def test(model, tokenizer, examples):
    """Return the accuracy."""
    return round(pt.evaluate(model, pt.data.batches(examples, tokenizer, 64)).accuracy, 4)


def main():
    """Make what is missing, one run after the other, saving after each."""
    parser = recording.arguments(__doc__)
    parser.add_argument("--one", action="store_true", help="make one run, then stop")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = pt.data.load("movies")
    record = recording.Record(__file__, recording.setting(data, train_examples=LONG),
                              options.again)
    wanted = [{"group": group, "setting": setting} for group, setting in settings()]
    if options.one:
        wanted = [about for about in wanted if not record.holds(about)][:1]
    record.make(wanted, lambda about: (run(about["setting"], data), {}))


if __name__ == "__main__":
    main()
