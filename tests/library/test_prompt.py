"""Soft prompts against two oracles: the same words as ordinary tokens, and Hugging Face peft."""

import copy

import pytest
import torch
from adapted import features, hidden, outputs, result
from exact import assert_equal
from prompting import (
    DECODERS,
    FAMILIES,
    LATER,
    LATER_DECODERS,
    LENGTH,
    TEXT,
    WIDE,
    WORDS,
    Numbers,
    the,
    with_positions,
    words_before,
)
from torch import nn

import peft_teach as pt
from peft_teach import models
from peft_teach.errors import BadData
from peft_teach.methods import initial

ENCODERS = ("bert", "roberta", "distilbert")
KINDS = [*((f, k) for f in FAMILIES for k in ("backbone", "classifier")),
         *((f, "lm") for f in DECODERS)]
# peft's, and from 5.24 on transformers' of the cache's old name; all others are errors.
pytestmark = [pytest.mark.filterwarnings(f"ignore:`{name}`:FutureWarning")
              for name in ("is_gradient_checkpointing", "past_key_values")]
each_padding = pytest.mark.parametrize("padding", ["right", "left"])


def worded(model, **options):
    """Put a prompt on a model that starts as the embeddings of WORDS."""
    return pt.prompt.inject(model, pt.prompt.Config(LENGTH, "text", TEXT, **options), Numbers())


def prompted(model, seed=0, **options):
    torch.manual_seed(seed)
    return pt.prompt.inject(model, pt.prompt.Config(LENGTH, **options))


# ── Hugging Face peft ────────────────────────────────────────────────────────────────────────

TASKS = {"backbone": "FEATURE_EXTRACTION", "classifier": "SEQ_CLS", "lm": "CAUSAL_LM"}


def both(base, kind, pool="cls"):
    """Return our model, peft's, and the prompt of each, with equal vectors on equal bases."""
    peft = pytest.importorskip("peft")
    reference = peft.get_peft_model(copy.deepcopy(base), peft.PromptTuningConfig(
        task_type=TASKS[kind], num_virtual_tokens=LENGTH, num_layers=2, num_attention_heads=4,
        token_dim=base.get_input_embeddings().embedding_dim)).eval()
    model = prompted(base, pool=pool)
    ours, theirs = the(model).P, reference.prompt_encoder["default"].embedding.weight
    with torch.no_grad():
        theirs.copy_(ours)
    return model, reference, ours, theirs


def assert_equal_gradients(got, expected, ours, theirs):
    weights = torch.linspace(-1, 1, got.numel()).reshape(got.shape)
    for out in (got, expected):
        (out * weights).sum().backward()
    assert theirs.grad.abs().sum() > 0
    largest = theirs.grad.abs().max().clamp(min=1).item()    # rounding is that of the largest terms
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5 * largest)


@pytest.mark.parametrize(("family", "kind"), [
    *((f, k) for f, k in KINDS if f not in ENCODERS and k != "classifier"),
    ("bert", "backbone"), ("distilbert", "backbone"),
    *(pytest.param(f, k, marks=pytest.mark.long) for f in LATER for k in ("backbone", "lm")
      if k == "backbone" or f in LATER_DECODERS)])
@each_padding
@pytest.mark.oracle("prompt")
def test_peft_gives_the_same_after_its_virtual_tokens(family, kind, padding, tiny, inputs):
    if padding == "left" and family in ("xlm-roberta", "camembert"):
        pytest.skip("as with RoBERTa, peft's positions count the padding, too: see below")
    base = tiny(family, kind, **WIDE.get(family, {}) if padding == "left" else {})
    batch = features(inputs(base, padding))
    real = batch["attention_mask"].bool()
    before = outputs(base, batch)
    model, reference, ours, theirs = both(base, kind)
    ours_reads = with_positions(base, batch, padding=True)
    got, expected = result(model(**ours_reads))[real], result(reference(**batch))[:, LENGTH:][real]
    assert (got - before[real]).abs().max() > 0.1
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    assert_equal_gradients(got, expected, ours, theirs)


@pytest.mark.parametrize(("family", "padding"), [
    ("bert", "right"), ("bert", "left"), ("distilbert", "right"), ("distilbert", "left"),
    ("roberta", "right"), *(pytest.param(family, "right", marks=pytest.mark.long)
                            for family in LATER if family not in LATER_DECODERS)])
