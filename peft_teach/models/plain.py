"""Back to a plain transformers model; until then its `save_pretrained` refuses."""

from torch import nn

from .. import overrides
from ..adapter import Adapter
from ..errors import NotSupported
from ..wrapped import need_model
from .layers import converted, quantized, to_conv1d
from .replacing import keep_mark, replace


def to_hf(model: nn.Module) -> nn.Module:
    """Return the plain transformers model again: converted layers become what they were.

    A 4-bit layer becomes a plain one, too, whose weight keeps the rounding. Raises `NotSupported`
    while an adapter is on the model: merge or remove it first.
    """
    need_model(model)
    if any(isinstance(module, Adapter) for module in model.modules()):
        raise NotSupported("This model carries an adapter, which a plain model cannot hold.",
                           hint="model = pt.merge(model) or pt.remove(model), then to_hf(model)")
    for name, layer in quantized(model).items():
        replace(model, name, keep_mark(layer.to_linear(), layer))
    for name, layer in converted(model).items():
        replace(model, name, to_conv1d(layer))
    guard_save(model)
    return model


def guard_save(model: nn.Module) -> None:
    """Make `save_pretrained` refuse where it would lie.

    With converted or 4-bit layers it would write a checkpoint with transposed weights or bytes,
    without a warning; and a mean-pooled model would come back pooling [CLS].
    """
    lies = bool(converted(model) or quantized(model) or is_mean_pooled(model))
    overrides.override(model, "save_pretrained", _refuse_save, lies)


def _refuse_save(*args, **kwargs):
    raise NotSupported("save_pretrained would write a checkpoint that no library reads as this "
                       "model: it holds converted or 4-bit layers, or a mean-pooled head.",
                       hint="pt.models.to_hf(model).save_pretrained(path), but for the mean-pooled "
                            "head, which transformers has no class for")


def is_mean_pooled(model: nn.Module) -> bool:
    """Return whether this model's head reads a mean: a class that transformers does not have."""
    return type(model).__module__ == f"{__package__}.mean_pooled"
