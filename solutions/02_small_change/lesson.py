# %% [markdown]
# # 02 · Why a small change can be enough
# Full fine-tuning may move 22.7 million numbers, and each sentence teaches it one bit: good or bad. Surely most of that movement is waste. Take the finished change, throw 97 % of it away *by lot*, and see what the model still knows.
#
# In 2018 Chunyuan Li and colleagues wanted to measure how hard a task is. The size of a network does not tell. So they asked how few numbers must train.
#
# Here you take a real change apart, and write `inject`, which puts an adapter into a model.
#
# | | |
# |---|---|
# | **Time** | about 90 minutes (an estimate), 46 of them for 6 exercises; Run All takes about three minutes |
# | **You need** | lessons 00 and 01; matrix products |
# | **Data** | 2,000 sentences from film reviews, the same throughout, each rated by about 20 people; Hutto & Gilbert 2014, MIT licence |
#
# <details><summary>Three questions from earlier lessons</summary>
#
# **01: What is different about a frozen parameter after training?** Nothing, to the bit. It got no gradient and has no state in the optimizer.
#
# **01: What are the two ends of the *share of the gain*?** The head alone, trained to its end, is 0. Full fine-tuning is 1.
#
# **00: Where are most of MiniLM's parameters?** In the table of word vectors: about half of the model.
# </details>

# %% jupyter={"source_hidden": true}
import copy

import pandas as pd
import torch

import peft_teach as pt

records, live = pt.course.records, pt.course.live
budget = pt.course.budget()           # how much to compute: PEFT_TEACH_BUDGET=smoke|cpu|gpu
record = records.load("change")       # runs too long for a lesson (assets/records/change.py)
pictures = pt.course.pictures("change")
movies = pt.data.load("movies")
few = movies.train[:min(2000, budget.train_examples)]
test = movies.test[:min(1000, budget.test_examples)]
pt.seed(0)

# %% [markdown]
# ## Small in what?
# A change of a matrix can be small in three ways: few parameters, a low rank, few entries that are not zero. A matrix of **rank** 1 is one column
# times one row. The rank of a matrix is the smallest number of such matrices that add up to it.
#
# Do few parameters make a low rank? Build a counterexample.
#
# ### Exercise 1 · Three changes (2 points, about 7 minutes)
# Build three changes of an n × n matrix, each from a tensor `p` of parameters. The table holds if no parameter is zero:
#
# | | `p` has | rank of the change | entries that are not zero |
# |---|---|---|---|
# | `change_a(p, n)` | 1 parameter | n | all |
# | `change_b(p, n)` | 2n parameters | 1 | all |
# | `change_c(p, n)` | n parameters | n | n |
#
# Each result has shape (n, n), and is zero when `p` is zero. If any parameter moves, so does the matrix, and every parameter gets a gradient. The
# same `p` gives the same matrix.
#
# Replace the lines `raise …`, run the cell, then the one below it. `pt.hint("change.small")` helps, `pt.reset("change.small")` gives the original
# text back. Until yours passes, the lesson goes on with ours.


# %% exercise="change.small" part="solution"
def change_a(p: torch.Tensor, n: int) -> torch.Tensor:
    ### BEGIN SOLUTION
    return p * (torch.ones(n, n) + torch.eye(n))
    ### END SOLUTION


def change_b(p: torch.Tensor, n: int) -> torch.Tensor:
    ### BEGIN SOLUTION
    return p[:n, None] * p[None, n:]
    ### END SOLUTION


def change_c(p: torch.Tensor, n: int) -> torch.Tensor:
    ### BEGIN SOLUTION
    return torch.diag(p)
    ### END SOLUTION


# %% exercise="change.small" part="check"
change_a, change_b, change_c = pt.check("change.small", change_a, change_b, change_c)

# %% exercise="change.small" part="grade"
pt.require("change.small")

# %%
generator = torch.Generator().manual_seed(0)
shown = {"1 parameter": change_a(torch.rand(1, generator=generator) + 1, 12),
         "24 parameters": change_b(torch.randn(24, generator=generator), 12),
         "12 parameters": change_c(torch.rand(12, generator=generator) + 1, 12)}
