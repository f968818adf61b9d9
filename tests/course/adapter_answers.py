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

# What each message says, of its mistake and of no other: here those of several lessons.
SAYS = {
    # of adapters
    "not_adapter": "inherit from pt.Adapter", "base_lost": "leave self.base as it is",
    "base_trained": "parameters of your own, beside it", "shapes": "Which shape has each of them",
    "more_parameters": "that you register with nn.Parameter would be trained",
    "layers_inside": "puts a dot into the name",
    "misnamed": "The sizes are right, the names are not",
    "names": "A plain tensor is not registered", "buffer": "refuses a buffer",
    "forward_left": "replace the line in forward", "input_changed": "still needs that tensor",
    "base_changed": "add to its output instead of changing it",
    "dtype": "stay float32 whatever the base: take x.float()",
    "start_differs": "Before any training the output must be the base's",
    "second_call": "Something is changed by a call", "training_only": "In eval mode the output is",
    "no_gradient": "Is a parameter detached", "input_cut": "The layers below would not learn",
    # of their merging
    "layer_changed": "it would have the change twice", "bias_lost": "need a bias as before",
    "shared": "needs tensors of its own", "device": "on the CPU unless it is told where",
    # of tests
    "returned_bool": "its return is not read", "objects_to_all": "It rejects every version",
    "accused": "that a right version breaks", "let_through": "would have shown the difference",
    # of broken versions
    "caught": "what the weak test does not look at", "lawful": "By its letter",
}
MERGING = {"dtype": "has the dtype of the base"}
