# %% [markdown]
# # 14 · The capstone: would you put your name to it?
#
# A newspaper wants to know whether its readers will find a sentence of an editorial positive or negative. The model runs in the newspaper's
# app, which has the base already. Your adapter is downloaded, so it must be small: **at most 40 kB of numbers, the head included.**
#
# Nobody tells you which method to take, where to put it, or how long to train. You build the adapter with your own library, and write one
# page: what you predicted, what you saw, what you would not promise. Then your instructor measures your adapter on other sentences.
#
# | | |
# |---|---|
# | **Time** | an afternoon: 40 minutes for three exercises, six runs of up to three minutes, an hour for the page; Run All takes a minute before you fill in your runs |
# | **You need** | your `my_peft.py`, with `frozen_stays` (01), `inject` (02) and at least one of LoRA, DoRA and IA³ (07, 09, 06) |
# | **Data** | sentences from newspaper editorials, each rated by about 20 people: mean rating above 0.5 (label 1) or below −0.5 (0), from −4 to 4; Hutto & Gilbert 2014, MIT licence |

# %% jupyter={"source_hidden": true}
import hashlib
import shutil
from contextlib import suppress

import pandas as pd
import torch

import peft_teach as pt

budget = pt.course.budget()    # PEFT_TEACH_BUDGET=smoke|cpu|gpu
pictures = pt.course.pictures("capstone")
news = pt.data.load("news")
validation = news.validation[:budget.test_examples]
pd.options.display.max_colwidth = None    # whole sentences in tables
pt.seed(0)

# %% [markdown]
# ## The brief
#
# Hand in the notebook together with the folder `work/adapter`, in one zip.
#
# | what is marked | points | by whom |
# |---|---|---|
# | your split of the archive | 2 | the grader |
# | your test of the laws, on right and broken adapters | 3 | the grader |
# | your adapter keeps the laws, and is the one in the file | 2 | the grader |
# | **the file**: `adapter.safetensors` holds at most 40,000 bytes of tensors, loads on MiniLM, answers in Hugging Face peft as it does here, and merges | 4 | the grader |
# | **the gain**: more sentences right than the head on the mean (one more is enough), on sentences of your instructor's choice | 3 | the grader |
# | **the page** | 12 | a person, by the table below |
#
# Two more rules. A training run takes at most three minutes on two cores. Choose by validation sentences only; after your last choice you
# may measure once on the test sentences, and report what you find.
#
# ## The archive
#
# The newspaper sends all that it has, one line a sentence, with the editorial that the sentence is from.

# %% tags=["nbval-check-output"]
archive = pictures.lines()
pd.DataFrame(archive[:3], columns=["editorial", "sentence"])

# %% [markdown]
# ### Exercise 1 · Split the editorials (2 points, about 15 minutes)
#
# `split(lines)` gets such pairs, (document, text). It returns two lists of line numbers, train and test:
#
# 1. No document has lines in both.
# 2. Each text stands there once, in train or in test. Texts that differ only in capitals or runs of spaces count as one.
# 3. The test has about a fifth of what is left, a tenth to three tenths.
# 4. Next month there are more editorials, in another order. No document of today changes sides.


# %% exercise="capstone.split" part="solution"
def split(lines):
    ### BEGIN SOLUTION
    seen, train, test = set(), [], []
    for number, (document, text) in enumerate(lines):
        plain = " ".join(text.lower().split())
        if plain in seen:
            continue
        seen.add(plain)
        drawn = hashlib.sha256(document.encode()).digest()[0]    # from 0 to 255
        (test if drawn < 51 else train).append(number)
    return train, test
    ### END SOLUTION


# %% exercise="capstone.split" part="check"
split = pt.check("capstone.split", split)

# %% exercise="capstone.split" part="grade"
pt.require("capstone.split")

# %% tags=["nbval-check-output"]
pictures.siblings(archive, split)

# %% [markdown]
# Split line by line, and every test sentence has relatives in training; some stand there themselves. The course's own split, which you use
# from here on, keeps your four rules.
#
# The yardstick is the **head on the mean** of a sentence's tokens, right on 84.6 % of the validation sentences and on 82.1 % of the test
# sentences. Your model's head reads `[CLS]`. Lesson 01 showed what that costs, and your adapter has to make up for it.
#
# **By how many points will your adapter be ahead? And how sure are you that it is ahead at all?** Both belong on your page.

# %%
pt.commit("capstone.gain", ..., like=2.5)    # points, on validation
pt.commit("capstone.sure", ..., like=0.5)    # that it is above zero, from 0 to 1

# %% [markdown]
# ## One test for every adapter
#
# Of your tests, one fits every method: `frozen_stays(train, model)` of lesson 01. Give it a training that makes the adapter, takes a step,
# and merges:


