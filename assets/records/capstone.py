"""Record what the capstone shows of its task: two pairs of adapters, and its yardstick.

    python assets/records/capstone.py              the runs that are missing: five minutes for all
    python assets/records/capstone.py --head       the yardstick anew, too: a minute

Group `pairs`: LoRA with alpha 8, one pass over the training sentences, three seeds. `answers` says
of each validation sentence, in their order, whether the run is right; `accuracy` is their mean. The
values of block 0 against those of block 5 differ by far more than chance can do; rank 1 on every
query and value against rank 2 on every value, as many numbers, do not. No rate was searched: each
pair has one rate for both.

The yardstick is a head over the mean of the tokens of the frozen base, written to
`peft_teach/course/lessons/capstone/head.safetensors`, weight and bias. It reads the mean of each
training sentence's tokens once and solves the logistic regression exactly; validation sentences
choose the penalty on the weight. The test sentences choose nothing: their accuracy stands in the
file's metadata, beside that of validation.
"""

import torch
from torch import nn
from torch.nn import functional as F

import peft_teach as pt
from peft_teach.course import recording
from peft_teach.course.lessons.capstone import handed_in
from peft_teach.folder import pack, write_whole

ALPHA, SEEDS = 8.0, (0, 1, 2)
PAIRS = (
    {"rank": 1, "targets": ("value",), "layers": (5,), "lr": 5e-3},
    {"rank": 1, "targets": ("value",), "layers": (0,), "lr": 5e-3},
    {"rank": 1, "targets": ("query", "value"), "layers": None, "lr": 3e-3},
    {"rank": 2, "targets": ("value",), "layers": None, "lr": 3e-3},
)
PENALTIES = (0.0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


def features(examples):
    """Return what the head reads, (sentences, 384), and the labels."""
    model, tokenizer = handed_in._loaded("mean")
    model.classifier = nn.Identity()
    batches = pt.data.batches(examples, tokenizer, 64, handed_in.MAX_TOKENS, shuffle=False)
    read = [handed_in._answers(model, b) for b in batches]
    return torch.cat(read).double(), torch.cat([b["labels"] for b in batches])


def solved(x, labels, penalty):
    """Return weight and bias at the minimum of the mean loss plus penalty · |weight|²."""
    w, b = (torch.zeros(2, n, dtype=torch.float64, requires_grad=True) for n in (x.shape[1], 1))
    optimizer = torch.optim.LBFGS([w, b], max_iter=2000, tolerance_grad=1e-7, tolerance_change=0,
                                  history_size=50, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(x @ w.T + b[:, 0], labels) + penalty * w.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return w.detach(), b.detach()[:, 0]


def settings():
    """All runs, in the order of the record."""
    for setting in PAIRS:
        for seed in SEEDS:
            yield "pairs", {**setting, "alpha": ALPHA, "epochs": 1, "seed": seed}


def train(setting, domain):
    """Train as the lesson does; return a row with who is right on validation."""
    of = {name: setting[name] for name in ("rank", "alpha", "targets", "layers")}
    pt.seed(setting["seed"])
    model, tokenizer = pt.models.load("minilm", labels=2, device="cpu")
    model = pt.lora.inject(model, pt.lora.Config(**of))
    batches = pt.data.batches(domain.train, tokenizer, max_tokens=handed_in.MAX_TOKENS,
                              epochs=setting["epochs"], seed=setting["seed"])
    steps = [*pt.train(model, batches, lr=setting["lr"])]
    right = handed_in._right(model.eval(), domain.validation)
    parameters = sum(p.numel() for p in pt.adapter_parameters(model).values())
    return {"method": "lora", "domain": handed_in.DOMAIN, "steps": len(steps),
            "tests": len(right), "parameters": parameters,
            "accuracy": round(right.mean().item(), 4), "answers": recording.bits(right.bool())}


def main():
    """Make what is missing; with --head the yardstick, too."""
    options = recording.arguments(__doc__)
    options.add_argument("--head", action="store_true", help="make the yardstick anew")
    options = options.parse_args()
    torch.set_num_threads(1)
    domain = pt.data.load(handed_in.DOMAIN)
    if options.head:
        make_head(domain)
    record = recording.Recorder(__file__, {
        "model": "minilm", "train_examples": len(domain.train), "torch": torch.__version__},
        options.again, options.forget)
    wanted = [{"group": group, "setting": setting} for group, setting in settings()]
    record.make(wanted, lambda about: (train(about["setting"], domain), {}))


def make_head(domain):
    """Solve, choose, write."""
    (x, labels), validation, test = map(features, (domain.train, domain.validation, domain.test))

    def accuracy(head, of):
        return ((of[0] @ head[0].T + head[1]).argmax(1) == of[1]).double().mean().item()

    heads = {penalty: solved(x, labels, penalty) for penalty in PENALTIES}
    penalty = max(PENALTIES, key=lambda each: accuracy(heads[each], validation))
    weight, bias = heads[penalty]
    told = {"penalty": str(penalty), "validation": f"{accuracy(heads[penalty], validation):.4f}",
            "test": f"{accuracy(heads[penalty], test):.4f}"}
    head = {"classifier.weight": weight.float().contiguous(), "classifier.bias": bias.float()}
    write_whole({handed_in.HEAD: pack(head, told)})
    print(told, {p: round(accuracy(h, validation), 4) for p, h in heads.items()})


if __name__ == "__main__":
    main()
