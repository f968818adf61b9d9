"""Further cases of lesson 03, for the grader alone: scaled words, one text, no room, no way."""

import torch
from torch import Tensor

from peft_teach.course.checks.judge import draw


def text(seed: int, batch: int, seq: int, missing: int, pad: int) -> dict[str, Tensor]:
    """Text whose first row is padded on the left; the last two words have labels.

    If padding is another token than 0, then 0 is each row's last word but two.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 13, (batch, seq), generator=generator)
    mask, labels = torch.ones_like(ids), ids.clone()
    if pad:
        ids[:, -3] = 0
    ids[0, :missing], mask[0, :missing] = pad, 0
    labels[:, :-2] = -100
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def front() -> list[dict]:
    """Scaled word vectors; one text alone; a prompt longer than its text, where 0 is a word."""
    return [{"length": length, "seed": seed, "scale": scale, "start": draw(seed, length, 6),
             "P": draw(seed + 1, length, 6), **text(seed + 2, batch, seq, missing, pad)}
            for seed, length, batch, seq, missing, scale, pad in (
                (61, 3, 2, 6, 2, 2.5, 0), (71, 2, 1, 5, 0, 1.0, 0), (81, 9, 3, 4, 1, 1.0, 7))]


def places() -> list[dict]:
    """One text alone; texts of one token, on either side."""
    one = torch.zeros(3, 5, dtype=torch.long)
    one[:, 0] = 1
    masks = ((2, torch.ones(1, 4, dtype=torch.long), "none"), (3, one, "right"),
             (1, one.flip(1), "left"))
    return [{"h": draw(90 + length, len(mask), length + mask.shape[1], 4), "attention_mask": mask,
             "length": length, "side": side} for length, mask, side in masks]


def snap() -> list[dict]:
    """No way at all; vectors that are tokens; a way beyond the token."""
    E = draw(111, 30, 5)
    return [{"P": draw(112, 4, 5), "E": E, "t": 0.0}, {"P": E[[3, 8]].clone(), "E": E, "t": 0.7},
            {"P": draw(113, 3, 5), "E": E, "t": 1.5}]


CASES = {"prompt.front": front, "prompt.places": places, "prompt.snap": snap}
