"""Make the records of lesson 07: every trained run that it shows but does not train itself.

    python assets/records/lora.py            all that is missing, about two hours on two cores
    python assets/records/lora.py --again    all anew

Writes `lora.json`: one row a run (settings, accuracy, losses), the spectra of the updates with what
becomes of W (`--spectra`: these alone, where they are missing). Interrupted, it goes on where it
stopped. One setting: MiniLM, movie reviews with |rating| > 0.5, 4,000 training reviews once,
batches of 16, at most 32 tokens.
"""

import functools
import json

import peft_teach as pt
from peft_teach.course import recording

EXAMPLES = 4000
LR = {"full": 1e-4, "head": 1e-1, "lora": 3e-3}     # the best on validation, see the group "rates"
# How each rate was found: tests/course/claims.py asks the record.
SEARCHED = {
    "full": {"by": "lr", "groups": ("rates", "methods"), "where": {"seed": 0},
             "used": ("methods",)},
    "head": {"by": "lr", "groups": ("rates", "methods"), "where": {"seed": 0},
             "used": ("methods",)},
    "lora": {"by": "lr", "groups": ("rates", "ranks"), "where": {"rank": 8, "seed": 0},
             "used": ("ranks", "places", "layers")},
}
ALL = ("query", "key", "value", "attention_out", "ffn_in", "ffn_out")
DIRECTIONS = 32                        # of W + ΔW, the strongest, that are recorded
SAME_UPDATE = 16 * 8**0.5    # at rank 8, ‖ΔW‖ after one step is that of rank 64 with alpha 128


def settings():
    """Yield (group, settings) of every run, the most needed first."""
    for seed in range(3):
        yield "methods", {"method": "full", "seed": seed}
        yield "methods", {"method": "head", "seed": seed}
        for rank in (8, 1, 2, 4, 16, 64):
            yield "ranks", lora(rank, seed=seed)
    for seed in range(3):
        for rank, targets in ((16, ("query",)), (16, ("value",)), (4, ALL[:4]), (3, ALL[4:]),
                              (2, ALL)):
            yield "places", lora(rank, targets=targets, seed=seed)
    for seed in range(3):
        yield "variants", lora(64, alpha=16, seed=seed)
        yield "variants", lora(64, alpha=2 * 8**0.5, rank_stabilized=True, seed=seed)
        yield "variants", lora(8, dropout=0.1, seed=seed)
        yield "variants", lora(8, lr=1e-3, plus=16, seed=seed)
    for seed in range(3):
        for layers in ((5,), (3, 4, 5), (0, 1, 2)):
            yield "layers", lora(8, layers=layers, seed=seed)
    for seed in range(3):
        for rank, alpha in ((8, SAME_UPDATE), (8, 128), (1, 16), (1, 128)):
            yield "scale", lora(rank, alpha=alpha, seed=seed)
        yield "scale", lora(64, alpha=128, lr=1e-3, seed=seed)
        yield "scale", lora(8, alpha=128, lr=3.75e-4, seed=seed)    # 1/8 of the rate, 8 · alpha
    for seed in range(3):    # eight times alpha at an eighth of the rate; B alone at eight times it
        yield "traded", lora(8, alpha=128, lr=1.25e-3, seed=seed)
        yield "traded", lora(8, lr=1.25e-3, plus=8, seed=seed)
    for lr in (1e-5, 1e-4, 3e-4, 1e-3, 1e-2):
        yield "rates", lora(8, lr=lr)
    for seed in (1, 2):
        yield "rates", lora(8, lr=1e-2, seed=seed)
    for lr in (1e-5, 3e-4, 1e-3, 3e-3):
        yield "rates", {"method": "full", "lr": lr, "seed": 0}
    for lr in (1e-2, 3e-2, 3e-1, 1.0):
        yield "rates", {"method": "head", "lr": lr, "seed": 0}


def lora(rank, alpha=None, targets=("query", "value"), layers=None, seed=0, **more):
    """Describe one LoRA run; alpha is twice the rank unless given, so that s is 2 at every rank."""
    return {"method": "lora", "rank": rank, "alpha": alpha or 2 * rank, "targets": targets,
            "layers": layers, "seed": seed, **more}


def run(setting, data):
    """Train and test one setting; return its row and, for seed 0, the model."""
    pt.seed(setting["seed"])
    model, tokenizer = pt.models.load("minilm", labels=2)
    model = inject(model, setting)
    lr = setting.get("lr", LR[setting["method"]])
    groups = pt.lora.plus_groups(model, lr, setting["plus"]) if "plus" in setting else None
    batches = pt.data.batches(data.train[:EXAMPLES], tokenizer, seed=setting["seed"])
    steps = list(pt.train(model, batches, lr, groups=groups))
    test, validation = (
        pt.evaluate(model, pt.data.batches(part, tokenizer, 64, shuffle=False)).accuracy
        for part in (data.test, data.validation))
    adapter = sum(p.numel() for p in pt.adapter_parameters(model).values())
    return {**setting, "lr": lr, "parameters": adapter, "accuracy": round(test, 4),
            "validation": round(validation, 4),
            "losses": [round(s.loss, 3) for s in steps]}, model


