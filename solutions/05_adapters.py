# %% [markdown]
# # 05 · Where in the block?
#
# **An adapter is a small network with a narrow middle, a *bottleneck*, that you put into a frozen block.** But where?
# After the attention, after the feed-forward part or beside it, before the norm or after it: each of these is called
# "the adapter", and the papers' names get mixed up.
#
# **Which place learns best? And could you tell from a layer's output where its adapter stands?** You will build the
# bottleneck from what you know of prefixes, put it in two places with your own `inject`, train it, and find the
# adapters' places in six sealed layers.
#
# Three questions from earlier lessons. Answer each aloud, then open it.
#
# <details><summary>04 · A prefix splits attention into two parts. What are they, and what is λ?</summary>
# (1 − λ) · attention(x) + λ · attention(prefix): λ is the share of the softmax that goes to the prefix, for each token
# and head.
# </details>
# <details><summary>02 · What does your <code>inject</code> do with a name that no module has?</summary>
# It raises an error that gives the name, before anything is changed.
# </details>
# <details><summary>00 · In a block of BERT, where do the two norms stand?</summary>
# Each closes a sub-layer: it normalises the sum of what went into the sub-layer and what came out (<i>post-LN</i>).
# </details>
#
# | | |
# |---|---|
# | **Time** | about 60 minutes: 5 exercises (48 min), reading and playing; Run All takes three to six minutes |
# | **You need** | lessons 02 and 04; the block of lesson 00 |
# | **Data** | film reviews and tweets, each rated by about 20 people; Hutto & Gilbert 2014, MIT licence |
#
# Exercises: replace `raise pt.NotAttempted(…)` by your own code, run that cell, then the one below it.
# `pt.hint("adapters.size")` gives a hint, `pt.reset("adapters.size")` the original text. Until your code passes, the lesson
# goes on with ours. The cells with `pt.require` are for graders; here they do nothing.

# %%
# Nothing happens here where the course is installed. On Colab, this installs it, once.
import importlib.util
import subprocess
import sys
from pathlib import Path

if importlib.util.find_spec("peft_teach") is None:
    places = [Path.cwd().parent, Path("/content/peft-teach"),
              Path("/content/drive/MyDrive/peft-teach")]
    course = next((p for p in places if (p / "pyproject.toml").is_file()), None)
    if course is None:
        raise SystemExit("Put the course's folder at /content/peft-teach (upload or clone it), "
                         "then run this cell again.")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", str(course)], check=True)
    importlib.invalidate_caches()

# %%
import pandas as pd
import torch

import peft_teach as pt

records, live = pt.course.records, pt.course.live
budget = pt.course.budget()           # how much to compute: PEFT_TEACH_BUDGET=smoke|cpu|gpu
rates = records.load("rates")         # every method, three seeds; assets/records/rates.py made them
places = records.load("adapters")     # six placements, three seeds; assets/records/adapters.py
pictures = pt.course.pictures("adapters")
inject = pt.mine("change.inject")     # yours, where it passed in lesson 02
pt.seed(0)
print("budget:", budget.name, "· computing on:", pt.device())

# %% [markdown]
# ## 1 · From a prefix to an adapter
#
# In lesson 04, attention with a prefix came apart into two parts. He et al. (2022) looked at the second: what a token
# gets from a prefix of $l$ slots. In one head, with the keys $P_k$ and the values $P_v$ of the prefix, it is a small
# network:

# %%
generator = torch.Generator().manual_seed(0)
d, d_head, l = 12, 4, 3
W_q, P_k, P_v = (torch.randn(*shape, generator=generator)
                 for shape in ((d, d_head), (l, d_head), (l, d_head)))
x = torch.randn(d, generator=generator)                  # one token


def prefix_part(x, W1, W2):
    scores = torch.stack([x @ W1[:, i] for i in range(W1.shape[1])])    # how well x fits each slot
    weights = scores.softmax(0)                                # the slots compete: together 1
    return sum(weights[i] * W2[i] for i in range(len(W2)))     # each as loud as its weight


attended = ((x @ W_q) @ P_k.T / d_head**0.5).softmax(0) @ P_v
W1, W2 = W_q @ P_k.T / d_head**0.5, P_v
print(f"W1 {tuple(W1.shape)}, W2 {tuple(W2.shape)}; the difference from attention to the prefix: "
      f"{(prefix_part(x, W1, W2) - attended).abs().max():.0e}")

