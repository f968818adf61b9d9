"""Prefixes against three oracles: the words themselves, Hugging Face peft, and the equation."""

import copy
import math

import pytest
import torch
from adapted import features, outputs, result
from exact import assert_equal
from pairs import pairwise
from prompting import (
    DECODERS,
    FAMILIES,
    LATER_DECODERS,
    LENGTH,
    TEXT,
    WIDE,
    Numbers,
    the,
    with_positions,
    words_before,
)

import peft_teach as pt
from peft_teach import caches, models, notes
from peft_teach.errors import (
    NoAdapter,
    NotSupported,
)

READERS = tuple(f for f in FAMILIES if f != "distilbert")    # families that read a cache
KINDS = [*((f, k) for f in READERS for k in ("backbone", "classifier")),
         *((f, "lm") for f in DECODERS)]
LATER_KINDS = [*((f, k) for f in ("electra", "xlm-roberta", "camembert", *LATER_DECODERS)
                 for k in ("backbone", "classifier")), *((f, "lm") for f in LATER_DECODERS)]
# peft's, and from 5.24 on transformers' of the cache's old name; all others are errors.
pytestmark = [pytest.mark.filterwarnings(f"ignore:`{name}`:FutureWarning")
              for name in ("is_gradient_checkpointing", "past_key_values")]
each_projection = pytest.mark.parametrize("projection", [None, 6])


def prefixed(model, projection=None, seed=0, length=LENGTH):
    """Put a prefix on a model that is large enough to show: as random, but not small."""
    torch.manual_seed(seed)
    model = pt.prefix.inject(model, pt.prefix.Config(length, projection=projection))
    if projection is None:
        for own in (the(model).K, the(model).V):
            own.data /= pt.prefix.START_STD
    return model


def worded(model, words=TEXT):
    """Put a prefix on a model that starts as its own keys and values of WORDS."""
    return pt.prefix.inject(model, pt.prefix.Config(LENGTH, "text", words), Numbers())


# ── Hugging Face peft ────────────────────────────────────────────────────────────────────────

TASKS = {"backbone": "FEATURE_EXTRACTION", "classifier": "SEQ_CLS", "lm": "CAUSAL_LM"}


def both(base, kind, projection=None):
    """Return our model and peft's, with equal numbers on equal bases, and pairs of parameters.

    peft's vectors E are d_kv wide, ours as the word embeddings: where queries are grouped, or
    these embeddings narrow, the rest is zero.
    """
    peft = pytest.importorskip("peft")
    torch.manual_seed(1)
    reference = peft.get_peft_model(copy.deepcopy(base), peft.PrefixTuningConfig(
        task_type=TASKS[kind], num_virtual_tokens=LENGTH, prefix_projection=projection is not None,
        encoder_hidden_size=projection)).eval()
    model = prefixed(base, projection)
    own, theirs = the(model), reference.prompt_encoder["default"]
    table = theirs.embedding.weight
    with torch.no_grad():
        if projection is None:    # (length, layers · 2 · d_kv), each layer's K before its V
            made = table.unflatten(1, (own.layers, 2, -1)).permute(2, 1, 0, 3)
            own.K.copy_(made[0])
            own.V.copy_(made[1])
            return model, reference, [(lambda: torch.stack([own.K.grad, own.V.grad]),
                                       lambda: table.grad.unflatten(
                                           1, (own.layers, 2, -1)).permute(2, 1, 0, 3))]
        own = own.projection
        width = min(table.shape[1], own.E.shape[1])
        table[:, width:] = 0
        first, second = theirs.transform[0], theirs.transform[2]
        own.E.zero_()[:, :width].copy_(table[:, :width])
        own.W1.zero_()[:, :width].copy_(first.weight[:, :width])
        for ours, pefts in ((own.b1, first.bias), (own.W2, second.weight), (own.b2, second.bias)):
            ours.copy_(pefts)
    return model, reference, [
        (lambda: own.E.grad[:, :width], lambda: table.grad[:, :width]),
        (lambda: own.W1.grad[:, :width], lambda: first.weight.grad[:, :width]),
        (lambda: own.b1.grad, lambda: first.bias.grad),
        (lambda: own.W2.grad, lambda: second.weight.grad),
        (lambda: own.b2.grad, lambda: second.bias.grad)]


def two_by_two(kinds):
    return pairwise(dict(kinds), TASKS, ("right", "left"), (None, 6),
                    possible=lambda family, kind, *_: (family, kind) in kinds)


@pytest.mark.parametrize(("family", "kind", "padding", "projection"), [
    *two_by_two(KINDS),
    *(pytest.param(*row, marks=pytest.mark.long) for row in two_by_two(LATER_KINDS))])
