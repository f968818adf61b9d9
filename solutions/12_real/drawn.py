"""Lesson 12: a file that is right, and three that are not."""

import base64

import numpy as np
import safetensors.torch
import torch
from picture_checks import SEED, Shown

from peft_teach import models
from peft_teach.course import records


def files(shown: Shown) -> None:
    """Four files of a LoRA on query and value of six blocks: the names, and what leads where."""
    ours = ("query.A", "query.B", "value.A", "value.B", "classifier.bias", "classifier.weight")
    rows = ("query.lora_A", "query.lora_B", "value.lora_A", "value.lora_B", *ours[4:])
    assert shown.title == ("With a false scale every tensor is in its place, and no adapted module "
                           "answers as yours")
    straight, crossed = (0, 1, 2, 3), (1, 0, 3, 2)
    for ax, title, lead, agree, head in zip(
            shown.panels, ("A and B exchanged", "a false scale", "the head left out",
                           "the right file"),
            (crossed, straight, straight, straight), (False, False, True, True),
            (True, True, False, True)):
        ax.named(title)
        ax.band("band", -0.5, 3.5, "y")
        ax.text("6 ×", "ink", (-0.87, 1.5), near=0.001)
        for y, name in enumerate(ours):
            ax.text(name, "ink", (-0.03, y), near=0.001)
        for y, name in enumerate(rows if head else rows[:4]):
            ax.text(name, "ink", (1.03, y), near=0.001)
        for y, place in enumerate(lead):
            ax.line("yours" if agree else "ink", "-" if agree else "--", (0, 1), (y, place))
        for y in (4, 5):
            ax.line("yours" if head else "rest", "-" if head else ":", (0, 1 if head else 0.3),
                    (y, y))
        assert ax.ax.yaxis_inverted()


def knob(shown: Shown) -> None:
    """The logits by hand: W + f s BA and the head, of ours and of each of three false files."""
    ax, = shown.panels
    afar = records.load("real")["from_afar"]
    tensors = {name.removeprefix("base_model.model."): t.float() for name, t in
               safetensors.torch.load(base64.b64decode(afar["file"])).items()}
    settings = afar["settings"]
    r, alpha = settings["r"], settings["lora_alpha"]
    s = alpha / (r ** 0.5 if settings.get("use_rslora") else r)
    ids = torch.arange(200, 216).view(2, 8)
    torch.manual_seed(SEED)    # the head of the base is drawn
    model, _ = models.load("minilm", labels=2, device="cpu")
    plain = model.eval().state_dict()

    def logits(scale: float, exchanged: bool = False, head: bool = True) -> torch.Tensor:
        state = dict(plain)
        for name, t in tensors.items():
            if ".lora_A." in name:
                a, b = t, tensors[name.replace("lora_A", "lora_B")]
                if exchanged:
                    a, b = b.T, a.T
                key = name.replace("lora_A.weight", "weight")
                state[key] = plain[key] + scale * b @ a
            elif head and name in state:
                state[name] = t
        with torch.no_grad():
            return torch.func.functional_call(model, state, kwargs={"input_ids": ids}).logits

    own = [logits(f * s) for f in np.linspace(0, 3, 31)]
    ends, reached = {}, []
    for i, (name, dash, theirs) in enumerate((
            ("anna", "-", logits(s * r ** 0.5)), ("ben", "--", logits(s, head=False)),
            ("carl", "-.", logits(s, exchanged=True)))):
        off = [max(((y - theirs).abs().max() / y.abs().max()).item(), 1e-7) for y in own]
        drawn = ax.lines[0]
        assert np.allclose(drawn.get_ydata(), off, rtol=1e-3, atol=1e-5)
        ax.line(f"series {i}", dash, np.linspace(0, 3, 31), drawn.get_ydata())
        ends[name] = off[-1], f"series {i}"
        reached += [name] * (min(off) < 1e-5)
    assert not reached
    assert shown.title == "Your knob reaches none of them"
    ax.named("", "f: your update is multiplied by this", "distance of the logits",
             log="y")
    ax.ticks("y", {"1": 1, "0.01": 1e-2, "0.0001": 1e-4})
    ax.band("band", 1e-7, 1e-5, "y")
    ax.text("alike", "ink", (0.05, 1e-6), near=0.01)
    ax.ends(ends)
