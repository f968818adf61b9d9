"""The same tensors, by peft's names and in its shapes, and by ours.

    here                    there
    A, B     LoRA           base_model.model.<module>.lora_A.weight, ….lora_B.weight
    c        use_bias       base_model.model.<module>.lora_B.bias
    m        DoRA           base_model.model.<module>.lora_magnitude_vector
    l        (IA)³          base_model.model.<module>.ia3_l        (n_out, 1) or (1, n_in)
    P        soft prompt    prompt_embeddings                      (length, d_model)
    K, V     prefix         prompt_embeddings                      (length, layers · 2 · d_kv)
    head     classifiers    base_model.model.<name>; with P, K and V base_model.<name>
    copies   also_train     base_model.model.<name>, modules_to_save in the settings

These are the names in a file. A model that peft loaded has longer ones.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .. import contents, notes
from ..adapter import Adapter, adapters, full_name
from ..errors import NotExportable
from ..methods import ia3, prefix, projection, prompt
from ..trained_copy import TrainedCopy

LORA_NAMES = {"A": "lora_A.weight", "B": "lora_B.weight", "c": "lora_B.bias",
              "m": "lora_magnitude_vector"}


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return what a peft file holds of this model's adapters, by peft's names."""
    return {_peft_name(name, own): p for name, adapter in adapters(model).items()
            for own, p in _to_theirs(adapter).items()}


def _peft_name(module: str, own: str) -> str:
    return own if own == "prompt_embeddings" else f"base_model.model.{module}.{own}"


def head_tensors(model: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """Return these tensors of the head by peft's names."""
    before_input = notes.need_note(model).method in ("prompt", "prefix")
    front = "base_model." if before_input else "base_model.model."
    return {front + name: t for name, t in contents.head_state(model).items() if name in names}


def _to_theirs(adapter: Adapter) -> dict[str, Tensor]:
    """Return one adapter's tensors in peft's shapes, by the end of peft's names."""
    if isinstance(adapter, ia3.IA3Linear):
        l = adapter.factors()                                         # (n_out,) or (n_in,)
        return {"ia3_l": l[:, None] if adapter.side == "output" else l[None]}
    if isinstance(adapter, prompt.SoftPrompt):
        return {"prompt_embeddings": adapter.P}                       # (length, d_model)
    if isinstance(adapter, prefix.Prefix):
        K, V = adapter.stored().values()                              # (layers, length, d_kv)
        flat = torch.stack([K, V]).permute(2, 1, 0, 3).flatten(1)     # (length, layers · 2 · d_kv)
        return {"prompt_embeddings": flat}
    if isinstance(adapter, TrainedCopy):
        return {own.removeprefix("trained."): t for own, t in adapter.stored().items()}
    return {LORA_NAMES[own]: p for own, p in adapter.own_parameters().items()}


def _to_ours(adapter: Adapter, theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Undo `_to_theirs`: return the tensors by the names of the adapter's own."""
    if isinstance(adapter, ia3.IA3Linear):
        l = theirs["ia3_l"].flatten()                                 # (n_out,) or (n_in,)
        if isinstance(adapter, ia3.FusedIA3Linear):
            l = l.unflatten(0, (adapter.parts, -1))                   # (parts, n_out / parts)
            if (l[:, :adapter.first] != 1).any():
                raise NotExportable("This (IA)³ scales the queries of a fused projection, too.",
                                    expected="factors of one for them, as in the paper")
            l = l[:, adapter.first:].flatten()
        return {"l": l}
    if isinstance(adapter, prompt.SoftPrompt):
        return {"P": theirs["prompt_embeddings"]}                     # (length, d_model)
    if isinstance(adapter, prefix.Prefix):
        flat = theirs["prompt_embeddings"]                            # (length, layers · 2 · d_kv)
        K, V = projection.by_layer(flat, adapter.layers)              # (layers, length, d_kv)
        return {"K": K, "V": V}
    if isinstance(adapter, TrainedCopy):
        return {f"trained.{name}": tensor for name, tensor in theirs.items()}
    return {own: theirs[LORA_NAMES[own]] for own in adapter.own_parameters()}


def by_our_names(model: nn.Module, theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a peft file's tensors by the names and in the shapes of the adapters on `model`.

    Of gradients, too, since no number changes. `KeyError` for a tensor that is not there.
    """
    return {full_name(name, own): tensor for name, adapter in adapters(model).items()
            for own, tensor in _to_ours(adapter, {own: theirs[_peft_name(name, own)]
                                                  for own in _to_theirs(adapter)}).items()}