@pytest.mark.oracle("prefix")
def test_peft_gives_the_same_outputs_and_gradients(family, kind, padding, projection, tiny,
                                                   inputs):
    if kind == "classifier" and models.cache_name() == "cache":
        pytest.skip("peft 0.21 refuses prefixes on classifiers from transformers 5.24 on")
    base = tiny(family, kind, **WIDE.get(family, {}) if padding == "left" else {})
    batch = inputs(base, padding)
    before = outputs(base, batch)
    model, reference, pairs = both(base, kind, projection)
    out, other = model(**with_positions(base, batch, padding=True)), reference(**batch)
    # What stands at padding nobody reads; in front of a text ours sees no prefix, and peft's does.
    real = slice(None) if kind == "classifier" else batch["attention_mask"].bool()
    got, expected = result(out)[real], result(other)[real]
    assert (got - before[real]).abs().max() > 0.1
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    if "labels" in batch:
        torch.testing.assert_close(out.loss, other.loss, rtol=1e-5, atol=1e-5)
    weights = torch.linspace(-1, 1, got.numel()).reshape(got.shape)
    for y in (got, expected):
        (y * weights).sum().backward()
    for ours, theirs in pairs:
        assert theirs().abs().sum() > 0
        torch.testing.assert_close(ours(), theirs(), rtol=1e-4, atol=1e-5)


# ── the equation ─────────────────────────────────────────────────────────────────────────────