def test_pool_first_is_how_peft_classifies(family, padding, tiny, inputs):
    base = tiny(family)
    batch = inputs(base, padding)
    before = outputs(base, batch)
    model, reference, ours, theirs = both(base, "classifier", "first")
    got, expected = model(**batch), reference(**batch)
    assert (got.logits - before).abs().max() > 0.1
    torch.testing.assert_close(got.logits, expected.logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(got.loss, expected.loss, rtol=1e-5, atol=1e-5)
    assert_equal_gradients(got.logits, expected.logits, ours, theirs)
    the(model).pool = "cls"
    assert (outputs(model, batch) - expected.logits).abs().max() > 0.1


def test_roberta_counts_positions_as_it_does_without_a_prompt(tiny, inputs):
    base = tiny("roberta", "backbone")
    batch = features(inputs(base, "left"))
    real = batch["attention_mask"].bool()
    model, reference, *_ = both(base, "backbone")
    theirs = reference(**batch)[0][:, LENGTH:]
    assert (model(**batch)[0] - theirs)[real].abs().max() > 0.1    # peft counts the padding, too
    counted = torch.arange(2, 2 + 11)[None]
    torch.testing.assert_close(model(**batch, position_ids=counted)[0], theirs,
                               rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", [*DECODERS, *(pytest.param(family, marks=pytest.mark.long)
                                                 for family in LATER_DECODERS)])
def test_a_decoders_head_reads_the_last_real_token(family, tiny, inputs):
    base = tiny(family, **WIDE.get(family, {}))
    model, reference, ours, theirs = both(base, "classifier")
    batch = inputs(base, "left")
    got, expected = model(**with_positions(base, batch, padding=True)), reference(**batch)
    torch.testing.assert_close(got.logits, expected.logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(got.loss, expected.loss, rtol=1e-5, atol=1e-5)
    assert_equal_gradients(got.logits, expected.logits, ours, theirs)
    with pt.disabled(model):
        assert (got.logits - outputs(model, batch)).abs().max() > 0.1

    batch = features(inputs(base, "right"))    # here peft's head reads padding
    got, expected = outputs(model, batch), outputs(reference, batch)
    torch.testing.assert_close(got[0], expected[0], rtol=1e-5, atol=1e-5)    # no padding in row 0
    assert (got - expected)[1:].abs().amax(1).min() > 0.01
    for i, n in enumerate(batch["attention_mask"].sum(1)):
        row = {k: v[i:i + 1, :n] for k, v in batch.items()}
        torch.testing.assert_close(got[i:i + 1], outputs(reference, row), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_first_token_is_not_predicted_from_the_prompt(family, tiny, inputs):
    base = tiny(family, "lm")
    batch = inputs(base)
    model, reference, *_ = both(base, "lm")
    ours, theirs = model(**batch), reference(**batch)
    own = theirs.logits[:, LENGTH - 1:-1].flatten(0, 1)    # the token before each real one
    counts = batch["labels"].flatten()
    expected = nn.functional.cross_entropy(own.double(), counts)    # -100 is passed over
    torch.testing.assert_close(theirs.loss.double(), expected, rtol=1e-5, atol=1e-5)

    inner = ours.logits[:, :-1].flatten(0, 1)
    expected = nn.functional.cross_entropy(inner.double(), batch["labels"][:, 1:].flatten())
    torch.testing.assert_close(ours.loss.double(), expected, rtol=1e-5, atol=1e-5)
    assert abs(ours.loss.item() - theirs.loss.item()) > 1e-3


# ── what a head reads ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("family", "padding"), [
    ("bert", "right"), ("bert", "left"), ("distilbert", "right"), ("distilbert", "left"),
    ("roberta", "right")])    # with padding on the left, [CLS] is padding, of no fixed position
def test_cls_is_the_first_real_token_and_first_is_the_prompts(family, padding, tiny, inputs):
    plain = tiny(family)
    batch = inputs(plain, padding)
    long = words_before(batch)
    at = {"cls": LENGTH, "first": 0}
    with torch.no_grad():
        h = plain.base_model(**long)[0]
        if family == "bert":
            heads = {p: plain.classifier(torch.tanh(plain.bert.pooler.dense(h[:, i])))
                     for p, i in at.items()}
        elif family == "roberta":
            heads = {p: plain.classifier(h[:, i:]) for p, i in at.items()}
        else:
            heads = {p: plain.classifier(torch.relu(plain.pre_classifier(h[:, i])))
                     for p, i in at.items()}
        assert (heads["cls"] - heads["first"]).abs().max() > 0.1
        for pool in at:
            out = worded(tiny(family), pool=pool)(**batch)
            torch.testing.assert_close(out.logits, heads[pool], rtol=1e-5, atol=1e-5)
            expected = nn.functional.cross_entropy(heads[pool], batch["labels"])
            torch.testing.assert_close(out.loss, expected, rtol=1e-5, atol=1e-5)