# %% [markdown]
# One matrix leads from the model's width down to $l$ scores, another leads up again, and a softmax stands between them.
# An **adapter** is this network with three changes. (Where it reads and where it adds change as well: section 2.)
#
# 1. **The slots do not compete.** Each slot is as loud as its own score where that is positive, and silent where it is not.
# 2. **The two matrices are free**, no longer made of queries, keys and values; they read and write whole tokens, as
#    wide as the model. There are also two biases: one is added to the scores and moves each slot's threshold, the other
#    is added to the output.
# 3. **There is no λ.** The model's own part is not scaled down by 1 − λ; the adapter's output is added to it.
#
# The number of slots is now called the **size** of the bottleneck. In a model of width `d_model`, the four tensors have
# the shapes (size, d_model), (size), (d_model, size) and (d_model).
#
# ### Exercise 1 · What a budget buys (1 point, about 5 minutes)
#
# We shall compare placements at one budget. Write `size_for(budget, d_model, modules)`: the largest size at which
# `modules` adapters together have at most `budget` parameters. It is a whole number, and 0 where the budget does not
# even pay for size 1.


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

# %% [markdown]
# ### Exercise 2 · The bottleneck (2 points, about 9 minutes)
#
# Write `Bottleneck(d_model, size)`, a `torch.nn.Module`. Called with tokens `u`, of shape (…, d_model), it gives
# $A(u)$, of the same shape: `prefix_part` with the three changes.
#
# - It trains the four tensors and nothing else; choose their names freely, and use `torch.nn.Linear` if you like;
# - it does not pass `u` itself on: if all four tensors are zero, $A(u)$ is zero;
# - **its start**: for every $u$, $A(u)$ is at most a tenth as long as $u$, at any width up to MiniLM's 384 and any size
#   up to 64. But it must be able to learn: a first backward pass gives at least one of the two matrices a nonzero
#   gradient, and the slots do not all start alike.


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
# Houlsby et al. (2019) draw both matrices from $N(0, \sigma^2)$ with σ = 0.01. Why not zero? With both at zero, neither
# ever moves; only the last bias would learn. (With $W_{up}$ alone at zero, the model starts exactly at the base, and
# both learn from the second step.) And is 0.01 small enough for *every* $u$? Call the size $m$ and the width $d$. A
# random $m \times d$ matrix of this kind stretches no vector by much more than $\sigma(\sqrt m + \sqrt d)$, and relu
# makes no vector longer, so
#
# $$ \lVert A(u) \rVert \;\le\; \sigma^2 (\sqrt m + \sqrt d)^2 \; \lVert u \rVert \qquad \text{approximately, as long as both biases are zero.} $$

# %%
d_model = 384


def uphill(A, u, steps=10):
    """Turn each u in the direction in which A(u) grows, again and again."""
    for _ in range(steps):
        u = (u / u.norm(dim=-1, keepdim=True).clamp(min=1e-12)).detach().requires_grad_()
        u = torch.autograd.grad(A(u).norm(dim=-1).sum(), u)[0]
    return u


rows = {}
for sigma in (0.001, 0.01, 0.1):
    A = Bottleneck(d_model, 64)
    for p in A.parameters():
        p.data.normal_(0, sigma) if p.dim() == 2 else p.data.zero_()
    u = torch.randn(10_000, d_model, generator=generator)
    random, found = ((A(v).norm(dim=-1) / v.norm(dim=-1)).max().item()
                     for v in (u, uphill(A, u[:10])))
    rows[sigma] = {"bound, as a share of ‖u‖": sigma**2 * (64**0.5 + d_model**0.5) ** 2,
                   "most of 10,000 random u": random, "uphill from ten of them": found}
pd.DataFrame(rows).T.map("{:.2%}".format).rename_axis("σ")

# %% [markdown]
# ### Exercise 3 · The law of the start (2 points, about 9 minutes)
#
# Random $u$ are easy cases: none of ten thousand came near the bound, while ten steps uphill from a few of them come
# much nearer. A test that says "every" must look for the hard cases; you may use `uphill`. Write `starts_near(make,
# d_model, bound)`, where `make()` gives a new bottleneck. It raises an error, as `assert` does, unless
#
# - for **every** $u$, $\lVert A(u)\rVert$ is at most `bound` times $\lVert u\rVert$, and
# - at least one matrix (a parameter of two axes) gets a nonzero gradient in a first backward pass, on tokens whose
#   entries are about 1.
#
# Your test is tried on eleven broken starts and four right ones. Some of the broken ones are loud in one direction of $u$
# alone, one only for short $u$ and one only for long $u$; in two of them no matrix would ever learn.


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
pt.audit()      # every test that you wrote so far, put to your own pieces

