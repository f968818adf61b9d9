"""What torch holds in the course of one training step, measured while it runs."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import pandas
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .... import models
from ....account import storage_of
from .look import prepared

FORWARD, LOSS, BACKWARD, STEP = "forward", "loss", "backward", "step"


@dataclass(frozen=True)
class Step:
    """Bytes that are held in the stretches of one training step, each at its fullest moment.

    A stretch is (phase, place), and its place is where it ends: ("forward", "3") computes block 3,
    ("backward", "3") brings the gradient past it, ("step", "") is AdamW's. `working` is what is
    neither kept for the backward pass nor a gradient, and is dropped at once. `optimizer` are
    AdamW's moments.
    """

    stretches: tuple[tuple[str, str], ...]
    activations: tuple[int, ...]
    gradients: tuple[int, ...]
    working: tuple[int, ...]
    weights: int
    optimizer: int

    @property
    def held(self) -> list[int]:
        """All that is held in each stretch."""
        come_and_go = zip(self.activations, self.gradients, self.working)
        return [self.weights + self.optimizer + sum(each) for each in come_and_go]

    @property
    def fullest(self) -> int:
        """The stretch in which the most is held."""
        return self.held.index(max(self.held))


class _Kept:
    """A tensor that autograd keeps; `count` is told when it comes and when it goes."""

    def __init__(self, tensor: Tensor, count: Callable[[Tensor, int], None]):
        self.tensor, self.count = tensor.detach(), count
        count(self.tensor, 1)

    def __del__(self):
        self.count(self.tensor, -1)


class _Watch(TorchDispatchMode):
    """Counts the bytes of all tensors that are made while it is on, after each operation.

    `known` tensors were there before. What a kernel takes and gives back within itself is not seen.
    """

    def __init__(self, known: Iterable[Tensor]):
        super().__init__()
        self.known = {storage_of(tensor) for tensor in known}
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.keepers: Counter[int] = Counter()    # of each piece of memory: views share one
        self.activations = self.gradients = 0
        self.fullest: dict[tuple[str, str], tuple[int, int, int]] = {}    # by stretch
        self.stretch = (FORWARD, "in")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and storage_of(tensor) not in self.known:
                storage = tensor.untyped_storage()
                self.alive.setdefault(storage._cdata, (StorageWeakRef(storage), storage.nbytes()))
        self.look()
        return made

    def look(self) -> None:
        """Keep what is held now, if it is the most of this stretch."""
        self.alive = {key: each for key, each in self.alive.items() if not each[0].expired()}
        working = max(sum(size for _, size in self.alive.values())
                      - self.activations - self.gradients, 0)
        now = self.activations, self.gradients, working
        self.fullest[self.stretch] = max(now, self.fullest.get(self.stretch, now), key=sum)

    def begin(self, phase: str, place: object = "") -> None:
        """Begin the stretch that ends there."""
        self.look()
        self.stretch = (phase, str(place))

    def pack(self, tensor: Tensor) -> Tensor | _Kept:
        own = storage_of(tensor) in self.known
        return tensor.detach() if own else _Kept(tensor, self.count)

    def unpack(self, kept: Tensor | _Kept) -> Tensor:
        return kept.tensor if isinstance(kept, _Kept) else kept

    def count(self, tensor: Tensor, by: int) -> None:
        storage = storage_of(tensor)
        self.keepers[storage] += by
        if self.keepers[storage] == max(by, 0):    # the first that comes, the last that goes
            self.activations += by * tensor.untyped_storage().nbytes()

    def accumulated(self, parameter: nn.Parameter) -> None:
        self.gradients += parameter.grad.nbytes


def through_a_step(model: nn.Module, batch: Mapping[str, Tensor]) -> Step:
    """Run a forward pass, a backward pass and AdamW's step on a batch with labels; see `Step`.

    Weights are not counted, views of one tensor once. The model's gradients are gone afterwards,
    its mode is put back, and no parameter moves.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.0)
    for p in trained:      # a first step, which makes the moments
        p.grad = torch.zeros_like(p)
    optimizer.step()
    model.zero_grad(set_to_none=True)
    moments = [state[name] for state in optimizer.state.values()
               for name in ("exp_avg", "exp_avg_sq")]
    watch = _Watch((*model.parameters(), *model.buffers(), *batch.values(), *moments, *(
        state["step"] for state in optimizer.state.values())))
    blocks = [model.get_submodule(name) for name in models.find(model, "block")]
    ends = [str(i) for i in range(len(blocks))]
    stretches = [(FORWARD, "in"), *((FORWARD, end) for end in ends), (LOSS, ""),
                 *((BACKWARD, end) for end in reversed(ends)), (BACKWARD, "in"), (STEP, "")]

    def begins(i: int, hidden: Tensor) -> None:
        watch.begin(FORWARD, i)
        if hidden.requires_grad:
            hidden.register_hook(lambda grad: watch.begin(BACKWARD, i - 1 if i else "in"))

    handles = [p.register_post_accumulate_grad_hook(watch.accumulated) for p in trained]
    handles += [block.register_forward_pre_hook(lambda _, given, i=i: begins(i, given[0]))
                for i, block in enumerate(blocks)]
    handles.append(blocks[-1].register_forward_hook(lambda *_: watch.begin(LOSS)))
    with models.in_mode(model, training=True), torch.enable_grad(), watch:
        with torch.autograd.graph.saved_tensors_hooks(watch.pack, watch.unpack):
            loss = model(**batch).loss
        watch.begin(BACKWARD, ends[-1])
        loss.backward()
        del loss
        watch.begin(STEP)
        optimizer.step()
    for handle in handles:
        handle.remove()
    model.zero_grad(set_to_none=True)
    after = 0, watch.gradients, 0    # no gradient comes to a block below which nothing trains
    parts = zip(*(watch.fullest.get(stretch, after) for stretch in stretches))
    return Step(tuple(stretches), *parts, sum(p.nbytes for p in model.parameters()),
                sum(each.nbytes for each in moments))


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
        rows.append((name if dtype == "float32" else f"{name}, {dtype}",
                     f"{model.num_parameters(only_trainable=True):,}",
                     f"{sum(held.values()) / 1e6:,.3f}"))
    return pandas.DataFrame(rows, columns=["optimizer", "trained", "MB"])


def put_aside(layer: nn.Module, x: Tensor) -> str:
    """Run layer(x); say what autograd keeps of x, W and others, or "nothing"."""
    kept: dict[int, str] = {}
    names = {storage_of(x): "x"} | {storage_of(p): name.rpartition(".")[2].replace("weight", "W")
                                  for name, p in layer.named_parameters()}

    def pack(tensor: Tensor) -> Tensor:
        kept[storage_of(tensor)] = names.get(storage_of(tensor), " × ".join(map(str, tensor.shape)))
        return tensor.detach()                          # only the numbers, not how they were made

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(x)
    return " and ".join(sorted(kept.values(), reverse=True)) or "nothing"
