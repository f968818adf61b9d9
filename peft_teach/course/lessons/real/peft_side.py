"""What peft makes of files, right and false; without peft the lesson shows its record."""

import copy
import importlib.util
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ....adapter import adapters
from ...desk import live
from .files import File, silent, spoil

HARMLESS = "is_gradient_checkpointing"    # peft's own code asks transformers by an old name
warnings.filterwarnings("ignore", f"`{HARMLESS}`")
logging.getLogger("bitsandbytes").setLevel(logging.CRITICAL)    # of kernels that nobody needs here
REFUSED, WARNED, SILENT = "refuses it", "warns", "says nothing"


def installed() -> bool:
    """Whether peft can be imported here."""
    return importlib.util.find_spec("peft") is not None


def load(base: nn.Module, tensors: Mapping[str, Tensor],
         settings: Mapping[str, Any]) -> tuple[Any, str]:
    """Load a file with peft into a copy of `base`; the model, or None, and what peft said."""
    import peft

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        save_file({name: t.detach().contiguous() for name, t in tensors.items()},
                  Path(folder) / "adapter_model.safetensors", {"format": "pt"})
        (Path(folder) / "adapter_config.json").write_text(json.dumps(settings), "utf-8")
        try:
            model = peft.PeftModel.from_pretrained(copy.deepcopy(base), folder).eval()
        except (RuntimeError, ValueError, KeyError):
            return None, REFUSED
    said = [each for each in heard if HARMLESS not in str(each.message)]
    return model, WARNED if said else SILENT


def false_files(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> dict[str, File]:
    """Six false files, made from a right one, by what is wrong with them; then one of them again.

    The last one lacks the head, too, and no setting of it names a head.
    """
    first = next(name for name in tensors if "lora_A" in name)
    half = [name for name in settings["target_modules"] if name.endswith("query")]
    return {
        "A and B exchanged": silent(tensors, settings, "exchanged"),
        "a false scale": silent(tensors, settings, "scale"),
        "the head left out": spoil(tensors, settings, "head"),
        "half of the targets left out": (dict(tensors), settings | {"target_modules": half}),
        "one name misspelled": ({name.replace("lora_A", "loraA") if name == first else name: t
                                 for name, t in tensors.items()}, dict(settings)),
        "r is not the rank": (dict(tensors), settings | {"r": settings["r"] + 1}),
        "the head left out, and not named": silent(tensors, settings, "head"),
    }


def logits(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """The logits of a batch, without its labels."""
    return live.logits(model, [batch])


def gap(a: Tensor, b: Tensor) -> float:
    """The largest difference of two models' logits, in shares of the largest logit of the first."""
    return ((a - b).abs().max() / a.abs().max()).item()


def complaints(base: nn.Module, ours: nn.Module, file: File, batch: Mapping) -> pandas.DataFrame:
    """What peft says of the right file and of false ones, and how far its logits are off."""
    right, rows = logits(ours, batch), []
    for name, each in ({"yours": file} | false_files(*file)).items():
        model, said = load(base, *each)
        rows.append({"file": name, "peft": said,
                     "off": None if model is None else gap(right, logits(model, batch))})
    return pandas.DataFrame(rows).set_index("file")


def knob(model: nn.Module, batch: Mapping[str, Tensor]) -> Callable[[float], Tensor]:
    """A function of f: the logits of a model of peft's, or of ours, with its update times f.

    For ours, B is multiplied: a reader's scale may be a property.
    """
    ours = [layer.B for layer in adapters(model).values()]
    theirs = [m for m in model.modules() if isinstance(getattr(m, "scaling", None), dict)]

    def ask(f: float) -> Tensor:
        before = [B.detach().clone() for B in ours], [dict(each.scaling) for each in theirs]
        for B in ours:
            B.data.mul_(f)
        for each in theirs:
            each.scaling.update({name: s * f for name, s in each.scaling.items()})
        try:
            return logits(model, batch)
        finally:
            for B, was in zip(ours, before[0]):
                B.data.copy_(was)
            for each, scaling in zip(theirs, before[1]):
                each.scaling.update(scaling)

    return ask


@torch.no_grad()
def fill(model: nn.Module) -> None:
    """Add numbers to everything that trains."""
    generator = torch.Generator().manual_seed(0)
    for p in model.parameters():
        if p.requires_grad:
            p.add_(torch.randn(p.shape, generator=generator).to(p.device) * 0.05)