# %%
frozen_stays = pt.mine("full.frozen_stays")
inject, LoRALinear = pt.mine("change.inject", "lora.layer")


def a_life(make, x):
    """Return a training: an adapter comes around the base, takes a step, and is merged."""
    def train(base):
        layer = make(base)
        layer(x).square().mean().backward()
        trained = [p for p in layer.parameters() if p.requires_grad]
        torch.optim.SGD(trained, lr=0.1).step()
        with suppress(pt.errors.NotMergeable):
            layer.merged()

    return train


# %% [markdown]
# ### Exercise 2 · The laws (3 points, about 20 minutes)
#
# `keeps_the_laws(make)` gets a function: `make(base)` returns an adapter of any method around `base`, an `nn.Linear` that you make and freeze
# inside your test. The adapter's `own_parameters()` is a dict from names to tensors. Raise, as `assert` does, if a law is broken:
#
# 1. **The start**: before any training, the output is the base's, within 1e-4.
# 2. **The frozen base**: nothing in it trains or changes. `frozen_stays` tests that; `a_life(make, x)` is its training.
# 3. **Learning**: put random numbers into all of `own_parameters()`. Then each of them gets a gradient that is not zero.
# 4. **All of it**: a file keeps `own_parameters()` and nothing else. Make a second adapter around the same base and copy these numbers into
#    it: it gives the same outputs, in eval mode, too.
# 5. **The merge**: `merged()` gives a layer with the same outputs and leaves the adapter as it was, or it raises
#    `pt.errors.NotMergeable`, and no other error.


