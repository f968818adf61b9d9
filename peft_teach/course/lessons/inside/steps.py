"""What torch holds in the course of one training step, measured while it runs."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .... import models

FORWARD, LOSS, BACKWARD = "forward", "loss", "backward"


@dataclass(frozen=True)
class Step:
    """Bytes of activations and gradients at moments of one step, between blocks.

    A moment is (phase, place): ("forward", "3") is when block 3 has been computed, ("backward",
    "3") when the gradient has passed it, ("loss", "") when the forward pass has ended. `peak` is
    the largest sum of the two at any time, within blocks too.
    """

    moments: tuple[tuple[str, str], ...]
    activations: tuple[int, ...]
    gradients: tuple[int, ...]
    peak: int


class _Kept:
    """A tensor that autograd keeps; `leave` is told when it is no longer kept."""

    def __init__(self, tensor: Tensor, leave):
        self.tensor, self.leave = tensor.detach(), leave

    def __del__(self):
        self.leave(self.tensor)


class _Held:
    """Counts the bytes that are kept for the backward pass, and those of gradients."""

    def __init__(self, model: nn.Module):
        self.known = {_storage(p) for p in (*model.parameters(), *model.buffers())}
        self.keepers: Counter[int] = Counter()    # of each piece of memory: views share one
        self.activations = self.gradients = self.peak = 0

    def pack(self, tensor: Tensor) -> Tensor | _Kept:
        place = _storage(tensor)
        if place in self.known:
            return tensor.detach()
        if not self.keepers[place]:
            self.activations += tensor.untyped_storage().nbytes()
        self.keepers[place] += 1
        self._see()
        return _Kept(tensor, self._leave)

    def unpack(self, kept: Tensor | _Kept) -> Tensor:
        return kept.tensor if isinstance(kept, _Kept) else kept

    def _leave(self, tensor: Tensor) -> None:
        place = _storage(tensor)
        self.keepers[place] -= 1
        if not self.keepers[place]:
            self.activations -= tensor.untyped_storage().nbytes()

    def accumulated(self, parameter: nn.Parameter) -> None:
        self.gradients += parameter.grad.nbytes
        self._see()

    def _see(self) -> None:
        self.peak = max(self.peak, self.activations + self.gradients)


def through_a_step(model: nn.Module, batch: Mapping[str, Tensor]) -> Step:
    """Run a forward and a backward pass on a batch with labels; return what was held when.

    Weights are not counted, views of one tensor once. The model's gradients are gone afterwards,
    its mode is put back, and no parameter moves.
    """
    held, seen = _Held(model), {}

    def note(phase: str, place: str = "") -> None:
        seen[phase, place] = (held.activations, held.gradients)

    model.zero_grad(set_to_none=True)
    names = models.find(model, "block")
    with models.in_mode(model, training=True), torch.enable_grad(), \
            _watched(model, names, note, held.accumulated):
        with torch.autograd.graph.saved_tensors_hooks(held.pack, held.unpack):
            loss = model(**batch).loss
        note(LOSS)
        loss.backward()
        del loss
        note(BACKWARD, "in")
    model.zero_grad(set_to_none=True)
    back = [(BACKWARD, str(i)) for i in reversed(range(len(names)))]
    moments = [(FORWARD, "in"), *((FORWARD, str(i)) for i in range(len(names))), (LOSS, ""), *back,
               (BACKWARD, "in")]
    for moment in back:      # no gradient comes to a block below which nothing trains
        seen.setdefault(moment, seen[BACKWARD, "in"])
    activations, gradients = zip(*(seen[moment] for moment in moments))
    return Step(tuple(moments), activations, gradients, held.peak)


def held_after_a_step(model: nn.Module, batch: Mapping[str, Tensor],
                      make: Callable[[list[nn.Parameter]], torch.optim.Optimizer]
                      ) -> dict[str, int]:
    """Train one step on a batch with labels; return the bytes that torch then holds, by part.

    `make` builds the optimizer for what trains. Its step counters, 4 bytes a tensor, are left out.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = make(trained)
    with models.in_mode(model, training=True), torch.enable_grad():
        model(**batch).loss.backward()
    optimizer.step()
    states = [value for state in optimizer.state.values() for value in state.values()
              if isinstance(value, Tensor) and value.dim()]
    return {"weights": sum(p.nbytes for p in model.parameters()),
            "gradients": sum(p.grad.nbytes for p in trained),
            "optimizer": sum(value.nbytes for value in states)}


@contextmanager
def _watched(model: nn.Module, names: list[str], note, accumulated) -> Iterator[None]:
    """Call `note` when a block begins or ends, on the way there and back; `accumulated` with each
    parameter whose gradient has come."""
    with ExitStack() as stack:
        def keep(handle) -> None:
            stack.callback(handle.remove)

        def before(i: int, hidden: Tensor) -> None:
            if i == 0:
                note(FORWARD, "in")
            if hidden.requires_grad:
                keep(hidden.register_hook(lambda grad: note(BACKWARD, str(i))))

        for i, name in enumerate(names):
            block = model.get_submodule(name)
            keep(block.register_forward_pre_hook(lambda block, given, i=i: before(i, given[0])))
            keep(block.register_forward_hook(
                lambda block, given, out, i=i: note(FORWARD, str(i))))
        for p in model.parameters():
            if p.requires_grad:
                keep(p.register_post_accumulate_grad_hook(accumulated))
        yield


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
