# %% [markdown]
# # 07 · LoRA: a small correction to a large matrix
#
# **You have four tasks and one model of 91 MB.** Full fine-tuning gives you four more files of
# 91 MB. While it trains it holds, for every one of 22.7 million numbers, a gradient and the two running
# means that the optimizer Adam keeps, its *moments*.
#
# A matrix of this model is 384 × 384: 147,456 numbers. **Could its change be written in 6,144?**
#
# That is the question of this lesson. By the end you will be able to
#
# - write LoRA from its equation, and count what it trains;
# - say what the start, the scale and the rank do, and what happens when one is forgotten;
# - choose where to put it, and merge it away;
# - look at an update from inside, and say where LoRA and full fine-tuning differ.
#
# | | |
# |---|---|
# | **Time** | about 70 minutes: 4 exercises (40 min), reading and playing; Run All takes about a minute |
# | **You need** | a training loop in PyTorch, matrix products. Helpful: lessons 00 to 02 |
# | **Data** | 10,041 sentences from film reviews, each rated by about 20 people; Hutto & Gilbert 2014, MIT licence |
#
# How the exercises work: replace the line `raise pt.NotAttempted(…)` by your own code, run that cell,
# then the one below it, which tells you what it found. `pt.hint("lora.count")` gives a hint,
# `pt.reset("lora.count")` the original text. Until your code passes, the lesson goes on with ours, so you
# can always read ahead. The cells with `pt.require` are for graders; here they do nothing.

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
import torch

import peft_teach as pt

budget = pt.course.budget()           # how much to compute: PEFT_TEACH_BUDGET=smoke|cpu|gpu
record = pt.course.records.load("lora")   # runs too long for a lesson; assets/records/lora.py made them
pictures = pt.course.pictures("lora")
pt.seed(0)
print("budget:", budget.name, "· computing on:", pt.device())

# %% [markdown]
# ## The idea
#
# Here is the real thing: MiniLM, a BERT encoder with 6 blocks, and the matrix that makes the queries
# in block 0.

# %%
model, tokenizer = pt.models.load("minilm", labels=2)
query = model.bert.encoder.layer[0].attention.self.query
print("W:", tuple(query.weight.shape), "=", f"{query.weight.numel():,}", "numbers")
print("b:", tuple(query.bias.shape))
print("the whole model:", f"{pt.account.parameters(model).total:,}")

# %% [markdown]
# Fine-tuning changes $W$ into $W + \Delta W$. LoRA's bet is that a useful $\Delta W$ can be had as a
# product of two thin matrices:
#
# $$ y = x\,W^\top + b + s\,(x A^\top) B^\top \qquad\qquad s = \frac{\alpha}{r} $$
#
# | symbol | shape | trained | starts as |
# |---|---|---|---|
# | $x$ | (…, n_in) | – | the layer's input |
# | $W,\ b$ | (n_out, n_in), (n_out,) | no | the pretrained weight and bias |
# | $A$ | (r, n_in) | **yes** | random |
# | $B$ | (n_out, r) | **yes** | zero |
# | $s$ | a number | no | $\alpha / r$, a constant |
#
# $A$ reads $r$ numbers out of the input, $B$ writes them into the output. Multiplied out,
# $\Delta W = s\,BA$ has the shape of $W$, but never more than $r$ independent rows: its **rank** is at
# most $r$. (Hu et al. 2021, §4.1.)
#
# Drawn to scale, at $r = 8$:

# %%
pt.plots.show(pictures.draw_to_scale(384, 384, 8),
              "One matrix of the model, and the two that LoRA trains instead, drawn to one scale.")

# %% [markdown]
# ## Guess first
#
# We will train LoRA at six ranks, and full fine-tuning beside it, on the same 4,000 film reviews.
# **Which is the lowest rank that comes within three points of full fine-tuning's accuracy?** Choose
# before you read on. The first choice counts, and it is kept: your guess comes back.

# %%
guess = pt.widgets.Guess("The lowest rank within three points of full fine-tuning:", (1, 2, 4, 8, 16, 64), "lora.rank")
guess

# %% [markdown]
# ### Exercise 1 · Count them (1 point, about 5 minutes)
#
# Write `lora_count(n_in, n_out, rank)`: how many numbers does LoRA train for one matrix of shape
# (n_out, n_in)? Read the shapes of $A$ and $B$ off the table. The matrix need not be square.


# %% exercise="lora.count" part="solution"
def lora_count(n_in: int, n_out: int, rank: int) -> int:
    ### BEGIN SOLUTION
    return rank * n_in + n_out * rank
    ### END SOLUTION


# %% exercise="lora.count" part="check"
lora_count = pt.check("lora.count", lora_count)

