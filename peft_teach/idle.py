"""Adapters that would learn nothing: disabled ones, and those that the loss does not depend on.

`train` asks before its first update. An adapter may be put around a module that the model never
calls, or not for its loss; then training would end well, and a file would hold the adapter's start.
"""

import torch
from torch import nn

from . import models
from .adapter import Adapter, adapters
from .batch import Batch, ready
from .errors import BadConfig

TRIED = 8    # batches, until an adapter without a gradient is refused


def _training(model: nn.Module) -> dict[str, tuple[Adapter, list[nn.Parameter]]]:
    """Return the adapters that train, by name, each with those of its own parameters that do."""
    found = {name: (adapter, [p for p in adapter.own_parameters().values() if p.requires_grad])
             for name, adapter in adapters(model).items()}
    return {name: (adapter, own) for name, (adapter, own) in found.items() if own}


def refuse_disabled(model: nn.Module) -> None:
    """Raise `BadConfig` for an adapter that trains and is disabled, as inside of `pt.disabled`."""
    if all(module.enabled for module in model.modules() if isinstance(module, Adapter)):
        return    # asked in every step: names are looked up only where there is something to say
    off = [name for name, (adapter, _) in _training(model).items() if not adapter.enabled]
    if off:
        raise BadConfig(f"The adapter at {off[0] or 'the model'} is disabled: it would learn "
                        "nothing.", expected="training outside of pt.disabled(model)")


def refuse_idle(model: nn.Module, trained: list[nn.Parameter], batches: list[Batch]) -> None:
    """Raise `BadConfig` for adapters that got no gradient, and get none from these batches.

    The first batches are tried, in eval mode, where no block is left out by chance. An adapter is
    refused if the module that should call it ran and never called it, or called it only without
    gradients; so one in a module that they do not call, such as an expert without tokens, may stay.
    One whose output is unused, as a pooler's may be, is refused only if no other adapter learns.
    """
    training = _training(model)
    if not training and all(p.grad is None for p in trained):
        raise BadConfig("The loss depends on no parameter that trains.")
    batches = batches[:TRIED]
    idle = {name: found for name, found in training.items()
            if all(p.grad is None for p in found[1])}
    around, came, called = _around(model), set(), set()
    hooks = [hook for adapter, _ in idle.values() for hook in (
        around[adapter].register_forward_pre_hook(lambda module, _: came.add(module)),
        adapter.register_forward_pre_hook(
            lambda module, _: called.add(module) if torch.is_grad_enabled() else None))]
    try:
        for batch in batches:
            if not idle:
                break
            with models.in_mode(model, training=False):
                loss = model(**ready(model, batch)).loss
            own = [p for _, parameters in idle.values() for p in parameters]
            reached = set()
            if loss.requires_grad:
                gradients = torch.autograd.grad(loss, own, allow_unused=True)
                reached = {p for p, gradient in zip(own, gradients) if gradient is not None}
            idle = {n: found for n, found in idle.items() if reached.isdisjoint(found[1])}
    finally:
        for hook in hooks:
            hook.remove()
    wrong = [name or "the model" for name, (adapter, _) in idle.items() if around[adapter] in came
             and (adapter not in called or len(idle) == len(training))]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise BadConfig(f"The adapter at {', '.join(wrong[:3])}{more} would learn nothing: the "
                        f"loss does not depend on it, with any of {len(batches)} batches.",
                        expected="adapters around modules that the model calls, for its loss",
                        hint="targets without them")


def _around(model: nn.Module) -> dict[nn.Module, nn.Module]:
    """Map each adapter to the module that calls it: a list of modules, say, calls none."""
    around = {}
    for name, module in model.named_modules():
        if isinstance(module, Adapter):
            caller = model
            while name:
                name = name.rpartition(".")[0]
                caller = model.get_submodule(name)
                if type(caller).forward is not nn.Module.forward:
                    break
            around[module] = caller
    return around
