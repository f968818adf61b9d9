"""To and from Hugging Face peft: the same adapter in the other library's folder.

    movie-lora-peft/
        adapter_model.safetensors    adapter and head, by peft's names
        adapter_config.json          method, settings, and the modules that are adapted

    here                    there
    A, B     LoRA           base_model.model.<module>.lora_A.weight, ….lora_B.weight
    c        use_bias       base_model.model.<module>.lora_B.bias
    m        DoRA           base_model.model.<module>.lora_magnitude_vector
    l        (IA)³          base_model.model.<module>.ia3_l        (n_out, 1) or (1, n_in)
    P        soft prompt    prompt_embeddings                      (length, d_model)
    K, V     prefix         prompt_embeddings                      (length, layers · 2 · d_kv)
    head     classifiers    base_model.model.<name>; with P, K and V base_model.<name>
    copies   also_train     base_model.model.<name>, modules_to_save in the settings

peft itself is not needed, and nothing is unpickled. On the same base both libraries then compute
the same, except that with a soft prompt peft

- returns the hidden states and logits of the prompt, too: ours are its [:, length:];
- lets a bare encoder's pooler read the first vector of the prompt, where ours reads [CLS];
- lets a decoder's classifier read the last position, which in a row padded on the right is
  padding: classify one text at a time;
- counts positions through padding on the left, which moves a decoder's text, and RoBERTa's, away
  from the prompt: a padded row is not read as the row alone, in `generate` neither. (Before a
  decoder's prefix it does so in `forward` alone.) Ours reads the row as if it stood alone.
"""

import functools
import json
import math
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import regex
import torch
from torch import Tensor, nn

from . import contents, core, folder, models, notes, state, store
from .adapter import Adapter, adapters, full_name, plain_name
from .errors import AdapterFileError, NoAdapter, NotExportable, NotSupported, PeftTeachError
from .methods import dora, ia3, lora, prefix, prompt
from .nf4 import Linear4bit
from .trained_copy import TrainedCopy

TENSORS, SETTINGS, PICKLED = "adapter_model.safetensors", "adapter_config.json", "adapter_model.bin"
PEFT_VERSION = "0.21.2"    # the format that is written here
TRAINED = ("lora_", "ia3_l", "prompt_encoder", "modules_to_save")    # in names of peft's own model
# What these say more than its file, in this order, and what the file says.
IN_A_MODEL = {".default": "", "lora_magnitude_vector.weight": "lora_magnitude_vector",
              "prompt_encoder.embedding.weight": "prompt_embeddings"}
LORA_NAMES = {"A": "lora_A.weight", "B": "lora_B.weight", "c": "lora_B.bias",
              "m": "lora_magnitude_vector"}

# peft's name of a task by the ending of the model's class, and the heads that it then keeps.
TASKS = {"ForSequenceClassification": "SEQ_CLS", "ForTokenClassification": "TOKEN_CLS",
         "ForQuestionAnswering": "QUESTION_ANS", "ForCausalLM": "CAUSAL_LM",
         "LMHeadModel": "CAUSAL_LM"}
HEADS = {"SEQ_CLS": ("classifier", "score"), "TOKEN_CLS": ("classifier", "score"),
         "QUESTION_ANS": ("qa_outputs",)}
# What is not written, and why; after a bare `attach` there is no method.
NOT_WRITTEN = {"full": "Full fine-tuning has no adapter: it changes the weights themselves.",
               "bitfit": "peft has no BitFit.", "bottleneck": "peft has no bottleneck adapters.",
               None: "After a bare pt.attach it is not known what the adapter computes."}
INPUT_TASKS = ("SEQ_CLS", "CAUSAL_LM", "FEATURE_EXTRACTION")    # for prompts and prefixes

# The settings that `from_peft` understands, and those that say nothing about what is computed.
# Any other that is set means something that no method here does.
SILENT = {"peft_type", "task_type", "auto_mapping", "peft_version", "revision", "inference_mode",
          "base_model_name_or_path", "modules_to_save"}
TARGETED = {"target_modules", "exclude_modules", "fan_in_fan_out"}
INPUT = {"num_virtual_tokens", "token_dim", "num_transformer_submodules", "num_attention_heads",
         "num_layers"}
