"""What tests of adapted models share: what a model computes, and that nothing of it changed."""

import torch
from exact import assert_equal
from torch import nn

import peft_teach as pt
from peft_teach import notes


class Shift(pt.Adapter):
    """base(x) + v."""

    def __init__(self, base):
        super().__init__(base)
        self.v = nn.Parameter(torch.full((base.out_features,), 0.5))

    def forward(self, x):
        return self.base(x) + self.v.to(x.dtype)


class Foldable(Shift):
    """A shift that can be folded into the bias, as a reader might write it."""

    def merged(self):
        linear = nn.Linear(self.base.in_features, self.base.out_features)
        linear.weight.data = self.base.weight.data.clone()
        linear.bias.data = self.base.bias.data + self.v.data
        return linear


class Own(nn.Module):
    """A BERT in a reader's own module, and beside it what is new for a task."""

    def __init__(self, bert):
        super().__init__()
        self.body = nn.ModuleDict({"bert": bert, "norm": nn.BatchNorm1d(32)})
        self.fc = nn.Linear(32, 3)

    def forward(self, input_ids):
        return self.fc(self.body["norm"](self.body["bert"](input_ids)[0][:, 0]))


def features(batch: dict) -> dict:
    return {k: v for k, v in batch.items() if k != "labels"}


def result(out) -> torch.Tensor:
    return out.logits if "logits" in out else out[0]


@torch.no_grad()
def hidden(model, batch) -> torch.Tensor:
    return model.base_model(**features(batch))[0]


def logits(model, batch) -> torch.Tensor:
    return result(model(**features(batch)))


@torch.no_grad()
def outputs(model, batch) -> torch.Tensor:
    return logits(model, batch)


def randomize(model, seed=0):
    """Draw what trains: adapters around what they start as, the head anew."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(torch.randn(p.shape, generator=generator) * 0.3)
    return model.eval()


def fill(model, seed=5, size=0.2):
    """Give every own parameter a value that training could give it, B's zero replaced too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in pt.adapter_parameters(model).values():
            p.copy_(torch.randn(p.shape, generator=generator) * size)
    return model


def copies(model) -> dict:
    return {n: p.detach().clone() for n, p in model.state_dict().items()}


def checkpoint(model) -> None:
    """Recompute activations in the backward pass; the method's name depends on the version."""
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)()


def everything_about(model, batch) -> tuple:
    return ({n: (id(m), type(m), m.training) for n, m in model.named_modules()},
            {n: (id(p), p.requires_grad) for n, p in model.named_parameters()},
            copies(model), outputs(model, batch), notes.note_of(model), model.save_pretrained,
            {k: v for k, v in vars(model).items() if k.startswith("peft_teach")})


def assert_same(one: tuple, other: tuple) -> None:
    assert one[:2] == other[:2]
    assert one[2].keys() == other[2].keys()
    for n in other[2]:
        assert_equal(one[2][n], other[2][n], n)
    assert_equal(one[3], other[3])
    assert one[4:] == other[4:]
