"""Wrong answers to what every adapter is asked, whatever its method, tried on lesson 07's layer."""

from answers import file

from peft_teach.course.publish.authored import but

LORA = file("lora")
A, B, H, LAYER, SCALE, SUPER = LORA.A, LORA.B, LORA.H, LORA.LAYER, LORA.SCALE, LORA.SUPER

WRONG: dict = {
    "dtype": (but(LAYER, ".to(y.dtype)", ""),
              but(LAYER, A, f"({A}).to(base.weight.dtype)", B, f"{B}.to(base.weight.dtype)",
                  "x.float()", "x")),
    "input_cut": but(LAYER, LORA.Y, f"        with torch.no_grad():\n    {LORA.Y}"),
    "shapes": but(LAYER, A, "torch.randn(base.out_features, rank) / rank**0.5", B,
                  "torch.zeros(rank, base.in_features)"),
    "names": but(LAYER, f"torch.nn.Parameter({B})", B),
    "misnamed": but(LAYER, "self.A =", "self.lora_A =", "self.B =", "self.lora_B ="),
    "layers_inside": but(LAYER, f"nn.Parameter({B})", "nn.Linear(rank, base.out_features)"),
    "more_parameters": but(LAYER, SCALE, "self.scale = nn.Parameter(torch.tensor(alpha / rank))"),
    "buffer": but(LAYER, SCALE, "self.register_buffer('scale', torch.tensor(alpha / rank))"),
    "not_adapter": but(LAYER, "pt.Adapter", "nn.Module", SUPER,
                       "super().__init__()\n        self.base = base"),
    "base_lost": but("import copy\n" + LAYER, SUPER, "super().__init__(copy.deepcopy(base))"),
    "base_trained": but(LAYER, SUPER, f"{SUPER}\n        base.requires_grad_()"),
    "base_changed": but(
        LAYER, H, "        with torch.no_grad():\n            self.base.weight += "
                  f"(self.scale * self.B @ self.A).to(x.dtype)\n{H}", LORA.OUT, "self.base(x)"),
    "input_changed": but(LAYER, "x.float()", "x.mul_(1.5).float()"),
    "second_call": but(LAYER, H, f"        self.B.data *= self.scale\n{H}", "self.scale * h", "h"),
    "training_only": but(LAYER, H, f"        if not self.training:\n            return y\n{H}"),
    "start_differs": but(LAYER, H, "        if not self.B.any():\n"
                                   f"            return torch.zeros_like(y)\n{H}"),
    "no_gradient": but(LAYER, "self.A.T", "self.A.detach().T"),
    "forward_left": LAYER[:LAYER.index(LORA.Y)] + "        raise pt.NotAttempted('lora.layer')\n",
    "no_return": but(LAYER, "return ", ""),
}
