"""QLoRA: hold the frozen weights in four bits, and train LoRA beside them.

    y = x Ŵᵀ + b + s (x Aᵀ) Bᵀ            Ŵ = dequantize(quantize(W)),   s as in LoRA

    symbol  shape           trained  starts as
    x       (…, n_in)       –        the layer's input
    Ŵ       (n_out, n_in)   no       W in NF4, 4.127 bits a weight; dequantized at each use
    b       (n_out,)        no       the pretrained bias, as it was
    A, B    as in LoRA      yes      as in LoRA, float32

Nothing new is computed. `inject` swaps linear layers for `nf4.Linear4bit`, which holds W as
`quantized`, and puts `LoRALinear` (or `DoRALinear`) around them. Together their forward is:

    y = F.linear(x, dequantize(quantized), b)       # (…, n_out); Ŵ is made here, and not kept
    return y + s * (x @ A.T) @ B.T                  # (…, n_out)

Gradients flow through Ŵ to the input and into A and B; Ŵ itself never changes. Cost: LoRA's
parameters; a quarter of the weights' bytes in bfloat16, an eighth of those in float32; and Ŵ made
twice a step, once forward and once backward.

At the start the model computes what its 4-bit base computes, which is near the pretrained model
but not equal to it.

Source: Dettmers et al. 2023, arXiv 2305.14314, §3 (the equation), §4 (LoRA on all linear layers of
the blocks). Left out, as it is about memory on a GPU: the paged optimizer.
One deviation from the paper: A and B, and their products, are float32, where the paper has them
in bfloat16.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from torch import nn

from .. import models
from ..core import all_or_nothing, prepare, wrap
from ..errors import BadConfig
from ..models.replacing import keep_mark
from ..nf4 import EXPECTED_SIZE, Linear4bit, is_block_size
from ..settings import Alpha, Layers, Rank, Settings, Share, Targets, checked
from .dora import DoRALinear
from .lora import LINEAR_LEARNING_RATE, LoRALinear, usual_learning_rate

LEARNING_RATE = LINEAR_LEARNING_RATE    # learns on both models: assets/records/rates.json


@dataclass(frozen=True)
class Config(Settings):
    """What is held in 4 bits, and which correction is trained where.

    `quantize` and `targets` are places or module names; None means all linear layers of the
    blocks, and for `targets` the same as `quantize`. `layers` are block numbers for the targets
    (None for all). `double` quantizes the block maxima, too; `dora` trains DoRA instead of LoRA.
    The other fields mean what they mean in `lora.Config`.
    """

    rank: Rank = 8
    alpha: Alpha = 16.0
    dropout: Share = 0.0
    rank_stabilized: bool = False
    targets: Targets = None
    layers: Layers = None
    quantize: Targets = None
    block_size: Annotated[int, checked(is_block_size, EXPECTED_SIZE)] = 64
    double: bool = True
    dora: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.dora and self.rank_stabilized:
            raise BadConfig("rank_stabilized is a scale for LoRA, and dora is set.",
                            expected="one of the two")

    def learning_rate(self, model: nn.Module) -> float:
        return usual_learning_rate(model)


def inject(model: nn.Module, config: Config | None = None) -> nn.Module:
    """Quantize the base, put LoRA on the targets, freeze the rest but the head.

    Returns the model to keep. On a base that has layers in 4 bits already, only the others are
    quantized; settings that differ from theirs raise `BadConfig`. After any error the model is as
    it was; the exact weights are gone only when this returns.
    """
    note, config = prepare(model, config, Config)    # takes fingerprints of the exact weights
    places = models.linear_places(model) if config.quantize is None else config.quantize
    targets = places if config.targets is None else config.targets

    def make(base: nn.Linear | Linear4bit) -> LoRALinear:
        if config.dora:
            return DoRALinear(base, config.rank, config.alpha, config.dropout)
        return LoRALinear(base, config.rank, config.alpha, config.dropout, config.rank_stabilized)

    with all_or_nothing(model):
        _quantize(model, models.find(model, places), note.fingerprint, config)
        makers = dict.fromkeys(models.find(model, targets, config.layers), make)
        return wrap(model, note, makers, config.also_train)


def _quantize(model: nn.Module, names: tuple[str, ...], fingerprint: Mapping[str, list],
              config: Config) -> None:
    """Hold linear layers of a model in 4 bits, but for those that are already.

    Each keeps the `fingerprint` of its exact weight: by it a file recognizes its base. Raises
    `BadConfig` for other settings than those of a layer that is in 4 bits, or for a weight of the
    task head. The layers before it are in 4 bits by then.
    """
    for name in names:
        layer, weight = model.get_submodule(name), f"{name}.weight"
        if isinstance(layer, Linear4bit):
            if (layer.block_size, layer.double_quantized) != (config.block_size, config.double):
                raise BadConfig(f"{name} is in 4 bits already, with block_size={layer.block_size} "
                                f"and double={layer.double_quantized}.",
                                expected="the same settings: quantizing twice would round twice",
                                hint="load a fresh model to quantize it in another way")
            continue
        if weight not in fingerprint and hasattr(layer, "weight"):
            raise BadConfig(f"The weight of {name} belongs to the task head, or is shared.",
                            expected="layers of the backbone with a weight of their own")
        layer = models.as_linear(layer)
        packed = Linear4bit.from_linear(layer, config.block_size, config.double)
        packed.fingerprint = fingerprint[weight]
        models.replace(model, name, keep_mark(packed, layer))
