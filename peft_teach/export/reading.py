"""A folder of peft, read without trust, and its adapter put on a model as a method of ours.

What peft's settings mean is taken as peft takes it. A setting that is set and not `UNDERSTOOD`
means something that no method here does, and is refused.
"""

import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import regex
import torch
from torch import Tensor, nn

from .. import contents, core, folder, models, notes, store
from ..errors import AdapterFileError, NotExportable, NotSupported, PeftTeachError
from ..methods import dora, ia3, lora, prefix, prompt
from .modules import adapted, as_places, is_feedforward, match, names_in, targeted
from .tensors import by_our_names, head_tensors, tensors_of
from .writing import SETTINGS, TENSORS

PICKLED = "adapter_model.bin"
# The heads that peft keeps for a task.
HEADS = {"SEQ_CLS": ("classifier", "score"), "TOKEN_CLS": ("classifier", "score"),
         "QUESTION_ANS": ("qa_outputs",)}

# The settings that `from_peft` understands. Any other that is set means something that no method
# here does. The descriptive ones say nothing about what is computed.
DESCRIPTIVE = {"peft_type", "task_type", "auto_mapping", "peft_version", "revision",
               "inference_mode", "base_model_name_or_path", "modules_to_save"}
TARGETED = {"target_modules", "exclude_modules", "fan_in_fan_out"}
INPUT = {"num_virtual_tokens", "token_dim", "num_transformer_submodules", "num_attention_heads",
         "num_layers"}
UNDERSTOOD = {
    "LORA": DESCRIPTIVE | TARGETED | {
        "r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "lora_bias", "bias",
        "rank_pattern", "alpha_pattern", "layers_to_transform", "layers_pattern",
        "init_lora_weights", "eva_config", "megatron_core", "qalora_group_size"},
    "IA3": DESCRIPTIVE | TARGETED | {"feedforward_modules", "init_ia3_weights"},
    "PROMPT_TUNING": DESCRIPTIVE | INPUT | {
        "prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_name_or_path",
        "tokenizer_kwargs"},
    "PREFIX_TUNING": DESCRIPTIVE | INPUT | {
        "encoder_hidden_size", "prefix_projection", "init_weights"},
}
# Other starts, PiSSA's for one, change the base each time that peft loads such a file.
STARTS_THAT_LEAVE_THE_BASE = (True, False, None, "gaussian", "orthogonal", "eva")


def from_peft(model: nn.Module, path: str | Path) -> nn.Module:
    """Put the adapter of a peft folder on an unadapted model; return the model to keep.

    The model then is as if a method of this library had been injected and trained: it can be
    saved, swapped, merged and exported. LoRA, rsLoRA, DoRA, (IA)³, soft prompts and prefixes are
    read, and the head and other trained copies where the file has them. A peft file says nothing
    about the base's weights, so only names and shapes can be checked. Raises `AlreadyAdapted`;
    `AdapterFileError` for a folder that is missing, damaged or made for another model;
    `NotExportable` for what no method here does. Then the model is as it was.
    """
    settings, tensors = _read(path)
    notes.refuse_adapted(model)
    try:
        kept, also = _saved_modules(model, settings, path)
        tensors = _without_copies(model, tensors, also)
        with core.all_or_nothing(model):
            method, config = _as_ours(model, settings, also, path)
            model = method.inject(model, config)
            if method is ia3:
                _check_sides(model, settings, path)
            _copy_into(model, tensors, kept, path)
    except NotSupported as error:
        raise NotExportable(f"{path} adapts what no method here adapts: {error.found}",
                            expected=error.expected) from error
    except (NotExportable, AdapterFileError):
        raise
    except (PeftTeachError, TypeError, ValueError, RuntimeError, MemoryError, regex.error,
            TimeoutError) as error:
        raise AdapterFileError(f"{path} has settings that do not fit this model: "
                               f"{getattr(error, 'found', error)}",
                               expected="the settings as peft's save_pretrained wrote them "
                                        "for this model") from error
    return model


