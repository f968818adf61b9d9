"""Words as a method's start: their tokens in a model's vocabulary."""

from .errors import BadConfig


def token_ids(text: str, tokenizer, vocabulary: int) -> list[int]:
    """Return the ids of a text, without special tokens; `BadConfig` if the model lacks one."""
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    if not ids or max(ids) >= vocabulary:
        raise BadConfig(f"{text!r} becomes the tokens {ids}.",
                        expected=f"at least one, each below {vocabulary}",
                        hint="use the tokenizer that belongs to this model")
    return ids


def common_tokens(tokenizer, n: int, vocabulary: int) -> list[int]:
    """Return the first `n` ids of a vocabulary that stand for text.

    Vocabularies are ordered roughly by how common a token is; special tokens and BERT's reserved
    "[unused…]" entries, which no text contains, are passed over. Raises `BadConfig` if the model
    lacks one of them.
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
