"""The reference: what the solution notebook answers; written by `peft-teach build`."""

import torch
import peft_teach as pt


# ── change.small ─────────────────────────────────────────────────────────────────────────────

def change_a(p: torch.Tensor, n: int) -> torch.Tensor:
    return p * (torch.ones(n, n) + torch.eye(n))


def change_b(p: torch.Tensor, n: int) -> torch.Tensor:
    return p[:n, None] * p[None, n:]


def change_c(p: torch.Tensor, n: int) -> torch.Tensor:
    return torch.diag(p)


# ── change.inject ────────────────────────────────────────────────────────────────────────────

def inject(model, targets, make):
    modules = dict(model.named_modules())
    names = []
    for target in targets:
        found = [name for name in modules if name == target or name.endswith("." + target)]
        if not found:
            raise KeyError(f"no module is called {target!r}")
        names += [name for name in found if name not in names]

    head = pt.models.head(model)
    for name, p in model.named_parameters():
        p.requires_grad_(name in head)

    for name in names:
        owner, _, last = name.rpartition(".")
        setattr(modules[owner], last, make(modules[name]))
    return model


# ── change.holds ─────────────────────────────────────────────────────────────────────────────

def inject_holds(inject, fresh, make):
    model = inject(fresh(), ("query", "value"), make)
    wrapped = {name for name, module in model.named_modules() if isinstance(module, pt.Adapter)}
    assert wrapped == {f"blocks.{b}.{name}" for b in (0, 1) for name in ("query", "value")}

    own = {f"{name}.{p}" for name in wrapped for p in model.get_submodule(name).own_parameters()}
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == own | {"classifier.weight", "classifier.bias"}

    refused = fresh()
    try:
        inject(refused, ("query", "qeury"), make)
    except Exception:
        assert not pt.adapters(refused)
        assert all(p.requires_grad for p in refused.parameters())
        return
    raise AssertionError("a name that no module has was accepted")
