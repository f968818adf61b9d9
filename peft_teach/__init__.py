"""peft-teach: parameter-efficient fine-tuning, learned by building it.

    import peft_teach as pt

    model, tokenizer = pt.models.load("minilm", labels=2)
    model = pt.lora.inject(model, pt.lora.Config(rank=8))
    for step in pt.train(model, batches): ...

Read `adapter` first, then `core`, which puts adapters onto a model, and `methods/lora`, one method.
What `core` stands on comes after: `models` (where a family's layers are), `notes` (the unadapted
model), `guards` (methods that would bypass adapters), `trained_copy` (what `also_train` adds).
"""

import sys
from typing import TYPE_CHECKING

import torch

# Installers see to both; this is for a checkout on the path, or a torch that was there before.
if sys.version_info < (3, 11) or tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6):
    raise ImportError(f"peft-teach found Python {sys.version.split()[0]} with torch "
                      f"{torch.__version__}, and needs Python 3.11 and torch 2.6, or later ones.")

from . import (
    account,
    data,
    errors,
    export,
    models,
    nf4,
    outlines,
    shapes,
    spectra,
    store,
    training,
)
from .adapter import Adapter, adapters
from .backbone import BackboneAdapter
from .contents import adapter_parameters, adapter_state
from .core import attach, disabled, merge, remove
from .errors import NotAttempted
from .evaluation import Evaluation, LanguageEvaluation, evaluate
from .methods import bitfit, bottleneck, dora, full, ia3, lora, prefix, prompt, qlora
from .models import best_device as device
from .progress_bar import bar
from .store import load, save, saved, swap
from .training import Step, seed, train

if TYPE_CHECKING:
    from . import course, drawing, plots, widgets
    from .course import (
        audit,
        check,
        commit,
        compare,
        doors,
        hint,
        progress,
        require,
        reset,
        verdict,
    )
    from .course import sentence as sentence
    from .course.desk import board, mine

__version__ = "0.1.0"

# Only when first used: matplotlib, ipywidgets, and the course with its grader.
_MODULES = ("course", "drawing", "plots", "widgets")
_OF_THE_COURSE = ("audit", "board", "check", "commit", "compare", "doors", "hint", "mine",
                  "progress", "require", "reset", "sentence", "verdict")

__all__ = [
    "Adapter", "BackboneAdapter", "Evaluation", "LanguageEvaluation", "NotAttempted", "Step",
    "account", "adapter_parameters", "adapter_state", "adapters", "attach", "audit", "bar",
    "bitfit", "board", "bottleneck", "check", "commit", "compare", "course", "data", "device",
    "disabled", "doors", "dora", "drawing", "errors", "evaluate", "export", "full", "hint", "ia3",
    "load", "lora", "merge", "mine", "models", "nf4", "outlines", "plots", "prefix", "progress",
    "prompt", "qlora", "remove", "require", "reset", "save", "saved", "seed", "sentence", "shapes",
    "spectra", "store", "swap", "train", "training", "verdict", "widgets",
]


def __getattr__(name: str):
    from importlib import import_module

    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name in _OF_THE_COURSE:
        globals()[name] = getattr(import_module(".course", __name__), name)    # not asked again
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
