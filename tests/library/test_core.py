"""The contract of `Adapter` and `attach`, with adapters as a learner might write them."""

import copy
import io
import json
import operator
import pickle
import threading

import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module, remove_hook_from_submodules
from adapted import Foldable, Shift, checkpoint, outputs, randomize
from exact import assert_equal
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

import peft_teach as pt
from peft_teach import core, models, notes, trained_copy, writing
from peft_teach.adapter import plain_name
from peft_teach.errors import (
    AdapterFileError,
    AlreadyAdapted,
    BadConfig,
    NoAdapter,
    NoTargets,
    NotMergeable,
    NotSupported,
)
from peft_teach.methods import METHODS


class Deep(pt.Adapter):
    """An adapter whose own module has children named as if to confuse: `base`, `0.base`."""

    def __init__(self, base):
        super().__init__(base)
        self.net = nn.ModuleDict({"base": nn.Linear(base.in_features, 3),
                                  "up": nn.Linear(3, base.out_features, bias=False)})
        self.baseline = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return self.base(x) + self.net["up"](torch.tanh(self.net["base"](x))) + self.baseline


def snapshot(model, batch) -> tuple:
    with torch.no_grad():
        out = model(**batch).logits
    return ([(n, id(m)) for n, m in model.named_modules()],
            [(n, id(p), p.requires_grad) for n, p in model.named_parameters()],
            out.tolist(), notes.note_of(model), "save_pretrained" in vars(model))


@pytest.fixture
def model(tiny):
    return tiny("bert")


@pytest.fixture
def batch(model, inputs):
    return inputs(model)


QUERY = "bert.encoder.layer.{}.attention.self.query".format


# ── what make may return ─────────────────────────────────────────────────────────────────────


class Shared(Shift):
    def __init__(self, base, other):
        super().__init__(base)
        self.other = other


@pytest.mark.parametrize(("make", "says"), [
    (lambda base: nn.Linear(base.in_features, base.out_features), "Linear for .*layer.0"),
    (lambda base: base, "Linear"),
    (lambda base: None, "NoneType"),
    (lambda base: Shift(nn.Linear(base.in_features, base.out_features)), "Shift"),
    (lambda base: Shift(copy.deepcopy(base)), "Shift"),
], ids=["a layer", "the base", "nothing", "a new base", "a copy of the base"])
def test_make_must_return_an_adapter_around_this_base(make, says, model, batch):
    before = snapshot(model, batch)
    with pytest.raises(BadConfig, match=says) as error:
        pt.attach(model, "query", make)
    assert "Adapter" in error.value.expected
    assert snapshot(model, batch) == before


@pytest.mark.parametrize(("make", "says"), [
    (3, "3 is not a callable object"), (Shift(nn.Linear(32, 32)), "it is a module already"),
    (lambda: None, "too many positional arguments"),
    (dict, "no signature found for builtin type <class 'dict'>"),
    (Shared, "missing a required argument: 'other'")])
def test_make_is_a_class_or_a_function(make, says, model, batch):
    before = snapshot(model, batch)
    with pytest.raises(BadConfig) as error:
        pt.attach(model, "query", make)
    assert error.value.found == f"make cannot be called as make(base): {says}."
    assert snapshot(model, batch) == before


def test_a_target_that_is_named_twice_is_wrapped_once(model):
    assert [*pt.adapters(pt.attach(model, ("query", QUERY(0)), Shift))] == [QUERY(0), QUERY(1)]


@pytest.mark.parametrize("family", ["bert", "gpt2"])    # GPT-2's layers are converted on the way
@pytest.mark.parametrize("what", ["module", "parameter", "own base weight", "the head"])
def test_a_registered_parameter_of_the_model_is_refused(family, what, tiny, inputs):
    model = tiny(family)
    batch = inputs(model)
    before = snapshot(model, batch)
    norm = next(m for m in model.modules() if isinstance(m, nn.LayerNorm))
    give = {"module": lambda base: norm, "parameter": lambda base: norm.weight,
            "own base weight": lambda base: base.weight,
            "the head": lambda base: getattr(model, "score", None) or model.classifier}[what]
    with pytest.raises(BadConfig, match="Shared registers other") as error:
        pt.attach(model, "ffn_in", lambda base: Shared(base, give(base)))
    assert "tuple or list" in error.value.hint
    assert snapshot(model, batch) == before


def test_a_second_module_may_be_held_unregistered(model, batch):
    norm = model.bert.encoder.layer[0].output.LayerNorm
    model = pt.attach(model, "query", lambda base: Shared(base, (norm,)))
    assert [n.rpartition(".")[2] for n in pt.adapter_parameters(model)] == ["v", "v"]


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_make_that_raises_on_the_third_module(family, error, tiny, inputs):
    model = tiny(family)
    batch, seen = inputs(model), []
    before = snapshot(model, batch)

    def make(base):
        seen.append(base)
        if len(seen) == 3:
            raise error
        base.requires_grad_(False)    # what a careless make does on its way
        base.weight = nn.Parameter(torch.zeros_like(base.weight))
        base.register_forward_hook(lambda *_: torch.zeros(()))
        return Shift(base)

    with pytest.raises(error):
        pt.attach(model, ("ffn_in", "ffn_out"), make)
    assert len(seen) == 3
    assert snapshot(model, batch) == before
    model = pt.attach(model, "ffn_in", Shift)    # and nothing stands in the way of the next try
    assert len(pt.adapters(model)) == 2


def test_the_head_is_no_target(model, batch):
    before = snapshot(model, batch)
    with pytest.raises(BadConfig, match="classifier belongs to the task head"):
        pt.attach(model, ("query", "classifier"), Shift)
    with pytest.raises(NoTargets):
        pt.attach(model, "", Shift)    # the whole model is no target either
    assert snapshot(model, batch) == before


# ── what attach does ─────────────────────────────────────────────────────────────────────────


def test_attach_wraps_freezes_and_returns_the_model(model, batch):
    query = model.get_submodule(QUERY(0))
    attached = pt.attach(model, ("query",), Shift, layers=(0,))
    assert attached is model
    assert list(pt.adapters(model)) == [QUERY(0)]
    adapter = model.get_submodule(QUERY(0))
    assert type(adapter) is Shift
    assert adapter.base is query
    assert pt.adapters(model)[QUERY(0)] is adapter
    assert type(model.get_submodule(QUERY(1))) is nn.Linear
    trains = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trains == {QUERY(0) + ".v", "classifier.weight", "classifier.bias"}
    record = notes.note_of(model)
    assert (record.method, record.config, record.wraps) == (None, None, True)


def test_names_are_those_of_the_unadapted_model(model):
    model = pt.attach(model, ("query",), Deep, layers=(1,))
    own = {"net.base.weight": (3, 32), "net.base.bias": (3,), "net.up.weight": (32, 3),
           "baseline": ()}
    found = pt.adapter_parameters(model)
    assert {n: tuple(p.shape) for n, p in found.items()} == {
        f"{QUERY(1)}.{n}": shape for n, shape in own.items()}
    state = pt.adapter_state(model)
    assert state.keys() == found.keys()
    for n, p in found.items():
        assert p.requires_grad
        assert_equal(state[n], p)
        assert not state[n].requires_grad
        assert state[n].data_ptr() != p.data_ptr()
    adapter = model.get_submodule(QUERY(1))
    assert set(adapter.own_parameters()) == set(own)


