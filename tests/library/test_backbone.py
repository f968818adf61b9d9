"""Prompt and prefix stand where a backbone stood: what both do, in one place."""

import copy
import gc
import pickle
import weakref

import pytest
import torch
from adapted import assert_same, everything_about, features, hidden, outputs, result
from exact import assert_equal
from pairs import pairwise
from prompting import (
    DECODERS,
    FAMILIES,
    GREEDY,
    LATER,
    LATER_DECODERS,
    LENGTH,
    TEXT,
    Numbers,
    row_by_row,
    the,
    with_positions,
    words_before,
)
from safetensors.torch import load_file, save_file

import peft_teach as pt
from peft_teach import caches, models, notes
from peft_teach.errors import AdapterFileError, BadConfig, NotSupported

METHODS = (pt.prompt, pt.prefix)
TURN = GREEDY | {"return_dict_in_generate": True, "output_logits": True}
each_method = pytest.mark.parametrize("method", METHODS)
each_form = pytest.mark.parametrize(("method", "projection"), [
    (pt.prompt, None), (pt.prefix, None), (pt.prefix, 6)])
# from 5.24 on transformers' of the cache's old name; all others are errors.
pytestmark = pytest.mark.filterwarnings("ignore:`past_key_values`:FutureWarning")


def drawn(model, method, seed=0, length=LENGTH, projection=None):
    """Put a prompt or a prefix on a model, drawn at random and large enough to show."""
    torch.manual_seed(seed)
    more = {"projection": projection} if projection else {}
    model = method.inject(model, method.Config(length, **more))
    if method is pt.prefix and not projection:
        for own in (the(model).K, the(model).V):
            own.data /= pt.prefix.START_STD
    return model


def worded(model, method):
    """Put on a prompt that starts as the embeddings of WORDS, or a prefix as what they make."""
    return method.inject(model, method.Config(LENGTH, "text", TEXT), Numbers())


def longer(batch: dict, sequences: torch.Tensor) -> dict:
    """Return the mask of a batch that has grown to these ids, three more words included."""
    more = torch.arange(3 * len(sequences)).reshape(len(sequences), 3) + 20
    ids = torch.cat([sequences, more], 1)
    grown = ids.shape[1] - batch["input_ids"].shape[1]
    mask = torch.nn.functional.pad(batch["attention_mask"], (0, grown), value=1)
    return {"input_ids": ids, "attention_mask": mask}


# ── the oracle of words: what starts as words acts as these words ────────────────────────────


# An encoder's words read those in front of them, too; the keys and values of a prefix read nothing.
@pytest.mark.parametrize(("method", "family", "kind", "padding"), pairwise(
    METHODS, (*FAMILIES, *LATER), ("backbone", "classifier", "lm"), ("right", "left"),
    possible=lambda method, family, kind, padding: family in (*DECODERS, *LATER_DECODERS) or (
        method is pt.prompt and kind != "lm")))
