# %% [markdown]
# # 08 · QLoRA: which sixteen numbers?
#
# You want to fine-tune a model of 70 billion parameters. LoRA freezes them and trains small matrices beside them. But frozen weights need memory,
# too: 140 GB in 16 bits. Your card has 48 GB.
#
# So give each frozen weight four bits. Four bits can name sixteen numbers. Which sixteen would you choose?
#
# In 2023, Tim Dettmers and his colleagues chose them with care, trained LoRA beside them, and called it **QLoRA**. You derive their numbers,
# build their layer, and train on it. Then you merge what you learned. How much of it is left?
#
# | | |
# |---|---|
# | **Time** | about 95 minutes, 51 of them for 5 exercises; Run All takes about four minutes |
# | **You need** | lesson 07: LoRA and its merge; `inject` from lesson 02 (yours, or ours) |
# | **Data** | sentences from film reviews, 2,716 of them for testing (2,563 where labels are tested); Hutto & Gilbert 2014, MIT licence |
#
# <details><summary>Three lines of code from earlier lessons</summary>
#
# **07: Which line merges LoRA into W?** `W + s * B @ A`
#
# **02: Which puts LoRA around query and value?** `inject(model, ("query", "value"), lambda base: LoRALinear(base, 8, 16))`
#
# **00: How many bytes does a frozen weight `w` cost in training?** `w.element_size()`. It has no gradient and no optimizer state.
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
pt.plots.show(pt.drawing.block("qlora", pt.qlora.Config(double=False), counts=False), "One of six "
              "blocks of our model. LoRA trains beside all its matrices; in lesson 07 it had two.")

# %%
pt.plots.show(pictures.draw_ruler(matrices), "The weights of MiniLM, in groups of 64, each group "
              "divided by its largest magnitude. Every weight moves to the nearest level.")

# %% [markdown]
# Cut each matrix into groups of 64 weights, and divide each group by its largest magnitude. Now every weight lies between −1 and 1, and moves to the
# nearest of sixteen *levels*. Four bits hold the number of the level.
#
# Most weights lie near zero, so many of sixteen evenly spaced levels would hardly be used. Dettmers and his colleagues bet that weights are *normally
# distributed*, and put equal probability between neighbours, on each side of zero.
#
# ### Exercise 1 · Levels for any distribution (3 points, about 8 minutes)
#
# `quantile(p)` gives the value below which a share `p` of a distribution lies. The distribution is symmetric around 0, so `quantile(0.5)` is 0. Write
# `levels(quantile)`, which returns the sixteen levels as a float32 tensor:
#
# - They ascend from exactly −1 to exactly 1: seven are negative, one is exactly 0, eight are positive.
# - On either side of 0, neighbouring levels are the same probability apart. Before you scale them, the largest is `quantile(TOP)`, and the smallest
#   `quantile(1 - TOP)`.
#
# Why does `TOP` stop short of 1? Try `NormalDist().inv_cdf(1.0)`.

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
# From the normal distribution you get **NF4**, as bitsandbytes ships it. From a *uniform* distribution you get evenly spaced levels. Beside these
# two stand **int4**, the integers from −7 to 7, and two kinds of **FP4**, tiny floating-point numbers: bitsandbytes' own, and e2m1, with two bits of
# exponent and one of mantissa. Three errors of each: on the weights, on uniform numbers, and in the model's last hidden states.

# %%
normal = levels(NormalDist().inv_cdf)
tables = pictures.tables(levels)    # five of them, by name
batches = pt.data.batches(movies.train[:512 if budget.claims else 16], tokenizer, 64)
pictures.formats(matrices, tables, model, batches).map("{:.1%}".format)    # ‖error‖ / ‖exact‖

# %% [markdown]
# On the model's weights NF4 makes the smallest error; on uniform numbers the even levels do. Levels should crowd where the numbers crowd. And look at
# the last column: in the last hidden states, each error is more than twice as large as in the weights.
#
# Move a level of NF4, and watch the error.