UNDERSTOOD = {
    "LORA": SILENT | TARGETED | {
        "r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "lora_bias", "bias",
        "rank_pattern", "alpha_pattern", "layers_to_transform", "layers_pattern",
        "init_lora_weights", "eva_config", "megatron_core", "qalora_group_size"},
    "IA3": SILENT | TARGETED | {"feedforward_modules", "init_ia3_weights"},
    "PROMPT_TUNING": SILENT | INPUT | {"prompt_tuning_init", "prompt_tuning_init_text",
                                       "tokenizer_name_or_path", "tokenizer_kwargs"},
    "PREFIX_TUNING": SILENT | INPUT | {"encoder_hidden_size", "prefix_projection",
                                       "init_weights"},
}
# Other starts, PiSSA's for one, change the base each time that peft loads such a file.
STARTS_THAT_LEAVE_THE_BASE = (True, False, None, "gaussian", "orthogonal", "eva")


# ── to peft ──────────────────────────────────────────────────────────────────────────────────


def to_peft(model: nn.Module, path: str | Path) -> Path:
    """Write the adapter and the head of `model` as a peft folder; return it.

    `peft.PeftModel.from_pretrained(base, path)` reads it. A prefix with projection is written as
    its keys and values; QLoRA as the LoRA or DoRA that it is, for the base in any precision. Both
    files are moved into place when both are written. Raises `NoAdapter` on a model without a
    method, as after a merge; `NotExportable` for what peft does not have: full fine-tuning,
    bottlenecks, BitFit, a bare `attach`, pool="mean", a soft prompt whose encoder classifier reads
    [CLS] (peft's reads the prompt: train with pool="first"), and a prompt or prefix before other
    heads than a sequence classifier's or a language model's; `AdapterFileError` if the folder
    cannot be written.
    """
    note = notes.note_of(model)
    if note is None:
        raise NoAdapter("No method was put on this model, or it was merged or removed.",
                        hint="export first, then pt.merge(model)")
    contents.refuse_lost(model)
    settings = _settings(model, note)
    tensors = _tensors(model) | _head_tensors(model, contents.head_state(model))
    return folder.write(path, {
        TENSORS: folder.pack(contents.copies(tensors), {"format": "pt"}),
        SETTINGS: json.dumps(settings, indent=2, sort_keys=True).encode(),
    })


def _settings(model: nn.Module, note: state.Note) -> dict:
    """Return peft's settings for what is on this model; `NotExportable` if it has none."""
    if note.method not in WRITTEN:
        raise NotExportable(NOT_WRITTEN.get(note.method, f"How peft writes {note.method!r} is "
                                                           "not known here."),
                            expected="one of the methods " + ", ".join(WRITTEN),
                            hint="pt.save(model, path) keeps it in this library's own form")
    if models.is_mean_pooled(model):
        raise NotExportable("This model's head reads the mean of all tokens, and transformers has "
                            "no such class for peft to load.",
                            hint='pt.models.load(name, labels=…, pool="cls")')
    saved = _saved(model, note)
    saved = {"modules_to_save": saved} if saved else {}
    return {"task_type": _task(model), "inference_mode": True, "peft_version": PEFT_VERSION,
            "base_model_name_or_path": _public_name(model), **saved,
            **WRITTEN[note.method](model, note.config)}


def _saved(model: nn.Module, note: state.Note) -> list[str]:
    """Return the modules of the head, and those of which a copy trains.

    peft takes every module whose name ends in one of these. `NotExportable` if it would take more.
    """
    copied = [n for n, a in adapters(model).items() if isinstance(a, TrainedCopy)]
    head = set(models.head(model))
    others = [name for name, _ in model.named_parameters() if name not in head]
    saved = [*dict.fromkeys(_module_of(n, others) for n in models.head(model)), *copied]
    plain = {plain_name(model, name) for name, _ in model.named_modules()} - {*saved}
    wrong = [name for name in saved if any(other.endswith(name) for other in plain)]
    wrong += [name for name in copied if name in state.of(model).converted]
    if note.method in ("prompt", "prefix"):
        wrong += copied
    if wrong:
        raise NotExportable(f"Beside this {note.method}, peft has no trained copy of "
                            f"{wrong[0] or 'a parameter'} alone.",
                            hint="pt.save(model, path) keeps it in this library's own form")
    return saved


