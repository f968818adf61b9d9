"""A training loop that can be read: one generator, one step at a time.

    for step in pt.train(model, batches):
        print(step.index, step.loss)

AdamW, a linear warm-up and then a linear decay to zero, gradients clipped to norm 1. Whatever has
`requires_grad` is trained; what that is, the method has decided.

To evaluate now and then, do it in the loop's body; each module's mode is kept:

    for step in pt.train(model, batches):
        if step.index % 50 == 49:
            print(step.index, pt.evaluate(model, validation).accuracy)

This file only re-exports. Each idea has a file of its own:

    batch         what a batch must be before a model reads it
    groups        what an optimizer is given
    idle          adapters that would learn nothing
    loop          the loop itself
    evaluation    how well a model does now
"""

from .evaluation import Evaluation, LanguageEvaluation, evaluate
from .loop import OWN, Step, learning_rate, rate, seed, train

__all__ = ["OWN", "Evaluation", "LanguageEvaluation", "Step", "evaluate", "learning_rate", "rate",
           "seed", "train"]