def test_what_starts_as_words_acts_as_these_words(method, family, kind, padding, tiny, inputs):
    model = tiny(family, kind)
    batch = inputs(model, padding)
    real = batch["attention_mask"].bool()
    plain = hidden(model, batch)
    words = words_before(batch, next_to_text=not models.is_encoder(model))
    words = with_positions(model, words, padding=False)
    expected = hidden(model, words)[:, LENGTH:]
    logits = outputs(model, words)
    model = worded(model, method)
    got = hidden(model, batch)
    assert got.shape == plain.shape
    assert (got - plain)[real].abs().max() > 0.1
    torch.testing.assert_close(got[real], expected[real], rtol=1e-5, atol=5e-6)
    if not models.is_encoder(model) and kind != "backbone":    # an encoder's reads another token
        got = outputs(model, batch)
        if kind == "lm":
            got, logits = got[real], logits[:, LENGTH:][real]
        torch.testing.assert_close(got, logits, rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize("family", ["gpt2", "llama", "opt"])
@each_form
def test_a_classifier_reads_a_padded_row_as_the_row_alone(family, method, projection, tiny,
                                                          inputs):
    model = drawn(tiny(family), method, projection=projection)
    for padding in ("left", "right"):
        batch = inputs(model, padding)
        got, rows = outputs(model, batch), zip(batch["input_ids"], batch["attention_mask"].bool())
        alone = torch.cat([outputs(model, {"input_ids": ids[real][None]}) for ids, real in rows])
        torch.testing.assert_close(got, alone, rtol=1e-5, atol=1e-5)


# ── what a backbone may be called with ───────────────────────────────────────────────────────


@pytest.mark.parametrize(("method", "family", "kind"), pairwise(
    METHODS, FAMILIES, ("backbone", "classifier", "lm"),
    possible=lambda method, family, kind: (kind != "lm" or family in DECODERS) and (
        (method, family) != (pt.prefix, "distilbert"))))
def test_every_way_to_call_it(method, family, kind, tiny, inputs):
    model = drawn(tiny(family, kind), method)
    batch = features(inputs(model, "right"))
    ids, mask = batch["input_ids"], batch["attention_mask"]
    real = mask.bool() if kind != "classifier" else slice(None)
    expected = outputs(model, batch)

    def same(rows=None, **arguments):
        with torch.no_grad():
            got = result(model(**arguments))
        if rows is None:
            torch.testing.assert_close(got[real], expected[real], rtol=1e-5, atol=1e-5)
        else:
            torch.testing.assert_close(got, expected[rows], rtol=1e-5, atol=1e-5)

    place = models.positions(the(model).base, ids, 11)
    x = model.get_input_embeddings()(ids)
    if kind != "classifier" or family not in DECODERS:    # a decoder's head looks for padding
        same(inputs_embeds=x, attention_mask=mask, position_ids=place)
        same(inputs_embeds=x, attention_mask=mask)
    same(**batch, position_ids=place)
    same(slice(0, 1), input_ids=ids[:1])              # no mask: all of row 0 is real
    same(slice(0, 1), input_ids=ids[:1], position_ids=place[:1])
    same(**batch, use_cache=False)
    same(**batch, output_hidden_states=True)
    if family in ("bert", "roberta"):
        same(**batch, token_type_ids=torch.zeros_like(ids))
    plain = model(**batch, return_dict=False)
    assert type(plain) is tuple
    torch.testing.assert_close(plain[0], expected)
    assert model(**batch, use_cache=False).get(models.cache_name()) is None
    moved = place[:1].flip(1)
    assert (result(model(**batch, position_ids=moved)) - expected).abs().max() > 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_a_model_of_ones_own_may_call_it_by_position(method, tiny, inputs):
    """As no head in transformers does, and every base can be called."""
    for family in ("bert", "llama"):
        model = drawn(tiny(family, "backbone"), method)
        ids, mask = (inputs(model, "right")[name] for name in ("input_ids", "attention_mask"))
        expected = model(ids, attention_mask=mask)[0]
        assert (model(ids)[0] - expected).abs().max() > 1e-3
        assert_equal(model(ids, mask)[0], expected)
        with pytest.raises(TypeError, match="multiple values"):
            model(ids, mask, attention_mask=mask)


# ── generating ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("family", [*DECODERS, "gemma3_text", *(
    pytest.param(family, marks=pytest.mark.long)
    for family in LATER_DECODERS if family != "gemma3_text")])
@each_method
def test_generate_continues_as_after_these_words(family, method, tiny, inputs):
    model = tiny(family, "lm")
    batch = features(inputs(model, "left"))
    base = model.generate(**batch, **GREEDY)
    ways = [GREEDY, GREEDY | {"num_beams": 3}, GREEDY | {"do_sample": True},
            GREEDY | {"use_cache": False}]
    expected = []
    for way in ways:
        torch.manual_seed(3)
        expected.append(model.generate(**words_before(batch, True), **way)[:, -6:])
    model = worded(model, method)
    for way, wanted in zip(ways, expected):
        torch.manual_seed(3)
        assert_equal(model.generate(**batch, **way)[:, -6:], wanted, way)
    assert not torch.equal(expected[0], base[:, -6:])
    assert not torch.equal(expected[0], expected[2])
    with pt.disabled(model):
        assert_equal(model.generate(**batch, **GREEDY), base)


