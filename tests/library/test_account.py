"""The ledger against what torch really holds, and the counts against closed forms."""

import itertools
import weakref

import pytest
import torch
from exact import assert_equal

import peft_teach as pt
from peft_teach import account, models

METHODS = {
    "full": lambda model: pt.full.inject(model),
    "head": lambda model: pt.full.inject(model, pt.full.Config("head")),
    "lora": lambda model: pt.lora.inject(model),
    "lora, one block": lambda model: pt.lora.inject(model, pt.lora.Config(layers=(5,))),
}


@pytest.fixture(params=METHODS)
def model(request):
    pt.seed(0)
    return METHODS[request.param](pt.models.load("minilm", labels=2)[0])


def batch(size: int, tokens: int) -> dict[str, torch.Tensor]:
    ids = torch.randint(1000, 20000, (size, tokens), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids),
            "labels": torch.zeros(size, dtype=torch.long)}


def held(model, size: int, tokens: int) -> dict[str, int]:
    """Bytes that torch holds after one real step, and that autograd saved in its forward pass."""
    pointers = {p.data_ptr() for p in model.parameters()}
    saved = {}

    def pack(t):
        if t.untyped_storage().data_ptr() not in pointers:
            saved[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    optimizer = torch.optim.AdamW(p for p in model.parameters() if p.requires_grad)
    model.train()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        loss = model(**batch(size, tokens)).loss
    loss.backward()
    optimizer.step()
    tensors = [t for state in optimizer.state.values() for t in state.values()]
    assert len(pointers) > 50
    return {"weights_bytes": sum(t.nbytes for t in (*model.parameters(), *model.buffers())),
            "gradients_bytes": sum(p.grad.nbytes for p in model.parameters() if p.grad is not None),
            "optimizer_bytes": sum(t.nbytes for t in tensors),
            "activations_bytes": sum(saved.values())}


def test_the_ledger_agrees_with_what_torch_holds(model):
    predicted, real = account.ledger(model, 4, 24), held(model, 4, 24)
    for part in ("weights_bytes", "gradients_bytes", "optimizer_bytes", "activations_bytes"):
        assert getattr(predicted, part) == pytest.approx(real[part], rel=0.02), part


@pytest.mark.parametrize(("step", "how"), [
    ("for-loop", {}), ("foreach", {"foreach": True}), ("fused", {"fused": True})])
def test_torchs_allocator_gives_adamw_the_working_space_of_the_ledger(step, how):
    model = pt.full.inject(pt.models.load("minilm", labels=2)[0])
    optimizer = torch.optim.AdamW(model.parameters(), **how)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()    # the first makes the moments
    with torch.profiler.profile(profile_memory=True) as profile:
        optimizer.step()
    given = sorted((event.start_ns(), event.nbytes()) for event in
                   profile.profiler.kineto_results.events() if event.name() == "[memory]")
    most = max(itertools.accumulate((size for _, size in given), initial=0))
    found = account.ledger(model, 16, 32, step=step)
    assert found.working_bytes == pytest.approx(most, rel=1e-3, abs=1e4)
    assert found.peak_bytes == found.weights_bytes + found.optimizer_bytes + max(
        found.activations_bytes, found.gradients_bytes + found.working_bytes)
    assert account.ledger(model, 1, 8, "sgd").working_bytes == 0


def test_the_bytes_of_weights_in_four_bits_are_counted(tiny):
    plain = account.ledger(tiny("bert"), 1, 8).weights_bytes
    model = pt.qlora.inject(tiny("bert"))
    layers = models.quantized(model).values()
    saved = sum(4 * q.shape.numel() - q.size_bytes for q in (m.quantized for m in layers))
    own = sum(p.nbytes for p in pt.adapter_parameters(model).values())
    assert account.ledger(model, 1, 8).weights_bytes == plain - saved + own


def test_activations_are_extrapolated_to_a_size_never_run(model):
    assert account.predict_activations(model, 6, 100) == pytest.approx(
        account.activations(model, batch(6, 100)), rel=0.02)


def test_counting_activations_changes_nothing(model):
    before, mode = torch.get_rng_state(), model.training
    account.ledger(model, 2, 8)
    assert_equal(torch.get_rng_state(), before)
    assert model.training == mode
    assert all(p.grad is None for p in model.parameters())


def test_counting_activations_keeps_none():
    model, seen = pt.models.load("minilm", labels=2, attention="eager")[0], []
    model.bert.encoder.layer[0].output.register_forward_hook(
        lambda module, given, out: seen.append(weakref.ref(out)))
    assert account.activations(model, batch(2, 8)) > 0
    assert [ref() for ref in seen] == [None]


def test_what_a_layer_saves_is_its_input_without_its_weight():
    layer = torch.nn.Linear(6, 5)
    x = torch.randn(4, 6)
    with account.saved(layer) as found:
        y = layer(x)
        _ = layer(x) + y                 # the same input again is the same memory
    assert sum(found.values()) == x.nbytes
    with account.saved(layer) as found, torch.no_grad():
        layer(x)
    assert not found


def test_counts_are_the_closed_form():
    model = pt.lora.inject(pt.models.load("minilm", labels=2)[0], pt.lora.Config(rank=4))
    counted = account.parameters(model)
    assert counted.adapter == 6 * 2 * 4 * (384 + 384)
    assert counted.head == 384 * 2 + 2
    assert counted.total == sum(p.numel() for p in model.parameters())
    assert counted.frozen == 22_713_216     # MiniLM, as its authors count it
    assert counted.share == counted.adapter / counted.total


def test_every_parameter_has_one_place():
    model = pt.models.load("minilm", labels=2)[0]
    by_place = account.by_place(model)
    assert sum(by_place.values()) == sum(p.numel() for p in model.parameters())
    assert by_place["query"] == 6 * (384 * 384 + 384)
    assert by_place["ffn_in"] == 6 * (384 * 1536 + 1536)
    assert by_place["embeddings"] == (30522 + 512 + 2) * 384 + 2 * 384
    assert by_place["other"] == 384 * 384 + 384     # the pooler
    with pytest.raises(pt.errors.AlreadyAdapted):    # A and B are of no place
        account.by_place(pt.lora.inject(model))


@pytest.mark.parametrize(("family", "rows"), [
    ("gpt2", 97 + 40), ("llama", 97), ("qwen3", 97),           # words and positions
    ("bert", 97 + 42 + 2 + 2), ("distilbert", 97 + 40 + 2)])    # types, and the norm's two
def test_embeddings_of_every_family_are_found(family, rows, tiny):
    kinds = ("backbone", "classifier") + (() if models.is_encoder(tiny(family)) else ("lm",))
    for kind in kinds:
        assert account.by_place(tiny(family, kind))["embeddings"] == rows * 32


def test_optimizers_differ_by_their_states():
    model = pt.full.inject(pt.models.load("minilm", labels=2)[0])
    sizes = {name: account.ledger(model, 1, 8, name).optimizer_bytes for name in account.OPTIMIZERS}
    assert sizes["sgd"] == 0
    assert sizes["adamw"] == pytest.approx(2 * sizes["momentum"], rel=1e-3)


def test_an_unknown_optimizer_is_told():
    model = pt.models.load("minilm", labels=2)[0]
    for sizes in ((0,), (4, 1.5), (4, None)):
        with pytest.raises(pt.errors.BadConfig, match=r"^(batch_size|tokens) is "):
            account.ledger(model, *sizes)
    with pytest.raises(pt.errors.UnknownName, match="adamw"):
        account.ledger(model, optimizer="adamwx")
    with pytest.raises(pt.errors.UnknownName, match="foreach"):
        account.ledger(model, step="each")


def test_the_ledger_does_not_depend_on_grad_mode():
    model = pt.lora.inject(pt.models.load("minilm", labels=2)[0])
    with torch.no_grad():
        inside = account.ledger(model, 1, 8)
    assert inside == account.ledger(model, 1, 8)
    assert inside.activations_bytes > 0


def test_opts_last_norm_is_no_embedding(tiny):
    counts = pt.account.by_place(tiny("opt"))
    assert counts["embeddings"] == 97 * 32 + (42 + 2) * 32    # words; positions, from 2 on
    assert sum(counts.values()) == sum(p.numel() for p in tiny("opt").parameters())
