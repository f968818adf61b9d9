# %% [markdown]
# # 02 · Why a small change can be enough
#
# **Full fine-tuning moves 22.7 million numbers, and all that it is told is 4,000 sentences with one bit
# each.** That is 5,700 moved numbers for every bit. Surely a smaller change would do. But a change can be
# small in three ways, and they are easily confused:
#
# | small in … | means | you build |
# |---|---|---|
# | **numbers** | all weights move, but along $d$ directions only | a random subspace |
# | **rank** | each matrix changes by $k$ products of a column and a row only | the truncation of an update |
# | **places** | most weights do not move at all | BitFit, which trains the biases |
#
# (A matrix that is one column times one row has **rank** 1. The rank of any matrix is the least number of such
# products that add up to it.)
#
# **Which of the three is true of fine-tuning, and which is merely possible?** At the end this table comes
# back with numbers in it, and with an answer to each line. You will be able to
#
# - move a whole model with surprisingly few numbers, and say what *intrinsic dimension* is;
# - take an update apart into directions, and cut it down to the $k$ strongest;
# - say why few numbers and low rank are not the same;
# - write BitFit, a method of parameter-efficient fine-tuning that is three lines long.
#
# | | |
# |---|---|
# | **Time** | about 80 minutes: 4 exercises (35 min), reading and playing; Run All takes two to three minutes |
# | **You need** | a training loop in PyTorch, matrix products. Helpful: lessons 00 and 01 |
# | **Data** | 10,041 sentences from film reviews, each rated by about 20 people; Hutto & Gilbert 2014, MIT licence |
#
# How the exercises work: replace the line `raise pt.NotAttempted(…)` by your own code, run that cell,
# then the one below it, which tells you what it found. `pt.hint("change.project")` gives a hint,
# `pt.reset("change.project")` the original text. Until your code passes, the lesson goes on with ours, so
# you can always read ahead. The cells with `pt.require` are for graders; here they do nothing.

# %%
# Nothing happens here where the course is installed. On Colab, this installs it, once.
import importlib.util
import subprocess
import sys
from pathlib import Path

if importlib.util.find_spec("peft_teach") is None:
    places = [Path.cwd().parent, Path("/content/peft-teach"), Path("/content/drive/MyDrive/peft-teach")]
    course = next((p for p in places if (p / "pyproject.toml").is_file()), None)
    if course is None:
        raise SystemExit("Put the course's folder at /content/peft-teach (upload or clone it), then run this cell again.")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", str(course)], check=True)
    importlib.invalidate_caches()

# %%
import copy
from itertools import islice

import torch

import peft_teach as pt

records, Subspace, hashes = pt.course.records, pt.course.subspace.Subspace, pt.course.subspace.hashes
budget = pt.course.budget()           # how much to compute: PEFT_TEACH_BUDGET=smoke|cpu|gpu
record = records.load("change")       # runs too long for a lesson; assets/records/change.py made them
pictures = pt.course.pictures("change")
pt.seed(0)
print("budget:", budget.name, "· computing on:", pt.device())

# %% [markdown]
# ## The idea: few numbers
#
# Write all weights of the backbone in one row, and call that row $\theta$. Here it is, in memory:

# %% tags=["nbval-check-output"]
model, tokenizer = pt.models.load("minilm", labels=2)
D = sum(p.numel() for p in model.bert.parameters())
in_head = sum(p.numel() for p in model.classifier.parameters())
print(f"D = {D:,} weights in {len(list(model.bert.parameters()))} tensors, and {in_head} in the new head")

# %% [markdown]
# Training moves $\theta$ from the pretrained $\theta_0$ to somewhere else, in a space of $D$ dimensions.
# Now allow only a random flat piece of that space, with $d$ dimensions (Li et al. 2018):
#
# $$ \theta = \theta_0 + P\,z $$
#
# | symbol | shape | trained | is |
# |---|---|---|---|
# | $\theta_0$ | (D,) | no | the pretrained weights |
# | $P$ | (D, d) | no | random, drawn once, never changed |
# | $z$ | (d,) | **yes** | zero at the start, so that training starts at $\theta_0$ |
#
# Every weight still moves. But there are only $d$ numbers to turn, each tied to random weights all over the
# model. Nobody chose these directions well. If training works nevertheless, then the task needs no more than
# $d$ numbers: the smallest such $d$ is called its **intrinsic dimension**.
#
# One thing is in the way. **How large is $P$ for $d$ = 500?** Say a number, then run the cell.

# %% tags=["nbval-check-output"]
print(f"a dense P, float32:      {D * 500 * 4 / 1e9:5.1f} GB")
print(f"one entry a row, hashed: {D * (8 + 4) / 1e9:5.2f} GB, whatever d is")    # 8 bytes for h(i), 4 for s(i)

# %% [markdown]
# So $P$ must not be dense. **Signed hashing** keeps one entry in each row: weight $i$ listens to one number
# of $z$, number $h(i)$, with a sign $s(i) = \pm1$, both drawn at random (*hashing* as in a hash table: chance puts
# each weight into one of $d$ boxes):
#
# $$ \theta_i = \theta_{0,i} + \sqrt{d/D}\; s(i)\, z_{h(i)} $$
#
# Each number of $z$ is heard by about $D/d$ weights, so each column of $P$ has about $D/d$ entries of
# $\pm\sqrt{d/D}$, and a length close to 1. Then the weights move about as far as $z$ does, whatever $d$ is: that is
# what the factor is for, one and the same for all columns. Here is such a $P$ for 24 weights and $d = 6$:

# %%
h, sign = hashes(24, 6, seed=0)
pt.plots.show(pictures.draw_hashing(h.tolist(), sign.tolist(), 6),
              "P for 24 weights and d = 6, lying on its side: one entry for each weight, + or −. √(d/D) is ½ here, "
              f"so weight 0, for example, becomes θ₀ {'+' if sign[0] > 0 else '−'} ½ · z[{h[0]}].")

# %% [markdown]
# ## Guess first
#
# The runs below see 2,000 sentences, each once. On these, the head alone reaches 66 %, and all 22.7 million
# weights reach 80 %. **How many numbers $d$, along directions that nobody chose, take the model to 90 % of full
# fine-tuning's accuracy, that is to 72 %?** Choose before you read on; your guess comes back.

# %%
guess = pt.widgets.Guess("Enough numbers for 90 % of full fine-tuning's accuracy:",
                         (16, 64, 256, 1024, 4096, 16384), "change.d90")
guess

# %% [markdown]
# ### Exercise 1 · The random subspace (2 points, about 10 minutes)
#
# Write `project(theta0, z, h, sign)`: the weights $\theta$ by the equation above, for all $i$ at once.
#
# - `theta0` has shape (D,), `z` has shape (d,); their lengths are `len(theta0)` and `len(z)`. These are plain
#   numbers, so a root is `** 0.5`;
# - `h` has shape (D,) and holds whole numbers from 0 to d − 1; `sign` has shape (D,) and holds 1 and −1;
# - indexing one tensor by another takes many entries at once: `torch.tensor([10., 20.])[torch.tensor([0, 1, 1])]`
#   is `tensor([10., 20., 20.])`;
# - make a new tensor and leave `theta0` as it is; the gradient must find its way back to `z`, so use plain
#   tensor operations and nothing under `torch.no_grad()`.