# %% [markdown]
# ## 2 · Where it stands
#
# Here is a block of MiniLM with an adapter in it. Move the adapter, and answer from the picture:
#
# 1. Which placements leave the block without a norm at its end?
# 2. Pfeiffer's adapter and the parallel one add to the same sum. What does each of them *read*?
# 3. Keep the size and make σ larger. At which σ is the model no longer close to the base?

# %%
pictures.explore_block()

# %% [markdown]
# <details><summary>The first two</summary>
# Bapna's; and of the two ends, the last block. Pfeiffer's reads the normed sum, the parallel one reads r, what the
# feed-forward part reads. (The methods' own starts cut the draws at 2σ; parallel's own W<sub>up</sub> is zero.)
# </details>
#
# <details><summary>Which paper said what</summary>
#
# | placement | paper | take care |
# |---|---|---|
# | Houlsby | Houlsby et al. 2019, §2.1: after each sub-layer, before the sub-layer's input is added | they also train the norms, which stay frozen here |
# | post-attention | none names it; tried by Houlsby et al. (§3.6) and He et al. 2022 | called "Bapna" on slides; it is half of Houlsby's |
# | Pfeiffer | Pfeiffer et al. 2020 and 2021: one per layer, reading the normalised sum | not IA³, which has no bottleneck at all (lesson 06) |
# | Bapna | Bapna & Firat 2019, §3: one at the end of every layer, with a norm of its own | not after the attention |
# | parallel | He et al. 2022, §3 and §4: beside the feed-forward part, multiplied by s = 4 | |
# | the two ends | none: one on the embeddings, one on the last hidden state | |
#
# </details>
#
# **The third question, in numbers.** In Pfeiffer's place, draw both matrices ten times as large: σ = 0.1 instead of
# 0.01. **How many times as far from the base are the last hidden states, before any training?** Commit a number; the
# bound above shows the power of σ.

# %%
tenfold = pt.commit("adapters.tenfold", ...)    # a number, such as 10

# %%
sigmas = (0.001, 0.01, 0.03, 0.1, 0.3)
away = pd.DataFrame({name: {sigma: pictures.block(place, 64, sigma).deviation for sigma in sigmas}
                     for place, name in pt.bar(pictures.NAMES.items(), "placements")})
factor = away.Pfeiffer[0.1] / away.Pfeiffer[0.01]
pt.compare("adapters.tenfold", round(factor), "times as far, in Pfeiffer's place")
away.T.map("{:.2%}".format).rename_axis(columns="σ")    # before any training, size 64

# %% [markdown]
# Both matrices are drawn with σ. So as long as everything is small, ten times σ means about a hundred times $A(u)$; at
# larger σ the factor shrinks. At σ = 0.1 most of these models start far from the base. (Where a norm closes the model, the
# distance has a limit; with Bapna's or at the ends it has none.) The bound holds for one $A(u)$, not for the model.
# (Compare the places within a column with care: they also differ in number, activation and strength, and *parallel* is
# multiplied by 4.)
#
# ### Exercise 4 · Two placements (3 points, about 11 minutes)
#
# BERT computes the end of a layer in one module, and an adapter around that module sees two inputs:

# %%
import inspect

from transformers.models.bert.modeling_bert import BertOutput

print(inspect.getsource(BertOutput.forward))

# %% [markdown]
# Write two adapters. Both keep in `self.A` the bottleneck that they are given, and register nothing else. Neither looks
# inside its base: each calls `self.base` (which `pt.Adapter` keeps, frozen) and uses none of its parts or parameters.
#
# - `Pfeiffer(base, A)` wraps the `LayerNorm` alone, and is called with the sum.
# - `Parallel(base, A, scale)` wraps the whole `BertOutput`, and is called with `h`, the wide inner activations, and
#   with `r`, the input of the feed-forward part. A's output is multiplied by `scale`.
#
# The picture shows what A reads and which sum it is added to.


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
# Now into the model. Your `inject` takes the end of a name. The norm that closes a layer of MiniLM is called
# `bert.encoder.layer.0.output.LayerNorm`, and so on up to 5. **How many modules does the target `"output.LayerNorm"`
# match?**

