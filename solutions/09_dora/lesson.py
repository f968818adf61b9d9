# %% [markdown]
# # 09 · DoRA: does separating magnitude from direction help?
#
# A row of a weight matrix is an arrow. It has a length and a direction. Fine-tuning can stretch it, turn it, or do both.
#
# In 2024, Shih-Yang Liu and his colleagues at NVIDIA wanted to close the gap between LoRA and full fine-tuning. Their idea: let LoRA turn the row, and train its length by itself. This is **DoRA**.
#
# You build DoRA from one paragraph of theirs and referee sixty runs. Then you look at the picture that started it, beside one that noise drew.
#
# | | |
# |---|---|
# | **Time** | about 85 minutes (an estimate), 43 of them for 5 exercises; Run All takes about four minutes |
# | **You need** | LoRA (lesson 07), `inject` (lesson 02); IA³'s scaling vectors (lesson 06) help |
# | **Data** | sentences from film reviews, 2,716 of them for testing (2,563 where labels are tested), each rated by about 20 people; Hutto & Gilbert 2014, MIT licence |

# %% jupyter={"source_hidden": true}
import pandas as pd
import torch

import peft_teach as pt

budget = pt.course.budget()    # PEFT_TEACH_BUDGET=smoke|cpu|gpu
record = pt.course.records.load("dora")    # assets/records/dora.py
pictures = pt.course.pictures("dora")
LoRALinear, inject = pt.mine("lora.layer", "change.inject")    # yours
pt.seed(0)

# %% [markdown]
# From lesson 07: after one backward pass of a new LoRA, whose gradient is not zero, $A$'s or $B$'s?<span class="notebook"> Say it, then run the lines.</span>

# %%
layer = LoRALinear(torch.nn.Linear(6, 4).requires_grad_(False), 2, 4.0)
layer(torch.randn(3, 6)).square().sum().backward()
print(*[name for name in ("A", "B") if getattr(layer, name).grad.any()])

# %% [markdown]
# ## Build it from a paragraph

# %%
pt.plots.show(pt.drawing.block("dora"), "One of six blocks of our model. A and B train as in LoRA; "
              "a third parameter, m, holds a length for each row.")

# %% [markdown]
# Move $b$, then $m$. **Can LoRA turn the row by 40° and leave its length as it was?**

# %%
pictures.explore_turn()

# %% [markdown]
# With one fixed piece to add, LoRA's turn decides its stretch. DoRA sets each by itself. Here is the authors' paragraph, in our letters,
# with $s$ = alpha / rank:
#
# > Split the pretrained weight into a **magnitude** $m$ and a **direction** $V$. At the start, $m$ is the norm of each vector of $W$,
# > and $V$ is $W$. Train $m$, and let LoRA update $V$:
# >
# > $$ W' = m \odot \frac{V}{\lVert V\rVert}, \qquad V = W + s\,BA $$
# >
# > In the backward pass, treat $\lVert V\rVert$ as a constant.
#
# Each vector of *what*? The paper says "each column". PyTorch stores a linear layer as (n_out, n_in), and the authors' code takes
# one norm for each *output*. For us that is a row ([peft#2348](https://github.com/huggingface/peft/issues/2348)).
#
# ### Exercise 1 · The layer (3 points, about 12 minutes)
#
# Write `DoRALinear(base, rank, alpha)` around an `nn.Linear` of any shape, with or without a bias. Its parameters are `A`, `B` and `m` (n_out,),
# and `scale` is $s$.
#
# 1. Untrained, it gives the base's output, up to rounding. `A` and `B` start as in lesson 07.
# 2. For any `A`, `B` and `m`, it acts as a linear layer with the weight $W'$ and the base's bias.
# 3. Its gradients are those of the paragraph: `A`, `B` and `m` train, and $\lVert V\rVert$ passes no gradient on.
# 4. The base stays as it is.
#
# <span class="notebook">Replace the lines `raise …`, run the cell, then the one below it. Until yours passes, the lesson goes on with ours.</span>