# %%
pictures.explore_levels(matrices, tables)

# %% [markdown]
# ## Two in a byte
#
# A tensor's smallest element here is a byte, so two weights share one.
#
# ### Exercise 2 · Into bytes and back (3 points, about 9 minutes)
#
# `quantize(W, levels, group=64)` returns `packed` and `top`:
#
# - The entries of `W`, row by row, form groups of `group`. `top`, float32, has the largest magnitude of each group.
# - Each weight, divided by its group's `top`, becomes the index of the nearest level. A group of zeros stays zero.
# - `packed`, uint8, holds two indices in each byte, the first in the high half: 1 and 15 become `0x1F`.
#
# `dequantize(packed, top, levels, shape)` gives $\hat W$ back, in this shape. The number of entries is a multiple of `group`.


# %% exercise="qlora.quantize" part="solution"
def quantize(W, levels, group=64):
    ### BEGIN SOLUTION
    groups = W.detach().float().reshape(-1, group)
    top = groups.abs().amax(dim=1)
    scaled = groups / top.clamp_min(1e-38)[:, None]
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
# All weights of a group share one scale, and the largest weight decides how large it is. Make that weight larger still, and look at the others.

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
# One outlier, and its neighbours collapse onto a few levels. Smaller groups limit the damage, but each group stores its own maximum, in 32 bits:

# %%
rows = {}
for size, double in ((32, False), (64, False), (256, False), (1024, False), (64, True)):
    held = pt.nf4.quantize(query, size, double)
    rows[f"{size:,}{', maxima in 8 bits' * double}"] = {
        "bits a weight": held.bits_per_parameter, "error": relative(pt.nf4.dequantize(held), query)}
pd.DataFrame(rows).T.round(3).rename_axis("weights in a group")

# %% [markdown]
# The second idea of QLoRA is to quantize the maxima as well: **double quantization**, in the last row. At 70 billion parameters it saves 3 GB.
#
# ## Learning beside weights that cannot move
#
# Nothing is multiplied in four bits. The layer makes $\hat W$ again for each product, and forgets it:
#
# $$ y = x\,\hat W^\top + b + s\,(x A^\top)\, B^\top $$
#
# Only $A$ and $B$ train. For that, the gradient must pass *through* $\hat W$ to the layers below, and there is a trap: `F.linear(x, W_hat)` keeps
# `W_hat` until the backward pass. If every layer does so, the whole model lies in memory at full size.
#
# ### Exercise 3 · The four-bit layer (3 points, about 18 minutes)
#
# Write `Linear4bit(linear, levels=pt.nf4.LEVELS)`, a `torch.nn.Module`:
#
# - It computes $x \hat W^\top + b$, and has `in_features`, `out_features`, `bias`, and a `weight` computed at each access.
# - Nothing in it trains. The gradient to `x` is the one that $\hat W$ gives.
# - Between forward and backward pass it keeps nothing as large as $W$. Use `torch.autograd.Function` or `torch.utils.checkpoint.checkpoint`.
# - Without the bias, its parameters and buffers take 4.5 bits a weight. So keep `levels` as a plain attribute, no buffer; it may lie on another
#   device than the buffers. `copy.deepcopy` and `load_state_dict` work.


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
# ### Exercise 4 · The law of four bits (2 points, about 7 minutes)
#
# Write `four_bits_hold(make)`, a test that raises an error if a layer breaks this law:
#
# > *Leave the bias aside. Before the layer is used and after, its parameters and buffers take exactly half a byte for each weight and 4 bytes for
# > each group of 64. None of them trains. The gradient reaches x.*
#
# `make(linear)` builds the layer from a float32 `nn.Linear` of your choice.


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

# %% [markdown]
# ### Exercise 5 · A broken one of your own (2 points, optional, about 5 minutes)
#
# Write `Broken4bit`, a layer that the test below accepts and the law forbids. The class inherits from your layer, so override only what you
# change.


