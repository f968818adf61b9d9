"""What an optimizer is given: settings that can work, and groups of parameters that train."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .errors import BadConfig, NotSupported, kind_of
from .valid import is_number, is_positive, is_several, is_share
from .wrapped import is_sharded

# What a setting may be, and what to say where it is not; betas to weight_decay are AdamW's.
_SETTINGS = {
    "lr": (is_positive, "a positive, finite learning rate"),
    "betas": (lambda b: isinstance(b, tuple | list) and len(b) == 2 and all(map(is_share, b)),
              "two shares of what is remembered, from 0 to below 1"),
    "eps": (lambda x: is_number(x, 0) and x < math.inf, "a finite number from 0"),
    "weight_decay": (lambda x: is_number(x, 0) and x < math.inf, "a finite number from 0"),
    "warmup": (lambda x: is_number(x, 0, 1), "the share of steps in which the rate rises, 0 to 1"),
    "clip": (lambda x: is_number(x, 0) and x > 0,
             "the largest norm of the gradients, above 0; math.inf clips nothing"),
}
_OF_A_GROUP = ("params", "lr", "betas", "eps", "weight_decay")


def check_setting(name: str, value) -> None:
    """Raise `BadConfig` for a setting of training that cannot work."""
    holds, expected = _SETTINGS[name]
    if not holds(value):
        raise BadConfig(f"{name} is {value!r}.", expected=expected)


def groups_of(model: nn.Module, groups: Iterable[Mapping[str, Any]] | None) -> list[dict]:
    """Return optimizer groups as AdamW takes them, in copies: it writes into them.

    Without any, all that trains is one group. Raises `BadConfig` if nothing trains, for a setting
    that AdamW does not have, for anything but a parameter of the model that trains, for one that is
    given twice, and for one in float16.
    """
    given: list[Any] = [*groups] if is_several(groups) else [] if groups is None else [groups]
    if not all(isinstance(group, Mapping) for group in given):
        raise BadConfig(f"groups is {groups!r:.60}.", expected="a list of dicts with 'params'")
    given = given or [{"params": [p for p in model.parameters() if p.requires_grad]}]
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    seen, made = set(), []
    for group in given:
        strange = [name for name in group if name not in _OF_A_GROUP]
        if strange or "params" not in group:
            raise BadConfig("A group has " + (f"{strange[0]!r}." if strange else "no 'params'."),
                            expected="of each group " + ", ".join(_OF_A_GROUP))
        for name, value in group.items():
            if name != "params":
                check_setting(name, value)
        params = group["params"]
        single = isinstance(params, Tensor) or not is_several(params)
        params = [params] if single else [*params]
        for p in params:
            if id(p) not in trained or id(p) in seen:
                shape = f", {tuple(p.shape)}," if isinstance(p, Tensor) else ""
                raise BadConfig(f"A group holds {kind_of(p)}{shape} that "
                                + ("stands in another place, too." if id(p) in seen else
                                   "is no parameter of this model, or does not train."),
                                expected="parameters with requires_grad, each once",
                                hint="pt.adapter_parameters(model).values()")
            seen.add(id(p))
        made.append({**group, "params": params})
    if len({is_sharded(p) for group in made for p in group["params"]}) > 1:
        raise NotSupported("Only a part of what trains is sharded over processes (FSDP2).",
                           expected="all or nothing sharded",
                           hint="fully_shard(model), after its blocks")
    if not seen:
        raise BadConfig("No parameter of this model trains.",
                        hint="put a method on it: model = pt.lora.inject(model)")
    if any(p.dtype == torch.float16 for group in made for p in group["params"]):
        raise BadConfig("Parameters in float16 would train: Adam's small numbers are zero there, "
                        "and the loss becomes nan.", expected="float32", hint="model.float()")
    return made
