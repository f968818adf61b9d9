"""What every merge is asked, whatever the method: is it a plain layer, and the old one untouched?

    MERGE = Merge(name="merged", layer=…, right=…, formula="W + s B A", praise=…)
    Exercise(…, run=MERGE.run, judge=MERGE.judge, returns=MERGE.returns, mistakes=MISTAKES | {…})

The learner's function takes a finished layer, which has the attributes that the task names and no
method that would do the work.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .exercise import Verdict
from .judge import changed, close, difference, named, recognised, rejected, stages
from .observe import Spy

Case = Mapping[str, Any]

MISTAKES = {
    "layer_changed": "The layer that is merged stays as it is, to be trained further or merged "
                     "again.",
    "dtype": "The merged layer has the dtype of the base.",
    "bias_lost": "The outputs need a bias as before.",
    "shared": "Training one would move the other: the new layer needs tensors of its own.",
    "device": "nn.Linear makes its parameters on the CPU unless it is told where; a base may lie "
              "on a GPU.",
}


@dataclass(frozen=True)
class Merge:
    """What the merge of one method must give."""

    name: str                                                # of the function that merges
    layer: Callable[[Case], nn.Module]                       # a finished layer
    right: Callable[[Case], tuple[Tensor, Tensor | None]]    # weight and bias, in the base's dtype
    formula: str                                             # of the weight, for the learner
    praise: str
    told: Callable[[Case], str] = lambda case: ""            # which layer it is, where that matters
    usual: Callable[[Case], Mapping[str, Tensor]] = lambda case: {}    # weights and biases
    keeps_device: bool = False                               # must it lie where the base does?

    def run(self, merge: Callable, case: Case) -> dict[str, Any]:
        """Merge a finished layer; report what came out, and what of the layer has changed."""
        layer = self.layer(case)
        before = _state(layer)
        linear = merge(layer)
        after = {name: value for name, value in _state(layer).items() if name in before}
        seen = {"type": named(linear), "is_linear": type(linear) is nn.Linear,
                "changed": changed(before, after)}
        if not seen["is_linear"]:
            return seen
        own = {p.data_ptr() for p in linear.parameters()}
        return seen | {"shared": not own.isdisjoint(p.data_ptr() for p in layer.parameters()),
                       "features": (linear.in_features, linear.out_features),
                       "weight": linear.weight.detach().clone(),
                       "bias": None if linear.bias is None else linear.bias.detach().clone(),
                       "at_home": not self.keeps_device or _at_home(merge, self.layer(case))}

    @property
    def returns(self) -> Any:
        """What `run` gives."""
        return stages({"type": str, "is_linear": bool, "changed": str},
                      {"shared": bool, "features": tuple[int, int], "weight": Tensor,
                       "bias": Tensor | None, "at_home": bool})

    def judge(self, case: Case, seen: Mapping) -> Verdict:
        """Ask for the layer that was left alone, the weight, and then the bias."""
        call, told = f"{self.name}(layer)", self.told(case)
        if seen["type"] == "None":
            return rejected("no_return")
        if seen["changed"]:
            return rejected("layer_changed", f"After {call}, layer.{seen['changed']} is not what "
                                             "it was.")
        if not seen["is_linear"]:
            return Verdict(False, f"{call} gave {seen['type']}; expected a new nn.Linear.")
        if seen["shared"]:
            return rejected("shared", "A parameter of the new layer is one of the old layer's own.")
        right, b = self.right(case)
        weight, bias, features = seen["weight"], seen["bias"], (*right.shape[::-1],)
        if seen["features"] != features:
            return Verdict(False, f"{told} in_features and out_features of the new layer are "
                                  f"{seen['features']}; expected {features}.".strip())
        if weight.dtype != right.dtype:
            return rejected("dtype", f"The base is {right.dtype}, the new weight {weight.dtype}.")
        if not close(weight, right):
            return Verdict(False, f"{told} It is not {self.formula}. "
                                  f"{difference('The weight', weight, right)}".strip(),
                           self._recognised(case, weight))
        if bias is None and b is not None:
            return rejected("bias_lost", "The base has a bias, the new layer has none.")
        if bias is not None and b is None:
            return Verdict(False, "The base has no bias, the new layer has one.")
        if bias is not None and b is not None and not close(bias, b):
            return Verdict(False, f"{told} {difference('The bias', bias, b)}".strip(),
                           self._recognised(case, bias))
        if not seen["at_home"]:
            return rejected("device", "With the base on another device than the CPU, the new layer "
                                      "is not where the base is.")
        return Verdict(True, self.praise)

    def _recognised(self, case: Case, found: Tensor) -> str | None:
        return recognised(self.usual(case), lambda usual: close(found, usual.to(found.dtype)))


def _state(layer: nn.Module) -> dict[str, Any]:
    """What a finished layer is: its plain attributes, its parameters, and which of them train."""
    state: dict[str, Any] = {}
    for path, module in layer.named_modules():
        state |= {f"{path}.{name}".lstrip("."): value for name, value in vars(module).items()
                  if not name.startswith("_")}
    for name, p in layer.named_parameters():
        state |= {name: p.detach().clone(), f"{name}.requires_grad": p.requires_grad}
    return state


def _elsewhere(function: Callable, args: tuple, kwargs: dict) -> Any:
    """Let "meta", a device without numbers, be read from the CPU, as a GPU can be: it holds zeros.

    So a base can lie on another device where there is no GPU.
    """
    if function is torch.ops.aten.copy_.default and args[1].is_meta:
        return args[0].zero_()
    if function is torch.ops.aten._to_copy.default and (device := kwargs.get("device")):
        return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype, device=device)
    return function(*args, **kwargs)


def _at_home(merge: Callable, layer: nn.Module) -> bool:
    """Whether the merged layer lies on the base's device, which is not torch's default here."""
    try:
        with torch.device("cpu"), Spy(run=_elsewhere):
            return all(p.is_meta for p in merge(layer.to("meta")).parameters())
    except RuntimeError as error:    # two devices meet, but in `p.data = …`, which a GPU allows
        return "incompatible tensor type" in str(error)
