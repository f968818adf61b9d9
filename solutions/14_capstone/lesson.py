# %% [markdown]
# # 14 · The capstone: would you put your name to it?
#
# A newspaper wants to know whether its readers will find a sentence of an editorial positive or negative. The model runs in the newspaper's
# app, which has the base already. Your adapter is downloaded, so its file must be small: **at most 64 kB, the head included.**
#
# Nobody tells you which method to take, where to put it, or how long to train. You build the adapter with your own library. You write one
# page that says what you predicted, what you saw and what you would not promise. Then your instructor measures your adapter on other
# sentences.
#
# | | |
# |---|---|
# | **Time** | an afternoon: 30 minutes for two exercises, up to three minutes for each training run; Run All takes a minute before you fill in your runs |
# | **You need** | your `my_peft.py`, with `inject` (02), `interval` (10) and at least one of LoRA, DoRA and IA³ (07, 09, 06) |
# | **Data** | sentences from newspaper editorials, each rated by about 20 people: mean rating above 0.5 (label 1) or below −0.5 (0), from −4 to 4; Hutto & Gilbert 2014, MIT licence |

# %% jupyter={"source_hidden": true}
import pandas as pd
import torch

import peft_teach as pt

budget = pt.course.budget()                  # how much to compute: PEFT_TEACH_BUDGET=smoke|cpu|gpu
pictures = pt.course.pictures("capstone")
news = pt.data.load("news")
pd.options.display.max_colwidth = None       # whole sentences in tables
pt.seed(0)

# %% [markdown]
# ## The brief
#
# Hand in this notebook together with the folder `work/adapter`, in one zip.
#
# | what is marked | points | by whom |
# |---|---|---|
# | your test of the laws, on right and broken adapters | 3 | the grader |
# | your adapter keeps the laws, and is the one in the file | 2 | the grader |
# | **the file**: `adapter.safetensors` has at most 64,000 bytes, loads on MiniLM, answers in Hugging Face peft as it does here, and merges | 4 | the grader |
# | **the gain**: more sentences right than the head alone, on sentences of your instructor's choice | 3 | the grader |
# | **the page** | 12 | a person, by the table below |
#
# Two more rules. A training run takes at most three minutes on two cores. Choose by validation sentences only; after your last choice you
# may measure once on the test sentences, and report what you find.

# %% tags=["nbval-check-output"]
pd.DataFrame(news.train[:4])

# %% [markdown]
# The yardstick is a **head alone**, over the mean of a sentence's tokens, right on 84.6 % of the validation sentences. Your model's head
# reads `[CLS]`. Lesson 01 showed what that costs, and your adapter has to make up for it.
#
# **By how many points will your adapter be ahead?** Commit to a number before you train anything. It belongs on your page.

# %%
pt.commit("capstone.gain", ...)    # points, on validation

# %% [markdown]
# ## Before anything trains
#
# ### Exercise 1 · One test for every adapter (3 points, about 20 minutes)
#
# Put the laws that you have met into one test. `keeps_the_laws(make)` gets a function: `make(base)` returns an adapter around `base`, an
# `nn.Linear` that you make and freeze inside your test. The method can be any, even one that you have never seen. The adapter's
# `own_parameters()` is a dict from names to tensors. Raise, as `assert` does, if a law is broken:
#
# 1. **The start**: before any training, the output is the base's, within 1e-4.
# 2. **The frozen base**: none of its parameters trains, and no call or merge changes its numbers.
# 3. **Learning**: with random numbers in all of `own_parameters()`, each of them gets a gradient that is not zero.
# 4. **All of it**: of an adapter's numbers, a file keeps `own_parameters()` alone. So a second adapter around the same base, given these,
#    has the same outputs, and eval mode changes nothing.
# 5. **The merge**: `merged()` gives a layer with the same outputs and leaves the adapter as it was, or it raises
#    `pt.errors.NotMergeable`, and no other error.


