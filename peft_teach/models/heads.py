"""What a model is for: its task head, trained by every method and saved with it; or language."""

from collections.abc import Iterator

from torch import nn

from ..wrapped import refuse_wrapped
from .families import config_of

# What transformers adds on top of a backbone for one task, by attribute name: a model with one of
# these is a model for a task.
HEADS = ("pre_classifier", "classifier", "score", "qa_outputs", "classification_head",
         "logits_proj", "sequence_summary", "multiple_choice_head")


def head(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the task head's parameters, which every method trains:

    1. in a model of transformers around one backbone, all outside it, so that nothing drawn at
       random for the task stays that way: DeBERTa-v2's pooler, say, or ModernBERT's `head`. A
       pooler inside the backbone, as BERT's, and a language model's output embeddings are
       pretrained, and not included;
    2. in a module around models of transformers, all beside them, as an `fc`, and their own heads;
    3. in any other model, what is in modules named in `HEADS`.
    """
    refuse_wrapped(model)
    names = {id(p): name for name, p in model.named_parameters()}
    added = tuple(name for name in names.values() if name.split(".")[0] in HEADS)
    output = getattr(model, "get_output_embeddings", lambda: None)()
    backbone = getattr(model, "base_model_prefix", "")
    if backbone and hasattr(model, backbone):                                       # 1
        if output is not None and not added:
            return ()
        words = {id(p) for p in output.parameters()} if output is not None else ()
        return tuple(name for key, name in names.items()
                     if name.split(".")[0] != backbone and key not in words)
    for_a_task = not _is_transformers(model) or "For" in type(model).__name__
    around = any(_is_transformers(m) for m in model.modules() if m is not model)
    if output is None and for_a_task and around:                                    # 2
        heads = {id(p) for p in _beside(model)}
        return tuple(name for key, name in names.items() if key in heads)
    return added                                                                    # 3


def is_language_model(model: nn.Module) -> bool:
    """Return whether the logits at each token are about the next one, as a GPT-2's are."""
    return can_generate(model) and not config_of(model).is_encoder_decoder


def can_generate(model: nn.Module) -> bool:
    """Return whether a model generates tokens, as a GPT-2 and a T5 do."""
    return getattr(model, "can_generate", lambda: False)()


def _is_transformers(module: nn.Module) -> bool:
    """Return whether this is a transformers model, or an adapter in the place of one."""
    return hasattr(module, "config") and hasattr(module, "get_input_embeddings")


def _beside(model: nn.Module) -> Iterator[nn.Parameter]:
    """Yield a module's parameters outside the transformers models in it, and those' own heads."""
    inner = [m for m in model.modules() if m is not model and _is_transformers(m)]
    shared = {id(p) for m in inner for p in m.parameters()}    # T5's table of words
    yield from (p for p in model.parameters(recurse=False) if id(p) not in shared)
    for child in model.children():
        if _is_transformers(child):
            yield from map(child.get_parameter, head(child))
        elif any(map(_is_transformers, child.modules())):
            yield from _beside(child)
        else:
            yield from (p for p in child.parameters() if id(p) not in shared)
