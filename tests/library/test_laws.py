"""The laws that every method keeps.

Method × family × head × padding side × dtype × gradient checkpointing are far too many. In `ROWS`
every two of these that can meet do meet, and of families and methods each method meets each form
that a family has: post-LN, pre-LN, or with one projection for query, key and value. On every
family each method is seen in short; what that does not ask, gradients, what stays frozen and what
a file brings back, is `long` there.
"""

import copy
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
import torch
import vera
from adapted import assert_same, checkpoint, copies, everything_about, fill, hidden, outputs
from exact import assert_equal
from pairs import pairwise, two_by_two
from safetensors.torch import load_file
from tiny import DECODERS as SOME_DECODERS
from tiny import ENCODERS as SOME_ENCODERS
from tiny import FAMILIES, FUSED, MORE_DECODERS, MORE_ENCODERS, ROBERTAS, sizes

import peft_teach as pt
from peft_teach import methods, models, notes

ENCODERS, DECODERS = (*SOME_ENCODERS, *MORE_ENCODERS), (*SOME_DECODERS, *MORE_DECODERS)
BIASED = (*SOME_ENCODERS, "electra", "xlm-roberta", "camembert", "gpt2", "gpt_neox", "opt", "llama",
          "qwen2")    # the others have no biases
DENSE = 32 * 32 + 32
HEAD = {"bert": 3 * 32 + 3, "modernbert": DENSE + 3 * 32 + 3} | dict.fromkeys(
    ("distilbert", "electra", *ROBERTAS), DENSE + 3 * 32 + 3)    # a decoder's `score` has no bias
HEADS = re.compile(r"(pre_)?classifier|score|head\.")    # ModernBERT has a head and a classifier
RANK, ALPHA, SIZE, LENGTH, WIDE = 4, 12.0, 6, 5, 40


def form(family: str) -> str:
    return "fused" if family in FUSED else "post-LN" if family in ENCODERS else "pre-LN"


# ── the methods, and what the laws need to know of each ──────────────────────────────────────


@dataclass(frozen=True)
class Method:
    """A method with settings, and what is true of it.

    `config(family)` makes the settings, `count(row)` the trained numbers beside the head, both
    written down here once more and independently of the library; `closed(family)` is what the
    method's own `count` says, where no test of published counts asks it. `start` bounds the
    distance from the base at the start (relative; None for methods that do not start as it does).
    """

    module: object
    config: Callable
    count: Callable
    start: float | None = 0.0
    merges: bool = True
    families: tuple[str, ...] = FAMILIES
    checkpoints: bool = True
    traits: frozenset = field(default_factory=frozenset)
    closed: Callable | None = None

    @property
    def file(self) -> str:
        return f"{self.module.__name__.replace('.', '/')}.py"


def some(family: str) -> tuple[str, ...]:
    return ("qkv",) if family in FUSED else ("query", "value")


def low_rank(module, extra=lambda n_in, n_out: 0, everywhere=False, start=0.0, traits=frozenset(),
             **settings) -> Method:
    """LoRA and what is made of it: rank (n_in + n_out) for each matrix, and something extra."""
    def config(family):
        targets = tuple(sizes(family)) if everywhere else some(family)
        return module.Config(rank=RANK, alpha=ALPHA, targets=targets, **settings)

    def count(family, kind):
        blocks = len(settings.get("layers", (0, 1)))
        chosen = sizes(family) if everywhere else {t: sizes(family)[t] for t in some(family)}
        return blocks * sum(RANK * (n_in + n_out) + extra(n_in, n_out)
                            for n_in, n_out in chosen.values())

    return Method(module, config, count, start, traits=traits)


def bottleneck(config, start=0.1, own_norm=False, **traits) -> Method:
    """One or more bottlenecks a block: 2 d m + m + d each, and 2 d for a norm of its own."""
    each = 2 * 32 * SIZE + SIZE + 32 + (64 if own_norm else 0)
    number = 2 * len(config.targets or ("one",)) if config != pt.bottleneck.ENDS else 2
    return Method(pt.bottleneck, lambda family: replace(config, size=SIZE),
                  lambda family, kind: number * each, start, merges=False, **traits)


def biases(family: str, kind: str) -> int:
    """Count the numbers in all biases of a tiny backbone."""
    attention, ffn, norms = 4 * 32, 48 + 32, 2 * 32
    if family == "bert":
        return 32 + 2 * (attention + ffn + norms) + 32                   # embeddings, pooler
    if family in ("distilbert", *ROBERTAS):
        pooler = 32 if family in ROBERTAS and kind == "backbone" else 0
        return 32 + 2 * (attention + ffn + norms) + pooler
    if family == "electra":
        return 20 + 32 + 2 * (attention + ffn + norms)                   # embeddings, projected
    if family in ("gpt2", "gpt_neox", "opt"):
        return 2 * (attention + ffn + norms) + 32                        # the last norm
    return 2 * {"llama": 32 + 16 + 16 + 32 + 48 + 48 + 32, "qwen2": 32 + 16 + 16}[family]