# %%
def looks_small(make):
    """Raise unless the layer holds four bits a weight, and 32 for each group."""
    layer, x = make(torch.nn.Linear(64, 6, bias=False)), torch.randn(3, 64)
    held = sum(t.nbytes for t in layer.state_dict().values())
    assert held == 6 * 64 // 2 + 4 * 6, "the bytes"
    assert torch.allclose(layer(x), x @ layer.weight.T, atol=1e-5), "the output"
    assert all(not p.requires_grad for p in layer.parameters()), "what trains"


# %% exercise="qlora.broken" part="solution"
class Broken4bit(pt.mine("qlora.layer")):
    def forward(self, x):
        ### BEGIN SOLUTION
        if not hasattr(self, "W"):    # from its first use on, it holds the whole matrix
            self.register_buffer("W", self.weight, persistent=False)
        return torch.nn.functional.linear(x, self.W, self.bias)
        ### END SOLUTION


# %% exercise="qlora.broken" part="check"
Broken4bit = pt.check("qlora.broken", Broken4bit)

# %% exercise="qlora.broken" part="grade"
pt.require("qlora.broken")

# %%
pt.course.live.tried([looks_small, four_bits_hold], Broken4bit)    # the second test is yours

# %% [markdown]
# <details><summary>What <code>looks_small</code> does not see</summary>
#
# It counts before the first use, and only what a file would hold: a buffer with <code>persistent=False</code> is in memory, and in no
# <code>state_dict</code>. And it never asks whether the gradient reaches x. If not, no layer below learns. Neither it nor the law sees a matrix kept as a
# plain attribute: the law says "parameters and buffers", and Exercise 3 asked for the rest.
# </details>
#
# ## Onto your ladder
#
# Put your four-bit layer into all six blocks with your own `inject`, and around it your `LoRALinear` of lesson 07, unchanged.

# %%
inject, LoRALinear = pt.mine("change.inject", "lora.layer")


def wrap(model):
    return inject(model, tuple(matrices), lambda base: LoRALinear(Linear4bit(base), 8, 16))


# %%
whole, _ = pt.models.load("minilm", labels=1)
held = {"the model": whole, "your QLoRA": wrap(copy.deepcopy(whole))}
pd.Series({name: sum(t.nbytes for t in model.state_dict().values()) / 1e6
           for name, model in held.items()}).to_frame("MB").round(1)

# %% [markdown]
# The embeddings, half of this small model, stay as they are. Now train it as every method on the ladder.

# %%
trained = pt.board.train("qlora all", wrap)
model = trained.model

# %% [markdown]
# It learns. **What did the four bits cost?** We trained LoRA everywhere on the exact base and on the four-bit one, ten seeds each, and
# searched the rate for each.

# %%
pt.widgets.Guess("QLoRA, beside LoRA on the exact base:", ("worse", "the same", "better"),
                 "qlora.cost")

# %%
cost = pt.verdict(*pt.board.scores("qlora all", "lora all"))
pt.compare("qlora.cost", cost.word, "in pairs, by seed and sentence")
cost

# %% [markdown]
# The same, by our margin: with eight of ten seeds the four-bit run ends lower, and never by the 0.02 that matters to us. Yet the hidden states were
# off by almost a quarter when training began.
#
# ## Merge
#
# Now merge, as in lesson 07: add $\Delta W$ to $\hat W$. You want a four-bit model again, so every weight of the sum moves to the nearest level.
# **Which share of $\Delta W$ is left?** (Project the change of the weights onto $\Delta W$:
# $\langle\text{change}, \Delta W\rangle / \lVert\Delta W\rVert^2$.)

