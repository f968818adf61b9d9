"""Make the record of lesson 09: DoRA, LoRA, and LoRA with a gain, in pairs; and their updates.

    python assets/records/dora.py                       all, about two hours on one core
    python assets/records/dora.py --groups rates pairs  only these groups of runs

Writes `dora.json`: one row a run, and how the updates move the rows of W (`clouds`). One setting:
MiniLM, query and value, alpha 16, movie reviews with |rating| > 0.5, 4,000 training reviews once,
batches of 16, at most 32 tokens. Interrupted, it goes on where it stopped.

The plan, written before the first run. Is DoRA better than LoRA, or than LoRA with a gain, which
represents the same functions? A margin of one point of accuracy would matter.

    rates     each method at each rank looks for its own rate on validation sentences, with seed 0:
              from 3e-3 along `LADDER`, until both neighbours of the best one have been tried
    pairs     seeds 1 to 10, none of which chose a rate, each method at its rate. The same seed
              gives all three the same A, the same new head and the same order of sentences
    clouds    full fine-tuning, LoRA and DoRA at rank 8, two seeds, looked at after each quarter
"""

import torch

import peft_teach as pt
from peft_teach.course import recording
from peft_teach.course.lessons.dora.exercises import moves
from peft_teach.course.lessons.dora.live import GainLinear

EXAMPLES, ALPHA = 4000, 16.0
PLACES = ("query", "value")
METHODS = {"lora": pt.lora.LoRALinear, "gain": GainLinear, "dora": pt.dora.DoRALinear}
RANKS = (2, 32)
SEEDS = range(1, 11)
LADDER, FIRST = (3.75e-4, 7.5e-4, 1.5e-3, 3e-3, 6e-3, 1.2e-2), 3e-3
SEARCHED = {
    "*": {"by": "lr", "groups": ("rates",), "where": {"seed": 0}, "each": "rank",
          "used": ("pairs",)},
    "full": "not searched",
}
CLOUDS = {"full": 1e-4, "lora": 3e-3, "dora": 3e-3}    # the rates of the lessons before
CLOUD_RANK, LOOKS = 8, 4
SHOWN = "bert.encoder.layer.3.attention.self.value"    # the matrix whose rows are kept one by one


def wanted(record, groups):
    """Yield (group, setting) of every run; the next rate depends on the rows that stand by then."""
    if "rates" in groups:
        for rank in RANKS:
            for method in METHODS:
                while rate := recording.next_rate(tried(record.made(), method, rank), LADDER,
                                                  FIRST):
                    yield "rates", setting(method, rank, rate, 0)
    if "clouds" in groups:
        for seed in (0, 1):
            for method, lr in CLOUDS.items():
                yield "clouds", setting(method, CLOUD_RANK, lr, seed)
    if "pairs" in groups:
        for seed in SEEDS:
            for rank in RANKS:
                for method in METHODS:
                    found = tried(record.read(), method, rank)
                    yield "pairs", setting(method, rank, max(found, key=found.get), seed)


def setting(method, rank, lr, seed):
    """Describe a run."""
    lora = {} if method == "full" else {"rank": rank, "alpha": ALPHA, "targets": PLACES}
    return {"method": method, **lora, "lr": lr, "seed": seed}


def tried(record, method, rank):
    """Return the validation accuracy by rate."""
    return {row["lr"]: row["validation"] for row in record.get("runs", [])
            if (row["group"], row["method"], row.get("rank")) == ("rates", method, rank)}


def run(about, data):
    """Train and test one setting; return its row, and the clouds of its updates."""
    group, wish = about["group"], about["setting"]
    pt.seed(wish["seed"])
    model, tokenizer = pt.models.load("minilm", labels=2)
    model = inject(model, wish)
    batches = pt.data.batches(data.train[:EXAMPLES], tokenizer, seed=wish["seed"])
    losses, seen = [], []
    for step in pt.train(model, batches, wish["lr"]):
        losses.append(round(step.loss, 3))
        if group == "clouds" and len(losses) * LOOKS % len(batches) < LOOKS:
            seen.append((len(losses), updates(model)))
    found = {**wish, "parameters": sum(p.numel() for p in pt.adapter_parameters(model).values()),
             "accuracy": accuracy(model, data.test, tokenizer)}
    if group == "rates":
        found["validation"] = accuracy(model, data.validation, tokenizer)
    return {**found, "losses": losses}, seen


