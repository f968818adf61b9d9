"""Make the record of lesson 08: LoRA on a plain base and on four bits, merged.

    python assets/records/qlora.py                       all, about an hour on one core
    python assets/records/qlora.py --groups rates runs   only these groups of runs

Writes `qlora.json`: one row a run, what merging leaves of an update (`merged`, `blocks`), and what
tables of levels cost (`formats`). One setting: MiniLM, rank 8, alpha 16, movie reviews with
|rating| > 0.5, 4,000 training reviews once, batches of 16, at most 32 tokens. Interrupted, it goes
on where it stopped.

    rates    seed 0: LoRA on all matrices of the blocks, the base plain or in 4 bits, at five rates
             each; on query and value in 4 bits (plain: `lora.json`)
    runs     seeds 0 to 2, each at the best rate on validation sentences. The same seed gives both
             bases the same A, the same new head and the same order of sentences
    merged   after each run in 4 bits on all matrices: the update beside the base, rounded into it
             to the nearest mark, with old block maxima or new ones, or by dice; on the base in 32
             bits; and the exact base and the update, rounded to the nearest mark
    starts   the adapter starts as a repair of the base: LoftQ's, the same weighted by the inputs,
             PiSSA's, and at random, of LoftQ's size; two seeds at the rate of `runs`, and one at a
             quarter of it, since A and B that start larger bear less
    blocks   the runs in 4 bits on all matrices once more; after each block, the error of the hidden
             states: the update rounded to the nearest level, or by chance; no update; and the
             update unrounded, shrunk to what the nearest keep
"""

import torch

import peft_teach as pt
from peft_teach.course import recording
from peft_teach.course.lessons.qlora import formats, four_bits, live
from peft_teach.course.lessons.qlora.reference import dice

EXAMPLES, RANK, ALPHA = 4000, 8, 16.0
ALL = formats.PLACES
TWO = ("query", "value")
RATES = {("lora", ALL): (2.5e-4, 5e-4, 1e-3, 2e-3, 3e-3),
         ("qlora", ALL): (2.5e-4, 5e-4, 1e-3, 2e-3, 3e-3), ("qlora", TWO): (1e-3, 3e-3, 6e-3)}
SEARCHED = {"*": {"by": "lr", "groups": ("rates",), "where": {"seed": 0}, "each": "targets",
                  "used": ("runs",)}}
SEEDS, DRAWS = (0, 1, 2), 3
STARTS = ("loftq", "weighted", "pissa", "random")
STARTED = ((0, 1), (1, 1), (0, 0.25))    # seed; share of the best rate of a start at zero
CALIBRATION = 512    # training sentences on which a layer's inputs are seen
GROUPS = ("rates", "runs", "starts", "blocks")


def wanted(record, groups):
    """Yield (group, setting) of every run, the most needed first."""
    if "rates" in groups:
        for (method, targets), rates in RATES.items():
            for lr in rates:
                yield "rates", setting(method, targets, lr, 0)
    if "runs" in groups:
        for seed in SEEDS:
            for method, targets in RATES:
                yield "runs", setting(method, targets, best_rate(record, method, targets), seed)
    if "starts" in groups:
        for seed, share in STARTED:
            for start in STARTS:
                yield "starts", setting("qlora", ALL, share * best_rate(record, "qlora", ALL), seed,
                                        start=start)


def setting(method, targets, lr, seed, **more):
    """Describe a run."""
    return {"method": method, "rank": RANK, "alpha": ALPHA, "targets": targets, "lr": lr,
            "seed": seed, **more}


def best_rate(record, method, targets):
    """Return the rate that was best on validation sentences."""
    found = {row["lr"]: row["validation"] for row in record.read()["runs"]
             if (row["group"], row["method"], tuple(row["targets"])) == ("rates", method, targets)}
    return max(found, key=found.get)


class Course:
    """The data and the pretrained model that all runs share."""

    def __init__(self):
        self.data = pt.data.load("movies")
        self.model, self.tokenizer = pt.models.load("minilm", labels=2)
        self.weights = formats.matrices(self.model)    # the pretrained matrices, by module name
        self.test = pt.data.batches(self.data.test, self.tokenizer, 64)    # of like length

    def accuracy(self, model):
        """Return the share of test sentences that are answered correctly."""
        return round(pt.evaluate(model, self.test).accuracy, 4)

    @torch.no_grad()
    def hidden(self, model):
        """Return the last hidden states of training sentences, (tokens, d)."""
        return live.hidden(model, pt.data.batches(self.data.train[:CALIBRATION],
                                                  self.tokenizer, 64))[-1]


