"""The reference: what the solution notebook answers; written by `peft-teach build`."""

import peft_teach as pt
import torch


# ── real.names ───────────────────────────────────────────────────────────────────────────────

def to_peft(adapters, head):
    front = "base_model.model."
    tensors = {front + name: tensor.detach() for name, tensor in head.items()}
    for name, layer in adapters.items():
        tensors[f"{front}{name}.lora_A.weight"] = layer.A.detach()
        tensors[f"{front}{name}.lora_B.weight"] = layer.B.detach()
    rank = layer.A.shape[0]
    return tensors, {"peft_type": "LORA", "r": rank, "lora_alpha": rank * layer.scale,
                     "target_modules": list(adapters),
                     "modules_to_save": sorted({name.rpartition(".")[0] for name in head})}


# ── real.diagnose ────────────────────────────────────────────────────────────────────────────

def diagnose(ours, theirs, rank):
    def alike(f, g):
        a, b = ours(f), theirs(g)
        return (a - b).abs().max() < 1e-5 * a.abs().max()

    if not alike(0, 0):    # without the update only the head is left
        return "head"
    if alike(1, 1):
        return "none"
    root = rank**0.5
    return "scale" if alike(root, 1) or alike(1, root) else "exchanged"


# ── real.back ────────────────────────────────────────────────────────────────────────────────

def from_peft(model, tensors, settings, make):
    rank, alpha = settings["r"], settings["lora_alpha"]
    if settings.get("use_rslora"):
        alpha = alpha * rank**0.5                       # make divides by rank
    layers = {name: make(module, rank, alpha) for name, module in model.named_modules()
              if any(f".{name}".endswith(f".{end}") for end in settings["target_modules"])}
    front = "base_model.model."
    places = {front + name: model.get_parameter(name) for name in pt.models.head(model)}
    for name, layer in layers.items():
        places |= {f"{front}{name}.lora_A.weight": layer.A, f"{front}{name}.lora_B.weight": layer.B}
    if places.keys() != tensors.keys():
        raise ValueError(f"missing or left over: {places.keys() ^ tensors.keys()}")
    if wrong := [name for name, p in places.items() if p.shape != tensors[name].shape]:
        raise ValueError(f"another shape: {wrong}")
    with torch.no_grad():
        for name, p in places.items():
            p.copy_(tensors[name])
    for name, layer in layers.items():
        model.set_submodule(name, layer)
    return model


# ── real.belief ──────────────────────────────────────────────────────────────────────────────

def believes(exchange, fresh):
    model = fresh(4, 6.0)    # α/r and α/√r differ, and neither is 1
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.normal_()    # A, B and the head
        x = torch.randn(64, 6)
        before = model(x)    # our answers, before anybody else's
        after = exchange(model)(x)
    assert (after - before).abs().max() < 1e-5 * before.abs().max(), "not one model"