def _module_of(name: str, others: list[str]) -> str:
    """Return the largest module around a parameter that holds none of the others."""
    parts = name.split(".")[:-1]
    around = (".".join(parts[:i + 1]) for i in range(len(parts)))
    return next((m for m in around if not any(n.startswith(f"{m}.") for n in others)), "")


def _lora_settings(model: nn.Module, config) -> dict:
    found = _adapted(model)
    alpha = int(config.alpha) if config.alpha == int(config.alpha) else config.alpha
    return {"peft_type": "LORA", "r": config.rank, "lora_alpha": alpha,
            "lora_dropout": config.dropout, "bias": "none",
            "use_rslora": getattr(config, "rank_stabilized", False),
            "use_dora": any(isinstance(a, dora.DoRALinear) for a in found.values()),
            "lora_bias": getattr(config, "use_bias", False),
            "target_modules": _target_modules(model, config), "fan_in_fan_out": _converted(model)}


def _ia3_settings(model: nn.Module, config: ia3.Config) -> dict:
    inputs = [name for name, a in _adapted(model).items() if a.side == "input"]
    return {"peft_type": "IA3", "target_modules": _target_modules(model, config),
            "feedforward_modules": inputs, "fan_in_fan_out": _converted(model)}


def _prompt_settings(model: nn.Module, config: prompt.Config) -> dict:
    (P,) = contents.method_parameters(model).values()
    task = _input_task(model)
    pool = "first" if task == "SEQ_CLS" else "cls"
    if models.is_encoder(model) and config.pool != pool:
        raise NotExportable(
            f"This soft prompt has pool={config.pool!r}. In peft a classifier reads the first "
            "vector of the prompt, and without one the hidden states are as they are.",
            expected=f"pool={pool!r} for this model, from before training on",
            hint="pt.save(model, path) keeps it in this library's own form")
    backbone = models.config_of(model)
    return {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": config.length,
            "token_dim": P.shape[1], "num_layers": backbone.num_hidden_layers,
            "num_attention_heads": backbone.num_attention_heads, "num_transformer_submodules": 1}


def _prefix_settings(model: nn.Module, config: prefix.Config) -> dict:
    _input_task(model)
    layers, heads, d_head = models.key_value_shape(model)
    return {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": config.length,
            "token_dim": heads * d_head, "num_layers": layers, "num_attention_heads": heads,
            "num_transformer_submodules": 1, "encoder_hidden_size": heads * d_head,
            "prefix_projection": False}


# The methods that are written, and what turns our settings into peft's.
WRITTEN = {"lora": _lora_settings, "dora": _lora_settings, "qlora": _lora_settings,
           "ia3": _ia3_settings, "prompt": _prompt_settings, "prefix": _prefix_settings}


def _target_modules(model: nn.Module, config) -> list[str] | str:
    """Return the adapted modules' full names, in the order of the config's targets.

    peft also takes every module whose name *ends* in one of these. Where that would be one more,
    a regular expression says exactly these names.
    """
    names = tuple(_adapted(model))
    targets = config.targets
    if targets is None and isinstance(config, lora.Config | dora.Config):
        targets = models.query_and_value(model)
    if targets:
        names = models.find(model, targets, config.layers)
    plain = {plain_name(model, name) for name, _ in model.named_modules()}
    if any(_ends_in(other, name) for name in names for other in plain - {*names}):
        return "|".join(map(re.escape, names))
    return [*names]


def _converted(model: nn.Module) -> bool:
    """Return whether the base's own layers hold their weights as (n_in, n_out), as GPT-2's do."""
    return not _adapted(model).keys().isdisjoint(state.of(model).converted)


def _adapted(model: nn.Module) -> dict[str, Any]:
    """Return the method's own adapters, by the modules that they wrap."""
    return {name: adapter for name, adapter in adapters(model).items()
            if not isinstance(adapter, TrainedCopy)}


