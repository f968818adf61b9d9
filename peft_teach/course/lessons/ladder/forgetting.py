"""What a model forgets: do the sentences of one text still lie near each other?

MiniLM was trained for that: the mean of a sentence's hidden states is its vector, and sentences
that stood near each other in a text have near vectors. So of editorials, none of which any rung
trained on, we ask how often a sentence's nearest neighbour is from its own.
"""

import torch
from torch import Tensor

from .... import data, models
from ....progress_bar import bar

EDITORIALS = 100


def editorials() -> tuple[list[str], Tensor]:
    """Return the sentences of the first editorials, and each one's editorial as a number."""
    rows = data.documents("news")
    numbers = {name: i for i, name in enumerate(dict.fromkeys(name for _, name in rows))}
    kept = [(text, numbers[name]) for text, name in rows if numbers[name] < EDITORIALS]
    return [text for text, _ in kept], torch.tensor([number for _, number in kept])


@torch.no_grad()
def vectors(model, texts: list[str], tokenizer) -> Tensor:
    """Return each sentence's vector, (sentences, d_model): the mean of its last hidden states."""
    found = []
    batches = data.batches([(text, 0) for text in texts], tokenizer, 64, shuffle=False)
    with models.in_mode(model, training=False):
        for batch in bar(batches, "reading"):
            mask = batch["attention_mask"]                            # (batch, seq)
            hidden = model.base_model(batch["input_ids"], attention_mask=mask)[0]
            found.append((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
    return torch.cat(found)


def neighbours(vectors: Tensor, documents: Tensor) -> float:
    """Return how often a sentence's nearest other one, by cosine, is from its own document.

    Sentences that are alone in theirs are not asked.
    """
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    near = unit @ unit.T                                              # (sentences, sentences)
    near.fill_diagonal_(-2)
    hit = documents[near.argmax(1)] == documents
    asked = torch.bincount(documents)[documents] > 1
    return float(hit[asked].float().mean())


def without_top(vectors: Tensor) -> Tensor:
    """Return vectors without the one direction in which they differ most."""
    u = torch.linalg.svd(vectors - vectors.mean(0), full_matrices=False)[2][0]    # (d_model,)
    return vectors - (vectors @ u)[:, None] * u


def blend(before: dict[str, Tensor], after: dict[str, Tensor], f: float) -> dict[str, Tensor]:
    """Return the weights at `f` of the way from before to after; beyond 1 they overshoot."""
    return {name: W + f * (after[name] - W) if W.is_floating_point() else W
            for name, W in before.items()}
