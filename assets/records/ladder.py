"""Make the record of lesson 10: thirteen methods on equal terms, at predicting a rating.

    python assets/records/ladder.py                  all that is missing
    python assets/records/ladder.py --groups rates   only these groups of runs
    python assets/records/ladder.py --share 0 2      half of them; the other process takes 1 2

Writes `ladder.json`: one row a run. Interrupted, it goes on where it stopped. What some runs
trained is kept in `work/ladder`, which git ignores, for the groups that look at it again; where it
is not there, it is trained once more.

The plan, written before the first run. MiniLM with one output predicts the mean rating of a film
review, from -4 to 4, neutral ones included, and is trained on the squared error: 4,000 training
sentences once, batches of 16, at most 32 tokens, 250 steps, whatever the method. Quality is R², the
share of variance that is predicted, on 2,716 test sentences that choose nothing; the sign is read
from the same predictions, where people were not neutral. What trains beside the head differs by
method, and nothing else. A difference of 0.02 in R² would matter.

    heads      the head has a learning rate of its own, one for all methods: of four, the one with
               the best mean R² on validation sentences for full fine-tuning and for LoRA, seed 0
    rates      each method looks for its rate on validation sentences, seed 0: from its default in
               the library along `LADDER`, a factor of two a step, until both neighbours of the
               best were tried
    final      seeds 2 to 6 at this rate; methods are compared by seed and by sentence, in pairs
    more       seeds 7 to 11 for the six methods that are best on validation, into "final", too
    controls   ought to fail: the ratings shuffled among the training sentences; all weights random;
               full fine-tuning and LoRA, two seeds. Of LoRA's final runs, each update replaced by a
               random one of the same rank and norm, under the trained head; nothing is trained
    exact      the head alone, solved: least squares on the features of the training sentences;
               later also with the penalty that is best on validation sentences, and so on the mean
               over the real tokens ("exact_penalty", "exact_mean")
    domains    the same settings on three other tasks, six methods, two seeds
    forgetting of final runs: how often a sentence's nearest neighbour is from its own editorial,
               and R² on the first 1,000 test sentences, with `f` of the update in the backbone and
               the trained head; two seeds
    tasks      LoRA of rank 1, trained on each of the four tasks, at home and away; the updates of
               two tasks added, and averaged; two seeds
    costs      the file, the memory by `account`, and the time of a step beside full fine-tuning's,
               taking turns; on a quiet machine
    half       later: LoRA of rank 8 at half of its rate, which one seed had chosen next to a cliff;
               the seeds of "final"
    ratio      full fine-tuning, and LoRA everywhere of rank 1, 8 and 64 with alpha 32: each looks
               for its rate as in "rates", on seeds 0 and 1; full's seed 0 stands there. Does LoRA
               want ten times full's rate, and does its own depend on the rank?
    mean rates, mean    later: the head reads the mean over the real tokens, not the first token
               through the pooler; four methods, each at a rate found anew as in "rates", three
               seeds
    heart      where rank matters: 2,048 sentences of 8 tokens, each labelled by a coin, learned by
               heart behind a frozen random head by query and value of the last block: LoRA of rank
               1 (1,536 numbers), 4, 16 and 64 with alpha 32, and full fine-tuning of the two
               matrices; 1,600 batches of 64. Each looks for its rate, a factor of three a step, on
               what it has learned, and learns other coins at the best; 40 minutes of one core

"""

import base64
import functools
import statistics
import tempfile
from pathlib import Path

import torch

import peft_teach as pt
from peft_teach.course import protocol, recording
from peft_teach.course.lessons.ladder import forgetting, rungs

EXAMPLES, STEPS = 4000, 250
HEAD_LADDER = (1e-3, 3e-3, 1e-2, 3e-2)
LADDER = tuple(1e-4 * 2**k for k in range(-3, 12))       # 1.25e-5 to 0.2
FIRST = {"full": 1e-4, "lora all": 8e-4, "qlora all": 8e-4, "bottleneck": 1.6e-3, "lora 8": 3.2e-3,
         "dora 8": 3.2e-3, "lora 1": 3.2e-3, "mask": 1.6e-3, "bitfit": 3.2e-3, "ia3": 1.28e-2,
         "prefix": 1.28e-2, "prompt": 2.56e-2, "head": 1.28e-2}
