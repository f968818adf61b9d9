"""Prompt: what the site's pages say of it."""

from peft_teach.course.publish.methods import FROZEN, TRAINED

TITLE = "prompt"
LESSON = "03_prompt"
EQUATION = r"$f([P;\, \text{embed}(x)])$"
COMPUTES = "`f([P ; embed(x)])`"
SETTINGS = "length {length}"
WHEN = "one large model, many tasks in a batch"
EQUALS = "peft; the model on real words"
IN_PEFT = ("`PromptTuningConfig(num_virtual_tokens=20)`", "`pt.prompt.Config(length=20)`")
DRAWING = (
    *((TRAINED, i * 0.9, 0, 0.7, 1, "p") for i in range(3)),
    *((FROZEN, 2.7 + i * 0.9, 0, 0.7, 1, "x") for i in range(3)),
    (FROZEN, 0, 1.5, 5.2, 1.5, "every block"))