pt.plots.show(pictures.draw_changes(shown), "Your three changes, 12 × 12. Zero is as the page.")

# %% [markdown]
# Few parameters do not mean low rank: you built a change of full rank from one number. Is a real change small in any of the three ways?
#
# ## Throw it away by lot
# Train everything, then subtract what was there before. The model reads a review of your own, before and after.

# %%
review = "A warm, funny film, and I would gladly see it again."
pt.seed(0)
tuned, tokenizer = pt.models.load("minilm", labels=2)
before = {name: p.detach().clone() for name, p in tuned.named_parameters()}
unread = live.read(tuned, tokenizer, review)
tuned = pt.full.inject(tuned, pt.full.Config("all"))    # all of it trains, as in lesson 01
batches = pt.data.batches(few, tokenizer, 16, seed=0)
steps = pt.widgets.watch(pt.train(tuned, batches, lr=1e-4), len(batches), name="full fine-tuning")
live.read(tuned.eval(), tokenizer, review, before=unread)

# %%
head = pt.models.head(tuned)
updates = {name: (p.detach() - before[name]).cpu()      # of each tensor but the head's
           for name, p in tuned.named_parameters() if name not in head}
tests = pt.data.batches(test, tokenizer, 64)


def accuracy_with(others):
    """Test with other updates of the tensors named here; all else stays as trained."""
    changed = copy.deepcopy(tuned)
    for name, update in others.items():
        changed.get_parameter(name).data.copy_(before[name] + update.to(pt.device()))
    return round(pt.evaluate(changed, tests).accuracy, 3)


# %%
whole = accuracy_with(updates)
nothing = accuracy_with({name: 0 * update for name, update in updates.items()})
pd.Series({"the whole change": whole, "none of it": nothing}).to_frame("accuracy")

# %% [markdown]
# Not all numbers moved: 9 million belong to words that no training sentence contains.
#
# Now take a die with 32 sides, and throw it for each number outside the head. Keep its change if the die shows 1; else undo it.
#
# **How much accuracy is left? And how much if you multiply the kept changes by 32?** Commit a list of two numbers.

# %%
pt.commit("change.lot", ...)    # shares of right answers, from 0 to 1

# %%
def drawn(update, share):
    """Draw for each number: it stays with this probability, else it becomes zero."""
    return update * (torch.rand(update.shape) < share)


sample = {name: drawn(update, 1 / 32) for name, update in updates.items()}
plain = accuracy_with(sample)
scaled = accuracy_with({name: 32 * kept for name, kept in sample.items()})
pt.compare("change.lot", [plain, scaled], "a random 32nd: as it is, and times 32")

# %% [markdown]
# <details><summary>What the two numbers say</summary>
#
# Times 32, hardly anything is lost. We threw away 31 of 32 changes without looking, and the model still knows nearly all that it learned. Without the factor, the same changes are worth little: they are only too small.
# </details>
#
# Le Yu and colleagues (2023) found this in language models, and called it DARE, for *drop and rescale*. Why does it work? The output $i$ changes by
# $\sum_j \Delta W_{ij}\,x_j$. Keep each term with probability $s$ and multiply it by $1/s$. On average the sum stays as it was, exactly. Its error
# has the variance
#
# $$ \Big(\frac1s-1\Big)\sum_j \Delta W_{ij}^2\,x_j^2 . $$
#
# For a 32nd, this variance is 31 times the sum of the squared terms. Beside $W$ the noise is still small here. With tiny shares or large updates it
# is not, so there must be a limit.
#
# ## How many directions?
# Does a change that survives such treatment have a low rank? The **singular value decomposition** writes any matrix as a sum of matrices of rank 1,
# the strongest first:
#
# $$ \Delta W = \sum_i \sigma_i\,u_i v_i^\top, \qquad \sigma_1 \ge \sigma_2 \ge \dots \ge 0 $$
#
# All $u_i$ have length 1 and are perpendicular to each other; so are all $v_i$. Each term is one **direction** of the matrix: it reads how much of
# $v_i$ is in the input, and writes $u_i$ into the output. $\sigma_i$ is its strength. The **energy** of a matrix is the sum of all $\sigma_i^2$,
# which is also the sum of all squared entries.
#
# A matrix of random numbers needs 196 of its 384 directions for 90 % of its energy. **How many does the value matrix's $\Delta W$ need in block 5,
# the last, and how many in block 0?** Commit a list of two numbers.

