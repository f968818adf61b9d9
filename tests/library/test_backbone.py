"""Prompt and prefix stand where a backbone stood: later turns, and other word embeddings."""

import copy
import gc
import pickle
import weakref

import pytest
import torch
from prompting import DECODERS, GREEDY, LENGTH, features, outputs, the

import peft_teach as pt
from peft_teach import backbone, models
from peft_teach.errors import NotSupported

METHODS = (pt.prompt, pt.prefix)
TURN = GREEDY | {"return_dict_in_generate": True, "output_logits": True}
each_method = pytest.mark.parametrize("method", METHODS)
# from 5.24 on transformers' of the cache's old name; all others are errors.
pytestmark = pytest.mark.filterwarnings("ignore:`past_key_values`:FutureWarning")


def adapted(model, method, seed=0, length=LENGTH):
    torch.manual_seed(seed)
    return method.inject(model, method.Config(length))


def longer(batch: dict, sequences: torch.Tensor) -> dict:
    """Return the mask of a batch that has grown to these ids, three more words included."""
    more = torch.arange(3 * len(sequences)).reshape(len(sequences), 3) + 20
    ids = torch.cat([sequences, more], 1)
    grown = ids.shape[1] - batch["input_ids"].shape[1]
    mask = torch.nn.functional.pad(batch["attention_mask"], (0, grown), value=1)
    return {"input_ids": ids, "attention_mask": mask}


# ── later turns ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("family", DECODERS)
@each_method
def test_a_later_turn_from_the_cache_is_the_whole_text_in_one_go(family, method, tiny, inputs):
    model = adapted(tiny(family, "lm"), method)
    batch = features(inputs(model, "left"))
    first = model.generate(**batch, **TURN)
    cache = first.past_key_values
    for turn in (2, 3):
        batch = longer(batch, first.sequences)
        expected = model.generate(**batch, **TURN)
        first = model.generate(**batch, past_key_values=cache, **TURN)
        assert first.past_key_values is cache
        assert cache.get_seq_length() == first.sequences.shape[1] - 1, turn    # tokens alone
        assert torch.equal(first.sequences, expected.sequences)
        torch.testing.assert_close(torch.stack(first.logits), torch.stack(expected.logits),
                                   rtol=1e-5, atol=1e-5)
    with pt.disabled(model):    # the turns were not those of the base
        plain = model.generate(**batch, **TURN)
    assert (plain.logits[0] - first.logits[0]).abs().max() > 0.01