# %% exercise="capstone.laws" part="solution"
def keeps_the_laws(make):
    ### BEGIN SOLUTION
    for n_in, n_out, bias in ((6, 4, True), (5, 5, False)):
        base = torch.nn.Linear(n_in, n_out, bias=bias).requires_grad_(False)
        x = torch.randn(7, n_in)
        frozen_stays(a_life(make, x), base)
        layer, second = make(base), make(base)
        torch.testing.assert_close(layer(x), base(x), rtol=1e-4, atol=1e-4)
        for p in layer.own_parameters().values():
            p.data.normal_()
        y = layer(x)
        y.square().sum().backward()
        for name, p in layer.own_parameters().items():
            assert p.grad.abs().max() > 0, f"{name} gets no gradient"
        for name, p in second.own_parameters().items():
            p.data.copy_(layer.own_parameters()[name])
        torch.testing.assert_close(second.eval()(x), y)
        try:
            merged = layer.merged()
        except pt.errors.NotMergeable:
            merged = layer
        torch.testing.assert_close(merged(x), y, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(layer(x), y)
    ### END SOLUTION


# %% exercise="capstone.laws" part="check"
keeps_the_laws = pt.check("capstone.laws", keeps_the_laws)

# %% exercise="capstone.laws" part="grade"
pt.require("capstone.laws")

# %% [markdown]
# ## A method that you have never seen
#
# A mirror $H_u$ flips the part of $x$ along a vector $u$. Two mirrors after each other turn $x$, and two equal ones leave it alone:
#
# $$ y = \mathrm{base}\,(H_u H_v\, x), \qquad H_u\, x = x - 2\,\frac{u \cdot x}{u \cdot u}\,u $$
#
# A colleague draws $u$ at random and lets it stand. She starts $v$ at $u$, and trains it.


# %%
def mirror(x, u):
    return x - 2 * (x @ u / (u @ u))[..., None] * u


class Mirrors(pt.Adapter):
    def __init__(self, base):
        super().__init__(base)
        self.register_buffer("u", torch.randn(base.in_features))
        self.v = torch.nn.Parameter(self.u.clone())

    def forward(self, x):
        return self.base(mirror(mirror(x, self.v), self.u))


# %%
pt.widgets.Guess("Which law does her layer break?", ("the start", "the frozen base", "learning",
                 "all of it", "the merge", "none"), "capstone.mirrors")

# %% tags=["nbval-check-output"]
pt.compare("capstone.mirrors", pictures.broken_law(Mirrors), "the first law that breaks")
print(pictures.put_to(keeps_the_laws, Mirrors))

# %% [markdown]
# Mend it in one line<span class="notebook">, and run the three cells again</span>.
#
# <details><summary>Our line</summary>
#
# `self.u = torch.nn.Parameter(torch.randn(base.in_features))`: now u is in the file, and learns, too. A `state_dict()` would have
# kept her buffer; our file keeps `own_parameters()`. Her training looked fine, and so did her file. Whoever loads it gets a model that
# turns elsewhere. The method is real: Yuan and colleagues (2024) chain such mirrors, and
# train them all.
# </details>
#
# ## Your adapter
#
# ### Exercise 3 · Make the adapter (2 points, about 5 minutes)
#
# `my_adapter(base)` returns the adapter that you will hand in, around a frozen `nn.Linear`. One line will do. `pt.mine` gives you your own
# classes, `"lora.layer"`, `"dora.layer"` or `"ia3.layer"`. For IA³ on `ffn_out`, the `side` of your `Gains` is `"input"`.
#
# Lesson 10's smallest LoRA, rank 1 on every query and value, just fits with its head. (The file is larger by some 25 kB, which describe the
# adapter and its base, and do not count.)


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
# ## A first run


# %%
def train(name, make, config, epochs, lr, seed=0):
    """Put make(base) on the modules that config names, train, and write it to work/name."""
    names = pictures.places(config, make)
    pt.seed(seed)
    model, tokenizer = pt.models.load("minilm", labels=2)
    model = inject(model, names, make).to(pt.device())
    sentences = news.train[:budget.train_examples]
    batches = pt.data.batches(sentences, tokenizer, max_tokens=48, epochs=epochs, seed=seed)
    pt.widgets.watch(pt.train(model, batches, lr=lr), len(batches), name=name, curve=False)
    return pictures.ship(model, config, pt.course.in_work(name))


# %% [markdown]
# `config` tells the library, and peft, what `make` makes and where it stands, such as
# `pt.lora.Config(rank=1, alpha=8.0, targets=("value",), layers=(5,))`, or a `Config` of `pt.dora` or `pt.ia3`. `train` refuses,
# before its first step, a `make` that builds something else, and more than 40,000 bytes. While dots stand, an example trains.

# %%
ONE = {"make": my_adapter, "config": ..., "epochs": ..., "lr": ...}
first = train(**pictures.filled("one-0", ONE))
print(pictures.gain(first, validation))    # one seed: your bet waits for three

# %% [markdown]
# ## The pair that decides
#
# Early blocks or late ones? Queries or values? Your page needs two settings: **the same bytes, spent in two ways**. But not every pair can
# decide. We recorded two. One trains the values of the last block, or of the first. The other fills the 40 kB.
#
# Think of the second pair: 345 sentences, three seeds. **How many points must lie between these two before the 95 % interval of
# their difference excludes zero?**

# %%
pt.commit("capstone.smallest", ..., like=2.5)    # points

# %%
far, near = pictures.recorded()
gaps = {" against ".join(pair): pt.verdict(*pair.values(), margin=0.01) for pair in (far, near)}
*_, gap = gaps.values()    # scores from 0 to 1: a point is 0.01
pt.compare("capstone.smallest", round(50 * (gap.high - gap.low), 1),
           "points that decide, half the interval")
pt.plots.show(pictures.draw_tries(far | near), "Gain over the head on the mean on 345 "
              "validation sentences: a ring a seed, their mean, and its 95 % interval.")
pd.Series(gaps).map(repr).to_frame("verdict")

# %% [markdown]
# The first pair decides. But after one pass at one rate block 0 has 58 to 67 % right, where the majority is 57.4 %: the pair decides about
# this recipe, not about block 0. The second is of the usual kind: a few points, and an interval that reaches zero. (Both intervals take
# sentences as independent, and those of one editorial are relatives.) Choose a pair of your own whose answer you do not know. "Cannot
# tell" is a result, and earns its points.
#
# Fill in the other setting (its `make` may be of another rank or method). Two settings, three seeds: one run stands there, five follow.

# %%
OTHER = {"make": my_adapter, "config": ..., "epochs": ..., "lr": ...}
tries = pictures.pair(train, ONE, OTHER, validation, first)

# %%
pt.plots.show(pictures.draw_tries(tries, validation), "Gain over the head on the mean, on "
              "validation: a ring a seed, their mean, and its 95 % interval.")
ahead = pictures.ahead(tries, validation)    # your bet: the first setting
gain, low, high = map(pictures.in_points, (ahead.difference, ahead.low, ahead.high))
pt.compare("capstone.gain", f"{gain} ({low} to {high}): {ahead.word}", "points ahead")
pt.verdict(*tries.values(), margin=0.01)

# %% [markdown]
# The runs stand in `work/one-0` to `work/other-2`. The one that you choose becomes `work/adapter`, which you hand in; until then the table
# below looks at your first run. The grader checks the same, with other sentences for the gain.

# %%
CHOICE = ...    # such as "other-2"
chosen = pt.course.in_work("adapter")
if CHOICE is not ...:
    shutil.copytree(pt.course.in_work(CHOICE), chosen, dirs_exist_ok=True)
pictures.hand_in(chosen if chosen.exists() else first, validation)

# %%
# print(pictures.gain(chosen, news.test))    # once, after your last choice

# %% [markdown]
# ## The page
#
# At most 400 words; numbers with their intervals. A person marks it by this table:
#
# | part | one point for each | what makes the whole part zero |
# |---|---|---|
# | **What I predicted** | a number; a reason that could have been wrong; what the result says about this reason | words in place of a number |
# | **The pair that decided** | the same bytes, spent in two ways, both runs shown in the notebook; why this choice; the difference with its interval, over sentences and at least three seeds | one run alone; a run that answers the same to every sentence |
# | **My claim** | the gain with its interval; how many tries and seeds, and which sentences; nothing wider than that | a choice made on test sentences |
# | **When not to use it** | a kind of text or a user for whom it should fail; a reason; how one would notice | what is true of every model |
#
# A large gain earns no point here, and a small one costs none.
#
# Here is a page on another task, film ratings, with lesson 10's numbers, and what it got:
#
# > *What I predicted.* An R² of 0.55 for LoRA 8, since LoRA is said to be level with full fine-tuning. It has 0.50.
# >
# > *The pair that decided.* Query and value get as many numbers in both: LoRA 8, or entries drawn at random. Random entries can change a
# > matrix in any direction, LoRA 8 in only eight. The entries are ahead by 0.028 (0.014 to 0.043), over ten seeds and all test sentences.
# >
# > *My claim.* LoRA 8 has an R² of 0.50 (0.46 to 0.53) on lesson 10's test sentences, of film reviews; ten seeds.
# >
# > *When not to use it.* As any model, it may fail on texts of another kind.
#
# | part | points | why |
# |---|---|---|
# | What I predicted | 2 of 3 | A number, and a reason that could be wrong. It was wrong, and the page does not say what follows from that. |
# | The pair that decided | 3 of 3 | Equal numbers, a reason, an interval over seeds and sentences. |
# | My claim | 2 of 3 | Interval, seeds and sentences; nothing wider. Test sentences may measure, as they chose nothing. But how many rates were tried? |
# | When not to use it | 0 of 3 | True of every model. "Irony: it reads each sentence alone; look at reviews with quotation marks" would have three. |

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

# %% [markdown]
# ## Your name
#
# This is the end of the course. Look back once.

# %%
pt.board.show()

# %%
pt.audit()    # your tests, on your pieces

# %% [markdown]
# And two bets, your first and your last. Before you had written a line: what share of the memory does LoRA take? Before anything had trained
# here: how sure were you that your adapter would be ahead? A step of lesson 00 and your three seeds answer.

# %%
step = pt.course.pictures("inside")
ids = torch.randint(1000, 30_000, (16, 32), device=pt.device())
lora, full = (max(step.through_a_step(step.prepared(trains), {
    "input_ids": ids, "labels": ids[:, 0] % 2}).held) for trains in ("LoRA", "everything"))
pt.compare("inside.memory", [round(lora / full, 2), 1.0],
           "LoRA's share of memory; and how sure one is now")
pt.compare("capstone.sure", ahead.word, "how sure that it is ahead")

# %% [markdown]
# Nine in ten, and *cannot tell*? Then you were surer than your data.
#
# In lesson 00 the block was a drawing of grey boxes, and somebody else's. You have since put layers of your own into it, and written down how
# anybody could find out that they are wrong.
#
# **Would you put your name to your adapter?** Answer in a sentence: what it does, how sure you are, and where it stops.

# %%
pt.sentence("capstone.name", ..., ours=False)    # "I, …, put my name to …"

# %%
pt.progress("14")

# %% [markdown]
# Now take it with you. In a terminal, in the folder of your notebooks:
#
# ```
# peft-teach pack my-peft
# python -m pip install ./my-peft
# cd ..
# python -c "from my_peft import keeps_the_laws"
# ```
#
# All that you have built stands in this package, and your sentence opens its README.
#
# | next | |
# |---|---|
# | **read** | *LoRA Without Regret* (Schulman 2025), for the rates; *LoRA learns less and forgets less* (Biderman et al. 2024), for what it costs; then `peft/tuners/lora/layer.py`, which you can read now |
# | **build** | a method of your own: an equation, a class, and `keeps_the_laws` before the first training |
# | **ask** | one question on a model of a billion parameters, with a pair, three seeds, and a page like yours |
#
# The next table that somebody shows you will have three decimals and one seed, like your own above. You know what to ask.

# %% [markdown]
# **Sources**
#
# - Data: Hutto & Gilbert 2014, *VADER*, ICWSM; split by editorial: all sentences of one are in the same split.
# - Mirrors: Yuan, Liu & Xu 2024, *Householder reflection adaptation*, arXiv 2405.17484.
# - What a small test can show: Card et al. 2020, *With little power comes great responsibility*, arXiv 2010.06595.
# - Rates: Schulman and Thinking Machines Lab 2025, *LoRA Without Regret*, doi 10.64434/tml.20250929.
# - What to report: Dodge et al. 2019, *Show your work*, arXiv 1909.03004; Mitchell et al. 2019, *Model cards*, arXiv 1810.03993.
