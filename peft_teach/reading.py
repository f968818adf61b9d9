"""An adapter's folder, read without trust: what it says, and whether that fits the model."""

from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from . import fingerprints, folder, models
from .adapter import by_plain_name
from .errors import AdapterFileError, PeftTeachError
from .folder import as_path
from .methods import METHODS
from .nf4 import Linear4bit
from .valid import is_integer
from .writing import DESCRIPTION, TENSORS

AXES = ("rank", "size", "length", "projection")    # settings that are an axis of a tensor
SHORT = 64    # steps along such an axis that are soon built, whatever else a file lacks


class AdapterFile(NamedTuple):
    """A folder as it was read, in the form that `save` writes: what its json says, its tensors."""

    path: str | Path
    method: Any    # its name; None after a bare `attach`
    says: dict[str, Any]
    tensors: dict[str, Tensor]

    def module(self) -> Any:
        """Return the module of the file's method; `AdapterFileError` if no method here is that."""
        if self.method is None:
            raise AdapterFileError(f"{self.path} was saved after a bare pt.attach, so no method is "
                                   "named.",
                                   hint="pt.load(model, path, make=...) with the class or function "
                                        "that pt.attach had, on a model without adapters")
        if self.method not in METHODS:
            raise AdapterFileError(f"{self.path} holds the method {self.method!r}.",
                                   expected="one of " + ", ".join(METHODS))
        return METHODS[self.method]

    def config(self) -> Any:
        """Return the settings of the file's method, which a stranger may have written."""
        method = self.module()
        try:
            return method.Config(**{k: tuple(v) if isinstance(v, list) else v
                                    for k, v in self.says["config"].items()})
        except (PeftTeachError, TypeError) as error:
            raise AdapterFileError(f"{self.path} has settings that this method does not know: "
                                   f"{getattr(error, 'found', error)}") from error

    def check_base(self, base: dict, model: nn.Module) -> None:
        """Compare two fingerprints: names, shapes, and values to the precision of half floats.

        A buffer is passed over if only one of them has it, as older files have none, or if it comes
        with the file, as what a head counts does.
        """
        saved, right = self.says["base"], "the base that the adapter was trained on"
        made = f"{self.path} was made for"
        buffers = by_plain_name(model, dict(model.named_buffers())).keys()
        differ = (saved.keys() ^ base.keys()) - buffers
        if differ:
            name = sorted(differ)[0]
            where = "only the file" if name in saved else "only this model"
            raise AdapterFileError(f"{made} another model: {where} has {name}.", expected=right)
        for name in [n for n in saved if n in base and not (n in buffers and n in self.tensors)]:
            shape, values = saved[name]
            if shape != base[name][0]:
                raise AdapterFileError(f"{made} another model: {name} is {base[name][0]} here, "
                                       f"{shape} there.", expected=right)
            if not fingerprints.close(values, base[name][1]):
                raise AdapterFileError(f"{made} a model with other weights: {name} differs.",
                                       expected=right,
                                       hint="load the pretrained model afresh; a merged or fully "
                                            "fine-tuned model is another base")

    def check_drawn(self, drawn: dict) -> None:
        """Compare what was drawn from a seed when the file was saved with what is drawn here."""
        saved = self.says["drawn"]
        for name in sorted(saved.keys() | drawn.keys()):
            (shape, values), (drawn_shape, drawn_values) = (
                table.get(name, [None, []]) for table in (saved, drawn))
            if shape != drawn_shape or not fingerprints.close(values, drawn_values):
                raise AdapterFileError(f"{self.path} was saved with another {name}: its seed draws "
                                       "other values here.",
                                       expected="those that it was trained with",
                                       hint="the version of torch that the adapter was trained "
                                            "with")

    def check_axes(self, model: nn.Module, config: Any) -> None:
        """Refuse an axis that the file has too few numbers for, before anything of it is built.

        For each step along its axis, every method has at least as many numbers as the narrowest
        linear layer of the backbone has features. A short axis is built, to say what is missing.
        """
        longest = max((n for t in self.tensors.values() for n in t.shape), default=0)
        fills = sum(t.numel() for t in self.tensors.values()) // _narrowest(model)
        most = min(longest, max(fills, SHORT))
        for name in AXES:
            claimed = getattr(config, name, None)
            if is_integer(claimed, most + 1):
                raise AdapterFileError(f"{self.path} has settings that do not fit its tensors: "
                                       f"{name} {claimed}.",
                                       expected="the settings as pt.save wrote them")


def read(path: str | Path) -> AdapterFile:
    """Read a folder that `save` wrote; raise `AdapterFileError` for another, or a damaged one."""
    is_peft = (as_path(path) / "adapter_config.json").is_file()
    description, tensors = folder.read(path, DESCRIPTION, TENSORS, "pt.save",
                                      "pt.export.from_peft(model, path) reads a folder of peft's"
                                      if is_peft else
                                      "pt.saved(folder) shows the adapters in a folder")
    if not _is_description(description):
        raise AdapterFileError(f"{path} does not describe an adapter of this version.",
                               expected="format 1, with method, config and base")
    return AdapterFile(path, description["method"], description, tensors)


def _is_description(says) -> bool:
    """Return whether parsed json has the form that `save` writes, down to each number."""
    if not isinstance(says, dict) or says.get("format") != 1 or not isinstance(
            says.get("quantized"), bool):
        return False
    base, drawn = says.get("base"), says.get("drawn")
    if not (isinstance(base, dict) and isinstance(drawn, dict)):
        return False
    named = isinstance(says.get("method"), str) and isinstance(says.get("config"), dict)
    bare = says.get("method", ...) is None and says.get("config", ...) is None and all(
        isinstance(names, list) and all(isinstance(n, str) for n in names)
        for names in (says.get("wrapped"), says.get("also_train")))
    return (named or bare) and all(
        isinstance(entry, list) and len(entry) == 2
        and all(isinstance(part, list) for part in entry)
        and all(type(v) is float and not abs(v) >= 1e39 for v in entry[1])    # or NaN
        for entry in (*base.values(), *drawn.values()))


def _narrowest(model: nn.Module) -> int:
    """Return the fewest features that go into or come out of a linear layer of the backbone."""
    head, sides = set(models.head(model)), []
    for name, module in model.named_modules():
        if f"{name}.weight" not in head:
            if models.is_conv1d(module):
                sides += module.weight.shape
            elif isinstance(module, nn.Linear | Linear4bit):
                sides += (module.in_features, module.out_features)
    return max(1, min(sides, default=1))