# %% exercise="lora.count" part="grade"
pt.require("lora.count")

# %% [markdown]
# A thin matrix pays only while it is thin. **From which rank on does LoRA train as many numbers as
# the matrix itself has?** Say a number, then run the cell.

# %% tags=["nbval-check-output"]
for rank in (1, 8, 64, 128, 192, 256, 384):
    numbers = lora_count(384, 384, rank)
    print(f"rank {rank:3d}: {numbers:7,} numbers, {numbers / 384**2:6.1%} of the matrix")

# %% [markdown]
# At rank 192 nothing is saved, though 192 is only half of the largest possible rank, 384:
# $r\,(n_{in}+n_{out})$ reaches $n_{in}\,n_{out}$ at $r = n_{in}n_{out}/(n_{in}+n_{out})$, which for a
# square matrix is half its side. At rank 8 we are far below.

# %% [markdown]
# ## The start
#
# $A$ random, $B$ zero: why this pair? Four starts are possible. We take one real layer, random
# inputs and a random target, and look at the very first gradient of each.
#
# **Before you run it:** one of the four can never learn anything. Which? And in one of them, $A$
# gets no gradient in the first step, yet it learns. How?

# %%
generator = torch.Generator().manual_seed(0)
x, target = torch.randn(64, 384, generator=generator), torch.randn(64, 384, generator=generator)
W, b = query.weight.detach().cpu(), query.bias.detach().cpu()

for A_zero, B_zero in ((True, True), (False, True), (True, False), (False, False)):
    A = torch.zeros(8, 384) if A_zero else torch.randn(8, 384, generator=generator) / 384**0.5
    B = torch.zeros(384, 8) if B_zero else torch.randn(384, 8, generator=generator) / 8**0.5
    A.requires_grad_(), B.requires_grad_()
    y = x @ W.T + b + 2 * (x @ A.T) @ B.T
    moved = (y - (x @ W.T + b)).norm().item()
    (y - target).square().mean().backward()
    start = f"A {'zero  ' if A_zero else 'random'}, B {'zero  ' if B_zero else 'random'}"
    print(f"{start}: output moved by {moved:6.1f}   |grad A| {A.grad.norm():.4f}   |grad B| {B.grad.norm():.4f}")

# %% [markdown]
# - **Both zero:** no gradient at all, for ever. Each gradient is multiplied by the other matrix.
# - **One zero:** the output is exactly the pretrained one, and the *other* matrix's gradient is zero,
#   but only in the first step: as soon as $B$ has moved, $A$'s gradient is alive.
# - **Both random:** training starts from a model that somebody has already disturbed.
#
# LoRA takes $A$ random, $B$ zero. (The paper says Gaussian for $A$; the authors' code and Hugging
# Face peft draw it uniformly. [Asked and answered here](https://github.com/microsoft/LoRA/issues/98):
# which of the two is zero does not matter much.)

# %% [markdown]
# ### Exercise 2 · The layer (3 points, about 15 minutes)
#
# In this course a method is a class that inherits from `pt.Adapter`. An adapter holds one frozen
# module as `self.base`, and every parameter that it registers besides is its own, and trained.
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
# Write `LoRALinear(base, rank, alpha)` so that it computes the equation above:
#
# - `base` is an `nn.Linear` with `base.in_features` and `base.out_features`; it may have no bias,
#   so call `self.base(x)` instead of using its weight;
# - `self.A`, shape (rank, n_in), random with entries of about $1/\sqrt{n_{in}}$, as in the cell above;
#   `self.B`, shape (n_out, rank), zero; both `torch.nn.Parameter`;
# - `self.scale`, the number alpha / rank;
# - `A` and `B` are float32 even where the base is bfloat16: take `x.float()`. What comes out has the
#   dtype of the base's output y: round the sum, `(y + u).to(y.dtype)`, or the correction u before
#   you add it, which is a little coarser. Both pass.


# %% exercise="lora.layer" part="solution"
class LoRALinear(pt.Adapter):
    def __init__(self, base: torch.nn.Linear, rank: int = 8, alpha: float = 16.0):
        super().__init__(base)
        ### BEGIN SOLUTION
        self.scale = alpha / rank
        self.A = torch.nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.B = torch.nn.Parameter(torch.zeros(base.out_features, rank))
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        y = self.base(x)                                   # (…, n_out)
        h = x.float() @ self.A.T                           # (…, rank)
        return (y + self.scale * h @ self.B.T).to(y.dtype)
        ### END SOLUTION


# %% exercise="lora.layer" part="check"
LoRALinear = pt.check("lora.layer", LoRALinear)

