"""Models without weights: known architectures as shapes alone, counted and measured at no cost.

    outline("llama-2-7b")           6.7 billion parameters on the meta device, in no memory
    ledger("llama-2-7b", "lora")    the bytes of training it with LoRA

A tensor on torch's meta device has a shape and a dtype and no numbers, so a model of any size can
be built, counted and even run forward on a laptop. Sizes: the configurations that the models were
published with; the papers are Devlin et al. 2018 (1810.04805, §3), Wang et al. 2020 (2002.10957),
Zhang et al. 2024 (2401.02385, §2), Touvron et al. 2023 (2302.13971, table 2; 2307.09288), Allal et
al. 2025 (2502.02737). BERTs carry a head of two labels; the others predict words.
"""

import functools
from typing import Any, NamedTuple

import torch
from torch import nn

from . import account
from .account import Law, Ledger
from .errors import unknown
from .methods import METHODS
from .settings import Settings


class Sizes(NamedTuple):
    """An architecture in numbers; `tied`: the words' table is also what predicts them."""

    family: str
    d_model: int
    blocks: int
    heads: int
    kv_heads: int
    d_ffn: int
    words: int
    positions: int
    tied: bool


SIZES = {
    "minilm": Sizes("bert", 384, 6, 12, 12, 1536, 30_522, 512, True),
    "bert-base": Sizes("bert", 768, 12, 12, 12, 3072, 30_522, 512, True),
    "smollm2-135m": Sizes("llama", 576, 30, 9, 3, 1536, 49_152, 8192, True),
    "tinyllama-1.1b": Sizes("llama", 2048, 22, 32, 4, 5632, 32_000, 2048, False),
    "llama-2-7b": Sizes("llama", 4096, 32, 32, 32, 11_008, 32_000, 4096, False),
}
TRAINS = ("full", "lora")    # the methods of which a law is known
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def outline(name: str, blocks: int | None = None, dtype: str = "float32") -> nn.Module:
    """Return a model of this architecture on the meta device, with this many blocks if given.

    Attention is computed in the plain way, which keeps a number for every pair of tokens. Raises
    `UnknownName` for a name or a dtype that is not in `SIZES` or `DTYPES`.
    """
    if name not in SIZES:
        raise unknown("outline", name, SIZES)
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    import transformers

    of = SIZES[name]
    sizes: dict[str, Any] = {
        "hidden_size": of.d_model, "num_hidden_layers": blocks or of.blocks,
        "num_attention_heads": of.heads, "intermediate_size": of.d_ffn, "vocab_size": of.words,
        "max_position_embeddings": of.positions, "tie_word_embeddings": of.tied,
        "attn_implementation": "eager"}
    with torch.device("meta"):
        if of.family == "bert":
            model = transformers.AutoModelForSequenceClassification.from_config(
                transformers.BertConfig(**sizes))    # of two labels, by default
        else:
            model = transformers.AutoModelForCausalLM.from_config(
                transformers.LlamaConfig(**sizes, num_key_value_heads=of.kv_heads))
    return model.to(DTYPES[dtype])


def adapted(name: str, method: str, config: Settings | None = None, blocks: int | None = None,
            dtype: str = "float32") -> nn.Module:
    """Return an outline with a method of `METHODS` on it, by the method's own `inject`.

    QLoRA's, which looks at its numbers, is on the CPU and full of zeros.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    model = outline(name, blocks, dtype)
    if method == "qlora":
        model = model.to_empty(device="cpu").requires_grad_(False)
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.zero_()
    with torch.device("meta" if method != "qlora" else "cpu"):
        return METHODS[method].inject(model, config)


def depth(name: str) -> int:
    """Return how many blocks this model has."""
    return SIZES[name].blocks


@functools.cache
def counts(name: str) -> dict[str, int]:
    """Return the parameters of this outline by place, as `account.by_place` does.

    Counted with one block and with two, and extended to all, which would take long to build.
    """
    one, two = (account.by_place(outline(name, n)) for n in (1, 2))
    return {p: size + (depth(name) - 1) * (two[p] - size) for p, size in one.items()}


@functools.cache
def law(name: str, trains: str = "full", dtype: str = "float32") -> Law:
    """Return `account.activation_law` of this outline, measured on one block and on two.

    From the second block on, each keeps what the one before it keeps. `trains` is a method, one of
    `TRAINS`, with its own settings: LoRA has rank 8, on query and value.
    """
    if trains not in TRAINS:
        raise unknown("method", trains, TRAINS)
    one, two = (account.activation_law(adapted(name, trains, None, n, dtype)) for n in (1, 2))
    c0, c1, c2, c3 = (a + (depth(name) - 1) * (b - a) for a, b in zip(one, two))
    return c0, c1, c2, c3


_whole = functools.cache(adapted)    # a model of billions takes seconds to build


def ledger(name: str, trains: str = "full", optimizer: str = "adamw", batch_size: int = 16,
           tokens: int = 32, dtype: str = "float32", fused: bool = False,
           step: str = "for-loop") -> Ledger:
    """Predict the bytes of training this outline, as `account.ledger` does of a loaded model.

    A fused attention computes its pairs of tokens piece by piece, and keeps its output instead.
    """
    c0, c1, c2, c3 = law(name, trains, dtype)
    if fused:
        c3 = 0.0
    if fused and trains == "lora":    # else attention_out trains, and keeps that output anyway
        c2 += DTYPES[dtype].itemsize * SIZES[name].d_model * depth(name)
    return account.ledger(_whole(name, trains, dtype=dtype), batch_size, tokens, optimizer,
                          (c0, c1, c2, c3), step)