def begin(course, wish):
    """Return a model that is ready to be trained as wished, and what was found of its start."""
    pt.seed(wish["seed"])
    model, _ = pt.models.load("minilm", labels=2)
    config = {name: wish[name] for name in ("rank", "alpha", "targets")}
    start = wish.get("start")
    first = starting(course, start, wish["seed"]) if start else None
    if start == "pissa":
        for name, (B, A) in first.items():
            model.get_submodule(name).weight.data -= B @ A
    if wish["method"] == "qlora":
        model = pt.qlora.inject(model, pt.qlora.Config(quantize=ALL, **config))
    else:
        model = pt.lora.inject(model, pt.lora.Config(**config))
    found = {}
    if start:
        begin_at(model, first)
        found["hidden_error"] = round(hidden_error(course, model), 4)
    return model, found


def run(course, wish):
    """Train one setting; return its row and the model."""
    model, found = begin(course, wish)
    losses = learn(course, model, wish)
    validation = pt.evaluate(model, pt.data.batches(course.data.validation, course.tokenizer, 64))
    row = {**wish, "parameters": sum(p.numel() for p in pt.adapter_parameters(model).values()),
           **found, "accuracy": course.accuracy(model), "validation": round(validation.accuracy, 4),
           "losses": losses}
    return row, model


def learn(course, model, wish):
    """Train a model as wished; return its losses."""
    batches = pt.data.batches(course.data.train[:EXAMPLES], course.tokenizer, seed=wish["seed"])
    losses = [round(step.loss, 3) for step in pt.train(model, batches, wish["lr"])]
    model.eval()
    return losses


# ── merging ──────────────────────────────────────────────────────────────────────────────────


def weights(course, model):
    """Return Ŵ, ΔW, Ŵ + ΔW and W + ΔW of a trained 4-bit model, by module name each."""
    layers = pt.adapters(model)
    base = {name: layer.base.weight for name, layer in layers.items()}
    delta = {name: layer.delta().detach() for name, layer in layers.items()}
    return (base, delta, {name: base[name] + delta[name] for name in layers},
            {name: W + delta[name] for name, W in course.weights.items()})


def plain_of(model):
    """Return a plain model with the head of another one."""
    plain = pt.models.load("minilm", labels=2)[0]
    plain.load_state_dict({name: tensor for name, tensor in model.state_dict().items()
                           if name in pt.models.head(model)}, strict=False)
    return plain.eval()


def put(plain, made):
    """Give a plain model these matrices; return it."""
    for name, W in made.items():
        plain.get_submodule(name).weight.data.copy_(W)
    return plain


def blocks(course, model, seed):
    """Yield (about, found): after each block, the relative error of the hidden states."""
    base, delta, total, _ = weights(course, model)
    generator = torch.Generator().manual_seed(0)
    to_nearest = {n: four_bits.nearest(W, four_bits.maxima(W)) for n, W in total.items()}
    left = kept({n: to_nearest[n] - base[n] for n in base}, delta)
    made = {"nearest level": to_nearest, "no update": base,
            "shrunk, not rounded": {n: base[n] + left * delta[n] for n in base},
            "stochastic": {n: dice(W, four_bits.maxima(W).flatten(), pt.nf4.LEVELS, generator)
                           for n, W in total.items()}}
    merged = {way: put(plain_of(model), each) for way, each in made.items()}
    batches = pt.data.batches(course.data.train[:CALIBRATION], course.tokenizer, 64)
    for way, row in live.errors_by_block(merged, model, batches).iterrows():
        yield {"seed": seed, "way": way}, {"errors": [round(error, 4) for error in row]}


def merges(course, model, seed):
    """Yield (about, found) of every way to merge a trained 4-bit model."""
    layers = pt.adapters(model)
    base, delta, total, exact = weights(course, model)
    tops = {"old": {name: layer.base.quantized.scales[:, None] for name, layer in layers.items()},
            "new": {name: four_bits.maxima(W) for name, W in total.items()}}
    plain = plain_of(model)

    def row(made, rounding, maxima="none", draw=0):
        change = {name: made[name] - base[name] for name in made}
        about = {"seed": seed, "update": True, "rounding": rounding, "maxima": maxima,
                 "draw": draw}
        return about, {"accuracy": course.accuracy(put(plain, made)), "kept": kept(change, delta),
                       "error": ratio({n: made[n] - total[n] for n in made}, delta)}

    yield row(total, "none")
    yield row(exact, "base in 32 bits")
    yield row({n: four_bits.nearest(W, four_bits.maxima(W)) for n, W in exact.items()},
              "exact base, nearest", "new")
    for maxima, top in tops.items():
        yield row({n: four_bits.nearest(W, top[n]) for n, W in total.items()}, "nearest", maxima)
    for draw in range(DRAWS):
        generator = torch.Generator().manual_seed(draw)
        yield row({n: dice(W, tops["new"][n].flatten(), pt.nf4.LEVELS, generator)
                   for n, W in total.items()}, "dice", "new", draw)


