"""Parameter counts that others have published or measured, for four real architectures.

The numbers are those of Hugging Face peft 0.21.2 and adapters 1.3.0 on the same architectures,
written down once; ours come from the closed forms and the shapes of models without weights.
"""

import functools

import pytest
import torch

import peft_teach as pt

SIZES = {    # d_model, blocks, heads, feed-forward, vocabulary, positions
    "minilm": (384, 6, 12, 1536, 30_522, 512),
    "bert-base": (768, 12, 12, 3072, 30_522, 512),
    "gpt2": (768, 12, 12, 3072, 50_257, 1024),
    "tinyllama": (2048, 22, 32, 5632, 32_000, 2048),
}
TOTAL = {"minilm": 22_713_216, "bert-base": 109_482_240, "gpt2": 124_439_808,
         "tinyllama": 1_034_512_384}
PUBLISHED = {
    "prompt": {"minilm": 7_680, "bert-base": 15_360, "gpt2": 15_360, "tinyllama": 40_960},
    "prefix": {"minilm": 92_160, "bert-base": 368_640, "gpt2": 368_640, "tinyllama": 225_280},
    "prefix with projection": {"minilm": 1_929_600, "bert-base": 14_780_160, "gpt2": 14_780_160,
                               "tinyllama": 2_965_760},
    # ours are as wide as the model
    "prefix, as wide as the model": {"minilm": 1_929_600, "tinyllama": 27_317_248},
    "lora": {"minilm": 73_728, "bert-base": 294_912, "gpt2": 294_912, "tinyllama": 1_126_400},
    # peft also adapts BERT's pooler, which stands outside of the blocks: 8 · (d + d) more
    "lora everywhere": {"minilm": 337_920 - 8 * 768, "bert-base": 1_339_392 - 8 * 1536,
                        "gpt2": 1_179_648, "tinyllama": 6_307_840},
    "lora in the last block": {"minilm": 12_288, "bert-base": 24_576, "gpt2": 24_576,
                               "tinyllama": 51_200},
    "dora": {"minilm": 78_336, "bert-base": 313_344, "gpt2": 322_560, "tinyllama": 1_177_088},
    # the paper's three vectors; with a fourth, as peft has it by default, 16,128 and 64,512
    "ia3": {"minilm": 13_824, "bert-base": 55_296, "gpt2": 55_296, "tinyllama": 135_168},
    "ia3 as in peft": {"minilm": 16_128, "bert-base": 64_512},
    "bitfit": {"minilm": 26_112, "bert-base": 102_912, "gpt2": 102_144},
    "pfeiffer": {"bert-base": 894_528, "gpt2": 894_528},
    "houlsby": {"bert-base": 1_789_056, "gpt2": 1_789_056},
    "bapna": {"bert-base": 894_528 + 12 * 2 * 768},
    "parallel": {"bert-base": 7_091_712, "gpt2": 7_091_712},
}


@functools.cache
def model(name: str) -> torch.nn.Module:
    import transformers

    d_model, blocks, heads, d_ff, vocabulary, positions = SIZES[name]
    common = {"hidden_size": d_model, "num_hidden_layers": blocks, "num_attention_heads": heads,
              "intermediate_size": d_ff, "vocab_size": vocabulary,
              "max_position_embeddings": positions}
    config = {"gpt2": lambda: transformers.GPT2Config(),
              "tinyllama": lambda: transformers.LlamaConfig(**common, num_key_value_heads=4),
              }.get(name, lambda: transformers.BertConfig(**common))()
    with torch.device("meta"):
        return transformers.AutoModel.from_config(config)


def shapes(name: str, *places: str) -> list[tuple[int, int]]:
    """Return (n_in, n_out) of every linear layer in these places."""
    base, found = model(name), []
    for module in map(base.get_submodule, pt.models.find(base, places)):
        n_out, n_in = module.weight.shape
        found.append((n_out, n_in) if pt.models.is_conv1d(module) else (n_in, n_out))
    return found