# %% exercise="capstone.laws" part="solution"
def keeps_the_laws(make):
    ### BEGIN SOLUTION
    for n_in, n_out, bias in ((6, 4, True), (5, 5, False)):
        base = torch.nn.Linear(n_in, n_out, bias=bias).requires_grad_(False)
        before = [p.clone() for p in base.parameters()]
        x, layer = torch.randn(7, n_in), make(base)
        torch.testing.assert_close(layer(x), base(x), rtol=1e-4, atol=1e-4)
        for p in layer.own_parameters().values():
            p.data.normal_()
        y = layer(x)
        y.square().sum().backward()
        for name, p in layer.own_parameters().items():
            assert p.grad.abs().max() > 0, name
        second = make(base)
        for name, p in second.own_parameters().items():
            p.data.copy_(layer.own_parameters()[name])
        torch.testing.assert_close(second.eval()(x), y)
        try:
            merged = layer.merged()
        except pt.errors.NotMergeable:
            merged = layer
        torch.testing.assert_close(merged(x), y, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(layer(x), y)
        assert all(torch.equal(a, b) for a, b in zip(before, base.parameters()))
        assert not any(p.requires_grad for p in base.parameters())
    ### END SOLUTION


# %% exercise="capstone.laws" part="check"
keeps_the_laws = pt.check("capstone.laws", keeps_the_laws)

# %% exercise="capstone.laws" part="grade"
pt.require("capstone.laws")

# %% [markdown]
# ### Exercise 2 · Your adapter (2 points, about 10 minutes)
#
# `my_adapter(base)` returns the adapter that you will hand in, around a frozen `nn.Linear`. `pt.mine` gives you your own
# classes, `"lora.layer"`, `"dora.layer"` or `"ia3.layer"`. For IA³ on `ffn_out`, the `side` of your `Gains` is `"input"`.
#
# Mind the size of the file: it also holds the head, a description, and a fingerprint of the base. With a head for two labels, lesson 10's
# adapter, rank 1 on every query and value, does not fit.

# %%
inject, LoRALinear = pt.mine("change.inject", "lora.layer")


# %% exercise="capstone.adapter" part="solution"
def my_adapter(base):
    ### BEGIN SOLUTION
    return LoRALinear(base, 1, 8.0)
    ### END SOLUTION


# %% exercise="capstone.adapter" part="check"
my_adapter = pt.check("capstone.adapter", my_adapter)

# %% exercise="capstone.adapter" part="grade"
pt.require("capstone.adapter")

# %% [markdown]
# ## A first try
#
# `config` tells the library what your adapter is, and on which modules it stands: a `Config` of `pt.lora`, `pt.dora` or `pt.ia3`, such as
# `pt.lora.Config(rank=1, alpha=8.0, targets=("value",), layers=(5,))`. Its rank and alpha must be those of `my_adapter`, else `train`
# refuses. `pictures.ship` copies your numbers into the library's own method, which peft can read.

# %%
def train(name, config, epochs, lr, seed=0):
    """Train your adapter on the modules that config names; write it to work/name."""
    name, config, epochs, lr, make = pictures.chosen(name, config, epochs, lr, my_adapter)
    names = pictures.places(config, make)
    pt.seed(seed)
    model, tokenizer = pt.models.load("minilm", labels=2)
    model = inject(model, names, make).to(pt.device())
    sentences = news.train[:budget.train_examples]
    batches = pt.data.batches(sentences, tokenizer, max_tokens=48, epochs=epochs, seed=seed)
    pt.widgets.watch(pt.train(model, batches, lr=lr), len(batches), name=name)
    return pictures.ship(model, config, f"work/{name}")

# %% [markdown]
# While the dots stand, a small example of the course's LoRA trains, in a folder of its own. Replace them by what you choose. Then each run
# writes over `work/adapter`: keep a copy of what you want to hand in.

# %%
validation = news.validation[:budget.test_examples]
first = train("adapter", config=..., epochs=..., lr=...)

# %%
tries = {"first": pictures.gain(first, validation)}
pt.compare("capstone.gain", round(100 * tries["first"].gain, 1), "points, on validation")

# %% [markdown]
# ## The pair that decides
#
# Early blocks or late ones? Queries or values? Show two runs: **the same bytes, spent in two ways**.

# %%
other = train("other", config=..., epochs=..., lr=...)

# %%
tries["second"] = pictures.gain(other, validation)
pictures.compare(first, other, validation)

# %%
pt.plots.show(pictures.draw_tries(tries), "Your tries: gain over the head alone on validation, "
              "with its 95 % interval.")

# %% [markdown]
# Another seed may say the opposite: train both with two more, each under a name of its own. `pictures.answered(folder, validation)` gives a 1 for each sentence that is right and a 0 for each that is wrong. Stack the seeds,
# one row each, and give both stacks to your `pt.mine("ladder.interval")`. Lesson 10's numbers were errors; here, more is better. "Cannot
# tell" is a result.
#
# ## What you hand in
#
# The grader checks the same, with other sentences for the gain:

# %%
pictures.hand_in(first, validation)

# %% [markdown]
# ## The page
#
# At most 400 words; numbers with their intervals. A person marks it by this table:
#
# | part | one point for each | no point at all for |
# |---|---|---|
# | **What I predicted** | a number; a reason that could have been wrong; what the result says about this reason | words in place of a number |
# | **The pair that decided** | the same bytes, spent in two ways, both runs shown in the notebook; why this choice; the difference with its interval, over sentences and at least three seeds | one run alone; a run that answers the same to every sentence |
# | **My claim** | the gain with its interval; how many tries and seeds, and which sentences; nothing wider than that | a choice made on test sentences |
# | **When not to use it** | a kind of text or a user for whom it should fail; a reason; how one would notice | what is true of every model |
#
# A large gain earns no point here, and a small one costs none.

# %% [markdown]
# Replace the dots.
#
# **What I predicted**: …
#
# **The pair that decided**: …
#
# **My claim**: …
#
# **When not to use it**: …

# %%
pt.progress("14")

# %% [markdown]
# **Sources**
#
# - Data: Hutto & Gilbert 2014, *VADER*, ICWSM; split by editorial: all sentences of one are in the same split.
# - What a small test can show: Card et al. 2020, *With little power comes great responsibility*, arXiv 2010.06595.
# - What to report: Dodge et al. 2019, *Show your work*, arXiv 1909.03004; Mitchell et al. 2019, *Model cards*, arXiv 1810.03993.