# %%
pt.commit("qlora.nearest", ..., like=0.5)    # from 0 to 1

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
ratings = pt.data.ratings("movies").test[:trained.row["tests"]]
test = pt.data.batches(ratings, tokenizer, 64, shuffle=False)
rounded = merged(model, nearest)
scores = {"nearest level": pictures.scores(rounded, test)}    # a sentence; their mean is R²
share = pictures.kept(rounded, model)
pt.compare("qlora.nearest", round(share, 2), "your adapter")
pd.Series({"beside Ŵ": trained.row["r2"], "nearest level": scores["nearest level"].mean().item()},
          name="R²").round(3)

# %% [markdown]
# Most of $\Delta W$ is gone. Why? Each weight of $\hat W$ stands *on* a level: that is how $\hat W$ was made.
# While the largest weight of its group stays, a weight leaves its level only if its update is larger than half the gap to the next. Small updates are
# taken back; only the large ones arrive.
#
# So round at random. Let each weight go to one of the two levels around it, more often to the nearer one, such that its *average* is right:
# **stochastic rounding**. The error of the matrix is then larger than the update itself. **What is $R^2$ now, and how sure are you that
# it is better than with the nearest levels?**

# %%
pt.commit("qlora.dice", ..., like=[0.3, 0.5])    # [R², how sure]

# %% [markdown]
# ### Exercise 6 · Stochastic rounding (3 points, about 9 minutes)
#
# Write `dice(W, top, levels, generator)`, which returns a matrix like `W`. A group's levels are `levels` times its `top`.
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
scores["stochastic"] = pictures.scores(by_dice, test)
beside_nearest = pt.verdict(scores["stochastic"], scores["nearest level"])
pt.compare("qlora.dice", [round(scores["stochastic"].mean().item(), 3), 1.0],
           "your adapter, rounded by your dice; and how sure one is now")
beside_nearest

# %% [markdown]
# Each weight is right on average, but each matrix has a larger error than before. Follow the hidden states through the blocks, and beside them
# those of a model in which nothing is rounded: its $\Delta W$ is shrunk to the share that the nearest levels keep.

# %%
shrunk = copy.deepcopy(model)
for layer in pt.adapters(shrunk).values():
    layer.B.data *= share
ways = {"nearest level": rounded, "stochastic": by_dice, "shrunk, not rounded": shrunk}
by_block = pictures.errors_by_block(ways, model, batches)
pt.plots.show(pictures.draw_errors(by_block), "How far the hidden states are from those of the "
              "model that you trained, relative to their norm. Two merges are rounded; in the "
              "third nothing is, but ΔW is shrunk to the share that nearest levels keep.")

# %% [markdown]
# After the first block, stochastic rounding is further off. But its errors know nothing of the update, and they grow slowly. The steep curve is not
# one of rounding: **it is the curve of a missing update.** Without any rounding it ends nearly the same.
#
# One way is left. Add $\Delta W$ to the exact $W$ in place of $\hat W$, and round to the nearest level. **Which share of $\Delta W$ is kept now?**

# %%
pt.commit("qlora.exact", ..., like=0.5)    # from 0 to 1

# %%
onto_exact = merged(model, nearest, matrices)
scores["exact W, nearest level"] = pictures.scores(onto_exact, test)
pt.compare("qlora.exact", round(pictures.kept(onto_exact, model), 3), "your adapter")
pd.Series({"beside Ŵ": trained.row["r2"]} | {way: each.mean().item() for way, each in
                                            scores.items()}, name="R²").round(3)

# %% [markdown]
# Practically all of it. $\hat W$ stands on the levels, $W$ anywhere between them. Rounding $W + \Delta W$ makes about the error that rounding $W$
# made, and that error knows nothing of the update.
#
# Three recorded adapters were trained on labels, positive or negative. At the nearest levels they lose more than half of their updates, too.
#
# **How to merge, then?** Here: for 32 bits, add $\Delta W$ to either base. For four bits, add it to the exact $W$ and round, or round
# stochastically. Or keep the adapter beside.
#
# ## What fits on my card?
#
# Llama 3 has 70.6 billion parameters. Here is what it takes, trained on 512 tokens at a time. Below, set your own card and texts.