@pytest.mark.parametrize("family", DECODERS)
@each_form
def test_generate_gives_what_each_row_gives_alone(family, method, projection, tiny, inputs):
    model = drawn(tiny(family, "lm"), method, projection=projection)
    batch = features(inputs(model, "left"))
    with pt.disabled(model):
        before = row_by_row(model, batch)
    alone = row_by_row(model, batch)
    assert not torch.equal(alone, before)
    for use_cache in (True, False):
        got = model.generate(**batch, **GREEDY, use_cache=use_cache)
        assert_equal(got[:, -6:], alone, use_cache)
    one = model.generate(batch["input_ids"][:1], **GREEDY)    # a batch of one, without a mask
    assert_equal(one[0, -6:], alone[0])
    embedded = model.generate(inputs_embeds=model.get_input_embeddings()(batch["input_ids"]),
                              attention_mask=batch["attention_mask"], **GREEDY)
    assert_equal(embedded[:, -6:], alone)


# Where a window counts what stands between two tokens, padding there would move them apart.
@pytest.mark.parametrize("family", ["mistral", "gemma2", "gemma3_text", "qwen2"])
@each_method
def test_a_sliding_window_slides_over_it_as_over_the_row_alone(family, method, tiny, inputs):
    windows = {"sliding_window": 6}
    if family == "qwen2":
        windows |= {"use_sliding_window": True, "max_window_layers": 0}
    model = drawn(tiny(family, "lm", **windows), method)
    batch = features(inputs(model, "left"))
    ids, mask, real = batch["input_ids"], batch["attention_mask"], batch["attention_mask"].bool()
    alone = torch.cat([outputs(model, {"input_ids": row[kept][None]})[0]
                       for row, kept in zip(ids, real)])
    torch.testing.assert_close(outputs(model, batch)[real], alone, rtol=1e-5, atol=3e-5)
    assert_equal(model.generate(**batch, **GREEDY)[:, -6:], row_by_row(model, batch))
    wide = drawn(tiny(family, "lm", **windows | {"sliding_window": 42}), method)
    assert (outputs(wide, batch) - outputs(model, batch))[real].abs().max() > 0.1

    def in_parts(*ends):
        cache, begin = caches.new_cache(), 0
        for end in ends:
            yield outputs(model, {"input_ids": ids[:, begin:end], "attention_mask": mask[:, :end],
                                  models.cache_name(): cache})
            begin = end

    torch.testing.assert_close(torch.cat([*in_parts(6, 9, 11)], 1)[real], alone, rtol=1e-5,
                               atol=3e-5)
    with pytest.raises(NotSupported, match="filled with padding alone"):
        list(in_parts(2, 11))


# ── a cache of the caller's ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("family", "name", "positions", "method"), pairwise(
    DECODERS, ("past_key_values", None), (False, True), METHODS))
def test_a_cache_of_the_callers(family, name, positions, method, tiny, inputs):
    model = drawn(tiny(family, "lm"), method)
    ids = inputs(model)["input_ids"]
    whole = outputs(model, {"input_ids": ids})
    name, cache = name or models.cache_name(), caches.new_cache()
    place = torch.arange(11)[None]
    with torch.no_grad():
        for part in (slice(0, 6), slice(6, 7), slice(7, 11)):
            where = {"position_ids": place[:, part]} if positions else {}
            got = model(input_ids=ids[:, part], attention_mask=torch.ones(4, part.stop).long(),
                        **{name: cache}, **where).logits
            torch.testing.assert_close(got, whole[:, part], rtol=1e-5, atol=1e-5)
            assert cache.get_seq_length() == part.stop    # tokens alone, though it holds more
            assert cache.layers[0].keys.shape[2] == LENGTH + part.stop