def d_kv(family: str) -> int:
    return 16 if family == "phi3" else sizes(family).get("key", (32, 32))[1]


def d_embedding(family: str) -> int:
    return 20 if family == "electra" else 32


ALSO = {"bert": "attention_norm", "llama": "last"}    # norms, which have places here
PROMPTS = {"start": None, "merges": False}
PREFIXES = PROMPTS | {"checkpoints": False, "families": tuple(
    f for f in FAMILIES if f not in ("distilbert", "modernbert"))}
METHODS = {
    "lora": low_rank(pt.lora),
    "lora rslora": low_rank(pt.lora, rank_stabilized=True),
    "lora dropout": low_rank(pt.lora, dropout=0.5),
    "lora one block": low_rank(pt.lora, layers=(1,)),
    "lora everywhere": low_rank(pt.lora, everywhere=True),
    "lora bias": replace(low_rank(pt.lora, lambda n_in, n_out: n_out, use_bias=True),
                         families=BIASED),
    "lora also": replace(low_rank(pt.lora), families=("bert", "llama"), config=lambda family: (
        pt.lora.Config(RANK, ALPHA, also_train=ALSO[family])), count=lambda family, kind: (
            2 * sum(RANK * sum(sizes(family)[t]) for t in some(family))
            + {"bert": 2 * 2 * 32, "llama": 32}[family])),
    "dora": low_rank(pt.dora, lambda n_in, n_out: n_out, start=1e-6),
    "dora dropout everywhere": low_rank(pt.dora, lambda n_in, n_out: n_out, everywhere=True,
                                        dropout=0.5, start=1e-6),
    "qlora": low_rank(pt.qlora, traits={"4-bit"}, double=False),
    "qlora double everywhere": low_rank(pt.qlora, everywhere=True, traits={"4-bit"}),
    "qlora dora": low_rank(pt.qlora, lambda n_in, n_out: n_out, traits={"4-bit"}, dora=True,
                           start=1e-6),
    "ia3": Method(pt.ia3, lambda family: pt.ia3.Config(),
                  lambda family, kind: 2 * (2 * d_kv(family) + 48)),
    "vera": Method(vera, lambda family: vera.Config(WIDE, targets=some(family)),
                   lambda family, kind: 2 * sum(WIDE + sizes(family)[t][1] for t in some(family))),
    "bitfit": Method(pt.bitfit, lambda family: pt.bitfit.Config(), biases,
                     families=BIASED),
    "bottleneck houlsby": bottleneck(pt.bottleneck.HOULSBY),
    "bottleneck pfeiffer": bottleneck(pt.bottleneck.PFEIFFER),
    "bottleneck bapna": bottleneck(pt.bottleneck.BAPNA, own_norm=True),
    "bottleneck post attention": bottleneck(pt.bottleneck.POST_ATTENTION),
    "bottleneck parallel": bottleneck(pt.bottleneck.PARALLEL, start=0.0, families=tuple(
        f for f in FAMILIES if f != "opt")),    # which has no module to stand beside
    "bottleneck ends": bottleneck(pt.bottleneck.ENDS),
    "prompt": Method(pt.prompt, lambda family: pt.prompt.Config(LENGTH),
                     lambda family, kind: LENGTH * d_embedding(family), **PROMPTS),
    "prompt first": Method(pt.prompt, lambda family: pt.prompt.Config(LENGTH, pool="first"),
                           lambda family, kind: LENGTH * d_embedding(family),
                           **PROMPTS | {"families": ENCODERS}),
    "prefix": Method(pt.prefix, lambda family: pt.prefix.Config(LENGTH),
                     lambda family, kind: LENGTH * 2 * 2 * d_kv(family), **PREFIXES),
    "prefix projection": Method(
        pt.prefix, lambda family: pt.prefix.Config(LENGTH, projection=7),
        lambda family, kind: ((LENGTH + 7) * d_embedding(family) + 7
                              + (7 + 1) * 2 * 2 * d_kv(family)),
        **PREFIXES),
}
FACTORS = {
    "family": FAMILIES,
    "kind": ("backbone", "classifier", "lm"),
    "padding": ("right", "left"),
    "dtype": (torch.float32, torch.bfloat16),
    "checkpointing": (False, True),
    "method": tuple(METHODS),
}


def possible(row: dict) -> bool:
    method = METHODS[row.get("method", "lora")]
    return ((row.get("kind") != "lm" or row.get("family", "llama") in DECODERS)
            and row.get("family", "bert") in method.families
            and not ((row.get("kind"), row.get("family")) == ("lm", "opt")    # it passes them by
                     and method.module in (pt.prompt, pt.prefix))
            and (method.checkpoints or not row.get("checkpointing"))
            and not (row.get("kind") == "lm" and not set(method.families) & set(DECODERS)))


