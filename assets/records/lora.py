"""Make the records of lesson 07: every trained run that it shows but does not train itself.

    python assets/records/lora.py            all that is missing, about two hours on two cores
    python assets/records/lora.py --again    all anew

Writes `lora.json`: one row a run (settings, accuracy, losses), and the singular values of three
updates and of W. Interrupted, it goes on where it stopped. One setting: MiniLM, movie reviews with
|rating| > 0.5, 4,000 training reviews once, batches of 16, at most 32 tokens.
"""

import peft_teach as pt
from peft_teach.course import recording

EXAMPLES = 4000
LR = {"full": 1e-4, "head": 1e-1, "lora": 3e-3}     # the best on validation, see the group "rates"
# How each rate was found: tests/course/claim_checks.py asks the record.
SEARCHED = {
    "full": {"by": "lr", "groups": ("rates", "methods"), "where": {"seed": 0},
             "used": ("methods",)},
    "head": {"by": "lr", "groups": ("rates", "methods"), "where": {"seed": 0},
             "used": ("methods",)},
    "lora": {"by": "lr", "groups": ("rates", "ranks"), "where": {"rank": 8, "seed": 0},
             "used": ("ranks", "places", "layers")},
}
ALL = ("query", "key", "value", "attention_out", "ffn_in", "ffn_out")
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
    if setting["seed"] or setting.get("rank_stabilized"):
        return None
    if group == "methods" and setting["method"] == "full":
        return "full"
    ranked = (group, setting.get("rank")) in (("ranks", 8), ("variants", 64))
    return str(setting["rank"]) if ranked else None


def spectrum(matrices):
    """Return the singular values of each matrix that are not zero, with three digits."""
    table = {}
    for name, matrix in matrices.items():
        sigma = pt.spectra.singular_values(matrix).tolist()
        table[name] = {"sigma": [float(f"{s:.3g}") for s in sigma if s > 1e-5 * sigma[0]]}
    return table


def main():
    """Make what is missing, one run after the other, saving after each."""
    parser = recording.arguments(__doc__)
    parser.add_argument("--groups", nargs="+", help="only these groups of runs")
    options = parser.parse_args()
    data = pt.data.load("movies")
    record = recording.Recorder(__file__, recording.setting(data, train_examples=EXAMPLES),
                              options.again, options.forget)
    before = recording.matrices(pt.models.load("minilm", labels=2)[0], ("query", "value"))

    def make(about):
        row, model = run(about["setting"], data)
        name = spectrum_name(**about)
        if name is None:
            return row, {}
        gained = spectrum(pt.spectra.updates(model, before))
        return row | {"spectrum": name}, {"spectra": {name: gained}}

    record.make(({"group": group, "setting": setting} for group, setting in settings()
                 if not options.groups or group in options.groups), make)
    if "weight" not in record.made().get("spectra", {}):
        record.gain(spectra={"weight": spectrum(before)})


if __name__ == "__main__":
    main()
