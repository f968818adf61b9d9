# %% [markdown]
# # 05 · Bottleneck adapters: where in the block?
#
# A **bottleneck adapter** is a small network that you put into a frozen model. Each paper puts it in another place, and calls the result
# "the adapter". Does the place matter?
#
# Your customers' tasks arrive one after another, and with fine-tuning each costs a full copy of the model. So freeze it, and add small
# trained detours to each block (Houlsby et al. 2019).
#
# | | |
# |---|---|
# | **Time** | about 75 minutes (an estimate), 45 of them for 4 exercises, and one more if you like; Run All takes about three minutes |
# | **You need** | the block of lesson 00, your `inject` of lesson 02; lesson 04 for one paragraph |
# | **Data** | film reviews and tweets, each rated by about 20 people; Hutto & Gilbert 2014, MIT licence |
#
# <details><summary>Three questions from earlier lessons</summary>
#
# **04: Into which two parts does a prefix split attention?** (1 − λ) · attention(x) + λ · attention(prefix).
#
# **02: Write the line with which your `inject` wraps the query of block 3 alone.** `inject(model, ("3.attention.self.query",), make)`
#
# **00: Where do the two norms of a BERT block stand?** Each behind a sum: what went into the sub-layer plus what came out (*post-LN*).
# </details>

# %% jupyter={"source_hidden": true}
import pandas as pd
import torch

import peft_teach as pt

record = pt.course.records.load("adapters")    # six placements
pictures = pt.course.pictures("adapters")
pd.set_option("display.max_colwidth", None)
inject = pt.mine("change.inject")    # yours, of lesson 02
d_model = 384
pt.seed(0)

# %% [markdown]
# ## 1 · One block, five places
#
# Move the adapter. Which place leaves the block without a norm at its end? Pfeiffer's adapter and the parallel one add to the same sum: what does each *read*?

# %%
pictures.explore_block()

# %% [markdown]
# <details><summary>The answers, and who proposed what</summary>
#
# Bapna's leaves the block without a norm at its end. Pfeiffer's adapter reads the sum after its norm; the parallel one reads r, the input of the feed-forward part.
#
# | place | source | take care |
# |---|---|---|
# | Houlsby | Houlsby et al. 2019, §2.1 | two per block; the paper also trains the norms, frozen here |
# | post-attention | tried by Houlsby et al. (§3.6) and He et al. 2022 | Houlsby's first |
# | Pfeiffer | Pfeiffer et al. 2020 and 2021 | one per block |
# | Bapna | Bapna & Firat 2019, §3 | at the block's end, with a norm of its own |
# | parallel | He et al. 2022, §3 and §4; tried by Houlsby et al. (§3.6) | adds s · A(u); for summarization, s = 4 |
#
# We add a sixth, which is nobody's: *the two ends*, one adapter on the embeddings and one on the last hidden states.
# </details>
#
# The adapter squeezes each token's vector $u$ to $m$ numbers, applies ReLU, and expands the result again:
#
# $$ A(u) = \mathrm{ReLU}(u\,W_{down}^\top + b_{down})\,W_{up}^\top + b_{up} $$
#
# | tensor | shape |
# |---|---|
# | $W_{down}$, $b_{down}$ | $(m, d)$, $(m)$ |
# | $W_{up}$, $b_{up}$ | $(d, m)$, $(d)$ |
#
# The narrow middle is the **bottleneck**, and $m$ is its **size**. A fair race needs one budget. In six blocks, Houlsby's place takes twelve adapters, Pfeiffer's six, and the ends two. So how wide
# may each be?
#
# ### Exercise 1 · What a budget buys (1 point, about 5 minutes)
#
# Write `size_for(budget, d_model, modules)`: the largest size at which `modules` adapters together have at most `budget` parameters: a whole number, and 0 where the budget does not
# even pay for size 1.


