# %% [markdown]
# # 08 · QLoRA: which sixteen numbers?
#
# You want to fine-tune a model of 70 billion parameters. LoRA freezes them and trains small matrices beside them, but frozen weights need memory,
# too: 140 GB in 16 bits.
#
# Your card has 48 GB. So give each frozen weight four bits. Four bits can name sixteen numbers. Which sixteen would you choose?
#
# In 2023, Tim Dettmers and his colleagues wanted to fine-tune 65 billion parameters on such a card. They chose sixteen numbers with care, trained LoRA
# beside them, and called it **QLoRA**. You derive their numbers, build their layer, and train on it. Then you merge what you learned,
# and part of it is lost. Why, and what helps?
#
# | | |
# |---|---|
# | **Time** | about 100 minutes, 52 of them for 7 exercises; Run All takes about four minutes |
# | **You need** | lesson 07: LoRA and its merge; `inject` from lesson 02 (yours, or ours) |
# | **Data** | sentences from film reviews, 2,563 of them for testing; Hutto & Gilbert 2014, MIT licence |
#
# <details><summary>Three questions from earlier lessons</summary>
#
# **07: What does merging do to the second path?** It adds ΔW = s BA to W, and the path is gone.
#
# **02: What does `inject` need to know?** The model, the names of the modules, and what to put around each.
#
# **00: What does a frozen weight cost in training?** Its own bytes. It has no gradient and no optimizer state.
# </details>

# %% jupyter={"source_hidden": true}
import copy
from statistics import NormalDist

import pandas as pd
import torch

import peft_teach as pt

budget = pt.course.budget()                 # how much to compute: PEFT_TEACH_BUDGET=smoke|cpu|gpu
record = pt.course.records.load("qlora")    # runs too long for a lesson (assets/records/qlora.py)
pictures = pt.course.pictures("qlora")
movies = pt.data.load("movies")
model, tokenizer = pt.models.load("minilm", labels=2)
matrices = pictures.matrices(model)         # all linear weights of the blocks, by name
query = matrices["bert.encoder.layer.0.attention.self.query"]

# %% [markdown]
# ## Sixteen levels

# %%
pt.plots.show(pictures.draw_ruler(matrices), "The weights of MiniLM, in blocks of 64, each block "
              "divided by its largest magnitude. Every weight moves to the nearest level.")

# %% [markdown]
# Cut each matrix into blocks of 64 weights, and divide each block by its largest magnitude. Now every weight lies between −1 and 1, and moves to the
# nearest of sixteen *levels*. Four bits hold the number of the level.
#
# Most weights lie near zero, so evenly spaced levels would be wasted far from zero. Dettmers and his colleagues bet that weights are *normally
# distributed*, and put the same probability between each level and the next.
#
# ### Exercise 1 · Levels for any distribution (3 points, about 8 minutes)
#
# `quantile(p)` gives the value below which a share `p` of a distribution lies. The distribution is symmetric around 0, so `quantile(0.5)` is 0. Write
# `levels(quantile)`, which returns the sixteen levels as a float32 tensor:
#
# - They ascend from exactly −1 to exactly 1: seven are negative, one is exactly 0, eight are positive.
# - On either side of 0, neighbouring levels are the same probability apart. The last level on the right stands for the probability `TOP`, the last level
#   on the left for `1 - TOP`.
#
# Why does `TOP` stop short of 1? Try `NormalDist().inv_cdf(1.0)`.
#
# Replace the line `raise …`, run the cell, then the one below it. `pt.hint("qlora.levels")` helps. Until yours passes, the lesson goes on with ours.

# %%
TOP = 0.9677083    # 1 - (1/30 + 1/32) / 2: about half of a sixteenth from the end


# %% exercise="qlora.levels" part="solution"
def levels(quantile):
    ### BEGIN SOLUTION
    def side(count):
        return [quantile(0.5 + (TOP - 0.5) * step / count) for step in range(1, count + 1)]

    marks = [-mark for mark in reversed(side(7))] + [0.0] + side(8)
    return torch.tensor(marks, dtype=torch.float64).div(marks[-1]).float()
    ### END SOLUTION


# %% exercise="qlora.levels" part="check"
levels = pt.check("qlora.levels", levels)

