"""Code that reads `module.weight` instead of calling the module would bypass the adapter.

It gets a weight that it can inspect but not compute with: T5 asks for `wo.weight.dtype`, but WavLM,
like some of torch's own modules, computes with one itself, which raises. Torch's fast paths avoid
such a weight. ModernBERT asks a block for its `attention_type`.
"""

from typing import Any

from torch import Tensor, nn

from .errors import NotSupported

ANSWERED = ("weight", "bias", "attention_type")    # what an adapter lets its base answer for


class ReadOnlyWeight(Tensor):
    """The weight of an adapted module: it can be asked about, and not be computed with.

    Passed beside another tensor it raises `NotSupported`, which names the module, `of`.
    """

    of = ""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        given = [x for x in (*args, *(kwargs or {}).values())
                 for x in (x if isinstance(x, list | tuple) else [x]) if isinstance(x, Tensor)]
        of = next((x.of for x in given if isinstance(x, cls) and x.of), "an adapted module")
        if any(not isinstance(x, cls) for x in given):
            raise NotSupported(f"{func.__name__} computes with the weight of {of}, and would "
                               "pass its adapter by.", expected="a module that the model calls",
                               hint="adapt the module around it, or read adapter.base.weight")
        out = super().__torch_function__(func, types, args, kwargs or {})
        if isinstance(out, cls):
            out.of = of
        return out


def answer(base: nn.Module, name: str, of: str) -> Any:
    """Return what a base has under this name; a plain tensor as a read-only one, `of` it."""
    found = getattr(base, name)
    if type(found) in (Tensor, nn.Parameter):    # another library's is more than its numbers
        found = found.as_subclass(ReadOnlyWeight)
        found.of = of
    return found
