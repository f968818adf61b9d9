# %% [markdown]
# # 07 · LoRA: a thin correction to a large matrix
#
# You have one model and four tasks. Full fine-tuning gives you four models of 91 MB each, and a training that keeps a gradient and two
# running means for every weight.
#
# Edward Hu and his colleagues at Microsoft had the same problem in 2021, with GPT-3: a full copy for every task was too
# expensive. They made a bet: the *change* that fine-tuning makes to a matrix needs far fewer numbers than the matrix.
#
# In this lesson you write their method, LoRA, and put it on your ladder. Then you solve a case: a larger LoRA failed where a
# smaller one learned. Why?
#
# | | |
# |---|---|
# | **Time** | about 80 minutes, 45 of them for 5 exercises, and one more if you like; Run All takes about three minutes |
# | **You need** | a training loop in PyTorch, matrix products; lessons 00 to 02 help |
# | **Data** | sentences from film reviews, 2,716 of them for testing (2,563 where labels are tested), each rated by about 20 people; Hutto & Gilbert 2014, MIT licence |
#
# <details><summary>Three questions from earlier lessons</summary>
#
# **02: A change of a matrix is made from few parameters. Is it of low rank?** Not necessarily. One number times the
# identity is a change of full rank.
#
# **01: How does a test show that a frozen parameter has not moved?** It keeps a copy before training and compares to the bit
# afterwards. `requires_grad = False` alone proves nothing.
#
# **00: Which parts of training memory shrink with the number of trained parameters?** Gradients and optimizer states. The weights
# stay, and the activations shrink less.
# </details>

# %% jupyter={"source_hidden": true}
import copy

import pandas as pd
import torch

import peft_teach as pt

budget = pt.course.budget()                 # how much to compute: PEFT_TEACH_BUDGET=smoke|cpu|gpu
record = pt.course.records.load("lora")     # runs too long for a lesson (assets/records/lora.py)
pictures = pt.course.pictures("lora")
live = pt.course.live
movies = pt.data.load("movies")
pt.seed(0)

# %% [markdown]
# ## The bet

# %%
pt.plots.show(pt.drawing.block("lora", counts=False), "One of six blocks of our model. Each W "
              "stays frozen; two strips, A and B, train beside the query and the value.")

# %% [markdown]
# Keep the matrix $W$ frozen, and let the input $x$ take a second path. $A$ squeezes it to $r$ numbers, $B$ expands these to the
# size of the output, and a fixed factor $s$ sets how loudly the second path speaks. You choose $r$ and $\alpha$:
#
# $$ y = x\,W^\top + b + s\,(x A^\top)\, B^\top, \qquad s = \frac{\alpha}{r} $$
#
# The second path acts like adding $\Delta W = s\,BA$ to $W$. Everything passes through $r$ numbers, so $\Delta W$ has a **rank**
# of at most $r$.
#
# ### Exercise 1 · Count A and B (1 point, about 4 minutes)
#
# How many parameters does LoRA train for one matrix of shape (n_out, n_in), square or not? Read the shapes of $A$ and $B$ off the
# equation.
#
# <span class="notebook">If you solved it on the first page, copy your line.</span>


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
# ## How much rank is enough?
#
# We trained six ranks on query and value in every block, three seeds each, on 4,000 sentences with labels, positive or negative.
# **Which is the lowest rank that comes within four points of full fine-tuning?**

# %%
guess = pt.widgets.Guess("The lowest rank within four points:", (1, 2, 4, 8, 16, 64), "lora.rank")
rank_picture = pictures.explore_rank(record, guess)
rank_picture

# %% tags=["nbval-check-output"]
ranks = record.runs.query("group == 'ranks'")
means = ranks.groupby("rank").accuracy.mean()
_, full = pt.course.records.ends()
lowest = int(means[means > full - 0.04].index[0])
pt.compare("lora.rank", lowest, "the lowest rank within four points")
pt.course.records.table(ranks, ["rank", "alpha", "parameters"])

# %% [markdown]
# <details><summary>What the picture says</summary>
#
# Move the rank to 192: A and B have as many entries as the matrix itself, and nothing is saved any more. And a head that reads the
# mean of all tokens brings nearly half of the gain without LoRA.
# </details>
#
# Now look at the last dot. The largest LoRA ends *below the head on the pooler*. Yet rank 64 can do whatever rank 8 can: it need only leave 56
# rows of $A$ unused.
#
# ## Where to begin
#
# $A$ and $B$ can each start at zero or at random: four starts. For each we take one query matrix, random inputs and a random target.
#
# **Whose gradient is exactly zero?** Answer with a list of four, each `"A"`, `"B"`, `"AB"` for both or `""` for neither, for these
# starts: both zero; only $B$ zero; only $A$ zero; both random.

