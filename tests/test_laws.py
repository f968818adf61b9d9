"""The laws that every method keeps, for LoRA and for full fine-tuning.

Families × head × padding side × dtype × gradient checkpointing × variant are far too many, so
`PAIRS` holds few rows in which every two settings that can meet do meet.
"""

import itertools
import re

import pytest
import torch

import peft_teach as pt
from peft_teach import core, models

DECODERS = ("gpt2", "llama", "mistral", "qwen2", "qwen3")
FAMILIES = ("bert", "roberta", "distilbert", *DECODERS)
VARIANTS = ("plain", "rslora", "dropout", "one block", "everywhere")
FACTORS = {
    "family": FAMILIES,
    "kind": ("backbone", "classifier", "lm"),
    "padding": ("right", "left"),
    "dtype": (torch.float32, torch.bfloat16),
    "checkpointing": (False, True),
    "variant": VARIANTS,
}
# (n_in, n_out) of every linear place: d_model 32, feed-forward 48, 2 of 4 heads for key and value.
SIZES = {
    "encoder": {"query": (32, 32), "key": (32, 32), "value": (32, 32), "attention_out": (32, 32),
                "ffn_in": (32, 48), "ffn_out": (48, 32)},
    "gpt2": {"qkv": (32, 96), "attention_out": (32, 32), "ffn_in": (32, 48), "ffn_out": (48, 32)},
    "llama": {"query": (32, 32), "key": (32, 16), "value": (32, 16), "attention_out": (32, 32),
              "ffn_in": (32, 48), "ffn_gate": (32, 48), "ffn_out": (48, 32)},
}
HEAD = {"bert": 3 * 32 + 3, "roberta": 32 * 32 + 32 + 3 * 32 + 3,
        "distilbert": 32 * 32 + 32 + 3 * 32 + 3}    # the decoders' `score` has no bias
RANK, ALPHA = 4, 12.0


def possible(row: dict) -> bool:
    return row.get("kind") != "lm" or row.get("family", "llama") in DECODERS


def pairwise() -> list[dict]:
    """Cover every possible pair of settings, greedily; the same rows in every run."""
    def pairs(row):
        return {frozenset(two) for two in itertools.combinations(row.items(), 2)}

    rows = [dict(zip(FACTORS, values)) for values in itertools.product(*FACTORS.values())]
    rows = [row for row in rows if possible(row)]
    covered = {id(row): pairs(row) for row in rows}
    left, chosen = set().union(*covered.values()), []
    while left:
        best = max(rows, key=lambda row: len(covered[id(row)] & left))
        left -= covered[id(best)]
        chosen.append(best)
    return chosen


PAIRS = pairwise()


def name(row: dict) -> str:
    return "-".join(str(v).removeprefix("torch.") for v in row.values()).replace(" ", "_")


every_pair = pytest.mark.parametrize("row", PAIRS, ids=name)
every_family = pytest.mark.parametrize("family", FAMILIES)


def sizes(family: str) -> dict:
    return SIZES["gpt2" if family == "gpt2" else "llama" if family in DECODERS else "encoder"]


def config(family: str, variant: str = "plain") -> pt.lora.Config:
    some = ("qkv",) if family == "gpt2" else ("query", "value")
    more = {"plain": {}, "rslora": {"rank_stabilized": True}, "dropout": {"dropout": 0.5},
            "one block": {"layers": (1,)}, "everywhere": {"targets": tuple(sizes(family))}}
    return pt.lora.Config(**{"rank": RANK, "alpha": ALPHA, "targets": some} | more[variant])


class Case:
    """A tiny model of one row, a batch for it, and what it computed before any method."""

    def __init__(self, row: dict, tiny, inputs, seed: int = 0):
        self.row, self.dtype = row, row["dtype"]
        self.model = tiny(row["family"], row["kind"], seed=seed).to(self.dtype)
        if row["checkpointing"]:
            checkpoint(self.model)
        self.batch = inputs(self.model, row["padding"])
        self.config = config(row["family"], row["variant"])
        self.weights = copies(self.model)
        self.hidden = hidden(self.model, self.batch)
        self.outputs = outputs(self.model, self.batch)

    def inject(self):
        self.model = pt.lora.inject(self.model, self.config)
        return self.model


@pytest.fixture
def case(row, tiny, inputs):
    return Case(row, tiny, inputs)


def checkpoint(model) -> None:
    """Recompute activations in the backward pass; the method's name depends on the version."""
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)()


def copies(model) -> dict:
    return {n: p.detach().clone() for n, p in model.state_dict().items()}


