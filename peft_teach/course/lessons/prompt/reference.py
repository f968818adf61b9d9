"""The reference: what the solution notebook answers; written by `peft-teach build`."""

import torch


# ── prompt.front ─────────────────────────────────────────────────────────────────────────────

class SoftPrompt(torch.nn.Module):
    def __init__(self, model: torch.nn.Module, start: torch.Tensor):
        super().__init__()
        self.model = model.requires_grad_(False)
        self.P = torch.nn.Parameter(start.detach().clone())

    def forward(self, input_ids, attention_mask, labels=None):
        length, pad = len(self.P), torch.nn.functional.pad
        x = self.model.get_input_embeddings()(input_ids)
        x = torch.cat([self.P.expand(len(x), -1, -1), x], dim=1)
        mask = pad(attention_mask, (length, 0), value=1)
        if labels is not None:
            labels = pad(labels, (length, 0), value=-100)
        out = self.model(inputs_embeds=x, attention_mask=mask, labels=labels)
        out.logits = out.logits[:, length:]
        return out


# ── prompt.holds ─────────────────────────────────────────────────────────────────────────────

def places_kept(prompt_class, fresh):
    model, front = fresh(), torch.tensor([[3, 7, 1], [3, 7, 1]])
    ids = torch.tensor([[5, 2, 9, 4, 8], [0, 0, 6, 1, 12]])    # one padded
    mask = (ids > 0).long()
    labels = torch.where(torch.arange(5) >= 3, ids, -100)
    right = model(torch.cat([front, ids], 1),
                  attention_mask=torch.cat([torch.ones_like(front), mask], 1),
                  labels=torch.cat([torch.full_like(front, -100), labels], 1))
    start = model.get_input_embeddings()(front[0]).detach()
    found = prompt_class(fresh(), start)(ids, mask, labels)
    real = mask.bool()
    assert found.logits.shape[1] == ids.shape[1]
    assert torch.allclose(found.logits[real], right.logits[:, 3:][real], atol=1e-5)
    assert torch.allclose(found.loss, right.loss, atol=1e-5)


# ── prompt.places ────────────────────────────────────────────────────────────────────────────

def first_and_last(h: torch.Tensor, attention_mask: torch.Tensor, length: int):
    rows, seq = torch.arange(len(h), device=h.device), attention_mask.shape[1]
    first = attention_mask.argmax(1)
    last = seq - 1 - attention_mask.flip(1).argmax(1)
    return h[rows, length + first], h[rows, length + last]


# ── prompt.snap ──────────────────────────────────────────────────────────────────────────────

def snap(P: torch.Tensor, E: torch.Tensor, t: float = 1.0):
    tokens = torch.cdist(P, E).argmin(1)
    return tokens, (1 - t) * P + t * E[tokens]
