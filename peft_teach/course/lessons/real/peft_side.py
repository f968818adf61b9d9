"""What peft makes of files: false ones, and those of every piece that it knows.

Everything that is here needs peft; where it is not installed, the lesson shows its record instead.
"""

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

from ....core import adapters, head_state
from ... import live
from .toy import FRONT, File, spoil

HARMLESS = "is_gradient_checkpointing"    # peft's own code asks transformers by an old name
warnings.filterwarnings("ignore", f"`{HARMLESS}`")
logging.getLogger("bitsandbytes").setLevel(logging.CRITICAL)    # of kernels that nobody needs here
REFUSED, WARNED, SILENT = "refuses it", "warns", "says nothing"


def installed(name: str = "peft") -> bool:
    """Whether this library can be imported here."""
    return importlib.util.find_spec(name) is not None


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
    """Six false files, made from a right one, by what is wrong with them."""
    other = spoil(dict(tensors), dict(settings), "exchanged")[0]
    first = next(name for name in tensors if "lora_A" in name)
    half = [name for name in settings["target_modules"] if name.endswith("query")]
    return {
        "A and B exchanged": (other, dict(settings)),
        "a false scale": (dict(tensors), settings | {
            "use_rslora": not settings.get("use_rslora")}),
        "the head left out": (spoil(dict(tensors), {}, "head")[0],
                              {k: v for k, v in settings.items()
                               if k not in ("modules_to_save", "task_type")}),
        "half of the targets left out": (dict(tensors), settings | {"target_modules": half}),
        "one name misspelled": ({name.replace("lora_A", "loraA") if name == first else name: t
                                 for name, t in tensors.items()}, dict(settings)),
        "r is not the rank": (dict(tensors), settings | {"r": settings["r"] + 1}),
    }


def logits(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """The logits of a batch, without its labels."""
    return live.logits(model, [batch])


def gap(a: Tensor, b: Tensor) -> float:
    """The largest difference of two models' logits, in shares of the largest logit of the first."""
    return ((a - b).abs().max() / a.abs().max()).item()


def complaints(base: nn.Module, ours: nn.Module, file: File, batch: Mapping) -> pandas.DataFrame:
    """What peft says of the right file and of six false ones, and how far its logits are off."""
    right, rows = logits(ours, batch), []
    for name, each in ({"yours": file} | false_files(*file)).items():
        model, said = load(base, *each)
        rows.append({"file": name, "peft": said,
                     "off": None if model is None else gap(right, logits(model, batch))})
    return pandas.DataFrame(rows).set_index("file")


def knob(model: nn.Module, batch: Mapping[str, Tensor]) -> Callable[[float], Tensor]:
    """A function of f: the logits of a model of peft's, or of ours, with its update times f.

    Of ours B is turned: a reader's scale may be a property.
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


# ── every piece that peft knows ──────────────────────────────────────────────────────────────


def every_piece(base: nn.Module, inject: Callable, pieces: Mapping[str, Any],
                batch: Mapping[str, Tensor]) -> pandas.DataFrame:
    """Put each piece on the model, fill it with numbers, and compare with peft's own layers."""
    common = {"target_modules": ["query", "value"], "modules_to_save": ["classifier"]}
    lora = common | {"peft_type": "LORA", "r": 4, "lora_alpha": 12}
    kinds = {"LoRALinear": (lambda b: pieces["LoRALinear"](b, 4, 12), lora),
             "DoRALinear": (lambda b: pieces["DoRALinear"](b, 4, 12), lora | {"use_dora": True}),
             "Gains": (lambda b: pieces["Gains"](b, "output"),
                       common | {"peft_type": "IA3", "feedforward_modules": []})}
    rows = []
    for name, (make, settings) in kinds.items():
        model = inject(copy.deepcopy(base), ("query", "value"), make).eval()
        fill(model)
        tensors = {FRONT + n: p for n, p in head_state(model).items()} | {
            f"{FRONT}{n}.{NAMES[own]}": p.detach()[:, None] if own == "l" else p
            for n, layer in adapters(model).items() for own, p in layer.own_parameters().items()}
        theirs, said = load(base, tensors, settings)
        right = logits(model, batch)
        rows.append({"piece": name, "tensors": len(tensors), "peft": said,
                     "moved": gap(right, logits(base, batch)),
                     "off": gap(right, logits(theirs, batch))})
    return pandas.DataFrame(rows).set_index("piece")


NAMES = {"A": "lora_A.weight", "B": "lora_B.weight", "m": "lora_magnitude_vector", "l": "ia3_l"}


@torch.no_grad()
def fill(model: nn.Module, seed: int = 0) -> None:
    """Add numbers to everything that trains."""
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        if p.requires_grad:
            p.add_(torch.randn(p.shape, generator=generator).to(p.device) * 0.05)


def four_bits(linear: nn.Linear, Linear4bit: Any) -> pandas.Series:
    """A reader's layer of four bits beside bitsandbytes': W as both read it, and the bytes."""
    import bitsandbytes

    packed, state = bitsandbytes.functional.quantize_nf4(linear.weight.detach().cpu())
    theirs = bitsandbytes.functional.dequantize_4bit(packed, state)
    ours = Linear4bit(linear.cpu())
    held = sum(b.numel() * b.element_size() for name, b in ours.named_buffers() if name != "bias")
    return pandas.Series({
        "entries of W": theirs.numel(),
        "entries that differ": int(((ours.weight.detach() - theirs).abs() > 1e-6).sum()),
        "bytes, yours": held,
        "bytes, bitsandbytes": packed.numel() + state.absmax.numel() * state.absmax.element_size()})
