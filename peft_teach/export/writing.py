"""A model's adapter and head as a folder of peft: which settings, and what they cannot say.

`WRITTEN` holds the methods that peft has, too, and `NOT_WRITTEN` why another cannot be written.
"""

import json
import re
from pathlib import Path

from torch import nn

from .. import contents, folder, models, notes
from ..adapter import Adapter, adapters, plain_name
from ..errors import NoAdapter, NotExportable, kind_of
from ..methods import dora, ia3, lora, prefix, prompt
from ..trained_copy import TrainedCopy
from ..writing import refuse_lost
from .modules import adapted, ends_in
from .tensors import head_tensors, tensors_of

TENSORS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"
PEFT_VERSION = "0.21.2"    # the format that is written here

# peft's name of a task by the ending of the model's class.
TASKS = {"ForSequenceClassification": "SEQ_CLS", "ForTokenClassification": "TOKEN_CLS",
         "ForQuestionAnswering": "QUESTION_ANS", "ForCausalLM": "CAUSAL_LM",
         "LMHeadModel": "CAUSAL_LM"}
# What is not written, and why; after a bare `attach` there is no method.
NOT_WRITTEN = {"full": "Full fine-tuning has no adapter: it changes the weights themselves.",
               "bitfit": "peft has no BitFit.", "bottleneck": "peft has no bottleneck adapters.",
               None: "After a bare pt.attach it is not known what the adapter computes."}
INPUT_TASKS = ("SEQ_CLS", "CAUSAL_LM", "FEATURE_EXTRACTION")    # for prompts and prefixes


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
    refuse_lost(model)
    settings = _settings(model, note)
    tensors = tensors_of(model) | head_tensors(model, contents.head_state(model))
    return folder.write(path, {
        TENSORS: folder.pack(contents.copies(tensors), {"format": "pt"}),
        SETTINGS: json.dumps(settings, indent=2, sort_keys=True).encode(),
    })


def _settings(model: nn.Module, note: notes.Note) -> dict:
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


def _saved(model: nn.Module, note: notes.Note) -> list[str]:
    """Return the modules of the head, and those of which a copy trains.

    peft takes every module whose name ends in one of these. `NotExportable` if it would take more.
    """
    copies = {n: a for n, a in adapters(model).items() if isinstance(a, TrainedCopy)}
    copied = [*copies]
    head = set(models.head(model))
    others = [name for name, _ in model.named_parameters() if name not in head]
    saved = [*dict.fromkeys(_module_of(n, others) for n in models.head(model)), *copied]
    plain = {plain_name(model, name) for name, _ in model.named_modules()} - {*saved}
    wrong = [name for name in saved if any(other.endswith(name) for other in plain)]
    wrong += [name for name, a in copies.items() if models.converted(a.base)]
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
    found = adapted(model)
    alpha = int(config.alpha) if config.alpha == int(config.alpha) else config.alpha
    return {"peft_type": "LORA", "r": config.rank, "lora_alpha": alpha,
            "lora_dropout": config.dropout, "bias": "none",
            "use_rslora": getattr(config, "rank_stabilized", False),
            "use_dora": any(isinstance(a, dora.DoRALinear) for a in found.values()),
            "lora_bias": getattr(config, "use_bias", False),
            "target_modules": _target_modules(model, config), "fan_in_fan_out": _converted(model)}


def _ia3_settings(model: nn.Module, config: ia3.Config) -> dict:
    inputs = [name for name, a in adapted(model).items() if a.side == "input"]
    return {"peft_type": "IA3", "target_modules": _target_modules(model, config),
            "feedforward_modules": inputs, "fan_in_fan_out": _converted(model)}


def _prompt_settings(model: nn.Module, config: prompt.Config) -> dict:
    (P,) = contents.added_parameters(model).values()
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
    names = tuple(adapted(model))
    targets = config.targets
    if targets is None and isinstance(config, lora.Config | dora.Config):
        targets = models.query_and_value(model)
    if targets:
        names = models.find(model, targets, config.layers)
    plain = {plain_name(model, name) for name, _ in model.named_modules()}
    if any(ends_in(other, name) for name in names for other in plain - {*names}):
        return "|".join(map(re.escape, names))
    return [*names]


def _converted(model: nn.Module) -> bool:
    """Return whether the base's own layers hold their weights as (n_in, n_out), as GPT-2's do."""
    return any(models.converted(adapter.base) for adapter in adapted(model).values())


def _task(model: nn.Module) -> str | None:
    """Return peft's name of this model's task; None if it has no name for it."""
    name = type(model.base if isinstance(model, Adapter) else model).__name__
    if (models.can_generate(model) and models.config_of(model).is_encoder_decoder
            and getattr(model, "main_input_name", None) == "input_ids"):
        return "SEQ_2_SEQ_LM"
    bare = getattr(model, "base_model", None) is model
    return next((task for ending, task in TASKS.items() if name.endswith(ending)),
                "FEATURE_EXTRACTION" if bare else None)


def _input_task(model: nn.Module) -> str:
    task = _task(model)
    if task not in INPUT_TASKS:
        raise NotExportable(f"What peft does with a prompt or a prefix before "
                            f"{kind_of(model)} is not known here.",
                            expected="a sequence classifier, a language model or a bare backbone")
    return task


def _public_name(model: nn.Module) -> str | None:
    """Return the base's name on the Hub; None for a folder of this machine, or no name."""
    name = getattr(getattr(model, "config", None), "_name_or_path", None) or ""
    on_hub = re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", name)
    return name if on_hub and not Path(name).exists() else None
