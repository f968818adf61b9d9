"""Make the record of lesson 06: (IA)³ on few and on many sentences, its vectors, the mixing desk.

    python assets/records/ia3.py                  all that is missing, about 20 minutes, one core
    python assets/records/ia3.py --only smollm2   one part: smollm2, minilm or desk

Writes `ia3.json`: one row a run; the vectors of one run on MiniLM (`gains`, with its head), and
what MiniLM answers when they are turned (`desk`). Interrupted, it goes on where it stopped.

    smollm2   asked for the word behind "Review: … Sentiment:", reviews of at most 16 words. The
              frozen model, with and without a threshold; (IA)³ and LoRA (rank 8, query and value),
              after 16 sentences seen four times and 64 seen twice, half of each label. Each of
              the four at its own rate: the best of `LADDER` on 100 questions of validation, after
              a draw that is tested nowhere.
    minilm    (IA)³ after 4,000 sentences, as in the other lessons.
    desk      l = 1 + t (l - 1) for a place, a block, or all: the answers on 150 sentences.
    full      after full fine-tuning on 4,000 sentences: the share of each matrix's change that its
              nearest gains reach, and its nearest change of rank 1; the same of the change's
              outputs, for inputs as they come, by the gains that are nearest there ("outputs"),
              and of a random change's ("noise"); the accuracy when all 36 changes are cut to
              one of these ("gains", "outputs", "rank1"), and when the nearest gains are scaled
              to the change's norm ("scaled").
"""

import copy
import itertools
import random
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

import peft_teach as pt
from peft_teach.course import recording
from peft_teach.course.checks.stand_ins import Output
from peft_teach.course.desk import reviews as reading
from peft_teach.data import Example

EPOCHS = {16: 4, 64: 2}                     # sentences, in batches of 4: how often each is seen
FIRST = {"ia3": 1e-2, "lora": 1e-3}         # where each search begins
LADDER = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
SEEDS, ASIDE = (0, 1, 2), 3                 # draws that are tested; the draw of the search
TESTS, VALIDATION = 200, 100                # questions to SmolLM2
SHORT, TOKENS = 16, 64                      # words of the longest review; room for the question
SEARCHED = {
    "ia3": {"by": "lr", "groups": ("search",), "where": {"seed": 3}, "each": "shots",
            "score": "accuracy", "used": ("few",)},
    "lora": {"by": "lr", "groups": ("search",), "where": {"seed": 3}, "each": "shots",
             "score": "accuracy", "used": ("few",)},
}
PLACES = ("key", "value", "ffn_out")
MATRICES = ("query", "key", "value", "attention_out", "ffn_in", "ffn_out")
TURNS = (-1.0, 0.0, 0.5, 1.0, 1.5, 2.0)
DESK = 150
FULL, READ = 4000, 500                      # sentences of the full fine-tuning; of its inputs


def wanted(record: recording.Recorder, part: str | None):
    """Yield (group, setting) of every run; the next rate depends on the rows that stand by then."""
    if part in (None, "minilm"):
        yield "many", {"method": "ia3", "seed": 0}
    if part in (None, "desk"):
        yield "desk", {"seed": 0}
    if part in (None, "smollm2"):
        yield "frozen", {"method": "none"}
        for shots in EPOCHS:
            for method in FIRST:
                while rate := recording.next_rate(tried(record.made(), method, shots), LADDER,
                                                  FIRST[method]):
                    yield "search", few(method, shots, ASIDE, rate)
        for seed in SEEDS:
            for shots in EPOCHS:
                for method in FIRST:
                    found = tried(record.read(), method, shots)
                    yield "few", few(method, shots, seed, max(found, key=found.get))
    if part in (None, "minilm"):
        yield "full", {"method": "full", "seed": 0}
        for seed in SEEDS[1:]:
            yield "many", {"method": "ia3", "seed": seed}


def few(method: str, shots: int, seed: int, lr: float) -> dict:
    """Return the setting of a training on a few questions."""
    return {"method": method, "shots": shots, "seed": seed, "lr": lr}


