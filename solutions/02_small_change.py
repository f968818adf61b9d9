# %% [markdown]
# # 02 · Why a small change can be enough
#
# **Full fine-tuning trains 22.7 million parameters, and all it learns from is 4,000 sentences, each with one bit.**
# Surely a smaller change would do. But a change can be small in three ways, which are easily confused:
#
# | small in … | means |
# |---|---|
# | **parameters** | all weights move, but only along $d$ directions |
# | **rank** | each matrix changes by a sum of $k$ matrices of rank 1 |
# | **places** | most weights do not move at all |
#
# **Which of the three is true of fine-tuning, and which is merely possible?** You will take a real update apart,
# and write what every method of this course needs: `inject`, which puts an adapter into a model.
#
# Three questions from before. Answer each aloud, then open it.
#
# <details><summary>01 · What is different about a frozen parameter, after a training?</summary>
# Nothing: it is what it was, to the bit. It got no gradient and has no state in the optimizer. That was the law that you
# wrote as a test.
# </details>
# <details><summary>01 · Which two results are the ends of the course's ruler, the <i>share of the gain</i>?</summary>
# The head alone, trained to its end, is 0; full fine-tuning is 1.
# </details>
# <details><summary>00 · Where do most of MiniLM's 22.7 million parameters stand?</summary>
# In the table of word vectors: 30,522 of 384 numbers each, about half of the model.
# </details>
#
# | | |
# |---|---|
# | **Time** | about 90 minutes, 46 of them for 6 exercises; Run All takes two to three minutes |
# | **You need** | lessons 00 and 01; matrix products |
# | **Data** | 10,041 sentences from film reviews, each rated by about 20 people; Hutto & Gilbert 2014, MIT licence |
#
# Exercises: replace `raise pt.NotAttempted(…)` by your own code, run that cell, then the one below it.
# `pt.hint("change.truncate")` gives a hint, `pt.reset("change.truncate")` the original text. Until your code
# passes, the lesson goes on with ours. The cells with `pt.require` are for graders; here they do nothing.

# %%
# Nothing happens here where the course is installed. On Colab, this installs it, once.
import importlib.util
import subprocess
import sys
from pathlib import Path

if importlib.util.find_spec("peft_teach") is None:
    colab = Path("/content")
    places = [Path.cwd().parent, colab / "peft-teach", colab / "drive/MyDrive/peft-teach"]
    course = next((p for p in places if (p / "pyproject.toml").is_file()), None)
    if course is None:
        raise SystemExit("Put the course's folder at /content/peft-teach, then run this again.")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", str(course)], check=True)
    importlib.invalidate_caches()

# %%
import copy
from itertools import islice

import pandas as pd
import torch

import peft_teach as pt

records, hashes = pt.course.records, pt.course.subspace.hashes
budget = pt.course.budget()           # how much to compute: PEFT_TEACH_BUDGET=smoke|cpu|gpu
record = records.load("change")       # runs too long for a lesson, by assets/records/change.py
pictures = pt.course.pictures("change")
pd.set_option("display.width", 120)
pt.seed(0)
print("budget:", budget.name, "· computing on:", pt.device())

# %% [markdown]
# ## 1 · Three kinds of small
#
# A matrix of **rank** 1 is one column times one row; the rank of a matrix is the smallest number of such matrices that add up
# to it. You would think that few parameters make a low rank.
#
# ### Exercise 1 · Three changes (2 points, about 7 minutes)
#
# Build three changes of an n × n matrix, each from its parameters `p`, a tensor in which no entry is zero:
#
# | | `p` has | rank of the change | entries that are not zero |
# |---|---|---|---|
# | `change_a(p, n)` | 1 parameter | n | all of them |
# | `change_b(p, n)` | 2n parameters | 1 | all of them |
# | `change_c(p, n)` | n parameters | n | n |
#
# Each is a tensor of shape (n, n), and a *change*: if all of `p` is zero, so is the matrix. Every parameter counts: if it
# moves, so does the matrix, and a gradient flows back to it. The same `p` gives the same matrix.


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

# %% tags=["nbval-check-output"]
width, generator = 384, torch.Generator().manual_seed(0)    # as large as a matrix of MiniLM
made = {change: torch.rand(count, generator=generator) + 1 for change, count in (
    (change_a, 1), (change_b, 2 * width), (change_c, width))}