# %%
pt.commit("lora.zero_gradients", ..., like=["A", "B", "AB", ""])

# %% tags=["nbval-check-output"]
model, tokenizer = pt.models.load("minilm", labels=2)
starts = pictures.first_gradients(model.bert.encoder.layer[0].attention.self.query)
pt.compare("lora.zero_gradients", [*starts.zero], "both zero · B zero · A zero · both random")
starts.round(4)

# %% [markdown]
# Let $G$ be the gradient of the loss with respect to the output, one row for each input. The chain rule gives
#
# $$ \nabla_A = s\,B^\top G^\top x, \qquad \nabla_B = s\,G^\top (x A^\top) $$
#
# <details><summary>What the two gradients say</summary>
#
# Each gradient contains the <i>other</i> matrix. If B is zero, A gets no gradient until B has moved, one step later. If both are
# zero, that moment never comes. If neither is, training starts from a damaged model.
# </details>
#
# Hu et al. start with $A$ random and $B$ zero.
#
# ### Exercise 2 · The layer (3 points, about 14 minutes)
#
# A method in this course is a class that inherits from `pt.Adapter`, as `Scale` of lesson 02. The frozen module is `self.base`; every
# other parameter that the class registers is trained.
#
# Write `LoRALinear(base, rank, alpha)` around an `nn.Linear`, with parameters `A` and `B` and a number `scale`. It computes the
# equation above, and:
#
# 1. Untrained, it gives the base's output, to the bit.
# 2. It owns exactly the parameters that you counted. The base arrives frozen and stays frozen; it may have no bias.
# 3. After two training steps, both `A` and `B` have moved.
# 4. One of the two matrices is random. If its inputs have a standard deviation of 1, so do its outputs, roughly (0.5 to 1.8), at any width.
# 5. It never builds a matrix of n_out × n_in.
# 6. With a bfloat16 base, input and output are bfloat16. Keep `A`, `B` and the products with them in float32: in bfloat16
#    a small step can be rounded away.


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
# ### Exercise 3 · The law of the start (2 points, about 9 minutes)
#
# A colleague sends you a LoRA layer. Write `start_holds(make)`, a test that raises an error if the layer breaks this law:
#
# > *At the start the output equals the base's, to the bit. Within a few steps the gradient of the loss moves both $A$ and $B$, and
# > nothing in the base moves.*
#
# `make(base, rank, alpha)` builds the layer around a frozen float32 `nn.Linear` of your choice; its parameters are called `A` and `B`.
# Any error counts as a rejection.


