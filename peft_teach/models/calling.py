"""What a backbone is called with: its cache, its positions; and what it makes of them."""

import torch
from torch import Tensor, nn

from .families import config_of, need_family


def cache_name() -> str:
    """Return the argument in which the installed transformers passes keys and values."""
    import transformers

    version = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    return "cache" if version >= (5, 24) else "past_key_values"


def reads_cache(backbone: nn.Module) -> bool:
    """Return whether this family's attention looks at cached keys and values.

    DistilBERT and ModernBERT accept the argument and silently ignore it.
    """
    return need_family(backbone).reads_cache


def key_value_shape(backbone: nn.Module) -> tuple[int, int, int]:
    """Return `(layers, heads, d_head)` of a backbone's keys, which its values share.

    With grouped queries there are fewer heads here than query heads.
    """
    config = config_of(backbone)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    d_head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return config.num_hidden_layers, heads, d_head


def fused_queries(model: nn.Module) -> tuple[int, int]:
    """Return `(first, parts)`: where the queries are in the output of a fused `qkv` projection.

    The output comes in `parts` equal parts, each of which begins with `first` features of queries:
    one part for all (GPT-2, Phi-3, ModernBERT), or one a head (GPT-NeoX). Keys and values follow.
    """
    _, _, d_head = key_value_shape(model)
    heads = config_of(model).num_attention_heads
    return (d_head, heads) if need_family(model).fuses_by_head else (heads * d_head, 1)


def positions(backbone: nn.Module, input_ids: Tensor | None, seq: int) -> Tensor:
    """Return the position ids (batch or 1, seq) that a backbone gives its tokens by itself.

    Positions count from 0 and include padding; in RoBERTa and its kin they start at
    `padding_idx + 1` and skip it.
    """
    first = first_position(backbone)
    if first == 0 or input_ids is None:
        device = next(backbone.parameters()).device
        return torch.arange(first, first + seq, device=device)[None]          # (1, seq)
    real = (input_ids != first - 1).long()                                    # (batch, seq)
    return real.cumsum(1) * real + first - 1                                  # (batch, seq)


def first_position(backbone: nn.Module) -> int:
    """Return the position of the first token: 0, or `padding_idx + 1` in RoBERTa and its kin."""
    return config_of(backbone).pad_token_id + 1 if need_family(backbone).skips_padding else 0


def longest_input(backbone: nn.Module) -> int:
    """Return how many positions a backbone has."""
    return config_of(backbone).max_position_embeddings - first_position(backbone)