def meetings(row: tuple) -> set:
    """Return the pairs of a row; with a method not its family meets, but the family's form."""
    family, *others, method = row
    return two_by_two((family, *others)) | two_by_two((form(family), *others, method))


def rows(goals: Callable[[tuple], set]) -> list[dict]:
    return [dict(zip(FACTORS, row)) for row in pairwise(
        *FACTORS.values(), possible=lambda *row: possible(dict(zip(FACTORS, row))), goals=goals)]


ROWS = rows(meetings)
MET = {(row["family"], row["method"]) for row in ROWS}
REST = [row for row in rows(lambda row: {(row[0], row[-1])})
        if (row["family"], row["method"]) not in MET]


def name(row: dict) -> str:
    return "-".join(str(v).removeprefix("torch.") for v in row.values()).replace(" ", "_")


@pytest.fixture(autouse=True)
def _vera_is_in_the_table(monkeypatch):
    """Let VeRA, the worked example of CONTRIBUTING.md, be a method of the library here."""
    monkeypatch.setitem(methods.METHODS, "vera", vera)


each_row = pytest.mark.parametrize("untouched", ROWS, ids=name, indirect=True)
# What the test on every family in short does not ask.
each_row_and_the_rest = pytest.mark.parametrize("untouched", [
    *ROWS, *(pytest.param(row, marks=pytest.mark.long) for row in REST)], ids=name, indirect=True)
every_method = pytest.mark.parametrize("method", METHODS)


def in_turn(*families: str) -> list[tuple[str, str]]:
    """Return every method with one of these families, which take turns."""
    fitting = [[f for f in families if f in m.families] for m in METHODS.values()]
    return [(f[i % len(f)], method) for i, (f, method) in enumerate(zip(fitting, METHODS))]


def config(family: str, method: str = "lora"):
    return METHODS[method].config(family)


class Case:
    """A tiny model of one row, a batch for it, and what it computed before any method."""

    def __init__(self, row: dict, tiny, inputs):
        self.row, self.dtype = row, row["dtype"]
        self.model = tiny(row["family"], row["kind"]).to(self.dtype)
        if row["checkpointing"]:
            checkpoint(self.model)
        self.batch = inputs(self.model, row["padding"])
        self.method = METHODS[row["method"]]
        self.config = self.method.config(row["family"])
        self.weights = copies(self.model)
        self.total = sum(p.numel() for p in self.model.parameters())
        self.hidden = hidden(self.model, self.batch)
        self.outputs = outputs(self.model, self.batch)

    def fresh(self):
        """Return the same case with a model of its own; all else is only read."""
        other = copy.copy(self)
        other.model = copy.deepcopy(self.model)
        return other

    def inject(self):
        """Put the method on; what is then called the base is 4-bit for a QLoRA."""
        self.model = self.method.module.inject(self.model, self.config)
        if "4-bit" in self.method.traits:
            with pt.disabled(self.model):
                self.hidden = hidden(self.model, self.batch)
                self.outputs = outputs(self.model, self.batch)
        return self.model


@pytest.fixture(scope="module")
def untouched(request, tiny, inputs):
    """Give a row's case before any method; module-wide, so that all laws of a row follow it."""
    return Case(request.param, tiny, inputs)


@pytest.fixture
def case(untouched):
    return untouched.fresh()


def loss(model, batch) -> torch.Tensor:
    out = model(**batch)
    if "labels" in batch:
        return out.loss
    read = [out[0], *([out.pooler_output] if out.get("pooler_output") is not None else [])]
    return sum(x.float().square().mean() for x in read)