# %% exercise="adapters.size" part="solution"
def size_for(budget: int, d_model: int, modules: int) -> int:
    ### BEGIN SOLUTION
    left = budget // modules - d_model    # the last bias is paid for anyway
    return max(0, left // (2 * d_model + 1))
    ### END SOLUTION


# %% exercise="adapters.size" part="check"
size_for = pt.check("adapters.size", size_for)

# %% exercise="adapters.size" part="grade"
pt.require("adapters.size")

# %%
entrants = {name: pictures.modules(place) for place, name in pictures.NAMES.items()}
norms = {"Bapna": 6 * 2 * d_model}             # its norms are trained, too
pd.DataFrame({"adapters": entrants, "size": {
    name: size_for(300_000 - norms.get(name, 0), d_model, modules)
    for name, modules in entrants.items()}})

# %% [markdown]
# These are the entrants, equal in activation, start, strength s and rate. Is one *better* than each of the others, by the verdict of lesson 02?

# %%
pt.widgets.Guess("Better than each other place:", (*pictures.NAMES.values(), pictures.NONE),
                 "adapters.better")

# %% [markdown]
# ## 2 · Build one
#
# ### Exercise 2 · The bottleneck (2 points, about 9 minutes)
#
# Write `Bottleneck(d_model, size)`, a `torch.nn.Module`. Called with tokens `u`, (…, d_model), it returns $A(u)$, of the same shape.
#
# - It trains the four tensors and nothing else. Called `W_down`, `b_down`, `W_up` and `b_up`, they fit the library's; so do the layers of `torch.nn.Linear`, with your own start.
# - It does not pass `u` itself on: if all four tensors are zero, $A(u)$ is zero.
# - **Its start**: for *every* `u`, $A(u)$ is at most a tenth as long as `u`, at any width up to MiniLM's 384 and any size up to 64. But it must be able to learn: a first backward pass gives
#   at least one of the two matrices a nonzero gradient, and the $m$ numbers differ at the start.


# %% exercise="adapters.bottleneck" part="solution"
class Bottleneck(torch.nn.Module):
    def __init__(self, d_model: int, size: int):
        super().__init__()
        ### BEGIN SOLUTION
        self.W_down = torch.nn.Parameter(0.01 * torch.randn(size, d_model))
        self.b_down = torch.nn.Parameter(torch.zeros(size))
        self.W_up = torch.nn.Parameter(0.01 * torch.randn(d_model, size))
        self.b_up = torch.nn.Parameter(torch.zeros(d_model))
        ### END SOLUTION

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        h = torch.relu(u @ self.W_down.T + self.b_down)    # (…, size)
        return h @ self.W_up.T + self.b_up                 # (…, d_model)
        ### END SOLUTION


# %% exercise="adapters.bottleneck" part="check"
Bottleneck = pt.check("adapters.bottleneck", Bottleneck)

# %% exercise="adapters.bottleneck" part="grade"
pt.require("adapters.bottleneck")

# %% [markdown]
# How small must a start be? Houlsby et al. draw both matrices with a standard deviation of σ = 0.01. A random $m \times d$ matrix stretches a vector by at most about $\sigma(\sqrt m + \sqrt d)$, and ReLU makes none longer. So, with zero biases,
#
# $$ \lVert A(u) \rVert \;\lesssim\; \sigma^2\,(\sqrt m + \sqrt d)^2\,\lVert u \rVert. $$
#
# At size 64, that is 8 %. Why not start both at zero? The gradient of each has the other as a factor, so neither would ever move.
#
# Make σ three times as large, with Pfeiffer's adapters in all six blocks. **Before training, how many times as far from the base's do the last hidden states lie?**

# %%
pt.commit("adapters.threefold", ..., like=1)

# %%
sigmas = (0.001, 0.01, 0.03, 0.1)
away = pd.DataFrame({pictures.NAMES[place]: {
    sigma: pictures.deviation(place, 64, sigma) for sigma in sigmas}
    for place in ("pfeiffer", "post_attention", "parallel")})
factor = away.Pfeiffer[0.03] / away.Pfeiffer[0.01]
pt.compare("adapters.threefold", round(factor), "three times σ: times as far")
away.T.map("{:.2%}".format).rename_axis(columns="σ")    # untrained, one draw

# %% [markdown]
# <details><summary>What the table says</summary>
#
# Two matrices make $A(u)$, and each is three times as large, so $A(u)$ is nine times as long. At σ = 0.1 Pfeiffer's model is no longer the pretrained one.
# </details>

# %% [markdown]
# ## 3 · Put it in
#
# ### Exercise 3 · Two placements (3 points, about 11 minutes)
#
# In BERT one module ends the block. An adapter around this module gets two inputs:
#
# ```python
# class BertOutput(nn.Module):              # of transformers; dropout left out
#     def forward(self, hidden_states, input_tensor):
#         hidden_states = self.dense(hidden_states)
#         return self.LayerNorm(hidden_states + input_tensor)
# ```
#
# Write two adapters. Both keep in `self.A` the bottleneck that they are given, and register nothing else. Both call `self.base`, which `pt.Adapter` keeps frozen. Neither uses the base's submodules or parameters.
#
# - `Pfeiffer(base, A)` wraps the `LayerNorm` alone. It is called with the sum.
# - `Parallel(base, A, scale)` wraps the whole `BertOutput`. It is called with `h`, the wide inner activations, and `r`, the input of the feed-forward part. A's output is multiplied by `scale`.
#
# The picture of section 1 shows what A reads and which sum it adds to.


# %% exercise="adapters.placements" part="solution"
class Pfeiffer(pt.Adapter):
    def __init__(self, base: torch.nn.Module, A: torch.nn.Module):
        super().__init__(base)
        ### BEGIN SOLUTION
        self.A = A
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        return self.base(x + self.A(self.base(x)))
        ### END SOLUTION


class Parallel(pt.Adapter):
    def __init__(self, base: torch.nn.Module, A: torch.nn.Module, scale: float):
        super().__init__(base)
        ### BEGIN SOLUTION
        self.A, self.scale = A, scale
        ### END SOLUTION

    def forward(self, h: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        return self.base(h, r + self.scale * self.A(r))
        ### END SOLUTION


# %% exercise="adapters.placements" part="check"
Pfeiffer, Parallel = pt.check("adapters.placements", Pfeiffer, Parallel)

# %% exercise="adapters.placements" part="grade"
pt.require("adapters.placements")

# %% [markdown]
# ## 4 · Onto your ladder
#
# The norm that closes a block is called `output.LayerNorm`. Attention has one called `attention.output.LayerNorm`. The target `output.LayerNorm` fits both, and `0.output.LayerNorm` only the first.

# %% tags=["nbval-check-output"]
closing_norms = tuple(f"{block}.output.LayerNorm" for block in range(6))
width = size_for(300_000, d_model, 6)


def wrap(model):
    """Your bottlenecks in Pfeiffer's place."""
    return inject(model, closing_norms, lambda base: Pfeiffer(base, Bottleneck(d_model, width)))


model = wrap(pt.models.load("minilm", labels=1, device=pt.device())[0])
print(f"{len(pt.adapters(model))} adapters, {pt.account.parameters(model).adapter:,} parameters")

# %%
trained = pt.board.train("bottleneck", wrap)    # ratings, as all your rows

# %% [markdown]
# Recorded runs, against full fine-tuning and against LoRA of rank 8 (lesson 07), which trains a quarter of the numbers:

# %%
pd.Series({other: pt.verdict(*pt.board.scores("bottleneck", other))
           for other in ("full", "lora 8")}).map(repr).to_frame("bottleneck adapters are")

# %% [markdown]
# ## 5 · Does the place matter?
#
# The race's runs are short and learn labels, not ratings.

# %%
pt.plots.show(pictures.draw_runs(pictures.race(record)), "Six places, one budget: 120 steps, 1,920 "
              "sentences with labels, 1,000 test sentences. A dot is a seed, a bar their mean.")
verdicts = pictures.against_first(record)
pt.compare("adapters.better", pictures.best(verdicts), "better than each other place")
pd.DataFrame([*verdicts.values()], [*verdicts]).round(3)[["word", "difference", "low", "high"]]

# %% [markdown]
# Three seeds cannot tell the five places inside the block apart. Does nothing matter, then?
#
# The race was made equal: $s = 1$, a near start, a rate of 0.001. Take the parallel adapter with $s = 4$ and $W_{up} = 0$, at the rate that won a search with one seed, 0.003. A run *fails* if it ends less than a point above 51.9 %, what one answer to all sentences gets. **With how many of three seeds does it fail? How sure are you?**

# %%
pt.commit("adapters.fails", ..., like=[0, 0.5])    # [runs of three, how sure]

# %%
changed = pictures.changed(record)
failed = sum(map(pictures.fails, changed["parallel, rate 0.003, s = 4, W_up = 0"]))
pt.compare("adapters.fails", [failed, 1.0], "failing runs of three; and how sure one is now")
pd.DataFrame(changed, ["seed 0", "seed 1", "seed 2"]).T.map("{:.1%}".format)

# %%
pt.sentence("adapters.better", ...)    # yours: does the place matter?

# %% [markdown]
# <details><summary>Ours</summary>
#
# At a rate of 0.001, the place moved the means inside the block by a point and a half, and three seeds cannot tell them apart. At 0.003, some settings fail and others do not. They differ in place, activation, $s$ and start, and we have not separated these.
# </details>
#
# Nor can we tell adapters from LoRA of rank 8 at equal numbers: Pfeiffer's at size 15, at the rate of their search, end at 79.1 %,
# LoRA at 79.4 %.
#
# ## 6 · The sealed block
#
# No accuracy gave the place away.
#
# ### Exercise 4 · Name the placement (3 points, about 20 minutes)
#
# Somebody hands you a sealed block with trained adapters inside. You cannot open it, but you may **probe** it. For one token, choose the block's input $x$ and the outputs of its two sub-layers, $o_1$
# (attention) and $o_2$ (feed-forward); you get the block's output $y$. **Name the placement with at most four probes.** (Three are enough.)
#
# | name | the block, with adapters A and B of unknown weights |
# |---|---|
# | `"houlsby"` | r = norm(x + o₁ + A(o₁)), y = norm(r + o₂ + B(o₂)) |
# | `"post_attention"` | r = norm(x + o₁ + A(o₁)), y = norm(r + o₂) |
# | `"pfeiffer"` | r = norm(x + o₁), y = norm(r + o₂ + A(norm(r + o₂))) |
# | `"bapna"` | r = norm(x + o₁), z = norm(r + o₂), y = z + A(norm(z)) |
# | `"parallel"` | r = norm(x + o₁), y = norm(r + o₂ + s · A(r)) |
# | `"ends"` | x′ = x + A(x), r = norm(x′ + o₁), z = norm(r + o₂), y = z + B(z) |
#
# Write `name_placement(ask, norm, d)`. `ask(x, o1, o2)` takes three tensors of shape (d,) and returns $y$. `norm` is the block's norm: it shifts a vector to mean 0 and scales it to variance 1, and does nothing
# else. Return one of the six names. Outputs that should be equal agree to about 1e-5; all others differ by far more than 1e-3. The weights are new each time.


# %% exercise="adapters.sealed" part="solution"
def name_placement(ask, norm, d: int) -> str:
    ### BEGIN SOLUTION
    def same(y, z):
        return torch.allclose(y, z, atol=1e-3)

    x, o1, o2, shift = torch.randn(4, d)
    y = ask(x, o1, o2)
    ends_with_norm = same(y, norm(y))
    reads_parts = not same(y, ask(x + shift, o1 - shift, o2))    # the same sum
    if not ends_with_norm:
        return "ends" if reads_parts else "bapna"
    if reads_parts:    # no norm sees a constant, and B does
        return "post_attention" if same(y, ask(x, o1, o2 + 1)) else "houlsby"
    moved = norm(x + o1) - norm(x + shift + o1)    # another r, the same r + o₂
    return "pfeiffer" if same(y, ask(x + shift, o1, o2 + moved)) else "parallel"
    ### END SOLUTION


# %% exercise="adapters.sealed" part="check"
name_placement = pt.check("adapters.sealed", name_placement)

# %% exercise="adapters.sealed" part="grade"
pt.require("adapters.sealed")

# %% [markdown]
# ## 7 · You have met this network before
#
# In one head, the second part that a prefix adds to attention (lesson 04) is
#
# $$ \mathrm{softmax}(x\,W_1)\,W_2, \qquad W_1 = W_q P_k^\top / \sqrt{d_{head}}, \qquad W_2 = P_v. $$
#
# Down, a nonlinearity, up: a prefix is a bottleneck beside attention, and its length is the size (He et al. 2022). But its $l$ scores compete in the
# softmax, where ReLU lets each pass by itself.
#
# ## 8 · One base, two tasks
#
# Back to your customers. Two files hold adapters and head, trained on film reviews or on tweets. Swap them on one frozen MiniLM:

# %%
pictures.swapped(record)    # accuracy on 300 sentences of each; one run each

# %% [markdown]
# A task lives in a file of 1.2 MB instead of 91 MB.
#
# **What a call costs.** With a ReLU in the middle, no linear layer can absorb a bottleneck, and every call takes longer:
# 21 to 30 % for GPT-2 medium and one short text on a GPU (Hu et al. 2021, Table 1).
#
# One place needs no extra layer. Give a parallel adapter the block's own activation $g$, and both are one wider feed-forward part:
#
# $$ W_2\,g(W_1 r) + s\,W_{up}\,g(W_{down}\, r) = \begin{bmatrix} W_2 & s\,W_{up} \end{bmatrix}\, g\!\left( \begin{bmatrix} W_1 \\ W_{down} \end{bmatrix} r \right) $$

# %%
def merged(W1, W2, A, s):
    """The two matrices of a feed-forward part that holds a parallel adapter."""
    wide_in, wide_out = torch.nn.Linear(d_model, 1600), torch.nn.Linear(1600, d_model)
    wide_in.weight.copy_(torch.cat([W1.weight, A.W_down]))
    wide_in.bias.copy_(torch.cat([W1.bias, A.b_down]))
    wide_out.weight.copy_(torch.cat([W2.weight, s * A.W_up], dim=1))
    wide_out.bias.copy_(W2.bias + s * A.b_up)
    return wide_in, wide_out


pt.plots.show(pictures.draw_merge(), "To scale; biases are left out.")
pictures.merge_parallel(merged)    # in all six blocks, adapters drawn large

# %% [markdown]
# The model computes the same without adapters: with GELU and in parallel, an adapter merges.
#
# ## Three doors
#
# Your layer beside the library's; peft has none. (If your tensors have other names, `names={"A.yours": "A.W_down", …}` pairs them.)

# %%
pt.doors("bottleneck", wrap, pt.bottleneck.Config(size=width))

# %% [markdown]
# **What this lesson claims**
#
# | claim | seen here | what could have refuted it, and was tried | at larger scale |
# |---|---|---|---|
# | Inside the block, three seeds on these reviews cannot tell the places apart. | five places, three seeds, all else alike: means 77.6 to 79.1 %. The widest gap, Bapna's to Pfeiffer's: +1.5 points (−3.0 to +6.0) | Bapna's to Pfeiffer's at its searched rate: +0.3 points (−2.8 to +3.4), cannot tell. The two ends: 71.7 %, lower with each seed. Single answers do show the place: runs of two places differ in 116 of 1,000, of one place in 100 (places shuffled: p = 0.0006) | mixed: alike for classification (Houlsby et al. 2019, §3.6); the best place depends on the task (Nowak et al. 2024); for generation the parallel one is ahead (He et al. 2022, §4.3 and 4.4) |
# | At a rate of 0.003, some settings fail within 120 steps. | of three runs: parallel, s = 4, W_up = 0: 2; post-attention with GELU: 1; Pfeiffer's with σ = 0.1: 3 | At 0.001 none of the race's 15 runs fails, nor do the first two settings, but one parallel run ends at 56.9 %, five points above. With σ = 0.01, Pfeiffer's bears 0.003. Place, activation, s and start are not separated | agrees for the start: σ above 0.01 hurts (Houlsby et al. 2019, §3.6) |
# | A parallel adapter with the block's activation can be merged. | a proof; once merged, the last hidden states are the same up to rounding | the adapters were drawn large and move the states by up to 3.5, so a mistake would show | holds at any size; a gated block (Llama) needs a gated adapter |

# %%
pt.progress("05")

# %% [markdown]
# ## At your desk
#
# The library `adapters` builds on transformers: `double_seq_bn` is Houlsby's, `seq_bn` Pfeiffer's, `par_bn` the parallel one. Version 1.3.0 needs another transformers
# than this course, so **this is a recording**, on a small random BERT (`assets/records/adapters_library.py`):

# %%
from IPython.display import Markdown

library = pt.course.records.load("adapters_library")
Markdown(f"```python\n{library['workflow']}\n```\n\n```text\n{library['printed']}\n```")

# %% [markdown]
# `train_adapter` freezes the rest *and* activates the adapter. One that was only added or loaded stays unused until `set_active_adapters`
# ([adapters#318](https://github.com/adapter-hub/adapters/issues/318)).
#
# | a first recipe | take | source |
# |---|---|---|
# | where | Pfeiffer's place, one per block | Pfeiffer et al. 2021: on classification as good as two |
# | size, start | 8 to 256: it hardly matters; σ at most 0.01 | Houlsby et al. 2019, §3.6; here 79.1, 78.8 and 78.2 % at sizes 15, 64 and 256 |
# | rate | search it, with two seeds at least; if runs fail, a third of it | above |
# | generation | the parallel place | He et al. 2022, §4.3 and 4.4 |
# | when not | where the time of a call counts: take LoRA, and merge it (lesson 07) | Hu et al. 2021, Table 1 |
#
# When you report an adapter, give its place, its size, its rate, and whether the norms were trained.
#
# # Further
#
# ### Exercise 5 · The law of the start (optional, 2 points, about 15 minutes)
#
# Write `starts_near(make, d_model, bound)`, where `make()` gives a new bottleneck. It raises an error, as `assert` does, unless
#
# - for **every** $u$, $\lVert A(u)\rVert$ is at most `bound` times $\lVert u\rVert$, and
# - at least one matrix (a parameter of two axes) gets a nonzero gradient in a first backward pass, on tokens whose entries are about 1.
#
# Random $u$ are easy cases. Make a few of them hard, in ten steps: each replaces $u$ by the gradient of $\lVert A(u)\rVert$ at $u$, scaled to length 1. Where the gradient is zero, stop. Test each $u$, and shorter and longer copies of it.
#
# Some broken starts are long in a single direction, or only for short or for long $u$; in two, no matrix would ever learn.


# %% exercise="adapters.near" part="solution"
def starts_near(make, d_model: int, bound: float) -> None:
    ### BEGIN SOLUTION
    A = make()
    u = torch.randn(32, d_model)
    unit = torch.nn.functional.normalize    # leaves zeros as they are
    for _ in range(10):    # uphill, to where A(u) is longest
        v = unit(u).detach().requires_grad_()
        u, = torch.autograd.grad(A(v).norm(dim=-1).sum(), v)
    u = unit(u)
    for length in (1e-3, 1.0, 1e3):
        far = A(length * u).norm(dim=-1) / length
        assert (far <= bound).all(), f"A(u) is {far.max():.2g} times as long as u"

    A(torch.randn(32, d_model)).sum().backward()
    matrices = [p for p in A.parameters() if p.dim() == 2]
    assert any(p.grad is not None and p.grad.any() for p in matrices), "no matrix can learn"
    ### END SOLUTION


# %% exercise="adapters.near" part="check"
starts_near = pt.check("adapters.near", starts_near)

# %% exercise="adapters.near" part="grade"
pt.require("adapters.near")

# %%
starts_near(lambda: Bottleneck(d_model, 64), d_model, 0.1)    # your test

# %% [markdown]
# **Sources**
#
# - Houlsby et al. 2019, *Parameter-Efficient Transfer Learning for NLP*, arXiv 1902.00751.
# - Bapna & Firat 2019, *Simple, Scalable Adaptation for Neural Machine Translation*, arXiv 1909.08478.
# - Pfeiffer et al. 2020, *MAD-X*, arXiv 2005.00052; and 2021, *AdapterFusion*, arXiv 2005.00247.
# - He et al. 2022, *Towards a Unified View of Parameter-Efficient Transfer Learning*, arXiv 2110.04366.
# - Hu et al. 2021, *LoRA*, arXiv 2106.09685.
# - Nowak et al. 2024, *Towards Optimal Adapter Placement*, arXiv 2410.15858.
# - Data: Hutto & Gilbert 2014, *VADER*, ICWSM; sentences of the film reviews of Pang & Lee 2004.