def test_a_bare_encoder_pools_again(tiny, inputs):
    plain = tiny("bert", "backbone")
    batch = inputs(plain)
    h = hidden(plain, words_before(batch))
    for pool, at in (("cls", LENGTH), ("first", 0)):
        out = worded(tiny("bert", "backbone"), pool=pool)(**batch)
        torch.testing.assert_close(out.pooler_output, torch.tanh(plain.pooler.dense(h[:, at])))
        torch.testing.assert_close(out.last_hidden_state[:, 1:], h[:, LENGTH + 1:])


@pytest.mark.parametrize("task", ["TokenClassification", "QuestionAnswering"])
def test_labels_of_tokens_stay_in_place(task, tiny, inputs):
    import transformers

    plain = tiny("bert")
    batch = inputs(plain)
    plain.config.num_labels = 3 if task == "TokenClassification" else 2
    model = getattr(transformers, f"BertFor{task}")(plain.config).eval()
    labels = {"TokenClassification": {"labels": batch["input_ids"] % 3},
              "QuestionAnswering": {"start_positions": torch.arange(4),
                                    "end_positions": torch.arange(4) + 2}}[task]
    with torch.no_grad():
        h = model.bert(**words_before(batch))[0][:, LENGTH:]
        logits = (model.classifier if hasattr(model, "classifier") else model.qa_outputs)(h)
        out = worded(model)(**features(batch), **labels)
    if task == "TokenClassification":
        torch.testing.assert_close(out.logits, logits)
        expected = nn.functional.cross_entropy(logits.flatten(0, 1), labels["labels"].flatten())
    else:
        torch.testing.assert_close(torch.stack([out.start_logits, out.end_logits], -1), logits)
        expected = sum(nn.functional.cross_entropy(logits[..., i], at) / 2
                       for i, at in enumerate(labels.values()))
    torch.testing.assert_close(out.loss, expected)


def test_a_mean_over_real_tokens_leaves_the_prompt_out():
    pt.seed(0)
    model, tokenizer = models.load("minilm", labels=2, pool="mean", device="cpu")
    batch = tokenizer(["good", "a much longer review"], padding=True, return_tensors="pt")
    model = prompted(model)
    with torch.no_grad():
        h, mask = model.bert(**batch)[0], batch["attention_mask"][..., None]
        expected = model.classifier((h * mask).sum(1) / mask.sum(1))
        torch.testing.assert_close(model(**batch).logits, expected)


# ── what a backbone may be called with ───────────────────────────────────────────────────────


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_token_types_are_those_of_the_words(family, tiny, inputs):
    plain = tiny(family, "backbone")
    if family == "roberta":
        plain.embeddings.token_type_embeddings = nn.Embedding(2, 32)
    batch = features(inputs(plain))
    types = (torch.arange(11) > 5).long().expand(4, -1)
    long = nn.functional.pad(types, (LENGTH, 0))
    expected = plain(**words_before(batch), token_type_ids=long)[0][:, LENGTH:]
    model = worded(plain)
    got = model(**batch, token_type_ids=types)[0]
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(got[real], expected[real])
    assert (got - model(**batch)[0])[real].abs().max() > 0.1


@pytest.mark.parametrize("method", [pt.prompt, pt.prefix])
def test_a_text_in_both_forms_is_refused_as_without_an_adapter(method, tiny, inputs):
    model = tiny("bert", "backbone")
    ids = inputs(model)["input_ids"]
    given = {"input_ids": ids, "inputs_embeds": torch.zeros(*ids.shape, 32)}
    with pytest.raises(ValueError, match="input_ids"):
        model(**given)
    with pytest.raises((BadData, ValueError), match="input_ids"):
        method.inject(model)(**given)


def test_hidden_states_are_those_of_the_real_tokens(tiny, inputs):
    plain = tiny("bert")
    batch = inputs(plain)
    expected = plain.bert(**words_before(batch), output_hidden_states=True).hidden_states
    got = worded(plain)(**batch, output_hidden_states=True).hidden_states
    assert len(got) == len(expected) == 3
    for ours, theirs in zip(got, expected):
        torch.testing.assert_close(ours, theirs[:, LENGTH:])


def test_attentions_are_those_of_the_real_tokens_to_the_prompt_too(tiny, inputs):
    plain = tiny("bert")
    plain.set_attn_implementation("eager")
    batch = inputs(plain)
    expected = plain.bert(**words_before(batch), output_attentions=True).attentions
    got = worded(plain)(**batch, output_attentions=True).attentions
    assert len(got) == len(expected) == 2
    for ours, theirs in zip(got, expected):    # (batch, heads, seq, length + seq)
        torch.testing.assert_close(ours, theirs[:, :, LENGTH:])


# ── training ─────────────────────────────────────────────────────────────────────────────────