# %%
pt.commit("change.spectrum", ...)

# %% [markdown]
# ### Exercise 2 · Count directions (1 point, about 4 minutes)
# Write `directions(sigma, share)`: the smallest number of directions, strongest first, that hold at least this share of the energy.
#
# - `sigma` is a tensor of singular values, the largest first, and stays unchanged; `share` is a number such as 0.9.
# - The answer is a whole number, 1 if the first direction is enough.


# %% exercise="change.energy" part="solution"
def directions(sigma: torch.Tensor, share: float = 0.9) -> int:
    ### BEGIN SOLUTION
    energy = sigma.square().cumsum(0)
    return int((energy < share * energy[-1]).sum()) + 1
    ### END SOLUTION


# %% exercise="change.energy" part="check"
directions = pt.check("change.energy", directions)

# %% exercise="change.energy" part="grade"
pt.require("change.energy")

# %%
PLACES = ("query", "key", "value", "attention_out", "ffn_in", "ffn_out")
found = {place: [f"{n}.weight" for n in pt.models.find(tuned, place)] for place in PLACES}
matrices = [n for names in found.values() for n in names]    # 36, in the six blocks
sigmas = {n: torch.linalg.svdvals(updates[n]) for n in matrices}
counts = {place: [directions(sigmas[n]) for n in names] for place, names in found.items()}
pt.compare("change.spectrum", [counts["value"][5], counts["value"][0]], "block 5, block 0")
pd.DataFrame(counts).T    # directions with 90 % of the energy, block by block

# %% [markdown]
# In the early blocks the change is not of low rank: in block 0 a matrix needs about 130 directions on average. In block 5 it needs 24, and the rank
# is nearly low.
#
# What spreads the change so widely? Look at the gradient of a single batch. Adam's first step follows only the *sign* of each entry.

# %%
pt.seed(0)
fresh, _ = pt.models.load("minilm", labels=2)
fresh.train()    # with dropout, as in training
fresh(**live.placed(batches[0])).loss.backward()
rows = {}
for place, block in [(place, block) for block in (5, 0) for place in ("query", "value", "ffn_in")]:
    gradient = fresh.get_parameter(found[place][block]).grad.cpu()
    signs = gradient.sign(), torch.randn(gradient.shape).sign()
    rows[f"{place}, block {block}"] = [directions(torch.linalg.svdvals(m))
                                       for m in (gradient, *signs)]
pd.DataFrame(rows, index=["the gradient", "its sign", "random signs"]).T    # with 90 %

# %% [markdown]
# In the last block the gradient needs few directions, but the optimizer's first step needs about 50 to 160.
#
# ## Are the weak directions needed?
# Which matrix of rank $k$ is nearest to $\Delta W$? Let $M$ be of rank $k$, and let $Q$ project onto the $k$ dimensions that the rows of $M$ span. $M$
# ignores all other dimensions, so $\|\Delta W - M\|^2$ is at least
#
# $$ \|\Delta W\|^2 - \|\Delta W Q\|^2, \qquad \|\Delta W Q\|^2 = \sum_i \sigma_i^2\,\|Q v_i\|^2 . $$
#
# The factors $\|Q v_i\|^2$ lie between 0 and 1 and add up to at most $k$. The last sum is largest if this factor is 1 for the $k$ strongest
# directions and 0 for the others. So no matrix of rank $k$ is nearer than the decomposition's first $k$ terms (Eckart and Young 1936).
#
# ### Exercise 3 · The truncation (2 points, about 8 minutes)
# Write `truncate(delta, k)`, the matrix of rank at most $k$ that is nearest to `delta`.
#
# - `delta` need not be square and stays unchanged; the result has its shape; $k$ goes from 0 to all.
# - `torch.linalg.svd(delta, full_matrices=False)` gives three parts. Check first that they multiply back to `delta`.


