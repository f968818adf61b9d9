"""Make the records of lesson 02: random subspaces, the update of full fine-tuning, BitFit.

    python assets/records/change.py                    all that is missing, about 70 minutes
    python assets/records/change.py --only subspace    one part: subspace, update, bitfit or head

Writes `change.json`: one row a run (settings, accuracy, losses), the singular values of full
fine-tuning's updates, and the accuracy after truncating them. Interrupted, it goes on where it
stopped. MiniLM, movie reviews with |rating| > 0.5, batches of 16, at most 32 tokens, once through
4,000 training sentences; 2,000 in the subspace runs and in what they are compared with, the head
that was trained to its end (group `converged`, see `full.py`) among it.
"""

import copy
import dataclasses
import runpy
from pathlib import Path

import torch

import peft_teach as pt
from peft_teach.course import recording
from peft_teach.subspace import Subspace

EXAMPLES, FEWER = 4000, 2000
PLACES = ("query", "key", "value", "attention_out", "ffn_in", "ffn_out")
KEPT = (0, 1, 2, 4, 8, 16, 32, 64, 128, 384)      # the k strongest directions of each matrix kept
DROPPED = (1, 8, 32, 128)                         # the k strongest left out, all others kept
# Of the entries of each ΔW. A 32nd of all is as many numbers as eight directions have.
LARGEST, DRAWN = (1e-3, 1e-2, 1 / 32, 1e-1), (1 / 32,)
BITFIT = 3e-3                                     # highest on validation of the group "rates"
STEP, HEAD = 10.0, 1e-1                           # likewise at d = 1024, see the group "steps"
PENALTIES = (0.0, 1e-4, 1e-3, 1e-2, 1e-1)         # of the head, of which validation chooses


def settings():
    """Yield (part, group, settings) of every run, the most needed first."""
    for d in (1024, 16384, 64, 256):
        yield "subspace", "subspace", subspace(d)
    yield "subspace", "scratch", subspace(16384, pretrained=False)
    yield "subspace", "steps", subspace(16384, step=3.0)
    for d in (16, 4096):
        yield "subspace", "subspace", subspace(d)
    yield "update", "short", {"method": "full", "seed": 0, "examples": FEWER}
    yield "update", "update", {"method": "full", "seed": 0}
    for seed in range(3):
        yield "bitfit", "bitfit", {"method": "bitfit", "seed": seed}
        yield "bitfit", "short", {"method": "head", "seed": seed, "examples": FEWER}
    for lr in (1e-3, 1e-2):
        yield "bitfit", "rates", {"method": "bitfit", "seed": 0, "lr": lr}
    yield "subspace", "scratch", subspace(1024, pretrained=False)
    yield "update", "short", {"method": "full", "seed": 0, "examples": FEWER, "pretrained": False}
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
    for penalty in PENALTIES:
        yield "head", "converged", {"method": "head", "pool": "cls", "penalty": penalty,
                                    "examples": FEWER}


def subspace(d, seed=0, **more):
    """Describe one run along d random directions; other seed, other directions and batches."""
    return {"method": "subspace", "d": d, "seed": seed, "examples": FEWER, **more}


def run(setting, data):
    """Train and test one setting; return its row and the model."""
    method, seed = setting["method"], setting["seed"]
    pt.seed(seed)
    model, tokenizer = pt.models.load("minilm", labels=2,
                                      pretrained=setting.get("pretrained", True))
    groups, lr = None, setting.get("lr", {"full": 1e-4, "head": HEAD, "bitfit": BITFIT}.get(method))
    if method == "subspace":
        model = Subspace(model, setting["d"], seed)
        groups, lr = model.groups(setting.get("step", STEP), HEAD), HEAD
        parameters = setting["d"]
    elif method == "bitfit":
        model = pt.bitfit.inject(model)
    else:
        model = pt.full.inject(model, pt.full.Config("all" if method == "full" else "head"))
    examples = data.train[:setting.get("examples", EXAMPLES)]
    batches = pt.data.batches(examples, tokenizer, seed=seed)
    steps = list(pt.train(model, batches, lr, groups=groups))
    row = {**setting, "lr": lr}
    if method == "subspace":
        row |= {"step": setting.get("step", STEP), "length": round(model.z.norm().item(), 2)}
        model = model.plain()
    else:
        parameters = sum(p.numel() for p in pt.adapter_parameters(model).values())
    if method == "bitfit" or "step" in setting or setting == subspace(1024):    # to choose a rate
        row["validation"] = test(model, tokenizer, data.validation)
    return row | {"parameters": parameters, "accuracy": test(model, tokenizer, data.test),
                  "losses": [round(s.loss, 3) for s in steps]}, model