# %% exercise="change.project" part="solution"
def project(theta0: torch.Tensor, z: torch.Tensor, h: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    ### BEGIN SOLUTION
    scale = (len(z) / len(theta0)) ** 0.5
    return theta0 + scale * sign * z[h]
    ### END SOLUTION


# %% exercise="change.project" part="check"
project = pt.check("change.project", project)

# %% exercise="change.project" part="grade"
pt.require("change.project")

# %% [markdown]
# Now it moves the real model. `Subspace` does the plumbing: it keeps $\theta_0$, calls your `project` in every
# step, cuts the long row into the 103 tensors of the backbone, and lets autograd carry the gradient of all of
# them back to $z$. The head is no part of it: it trains as with every other method.

# %%
pt.seed(0)
model, tokenizer = pt.models.load("minilm", labels=2)
batch = tokenizer(["A quiet, funny, generous film.", "Two hours that I want back."],
                  padding=True, return_tensors="pt").to(pt.device())
subspace = Subspace(model, d=4096, seed=0, project=project)

with torch.no_grad():
    same = torch.equal(model(**batch).logits, subspace(**batch).logits)
lengths = torch.bincount(subspace.h).float().sqrt() * (4096 / D) ** 0.5
print(f"trained: {subspace.z.numel():,} numbers, and {in_head} in the head")
print("at z = 0 the outputs are the model's, to the bit:", same)
print(f"lengths of the columns of P: {lengths.min():.3f} to {lengths.max():.3f}")

# %% [markdown]
# Training for every $d$ would take an hour, so those runs are recorded: **2,000 sentences once, 125 steps**, half
# as many as in the other lessons, because each step moves all 22.7 million weights. Here are the first steps of
# one of them, live, with your `project`. Do they agree with the record?

# %%
movies = pt.data.load("movies")
FEWER = record["setting"]["subspace_examples"]
short_batches = pt.data.batches(movies.train[:FEWER], tokenizer, 16, seed=0)
groups = subspace.groups(step=10, head_lr=0.1)       # each number of z at rate 10/√d: a step of length 10, whatever d

taken = islice(pt.train(subspace, short_batches, groups=groups), 8 if budget.claims else 2)
live = [step.loss for step in taken]
kept = records.select(record, group="subspace", d=4096, seed=0)[0]["losses"][:len(live)]
print("live:    ", " ".join(f"{loss:.2f}" for loss in live))
print("recorded:", " ".join(f"{loss:.2f}" for loss in kept))
moved = subspace.theta() - subspace.theta0
print(f"length of the way so far: |z| = {subspace.z.norm():.1f}, |θ − θ₀| = {moved.norm():.1f}")

# %% [markdown]
# The same losses, up to rounding; and the weights went exactly as far as $z$. Each step moved all 22.7 million
# weights, and had only 4,096 dials for it.
#
# ## How many numbers does it take?
#
# Recorded, from the pretrained weights, and from random ones (the same architecture, drawn anew, with the same
# random directions). **Say before you run the cell:** do random weights need more numbers, fewer, or does no number
# help? The slider sets the goal, in percent of full fine-tuning's accuracy or of what full fine-tuning gains over the
# head alone. The black circle is the smallest $d$ that reaches it; your guess is the dotted green line.

# %%
pictures.explore_subspaces(record, guess.value)

# %%
def told(rows):
    """The accuracy in words, with its standard deviation over the seeds."""
    mean, spread = records.accuracy(rows)
    return f"{mean:.1%}" + (f" ± {spread:.1%}, {len(rows)} seeds" if len(rows) > 1 else ", one seed")


short = {m: records.select(record, group="short", method=m, pretrained=None) for m in ("full", "head")}
runs = records.by_setting(records.select(record, group="subspace"))
print("head only, d = 0:  ", told(short["head"]))
for rows in sorted(runs, key=lambda rows: rows[0]["d"]):
    print(f"d = {rows[0]['d']:6,}:        ", told(rows))
print(f"full, {D / 1e6:.1f} million:", told(short["full"]))
tested = record["setting"]["test_examples"]
print(f"standard error of 75 % on {tested:,} sentences: {(0.75 * 0.25 / tested) ** 0.5:.1%}")

# %% [markdown]
# **About a thousand numbers take it to 90 %**, in place of 22.7 million, and along directions that nobody chose. Full
# fine-tuning reaches 80.4 % here; 90 % of that is 72.4 %, and the smallest recorded $d$ with a mean above it is
# 1,024. Li et al. call this number $d_{90}$. How far off was your guess?
#
# Before you quote it: it depends on **the threshold** (the head alone has 82 % of full fine-tuning's accuracy
# already, and 90 % of the *gain* is out of reach for all of these $d$), and on **the seed** (two at $d$ = 256 lie
# 3.6 points apart, three at 1,024 lie 2.7 apart, the lowest just below the goal). It also depends on **the training**.
# Here is seed 0 with steps of other lengths, and how far $z$ came:

# %%
for d in (1024, 16384):
    rows = records.select(record, group="subspace", d=d, seed=0) + records.select(record, group="steps", d=d)
    for row in sorted(rows, key=lambda row: row["step"]):
        print(f"d = {d:6,}, steps of length {row['step']:2.0f}: {row['accuracy']:.1%}, |z| = {row['length']:5.1f}")

# %% [markdown]
# Shorter steps take 16,384 numbers from 75.4 to 78.0 %, and 1,024 numbers from 75.0 down to 72.0 %. So every point is a
# lower bound: what $d$ numbers reached in 125 steps of this length, not what they can do. (16 numbers even end two
# points below none at all, in the one seed there is, though $z = 0$ is within their reach.) What these data can say is
# *some hundreds to a few thousand*. And from random weights?

# %%
scratch = records.select(record, group="scratch") + records.select(record, group="short", pretrained=False)
for row in sorted(scratch, key=lambda row: row["parameters"]):
    print(f"{row['parameters']:10,} numbers: {row['accuracy']:.1%}, from random weights, one seed")

# %% [markdown]
# No number helps, not even all 22.7 million: on these 2,000 sentences all stay at chance. So it would be wrong to say
# that random weights "need more numbers": there is no success here of which one could ask for 90 %.
#
# Intrinsic dimension belongs to a task **and a starting point** (and, as measured, to the data and the training).
# Pretraining is what makes it small: Aghajanyan et al. 2020 saw it fall the longer a model had been pretrained.

# %% [markdown]
# ## Few numbers is not low rank
#
# "Fine-tuning has a low intrinsic dimension, **therefore** a low-rank update is enough." One reads this often,
# as the reason for LoRA (lesson 07), which trains a change of low rank. Does it follow? Take $d = 16$ numbers and look at what they do to one matrix.
# **What is the rank of the change of a 384 × 384 matrix that is made of 16 numbers?**

# %% tags=["nbval-check-output"]
entries = 384 * 384
for d in (1, 16, 1024):
    h, sign = hashes(entries, d, seed=0)
    z = torch.randn(d, generator=torch.Generator().manual_seed(0))
    change = project(torch.zeros(entries), z, h, sign).view(384, 384)
    print(f"{d:5,} numbers: rank {torch.linalg.matrix_rank(change)}")

# %% [markdown]
# Full rank, even when a **single** number is turned: it moves all weights at once, each with its random sign,
# and a matrix of random signs has full rank. The other way round, a change of rank 1 has the smallest rank that
# there is, and takes 384 + 384 = 768 numbers to write down.
#
# So *few numbers* and *low rank* are two different kinds of small, and neither follows from the other. That one
# of them suffices is a hint that the other might, no more. Whether fine-tuning's update **is** of low rank
# is a question of its own. Let us look at one.
#
# ## The idea: low rank
#
# We train everything, live, on the same 2,000 sentences, and keep a copy of what was there before. Then
# $\Delta W = W_{after} - W_{before}$, for each of the 36 matrices in the six blocks. (*Direction* gets a second meaning
# here. So far it was one way for all weights to move together; from now on it is a part of one matrix.)

# %%
pt.seed(0)
tuned, _ = pt.models.load("minilm", labels=2)
PLACES = ("query", "key", "value", "attention_out", "ffn_in", "ffn_out")
before = {name: p.detach().clone() for name, p in tuned.named_parameters()}
matrices = pt.models.find(tuned, PLACES)                       # the names of the 36 matrices
tuned = pt.full.inject(tuned, pt.full.Config("all"))           # all of it trains, as in lesson 01

live_batches = short_batches if budget.claims else short_batches[:6]
colours = {"recorded": pt.plots.COLOURS["full"]}
recorded = records.select(record, group="short", method="full", seed=0, pretrained=None)[0]
steps = pt.widgets.watch(pt.train(tuned, live_batches, lr=1e-4), len(live_batches),
                         {"recorded": recorded["losses"]} if budget.claims else None, colours)

# %%
updates = {n: (tuned.get_submodule(n).weight.detach() - before[f"{n}.weight"]).cpu() for n in matrices}
last, lowest = (f"bert.encoder.layer.{block}.attention.self.value" for block in (5, 0))
W, delta = before[f"{last}.weight"].cpu(), updates[last]
print(f"{last}: {tuple(W.shape)}")
print(f"length of W: {W.norm():.1f}   length of ΔW: {delta.norm():.2f}, {delta.norm() / W.norm():.1%} of it")
way = sum((p.detach() - before[n]).square().sum() for n, p in tuned.named_parameters()).sqrt()
print(f"all weights together moved by {way:.1f}")
for d, group, step in ((1024, "subspace", 10.0), (16384, "steps", 3.0)):
    row = records.select(record, group=group, d=d, step=step, seed=0)[0]
    print(f"a recorded subspace, d = {d:,}, steps of length {step:g}: by {row['length']:.1f}, to {row['accuracy']:.1%}")

# %% [markdown]
# (The live run lies upon the recorded one, as it should.)
#
# A change of not even two percent. The random subspaces went much further; how far, depends on the length of their
# steps. In how many directions does the change go? The **singular value decomposition** says it. It writes any
# matrix as a sum of matrices of rank 1, sorted by their strength:
#
# $$ \Delta W = U\,\mathrm{diag}(\sigma)\,V^\top = \sum_i \sigma_i\; u_i v_i^\top \qquad \sigma_1 \ge \sigma_2 \ge \dots \ge 0 $$
#
# | symbol | shape | is |
# |---|---|---|
# | $U$ | (n_out, r) | its columns $u_i$: where in the output something changes |
# | $\sigma$ | (r,) | how strongly |
# | $V^\top$ | (r, n_in) | its rows $v_i$: what in the input it reacts to |
#
# with $r = \min(n_{out}, n_{in})$. All $u_i$ have length 1 and are perpendicular to each other, and so are all $v_i$:
# one pair $u_i, v_i$ is one **direction** of the matrix, and $\sigma_i$ alone says how much it counts. The sum of all $\sigma_i^2$ is the sum of all squared entries of $\Delta W$; it
# is called its **energy**, and tells how the change is spread over the directions.
#
# ### Exercise 2 · The energy (1 point, about 5 minutes)
#
# Write `directions(sigma, share)`: the smallest number $k$ of directions, the strongest first, that hold at least
# this share of the energy, $\sigma_1^2 + \dots + \sigma_k^2 \ge \mathrm{share} \cdot \sum_i \sigma_i^2$.
#
# - `sigma` is a tensor of singular values, the largest first; `share` is a number such as 0.9;
# - the answer is a whole number, an `int`: 1 if the first direction is enough;
# - `x.cumsum(0)` gives all partial sums of a tensor `x`.


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

# %% [markdown]
# **Guess:** of 384 directions, how many hold 90 % of the change that you just trained, in the last block and in the
# lowest? And of the weight itself?

# %%
noise = torch.randn(384, 384, generator=torch.Generator().manual_seed(0))
shown = {"ΔW of block 5": delta, "ΔW of block 0": updates[lowest],
         "the weight W of block 5": W, "random numbers": noise}
pt.plots.show(pictures.draw_energy({n: torch.linalg.svdvals(m).tolist() for n, m in shown.items()}),
              "Share of the energy that the strongest directions hold, value matrices. Marks: 90 %.")

# %%
print("directions that hold 90 %, of 384, block 0 to block 5")
spectra = {"ΔW, live, 125 steps": {n: torch.linalg.svdvals(m) for n, m in updates.items()}}
for name, run in (("ΔW, recorded, 250 steps", "update 0"), ("the pretrained W", "weight")):
    spectra[name] = {n: torch.tensor(s) for n, s in record["spectra"][run].items()}
for run, table in spectra.items():
    print(run)
    for place in PLACES:
        counts = [directions(table[n], 0.9) for n in pt.models.find(tuned, place)]
        print(f"   {place:14s}", "  ".join(f"{c:3d}" for c in counts))

# %% [markdown]
# Three things to see:
#
# - **The update is not of low rank.** In the lower blocks 90 % of its energy takes a hundred directions and more,
#   in the feed-forward part up to two hundred. Only in the last block is it concentrated: five to two dozen
#   directions, and in `ffn_in` some seventy.
# - It always needs *fewer* directions than the weight itself: the matrices $W$ take 140 to 270.
# - The live run and the recorded one, twice as long, agree. This is no accident of a short training.
#
# Why is it spread out so much? One suspect is the optimizer. Here is the gradient of a single batch, and what
# Adam makes of it in its first step, where it moves each weight by the learning rate, up or down: the gradient's
# **sign**.

# %%
probe, _ = pt.models.load("minilm", labels=2)
probe(**{k: v.to(pt.device()) for k, v in short_batches[0].items()}).loss.backward()
print("directions that hold 90 %:  gradient   its sign   random signs")
for place in ("query", "value", "ffn_in"):
    for n in pt.models.find(probe, place)[::5]:                 # of six blocks, 0 and 5
        g = probe.get_submodule(n).weight.grad.cpu()
        counts = [directions(torch.linalg.svdvals(m), 0.9) for m in (g, g.sign(), torch.randn_like(g).sign())]
        print(f"   block {n.split('.')[3]}, {place:14s}" + "".join(f"{c:11d}" for c in counts))

# %% [markdown]
# The gradient *is* of low rank: one direction to some dozens. Adam treats large and small entries alike, and so
# fills the weak directions with small, noisy steps. (An explanation for the first step, not a proof for all of
# them.) Which leads to the question that matters: **are those many weak directions needed?**
#
# ### Exercise 3 · The truncation (2 points, about 10 minutes)
#
# Write `truncate(delta, k)`: the matrix that is left if only the $k$ strongest directions are kept, the sum above
# stopped after $k$ terms. It has the shape of `delta`. (Eckart and Young 1936: no matrix of rank $k$ is nearer.)
#
# - the first line is written for you: `torch.linalg.svd` gives the three in the shapes of the table, the
#   strongest direction first, and $V$ **already transposed**;
# - $k$ may be 0, then everything is cut, and may be all; `delta` need not be square, and stays as it is.


# %% exercise="change.truncate" part="solution"
def truncate(delta: torch.Tensor, k: int) -> torch.Tensor:
    U, sigma, Vt = torch.linalg.svd(delta, full_matrices=False)
    ### BEGIN SOLUTION
    return (U[:, :k] * sigma[:k]) @ Vt[:k]
    ### END SOLUTION


# %% exercise="change.truncate" part="check"
truncate = pt.check("change.truncate", truncate)

# %% exercise="change.truncate" part="grade"
pt.require("change.truncate")

# %% [markdown]
# Now cut all 36 updates with your function, put them back, and test. **Guess first:** the model has about 81 % when
# nothing is cut. What is left at $k = 8$, where 24 × 8 × (384 + 384) + 12 × 8 × (384 + 1,536) numbers describe what
# took 10.6 million? And at $k = 0$, where the 36 matrices are the pretrained ones again?

# %%
test = pt.data.batches(movies.test[:min(1000, budget.test_examples)], tokenizer, 64)


def accuracy_with(change):
    """Test accuracy with W + change(ΔW) in all 36 matrices; all else that was trained stays."""
    changed = copy.deepcopy(tuned)
    for n in matrices:
        weight = before[f"{n}.weight"] + change(updates[n]).to(pt.device())
        changed.get_submodule(n).weight.data.copy_(weight)
    return pt.evaluate(changed, test).accuracy


there = record["truncated"]["short 0"]["kept"]
uncut = pt.evaluate(tuned, test).accuracy
at_eight, at_zero = (accuracy_with(lambda delta, k=k: truncate(delta, k)) for k in (8, 0))
for name, live, k in (("not cut", uncut, 384), ("k = 8  ", at_eight, 8), ("k = 0  ", at_zero, 0)):
    print(f"{name}: live {live:.1%}, recorded {there[str(k)]:.1%}")
print(f"live on {min(1000, budget.test_examples):,} test sentences, recorded on {tested:,}")
held = [(s[:8].square().sum() / s.square().sum()).item() for s in spectra["ΔW, live, 125 steps"].values()]
print(f"energy in 8 directions: {sum(held) / len(held):.0%}, mean of the {len(held)} live matrices")

# %% [markdown]
# **Eight directions hold little more than half of the energy, and nearly all of the accuracy.** At $k = 0$ the model
# falls to about 63 %, so it is the matrices that carry the task, and yet more than nine tenths of what they carry lie in
# their eight strongest directions. Energy is not importance: the many weak directions are large together, but almost
# without effect.
#
# So two sentences are both true, and people mix them up: *fine-tuning's update is of high rank*, and *an update
# of low rank is enough*.

# %% [markdown]
# ## Play: cut the update
#
# Recorded, from full fine-tuning on all 4,000 sentences, two seeds. On the left one matrix, on the right all 36
# cut at the same $k$. Move $k$, walk through the blocks, and ask:
#
# 1. Where does the accuracy stop rising, and how much of the energy is kept there?
# 2. The orange line is the opposite cut: the $k$ *strongest* directions are left out. Are they needed?
# 3. In which block is the update the most concentrated?

# %%
head_long = records.accuracy(records.select(records.load("lora"), group="methods", method="head"))[0]
pictures.explore_cut(record, head_long)

# %% [markdown]
# 1. **Four to eight directions are enough**, with about half of the energy. Rank 1 in every matrix already brings
#    most of the gain.
# 2. **The strong ones are needed as a group.** Without the eight strongest of each matrix both seeds are nearly back
#    at $k = 0$, though the directions that remain hold nearly half of the energy. So the long tail is not another way
#    to the same end; for this task it is mostly noise. On the single strongest the two seeds disagree: without it one
#    loses twenty points, the other two.
# 3. The update is most concentrated in the last block, where the gradient was, too.
#
# And why is $k = 0$, at 58 %, *below* the head alone? Presumably because all that was trained beside the matrices, the
# head too, fits the matrices as they had become, and the head had full fine-tuning's small learning rate. That is a
# supposition: nothing here tests it.
#
# One honest question is left: what about *all else that was trained*? Embeddings, biases, LayerNorms and the pooler
# (the layer between the last block and the head) moved too, 12 million numbers, and stayed as trained whatever $k$
# was. Which part carries the task? Undo one of the two, and see.

# %%
rest_back = copy.deepcopy(tuned)
heads = pt.models.head(tuned)
for n, p in rest_back.named_parameters():
    if n.removesuffix(".weight") not in matrices and n not in heads:
        p.data.copy_(before[n])
print(f"everything as trained:                      {uncut:.1%}")
print(f"the 36 matrices as trained, the rest undone: {pt.evaluate(rest_back, test).accuracy:.1%}")
print(f"the rest as trained, the 36 matrices undone: {at_zero:.1%}")

# %% [markdown]
# The matrices alone give nearly everything; embeddings, biases, LayerNorms and pooler without them give little *in this run*, where
# they were trained together with the matrices at one small learning rate. Could one of these small parts carry the
# task if it had to, alone and at a learning rate of its own?
#
# ## The idea: few places
#
# The third kind of small needs no random directions and no decomposition. Every linear layer and every LayerNorm
# has a bias $b_0$, one number for each output. **BitFit** (Ben Zaken et al. 2021) trains the biases and leaves every
# matrix alone:
#
# $$ y = x\,W^\top + b_0 + b = \mathrm{base}(x) + b $$
#
# | symbol | shape | trained | starts as |
# |---|---|---|---|
# | base | – | no | a pretrained linear layer ($W$, $b_0$) or LayerNorm |
# | $b$ | (n_out,) | **yes** | zero, so that the first output is the base's |
#
# (The paper trains $b_0$ itself. Training what is added to it is the same, and keeps the base as it was.)
#
# **Guess:** how many biases has a model of 22.7 million weights? And what rank has the $\Delta W$ of BitFit?
#
# ### Exercise 4 · BitFit (2 points, about 10 minutes)
#
# In this course a method is a class that inherits from `pt.Adapter`. An adapter holds one frozen module as
# `self.base`, and every parameter that it registers besides is its own, and trained.
#
# ```python
# class Double(pt.Adapter):                # an adapter that scales its base's output
#     def __init__(self, base):
#         super().__init__(base)           # keeps it as self.base
#         self.factor = torch.nn.Parameter(torch.tensor(2.0))
#
#     def forward(self, x):
#         return self.factor * self.base(x)
# ```
#
# Write `BiasAdapter(base)` so that it computes the equation above:
#
# - `base` is an `nn.Linear` or an `nn.LayerNorm` that has a bias, so `base.bias.shape` tells the size of $b$;
# - `self.b` is a `torch.nn.Parameter` of zeros, in float32 even where the base is bfloat16, a 16-bit format with two
#   to three digits, in which small steps would be lost. What comes out has the dtype of the base's output y:
#   round the sum, `(y + self.b).to(y.dtype)`, or b before you add it, which is a little coarser; both pass;
# - call `self.base(x)`; change nothing in the base.


# %% exercise="change.bitfit" part="solution"
class BiasAdapter(pt.Adapter):
    def __init__(self, base: torch.nn.Module):
        super().__init__(base)
        ### BEGIN SOLUTION
        self.b = torch.nn.Parameter(torch.zeros(base.bias.shape))
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        y = self.base(x)                                   # (…, n_out)
        return (y + self.b).to(y.dtype)
        ### END SOLUTION


# %% exercise="change.bitfit" part="check"
BiasAdapter = pt.check("change.bitfit", BiasAdapter)

# %% exercise="change.bitfit" part="grade"
pt.require("change.bitfit")

# %% [markdown]
# Your class goes around every module of the backbone that has a bias. `pt.attach` wraps them, freezes all else,
# and leaves the head trainable.

# %%
pt.seed(0)
model, tokenizer = pt.models.load("minilm", labels=2)
with torch.no_grad():
    outputs = model(**batch).logits
biased = tuple(n for n, m in model.named_modules()
               if n.startswith("bert.") and getattr(m, "bias", None) is not None)
model = pt.attach(model, biased, lambda base: BiasAdapter(base).to(base.bias.device))

with torch.no_grad():
    print("same outputs, to the bit:", torch.equal(outputs, model(**batch).logits))

# %% tags=["nbval-check-output"]
counted = pt.account.parameters(model)
print(f"modules with a bias: {len(pt.adapters(model))}")
print(f"trained: {counted.adapter:,} of {counted.total:,}, {counted.share:.2%}")
print(f"by hand, 6 blocks · (7 · 384 + 1,536) + embeddings and pooler: {6 * (7 * 384 + 1536) + 2 * 384:,}")

# %% [markdown]
# About a thousandth of the model. Its matrices do not change at all: **the rank of their $\Delta W$ is 0.** Now
# watch it learn, on all 4,000 sentences, beside the recorded curves of full fine-tuning and of the head alone.

# %%
examples = movies.train[:budget.train_examples]
batches = pt.data.batches(examples, tokenizer, budget.batch_size)
long = records.load("lora")                       # the record of lesson 07 has three seeds of both
full, head = (records.select(long, group="methods", method=m) for m in ("full", "head"))
beside = {"full fine-tuning": full[0]["losses"], "head only": head[0]["losses"]}
colours = {"full fine-tuning": pt.plots.COLOURS["full"], "head only": pt.plots.COLOURS["head"]}

steps = pt.widgets.watch(pt.train(model, batches, lr=3e-3), len(batches),
                         beside if budget.claims else None, colours)

# %%
bitfit = records.select(record, group="bitfit")
trained = pt.evaluate(model, pt.data.batches(movies.test[:budget.test_examples], tokenizer, 64))
print(f"your BitFit:              {trained.accuracy:.1%}  on {trained.examples:,} test sentences")
for name, rows in (("BitFit", bitfit), ("full fine-tuning", full), ("head only", head)):
    mean, spread = records.accuracy(rows)
    print(f"recorded {name:16s} {mean:.1%} ± {spread:.1%}  over three seeds")
for row in sorted(bitfit[:1] + records.select(record, group="rates"), key=lambda row: row["lr"]):
    print(f"learning rate {row['lr']:g}: {row['accuracy']:.1%}, {row['validation']:.1%} on validation, one seed")

# %% [markdown]
# A thousandth of the model, in no matrix at all, brings more than two thirds of what full fine-tuning gains over the
# head alone. And these biases were among the parts that did so little a moment ago: **what a part did when all was
# trained says little about what it can do alone.** The learning rate decides: 0.003 is thirty times that of full fine-tuning;
# a third of it learns too slowly for one pass over the data, and three times as much ends at chance.
#
# > **In the wild.** Hugging Face peft has a relative of your class, BEFT: a bias beside the base, around linear
# > layers ([peft#3195](https://github.com/huggingface/peft/pull/3195)). More often you meet an option of its LoRA,
# > `bias="all"` or `"lora_only"`, which trains the model's own biases *in place*. Two surprises follow: switched off,
# > the model is no longer the pretrained one ([peft#741](https://github.com/huggingface/peft/pull/741)), and for a
# > long time some of these biases were missing from the saved file
# > ([peft#3306](https://github.com/huggingface/peft/issues/3306)). An addition beside the base has neither problem.

# %%
with pt.disabled(model), torch.no_grad():
    print("switched off, the backbone is the pretrained one, to the bit:",
          torch.equal(model.bert(**batch)[0], pt.models.load("minilm", labels=2)[0].bert(**batch)[0]))

# %% [markdown]
# ## Break it on purpose
#
# **1. The wrong matrix is truncated.** To make a model small, somebody cuts $W + \Delta W$ in place of $\Delta W$.
# Both are matrices of the same shape, and nothing complains. At $k = 64$, eight times as many as above:

# %%
whole = copy.deepcopy(tuned)
for n in matrices:
    weight = whole.get_submodule(n).weight
    weight.data.copy_(truncate(weight.detach().cpu(), 64).to(pt.device()))
print(f"k = 64: ΔW cut, recorded: {there['64']:.1%};  W + ΔW cut: {pt.evaluate(whole, test).accuracy:.1%}")

# %% [markdown]
# Much of what the model knew is gone. The pretrained weight is spread over 140 to 270 directions, and its weak ones
# are *not* noise. So cut the change, never the sum.
#
# **2. The sign is forgotten.** Then each number of $z$ pushes all of its weights the same way. Take $d = 1$, so
# that $P$ is a single column, and look at one matrix again:

# %%
h, sign = hashes(entries, 1, seed=0)
numbers = torch.rand(384, generator=torch.Generator().manual_seed(0))
with torch.no_grad():       # what block 0 of MiniLM gets for the word "quiet"
    word = probe.eval().bert(**batch, output_hidden_states=True).hidden_states[0][0, 2].cpu()
print(f"mean of the input: random numbers {numbers.mean():.2f}, a word {word.mean():.2f}")
for signs, s in (("with signs   ", sign), ("without signs", torch.ones(entries))):
    change = project(torch.zeros(entries), torch.ones(1), h, s).view(384, 384)
    print(f"{signs}: |ΔW| = {change.norm():.2f}, rank {torch.linalg.matrix_rank(change):3d}, moves the output for "
          f"random numbers by {(change @ numbers).norm():.2f}, for a word by {(change @ word).norm():.2f}")

# %% [markdown]
# The change is as long as before, and nothing complains. But it has rank 1: all that it reads of an input is the
# mean. It answers sixteen times as strongly where the mean is 0.5, and hardly at all to a word of MiniLM, whose mean is
# near zero; with signs it answers both alike. What was to be a random direction has become a particular one.
#
# **3. No biases.** BitFit is attached to a newer kind of model.

# %%
from transformers import LlamaConfig, LlamaForCausalLM

llama = LlamaForCausalLM(LlamaConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=1,
                                     num_attention_heads=2, vocab_size=100))     # small, random, and a Llama