pd.DataFrame([{"parameters": len(p), "rank": int(torch.linalg.matrix_rank(change(p, width))),
               "entries that are not zero": int((change(p, width) != 0).sum())}
              for change, p in made.items()], index=["change_a", "change_b", "change_c"])

# %% [markdown]
# They do not: you built a change of full rank from one. And a change of rank 1 may move every entry, while `change_c` leaves
# nearly all of them alone and has full rank (it returns in lesson 06, as the factor by which IA³ multiplies).
#
# ## 2 · Few parameters
#
# Write all weights of the backbone in one row, and call it $\theta$. Training moves it from the pretrained $\theta_0$
# to somewhere else, in a space of $D$ dimensions. Now allow only a random flat piece of that space, with $d$ dimensions
# (Li et al. 2018):
#
# $$ \theta = \theta_0 + P\,z $$
#
# | symbol | shape | trained | is |
# |---|---|---|---|
# | $\theta_0$ | (D,) | no | the pretrained weights |
# | $P$ | (D, d) | no | random, drawn once, never changed |
# | $z$ | (d,) | **yes** | zero at the start, so that training starts at $\theta_0$ |
#
# Every weight still moves, but only $d$ parameters are trained, in directions that nobody chose. The smallest $d$
# that works is called the task's **intrinsic dimension**. A dense $P$ for $d$ = 500 would take 45 GB, so each row gets
# a single entry: weight $i$ is tied to entry $h(i)$ of $z$, with a random sign (*signed hashing*).

# %%
pt.widgets.Guess("16 random directions change one matrix of 384 × 384 by rank", (1, 16, 384),
                 "change.hashed")

# %%
model, tokenizer = pt.models.load("minilm", labels=2)
D = sum(p.numel() for p in model.bert.parameters())
in_head = sum(p.numel() for p in model.classifier.parameters())
print(f"D = {D:,} weights ({D / 1e6:.1f} million), and {in_head} in the new head; "
      f"a dense P for d = 500, in float32: {D * 500 * 4 / 1e9:.0f} GB")
ranks = {}
for d in (1, 16, 1024):
    h, sign = hashes(width**2, d, seed=0)
    z = torch.randn(d, generator=generator)
    change = pt.subspace.project(torch.zeros(width**2), z, h, sign).view(width, width)
    ranks[d] = int(torch.linalg.matrix_rank(change))
pt.compare("change.hashed", ranks[16], "the rank of a change along 16 random directions")
pd.Series(ranks, name="rank of the change of one matrix").rename_axis("d").to_frame()

# %%
h, sign = hashes(24, 6, seed=0)
pt.plots.show(pictures.draw_hashing(h.tolist(), sign.tolist(), 6),
              "P for 24 weights and d = 6, lying on its side: each weight takes one entry of z, "
              "with a sign. All entries of P have the same size, ½ here, so that its columns have "
              "a length of about 1. (Further, below, you may write it.)")

# %% [markdown]
# The head is no part of $\theta$: its 770 parameters are trained as well, on top of $d$.
#
# **How many directions bring half of the gain**, half of the way from the head alone, trained to its end, to full
# fine-tuning? To be quick, these runs see 2,000 training sentences once, in 125 steps, and their *share of the gain* is
# measured between a head and a full fine-tuning that saw the same 2,000. The rate is $10/\sqrt d$: since Adam moves each entry of
# $z$ by about the rate, a step is up to about 10 long, whatever $d$ is. The test sentences are the course's.

# %%
guess = pt.widgets.Guess("The smallest d that brings half of the gain:",
                         (16, 64, 256, 1024, 4096, 16384), "change.half")
guess

# %% [markdown]
# Each step computes gradients for all 22.7 million weights, so the sweep is recorded. Which $d$ reaches which goal? Move it, and
# change what it is a share of. The button trains a $d$ of your own.

# %%
explorer = pictures.explore_subspaces(record, guess)
explorer

# %%
ruler = head_end, full_short = pictures.ends(record)    # both on these 2,000 sentences
runs = record.runs.assign(gain=records.gain(record.runs.accuracy, ruler))
tested = record["setting"]["test_examples"]
goal = 0.9 * full_short
print(f"head alone, to its end, {head_end:.1%}: {head_end / full_short:.0%} of full fine-tuning's "
      f"accuracy; 90 % of that is {goal:.1%}, {records.gain(goal, ruler):.0%} of the gain")