# %% exercise="change.truncate" part="solution"
def truncate(delta: torch.Tensor, k: int) -> torch.Tensor:
    ### BEGIN SOLUTION
    U, sigma, Vt = torch.linalg.svd(delta, full_matrices=False)
    return (U[:, :k] * sigma[:k]) @ Vt[:k]
    ### END SOLUTION


# %% exercise="change.truncate" part="check"
truncate = pt.check("change.truncate", truncate)

# %% exercise="change.truncate" part="grade"
pt.require("change.truncate")

# %% [markdown]
# Keep eight directions of each of the 36 matrices. Together they take as many numbers as a 32nd of all entries, and hold a good half of the energy.
# **What accuracy do they leave?**

# %%
pt.commit("change.eight", ...)    # a share of right answers, from 0 to 1

# %%
eight = accuracy_with({name: truncate(updates[name], 8) for name in matrices})
held = sum((s[:8].square().sum() / s.square().sum()).item() for s in sigmas.values()) / len(sigmas)
pt.compare("change.eight", eight, f"eight directions, with {held:.0%} of the energy")

# %% [markdown]
# <details><summary>What it says</summary>
#
# Eight directions are enough. The rest holds nearly half of the energy, and adds hardly any accuracy. So the
# change is <i>not</i> of low rank in the early blocks, and yet a low rank suffices. That was the bet behind LoRA, which Hu et al. (2021) test in their §7.2.
# </details>
#
# ## Where it breaks
# Keep entries at random, the largest entries, or the strongest directions. Kept entries are multiplied by a ratio, the energy of $\Delta W$ to that of the kept entries: about 32 for a random 32nd, less for the largest. Ask the picture:
#
# 1. Which rule is ahead at 1/32? Does it matter?
# 2. How small may the share get, by each rule?
# 3. Make $\Delta W$ larger. Which rule falls far below *nothing*?

# %%
last = updates[found["value"][5]]
pictures.explore_cut(record, last)

# %% [markdown]
# <details><summary>What the picture says</summary>
#
# At 1/32 of a small change, all three are as accurate as the whole change, or nearly. At 1/256 they lose about a fifth of what the change brings. At
# 1/1,024 no direction is left, random entries are worth nothing, and the largest still help. Make the change larger, and random entries are worse than no change.
# </details>
#
# Is size all that matters? Rescale the strongest directions, too. Then rescale what is left without them:

# %%
rows = pictures.parts(record).query("lr == 1e-4 and share == 1 / 32 and rest == 'trained'")
records.table(rows, ["rule", "scaled"])    # recorded

# %% [markdown]
# A *sample* must be rescaled, because each sum has lost most of its terms. A kept direction already has its full strength. Without the eight
# strongest, rescaling helps little: from 66.0 to 68.3 %.
#
# A random sample still contains the eight: multiplied by 32, it is $\Delta W$ plus noise, and the noise is zero on average.

# %%
rows = {"ΔW": last, "a random 32nd, times 32": 32 * drawn(last, 1 / 32),
        "W": before[found["value"][5]].cpu()}
pd.DataFrame({name: {"length": f"{m.norm():.2f}", "strongest direction": f"{svd[0]:.2f}",
                     "directions with 90 %": directions(svd)}
              for name, m in rows.items() for svd in [torch.linalg.svdvals(m)]}).T

# %% [markdown]
# Most of the sample is noise. But beside $W$ the noise is short, and points nowhere in particular.

# %%
pt.sentence("change.rank", ...)    # one sentence of yours: has fine-tuning's update a low rank?

