"""What a method added to a model, by name: what trains, and what a file keeps of it.

Names are those of the unadapted model, followed by the adapter's own: "…query.A".

    here                returns, head excluded         of each `Adapter`
    adapter_parameters  what trains                    own_parameters, those that train
    added_parameters    what was added or trains       own_parameters
    loadable_state      what a file fills              own_parameters, stored buffers
    adapter_state       copies of what a file keeps    stored
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from . import fingerprints, models, notes
from .adapter import Adapter, adapters, by_plain_name, full_name, plain_name
from .running_stats import buffers, owners
from .wrapped import is_sharded


def adapter_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return what a method trains, head excluded: `{"…query.A": parameter}`.

    These are the adapters' own parameters with `requires_grad`. For full fine-tuning, which has no
    adapter, they are the trained backbone weights. Raises `NoAdapter` on a model without a method.
    """
    return {name: p for name, p in added_parameters(model).items() if p.requires_grad}


def added_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return all that a method added or trains, by full name, frozen parameters included."""
    by_name, note = adapters(model), notes.written(model)
    if by_name:
        return {full_name(name, own): p for name, adapter in by_name.items()
                for own, p in adapter.own_parameters().items()}
    if note is None:
        raise notes.no_method()
    return {n: p for n, p in model.named_parameters() if n in note.weights}


def head_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the task head's parameters by the names that they have on the unadapted model."""
    head = set(models.head(model))
    return {n: p for n, p in by_plain_name(model, dict(model.named_parameters())).items()
            if n in head}


# ── what a file keeps, and fills ─────────────────────────────────────────────────────────────


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of what a file keeps of a method, detached and on the CPU.

    These are the adapters' own parameters, frozen ones included, and the buffers of trained copies.
    A prefix with projection keeps the keys and values that it makes.
    """
    by_name = adapters(model)
    state = {full_name(name, own): p for name, adapter in by_name.items()
             for own, p in adapter.stored().items()} if by_name else loadable_state(model)
    return copies(state)


def loadable_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a method that a file fills, with the buffers of what trains."""
    by_name = adapters(model)
    if not by_name:
        return _with_buffers(model, added_parameters(model))
    return {full_name(name, own): t for name, adapter in by_name.items()
            for own, t in (adapter.own_parameters() | _buffers(adapter, stored=True)).items()}


def random_buffers(model: nn.Module) -> dict[str, list]:
    """Return the fingerprint of the adapters' own buffers, which no file keeps.

    What is random and frozen is drawn from a seed whenever a method is put on, and a file
    recognizes it by these values: the same seed gives other numbers in another version of torch.
    """
    return fingerprints.sample({
        full_name(name, own): buffer for name, adapter in adapters(model).items()
        for own, buffer in _buffers(adapter, stored=False).items()})


def _buffers(adapter: Adapter, stored: bool) -> dict[str, Tensor]:
    """Return the buffers outside of an adapter's base that a file keeps, or all others."""
    buffers = {own: b for own, b in adapter.named_buffers() if not own.startswith("base.")}
    kept = adapter.stored() if buffers else {}    # a prefix's MLP would run for it
    return {own: b for own, b in buffers.items() if (own in kept) == stored}


def head_state(model: nn.Module) -> dict[str, Tensor]:
    """Return what a file keeps of the head: its parameters, and the buffers beside them."""
    return _with_buffers(model, head_parameters(model))


def _with_buffers(model: nn.Module, parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """Add the buffers of modules that train, such as a BatchNorm's running statistics."""
    return {**parameters} | {
        plain_name(model, full_name(name, own)): b
        for name, module in owners(model, parameters.values()).items()
        for own, b in buffers(module).items()}


def copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies on the CPU, detached and contiguous, as a file wants them.

    A tensor that FSDP2 shards over processes is copied whole: each process has to ask for it.
    """
    whole = {name: t.full_tensor() if is_sharded(t) else t for name, t in tensors.items()}
    return {name: t.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, t in whole.items()}