try:
    pt.bitfit.inject(llama)
except pt.errors.NoTargets as error:
    print(error)

# %% [markdown]
# Llama and many models after it have no biases. A script that trains "all parameters with `bias` in their name"
# finds none there, and trains the head, or nothing, without a word. **Count before you train.**
#
# ## The three kinds of small, side by side
#
# Here is the table of the beginning, with numbers in it. *Numbers* is what it takes to write the change of the
# backbone down; *rank* is that of the change of one 384 × 384 matrix.

# %%
cut = [t["kept"] for run, t in record["truncated"].items() if run.startswith("update")]
k8 = 24 * 8 * (384 + 384) + 12 * 8 * (384 + 1536)
rest = D - sum(m.numel() for m in updates.values())
rank_one = records.select(long, group="ranks", rank=1)
table = [("head only", 0, "0", records.accuracy(head)[0])]
for d in (1024, 16384):
    rows = records.select(record, group="subspace", d=d)
    table.append((f"random subspace, d = {d:,} *", d, "384", records.accuracy(rows)[0]))
table += [("BitFit", counted.adapter, "0", records.accuracy(bitfit)[0]),
          ("LoRA, rank 1 (lesson 07)", rank_one[0]["parameters"], "1", records.accuracy(rank_one)[0]),
          ("full, matrices cut to k = 8 **", k8 + rest, "8", sum(t["8"] for t in cut) / len(cut)),
          ("full fine-tuning", D, "384", records.accuracy(full)[0])]