def tried(record: dict, method: str, shots: int) -> dict[float, tuple[float, float]]:
    """Return how good each rate of a search was: more right answers, then less loss."""
    return {row["setting"]["lr"]: (row["accuracy"], -row["validation_loss"])
            for row in record.get("runs", ()) if row["group"] == "search"
            and (row["setting"]["method"], row["setting"]["shots"]) == (method, shots)}


@torch.no_grad()
def answers(model, batches):
    """Return what a classifier answers, and the share that is right."""
    model.eval()
    said = torch.cat([model(**batch).logits.argmax(-1) for batch in batches])
    right = torch.cat([batch["labels"] for batch in batches])
    return said, round((said == right).float().mean().item(), 4)


def threshold(scores, labels):
    """Return the threshold with the most right answers, midway between two scores."""
    s = scores.sort().values
    middles = torch.cat([s[:1] - 1, (s[1:] + s[:-1]) / 2, s[-1:] + 1])
    right = ((scores[None] > middles[:, None]) == labels.bool()[None]).float().mean(1)
    best = (right == right.max()).nonzero().flatten()
    return middles[best[len(best) // 2]]


# ── SmolLM2 ──────────────────────────────────────────────────────────────────────────────────


class Words(torch.nn.Module):
    """A causal language model as a classifier of two words. Rows are padded on the left."""

    num_labels = len(reading.WORDS)

    def __init__(self, model: torch.nn.Module, tokenizer):
        super().__init__()
        self.model = model
        self.ids = reading.two_words(tokenizer)

    def forward(self, input_ids: Tensor, attention_mask: Tensor,
                labels: Tensor | None = None) -> Output:
        """Return the logits (batch, 2) of the two words, and the loss where there are labels."""
        last = self.features(input_ids, attention_mask)                       # (batch, d)
        logits = last @ self.model.get_output_embeddings().weight[self.ids].T    # (batch, 2)
        loss = None if labels is None else torch.nn.functional.cross_entropy(logits, labels)
        return Output(loss=loss, logits=logits)

    def features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return what the model holds where the word would follow, (batch, d)."""
        hidden = self.model.base_model(input_ids=input_ids, attention_mask=attention_mask,
                                       use_cache=False).last_hidden_state
        return hidden[:, -1]


def ask(examples: Iterable[Example]) -> list[Example]:
    """Return the short reviews among these as questions, with their labels."""
    return [Example(reading.QUESTION.format(text), label)
            for text, label in reading.short(examples, SHORT)]


def draw(examples: Sequence[Example], n: int, seed: int) -> list[Example]:
    """Return n examples, half of them of each label; of one seed, few are the first of many."""
    shuffled = random.Random(seed).sample(list(examples), len(examples))
    kinds = ([e for e in shuffled if e.label == label][:n // 2] for label in (0, 1))
    return [example for pair in zip(*kinds, strict=True) for example in pair]


def questions(split, tokenizer, number):
    """Return the first short reviews of a split as batches of questions."""
    return pt.data.batches(ask(split)[:number], tokenizer, 20, TOKENS, shuffle=False)


def frozen(data):
    """Return what SmolLM2 knows before any training, and what a threshold adds."""
    model, tokenizer = pt.models.load("smollm2")
    tokenizer.padding_side = "left"
    model = Words(model, tokenizer).eval()
    train, test = ask(data.train), questions(data.test, tokenizer, TESTS)

    @torch.no_grad()
    def seen(batches):
        features = torch.cat([model.features(b["input_ids"], b["attention_mask"]) for b in batches])
        w = model.model.get_output_embeddings().weight[model.ids]
        return features @ (w[1] - w[0]), torch.cat([b["labels"] for b in batches])

    test_scores, truth = seen(test)
    row = {"answers": recording.bits(test_scores > 0), "truth": recording.bits(truth),
           "thresholds": []}
    for shots, seed in itertools.product(EPOCHS, SEEDS):
        drawn = pt.data.batches(draw(train, shots, seed), tokenizer, 16, TOKENS,
                                shuffle=False)
        right = (test_scores > threshold(*seen(drawn))) == truth
        row["thresholds"].append({"shots": shots, "seed": seed,
                                  "accuracy": round(right.float().mean().item(), 4)})
    return row


def few_words(setting, data, searching):
    """Train SmolLM2 on a few questions; return its row, on validation's questions or the test's."""
    seed = setting["seed"]
    pt.seed(seed)
    model, tokenizer = pt.models.load("smollm2")
    tokenizer.padding_side = "left"
    model = getattr(pt, setting["method"]).inject(model)
    drawn = draw(ask(data.train), setting["shots"], seed)
    batches = pt.data.batches(drawn, tokenizer, 4, TOKENS, seed=seed,
                              epochs=EPOCHS[setting["shots"]])
    asking = Words(model, tokenizer)
    steps = list(pt.train(asking, batches, setting["lr"]))
    row = {**setting, "model": "smollm2", "steps": len(steps),
           "losses": [round(s.loss, 3) for s in steps],
           "parameters": sum(p.numel() for p in pt.adapter_parameters(model).values())}
    if searching:
        found = pt.evaluate(asking, questions(data.validation, tokenizer, VALIDATION))
        return row | {"accuracy": round(found.accuracy, 4), "tests": VALIDATION,
                      "validation_loss": round(found.loss, 4)}
    said, accuracy = answers(asking, questions(data.test, tokenizer, TESTS))
    return row | {"accuracy": accuracy, "tests": TESTS, "answers": recording.bits(said)}


# ── MiniLM ───────────────────────────────────────────────────────────────────────────────────


def with_vectors(setting, data):
    """Train (IA)³ and a new head on MiniLM; return its row and the model."""
    pt.seed(setting["seed"])
    model, tokenizer = pt.models.load("minilm", labels=2)
    model = pt.ia3.inject(model)
    batches = pt.data.batches(data.train[:4000], tokenizer, 16, seed=setting["seed"])
    steps = list(pt.train(model, batches, 1e-2))
    _, accuracy = answers(model, pt.data.batches(data.test, tokenizer, 64))
    return {**setting, "model": "minilm", "lr": 1e-2, "steps": len(steps), "accuracy": accuracy,
            "tests": len(data.test), "losses": [round(s.loss, 3) for s in steps]}, model


def stored(model):
    """Return the vectors and the head, to put them on another MiniLM."""
    kept = {f"{name}.l": adapter.l for name, adapter in pt.adapters(model).items()}
    kept |= {name: model.get_parameter(name) for name in pt.models.head(model)}
    return {name: [round(x, 5) for x in p.detach().flatten().tolist()] for name, p in kept.items()}


@torch.no_grad()
def desk(data, gains):
    """Return the answers to 150 test sentences, for every setting of the desk."""
    model, tokenizer = pt.models.load("minilm", labels=2)
    model = pt.ia3.inject(model).eval()
    vectors = {}
    for name, values in gains.items():
        p = model.get_parameter(name)
        p.copy_(torch.tensor(values).view_as(p))
        if name.endswith(".l"):
            vectors[name] = p.clone()
    place_of = pt.models.place_of(model)
    batches = pt.data.batches(data.test[:DESK], tokenizer, 40, shuffle=False)
    table = {"1.0 all": recording.bits(answers(model, batches)[0])}
    truth = recording.bits(torch.cat([b["labels"] for b in batches]))
    for t in TURNS:
        for turned in ("all", *PLACES, *map(str, range(6))):
            if t == 1:
                continue
            for name, l in vectors.items():
                meant = turned in ("all", place_of[name.removesuffix(".l")]) or (
                    f".layer.{turned}." in name)
                model.get_parameter(name).copy_(1 + (t if meant else 1) * (l - 1))
            table[f"{t} {turned}"] = recording.bits(answers(model, batches)[0])
    return {"truth": truth, "answers": table}


@torch.no_grad()
def second_moments(model, names, batches):
    """Return E[x xᵀ] of what each of these layers reads, (n_in, n_in), over all tokens of texts."""
    found, mask = dict.fromkeys(names, 0.0), None

    def look(name):
        def hook(module, inputs):
            x = inputs[0][mask]                                       # (tokens, n_in)
            found[name] = found[name] + x.T @ x
        return model.get_submodule(name).register_forward_pre_hook(hook)

    hooks = [look(name) for name in names]
    for batch in batches:
        mask = batch["attention_mask"].bool()
        model(**batch)
    for hook in hooks:
        hook.remove()
    return {name: C.double() for name, C in found.items()}


def fitted(W, delta, C, columns):
    """Return the change by gains that is nearest to ΔW in the outputs, for inputs with E[x xᵀ] = C.

    W, ΔW (n_out, n_in), C (n_in, n_in), all float64. Least squares of (l - 1) in x ΔWᵀ.
    """
    if columns:
        a = (W.T @ W * C + 1e-9 * C.diag().mean() * torch.eye(len(C), dtype=C.dtype))
        return W * torch.linalg.solve(a, (W.T @ delta @ C).diag())
    return ((W @ C) * delta).sum(1, keepdim=True) / ((W @ C) * W).sum(1, keepdim=True) * W


def energy(change, C):
    """Return the energy of a change in the outputs, for inputs with E[x xᵀ] = C."""
    return ((change @ C) * change).sum()


def full(data):
    """Fine-tune all weights; return what of each change gains and rank 1 can reach."""
    pt.seed(0)
    model, tokenizer = pt.models.load("minilm", labels=2)
    before = recording.matrices(model, MATRICES)
    model = pt.full.inject(model, pt.full.Config("all"))
    list(pt.train(model, pt.data.batches(data.train[:FULL], tokenizer, 16, seed=0), 1e-4))
    test = pt.data.batches(data.test, tokenizer, 64)
    C = second_moments(model.eval(), before, pt.data.batches(
        data.train[:READ], tokenizer, 50, shuffle=False))
    row = {"examples": FULL, "tests": len(data.test), "uncut": answers(model, test)[1], "reach": {}}
    cut = {kind: copy.deepcopy(model)
           for kind in ("gains", "outputs", "rank1", "scaled", "none")}
    for n, W in before.items():
        delta = model.get_submodule(n).weight.detach() - W
        columns = n.endswith("output.dense") and "attention" not in n
        dim = 0 if columns else 1
        nearest = (W * delta).sum(dim, keepdim=True) / W.square().sum(dim, keepdim=True) * W
        U, S, Vh = torch.linalg.svd(delta, full_matrices=False)
        size = delta.norm() / nearest.norm()
        noise = torch.randn(W.shape, generator=torch.Generator().manual_seed(0)).double()
        in_outputs = {kind: fitted(W.double(), d.double(), C[n], columns)
                      for kind, d in (("outputs", delta), ("noise", noise))}
        row["reach"][n] = {
            "gains": round((nearest.norm() / delta.norm()).item() ** 2, 5),
            "rank1": round((S[0].square() / S.square().sum()).item(), 5),
            **{kind: round((1 - energy(d.double() - in_outputs[kind], C[n])
                            / energy(d.double(), C[n])).item(), 5)
               for kind, d in (("outputs", delta), ("noise", noise))}}
        for kind, change in {"gains": nearest, "outputs": in_outputs["outputs"].float(),
                             "rank1": S[0] * torch.outer(U[:, 0], Vh[0]),
                             "scaled": size * nearest, "none": 0 * W}.items():
            cut[kind].get_submodule(n).weight.data.copy_(W + change)
    return row | {kind: answers(m, test)[1] for kind, m in cut.items()}


def main():
    """Make what is missing, one run after the other, saving after each."""
    parser = recording.arguments(__doc__)
    parser.add_argument("--only", choices=("smollm2", "minilm", "desk"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = pt.data.load("movies")
    record = recording.Recorder(__file__, recording.setting(
        data, questions=TESTS, validation=VALIDATION, longest=SHORT, desk=DESK),
        options.again, options.forget)

    def make(about):
        group, setting = about["group"], about["setting"]
        if group == "frozen":
            return frozen(data), {}
        if group in ("few", "search"):
            return few_words(setting, data, group == "search"), {}
        if group == "desk":
            return {}, {"desk": desk(data, record.read()["gains"])}
        if group == "full":
            return full(data), {}
        row, model = with_vectors(setting, data)
        return row, {"gains": stored(model)} if setting["seed"] == 0 else {}

    record.make(({"group": group, "setting": setting}
                 for group, setting in wanted(record, options.only)), make)


if __name__ == "__main__":
    main()