# %% exercise="dora.layer" part="solution"
class DoRALinear(pt.Adapter):
    def __init__(self, base: torch.nn.Linear, rank: int = 8, alpha: float = 16.0):
        super().__init__(base)
        ### BEGIN SOLUTION
        self.scale = alpha / rank
        self.A = torch.nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.B = torch.nn.Parameter(torch.zeros(base.out_features, rank))
        self.m = torch.nn.Parameter(base.weight.detach().norm(dim=1))
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        V = self.base.weight + self.scale * self.B @ self.A    # (n_out, n_in)
        g = self.m / V.norm(dim=1).detach()    # (n_out,)
        y = g * (x @ V.T)    # (…, n_out)
        return y if self.base.bias is None else y + self.base.bias
        ### END SOLUTION


# %% exercise="dora.layer" part="check"
DoRALinear = pt.check("dora.layer", DoRALinear)

# %% exercise="dora.layer" part="grade"
pt.require("dora.layer")

# %% [markdown]
# ## Onto your ladder
#
# Put your layer on query and value in all six blocks, and train it by the protocol of your ladder.

# %%
def wrap(model):
    return inject(model, ("query", "value"), lambda base: DoRALinear(base, 8, 16)).to(pt.device())


trained = pt.board.train("dora 8", wrap)
model, tokenizer = trained.model, trained.tokenizer

# %% [markdown]
# It learns. Did the 4,608 lengths gain anything over LoRA? One run cannot tell. And first: is the layer right?
#
# ## Whose layer is right?
#
# A broken DoRA may start as its base and learn as well as yours. One kind even gives every answer
# right, and its gradients are wrong.
#
# ### Exercise 2 · The law of DoRA (3 points, about 15 minutes)
#
# Write `dora_holds(make)`, a test that raises an error if the layer that `make(base, rank, alpha)` builds breaks this law:
#
# > *Untrained, the layer answers as its base, up to rounding. Whatever values $A$, $B$ and $m$ take, row $i$ of its weight has the length
# > $|m_i|$, and its bias is the base's. The gradient reaches $A$, $B$ and $m$, with $\lVert V\rVert$ held constant. Nothing in the base
# > trains.*
#
# `make` gets a frozen float32 `nn.Linear` of your choice. The law fixes neither the size of $s$ nor which of $A$ and $B$ starts at zero.
#
# Set `A`, `B` and `m` to whatever you like, and read outputs and gradients. You have no correct DoRA to compare with, so test facts that
# need no comparison.


