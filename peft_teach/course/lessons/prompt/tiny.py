"""The smallest language model that a prompt can be put before, called as transformers' are."""

from types import SimpleNamespace

import torch
from torch import Tensor, nn

from ...check.standin import Output

LONGEST = 64     # positions


class Tiny(nn.Module):
    """Words and positions, one head of causal attention, and logits of the next word.

    As a model of transformers it takes token ids or embedded words, counts positions from 0 unless
    they are given, and computes its own loss: the label at a place is for the logits before it.
    """

    def __init__(self, words: int = 13, width: int = 6, seed: int = 0, scale: float = 1.0):
        super().__init__()
        self.embed_tokens = Words(words, width, scale)
        self.positions = nn.Embedding(LONGEST, width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.lm_head = nn.Linear(width, words)
        self.config = SimpleNamespace(vocab_size=words, hidden_size=width)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=generator))
        self.eval()

    def forward(self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None,
                position_ids: Tensor | None = None, inputs_embeds: Tensor | None = None,
                labels: Tensor | None = None, **rest) -> Output:
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("You must specify exactly one of input_ids or inputs_embeds")
        x = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        seq = x.shape[1]                                                  # x is (batch, seq, width)
        if attention_mask is not None and attention_mask.shape != x.shape[:2]:
            raise ValueError(f"attention_mask {tuple(attention_mask.shape)} and input "
                             f"{tuple(x.shape[:2])} do not match")
        if labels is not None and labels.shape != x.shape[:2]:
            raise ValueError(f"labels {tuple(labels.shape)} and input {tuple(x.shape[:2])} do not "
                             "match")
        if position_ids is None:
            position_ids = torch.arange(seq)[None]
        if position_ids.dim() != 2:
            raise ValueError(f"position_ids {tuple(position_ids.shape)} must be (batch, {seq})")
        h = x + self.positions(position_ids)
        seen = torch.ones(seq, seq, dtype=torch.bool).tril()              # (seq, seq)
        if attention_mask is not None:
            seen = seen & attention_mask.bool()[:, None, :]               # (batch, seq, seq)
        scores = self.query(h) @ self.key(h).transpose(-1, -2) / h.shape[-1] ** 0.5
        # A padding token on the left sees nothing: it attends to all alike, and nobody reads it.
        weights = scores.masked_fill(~seen, torch.finfo(scores.dtype).min).softmax(-1)
        logits = self.lm_head(torch.tanh(h + weights @ self.value(h)))    # (batch, seq, words)
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1),
                                               labels[:, 1:].flatten(), ignore_index=-100)
        return Output(loss=loss, logits=logits, past_key_values=None, hidden_states=None,
                      attentions=None)

    def get_input_embeddings(self) -> nn.Module:
        """Return what turns token ids into vectors."""
        return self.embed_tokens

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return self.lm_head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of what its parameters are."""
        return self.lm_head.weight.dtype


class Words(nn.Embedding):
    """Word vectors, times a number, as Gemma's are."""

    def __init__(self, words: int, width: int, scale: float):
        super().__init__(words, width)
        self.scale = scale

    def forward(self, input_ids: Tensor) -> Tensor:
        return super().forward(input_ids) * self.scale


def batch_of(seed: int, side: str, batch: int = 3, seq: int = 5, words: int = 13,
             asked: int = 2, pad: int = 0) -> dict[str, Tensor]:
    """Return random text, padded on a side, whose last `asked` words of each row have labels.

    Padding is the token `pad`. If it is another than 0, then 0 is a word, and each text's last but
    one.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, words, (batch, seq), generator=generator)
    if pad:
        ids[:, -2] = 0
    mask, labels = torch.ones_like(ids), torch.full_like(ids, -100)
    for i in range(batch):
        missing = i % (seq - 2)
        real = slice(missing, seq) if side == "left" else slice(0, seq - missing)
        mask[i] = 0
        mask[i, real] = 1
        labels[i, real] = torch.where(torch.arange(seq - missing) >= seq - missing - asked,
                                      ids[i, real], -100)
    ids = torch.where(mask.bool(), ids, pad)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
