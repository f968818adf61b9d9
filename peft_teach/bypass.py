"""What an adapter answers for its base: a model may look at one's weight instead of calling it.

T5 asks for `wo.weight.dtype`, and ModernBERT asks a block for its `attention_type`. Some of torch's
modules, `guards.READERS`, compute with a weight themselves, and would so bypass an adapter: there
it answers with an `Asked`, a weight whose dtype, shape and numbers can be read, and which raises
where torch computes with it and another tensor. Torch's fast paths avoid such a weight.
"""

from typing import Any

from torch import Tensor, nn

from .errors import NotSupported

ANSWERED = ("weight", "bias", "attention_type")    # what an adapter lets its base answer for


class Asked(Tensor):
    """The weight of an adapted module: it can be asked about, and not be computed with.

    Passed beside another tensor it raises `NotSupported`, which names the module, `of`.
    """

    of = ""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        given = [x for x in (*args, *(kwargs or {}).values()) if isinstance(x, Tensor)]
        if any(not isinstance(x, cls) for x in given):
            name = next((x.of for x in given if isinstance(x, cls)), "")
            raise NotSupported(f"{func.__name__} computes with the weight of {name}, and would "
                               "pass its adapter by.", expected="a module that the model calls",
                               hint="adapt the module around it, or pt.disabled(model)")
        return super().__torch_function__(func, types, args, kwargs or {})


def answer(base: nn.Module, name: str, read_as: str) -> Any:
    """Return what a base has under this name; as an `Asked`, if its weight is `read_as` one."""
    found = getattr(base, name)
    if read_as and isinstance(found, Tensor):
        found = found.as_subclass(Asked)
        found.of = read_as
    return found