def test_a_model_may_have_modules_named_base(tmp_path):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.base = nn.Linear(4, 4)
            self.inner = nn.ModuleDict({"base": nn.Linear(4, 4), "x": nn.Linear(4, 4)})

        def forward(self, x):
            return self.inner["x"](self.inner["base"](self.base(x)))

    model, x = Odd(), torch.randn(3, 4)
    before = model(x)
    targets = ("base", "inner.base", "inner.x")
    model = pt.attach(model, targets, Shift)
    assert tuple(pt.adapters(model)) == targets
    assert tuple(pt.adapter_parameters(model)) == ("base.v", "inner.base.v", "inner.x.v")
    pt.save(model, tmp_path)
    changed = model(x)
    assert not torch.equal(changed, before)
    for p in pt.adapter_parameters(model).values():
        p.data.zero_()
    assert_equal(pt.store.swap(model, tmp_path)(x), changed)
    model = pt.remove(model)
    assert [n for n, _ in model.named_modules()] == ["", "base", "inner", "inner.base", "inner.x"]
    assert_equal(model(x), before)


class Block(pt.Adapter):
    """block(x) + v, around a whole block."""

    def __init__(self, base):
        super().__init__(base)
        self.v = nn.Parameter(torch.linspace(0, 1, 32))

    def forward(self, *args, **kwargs):
        return self.base(*args, **kwargs) + self.v


@pytest.mark.parametrize("targets", [("block", "query"), ("query", "block")])
def test_an_adapter_inside_the_base_of_another(targets, model, batch):
    before = snapshot(model, batch)
    kind = {name: t for t in targets for name in models.find(model, t)}
    by_base = {id(model.get_submodule(n)): t for n, t in kind.items()}
    model = pt.attach(model, targets, lambda base: (
        Block if by_base[id(base)] == "block" else Shift)(base))
    assert set(pt.adapters(model)) == set(kind)
    assert set(pt.adapter_parameters(model)) == {n + ".v" for n in kind}
    model(**batch).loss.backward()
    assert all(p.grad is not None for p in pt.adapter_parameters(model).values())
    assert sum(p.grad is not None for p in model.parameters()) == 4 + 2
    with pt.disabled(model):
        assert model(**batch).logits.tolist() == before[2]
    assert snapshot(pt.remove(model), batch) == before


def test_own_parameters_may_be_shared_between_adapters(model, batch, tmp_path):
    v = nn.Parameter(torch.ones(32))

    class Tied(Shift):
        def __init__(self, base):
            super().__init__(base)
            self.v = v

    model = pt.attach(model, "query", Tied)
    pt.save(model, tmp_path)
    with torch.no_grad():
        v.zero_()
    pt.store.swap(model, tmp_path)
    assert_equal(v, torch.ones(32))


def test_mode_and_dtype_follow_the_base(tiny):
    for training in (True, False):
        model = tiny("bert").train(training).bfloat16()
        model = pt.attach(model, "query", Shift)
        adapter = model.get_submodule(QUERY(0))
        assert adapter.training == training
        assert adapter.v.dtype == torch.float32
        assert adapter.base.weight.dtype == torch.bfloat16


def test_the_modes_inside_the_base_stay(tiny):
    model = tiny("bert").train()
    block = model.get_submodule("bert.encoder.layer.0")
    attention = block.get_submodule("attention").eval()
    config = pt.bottleneck.Config(reads="output", targets="block")
    assert pt.adapters(pt.bottleneck.inject(model, config))["bert.encoder.layer.0"].training
    assert block.training
    assert not any(m.training for m in attention.modules())


# ── disabled ─────────────────────────────────────────────────────────────────────────────────


def test_disabled_restores_in_finally(model, batch):
    with torch.no_grad():
        before = model(**batch).logits
        model = pt.attach(model, "value", Shift)
        changed = model(**batch).logits
        assert not torch.equal(changed, before)
        with pt.disabled(model) as same:
            assert same is model
            assert_equal(model(**batch).logits, before)
            with pt.disabled(model):    # nested, the inner block must not enable on its way out
                pass
            assert_equal(model(**batch).logits, before)
        assert_equal(model(**batch).logits, changed)
        with pytest.raises(RuntimeError, match="inside"), pt.disabled(model):
            raise RuntimeError("inside")
        assert_equal(model(**batch).logits, changed)
        one = model.get_submodule("bert.encoder.layer.0.attention.self.value")
        with pytest.raises(AttributeError, match="enabled"):    # no file would keep it
            one.enabled = False


@pytest.mark.parametrize("first", ["outer", "inner"])
def test_blocks_of_disabled_may_overlap_in_any_order_and_in_threads(first, model, batch):
    model = pt.attach(model, "value", Shift)
    adapter = next(iter(pt.adapters(model).values()))
    blocks = {"outer": pt.disabled(model), "inner": pt.disabled(model)}

    def elsewhere(call):
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()

    blocks["outer"].__enter__()
    elsewhere(blocks["inner"].__enter__)
    blocks.pop(first).__exit__(None, None, None)
    assert not adapter.enabled
    last, = blocks.values()
    elsewhere(lambda: last.__exit__(None, None, None))
    assert adapter.enabled


def test_a_copy_made_while_disabled_is_not_silent(model, batch):
    model = pt.attach(model, "value", Shift)
    with torch.no_grad():
        changed, file = model(**batch).logits, io.BytesIO()
        with pt.disabled(model):
            twin = copy.deepcopy(model)
            torch.save(model, file)
            assert_equal(twin(**batch).logits, changed)
            assert not torch.equal(model(**batch).logits, changed)
        file.seek(0)
        assert_equal(torch.load(file, weights_only=False)(**batch).logits, changed)
        assert_equal(model(**batch).logits, changed)


def test_a_disabled_adapter_passes_everything_on():
    class Two(nn.Module):
        def forward(self, a, *, b):
            return a - b, b

    class Never(pt.Adapter):
        def forward(self, *args, **kwargs):
            raise AssertionError("forward of a disabled adapter")

    adapter = Never(Two())
    with pt.disabled(adapter):
        assert adapter(5, b=3) == (2, 3)
    assert adapter.enabled


# ── copies ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_deep_copy_is_independent(family, tiny, inputs):
    model = pt.attach(tiny(family), "ffn_in", Shift)
    batch = inputs(model)
    with torch.no_grad():
        before = model(**batch).logits
        twin = copy.deepcopy(model)
        assert_equal(twin(**batch).logits, before)
        assert list(pt.adapters(twin)) == list(pt.adapters(model))
        assert notes.note_of(twin) is not notes.note_of(model)
        assert notes.note_of(twin) == notes.note_of(model)
        with pytest.raises(AlreadyAdapted):
            pt.attach(twin, "ffn_out", Shift)
        for p in pt.adapter_parameters(twin).values():
            p.add_(1)
        assert not torch.equal(twin(**batch).logits, before)
        with pt.disabled(twin):
            assert_equal(model(**batch).logits, before)
        twin = models.to_hf(pt.remove(twin))
        assert_equal(model(**batch).logits, before)
        assert len(pt.adapters(model)) == 2
        assert twin.save_pretrained != model.save_pretrained


# ── merge and remove ─────────────────────────────────────────────────────────────────────────