# %%
hits = pt.commit("adapters.hits", ...)    # a whole number

# %% tags=["nbval-check-output"]
meant = [name for name, _ in pt.models.load("minilm", labels=2)[0].named_modules()
         if name.endswith(".output.LayerNorm")]
print(len(meant), "modules:", ", ".join(meant[:4]), "…")
pt.compare("adapters.hits", len(meant), "modules that output.LayerNorm means")

# %% [markdown]
# Twice as many as we want: the attention has an `output` of its own. No error would have warned you; the model would
# have had twice the adapters, under the paper's name. So our targets include the number of the block.

# %% tags=["nbval-check-output"]
closing_norms = tuple(f"{block}.output.LayerNorm" for block in range(6))
second_halves = tuple(f"{block}.output" for block in range(6))
width = size_for(300_000, d_model, 6)
tokenizer = pt.models.load("minilm", labels=2)[1]
batch = tokenizer(["A quiet, funny, generous film.", "Two hours that I want back."], padding=True,
                  return_tensors="pt").to(pt.device())


def with_adapters(targets, make):
    """A fresh MiniLM with adapters by your inject."""
    pt.seed(0)
    return inject(pt.models.load("minilm", labels=2)[0], targets, make).to(pt.device()).eval()


def pfeiffer(base):
    return Pfeiffer(base, Bottleneck(d_model, width))


def parallel(base):
    return Parallel(base, Bottleneck(d_model, width), 4.0)


for targets, make in ((closing_norms, pfeiffer), (second_halves, parallel)):
    model = with_adapters(targets, make)
    print(f"{make.__name__}: {len(pt.adapters(model))} adapters of size {width}; "
          f"{pt.account.parameters(model).adapter:,} parameters, and 770 in the head")

# %% [markdown]
# ### Exercise 5 · The sealed layer (3 points, about 14 minutes)
#
# Somebody hands you a sealed layer with trained adapters in it: you cannot see its modules. But you may **probe** it.
# For one token, choose the layer's input, $x$, and the outputs of its two sub-layers, $o_1$ (the attention) and $o_2$
# (the feed-forward part); you get the layer's output, $y$. **Name the placement, with at most four probes.** (It can be
# done with three.)
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
# Write `name_placement(ask, norm, d)`. `ask(x, o1, o2)` takes three tensors of shape (d,) and gives $y$; `norm` is the
# layer's norm, which shifts a vector to mean 0 and scales it to variance 1, and does nothing else; the answer is one of
# the six names. Two outputs that should be equal agree to about 1e-5; all others differ by far more than 1e-3.
# The weights are new each time.


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
# Those layers were small. Now try your function on layers of BERT, of MiniLM's width, with the library's adapters in
# them, drawn with σ = 0.1. Hooks put in the two sub-layers' outputs.

# %% tags=["nbval-check-output"]
for inside, said, probes in pictures.probed(name_placement):
    print(f"inside: {inside:15s} said: {said:15s} after {probes} probes")

# %% [markdown]
# No weight was looked at. The changes of the input that leave the output unchanged show what an adapter *reads*; the norm
# separates what was added before it from what was added after.
#
# ## 3 · Which place learns best?
#
# The papers do not agree, on different tasks. He et al. (2022, §4.3 and 4.4) found parallel better than sequential in all
# their cases, and the feed-forward part a better place than the attention at larger budgets; Houlsby et al. (2019, §3.6)
# tried such variants and found them similar. So we trained all six, at one budget (the largest size within 300,000 parameters, as your
# `size_for` says), each as in its paper, where there is one (but with the model's norms frozen), and each at its own rate.

# %%
pt.widgets.Guess("Six placements, one budget, 120 steps, three seeds. Best on film reviews, beyond "
                 "what the seed can move, is",
                 (*pictures.NAMES.values(), "none: the seeds cannot tell"), "adapters.better")

# %% [markdown]
# First your own: Pfeiffer's, put in by your `inject` and trained on the first 1,920 film sentences, each once.

# %%
full = rates.runs.query("group == 'defaults' and model == 'minilm' and method == 'full'")
rate = 0.003    # of 0.001, 0.003 and 0.01 the best on validation sentences, for seed 0
movies, tweets = pt.data.load("movies"), pt.data.load("tweets")




