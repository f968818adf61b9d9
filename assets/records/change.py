"""Make the records of lesson 02: random subspaces, the update of full fine-tuning.

    python assets/records/change.py                 all that is missing, about 80 minutes
    python assets/records/change.py --only parts    one part: subspace, update, head, parts

Writes `change.json`: one row a run (settings, accuracy, losses), the singular values of full
fine-tuning's updates, and the accuracy after truncating them. Interrupted, it goes on where it
stopped. MiniLM, movie reviews with |rating| > 0.5, batches of 16, at most 32 tokens, once through
4,000 training sentences; 2,000 in the subspace runs and in what they are compared with, including
the head alone, solved (group `converged`, see `full.py`), on the pooler's output and on the mean.

The plan of "parts", written before its first run. How much of a finished update is needed, and
which part of it? Full fine-tuning on 2,000 sentences at three rates, for updates of three sizes
(two seeds, a third for the smallest). A part of each of the 36 ΔW is kept: single entries, random
ones or the largest, or the strongest directions. Eight directions cost 1/32 of the numbers, so k
directions stand beside a share of k/256. What is kept is scaled so that its projection onto ΔW is
ΔW: a random share p by nearly 1/p, as DARE does (Yu et al. 2023, arXiv 2311.03099). `scaled` says
whether it was. `rest` says what became of everything else but the head: trained as it was, undone,
or (random entries alone) dropped alike. The first 1,000 test sentences. What would refute "which
entries stay hardly matters": random entries far below the whole update, rescaled; what would refute
"only where updates are small": no fall at the largest of the three.

Changed after the first update: scaled alike, its eight strongest directions lost nine points. So
directions are kept as they are, and scaled once, at eight; what is not about the size of the update
(`rest`, all but the strongest) is asked of the smallest alone. The third rate was to be 1e-3, where
full fine-tuning itself learned little (71.7 % with seed 0) or nothing (51.9 %, seed 1): 6e-4 took
its place.
"""

import copy
import dataclasses
import functools
import runpy
from pathlib import Path

import torch

import peft_teach as pt
from peft_teach.course import recording
from peft_teach.course.lessons.change.subspace import Subspace

EXAMPLES, FEWER = 4000, 2000
PLACES = ("query", "key", "value", "attention_out", "ffn_in", "ffn_out")
KEPT = (0, 1, 2, 4, 8, 16, 32, 64, 128, 384)      # the k strongest directions of each matrix kept
DROPPED = (1, 8, 32, 128)                         # the k strongest left out, all others kept
STEP, HEAD = 10.0, 1e-1    # highest on validation at d = 1024, see the group "steps"
# How each rate was found: tests/course/claim_checks.py asks the record. Full fine-tuning's on twice
# as many sentences; the subspaces' step at d = 1024 alone.
SEARCHED = {
    "full": {"record": "lora", "used": ("short", "update")},
    "subspace": {"by": "step", "groups": ("steps", "subspace"), "where": {"d": 1024, "seed": 0},
                 "used": ("subspace",)},
    "head": "solved",
}
PENALTIES = (0.0, 1e-4, 1e-3, 1e-2, 1e-1)         # of the head; validation chooses one

SHARES = (1 / 16, 1 / 32, 1 / 64, 1 / 256, 1 / 1024)
UPDATES = ((1e-4, 0), (3e-4, 0), (1e-4, 1), (3e-4, 1), (6e-4, 0), (6e-4, 1), (1e-4, 2))


def settings():
    """Yield (part, group, settings) of every run, the most needed first."""
    for d in (1024, 16384, 64, 256):
        yield "subspace", "subspace", subspace(d)
    yield "subspace", "steps", subspace(16384, step=3.0)
    for d in (16, 4096):
        yield "subspace", "subspace", subspace(d)
    yield "update", "short", {"method": "full", "seed": 0, "examples": FEWER}
    yield "update", "update", {"method": "full", "seed": 0}
    for seed in (1, 2):
        for d in (1024, 16384):
            yield "subspace", "subspace", subspace(d, seed)
    yield "update", "update", {"method": "full", "seed": 1}
    for d, step in ((1024, 3.0), (1024, 30.0)):
        yield "subspace", "steps", subspace(d, step=step)
    for seed in (1, 2):
        yield "update", "short", {"method": "full", "seed": seed, "examples": FEWER}
    for d in (256, 64):
        yield "subspace", "subspace", subspace(d, seed=1)
    for seed in (1, 2):
        yield "subspace", "subspace", subspace(4096, seed)
    for pool in ("cls", "mean"):
        for penalty in PENALTIES:
            yield "head", "converged", {"method": "head", "pool": pool, "penalty": penalty,
                                        "examples": FEWER}


