"""Trainings before the law of lesson 01: what is frozen stays as it is, bit for bit.

Each takes a model of which some parameters are frozen, and changes it or not; `RIGHT` keep the law,
`BROKEN` break it, the smallest mistake first. A name completes "one that".
"""

import torch
from torch import nn


def _apart(model: nn.Module) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
    """What may train, and what is frozen, by name."""
    named = dict(model.named_parameters())
    return ({name: p for name, p in named.items() if p.requires_grad},
            {name: p for name, p in named.items() if not p.requires_grad})


def _descend(parameters: list[nn.Parameter]) -> float:
    """Train these for three steps; return the last loss."""
    if not parameters:
        return 0.0
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        loss = torch.stack([(p - 1).square().mean() for p in parameters]).sum()
        loss.backward()
        optimizer.step()
    return loss.item()


def _smallest(parameters: dict[str, nn.Parameter], entries: int = 1) -> nn.Parameter | None:
    """The smallest parameter with at least so many entries, or None."""
    return min((p for p in parameters.values() if p.numel() >= entries), key=torch.numel,
               default=None)


def _replace(model: nn.Module, name: str, value: torch.Tensor) -> None:
    """Replace a parameter by a new one, frozen if the old one was."""
    owner, _, own = name.rpartition(".")
    old = model.get_parameter(name)
    setattr(model.get_submodule(owner), own, nn.Parameter(value, old.requires_grad))


# ── what keeps the law ───────────────────────────────────────────────────────────────────────


def trains(model):
    return _descend(list(_apart(model)[0].values()))


def rests(model):
    return None


def sets_by_hand(model):
    for name, p in _apart(model)[0].items():
        _replace(model, name, torch.zeros(p.shape))


def puts_an_equal_one_in_its_place(model):
    for name, p in _apart(model)[1].items():
        _replace(model, name, p.detach().clone())


def freezes_at_its_end(model):
    loss = trains(model)
    model.requires_grad_(False)
    return loss


def thaws_at_its_end(model):
    loss = trains(model)
    model.requires_grad_(True)
    return loss


# ── what breaks it ───────────────────────────────────────────────────────────────────────────


def moves_one_entry(model):
    p = _smallest(_apart(model)[1])
    if p is not None:
        p.data.view(-1)[-1] += 1e-6


def swaps_two_entries(model):
    p = _smallest(_apart(model)[1], 2)
    if p is not None:
        flat = p.data.view(-1)
        flat[-2:] = flat[-2:].flip(0).clone()


def moves_the_first_of_many(model):
    p = max(_apart(model)[1].values(), key=torch.numel, default=None)
    if p is not None:
        p.data.view(-1)[0] += 1


def puts_another_in_its_place(model):
    name, p = next(iter(_apart(model)[1].items()), (None, None))
    if name is not None:
        _replace(model, name, p.detach() + 1)


def is_no_parameter_any_more(model):
    name, p = next(iter(_apart(model)[1].items()), (None, None))
    if name is not None:
        owner, _, own = name.rpartition(".")
        delattr(model.get_submodule(owner), own)
        setattr(model.get_submodule(owner), own, p.detach() + 1)


def breaks_off(model):
    raise RuntimeError("the training broke off")


def thaws_and_freezes_again(model):
    frozen = _apart(model)[1].values()
    model.requires_grad_(True)
    loss = _descend(list(model.parameters()))
    for p in frozen:
        p.requires_grad_(False)
    return loss


def thaws(model):
    model.requires_grad_(True)
    return _descend(list(model.parameters()))


RIGHT = {
    "trains what may train, and nothing else": trains,
    "does nothing at all": rests,
    "puts a new tensor in the place of what may train": sets_by_hand,
    "puts a tensor with the very same entries in the place of what is frozen":
        puts_an_equal_one_in_its_place,
    "freezes everything once it has trained": freezes_at_its_end,
    "thaws everything once it has trained, and moves nothing more": thaws_at_its_end,
}
# The same, on a model with nothing frozen.
FREE = {"trains a model of which nothing is frozen": trains}
BROKEN = {
    "adds a millionth to one frozen entry": moves_one_entry,
    "swaps two frozen entries": swaps_two_entries,
    "moves the first entry of the largest frozen tensor": moves_the_first_of_many,
    "puts another tensor in the place of a frozen one": puts_another_in_its_place,
    "takes a frozen parameter away, and puts a plain tensor in its place": is_no_parameter_any_more,
    "breaks off with an error": breaks_off,
    "thaws everything, trains, and freezes it again": thaws_and_freezes_again,
    "thaws everything and trains": thaws,
}
IN_PLACE = tuple(name for name, train in BROKEN.items() if train not in (
    puts_another_in_its_place, is_no_parameter_any_more, breaks_off))