print(f"standard error on {tested:,} sentences: {records.standard_error(0.75, tested):.1%}")
reached = pictures.subspaces(record, 50, "gain").reached
pt.compare("change.half", reached, "of these d, the smallest that brings half of the gain, in the "
           "mean of its seeds")
records.table(runs.query("group in ['short', 'subspace'] and pretrained"), ["method", "d"],
              "accuracy", "gain")

# %% [markdown]
# **One to a few thousand directions,** out of 22.7 million: 4,096 bring 53 % of the gain, 1,024 bring 41 %, or 51 % against the head
# after as many steps. These are means of three seeds, which lie far apart: from 38 to 67 % with 4,096.
#
# But it depends on what *works* means. Li et al. ask for 90 % of full fine-tuning's *accuracy*, and call that $d_{90}$. Move the
# goal there: 1,024 directions reach it. But the head alone has 86 % of that accuracy without any direction, so this goal
# is only 30 % of the gain. When you read a $d_{90}$, ask what the head alone would have had.
#
# Each point is a lower bound, in 125 steps of this length: with 16,384, shorter ones brought more (one seed).
#
# ## 3 · The rank of a real update
#
# "Few parameters are enough, *therefore* the update has a low rank" is often given as the reason for LoRA (lesson 07). It does not
# follow: the subspaces above change a matrix by full rank. Hu et al. 2021 (§4.1) only take it as a hypothesis. So we ask a trained
# model: all weights train, live, on the same 2,000 sentences, and then $\Delta W = W_{after} - W_{before}$ for each of the 36
# matrices in the six blocks.

# %%
pt.seed(0)
tuned, _ = pt.models.load("minilm", labels=2)
movies = pt.data.load("movies")
PLACES = ("query", "key", "value", "attention_out", "ffn_in", "ffn_out")
before = {name: p.detach().clone() for name, p in tuned.named_parameters()}
matrices = pt.models.find(tuned, PLACES)                       # the names of the 36 matrices
tuned = pt.full.inject(tuned, pt.full.Config("all"))           # all of it trains, as in lesson 01

few = movies.train[:record["setting"]["subspace_examples"]]
short_batches = pt.data.batches(few, tokenizer, 16, seed=0)
live_batches = short_batches if budget.claims else short_batches[:6]
recorded, = records.select(record, group="short", method="full", seed=0, pretrained=None)
steps = pt.widgets.watch(pt.train(tuned, live_batches, lr=1e-4), len(live_batches),
                         {"recorded": recorded["losses"]} if budget.claims else None,
                         {"recorded": pt.plots.COLOURS["full"]})
updates = {n: (tuned.get_submodule(n).weight.detach() - before[f"{n}.weight"]).cpu()
           for n in matrices}

# %% [markdown]
# The **singular value decomposition** writes any matrix as a sum of matrices of rank 1, sorted by their strength:
#
# $$ \Delta W = \sum_i \sigma_i\; u_i v_i^\top \qquad \sigma_1 \ge \sigma_2 \ge \dots \ge 0 $$
#
# All $u_i$ have length 1 and are perpendicular to each other, and so are all $v_i$. A pair $u_i, v_i$ is one **direction**
# of the matrix: $v_i$ is what it reacts to in the input, $u_i$ where that appears in the output, $\sigma_i$ how strongly. (Above,
# a *direction* was a way for all weights to move together; here it is a part of one matrix.) The sum of all $\sigma_i^2$
# is the sum of all squared entries, called the **energy** of the matrix.
#
# Of 384 × 384 random numbers, 196 of the 384 directions hold 90 % of the energy. **How many does it take of the value matrix's
# $\Delta W$ in block 5, the last, and how many in block 0?** Commit a list of two numbers.

# %%
pt.commit("change.spectrum", ...)

# %%
last, lowest = (f"bert.encoder.layer.{block}.attention.self.value" for block in (5, 0))
noise = torch.randn(384, 384, generator=torch.Generator().manual_seed(0))
shown = {"ΔW of block 5": updates[last], "ΔW of block 0": updates[lowest],
         "the weight W of block 5": before[f"{last}.weight"].cpu(), "random numbers": noise}
sigmas = {name: torch.linalg.svdvals(matrix) for name, matrix in shown.items()}
pt.plots.show(pictures.draw_energy({name: sigma.tolist() for name, sigma in sigmas.items()}),
              "Share of the energy that the strongest directions hold, value matrices. Mark: 90 %")