def subspace(d, seed=0, **more):
    """Describe one run along d random directions; other seed, other directions and batches."""
    return {"method": "subspace", "d": d, "seed": seed, "examples": FEWER, **more}


def run(setting, data):
    """Train and test one setting; return its row and the model."""
    method, seed = setting["method"], setting["seed"]
    pt.seed(seed)
    model, tokenizer = pt.models.load("minilm", labels=2)
    if method == "subspace":
        model = Subspace(model, setting["d"], seed)
        groups, lr = model.groups(setting.get("step", STEP), HEAD), HEAD
        parameters = setting["d"]
    else:
        model, groups, lr = pt.full.inject(model), None, 1e-4
    examples = data.train[:setting.get("examples", EXAMPLES)]
    batches = pt.data.batches(examples, tokenizer, seed=seed)
    steps = list(pt.train(model, batches, lr, groups=groups))
    row = {**setting, "lr": lr}
    if method == "subspace":
        row |= {"step": setting.get("step", STEP), "length": round(model.z.norm().item(), 2)}
        model = model.plain()
    else:
        parameters = sum(p.numel() for p in pt.adapter_parameters(model).values())
    if "step" in setting or setting == subspace(1024):    # to choose a step
        row["validation"] = test(model, tokenizer, data.validation)
    return row | {"parameters": parameters, "accuracy": test(model, tokenizer, data.test),
                  "losses": [round(s.loss, 3) for s in steps]}, model


def test(model, tokenizer, examples):
    """Return the accuracy."""
    batches = pt.data.batches(examples, tokenizer, 64)    # of like length: less padding
    return round(pt.evaluate(model, batches).accuracy, 4)


def truncated(model, before, tokenizer, data):
    """Return the accuracy by k: each ΔW cut to its k strongest directions, or without them.

    Everything else that was trained stays: embeddings, biases, LayerNorms, pooler and head.
    """
    parts = {name: torch.linalg.svd(delta, full_matrices=False)
             for name, delta in pt.spectra.updates(model, before).items()}
    table, model = {}, copy.deepcopy(model)
    for kind, numbers in (("kept", KEPT), ("dropped", DROPPED)):
        table[kind] = {}
        for k in numbers:
            chosen = slice(0, k) if kind == "kept" else slice(k, None)
            for name, (U, sigma, Vt) in parts.items():
                delta = U[:, chosen] * sigma[chosen] @ Vt[chosen]                # (n_out, n_in)
                model.get_submodule(name).weight.data.copy_(before[name] + delta)
            table[kind][k] = test(model, tokenizer, data.test)
    return table


def parts(lr):
    """Yield what is kept of each update: a rule and a share, whether it is scaled, and the rest."""
    yield "all", 1.0, False, "trained"
    yield "none", 0.0, False, "trained"
    for rule in ("random", "largest"):
        for share in SHARES:
            yield rule, share, True, "trained"
        yield rule, 1 / 32, False, "trained"
    for k in (8, 1, 4, 16):
        yield "strongest", k / 256, False, "trained"
    yield "strongest", 8 / 256, True, "trained"
    if lr == UPDATES[0][0]:
        yield "random", 1 / 32, True, "dropped"
        yield "strongest", 8 / 256, False, "undone"
        for scaled in (False, True):
            yield "all but the strongest", 8 / 256, scaled, "trained"


