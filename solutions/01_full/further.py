"""Further cases of lesson 01, for the grader alone: odd batches, gradients of a middling size."""

import torch

WORDS = 12


def batches(seed: int, sizes: tuple[int, ...], length: int = 5) -> list[dict]:
    """Batches of these sizes: random words, a padded end in every third row, random labels."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for size in sizes:
        ids = torch.randint(1, WORDS, (size, length), generator=generator)
        mask = torch.ones_like(ids)
        mask[::3, length - 2:] = 0
        made.append({"input_ids": ids, "attention_mask": mask,
                     "labels": torch.randint(2, (size,), generator=generator)})
    return made


def accuracy() -> list[dict]:
    """A small batch in the middle, one sentence alone, all of one label, longer sentences."""
    cases = [{"seed": 901, "batches": batches(901, (6, 2, 6, 5)), "autograd": True},
             {"seed": 902, "batches": batches(902, (1,)), "autograd": False},
             {"seed": 903, "batches": batches(903, (1, 9, 4), length=9), "autograd": True}]
    one_label = batches(904, (5, 8))
    for batch in one_label:
        batch["labels"] = torch.ones_like(batch["labels"])
    return [*cases, {"seed": 904, "batches": one_label, "autograd": True}]


def step() -> list[dict]:
    """A norm above 1, though each tensor's is below it; one sentence a batch; the head alone."""
    return [{"seed": 911, "lr": 0.1, "scale": 1.0, "head_only": False,
             "batches": batches(911, (16, 16, 16))},
            {"seed": 912, "lr": 0.05, "scale": 2.0, "head_only": False,
             "batches": batches(912, (1, 1, 1))},
            {"seed": 913, "lr": 0.3, "scale": 0.5, "head_only": True,
             "batches": batches(913, (5, 2, 9), length=7)}]


def head() -> list[dict]:
    """Other widths, each from another state of what trains, with and without a bias."""
    return [{"seed": 921, "width": 9, "start": "backbone", "bias": True},
            {"seed": 922, "width": 3, "start": "all", "bias": False},
            {"seed": 923, "width": 1, "start": "none", "bias": False}]


def frozen() -> list[dict]:
    """The words alone train; half of the head, so that its bias is the smallest frozen; places."""
    return [{"seed": 931, "trains": ("bert.embeddings",)},
            {"seed": 932, "trains": ("bert.pooler", "classifier.weight")},
            {"seed": 933, "trains": ("bert.positions",)}]


CASES = {"full.accuracy": accuracy, "full.step": step, "full.head_only": head,
         "full.frozen_stays": frozen}