# %% [markdown]
# ## Small from the start
# All this was surgery after the fact. Can one *train* few numbers? Write all $D$ weights of the backbone in one column $\theta$, and train only a short
# column $z$ of $d$ numbers:
#
# $$ \theta = \theta_0 + P z $$
#
# The pretrained $\theta_0$ is frozen. $P$, of shape (D, d), is drawn once and never changes. Only $z$ is trained, from zero. So every weight moves,
# but along $d$ directions that nobody chose. The smallest $d$ that works is the task's **intrinsic dimension**. Li et al. (2018) measured it for
# networks without pretraining, Aghajanyan et al. (2020) for pretrained ones. A dense $P$ would not fit into memory, so each weight follows one entry
# of $z$, with a random sign.

# %%
guess = pt.widgets.Guess("The smallest d that brings half of the gain:",
                         (16, 64, 256, 1024, 4096, 16384), "change.half")
guess

# %%
pictures.explore_subspaces(record, guess)

# %%
reached = pictures.subspaces(record, 50, "gain").reached
pt.compare("change.half", reached, "the smallest of these d, by the mean of its seeds")

# %% [markdown]
# <details><summary>What the picture says</summary>
#
# A few thousand random directions bring half of the gain. But mind the goal. Both papers ask for 90 % of full training's
# <i>accuracy</i>. Set that goal in the picture, and 1,024 directions reach it. Yet the head alone already has 86 % of that accuracy, without any
# direction. Always compare with the head alone.
# </details>
#
# Random directions measure a task. They hardly make training cheaper: each step still computes a gradient for every weight, and only the
# optimizer's two running means shrink, to $d$ numbers each.
#
# ## Put it in: `inject`
# Better methods choose *where* to train. Somebody must find the modules, wrap them, and freeze the rest. You write that here, once, and later lessons
# use yours.
#
# An **adapter** is a class that inherits from `pt.Adapter` and holds the wrapped module as `self.base`. Every other parameter is its own. Here is
# one, and a tiny model:

# %%
class Scale(pt.Adapter):
    """One trained number, 1 at the start."""

    def __init__(self, base):
        super().__init__(base)
        self.a = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return self.a * self.base(x)


pictures.Tiny()

# %% [markdown]
# ### Exercise 4 · The injection (3 points, about 12 minutes)
# Write `inject(model, targets, make)`. `targets` is a tuple of names such as `("query", "value")`; `make(module)` builds an adapter around a module.
# For the model that comes back:
#
# - **found**: a module is found if its full name is a target, or ends in a dot and a target. `"query"` finds `blocks.0.query` and `blocks.1.query`,
#   not `blocks.0.query_norm`;
# - **wrapped**: `make(module)` takes the place of each found module, once. If one lies inside another, both are wrapped, and the inner adapter lies
#   in the outer adapter's base;
# - **frozen**: only the parameters that `make` brought and those of the head train. `pt.models.head(model)` gives the head's names;
# - **refused**: if one of the targets finds no module, an error names this target, before anything is changed;
# - **returned**: the model that was given, or a copy.
#
# No target lies in the head, and no module is in two places. `model.named_modules()` gives all modules with their full names. Try yours on
# `pictures.Tiny()` and `Scale`, with `("query", "value")`, and with `("0", "query")`, where `blocks.0.query` lies inside `blocks.0`.


# %% exercise="change.inject" part="solution"
def inject(model, targets, make):
    ### BEGIN SOLUTION
    modules = dict(model.named_modules())
    names = []
    for target in targets:
        found = [name for name in modules if name == target or name.endswith("." + target)]
        if not found:
            raise KeyError(f"no module is called {target!r}")
        names += [name for name in found if name not in names]

    head = pt.models.head(model)
    for name, p in model.named_parameters():
        p.requires_grad_(name in head)

    for name in names:
        owner, _, last = name.rpartition(".")
        setattr(modules[owner], last, make(modules[name]))
    return model
    ### END SOLUTION


# %% exercise="change.inject" part="check"
inject = pt.check("change.inject", inject)

# %% exercise="change.inject" part="grade"
pt.require("change.inject")

