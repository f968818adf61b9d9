"""Versions of a soft prompt, to test a test of it: some keep the text's places, mutants do not.

All are one class with one thing changed, so that a version is broken in nothing else.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...checks.stand_ins import Output

Ends = Callable[[Tensor, Tensor], Tensor]    # (P's part, the text's) -> both


def _front(own: Tensor, text: Tensor) -> Tensor:
    return torch.cat([own, text], 1)


def _behind(own: Tensor, text: Tensor) -> Tensor:
    return torch.cat([text, own], 1)


def prompt(
    put: Ends = _front,
    mask: Ends = _front,
    label: Ends = _front,
    in_mask: int = 1,
    in_labels: int = -100,
    cut: Callable[[Tensor, int, int], Tensor] = lambda logits, length, seq: logits[:, length:],
    positions: Callable[[int, int], Tensor | None] = lambda length, seq: None,
    begin: Callable[[nn.Module], nn.Module] = lambda model: model,
    own_output: bool = False,
    clears_padding: bool = False,
) -> Callable[[nn.Module, Tensor], nn.Module]:
    """Return a soft prompt's class; each argument is one of its decisions."""
    class Version(nn.Module):
        def __init__(self, model: nn.Module, start: Tensor):
            super().__init__()
            self.model = begin(model).requires_grad_(False)
            self.P = nn.Parameter(start.detach().clone())

        def forward(self, input_ids, attention_mask=None, labels=None):
            batch, seq = input_ids.shape
            length = len(self.P)
            x = self.model.get_input_embeddings()(input_ids)
            own = torch.ones(batch, length, dtype=torch.long)
            given = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            both = None if labels is None else label(own * in_labels, labels)
            out = self.model(inputs_embeds=put(self.P.expand(batch, -1, -1), x), labels=both,
                             attention_mask=mask(own * in_mask, given),
                             position_ids=positions(length, seq))
            logits = cut(out.logits, length, seq)
            if clears_padding:
                logits = logits * given.unsqueeze(-1)
            if own_output:
                return Output(loss=out.loss, logits=logits)
            out.logits = logits
            return out

    return Version


def _exchanged(logits: Tensor, length: int, seq: int) -> Tensor:
    order = torch.arange(seq)
    middle = slice(max(0, seq // 2 - 1), seq // 2 + 1)
    order[middle] = order[middle].flip(0)
    return logits[:, length:][:, order]


RIGHT = {
    "gives the model's own output": prompt(),
    "makes an output of its own": prompt(own_output=True),
    "counts the positions itself": prompt(
        positions=lambda length, seq: torch.arange(length + seq)[None]),
    "works on a copy of the model": prompt(begin=copy.deepcopy),
    "leaves zeros at the padding": prompt(clears_padding=True),
}
BROKEN = {
    "puts the labels' filling behind them": prompt(label=_behind),
    "asks for a word at the prompt's places": prompt(in_labels=0),
    "lets padding in front of the words be seen": prompt(    # behind them, none could look at it
        mask=lambda own, text: torch.ones_like(_front(own, text))),
    "puts the mask's filling behind it": prompt(mask=_behind),
    "keeps the first places, not the text's": prompt(
        cut=lambda logits, length, seq: logits[:, :seq]),
    "is one place off": prompt(cut=lambda logits, length, seq: logits[:, length - 1:-1]),
    "keeps the prompt's places too": prompt(cut=lambda logits, length, seq: logits),
    "hides the prompt from the text": prompt(in_mask=0),
    "lets the text begin at position 0 again": prompt(positions=lambda length, seq: torch.cat(
        [torch.arange(length), torch.arange(seq)])[None]),
    "gives two tokens in the middle each other's logits": prompt(cut=_exchanged),
    "puts the prompt behind the text": prompt(
        put=_behind, mask=_behind, label=_behind, cut=lambda logits, length, seq: logits[:, :seq]),
}
