"""What training costs: parameters, and the bytes held in memory at once.

    weights       4 bytes a parameter in float32, 2 in bfloat16
    gradients     the same again, for the trained parameters only
    optimizer     AdamW keeps two moments a trained parameter, and one step count a tensor
    activations   what the forward pass keeps for the backward pass; grows with batch and length
    working       what AdamW's step makes and drops, when the activations are gone

A method that trains few parameters leaves the weights as they are and saves some of the
activations; of the other three almost nothing remains. All numbers are counted on the model that
is given, not looked up. Source of the rule of thumb: Rajbhandari et al. 2020, arXiv 1910.02054, §3.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from . import contents, models, notes
from .adapter import plain_name
from .batch import check
from .errors import BadConfig, NotSupported, kind_of, unknown
from .valid import is_count
from .wrapped import refuse_wrapped

# State tensors a trained parameter, as large as the parameter; bytes of counters a tensor.
OPTIMIZERS = {"adamw": (2, 4), "adam": (2, 4), "sgd": (0, 0), "momentum": (1, 0)}
# How torch's Adam takes its step: tensor by tensor, as on a CPU; all at once, as on a GPU; in one
# kernel, which makes nothing on the way.
STEPS = ("for-loop", "foreach", "fused")

Law = tuple[float, float, float, float]    # of activations: see `activation_law`


@dataclass(frozen=True)
class Parameters:
    """How many numbers a model holds: `total` = frozen + adapter + head, each counted once."""

    total: int
    frozen: int
    adapter: int
    head: int

    @property
    def share(self) -> float:
        """The adapter's part of the whole, from 0 to 1; the head is needed by every method."""
        return self.adapter / self.total


@dataclass(frozen=True)
class Ledger:
    """Bytes that a training step holds at some time, by what they are for."""

    weights_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    activations_bytes: int
    working_bytes: int = 0    # of the optimizer's step, besides what stays

    @property
    def peak_bytes(self) -> int:
        """The most at one time, a batch a step: activations, or gradients while AdamW works."""
        return self.weights_bytes + self.optimizer_bytes + max(
            self.activations_bytes, self.gradients_bytes + self.working_bytes)


def parameters(model: nn.Module) -> Parameters:
    """Count a model's parameters by their part in training; shared ones count once."""
    head = set(models.head(model))
    sizes = _sizes(model)
    in_head = sum(size for name, size in sizes.items() if name in head)
    adapter = 0
    if notes.is_adapted(model):
        adapter = sum(p.numel() for p in contents.adapter_parameters(model).values())
    total = sum(sizes.values())
    return Parameters(total, total - adapter - in_head, adapter, in_head)


def by_place(model: nn.Module) -> dict[str, int]:
    """Return the parameters of an unadapted model by place; all else under "other".

    A place that contains others (the block, the ffn) is left to its parts. "embeddings" are all
    parameters in front of the first block, but for the last norm, which OPT lists there. Raises
    `AlreadyAdapted` for a model with a method.
    """
    notes.refuse_adapted(model)
    places = models.places(model)
    table = {place: names for place, names in places.items()
             if place not in ("block", "ffn", "last", "backbone")}
    sizes = _sizes(model)
    counted = {place: sum(size for name, size in sizes.items()
                          if name.rpartition(".")[0] in modules)
               for place, modules in table.items()}
    first = models.find(model, "block")[0] + "."
    counted["embeddings"] = sum(sizes[name] for name in itertools.takewhile(
        lambda name: not name.startswith(first), sizes)
        if name.rpartition(".")[0] not in places["last"])
    counted["head"] = sum(sizes[name] for name in models.head(model))
    return counted | {"other": sum(sizes.values()) - sum(counted.values())}


def ledger(model: nn.Module, batch_size: int = 16, tokens: int = 32,
           optimizer: str = "adamw", law: Law | None = None, step: str = "for-loop") -> Ledger:
    """Predict the bytes of training `model` as it is now, on batches of (batch_size, tokens).

    Activations are extrapolated from four very small forward passes, unless `law` is what
    `activation_law` returned before for this model. `step` is how the optimizer takes its own, one
    of `STEPS`. Raises `UnknownName` for an optimizer or a step that is not known.
    """
    refuse_wrapped(model)
    for name, size in {"batch_size": batch_size, "tokens": tokens}.items():
        if not is_count(size):
            raise BadConfig(f"{name} is {size!r}.", expected="a whole number from 1")
    if optimizer not in OPTIMIZERS:
        raise unknown("optimizer", optimizer, OPTIMIZERS)
    states, counter = OPTIMIZERS[optimizer]
    trained = [p for p in model.parameters() if p.requires_grad]
    gradients, largest = sum(p.nbytes for p in trained), max((p.nbytes for p in trained), default=0)
    return Ledger(weights_bytes=sum(t.nbytes for t in (*model.parameters(), *model.buffers())),
                  gradients_bytes=gradients,
                  optimizer_bytes=states * gradients + counter * len(trained),
                  activations_bytes=predict_activations(model, batch_size, tokens, law),
                  working_bytes=_working(optimizer, step, gradients, largest))