# %% [markdown]
# ### Exercise 2 · The marks (1 point, about 4 minutes)
#
# Write `directions(sigma, share)`, the place of such a mark: the smallest number of directions, strongest first, that hold at
# least this share of the energy.
#
# - `sigma` is a tensor of singular values, the largest first, and stays as it is; `share` is a number such as 0.9;
# - the answer is a whole number, 1 if the first direction is enough.


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
ranks = [int(torch.linalg.matrix_rank(delta)) for delta in updates.values()]
spectra = {n: torch.linalg.svdvals(delta) for n, delta in updates.items()}
of_W = [directions(torch.tensor(sigma), 0.9) for sigma in record["spectra"]["weight"].values()]
wide_noise = torch.randn(384, 1536, generator=torch.Generator().manual_seed(0))
of_noise = [directions(sigmas["random numbers"]), directions(torch.linalg.svdvals(wide_noise))]
print(f"rank of the {len(ranks)} live updates: {min(ranks)} to {max(ranks)}, of 384")
print(f"directions that hold 90 % of W: {min(of_W)} to {max(of_W)}; of random numbers: "
      f"{of_noise[0]}, as wide as ffn's: {of_noise[1]}; of ΔW, by block:")
pt.compare("change.spectrum", [directions(spectra[n]) for n in (last, lowest)],
           "value, block 5 and block 0: directions with 90 %")
pd.DataFrame({place: [directions(spectra[n], 0.9) for n in pt.models.find(tuned, place)]
              for place in PLACES}).T

# %% [markdown]
# Strictly, **no rank is low here**. In the lower blocks, 90 % of the energy is spread over about a hundred directions
# (`ffn_in`: up to two hundred, of 293 for random numbers); in the last it is concentrated in 5 to 24, except in `ffn_in`.
# But energy need not be importance. **Are the many weak directions needed?**
#
# ### Exercise 3 · The truncation (2 points, about 8 minutes)
#
# Write `truncate(delta, k)`: of all matrices of rank at most $k$, the one nearest to `delta`, with the smallest sum of
# squared differences. It is the sum above, stopped after $k$ terms (Eckart and Young 1936).
#
# - `delta` need not be square and stays as it is; the result has its shape; $k$ goes from 0 to all;
# - `torch.linalg.svd(delta, full_matrices=False)` gives the three parts: check first that they multiply back to `delta`.


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
# Now your function cuts all 36 updates; all else that was trained stays. Uncut, the model gets some 81 % of the test sentences
# right. **What is left at $k = 8$, which keeps about half of the energy?** Commit a number such as 0.7.

# %%
at_eight = pt.commit("change.eight", ...)    # a share of right answers, from 0 to 1

# %%
test = pt.data.batches(movies.test[:min(1000, budget.test_examples)], tokenizer, 64)


def accuracy_with(change, rest_undone=False):
    """Test accuracy with W + change(ΔW) in all matrices; all else but the head may be undone."""
    changed = copy.deepcopy(tuned)
    for n, p in changed.named_parameters():
        if rest_undone and n not in heads:
            p.data.copy_(before[n])
    for n in matrices:
        weight = before[f"{n}.weight"] + change(updates[n]).to(pt.device())
        changed.get_submodule(n).weight.data.copy_(weight)
    return pt.evaluate(changed, test).accuracy


heads = pt.models.head(tuned)
there = record["truncated"]["short 0"]["kept"]
uncut = pt.evaluate(tuned, test).accuracy
cut = {384: uncut, **{k: accuracy_with(lambda delta, k=k: truncate(delta, k)) for k in (8, 0)}}
held = [(s[:8].square().sum() / s.square().sum()).item() for s in spectra.values()]
print(f"energy in 8 directions: {sum(held) / len(held):.0%}, mean of the live matrices")
pt.compare("change.eight", cut[8], "accuracy with eight directions in each matrix, live")
left = pd.DataFrame({"live": cut, "recorded": {k: there[str(k)] for k in cut}})
left.rename_axis("k").map("{:.1%}".format)

# %% [markdown]
# Recorded, from full fine-tuning on all 4,000 sentences, two seeds: left, one matrix; right, all 36 cut at the same $k$.
# Ask it:
#
# 1. Which $k$ comes within a point of the whole update, and how much of the energy has it?
# 2. The orange line is the opposite cut: the $k$ *strongest* directions are left out. Are they needed?
# 3. At $k$ = 1 of the orange line, look at the two dots, one a seed. What can you say of the strongest direction?