@pytest.mark.parametrize("names", [("past_key_values", "cache"), ("cache", "past_key_values")])
def test_a_cache_is_taken_by_either_name_and_nothing_given_is_changed(names, tiny):
    cache, base = caches.new_cache(), tiny("bert", "backbone")
    mask, types = torch.ones(2, 5).long(), torch.zeros(2, 5).long()
    given = {names[0]: None, names[1]: cache, "attention_mask": mask, "token_type_ids": types}
    before = {**given}
    prompt = pt.prompt.SoftPrompt(base, LENGTH)
    inputs = prompt.prepare_inputs(given, prompt.P)
    assert (inputs.cached, inputs.padding) == (False, None)
    assert inputs.cache is cache
    assert not inputs.arguments.keys() & {"past_key_values", "cache"}
    assert inputs.arguments["attention_mask"].shape == (2, LENGTH + 5)
    counted = prompt.positions_and_types(inputs, mask, 5)
    assert counted["token_type_ids"].shape == (2, LENGTH + 5)
    assert inputs.arguments["position_ids"] is None
    assert inputs.arguments["token_type_ids"] is types
    assert given.keys() == before.keys()
    assert all(given[name] is before[name] for name in given)


@each_method
def test_a_mask_or_a_cache_of_another_form_is_refused(method, tiny, inputs):
    """A static cache is made for a fixed length, which prompt and prefix are no part of."""
    model = drawn(tiny("llama", "lm"), method)
    ids = inputs(model)["input_ids"]
    with pytest.raises(NotSupported, match="not one of two axes"):
        model(ids, attention_mask=torch.ones(4, 1, 11, 11))
    with pytest.raises(NotSupported, match="cache is static"):
        model.generate(ids[:, :5], max_new_tokens=3, do_sample=False,
                       cache_implementation="static")


@pytest.mark.parametrize(("family", "longest"), [("bert", 42), ("roberta", 40), ("gpt2", 40)])
@each_method
def test_the_longest_leaves_one_position(family, longest, method, tiny):
    model = drawn(tiny(family), method, length=longest - 1)
    assert torch.isfinite(outputs(model, {"input_ids": torch.tensor([[5]])})).all()
    with pytest.raises(BadConfig, match=f"{longest} positions"):
        drawn(tiny(family), method, length=longest)


@pytest.mark.parametrize("words", [5, (1, 2), ("good", None), True])
@each_method
def test_what_are_no_words(words, method):
    with pytest.raises(BadConfig, match="words is "):
        method.Config(start="text", words=words)


BOTH = [
    ({"length": 0}, None, BadConfig, "length is 0"),
    ({"length": 5.0}, None, BadConfig, "length is 5.0"),
    ({"length": 40}, None, BadConfig, "length is 40, and this model has 40 positions"),
    ({"start": "txt", "words": TEXT}, Numbers(), BadConfig, "did you mean 'text'"),
    ({"start": "text", "words": TEXT}, None, BadConfig, "no tokenizer was given"),
    ({"start": "text"}, Numbers(), BadConfig, r"start='text' with words=\(\)"),
    ({"start": "random", "words": TEXT}, Numbers(), BadConfig, "start='random' with"),
    ({"start": "text", "words": "7 97"}, Numbers(), BadConfig, r"\[7, 97\]"),
    ({"start": "text", "words": ("7", " ")}, Numbers(), BadConfig, r"the tokens \[\]"),
]
PROMPT = [
    ({"pool": "mean"}, None, BadConfig, "pool is 'mean'.*\n.*one of cls, first"),
    ({"pool": "first"}, None, NotSupported, "decoder's head reads the last token"),
    ({"start": "vocabulary"}, None, BadConfig, "no tokenizer was given"),
    ({"start": "labels", "words": TEXT}, None, BadConfig, "no tokenizer was given"),
    ({"start": "labels", "words": []}, Numbers(), BadConfig, "start='labels' with"),
    ({"start": "vocabulary", "words": TEXT}, Numbers(), BadConfig, "start='vocabulary' with"),
    ({"start": "labels", "words": ("7", "98")}, Numbers(), BadConfig, r"\[98\]"),
    ({"start": "labels", "words": TEXT.split()[:4]}, Numbers(), BadConfig, "3 from 4 labels"),
    ({"start": "vocabulary", "length": 30}, Numbers(20), BadConfig, "30 from 0 labels and 17"),
    ({"start": "vocabulary"}, Numbers(300), BadConfig, "go up to 299"),
]
PREFIX = [
    ({"projection": 0}, None, BadConfig, "projection is 0"),
    ({"projection": 6.0}, None, BadConfig, "projection is 6.0"),
    ({"start": "vocabulary"}, Numbers(), BadConfig, "start is 'vocabulary'.*\n.*random, text"),
    ({"start": "text", "words": TEXT, "projection": 6}, Numbers(), BadConfig, "a projection"),
]