def _working(optimizer: str, step: str, trained_bytes: int, largest_bytes: int) -> int:
    """Return the bytes that an optimizer makes and drops within its step.

    In a loop over the tensors torch's Adam makes the root of the second moment and a quotient by
    it, for one tensor at a time; `foreach` makes all roots at once, and divides in place.
    """
    if step not in STEPS:
        raise unknown("step", step, STEPS)
    if OPTIMIZERS[optimizer][0] < 2 or step == "fused":
        return 0
    return trained_bytes if step == "foreach" else 2 * largest_bytes


def predict_activations(model: nn.Module, batch_size: int, tokens: int,
                        law: Law | None = None) -> int:
    """Predict `activations` of a batch from four tiny ones: see `activation_law`."""
    sizes = (1, batch_size, batch_size * tokens, batch_size * tokens**2)
    return round(sum(c * size for c, size in zip(law or activation_law(model), sizes)))


def activation_law(model: nn.Module) -> Law:
    """Return (c₀, c₁, c₂, c₃), measured on four tiny batches.

    Every saved tensor has one entry an example, a token, or a pair of tokens, so that

        bytes(batch, tokens) = c₀ + batch · (c₁ + c₂ tokens + c₃ tokens²)

    holds, and four measurements give the four numbers. Works on the meta device too, where a model
    has shapes but no numbers.
    """
    sizes = ((1, 8), (2, 8), (1, 16), (1, 32))
    bytes_ = torch.tensor([activations(model, _batch(model, b, t)) for b, t in sizes],
                          dtype=torch.float64)
    rows = torch.tensor([[1, b, b * t, b * t * t] for b, t in sizes], dtype=torch.float64)
    return tuple(torch.linalg.solve(rows, bytes_).tolist())


def activations(model: nn.Module, batch: dict[str, Tensor]) -> int:
    """Run one forward pass in training mode; return the bytes that autograd saves in it.

    Weights that are saved are not counted, and views of one tensor count once. The random
    generator and the model's mode are put back.
    """
    check(model, batch, labelled=False)
    devices = [p.device for p in model.parameters() if p.is_cuda][:1]
    with (models.in_mode(model, training=True), torch.enable_grad(),
          torch.random.fork_rng(devices), saved(model) as found):
        out = model(**batch)              # alive until counted: no address is used twice
    del out
    return sum(found.values())


@contextmanager
def saved(model: nn.Module) -> Iterator[dict[int | None, int]]:
    """Count what autograd saves inside of the block, in bytes, each piece of memory once.

    What belongs to the model itself, as its weights do, is left out. A graph that is dropped inside
    of the block may leave its memory to the next one, which then counts as the same piece.
    """
    known = {storage_of(p) for p in (*model.parameters(), *model.buffers())}
    found: dict[int | None, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if storage_of(tensor) not in known:
            found[storage_of(tensor)] = tensor.untyped_storage().nbytes()
        return tensor.detach()    # a layer that keeps its own output would keep itself alive

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield found


def storage_of(tensor: Tensor) -> int | None:
    """Return a number for the memory that a tensor shares with its views; None of a sparse one."""
    return tensor.untyped_storage()._cdata if tensor.layout == torch.strided else None


def _batch(model: nn.Module, batch_size: int, tokens: int) -> dict[str, Tensor]:
    """Return a batch of that shape, every token real; labels where the model takes them."""
    if not hasattr(model, "config"):
        raise NotSupported(f"What {kind_of(model)} reads is not known.",
                           expected="a model of transformers'",
                           hint="account.activations(model, batch) with a batch of your own")
    classifies, device = models.head(model), next(model.parameters()).device
    ids = torch.arange(batch_size * tokens, device=device).reshape(batch_size, tokens)
    ids = ids % (models.config_of(model).vocab_size - 1) + 1          # 0 may be the padding
    batch = {"input_ids": ids}
    if device.type != "meta":    # there, transformers could not look into a mask
        batch["attention_mask"] = torch.ones_like(ids)
    if classifies:
        batch["labels"] = torch.zeros(batch_size, dtype=torch.long, device=device)
    elif models.is_language_model(model):    # it learns its own text
        batch["labels"] = ids
    return batch


def _sizes(model: nn.Module) -> dict[str, int]:
    """Return how many numbers each parameter holds; a 4-bit weight, which is none, is counted."""
    sizes = {plain_name(model, name): p.numel() for name, p in model.named_parameters()}
    return sizes | {plain_name(model, name) + ".weight": layer.in_features * layer.out_features
                    for name, layer in models.quantized(model).items()}