def _task(model: nn.Module) -> str | None:
    """Return peft's name of this model's task; None if it has no name for it."""
    name = type(model.base if isinstance(model, Adapter) else model).__name__
    if (models.writes(model) and models.config_of(model).is_encoder_decoder
            and getattr(model, "main_input_name", None) == "input_ids"):
        return "SEQ_2_SEQ_LM"
    bare = getattr(model, "base_model", None) is model
    return next((task for ending, task in TASKS.items() if name.endswith(ending)),
                "FEATURE_EXTRACTION" if bare else None)


def _input_task(model: nn.Module) -> str:
    task = _task(model)
    if task not in INPUT_TASKS:
        raise NotExportable(f"What peft does with a prompt or a prefix before a "
                            f"{type(model).__name__} is not known here.",
                            expected="a sequence classifier, a language model or a bare backbone")
    return task


def _public_name(model: nn.Module) -> str | None:
    """Return the base's name on the Hub; None for a folder of this machine, or no name."""
    name = getattr(getattr(model, "config", None), "_name_or_path", None) or ""
    on_hub = re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", name)
    return name if on_hub and not Path(name).exists() else None


# ── the same tensors, there and here ─────────────────────────────────────────────────────────


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return what a peft file holds of this model's adapters, by peft's names."""
    return {_peft_name(name, own): p for name, adapter in adapters(model).items()
            for own, p in _to_theirs(adapter).items()}


def _peft_name(module: str, own: str) -> str:
    return own if own == "prompt_embeddings" else f"base_model.model.{module}.{own}"


def _head_tensors(model: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """Return these tensors of the head by peft's names."""
    before_input = notes.need_note(model).method in ("prompt", "prefix")
    front = "base_model." if before_input else "base_model.model."
    return {front + name: t for name, t in contents.head_state(model).items() if name in names}


def _to_theirs(adapter: Adapter) -> dict[str, Tensor]:
    """Return one adapter's tensors in peft's shapes, by the end of peft's names."""
    if isinstance(adapter, ia3.IA3Linear):
        l = adapter.factors()                                         # (n_out,) or (n_in,)
        return {"ia3_l": l[:, None] if adapter.side == "output" else l[None]}
    if isinstance(adapter, prompt.SoftPrompt):
        return {"prompt_embeddings": adapter.P}                       # (length, d_model)
    if isinstance(adapter, prefix.Prefix):
        K, V = adapter.stored().values()                              # (layers, length, d_kv)
        flat = torch.stack([K, V]).permute(2, 1, 0, 3).flatten(1)     # (length, layers · 2 · d_kv)
        return {"prompt_embeddings": flat}
    if isinstance(adapter, TrainedCopy):
        return {own.removeprefix("trained."): t for own, t in adapter.own_tensors().items()}
    return {LORA_NAMES[own]: p for own, p in adapter.own_parameters().items()}