@pytest.mark.parametrize(("method", "options", "tokenizer", "error", "says"), [
    *((method, *row) for method in METHODS for row in BOTH), *((pt.prompt, *row) for row in PROMPT),
    *((pt.prefix, *row) for row in PREFIX)])
def test_settings_that_cannot_work_change_nothing(method, options, tokenizer, error, says, tiny,
                                                  inputs):
    model = tiny("gpt2", "lm")
    batch = inputs(model)
    before = everything_about(model, batch)
    with pytest.raises(error, match=says):
        method.inject(model, method.Config(**{"length": 3} | options), tokenizer)
    assert_same(everything_about(model, batch), before)
    assert pt.adapters(model) == {}


# ── saved, and counted ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["backbone", "classifier"])
@each_form
def test_a_file_that_does_not_fit_changes_nothing(kind, method, projection, tiny, inputs,
                                                  tmp_path):
    batch = inputs(tiny("bert", kind))
    saved = drawn(tiny("bert", kind), method)
    pt.save(saved, tmp_path)
    file = tmp_path / pt.store.TENSORS
    tensors = load_file(file)
    name = list(pt.adapter_state(saved))[-1]
    plain = tiny("bert", kind)
    own = drawn(tiny("bert", kind), method, 1, LENGTH - (method is pt.prompt), projection)
    before, at_work = everything_about(plain, batch), everything_about(own, batch)
    for wrong in ({**tensors, name: tensors[name][..., :4].contiguous()},
                  {**tensors, "extra": torch.ones(2)},
                  {n: t for n, t in tensors.items() if n != name} | {"x": torch.ones(2)}):
        save_file(wrong, file)
        with pytest.raises(AdapterFileError):
            pt.load(plain, tmp_path)
        assert_same(everything_about(plain, batch), before)
        with pytest.raises(AdapterFileError):
            pt.store.swap(own, tmp_path)
        assert_same(everything_about(own, batch), at_work)
    save_file(tensors, file)
    own = pt.store.swap(own, tmp_path)    # other settings, or a projection: it is exchanged
    assert_equal(outputs(own, batch), outputs(saved, batch))
    assert notes.note_of(own).config == notes.note_of(saved).config


@pytest.mark.parametrize("kind", ["backbone", "classifier"])
@each_form
def test_the_account(kind, method, projection, tiny):
    plain, model = tiny("bert", kind), drawn(tiny("bert", kind), method, projection=projection)
    own = (pt.prompt.count(LENGTH, 32) if method is pt.prompt
           else pt.prefix.count(LENGTH, 2, 32, 32, projection))
    head = 3 * 32 + 3 if kind == "classifier" else 0
    counted = pt.account.parameters(model)
    assert (counted.adapter, counted.head) == (own, head)
    assert counted.total == sum(p.numel() for p in plain.parameters()) + own
    before, ledger = (pt.account.ledger(m, 4, 8) for m in (plain, model))
    assert ledger.gradients_bytes == 4 * (own + head)
    assert ledger.weights_bytes == before.weights_bytes + 4 * own
    measured = pt.account.activations(model, pt.account._batch(model, 4, 8))
    assert ledger.activations_bytes == pytest.approx(measured, rel=0.01)


# ── later turns ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("family", DECODERS)
@each_method
def test_a_later_turn_from_the_cache_is_the_whole_text_in_one_go(family, method, tiny, inputs):
    model = drawn(tiny(family, "lm"), method)
    batch = features(inputs(model, "left"))
    first = model.generate(**batch, **TURN)
    cache = first.past_key_values
    for turn in (2, 3):
        batch = longer(batch, first.sequences)
        expected = model.generate(**batch, **TURN)
        first = model.generate(**batch, past_key_values=cache, **TURN)
        assert first.past_key_values is cache
        assert cache.get_seq_length() == first.sequences.shape[1] - 1, turn    # tokens alone
        assert_equal(first.sequences, expected.sequences)
        torch.testing.assert_close(torch.stack(first.logits), torch.stack(expected.logits),
                                   rtol=1e-5, atol=1e-5)
    with pt.disabled(model):    # the turns were not those of the base
        plain = model.generate(**batch, **TURN)
    assert (plain.logits[0] - first.logits[0]).abs().max() > 0.01


