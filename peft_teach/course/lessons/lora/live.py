"""What lesson 07 computes on the spot: gradients, one step, answers, what a training costs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pandas
import torch
from torch import Tensor, nn

from .... import account, core, data, methods, models
from ... import records

RANK, SCALE = 8, 2.0


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
                       "‖grad A‖": A.grad.norm().item(), "‖grad B‖": B.grad.norm().item()}
    starts = pandas.DataFrame(found).T
    zero = starts[["‖grad A‖", "‖grad B‖"]] == 0
    return starts.assign(zero=["A" * A + "B" * B for A, B in zero.to_numpy().tolist()])


def placed(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a batch where the lesson computes."""
    return {name: t.to(models.best_device()) for name, t in batch.items()}


@torch.no_grad()
def logits(model: nn.Module, batches: list[dict[str, Tensor]]) -> Tensor:
    """Return the logits of all sentences of some batches, (sentences, classes), on the CPU."""
    device = next(model.parameters()).device
    return torch.cat([model(**{name: t.to(device) for name, t in batch.items()
                               if name != "labels"}).logits.float().cpu() for batch in batches])


def read(model: nn.Module, tokenizer, text: str,
         before: pandas.DataFrame | None = None) -> pandas.DataFrame:
    """Return what the model makes of a text, below what it made of it `before`."""
    negative, positive = logits(model, [tokenizer([text], return_tensors="pt")]).softmax(-1)[0]
    row = {"negative": f"{negative:.0%}", "positive": f"{positive:.0%}"}
    when = "before training" if before is None else "after training"
    return pandas.concat([before, pandas.DataFrame(row, index=[when])])


def changed_answers(model: nn.Module, domain: data.Dataset, tokenizer,
                    examples: int = 512) -> pandas.DataFrame:
    """Return which of the first test sentences a classifier answers otherwise than the head alone.

    The head alone is the recorded one, trained to its end, at which the share of the gain begins.
    """
    row, = records.select(records.load("full"), group="answers")
    tests = domain.test[:examples]
    mine = logits(model, data.batches(tests, tokenizer, 64, shuffle=False)).argmax(1).tolist()
    return pandas.DataFrame(
        [(text[:90], label, head, own, "gained" if own == label else "lost")
         for (text, label), own, head in zip(tests, mine, map(int, row["answers"])) if own != head],
        columns=["sentence", "truth", "head alone", "yours", ""])


def bill(record: Mapping, model: nn.Module, saved: Path) -> pandas.DataFrame:
    """Return what full fine-tuning and the reader's trained LoRA cost, in MB, ms and kB."""
    full, _ = models.load("minilm", labels=2)
    full = methods.full.inject(full, methods.full.Config("all"))
    files = {"full": full.num_parameters() * 4,
             "lora": sum(file.stat().st_size for file in saved.iterdir())}
    rows = {}
    for name, trained in (("full", full), ("lora", model)):
        cost = record["cost"][name]
        rows[{"full": "full fine-tuning", "lora": "LoRA of rank 8"}[name]] = {
            "added while training, MB": cost["peak_mb"] - cost["loaded_mb"],
            "of it activations (ledger), MB": account.ledger(trained).activations_bytes / 1e6,
            "whole process, MB": cost["peak_mb"], "one step, ms": cost["step_ms"],
            "file of one more task, kB": files[name] / 1000}
    return pandas.DataFrame(rows).T.map("{:,.0f}".format)


@contextmanager
def moving(model: nn.Module, batch: Mapping[str, Tensor]) -> Iterator[SimpleNamespace]:
    """Measure what a step inside does: the mean ‖ΔW‖ as `size`, and how far hidden states move.

    `moved` is a share of their length, mean over the real tokens.
    """
    def hidden() -> Tensor:
        with torch.no_grad():
            return model.base_model(**{n: t for n, t in batch.items() if n != "labels"})[0]

    found, before = SimpleNamespace(), hidden()
    yield found
    real = batch["attention_mask"].bool()
    gap, length = (hidden() - before).norm(dim=-1), before.norm(dim=-1)
    found.moved = (gap / length)[real].mean().item()
    deltas = [layer.merged().weight - layer.base.weight for layer in core.adapters(model).values()]
    found.size = sum(delta.norm().item() for delta in deltas) / len(deltas)


def nearest(answers: Mapping[float, str], ratio: float) -> str:
    """Return the answer whose ratio comes nearest, by factors."""
    return answers[min(answers, key=lambda each: max(each / ratio, ratio / each))]


def compare_outputs(model: nn.Module, batches: list[dict[str, Tensor]],
                    others: Mapping[str, nn.Module]) -> pandas.DataFrame:
    """Return how far the logits of other models are from the first one's, and what it changes."""
    exact, rows = logits(model, batches), {}
    for name, other in others.items():
        found = logits(other, batches)
        off = (found - exact).abs()
        rows[name] = {"logits off by, on average": f"{off.mean():.1e}",
                      "at most": f"{off.max():.1e}",
                      f"answers of {len(exact)} that differ": int(
                          (found.argmax(1) != exact.argmax(1)).sum())}
    return pandas.DataFrame(rows).T
