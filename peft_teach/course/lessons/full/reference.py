"""The reference: what the solution notebook answers; written by `peft-teach build`."""

import torch
import peft_teach as pt


# ── full.accuracy ────────────────────────────────────────────────────────────────────────────

def accuracy(model, batches) -> float:
    model.eval()
    right = count = 0
    with torch.no_grad():
        for batch in batches:
            chosen = model(**batch).logits.argmax(-1)       # (batch,)
            right += (chosen == batch["labels"]).sum().item()
            count += len(chosen)
    return right / count


# ── full.step ────────────────────────────────────────────────────────────────────────────────

def step(model, batch, optimizer) -> float:
    model.train()
    loss = model(**batch).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


# ── full.frozen_stays ────────────────────────────────────────────────────────────────────────

def frozen_stays(train, model):
    before = {name: p.detach().clone() for name, p in model.named_parameters()
              if not p.requires_grad}
    train(model)
    after = dict(model.named_parameters())
    for name, value in before.items():
        assert torch.equal(after[name], value), f"{name} is frozen, and has moved"


# ── full.head_only ───────────────────────────────────────────────────────────────────────────

def head_only(model) -> int:
    names = pt.models.head(model)
    for name, p in model.named_parameters():
        p.requires_grad_(name in names)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


# ── full.pair ────────────────────────────────────────────────────────────────────────────────

first_run = {"reads": "pooler", "features": "standardized", "steps": 2500}
second_run = {"reads": "mean", "features": "standardized", "steps": 2500}
foretold = {"place": "apart", "steps": "together", "scale": "together"}


# ── full.culprits ────────────────────────────────────────────────────────────────────────────

culprits = {"A": 3, "B": 1, "C": 6}