def llama(model, ids, K, V, first: int):
    """Compute a Llama with grouped queries by hand; K and V (layers, length, d_kv) come first.

    Real tokens stand at the positions `first`, `first` + 1, …; K is used as it is.
    """
    config, seq = model.config, ids.shape[1]
    heads, d = 4, 8
    base = config.rope_parameters["rope_theta"]
    angle = torch.outer(first + torch.arange(seq).double(),
                        base ** (-torch.arange(0, d, 2).double() / d))    # (seq, d/2)
    cos, sin = angle.cos().repeat(1, 2), angle.sin().repeat(1, 2)         # (seq, d)

    def turn(x):                                                          # (batch, heads, seq, d)
        return x * cos + torch.cat([-x[..., d // 2:], x[..., :d // 2]], -1) * sin

    def norm(x, layer):
        return layer.weight * x / (x.square().mean(-1, keepdim=True) + config.rms_norm_eps).sqrt()

    def split(x):
        return x.unflatten(-1, (-1, d)).transpose(-3, -2)                 # (…, heads, seq, d)

    h = model.embed_tokens(ids)
    seen = torch.ones(seq, LENGTH + seq).tril(LENGTH).bool()           # the prefix, then the past
    for block, k, v in zip(model.layers, K, V):
        x, a = norm(h, block.input_layernorm), block.self_attn
        k, v = (torch.cat([split(own).expand(len(ids), -1, -1, -1), real], 2)
                for own, real in ((k, turn(split(a.k_proj(x)))), (v, split(a.v_proj(x)))))
        k, v = (t.repeat_interleave(heads // 2, 1) for t in (k, v))       # for two queries each
        scores = turn(split(a.q_proj(x))) @ k.mT / math.sqrt(d)           # (…, heads, seq, seen)
        weights = scores.masked_fill(~seen, -math.inf).softmax(-1)
        h = h + a.o_proj((weights @ v).transpose(1, 2).flatten(2))
        x, m = norm(h, block.post_attention_layernorm), block.mlp
        h = h + m.down_proj(torch.nn.functional.silu(m.gate_proj(x)) * m.up_proj(x))
    return norm(h, model.norm)


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2"])
def test_the_equation_in_float64(family, tiny, inputs):
    model = prefixed(tiny(family, "backbone").double())
    ids = inputs(model)["input_ids"]
    K, V = the(model).K.detach().double(), the(model).V.detach().double()
    with torch.no_grad():
        got = model(ids)[0]
        torch.testing.assert_close(got, llama(model.base, ids, K, V, first=LENGTH), rtol=1e-5,
                                   atol=1e-5)    # the model's own cosines are float32
        assert (got - llama(model.base, ids, K, V, first=0)).abs().max() > 0.1


def test_a_key_of_zero_takes_its_share(tiny, inputs):
    model = tiny("llama", "backbone")
    model.set_attn_implementation("eager")
    ids = inputs(model)["input_ids"]
    plain = model(ids, output_attentions=True)
    model = prefixed(model)
    with torch.no_grad():
        the(model).K.zero_()
        the(model).V.zero_()
        out = model(ids, output_attentions=True)
    assert (out[0] - plain[0]).abs().max() > 0.1
    share = out.attentions[0][..., :LENGTH]                # (batch, heads, seq, length)
    torch.testing.assert_close(share, share[..., :1].expand_as(share))    # all have the same logit
    assert share.min() > 0
    rest = out.attentions[0][..., LENGTH:]
    torch.testing.assert_close(rest / rest.sum(-1, keepdim=True), plain.attentions[0])

    own = rest.diagonal(dim1=-2, dim2=-1)                  # each token's share of itself
    torch.testing.assert_close((own / share[..., 0]).log(), own_logit(model.base, ids),
                               rtol=1e-4, atol=1e-4)       # less a logit of 0


def own_logit(base, ids):
    """Return q · k / √d of each token with itself in the first layer: there positions cancel."""
    layer = base.layers[0]
    x = layer.input_layernorm(base.embed_tokens(ids))
    q, k = (make(x).unflatten(-1, (-1, 8)).transpose(1, 2)            # (batch, heads, seq, 8)
            for make in (layer.self_attn.q_proj, layer.self_attn.k_proj))
    return (q * k.repeat_interleave(2, 1)).sum(-1) / math.sqrt(8)     # (batch, heads, seq)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_an_encoders_tokens_stand_after_the_prefix(family, tiny, inputs):
    model = tiny(family, "backbone")
    batch = features(inputs(model))
    real = batch["attention_mask"].bool()
    position = models.positions(model, batch["input_ids"], 11)
    model = prefixed(model)
    with torch.no_grad():    # q · k is about −250: no share is left to the prefix, but positions
        the(model).K.fill_(-30.0)
        for query in models.find(the(model).base, "query"):
            the(model).base.get_submodule(query).bias.fill_(3.0)
    with pt.disabled(model):
        shifted = model(**batch, position_ids=position + LENGTH)[0]
        plain = model(**batch)[0]
    got = model(**batch)[0]
    torch.testing.assert_close(got[real], shifted[real], rtol=1e-5, atol=1e-5)
    assert (got - plain)[real].abs().max() > 0.1


# ── what a backbone may be called with ───────────────────────────────────────────────────────


def test_hidden_states_and_pooling_see_real_tokens_only(tiny, inputs):
    model = prefixed(tiny("bert", "backbone"))
    batch = inputs(model)
    out = model(**features(batch), output_hidden_states=True)
    assert [h.shape for h in out.hidden_states] == [(4, 11, 32)] * 3
    assert_equal(out.hidden_states[-1], out[0])
    pooled = torch.tanh(model.base.pooler.dense(out[0][:, 0]))
    torch.testing.assert_close(out.pooler_output, pooled)


# ── training ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("family", READERS)
def test_checkpointing_is_refused_while_training(family, tiny, inputs):
    model = prefixed(tiny(family))
    batch = inputs(model)
    expected = outputs(model, batch)
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)()
    model.train()
    with pytest.raises(NotSupported, match="drops cached keys and values") as error:
        model(**batch)
    assert "without checkpointing" in error.value.hint
    with pt.disabled(model):
        model(**batch).loss.backward()
    assert_equal(outputs(model.eval(), batch), expected)


def test_dropout_while_training(tiny, inputs):
    model = tiny("bert")
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    model = prefixed(model)
    batch = inputs(model)
    quiet = outputs(model, batch)
    model.train()
    out = model(**batch)
    assert (out.logits - quiet).abs().max() > 0.01
    out.loss.backward()
    assert the(model).K.grad.abs().sum() > 0


@pytest.mark.parametrize("family", ["bert", "llama"])
@each_projection
def test_a_half_precision_base_reads_a_float32_prefix(family, projection, tiny, inputs):
    model = tiny(family, "backbone").bfloat16()
    batch = inputs(model)
    plain = model(**batch)[0]
    model = prefixed(model, projection)
    out = model(**batch)[0]
    assert {p.dtype for p in pt.adapter_parameters(model).values()} == {torch.float32}
    assert (out.dtype, model.dtype) == (torch.bfloat16, torch.bfloat16)
    assert (out - plain).abs().max() > 0.1
    exact = prefixed(tiny(family, "backbone"), projection)(**batch)[0]
    real = batch["attention_mask"].bool()
    assert (out.float() - exact)[real].abs().max() < 0.2
    out.float().square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in pt.adapter_parameters(model).values())


def test_words_are_read_in_half_precision(tiny, inputs):
    model = tiny("llama", "backbone").bfloat16()
    batch = inputs(model)
    expected = model(**words_before(batch))[0][:, LENGTH:]
    out = worded(model)(**batch)[0]
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(out[real], expected[real], rtol=2e-2, atol=6e-2)


# ── how it starts ────────────────────────────────────────────────────────────────────────────


@each_projection
def test_the_random_start_is_normal(projection, tiny):
    config = pt.prefix.Config(length=39, projection=projection)
    torch.manual_seed(0)
    prefix = the(pt.prefix.inject(tiny("bert"), config))
    std = 0.02 if projection is None else 1
    for x in ((prefix.K, prefix.V) if projection is None else (prefix.projection.E,)):
        assert x.detach().mean() == pytest.approx(0, abs=0.12 * std)
        assert x.detach().std() == pytest.approx(std, rel=0.1)
    if projection is None:
        assert not torch.equal(prefix.K, prefix.V)


@pytest.mark.parametrize("family", READERS)
@pytest.mark.parametrize("training", [False, True])
def test_text_starts_as_what_the_model_computes_for_it(family, training, tiny):
    model, cache = tiny(family, "backbone"), caches.new_cache()
    ids = torch.tensor([[7, 8, 9, 7, 8]])
    with torch.no_grad():
        model(ids, **{models.cache_name(): cache})
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.9    # dropout must not fall on it
    model = worded(model.train(training), ("7 8", "9"))
    assert model.training == model.base.training == training
    for layer in range(2):
        for own, x in ((the(model).K, cache.layers[layer].keys),
                       (the(model).V, cache.layers[layer].values)):
            torch.testing.assert_close(own[layer].unflatten(1, (-1, 8)).transpose(0, 1), x[0])
    assert the(model).K.requires_grad
    assert the(model).K.grad_fn is None


# ── the MLP ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_the_mlp_makes_keys_and_values(family, tiny):
    prefix = the(prefixed(tiny(family), 6))
    E, W1, b1, W2, b2 = (p.detach().double() for p in prefix.projection.parameters())
    made = torch.tanh(E @ W1.T + b1) @ W2.T + b2
    d = 32 if family == "bert" else 16    # in a vector: K and V of layer 0, K and V of layer 1
    stored = prefix.stored()
    for layer in range(2):
        for i, name in enumerate("KV"):
            at = (2 * layer + i) * d
            assert stored[name].shape == (2, LENGTH, d)
            torch.testing.assert_close(stored[name][layer].double(), made[:, at:at + d],
                                       rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("family", "kind"), [("bert", "classifier"), ("bert", "backbone"),
                                              ("llama", "lm")])
def test_flatten_keeps_the_output_and_drops_the_mlp(family, kind, tiny, inputs):
    model = prefixed(tiny(family, kind), 6)
    batch = inputs(model)
    expected, made = outputs(model, batch), pt.adapter_state(model)
    d_kv = 32 if family == "bert" else 16
    before = pt.account.parameters(model)
    assert before.adapter == pt.prefix.count(LENGTH, 2, d_kv, 32, 6)
    names = set(pt.adapter_parameters(model))
    assert {n.rpartition("projection.")[2] for n in names} == {"E", "W1", "b1", "W2", "b2"}

    assert pt.prefix.flatten(model) is model
    assert_equal(outputs(model, batch), expected)
    assert pt.account.parameters(model).adapter == pt.prefix.count(LENGTH, 2, d_kv) == (
        LENGTH * 2 * 2 * d_kv)
    own = pt.adapter_parameters(model)
    assert {n.split(".")[-1] for n in own} == {"K", "V"}
    assert_equal(own, made)
    assert all(p.requires_grad for p in own.values())
    assert notes.note_of(model).config == pt.prefix.Config(LENGTH)
    result(model(**batch)).sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in own.values())
    frozen = [p.requires_grad_(False) for p in own.values()]
    assert_equal(outputs(pt.prefix.flatten(model), batch), expected)    # again: no change
    assert [*map(id, pt.adapters(model).popitem()[1].own_parameters().values())] == [
        *map(id, frozen)]
    assert not any(p.requires_grad for p in frozen)


def test_flatten_needs_a_prefix(tiny):
    for model in (tiny("bert"), pt.prompt.inject(tiny("bert"))):
        with pytest.raises(NoAdapter, match="no prefix"):
            pt.prefix.flatten(model)


def test_a_text_start_is_not_in_the_file(tiny, inputs, tmp_path):
    model = worded(tiny("llama", "lm"))
    batch = inputs(model)
    pt.save(model, tmp_path)
    loaded = pt.load(tiny("llama", "lm"), tmp_path)    # without a tokenizer
    assert_equal(outputs(loaded, batch), outputs(model, batch))
    assert notes.note_of(loaded).config == pt.prefix.Config(LENGTH)