def test_not_mergeable_is_the_default_and_changes_nothing(model, batch):
    first = model.get_submodule(QUERY(0))
    model = pt.attach(model, "query", lambda base: (Foldable if base is first else Shift)(base))
    before = snapshot(model, batch)
    with pytest.raises(NotMergeable, match="Shift cannot be folded into a Linear"):
        pt.merge(model)
    assert snapshot(model, batch) == before
    model = pt.remove(model)
    assert model.get_submodule(QUERY(0)) is first

    model = pt.attach(model, "query", Foldable)
    with torch.no_grad():
        adapted = model(**batch).logits
        merged = pt.merge(model)
        torch.testing.assert_close(merged(**batch).logits, adapted)
    assert merged is model
    assert model.get_submodule(QUERY(0)) is not first


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize("method", [pt.lora, pt.dora, pt.ia3, pt.bitfit])
@pytest.mark.parametrize("how", ["class", "hooked"])    # as accelerate hooks a layer
def test_a_layer_that_computes_more_than_torch_s_is_not_merged(how, method, model, batch):
    name = QUERY(0).replace("query", "key")    # which each of them can take
    layer = model.get_submodule(name)
    if how == "class":
        layer.__class__ = Doubled
    else:
        layer.forward = lambda x: 2 * nn.Linear.forward(layer, x)
    model = method.inject(model, method.Config(targets=(name,)))
    before = snapshot(model, batch)
    with pytest.raises(NotMergeable, match="forward"):
        pt.merge(model)
    assert snapshot(model, batch) == before


def test_where_accelerate_hooked_a_layer_merge_says_how_to_go_on(model, batch):
    add_hook_to_module(model.get_submodule(QUERY(0)), ModelHook())
    model = randomize(pt.lora.inject(model, pt.lora.Config(targets=("query",))))
    adapted = model(**batch).logits
    with pytest.raises(NotMergeable, match=remove_hook_from_submodules.__name__):
        pt.merge(model)
    remove_hook_from_submodules(model)
    torch.testing.assert_close(pt.merge(model)(**batch).logits, adapted)


def test_a_silent_adapter_is_not_merged(model, batch):
    """Merged, it would change the output."""
    model = pt.lora.inject(model)
    name, adapter = [*pt.adapters(model).items()][-1]
    before = snapshot(model, batch)
    with pytest.raises(NotMergeable, match="is disabled"), pt.disabled(model):
        pt.merge(model)
    with pytest.raises(NotMergeable, match=f"{name} is disabled"), pt.disabled(adapter):
        pt.merge(model)
    assert snapshot(model, batch) == before
    assert not pt.adapters(pt.merge(model))


def test_what_merged_returns_is_held_to_the_contract(model, batch):
    class Three(Shift):
        def merged(self):
            return 3

    model = pt.attach(model, "query", Three)
    before = snapshot(model, batch)
    with pytest.raises(BadConfig, match=r"merged\(\) gave an int for bert\..*\.query"):
        pt.merge(model)
    assert snapshot(model, batch) == before


def test_an_adapter_is_no_other_s_base():
    with pytest.raises(BadConfig, match="is a Shift, an adapter itself"):
        Shift(Shift(nn.Linear(3, 3)))


def test_what_make_raises_says_where(model):
    with pytest.raises(BadConfig) as error:
        pt.lora.inject(model, pt.lora.Config(rank=100, targets=(QUERY(1),)))
    assert error.value.__notes__ == [f"That was at {QUERY(1)}."]


def test_adapters_put_in_by_hand_come_off_a_base_of_bytes():
    class Bytes(nn.Module):
        out_features = 3

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3, 3, dtype=torch.uint8), requires_grad=False)

        def forward(self, x):
            return x @ self.weight.to(x.dtype)

    model = nn.Sequential(Bytes(), nn.Linear(3, 2))
    packed = model[0]
    model[0] = Shift(packed)
    assert pt.remove(model)[0] is packed
    assert [p.requires_grad for p in model.parameters()] == [False, True, True]


def test_remove_gives_back_the_very_modules(model, batch):
    before = snapshot(model, batch)
    assert snapshot(pt.remove(pt.attach(model, ("query", "ffn_out"), Shift)), batch) == before


@pytest.mark.parametrize("ask", [
    pt.adapter_parameters, pt.adapter_state, pt.merge, pt.remove,
    lambda m: pt.disabled(m).__enter__(), lambda m: pt.save(m, "never"),
])
def test_a_model_without_a_method_has_no_adapter(ask, model, batch):
    before = snapshot(model, batch)
    with pytest.raises(NoAdapter, match="No method was put on this model") as error:
        ask(model)
    assert "inject" in error.value.hint
    assert snapshot(model, batch) == before
    assert pt.adapters(model) == {}


def test_full_has_no_adapter_but_parameters(model, tiny):
    model = pt.full.inject(model)
    head = set(models.head(model))
    assert pt.adapters(model) == {}
    assert set(pt.adapter_parameters(model)) == {n for n, _ in model.named_parameters()} - head
    assert set(pt.adapter_state(model)) == set(pt.adapter_parameters(model))
    probe = pt.full.inject(tiny("bert"), pt.full.Config("head"))
    assert pt.adapter_state(probe) == {}
    for full in (model, probe):
        with pytest.raises(NoAdapter, match="to merge: full fine-tuning"):
            pt.merge(full)
        with pytest.raises(NoAdapter, match="to remove: full fine-tuning"):
            pt.remove(full)
        with pytest.raises(NoAdapter, match="to disable: full fine-tuning"), pt.disabled(full):
            pass


# ── an adapter around the whole backbone ─────────────────────────────────────────────────────


class Tilt(pt.BackboneAdapter):
    """backbone(…) + z · ramp, on the last hidden state, and pooled again for BERT's head."""

    def __init__(self, base):
        super().__init__(base)
        self.z = nn.Parameter(torch.tensor(0.5))

    def forward(self, *args, **kwargs):
        out = self.base(*args, **kwargs)
        out.last_hidden_state = out.last_hidden_state + self.z * torch.linspace(0, 1, 32)
        if out.get("pooler_output") is not None:
            out.pooler_output = self.base.pooler(out.last_hidden_state)
        return out


BACKBONES = [(family, kind) for family in ("bert", "roberta", "distilbert", "gpt2", "llama")
             for kind in ("backbone", "classifier")] + [("gpt2", "lm"), ("llama", "lm")]


