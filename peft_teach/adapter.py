"""The idea that carries the library: an adapter holds one frozen module, its base.

Every parameter that an `Adapter` registers *outside* `base` is its own. From this single rule
follow freezing, counting, saving, disabling, merging and removing, the same for every method:

    class LoRALinear(Adapter):
        def __init__(self, base, rank):
            super().__init__(base)
            self.A = nn.Parameter(...)      # its own
            ...
"""

import functools
from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from .errors import BadConfig, NotMergeable, NotSupported, kind_of
from .weight_proxy import ANSWERED, answer
from .wrapped import refuse_wrapped

T = TypeVar("T")


class Adapter(nn.Module):
    """A module around one frozen module, `base`; a method is a subclass with its own `forward`.

    Own parameters are float32, whatever the dtype of the base (`attach` sees to that). A correction
    u of the base's output y is computed with them and added before rounding: `(y + u).to(y.dtype)`.
    If u is rounded first, as under `torch.autocast`, half precision loses small corrections.
    `forward` need not check `enabled`: a disabled adapter calls its base (`__init_subclass__`).
    """

    read_as = ""          # its name in the model, for an error to say
    read_whole = False    # inside one of torch's modules, which look at more than a weight

    def __init__(self, base: nn.Module):
        super().__init__()
        if isinstance(base, Adapter):
            raise BadConfig(f"The base is {kind_of(base)}, an adapter itself.",
                            expected="the module that it wraps, or one in which adapters are",
                            hint="pt.merge or pt.remove that one first")
        self.base = base
        self.disabled_by = []    # open blocks of `core.disabled`

    def own_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters that are not the base's, by name."""
        return {n: p for n, p in self.named_parameters() if not n.startswith("base.")}

    def stored(self) -> Mapping[str, Tensor]:
        """Return what a file keeps of this adapter: its own parameters, or what a subclass says."""
        return self.own_parameters()

    def merged(self) -> nn.Module:
        """Return a new plain module with the same output; change nothing."""
        raise NotMergeable(f"{type(self).__name__} cannot be folded into {kind_of(self.base)}.",
                           hint="keep the adapter on the model, or pt.remove it")

    # ── disabled in a block of `core.disabled` ───────────────────────────────────────────────────

    @property
    def enabled(self) -> bool:
        """Whether it acts: no block of `disabled` is open."""
        return len(self.disabled_by) == 0    # torch.compile watches the length

    def __init_subclass__(cls):
        """Let a subclass's `forward`, as the class defines it, be the base's while disabled."""
        super().__init_subclass__()
        forward = cls.forward    # its own, or one that it inherits
        if forward in [known.forward for known in cls.__bases__ if issubclass(known, Adapter)]:
            return    # it asks already

        @functools.wraps(forward)
        def forward_or_base(self, *args, **kwargs):
            if not self.enabled:
                return self.base(*args, **kwargs)
            return forward(self, *args, **kwargs)

        cls.forward = forward_or_base

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle is made of: an open block would disable it for ever."""
        return vars(self) | {"disabled_by": []}

    # ── where a model looks at a weight, instead of calling its module ────────────────────────────

    def __getattr__(self, name: str) -> Any:
        """Let the base answer a model that looks at its weight: see `weight_proxy`."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name not in ANSWERED and not self.read_whole:
                raise
        base = self.base
        return answer(base, name, self.read_as) if self.enabled else getattr(base, name)

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        self._free(name, "_parameters")
        super().register_parameter(name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        self._free(name, "_buffers")
        super().register_buffer(name, tensor, persistent)

    def add_module(self, name: str, module: nn.Module | None) -> None:
        self._free(name, "_modules")
        super().add_module(name, module)

    def _free(self, name: str, table: str) -> None:
        """Free a name for an own tensor or module: as the base answers, torch finds it taken."""
        if name in ANSWERED and name not in self._parameters | self._buffers | self._modules:
            if self.read_as:
                raise NotSupported(f"{self.read_as} would get a {name} of its own.",
                                   expected="own parameters that its __init__ makes",
                                   hint="pt.remove(model) first, and adapt the changed model")
            vars(self)[table][name] = None


# ── adapters on a model, by name ─────────────────────────────────────────────────────────────


def adapters(model: nn.Module) -> dict[str, Adapter]:
    """Return the adapters on a model by the name of the module that each one wraps."""
    refuse_wrapped(model)
    return {plain_name(model, n): m for n, m in model.named_modules() if isinstance(m, Adapter)}


def plain_name(model: nn.Module, name: str) -> str:
    """Return a module or parameter name as it is in the unadapted model."""
    module, parts = model, []
    for part in name.split("."):
        if not (isinstance(module, Adapter) and part == "base"):
            parts.append(part)
        module = getattr(module, part, None)
    return ".".join(parts)


def by_plain_name(model: nn.Module, by_name: Mapping[str, T]) -> dict[str, T]:
    """Return what is named as in this model by the names of the unadapted model."""
    return {plain_name(model, name): value for name, value in by_name.items()}


def full_name(name: str, own: str) -> str:
    """Return the full name of what an adapter calls `own`: a bare backbone's own name is ""."""
    return f"{name}.{own}" if name else own