# %% exercise="lora.layer" part="grade"
pt.require("lora.layer")

# %% [markdown]
# Now it goes on the real model: one layer of your class around the query and one around the value
# matrix, in all six blocks. `pt.attach` does the plumbing that you would not want to write twelve
# times: it wraps, freezes everything else, and leaves the new classification head trainable.

# %%
class MyLoRA(LoRALinear):
    def merged(self):
        return merged(self)      # the function of exercise 3, further down; until then it is not called


pt.seed(0)
model, tokenizer = pt.models.load("minilm", labels=2)
batch = tokenizer(["A quiet, funny, generous film.", "Two hours that I want back."],
                  padding=True, return_tensors="pt").to(pt.device())
with torch.no_grad():
    before = model(**batch).logits

model = pt.attach(model, ("query", "value"), lambda base: MyLoRA(base, rank=8, alpha=16))

with torch.no_grad():
    after = model(**batch).logits
print("adapters:", len(pt.adapters(model)))
print("same outputs, to the bit:", torch.equal(before, after))

# %% tags=["nbval-check-output"]
counted = pt.account.parameters(model)
print(f"adapter: {counted.adapter:,}  ({counted.share:.2%} of the model)")
print(f"head:    {counted.head:,}")
print(f"frozen:  {counted.frozen:,}")
print("as you counted:", counted.adapter == 12 * lora_count(384, 384, 8))

# %% [markdown]
# > **In the wild.** If some names in your list of target modules match and others do not, Hugging Face
# > peft skips the others without a word: 4 of 56 layers adapted, and a loss that stays where it was
# > ([peft#3554](https://github.com/huggingface/peft/issues/3554)). Always print how many modules were
# > adapted. Here, asking for a place that a model lacks is an error that lists what there is.

# %% [markdown]
# ## The scale
#
# Why divide by $r$? In its first step Adam moves every entry of $B$ by the learning rate, up or down,
# whatever the gradient's size. So each entry of $BA$ is a sum of $r$ random terms, and grows like
# $\sqrt r$. Let us see what is left of it with $s = \alpha/r$, and with $s = \alpha/\sqrt r$, which is
# called *rank-stabilised* (Kalajdzievski 2023). We keep $\alpha = 16$.

# %%
update = {"no scale": {}, "alpha / rank": {}, "alpha / √rank": {}}
for rank in (1, 2, 4, 8, 16, 32, 64):
    A = torch.randn(rank, 384, generator=generator) / 384**0.5
    B = 1e-3 * torch.randn(384, rank, generator=generator).sign()   # one step of Adam from zero
    size = (B @ A).norm().item()
    update["no scale"][rank] = size
    update["alpha / rank"][rank] = 16 / rank * size
    update["alpha / √rank"][rank] = 16 / rank**0.5 * size

pt.plots.show(pictures.draw_sizes(update, "size of ΔW after one step"),
              "The size of the first update against the rank, alpha fixed at 16, both axes logarithmic.")

# %% [markdown]
# With a fixed $\alpha$ and $\alpha/r$, raising the rank makes every step *smaller*. A common remedy lets
# $\alpha$ grow with the rank: $\alpha = 2r$, so $s = 2$ always. That is the rising curve, and it makes every
# step *larger*. Only $\alpha/\sqrt r$ stays where it was. Keep the three curves in mind: one of them will
# bite us below.
#
# The learning rate is the other half of the same coin. **Guess:** if full fine-tuning is best at
# $10^{-4}$, what does LoRA do there? The record has both, over a wide range.

# %%
colours = {"full fine-tuning": pt.plots.COLOURS["full"], "LoRA, rank 8": pt.plots.COLOURS["lora"],
           "head only": pt.plots.COLOURS["head"]}
majority = record["setting"]["majority"]
rates = {"full fine-tuning": pictures.rates_recorded(record, "full"),
         "LoRA, rank 8": pictures.rates_recorded(record, "lora"),
         "head only": pictures.rates_recorded(record, "head")}

pt.plots.show(pt.plots.rates(rates, colours, majority),
              "Recorded: test accuracy after 250 steps against the learning rate, one seed each.")
print(f"LoRA at full fine-tuning's rate, 0.0001: {rates['LoRA, rank 8'][1e-4]:.1%}")
print(f"full fine-tuning at LoRA's rate, 0.003:  {rates['full fine-tuning'][3e-3]:.1%}")

# %% [markdown]
# LoRA wants a learning rate ten to thirty times as high. At full fine-tuning's rate it has hardly begun to
# learn, a common reason why "LoRA does not work here"; at LoRA's rate, full fine-tuning destroys what it was
# given and ends at chance. When you compare methods, tune the rate of each; the head alone wants 0.1. And see
# how near LoRA's best rate is to its edge: at 0.01 it ends at chance, too.