# %%
head_long, full_long = records.ends()
pictures.explore_cut(record, head_long)

# %%
pt.sentence("change.rank", ...)    # one sentence of yours: has fine-tuning's update a low rank?

# %% [markdown]
# <details><summary>Ours</summary>
# No: 90 % of its energy is spread over dozens of directions in most matrices. But cut to eight of them the model answers nearly as
# well: a low rank is <i>enough</i>, though the update is not <i>of</i> low rank.
# </details>
#
# <details><summary>How sure?</summary>
# Two seeds, one task, one learning rate. Four directions come within a point, with 45 % of the energy. Without the eight
# strongest each model is within five points of <i>k</i> = 0, though nearly half of the energy remains; nothing is rescaled. On the single strongest the
# seeds disagree: without it one loses twenty points, the other two. And what can be cut from a finished update need not be found
# by a training within rank 8: that is lesson 07.
# </details>
#
# ## 4 · Few places
#
# The third kind of small moves a few weights and leaves all others alone. Is the finished update of that kind? Keep the **1 %
# largest entries** of each $\Delta W$, a third as many numbers as eight directions have, and undo the others. Eight directions
# left some 80 %, none 64 %. **What do these entries leave?** Commit a number.

# %%
pt.commit("change.entries", ...)    # a share of right answers, from 0 to 1

# %%
def largest(delta, share):
    """The largest entries of a matrix, this share of them; all others are zero."""
    least = delta.abs().flatten().topk(round(share * delta.numel())).values[-1]
    return delta.where(delta.abs() >= least, 0)


by_entries = accuracy_with(lambda delta: largest(delta, 0.01))
print(f"live, the largest 1 %: {by_entries:.1%}")
for share in (0.01, 0.1):
    part = largest(noise, share).square().sum() / noise.square().sum()
    print(f"of random numbers, the largest {share:.0%} hold {part:.0%} of the energy")
pt.compare("change.entries", round(by_entries, 3), "accuracy with the largest 1 %, live")
entries = pd.DataFrame([{"entries": kind, "share": float(share), **row}
                        for table in record["entries"].values()
                        for kind, rows in table.items() for share, row in rows.items()])
records.table(entries, ["entries", "share"], "accuracy", "energy")    # recorded, two seeds

# %% [markdown]
# The **energy** is not in few places: it is spread as over random numbers. Two seeds, from 58.4 % with no entry: the 1 %
# largest bring the model to 64.5 %, a tenth, a million numbers, to 79.1 %. But these entries keep their size, and the others
# are missing from every sum. Yu et al. 2023 (DARE) drop entries at random and multiply the rest, so that the sums stay as
# large: with most entries gone they lose little. So this cut does not tell how many places an update needs.
#
# But a method may choose few places *before* it trains. Then somebody has to find them, put something there and freeze the
# rest. In peft the argument `target_modules` does that for you. Here you write it once, and later lessons use yours.
#
# What is put there is an **adapter**: a class that inherits from `pt.Adapter` and holds the module that it wraps as
# `self.base`. Every other parameter that it registers is its own. Here is one, and a tiny model:

# %%
import inspect

Tiny, Scale = pictures.Tiny, pictures.Scale
print(inspect.getsource(Scale))
print(Tiny())

# %% [markdown]
# ### Exercise 4 · The injection (3 points, about 12 minutes)
#
# Write `inject(model, targets, make)`. `targets` is a tuple of names such as `("query", "value")`, and `make(module)` gives
# an adapter around a module. What holds for the model that comes back:
#
# - **found**: a module is meant if its full name is a target, or ends with a dot and a target. `"query"` means
#   `blocks.0.query` and `blocks.1.query`, and not `blocks.0.query_norm`;
# - **wrapped**: where a meant module stood, `make(module)` stands, once: `model.get_submodule("blocks.0.query")` gives it.
#   If one lies inside another, both are wrapped, the one within the other's base;
# - **frozen**: what trains is the parameters that `make` brought, and the head's. `pt.models.head(model)` gives the names of
#   these; nothing else has `requires_grad`, also not what is wrapped;
# - **refused**: a target that no module has is an error, whose text names it, whether or not other targets are found. It is
#   raised before anything is changed;
# - the model is **returned**: the one that was given, or a copy.
#
# No target lies in the head, and no module stands in two places. `model.named_modules()` gives all modules with their full
# names. Try yours on `Tiny()` and `Scale`, with `("query", "value")`, and with `("0", "query")`, of which one lies inside the other.


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
#
# An `inject` that forgets something does not crash: the loss falls, and the claim is wrong. So write the test that finds it:
# `inject_holds(inject, fresh, make)` raises, as `assert` does, if an `inject` breaks one of these properties. `fresh()` gives a
# new `Tiny`, `make(base)` a `Scale`. It must reject nine broken versions, each with one slip, and accept four right ones, which
# differ in what the properties leave open.


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
pt.audit()      # from now on, in any lesson: every test that you wrote, put to your own pieces

