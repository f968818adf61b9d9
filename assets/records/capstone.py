"""Make the yardstick of the capstone: a head over the mean of the tokens of the frozen base.

    python assets/records/capstone.py              about a minute

Writes `peft_teach/course/lessons/capstone/head.safetensors`, the head's weight and bias. It reads
the mean of each training sentence's tokens once and solves the logistic regression exactly;
validation sentences choose the penalty on the weight. The test sentences choose nothing: their
accuracy stands in the file's metadata, beside that of validation.
"""

import torch
from torch import nn
from torch.nn import functional as F

import peft_teach as pt
from peft_teach.course.lessons.capstone import handed_in
from peft_teach.folder import pack, write_whole

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


def main():
    """Solve, choose, write."""
    domain = pt.data.load(handed_in.DOMAIN)
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