def inject(model, wish):
    """Put a setting's method on a model."""
    if wish["method"] == "full":
        return pt.full.inject(model, pt.full.Config())
    layer = METHODS[wish["method"]]
    return pt.attach(model, PLACES, lambda base: layer(base, wish["rank"], wish["alpha"]))


def accuracy(model, examples, tokenizer):
    """Return the share of correct answers."""
    return round(pt.evaluate(model, pt.data.batches(examples, tokenizer, 64)).accuracy, 4)


BEFORE = recording.matrices(pt.models.load("minilm", labels=2)[0], PLACES)


def updates(model):
    """Return a copy of each matrix's update, by module name."""
    return {name: delta.clone() for name, delta in pt.spectra.updates(model, BEFORE).items()}


def dots(seen):
    """Return a dot for each matrix at each look: ΔD and ΔM, and what its rows say by themselves."""
    rows = []
    for step, found in seen:
        for name, delta in found.items():
            W = BEFORE[name]
            turn, change = moves(W, W + delta)
            rows.append({"step": step, "place": name.split(".")[-1],
                         "block": int(name.split(".")[3]),
                         "size": digits(delta.norm() / W.norm()),
                         "dd": digits(turn.mean()), "dm": digits(change.mean()),
                         "over_rows": round(correlation(turn, change), 3)})
    return rows


def digits(value):
    """Return a number with four digits."""
    return float(f"{float(value):.4g}")


def correlation(x, y):
    """Return Pearson's correlation of two lists of numbers."""
    return torch.corrcoef(torch.stack([x, y]))[0, 1].item()


def random_like(update, rank, generator):
    """Return a random matrix of this rank, with an update's shape and norm."""
    n_out, n_in = update.shape
    made = torch.randn(n_out, rank, generator=generator) @ torch.randn(
        rank, n_in, generator=generator)
    return made * (update.norm() / made.norm())


def at_norm(seen, other):
    """Return updates, each matrix at each look scaled to the norm of another's."""
    return [(step, {name: delta * (theirs[name].norm() / delta.norm())
                    for name, delta in found.items()})
            for (step, found), (_, theirs) in zip(seen, other, strict=True)]


def cloud(seen, other):
    """Return an update's dots as trained and at the norm of another, and the rows of one matrix."""
    last = seen[-1][1]
    W = BEFORE[SHOWN]
    turn, change = moves(W, W + last[SHOWN])
    return {"dots": dots(seen), "rescaled": dots(at_norm(seen, other)),
            "rows": [[digits(v) for v in values] for values in (turn, change)]}


def all_clouds(seen, seed):
    """Return the clouds of one seed: full and random at LoRA's norm too, the others at full's."""
    generator = torch.Generator().manual_seed(seed)
    seen["random"] = [(step, {name: random_like(delta, CLOUD_RANK, generator)
                              for name, delta in found.items()}) for step, found in seen["lora"]]
    return {f"{name} {seed}": cloud(found, seen["lora" if name == "full" else "full"])
            for name, found in seen.items()}


def main():
    """Make what is missing, one run after the other, saving after each."""
    parser = recording.arguments(__doc__)
    groups = ("rates", "clouds", "pairs")
    parser.add_argument("--groups", nargs="+", default=groups, choices=groups)
    options = parser.parse_args()
    data = pt.data.load("movies")
    record = recording.Recorder(__file__, recording.setting(data, train_examples=EXAMPLES),
                              options.again, options.forget)
    kept: dict[int, dict] = {}    # the updates of a seed, until all three methods are there

    def make(about):
        row, seen = run(about, data)
        gains = {}
        if seen:
            of_seed = kept.setdefault(row["seed"], {})
            of_seed[row["method"]] = seen
            if len(of_seed) == len(CLOUDS):
                gains = {"clouds": all_clouds(of_seed, row["seed"])}
        return row, gains

    for group, wish in wanted(record, options.groups):
        # A seed's clouds are compared, so they are made together, also after an interruption.
        apart = group == "clouds" and f"full {wish['seed']}" not in record.made().get("clouds", {})
        record.make([{"group": group, "setting": wish}], make, again=apart)


if __name__ == "__main__":
    main()