@each_method
def test_a_turn_of_new_words_alone_and_one_of_a_forward_pass(method, tiny, inputs):
    """Without a mask the cache alone says what went before; a copied cache serves twice."""
    model = drawn(tiny("llama", "lm"), method)
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
    model = drawn(tiny("llama", "lm"), method)
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
    assert_equal(model.generate(**batch, past_key_values=cache, **GREEDY, **way), expected)


@each_method
def test_a_cache_that_another_model_filled_is_refused(method, tiny, inputs):
    model = drawn(tiny("llama", "lm"), method)
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
        model = drawn(pt.remove(model), method, length=4)
        with pytest.raises(NotSupported, match=r"filled with 5 vectors .* puts 4 there"):
            model(ids[:, :1], past_key_values=own)
        empty = caches.new_cache()    # an empty one serves anyone
        assert_equal(model(ids, past_key_values=empty).logits, model(ids).logits)
        base = pt.remove(model)
        assert_equal(base(ids[:, :1], past_key_values=plain).logits, again)


@each_form
def test_a_cache_of_other_vectors_is_refused_though_they_are_as_many(method, projection, tiny,
                                                                   inputs, tmp_path):
    model, other = (drawn(tiny("llama", "lm"), method, seed, projection=projection)
                    for seed in (0, 1))
    ids = inputs(model)["input_ids"]
    with torch.no_grad():
        caches = [m(ids, use_cache=True).past_key_values for m in (model, other)]

    def turn(m, cache):
        with torch.no_grad():
            return m(ids[:, :1], past_key_values=copy.deepcopy(cache)).logits

    expected = turn(model, caches[0])
    with pytest.raises(NotSupported, match=r"with 5 other vectors .* than this model puts there"):
        turn(model, caches[1])
    assert_equal(turn(copy.deepcopy(model), caches[0]), expected)    # equal vectors serve
    broken = drawn(tiny("llama", "lm"), method, projection=projection)
    for p in pt.adapter_parameters(broken).values():
        p.data.fill_(torch.nan)
    with torch.no_grad():    # and so do nan, though nan is not itself
        turn(broken, broken(ids, use_cache=True).past_key_values)
    pt.save(model, tmp_path / "one")
    pt.save(other, tmp_path / "other")
    if not projection:    # else the file keeps what the MLP makes, which is another parameter
        assert_equal(turn(pt.load(tiny("llama", "lm"), tmp_path / "one"), caches[0]), expected)
        model = pt.swap(model, tmp_path / "other")
        assert_equal(turn(model, caches[1]), turn(other, caches[1]))
        with pytest.raises(NotSupported, match="other vectors"):
            turn(model, caches[0])
    batch = inputs(other)
    for _ in pt.train(other, [batch], lr=1e-2):    # one step on, they are others
        pass
    with pytest.raises(NotSupported, match="or its own before they changed"):
        turn(other, caches[1])


@each_method
def test_a_window_that_has_dropped_the_first_keys_still_knows_whose_they_were(method, tiny):
    one, other = (drawn(tiny("gemma2", "lm"), method, seed) for seed in (0, 1))    # a window of 6
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
    put = (lambda m: pt.lora.inject(m)) if method is pt.lora else (lambda m: drawn(m, method))
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
    model = drawn(tiny("llama"), method)
    table = torch.nn.Embedding(97, 32)
    model.set_input_embeddings(table)
    assert the(model).base.embed_tokens is table
    assert model.get_input_embeddings() is table


@each_method
def test_a_cache_goes_with_the_output_that_holds_it(method, tiny, inputs):
    """And not when the garbage collector next looks: a training step's graph hangs on its cache."""
    model = drawn(tiny("llama", "lm"), method).train()
    gc.disable()
    try:
        out = model(**inputs(model), use_cache=True)
        out.logits.sum().backward()
        cache = weakref.ref(out.past_key_values)
        del out
        assert cache() is None
    finally:
        gc.enable()