# %% exercise="qlora.levels" part="grade"
pt.require("qlora.levels")

# %% [markdown]
# With the normal distribution you have made **NF4**, as bitsandbytes ships it. Now give your function a *uniform* distribution.

# %%
normal = levels(NormalDist().inv_cdf)
uniform = levels(lambda p: 2 * p - 1)    # from -1 to 1
pd.DataFrame({"NF4, from the normal": normal, "even, 16, from the uniform": uniform}).T.round(3)

# %% [markdown]
# Here are five tables of levels: your two; **int4**, the fifteen integers from −7 to 7; and two kinds of **FP4**, tiny floating-point numbers. All
# take the same memory. **Which one makes the smallest error on the model's weights?**

# %%
tables = pictures.tables(levels)
pt.widgets.Guess("The smallest error on the model's weights:", tables, "qlora.weights")

# %%
batches = pt.data.batches(movies.train[:512 if budget.claims else 16], tokenizer, 64)
errors_of = pictures.formats(matrices, tables, model, batches)
pt.compare("qlora.weights", errors_of["the model's weights"].idxmin(), "on the model's weights")
errors_of.map("{:.1%}".format)    # ‖Ŵ − W‖ / ‖W‖, at equal bits a weight

# %% [markdown]
# **No table wins both columns.** Levels should crowd where the numbers crowd: even levels suit evenly spread numbers. And look at the last column:
# small errors in every matrix add up through the blocks.
#
# Can you beat NF4? Move a level, and watch the error. Or choose "Lloyd": **Lloyd's algorithm** moves each level to the mean of the weights nearest to
# it, ten times.

# %%
tables["Lloyd"] = pictures.lloyd(matrices, normal)
pictures.explore_levels(matrices, tables)

# %% [markdown]
# Lloyd's levels beat NF4's on the weights. Do the hidden states notice?

# %%
beaten = pictures.formats(matrices, {"Lloyd": tables["Lloyd"]}, model, batches)
pd.concat([errors_of.loc[["NF4"]], beaten]).map("{:.1%}".format)

# %% [markdown]
# No: their error does not fall.
#
# ## Two in a byte
#
# A tensor's smallest element here is a byte, so two weights share one.
#
# ### Exercise 2 · Into bytes and back (3 points, about 9 minutes)
#
# `quantize(W, levels, block=64)` returns `packed` and `top`:
#
# - The entries of `W`, row by row, form blocks of `block`. `top`, float32, has the largest magnitude of each block.
# - Each weight, divided by its block's `top`, becomes the index of the nearest level. A block of zeros stays zero.
# - `packed`, uint8, holds two indices in each byte, the first in the high half: 1 and 15 become `0x1F`.
#
# `dequantize(packed, top, levels, shape)` gives $\hat W$ back, in this shape. The number of entries is a multiple of `block`.


# %% exercise="qlora.quantize" part="solution"
def quantize(W, levels, block=64):
    ### BEGIN SOLUTION
    blocks = W.detach().float().reshape(-1, block)
    top = blocks.abs().amax(dim=1)
    scaled = blocks / top.clamp_min(1e-38)[:, None]
    index = torch.bucketize(scaled, (levels[1:] + levels[:-1]) / 2).to(torch.uint8).reshape(-1, 2)
    return index[:, 0] * 16 + index[:, 1], top
    ### END SOLUTION


