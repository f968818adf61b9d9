"""What a merged model has lost, measured on the spot: of its update, its score, its states."""

from collections.abc import Mapping, Sequence

import pandas
import torch
from torch import Tensor, nn

from .... import models
from ....adapter import adapters
from ... import protocol
from .four_bits import relative


def kept(plain: nn.Module, model: nn.Module) -> float:
    """Return the share of a 4-bit model's ΔW that is in a merged model's weights, by projection."""
    along = size = 0.0
    for name, layer in adapters(model).items():
        delta = (layer.scale * layer.B @ layer.A).detach().cpu()         # (n_out, n_in)
        change = plain.get_submodule(name).weight.detach().cpu() - layer.base.weight.cpu()
        along += float((change * delta).sum())
        size += float(delta.square().sum())
    return along / size


def scores(model: nn.Module, test: list[dict[str, Tensor]]) -> Tensor:
    """Return a score of each test sentence, (sentences,), for `pt.verdict`: their mean is R²."""
    return protocol.shares_of_r2(protocol.predictions(model, test), protocol.ratings(test))


def hidden(model: nn.Module, batches: Sequence[Mapping[str, Tensor]]) -> list[Tensor]:
    """Return the hidden states of all real tokens after each block, (tokens, d_model) each."""
    found, device = [], next(model.parameters()).device
    with models.in_mode(model, training=False), torch.no_grad():
        for batch in batches:
            ids, mask = batch["input_ids"].to(device), batch["attention_mask"].to(device)
            states = model.base_model(ids, mask, output_hidden_states=True).hidden_states[1:]
            found.append([state[mask.bool()].cpu() for state in states])
    return [torch.cat(block) for block in zip(*found)]


def errors_by_block(merged: Mapping[str, nn.Module], right: nn.Module,
                    batches: Sequence[Mapping[str, Tensor]]) -> pandas.DataFrame:
    """Return by way of merging and block: the error of the hidden states, relative to their norm.

    `right` is the model that was trained: Ŵ, and the whole update beside it.
    """
    exact = hidden(right, batches)
    rows = {way: [relative([pair]) for pair in zip(hidden(model, batches), exact)]
            for way, model in merged.items()}
    return pandas.DataFrame.from_dict(
        rows, "index", columns=pandas.RangeIndex(1, len(exact) + 1, name="after block"))
