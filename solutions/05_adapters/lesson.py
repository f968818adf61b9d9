# %% [markdown]
# # 05 · Bottleneck adapters: where in the block?
#
# A **bottleneck adapter** is a small network that you put into a frozen model. Four groups put it in four different places, and each calls the result
# "the adapter". Does the place matter?
#
# In 2019 Neil Houlsby and his colleagues at Google wanted one BERT to serve many customers, whose tasks arrive one after another. Fine-tuning
# stood in their way: each new task cost a full copy of the model. So they froze BERT and added small trained detours to each block.
#
# | | |
# |---|---|
# | **Time** | about 65 minutes (estimated), 39 of them for 4 exercises, and one more if you like; Run All takes three to six minutes |
# | **You need** | the block of lesson 00, your `inject` of lesson 02; lesson 04 for section 6 |
# | **Data** | film reviews and tweets, each rated by about 20 people; Hutto & Gilbert 2014, MIT licence |
#
# <details><summary>Three questions from earlier lessons</summary>
#
# **04: Into which two parts does a prefix split attention?** (1 − λ) · attention(x) + λ · attention(prefix).
#
# **02: What does your `inject` do with a name that no module has?** It raises an error that gives the name, before anything changes.
#
# **00: Where do the two norms of a BERT block stand?** Each behind a sum: what went into the sub-layer plus what came out (*post-LN*).
# </details>

# %% jupyter={"source_hidden": true}
import pandas as pd
import torch

import peft_teach as pt

records, live = pt.course.records, pt.course.live
budget = pt.course.budget()           # how much to compute: PEFT_TEACH_BUDGET=smoke|cpu|gpu
record = records.load("adapters")     # six placements, three seeds; assets/records/adapters.py
pictures = pt.course.pictures("adapters")
inject = pt.mine("change.inject")     # yours, where it passed in lesson 02
movies, tweets = pt.data.load("movies"), pt.data.load("tweets")
tokenizer = pt.models.load("minilm", labels=2)[1]
d_model, generator = 384, torch.Generator().manual_seed(0)
pt.seed(0)

# %% [markdown]
# ## 1 · One block, six places
#
# Move the adapter, and answer two questions from the picture. Which place leaves the block without a norm at its end? Pfeiffer's adapter and the parallel one add to the same
# sum: what does each *read*?

# %%
pictures.explore_block()

# %% [markdown]
# <details><summary>The answers, and who proposed what</summary>
#
# Bapna's does, and in the last block the ends do, too. Pfeiffer's adapter reads the sum after its norm. The parallel one reads r, as the feed-forward part does.
#
# | place | source | take care |
# |---|---|---|
# | Houlsby | Houlsby et al. 2019, §2.1 | two per block; the paper also trains the norms, frozen here |
# | post-attention | tried by Houlsby et al. (§3.6) and He et al. 2022 | Houlsby's first |
# | Pfeiffer | Pfeiffer et al. 2020 and 2021 | one per block |
# | Bapna | Bapna & Firat 2019, §3 | at the block's end, with a norm of its own |
# | parallel | He et al. 2022, §3 and §4; tried by Houlsby et al. (§3.6) | adds s · A(u), s = 4 |
# | the two ends | ours | on the embeddings and on the last hidden states |
#
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
# The narrow middle is the **bottleneck**, and $m$ is its **size**. A fair race needs one budget. In six blocks, Houlsby's place takes twelve adapters, and Pfeiffer's takes six. The ends take two. So how wide
# may each adapter be?
#
# ### Exercise 1 · What a budget buys (1 point, about 5 minutes)
#
# Write `size_for(budget, d_model, modules)`: the largest size at which `modules` adapters together have at most `budget` parameters. It is a whole number, and 0 where the budget does not
# even pay for size 1.
#
# Replace the line `raise …`, run the cell, then the one below it. `pt.hint("adapters.size")` helps, `pt.reset("adapters.size")` gives the
# original text back. Until yours passes, the lesson goes on with ours.