# %% [markdown]
# ### Exercise 5 · Its law (3 points, about 10 minutes)
# An `inject` that forgets something does not crash; the loss falls all the same. So write the test that finds it: `inject_holds(inject, fresh, make)`
# raises an error if an `inject` breaks one of these properties. `fresh()` gives a new `Tiny`, `make(base)` a `Scale`. Your test must reject nine
# broken versions, each with one slip, and accept four right ones, which differ in what the properties leave open.


# %% exercise="change.holds" part="solution"
def inject_holds(inject, fresh, make):
    ### BEGIN SOLUTION
    model = inject(fresh(), ("query", "value"), make)
    wrapped = {name for name, module in model.named_modules() if isinstance(module, pt.Adapter)}
    assert wrapped == {f"blocks.{b}.{name}" for b in (0, 1) for name in ("query", "value")}

    own = {f"{name}.{p}" for name in wrapped for p in model.get_submodule(name).own_parameters()}
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == own | {"classifier.weight", "classifier.bias"}

    refused = fresh()
    try:
        inject(refused, ("query", "qeury"), make)
    except Exception:
        assert not pt.adapters(refused)
        assert all(p.requires_grad for p in refused.parameters())
        return
    raise AssertionError("a name that no module has was accepted")
    ### END SOLUTION


# %% exercise="change.holds" part="check"
inject_holds = pt.check("change.holds", inject_holds)

# %% exercise="change.holds" part="grade"
pt.require("change.holds")

# %%
pt.audit()    # runs every test in your my_peft.py on your own pieces

# %% [markdown]
# ## BitFit
# Where to train? Elad Ben Zaken and colleagues (2021) chose the biases. Every linear layer and every LayerNorm adds a vector $b_0$ to its output.
# Leave each matrix alone, and train only what is added:
#
# $$ y = \mathrm{base}(x) + b $$
#
# The paper trains $b_0$ itself. A separate $b$, zero at the start, leaves the base as it was.
#
# ### Exercise 6 · BitFit (1 point, about 5 minutes)
# Write the adapter. `self.b` is trained, in float32; the output is the equation's, in the dtype of the base's output. Untrained, it gives the base's
# output, to the bit. `base` is a linear layer or a LayerNorm with a bias.


# %% exercise="change.bitfit" part="solution"
class BiasAdapter(pt.Adapter):
    def __init__(self, base: torch.nn.Module):
        super().__init__(base)
        ### BEGIN SOLUTION
        self.b = torch.nn.Parameter(torch.zeros(base.bias.shape))
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        y = self.base(x)
        return (y + self.b).to(y.dtype)
        ### END SOLUTION


# %% exercise="change.bitfit" part="check"
BiasAdapter = pt.check("change.bitfit", BiasAdapter)

# %% exercise="change.bitfit" part="grade"
pt.require("change.bitfit")

# %% [markdown]
# Put it around `query`, `key`, `value`, every `dense` and every `LayerNorm` of the six blocks. Outside the blocks, these names find one `dense`
# (the pooler) and one norm. **How many parameters train, the head's 770 included?** Each bias has 384 entries, except one of 1,536 in each block.

# %%
pt.commit("change.count", ...)    # a whole number

# %% tags=["nbval-check-output"]
pt.seed(0)
model, _ = pt.models.load("minilm", labels=2)
unread = live.read(model, tokenizer, review)
targets = ("query", "key", "value", "dense", "LayerNorm")
model = inject(model, targets, BiasAdapter).to(pt.device())
counted = pt.account.parameters(model)
pt.compare("change.count", counted.adapter + counted.head, "parameters that train")

# %%
steps = pt.widgets.watch(pt.train(model, batches, lr=3e-3), len(batches), name="BitFit")
live.read(model.eval(), tokenizer, review, before=unread)

# %%
fitted = round(pt.evaluate(model, tests).accuracy, 3)
pd.Series({"full fine-tuning": whole, "BitFit": fitted}).to_frame("accuracy")

# %% [markdown]
# No matrix of the backbone changed, and the model learned.
#
# ## The kinds of small, side by side
# One contestant is missing: LoRA of rank 1, from lesson 07, on query and value. It trains 9,216 parameters; BitFit nearly three times as many.

