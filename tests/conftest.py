"""Tiny random models (`tiny.py`) and batches for them, as fixtures."""

import pytest
import torch
from tiny import VOCAB, build


@pytest.fixture(scope="session")
def tiny():
    """Give `build`: `tiny("bert", "classifier", seed=0)`."""
    return build


@pytest.fixture(scope="session")
def inputs():
    """Give a function: model → a batch of 4 rows, padded on one side, with labels on request."""
    def make(model, padding="right", labels=True, seed=1):
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(3, VOCAB, (4, 11), generator=generator)
        mask = torch.ones_like(ids)
        for row, pads in enumerate((0, 3, 5, 1)):
            mask[row, (slice(0, pads) if padding == "left" else slice(11 - pads, 11))] = 0
        ids[mask == 0] = model.config.pad_token_id
        batch = {"input_ids": ids, "attention_mask": mask}
        if labels and type(model).__name__.endswith("ForSequenceClassification"):
            batch["labels"] = torch.tensor([0, 2, 1, 2])
        elif labels and hasattr(model, "lm_head"):
            batch["labels"] = ids.masked_fill(mask == 0, -100)
        return batch
    return make