# %% exercise="adapters.size" part="solution"
def size_for(budget: int, d_model: int, modules: int) -> int:
    ### BEGIN SOLUTION
    left = budget // modules - d_model    # the last bias is paid for whatever the size is
    return max(0, left // (2 * d_model + 1))
    ### END SOLUTION


# %% exercise="adapters.size" part="check"
size_for = pt.check("adapters.size", size_for)

# %% exercise="adapters.size" part="grade"
pt.require("adapters.size")

# %%
entrants = {name: pictures.block(place).modules for place, name in pictures.NAMES.items()}
pd.DataFrame({"adapters": entrants, "size": {
    name: size_for(300_000, d_model, modules) for name, modules in entrants.items()}})

# %% [markdown]
# These are the entrants. (Bapna's gets 63, because its norm costs parameters, too.) Place your bet.

# %%
pt.widgets.Guess("Best on film reviews, beyond what the seed can move:",
                 (*pictures.NAMES.values(), "none: the seeds cannot tell"), "adapters.better")

# %% [markdown]
# ## 2 · Build one
#
# ### Exercise 2 · The bottleneck (2 points, about 9 minutes)
#
# Write `Bottleneck(d_model, size)`, a `torch.nn.Module`. Called with tokens `u`, (…, d_model), it returns $A(u)$, of the same shape.
#
# - It trains the four tensors and nothing else; name them freely, and use `torch.nn.Linear` if you like.
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
# How small must a start be? Houlsby et al. draw both matrices with a standard deviation of σ = 0.01. A random $m \times d$ matrix stretches a vector by at most about $\sigma(\sqrt m + \sqrt d)$. ReLU makes no vector longer, and $u$ passes through two such matrices. So, with zero biases,
#
# $$ \lVert A(u) \rVert \;\lesssim\; \sigma^2\,(\sqrt m + \sqrt d)^2\,\lVert u \rVert. $$
#
# At σ = 0.01 and size 64, that is 8 %. Why not start both matrices at zero? The gradient of each has the other as a factor, so neither would ever move.
#
# Now make σ ten times as large, 0.1, with Pfeiffer's adapters in all six blocks. **Before training, how many times as far from the base's are the last hidden states?**

# %%
tenfold = pt.commit("adapters.tenfold", ...)    # a number, such as 10

# %%
sigmas = (0.001, 0.01, 0.03, 0.1)
away = pd.DataFrame({name: {sigma: pictures.deviation(place, 64, sigma) for sigma in sigmas}
                     for place, name in pt.bar(pictures.NAMES.items(), "placements")})
factor = away.Pfeiffer[0.1] / away.Pfeiffer[0.01]
pt.compare("adapters.tenfold", round(factor), "times as far, in Pfeiffer's place")
away.T.map("{:.2%}".format).rename_axis(columns="σ")    # untrained; size 64, ReLU, s = 1, one draw

# %% [markdown]
# <details><summary>What the table says</summary>
#
# Two matrices make $A(u)$, and both grow with σ. While $A(u)$ is small, ten times σ makes it about a hundred times as long. At σ = 0.1 Pfeiffer's model is no longer the pretrained one. At the one rate tried, training did not repair this: from σ = 0.1 or 0.3, none of six runs learned.
# </details>
#
# ### If you like · The law of the start (optional, 2 points, about 9 minutes)
#
# Write `starts_near(make, d_model, bound)`, where `make()` gives a new bottleneck. It raises an error, as `assert` does, unless
#
# - for **every** $u$, $\lVert A(u)\rVert$ is at most `bound` times $\lVert u\rVert$, and
# - at least one matrix (a parameter of two axes) gets a nonzero gradient in a first backward pass, on tokens whose entries are about 1.
#
# Random $u$ are easy cases. Make a few of them hard, in ten steps: each step replaces $u$ by the gradient of $\lVert A(u)\rVert$ at $u$, scaled to length 1. Where the gradient is zero, stop. Test each $u$, and shorter and longer copies of it.
#
# Your test must reject eleven broken starts and accept four right ones. In some broken starts, $A(u)$ is long in a single direction. In one, it is long only for short $u$; in another, only for long $u$. In two, no matrix would ever learn.


# %% exercise="adapters.near" part="solution"
def starts_near(make, d_model: int, bound: float) -> None:
    ### BEGIN SOLUTION
    A = make()
    u = torch.randn(32, d_model)
    unit = torch.nn.functional.normalize                     # which leaves zeros as they are
    for _ in range(10):                                      # uphill, to where A(u) is longest
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
starts_near(lambda: Bottleneck(d_model, 64), d_model, 0.1)    # your test, put to your bottleneck

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
# The picture shows what A reads and which sum it adds to.


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
# Your `inject` finds modules by the last part of their names. The norm that closes a block is `bert.encoder.layer.0.output.LayerNorm`, and so on up to 5. **How many modules does the target
# `"output.LayerNorm"` match?**

# %%
hits = pt.commit("adapters.hits", ...)    # a whole number

# %% tags=["nbval-check-output"]
meant = [name for name, _ in pt.models.load("minilm", labels=2)[0].named_modules()
         if name.endswith(".output.LayerNorm")]
pt.compare("adapters.hits", len(meant), "modules that output.LayerNorm means")
pd.Series(meant[:4]).to_frame("the first four")

# %% [markdown]
# <details><summary>What happened</summary>
#
# Attention has an `output` of its own. No error warns you. You would train twice the paper's adapters, and report them under its name.
# </details>
#
# So our targets include the number of the block.

# %% tags=["nbval-check-output"]
closing_norms = tuple(f"{block}.output.LayerNorm" for block in range(6))
width = size_for(300_000, d_model, 6)


def with_adapters():
    """A fresh MiniLM with your bottlenecks in Pfeiffer's place."""
    pt.seed(0)
    return inject(pt.models.load("minilm", labels=2)[0], closing_norms,
                  lambda base: Pfeiffer(base, Bottleneck(d_model, width))).to(pt.device()).eval()


model = with_adapters()
len(pt.adapters(model))

# %% [markdown]
# ## 4 · The race
#
# Write a review of your own. The model reads it now, and again after training.

# %%
review = "A warm, funny film, and I would gladly see it again."
unread = live.read(model, tokenizer, review)
sentences = movies.train[:min(1920, budget.train_examples)]
batches = pt.data.batches(sentences, tokenizer, budget.batch_size)
steps = pt.widgets.watch(pt.train(model, batches, lr=0.001), len(batches), name="film adapters")
film = pt.save(model, "work/film-adapter")    # what trains, and nothing else
live.read(model.eval(), tokenizer, review, before=unread)

# %% [markdown]
# Here are all six. Only place and size differ: activation, start, strength $s$ and learning rate are the same. (Bapna's keeps its norm.) Where is your bet?

# %%
tests = pt.data.batches(movies.test[:min(1000, budget.test_examples)], tokenizer, 64)
yours = pt.evaluate(model, tests).accuracy if budget.claims else None
race = pictures.race(record)
head = pt.course.pictures("change").converged(records.load("change"))["accuracy"]
pt.plots.show(pictures.draw_race(race, {"head alone": head}, yours), "Six places, one budget. "
              "1,920 sentences, 120 steps, 1,000 test sentences. A mark is a seed, the bar their "
              "mean.")
pt.compare("adapters.better", pictures.best(race), "best beyond what the seed can move")

# %%
pt.sentence("adapters.better", ...)    # yours: does the place matter here?

# %% [markdown]
# <details><summary>Ours</summary>
#
# The accuracy cannot tell. All five places inside the blocks lie between 77.6 and 79.1 %, and the seeds of one place differ as much. Single answers show the place a little: of 1,000 answers, a new seed changes 100, and a new seed with a new place 116.
# </details>
#
# The two ends are another matter. With as many parameters, they lie below the five other places in every seed. Six frozen blocks stand between the ends, without an adapter: that may be the reason.
#
# ## 5 · The sealed layer
#
# The accuracy cannot tell where an adapter stands. Can you?
#
# ### Exercise 4 · Name the placement (3 points, about 14 minutes)
#
# Somebody hands you a sealed layer with trained adapters inside. You cannot open it, but you may **probe** it. For one token, choose the layer's input $x$ and the outputs of its two sub-layers, $o_1$
# (attention) and $o_2$ (feed-forward); you get the layer's output $y$. **Name the placement with at most four probes.** (Three are enough.)
#
# | name | the layer, with adapters A and B of unknown weights |
# |---|---|
# | `"houlsby"` | r = norm(x + o₁ + A(o₁)), y = norm(r + o₂ + B(o₂)) |
# | `"post_attention"` | r = norm(x + o₁ + A(o₁)), y = norm(r + o₂) |
# | `"pfeiffer"` | r = norm(x + o₁), y = norm(r + o₂ + A(norm(r + o₂))) |
# | `"bapna"` | r = norm(x + o₁), z = norm(r + o₂), y = z + A(norm(z)) |
# | `"parallel"` | r = norm(x + o₁), y = norm(r + o₂ + s · A(r)) |
# | `"ends"` | x′ = x + A(x), r = norm(x′ + o₁), z = norm(r + o₂), y = z + B(z) |
#
# Write `name_placement(ask, norm, d)`. `ask(x, o1, o2)` takes three tensors of shape (d,) and returns $y$. `norm` is the layer's norm: it shifts a vector to mean 0 and scales it to variance 1, and does nothing
# else. Return one of the six names. Outputs that should be equal agree to about 1e-5; all others differ by far more than 1e-3. The weights are new each time.


# %% exercise="adapters.sealed" part="solution"
def name_placement(ask, norm, d: int) -> str:
    ### BEGIN SOLUTION
    def same(y, z):
        return torch.allclose(y, z, atol=1e-3)

    x, o1, o2, shift = torch.randn(4, d)
    y = ask(x, o1, o2)
    ends_with_norm = same(y, norm(y))
    reads_parts = not same(y, ask(x + shift, o1 - shift, o2))    # the same sum, of other parts
    if not ends_with_norm:
        return "ends" if reads_parts else "bapna"
    if reads_parts:                                     # no norm sees a constant, and B does
        return "post_attention" if same(y, ask(x, o1, o2 + 1)) else "houlsby"
    moved = norm(x + o1) - norm(x + shift + o1)                  # another r, the same r + o₂
    return "pfeiffer" if same(y, ask(x + shift, o1, o2 + moved)) else "parallel"
    ### END SOLUTION


# %% exercise="adapters.sealed" part="check"
name_placement = pt.check("adapters.sealed", name_placement)

# %% exercise="adapters.sealed" part="grade"
pt.require("adapters.sealed")

# %% [markdown]
# Those layers were small. Here are layers of BERT, as wide as MiniLM's, with the library's adapters in them.

# %% tags=["nbval-check-output"]
pd.DataFrame(pictures.probed(name_placement), columns=["inside", "said", "probes"])

# %% [markdown]
# You never saw a weight. Change $x$ and $o_1$, and keep their sum: if the output moves, an adapter reads one of them. And if norming the output changes nothing, then nothing was added behind the last norm.
#
# ## 6 · You have met this network before
#
# In lesson 04 a prefix added a second part to attention. In one head, with keys $P_k$ and values $P_v$, that part is
#
# $$ \mathrm{softmax}(x\,W_1)\,W_2, \qquad W_1 = W_q P_k^\top / \sqrt{d_{head}}, \qquad W_2 = P_v. $$

# %%
d, d_head, l = 12, 4, 3
W_q, P_k, P_v, x = (torch.randn(*shape, generator=generator)
                    for shape in ((d, d_head), (l, d_head), (l, d_head), (d,)))
attended = ((x @ W_q) @ P_k.T / d_head**0.5).softmax(0) @ P_v
W1, W2 = W_q @ P_k.T / d_head**0.5, P_v            # down to l scores, and up again
((x @ W1).softmax(0) @ W2 - attended).abs().max()

# %% [markdown]
# Down, a nonlinearity, up: a prefix is a bottleneck beside attention, and its length is the size. He et al. saw this in 2022. What differs:
#
# | | prefix | bottleneck adapter |
# |---|---|---|
# | reads | $x$, the input of attention | an input or an output: the place decides |
# | nonlinearity | softmax: the $l$ scores compete | ReLU: no score affects another |
# | matrices | built from queries, keys and values | free, and as wide as the model |
# | the model's own part | scaled by 1 − λ | unchanged |
#
# ## 7 · One base, two tasks
#
# Your six bottlenecks and the head, trained on film reviews, are saved as `film`. Now train new ones on tweets, then swap. **How well do the film adapters, with their head, do on tweets?**

# %%
across = pt.commit("adapters.across", ...)    # a share of right answers, from 0 to 1

# %%
model = with_adapters()
sentences = tweets.train[:min(1120, budget.train_examples)]
tweet_batches = pt.data.batches(sentences, tokenizer, budget.batch_size)
steps = pt.widgets.watch(pt.train(model, tweet_batches, lr=0.003), len(tweet_batches),
                         name="tweet adapters")
tweet = pt.save(model, "work/tweet-adapter")

# %%
tests = {name: data.test[:300 if budget.claims else budget.test_examples]
         for name, data in (("film reviews", movies), ("tweets", tweets))}
measured = {"always the more common answer": {
    task: pd.Series([e.label for e in some]).value_counts(normalize=True).max()
    for task, some in tests.items()}}
for name, kept in (("film adapters", film), ("tweet adapters", tweet)):
    model = pt.swap(model, kept)
    measured[name] = {task: pt.evaluate(model, pt.data.batches(some, tokenizer, 64)).accuracy
                      for task, some in tests.items()}
pt.compare("adapters.across", measured["film adapters"]["tweets"], "the film adapters on tweets")
pd.DataFrame(measured).T.map("{:.1%}".format)

# %% [markdown]
# A task lives in its adapters and its head. Swap them, and the model does the other task. (One run each, 300 sentences.)
#
# **What a call costs.** LoRA can be merged into the weights. A bottleneck has a ReLU in its middle, so no linear layer can absorb it, and every call takes longer.
# Hu et al. (2021, Table 1) report 21 to 30 % more time for GPT-2 medium and one short text on a GPU.
#
# Yet one place needs no extra layer. A parallel adapter reads what the feed-forward part reads and adds to the same sum. Give it the block's own
# activation $g$, and both are one wider feed-forward part:
#
# $$ W_2\,g(W_1 r) + s\,W_{up}\,g(W_{down}\, r) = \begin{bmatrix} W_2 & s\,W_{up} \end{bmatrix}\, g\!\left( \begin{bmatrix} W_1 \\ W_{down} \end{bmatrix} r \right) $$

# %%
def merged(up, down, A, s):
    """The two matrices of a feed-forward part that holds a parallel adapter."""
    wide_in, wide_out = torch.nn.Linear(d_model, 1600), torch.nn.Linear(1600, d_model)  # 1536 + 64
    wide_in.weight.copy_(torch.cat([up.weight, A.W_down]))
    wide_in.bias.copy_(torch.cat([up.bias, A.b_down]))
    wide_out.weight.copy_(torch.cat([down.weight, s * A.W_up], dim=1))
    wide_out.bias.copy_(down.bias + s * A.b_up)
    return wide_in, wide_out


pictures.merge_parallel(merged)    # in all six blocks, the adapters drawn large

# %% [markdown]
# No adapter is left, and the model computes the same. (With ReLU in the adapter and GELU in the block, the wide part needs two activations.) So the place does matter: for what you can do with the adapter afterwards.
#
# **What this lesson claims**
#
# | claim | seen here | what could have refuted it, and was tried | at larger scale |
# |---|---|---|---|
# | Inside the block, the accuracy on these reviews cannot tell the places apart. | five places, three seeds: means 77.6 to 79.1 %; the standard error of one run is 1.3 | the two ends have as many parameters, and reach 71.7 %, less in each seed: the race could see a difference of six points | agrees for classification: the variants are alike (Houlsby et al. 2019, §3.6), and one adapter per layer suffices (Pfeiffer et al. 2021). For generation the parallel place is ahead (He et al. 2022, §4.3 and 4.4) |
# | From a far start, training at rate 0.003 failed. *An observation.* | Pfeiffer's place, σ = 0.1 and 0.3: none of six runs learned | nothing yet: no smaller rate was tried | agrees: σ above 0.01 hurts (Houlsby et al. 2019, §3.6) |
# | A parallel adapter with the block's activation can be merged. | a proof; once merged, the last hidden states are the same up to rounding | the adapters were drawn large and move the states by up to 3.9, so a mistake would show | holds at any size; a gated block (Llama) needs a gated adapter |

# %%
pt.progress("05")

# %% [markdown]
# ## At your desk
#
# peft has no bottleneck adapters. The library `adapters` has, on top of transformers: `double_seq_bn` is Houlsby's, `seq_bn` Pfeiffer's, and `par_bn` the parallel one. Version 1.3.0 needs another version of transformers
# than this course, so **this is a recording**, made in an environment of its own by `assets/records/adapters_library.py`, on a small random BERT:

# %%
from IPython.display import Markdown

library = records.load("adapters_library")
Markdown(f"```python\n{library['workflow']}\n```\n\n```text\n{library['printed']}\n```")

# %% [markdown]
# Two things are easily forgotten. `train_adapter` freezes the rest *and* activates the adapter. An adapter that was only added or loaded stays unused until `set_active_adapters`
# ([adapters#318](https://github.com/adapter-hub/adapters/issues/318)).
#
# | a first recipe | take | source |
# |---|---|---|
# | where | Pfeiffer's place, one per layer | Pfeiffer et al. 2021: on classification as good as two |
# | size, start | 8 to 256: it hardly matters; σ at most 0.01 | Houlsby et al. 2019, §3.6 |
# | generation | the parallel place | He et al. 2022, §4.3 and 4.4 |
# | when not | where the time of a call counts: take LoRA, and merge it (lesson 07) | Hu et al. 2021, Table 1 |
#
# When you report an adapter, give its place, its size, its rate, and whether the norms were trained.
#
# **Sources**
#
# - Houlsby et al. 2019, *Parameter-Efficient Transfer Learning for NLP*, arXiv 1902.00751.
# - Bapna & Firat 2019, *Simple, Scalable Adaptation for Neural Machine Translation*, arXiv 1909.08478.
# - Pfeiffer et al. 2020, *MAD-X*, arXiv 2005.00052; and 2021, *AdapterFusion*, arXiv 2005.00247.
# - He et al. 2022, *Towards a Unified View of Parameter-Efficient Transfer Learning*, arXiv 2110.04366.
# - Hu et al. 2021, *LoRA*, arXiv 2106.09685.
# - Data: Hutto & Gilbert 2014, *VADER*, ICWSM; sentences of the film reviews of Pang & Lee 2004.