def _to_ours(adapter: Adapter, theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Undo `_to_theirs`: return the tensors by the names of the adapter's own."""
    if isinstance(adapter, ia3.IA3Linear):
        l = theirs["ia3_l"].flatten()                                 # (n_out,) or (n_in,)
        if isinstance(adapter, ia3.FusedIA3Linear):
            l = l.unflatten(0, (adapter.parts, -1))                   # (parts, n_out / parts)
            if (l[:, :adapter.first] != 1).any():
                raise NotExportable("This (IA)³ scales the queries of a fused projection, too.",
                                    expected="factors of one for them, as in the paper")
            l = l[:, adapter.first:].flatten()
        return {"l": l}
    if isinstance(adapter, prompt.SoftPrompt):
        return {"P": theirs["prompt_embeddings"]}                     # (length, d_model)
    if isinstance(adapter, prefix.Prefix):
        flat = theirs["prompt_embeddings"]                            # (length, layers · 2 · d_kv)
        K, V = flat.unflatten(1, (adapter.layers, 2, -1)).permute(2, 1, 0, 3)
        return {"K": K, "V": V}                                       # (layers, length, d_kv) each
    if isinstance(adapter, TrainedCopy):
        return {f"trained.{name}": tensor for name, tensor in theirs.items()}
    return {own: theirs[LORA_NAMES[own]] for own in adapter.own_parameters()}


def by_our_names(model: nn.Module, theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a peft file's tensors by the names and in the shapes of the adapters on `model`.

    Of gradients, too, since no number changes. `KeyError` for a tensor that is not there.
    """
    return {full_name(name, own): tensor for name, adapter in adapters(model).items()
            for own, tensor in _to_ours(adapter, {own: theirs[_peft_name(name, own)]
                                                  for own in _to_theirs(adapter)}).items()}


def let_train(model: nn.Module) -> None:
    """Let what peft put on its own model train: it loads a prompt or prefix frozen, always."""
    for name, p in model.named_parameters():
        p.requires_grad_(any(part in name for part in TRAINED))


def as_filed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename what belongs to the parameters of peft's own model as its file names them."""
    found = {}
    for name, tensor in tensors.items():
        for more, filed in IN_A_MODEL.items():
            name = name.replace(more, filed)
        found[name] = tensor
    return found


# ── from peft ────────────────────────────────────────────────────────────────────────────────


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
            model = _inject(model, settings, also, path)
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
        raise NotExportable(f"{path} cannot be said by a method here: {'; '.join(reasons)}.",
                            expected="LoRA, rsLoRA, DoRA, (IA)³, a soft prompt or a prefix on a "
                                     "base that stays as it is",
                            hint=None if start in STARTS_THAT_LEAVE_THE_BASE else
                            "peft's save_pretrained can convert such a start: "
                            "path_initial_model_for_weight_conversion")


def _inject(model: nn.Module, settings: dict, copied: tuple[str, ...],
            path: str | Path) -> nn.Module:
    """Inject the method that the settings describe."""
    places, blocks = _as_places(model, copied) if copied else (None, None)
    also = copied if blocks else places
    kind, task = settings["peft_type"], settings.get("task_type")
    length: Any = settings.get("num_virtual_tokens")
    if kind == "PROMPT_TUNING":
        pool = "first" if task == "SEQ_CLS" and models.is_encoder(model) else "cls"
        return prompt.inject(model, prompt.Config(length, pool=pool, also_train=also))
    if kind == "PREFIX_TUNING":
        return prefix.inject(model, prefix.Config(length, also_train=also))
    names = _targeted(model, settings, path)
    targets, layers = _as_places(model, names)
    if kind == "LORA":
        method, config = _lora_config(settings, names, path)
        targets = None if {*targets} in ({"query", "value"}, {"qkv"}) else targets    # the usual
        return method.inject(model, method.Config(**config, targets=targets, layers=layers,
                                                  also_train=also))
    paper = {"ffn_out", "qkv"} if "qkv" in targets else {"ffn_out", "key", "value"}
    model = ia3.inject(model, ia3.Config(None if {*targets} == paper else targets, layers,
                                         also_train=also))
    inputs = _names(settings, "feedforward_modules", path)
    for name, adapter in _adapted(model).items():
        if (adapter.side == "input") != _is_feedforward(name, inputs):
            raise NotExportable(f"{path} does not scale the {adapter.side} of {name}, but the "
                                "other side.", expected=f"a vector for its {adapter.side}")
    return model


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
    found = [next((value for end, value in special.items() if _match(rf"(.*\.)?({end})$", name)),
                  settings.get(key, 8)) for name in names]
    if any(value != found[0] for value in found):
        raise NotExportable(f"{path}: {pattern} gives modules different values.",
                            expected=f"one {key} for all modules")
    return found[0]


# A file's patterns, within a fifth of a second each: Python's own `re` takes years for some.
_match, _fullmatch = (functools.partial(f, timeout=0.2) for f in (regex.match, regex.fullmatch))


# ── which modules ────────────────────────────────────────────────────────────────────────────


def _targeted(model: nn.Module, settings: dict, path: str | Path) -> tuple[str, ...]:
    """Return the modules that a peft file adapts, by peft's rules, in the file's order.

    A list holds names or their ends, and `layers_to_transform` picks blocks of those matched by
    their end; a string is a regular expression for the whole name, or "all-linear".
    """
    wanted = _names(settings, "target_modules", path)
    excluded = _names(settings, "exclude_modules", path)
    saved = _names(settings, "modules_to_save", path)
    modules = {name: module for name, module in model.named_modules() if name
               and not _is_match(name, excluded)
               and not any(_match(rf"(^|.*\.){m}($|\..*)", name) for m in saved or ())}
    if isinstance(wanted, str) and wanted.lower() == "all-linear":
        found = _all_linear(model, modules)
    elif isinstance(wanted, str):
        found = [name for name in modules if _fullmatch(wanted, name)]
    else:
        found = [name for end in wanted or () for name in modules
                 if name == end or (_ends_in(name, end) and _in_layers(name, settings))]
    if not found:
        raise AdapterFileError(f"{path} adapts {wanted!r}, and this model has no such module.",
                               expected="an adapter for this model",
                               hint="print pt.models.places(model)")
    return tuple(dict.fromkeys(found))


def _all_linear(model: nn.Module, modules: dict[str, nn.Module]) -> list[str]:
    last = getattr(model, "get_output_embeddings", lambda: None)()
    head = {name.rpartition(".")[0] for name in models.head(model)}
    return [name for name, module in modules.items() if name not in head and module is not last
            and (isinstance(module, nn.Linear | Linear4bit) or models.is_conv1d(module))]


def _in_layers(name: str, settings: dict) -> bool:
    layers, patterns = settings.get("layers_to_transform"), settings.get("layers_pattern")
    if layers is None or layers == []:
        return True
    patterns = [patterns] if isinstance(patterns, str) else patterns
    match = re.match(r".*?\.[^.]*\.(\d+)\.", name) if not patterns else next(
        filter(None, (_match(rf"(?:^|.*?\.){p}\.(\d+)\.", name) for p in patterns)), None)
    return match is not None and int(match[1]) in ([layers] if isinstance(layers, int) else layers)


def _is_match(name: str, wanted: str | list[str] | None) -> bool:
    if isinstance(wanted, str):
        return _fullmatch(wanted, name) is not None
    return any(name == end or _ends_in(name, end) for end in wanted or ())


def _is_feedforward(name: str, inputs: str | list[str] | None) -> bool:
    if isinstance(inputs, str):
        return _fullmatch(inputs, name) is not None
    return name.endswith(tuple(inputs or ()))


def _ends_in(name: str, end: str) -> bool:
    return name.endswith("." + end)


def _names(settings: dict, key: str, path: str | Path) -> str | list[str] | None:
    found = settings.get(key)
    if found is None or (isinstance(found, str) and key != "modules_to_save"):
        return found
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise AdapterFileError(f"{path}: {key} is {found!r}.", expected="a list of module names")
    return found


def _as_places(model: nn.Module, names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple | None]:
    """Return places and blocks that mean just these modules; or else their names, and None."""
    place_of = models.place_of(model)
    table = models.places(model) if place_of else {}
    targets = tuple(dict.fromkeys(place_of.get(name, name) for name in names))
    blocks = {table[place_of[n]].index(n) for n in names
              if place_of.get(n, "last") not in models.SINGLE}
    for layers in (None, tuple(sorted(blocks)) or None):
        if {*models.find(model, targets, layers)} == {*names}:
            return targets, layers
    return names, None


# ── tensors and head ─────────────────────────────────────────────────────────────────────────


def _saved_modules(model: nn.Module, settings: dict,
                   path: str | Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the tensors of the head that the file keeps, and other modules that it has."""
    ends = (*HEADS.get(settings.get("task_type", ""), ()),
            *(_names(settings, "modules_to_save", path) or ()))
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
        with suppress(AttributeError, NotImplementedError):    # what hears or sees has no words
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
    head = _head_tensors(model, kept)
    folder.check(tensors, _tensors(model) | head, path)
    pairs = [(p, tensors[name]) for name, p in head.items()]
    ours = by_our_names(model, tensors)
    pairs += [(t, ours[full_name(name, own)]) for name, adapter in adapters(model).items()
              for own, t in adapter.own_tensors().items()]
    with torch.no_grad():
        for p, value in pairs:
            p.copy_(value)