def inject(model, setting):
    """Put a setting's method on a model."""
    if setting["method"] != "lora":
        return pt.full.inject(model, pt.full.Config(
            train="head" if setting["method"] == "head" else "all"))
    names = ("rank", "alpha", "dropout", "rank_stabilized", "targets", "layers")
    return pt.lora.inject(model, pt.lora.Config(**{k: setting[k] for k in names if k in setting}))


def spectrum_name(group, setting):
    """Return the name under which a run's spectrum is kept, or None.

    Rank 64 is the one with alpha 16: with alpha 128 it learns nothing that is worth a look.
    """
    rank, stabilized = setting.get("rank"), setting.get("rank_stabilized")
    if group == "ranks" and rank == 8 and setting["seed"] == 1:
        return "8 again"
    if setting["seed"] == 0 and not stabilized and (
            (group == "ranks" and rank < 64) or (group == "variants" and rank == 64)):
        return str(rank)
    if setting["method"] == "full" and group == "methods" and setting["seed"] < 2:
        return ("full", "full again")[setting["seed"]]
    return None


def compared_with(name):
    """Return the name of the update that another's overlap is with: full fine-tuning's.

    Of a setting that ran again, with a second seed: that of its first.
    """
    return name.removesuffix(" again") if name.endswith(" again") else "full"


def spectrum(model, before, other, stands):
    """Return singular values, and the overlap with another update, by matrix.

    And what becomes of W: the singular values of W + ΔW, and how far W knows their directions.
    `other()` returns the other update; it is not called for overlaps that `stands`, the record,
    has already for the same singular values.
    """
    table = {}
    for name, delta in pt.spectra.updates(model, before).items():
        sigma = [s for s in pt.spectra.singular_values(delta).tolist() if s > 0]
        sigma = digits(s for s in sigma if s > 1e-5 * sigma[0])
        after = before[name] + delta
        known = pt.spectra.familiarity(before[name], after, DIRECTIONS)
        if stands.get(name, {}).get("sigma") == sigma:    # the same run again
            overlap = stands[name]["overlap"]
        else:
            overlap = {side: round(pt.spectra.overlap(delta, other()[name], min(len(sigma), 8),
                                                      side), 4) for side in ("in", "out")}
        table[name] = {
            "sigma": sigma, "overlap": overlap,
            "after": digits(pt.spectra.singular_values(after)[:DIRECTIONS].tolist()),
            "known": [round(c, 3) for c in known.tolist()]}
    return table


def digits(values):
    """Return numbers with three digits each."""
    return [float(f"{v:.3g}") for v in values]


def is_whole(record, name):
    """Return whether the record has all that a spectrum holds now.

    Of a second seed only the overlap is ever asked.
    """
    found = record.get("spectra", {}).get(name, {"": {}})
    needed = "overlap" if name.endswith(" again") else "known"
    return all(needed in row for row in found.values())


def main():
    """Make what is missing, one run after the other, saving after each."""
    parser = recording.arguments(__doc__)
    parser.add_argument("--groups", nargs="+", help="only these groups of runs")
    parser.add_argument("--spectra", action="store_true", help="only the missing spectra")
    options = parser.parse_args()
    data = pt.data.load("movies")
    record = recording.Record(__file__, recording.setting(data, train_examples=EXAMPLES),
                              options.again, options.forget)
    plain, _ = pt.models.load("minilm", labels=2)
    before, firsts = recording.matrices(plain, ("query", "value")), {}
    first = {"full": {"method": "full", "seed": 0}, "8": lora(8)}

    def first_update(name):
        if name not in firsts:
            firsts[name] = pt.spectra.updates(run(first[name], data)[1], before)
        return firsts[name]

    def make(about):
        group, setting = about["group"], about["setting"]
        row, model = run(setting, data)
        name = spectrum_name(group, setting)
        if name is None:
            return row, {}
        if name in first:
            firsts[name] = pt.spectra.updates(model, before)
        stands = record.read().get("spectra", {}).get(name, {})
        other = functools.partial(first_update, compared_with(name))
        row["spectrum"] = name
        return row, {"spectra": {name: spectrum(model, before, other, stands)}}

    wanted = [{"group": group, "setting": setting} for group, setting in settings()
              if not options.groups or group in options.groups]
    if not options.spectra:
        record.make(wanted, make)
    for about in wanted:
        name = spectrum_name(**about)
        if name and not is_whole(record.made(), name):
            row, gains = make(json.loads(json.dumps(about)))
            record.gain(**gains)
            print(name, "again:", row["accuracy"], flush=True)
    if "weight" not in record.made().get("spectra", {}):
        record.gain(spectra={"weight": {
            n: {"sigma": [float(f"{s:.3g}") for s in pt.spectra.singular_values(w)]}
            for n, w in before.items()}})


if __name__ == "__main__":
    main()