# %%
review = "Two hours that I would gladly give again."    # write one of yours
model = with_adapters(closing_norms, pfeiffer)
unread = live.read(model, tokenizer, review)
sentences = movies.train[:min(1920, budget.train_examples)]
batches = pt.data.batches(sentences, tokenizer, budget.batch_size)
beside = {"full fine-tuning": rates.losses[full.index[0]]}
steps = pt.widgets.watch(pt.train(model, batches, lr=rate), len(batches),
                         beside if budget.claims else None,
                         {"full fine-tuning": pt.plots.COLOURS["full"]})
film = pt.save(model, Path("work") / "film-adapter")    # what trains, and nothing else

# %%
tests = pt.data.batches(movies.test[:min(1000, budget.test_examples)], tokenizer, 64)
found = pt.evaluate(model, tests)
print(f"yours: {found.accuracy:.1%} of {found.examples:,} test sentences")
live.read(model.eval(), tokenizer, review, before=unread)

# %% [markdown]
# Now all six, recorded with the same 1,920 sentences: each at 0.001, and at the rate that was best for seed 0, by
# validation loss, where that is another. (Full fine-tuning's rate was not searched.) A ✗ marks a run that learned next
# to nothing: nine of ten sentences or more got the same answer.

# %%
full = full.assign(name="full fine-tuning", learned=True, parameters=22_713_216)
runs = pd.concat([pictures.outcomes(places), full])
settings = ["name", "lr", "parameters"]
table = records.table(runs[runs.learned], settings)
failed = runs.groupby(settings).learned.agg(lambda learned: (~learned).sum()).to_frame("✗")
failed.join(table).drop(columns="runs").fillna("none learned")    # 1,000 test sentences

# %%
head_end = pt.course.pictures("change").converged(records.load("change"))["accuracy"]
print(f"the head alone, trained to its end on 2,000 sentences (lesson 02): {head_end:.1%}")
yours = found.accuracy if budget.claims else None
shown = runs[runs.name.isin(runs[runs.learned].name)]
pt.plots.show(pictures.draw_trained(shown, {"head alone, as many sentences": head_end}, yours),
              "Six placements at one budget, each with its rate; other sizes of Pfeiffer's; and "
              "two other methods. A mark is a seed, a cross one that learned next to nothing; the "
              "bar is the mean of the rest. All saw 1,920 sentences: the dashed line is a head "
              "trained to its end on 2,000.")
pt.compare("adapters.better", "none: the seeds cannot tell", "best beyond what the seed can move")

# %%
pt.sentence("adapters.better", ...)    # one sentence of yours: does the place matter here?

# %% [markdown]
# <details><summary>Ours</summary>
# Inside the blocks, no more than the seed does, that we could see. The two ends, with as many parameters, lie below
# Houlsby's, Pfeiffer's, Bapna's and the post-attention place in each seed at 0.001.
# </details>
#
# **So which place?** At 0.001, four of the five places inside the blocks have means of 77.8 to 79.0 %. The two ends fall
# behind, with 71.8 %. The parallel place, which He et al. prefer, cannot be judged by these runs: its output alone is
# multiplied by 4, so a rate that suits the others is larger for it, and smaller ones were not tried. (At 0.001 one seed of
# three learned next to nothing; at 0.003, the best rate for seed 0, the two others.)
# **A rate that was chosen on one seed can fail on the next.** The sizes 15, 64 and 256 cannot be told apart at their one
# rate.
#
# **And the start?** With both matrices drawn from $N(0, \sigma^2)$, σ = 0.1 or 0.3, Pfeiffer's learned nothing, at the
# same rate, with any of three seeds. Whether a smaller rate would have helped was not tried.
#
# <details><summary>How sure?</summary>
# Three seeds, 120 steps, 1,000 test sentences, one task, at most two rates with all seeds. Activation, start and strength
# differ between the places as well, as in the papers. Sizes other than 64 took the rate of size 64.
# </details>
#
# ## 4 · Two tasks, one base
#
# The base has not moved: whatever the film reviews taught is in your six bottlenecks and the head, saved as `film`. Begin
# again, train on tweets, then swap the two. **How well does the film adapter, with its head, do on tweets?** Commit a share.