# %% exercise="dora.law" part="solution"
def dora_holds(make):
    ### BEGIN SOLUTION
    base = torch.nn.Linear(5, 3).requires_grad_(False)
    layer, x = make(base, 2, 6.0), torch.randn(4, 5)
    torch.testing.assert_close(layer(x), base(x), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        for p in (layer.A, layer.B, layer.m):
            p.copy_(torch.randn_like(p))
    bias = layer(torch.zeros(1, 5))
    torch.testing.assert_close(bias[0], base.bias, rtol=1e-4, atol=1e-5)
    columns = layer(torch.eye(5)) - bias    # W', transposed
    torch.testing.assert_close(columns.norm(dim=0), layer.m.abs(), rtol=1e-4, atol=1e-5)
    columns.square().sum().backward()    # for A, B: the true gradient is 0
    assert min(p.grad.norm() for p in (layer.A, layer.B, layer.m)) > 1e-3
    assert not any(p.requires_grad for p in base.parameters())
    ### END SOLUTION


# %% exercise="dora.law" part="check"
dora_holds = pt.check("dora.law", dora_holds)

# %% exercise="dora.law" part="grade"
pt.require("dora.law")

# %% [markdown]
# <details><summary>Two facts that need no comparison</summary>
#
# <b>The bias.</b> Feed zeros. DoRA answers with the base's bias. A layer that multiplies its whole output by m / ‖V‖ answers with a
# scaled one.
#
# <b>The norm.</b> Take the sum of the squares of W′ as the loss. It equals the sum of the squares of m, whatever A and B are. So B's true
# gradient is zero. DoRA's is not: its B keeps trying to shrink rows whose length is fixed.
# </details>
#
# ### Exercise 3 · A broken one of your own (2 points, about 6 minutes)
#
# Write `BrokenDoRA`, a layer that the test below accepts and the law forbids. Break the law in one place. The class inherits from your layer,
# so override only what you change.


# %%
def looks_right(make):
    """Raise unless the layer is right."""
    frozen, x = torch.nn.Linear(6, 4).requires_grad_(False), torch.randn(8, 6)
    layer = make(frozen, 2, 2.0)
    assert torch.allclose(layer(x), frozen(x), atol=1e-4), "the start"
    with torch.no_grad():
        layer.A.copy_(torch.randn(2, 6))
        layer.B.copy_(torch.randn(4, 2))
    rows = (layer(torch.eye(6)) - layer(torch.zeros(6))).T
    assert torch.allclose(rows.norm(dim=1), layer.m, atol=1e-4), "the lengths"
    layer(x).norm().backward()
    assert all(p.grad.any() for p in (layer.A, layer.B, layer.m)), "the gradients"


# %% exercise="dora.broken" part="solution"
class BrokenDoRA(pt.mine("dora.layer")):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        V = self.base.weight + self.scale * self.B @ self.A
        W = (self.m / V.norm(dim=1))[:, None] * V    # through the norm
        return torch.nn.functional.linear(x, W, self.base.bias)
        ### END SOLUTION


# %% exercise="dora.broken" part="check"
BrokenDoRA = pt.check("dora.broken", BrokenDoRA)

# %% exercise="dora.broken" part="grade"
pt.require("dora.broken")

# %%
pt.audit()    # every test in your my_peft.py, on your own pieces
pt.course.live.tried([looks_right, dora_holds], BrokenDoRA)    # the second is yours

# %% [markdown]
# <details><summary>What <code>looks_right</code> does not see</summary>
#
# Its alpha equals its rank, so s is 1: a norm without s passes. It subtracts the answer to zeros, and a scaled bias goes with it. It asks whether gradients
# arrive, not whether they are right. It never asks whether the base trains. The DoRA of the published library <code>adapters</code> (version 1.3.0) breaks the law
# in the first three ways.
# </details>
#
# ## What does the constant cost?
#
# With $\lVert V\rVert$ held constant, DoRA's gradient is not the true one. How wrong is it in the model you just trained?

# %%
pt.widgets.Guess("With the norm held constant, B's gradient is off by about",
                 ("0.1 %", "1 %", "10 %", "100 %"), "dora.detach")

# %%
movies = pt.data.ratings("movies")
batch = pt.data.batches(movies.train[:48 if budget.claims else 8], tokenizer, 48)[0]
gap = pictures.gradient_gap(DoRALinear, model, batch)
pt.compare("dora.detach", f"{gap.B.iloc[0]:.1%}", "B's gradient, off by")
gap.map("{:.1%}".format)

# %% [markdown]
# Let $G$ be the gradient of the loss with respect to a row of $W'$, and $\hat v$ the direction of this row. Stretching the row of $V$
# changes nothing, so its true gradient has no part along $\hat v$. DoRA's gradient keeps that part:
#
# $$ \underbrace{\frac{m}{\lVert V\rVert}\,\bigl(G - (G\cdot\hat v)\,\hat v\bigr)}_{\text{true}} \qquad
# \underbrace{\frac{m}{\lVert V\rVert}\,G}_{\text{DoRA}} \qquad \underbrace{G\cdot\hat v}_{\text{the gradient of } m} $$
#
# How large is that part? If $G$ pointed anywhere at random, its cosine with the row would be about $1/\sqrt{384}$, or 5 %.
# Here it is more. §4.2 of the paper praises the true gradient, and §4.3 gives it up to save memory.
#
# ## More functions, or the same?
#
# Put a **scaling vector** $g$ of lesson 06 behind LoRA, and leave the bias alone. Call it *scaled LoRA*:
#
# $$ y = g \odot (x V^\top) + b, \qquad V = W + s\,BA $$

# %%
pt.widgets.Guess("Compared with scaled LoRA, DoRA can represent",
                 ("more functions", "the same functions", "fewer functions"), "dora.same")

# %% [markdown]
# ### Exercise 4 · There and back (2 points, about 3 minutes)
#
# `to_gain(m, W, A, B, s)` returns the `g` with which scaled LoRA is nearest to DoRA with this `m`. `to_dora(g, W, A, B, s)` goes
# the other way. `A`, `B` and `s` stay as they are; the matrix may have any shape, and entries of `m` and `g` may be negative.


# %% exercise="dora.convert" part="solution"
def to_gain(m, W, A, B, s):
    ### BEGIN SOLUTION
    return m / (W + s * B @ A).norm(dim=1)
    ### END SOLUTION


def to_dora(g, W, A, B, s):
    ### BEGIN SOLUTION
    return g * (W + s * B @ A).norm(dim=1)
    ### END SOLUTION


# %% exercise="dora.convert" part="check"
to_gain, to_dora = pt.check("dora.convert", to_gain, to_dora)

# %% exercise="dora.convert" part="grade"
pt.require("dora.convert")

# %%
converted = pictures.converted(model, batch, to_gain, to_dora)
same = converted["logits off by at most"].max() < 1e-3
pt.compare("dora.same", "the same functions" if same else "other functions", "DoRA represents")
converted

# %% [markdown]
# **The same functions, from the same number of parameters.** DoRA is another route through the same models.
#
# At the same function, $A$ and $B$ even get the same gradients on either route. Still, training differs:
#
# - Adam moves each parameter by about the learning rate. Scaled LoRA trains $g$ itself. DoRA trains $m$, so $g = m / \lVert V\rVert$
#   moves faster on short rows than on long ones.
# - When $B$ makes a row of $V$ longer, DoRA divides by the new length. Scaled LoRA lets the row grow.
#
# So "does separating help?" is a question about training, and only runs can answer it.
#
# ## You are the referee
#
# LoRA, scaled LoRA and DoRA ran at ranks 2 and 32, on labels. First a search on validation sentences chose a rate for each; then came ten
# new seeds. A seed gives all three the same $A$, the same new head and the same order of sentences. So we compare in **pairs**: one
# difference for each seed.
#
# Before the first run we fixed a margin: one point of accuracy. A smaller difference would not make us choose the more complicated layer.
#
# **What will be the verdict on DoRA beside scaled LoRA, at rank 2?** Commit to `"better"`, `"worse"`, `"the same"` or `"cannot tell"`,
# and to how sure you are, from 0 to 1.

# %%
pt.commit("dora.verdict", ..., like=["better", 0.6])    # [verdict, how sure]

# %% [markdown]
# ### Exercise 5 · The referee (2 points, about 7 minutes)
#
# `referee(a, b, margin)` gets two lists: the accuracies of two methods in percent, seed by seed. It returns `(low, high, verdict)`. The first two
# are the limits of the 95 % interval of the mean of a − b, which is the mean ± $t$ times its standard error. `T95[n]` is Student's $t$ for n
# values. The verdict holds for every difference in the interval: `"the same"` if none reaches the margin; if one does, `"better"` or
# `"worse"` if all have that sign; else `"cannot tell"`.

# %% exercise="dora.referee" part="solution"
T95 = dict(enumerate((12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201,
                      2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093), start=2))


def referee(a, b, margin):
    ### BEGIN SOLUTION
    d = torch.tensor(a) - torch.tensor(b)
    half = T95[len(d)] * d.std() / len(d) ** 0.5
    low, high = (d.mean() - half).item(), (d.mean() + half).item()
    if -margin < low and high < margin:
        return low, high, "the same"
    if low > 0:
        return low, high, "better"
    return low, high, "worse" if high < 0 else "cannot tell"
    ### END SOLUTION


# %% exercise="dora.referee" part="check"
referee = pt.check("dora.referee", referee)

# %% exercise="dora.referee" part="grade"
pt.require("dora.referee")

# %%
pt.plots.show(pictures.draw_pairs(record), "DoRA minus the other, a dot for each seed. The bar is "
              "the 95 % interval of the mean, the band the margin.")
ruling = pictures.verdicts(record, referee)
pt.compare("dora.verdict", ruling.verdict["DoRA − scaled LoRA", 2], "DoRA, by your referee")
ruling

# %% [markdown]
# **DoRA is the same as LoRA, and as scaled LoRA, at either rank.** No interval reaches half a point.
#
# Your referee speaks for new seeds on these sentences. The verdict of your ladder speaks for new sentences, too. Its ten recorded
# seeds of rank 8 learned ratings, as your own run did:

# %% tags=["nbval-check-output"]
rows = {(a, b, of): pt.verdict(*pt.board.scores(a, b, of=of), margin)
        for a, b in (("dora 8", "lora 8"), ("dora 8", "full"))
        for of, margin in (("accuracy", 0.01), ("r2", 0.02))}
table = pd.DataFrame([vars(row) for row in rows.values()], pd.MultiIndex.from_tuples(rows))
table[["word", "difference", "low", "high"]].round(3)

# %% [markdown]
# <details><summary>What the table says</summary>
#
# By the sign of the rating, DoRA and LoRA are the same. By $R^2$ we cannot tell, but only just: the interval ends at −0.021, and the margin is 0.02.
# </details>
#
# Full fine-tuning is ahead of DoRA, so on the ratings there was something to win.
#
# In the sixty runs, each method had the rate that this search chose for it:

# %% tags=["nbval-check-output"]
pictures.searched(record).map("{:.1%}".format)    # one seed

# %% [markdown]
# <details><summary>What the search says</summary>
#
# At each rank, the three methods chose the same rate. Where the rate is too high they part: at rank 32 and 0.006, DoRA loses three points
# less than LoRA; at rank 2 we see little of it.
# </details>
#
# ## Three doors

# %%
pt.doors("dora", wrap, pt.dora.Config(rank=8, alpha=16))

# %% [markdown]
# Now make one row of $W$ zero: a pruned output. What does your layer answer, untrained? Open the library's page and find the line that
# decides there.

# %%
pruned = torch.nn.Linear(4, 2).requires_grad_(False)
pruned.weight[0] = 0
pd.DataFrame({name: layer(pruned, 1)(torch.ones(4)).tolist() for name, layer in {
    "yours": DoRALinear, "the library's": pt.dora.DoRALinear}.items()}, ["zero row", "other row"])

# %% [markdown]
# <details><summary>Which line</summary>
#
# In `norm`: a row of zeros counts as tiny, so 0 / 0 becomes 0 / tiny. With ours, one such row makes the first loss <code>nan</code>.
# Qwen3.6-35B-A3B has 434 such rows ([peft#3237](https://github.com/huggingface/peft/pull/3237)).
# </details>
#
# ## The picture that started it
#
# Why did anyone expect that separate lengths would help? The authors had plotted how far the rows of each matrix turned in training,
# against how much they stretched:
#
# $$ \Delta D = \operatorname{mean}\,\bigl(1 - \cos\angle(w', w)\bigr), \qquad
# \Delta M = \operatorname{mean}\,\bigl|\lVert w'\rVert - \lVert w\rVert\bigr| $$
#
# A dot is one matrix at one moment of training. In the paper, full fine-tuning's dots fall (a correlation of −0.62), LoRA's rise
# (+0.83), and DoRA's fall a little (−0.31). LoRA, they concluded, finds it hard to do one without the other.
#
# **But what would noise draw?** We found nobody who had asked. So here are four updates of our model: full fine-tuning, LoRA, DoRA, and random matrices of rank 8, as large
# as LoRA's.

# %%
guess = pt.widgets.Guess("Random numbers drew cloud", ("one", "two", "three", "four"),
                         "dora.random")
pictures.explore_clouds(record, guess)

# %% tags=["nbval-check-output"]
pt.compare("dora.random", pictures.HIDDEN["random"], "the random cloud")
pictures.correlations(record)    # two seeds; norms exchanged

# %% [markdown]
# <details><summary>What the clouds say</summary>
#
# Random numbers rise like LoRA. Full fine-tuning rises, too, and so do random numbers of its size. DoRA's dots do not, because of one
# block: leave the last out, and they rise.
# </details>
#
# **Over matrices, noise draws LoRA's line.** It shares only LoRA's sizes, so the line need not tell how LoRA learns. Why does noise rise? Take a row $w$ and add
# a piece $\delta$ that ignores it. In 384 dimensions, such a piece stands almost at a right angle to the row. The new row is the hypotenuse, and for a
# small $\delta$ Pythagoras gives
#
# $$ \lVert w'\rVert - \lVert w\rVert \approx \frac{\lVert\delta\rVert^2}{2\lVert w\rVert}, \qquad
# 1-\cos\angle(w', w) \approx \frac{\lVert\delta\rVert^2}{2\lVert w\rVert^2} $$
#
# The first is $\lVert w\rVert$ times the second. They rise together because both measure *how much was added*.
#
# The angle is only almost right: by chance, a piece also lies a little along the row.

# %%
pt.plots.show(pictures.draw_crossing(record), "How much a random piece changes the length of a row "
              "of 384 entries. Bands: the recorded updates of full fine-tuning and of LoRA.")

# %% [markdown]
# Full fine-tuning lies left of the circle, where the two lines cross; LoRA mostly to the right. Give full fine-tuning's updates the size
# of LoRA's, matrix by matrix ("at the other's norm", above), and its dots rise in a line, as LoRA's do. **Before you compare two clouds, make
# them equally large, and draw what noise would.**
#
# In the paper's figure even full fine-tuning is large enough for Pythagoras. So size does not explain why its dots fall, and we do not know
# what does.
#
# ## The ladder so far
#
# Each method of this course but the soft prompt adds something learned to the output $h$ of a layer (He et al. 2022). Some of it merges into the weights:
#
# | | what is added to $h$ | merges? |
# |---|---|---|
# | BitFit | a vector, the same for every sentence | yes: it is in the bias |
# | prefix | $\lambda$ (attention to trained vectors $-\;h$), with $\lambda$ from lesson 04 | no: it depends on the sentence |
# | bottleneck adapter | a small network of $h$ | only the parallel one with the block's activation (lesson 05) |
# | IA³ | $(l - 1) \odot h$ | yes |
# | LoRA, QLoRA | $s\,(xA^\top)B^\top$ | yes; into four bits with a loss (lesson 08) |
# | DoRA | LoRA's piece, and then a factor for the whole row | yes |
#
# **What this lesson claims**
#
# | claim | seen here | what could have refuted it, and was tried | at larger scale |
# |---|---|---|---|
# | On these reviews, DoRA, LoRA and scaled LoRA are the same within a point of accuracy. | Ranks 2 and 32, ten seeds in pairs: the intervals lie between −0.24 and 0.44 points. DoRA 8 and LoRA 8, new sentences counted in: 0.1 (−0.3 to 0.6); by R² −0.002 (−0.021 to 0.017), we cannot tell | The margin stood before the first run. Rates were searched with one seed: all three methods chose 0.0015 at rank 2 and 0.003 at rank 32. There was something to win: full fine-tuning is better by 0.065 (0.040 to 0.091) R² | LLaMA-7B: DoRA is two to four points ahead of LoRA at rank 32, more at other ranks, with LoRA's rate at 3e-4 throughout (Liu et al. 2024, and their README). With all rates tuned, variants end within 1 to 2 % (Lee et al. 2026) |
# | DoRA and scaled LoRA represent the same functions. | a proof in one line: g = m / ‖V‖, for any V without a row of zeros; your trained model, converted there and back | negative m, rows of unequal lengths, oblong matrices (exercise 4) | true at every size; Chang et al. 2025 rewrite DoRA in an equivalent form, too |
# | Over matrices, noise draws LoRA's rising line: both measures tell how much was added. | random numbers of LoRA's size correlate, pooled, as LoRA does: +1.00 (queries) and +0.97 (values), two seeds, each method at one rate, not searched | full fine-tuning at LoRA's size rises, too: +1.00 and +0.96 to +0.97. Noise at full fine-tuning's size correlates as it does, to within 0.07. Without the last block, the farthest out, LoRA and random numbers correlate as with it, to within 0.01. DoRA's cloud is flat by that block alone: −0.08 to +0.17 with it, +0.26 to +0.95 without it. Over the rows of one matrix, LoRA is not noise: +0.85 to +0.91 against +0.66 to +0.72 | Liu et al., queries of VL-BART: LoRA +0.83, DoRA −0.31, full fine-tuning −0.62. Noise: not known to us |
# | At a rate that is too high, DoRA can lose less than LoRA. An observation. | on validation sentences, one seed: rank 32 at 0.006 79.8 against 76.8 %; rank 8 at 0.0064 (ratings) R² 0.506 against 0.409 | rank 2 at 0.006: 74.6 against 73.6 %. Over ten seeds at its own rate, DoRA 8 scatters more than LoRA 8: a standard deviation of 0.037 R² against 0.021, with one seed at 0.405 | Liu et al. expect steadier training (§4.2) |

# %%
pt.progress("09")

# %% [markdown]
# ## At your desk
#
# The same with Hugging Face peft is one flag away from LoRA:
#
# ```python
# from peft import LoraConfig, get_peft_model
#
# config = LoraConfig(task_type="SEQ_CLS",            # "CAUSAL_LM" for a language model
#                     target_modules="all-linear", r=16, lora_alpha=32,
#                     use_dora=True, lora_dropout=0.0)    # without dropout, peft's DoRA is faster
# tuned = get_peft_model(model, config)
# tuned.print_trainable_parameters()
# ...                                                 # your training loop, or a Trainer
# tuned.save_pretrained("my-dora")                    # the adapter and the head
# plain = tuned.merge_and_unload()                    # DoRA's extra cost is gone after this
# ```
#
# | a first recipe, 1 to 70 billion parameters | take | source |
# |---|---|---|
# | first | plain LoRA at three rates | Lee et al. 2026 |
# | then | the same with `use_dora=True`, at LoRA's rate and a slightly lower one | README of NVlabs/DoRA |
# | rank, α, places | as for LoRA (lesson 07) | our choice |
# | the paper's rate on LLaMA-7B | 1e-4 at rank 32, 2e-4 at its other ranks | Liu et al. 2024, Table 8 |
#
# Start with LoRA, and stay with it where you pay for time: with peft, DoRA took a fifth longer in one report, twice as long in another
# ([peft#1474](https://github.com/huggingface/peft/pull/1474)).
#
# What misleads at 7 billion parameters: our rates.

# %% [markdown]
# # Further
#
# ## Forge it
#
# A picture that shows a cause should be hard to draw without it. Can you draw the paper's picture, with any slope, from noise?
#
# ### Exercise 6 · The forgery (3 points, optional, about 10 minutes)
#
# Write `forge(weights, slope, start)`. It gets a list of matrices, and returns a changed copy of each. The dots
# $(\Delta D, \Delta M)$ of the copies lie on a line of this slope, which may be negative.
#
# - `start` is $(\Delta D, \Delta M)$ of the first dot.
# - The $\Delta D$ of neighbouring dots are at least 0.001 apart, and all below 0.1.
# - Each dot lies on the line to four digits. The given weights stay as they are.
# - Each row is turned only towards noise of its own, drawn anew at each call. Its length you may set freely.


# %% exercise="dora.forge" part="solution"
def forge(weights, slope, start):
    ### BEGIN SOLUTION
    forged = []
    for k, W in enumerate(weights):
        turn = start[0] + 0.002 * k
        change = start[1] + slope * 0.002 * k
        length = W.norm(dim=1, keepdim=True)
        w = W / length
        u = torch.randn_like(W)
        u = torch.nn.functional.normalize(u - (u * w).sum(dim=1, keepdim=True) * w, dim=1)
        cosine = 1 - turn
        forged.append((length + change) * (cosine * w + (1 - cosine**2) ** 0.5 * u))
    return forged
    ### END SOLUTION


# %% exercise="dora.forge" part="check"
forge = pt.check("dora.forge", forge)

# %% exercise="dora.forge" part="grade"
pt.require("dora.forge")

# %% [markdown]
# ## What the papers measured
#
# Liu et al. report 78.4 % for DoRA on LLaMA-7B and 74.7 % for LoRA, as the mean of eight sets of common-sense questions (Table 1). They
# tuned DoRA's rate for this comparison, and quoted LoRA's row from an earlier paper. Their README has 76.3 % for LoRA at the same rank, 32.
# Others reached DoRA's figure at this rank, and more or much less at others
# ([NVlabs/DoRA#14](https://github.com/NVlabs/DoRA/issues/14), [#26](https://github.com/NVlabs/DoRA/issues/26)).
#
# Lee et al. searched the learning rate, batch size, rank and length of training for LoRA and nine variants, DoRA among them. Different
# variants want different rates. Yin et al. saw DoRA ahead of LoRA in reinforcement learning on mathematics; in their scripts, both have
# one rate and one seed.
#
# Chang et al. ask why DoRA works. Their answer is not the angle: the singular values of DoRA's update are more even.
#
# **Sources**
#
# - Liu et al. 2024, *DoRA: Weight-Decomposed Low-Rank Adaptation*, arXiv 2402.09353: §3.2 the picture (Figure 2), §4.1 the equation, §4.3
#   the constant norm.
# - Salimans & Kingma 2016, *Weight normalization*, arXiv 1602.07868: length and direction apart, without a frozen W.
# - He et al. 2022, *Towards a unified view of parameter-efficient transfer learning*, arXiv 2110.04366.
# - Lee et al. 2026, *Learning rate matters: vanilla LoRA may suffice for LLM fine-tuning*, arXiv 2602.04998.
# - Chang et al. 2025, *Calibrating and rotating*, arXiv 2511.00051.
# - Yin et al. 2025, *Evaluating parameter efficient methods for RLVR*, arXiv 2512.23165.
# - Data: Hutto & Gilbert 2014, *VADER*, ICWSM; sentences of the film reviews of Pang & Lee 2004.