def _read(path: str | Path) -> tuple[dict, dict[str, Tensor]]:
    """Return the settings and tensors of a folder of peft's, of a form that is here, too."""
    path = folder.as_path(path)
    if (path / PICKLED).is_file() and not (path / TENSORS).is_file():
        raise AdapterFileError(f"{path} holds its tensors as {PICKLED}, a pickle, which can run "
                               "any program when it is opened.", expected=TENSORS,
                               hint="if you trust it, load it with peft and save_pretrained again")
    ours = (path / store.DESCRIPTION).is_file()
    settings, tensors = folder.read(path, SETTINGS, TENSORS, "peft's save_pretrained",
                                   "pt.load(model, path) reads this folder, which pt.save wrote"
                                   if ours else "look for a folder with both files")
    if not isinstance(settings, dict) or not isinstance(settings.get("peft_type"), str):
        raise AdapterFileError(f"{path / SETTINGS} names no peft_type.",
                               expected="the settings as peft's save_pretrained wrote them")
    kind = settings["peft_type"]
    if kind not in UNDERSTOOD:
        raise NotExportable(f"{path} holds {kind!r}, which no method here is.",
                            expected="one of " + ", ".join(UNDERSTOOD))
    _refuse(settings, tensors, path)
    return settings, tensors


def _refuse(settings: dict, tensors: dict[str, Tensor], path: Path) -> None:
    """Raise `NotExportable` for a form of these methods that is not here."""
    more = [k for k, v in settings.items() if v and k not in UNDERSTOOD[settings["peft_type"]]]
    reasons = [f"it sets {k}, which is not known here" for k in more]
    if settings.get("bias", "none") != "none":
        reasons.append(f"bias={settings['bias']!r} trains the base's own biases, too")
    if any("lora_embedding_" in name for name in tensors):
        reasons.append("it has a LoRA on an embedding")
    if settings.get("use_dora") and settings.get("lora_bias"):
        reasons.append("it is DoRA with a bias")
    start = settings.get("init_lora_weights")
    if start not in STARTS_THAT_LEAVE_THE_BASE:
        reasons.append(f"init_lora_weights={start!r} changes the base before training")
    if reasons:
        raise NotExportable(f"{path} holds what no method here can do: {'; '.join(reasons)}.",
                            expected="LoRA, rsLoRA, DoRA, (IA)³, a soft prompt or a prefix on a "
                                     "base that stays as it is",
                            hint=None if start in STARTS_THAT_LEAVE_THE_BASE else
                            "peft's save_pretrained can convert such a start: "
                            "path_initial_model_for_weight_conversion")


def _as_ours(model: nn.Module, settings: dict, copied: tuple[str, ...],
             path: str | Path) -> tuple[Any, Any]:
    """Return the method that peft's settings describe, and its settings here."""
    places, blocks = as_places(model, copied) if copied else (None, None)
    also = copied if blocks else places
    kind, task = settings["peft_type"], settings.get("task_type")
    length: Any = settings.get("num_virtual_tokens")
    if kind == "PROMPT_TUNING":
        pool = "first" if task == "SEQ_CLS" and models.is_encoder(model) else "cls"
        return prompt, prompt.Config(length, pool=pool, also_train=also)
    if kind == "PREFIX_TUNING":
        return prefix, prefix.Config(length, also_train=also)
    names = targeted(model, settings, path)
    targets, layers = as_places(model, names)
    if kind == "LORA":
        method, config = _lora_config(settings, names, path)
        targets = None if {*targets} in ({"query", "value"}, {"qkv"}) else targets    # the usual
        return method, method.Config(**config, targets=targets, layers=layers, also_train=also)
    paper = {"ffn_out", "qkv"} if "qkv" in targets else {"ffn_out", "key", "value"}
    return ia3, ia3.Config(None if {*targets} == paper else targets, layers, also_train=also)