# %% exercise="lora.start" part="solution"
def start_holds(make):
    ### BEGIN SOLUTION
    base = torch.nn.Linear(6, 4).requires_grad_(False)
    layer, x = make(base, 2, 4.0), torch.randn(8, 6)
    assert torch.equal(layer(x), base(x))
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    optimizer = torch.optim.Adam([p for p in layer.parameters() if p.requires_grad], lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        (layer(x) - 1).square().mean().backward()
        optimizer.step()
    for name, p in layer.named_parameters():
        assert torch.equal(p, before[name]) == (name not in ("A", "B")), name
    ### END SOLUTION


# %% exercise="lora.start" part="check"
start_holds = pt.check("lora.start", start_holds)

# %% exercise="lora.start" part="grade"
pt.require("lora.start")

# %% [markdown]
# ### Exercise 4 · A broken one of your own (2 points, optional, about 5 minutes)
#
# A colleague wrote a test, too, with AdamW. Write `BrokenLoRA`, a layer that it accepts and the law forbids. The
# class inherits from your layer, so override only what you change.


# %%
def looks_right(make):
    """Raise unless the layer starts right."""
    base, x = torch.nn.Linear(6, 4).requires_grad_(False), torch.randn(8, 6)
    layer = make(base, 2, 4.0)
    assert torch.allclose(layer(x), base(x)), "the start"
    before = layer.A.clone(), layer.B.clone()
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        layer(x).square().mean().backward()
        optimizer.step()
    assert not any(map(torch.equal, (layer.A, layer.B), before)), "the steps"


# %% exercise="lora.broken" part="solution"
class BrokenLoRA(pt.mine("lora.layer")):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        A = self.A.detach() + 0 * self.A    # its gradient is zero, and weight decay moves it
        return self.base(x) + self.scale * x @ A.T @ self.B.T
        ### END SOLUTION


# %% exercise="lora.broken" part="check"
BrokenLoRA = pt.check("lora.broken", BrokenLoRA)

# %% exercise="lora.broken" part="grade"
pt.require("lora.broken")

# %%
pt.audit()    # runs every test in your my_peft.py on your own pieces
live.tried([looks_right, start_holds], BrokenLoRA)    # the second test is yours

# %% [markdown]
# <details><summary>What <code>looks_right</code> does not see</summary>
#
# It asks whether $A$ moved, not whether the gradient moved it: AdamW's weight decay moves any parameter whose gradient is zero. "Close" is not
# "to the bit": a $B$ that starts at 1e-9 passes. And nobody asks what moves in the base.
# </details>
#
# ## Onto your ladder
#
# Put your layer around query and value in all six blocks, with your `inject` from lesson 02.

# %%
class MyLoRA(LoRALinear):
    """Yours; exercise 6 gives it a `merged`."""


inject = pt.mine("change.inject")


def wrap(model):
    return inject(model, ("query", "value"), lambda base: MyLoRA(base, 8, 16))


# %% tags=["nbval-check-output"]
fresh, tokenizer = pt.models.load("minilm", labels=1)    # one output: a rating, from -4 to 4
reviews = pt.data.batches(movies.test[:128], tokenizer, 64, shuffle=False)
before = live.logits(fresh, reviews)
fresh = wrap(fresh)
counted = pt.account.parameters(fresh)
pd.Series({
    "answers unchanged, to the bit": torch.equal(before, live.logits(fresh, reviews)),
    "parameters trained in adapters": counted.adapter,
    "as many as you counted": counted.adapter == 12 * lora_count(384, 384, 8),
    "share of the model": f"{counted.share:.2%}"}).to_frame("your LoRA")

# %% [markdown]
# Train it by the protocol of lesson 02, on *ratings*. The learning rate rises over the first 25 of 250 steps, the **warm-up**, and then
# falls to zero.
#
# The model rates a review before, with a head that knows nothing, and after. <span class="notebook">Write one of your own.</span>

# %%
review = "The jokes are old, and I laughed at every one of them."
unread = live.read(fresh, tokenizer, review)
trained = pt.board.train("lora 8", wrap)
model = trained.model

# %%
live.read(model, tokenizer, review, before=unread)

# %% [markdown]
# Ours it misreads: one laughs *at* bad jokes, too. On all sentences, which share of the gain is that? It begins at the head on the pooler,
# solved exactly, and ends at full fine-tuning.

# %%
pictures.share(trained.row)

# %% [markdown]
# A third of a percent of the weights brought most of the gain. Is that as good as full fine-tuning? We compare the recorded runs in pairs,
# by seed and sentence.

# %%
pt.verdict(*pt.board.scores("lora 8", "full"))

# %% [markdown]
# Worse, and clearly so. What does it save?

# %%
saved = pt.save(model, pt.course.in_work("movie-lora"))    # adapter, head and a description
pictures.bill(saved)    # memory and time: lesson 10's

# %% [markdown]
# Gradients and optimizer states all but vanish. **Activations do not**: the backward pass still travels down to the first block, and needs
# them. With long texts and large batches they are most of the bill ([peft#1514](https://github.com/huggingface/peft/issues/1514)).
#
# ## The case of rank 64
#
# Back to the dot at the bottom:

# %%
pt.plots.show(pictures.draw_losses(), "The rate is 0.003 in both, the loss a mean of three seeds. "
              "Labels, not ratings.")

# %% [markdown]
# From rank 8 to rank 64 we changed $r$ and $\alpha$, and with them the size of the first $\Delta W$. The factor $s$ stayed at 2.
# Three suspects:
#
# | suspect | at rank 8 | at rank 64 |
# |---|---:|---:|
# | the rank | 8 | 64 |
# | the size of $\Delta W$ after the first step | taken as 1 | 2.8 |
# | $\alpha$, which rose with the rank, as in many recipes | 16 | 128 |
#
# **Who did it?**

# %%
pt.widgets.Guess("Rank 64 failed because of", ("the rank", "the size of ΔW", "alpha"),
                 "lora.suspect")

# %%
pictures.settings()    # what you may ask about: query and value, all blocks, rate 0.003

# %%
pictures.ask(rank=..., alpha=...)    # two or three questions of your own, each in a line

# %% [markdown]
# <details><summary>What we asked</summary>
#
# Rank 8 with α = 128 fails: 63.5 %. Rank 64 with α = 16 learns: 80.8 %. The rank is innocent; two suspects remain.
# </details>
#
# Follow one step of Adam at the full rate. (No run takes it: each warms up. But it shows what $r$ and $\alpha$ do.)
# Adam divides each gradient by its own size, so every entry of $B$ moves by the learning rate, up or down. $A$ has no gradient yet, and
# stays.
#
# So each row of $\Delta W$ adds up the $r$ rows of $A$, some with a plus and some with a minus, times a constant. They are nearly at right
# angles, and their sum is $\sqrt r$ times as long as one of them. With $s = \alpha / r$, the size $\lVert\Delta W\rVert$ is proportional to
# $\alpha / \sqrt r$: at a fixed $\alpha$, a higher rank starts with a *smaller* change.
#
# **How far do the hidden states (the last block's outputs) move?**

# %%
felt = {1 / 8: "an eighth as far", 1: "about as far", 8: "eight times as far"}
pt.widgets.Guess("At one alpha, ‖ΔW‖ at rank 64 is an eighth of that at rank 1. The hidden "
                 "states move", felt.values(), "lora.felt")

# %%
sample = movies.train[:48 if budget.claims else 8]
batch = live.placed(pt.data.batches(sample, tokenizer, 64)[0])


def first_step(rank, alpha, sign=torch.sign):
    """One step of Adam at the full rate: every entry moves by it, against its gradient."""
    pt.seed(0)
    fresh, _ = pt.models.load("minilm", labels=2, device=pt.device())
    adapted = inject(fresh, ("query", "value"), lambda base: pt.lora.LoRALinear(base, rank, alpha))
    with pictures.moving(adapted, batch) as found:
        adapted(**batch).loss.backward()
        for p in pt.adapter_parameters(adapted).values():
            p.data -= 3e-3 * sign(p.grad)
    return found


# %%
steps = {f"alpha {alpha}": {rank: first_step(rank, alpha) for rank in (1, 8, 64)}
         for alpha in (128, 16)}
steps["random signs"] = {
    rank: first_step(rank, 16, lambda grad: torch.randn_like(grad).sign() * (grad != 0))
    for rank in (1, 8, 64)}
pt.plots.show(pictures.draw_first_step(steps), "One step of Adam at the full rate, on 48 real "
              "sentences; ×: rank 64 beside rank 1. Random signs are at α = 16.")
ratio = steps["alpha 16"][64].moved / steps["alpha 16"][1].moved
nearest = min(felt, key=lambda each: abs(each - ratio))
pt.compare("lora.felt", felt[nearest], "how far the hidden states move")

# %% [markdown]
# Each row of $A$ with its column of $B$ is a push. As matrices, the pushes are nearly at right angles; in the outputs they line up, for the
# gradient chose the signs. Raise $r$, and compare the two sums:

# %%
pictures.explore_pushes()

# %% [markdown]
# <details><summary>Why they line up, in one line</summary>
#
# Write $z = xA^\top$; $n$ counts the inputs, $i$ the outputs, $k$ the $r$ numbers between. The step sets $B_{ik} = -lr \cdot \mathrm{sign}\bigl(\sum_n G_{ni} z_{nk}\bigr)$, so to first order the loss falls by
# $s \cdot lr \sum_{i,k} \bigl|\sum_n G_{ni}\, z_{nk}\bigr|$. Every term has the same sign, and each output sums $r$ of them.
# </details>
#
# The sum of the pushes grows like $r$, and the division by $r$ cancels that. So how far the first step moves the
# hidden states depends on $\alpha$, and far less on the rank.
#
# ### Exercise 5 · The experiment that decides (2 points, about 9 minutes)
#
# At a rate of 0.003, what tells the runs that learn from those that fail: the **size** of the first $\Delta W$, which is proportional to
# $\alpha / \sqrt r$, or **how far it moves the hidden states**, which depends on $\alpha$? Choose settings of the list, each as a dict such as
# `{"rank": 8, "alpha": 16, "lr": 3e-3}`. A setting learns if its mean is 78 % or more.
#
# - `clears`: two settings with a first $\Delta W$ of the *same size* (within a tenth); one learns, the other fails. Size alone cannot
#   explain such a pair.
# - `convicts`: two settings that differ *in alpha alone*; one learns, the other fails. Take a rank below 8, where nobody
#   would blame the rank.


# %% exercise="lora.case" part="solution"
### BEGIN SOLUTION
clears = {"rank": 64, "alpha": 128, "lr": 3e-3}, {"rank": 1, "alpha": 16, "lr": 3e-3}
convicts = {"rank": 1, "alpha": 16, "lr": 3e-3}, {"rank": 1, "alpha": 128, "lr": 3e-3}
### END SOLUTION

# %% exercise="lora.case" part="check"
clears, convicts = pt.check("lora.case", clears, convicts)

# %% exercise="lora.case" part="grade"
pt.require("lora.case")

# %%
pt.plots.show(pictures.draw_explanations(), "Each setting of the list, twice: a mark is the mean "
              "of three seeds; a line spans the seeds, and below it stand the ranks.")
pt.compare("lora.suspect", pictures.culprit(), "why rank 64 failed")

# %%
pt.sentence("lora.twin", ...)    # yours: who did it, and what clears the other two suspects?

# %% [markdown]
# <details><summary>Ours: the verdict</summary>
#
# α. Rank 64 learns at α = 16, so the rank is innocent. On the left, a run that learns stands above one that fails at the same size, so
# the size is, too. From rank 8 to 64 the factor s stayed at 2, but eight times as many pushes were added up.
# </details>
#
# **Raise $r$: keep $\alpha$ and rate. Raise $\alpha$: lower the rate.** At a rate of 0.001, rank 64 with $\alpha = 128$ learns: 81.3 %. rsLoRA (Kalajdzievski 2023)
# takes $s = \alpha / \sqrt r$: at rank 64, with $\alpha = 16$, it *is* plain LoRA with $\alpha = 128$, the run that failed.
#
# Is $\alpha$ just another learning rate? At rank 8 and $\alpha = 16$, a rate of 0.01 fails. Now only $B$ gets that rate; $A$ and the head
# get an eighth of it. **Does it learn?**

# %%
pt.widgets.Guess("alpha 16, rate 0.01 for B, but 0.00125 for A and the head:",
                 ("it learns", "it fails"), "lora.traded")

# %%
traded = record.runs.query("rank == 8 and (group == 'traded' or lr == 0.01)")
pt.compare("lora.traded", pictures.ends(traded.query("plus == 8")), "B fast, A and the head slow")
pt.course.records.table(traded, ["alpha", "lr", "plus"])    # plus: B learns at so many times lr

# %% [markdown]
# <details><summary>What the three rows say</summary>
#
# α is a rate for B alone: in all three rows, α times the rate of B is the same. The row that fails gives the large rate to A and the head,
# too. The two rows that learn make the same steps, clipping apart: their losses agree for the first 28.
# </details>
#
# ## Merge it away
#
# While the adapter stands beside $W$, every call computes two paths. After training, add $\Delta W$ to $W$, and the second path is gone.
#
# ### Exercise 6 · The merge (2 points, about 9 minutes)
#
# `merged(layer)` gets a LoRA layer with `layer.base`, `layer.A`, `layer.B` and `layer.scale`.
#
# - It returns a new, plain `torch.nn.Linear` with the same outputs.
# - It leaves `layer` unchanged and shares no parameter with it.
# - It works with and without a bias, on the base's device and in its dtype.
# - In bfloat16, it adds in float32, and rounds each entry of the weight once, at the end.


# %% exercise="lora.merge" part="solution"
def merged(layer) -> torch.nn.Linear:
    ### BEGIN SOLUTION
    base = layer.base
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
MyLoRA.merged = merged                               # a method now: layer.merged()
plain = pt.merge(copy.deepcopy(model))               # calls it on all twelve
half, _ = pt.models.load("minilm", labels=1, dtype=torch.bfloat16)
half = pt.swap(wrap(half).to(pt.device()), saved)    # what you trained, on a base in bfloat16
live.compare_outputs(model, reviews, {
    "float32, merged": plain, "bfloat16, adapter beside W": half,
    "bfloat16, merged": pt.merge(copy.deepcopy(half))})

# %% [markdown]
# In float32, merging changes no rating beyond rounding. In bfloat16, it adds no visible error here. Keep a copy of the base, though:
# subtracting $\Delta W$ again does not restore $W$ to the bit.
#
# ## Three doors
#
# The library has a LoRA, too, and so has Hugging Face peft. All three get the same base and the same numbers here. Do they compute the same?

# %%
pt.doors("lora", wrap, pt.lora.Config(rank=8, alpha=16))

# %% [markdown]
# On the library's page, below the table, mind how `A` starts: uniform, with a third of the variance that you gave it. The authors'
# code starts so, too; their paper says Gaussian.
#
# ## When does rank matter?
#
# Why, then, does anyone train with rank 64? Give an adapter more to store than it can hold, and the small ranks fall behind: on large
# instruction sets (Schulman and Thinking Machines 2025), on code and mathematics (Biderman et al. 2024).
#
# **What this lesson claims**
#
# | claim | seen here | what could have refuted it, and was tried | at larger scale |
# |---|---|---|---|
# | LoRA 8 brings most of what full fine-tuning gains over the head on the pooler, and is worse. | R² 0.497 and 0.561, ten seeds each; the head on the pooler 0.318: 74 % of the gain | In pairs −0.064 (−0.076 to −0.052), margin 0.02. From the head on the mean of all tokens (0.413): 57 % | at usual ranks LoRA falls behind full fine-tuning on code and mathematics (Biderman et al. 2024), and keeps up on small instruction sets (Schulman et al. 2025) |
# | On these reviews rank 1 comes within four points of full fine-tuning. | 79.9 ± 0.7 % at a rate of 0.003 (mean and standard deviation of three seeds, as below); full fine-tuning 82.3, head on the pooler 71.3 | Trained on the ratings, each at its best rate: 3.3 points (lesson 10's record). Coins learned by heart want more rank (Further) | not enough for large instruction sets (Schulman et al. 2025). In reinforcement learning rank 1 keeps up (the same); or 8 fails and 256 works (Khan et al. 2026) |
# | Rank 64 failed because of α at a rate of 0.003, not because of its rank or of the size of its first ΔW alone. | 62.6 ± 6.8 % | α = 16: 80.8 ± 0.2. A rate of 0.001: 81.3 ± 0.7. Rank 8 with that α: fails, 63.5 ± 12.2. Rank 1 with a first ΔW as large: learns, 79.7 ± 1.2 | the best rate hardly depends on the rank (Schulman et al. 2025; here, in lesson 10, no trend), or, for another start or scaling, falls like 1/r (Chen et al. 2026); the best α grows like √r (Zhang et al. 2026) |
# | Under Adam, 8 times the α is 8 times the rate for B alone, up to clipping. | rank 8: the losses agree, to three digits, for the first 28, 36 and 31 steps, 25 of them warm-up; the runs end at 80.9 ± 0.1 and 80.5 ± 1.0 % | losses that part at once. With the large rate for A and the head, too, they part by step 3 | α acts roughly like the rate, if the start is scaled, too (Hu et al. §4.1); Zhang et al. 2026 disagree. A larger rate for B is LoRA+ (Hayou et al. 2024) |

# %%
pt.progress("07")

# %% [markdown]
# ## At your desk
#
# The same with Hugging Face peft:
#
# ```python
# from peft import LoraConfig, get_peft_model
#
# config = LoraConfig(task_type="SEQ_CLS",            # "CAUSAL_LM" for a language model
#                     target_modules="all-linear", r=16,
#                     lora_alpha=32)                  # the same at every rank
# tuned = get_peft_model(model, config)
# tuned.print_trainable_parameters()                  # count before you train
# ...                                                 # your training loop, or a Trainer
# tuned.save_pretrained("my-adapter")                 # the adapter and the head
# plain = tuned.merge_and_unload()                    # a plain model, as fast as before
# ```
#
# | a first recipe, 1 to 70 billion parameters: later lessons point to it | take | source |
# |---|---|---|
# | where | every linear layer, the feed-forward ones above all | Schulman et al. 2025; Biderman et al. 2024 |
# | a mixture of experts | print what trains: `"all-linear"` reaches no expert in gpt-oss, and even the router in Mixtral and Qwen3-MoE. Name the attention's modules, and the experts by `target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]`; divide an expert's rank by the number of active ones | peft 0.21.2, transformers 5.23, tiny random models; the rank: Schulman et al. 2025 |
# | rank, α | r = 16 is our choice, 256 for a large instruction set; α = 32 at every rank, with s = α/r | Schulman et al. 2025 |
# | rate | with this α, Adam, and A random as usual: ten times the best one of full fine-tuning. With another start or scale, another factor. Where you cannot search: 2e-4 up to 13 billion parameters, 1e-4 above | Schulman et al. 2025; Chen et al. 2026; Dettmers et al. 2023 (QLoRA) |
# | DPO, GRPO | much lower rates, such as 5e-6 for DPO, again ten times full fine-tuning's. PiSSA and MiLoRA collapsed in GRPO-like training on reasoning | TRL's `dpo.py` and its guide to Schulman et al.; Yin et al. 2025 |
# | batch | below 32: in some scenarios LoRA tolerates large ones less well | TRL's guide to Schulman et al. 2025 |
#
# If it fails, try a third of the rate first, then three times. Take full fine-tuning when there is much to learn and memory for it. Our
# rates and ranks belong to a small encoder and an easy task: do not take them along.

# %% [markdown]
# # Further
#
# ## Look inside the change
#
# The singular values of $\Delta W$ say along how many directions it acts, and how strongly along each. The sum of their squares is the
# energy of the change. Full fine-tuning spread its change over dozens of directions (lesson 02). **How many of its eight does LoRA use?**

# %%
pictures.directions(record, model).to_frame().round(1)    # with 90 % of the energy; mean of twelve

# %% [markdown]
# Most of the energy lies in fewer. (The recorded runs learned labels, yours ratings.)
#
# ## Coins, learned by heart
#
# Now there is more to learn: 2,048 sentences, each labelled by a coin. LoRA stands on query and value of the last block, and the head is random and frozen. Each rank has its own best rate
# and as many steps. **Does rank 1 still do?**

# %% tags=["nbval-check-output"]
coins = pd.DataFrame(pt.course.records.select(pt.course.records.load("ladder"), group="heart"))
rates = coins.loc[coins[coins.seed == 0].groupby("parameters").training.idxmax()]
coins["rank"] = coins["rank"].map("{:.0f}".format, na_action="ignore").fillna("both matrices")
coins.merge(rates[["parameters", "lr"]]).pivot_table(
    index=["parameters", "rank", "lr"], columns="seed", values="training").round(2)

# %% [markdown]
# The table is the share that was learned, with two sets of coins. Higher ranks learn more here, and full fine-tuning of the two
# matrices most. How much rank is enough depends on how much there is to learn.
#
# ## Three mistakes that raise nothing
#
# **The base is not frozen.** In a loop of your own nothing crashes, but the adapter's file is useless: it belongs to a base that
# exists nowhere else. **Count before you train**; `pt.train` does.
#
# **Adapted twice.** Hugging Face peft changes the base model in place, so a second `get_peft_model` on "the same" model finds the
# first adapter still there ([peft#2295](https://github.com/huggingface/peft/issues/2295)).
#
# **Hardly adapted.** On a hybrid model, peft's default targets reached 4 of 56 layers, and peft did not warn
# ([peft#3554](https://github.com/huggingface/peft/issues/3554)).
#
# **Sources**
#
# - Hu et al. 2021, *LoRA*, arXiv 2106.09685: §4.1 the equation and α, §4.2 where to put it, §7 the rank.
# - Schulman and Thinking Machines Lab 2025, *LoRA Without Regret*, doi 10.64434/tml.20250929.
# - Biderman et al. 2024, *LoRA learns less and forgets less*, arXiv 2405.09673.
# - Dettmers et al. 2023, *QLoRA*, arXiv 2305.14314.
# - Kalajdzievski 2023, *A rank stabilization scaling factor for fine-tuning with LoRA*, arXiv 2312.03732.
# - Hayou et al. 2024, *LoRA+*, arXiv 2402.12354.
# - Reinforcement learning: Khan et al. 2026, on the rank, arXiv 2601.06677; Yin et al. 2025, on variants, arXiv 2512.23165; TRL,
#   `trl/scripts/dpo.py` and `docs/source/lora_without_regret.md`.
# - On the rate: Zhang et al. 2026, with α, arXiv 2606.12883; Chen et al. 2026, with the rank, arXiv 2602.06204.
# - Data: Hutto & Gilbert 2014, *VADER*, ICWSM; sentences of the film reviews of Pang & Lee 2004.