# %% [markdown]
# ## Watch it learn
#
# Your class, on real sentences. A few of them first: 1 is positive, 0 is negative.

# %%
movies = pt.data.load("movies")
for text, label in movies.train[:4]:
    print(label, "·", text[:110])
print(movies)
print("source:", movies.source)

# %%
batches = pt.data.batches(movies.train[:budget.train_examples], tokenizer, budget.batch_size)
test = pt.data.batches(movies.test[:budget.test_examples], tokenizer, 64, shuffle=False)

# %%
full, head = (pt.course.records.select(record, group="methods", method=m) for m in ("full", "head"))
beside = {"full fine-tuning": full[0]["losses"], "head only": head[0]["losses"]}

steps = pt.widgets.watch(pt.train(model, batches, lr=3e-3), len(batches),
                         beside if budget.claims else None, colours)

# %%
trained = pt.evaluate(model, test)
print(f"your LoRA:           {trained.accuracy:.1%}  on {trained.examples:,} test sentences, after {len(steps)} steps")
for name, rows in (("full fine-tuning", full), ("head only", head),
                   ("LoRA, rank 8", pt.course.records.select(record, group="ranks", rank=8))):
    mean, spread = pt.course.records.accuracy(rows)
    print(f"recorded {name:17s} {mean:.1%} ± {spread:.1%}  over three seeds")
print(f"always the same answer: {majority:.1%}")
print(f"standard error of 80 % on {len(movies.test):,} sentences: {(0.8 * 0.2 / len(movies.test)) ** 0.5:.1%}")

# %% [markdown]
# So one third of a percent of the parameters recovers nine tenths of what full fine-tuning adds to the head
# alone, and not quite all of it. Keep the standard error in mind: differences of less than a point,
# on one seed, say nothing.
#
# ## The bill
#
# What did it cost, beside full fine-tuning? The ledger *predicts* what stands in memory while
# training: weights, gradients, the optimizer's moments, and the activations kept for the backward pass.

# %%
full_model, _ = pt.models.load("minilm", labels=2)
full_model = pt.full.inject(full_model, pt.full.Config("all"))

bill = {"full": pt.account.ledger(full_model), "LoRA": pt.account.ledger(model)}
pt.plots.show(pt.plots.ledgers(bill), "Predicted memory of one training step, 16 sentences of 32 tokens.")