def features(batch: dict) -> dict:
    return {k: v for k, v in batch.items() if k != "labels"}


@torch.no_grad()
def hidden(model, batch) -> torch.Tensor:
    return model.base_model(**features(batch))[0]


@torch.no_grad()
def outputs(model, batch) -> torch.Tensor:
    out = model(**features(batch))
    return out.logits if "logits" in out else out[0]


def loss(model, batch) -> torch.Tensor:
    out = model(**batch)
    return out.loss if "labels" in batch else out[0].float().square().mean()


def random_update(model, seed: int = 5) -> None:
    """Give every own parameter a value that training could give it, B's zero replaced too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in pt.adapter_parameters(model).values():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.2)


def train(model, batch, steps: int = 3) -> None:
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
    met = {frozenset(two) for row in PAIRS for two in itertools.combinations(row.items(), 2)}
    for (a, left), (b, right) in itertools.combinations(FACTORS.items(), 2):
        for x, y in itertools.product(left, right):
            assert frozenset({(a, x), (b, y)}) in met or not possible({a: x, b: y})
    assert len(PAIRS) < 60


# ── 1: at the start the adapted model is the base ────────────────────────────────────────────


@every_pair
def test_law_1_at_the_start_nothing_has_changed(case):
    model = case.inject()
    assert torch.equal(hidden(model, case.batch), case.hidden)
    assert torch.equal(outputs(model, case.batch), case.outputs)
    random_update(model)    # the equality above is worth something only if B can change it
    assert distance(hidden(model, case.batch), case.hidden) > 0.01


# ── 2: what has a gradient ───────────────────────────────────────────────────────────────────


@every_pair
def test_law_2_only_adapter_and_head_have_a_gradient(case):
    model = case.inject()
    random_update(model)
    model.train()
    loss(model, case.batch).backward()
    trained = {id(p) for p in pt.adapter_parameters(model).values()}
    head = {n for n, p in model.named_parameters() if re.match("(pre_)?classifier|score", n)}
    assert (not head) == (case.row["kind"] != "classifier")
    for n, p in model.named_parameters():
        if id(p) in trained or n in head:
            assert p.grad is not None, n
            assert p.grad.abs().sum() > 0, n
        else:
            assert p.grad is None, n
    assert all(p.dtype == torch.float32 for p in pt.adapter_parameters(model).values())


@every_family
def test_law_2_checkpointing_changes_no_gradient(family, tiny, inputs):
    gradients = []
    for checkpointing in (False, True):
        model = pt.lora.inject(tiny(family), config(family, "everywhere"))
        random_update(model)
        if checkpointing:
            checkpoint(model)
        calls = []
        first = next(iter(pt.adapters(model).values()))
        first.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        model.train()
        loss(model, inputs(model)).backward()
        assert len(calls) == 1 + checkpointing    # once more in the backward pass
        gradients.append({n: p.grad for n, p in pt.adapter_parameters(model).items()})
    for n, g in gradients[0].items():
        torch.testing.assert_close(gradients[1][n], g, rtol=1e-5, atol=1e-6)


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


@every_pair
def test_law_3_training_leaves_the_base_alone(case):
    model = case.inject()
    train(model, case.batch)
    trained = hidden(model, case.batch)
    assert not torch.equal(trained, case.hidden)
    with pt.disabled(model):
        assert torch.equal(hidden(model, case.batch), case.hidden)
    assert torch.equal(hidden(model, case.batch), trained)

    after = models.to_hf(pt.remove(model)).state_dict()
    assert after.keys() == case.weights.keys()
    for n, before in case.weights.items():
        if not re.match("(pre_)?classifier|score", n):
            assert torch.equal(after[n], before), n
    assert torch.equal(hidden(model, case.batch), case.hidden)


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


@every_pair
def test_law_4_merged_equals_adapted(case):
    model = case.inject()
    random_update(model)
    adapted = hidden(model, case.batch)
    moved = distance(adapted, case.hidden)
    assert moved > 0.01
    s = {"rslora": ALPHA / RANK ** 0.5}.get(case.row["variant"], ALPHA / RANK)
    expected = {}
    for n, adapter in pt.adapters(model).items():
        W, A, B = (p.detach().double() for p in (adapter.base.weight, adapter.A, adapter.B))
        expected[n] = (W + s * B @ A, adapter.base.bias)
    merged = pt.merge(model)

    assert pt.adapters(merged) == {}
    exact = case.dtype == torch.float32
    assert distance(hidden(merged, case.batch), adapted) < (1e-5 if exact else 0.3 * moved)
    for n, (W, b) in expected.items():
        layer = merged.get_submodule(n)
        assert type(layer) is torch.nn.Linear
        assert layer.weight.dtype == case.dtype
        torch.testing.assert_close(layer.weight.double(), W, atol=1e-6,
                                   rtol=1e-6 if exact else 2 ** -8)
        assert (layer.bias is None) == (b is None)
        assert b is None or torch.equal(layer.bias, b)


@every_family
def test_law_4_merge_keeps_the_biases(family, tiny, inputs):
    model = pt.lora.inject(tiny(family, "backbone"), config(family, "everywhere"))
    random_update(model)
    batch = inputs(model)
    biases = [a.base.bias for a in pt.adapters(model).values() if a.base.bias is not None]
    assert all(b.abs().min() > 0 for b in biases)
    assert bool(biases) == (family not in ("mistral", "qwen3"))
    adapted = hidden(model, batch)
    torch.testing.assert_close(hidden(pt.merge(model), batch), adapted, rtol=1e-4, atol=1e-4)


def test_law_4_full_has_nothing_to_merge(tiny, inputs):
    model = pt.full.inject(tiny("bert"))
    before = copies(model)
    for verb in (pt.merge, pt.remove, lambda m: pt.disabled(m).__enter__()):
        with pytest.raises(pt.errors.NoAdapter, match="full fine-tuning"):
            verb(model)
    assert all(torch.equal(p, before[n]) for n, p in model.state_dict().items())
    assert core.record_of(model).method == "full"


# ── 5: saved and loaded ──────────────────────────────────────────────────────────────────────


@every_pair
def test_law_5_a_saved_adapter_comes_back(case, tiny, inputs, tmp_path):
    model = case.inject()
    random_update(model)
    for n, p in model.named_parameters():
        if n in models.head(model):
            p.data += 0.5    # as if trained: a head that is not saved would show
    trained = outputs(model, case.batch)
    assert not torch.equal(trained, case.outputs)
    pt.save(model, tmp_path / "one")

    fresh = Case(case.row, tiny, inputs)
    assert torch.equal(outputs(fresh.model, case.batch), case.outputs)
    loaded = pt.load(fresh.model, tmp_path / "one")
    assert torch.equal(outputs(loaded, case.batch), trained)
    assert core.record_of(loaded).config == case.config
    assert {n for n, p in loaded.named_parameters() if p.requires_grad} == {
        n for n, p in model.named_parameters() if p.requires_grad}

    random_update(loaded, seed=6)
    other = outputs(loaded, case.batch)
    assert not torch.equal(other, trained)
    pt.save(loaded, tmp_path / "two")
    for _ in range(2):
        loaded = pt.store.swap(loaded, tmp_path / "one")
        assert torch.equal(outputs(loaded, case.batch), trained)
        loaded = pt.store.swap(loaded, tmp_path / "two")
        assert torch.equal(outputs(loaded, case.batch), other)


# ── 6: a failed or repeated inject ───────────────────────────────────────────────────────────


def everything_about(model, batch) -> tuple:
    return ({n: (id(m), type(m), m.training) for n, m in model.named_modules()},
            {n: (id(p), p.requires_grad) for n, p in model.named_parameters()},
            copies(model), outputs(model, batch), core.record_of(model), model.save_pretrained)


def assert_same(one: tuple, other: tuple) -> None:
    assert one[:2] == other[:2]
    assert all(torch.equal(one[2][n], other[2][n]) for n in other[2])
    assert torch.equal(one[3], other[3])
    assert one[4:] == other[4:]


@every_family
@pytest.mark.parametrize("wrong", [
    {"targets": ("attention_out", "embeddings")},       # the last module is not linear
    {"targets": ("attention_out", "nowhere")},
    {"targets": ("attention_out", "ffn_in"), "rank": 33},    # fits no square matrix of 32
    {"targets": ("attention_out",), "layers": (0, 2)},
    {"targets": ("attention_out",), "layers": ()},
    {"targets": ()},
    {"targets": ("attention_out",), "alpha": 0.0},
    {"targets": ("attention_out",), "alpha": "16"},
    {"targets": ("attention_out",), "dropout": None},
    {"targets": ("attention_out",), "dropout": 1.0},
], ids=str)
def test_law_6_a_failed_inject_leaves_no_trace(family, wrong, tiny, inputs, tmp_path):
    model = tiny(family).train()
    for p in itertools.islice(model.parameters(), 0, None, 3):
        p.requires_grad_(False)    # whatever the user had set
    batch = inputs(model)
    before = everything_about(model, batch)
    with pytest.raises(pt.errors.PeftTeachError):
        pt.lora.inject(model, pt.lora.Config(**wrong))
    assert_same(everything_about(model, batch), before)
    assert pt.adapters(model) == {}
    with pytest.raises(pt.errors.NoAdapter):
        pt.adapter_parameters(model)


def test_law_6_a_failure_halfway_leaves_no_trace(tiny, inputs):
    model = tiny("llama", "lm")    # key and value are (16, 32): rank 20 fits the query only
    batch = inputs(model)
    before = everything_about(model, batch)
    with pytest.raises(pt.errors.BadConfig, match="rank 20 for a matrix of 16 × 32"):
        pt.lora.inject(model, pt.lora.Config(rank=20))
    assert_same(everything_about(model, batch), before)


@every_family
def test_law_6_a_second_inject_raises(family, tiny, inputs):
    model = pt.lora.inject(tiny(family), config(family))
    random_update(model)
    batch = inputs(model)
    before = everything_about(model, batch)
    for again in (lambda: pt.lora.inject(model, config(family, "one block")),
                  lambda: pt.full.inject(model),
                  lambda: pt.attach(model, "attention_out", pt.lora.LoRALinear)):
        with pytest.raises(pt.errors.AlreadyAdapted):
            again()
    assert_same(everything_about(model, batch), before)

    full = pt.full.inject(tiny(family))
    before = everything_about(full, batch)
    with pytest.raises(pt.errors.AlreadyAdapted):
        pt.lora.inject(full, config(family))
    assert_same(everything_about(full, batch), before)


@pytest.mark.parametrize("wrong", ["none", "head"])
def test_law_6_full(wrong, tiny, inputs):
    model = tiny("bert", "backbone")    # without a head there is none to train
    before = everything_about(model, inputs(model))
    with pytest.raises(pt.errors.BadConfig):
        pt.full.inject(model, pt.full.Config(wrong))
    assert_same(everything_about(model, inputs(model)), before)


# ── 7: the count ─────────────────────────────────────────────────────────────────────────────


@every_pair
def test_law_7_the_trainable_count_is_the_closed_form(case):
    model, family = case.inject(), case.row["family"]
    blocks = 1 if case.row["variant"] == "one block" else 2
    places = {p: sizes(family)[p] for p in case.config.targets}
    adapter = blocks * sum(RANK * (n_in + n_out) for n_in, n_out in places.values())
    head = HEAD.get(family, 3 * 32) if case.row["kind"] == "classifier" else 0
    assert sum(p.numel() for p in pt.adapter_parameters(model).values()) == adapter
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == adapter + head
    assert blocks * sum(pt.lora.count(*size, RANK) for size in places.values()) == adapter


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


# ── around the laws: flags, names and checkpoints come back ──────────────────────────────────


@every_family
@pytest.mark.parametrize("leave", [pt.remove, pt.merge])
def test_requires_grad_comes_back(family, leave, tiny):
    model = tiny(family)
    for p in itertools.islice(model.parameters(), 1, None, 3):
        p.requires_grad_(False)
    before = {n: p.requires_grad for n, p in model.named_parameters()}
    model = leave(pt.lora.inject(model, config(family, "everywhere")))
    assert {n: p.requires_grad for n, p in model.named_parameters()} == before
    assert core.record_of(model) is None


@every_family
def test_save_pretrained_refuses_exactly_while_it_would_lie(family, tiny, inputs, tmp_path):
    model = pt.lora.inject(tiny(family), config(family))
    random_update(model)
    batch = inputs(model)
    with pytest.raises(pt.errors.NotSupported, match="to_hf"):
        model.save_pretrained(tmp_path)
    with pytest.raises(pt.errors.NotSupported, match="merge"):
        models.to_hf(model)
    model = pt.merge(model)
    if family == "gpt2":    # its layers are still nn.Linear, with transposed weights
        with pytest.raises(pt.errors.NotSupported):
            model.save_pretrained(tmp_path)
    merged = outputs(model, batch)
    model = models.to_hf(model)
    assert not list(tmp_path.iterdir())
    model.save_pretrained(tmp_path)
    back = type(model).from_pretrained(tmp_path).eval()
    torch.testing.assert_close(outputs(back, batch), merged, rtol=1e-5, atol=1e-6)


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
    assert all(torch.equal(p, weights[n]) for n, p in model.state_dict().items())
    model.save_pretrained(tmp_path)
    assert torch.equal(outputs(type(model).from_pretrained(tmp_path).eval(), batch), before)
