"""What lesson 00 takes out of a model: the tensors of a block, and four of them without labels."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from .... import methods, models
from .exercises import BLOCK_OF_THE_PUZZLE, LETTERS, ORDER, PLACES

IN_A_BLOCK = (*PLACES, "attention_norm", "ffn_in", "ffn_out", "ffn_norm")


def weights_of(model: nn.Module, block: int) -> dict[str, Tensor]:
    """Return the sixteen tensors of a block by their place: "query.weight", "query.bias", …"""
    places = models.places(model)
    return {f"{place}.{kind}": getattr(model.get_submodule(places[place][block]), kind).detach()
            for place in IN_A_BLOCK for kind in ("weight", "bias")}


def queries_keys_values(model: nn.Module, hidden: Sequence[Tensor], block: int) -> list[Tensor]:
    """Return what a block makes of its input: three tensors (sentences, tokens, d)."""
    W = weights_of(model, block)
    return [hidden[block] @ W[f"{place}.weight"].T + W[f"{place}.bias"] for place in PLACES[:3]]


def prepared(trains: str) -> nn.Module:
    """Return a fresh MiniLM in which "everything", "LoRA" or the "classifier" trains."""
    model, _ = models.load("minilm", labels=2, attention="eager")
    if trains == "LoRA":
        return methods.lora.inject(model, methods.lora.Config(rank=8, targets=("query", "value")))
    return methods.full.inject(model, methods.full.Config(
        {"everything": "all", "classifier": "head"}[trains]))


def unlabelled(model: nn.Module) -> dict[str, tuple[Tensor, Tensor]]:
    """Return weight and bias of the four attention layers of block 3, under a letter each.

    Rewritten: in each head queries are multiplied by a matrix, keys by the inverse of its
    transpose; values by another, columns of attention_out by its inverse. The values' bias passes a
    part on to that of attention_out; the keys', which does nothing, is drawn. The output stays.
    """
    own = weights_of(model, BLOCK_OF_THE_PUZZLE)
    (Q, q), (K, k), (V, v), (O, o) = ((own[f"{place}.weight"].cpu().double(),
                                       own[f"{place}.bias"].cpu().double()) for place in PLACES)
    heads, drawn = model.config.num_attention_heads, partial(
        torch.randn, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    width = len(q) // heads
    A, B = (torch.block_diag(*(
        torch.linalg.qr(drawn(width, width)).Q * torch.linspace(*ends, width) for _ in range(heads)
    )) for ends in ((0.3, 0.9), (1.0, 2.0)))
    moved = drawn(len(v)) * 3 * v.std()
    made = {"query": (A @ Q, A @ q), "key": (A.inverse().T @ K, drawn(len(k)) * q.std()),
            "value": (B @ V, B @ (v + moved)), "attention_out": (O @ B.inverse(), o - O @ moved)}
    like = own["query.weight"]
    found = {letter: tuple(t.to(like) for t in made[place]) for place, letter in zip(PLACES, ORDER)}
    return {letter: found[letter] for letter in LETTERS}
