"""Refuse a model inside DataParallel, DDP, FSDP1 or torch.compile, or sharded by FSDP2."""

from typing import Any, TypeGuard

from torch import Tensor, nn

from .errors import BadConfig, NotSupported, kind_of

# Wrappers that give parameters other names: what torch.compile, FSDP and checkpoint_wrapper call
# the module inside, and classes that call it "module".
WRAPPED = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def need_model(model: object) -> None:
    """Raise `BadConfig` for what is no model at all."""
    if not isinstance(model, nn.Module):
        raise BadConfig(f"This is {kind_of(model)}, not a model.", expected="a torch.nn.Module",
                        hint="model, tokenizer = pt.models.load('minilm', labels=2)")


def refuse_wrapped(model: nn.Module) -> None:
    """Raise `NotSupported` for a model in which one of torch's wrappers renames modules."""
    need_model(model)
    for name, module in model.named_modules():
        inside = next((child for child in module._modules if child in WRAPPED
                       or (child == "module" and isinstance(module, PARALLEL))), None)
        if inside is not None:
            raise NotSupported(f"{name or 'The model'} is wrapped in {type(module).__name__}, "
                               "which gives its parameters names that no file keeps.",
                               expected="the model itself",
                               hint=f"model.{name + '.' if name else ''}{inside} is what is in it: "
                                    "what is done to that, the wrapper does, too. model.compile() "
                                    "compiles without a wrapper")


def is_sharded(p: Tensor) -> TypeGuard[Any]:
    """Return whether this is a `DTensor`, of which each process holds a part."""
    return hasattr(p, "full_tensor")


def reshard(model: nn.Module) -> None:
    """Let FSDP2 put away the whole weights that a forward without a backward leaves in place."""
    for module in model.modules():
        getattr(module, "reshard", lambda: None)()


def refuse_sharded(model: nn.Module) -> None:
    """Raise `NotSupported` for a model whose weights FSDP2 shards over processes."""
    need_model(model)
    reshard(model)
    if any(map(is_sharded, model.parameters())):
        raise NotSupported("The weights of this model are sharded over processes (FSDP2).",
                           expected="a whole model",
                           hint="inject, load, swap and merge before fully_shard. pt.save gathers "
                                "what a sharded model learned, if each process calls it")