def dequantize(packed, top, levels, shape):
    ### BEGIN SOLUTION
    index = torch.stack([packed // 16, packed % 16], dim=1).long()
    return (levels[index].reshape(len(top), -1) * top[:, None]).reshape(shape)
    ### END SOLUTION


# %% exercise="qlora.quantize" part="check"
quantize, dequantize = pt.check("qlora.quantize", quantize, dequantize)

# %% exercise="qlora.quantize" part="grade"
pt.require("qlora.quantize")

# %% tags=["nbval-check-output"]
packed, top = quantize(query, normal)
(packed != pt.nf4.quantize(query).packed).sum()    # bytes that are not the library's

# %% [markdown]
# ## One large neighbour
#
# All weights of a block share one scale, and the largest weight decides how large it is. Make that weight larger still, and look at the others.

# %%
def nearest(weights):
    """Return each weight at its nearest level: what four bits leave of it."""
    return dequantize(*quantize(weights, normal), normal, weights.shape)


def relative(found, right):
    """Return ‖found − right‖ / ‖right‖."""
    return ((found - right).norm() / right.norm()).item()


# %%
pictures.explore_outlier(query.reshape(-1)[:64], nearest)

# %% [markdown]
# One outlier, and its neighbours collapse onto a few levels. Smaller blocks limit the damage, but each block stores its own maximum, in 32 bits:

# %%
rows = {}
for size, double in ((32, False), (64, False), (256, False), (1024, False), (64, True)):
    held = pt.nf4.quantize(query, size, double)
    rows[f"{size:,}{', maxima in 8 bits' * double}"] = {
        "bits a weight": held.bits_per_parameter, "error": relative(pt.nf4.dequantize(held), query)}
pd.DataFrame(rows).T.round(3).rename_axis("weights in a block")

# %% [markdown]
# The second idea of QLoRA is to quantize the maxima as well: **double quantization**, in the last row. At 70 billion parameters it saves 3 GB.
#
# ## A colleague's bytes
#
# A colleague sends you this matrix, packed by another program. You unpack it and measure.

# %%
def measured(found):
    """Compare a matrix with the right one: its mean is in units of the mean magnitude."""
    return {"norm": (found.norm() / query.norm()).item(), "error": relative(found, query),
            "mean": (found.mean() / query.abs().mean()).item()}


theirs = dequantize(pictures.colleague(query), top, normal, query.shape)
pd.DataFrame({"right": measured(nearest(query)), "the colleague's": measured(theirs)}).T.round(3)

# %% [markdown]
# The norm is right, and yet a matrix of zeros would be nearer to $W$: its error is 1. Four suspects:
#
# | suspect | what went wrong |
# |---|---|
# | descending | the levels were used in reverse order |
# | swapped | the two halves of each byte were exchanged |
# | doubled | every maximum is twice as large |
# | positive | all signs were lost |
#
# ### Exercise 3 · Four errors (1 point, about 5 minutes)
#
# What relative error would each suspect make? Derive it for entries that are independent and symmetric around zero, and leave rounding aside. You need
# no code, only $\|a-b\|^2 = \|a\|^2 - 2\,a \cdot b + \|b\|^2$. Write `errors`, a dict from the suspects' names to four numbers.


# %% exercise="qlora.suspects" part="solution"
### BEGIN SOLUTION
errors = {"descending": 2, "swapped": 2**0.5, "doubled": 1, "positive": 2**0.5}
### END SOLUTION

# %% exercise="qlora.suspects" part="check"
errors = pt.check("qlora.suspects", errors)

# %% exercise="qlora.suspects" part="grade"
pt.require("qlora.suspects")

# %% [markdown]
# More than one suspect makes the colleague's error. Look at the mean as well. **Who did it?**

# %%
pt.widgets.Guess("The colleague's bytes:", ("descending", "swapped", "doubled", "positive"),
                 "qlora.suspect")

# %% [markdown]
# ### Exercise 4 · The cure (1 point, about 2 minutes)
#
# Bet first. Then write `mended(packed)`: from the bytes it returns, your `dequantize` makes the right matrix, and `packed` stays as it is.


# %% exercise="qlora.mended" part="solution"
def mended(packed):
    ### BEGIN SOLUTION
    return packed % 16 * 16 + packed // 16
    ### END SOLUTION


# %% exercise="qlora.mended" part="check"
mended = pt.check("qlora.mended", mended)

# %% exercise="qlora.mended" part="grade"
pt.require("qlora.mended")

# %% tags=["nbval-check-output"]
right = nearest(query)
suspects = {"descending": dequantize(packed, top, normal.flip(0), query.shape),
            "swapped": dequantize(mended(packed), top, normal, query.shape),
            "doubled": 2 * right, "positive": right.abs()}
found = pd.DataFrame({name: measured(each) for name, each in suspects.items()}).T
gap = (found - pd.Series(measured(theirs))).abs().sum(axis=1)
pt.compare("qlora.suspect", gap.idxmin(), "nearest to the colleague's in all three")
found.round(3)

# %% [markdown]
# ## Learning beside weights that cannot move
#
# Nothing is multiplied in four bits. The layer makes $\hat W$ again for each product, and forgets it:
#
# $$ y = x\,\hat W^\top + b + s\,(x A^\top)\, B^\top $$
#
# Only $A$ and $B$ train. For that, the gradient must pass *through* $\hat W$ to the layers below, and there is a trap: `F.linear(x, W_hat)` keeps
# `W_hat` until the backward pass. If every layer does so, the whole model lies in memory at full size.
#
# ### Exercise 5 · The four-bit layer (3 points, about 12 minutes)
#
# Write `Linear4bit(linear, levels=pt.nf4.LEVELS)`, a `torch.nn.Module`:
#
# - It computes $x \hat W^\top + b$, and has `in_features`, `out_features`, `bias`, and a `weight` computed at each access.
# - Nothing in it trains. The gradient to `x` is the one that $\hat W$ gives.
# - Between forward and backward pass it keeps nothing as large as $W$. Use `torch.autograd.Function` or `torch.utils.checkpoint.checkpoint`.
# - Without the bias, its parameters and buffers take 4.5 bits a weight. The levels are a plain attribute, shared by all layers; `weight` moves
#   them to the buffers' device. `copy.deepcopy` and `load_state_dict` work.


# %% exercise="qlora.layer" part="solution"
class Linear4bit(torch.nn.Module):
    def __init__(self, linear, levels=pt.nf4.LEVELS):
        super().__init__()
        ### BEGIN SOLUTION
        self.out_features, self.in_features = linear.weight.shape
        packed, top = quantize(linear.weight, levels)
        self.register_buffer("packed", packed)
        self.register_buffer("top", top)
        bias = None if linear.bias is None else linear.bias.detach().clone()
        self.register_buffer("bias", bias)
        self.levels = levels
        ### END SOLUTION

    @property
    def weight(self):
        ### BEGIN SOLUTION
        shape, levels = (self.out_features, self.in_features), self.levels.to(self.top.device)
        return dequantize(self.packed, self.top, levels, shape)
        ### END SOLUTION

    def forward(self, x):
        ### BEGIN SOLUTION
        def product(x):
            return torch.nn.functional.linear(x, self.weight, self.bias)

        return torch.utils.checkpoint.checkpoint(product, x, use_reentrant=False)
        ### END SOLUTION


# %% exercise="qlora.layer" part="check"
Linear4bit = pt.check("qlora.layer", Linear4bit)

# %% exercise="qlora.layer" part="grade"
pt.require("qlora.layer")

# %% [markdown]
# ### Exercise 6 · The law of four bits (2 points, about 7 minutes)
#
# Write `four_bits_hold(make)`, a test that raises an error if a layer breaks this law:
#
# > *Leave the bias aside. Before the layer is used and after, its parameters and buffers take exactly half a byte for each weight and 4 bytes for
# > each block of 64. None of them trains. The gradient reaches x.*
#
# `make(linear)` builds the layer from a float32 `nn.Linear` of your choice. Your test must accept two right layers and reject six broken ones. Any
# error counts as a rejection.


# %% exercise="qlora.bits" part="solution"
def four_bits_hold(make):
    ### BEGIN SOLUTION
    layer = make(torch.nn.Linear(64, 6, bias=False))
    x = torch.randn(3, 64, requires_grad=True)
    for _ in range(2):    # before its use, and after
        held = [*layer.parameters(), *layer.buffers()]
        assert sum(t.numel() * t.element_size() for t in held) == 6 * 64 // 2 + 4 * 6
        assert not any(p.requires_grad for p in layer.parameters())
        layer(x).square().sum().backward()
    assert x.grad.abs().sum() > 0
    ### END SOLUTION


# %% exercise="qlora.bits" part="check"
four_bits_hold = pt.check("qlora.bits", four_bits_hold)

# %% exercise="qlora.bits" part="grade"
pt.require("qlora.bits")

# %%
pt.audit()    # runs every test in your my_peft.py on your own pieces

# %% [markdown]
# ## Watch it learn
#
# Put your four-bit layer into all six blocks with your own `inject`, and around it your `LoRALinear` of lesson 07, unchanged.

# %%
inject, LoRALinear = pt.mine("change.inject", "lora.layer")
sentences = movies.train[:min(4000, budget.train_examples)]
batches = pt.data.batches(sentences, tokenizer, budget.batch_size)
test = pt.data.batches(movies.test[:budget.test_examples], tokenizer, 64, shuffle=False)
pt.seed(0)
whole, _ = pt.models.load("minilm", labels=2, device="cpu")
model = inject(copy.deepcopy(whole), tuple(matrices),
               lambda base: LoRALinear(Linear4bit(base), 8, 16)).to(pt.device())

# %%
held = {"the model": whole.state_dict(), "your QLoRA": model.state_dict(),
        "A and B in it": pt.adapter_state(model)}
pd.Series({name: sum(t.nbytes for t in state.values()) / 1e6
           for name, state in held.items()}).to_frame("MB").round(1)

# %% [markdown]
# The embeddings, half of this small model, stay as they are. Now train.

# %%
runs = record.runs.query("group == 'runs' and seed == 0 and targets == 'all'")
exact = "LoRA on the exact base (recorded)"
beside = {exact: record.losses[runs.query("method == 'lora'").index[0]]}
rate = float(runs.query("method == 'qlora'").lr.iloc[0])
steps = pt.widgets.watch(pt.train(model, batches, rate), len(batches), beside, window=40,
                         colours={exact: pt.plots.COLOURS["lora"]}, name="QLoRA, yours")

# %%
reached = {"your QLoRA": pt.evaluate(model, test).accuracy,
           "recorded": runs.query("method == 'qlora'").accuracy.iloc[0]}
pd.Series(reached).map("{:.1%}".format).to_frame("accuracy")

# %% [markdown]
# It learns. One run says little: yours may lie two points from ours. **What did the four bits cost?** We trained on the exact base and the four-bit
# one, from three seeds, each base at its best rate on validation sentences.

# %%
pt.commit("qlora.cost", ...)    # accuracy, exact base less four bits, in points

# %% tags=["nbval-check-output"]
costs = pictures.costs(record)
pt.compare("qlora.cost", round(100 * costs["cost"]["all matrices"], 1), "points, all matrices")
costs.round(4)    # three seeds; the cost with its 95 % interval, in pairs

# %% [markdown]
# On these reviews, three seeds cannot tell whether four bits cost anything: both intervals hold 0. Yet the hidden states were off by almost a quarter when
# training began.
#
# ## Merge by stochastic rounding
#
# Now merge, as in lesson 07: add $\Delta W$ to $\hat W$. You want a four-bit model again, so every weight of the sum moves to the nearest level, with
# $\hat W$'s old block maxima or new ones. **Which share of $\Delta W$ is left?** (Project the change of the weights onto $\Delta W$:
# $\langle\text{change}, \Delta W\rangle / \lVert\Delta W\rVert^2$.)

# %%
pt.commit("qlora.nearest", ...)    # from 0 to 1

# %%
def merged(model, rounding, exact=None):
    """Return a copy with plain layers of weight `rounding(Ŵ + ΔW)`, or with the exact W for Ŵ."""
    plain = copy.deepcopy(model)
    for name, layer in pt.adapters(model).items():
        base = exact[name] if exact else layer.base.weight.cpu()
        total = base + (layer.scale * layer.B @ layer.A).detach().cpu()
        linear = torch.nn.Linear(layer.base.in_features, layer.base.out_features)
        linear.weight.data, linear.bias.data = rounding(total), layer.base.bias.data.cpu()
        pt.models.replace(plain, name, linear)
    return plain.to(pt.device())


# %%
whole_sum, rounded = merged(model, lambda total: total), merged(model, nearest)
scores = pd.Series({"beside Ŵ": reached["your QLoRA"],
                    "merged, 32 bits": pt.evaluate(whole_sum, test).accuracy,
                    "merged, nearest level": pt.evaluate(rounded, test).accuracy})
scores.map("{:.1%}".format).to_frame("your adapter")

# %% tags=["nbval-check-output"]
merges = pictures.merges(record)
pt.compare("qlora.nearest", round(merges["ΔW kept"]["nearest, new maxima"], 3),
           "three adapters, recorded")
merges.iloc[:4].round(3)    # your merge takes new maxima; 2,563 test sentences; sd: over seeds

# %% [markdown]
# More than half of $\Delta W$ is gone, and with it, on average, two to three points of accuracy. Why? Each weight of $\hat W$ stands
# *on* a level: that is how $\hat W$ was made. (New maxima move the levels little.) A weight leaves its level only if its update is larger than half the
# gap to the next level. Small updates are taken back; only the large ones arrive.
#
# So round at random. Let each weight go to one of the two levels around it, more often to the nearer one, such that its *average* is right:
# **stochastic rounding**. The
# error of the matrix is then about twice as large as the update itself. **What accuracy do you expect?**

# %%
pt.commit("qlora.dice_accuracy", ...)    # from 0 to 1

# %% [markdown]
# ### Exercise 7 · Stochastic rounding (3 points, about 9 minutes)
#
# Write `dice(W, top, levels, generator)`, which returns a matrix like `W`. A block's levels are `levels` times its `top`.
#
# - Each weight goes to one of the two levels around it. A weight on a level stays there; one beyond the last level goes to that level.
# - Averaged over many calls, each weight equals its entry in `W`, although gaps differ in width.
# - Weights are drawn independently, only from `generator`.


# %% exercise="qlora.dice" part="solution"
def dice(W, top, levels, generator):
    ### BEGIN SOLUTION
    x = (W.reshape(len(top), -1) / top.clamp_min(1e-38)[:, None]).clamp(levels[0], levels[-1])
    low = torch.searchsorted(levels, x, right=True).sub(1).clamp(0, len(levels) - 2)
    gap = levels[low + 1] - levels[low]
    up = torch.rand(x.shape, generator=generator) < (x - levels[low]) / gap
    return (levels[low + up] * top[:, None]).reshape(W.shape)
    ### END SOLUTION


# %% exercise="qlora.dice" part="check"
dice = pt.check("qlora.dice", dice)

# %% exercise="qlora.dice" part="grade"
pt.require("qlora.dice")

# %%
generator = torch.Generator().manual_seed(0)
by_dice = merged(model, lambda total: dice(total, quantize(total, normal)[1], normal, generator))
scores["merged, stochastic"] = pt.evaluate(by_dice, test).accuracy
pt.compare("qlora.dice_accuracy", scores["merged, stochastic"], "your adapter, your rounding")
scores.map("{:.1%}".format).to_frame("your adapter")

# %%
pictures.explore_dice(dice)

# %% [markdown]
# One line says why. A weight $w$ between the levels $l$ and $h$ goes up with probability $p = (w - l) / (h - l)$, so its average is
# $l + p\,(h - l) = w$.
#
# From layer to layer, the small pushes of the update agree, and stochastic rounding keeps them; its errors mostly cancel by the last layer. Rounding
# to the nearest level makes a smaller error, but much of it points against the update. **Errors that agree add up.**
#
# ComfyUI rounds like this; a sceptic calls it ["Gaussian noise"](https://github.com/lllyasviel/stable-diffusion-webui-forge/issues/1252). So take
# its errors, shuffle them over the matrix, and add them to the *nearest* levels. **Does this noise help?**

# %%
pt.widgets.Guess("Nearest levels with this noise, against nearest levels:",
                 ("better", "not better"), "qlora.noise")

# %% tags=["nbval-check-output"]
noise = pictures.compared(record, "nearest, and shuffled noise", "nearest, old maxima")
pt.compare("qlora.noise", "better" if noise.word == "better" else "not better", f"{noise}")
merges.iloc[:9].round(3)    # three seeds; where rounding is random, three draws

# %% [markdown]
# It does not. The last row only shrinks the update to the share that nearest levels keep. It ends lower with each of the three: what costs is the lost part.
#
# One way is left. Add $\Delta W$ to the exact $W$ in place of $\hat W$, and round to the nearest level. **Which share of $\Delta W$ is kept now?**

# %%
pt.commit("qlora.exact", ...)    # from 0 to 1

# %%
scores["exact W, nearest level"] = pt.evaluate(merged(model, nearest, matrices), test).accuracy
pt.compare("qlora.exact", round(merges["ΔW kept"]["the same, to the nearest levels"], 3),
           "three adapters, recorded")
scores.map("{:.1%}".format).to_frame("your adapter")

# %% [markdown]
# Practically all of it. $\hat W$ stands on the levels, $W$ anywhere between them. Rounding $W + \Delta W$ makes about the error that rounding $W$
# made, and that error ignores the update. $W$ brings its own randomness.
#
# **How to merge, then?** Here: for 32 bits, add $\Delta W$ to $\hat W$, the model you trained; for four bits, add it to the exact $W$ and round.
# Without $W$, round stochastically, or keep the adapter beside.
#
# ## Could the adapter start as a repair?
#
# LoRA starts at zero, so training begins with the damaged $\hat W$. The first step of **LoftQ** (Li et al. 2023) sets $s\,BA$ to the matrix of rank
# $r$ that is nearest to the error $W - \hat W$. **How much of the squared error of a 384 × 384 matrix can rank 8 repair?**

# %%
pt.commit("qlora.repair", ...)    # a share, from 0 to 1

# %% tags=["nbval-check-output"]
repairs = pd.DataFrame(record["repair"]).T[["share", "scrambled", "noise"]].astype(float)
repairs = repairs.groupby(lambda name: name.split(".", 4)[4], sort=False).mean()
pt.compare("qlora.repair", round(repairs.share["attention.self.query"], 3), "mean of six")
repairs.round(3)    # repaired by rank 8: of the error, of it with scrambled signs, of white noise

# %% [markdown]
# Rank 8 repairs noise almost as well. Only in `output.dense`, above all in the last blocks, does it find more: entries where the error is large.
# Scramble all signs, and every share stays.
#
# ## What fits on my card?
#
# You train your 70 billion parameters with QLoRA, on one text of 512 tokens at a time. **How many GB does that take?**

# %%
pt.commit("qlora.fits", ...)    # GB, weights and all else

# %%
bill = pictures.memory(length=512, batch=1)
pt.compare("qlora.fits", round(bill.total["QLoRA"], 1), "computed; your card has 48")
bill.round(1)    # GB; Llama 2 70B has 69 billion parameters

# %%
pictures.explore_memory()

# %% [markdown]
# By this bill, with a fused AdamW as transformers' Trainer has it, your 48 GB hold the model, and little else. What four bits cost is time: every product first makes $\hat W$ again.
#
# **What this lesson claims**
#
# | claim | seen here | what could have refuted it, and was tried | at larger scale |
# |---|---|---|---|
# | Of five tables, none wins everywhere: NF4 makes the smallest error on the model's weights, evenly spaced levels on uniform numbers. | all matrices of the blocks, live | all tables take the same bits, maxima included | NF4 ahead of FP4 and int4 in perplexity (Dettmers et al. 2023); levels from a Student distribution (Dotzel et al. 2024) or for the least error (Blumenberg et al. 2025; with larger blocks Yoshida 2023) can be better still |
# | On these reviews, three seeds cannot tell LoRA on four bits from LoRA on the exact base. | three seeds, in pairs: the table of costs | each base at its own best rate | no loss seen against 16 bits (Dettmers et al. 2023); on LLaMA 3 LoRA does not make up for the loss (Huang et al. 2024) |
# | Rounding Ŵ + ΔW to the nearest level takes a small update back: each of ours lost more than half. Stochastic rounding keeps the update; so does rounding W + ΔW. | three adapters of rank 8, the table of merges | that stochastic rounding is right on average is proved; for accuracy we tried the same noise at random entries, an update shrunk in 32 bits, old and new maxima | ComfyUI merges into fp8 by stochastic rounding ([ComfyUI#12390](https://github.com/Comfy-Org/ComfyUI/pull/12390)); to merge into W and quantize again is usual practice; QA-LoRA (Xu et al. 2023) and LoTA-QAF (Chen et al. 2025) train so that the merge is exact |
# | LoftQ's start, at rank 8, finds where the error of NF4 is large, and nothing in the signs of the error. | 36 matrices, averaged by kind | the signs of all entries scrambled: the shares stay, even in `output.dense`, where they exceed those of noise most, above all in the last blocks | LoftQ gains most at two bits (Li et al. 2023); weighting by the inputs is better (Zhang et al. 2024) |

# %%
pt.progress("08")

# %% [markdown]
# ## At your desk
#
# The same with Hugging Face peft and bitsandbytes:
#
# ```python
# import torch
# from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
# from transformers import AutoModelForSequenceClassification, BitsAndBytesConfig
#
# four = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4",       # the default is fp4
#                           bnb_4bit_use_double_quant=True,
#                           bnb_4bit_compute_dtype=torch.bfloat16,              # the default is float32
#                           llm_int8_skip_modules=["classifier", "score", "lm_head"])    # stay whole
#
# def load():                                              # or AutoModelForCausalLM
#     return AutoModelForSequenceClassification.from_pretrained(name, quantization_config=four)
#
# base = prepare_model_for_kbit_training(load())           # freezes; recomputes activations
# config = LoraConfig(task_type="SEQ_CLS", target_modules="all-linear", r=16, lora_alpha=16)
# tuned = get_peft_model(base, config)
# tuned.print_trainable_parameters()
# ...                                                      # train; optim="paged_adamw_8bit"
# tuned.save_pretrained("my-adapter")
# # Adds ΔW to Ŵ in 32 bits, 4 bytes a weight. On load() itself the merge would round again.
# whole = load().dequantize().float()
# plain = PeftModel.from_pretrained(whole, "my-adapter").merge_and_unload()
# ```
#
# | a first recipe | up to 13 billion parameters | 33 to 70 billion | source |
# |---|---|---|---|
# | where | every linear layer of the blocks | the same | Dettmers et al. 2023, §4 |
# | rank, α | 64, 16; we would try 16, 16 first | the same | their scripts for Guanaco |
# | rate | 2e-4, constant | 1e-4 | the same |
#
# Try LoRA in 16 bits first, if it fits: it is faster. A **paged optimizer** moves Adam's states to the computer's memory while a long batch needs the
# room. Our rates, the cost of rounding and the share of the embeddings do not carry over to 7 billion parameters.

# %% [markdown]
# # Further
#
# **Starts that repair.** Below are accuracies after training, by learning rate and seed, and errors of the hidden states before training. "none"
# starts from zero. "weighted" is LoftQ's repair, weighted by the inputs that a layer really gets. PiSSA takes the strongest directions out before
# rounding. "random" is as large as LoftQ's start. Before training, the weighted repair is by far the best. At the higher rate, which suits "none",
# two starts can fail; at the lower one (one seed) all end within a point. More these runs cannot tell.

# %%
started = record.runs.query("method == 'qlora' and targets == 'all'")
started.pivot_table(["accuracy", "hidden_error"], "start", ["lr", "seed"]).dropna(axis=1, thresh=4)

# %% [markdown]
# **Sources**
#
# - Dettmers et al. 2023, *QLoRA*, arXiv 2305.14314: §3 NF4 and double quantization, §4 where to put LoRA; scripts in
#   [artidoro/qlora](https://github.com/artidoro/qlora/tree/main/scripts). The table they ship is not that of equation (4): see `peft_teach/nf4.py`.
# - Yoshida 2023, *NF4 isn't information theoretically optimal (and that's good)*, arXiv 2306.06965.
# - Dotzel et al. 2024, *Learning from students*, arXiv 2405.03103; Blumenberg et al. 2025, *BOF4*, arXiv 2505.06653: other levels.
# - Li et al. 2023, *LoftQ*, arXiv 2310.08659; Meng et al. 2024, *PiSSA*, arXiv 2404.02948; Zhang et al. 2024, *QERA*, arXiv 2410.06040.
# - Xu et al. 2023, *QA-LoRA*, arXiv 2309.14717; Chen et al. 2025, *LoTA-QAF*, arXiv 2505.18724: merges without loss.
# - Huang et al. 2024, *How good are low-bit quantized LLaMA3 models?*, arXiv 2404.14047.
# - Gupta et al. 2015, *Deep learning with limited numerical precision*, arXiv 1502.02551: stochastic rounding.
# - Data: Hutto & Gilbert 2014, *VADER*, ICWSM; sentences of the film reviews of Pang & Lee 2004.
#
# The library's own version of what you wrote is `pt.qlora` and `pt.nf4`.
