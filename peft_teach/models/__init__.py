"""What the library knows of models, under one name: `pt.models.load`, `pt.models.places(model)`.

This file only re-exports. Each idea has a file of its own:

    loading      models by name, with their tokenizers
    families     where query, value, ffn_in … are in each family, and how else these differ
    targets      which modules a method's targets mean
    calling      what a backbone is called with: its cache, its positions
    heads        what a task adds to a pretrained model
    layers       what a linear layer is, in each form in which a model may hold it
    replacing    how one module takes another's place
    plain        a plain transformers model again
    mean_pooled  BERT with a head over the mean of its tokens
    modes        training or evaluation mode, for a while
"""

from .calling import (
    cache_name,
    first_position,
    fused_queries,
    key_value_shape,
    longest_input,
    positions,
    reads_cache,
)
from .families import FAMILIES, LINEAR, SINGLE, config_of, is_encoder, places
from .heads import can_generate, head, is_language_model
from .layers import (
    as_linear,
    converted,
    is_conv1d,
    is_packed,
    linear_like,
    need_linear,
    quantized,
    weight_of,
    with_bias,
)
from .loading import best_device, load
from .modes import in_mode
from .plain import guard_save, is_mean_pooled, to_hf
from .replacing import replace
from .targets import find, linear_places, place_of, query_and_value

__all__ = [
    "FAMILIES", "LINEAR", "SINGLE", "as_linear", "best_device", "cache_name", "can_generate",
    "config_of", "converted", "find", "first_position", "fused_queries", "guard_save", "head",
    "in_mode", "is_conv1d", "is_encoder", "is_language_model", "is_mean_pooled", "is_packed",
    "key_value_shape", "linear_like", "linear_places", "load", "longest_input", "need_linear",
    "place_of", "places", "positions", "quantized", "query_and_value",
    "reads_cache", "replace", "to_hf", "weight_of", "with_bias",
]