table.sort(key=lambda row: row[1])
print(f"{'':32s}{'numbers':>12s}{'rank':>6s}   accuracy")
for name, numbers, rank, accuracy in table:
    print(f"{name:32s}{numbers:12,}{rank:>6s}   {accuracy:.1%}")
print(f"* half as many sentences   ** {k8:,} for the matrices, {rest:,} for all else, which stays as trained")

# %% [markdown]
# Rank does not order the accuracies: changes of rank 0, 1, 8 and 384 all work. Numbers nearly do, with one exception:
# LoRA's 9,216, in the query and value matrices alone, reach more than 16,384 random ones and BitFit's 26,112. (The
# two random subspaces saw half as many sentences.) So it also matters *which* numbers they are. And the question of
# the beginning?
#
# - **Few numbers: possible.** Fine-tuning moves all 22.7 million; about a thousand, in random directions, reach 90 %
#   of its accuracy.
# - **Low rank: not true of the update, true of what counts in it.** Its energy takes up to two hundred directions of
#   a matrix; eight carry nearly all of the accuracy.
# - **Few places: possible.** Fine-tuning moves them all; the biases alone, a thousandth, bring two thirds of its gain.
#
# **A pretrained model can be turned to a new task by many different small changes, and none of them is "the" change.**
# That is why there are so many methods in this course, and why their comparison (lesson 10) must be made by measurement.