# %% [markdown]
# Which places? Every linear layer and every LayerNorm has a bias $b_0$, one parameter for each output. **BitFit** (Ben Zaken et
# al. 2021) trains the biases and leaves every matrix alone:
#
# $$ y = x\,W^\top + b_0 + b = \mathrm{base}(x) + b $$
#
# (The paper trains $b_0$ itself. Training what is added to it, from zero, is the same, and keeps the base as it was.)
#
# ### Exercise 6 · BitFit (1 point, about 5 minutes)
#
# Write the adapter: `self.b` is trained, in float32, and the output is the equation's, in the dtype of the base's
# output. Before any training the output is the base's, to the bit. `base` is a linear layer or a LayerNorm with a bias.


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
# Your adapter goes around every module of MiniLM that has a bias: `query`, `key`, `value`, everything that is called `dense`, and
# each `LayerNorm`, in the six blocks; and one norm and one `dense`, the pooler, outside of them. **How many parameters
# will train, the head among them?** Each bias has 384 entries, but for one in each block.

# %%
count = pt.commit("change.count", ...)    # a whole number

# %% tags=["nbval-check-output"]
pt.seed(0)
model, tokenizer = pt.models.load("minilm", labels=2)
batch = tokenizer(["A quiet, funny, generous film.", "Two hours that I want back."],
                  padding=True, return_tensors="pt").to(pt.device())
with torch.no_grad():
    outputs = model(**batch).logits
model = inject(model, ("query", "key", "value", "dense", "LayerNorm"), BiasAdapter).to(pt.device())
with torch.no_grad():
    print("same outputs, to the bit:", torch.equal(outputs, model(**batch).logits))

trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
print(f"{len(pt.adapters(model))} adapters; {trained:,} parameters train: a block has "
      f"{7 * 384 + 1536:,} biases, outside are 2 · 384, and {in_head} in the head")

# %% [markdown]
# Now watch it learn, on all 4,000 sentences, beside the recorded curves of full fine-tuning and of the head alone.

# %%
pt.compare("change.count", trained, "parameters that train")
sentences = movies.train[:min(4000, budget.train_examples)]
batches = pt.data.batches(sentences, tokenizer, budget.batch_size)
long = records.load("lora")           # the record of lesson 07 has three seeds of both
beside = {name: records.select(long, group="methods", method=name)[0]["losses"]
          for name in ("full", "head")}
steps = pt.widgets.watch(pt.train(model, batches, lr=3e-3), len(batches),
                         beside if budget.claims else None, pt.plots.COLOURS)

# %%
tests = pt.data.batches(movies.test[:budget.test_examples], tokenizer, 64)
found = pt.evaluate(model, tests)
if budget.claims:
    pictures.keep_own("BitFit", trained, found.accuracy)
changed = pt.course.live.changed_answers(model, movies, tokenizer, 200)    # against the head alone
for title, chosen in (("gained", True), ("lost", False)):
    told = sorted((text for text, label, mine, _ in changed if (mine == label) == chosen), key=len)
    print(f"{title}, of 200 test sentences, against the head alone: {len(told)}, such as",
          *told[:3], sep="\n   ")
bitfit = record.runs.query("group == 'bitfit'").accuracy
reached = pd.Series({"your BitFit": found.accuracy, "recorded, three seeds": bitfit.mean()})
pd.DataFrame({"accuracy": reached, "share of the gain": records.gain(reached)}).map("{:.1%}".format)

# %% [markdown]
# <details><summary>How sure?</summary>
# Three seeds, all at the learning rate that was highest on validation sentences, of three that were tried with one seed:
# there BitFit ends at 77.3 %, at a third of the rate at 73.2 %, at three times as much at chance.
# </details>
#
# ## The three kinds of small, side by side
#
# Now the ways of this lesson beside each other, and LoRA of rank 1 (lesson 07) on query and value: with the head, its change has
# 9,986 parameters, BitFit's 26,882.