def part(delta, rule, share, generator):
    """Return the part of an update, (n_out, n_in), that a rule keeps."""
    if rule in ("all", "none"):
        return share * delta
    if rule == "random":
        return delta * (torch.rand(delta.shape, generator=generator) < share)
    if rule == "largest":
        least = delta.abs().flatten().topk(max(1, round(share * delta.numel()))).values[-1]
        return delta * (delta.abs() >= least)
    strongest = pt.spectra.truncate(delta, round(256 * share))
    return strongest if rule == "strongest" else delta - strongest


@functools.lru_cache(maxsize=1)
def trained(lr, seed):
    """Return full fine-tuning's change of every tensor on 2,000 sentences, and its head."""
    pt.seed(seed)
    model, tokenizer = pt.models.load("minilm", labels=2)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    model = pt.full.inject(model, pt.full.Config("all"))
    data = pt.data.load("movies")
    batches = pt.data.batches(data.train[:FEWER], tokenizer, seed=seed)
    list(pt.train(model, batches, lr))
    return model, before, pt.data.batches(data.test[:1000], tokenizer, 64)


def keep(record):
    """Record the accuracy with parts of updates that are missing."""
    for lr, seed in UPDATES:
        for rule, share, scaled, rest in parts(lr):
            about = {"lr": lr, "seed": seed, "rule": rule, "share": share, "scaled": scaled,
                     "rest": rest}
            if record.holds(about, "parts"):
                continue
            model, before, tests = trained(lr, seed)
            matrices = {f"{n}.weight" for n in pt.models.find(model, PLACES)}
            head, changed = set(pt.models.head(model)), copy.deepcopy(model)
            generator, sizes = torch.Generator().manual_seed(seed), []
            for name, p in changed.named_parameters():
                delta = (p - before[name]).detach()
                if name not in head and (name in matrices or rest == "dropped"):
                    kept = part(delta, rule, share, generator)
                    along = (kept * delta).sum() / delta.square().sum()
                    if scaled and along > 0:
                        kept = kept / along
                    if name in matrices:
                        sizes.append((delta.norm() / before[name].norm()).item())
                    p.data.copy_(before[name] + kept)
                elif name not in head and rest == "undone":
                    p.data.copy_(before[name])
            found = {"size": round(sum(sizes) / len(sizes), 4),
                     "accuracy": pt.evaluate(changed, tests).accuracy}
            record.add(about, found, part="parts")
            print(*about.values(), found, flush=True)


def sigmas(model, before):
    """Return the singular values of every ΔW, three digits each."""
    return {name: [float(f"{s:.3g}") for s in pt.spectra.singular_values(delta).tolist()]
            for name, delta in pt.spectra.updates(model, before).items()}


def main():
    """Make what is missing, one run after the other, saving after each."""
    parser = recording.arguments(__doc__)
    parser.add_argument("--only", choices=("subspace", "update", "head", "parts"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = pt.data.load("movies")
    shared = recording.setting(data, train_examples=EXAMPLES, subspace_examples=FEWER)
    record = recording.Recorder(__file__, shared, options.again, options.forget)
    if options.only in (None, "parts"):
        keep(record)
    plain, tokenizer = pt.models.load("minilm", labels=2)
    before = recording.matrices(plain, PLACES)
    lesson_01 = runpy.run_path(str(Path(__file__).with_name("full.py")))

    def make(about):
        group, setting = about["group"], about["setting"]
        if group == "converged":
            fewer = dataclasses.replace(data, train=data.train[:setting["examples"]])
            return lesson_01["converged"](setting, fewer), {}
        row, model = run(setting, data)
        gains = {"truncated": {}, "spectra": {}}
        if setting["method"] == "full" and (group == "update" or setting["seed"] == 0):
            name = f"{'update' if group == 'update' else 'short'} {setting['seed']}"
            row["spectrum"] = name
            gains["truncated"][name] = truncated(model, before, tokenizer, data)
            gains["spectra"][name] = sigmas(model, before)
        if "weight" not in record.made().get("spectra", {}):
            gains["spectra"]["weight"] = {
                n: [float(f"{s:.3g}") for s in pt.spectra.singular_values(w).tolist()]
                for n, w in before.items()}
        return row, gains

    record.make(({"group": group, "setting": setting} for part, group, setting in settings()
                 if options.only in (None, part)), make)


if __name__ == "__main__":
    main()