# %%
pictures.memory(tokens=512).round(1)    # GB, of 10⁹ bytes

# %%
pictures.explore_memory()

# %% [markdown]
# By this bill, your card is on the edge: 48.2 GB. (A card of 48 GiB holds 51.5 GB.) The vectors of 128,256 words weigh on it: peft's
# `prepare_model_for_kbit_training` holds them in 32 bits. In 16 bits they would take 4.2 GB less. What four bits cost is time: every product first
# makes $\hat W$ again.
#
# ## Three doors
#
# Your layer beside the library's and peft's, with the same numbers:

# %%
pt.doors("qlora", wrap, pt.qlora.Config(rank=8, alpha=16, double=False))

# %% [markdown]
# Open the library's page below the table. **Before it changes anything, `inject` takes fingerprints of the weights. Why not later?**
#
# <details><summary>The answer</summary>
#
# Once a layer is in four bits, its exact weights are gone. The fingerprint must be of these, or a saved adapter could not recognize its base.
# </details>

# %% [markdown]
# **What this lesson claims**
#
# | claim | seen here | what could have refuted it, and was tried | at larger scale |
# |---|---|---|---|
# | Of five tables, NF4 makes the smallest error on the model's weights, and evenly spaced levels on uniform numbers. | all matrices of the blocks: NF4 9.4 %, then FP4 e2m1 10.6 %; on uniform numbers: even levels 6.6 %, then int4 7.0 % | all tables take the same bits, maxima included | NF4 ahead of FP4 and int4 in perplexity (Dettmers et al. 2023); levels from a Student distribution (Dotzel et al. 2024) or for the least error (Blumenberg et al. 2025; with larger groups Yoshida 2023) can do even better |
# | LoRA on four bits and LoRA on the exact base are the same, by our margin. | R² −0.005 (−0.011 to 0.000), margin 0.02; ten seeds each, all 2,716 test sentences | By the accuracy of the sign: −0.4 points (−0.9 to 0.1), margin 1. Each at its own searched rate | no loss seen against 16 bits (Dettmers et al. 2023) |
# | Rounding Ŵ + ΔW to the nearest level takes more than half of these updates back. Stochastic rounding keeps them, and so does rounding W + ΔW. | kept 40 to 48 %, and 100 % by either of the others: three adapters of rank 8, trained on labels | With each group's largest weight kept: 36 to 43 % | Hugging Face peft warns of the rounding. Marie advises against merging into four bits (2023), and after the merge against rounding with bitsandbytes (2025) |
# | From block to block, the error of the nearest levels grows like that of a smaller update; that of stochastic rounding grows slowly. | after the last block 70 to 77 % of the hidden states' norm, without the update 93 to 99 %; stochastic 19 to 22 %: the same three adapters | The update shrunk to the share that the nearest levels keep, and not rounded: 73 to 81 % | errors of rounding that grow from layer to layer are known (Arai & Ichikawa 2025), of merges not known to us |

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
# four = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4",     # the default is fp4
#                           bnb_4bit_use_double_quant=True,
#                           bnb_4bit_compute_dtype=torch.bfloat16,            # the default is float32
#                           llm_int8_skip_modules=["classifier", "score", "lm_head"])    # stay whole
#
# def load():                                              # or AutoModelForCausalLM
#     return AutoModelForSequenceClassification.from_pretrained(name, quantization_config=four)
#
# base = prepare_model_for_kbit_training(load())    # freezes; the rest to 32 bits; recomputes
# config = LoraConfig(task_type="SEQ_CLS", target_modules="all-linear", r=16, lora_alpha=32)
# tuned = get_peft_model(base, config)
# tuned.print_trainable_parameters()
# ...                                                      # train; optim="paged_adamw_8bit"
# tuned.save_pretrained("my-adapter")
# # For 32 bits, ΔW on Ŵ: 4 bytes a weight. On load() itself the merge would round to the levels.
# whole = load().dequantize().float()
# plain = PeftModel.from_pretrained(whole, "my-adapter").merge_and_unload()
# # For four bits, ΔW on the exact W: load "merged" with `four`, which rounds it. Test the result:
# # Marie (2025) advises against this, and for the adapter beside the four-bit base.
# exact = AutoModelForSequenceClassification.from_pretrained(name)
# PeftModel.from_pretrained(exact, "my-adapter").merge_and_unload().save_pretrained("merged")
# ```
#
# For rank, α and rate take lesson 07's recipe, whose fixed rates are those of QLoRA's authors. (At rank 64 they took α 16.)
#
# Try LoRA in 16 bits first, if it fits: it is faster. A **paged optimizer** moves Adam's states to the computer's memory while a long batch needs the
# room. Our rates, the cost of rounding and the share of the embeddings do not carry over to 7 billion parameters.