@pytest.mark.parametrize(("family", "kind"), BACKBONES)
def test_a_backbone_is_wrapped_and_comes_back(family, kind, tiny, inputs):
    plain = tiny(family, kind)
    batch, backbone = inputs(plain), plain.base_model
    where = "" if kind == "backbone" else plain.base_model_prefix
    names, before = list(plain.state_dict()), plain.base_model(batch["input_ids"])[0]
    table, table_of_words = models.places(plain), plain.get_input_embeddings()
    head, flags = models.head(plain), {n: p.requires_grad for n, p in plain.named_parameters()}

    model = pt.attach(plain, "backbone", Tilt)
    assert list(pt.adapters(model)) == [where]
    assert (model is plain) == (kind != "backbone")
    tilt = model.base_model
    assert type(tilt) is Tilt
    assert tilt.base is backbone
    assert (tilt.base_model, tilt.config, tilt.dtype, tilt.device) == (
        tilt, backbone.config, torch.float32, torch.device("cpu"))
    assert model.get_input_embeddings() is tilt.get_input_embeddings() is table_of_words
    assert list(pt.adapter_parameters(model)) == [f"{where}.z" if where else "z"]
    assert models.places(model) == table
    assert models.head(model) == head
    own = next(iter(pt.adapter_parameters(model)))
    assert {plain_name(model, n) for n, p in model.named_parameters() if p.requires_grad} == {
        own, *head}
    after = model.base_model(batch["input_ids"])[0]
    assert not torch.equal(after, before)
    with pt.disabled(model):
        assert_equal(model.base_model(batch["input_ids"])[0], before)

    with pytest.raises(NotMergeable, match="Tilt cannot be folded"):
        pt.merge(model)
    with pytest.raises(AlreadyAdapted):
        pt.attach(model, "backbone", Tilt)
    assert_equal(model.base_model(batch["input_ids"])[0], after)

    assert pt.remove(model) is plain
    assert plain.base_model is backbone
    assert notes.note_of(plain) is None
    assert list(plain.state_dict()) == names
    assert {n: p.requires_grad for n, p in plain.named_parameters()} == flags
    assert "save_pretrained" not in vars(plain)
    assert_equal(plain.base_model(batch["input_ids"])[0], before)


@pytest.mark.parametrize(("family", "kind"), BACKBONES)
def test_an_adapter_of_the_backbone_is_kept_in_a_file(family, kind, tiny, inputs, tmp_path):
    model = pt.attach(tiny(family, kind), "backbone", Tilt)
    batch = {"input_ids": inputs(model)["input_ids"]}
    with torch.no_grad():
        model.base_model.z.fill_(2.0)
        expected = model(**batch)[0]
        pt.save(model, tmp_path)
        other = pt.attach(tiny(family, kind), "backbone", Tilt)
        assert not torch.equal(other(**batch)[0], expected)
        assert pt.store.swap(other, tmp_path) is other
        assert_equal(other(**batch)[0], expected)
        twin = copy.deepcopy(other)
        twin.base_model.z.zero_()
        assert_equal(other(**batch)[0], expected)
    with pytest.raises(pt.errors.AdapterFileError, match=r"a bare pt\.attach"):
        pt.load(tiny(family, kind), tmp_path)
    with torch.no_grad():
        loaded = pt.load(tiny(family, kind), tmp_path, make=Tilt)
        assert_equal(loaded(**batch)[0], expected)
        assert list(pt.adapters(loaded)) == list(pt.adapters(model))


@pytest.mark.parametrize("kind", ["backbone", "classifier"])
@pytest.mark.parametrize("targets", [("backbone", "query"), ("query", "backbone")])
def test_adapters_inside_an_adapted_backbone(kind, targets, tiny, inputs):
    plain = tiny("bert", kind)
    batch, modules = inputs(plain), [(n, id(m)) for n, m in plain.named_modules()]
    queries = models.places(plain)["query"]
    model = pt.attach(plain, targets, lambda base: (
        Shift if isinstance(base, nn.Linear) else Tilt)(base))
    root = "" if kind == "backbone" else "bert"
    assert set(pt.adapters(model)) == {root, *queries}
    assert set(pt.adapter_parameters(model)) == {
        f"{root}.z".strip("."), *(f"{name}.v" for name in queries)}
    model(**batch)[0].sum().backward()
    assert all(p.grad is not None for p in pt.adapter_parameters(model).values())
    assert pt.remove(model) is plain
    assert [(n, id(m)) for n, m in plain.named_modules()] == modules


def test_a_failure_around_a_bare_backbone_leaves_it(tiny, inputs):
    plain = tiny("bert", "backbone")
    flags = [p.requires_grad for p in plain.parameters()]
    for make, error in ((lambda base: base, BadConfig), (lambda base: 1 / 0, ZeroDivisionError)):
        with pytest.raises(error):
            pt.attach(plain, "backbone", make)
        assert notes.note_of(plain) is None
        assert [p.requires_grad for p in plain.parameters()] == flags
    with pytest.raises(BadConfig, match="belongs to the task head"):
        pt.attach(tiny("bert"), ("backbone", "classifier"), Tilt)


def test_an_adapter_says_what_a_file_keeps(model, tmp_path):
    class Product(Shift):
        """Trains v and its scale, and keeps their product."""

        def __init__(self, base):
            super().__init__(base)
            self.s = nn.Parameter(torch.tensor(3.0))

        def stored(self):
            return {"v": self.s * self.v}

    model = pt.attach(model, "query", Product, layers=(0,))
    assert list(pt.adapter_parameters(model)) == [QUERY(0) + ".v", QUERY(0) + ".s"]
    state = pt.adapter_state(model)
    assert list(state) == [QUERY(0) + ".v"]
    assert_equal(state[QUERY(0) + ".v"], torch.full((32,), 1.5))
    assert not state[QUERY(0) + ".v"].requires_grad
    assert pt.store.saved(pt.save(model, tmp_path / "it").parent)[0].parameters == 32 + 3 * 32 + 3


# ── the fingerprint ──────────────────────────────────────────────────────────────────────────


def test_the_fingerprint_knows_a_base_again(tiny):
    one = notes.prepare(tiny("gpt2"))[0].fingerprint
    assert notes.prepare(tiny("gpt2"))[0].fingerprint == one
    assert notes.prepare(tiny("gpt2", seed=1))[0].fingerprint != one
    assert notes.prepare(tiny("gpt2").bfloat16())[0].fingerprint == one
    assert not set(models.head(tiny("gpt2"))) & set(one)
    assert all(len(values) <= 16 for _, values in one.values())
    converted = pt.remove(pt.lora.inject(tiny("gpt2"), pt.lora.Config(targets=("qkv", "ffn_in"))))
    assert notes.prepare(converted)[0].fingerprint == one
    assert notes.prepare(models.to_hf(converted))[0].fingerprint == one


@pytest.mark.parametrize("method", METHODS)
def test_what_is_no_model_is_told(method):
    for thing in ("notes.txt", None, {}):
        for use in (METHODS[method].inject, pt.merge, lambda x: pt.lora.plus_groups(x, 1e-3)):
            with pytest.raises(BadConfig, match="not a model"):
                use(thing)


@pytest.mark.parametrize("method", METHODS)
def test_the_settings_of_another_method_are_refused(method, model, batch):
    other = pt.ia3.Config() if method != "ia3" else pt.dora.Config()
    before = snapshot(model, batch)
    for config in (other, {"rank": 4}, {}, "all"):
        with pytest.raises(BadConfig, match="The settings are of type") as error:
            METHODS[method].inject(model, config)
        assert f"pt.{method}.Config" in error.value.expected
    assert snapshot(model, batch) == before


@pytest.mark.parametrize("method", METHODS)
def test_inference_mode_is_refused(method, model, batch):
    """Tensors made there can never be trained: torch would say so at the first backward."""
    before = snapshot(model, batch)
    with torch.inference_mode(), pytest.raises(BadConfig, match="inference_mode"):
        METHODS[method].inject(model)
    assert snapshot(model, batch) == before
    model = METHODS[method].inject(model)
    if method in ("lora", "dora", "qlora", "ia3", "bitfit"):
        with torch.inference_mode(), pytest.raises(BadConfig, match="inference_mode"):
            pt.merge(model)
        assert pt.adapters(model)


