"""Initialization from words: a prompt or a prefix starts as what the frozen model makes of them.

    start         prompt: rows of P                             prefix: K and V
    "text"        the embeddings of the words                   what each layer computes for them
    "labels"      one mean embedding a label, the rest sampled  –
    "vocabulary"  sampled from the most common tokens           –

A text is repeated or cut to the length. The words go through the model itself, so that the start
includes whatever it does with them, as Gemma scales its embeddings.

Sources: Lester et al. 2021, arXiv 2104.08691, §3.2; Li & Liang 2021, arXiv 2101.00190, §7.4.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import models
from ..backbone import BackboneAdapter
from ..caches import new_cache
from ..errors import BadConfig


def _embeddings_of(adapter: BackboneAdapter, ids: Sequence[int]) -> Tensor:
    """Return the frozen model's embeddings of these tokens, (tokens, d_model) in float32."""
    embed = adapter.get_input_embeddings()    # called, not read: Gemma's scales what it looks up
    return embed(torch.tensor(ids, device=adapter.device)).float()        # (tokens, d_model)


def prompt_of_words(adapter: BackboneAdapter, start: str, words: Sequence[str], length: int,
                    tokenizer, common: int) -> Tensor:
    """Return the (length, d_model) vectors of a prompt that starts as "text", "labels" or
    "vocabulary", which samples from the `common` most common tokens, each of them once at most."""
    texts = _ids(adapter, start, words, tokenizer, "prompt")
    if start == "text":
        return _embeddings_of(adapter, _repeated(texts, length))          # (length, d_model)
    labels = [_embeddings_of(adapter, ids).mean(0) for ids in texts]      # each (d_model,)
    vocabulary = adapter.get_input_embeddings().num_embeddings
    tokens = common_tokens(tokenizer, common, vocabulary)
    rest = length - len(labels)
    if not 0 <= rest <= len(tokens):
        raise BadConfig(f"A prompt of {length} from {len(labels)} labels and {len(tokens)} common "
                        "tokens.", expected="at least one vector for each label, and different "
                                            "tokens for the others")
    sampled = [tokens[i] for i in torch.randperm(len(tokens))[:rest]]
    return torch.stack([*labels, *(_embeddings_of(adapter, sampled) if rest else ())])


def prefix_of_words(adapter: BackboneAdapter, words: Sequence[str], length: int,
                    tokenizer) -> tuple[Tensor, Tensor]:
    """Return the K and V that the frozen model computes for a text, each (layers, length, d_kv)."""
    ids = _repeated(_ids(adapter, "text", words, tokenizer, "prefix"), length)
    cache = new_cache()
    with models.in_mode(adapter.base, training=False):
        adapter.base(torch.tensor([ids], device=adapter.device), **{models.cache_name(): cache})
    K, V = ([x[0].transpose(0, 1).flatten(1) for x in made] for made in zip(
        *((layer.keys, layer.values) for layer in cache.layers)))         # each (length, d_kv)
    return torch.stack(K), torch.stack(V)                                 # (layers, length, d_kv)


def token_ids(text: str, tokenizer, vocabulary: int) -> list[int]:
    """Return the ids of a text, without special tokens; `BadConfig` if the model lacks one."""
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    if not ids or max(ids) >= vocabulary:
        raise BadConfig(f"{text!r} becomes the tokens {ids}.",
                        expected=f"at least one, each below {vocabulary}",
                        hint="use the tokenizer that belongs to this model")
    return ids


def common_tokens(tokenizer, n: int, vocabulary: int) -> list[int]:
    """Return the first `n` ids of a vocabulary that are text.

    Vocabularies are ordered roughly by how common a token is; special tokens and BERT's reserved
    "[unused…]" entries, which no text contains, are passed over. Raises `BadConfig` as `token_ids`.
    """
    special = set(tokenizer.all_special_ids)
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))    # None where a number is free
    common = [i for i, token in enumerate(tokens)
              if token and i not in special and not token.startswith("[unused")][:n]
    if common and common[-1] >= vocabulary:
        raise BadConfig(f"The tokenizer's common tokens go up to {common[-1]}.",
                        expected=f"each below {vocabulary}",
                        hint="use the tokenizer that belongs to this model")
    return common


def check_words(start: str, words: Sequence[str], reading: Sequence[str]) -> None:
    """Raise `BadConfig` for words that a start lacks, or does not read."""
    if bool(words) != (start in reading):
        raise BadConfig(f"start={start!r} with words={words!r}.",
                        expected=f"words for {' and '.join(map(repr, reading))}, and for no other "
                                 "start")


def _ids(adapter: BackboneAdapter, start: str, words: Sequence[str], tokenizer, method: str
         ) -> list[list[int]]:
    """Return the token ids of each text; `BadConfig` without a tokenizer."""
    if tokenizer is None:
        raise BadConfig(f"start={start!r} reads words, and no tokenizer was given.",
                        hint=f"pt.{method}.inject(model, config, tokenizer)")
    vocabulary = adapter.get_input_embeddings().num_embeddings
    return [token_ids(text, tokenizer, vocabulary) for text in words]


def _repeated(texts: list[list[int]], length: int) -> list[int]:
    """Return the ids of all texts in a row, repeated or cut to `length`."""
    ids = [i for text in texts for i in text]
    return (ids * length)[:length]
