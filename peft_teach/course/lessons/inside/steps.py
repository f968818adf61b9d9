"""What torch holds in the course of one training step, measured while it runs."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas
import torch
from torch import Tensor, nn

from .... import models
from .look import prepared

FORWARD, LOSS, BACKWARD = "forward", "loss", "backward"


@dataclass(frozen=True)
class Step:
    """Bytes of activations and gradients at moments of one step, between blocks.

    A moment is (phase, place): ("forward", "3") is when block 3 has been computed, ("backward",
    "3") when the gradient has passed it, ("loss", "") when the forward pass has ended. `peak` is
    the largest sum at any time, within blocks too. `optimizer` are AdamW's moments.
    """

    moments: tuple[tuple[str, str], ...]
    activations: tuple[int, ...]
    gradients: tuple[int, ...]
    peak: int
    weights: int
    optimizer: int
    told: str = ""    # what trains, on what

    @property
    def alive(self) -> int:
        """What is held at most, of all four."""
        return self.weights + self.optimizer + self.peak

    @property
    def fullest(self) -> str:
        """When the most is held: at the start, the loss, half back, or the end."""
        held = [sum(both) for both in zip(self.activations, self.gradients)]
        phase, place = self.moments[held.index(max(held))]
        return {FORWARD: "start", LOSS: LOSS}.get(phase, "end" if place == "in" else "half back")


class _Kept:
    """A tensor that autograd keeps; `count` is told when it comes and when it goes."""

    def __init__(self, tensor: Tensor, count: Callable[[Tensor, int], None]):
        self.tensor, self.count = tensor.detach(), count
        count(self.tensor, 1)

    def __del__(self):
        self.count(self.tensor, -1)


class _Held:
    """Counts the bytes that are kept for the backward pass, and those of gradients."""

    def __init__(self, model: nn.Module):
        self.known = {_storage(p) for p in (*model.parameters(), *model.buffers())}
        self.keepers: Counter[int] = Counter()    # of each piece of memory: views share one
        self.activations = self.gradients = self.peak = 0

    def pack(self, tensor: Tensor) -> Tensor | _Kept:
        own = _storage(tensor) in self.known
        return tensor.detach() if own else _Kept(tensor, self.count)

    def unpack(self, kept: Tensor | _Kept) -> Tensor:
        return kept.tensor if isinstance(kept, _Kept) else kept

    def count(self, tensor: Tensor, by: int) -> None:
        storage = _storage(tensor)
        self.keepers[storage] += by
        if self.keepers[storage] == max(by, 0):    # the first that comes, the last that goes
            self.activations += by * tensor.untyped_storage().nbytes()
        self.peak = max(self.peak, self.activations + self.gradients)

    def accumulated(self, parameter: nn.Parameter) -> None:
        self.gradients += parameter.grad.nbytes
        self.peak = max(self.peak, self.activations + self.gradients)


def through_a_step(model: nn.Module, batch: Mapping[str, Tensor]) -> Step:
    """Run a forward and a backward pass on a batch with labels; return what was held when.

    Weights are not counted, views of one tensor once. The model's gradients are gone afterwards,
    its mode is put back, and no parameter moves.
    """
    held, seen = _Held(model), {}
    trained = [p for p in model.parameters() if p.requires_grad]
    blocks = [model.get_submodule(name) for name in models.find(model, "block")]
    back = [(BACKWARD, str(i)) for i in reversed(range(len(blocks)))]
    moments = [(FORWARD, "in"), *((FORWARD, place) for _, place in reversed(back)), (LOSS, ""),
               *back, (BACKWARD, "in")]

    def note(phase: str, place: object = "") -> None:
        seen[phase, str(place)] = (held.activations, held.gradients)

    def begins(i: int, hidden: Tensor) -> None:
        if i == 0:
            note(FORWARD, "in")
        if hidden.requires_grad:
            hidden.register_hook(lambda grad: note(BACKWARD, i))

    model.zero_grad(set_to_none=True)
    handles = [p.register_post_accumulate_grad_hook(held.accumulated) for p in trained]
    for i, block in enumerate(blocks):
        handles += [block.register_forward_pre_hook(lambda _, given, i=i: begins(i, given[0])),
                    block.register_forward_hook(lambda *_, i=i: note(FORWARD, i))]
    with models.in_mode(model, training=True), torch.enable_grad():
        with torch.autograd.graph.saved_tensors_hooks(held.pack, held.unpack):
            loss = model(**batch).loss
        note(LOSS)
        loss.backward()
        del loss
        note(BACKWARD, "in")
    for handle in handles:
        handle.remove()
    model.zero_grad(set_to_none=True)
    for moment in back:      # no gradient comes to a block below which nothing trains
        seen.setdefault(moment, seen[BACKWARD, "in"])
    activations, gradients = zip(*(seen[moment] for moment in moments))
    return Step(tuple(moments), activations, gradients, held.peak,
                sum(p.nbytes for p in model.parameters()), 2 * sum(p.nbytes for p in trained))


def held_after_a_step(model: nn.Module, batch: Mapping[str, Tensor], make: Callable
                      ) -> dict[str, int]:
    """Train one step on a batch with labels; return the bytes that torch then holds, by part.

    `make` builds an optimizer from parameters. Its counters, 4 bytes a tensor, are left out.
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


def six_steps(batch: Mapping[str, Tensor]) -> pandas.DataFrame:
    """Train one step in six ways; return one sum of what torch holds after each."""
    optimizers = {"plain SGD": lambda ps: torch.optim.SGD(ps, lr=1e-4), "AdamW": torch.optim.AdamW,
                  "SGD with momentum": lambda ps: torch.optim.SGD(ps, lr=1e-4, momentum=0.9)}
    rows = []
    for trains, name, dtype in (
            *(("everything", name, "float32") for name in ("plain SGD", "SGD with momentum")),
            ("everything", "AdamW", "float32"), ("everything", "AdamW", "bfloat16"),
            *(("classifier", name, "float32") for name in ("plain SGD", "AdamW"))):
        model = prepared(trains).to(getattr(torch, dtype))
        held = held_after_a_step(model, batch, optimizers[name])
        counts = model.num_parameters(), model.num_parameters(only_trainable=True)
        rows.append((name, dtype, *map("{:,}".format, (*counts, sum(held.values())))))
    return pandas.DataFrame(rows, columns=["optimizer", "dtype", "parameters", "trained", "bytes"])


def put_aside(layer: nn.Module, x: Tensor) -> str:
    """Run layer(x); say what autograd keeps of x, W and others, or "nothing"."""
    kept: dict[int, str] = {}
    names = {_storage(x): "x"} | {_storage(p): name.rpartition(".")[2].replace("weight", "W")
                                  for name, p in layer.named_parameters()}

    def pack(tensor: Tensor) -> Tensor:
        kept[_storage(tensor)] = names.get(_storage(tensor), " × ".join(map(str, tensor.shape)))
        return tensor.detach()                          # only the numbers, not how they were made

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(x)
    return " and ".join(sorted(kept.values(), reverse=True)) or "nothing"


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