def test_a_buffer_that_no_file_would_keep_is_refused(model, batch):
    class Counting(pt.Adapter):
        def __init__(self, base, persistent):
            super().__init__(base)
            self.register_buffer("seen", torch.zeros(3), persistent=persistent)

    before = snapshot(model, batch)
    with pytest.raises(BadConfig, match="buffer seen") as error:
        pt.attach(model, "query", lambda base: Counting(base, True))
    assert "nn.Parameter(tensor, requires_grad=False)" in error.value.expected
    assert snapshot(model, batch) == before
    assert pt.adapters(pt.attach(model, "query", lambda base: Counting(base, False)))


def test_own_parameters_are_float32_whatever_the_default(tiny):
    class Shift(pt.Adapter):
        def __init__(self, base):
            super().__init__(base)
            self.z = nn.Parameter(torch.zeros(32))

    torch.set_default_dtype(torch.bfloat16)
    try:
        model = pt.attach(tiny("bert").bfloat16(), "query", Shift)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {p.dtype for p in pt.adapter_parameters(model).values()} == {torch.float32}


def test_a_model_without_numbers_can_be_adapted(tiny):
    """On the meta device, as for counting a model that would not fit."""
    model = tiny("llama").to("meta")
    model = pt.lora.inject(model, pt.lora.Config(rank=2))
    assert {p.device.type for p in pt.adapter_parameters(model).values()} == {"meta"}
    assert {n: s for n, (s, _) in notes.prepare(pt.remove(model))[0].fingerprint.items()} == {
        n: s for n, (s, _) in notes.prepare(tiny("llama"))[0].fingerprint.items()}


def test_an_adapter_goes_to_the_models_device_where_its_base_has_none(tiny):
    moved = []

    class Spy(pt.Adapter):
        def to(self, *args, **kwargs):
            moved.append(args)
            return super().to(*args, **kwargs)

    model = tiny("bert")
    pt.attach(model, "embeddings", Spy)      # a Dropout, without parameters
    assert moved == [(torch.device("cpu"),)]


def test_a_base_in_4_bits_without_a_bias_stays_on_its_device():
    """All its numbers are buffers; the rest of the model may be elsewhere."""
    model = nn.Sequential(nn.Linear(64, 64, device="meta"),
                          pt.nf4.Linear4bit.from_linear(nn.Linear(64, 64, bias=False)))
    layer = pt.attach(model, "1", pt.lora.LoRALinear)[1]
    assert (layer.base.packed.device.type, layer.A.device.type) == ("cpu", "cpu")


# ── what a model asks of a module that is wrapped ────────────────────────────────────────────


def test_an_adapter_answers_for_its_base_s_weight_and_bias():
    base = nn.Linear(3, 5, dtype=torch.bfloat16)
    adapter = Shift(base)
    for name in ("weight", "bias"):    # what reads it sees the base's numbers
        assert getattr(adapter, name).data_ptr() == getattr(base, name).data_ptr()
        assert getattr(adapter, name).tolist() == getattr(base, name).tolist()
    with pt.disabled(adapter):
        assert adapter.weight is base.weight
    assert set(adapter.own_parameters()) == {"v"}
    assert {n for n, _ in adapter.named_parameters()} == {"v", "base.weight", "base.bias"}
    assert Shift(nn.Linear(3, 5, bias=False)).bias is None
    with pytest.raises(AttributeError, match="wieght"):
        adapter.wieght  # noqa: B018
    with pytest.raises(AttributeError, match="'Identity' object has no attribute 'weight'"):
        pt.Adapter(nn.Identity()).weight  # noqa: B018
    twin = copy.deepcopy(adapter)
    assert twin.weight.data_ptr() == twin.base.weight.data_ptr() != base.weight.data_ptr()


class Scale(pt.Adapter):
    """w ⊙ base(x): an adapter with a `weight` of its own."""

    def __init__(self, base):
        super().__init__(base)
        self.weight = nn.Parameter(torch.ones(base.out_features))

    def forward(self, x):
        y = self.base(x)
        return (self.weight * y).to(y.dtype)


def test_an_adapter_may_have_a_weight_of_its_own(model, batch):
    with torch.no_grad():
        before = model(**batch).logits
        model = pt.attach(model, "query", Scale)
        adapter = pt.adapters(model)[QUERY(0)]
        assert adapter.weight.shape == (32,)
        assert adapter.bias.data_ptr() == adapter.base.bias.data_ptr()
        assert {n.removeprefix(QUERY(0) + ".") for n in pt.adapter_state(model)
                if n.startswith(QUERY(0))} == {"weight"}
        assert_equal(model(**batch).logits, before)
        adapter.weight.mul_(3)
        assert not torch.equal(model(**batch).logits, before)


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_an_adapter_on_a_model_gets_no_weight_that_its_forward_would_not_use(name, model):
    adapter = pt.adapters(pt.attach(model, "query", Shift))[QUERY(0)]
    with pytest.raises(NotSupported, match=f"{QUERY(0)} would get a {name}") as error:
        setattr(adapter, name, nn.Parameter(torch.ones(32)))
    assert "pt.remove(model)" in error.value.hint
    assert set(adapter.own_parameters()) == {"v"}
    model = pt.attach(pt.remove(model), "query", Scale)
    adapter = pt.adapters(model)[QUERY(0)]
    adapter.weight = nn.Parameter(torch.zeros(32))    # its own is replaced
    assert not adapter(torch.ones(1, 32)).any()


class Beside(pt.Adapter):
    """base(x) + weight(x) + bias, a module and a buffer by names that the base has, too."""

    def __init__(self, base):
        super().__init__(base)
        self.add_module("weight", nn.Linear(base.in_features, base.out_features, bias=False))
        self.register_buffer("bias", torch.ones(base.out_features), persistent=False)

    def forward(self, x):
        y = self.base(x)
        return (y + self.weight(x) + self.bias).to(y.dtype)


def test_an_adapter_may_have_a_module_and_a_buffer_by_names_of_its_base(model, batch):
    adapter = pt.adapters(pt.attach(model, "query", Beside))[QUERY(0)]
    assert {*adapter.own_parameters()} == {"weight.weight"}
    assert torch.equal(adapter.bias, torch.ones(32))
    assert model(**batch).logits.isfinite().all()
    with pytest.raises(KeyError, match="already exists"):    # one of these is its own by now
        adapter.register_parameter("bias", nn.Parameter(torch.zeros(32)))


# ── what torch does behind a module's back ───────────────────────────────────────────────────