# How each rate was found: tests/course/claim_checks.py asks the record.
SEARCHED = {
    "*": {"by": "lr", "groups": ("rates", "mean rates"), "where": {"seed": 0}, "each": "pool",
          "used": ("final", "domains", "controls", "mean")},
    "lora": {"by": "lr", "groups": ("heart",), "where": {"seed": 0}, "each": "rank",
             "score": "training", "used": ()},
    "head": "solved",    # group "exact"; its search ends at the ladder's edge
}
SEEDS, MORE, LEADING = range(2, 7), range(7, 12), 6
CONTROLS = {"shuffled": ("full", "lora 8"), "scratch": ("full", "lora 8"),
            "random update": ("lora 8",)}
DOMAINS = ("products", "tweets", "news")
TRAVEL = ("full", "lora all", "lora 8", "lora 1", "bitfit", "ia3")
KNOB = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
FORGETS = ("full", "lora all", "lora 8", "dora 8", "lora 1", "mask", "bitfit", "ia3")
PAIR = ("movies", "products")
ALPHA = 32.0
RATIO = (None, 1, 8, 64)                                 # ranks; None is full fine-tuning
COINS, COIN_STEPS, COIN_BATCH, TOKENS = 2048, 1600, 64, 8
COIN_RANKS = (None, 1, 4, 16, 64)
COIN_LADDER = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
COIN_FIRST = {"full": 3e-4, "lora": 3e-3}
READ = ("lora 8", "bitfit", "ia3", "full")               # by a head on the mean
PENALTIES = (0.0, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
SOLVED = {"exact": ("cls",), "exact_penalty": ("cls", PENALTIES), "exact_mean": ("mean", PENALTIES)}
GROUPS = ("heads", "rates", "final", "exact", "domains", "forgetting", "tasks", "costs", "controls",
          "more", "half", "ratio", "mean", "heart")


def wanted(record, groups, share):
    """Yield what is asked of every run, in order; rates depend on the rows that stand by then."""
    part, parts = share
    mine = [*rungs.RUNGS][part::parts]
    if "heads" in groups:
        for method in ("full", "lora 8")[part::parts]:
            for head_lr in HEAD_LADDER:
                yield about("heads", method, FIRST[method], 0, head_lr)
    if "rates" in groups:
        for method in mine:
            while rate := recording.next_rate(tried(record.made(), method), LADDER, FIRST[method]):
                yield about("rates", method, rate, 0, rate if method == "head"
                            else head_rate(record))
    if "final" in groups:
        for seed in SEEDS:
            for method in mine:
                yield chosen(record, "final", method, seed)
    if "more" in groups:
        for seed in MORE:
            for method in leading(record)[part::parts]:
                yield chosen(record, "final", method, seed)
    if "controls" in groups:
        for control, methods in CONTROLS.items():
            for method in methods[part::parts]:
                for seed in (2, 3):
                    yield {**chosen(record, "controls", method, seed), "control": control}
    if "domains" in groups:
        for seed in KEPT_SEEDS:
            for domain in DOMAINS:
                for method in TRAVEL[part::parts]:
                    yield {**chosen(record, "domains", method, seed), "domain": domain}
    if "half" in groups:
        for seed in (*SEEDS, *MORE)[part::parts]:
            wish = chosen(record, "half", "lora 8", seed)
            yield {**wish, "lr": wish["lr"] / 2}
    if "ratio" in groups:
        for seed in (0, 1):
            for rank in RATIO[part::parts]:
                method, size = of_rank(rank, "lora all")
                if rank or seed:    # full's seed 0 stands in "rates"
                    yield from search(record, "ratio", method, seed, LADDER, FIRST, **size)
    if "mean" in groups:
        for method in READ[part::parts]:
            yield from search(record, "mean rates", method, 0, LADDER, FIRST, pool="mean")
            found = tried(record.read(), method, "mean rates")
            for seed in SEEDS[:3]:
                yield about("mean", method, max(found, key=found.get), seed,
                            head_rate(record)) | {"pool": "mean"}
    if "heart" in groups:
        for rank in COIN_RANKS[part::parts]:
            method, size = of_rank(rank, "lora")
            yield from search(record, "heart", method, 0, COIN_LADDER, COIN_FIRST, **size)
            found = tried(record.read(), method, "heart", seed=0, **size)
            yield about("heart", method, max(found, key=found.get), 1, None) | size


def of_rank(rank, lora):
    """Return the method and the settings of LoRA of a rank; of full fine-tuning, without one."""
    return (lora, {"rank": rank, "alpha": ALPHA}) if rank else ("full", {})


def search(record, group, method, seed, ladder, first, **size):
    """Yield what is asked of each run, until both neighbours of the best rate were tried."""
    while rate := recording.next_rate(tried(record.made(), method, group, seed=seed, **size),
                                      ladder, first[method]):
        yield about(group, method, rate, seed, None if group == "heart"
                    else head_rate(record)) | size


def about(group, method, lr, seed, head_lr):
    """Describe a run."""
    return {"group": group, "method": method, "lr": lr, "head_lr": head_lr, "seed": seed}


def chosen(record, group, method, seed):
    """Describe a run at the rate that was chosen for its method."""
    found = tried(record.read(), method)
    assert recording.next_rate(found, LADDER, FIRST[method]) is None, f"first: rates of {method}"
    lr = max(found, key=found.get)
    return about(group, method, lr, seed, lr if method == "head" else head_rate(record))


def rows(record, group):
    """Return the rows of a group."""
    return [row for row in record.get("runs", []) if row["group"] == group]


def head_rate(record):
    """Return the head's rate with the best mean over the methods that tried it."""
    found = rows(record.read(), "heads")
    assert len(found) == 2 * len(HEAD_LADDER), "first: --groups heads"
    mean = {lr: sum(row["validation"] for row in found if row["head_lr"] == lr) / 2
            for lr in HEAD_LADDER}
    return max(mean, key=mean.get)


def tried(record, method, group="rates", **wanted):
    """Return, by rate, a method's R² on validation sentences, or the share learned by heart."""
    wanted["method"] = method
    return {row["lr"]: row["training" if group == "heart" else "validation"]
            for row in rows(record, group) if wanted.items() <= row.items()}


def leading(record):
    """Return the methods that are best on validation sentences, at their rates."""
    best = {method: max(tried(record.read(), method).values()) for method in rungs.RUNGS}
    return sorted(best, key=best.get)[-LEADING:]


def run(wish, data):
    """Train and measure one setting; return what was found."""
    pt.seed(wish["seed"])
    control = wish.get("control")
    model, tokenizer = pt.models.load("minilm", labels=1, pool=wish.get("pool", "cls"),
                                      pretrained=control != "scratch")
    if "rank" in wish:
        model = pt.lora.inject(model, pt.lora.Config(wish["rank"], wish["alpha"],
                                                     targets=rungs.ALL))
    else:
        model = rungs.put_on(wish["method"], model, tokenizer)
    sentences = data.train[:EXAMPLES]
    if control == "shuffled":
        order = torch.randperm(len(sentences)).tolist()
        sentences = [(text, sentences[i].label) for (text, _), i in zip(sentences, order)]
    passes = -(-STEPS * 16 // len(sentences))
    batches = pt.data.batches(sentences, tokenizer, seed=wish["seed"], epochs=passes)[:STEPS]
    steps = len([*protocol.train(model, batches, wish["lr"], wish["head_lr"])])
    found = {"parameters": sum(p.numel() for p in pt.adapter_parameters(model).values()),
             "steps": steps}
    if wish["group"] in ("heads", "rates", "ratio", "mean rates"):
        return found | {"validation": scores(model, data.validation, tokenizer)["r2"]}
    if wish["group"] in ("final", "domains") and wish["seed"] in KEPT_SEEDS:
        pt.save(model, kept(wish["method"], wish["seed"], wish.get("domain", "movies")))
    return found | scores(model, data.test, tokenizer, keep=wish["group"] in ("final", "mean"))


def scores(model, examples, tokenizer, keep=False):
    """Return R² and the accuracy of the sign; with `keep`, each prediction too."""
    batches = pt.data.batches(examples, tokenizer, 64, shuffle=False)
    return scored(protocol.predictions(model, batches), protocol.ratings(batches), keep)


def scored(guess, rating, keep):
    """Return how good predictions are, and with `keep` the predictions."""
    return protocol.scored(guess, rating) | ({"answers": protocol.pack(guess)} if keep else {})


def randomized(record, data, method, seed):
    """Return R² with a random matrix of the same rank and norm in the place of each update."""
    model, tokenizer = restored(record, data, method, seed)
    pt.seed(seed)
    with torch.no_grad():
        for layer in pt.adapters(model).values():
            norm = layer.delta().norm()
            layer.A.normal_()
            layer.B.normal_()
            layer.B.mul_(norm / layer.delta().norm())
    trained = sum(p.numel() for p in pt.adapter_parameters(model).values())
    return {"parameters": trained, "steps": STEPS} | scores(model, data["movies"].test, tokenizer)


class Recalled(torch.nn.Module):
    """In the place of the embeddings: what frozen blocks made of a sentence, by its number."""

    def __init__(self, states):
        super().__init__()
        self.register_buffer("states", states)                  # (sentences, tokens, hidden)

    def forward(self, input_ids, **_):
        return self.states[input_ids[:, 0]]                     # (batch, tokens, hidden)


def by_heart(wish, data):
    """Train the last block on labels drawn at random; return how many of them it has learned."""
    pt.seed(wish["seed"])
    model, tokenizer = pt.models.load("minilm", labels=2)
    tokens = tokenizer([text for text, _ in data.train], truncation=True, max_length=TOKENS)
    labels = torch.randint(2, (COINS,))                         # the same coins for every rank
    different = dict.fromkeys(tuple(row) for row in tokens["input_ids"] if len(row) == TOKENS)
    with torch.no_grad():
        states = torch.cat([model.bert(part, output_hidden_states=True).hidden_states[-2]
                            for part in torch.tensor([*different][:COINS]).split(COIN_BATCH)])
    model.bert.embeddings, model.config.num_hidden_layers = Recalled(states), 1
    model.bert.encoder.layer = model.bert.encoder.layer[-1:]
    model.requires_grad_(False)
    if "rank" in wish:
        model = pt.lora.inject(model, pt.lora.Config(wish["rank"], wish["alpha"]))
        for p in pt.contents.head_parameters(model).values():
            p.requires_grad_(False)
    else:
        for name, p in model.named_parameters():
            p.requires_grad_(name.endswith(("query.weight", "value.weight")))

    def batch(sentences):
        return {"input_ids": sentences[:, None].expand(-1, TOKENS), "labels": labels[sentences]}

    passes = -(-COIN_STEPS * COIN_BATCH // COINS)
    order = torch.cat([torch.randperm(COINS) for _ in range(passes)]).split(COIN_BATCH)
    steps = len([*pt.train(model, map(batch, order[:COIN_STEPS]), wish["lr"])])
    learned = pt.evaluate(model, map(batch, torch.arange(COINS).split(COIN_BATCH)))
    return {"examples": COINS, "steps": steps,
            "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
            "training": round(learned.accuracy, 4)}


@functools.cache
def features(pool):
    """Return frozen features, a one beside each, and ratings, of what trains, chooses and tests."""
    data = pt.data.ratings("movies")
    pt.seed(0)
    model, tokenizer = pt.models.load("minilm", labels=1, pool=pool)
    read = []
    model.classifier.register_forward_pre_hook(lambda head, given: read.append(given[0]))

    def of(examples):
        order = sorted(range(len(examples)), key=lambda i: len(examples[i].text))  # less padding
        batches = pt.data.batches([examples[i] for i in order], tokenizer, 64, shuffle=False)
        read.clear()
        protocol.predictions(model, batches)
        back = torch.tensor(order).argsort()
        pooled = torch.cat(read).double()[back]                 # (sentences, hidden)
        ones = torch.ones(len(pooled), 1)
        return torch.cat([pooled, ones], 1), protocol.ratings(batches)[back]

    return of(data.train[:EXAMPLES]), of(data.validation), of(data.test)


def exact(pool="cls", penalties=(0.0,)):
    """Return the best head on frozen features: least squares, on what it trains on.

    Of some penalties on the squared weights, the one that is best on validation sentences.
    """
    (X, y), (V, v), (T, t) = features(pool)
    rows, found = torch.eye(X.shape[1], dtype=X.dtype)[:-1], []    # of the weights, not the bias
    for penalty in penalties:
        head = torch.linalg.lstsq(torch.cat([X, penalty**0.5 * rows]), torch.cat(
            [y.double(), torch.zeros(len(rows))])[:, None]).solution
        found.append((round(protocol.r2((V @ head)[:, 0].float(), v), 4), penalty, head))
    validation, penalty, head = max(found, key=lambda each: each[0])
    return {**scored((T @ head)[:, 0].float(), t, keep=True), "penalty": penalty,
            "validation": validation}


def kept(method, seed, domain="movies"):
    """Return the folder of what a run trained: too large for a record, asked by later groups."""
    return KEPT / f"{domain} {method} {seed}"


def restored(record, data, method, seed, domain="movies"):
    """Return a model as a run left it, and its tokenizer."""
    if not kept(method, seed, domain).exists():
        run({**chosen(record, "domains", method, seed), "domain": domain}, data[domain])
    pt.seed(seed)
    model, tokenizer = pt.models.load("minilm", labels=1)
    model = rungs.put_on(method, model, tokenizer)
    return pt.store.swap(model, kept(method, seed, domain)), tokenizer


def forget(record, data, share):
    """Look at the neighbours along the knob, for each final run that was kept."""
    texts, documents = forgetting.editorials()
    sentences = data["movies"].test[:1000]
    before = {name: W.clone() for name, W in
              pt.models.load("minilm", labels=1)[0].base_model.state_dict().items()}
    for seed in KEPT_SEEDS:
        for method in FORGETS[share[0]::share[1]]:
            if record.holds({"method": method, "seed": seed, "f": KNOB[-1]}, "forgetting"):
                continue
            model, tokenizer = restored(record, data, method, seed)
            model = model if method == "full" else pt.merge(model)
            after = {name: W.clone() for name, W in model.base_model.state_dict().items()}
            for f in KNOB:
                model.base_model.load_state_dict(forgetting.blend(before, after, f))
                found = forgetting.vectors(model, texts, tokenizer)
                plain = forgetting.without_top(found)
                row = {"neighbours": round(forgetting.neighbours(found, documents), 4),
                       "without_top": round(forgetting.neighbours(plain, documents), 4),
                       "r2": scores(model, sentences, tokenizer)["r2"]}
                record.add({"method": method, "seed": seed, "f": f}, row, part="forgetting")
                print(method, seed, f, row, flush=True)


def travel(record, data):
    """Test adapters of rank 1 at home and away, and two of them added and averaged."""
    def tested(model, tokenizer, adapter, task, seed):
        record.add({"adapter": adapter, "task": task, "seed": seed},
                   scores(model, data[task].test, tokenizer), part="tasks")

    for seed in KEPT_SEEDS:
        for domain in data:
            if record.holds({"adapter": domain, "task": [*data][-1], "seed": seed}, "tasks"):
                continue
            model, tokenizer = restored(record, data, "lora 1", seed, domain)
            if seed == KEPT_SEEDS[0]:
                file = kept("lora 1", seed, domain) / "adapter.safetensors"
                record.gain(adapters={domain: base64.b64encode(file.read_bytes()).decode()})
            for task in data:
                tested(model, tokenizer, domain, task, seed)
        for how, share in (("added", 1.0), ("averaged", 0.5)):
            for task, other in (PAIR, PAIR[::-1]):
                both = f"{' + '.join(PAIR)}, {how}"
                if record.holds({"adapter": both, "task": task, "seed": seed}, "tasks"):
                    continue
                model, tokenizer = restored(record, data, "lora 1", seed, task)
                away = pt.adapters(restored(record, data, "lora 1", seed, other)[0])
                for name, layer in pt.adapters(model).items():    # ranks add: one of rank 2
                    layer.A = torch.nn.Parameter(torch.cat([layer.A, away[name].A]))
                    layer.B = torch.nn.Parameter(share * torch.cat([layer.B, away[name].B], 1))
                tested(model, tokenizer, both, task, seed)


def price(record, data):
    """Measure each method's file, memory and time of a step."""
    for method in rungs.RUNGS:
        if method in record.made().get("costs", {}):
            continue
        pt.seed(0)
        model, tokenizer = pt.models.load("minilm", labels=1)
        model = rungs.put_on(method, model, tokenizer)
        batch, = pt.data.batches(data["movies"].train[:16], tokenizer)
        with tempfile.TemporaryDirectory() as folder:
            file = pt.save(model, folder) / "adapter.safetensors"
            found = {"file_bytes": file.stat().st_size}
        found["memory_bytes"] = pt.account.ledger(model, 16, 32).peak_bytes
        full = pt.full.inject(pt.models.load("minilm", labels=1)[0])
        times = [[seconds(one, batch) for one in (model, full)] for _ in range(REPEATS)]
        found["step"] = round(statistics.median(own / other for own, other in times[1:]), 3)
        record.gain(costs={method: found})
        print(method, found, flush=True)


def seconds(model, batch):
    """Return how long three steps take."""
    return sum(step.seconds for step in protocol.train(model, [batch] * 3, 1e-5, 1e-5))


KEPT_SEEDS, REPEATS = (2, 3), 6
KEPT = Path(__file__).parents[2] / "work" / "ladder"


def main():
    """Make what is missing, one run after the other, saving after each."""
    parser = recording.arguments(__doc__)
    parser.add_argument("--groups", nargs="+", default=GROUPS, choices=GROUPS)
    parser.add_argument("--share", nargs=2, type=int, default=(0, 1), metavar=("I", "N"))
    options = parser.parse_args()
    data = {domain: pt.data.ratings(domain) for domain in ("movies", *DOMAINS)}
    shared = recording.setting(pt.data.load("movies"), train_examples=EXAMPLES)
    record = recording.Recorder(__file__, {**shared, "rated_examples": len(data["movies"].test)},
                              options.again, options.forget)

    def make(wish):
        if wish.get("control") == "random update":
            return randomized(record, data, wish["method"], wish["seed"]), {}
        if wish["group"] == "heart":
            return by_heart(wish, data["movies"]), {}
        return run(wish, data[wish.get("domain", "movies")]), {}

    for wish in wanted(record, options.groups, options.share):
        record.make([wish], make)
    if "ratings" not in record.made():    # so that a judge needs no data set
        record.gain(ratings={"movies": protocol.pack(torch.tensor(
            [rating for _, rating in data["movies"].test]))})
    for part, how in SOLVED.items():
        if "exact" in options.groups and part not in record.made():
            record.gain(**{part: exact(*how)})
    if "forgetting" in options.groups:
        forget(record, data, options.share)
    if "tasks" in options.groups:
        travel(record, data)
    if "costs" in options.groups:
        price(record, data)


if __name__ == "__main__":
    main()