# %% [markdown]
# # Further
#
# ## Could the adapter start as a repair?
#
# LoRA starts at zero, so training begins with the damaged $\hat W$. The first step of **LoftQ** (Li et al. 2023) sets $s\,BA$ to the matrix of rank
# $r$ that is nearest to the error $W - \hat W$. "weighted" weighs that error by the inputs that a layer really gets, as in QERA (Zhang et al.
# 2024). PiSSA takes the strongest directions out before rounding. "random" is as large as LoftQ's start, and "none" starts at zero.
#
# Below are accuracies after training, by learning rate and seed, and errors of the hidden states before training. Before training, the weighted
# repair is by far the best. At the higher rate, which suits "none", two starts can fail; at the lower one (one seed) all end within a point.

# %%
unrepaired = record["formats"]["NF4"]["last hidden states"]
started = record.runs.query("method == 'qlora' and targets == 'all'").fillna(
    {"hidden_error": unrepaired})
started = started.pivot_table(["accuracy", "hidden_error"], "start", ["lr", "seed"])
started.dropna(axis=1, thresh=4).round(3)

# %% [markdown]
# **Sources**
#
# - Dettmers et al. 2023, *QLoRA*, arXiv 2305.14314: §3 NF4 and double quantization, §4 where to put LoRA; scripts in
#   [artidoro/qlora](https://github.com/artidoro/qlora/tree/main/scripts). The table they ship is not that of equation (4): see `peft_teach/nf4.py`.
# - Yoshida 2023, *NF4 isn't information theoretically optimal (and that's good)*, arXiv 2306.06965.
# - Dotzel et al. 2024, *Learning from students*, arXiv 2405.03103; Blumenberg et al. 2025, *BOF4*, arXiv 2505.06653: other levels.
# - Li et al. 2023, *LoftQ*, arXiv 2310.08659; Meng et al. 2024, *PiSSA*, arXiv 2404.02948; Zhang et al. 2024, *QERA*, arXiv 2410.06040.
# - Marie 2023, [*Don't merge your LoRA adapter into a 4-bit LLM*](https://medium.com/@bnjmn_marie/dont-merge-your-lora-adapter-into-a-4-bit-llm-65b6da287997);
#   2025, [*Don't let QLoRA merging undo your fine-tuning work*](https://kaitchup.substack.com/p/qlora-merging-pitfalls-dont-lose).
# - Arai & Ichikawa 2025, *Quantization error propagation*, arXiv 2504.09629: errors from layer to layer.
# - Xu et al. 2023, *QA-LoRA*, arXiv 2309.14717; Chen et al. 2025, *LoTA-QAF*, arXiv 2505.18724: merges without loss.
# - Gupta et al. 2015, *Deep learning with limited numerical precision*, arXiv 1502.02551: stochastic rounding.
# - Data: Hutto & Gilbert 2014, *VADER*, ICWSM; sentences of the film reviews of Pang & Lee 2004.