def kept(change, delta):
    """Return the share of an update that is in a change, by projection, over all matrices."""
    along = sum((change[n] * delta[n]).sum() for n in delta)
    return round((along / sum(d.square().sum() for d in delta.values())).item(), 4)


def ratio(error, delta):
    """Return ‖error‖ / ‖ΔW‖ over all matrices."""
    squares = [sum(t.square().sum() for t in part.values()) for part in (error, delta)]
    return round((squares[0] / squares[1]).sqrt().item(), 4)


# ── starts ───────────────────────────────────────────────────────────────────────────────────


def rounded(W):
    """Return Ŵ, in NF4 with double quantization, as `qlora` holds it."""
    return pt.nf4.dequantize(pt.nf4.quantize(W, double=True))


def starting(course, start, seed):
    """Return B and A of each matrix, by module name, such that BA is where the update starts.

    LoftQ (Li et al. 2023, arXiv 2310.08659), one iteration; the same weighted by a layer's inputs;
    and PiSSA's order (Meng et al. 2024, arXiv 2404.02948): the strongest directions go into the
    adapter first, and the rest is rounded.
    """
    roots = input_roots(course) if start == "weighted" else {}
    generator, made = torch.Generator().manual_seed(seed), {}
    for name, W in course.weights.items():
        B, A = best(W if start == "pissa" else W - rounded(W), roots.get(name))
        if start == "random":
            size = (B @ A).norm()
            B, A = (torch.randn(part.shape, generator=generator) for part in (B, A))
            factor = (size / (B @ A).norm()).sqrt()
            B, A = factor * B, factor * A
        made[name] = B, A
    return made


def best(E, root=None):
    """Return B (n_out, rank) and A (rank, n_in) such that BA is nearest to E (n_out, n_in).

    With `root` (n_in, n_in), a root of the inputs' second moments: nearest on these inputs.
    """
    U, S, Vt = torch.linalg.svd(E if root is None else E @ root, full_matrices=False)
    half = S[:RANK].sqrt()
    A = half[:, None] * Vt[:RANK]
    return U[:, :RANK] * half, A if root is None else torch.linalg.solve(root, A, left=False)


def begin_at(model, first):
    """Let each adapter start at s B A = the product given."""
    for name, layer in pt.adapters(model).items():
        B, A = first[name]
        layer.B.data.copy_(B / layer.scale**0.5)
        layer.A.data.copy_(A / layer.scale**0.5)


def hidden_error(course, model):
    """Return the relative error of the last hidden states."""
    return four_bits.relative([(course.hidden(model), course.hidden(course.model))])


def input_roots(course):
    """Return a root of the second moments of each matrix's inputs, by module name."""
    sums = dict.fromkeys(course.weights, 0.0)

    def hook(name):
        def see(_, args):
            x = args[0].reshape(-1, args[0].shape[-1])
            sums[name] = sums[name] + x.T @ x
        return course.model.get_submodule(name).register_forward_pre_hook(see)

    hooks = [hook(name) for name in course.weights]
    course.hidden(course.model)
    for each in hooks:
        each.remove()
    found = {}
    for name, moments in sums.items():
        values, vectors = torch.linalg.eigh(moments.double() / moments.trace())
        found[name] = (vectors * values.clamp_min(1e-9).sqrt()).float()
    return found


def costs_of_tables(course):
    """Return by table of levels: the relative error that it makes, of what `formats` says."""
    batches = pt.data.batches(course.data.train[:CALIBRATION], course.tokenizer, 64)
    found = formats.formats(course.weights, formats.tables(four_bits.levels), course.model, batches)
    return found.round(4).to_dict("index")


def main():
    """Make what is missing, one run after the other, saving after each."""
    parser = recording.arguments(__doc__)
    parser.add_argument("--groups", nargs="+", default=GROUPS, choices=GROUPS)
    options = parser.parse_args()
    course = Course()
    record = recording.Recorder(__file__, recording.setting(course.data, train_examples=EXAMPLES),
                              options.again, options.forget)

    def make(about):
        wish = about["setting"]
        row, model = run(course, wish)
        if about["group"] == "runs" and (wish["method"], wish["targets"]) == ("qlora", list(ALL)):
            for which, found in merges(course, model, wish["seed"]):
                record.add(which, found, part="merged")
        return row, {}

    for group, wish in wanted(record, options.groups):
        record.make([{"group": group, "setting": wish}], make)
    if "formats" not in record.made():
        record.gain(formats=costs_of_tables(course))
    if "blocks" in options.groups:
        for seed in SEEDS:
            if not record.holds({"seed": seed}, "blocks"):
                wish = setting("qlora", ALL, best_rate(record, "qlora", ALL), seed)
                model, _ = begin(course, wish)
                learn(course, model, wish)
                for about, found in blocks(course, model, seed):
                    record.add(about, found, part="blocks")


if __name__ == "__main__":
    main()