# %%
pt.widgets.Guess("Of the gain, LoRA of rank 1 brings",
                 ("less than BitFit", "about as much", "more"), "change.most")

# %%
runs = record.runs.query("group in ['fewer', 'short', 'subspace'] and pretrained")
one, fit = (runs.query("method == @method").accuracy for method in ("lora", "bitfit"))
verdict = {"better": "more", "worse": "less than BitFit"}.get(records.compared(one, fit))
pt.compare("change.most", verdict or "about as much", "LoRA of rank 1, three seeds each")
runs = runs.assign(gain=records.gain(runs.accuracy, pictures.ends(record)),
                   method=runs.method.replace("head", "head, 125 steps"))
runs = runs.query("parameters != 16")    # the head's 770 not counted; without the single run
records.table(runs, ["parameters", "method"], "accuracy", "gain")

# %% [markdown]
# LoRA changes a matrix by rank 1, BitFit by rank 0, and random directions by full rank. So the rank does not order the gains. Nor does the number
# of parameters, in this table: BitFit needs more training. Full fine-tuning's change of the matrices has neither few parameters nor few entries.
# Yet small changes do much of its work, and the rest of this course is a choice among them.

# %%
pt.sentence("change.kinds", ...)    # of yours: which kind of small is "the" small change?

# %% [markdown]
# **What this lesson claims**
#
# | claim | seen here | what could have refuted it, and was tried | at larger scale |
# |---|---|---|---|
# | Of a small update, a random 32nd is enough, if it is rescaled. | 80.5 % with a 32nd of the 36 matrices, 80.8 % with all: mean of three seeds; 1,000 sentences, standard error of a run 1.3 points | Not rescaled: 64.4 %. With no change of these matrices: 62.8 %. At 1/1,024, and at 1/256 of larger updates, the largest entries beat random ones. | 90 to 99 % can go, more in larger models (Yu et al. 2023). It fails for large updates, where important entries do better (Deng et al. 2024). |
# | In the early blocks the update is not of low rank; in the last it nearly is. Eight directions of each matrix are enough. | The rank: the table of directions. The accuracy: 80.2 % with eight, 80.8 % with all; the same runs. | With eight and no other change at all: 79.9 %. Without the eight: 66.0 %, rescaled 68.3 %. | The rank is high at 7 billion, too (Biderman et al. 2024). On mathematics, few directions cost accuracy (Ping et al. 2024). |
# | A few thousand random directions bring half of the gain. | 4,096 bring 53 %: mean of three seeds, from 38 to 67 % | The gain is measured from the head alone, trained to its end. | The larger the pretrained model, the fewer are needed (Aghajanyan et al. 2020). |
# | The rank does not order the ways to train little. | the table above: one pass of 2,000 sentences, two or three seeds each | BitFit reaches 78.3 % with 4,000 sentences. With shorter steps, 16,384 directions reach 78.0 % (one seed). The ranks stay out of order; then the number of parameters may order the gains. | BitFit comes close to full fine-tuning on small data (Ben Zaken et al. 2021). |

# %%
pt.progress("02")

