"""Prompt: what the site's pages say of it."""

TITLE = "soft prompt"
LESSON = "03_prompt"
EQUATION = r"$f([P;\, \text{embed}(x)])$"
COMPUTES = "`f([P ; embed(x)])`"
SETTINGS = "length {length}"
WHEN = "one large model, many tasks in a batch"
EQUALS = "peft; the model on real words"
IN_PEFT = ("`PromptTuningConfig(num_virtual_tokens=20)`", "`pt.prompt.Config(length=20)`")