def test_dropout_falls_on_prompt_and_words_alike(tiny, inputs):
    plain = tiny("bert")
    for module in plain.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.5
    batch = inputs(plain)
    torch.manual_seed(7)
    expected = plain.bert.train()(**words_before(batch))[0][:, LENGTH:]
    model = worded(plain).train()
    torch.manual_seed(7)
    got = model.bert(**features(batch))[0]
    torch.testing.assert_close(got, expected)
    assert (got - model.eval().bert(**features(batch))[0]).abs().max() > 0.1
    model.train()(**batch).loss.backward()
    assert the(model).P.grad.abs().sum() > 0


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_half_precision_base_reads_a_float32_prompt(family, tiny, inputs):
    plain = tiny(family, "backbone").bfloat16()
    batch = inputs(plain)
    expected = plain(**words_before(batch))[0][:, LENGTH:]
    model = worded(plain)
    out = model(**batch)[0]
    assert (out.dtype, the(model).P.dtype, model.dtype) == (
        torch.bfloat16, torch.float32, torch.bfloat16)
    real = batch["attention_mask"].bool()
    assert_equal(out[real], expected[real])
    out.float().square().sum().backward()
    assert the(model).P.grad.dtype == torch.float32


# ── how it starts ────────────────────────────────────────────────────────────────────────────


def test_the_random_start_is_uniform(tiny):
    torch.manual_seed(0)
    P = the(pt.prompt.inject(tiny("bert"), pt.prompt.Config(39))).P.detach()
    assert P.abs().max() <= 0.5
    shares = torch.histc(P, 4, -0.5, 0.5) / P.numel()    # 1,248 numbers: 0.25 each, σ is 0.012
    torch.testing.assert_close(shares, torch.full((4,), 0.25), rtol=0, atol=0.05)
    assert P.abs().max() > 0.49


def rows(model) -> list[list[int]]:
    """Return for each vector of the prompt the token ids that have it as their embedding."""
    table = model.get_input_embeddings().weight
    return [(table == p).all(1).nonzero()[:, 0].tolist() for p in the(model).P]


def test_vocabulary_draws_different_common_tokens(tiny, monkeypatch):
    assert pt.prompt.COMMON == 5_000
    config = pt.prompt.Config(10, "vocabulary")
    drawn = [[i for (i,) in rows(pt.prompt.inject(tiny("bert"), config, Numbers()))]
             for _ in range(2)]
    assert drawn[0] != drawn[1]
    assert all(len(set(d)) == 10 and not {0, 1, 4} & set(d) for d in drawn)

    monkeypatch.setattr(pt.prompt, "COMMON", 10)
    found = sorted(rows(pt.prompt.inject(tiny("bert"), config, Numbers())))
    assert found == [[2], [3], *([i] for i in range(5, 13))]


def test_vocabulary_of_minilm_has_no_reserved_entries():
    model, tokenizer = models.load("minilm", device="cpu")
    common = initial.common_tokens(tokenizer, pt.prompt.COMMON, 30_522)
    tokens = tokenizer.convert_ids_to_tokens(common)
    assert (len(set(common)), common) == (5_000, sorted(common))
    assert not any(t.startswith("[unused") or t in tokenizer.all_special_tokens for t in tokens)
    assert {"the", "film", "good"} < set(tokens)
    model = pt.prompt.inject(model, pt.prompt.Config(10, "vocabulary"), tokenizer)
    found = rows(model)
    assert len({i for (i,) in found}) == 10
    assert {i for (i,) in found} <= set(common)


def test_labels_are_means_over_their_tokens(tiny):
    table = tiny("bert").get_input_embeddings().weight
    config = pt.prompt.Config(6, "labels", ("7 8", "9", "30 31 33"))
    model = pt.prompt.inject(tiny("bert"), config, Numbers())
    expected = torch.stack([(table[7] + table[8]) / 2, table[9], table[[30, 31, 33]].mean(0)])
    torch.testing.assert_close(the(model).P[:3], expected)
    found = rows(model)
    assert found[0] == found[2] == []
    assert len({i for (i,) in found[3:]}) == 3
    model = pt.prompt.inject(tiny("bert"), pt.prompt.Config(1, "labels", "7 8"), Numbers())
    torch.testing.assert_close(the(model).P, expected[:1])


@pytest.mark.parametrize(("words", "ids"), [
    ("7 8", [7, 8, 7, 8, 7]), (["7 8", "9"], [7, 8, 9, 7, 8]), ("2 3 5 6 7 8 9", [2, 3, 5, 6, 7]),
    (TEXT, list(WORDS)),
])
def test_text_is_repeated_or_cut(words, ids, tiny):
    model = pt.prompt.inject(tiny("bert"), pt.prompt.Config(LENGTH, "text", words), Numbers())
    assert rows(model) == [[i] for i in ids]