# %% [markdown]
# ## At your desk
# Find, wrap, freeze and count, with Hugging Face peft:
#
# ```python
# from peft import LoraConfig, get_peft_model
#
# config = LoraConfig(task_type="SEQ_CLS",            # "CAUSAL_LM" for a language model
#                     target_modules=["query", "value"], r=8, lora_alpha=16)
# tuned = get_peft_model(model, config)               # finds, wraps, freezes: your inject
# tuned.print_trainable_parameters()                  # count before you train,
# found = tuned.targeted_module_names                 # and look where it went
# assert len(found) == 2 * model.config.num_hidden_layers
# ...                                                 # your training loop, or a Trainer
# tuned.save_pretrained("my-adapter")                 # the adapter and the head
# plain = tuned.merge_and_unload()
# ```
#
# peft raises an error if *no* target is found. One misspelt name beside a right one passes
# ([peft#1959](https://github.com/huggingface/peft/issues/1959)), so count.
#
# | 1 to 70 billion parameters | take | source |
# |---|---|---|
# | training little | LoRA on every linear layer (lesson 07) | Biderman et al. 2024 |
# | merging full fine-tunings | drop by lot and rescale each update first, 90 % or more; check each model alone | Yu et al. 2023 |
# | dropping 99 %, or from a large update | a smaller factor, or the important entries in place of random ones | Deng et al. 2024 |
# | storing many full fine-tunings | few directions of each update, and test: on mathematics this cost accuracy. At the same size it was better to keep more directions, the weak ones in fewer bits | Ping et al. 2024 |
#
# **What misleads at 7 billion:** "eight directions are enough", which is about film reviews, and our learning rates. BitFit has nothing to train in
# Llama and its kin: they have no biases.

# %% [markdown]
# # Further
# ### A stretch · The random subspace (1 point, about 8 minutes)
# Write `project(theta0, z, h, sign)`: the weights $\theta_0 + Pz$, for all $i$ at once. `theta0`, `h` and `sign` have shape (D,), `z` has shape (d,).
#
# - Row $i$ of $P$ has one entry that is not zero, in column `h[i]`. Its sign is `sign[i]`, 1 or −1; its size is the same number $c$ everywhere.
# - With this $c$, a column of $D/d$ entries has length 1. (So the weights move about as far as $z$ does, whatever $d$ is.) Which $c$ is it?
# - A dense $P$ is never built, and no loop goes over $D$; a gradient finds its way back to `z`; the inputs stay unchanged.


# %% exercise="change.project" part="solution"
def project(theta0, z, h, sign) -> torch.Tensor:
    ### BEGIN SOLUTION
    c = (len(z) / len(theta0)) ** 0.5
    return theta0 + c * sign * z[h]
    ### END SOLUTION


# %% exercise="change.project" part="check"
project = pt.check("change.project", project)

# %% exercise="change.project" part="grade"
pt.require("change.project")

# %% [markdown]
# ## Break it on purpose
# To make a model small, somebody cuts $W + \Delta W$ in place of $\Delta W$. Both are matrices of the same shape, and nothing complains. At $k = 64$,
# eight times as many directions as above:

# %%
weights = {name: before[name].cpu() for name in matrices}
sum_cut = {name: truncate(W + updates[name], 64) - W for name, W in weights.items()}
change_cut = {name: truncate(updates[name], 64) for name in matrices}
pd.Series({"W + ΔW cut": accuracy_with(sum_cut),
           "ΔW cut": accuracy_with(change_cut)}).to_frame("accuracy")

# %% [markdown]
# Much of what the model knew is gone: the energy of $W$ is spread over many directions, and the part that is cut off is far longer than the whole
# update. Cut the change, never the sum.
#
# **Sources**
#
# - Dimensions: Li et al. 2018, *Measuring the Intrinsic Dimension of Objective Landscapes*, arXiv 1804.08838, §2; Aghajanyan et al. 2020, arXiv
#   2012.13255; Hu et al. 2021, *LoRA*, arXiv 2106.09685: §4.1 the hypothesis of a low rank, §7.2 its test.
# - Parts of updates: Yu et al. 2023, *Language Models are Super Mario* (DARE), arXiv 2311.03099; Deng et al. 2024, *DARE the Extreme*, arXiv
#   2410.09344; Ping et al. 2024, *Delta-CoMe*, arXiv 2406.08903; Biderman et al. 2024, *LoRA Learns Less and Forgets Less*, arXiv 2405.09673.
# - Ben Zaken et al. 2021, *BitFit*, arXiv 2106.10199: §3 the method. Eckart & Young 1936, *Psychometrika* 1.
# - Data: Hutto & Gilbert 2014, *VADER*, ICWSM; sentences of the film reviews of Pang & Lee 2004.
#
# The library's own injection, with its safeguards, is `pt.attach`; its BitFit, `pt.bitfit.BiasAdapter`.
