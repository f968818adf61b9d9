"""What lesson 07 computes on the spot: gradients, one step, what a training costs, energies."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from types import SimpleNamespace

import pandas
import torch
from torch import Tensor, nn

from .... import spectra
from ....adapter import adapters
from ... import protocol, records

RANK, SCALE = 8, 2.0
MATRICES = {"weight": "W itself", "full": "ΔW of full fine-tuning", "64": "ΔW of rank 64, α = 16",
            "8": "ΔW of rank 8"}    # of the record


def first_gradients(base: nn.Linear) -> pandas.DataFrame:
    """Try four starts of a LoRA on a layer, with random inputs and a random target.

    In this order: both zero, only B, only A, none. The columns are the root mean square of what is
    added to an output, the norms of the gradients, and which of them are exactly zero.
    """
    W, b = base.weight.detach().float().cpu(), base.bias.detach().float().cpu()
    n_out, n_in = W.shape
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, n_in, generator=generator)
    target = torch.randn(64, n_out, generator=generator)
    found = {}
    for name, A_size, B_size in (("both zero", 0, 0), ("B zero", 1, 0), ("A zero", 0, 1),
                                 ("both random", 1, 1)):
        A = A_size * torch.randn(RANK, n_in, generator=generator) / n_in**0.5
        B = B_size * torch.randn(n_out, RANK, generator=generator) / RANK**0.5
        added = SCALE * (x @ A.requires_grad_().T) @ B.requires_grad_().T
        (x @ W.T + b + added - target).square().mean().backward()
        found[name] = {"an output moves by": added.square().mean().sqrt().item(),
                       "size of grad A": A.grad.norm().item(),
                       "size of grad B": B.grad.norm().item()}
    starts = pandas.DataFrame(found).T
    zero = starts[["size of grad A", "size of grad B"]] == 0
    return starts.assign(zero=["A" * A + "B" * B for A, B in zero.to_numpy().tolist()])


def bill(saved: Path) -> pandas.DataFrame:
    """Return what full fine-tuning costs, and LoRA of rank 8, whose file the reader saved."""
    costs, rows = records.load("ladder")["costs"], {}
    sizes = {"full": costs["full"]["file_bytes"],
             "lora 8": (saved / "adapter.safetensors").stat().st_size}
    for name, told in (("full", "full fine-tuning"), ("lora 8", "LoRA of rank 8")):
        cost, step = costs[name], costs[name]["step"] / costs["full"]["step"]
        rows[told] = {"memory while training, MB": f"{cost['memory_bytes'] / 1e6:.0f}",
                      "time of a step, full = 1": f"{step:.2f}",
                      "file of one more task, kB": f"{sizes[name] / 1000:,.0f}"}
    return pandas.DataFrame(rows).T


def share(row: Mapping) -> pandas.DataFrame:
    """Return R² of a run of LoRA 8 by the protocol, and its share of the gain.

    The gain goes from the head on the pooler, solved on what the methods' own heads read, to full
    fine-tuning. The other runs are recorded.
    """
    record = records.load("ladder")
    zero, on_mean = protocol.zeros(record).values()
    lora, full = (mean(each["r2"] for each in records.select(record, group="final", method=method))
                  for method in ("lora 8", "full"))
    found = pandas.Series({
        "the head on the pooler": zero,
        "the head on the mean": on_mean,
        "your LoRA 8": row["r2"], "LoRA 8, ten seeds": lora, "full fine-tuning, ten seeds": full})
    share = (found - zero) / (found.iloc[-1] - zero)
    return pandas.DataFrame({"R²": found.map("{:.3f}".format),
                             "share of the gain": share.map("{:.0%}".format)})


@contextmanager
def moving(model: nn.Module, batch: Mapping[str, Tensor]) -> Iterator[SimpleNamespace]:
    """Measure what a step inside does: the mean ‖ΔW‖ as `size`, and how far hidden states move.

    `moved` is a share of their length, mean over the real tokens. The model is moved to the batch's
    device, for layers that were just put on may lie elsewhere.
    """
    model.to(batch["attention_mask"].device)

    def hidden() -> Tensor:
        with torch.no_grad():
            return model.base_model(**{n: t for n, t in batch.items() if n != "labels"})[0]

    found, before = SimpleNamespace(), hidden()
    yield found
    real = batch["attention_mask"].bool()
    gap, length = (hidden() - before).norm(dim=-1), before.norm(dim=-1)
    found.moved = (gap / length)[real].mean().item()
    deltas = [layer.merged().weight - layer.base.weight for layer in adapters(model).values()]
    found.size = sum(delta.norm().item() for delta in deltas) / len(deltas)


def directions(record: Mapping, model: nn.Module) -> pandas.Series:
    """Return in how many directions 90 % of the energy lies, means over the adapted matrices.

    Of W and of recorded updates, and of those that the reader trained: `model`'s.
    """
    found = {name: [torch.tensor(matrix["sigma"]) for matrix in record["spectra"][run].values()]
             for run, name in MATRICES.items()}
    found["ΔW of yours"] = [spectra.singular_values(layer.merged().weight - layer.base.weight)
                            for layer in adapters(model).values()]
    return pandas.Series({name: mean(map(spectra.energy_rank, sigmas))
                          for name, sigmas in found.items()}, name="directions")
