"""Tiny models that stand in for real ones in the checks: they are called alike, and run in no time.

    Output               what a model of transformers returns
    TinyClassifier       sentences to two logits; it writes down how it is used
    Tiny                 blocks and a head, for what puts adapters into a model
    TinyDecoder          rotary positions, and keys and values that are handed on
    TinyLanguageModel    takes ids or vectors, and computes its own loss
    TinyEncoder          the names of a BERT
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

# ── what they return ──────────────────────────────────────────────────────────────────────────


class Output(dict):
    """An output read by attribute, key, index or slice, and set by attribute or key.

    As with transformers' outputs, what is set in one way is read in the other, too.
    An entry that is None is an attribute, but has no key and no index: without labels, `out[0]` is
    the logits. Source: `ModelOutput` in transformers/utils/generic.py.
    """

    def __init__(self, **entries: Any):
        super().__init__({name: value for name, value in entries.items() if value is not None})
        vars(self).update(entries)

    def __getitem__(self, key: str | int | slice) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else self.to_tuple()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        super().__setattr__(key, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self and value is not None:
            super().__setitem__(name, value)
        super().__setattr__(name, value)

    def to_tuple(self) -> tuple[Any, ...]:
        """Return the entries that are not None, in order."""
        return tuple(self.values())


# ── a classifier ──────────────────────────────────────────────────────────────────────────────

LONGEST_SENTENCE = 16    # tokens


class TinyBackbone(nn.Module):
    """Words and positions, averaged over the real tokens, and a pooler: what lies under a head."""

    def __init__(self, width: int):
        super().__init__()
        self.embeddings = nn.Embedding(12, width)
        self.positions = nn.Embedding(LONGEST_SENTENCE, width)
        self.pooler = nn.Linear(width, width)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask.unsqueeze(-1).to(self.embeddings.weight.dtype)
        x = self.embeddings(input_ids) + self.positions.weight[:input_ids.shape[1]]
        mean = (x * mask).sum(1) / mask.sum(1)                              # (batch, width)
        return self.pooler(mean).tanh()


class TinyClassifier(nn.Module):
    """A model with a head that writes down in `events` how it is used."""

    def __init__(self, width: int = 6, seed: int = 0, head_bias: bool = True):
        super().__init__()
        self.bert = TinyBackbone(width)
        self.classifier = nn.Linear(width, 2, bias=head_bias)
        self.events: list[str] = []
        self.modes_seen: list[set[bool]] = []     # of all its parts, at each call
        self.grad_seen: list[bool] = []
        self.on_backward = lambda: None           # called when a backward pass begins
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=generator))
            self.bert.positions.weight.mul_(0.1)      # or all sentences would look alike
        self.eval()                                   # as models.load gives it

    def forward(self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None,
                labels: Tensor | None = None, features: Tensor | None = None):
        """Answer sentences, or features (batch, width) of them that were computed before."""
        self.events.append("forward")
        self.modes_seen.append({part.training for part in self.modules()})
        self.grad_seen.append(torch.is_grad_enabled())
        if features is None:
            features = self.bert(input_ids, attention_mask)                 # (batch, width)
        logits = self.classifier(features)                                  # (batch, 2)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        if logits.requires_grad:      # not on the loss: a learner may compute it from the logits
            logits.register_hook(self._heard)
        return Output(loss=loss, logits=logits)

    def _heard(self, gradient: Tensor) -> None:
        self.events.append("backward")
        self.on_backward()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients, and write it down."""
        self.events.append("zero")
        super().zero_grad(set_to_none)

    @property
    def base_model(self) -> TinyBackbone:
        """The backbone, under the name that every model of transformers has for it."""
        return self.bert

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return self.classifier.weight.device

    def num_parameters(self, only_trainable: bool = False) -> int:
        """Count its numbers, or those that train."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad or not only_trainable)


# ── blocks and a head ─────────────────────────────────────────────────────────────────────────


class Tiny(nn.Module):
    """Two blocks and a head: token ids (batch, seq) to logits (batch, 2).

    A block holds a `query`, its norm, `query_norm`, and a `value`.
    """

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.blocks = nn.ModuleList(Block(6) for _ in range(2))
        self.classifier = nn.Linear(6, 2)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.embedding(input_ids)                                 # (batch, seq, width)
        for block in self.blocks:
            x = block(x)
        return self.classifier(x.mean(1))                             # (batch, 2)


class Block(nn.Module):
    """Queries, normalized, and values, added to what came in."""

    def __init__(self, width: int):
        super().__init__()
        self.query = nn.Linear(width, width)
        self.query_norm = nn.LayerNorm(width)
        self.value = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(self.query_norm(self.query(x))) * self.value(x)


# ── a decoder ─────────────────────────────────────────────────────────────────────────────────

Pairs = list[tuple[Tensor, Tensor]]    # a layer each: keys and values, (batch, heads, held, width)


class TinyDecoder:
    """A frozen random decoder with rotary positions; every token and position matters."""

    def __init__(self, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        self.heads, self.width, self.layers, d, vocabulary = 2, 6, 2, 12, 41
        self.table = torch.randn(vocabulary, d, generator=generator)
        self.weights = torch.randn(self.layers, 4, d, d, generator=generator) / d**0.5
        self.weights[:, :2] *= 1.6
        self.out = torch.randn(d, vocabulary, generator=generator)

    def __call__(self, ids: Tensor, positions: Tensor, pairs: Pairs | None,
                 reaches: Callable[[int, int], Tensor] | None = None) -> tuple[Tensor, Pairs]:
        """Read ids (batch, tokens) after what the pairs hold; return logits and the longer pairs.

        `positions` are (tokens,) or (batch, tokens). `reaches(held, tokens)` is the mask, (tokens,
        held + tokens): by default a token reads all that is held, and the piece up to itself.
        """
        x = self.table[ids]                                               # (batch, tokens, d)
        if positions.ndim == 1:
            positions = positions[None]
        grown = []
        for layer, (Q, K, V, O) in enumerate(self.weights):
            q, k, v = (self._heads(x @ W) for W in (Q, K, V))
            q, k = self._turned(q, positions), self._turned(k, positions)
            if pairs is not None:
                k, v = (torch.cat([old.expand(len(x), -1, -1, -1), new], 2)
                        for old, new in zip(pairs[layer], (k, v)))
            grown.append((k, v))
            tokens, held = x.shape[1], k.shape[2] - x.shape[1]
            mask = (reaches or backward)(held, tokens)
            scores = (q @ k.mT / self.width**0.5).masked_fill(~mask, -torch.inf)
            read = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
            x = x + torch.tanh(read @ O)
        return torch.nn.functional.layer_norm(x, x.shape[-1:]) @ self.out, grown

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, self.width)).transpose(1, 2)

    def _turned(self, x: Tensor, positions: Tensor) -> Tensor:
        """Rotate by the position (Su et al. 2021, arXiv 2104.09864)."""
        half = self.width // 2
        angle = positions[:, None, :, None].float() / 4.0**torch.arange(half)
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


def backward(held: int, tokens: int) -> Tensor:
    """Return the mask of a piece of so many tokens, none of which reads a later one."""
    return torch.ones(tokens, held + tokens, dtype=torch.bool).tril(held)


def drawn_pairs(decoder: TinyDecoder, length: int, seed: int, batch: int = 1) -> Pairs:
    """Return a random prefix of this length for a decoder."""
    generator = torch.Generator().manual_seed(500 + seed)
    shape = (batch, decoder.heads, length, decoder.width)
    return [(torch.randn(shape, generator=generator), torch.randn(shape, generator=generator))
            for _ in range(decoder.layers)]


def held_in(pairs: Pairs | None) -> int:
    """Return how many tokens the pairs hold, including those of the prefix."""
    return 0 if pairs is None else pairs[0][0].shape[2]


# ── a language model ──────────────────────────────────────────────────────────────────────────

LONGEST_TEXT = 64    # positions


class TinyLanguageModel(nn.Module):
    """Words and positions, one head of causal attention, and logits of the next word.

    As a model of transformers it takes token ids or embedded words, counts positions from 0 unless
    they are given, and computes its own loss: the label at a position is for the logits before it.
    """

    def __init__(self, seed: int = 0, scale: float = 1.0):
        super().__init__()
        words, width = 13, 6
        self.embed_tokens = ScaledEmbedding(words, width, scale)
        self.positions = nn.Embedding(LONGEST_TEXT, width)
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
        """The dtype of its parameters."""
        return self.lm_head.weight.dtype


class ScaledEmbedding(nn.Embedding):
    """Word vectors, times a number, as Gemma's are."""

    def __init__(self, words: int, width: int, scale: float):
        super().__init__(words, width)
        self.scale = scale

    def forward(self, input_ids: Tensor) -> Tensor:
        return super().forward(input_ids) * self.scale