def train(model, batch, steps: int = 2) -> None:
    if "labels" in batch:
        for _ in pt.train(model, [batch] * steps, lr=5e-2):
            pass
        return
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-2)
    model.train()
    for _ in range(steps):
        loss(model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return how far a is from b, relative to the size of b."""
    return ((a.double() - b.double()).norm() / b.double().norm()).item()


def test_the_rows_meet_in_every_pair():
    met = {pair for row in ROWS for pair in itertools.combinations(row.items(), 2)}
    for (a, left), (b, right) in itertools.combinations(FACTORS.items(), 2):
        for x, y in itertools.product(left, right):
            assert ((a, x), (b, y)) in met or (a, b) == ("family", "method") or not possible(
                {a: x, b: y})
    every = {(family, method) for method, m in METHODS.items() for family in m.families}
    assert {(form(family), method) for family, method in MET} == {
        (form(family), method) for family, method in every}
    assert MET | {(row["family"], row["method"]) for row in REST} == every
    # As many as the two largest factors need, or nearly: a method more is few rows more.
    forms = len({form(family) for family in FAMILIES})
    assert len(ROWS) <= 1.2 * max(forms * len(METHODS), len(FAMILIES) * len(FACTORS["kind"]))


def test_every_method_of_the_library_is_here():
    """By a row, or several, named as the method, and by what follows it: "lora everywhere"."""
    rows = {name: method.module.__name__.rpartition(".")[2] for name, method in METHODS.items()}
    assert {name for name in rows if name.split()[0] != rows[name]} == set()
    lacking = {*methods.METHODS} - {"full", *rows.values()}
    assert not lacking, f"METHODS in tests/library/test_laws.py has no row of {lacking}"
    assert {*rows.values()} <= {*methods.METHODS}


# ── 1: at the start the adapted model is the base ────────────────────────────────────────────


@each_row
def test_law_1_at_the_start_nothing_has_changed(case):
    model = case.inject()
    moved = distance(hidden(model, case.batch), case.hidden)
    if case.method.start == 0:
        moving = {n.rpartition(".")[2] for n, p in pt.adapter_parameters(model).items() if p.any()}
        assert moved == 0, (f"{case.method.file}: its first output is not the base's; of its "
                            f"parameters do not start at zero: {sorted(moving)}")
        assert_equal(hidden(model, case.batch), case.hidden)
        assert_equal(outputs(model, case.batch), case.outputs)
    elif case.method.start is not None:
        assert moved <= max(case.method.start, 0.02 * (case.dtype == torch.bfloat16))
    else:    # a prompt or a prefix takes a share of the attention, whatever it holds
        assert moved > 0.01
    start = hidden(model, case.batch)
    fill(model)    # what was seen above is worth something only if this can change it
    assert distance(hidden(model, case.batch), start) > 0.01


# ── 2: what has a gradient ───────────────────────────────────────────────────────────────────


@each_row_and_the_rest
def test_law_2_only_adapter_and_head_have_a_gradient(case):
    model = case.inject()
    fill(model)
    model.train()
    loss(model, case.batch).backward()
    trained = {id(p): n for n, p in pt.adapter_parameters(model).items()}
    head = {n for n, _ in model.named_parameters() if HEADS.match(n)}
    assert (not head) == (case.row["kind"] != "classifier")
    for n, p in model.named_parameters():
        if id(p) in trained or n in head:
            assert p.grad is not None, n
            assert p.grad.abs().sum() > 0 or without_effect(trained.get(id(p), ""), case), n
        else:
            assert p.grad is None, n
    assert len(trained) == sum(id(p) in trained for p in model.parameters())
    assert all(p.dtype == torch.float32 for p in pt.adapter_parameters(model).values())


def without_effect(name: str, case) -> bool:
    """Return whether a parameter cannot change the output: a bias of the keys shifts all logits
    of a query alike, and softmax does not see that."""
    return case.row["method"] == "bitfit" and bool(re.search("key|k_lin|k_proj", name))


@pytest.mark.parametrize(("family", "method"), [
    (family, method) for family, method in in_turn("bert", "gpt2", "llama")
    if METHODS[method].checkpoints])
def test_law_2_checkpointing_changes_no_gradient(family, method, tiny, inputs):
    gradients = []
    for checkpointing in (False, True):
        model = METHODS[method].module.inject(tiny(family), config(family, method))
        fill(model)
        if checkpointing:
            checkpoint(model)
        calls = []
        first = next(m for n, m in model.named_modules() if re.search("query$|c_attn$|q_proj$", n))
        first.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        model.train()
        torch.manual_seed(3)    # for dropout
        loss(model, inputs(model)).backward()
        assert len(calls) == 1 + checkpointing    # once more in the backward pass
        gradients.append({n: p.grad for n, p in pt.adapter_parameters(model).items()})
    for n, g in gradients[0].items():
        torch.testing.assert_close(gradients[1][n], g, rtol=1e-5, atol=1e-6)


@every_method
def test_law_2_what_trains_besides_has_a_gradient_with_every_method(method, tiny, inputs):
    name = "bert.embeddings.position_embeddings"    # no method's own target
    settings = replace(config("bert", method), also_train=name)
    model = METHODS[method].module.inject(tiny("bert"), settings)
    loss(model, inputs(model)).backward()
    assert pt.adapter_parameters(model)[f"{name}.trained.weight"].grad.abs().sum() > 0


@pytest.mark.parametrize("train", ["all", "head"])
def test_law_2_full(train, tiny, inputs):
    model = pt.full.inject(tiny("bert"), pt.full.Config(train))
    loss(model, inputs(model)).backward()
    with_gradient = {n for n, p in model.named_parameters() if p.grad is not None}
    everything = {n for n, _ in model.named_parameters()}
    head = {"classifier.weight", "classifier.bias"}
    assert with_gradient == (everything if train == "all" else head)
    assert set(pt.adapter_parameters(model)) == with_gradient - head


# ── 3: the base stays, bit for bit ───────────────────────────────────────────────────────────


@each_row_and_the_rest
def test_law_3_training_leaves_the_base_alone(case):
    model = case.inject()
    train(model, case.batch)
    trained = hidden(model, case.batch)
    assert not torch.equal(trained, case.hidden)
    with pt.disabled(model):
        assert_equal(hidden(model, case.batch), case.hidden)
    assert_equal(hidden(model, case.batch), trained)

    model = remove(model, case.method)
    assert_equal(hidden(model, case.batch), case.hidden)
    four_bit = {f"{n}.weight" for n, m in model.named_modules()
                if isinstance(m, pt.nf4.Linear4bit)}
    assert bool(four_bit) == ("4-bit" in case.method.traits)
    model = models.to_hf(model)
    after = model.state_dict()
    assert after.keys() == case.weights.keys()
    for n, before in case.weights.items():
        if not HEADS.match(n) and n not in four_bit:
            assert_equal(after[n], before, n)


def remove(model, method):
    """Take a method off; after a QLoRA the base stays so, which is said by a warning."""
    if "4-bit" not in method.traits:
        return pt.remove(model)
    with pytest.warns(UserWarning, match="4 bits"):
        return pt.remove(model)


def test_law_3_the_head_alone_leaves_the_backbone(tiny, inputs):
    model = tiny("bert")
    before, batch = copies(model), inputs(model)
    model = pt.full.inject(model, pt.full.Config("head"))
    train(model, batch)
    changed = {n for n, p in model.state_dict().items() if not torch.equal(p, before[n])}
    assert changed == {"classifier.weight", "classifier.bias"}
    assert pt.adapter_parameters(model) == {}


def test_law_3_full_changes_every_weight(tiny, inputs):
    model = tiny("bert")
    before, batch = copies(model), inputs(model)
    model = pt.full.inject(model)
    train(model, batch)
    for n, p in model.named_parameters():
        assert not torch.equal(p, before[n]), n


# ── 4: merged is the same function ───────────────────────────────────────────────────────────


@each_row
def test_law_4_merged_equals_adapted_or_raises(case):
    model = case.inject()
    fill(model)
    adapted = hidden(model, case.batch)
    moved = distance(adapted, case.hidden)
    assert moved > 0.01
    if not case.method.merges:
        before = everything_about(model, case.batch)
        with pytest.raises(pt.errors.NotMergeable):
            pt.merge(model)
        assert_same(everything_about(model, case.batch), before)
        return

    biases = {n: p for n, p in case.weights.items() if n.endswith("bias")}
    wrapped = pt.adapters(model)
    merged = pt.merge(model)
    assert merged is model
    assert pt.adapters(merged) == {}
    exact = case.dtype == torch.float32
    assert distance(hidden(merged, case.batch), adapted) < (1e-5 if exact else 0.3 * moved), (
        f"{case.method.file}: merged() is not forward()")
    for n in wrapped:
        layer = merged.get_submodule(n)
        assert type(layer).__name__ in ("Linear", "LayerNorm", "LlamaRMSNorm")
        assert layer.weight.dtype == case.dtype
        assert (getattr(layer, "bias", None) is None) == (f"{n}.bias" not in biases)
    plain = models.to_hf(merged)
    assert plain.state_dict().keys() == case.weights.keys()
    assert distance(hidden(plain, case.batch), adapted) < (1e-5 if exact else 0.3 * moved)


# ── 5: saved and loaded ──────────────────────────────────────────────────────────────────────


@each_row_and_the_rest
def test_law_5_a_saved_adapter_comes_back(case, untouched, tmp_path):
    model = case.inject()
    fill(model)
    head = set(models.head(model))
    for n, p in model.named_parameters():
        if n in head:
            p.data += 0.5    # as if trained: a head that is not saved would show
    trained = outputs(model, case.batch)
    assert not torch.equal(trained, case.outputs)
    assert_that_little_is_kept(model, pt.save(model, tmp_path))

    loaded = pt.load(untouched.fresh().model, tmp_path)
    assert_equal(outputs(loaded, case.batch), trained)
    as_stored = (replace(case.config, projection=None) if case.row["method"] == "prefix projection"
                 else case.config)
    assert notes.note_of(loaded).config == as_stored
    if case.config == as_stored:
        assert {n for n, p in loaded.named_parameters() if p.requires_grad} == {
            n for n, p in model.named_parameters() if p.requires_grad}

    fill(loaded, seed=6)
    assert not torch.equal(outputs(loaded, case.batch), trained)
    assert_equal(outputs(pt.store.swap(loaded, tmp_path), case.batch), trained)


def assert_that_little_is_kept(model, folder) -> None:
    """A file holds at most as many numbers as are trained, and their names and shapes."""
    file, trained = folder / "adapter.safetensors", [p for p in model.parameters()
                                                     if p.requires_grad]
    trained_bytes = sum(p.nbytes for p in trained)
    kept_bytes = sum(t.nbytes for t in load_file(file).values())
    assert kept_bytes <= trained_bytes, (
        f"{kept_bytes:,} bytes of tensors are kept for {trained_bytes:,} that are trained; what is "
        "frozen and shared is drawn from a seed: see CONTRIBUTING.md")
    told_bytes = (folder / "adapter.json").stat().st_size    # stands in the metadata, too
    assert file.stat().st_size <= trained_bytes + told_bytes + 6_000


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_law_5_a_vera_that_keeps_its_own_matrices_breaks_it(family, tiny, tmp_path, monkeypatch):
    class Keeping(vera.VeRALinear):
        def __init__(self, base, shared):
            super().__init__(base, shared)
            self.A = torch.nn.Parameter(shared.A, requires_grad=False)
            self.B = torch.nn.Parameter(shared.B, requires_grad=False)

    monkeypatch.setattr(vera, "VeRALinear", Keeping)
    model = vera.inject(tiny(family), config(family, "vera"))
    with pytest.raises(AssertionError, match="drawn from a seed"):
        assert_that_little_is_kept(model, pt.save(model, tmp_path))


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_law_5_swapping_from_each_method_to_the_next(family, tiny, inputs, tmp_path):
    expected = {}
    for method, m in METHODS.items():
        if family not in m.families:
            continue
        model = m.module.inject(tiny(family), config(family, method))
        fill(model)
        batch = inputs(model)
        expected[method] = outputs(model, batch)
        pt.save(model, tmp_path / method)
    assert {saved.name for saved in pt.store.saved(tmp_path)} == set(expected)
    order = [m for m in expected if "4-bit" not in METHODS[m].traits]    # a base stays 4-bit
    model = tiny(family)
    for method in (*order, *reversed(order)):
        model = pt.store.swap(model, tmp_path / method)
        assert_equal(outputs(model, batch), expected[method], method)


# ── 6: a failed or repeated inject ───────────────────────────────────────────────────────────


# The first targets exist everywhere, so that a failure comes when some wrappers are made already.
OUT = ("attention_out",)
WRONG = [
    (pt.lora, {"targets": (*OUT, "embeddings")}),           # the last module is not linear
    (pt.lora, {"targets": (*OUT, "nowhere")}),
    (pt.lora, {"targets": (*OUT, "ffn_in"), "rank": 33}),   # fits no square matrix of 32
    (pt.lora, {"targets": OUT, "layers": (0, 2)}),
    (pt.lora, {"targets": OUT, "layers": ()}),
    (pt.lora, {"targets": ()}),
    (pt.lora, {"targets": OUT, "also_train": ("last", "nowhere")}),
    (pt.lora, {"targets": OUT, "also_train": ("last", *OUT)}),
    (pt.lora, {"targets": OUT, "also_train": "block"}),     # it holds a target
    (pt.dora, {"targets": (*OUT, "ffn_in"), "rank": 33}),
    (pt.dora, {"targets": (*OUT, "last")}),
    (pt.qlora, {"rank": 33}),
    (pt.qlora, {"targets": (*OUT, "nowhere")}),
    (pt.qlora, {"targets": OUT, "quantize": ("ffn_in", "nowhere")}),
    (pt.qlora, {"targets": OUT, "quantize": ("ffn_in", "last")}),
    (pt.qlora, {"targets": (*OUT, "embeddings")}),
    (pt.qlora, {"targets": OUT, "quantize": ()}),
    (pt.ia3, {"targets": (*OUT, "ffn_in")}),
    (pt.ia3, {"targets": (*OUT, "nowhere")}),
    (pt.ia3, {"layers": (2,)}),
    (vera, {"targets": (*OUT, "embeddings")}),
    (pt.bitfit, {"targets": ("nowhere",)}),
    (pt.bitfit, {"targets": ("ffn_out", "embeddings")}),
    (pt.bitfit, {"layers": (0, 5)}),
    (pt.bottleneck, {"reads": "output", "targets": (*OUT, "nowhere")}),
    (pt.bottleneck, {"reads": "input", "targets": OUT}),
    (pt.prompt, {"length": 400}),
    (pt.prompt, {"start": "vocabulary"}),                   # needs the tokenizer
]


# Each of them once, and the wrong settings of each method on every family here.
@pytest.mark.parametrize(("family", "wrong"), pairwise(
    ("bert", "distilbert", "gpt2", "llama"), range(len(WRONG)),
    goals=lambda row: {row[1], (row[0], WRONG[row[1]][0])}),
    ids=lambda x: x if isinstance(x, str) else f"{WRONG[x][0].__name__} {WRONG[x][1]}")
def test_law_6_a_failed_inject_leaves_no_trace(family, wrong, tiny, inputs):
    module, wrong = WRONG[wrong]
    model, config = tiny(family).train(), module.Config(**wrong)    # seen by `inject` alone
    for p in itertools.islice(model.parameters(), 0, None, 3):
        p.requires_grad_(False)    # whatever the user had set
    batch = inputs(model)
    before = everything_about(model, batch)
    with pytest.raises(pt.errors.PeftTeachError):
        module.inject(model, config)
    assert_same(everything_about(model, batch), before)
    assert pt.adapters(model) == {}
    with pytest.raises(pt.errors.NoAdapter):
        pt.adapter_parameters(model)


@pytest.mark.parametrize(("family", "method", "says"), [
    ("distilbert", "prefix", "ignores"), ("mistral", "bitfit", "no biases"),
    ("qwen3", "bitfit", "no biases"), ("gpt2", "prompt first", "encoders"),
    ("modernbert", "prefix", "ignores"), ("modernbert", "bitfit", "no biases"),
    ("phi3", "bitfit", "no biases"), ("gemma3_text", "prompt first", "encoders"),
    ("opt", "bottleneck parallel", "no module around"),
])
def test_law_6_what_a_family_cannot_have_leaves_no_trace(family, method, says, tiny, inputs):
    assert family not in METHODS[method].families
    model = tiny(family)
    batch = inputs(model)
    before = everything_about(model, batch)
    with pytest.raises((pt.errors.NotSupported, pt.errors.NoTargets), match=says):
        METHODS[method].module.inject(model, config(family, method))
    assert_same(everything_about(model, batch), before)


@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_law_6_what_the_language_model_alone_cannot_have_leaves_no_trace(method, tiny, inputs):
    model = tiny("opt", "lm")
    batch = inputs(model)
    before = everything_about(model, batch)
    with pytest.raises(pt.errors.NoTargets, match="passes the backbone by"):
        METHODS[method].module.inject(model, config("opt", method))
    assert_same(everything_about(model, batch), before)


def test_law_6_a_failure_halfway_leaves_no_trace(tiny, inputs):
    model = tiny("llama", "lm")    # key and value are (16, 32): rank 20 fits the query only
    batch = inputs(model)
    before = everything_about(model, batch)
    with pytest.raises(pt.errors.BadConfig, match="rank 20 for a matrix of 16 × 32"):
        pt.lora.inject(model, pt.lora.Config(rank=20))
    assert_same(everything_about(model, batch), before)


@pytest.mark.parametrize(("family", "method", "kind"), [
    (*row, kind) for row, kind in zip(in_turn("gpt2", "bert", "llama"), itertools.cycle(
        ("classifier", "backbone")))])
def test_law_6_a_second_inject_raises(family, method, kind, tiny, inputs):
    model = METHODS[method].module.inject(tiny(family, kind), config(family, method))
    fill(model)
    batch = inputs(model)
    before = everything_about(model, batch)
    others = [(m.module, m.config(family)) for m in METHODS.values() if family in m.families]
    for module, again in [*others, (pt.full, None)]:
        with pytest.raises(pt.errors.AlreadyAdapted):
            module.inject(model, again)
    with pytest.raises(pt.errors.AlreadyAdapted):
        pt.attach(model, "attention_out", pt.lora.LoRALinear)
    assert_same(everything_about(model, batch), before)

    full = pt.full.inject(tiny(family))
    before = everything_about(full, batch)
    with pytest.raises(pt.errors.AlreadyAdapted):
        METHODS[method].module.inject(full, config(family, method))
    assert_same(everything_about(full, batch), before)


@pytest.mark.parametrize("wrong", ["none", "head"])
def test_law_6_full(wrong, tiny, inputs):
    model = tiny("bert", "backbone")    # without a head there is none to train
    before = everything_about(model, inputs(model))
    with pytest.raises(pt.errors.BadConfig):
        pt.full.inject(model, pt.full.Config(wrong))
    assert_same(everything_about(model, inputs(model)), before)


# ── 7: the count ─────────────────────────────────────────────────────────────────────────────


@each_row
def test_law_7_the_trainable_count_is_the_closed_form(case):
    model, family, kind = case.inject(), case.row["family"], case.row["kind"]
    adapter = case.method.count(family, kind)
    head = HEAD.get(family, 3 * 32) if kind == "classifier" else 0
    assert sum(p.numel() for p in pt.adapter_parameters(model).values()) == adapter
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == adapter + head
    if case.method.closed is not None:
        assert case.method.closed(family) == adapter, f"{case.method.file}: `count`"
    counted = pt.account.parameters(model)
    assert (counted.adapter, counted.head) == (adapter, head)
    assert counted.total - adapter == case.total    # a 4-bit layer counts every weight


def test_law_7_full(tiny):
    counts = {}
    for train in ("all", "head"):
        model = pt.full.inject(tiny("bert"), pt.full.Config(train))
        counts[train] = sum(p.numel() for p in model.parameters() if p.requires_grad)
    d, ff = 32, 48
    block = 4 * (d * d + d) + (ff * d + ff) + (d * ff + d) + 4 * d
    embeddings = 97 * d + 42 * d + 2 * d + 2 * d
    pooler = d * d + d
    assert counts == {"all": embeddings + 2 * block + pooler + HEAD["bert"], "head": HEAD["bert"]}


# ── on every family ──────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def plain(tiny, inputs):
    """A batch for each family, and what its model computes of it."""
    batches = {family: inputs(tiny(family)) for family in FAMILIES}
    return {family: (batch, hidden(tiny(family), batch)) for family, batch in batches.items()}


@every_method
def test_on_every_family_in_short(method, tiny, plain):
    """It is counted, starts as it should, does something, is silent when disabled, and merges."""
    m, counts, expected, wrong = METHODS[method], {}, {}, []
    for family in m.families:
        batch, base = plain[family]
        model = m.module.inject(tiny(family), config(family, method))
        counts[family] = sum(p.numel() for p in pt.adapter_parameters(model).values())
        expected[family] = m.count(family, "classifier")
        start = hidden(model, batch)
        fill(model)
        adapted = hidden(model, batch)
        with pt.disabled(model):
            silent = hidden(model, batch)
        base = silent if "4-bit" in m.traits else base
        merged = hidden(pt.merge(model), batch) if m.merges else adapted
        holds = {"starts": m.start is None or distance(start, base) <= m.start,
                 "acts": distance(adapted, start) > 0.01, "is silent": torch.equal(silent, base),
                 "merges": distance(merged, adapted) < 1e-5}
        wrong += [f"{family}: {what}" for what, so in holds.items() if not so]
    assert counts == expected, f"{m.file} trains other numbers than its row says"
    assert wrong == [], f"{m.file} fails in what is named: {wrong}"


# ── around the laws: flags, names and checkpoints come back ──────────────────────────────────


@pytest.mark.parametrize(("family", "method", "leave"), [
    *((family, method, "remove") for family, method in in_turn("bert", "gpt2", "llama")),
    *((family, method, "merge") for family, method in in_turn("gpt2", "distilbert", "bert")
      if METHODS[method].merges)])
def test_requires_grad_comes_back(family, method, leave, tiny):
    model, method_ = tiny(family), METHODS[method]
    for p in itertools.islice(model.parameters(), 1, None, 3):
        p.requires_grad_(False)
    before = {n: p.requires_grad for n, p in model.named_parameters()}
    model = method_.module.inject(model, config(family, method))
    model = pt.merge(model) if leave == "merge" else remove(model, method_)
    after = {n: p.requires_grad for n, p in model.named_parameters()}
    assert after.items() <= before.items()
    four_bit = {f"{n}.weight" for n, m in model.named_modules()
                if isinstance(m, pt.nf4.Linear4bit)}
    assert set(after) == set(before) - four_bit
    assert notes.note_of(model) is None


@pytest.mark.parametrize(("family", "method"), in_turn("llama", "gpt2", "bert"))
def test_save_pretrained_writes_an_adapter_or_a_model_or_refuses(family, method, tiny, inputs,
                                                                 tmp_path):
    method = METHODS[method]
    model = method.module.inject(tiny(family), method.config(family))
    fill(model)
    batch = inputs(model)
    model.save_pretrained(tmp_path / "adapter")
    assert (tmp_path / "adapter" / "adapter.json").is_file()
    loaded = pt.load(tiny(family), tmp_path / "adapter")
    torch.testing.assert_close(outputs(loaded, batch), outputs(model, batch))
    with pytest.raises(pt.errors.NotSupported, match="merge"):
        models.to_hf(model)
    model = pt.merge(model) if method.merges else remove(model, method)
    left = {type(m).__name__ for m in model.modules()} & {"Linear4bit"}
    if models.converted(model) or left:
        with pytest.raises(pt.errors.NotSupported, match="to_hf"):    # transposed, or bytes
            model.save_pretrained(tmp_path / "plain")
    merged = outputs(model, batch)
    model = models.to_hf(model)
    assert not (tmp_path / "plain").exists()
    model.save_pretrained(tmp_path / "plain")
    back = type(model).from_pretrained(tmp_path / "plain").eval()
    torch.testing.assert_close(outputs(back, batch), merged, rtol=1e-4, atol=1e-5)


def test_gpt2_is_converted_at_the_door_and_back(tiny, inputs, tmp_path):
    model = tiny("gpt2", "lm")
    batch, weights = inputs(model), copies(model)
    before = outputs(model, batch)
    model = pt.lora.inject(model, pt.lora.Config(rank=RANK, targets=("qkv",)))
    for adapter in pt.adapters(model).values():
        assert type(adapter.base) is torch.nn.Linear
        assert adapter.base.weight.shape == (96, 32)
        assert not adapter.base.weight.requires_grad
    model = pt.remove(model)
    assert type(model.transformer.h[0].attn.c_attn) is torch.nn.Linear
    model = pt.lora.inject(model, pt.lora.Config(rank=RANK, targets=("qkv", "ffn_in")))
    model = models.to_hf(pt.remove(model))
    for path in ("attn.c_attn", "attn.c_proj", "mlp.c_fc"):
        assert type(model.transformer.h[1].get_submodule(path)).__name__ == "Conv1D"
    for n, p in model.state_dict().items():
        assert_equal(p, weights[n], n)
    model.save_pretrained(tmp_path)
    assert_equal(outputs(type(model).from_pretrained(tmp_path).eval(), batch), before)