@each_method
def test_a_turn_of_new_words_alone_and_one_of_a_forward_pass(method, tiny, inputs):
    """Without a mask the cache alone says what went before; a copied cache serves twice."""
    model = adapted(tiny("llama", "lm"), method)
    ids = inputs(model)["input_ids"][:1]
    with torch.no_grad():
        whole = model(ids).logits
        begun = model(ids[:, :6], use_cache=True)
        cache = begun.past_key_values
        assert cache.get_seq_length() == 6
        for twin in (cache, copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
            kept = copy.deepcopy(twin)
            rest = model(ids[:, 6:], past_key_values=twin).logits
            torch.testing.assert_close(torch.cat([begun.logits, rest], 1), whole, rtol=1e-5,
                                       atol=1e-5)
            assert (twin.get_seq_length(), kept.get_seq_length()) == (ids.shape[1], 6)
            mask = torch.ones_like(ids)    # the mask is of all, the ids of what is new
            rest = model(ids[:, 6:], attention_mask=mask, past_key_values=kept).logits
            torch.testing.assert_close(rest, whole[:, 6:], rtol=1e-5, atol=1e-5)
            cache = begun.past_key_values = copy.deepcopy(kept)
            cache.crop(6 - ids.shape[1])


@pytest.mark.parametrize("way", [{"num_beams": 3}, {"prefill_chunk_size": 4},
                                 {"prompt_lookup_num_tokens": 3}])
@each_method
def test_other_ways_to_generate_a_later_turn(way, method, tiny, inputs):
    model = adapted(tiny("llama", "lm"), method)
    batch = features(inputs(model, "left"))
    batch = {k: v[:1] for k, v in batch.items()}

    first = model.generate(**batch, **TURN)
    batch = longer(batch, first.sequences)
    if "num_beams" in way:
        cache = first.past_key_values
        cache.batch_repeat_interleave(3)
        expected = model.generate(**batch, **GREEDY, **way)
    else:    # transformers' own are wrong from a filled cache, chunks up to 5.15, lookup to 5.23
        cache = None
        expected = model.generate(**batch, **GREEDY)
    assert torch.equal(model.generate(**batch, past_key_values=cache, **GREEDY, **way), expected)


@each_method
def test_a_cache_that_another_model_filled_is_refused(method, tiny, inputs):
    model = adapted(tiny("llama", "lm"), method)
    ids = inputs(model)["input_ids"]
    with torch.no_grad():
        own = model(ids, use_cache=True).past_key_values
        with pt.disabled(model):
            plain = model(ids, use_cache=True).past_key_values
            assert plain.get_seq_length() == ids.shape[1]
            again = model(ids[:, :1], past_key_values=copy.deepcopy(plain)).logits
            with pytest.raises(NotSupported, match=r"filled with 5 vectors .* puts 0 there"):
                model(ids[:, :1], past_key_values=own)
        with pytest.raises(NotSupported, match=r"filled with 0 vectors .* puts 5 there") as error:
            model(ids[:, :1], past_key_values=plain)
        assert "without past_key_values" in error.value.hint
        model = adapted(pt.remove(model), method, length=4)
        with pytest.raises(NotSupported, match=r"filled with 5 vectors .* puts 4 there"):
            model(ids[:, :1], past_key_values=own)
        empty = backbone.new_cache()    # an empty one serves anyone
        assert torch.equal(model(ids, past_key_values=empty).logits, model(ids).logits)
        base = pt.remove(model)
        assert torch.equal(base(ids[:, :1], past_key_values=plain).logits, again)


@pytest.mark.parametrize(("method", "projection"), [(pt.prompt, None), (pt.prefix, None),
                                                    (pt.prefix, 6)])
def test_a_cache_of_other_vectors_is_refused_though_they_are_as_many(method, projection, tiny,
                                                                   inputs, tmp_path):
    options = {"projection": projection} if projection else {}

    def put(seed):
        torch.manual_seed(seed)
        return method.inject(tiny("llama", "lm"), method.Config(LENGTH, **options))

    model, other = put(0), put(1)
    ids = inputs(model)["input_ids"]
    with torch.no_grad():
        caches = [m(ids, use_cache=True).past_key_values for m in (model, other)]

    def turn(m, cache):
        with torch.no_grad():
            return m(ids[:, :1], past_key_values=copy.deepcopy(cache)).logits

    expected = turn(model, caches[0])
    with pytest.raises(NotSupported, match=r"with 5 other vectors .* than this model puts there"):
        turn(model, caches[1])
    assert torch.equal(turn(copy.deepcopy(model), caches[0]), expected)    # equal vectors serve
    pt.save(model, tmp_path / "one")
    pt.save(other, tmp_path / "other")
    if not projection:    # else the file keeps what the MLP makes, which is another parameter
        assert torch.equal(turn(pt.load(tiny("llama", "lm"), tmp_path / "one"), caches[0]),
                           expected)
        model = pt.swap(model, tmp_path / "other")
        assert torch.equal(turn(model, caches[1]), turn(other, caches[1]))
        with pytest.raises(NotSupported, match="other vectors"):
            turn(model, caches[0])
    batch = inputs(other)
    for _ in pt.train(other, [batch], lr=1e-2):    # one step on, they are others
        pass
    with pytest.raises(NotSupported, match="or its own before they changed"):
        turn(other, caches[1])


@each_method
def test_a_window_that_has_dropped_the_first_keys_still_knows_whose_they_were(method, tiny):
    one, other = (adapted(tiny("gemma2", "lm"), method, seed) for seed in (0, 1))    # a window of 6
    ids = torch.arange(3, 14)[None]
    with torch.no_grad():
        whole = one(ids).logits
        cache = one(ids[:, :9], use_cache=True).past_key_values
        with pytest.raises(NotSupported, match="5 other vectors"):
            other(ids[:, 9:], past_key_values=copy.deepcopy(cache))
        rest = one(ids[:, 9:], past_key_values=cache).logits
    torch.testing.assert_close(rest, whole[:, 9:], rtol=1e-5, atol=1e-5)


# ── other word embeddings ────────────────────────────────────────────────────────────────────


def resized(model, size):
    torch.manual_seed(5)
    return model.resize_token_embeddings(size, mean_resizing=False)


@pytest.mark.parametrize(("family", "kind", "tied"), [
    ("bert", "classifier", False), ("bert", "backbone", False), ("roberta", "classifier", False),
    ("distilbert", "classifier", False), ("gpt2", "lm", True), ("llama", "lm", False),
    ("llama", "lm", True), ("llama", "classifier", False), ("qwen3", "backbone", False)])
@each_method
def test_resized_embeddings(family, kind, tied, method, tiny, inputs):
    if family == "distilbert" and method is pt.prefix:
        method = pt.lora    # DistilBERT takes no prefix; every method must stand it
    plain, model = tiny(family, kind), tiny(family, kind)
    for m in (plain, model):
        m.config.tie_word_embeddings = tied
        m.tie_weights()
    put = (lambda m: pt.lora.inject(m)) if method is pt.lora else (lambda m: adapted(m, method))
    model = put(model)
    before = outputs(model, inputs(plain))
    trains = {n for n, p in model.named_parameters() if p.requires_grad}
    table = resized(model, 110)
    assert table is model.get_input_embeddings()
    assert table.weight.shape == (110, 32)
    assert {n for n, p in model.named_parameters() if p.requires_grad} == trains
    after = outputs(model, inputs(plain))
    torch.testing.assert_close(after[..., :97] if kind == "lm" else after, before)

    resized(plain, 110)    # the other order: first resized, then adapted
    batch = inputs(plain)
    batch["input_ids"][0, :4] = torch.arange(105, 109)    # words that were not there before
    model2 = put(plain)
    torch.testing.assert_close(outputs(model, batch), outputs(model2, batch))
    if kind == "lm":
        assert (model.lm_head.weight is table.weight) == tied
        assert model.lm_head.weight.shape == (110, 32)
    base = pt.remove(model)
    if tied:
        base.tie_weights()
        assert base.lm_head.weight is base.get_input_embeddings().weight
    assert models.places(base)


@each_method
def test_the_table_can_be_exchanged(method, tiny, inputs):
    model = adapted(tiny("llama"), method)
    table = torch.nn.Embedding(97, 32)
    model.set_input_embeddings(table)
    assert the(model).base.embed_tokens is table
    assert model.get_input_embeddings() is table


@each_method
def test_a_cache_goes_with_the_output_that_holds_it(method, tiny, inputs):
    """And not when the garbage collector next looks: a training step's graph hangs on its cache."""
    model = adapted(tiny("llama", "lm"), method).train()
    gc.disable()
    try:
        out = model(**inputs(model), use_cache=True)
        out.logits.sum().backward()
        cache = weakref.ref(out.past_key_values)
        del out
        assert cache() is None
    finally:
        gc.enable()