def _check_sides(model: nn.Module, settings: dict, path: str | Path) -> None:
    """Raise `NotExportable` where peft's (IA)³ scales the other side of a layer than ours."""
    inputs = names_in(settings, "feedforward_modules", path)
    for name, adapter in adapted(model).items():
        if (adapter.side == "input") != is_feedforward(name, inputs):
            raise NotExportable(f"{path} does not scale the {adapter.side} of {name}, but the "
                                "other side.", expected=f"a vector for its {adapter.side}")


def _lora_config(settings: dict, names: tuple[str, ...], path) -> tuple[Any, dict]:
    """Return the method, LoRA or DoRA, and its settings, except where it goes."""
    rank = _one(settings, "r", "rank_pattern", names, path)
    alpha = _one(settings, "lora_alpha", "alpha_pattern", names, path)
    config = {"rank": rank, "alpha": alpha, "dropout": settings.get("lora_dropout", 0.0)}
    stabilized = bool(settings.get("use_rslora"))
    if not settings.get("use_dora"):
        return lora, config | {"rank_stabilized": stabilized,
                               "use_bias": bool(settings.get("lora_bias"))}
    if stabilized:
        config["alpha"] = alpha * math.sqrt(rank)    # dora's s is always alpha / rank
    return dora, config


def _one(settings: dict, key: str, pattern: str, names: tuple[str, ...], path):
    """Return the setting that holds for all names; `NotExportable` if there is more than one."""
    special = settings.get(pattern) or {}
    if not isinstance(special, dict):
        raise AdapterFileError(f"{path}: {pattern} is {special!r}.", expected="name: number pairs")
    found = [next((value for end, value in special.items() if match(rf"(.*\.)?({end})$", name)),
                  settings.get(key, 8)) for name in names]
    if any(value != found[0] for value in found):
        raise NotExportable(f"{path}: {pattern} gives modules different values.",
                            expected=f"one {key} for all modules")
    return found[0]


def _saved_modules(model: nn.Module, settings: dict,
                   path: str | Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the tensors of the head that the file keeps, and other modules that it has."""
    ends = (*HEADS.get(settings.get("task_type", ""), ()),
            *(names_in(settings, "modules_to_save", path) or ()))
    modules = [name for name, _ in model.named_modules() if ends and name.endswith(ends)]
    head = models.head(model)
    kept = tuple(n for n in contents.head_state(model)
                 if any(n.startswith(f"{module}.") for module in modules))
    others = [name for name in modules if not any(n.startswith(f"{name}.") for n in head)
              and not any(name.startswith(f"{outer}.") for outer in modules)]
    return kept, tuple(others)


def _without_copies(model: nn.Module, tensors: dict[str, Tensor],
                    kept: tuple[str, ...]) -> dict[str, Tensor]:
    """Leave out copies of the base's word tables, except in modules that are kept.

    peft adds them, frozen as they are, where one of them is adapted or was resized.
    """
    tables = []
    for get in ("get_input_embeddings", "get_output_embeddings"):
        with suppress(AttributeError, NotImplementedError):    # models of audio or images
            tables.append(getattr(model, get)())
    held = {id(table.weight) for table in tables if table is not None}
    ours = {name: p for name, p in model.named_parameters(remove_duplicate=False)
            if id(p) in held and not name.startswith(tuple(f"{module}." for module in kept))}

    def is_copy(name: str, tensor: Tensor) -> bool:
        p = ours.get(name.removeprefix("base_model.model.").replace(".base_layer.", "."))
        return p is not None and p.shape == tensor.shape and torch.equal(
            p.detach().cpu(), tensor.to(p.dtype))

    return {name: t for name, t in tensors.items() if not is_copy(name, t)}


def _copy_into(model: nn.Module, tensors: dict[str, Tensor], kept: tuple[str, ...], path) -> None:
    """Copy all tensors into the adapters and the head, or raise before the first is copied."""
    head = head_tensors(model, kept)
    folder.check(tensors, tensors_of(model) | head, path)
    here = contents.loadable_state(model) | head
    found = by_our_names(model, tensors) | tensors
    with torch.no_grad():
        for name, p in here.items():
            p.copy_(found[name])