def some(name: str) -> tuple[str, ...]:
    return ("qkv",) if name == "gpt2" else ("query", "value")


def everywhere(name: str) -> tuple[str, ...]:
    return tuple(p for p in pt.models.places(model(name)) if p in pt.models.LINEAR)


def ours(method: str, name: str) -> int:
    d_model, blocks, _, d_ff, *_ = SIZES[name]
    layers, heads, d_head = pt.models.key_value_shape(model(name))
    d_kv = heads * d_head

    def bottleneck(config, size):
        table = pt.models.places(model(name))
        number = sum(len(table[t]) for t in config.targets) if config.targets else blocks
        return number * pt.bottleneck.count(d_model, size, config.own_norm)

    return {
        "prompt": lambda: pt.prompt.count(20, d_model),
        "prefix": lambda: pt.prefix.count(20, layers, d_kv),
        "prefix, as wide as the model": lambda: pt.prefix.count(20, layers, d_kv, d_model, d_model),
        # peft's table of vectors and its MLP are as wide as the keys, not as the model
        "prefix with projection": lambda: pt.prefix.count(20, layers, d_kv, d_kv, d_kv),
        "lora": lambda: sum(pt.lora.count(*s, 8) for s in shapes(name, *some(name))),
        "lora everywhere": lambda: sum(pt.lora.count(*s, 8)
                                       for s in shapes(name, *everywhere(name))),
        "lora in the last block": lambda: sum(
            pt.lora.count(*s, 8) for s in shapes(name, *some(name))) // blocks,
        "dora": lambda: sum(pt.dora.count(*s, 8) for s in shapes(name, *some(name))),
        "ia3": lambda: pt.ia3.count(blocks, d_kv, d_kv, d_ff),
        "ia3 as in peft": lambda: pt.ia3.count(blocks, d_kv, d_kv, d_ff) + blocks * d_model,
        "bitfit": lambda: pt.bitfit.count(blocks, d_model, d_ff, 1 if name == "gpt2" else 2),
        "pfeiffer": lambda: bottleneck(pt.bottleneck.PFEIFFER, 48),
        "houlsby": lambda: bottleneck(pt.bottleneck.HOULSBY, 48),
        "bapna": lambda: bottleneck(pt.bottleneck.BAPNA, 48),
        "parallel": lambda: bottleneck(pt.bottleneck.PARALLEL, 384),
    }[method]()


def test_counts_are_the_published_ones():
    assert {method: {name: ours(method, name) for name in counts}
            for method, counts in PUBLISHED.items()} == PUBLISHED


@pytest.mark.parametrize("name", SIZES)
def test_the_architectures_are_the_real_ones(name):
    assert sum(p.numel() for p in model(name).parameters()) == TOTAL[name]


@pytest.mark.parametrize(("module", "config", "count"), [
    (pt.prompt, pt.prompt.Config(20), 7_680), (pt.prefix, pt.prefix.Config(20), 92_160),
    (pt.prefix, pt.prefix.Config(20, projection=384), 1_929_600), (pt.lora, None, 73_728),
    (pt.dora, None, 78_336), (pt.ia3, None, 13_824), (pt.bitfit, None, 26_112),
    (pt.qlora, pt.qlora.Config(targets=("query", "value")), 73_728),
    (pt.bottleneck, pt.bottleneck.Config(size=24), 6 * (2 * 384 * 24 + 24 + 384)),
])
def test_counts_on_minilm_itself(module, config, count):
    base, _ = pt.models.load("minilm", pretrained=False, device="cpu")
    adapted = module.inject(base, config)
    assert sum(p.numel() for p in adapted.parameters() if p.requires_grad) == count
    counted = pt.account.parameters(adapted)
    assert (counted.adapter, counted.total - counted.adapter) == (count, 22_713_216)
