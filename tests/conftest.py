"""Tiny random models (`tiny.py`) and batches for them, as fixtures; which tests are quick.

Nothing heavy is imported before a test asks for it: the process that hands out the tests reads this
file, too, and the others wait for it.
"""

import pytest
import quick


def pytest_ignore_collect(collection_path, config):
    """Leave all other files out of `pytest -m quick`: to collect them takes as long as it does."""
    if config.option.markexpr == "quick" and collection_path.is_file():
        return _path(collection_path, config) not in quick.FILES or None
    return None


def pytest_collection_modifyitems(items, config):
    """Mark the quick tests."""
    for item in items:
        if _path(item.path, config) in quick.FILES and not item.get_closest_marker("long"):
            item.add_marker("quick")


def _path(path, config) -> str:
    return path.relative_to(config.rootpath).as_posix()


@pytest.fixture
def reader_folder(tmp_path, monkeypatch):
    """The folder in which a reader works."""
    monkeypatch.setenv("PEFT_TEACH_WORK", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def tiny():
    """Give `build`: `tiny("bert", "classifier", seed=0)`."""
    from tiny import build

    return build


@pytest.fixture(scope="session")
def inputs():
    """Give a function: model → a batch of 4 rows, padded on one side, with labels on request."""
    import torch
    from tiny import VOCAB

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