# %%
pt.widgets.Guess("Of the gain, LoRA with 9,986 parameters brings",
                 ("less than BitFit", "about as much", "more"), "change.most")

# %% [markdown]
# *Parameters* are those that write the change down, with the head's 770; *rank* is that of the change of one 384 × 384 matrix,
# 0 where none changes. What saw 2,000 sentences has a ruler of its own. There is your update, too, cut to eight directions with all else
# undone: one run, on 1,000 test sentences, so its share has a standard error of some 11 points.

# %%
alone = accuracy_with(lambda delta: truncate(delta, 8), rest_undone=True)
kinds = pictures.three_kinds(record, long, alone)
seen = len(torch.cat([batch["input_ids"].flatten() for batch in batches]).unique())
known, size = model.bert.embeddings.word_embeddings.weight.shape
print(f"of {known:,} word vectors, {seen:,} occur in the 4,000 sentences; the others got no "
      f"gradient, {(known - seen) * size / 1e6:.1f} million parameters")
more = kinds.groupby("way").gain.mean()[["LoRA, rank 1 (lesson 07)", "BitFit"]]
pt.compare("change.most", "more" if more.iloc[0] > more.iloc[1] else "less than BitFit",
           "LoRA of rank 1, against BitFit")
pt.plots.show(pictures.draw_kinds(kinds, pictures.own_points(record)),
              "Share of the gain against the parameters of the change, the head's among them; each "
              "side has its own ruler. A line spans the seeds. Diamonds: runs of your own.")
records.table(kinds, ["sentences", "parameters", "rank", "way"], "gain", "accuracy")

# %%
pt.sentence("change.kinds", ...)    # of yours: which kind of small is "the" small change?
pt.progress("02")

# %% [markdown]
# <details><summary>Ours</summary>
# None is. Changes of rank 0, 1, 8 and 384 all bring some of the gain, from two fifths to nearly all: many different small changes
# can turn a pretrained model to a new task.
# </details>
#
# Neither rank nor the count of parameters orders the results: LoRA's 9,986 bring more than BitFit's 26,882 (three seeds each).
# And the question of the beginning?
#
# - **Few parameters: possible.** One to a few thousand, in random directions, bring half of the gain that 2,000 sentences allow.
# - **Low rank: not true of the update, but enough.** Eight directions of each matrix, 331,776 numbers, carry nearly all of the gain,
#   if all else stays as trained; undone, too, in one live run.
# - **Few places: not true of the update's energy, but possible.** A tenth of its entries keeps most of the gain. The biases,
#   trained alone with the head, bring more than half of it.
#
# ## When, and when not
#
# **A random subspace** measures. Its file and the optimizer's states are small, but every step still computes the gradient
# of all weights. **Truncating** a finished update saves disk space where many tasks were each trained in full. **BitFit** is
# worth a try where a model has biases: $b$ can be added to $b_0$ in the end, and its only setting is the learning rate, which
# has to be right.
#
# **Five lines to remember**
#
# 1. Small has three meanings: few parameters, low rank, few places. None of them follows from another.
# 2. $\theta = \theta_0 + Pz$: intrinsic dimension is the least $d$ that works in *random* directions, and what *works*
#    means decides its size.
# 3. Full fine-tuning's $\Delta W$ is **not** of low rank here; cut to a low rank it is nearly as good all the same.
# 4. Nor does its energy sit in few places. How many entries a model needs, a cut that rescales nothing does not tell.
# 5. An injection finds, wraps, freezes, and refuses a name that is not there. Count what trains before you train.
#
# **Sources**
#
# - Li et al. 2018, *Measuring the Intrinsic Dimension of Objective Landscapes*, arXiv 1804.08838: §2 the construction, and
#   $d_{90}$, the least $d$ that reaches 90 % of the full accuracy.
# - Aghajanyan et al. 2020, *Intrinsic Dimensionality Explains the Effectiveness of Language Model Fine-Tuning*,
#   arXiv 2012.13255: §3 the method, §4 language tasks, §5.1 how it falls while a model is pretrained.
# - Ben Zaken et al. 2021, *BitFit*, arXiv 2106.10199: §3 the method.
# - Hu et al. 2021, *LoRA*, arXiv 2106.09685: §4.1, from a low *dimension* to the hypothesis of a low *rank*.
# - Yu et al. 2023, *Language Models are Super Mario*, arXiv 2311.03099: DARE, entries dropped at random and the rest rescaled.
# - Eckart & Young 1936, *Psychometrika* 1.
# - Data: Hutto & Gilbert 2014, *VADER*, ICWSM; sentences of the film reviews of Pang & Lee 2004.
#
# ## Further
#
# ### A stretch · The random subspace (1 point, about 8 minutes)
#
# Write `project(theta0, z, h, sign)`: the weights $\theta_0 + Pz$, for all $i$ at once. `theta0`, `h` and `sign` have
# shape (D,), `z` has shape (d,).
#
# - Row $i$ of $P$ has one entry that is not zero, in column `h[i]`. Its sign is `sign[i]`, 1 or −1; its size is the same
#   number $c$ everywhere;
# - $c$ makes the columns of $P$ as long as a unit vector: the mean of their squared lengths is 1, if every column has
#   $D/d$ entries. (So the weights move about as far as $z$ does, whatever $d$ is.) Which $c$ does?
# - a dense $P$ is never built, and no loop goes over $D$; a gradient finds its way back to `z`; the inputs stay as they are.


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
# With it, the first steps of the recorded run for $d$ = 4,096. They are shorter than 10, since the rate still rises.