class Encoder(nn.Module):
    """Torch's own encoder, whose fast path reads the weights of the layers in it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(9, 8)
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True), 2)
        self.classifier = nn.Linear(8, 2)

    def forward(self, ids):
        return self.classifier(self.encoder(self.words(ids), src_key_padding_mask=ids == 0)[:, 0])


class Shifted(pt.Adapter):
    """base(…) + v, of whatever module."""

    def __init__(self, base):
        super().__init__(base)
        self.v = nn.Parameter(torch.linspace(0, 1, 8))

    def forward(self, *args, **kwargs):
        out = self.base(*args, **kwargs)
        return (out[0] + self.v, *out[1:]) if isinstance(out, tuple) else out + self.v

    def merged(self):
        merged = copy.deepcopy(self.base)
        merged.bias.data += self.v.data
        return merged


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")    # the base makes them
@pytest.mark.parametrize("target", [
    "*.linear2", "*.layers.1.linear2", "*.norm1", "*.layers.1.norm2", "*.layers.0.self_attn",
    "encoder.layers.0", "encoder.layers.1", "encoder"])
@torch.no_grad()
def test_torch_s_fast_path_passes_no_adapter_by(target):
    ids = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]])    # with padding it makes nested tensors
    model = Encoder().eval()
    before = model(ids)
    model = pt.attach(model, target, Shifted)
    adapted = model(ids)
    assert not torch.allclose(adapted, before, atol=1e-3)
    torch.testing.assert_close(model.train()(ids), adapted)    # there no fast path is tried
    model.eval()
    with pt.disabled(model):
        assert_equal(model(ids), before)
    if target.rpartition(".")[2] in ("linear2", "norm1", "norm2"):
        torch.testing.assert_close(pt.merge(copy.deepcopy(model))(ids), adapted)
    model = pt.remove(model)
    assert_equal(model(ids), before)
    assert not {"train", "forward"} & model.encoder.__dict__.keys()


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("training", [True, False])
def test_a_layer_whose_weight_is_read_cannot_be_adapted(training):
    model = pt.attach(Encoder().eval(), "*.1.self_attn.out_proj", Shifted).train(training)
    layer = pt.adapters(model)["encoder.layers.1.self_attn.out_proj"]
    assert (layer.weight.dtype, layer.weight.shape) == (torch.float32, (8, 8))
    with pytest.raises(NotSupported, match=r"of encoder\.layers\.1\.self_attn\.out_proj,"):
        model(torch.tensor([[1, 2], [3, 0]]))
    with pt.disabled(model):
        model(torch.tensor([[1, 2], [3, 0]]))


K = nn.Linear(8, 8)
READ = {    # what a model may do with a layer's weight
    "linear": lambda x, q: nn.functional.linear(x, q.weight, q.bias),
    "transposed": lambda x, q: x @ q.weight.T,
    "in another dtype": lambda x, q: x.double() @ q.weight.double(),
    "beside another": lambda x, q: x @ torch.cat([K.weight, q.weight]).T,
    "attention": lambda x, q: nn.functional.multi_head_attention_forward(    # as WavLM does
        x, x, x, 8, 2, None, torch.cat([q.bias, q.bias, q.bias]), None, None, False, 0.0, K.weight,
        K.bias, use_separate_proj_weight=True, q_proj_weight=q.weight,
        k_proj_weight=q.weight, v_proj_weight=q.weight)}


@pytest.mark.parametrize("read", READ)
def test_a_model_that_computes_with_a_weight_itself_passes_no_adapter_by(read):
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.q = nn.Linear(8, 8)

        def forward(self, x):
            return READ[read](x, self.q)

    model, x = pt.attach(Reads(), "q", Shifted), torch.randn(2, 8)
    with pytest.raises(NotSupported, match="with the weight of q, and"):
        model(x)
    with pt.disabled(model):
        model(x)


@pytest.mark.parametrize("write", [
    nn.init.zeros_, lambda w: nn.init.normal_(w.T), lambda w: w.data.fill_(2),
    lambda w: operator.setitem(w, 0, 1), lambda w: operator.imul(w, 2),
    lambda w: torch.neg(w, out=w), lambda w: setattr(w, "data", w + w)])
@torch.no_grad()
def test_the_weight_of_an_adapted_layer_is_not_written_to(write):
    model = pt.attach(nn.Sequential(nn.Linear(8, 8)), "0", Shifted)
    layer, before = model[0], model[0].base.weight.clone()
    with pytest.raises(NotSupported, match="would change the weight of 0"):
        write(layer.weight)
    assert_equal(layer.base.weight, before)
    assert layer.weight.norm().item() == before.norm().item()    # what reads it alone goes on
    assert (layer.weight @ layer.weight.T).tolist() == (before @ before.T).tolist()
    assert pickle.loads(pickle.dumps(layer.weight)).tolist() == before.tolist()


def test_a_model_that_reads_a_weight_s_dtype_is_compiled_whole():
    class Reads(nn.Module):    # as T5 does
        def __init__(self):
            super().__init__()
            self.wo = nn.Linear(8, 8)

        def forward(self, x):
            return self.wo(x.to(self.wo.weight.dtype))

    model, x = pt.attach(Reads(), "wo", Shifted), torch.randn(2, 8)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), model(x))
    with pt.disabled(model):
        torch.testing.assert_close(compiled(x), model.wo.base(x))


@torch.no_grad()
def test_what_somebody_put_before_a_method_stands_there_again():
    """As accelerate puts its hooks before `forward`."""
    model, calls = Encoder().eval(), []
    forward = model.encoder.forward
    model.encoder.forward = lambda *args, **kwargs: [calls.append(1), forward(*args, **kwargs)][1]
    hooked = model.encoder.forward
    model = pt.remove(pt.attach(model, "*.linear2", Shifted))
    assert model.encoder.forward is hooked
    model(torch.tensor([[1, 2]]))
    assert calls == [1]
    assert "save_pretrained" not in vars(model)


class Twice(nn.Module):
    """One layer under two names, of which the second is called."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.again = nn.ModuleList([self.first])
        self.classifier = nn.Linear(8, 2)

    def forward(self, x):
        return self.classifier(self.again[0](x))


@pytest.mark.parametrize("target", ["first", "again.0", "*0", ("first", "again.0")])
@pytest.mark.parametrize("also", [False, True])
def test_a_module_under_two_names_is_adapted_under_both(target, also):
    model, x = Twice(), torch.ones(3, 8)
    layer, before = model.first, model(x)
    names = models.find(model, target)
    assert names == ("first",)
    model = (core.wrap(model, notes.prepare(model)[0], {}, names) if also
             else pt.attach(model, target, Shifted))
    assert model.first is model.again[0] is pt.adapters(model)["first"]
    model(x).sum().backward()
    assert all(p.grad is not None for p in pt.adapter_parameters(model).values())
    adapted = model(x)
    merged = pt.merge(copy.deepcopy(model))
    assert merged.first is merged.again[0]
    torch.testing.assert_close(merged(x), adapted)
    assert pt.remove(model).first is model.again[0] is layer
    assert_equal(model(x), before)


class Counts(nn.Module):
    """A module that counts means while it is in training mode, around a layer."""

    def __init__(self):
        super().__init__()
        self.layer, self.dropout = nn.Linear(8, 8), nn.Dropout(0.5)
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x):
        x = self.layer(x)
        if self.training:
            self.mean.lerp_(x.detach().mean(0), 0.5)
        return self.dropout(x - self.mean)


class Stateful(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(8, 8)
        self.middle = nn.Sequential(nn.BatchNorm1d(8), Counts(),
                                    nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8)),
                                    nn.BatchNorm1d(8, affine=False))
        self.classifier = nn.Sequential(nn.BatchNorm1d(8, affine=False), nn.BatchNorm1d(8),
                                        nn.Linear(8, 2))

    def hidden(self, x):
        return self.middle(self.first(x))

    def forward(self, x):
        return self.classifier(self.hidden(x))


def one_step(model, x):
    model.train()
    model(2 * x + 1).sum().backward()
    model.eval()


