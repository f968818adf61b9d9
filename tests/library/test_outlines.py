"""Models without weights give the numbers of models with them."""

import dataclasses
import re

import pytest
import torch

import peft_teach as pt
from peft_teach import account, outlines

# As their authors count them; a BERT has a head of two labels besides, 2 · d + 2.
PUBLISHED = {"minilm": 22_713_216 + 770, "bert-base": 109_482_240 + 1538,
             "smollm2-135m": 134_515_008, "tinyllama-1.1b": 1_100_048_384,
             "llama-2-7b": 6_738_415_616}


@pytest.mark.parametrize("name", outlines.SIZES)
def test_counts_are_those_that_were_published(name):
    assert sum(outlines.counts(name).values()) == PUBLISHED[name]
    assert account.parameters(outlines.outline(name)).total == PUBLISHED[name]
    assert outlines.counts(name) == account.by_place(outlines.outline(name))


def test_an_outline_takes_no_memory():
    assert all(p.is_meta for p in outlines.outline("llama-2-7b").parameters())


@pytest.mark.parametrize(("trains", "make"), [
    ("full", lambda m: pt.full.inject(m)),
    ("lora", lambda m: pt.lora.inject(m, pt.lora.Config(rank=8))),
])
@pytest.mark.parametrize("optimizer", ["adamw", "momentum", "sgd"])
def test_the_ledger_is_that_of_the_loaded_model(trains, make, optimizer):
    model = make(pt.models.load("minilm", labels=2)[0])
    real = dataclasses.asdict(account.ledger(model, 3, 40, optimizer))
    predicted = dataclasses.asdict(outlines.ledger("minilm", trains, optimizer, 3, 40))
    for part in ("weights_bytes", "gradients_bytes", "optimizer_bytes", "working_bytes"):
        assert predicted[part] == real[part]
    assert predicted["activations_bytes"] == pytest.approx(real["activations_bytes"], rel=1e-6)


def test_the_examples_of_the_docstring_run():
    examples = re.findall(r"^    (\w+\(.*?\))  ", outlines.__doc__, re.MULTILINE)
    model, held = (eval(example, vars(outlines)) for example in examples)
    assert held.weights_bytes > 4 * sum(p.numel() for p in model.parameters())    # A and B besides


@pytest.mark.parametrize(("trains", "dtype"), zip(outlines.TRAINS, outlines.DTYPES))
def test_two_blocks_tell_of_all_of_them(trains, dtype):
    """The law is measured on one and two blocks; here it is measured on all thirty."""
    whole = outlines.adapted("smollm2-135m", trains, dtype=dtype)
    law = outlines.law("smollm2-135m", trains, dtype)
    assert law == pytest.approx(account.activation_law(whole), rel=1e-6, abs=1)


def test_fused_attention_keeps_no_pairs():
    def kept(tokens, fused):
        return outlines.ledger("llama-2-7b", batch_size=1, tokens=tokens,
                               fused=fused).activations_bytes

    pairs = 32 * 32 * 4 * 512**2        # a float32 number a block, head and pair of tokens
    assert kept(512, False) - kept(512, True) == pytest.approx(pairs, rel=1e-6)
    # Without pairs, twice as long is twice as much, but for the last token's missing label.
    assert kept(1024, True) == pytest.approx(2 * kept(512, True), rel=1e-4)


@pytest.mark.parametrize("trains", outlines.TRAINS)
def test_what_fused_attention_keeps_is_what_torch_keeps(trains, monkeypatch):
    """On a CPU, torch fuses the attention of a Llama: no dropout, no mask."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    monkeypatch.setitem(outlines.SIZES, "tiny", outlines.Sizes(
        "llama", 128, 2, 2, 2, 352, 100, 64, False))
    model = AutoModelForCausalLM.from_config(LlamaConfig(
        hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=352,
        vocab_size=100, max_position_embeddings=64, attn_implementation="sdpa")).bfloat16()
    if trains == "lora":
        model = pt.lora.inject(model, pt.lora.Config(rank=8))
    ids = torch.arange(64)[None]
    kept = account.activations(model, {"input_ids": ids, "labels": ids})
    # The kernel keeps a number besides, for each token and head; and LoRA's first queries.
    assert outlines.ledger("tiny", trains, "adamw", 1, 64, "bfloat16", fused=True
                           ).activations_bytes == pytest.approx(kept, rel=0.03)


def test_a_language_model_keeps_its_loss():
    """The logarithm of each word's probability, in float32, is kept for every token but one."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    def law(words):
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                 "intermediate_size": 20, "vocab_size": words, "attn_implementation": "eager"}
        return account.activation_law(AutoModelForCausalLM.from_config(LlamaConfig(**sizes)))

    assert law(1100)[2] - law(100)[2] == pytest.approx(4 * 1000, rel=0.01)


def test_bfloat16_halves_the_weights_and_keeps_lora_in_float32():
    half = outlines.ledger("tinyllama-1.1b", "lora", dtype="bfloat16")
    lora = 22 * 8 * ((2048 + 2048) + (2048 + 256))      # grouped values: 4 heads of 64
    assert half.gradients_bytes == 4 * lora
    model = outlines.outline("tinyllama-1.1b", dtype="bfloat16")
    positions = sum(b.nbytes for b in model.buffers())    # their frequencies
    assert half.weights_bytes == 2 * PUBLISHED["tinyllama-1.1b"] + 4 * lora + positions


def test_unknown_names_are_told():
    for ask in (lambda: outlines.outline("minilmm"), lambda: outlines.law("minilm", "all"),
                lambda: outlines.outline("minilm", dtype="float17"),
                lambda: outlines.ledger("minilm", optimizer="adamwx")):
        with pytest.raises(pt.errors.UnknownName):
            ask()
