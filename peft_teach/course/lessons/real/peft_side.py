"""What peft makes of files: false ones, and what it answers beside the reader's own methods.

Everything that is here needs peft; where it is not installed, the lesson shows its record instead.
"""

import copy
import importlib.util
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ....adapter import adapters
from ....contents import head_state
from ....models import cache_name
from ...desk import live
from .files import FRONT, File, spoil

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


# ── every method that peft has ───────────────────────────────────────────────────────────────

PARTS = {"prompt": ("prompt.front",), "prefix": ("prefix.front",), "IA³": ("ia3.layer",),
         "LoRA": ("lora.layer",), "QLoRA": ("lora.layer", "qlora.layer"), "DoRA": ("dora.layer",)}
NAMES = {"A": "lora_A.weight", "B": "lora_B.weight", "m": "lora_magnitude_vector", "l": "ia3_l"}


def beside(method: str, parts: Sequence[Any], base: nn.Module, inject: Callable,
           batch: Mapping[str, Tensor]) -> dict[str, float]:
    """How far the reader's method and peft's move the logits, and differ, with the same numbers.

    `parts` are the reader's answers to the exercises in `PARTS`.
    """
    plain, ours, theirs = (in_front(method, *parts, batch) if method in ("prompt", "prefix")
                           else in_layers(method, *parts, base=base, inject=inject, batch=batch))
    return {"ours": gap(ours, plain), "peft": gap(theirs, plain), "off": gap(ours, theirs)}


def in_front(method: str, part: Callable, batch: Mapping[str, Tensor]) -> list[Tensor]:
    """Logits of a small Llama: alone, behind the reader's vectors, and behind peft's."""
    import transformers

    with torch.random.fork_rng():
        torch.manual_seed(0)
        small = transformers.LlamaForCausalLM(transformers.LlamaConfig(
            vocab_size=97, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, initializer_range=0.2)).eval()
        P, K, V = torch.randn(5, 32), *torch.randn(2, 2, 5, 32)    # K, V: (layers, length, d)
    ids, mask = batch["input_ids"] % 97, batch["attention_mask"].clone()
    words = {"input_ids": ids, "attention_mask": mask}
    if method == "prompt":
        flat, ours = P, logits(part(copy.deepcopy(small), P), words)
    else:
        flat = torch.stack([K, V]).permute(2, 1, 0, 3).flatten(1)    # (length, layers · 2 · d)
        pairs, wide, positions = part(K, V, mask, 4)
        with torch.no_grad():
            ours = small(ids, wide.long(), positions,
                         **{cache_name(): transformers.DynamicCache(pairs)}).logits
    theirs, _ = load(small, {"prompt_embeddings": flat}, {
        "peft_type": f"{method.upper()}_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": 5,
        "token_dim": 32, "num_layers": 2, "num_attention_heads": 4,
        "num_transformer_submodules": 1})
    found = logits(small, words), ours, logits(theirs, words)[:, -ids.shape[1]:]
    return [each[mask.bool()] for each in found]    # peft gives logits for its prompt, too


def in_layers(method: str, layer: Callable, four_bits: Callable = copy.deepcopy, *,
              base: nn.Module, inject: Callable, batch: Mapping[str, Tensor]) -> list[Tensor]:
    """Logits of a model under one head: without layers, with the reader's, and with peft's.

    For QLoRA peft's base, and the first, have the weights that the reader's four bits give.
    """
    settings = {"target_modules": ["query", "value"], "modules_to_save": ["classifier"]} | (
        {"peft_type": "IA3", "feedforward_modules": []} if method == "IA³" else
        {"peft_type": "LORA", "r": 4, "lora_alpha": 12, "use_dora": method == "DoRA"})
    rest = ("output",) if method == "IA³" else (4, 12)
    model = inject(copy.deepcopy(base), ("query", "value"),
                   lambda linear: layer(four_bits(linear), *rest)).eval()
    fill(model)
    tensors, base = {FRONT + n: p for n, p in head_state(model).items()}, copy.deepcopy(base)
    for name, adapter in adapters(model).items():
        linear = base.get_submodule(name)
        linear.weight.data = four_bits(linear).weight.detach()
        tensors |= {f"{FRONT}{name}.{NAMES[own]}": p.detach()[:, None] if own == "l" else p
                    for own, p in adapter.own_parameters().items()}
    theirs, _ = load(base, tensors, settings)
    base.load_state_dict(head_state(model), strict=False)
    return [logits(each, batch) for each in (base, model, theirs)]


@torch.no_grad()
def fill(model: nn.Module) -> None:
    """Add numbers to everything that trains."""
    generator = torch.Generator().manual_seed(0)
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