# %%
ids = torch.randint(1000, 20000, (16, 32), generator=generator)          # 16 sentences of 32 tokens
same = [{"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.zeros(16).long()}] * 9
lora_model = pt.attach(pt.models.load("minilm", labels=2)[0], ("query", "value"),
                       lambda base: LoRALinear(base, rank=8, alpha=16))


def step_seconds(m):
    """Median time of a training step, over nine of them."""
    return sorted(step.seconds for step in pt.train(m, same, lr=1e-5))[4]


full_seconds, lora_seconds = step_seconds(full_model), step_seconds(lora_model)
print(f"one step of full fine-tuning: {1000 * full_seconds:.0f} ms")
print(f"one step of LoRA:             {1000 * lora_seconds:.0f} ms, {lora_seconds / full_seconds:.0%} of it")

# %%
saved = pt.save(model, Path("work") / "movie-lora")
kilobytes = sum(file.stat().st_size for file in saved.iterdir()) / 1000
peak = {name: c["peak_mb"] - c["loaded_mb"] for name, c in record["cost"].items()}

print(f"one more task on disk:      full {full_model.num_parameters() * 4 / 1e6:4.0f} MB   LoRA {kilobytes:3.0f} kB")
print(f"memory at the peak, added*: full {peak['full']:4.0f} MB   LoRA {peak['lora']:3.0f} MB")
print("* recorded: resident memory of a fresh process while training, above that with the model loaded")

# %% [markdown]
# Gradients and optimizer shrink to almost nothing. The weights stay, of course, and **the activations
# shrink only by a third**: to reach the $A$ and $B$ of block 0, the backward pass must still come down
# through every block. So "LoRA needs a third of the memory" is true here, and where optimizer states
# dominate: large models, small batches. With long texts and large batches the activations dominate, and
# the saving melts. People keep being surprised by that
# ([peft#2196](https://github.com/huggingface/peft/issues/2196)).
#
# The file is where the difference is of another kind: hundreds of tasks fit where one model did.

# %% [markdown]
# ## Rank, places, blocks
#
# What does a setting cost, and what was measured? Choose a rank, places and blocks. Left, the numbers that it
# trains, among those of other places; below, its memory while training and its file. Right, once you have
# committed to a guess, every recorded setting, three seeds each, $\alpha = 2r$; the large dot is the nearest to
# yours. The button trains *your* setting, on the same sentences, with the same number of steps; you can read on
# meanwhile, and *Stop* ends it. Its point stays in the picture.
#
# **Look for** the cheapest setting within three points of full fine-tuning, and for a dot that does not fit in
# with the others.

# %%
pictures.explore_rank(record, guess)

# %% [markdown]
# ### What does the rank do?
#
# Query and value in all blocks, one rank after the other. One of the six will surprise you.

# %%
def told(groups):
    """Print the accuracy of each setting: mean and standard deviation over the seeds."""
    for label, values in groups:
        print(f"  {label:44s} {torch.tensor(values).mean():.1%} ± {torch.tensor(values).std():.1%}")


levels = {name: pt.course.records.accuracy(rows)[0] for name, rows in (("full", full), ("head", head))}
ranks = pt.course.records.dots(record, "ranks", lambda r: f"rank {r['rank']}")
ranks.sort(key=lambda row: int(row[0].split()[1]))

told(ranks)
print(f"  full fine-tuning {levels['full']:.1%}, head only {levels['head']:.1%}")
near = [name for name, values in ranks if sum(values) / len(values) > levels["full"] - 0.03]
print("within three points of full fine-tuning:", ", ".join(near))
print("your guess: rank", guess.value or "... you did not choose one")

# %% [markdown]
# Two surprises. **Rank 1 is enough** to come within three points: 9,216 numbers, 0.04 % of the model.
# From rank 4 on, more rank buys nothing that three seeds could show.
#
# And **rank 64 falls below the head alone.** A larger rank contains every smaller one, so it is not the
# rank that is too large. What is? Look back at the figure of the scale: with $\alpha = 2r$, $s$ stays at
# 2, so it is the line *no scale* that applies, and the updates of rank 64 are $\sqrt 8$ times as large
# as those of rank 8. At this learning rate that is too much. Below, the same rank with a smaller
# $\alpha$ is well again.
#
# ### Where to put it
#
# One budget of about 73,000 numbers, spent in different places. **Guess:** thick in one place, rank 16 on the
# queries alone, or thin in all, rank 2 on every matrix?

# %%
short = {"query": "query", "value": "value", "ffn_in, ffn_out": "feed-forward",
         "query, key, value, attention_out": "attention",
         "query, key, value, attention_out, ffn_in, ffn_out": "everything"}
places = [("query, value  (r=8)", dict(ranks)["rank 8"])]
places += pt.course.records.dots(record, "places", lambda r: f"{short[', '.join(r['targets'])]}  (r={r['rank']})")
told(places)

# %% [markdown]
# And in how many blocks? Rank 8 on query and value throughout, so fewer blocks means fewer
# parameters. **Guess:** if you may adapt only half of the blocks, the lower or the upper?

# %%
blocks = [("all six", dict(ranks)["rank 8"])]
blocks += pt.course.records.dots(record, "layers", lambda r: "block " + ", ".join(map(str, r["layers"])))
told(blocks)

# %% [markdown]
# Thin in all places beats thick in one: rank 2 on every matrix is three points ahead of rank 16 on the queries
# alone. The feed-forward part does as well as the whole attention. (The paper adapted attention only, §4.2;
# Biderman et al. 2024, §4, find on large models that the feed-forward part should not be left out.)
#
# Of the blocks, the upper ones matter more: the last block alone, 12,288 numbers, does as well as the three
# lowest together. "Selective LoRA trains under 0.05 %", one reads; here one block of six at rank 8 is
# 0.054 %, and it costs three points. Such percentages say more about the size of a model than about the method.
#
# ### Variants that you will meet
#
# - **rsLoRA**: $s = \alpha/\sqrt r$. Shown where it should matter, at rank 64, with the $\alpha$ that makes
#   $s = 2$ at rank 8, as in the run that worked. (At rank 64 it makes $s = 0.7$.)
# - **Dropout** on the input of $A$.
# - **LoRA+** (Hayou et al. 2024): $B$ learns faster than $A$, here 16 times, with a lower base rate.
#   (Sometimes you read of "LoRA++". There is no such standard method.)

# %%
def variant(r):
    return (f"r={r['rank']}, alpha={r['alpha']:.3g}" + (", rsLoRA" if r.get("rank_stabilized") else "")
            + (", dropout 0.1" if r.get("dropout") else "") + (", LoRA+" if r.get("plus") else ""))


variants = [("r=8, alpha=16", dict(ranks)["rank 8"]), ("r=64, alpha=128", dict(ranks)["rank 64"])]
variants += pt.course.records.dots(record, "variants", variant)
told(variants)

# %% [markdown]
# Rank 64 is well again with $\alpha = 16$ and with rsLoRA: **it was the scale.** That is what rsLoRA is for:
# choose $\alpha$ once, at a small rank, and keep it. For dropout no difference is seen, and LoRA+ does not
# help here, at this ratio and rate: 250 steps of a small task are not what they were made for, and "no
# difference seen" is a result too.
#
# ## Merge it away
#
# While the adapter stands beside $W$, every call computes both. But
#
# $$ x\,W^\top + s\,(xA^\top)B^\top = x\,(W + s\,BA)^\top , $$
#
# so after training the two can be added up once, and the layer is an ordinary one again.
#
# ### Exercise 3 · The merge (2 points, about 10 minutes)
#
# Write `merged(layer)`: from a LoRA layer with `layer.base`, `layer.A`, `layer.B` and `layer.scale`,
# make a **new** `torch.nn.Linear` with the same outputs, and leave `layer` as it is.
#
# - `torch.nn.Linear(n_in, n_out, bias=…, dtype=…)`: the base may have a bias or not, and may be bfloat16;
# - copy into its weight and bias under `torch.no_grad()`, with `copy_`, which also rounds to their dtype;
# - add up in float32: round once, at the end.


# %% exercise="lora.merge" part="solution"
def merged(layer) -> torch.nn.Linear:
    base = layer.base
    ### BEGIN SOLUTION
    linear = torch.nn.Linear(base.in_features, base.out_features, bias=base.bias is not None,
                             dtype=base.weight.dtype, device=base.weight.device)
    with torch.no_grad():
        linear.weight.copy_(base.weight.float() + layer.scale * layer.B @ layer.A)
        if base.bias is not None:
            linear.bias.copy_(base.bias)
    return linear
    ### END SOLUTION


# %% exercise="lora.merge" part="check"
merged = pt.check("lora.merge", merged)

# %% exercise="lora.merge" part="grade"
pt.require("lora.merge")

# %%
import copy
import time


def milliseconds(m):
    """Median time of a forward pass."""
    times = []
    with torch.no_grad():
        for _ in range(9):
            start = time.perf_counter()
            m(input_ids=ids.to(pt.device()))
            times.append(time.perf_counter() - start)
    return 1000 * sorted(times)[4]


plain = pt.merge(copy.deepcopy(model))      # calls your merged() on all twelve
with torch.no_grad():
    difference = (model(**batch).logits - plain(**batch).logits).abs().max().item()
print(f"largest difference of the outputs: {difference:.1e}")
print(f"forward pass: {milliseconds(model):.1f} ms with the adapter, {milliseconds(plain):.1f} ms merged")
print("adapters left:", len([m for m in plain.modules() if isinstance(m, pt.Adapter)]))

# %% [markdown]
# Not zero, but rounding: the two add up the same products in another order. Now in half precision. The
# file that you saved above fits on a bfloat16 copy of the base, too: attach the same class, then swap
# the saved numbers in.

# %%
half, _ = pt.models.load("minilm", labels=2, dtype=torch.bfloat16)
half = pt.attach(half, ("query", "value"), lambda base: MyLoRA(base, rank=8, alpha=16))
half = pt.store.swap(half, saved)
half_plain = pt.merge(copy.deepcopy(half))
with torch.no_grad():
    exact = model(**batch).logits
    for name, m in (("adapter beside a bfloat16 base", half), ("merged into it", half_plain)):
        print(f"{name:31s} off by {(m(**batch).logits - exact).abs().max():.1e}, {milliseconds(m):.1f} ms")

# %% [markdown]
# Both are off by some thousandths: that is the coarse grid of the bfloat16 base itself, and merging adds
# nothing to it that one could see here. But can a merge be taken out again, by subtracting what was added?

# %%
layer = pt.adapters(model)["bert.encoder.layer.5.attention.self.value"]
with torch.no_grad():
    delta = layer.scale * layer.B @ layer.A
    W = layer.base.weight
    for dtype in (torch.float32, torch.bfloat16):
        there = (W + delta).to(dtype)
        back = (there.float() - delta).to(dtype)
        lost = ((there.float() - W.to(dtype).float()) == 0).float().mean().item()
        print(f"{dtype!s:15s} {(back != W.to(dtype)).float().mean():6.1%} of the numbers are not restored;  "
              f"ΔW had no effect on {lost:.1%}")

# %% [markdown]
# Taking it out again is *nearly* right, and "nearly" adds up over many merges. In bfloat16, $\Delta W$ is
# partly lost on the way in: it falls between two neighbouring numbers of the coarse grid. Whoever wants
# the base back keeps a copy, or does not merge. In this course nothing merges by itself.
#
# ## Break it on purpose
#
# Three famous mistakes. You will meet each of them in other people's code, so see the symptom once.
#
# **1. The base is not frozen.** Nothing crashes, and it even learns. But look at the count, and at what the
# "base" is afterwards.

# %%
broken = pt.models.load("minilm", labels=2)[0]
broken = pt.attach(broken, ("query", "value"), lambda base: LoRALinear(base, 8, 16))
for p in broken.parameters():
    p.requires_grad_(True)               # the mistake: often an innocent-looking line in a training script

with pt.disabled(broken), torch.no_grad():
    base_before = broken.bert(**batch)[0]
for _ in pt.train(broken, same, lr=1e-4):
    pass
with pt.disabled(broken), torch.no_grad():
    base_after = broken.bert(**batch)[0]

print(f"trained: {sum(p.numel() for p in broken.parameters() if p.requires_grad):,} numbers instead of 74,498")
print("with the adapter switched off, still the pretrained model:", torch.equal(base_before, base_after))

# %% [markdown]
# The adapter's file would be useless: it belongs to a base that exists nowhere else. **Count before you
# train**, and compare with the formula.
#
# **2. Adapted twice.** A helper adapts the model, and then the training script does it again.

# %%
try:
    model = pt.attach(model, ("query", "value"), lambda base: LoRALinear(base, 8, 16))
except pt.errors.AlreadyAdapted as error:
    print(error)

# %% [markdown]
# Many small implementations wrap the wrapper without a word, and then train one correction and save the
# other. In Hugging Face peft the base model is changed in place, so a second `get_peft_model` on "the
# same" model finds the first one still there
# ([peft#2295](https://github.com/huggingface/peft/issues/2295)).
#
# **3. Merged twice.** The correction is added to $W$, and then again.

# %%
twice = copy.deepcopy(plain)
with torch.no_grad():
    for name, layer in pt.adapters(model).items():
        twice.get_submodule(name).weight += layer.scale * layer.B @ layer.A

for name, m in (("merged once", plain), ("merged twice", twice)):
    found = pt.evaluate(m, test)
    print(f"{name}: accuracy {found.accuracy:.1%}, loss {found.loss:.3f}")

# %% [markdown]
# A few points are gone, the loss is clearly up, and nothing complained. Were it a smaller update, you would
# not even notice.
#
# ## From inside
#
# The singular values of $\Delta W$ say along how many directions a matrix was changed, and how strongly in each.
# Your own update is the green one. Move through the blocks, and ask:
#
# 1. Does LoRA use all of the rank that it was given? Below left is what is left of the accuracy when every
#    $\Delta W$ keeps only its $k$ strongest directions.
# 2. Is the update of full fine-tuning of low rank?
# 3. Do both change the same directions? The bars compare the (at most eight) strongest
#    directions with those of full fine-tuning, and, as a yardstick, full fine-tuning with full
#    fine-tuning from another seed.
# 4. What becomes of $W$? Above right are the strongest directions of $W + \Delta W$. A star is a direction that
#    $W$ did not have: an *intruder*.

# %%
pictures.explore_updates(record, pt.course.records.load("change"), pictures.own_updates(model))

# %%
labels = {"1": "LoRA, rank 1", "4": "LoRA, rank 4", "8": "LoRA, rank 8", "16": "LoRA, rank 16",
          "64": "LoRA, rank 64", "full": "full fine-tuning", "weight": "the weight W itself"}
print("how many directions hold 90 % of the energy (the sum of σ²), of 384, mean over the twelve matrices:")
for name, label in labels.items():
    sigmas = [torch.tensor(m["sigma"]) for m in record["spectra"][name].values()]
    print(f"  {label:19s} {sum(pt.spectra.energy_rank(s) for s in sigmas) / len(sigmas):6.1f}")
print("intruders among the 32 strongest directions of W + ΔW, in each of the twelve matrices:")
for name in ("8", "full"):
    found = [sum(cosine < 0.6 for cosine in m["known"]) for m in record["spectra"][name].values()]
    print(f"  {labels[name]:19s}", *found)

# %% [markdown]
# 1. **LoRA does not use the rank that it is given.** At rank 8, two or three directions hold 90 % of the
#    energy, and at rank 64 hardly more. Cut to a single direction in each matrix, the LoRA of rank 8 still has
#    79.4 of its 80.0 %. That is why a small rank is enough.
# 2. **Full fine-tuning's update is not of low rank:** it takes some 70 directions. So "fine-tuning is
#    low-rank" is not what makes LoRA work. What does is weaker, and enough: *some* update of low rank is
#    nearly as good.
# 3. **They hardly point the same way.** At rank 8 and above the overlap is several times what chance gives and, on
#    average, well below what full fine-tuning has with itself from another seed. Two ways to nearly the same
#    accuracy.
# 4. **LoRA puts in what $W$ did not have, full fine-tuning does not.** At rank 8 every one of the twelve matrices
#    has an intruder, and in nine it is the strongest direction of all. After full fine-tuning there is none.
#
# Look at the vertical axis: where full fine-tuning changes a little in many directions, LoRA changes much
# in two or three, there 15 to 50 times as strongly as full fine-tuning changes any. Shuttleworth et al. 2024,
# who gave the intruders their name, find that they cost some of what the model knew before.
#
# ## A puzzle
#
# ### Exercise 4 · Forty kilobytes (2 points, about 10 minutes)
#
# A watch has room for adapters of 40 kB: 10,000 numbers of four bytes (the head is stored elsewhere).
# These LoRAs of about that size were measured. **Which would you ship?** You have seen what decides it; the
# accuracies come after your choice.

# %%
small = [r for r in record["runs"] if r["group"] in ("ranks", "forty_kb") and r["parameters"] <= 20_000]
candidates = sorted(pt.course.records.by_setting(small), key=lambda runs: runs[0]["parameters"])
for runs in candidates:
    r = runs[0]
    print(f"rank={r['rank']}  alpha={r['alpha']:2d}  targets={', '.join(r['targets']):21s}  layers={r['layers']}")

# %% [markdown]
# Write `forty_kb()` so that it returns your choice as `pt.lora.Config(rank=…, alpha=…, targets=(…), layers=…)`.
# It passes if it fits, was measured, and lies within a point of the best that fits. (One of them is too large.)


# %% exercise="lora.forty_kb" part="solution"
def forty_kb() -> pt.lora.Config:
    ### BEGIN SOLUTION
    # Thin and in all blocks: 12 matrices · 768 numbers · rank 1 = 9,216.
    return pt.lora.Config(rank=1, alpha=2, targets=("query", "value"), layers=None)
    ### END SOLUTION


# %% exercise="lora.forty_kb" part="check"
forty_kb = pt.check("lora.forty_kb", forty_kb)

# %% exercise="lora.forty_kb" part="grade"
pt.require("lora.forty_kb")

# %%
for runs in candidates:
    r, (mean, spread) = runs[0], pt.course.records.accuracy(runs)
    print(f"{r['parameters']:6,} numbers  rank={r['rank']}  {', '.join(r['targets']):21s} "
          f"layers={r['layers']!s:16s} {mean:.1%} ± {spread:.1%}")

# %%
pt.progress()

# %% [markdown]
# ## When, and when not
#
# **Take LoRA** when there are many tasks and one base; when gradients and optimizer states do not fit;
# when the merged model must be as fast as before.
#
# **Do not expect** much smaller activations, a faster step on every machine, or exactly full fine-tuning's
# accuracy: here a gap remains, in line with Biderman et al. 2024 ("LoRA learns less and forgets less").
# When every tenth of a point counts and there is one task, train everything.
#
# **Five lines to remember**
#
# 1. $\Delta W = \frac{\alpha}{r} BA$: $r\,(n_{in}+n_{out})$ numbers in place of $n_{in}\,n_{out}$.
# 2. $B$ starts at zero, so the first output is the base's; $A$ must not.
# 3. Change the rank, and think of $\alpha$; change the method, and tune the learning rate anew.
# 4. Gradients and optimizer states shrink with the trained numbers; activations shrink little.
# 5. Merge for speed, keep the adapter for the next task; count what trains before you train.
#
# **Sources**
#
# - Hu et al. 2021, *LoRA*, arXiv 2106.09685: §4.1 the equation, §4.2 where to put it and what it saves,
#   §7 the rank and the directions.
# - Kalajdzievski 2023, *A rank stabilization scaling factor for fine-tuning with LoRA*, arXiv 2312.03732.
# - Hayou et al. 2024, *LoRA+*, arXiv 2402.12354.
# - Shuttleworth et al. 2024, *LoRA vs Full Fine-tuning: An Illusion of Equivalence*, arXiv 2410.21228.
# - Biderman et al. 2024, *LoRA Learns Less and Forgets Less*, arXiv 2405.09673.
# - Data: Hutto & Gilbert 2014, *VADER*, ICWSM; sentences of the film reviews of Pang & Lee 2004.
#
# The library's own version of what you wrote, with rsLoRA, dropout and checks of its input added:

# %%
import inspect

print(inspect.getsource(pt.lora.LoRALinear))
