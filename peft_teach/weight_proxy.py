"""Code that reads `module.weight` instead of calling the module would bypass the adapter.

It gets a weight that it can inspect but not use: T5 asks for `wo.weight.dtype`, but WavLM, like
some of torch's own modules, multiplies by one itself, which raises. Torch's fast paths avoid such a
weight. ModernBERT asks a block for its `attention_type`.
"""

from typing import Any

from torch import Tensor, nn

from .errors import NotSupported

ANSWERED = ("weight", "bias", "attention_type")    # what an adapter lets its base answer for
WRITES = ("__set__", "__setitem__")    # beside torch's in-place functions, such as zero_


class ReadOnlyWeight(Tensor):
    """The weight of an adapted module: it can be read, also by `w.norm()`, and not be changed.

    Written to, or passed beside another tensor, it raises `NotSupported`, which names the module,
    `of`. What is computed of it alone is such a weight, too.
    """

    of = ""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = [x for x in (*args, *kwargs.values())
                 for x in (x if isinstance(x, list | tuple) else [x]) if isinstance(x, Tensor)]
        of = next((x.of for x in given if isinstance(x, cls) and x.of), "an adapted module")
        name = func.__name__
        if any(not isinstance(x, cls) for x in given):
            raise NotSupported(f"{name} computes with the weight of {of}, and would "
                               "pass its adapter by.", expected="a module that the model calls",
                               hint="adapt the module around it, or read adapter.base.weight")
        in_place = name[-1:] == "_" and name[-2:] != "__"    # in a form that torch.compile traces
        if in_place or name in WRITES or kwargs.get("out") is not None:
            raise NotSupported(f"{name} would change the weight of {of}, which is frozen.",
                               expected="a base that stays as it is",
                               hint="pt.remove(model) first, and adapt the changed model")
        out = super().__torch_function__(func, types, args, kwargs)
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