# %%
pt.progress()

# %% [markdown]
# ## When, and when not
#
# **A random subspace** is an instrument for measuring, not a method for production: it saves numbers on disk, but
# every step still computes the gradient of all weights, and more. (Some methods are built on the thought, and
# train small vectors between frozen random matrices: VeRA, Kopiczko et al. 2023, arXiv 2310.11454.)
#
# **Truncating an update** after full fine-tuning saves disk space for many tasks, once each was fully trained. It
# is not trained for its rank, as LoRA is (lesson 07).
#
# **BitFit** is worth a try where a model has biases and the data are few: it is three lines, needs no setting
# but the learning rate, and leaves no trace in the end: $b$ can be added to $b_0$ (one says: *merged*). Where there are no biases, or there
# is more to learn, take a method with more room: lessons 03 to 09.
#
# **Five lines to remember**
#
# 1. Small has three meanings: few numbers, low rank, few places. None of them follows from another.
# 2. $\theta = \theta_0 + Pz$: intrinsic dimension is the least $d$ that works in *random* directions, and *works*
#    needs a threshold.
# 3. Full fine-tuning's $\Delta W$ is **not** of low rank here; a truncation to a low rank is nearly as good all the same.
# 4. BitFit changes no matrix at all: $\mathrm{base}(x) + b$, $b$ zero at the start.
# 5. What is cut is $\Delta W$, never $W$.
#
# **Sources**
#
# - Li et al. 2018, *Measuring the Intrinsic Dimension of Objective Landscapes*, arXiv 1804.08838: §2 the
#   construction, §2 and §3 $d_{90}$.
# - Aghajanyan et al. 2020, *Intrinsic Dimensionality Explains the Effectiveness of Language Model Fine-Tuning*,
#   arXiv 2012.13255: §3 the method, §4 language tasks, §5.1 how it falls while a model is pretrained.
# - Ben Zaken et al. 2021, *BitFit*, arXiv 2106.10199: §3 the method.
# - Hu et al. 2021, *LoRA*, arXiv 2106.09685: §4.1, where the hypothesis of a low *rank* takes its inspiration from
#   a low *dimension*.
# - Eckart & Young 1936, *The approximation of one matrix by another of lower rank*, Psychometrika 1.
# - Data: Hutto & Gilbert 2014, *VADER*, ICWSM; sentences of the film reviews of Pang & Lee 2004.
#
# The library's own version of the subspace and of BitFit's layer:

# %%
import inspect

print(inspect.getsource(Subspace))
print(inspect.getsource(pt.bitfit.BiasAdapter))