@torch.no_grad()
def test_a_frozen_module_counts_nothing_and_a_head_s_is_kept(tmp_path):
    x = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    model = Stateful().eval()
    before, buffers = model.hidden(x), {n: b.clone() for n, b in model.named_buffers()}
    model = pt.attach(model, "first", Shifted)
    with torch.enable_grad():
        one_step(model, x)
    model.train()
    assert (model.training, model.middle[1].dropout.training) == (True, True)
    model.eval()
    moved = {n for n, b in model.named_buffers() if not torch.equal(b, buffers[n])}
    assert {n.split(".")[0] for n in moved} == {"classifier"}
    assert len(moved) == 6    # both its BatchNorms': one has no parameter
    with pt.disabled(model):
        assert_equal(model.hidden(x), before)
    folder = pt.save(model, tmp_path)
    fresh = pt.load(Stateful().eval(), folder, make=Shifted)
    assert_equal(fresh(x), model(x))
    twin = copy.deepcopy(model).train()
    assert not twin.middle[0].training
    assert not model.middle[0].training
    assert_equal(pt.remove(model).hidden(x), before)
    assert not any("train" in m.__dict__ for m in model.modules())
    model = pt.attach(model.train(), "first", Shifted)
    assert not model.middle[0].training
    assert all(m.training for m in pt.remove(model).modules())


class Table(nn.Module):
    """A frozen module that holds a constant in a buffer, and makes another."""

    def __init__(self, value=1.0):
        super().__init__()
        self.register_buffer("table", torch.full((8,), value))
        self.register_buffer("made", torch.full((8,), value), persistent=False)

    def forward(self, x):
        return x * self.table * self.made


def test_another_buffer_is_another_base(tmp_path):
    def made(value=1.0):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 8), Table(value))

    model = pt.attach(made(), "0", Shifted)
    file = pt.save(model, tmp_path)
    with pytest.raises(AdapterFileError, match=r"other weights: 1\.table differs"):
        pt.load(made(2.0), file, make=Shifted)
    with pytest.raises(AdapterFileError, match=r"other weights: 1\.table differs"):
        pt.swap(pt.attach(made(2.0), "0", Shifted), file)
    other = made()
    other[1].made += 1    # not kept in a state dict: made anew by each model
    pt.load(other, file, make=Shifted)
    told = json.loads((file / "adapter.json").read_text())
    del told["base"]["1.table"]    # as it was when files kept none of a buffer
    (file / "adapter.json").write_text(json.dumps(told))
    save_file(load_file(file / "adapter.safetensors"), file / "adapter.safetensors")
    pt.load(made(2.0), file, make=Shifted)
    model[1].table += 1    # as a module does that counts in it
    with pytest.raises(NotSupported, match=r"1\.table changed since"):
        pt.save(model, tmp_path)


@torch.no_grad()
def test_a_trained_copy_keeps_what_it_counts(tmp_path):
    x = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    also = ("middle.0", "middle.1")
    model = pt.attach(Stateful().eval(), "first", Shifted, also_train=also)
    with torch.enable_grad():
        one_step(model, x)
    kept = pt.adapter_state(model)
    assert (kept["middle.0.trained.running_mean"] != 0).all()
    assert (kept["middle.1.trained.mean"] != 0).all()
    folder, expected = pt.save(model, tmp_path), model(x)
    fresh = pt.load(Stateful().eval(), folder, make=Shifted)
    assert_equal(fresh(x), expected)
    swapped = pt.swap(pt.attach(Stateful().eval(), "first", Shifted, also_train=also), folder)
    assert_equal(swapped(x), expected)
    torch.testing.assert_close(pt.merge(copy.deepcopy(model))(x), expected)
    with pt.disabled(model):
        assert_equal(model.hidden(x), Stateful().eval().hidden(x))
        assert_equal(model.hidden(x), Stateful().eval().hidden(x))
    writing.save_checkpoint(model, tmp_path)    # what Trainer resumes from
    resumed = pt.attach(Stateful().eval(), "first", Shifted, also_train=also)
    resumed.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=False)
    assert_equal(resumed(x), expected)


def test_a_trained_copy_stays_as_it_is_while_it_computes(tiny, batch):
    """Another thread may call it meanwhile, and checkpointing calls it again, in backward."""
    model, name = tiny("bert").bfloat16(), "bert.encoder.layer.1"
    add_hook_to_module(model.get_submodule(name).output.dense, ModelHook())
    settings = pt.lora.Config(targets="*.0.*.query", also_train=name)
    copied = pt.adapters(model := pt.lora.inject(model, settings).train())[name].trained
    dense, seen, gradients = copied.output.dense, set(), []
    dense.register_forward_pre_hook(lambda *_: seen.add(type(dense.weight)))
    for prepare in (lambda _: None, checkpoint):
        prepare(model)
        model.zero_grad()
        model(**batch).logits.sum().backward()
        gradients.append([p.grad.clone() for p in copied.parameters()])
    assert seen == {nn.Parameter}
    assert all(map(torch.equal, *gradients))


@pytest.mark.parametrize("train", ["all", "head"])
@torch.no_grad()
def test_full_keeps_what_it_counts_and_its_frozen_part_counts_nothing(train, tmp_path):
    x = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    model = pt.full.inject(Stateful().eval(), pt.full.Config(train))
    with torch.enable_grad():
        one_step(model, x)
    assert torch.equal(model.middle[3].running_mean, torch.zeros(8)) == (train == "head")
    folder = pt.save(model, tmp_path)
    assert_equal(pt.load(Stateful().eval(), folder)(x), model(x))


def test_an_attach_that_fails_leaves_the_modes(tmp_path):
    model = pt.attach(Stateful().eval(), "first", Shifted)
    folder, fresh = pt.save(model, tmp_path), Stateful().train()
    with pytest.raises(AdapterFileError):    # after the wrappers were put in place
        pt.load(fresh, folder, make=Deep)
    assert all(m.training and "train" not in m.__dict__ for m in fresh.modules())


