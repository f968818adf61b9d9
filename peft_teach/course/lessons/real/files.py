"""A file of LoRA: as we write it, with faults that peft does not notice, and as peft reads it.

The rules are those of peft 0.21; `tests/course/test_real.py` puts the same files to peft itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ....adapter import adapters
from ....methods.lora import LoRALinear

FRONT = "base_model.model."
File = tuple[dict[str, Tensor], dict[str, Any]]


def trained(model: nn.Module, names: tuple[str, ...], rank: int, scale: float,
            seed: int = 0) -> nn.Module:
    """Put LoRA on these modules of a model; draw A, B and the head anew; return the model."""
    generator = torch.Generator().manual_seed(1000 + seed)
    for name in names:
        model.set_submodule(name, LoRALinear(model.get_submodule(name), rank, scale * rank))
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.copy_(torch.randn(p.shape, generator=generator) / p.shape[-1]**0.5)
    return model


def head_of(model: nn.Module) -> dict[str, Tensor]:
    """The head's tensors by their names."""
    return {name: p.detach().clone() for name, p in model.named_parameters()
            if name.startswith("classifier.")}


def turned(model: nn.Module, factor: float, x: Tensor) -> Tensor:
    """The logits with every update multiplied by `factor`."""
    found = adapters(model).values()
    before = [adapter.scale for adapter in found]
    for adapter in found:
        adapter.scale *= factor
    try:
        return model(x).detach()
    finally:
        for adapter, scale in zip(found, before):
            adapter.scale = scale


# ── files ────────────────────────────────────────────────────────────────────────────────────


def written(model: nn.Module, stabilized: bool = True) -> File:
    """The file of a model with LoRA: tensors and settings."""
    found = adapters(model)
    tensors = {f"{FRONT}{name}.lora_{own}.weight": getattr(layer, own).detach().clone()
               for name, layer in found.items() for own in "AB"}
    (rank, scale), = {(len(layer.A), layer.scale) for layer in found.values()}
    return tensors | {FRONT + name: t for name, t in head_of(model).items()}, {
        "peft_type": "LORA", "r": rank, "use_rslora": stabilized,
        "lora_alpha": scale * (rank**0.5 if stabilized else rank), "target_modules": [*found]}


def spoil(tensors: Mapping[str, Tensor], settings: Mapping[str, Any], *faults: str) -> File:
    """A file with these faults.

    "exchanged": A and B; "head": its tensors are left out; "louder": the head, with the same
    labels; "small" and "large", of a file of rsLoRA: the scale, by √r.
    """
    tensors, settings = dict(tensors), dict(settings)
    if "exchanged" in faults:
        other = {"lora_A": "lora_B", "lora_B": "lora_A"}
        tensors = {name: tensors[name.replace(own, other[own])].T.contiguous() if (
            own := name.split(".")[-2]) in other else t for name, t in tensors.items()}
    if "head" in faults:
        tensors = {name: t for name, t in tensors.items() if "lora_" in name}
    if "louder" in faults:
        tensors = {name: t if "lora_" in name else 1.3 * t for name, t in tensors.items()}
    if "small" in faults:
        settings["use_rslora"] = False
    if "large" in faults:
        settings["lora_alpha"] *= settings["r"]**0.5
    return tensors, settings


def silent(tensors: Mapping[str, Tensor], settings: Mapping[str, Any], *faults: str) -> File:
    """A file with these faults of "scale", "exchanged" and "head", none of which peft notices.

    The other scale is that of rsLoRA, or that without it. A head that is left out is not named.
    """
    tensors, settings = spoil(tensors, settings, *faults)
    if "scale" in faults:
        settings["use_rslora"] = not settings.get("use_rslora")
    if "head" in faults:
        for name in ("modules_to_save", "task_type"):
            settings.pop(name, None)
    return tensors, settings


# ── as peft reads it ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Read:
    """A model as peft would load it; the tensors it looked for in vain, and those it ignored."""

    model: nn.Module
    missing: tuple[str, ...]    # of these peft warns
    unread: tuple[str, ...]     # of these it says nothing


def targeted(model: nn.Module, wanted: Iterable[str]) -> list[str]:
    """The linear layers that `target_modules` means: whole names, or ends of names after a dot."""
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear)
            and any(f".{name}".endswith(f".{end}") for end in wanted)]


def saved(model: nn.Module, settings: Mapping[str, Any]) -> list[str]:
    """The modules that peft saves whole: their names end in a listed one, or it knows the task."""
    wanted = [*(settings.get("modules_to_save") or ())]
    if settings.get("task_type") in ("SEQ_CLS", "TOKEN_CLS"):
        wanted += ["classifier", "score"]
    return [name for name, _ in model.named_modules() if any(map(name.endswith, wanted))]


def scale_of(settings: Mapping[str, Any]) -> float:
    """s = alpha / rank, or alpha / √rank under rsLoRA."""
    rank = settings["r"]
    return settings["lora_alpha"] / (rank**0.5 if settings.get("use_rslora") else rank)


def read(model: nn.Module, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Read:
    """Load a file as peft does.

    Raises `ValueError` for another shape, for no target at all, or without a head that is named.
    """
    kept = saved(model, settings)
    names, rank = targeted(model, settings["target_modules"]), settings["r"]
    if not names:
        raise ValueError(f"no module is called {settings['target_modules']}")
    for name in names:
        model.set_submodule(name, LoRALinear(model.get_submodule(name), rank,
                                             scale_of(settings) * rank))
    places = {f"{FRONT}{name}.lora_{own}.weight": getattr(model.get_submodule(name), own)
              for name in names for own in "AB"}
    head = {FRONT + name: p for name, p in model.named_parameters()
            if name.startswith("classifier.")}
    for name, p in (places | head).items():
        if name in tensors and tensors[name].shape != p.shape:
            raise ValueError(f"{name} is {tuple(tensors[name].shape)}, here {tuple(p.shape)}")
        if name not in tensors and name in head and kept:
            raise ValueError(f"{name} is not here, and the settings name it")
        if name in tensors:
            p.data.copy_(tensors[name])
    return Read(model, tuple(name for name in places | head if name not in tensors),
                tuple(name for name in tensors if name not in places | head))