# %%
pt.seed(0)
subspace = pt.subspace.Subspace(pt.models.load("minilm", labels=2)[0], d=4096, project=project)
groups = subspace.groups(step=10, head_lr=0.1)       # z at rate 10/√d, see above
whole, = records.select(record, group="subspace", d=4096, seed=0)
first = 10 if budget.claims else 2
beside = {"recorded, d = 4,096": whole["losses"]}
steps = pt.widgets.watch(islice(pt.train(subspace, short_batches, groups=groups), first), first,
                         beside, dict.fromkeys(beside, pt.plots.COLOURS["subspace"]))
print(f"length of the way so far: |z| = {subspace.z.norm():.1f}, "
      f"|θ − θ₀| = {(subspace.theta() - subspace.theta0).norm():.1f}")
pd.DataFrame({"live": [step.loss for step in steps],
              "recorded": whole["losses"][:first]}).round(2).T

# %% [markdown]
# ### Break it on purpose
#
# To make a model small, somebody cuts $W + \Delta W$ in place of $\Delta W$. Both are matrices of the same shape, and nothing
# complains. At $k = 64$, eight times as many directions as above:

# %%
broken, lost = copy.deepcopy(tuned), []
for n in matrices:
    weight = broken.get_submodule(n).weight
    whole = weight.detach().cpu()
    lost.append(float((whole - truncate(whole, 64)).norm() / updates[n].norm()))
    weight.data.copy_(truncate(whole, 64).to(pt.device()))
print(f"what is cut from W + ΔW is at least {min(lost):.0f} times as long as ΔW")
print(f"k = 64: ΔW cut, recorded: {there['64']:.1%};  "
      f"W + ΔW cut: {pt.evaluate(broken, test).accuracy:.1%}")

# %% [markdown]
# Much of what the model knew is gone: 90 % of the pretrained weight is spread over 138 to 271 directions, and beside what was cut
# from it the whole update is short. Cut the change, never the sum.

# %% [markdown]
# ### A model without biases
#
# Llama and many models after it have no biases: `pt.bitfit.inject` raises an error there. A script that trains "all parameters with `bias` in their name" finds none
# there, and trains the head, or nothing, without a word.
#
# > **In the wild.** Hugging Face peft has a relative of your class, BEFT: a bias beside the base, around linear
# > layers ([peft#3195](https://github.com/huggingface/peft/pull/3195)). More often you meet an option of its LoRA,
# > `bias="all"` or `"lora_only"`, which trains the model's own biases *in place*. Two surprises follow: switched off,
# > the model is no longer the pretrained one ([peft#741](https://github.com/huggingface/peft/pull/741)), and for a
# > long time some of these biases were missing from the saved file
# > ([peft#3306](https://github.com/huggingface/peft/issues/3306)). An addition beside the base has neither problem.
#
# The library's own injection, with its safeguards, and its BitFit:

# %%
print(inspect.getsource(pt.attach))
print(inspect.getsource(pt.bitfit.BiasAdapter))