VERBS = {    # what is done to a model, and to a folder
    "train": lambda model, batch, path: pt.train(model, [batch]),
    "save": lambda model, batch, path: pt.save(model, path),
    "to_peft": lambda model, batch, path: pt.export.to_peft(model, path),
    "account": lambda model, batch, path: pt.account.parameters(model),
    "ledger": lambda model, batch, path: pt.account.ledger(model),
    "by_place": lambda model, batch, path: pt.account.by_place(model),
    "adapters": lambda model, batch, path: pt.adapters(model),
    "disabled": lambda model, batch, path: pt.disabled(model).__enter__(),
    "merge": lambda model, batch, path: pt.merge(model),
    "remove": lambda model, batch, path: pt.remove(model),
    "swap": lambda model, batch, path: pt.swap(model, path),
    "load": lambda model, batch, path: pt.load(model, path),
    "inject": lambda model, batch, path: pt.lora.inject(model),
    "attach": lambda model, batch, path: pt.attach(model, "query", Shift),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_wrapper_of_torch_is_refused_and_what_is_in_it_is_named(verb, model, batch, tmp_path):
    """Behind it parameters have other names: a file would be without head and method."""
    model = pt.lora.inject(model)
    folder, before = pt.save(model, tmp_path / "a"), snapshot(model, batch)
    bert = model.bert
    for wrap, says in ((torch.compile, "_orig_mod"), (nn.DataParallel, "module"),
                       (checkpoint_wrapper, "_checkpoint_wrapped_module")):
        with pytest.raises(NotSupported, match=rf"model\.{says}"):
            VERBS[verb](wrap(model), batch, folder)
        model.bert = wrap(bert)
        with pytest.raises(NotSupported, match=rf"model\.bert\.{says}"):
            VERBS[verb](model, batch, folder)
        model.bert = bert
    assert snapshot(model, batch) == before


@pytest.mark.parametrize("put", [pt.lora.inject, lambda model: pt.attach(model, "query", Shift),
                                 lambda model: pt.full.inject(model, pt.full.Config("head"))])
def test_a_thawed_parameter_is_not_lost(put, model, batch, tmp_path):
    model = put(model)
    norm = model.bert.encoder.layer[0].output.LayerNorm.requires_grad_(True)
    for verb in ("train", "save"):
        with pytest.raises(NotSupported, match=r"LayerNorm.weight and 1 more would train") as error:
            VERBS[verb](model, batch, tmp_path / "a")
        assert "also_train=('bert.encoder.layer.0.output.LayerNorm',)" in error.value.hint
    assert not (tmp_path / "a").exists()
    norm.requires_grad_(False)
    for verb in ("train", "save"):
        VERBS[verb](model, batch, tmp_path / "a")
    state = copy.deepcopy(model.state_dict())
    pt.save(copy.deepcopy(model), tmp_path / "a")
    for half in (torch.bfloat16, torch.float16):    # rounded, and not trained
        pt.save(copy.deepcopy(model).to(half), tmp_path / "a")
        pt.save(copy.deepcopy(model).to(half).float(), tmp_path / "a")
    for place, step in ((-1, 0.1), (5, 1e-6)):    # as a loop of one's own had trained it meanwhile
        norm.bias.data[place] += step
        with pytest.raises(NotSupported, match=r"LayerNorm.bias changed since"):
            pt.save(model, tmp_path / "b")
        assert not (tmp_path / "b").exists()
        model.load_state_dict(state)


class Moved(Shift):
    """Takes from its base what it puts into itself, as PiSSA does."""

    def __init__(self, base):
        super().__init__(base)
        self.v.data = base.bias.detach().clone()
        base.bias.data.zero_()


def test_what_a_readers_adapter_takes_from_its_base_is_no_change(model, batch, tiny, tmp_path):
    before = model(**batch).logits
    adapted = pt.attach(model, "query", Moved)
    assert torch.allclose(adapted(**batch).logits, before)
    loaded = pt.load(tiny("bert"), pt.save(adapted, tmp_path), make=Moved)
    assert_equal(loaded(**batch).logits, adapted(**batch).logits)


@pytest.mark.parametrize("put", [
    lambda model: pt.attach(model, "query", Shift, also_train="attention_norm"),
    lambda model: pt.full.inject(model, pt.full.Config("head", also_train=("attention_norm",)))])
def test_what_trains_besides_is_kept(put, tiny, batch, tmp_path):
    """The laws say so of methods; here of a reader's own adapter, and of the head alone."""
    model = put(tiny("bert"))
    norms = [f"bert.encoder.layer.{i}.attention.output.LayerNorm" for i in range(2)]
    assert {n.rpartition(".")[0] for n in pt.adapter_parameters(model)} >= {
        norm + (".trained" if pt.adapters(model) else "") for norm in norms}
    [*pt.train(model, [batch] * 2, lr=0.1)]
    with torch.no_grad():
        expected = model(**batch).logits
        folder = pt.save(model, tmp_path)
        loaded = pt.load(tiny("bert"), folder, make=Shift if pt.adapters(model) else None)
        assert_equal(loaded(**batch).logits, expected)


@pytest.mark.parametrize(("family", "also", "says"), [
    ("llama", "embeddings", "shares a weight with lm_head.weight"),
    ("gpt2", "embeddings", "copy of this Dropout"),
    ("llama", "ffn_in", "copy of this Linear4bit")])
def test_what_no_copy_could_train_is_refused(family, also, says, tiny):
    """Tied, without weights, in 4 bits, or a list, which nobody calls."""
    with pytest.raises(NotSupported, match="copy of this ModuleList"):
        trained_copy.TrainedCopy(nn.ModuleList([nn.Linear(2, 2)]))
    model = tiny(family, "lm", tie_word_embeddings=True)
    with pytest.raises(NotSupported, match=says):
        pt.qlora.inject(model, pt.qlora.Config(targets="attention_out", also_train=also))
    assert pt.adapters(model) == {}


@pytest.mark.parametrize(("put", "tied"), [
    (lambda model: pt.lora.inject(model, pt.lora.Config(rank=2, targets="lm_head")), True),
    (lambda model: pt.bottleneck.inject(model, pt.bottleneck.ENDS), True),
    (lambda model: pt.lora.inject(model, pt.lora.Config(also_train="lm_head")), False)])
def test_a_table_that_an_adapter_is_around_is_not_resized(put, tied, tiny):
    """Tied, it would grow beneath an adapter that does not."""
    model = put(tiny("llama", "lm", tie_word_embeddings=tied))
    with pytest.raises(NotSupported, match="that has their size"):
        model.resize_token_embeddings(110)
    assert model(torch.tensor([[3]])).logits.shape == (1, 1, 97)
    pt.remove(model).resize_token_embeddings(110, mean_resizing=False)
    assert model(torch.tensor([[3]])).logits.shape == (1, 1, 110)


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5"])
def test_what_was_merged_into_a_tied_table_outlives_the_next_tie(family, tiny, tmp_path):
    """transformers ties the table anew whenever the word embeddings change."""
    from transformers import T5Config, T5ForConditionalGeneration

    if family == "t5":
        config = T5Config(vocab_size=97, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4,
                          tie_word_embeddings=True, decoder_start_token_id=0)
        torch.manual_seed(0)
        base = T5ForConditionalGeneration(config).eval()
    else:
        base = tiny(family, "lm", tie_word_embeddings=True)
    batch = {"input_ids": torch.tensor([[3, 4, 5]]), **(
        {"decoder_input_ids": torch.tensor([[0, 7]])} if family == "t5" else {})}
    model = pt.attach(copy.deepcopy(base), "lm_head", lambda b: pt.lora.LoRALinear(b, rank=2))
    names = set(pt.adapter_state(model))
    with torch.no_grad():
        model.lm_head.B.normal_()
    expected = outputs(model, batch)
    assert (expected - outputs(base, batch)).abs().max() > 0.1
    model.tie_weights()    # ties what is in the adapter, and gives it no parameter
    assert set(pt.adapter_state(model)) == names
    removed = pt.remove(copy.deepcopy(model))
    removed.tie_weights()
    assert removed.lm_head.weight is removed.get_input_embeddings().weight
    assert removed._tied_weights_keys == base._tied_weights_keys
    model = pt.merge(model)
    model.tie_weights()
    torch.testing.assert_close(outputs(model, batch), expected, rtol=1e-5, atol=1e-5)
    again = pt.remove(pt.attach(copy.deepcopy(model), "lm_head", pt.lora.LoRALinear))
    for m in (model, again):
        m.resize_token_embeddings(99, mean_resizing=False)
        torch.testing.assert_close(outputs(m, batch)[..., :97], expected, rtol=1e-5, atol=1e-5)
    if family == "t5":
        assert model.encoder.embed_tokens.weight is model.shared.weight    # tied as it was
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    torch.testing.assert_close(outputs(again, batch), outputs(model, batch), rtol=1e-5, atol=1e-5)