def test(model, tokenizer, examples):
    """Return the accuracy."""
    batches = pt.data.batches(examples, tokenizer, 64)    # of like length: less padding
    return round(pt.evaluate(model, batches).accuracy, 4)


def weights():
    """Return the pretrained matrices of the blocks, by module name."""
    model, tokenizer = pt.models.load("minilm", labels=2)
    names = pt.models.find(model, PLACES)
    return {n: model.get_submodule(n).weight.detach().clone() for n in names}, tokenizer


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


def entries(model, before, tokenizer, data):
    """Return accuracy and mean share of the energy by share: a few entries of each ΔW kept.

    The largest, or as a control as many that are drawn. All else that was trained stays.
    """
    updates = pt.spectra.updates(model, before)
    table, model = {}, copy.deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    for kind, shares in (("largest", LARGEST), ("drawn", DRAWN)):
        table[kind] = {}
        for share in shares:
            energies = []
            for name, delta in updates.items():
                score = delta.abs() if kind == "largest" else torch.rand(delta.shape,
                                                                         generator=generator)
                kept = torch.zeros_like(delta).flatten()
                places = score.flatten().topk(round(share * delta.numel())).indices
                kept[places] = delta.flatten()[places]
                kept = kept.view_as(delta)                                       # (n_out, n_in)
                energies.append((kept.square().sum() / delta.square().sum()).item())
                model.get_submodule(name).weight.data.copy_(before[name] + kept)
            table[kind][share] = {"accuracy": test(model, tokenizer, data.test),
                                  "energy": round(sum(energies) / len(energies), 4)}
    return table


def sigmas(model, before):
    """Return the singular values of every ΔW, three digits each."""
    return {name: [float(f"{s:.3g}") for s in pt.spectra.singular_values(delta).tolist()]
            for name, delta in pt.spectra.updates(model, before).items()}


def main():
    """Make what is missing, one run after the other, saving after each."""
    parser = recording.arguments(__doc__)
    parser.add_argument("--only", choices=("subspace", "update", "bitfit", "head"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = pt.data.load("movies")
    shared = recording.setting(data, train_examples=EXAMPLES, subspace_examples=FEWER)
    record = recording.Record(__file__, shared, options.again)
    before, tokenizer = weights()
    lesson_01 = runpy.run_path(str(Path(__file__).with_name("full.py")))

    def make(about):
        group, setting = about["group"], about["setting"]
        if group == "converged":
            fewer = dataclasses.replace(data, train=data.train[:setting["examples"]])
            return lesson_01["converged"](setting, fewer), {}
        row, model = run(setting, data)
        gains = {"truncated": {}, "spectra": {}}
        if setting["method"] == "full" and setting.get("pretrained", True) and (
                group == "update" or setting["seed"] == 0):
            name = f"{'update' if group == 'update' else 'short'} {setting['seed']}"
            row["spectrum"] = name
            gains["truncated"][name] = truncated(model, before, tokenizer, data)
            gains["spectra"][name] = sigmas(model, before)
            if group == "update":
                gains["entries"] = {name: entries(model, before, tokenizer, data)}
        if "weight" not in record.read().get("spectra", {}):
            gains["spectra"]["weight"] = {
                n: [float(f"{s:.3g}") for s in pt.spectra.singular_values(w).tolist()]
                for n, w in before.items()}
        return row, gains

    wanted = [{"group": group, "setting": setting} for part, group, setting in settings()
              if options.only in (None, part)]
    record.make(wanted, make)
    for about in wanted:    # of a run that was recorded before its entries were asked for
        name = f"update {about['setting'].get('seed')}"
        if about["group"] == "update" and name not in record.read().get("entries", {}):
            row, model = run(about["setting"], data)
            record.gain(entries={name: entries(model, before, tokenizer, data)})
            print(name, "again:", row["accuracy"], flush=True)


if __name__ == "__main__":
    main()