# %%
tests = {"film reviews": movies.test[:300], "tweets": tweets.test[:300]}    # the first 300 of each
if not budget.claims:
    tests = {name: examples[:budget.test_examples] for name, examples in tests.items()}
for task, examples in tests.items():
    liked = sum(example.label for example in examples) / len(examples)
    print(f"the more common label of these {len(examples)} {task}: {max(liked, 1 - liked):.1%}")
across = pt.commit("adapters.across", ...)    # a share of right answers, from 0 to 1

# %%
model = with_adapters(closing_norms, pfeiffer)
sentences = tweets.train[:min(1120, budget.train_examples)]
tweet_batches = pt.data.batches(sentences, tokenizer, budget.batch_size)
steps = pt.widgets.watch(pt.train(model, tweet_batches, lr=rate), len(tweet_batches))
tweet = pt.save(model, Path("work") / "tweet-adapter")

# %%
measured = {}
for name, kept in (("film adapter", film), ("tweet adapter", tweet)):
    model = pt.swap(model, kept)
    measured[name] = {task: pt.evaluate(model, pt.data.batches(examples, tokenizer, 64)).accuracy
                      for task, examples in tests.items()}
base = pt.models.load("minilm", labels=2)[0].state_dict()
same = all(torch.equal(p.cpu(), base[name.replace(".base.", ".")])
           for name, p in model.named_parameters() if not p.requires_grad)
held = sum(p.numel() for p in model.parameters() if p.requires_grad)
print(f"the base, after both: {'what it was, to the bit' if same else 'CHANGED'}; "
      f"a task is {held:,} parameters, {held * 4 / 1e6:.1f} MB")
pt.compare("adapters.across", measured["film adapter"]["tweets"], "the film adapter on tweets")
pd.DataFrame(measured).T.map("{:.1%}".format)

# %% [markdown]
# A task is the parameters that train, and nothing else: put them in, and the model is the one for that task. Each share
# comes from one run, on 300 sentences. The film adapter is hardly better on tweets than their more common label; the
# tweet adapter is clearly better than that on film reviews. After all, both learned to tell liking from disliking.
#
# **What it costs.** Between the two matrices stands an activation, so they cannot be multiplied into one, and no
# *linear layer* of the base can absorb them. (One of the six places has another way to merge. Which? *Further* shows
# it.) Unless they are merged, each call pays for them:

# %%
from torch.utils.benchmark import Timer

plain, low_rank = (pt.models.load("minilm", labels=2)[0].to(pt.device()).eval() for _ in range(2))
low_rank = pt.lora.inject(low_rank).to(pt.device()).eval()
timers = [Timer("model(**batch)", globals={"model": each, "batch": batch})
          for each in (plain, model.eval(), low_rank)]
with torch.no_grad():    # in turn, and the fastest call of each: other work only ever adds
    calls = [[timer.timeit(1).mean for timer in timers]
             for _ in range(100 if budget.claims else 2)]
alone, adapted, with_lora = (1000 * min(times) for times in zip(*calls))
print(f"two sentences: {alone:.1f} ms without; {adapted / alone:.2f} times that with six adapters "
      f"of size {width}, {with_lora / alone:.2f} with LoRA of rank 8 that is not merged")

# %% [markdown]
# These times vary with what else the machine is doing: run the cell again.

# %%
pt.progress("05")

# %% [markdown]
# ## When, and when not
#
# Use an adapter where one base serves many tasks and the time of a call is not what counts. LoRA serves many tasks as
# well, and on MiniLM neither learned better: with about as many parameters, size 15 had 79.1 % and LoRA 79.4 %. What LoRA
# has over it is the merge (lesson 07). When you report an adapter, give its place, its size, its rate and whether the norms
# were trained; the paper's name alone tells none of the four.
#
# **Five lines to remember**
#
# 1. An adapter is a prefix's part of attention without the competition, the λ and the keys: two matrices and a relu.
# 2. A placement answers two questions: what A reads, and which sum it is added to. Inside the blocks, no place was best
#    here beyond what a seed can move.
# 3. At the start $\lVert A(u)\rVert$ is at most about $\sigma^2(\sqrt m+\sqrt d)^2\,\lVert u\rVert$; two matrices at
#    zero would start nearer to the base, and never move.
# 4. The end of a name may match more modules than you want: count them before you train.
# 5. The base is shared, tasks are swapped; and no linear layer can absorb an adapter, unless it may grow wider.
#
# **Sources**
#
# - Houlsby et al. 2019, *Parameter-Efficient Transfer Learning for NLP*, arXiv 1902.00751: §2.1 the place, §3.6 start
#   and variants.
# - Bapna & Firat 2019, *Simple, Scalable Adaptation for Neural Machine Translation*, arXiv 1909.08478: §3.
# - Pfeiffer et al. 2020, *MAD-X*, arXiv 2005.00052: §3.2.1; and 2021, *AdapterFusion*, arXiv 2005.00247.
# - He et al. 2022, *Towards a Unified View of Parameter-Efficient Transfer Learning*, arXiv 2110.04366: §3 the form,
#   §4.3 and 4.4 the places.
# - Data: Hutto & Gilbert 2014, *VADER*, ICWSM; sentences of the film reviews of Pang & Lee 2004.
#
# ## Further
#
# ### The adapter that merges
#
# A parallel adapter reads what the feed-forward part reads, and adds to the same sum. If its activation is the block's
# own, the two together are simply a wider feed-forward part:

# %%
wider, _ = pt.models.load("minilm", labels=2)
config = pt.bottleneck.Config(reads="input", activation="gelu", scale=4.0)
wider = pt.bottleneck.inject(wider, config).to("cpu").eval()
inputs = {name: x.to("cpu") for name, x in batch.items()}
with torch.no_grad():
    silent = pt.models.load("minilm", labels=2)[0].to("cpu").eval().bert(**inputs).last_hidden_state
    for adapter in pt.adapters(wider).values():
        for p in adapter.A.parameters():
            p.normal_(0, 0.05)
    spoken = wider.bert(**inputs).last_hidden_state
    for layer, adapter in zip(wider.bert.encoder.layer, list(pt.adapters(wider).values())):
        up, down, A, s = layer.intermediate.dense, adapter.base.dense, adapter.A, adapter.scale
        merged = torch.nn.Linear(d_model, 1536 + 64), torch.nn.Linear(1536 + 64, d_model)
        merged[0].weight.copy_(torch.cat([up.weight, A.W_down]))
        merged[0].bias.copy_(torch.cat([up.bias, A.b_down]))
        merged[1].weight.copy_(torch.cat([down.weight, s * A.W_up], dim=1))
        merged[1].bias.copy_(down.bias + s * A.b_up)
        layer.intermediate.dense, adapter.base.dense = merged
        layer.output = adapter.base
    plain_again = wider.bert(**inputs).last_hidden_state
print(f"the adapters move the hidden states by up to {(spoken - silent).abs().max():.2f}; merged, "
      f"they differ by up to {(plain_again - spoken).abs().max():.0e}, "
      f"with {len(pt.adapters(wider))} adapters left")

# %% [markdown]
# With relu in the adapter and gelu in the block, as in the papers, the wider layer would need two activations.
#
# ### The adapters library
#
# Slides show `config="houlsby"`. In today's library, `adapters` 1.3.0, the same configuration is called `double_seq_bn`
# (Pfeiffer: `seq_bn`, parallel: `par_bn`); the old names still work. The library needs a different version of
# transformers from this course, so the workflow below was run in its own environment, by
# `assets/records/adapters_library.py`, on a small random BERT. **This is a recording;** the lines that begin with
# `files` and `config` come from a few more prints in that script:

# %%
library = records.load("adapters_library")
print(library["workflow"])
print("\n── what it printed, recorded ──")
print(library["printed"])

# %% [markdown]
# Two lines are easily forgotten: `train_adapter` freezes the rest *and* switches the adapter on; and a loaded adapter
# stays silent until `set_active_adapters`. The norms stay frozen there as well, whereas Houlsby et al. trained them.
#
# > **In the wild.** "There are adapters available but none are activated": a warning that people keep asking about
# > ([adapters#815](https://github.com/adapter-hub/adapters/issues/815), [#318](https://github.com/adapter-hub/adapters/issues/318)).
#
# ### A block that norms first
#
# GPT-2 and Llama normalise what goes *into* a sub-layer, and no norm closes it. There Pfeiffer's adapter reads the sum
# before any norm, `r + o + A(r + o)`, and becomes an adapter after the block; Houlsby's keeps its formula without the
# norm around it. The library's classes are `OutputAdapter`, `NormedAdapter` and `InputAdapter`, in `pt.bottleneck`.