# ── an encoder ────────────────────────────────────────────────────────────────────────────────


class EncoderBlock(nn.Module):
    """An attention without attention: its names are a BERT's, one of which ends like another."""

    def __init__(self, width: int):
        super().__init__()
        self.attention = nn.ModuleDict({
            "query": nn.Linear(width, width), "query_norm": nn.LayerNorm(width),
            "subquery": nn.Linear(width, width),
            "output": nn.ModuleDict({"dense": nn.Linear(width, width)})})
        self.output = nn.ModuleDict({"dense": nn.Linear(width, width)})

    def forward(self, x: Tensor) -> Tensor:
        query = self.attention["query"](x) + self.attention["subquery"](x)
        query = self.attention["query_norm"](query)
        x = x + self.attention.get_submodule("output.dense")(query.tanh())
        return x + self.output["dense"](x.tanh())


class TinyEncoder(nn.Module):
    """Blocks and a head: x (batch, width) to logits (batch, 2)."""

    def __init__(self, blocks: int = 2, width: int = 6, seed: int = 0):
        super().__init__()
        self.layer = nn.ModuleList(EncoderBlock(width) for _ in range(blocks))
        self.classifier = nn.Linear(width, 2)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=generator) / p.shape[-1]**0.5)
        self.requires_grad_(False).classifier.requires_grad_(True)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.layer:
            x = block(x)
        return self.classifier(x)
