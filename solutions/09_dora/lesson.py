# %% [markdown]
# # 09 · DoRA: does separating magnitude from direction help?
#
# A row of a weight matrix is an arrow. It has a length and a direction, and fine-tuning can stretch it, turn it, or do both.
#
# In 2024, Shih-Yang Liu and his colleagues at NVIDIA asked why LoRA stays behind full fine-tuning. They plotted how much the rows of each
# matrix had stretched against how far they had turned. Full fine-tuning's points sloped down, LoRA's up. LoRA, they concluded, finds it hard to do one without the other. So they built a method that keeps the two apart: **DoRA**.
#
# You build DoRA from one paragraph of theirs, look at their picture again, and referee sixty runs.
#
# | | |
# |---|---|
# | **Time** | about 90 minutes, 47 of them for 5 exercises; Run All takes about three minutes |
# | **You need** | LoRA (lesson 07); IA³'s scaling vectors (lesson 06) help |
# | **Data** | sentences from film reviews, 2,563 of them for testing, each rated by about 20 people; Hutto & Gilbert 2014, MIT licence |
#
# <details><summary>Three questions from earlier lessons</summary>
#
# **07: LoRA starts with B at zero. Which of A and B has a gradient in the first step?** Only B. A's gradient contains B.
#
# **06: IA³ multiplies each output by a number. Can it turn a row of W?** No. It stretches rows, and nothing else.
#
# **08: The base does not train. How does a gradient get to an adapter in the first block?** Through the frozen weights of all
# blocks above it.
# </details>

# %% jupyter={"source_hidden": true}
import pandas as pd
import torch

import peft_teach as pt

budget = pt.course.budget()                 # how much to compute: PEFT_TEACH_BUDGET=smoke|cpu|gpu
record = pt.course.records.load("dora")     # runs too long for a lesson (assets/records/dora.py)
pictures = pt.course.pictures("dora")
live = pt.course.live
movies = pt.data.load("movies")
pt.seed(0)

# %% [markdown]
# ## Build it from a paragraph

# %%
pt.plots.show(pictures.draw_idea(), "One row of W, and three ways to change it. IA³ stretches it. "
              "LoRA adds a piece. DoRA adds a piece, too, and then sets the length by itself.")

# %% [markdown]
# The paragraph, in our letters:
#
# > Split the pretrained weight into a **magnitude** $m$ and a **direction** $V$. At the start, $m$ is the norm of each vector of $W$,
# > and $V$ is $W$. Train $m$, and let LoRA update $V$:
# > $$ W' = m \odot \frac{V}{\lVert V\rVert}, \qquad V = W + s\,BA $$
# > In the backward pass, treat $\lVert V\rVert$ as a constant.
#
# Each vector of *what*? The paper says "each column". PyTorch stores a linear layer as (n_out, n_in), and the authors' code takes
# one norm for each *output*. For us that is a row ([peft#2348](https://github.com/huggingface/peft/issues/2348)).
#
# ### Exercise 1 · The layer (3 points, about 12 minutes)
#
# Write `DoRALinear(base, rank, alpha)` around an `nn.Linear` of any shape, with or without a bias. Its parameters are `A`, `B` and `m` (n_out,),
# and `scale` is a number.
#
# 1. Untrained, it gives the base's output, up to rounding. `A` and `B` start as in lesson 07.
# 2. For any `A`, `B` and `m`, it acts as a linear layer with the weight $W'$ and the base's bias.
# 3. Its gradients are those of the paragraph: `A`, `B` and `m` train, and $\lVert V\rVert$ passes no gradient on.
# 4. The base stays as it is.
#
# Replace the lines `raise …`, run the cell, then the one below it. Until yours passes, the lesson goes on with ours.


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
        V = self.base.weight + self.scale * self.B @ self.A           # (n_out, n_in)
        g = self.m / V.norm(dim=1).detach()                           # (n_out,)
        y = g * (x @ V.T)                                             # (…, n_out)
        return y if self.base.bias is None else y + self.base.bias
        ### END SOLUTION


# %% exercise="dora.layer" part="check"
DoRALinear = pt.check("dora.layer", DoRALinear)

# %% exercise="dora.layer" part="grade"
pt.require("dora.layer")

# %% [markdown]
# ## Watch it learn
#
# Put your layer on query and value in all six blocks, and train it as you trained LoRA in lesson 07. The dashed curve is a LoRA of
# the same rank, alpha and rate.

# %%
inject = pt.mine("change.inject")
sentences = movies.train[:min(4000, budget.train_examples)]
pt.seed(0)
model, tokenizer = pt.models.load("minilm", labels=2)
model = inject(model, ("query", "value"), lambda base: DoRALinear(base, 8, 16)).to(pt.device())
batches = pt.data.batches(sentences, tokenizer, budget.batch_size)
test = pt.data.batches(movies.test[:budget.test_examples], tokenizer, 64, shuffle=False)
lora = record.runs.query("group == 'clouds' and method == 'lora' and seed == 0").index[0]
steps = pt.widgets.watch(pt.train(model, batches, lr=3e-3), len(batches),
                         {"LoRA (recorded)": record.losses[lora]}, name="your DoRA")

# %%
own = {"method": "your DoRA", "parameters": pt.account.parameters(model).adapter,
       "accuracy": pt.evaluate(model, test).accuracy}
beside = pd.concat([record.runs.query("group == 'clouds'"), pd.DataFrame([own])])
beside.set_index("method")[["parameters", "accuracy"]].round(3)    # all but yours: recorded

# %% [markdown]
# It learns. Did 4,608 more parameters than LoRA's gain anything? One run cannot tell.
#
# ## Whose layer is right?
#
# A wrong DoRA can start as the base does and learn as yours did. One answers differently once it is merged.
# Another gets every output right, and is still wrong.
#
# ### Exercise 2 · The law of DoRA (3 points, about 10 minutes)
#
# Write `dora_holds(make)`, a test that raises an error if the layer that `make(base, rank, alpha)` builds breaks this law:
#
# > *Untrained, the layer answers as its base, up to rounding. Whatever values $A$, $B$ and $m$ take, row $i$ of its weight has the length
# > $|m_i|$, and its bias is the base's. The gradient reaches $A$, $B$ and $m$, with $\lVert V\rVert$ held constant. Nothing in the base
# > trains.*
#
# `make` gets a frozen float32 `nn.Linear` of your choice. The law fixes neither the size of $s$ nor which of $A$ and $B$ starts at zero.
#
# Set `A`, `B` and `m` to whatever you like, and read outputs and gradients. With no correct DoRA to compare with, test facts that need no comparison. Your test must accept four correct layers and reject nine broken ones.


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
    columns = layer(torch.eye(5)) - bias                              # W', transposed
    torch.testing.assert_close(columns.norm(dim=0), layer.m.abs(), rtol=1e-4, atol=1e-5)
    columns.square().sum().backward()    # a sum that B cannot change, and feels all the same
    assert layer.B.grad.norm() > 1e-3
    assert layer.m.grad.norm() > 1e-3
    assert not any(p.requires_grad for p in base.parameters())
    ### END SOLUTION


# %% exercise="dora.law" part="check"
dora_holds = pt.check("dora.law", dora_holds)

# %% exercise="dora.law" part="grade"
pt.require("dora.law")

# %%
pt.audit()    # every test in your my_peft.py, on your own pieces

# %% [markdown]
# <details><summary>What the two wrong layers say</summary>
#
# <b>The bias.</b> Feed zeros. DoRA answers with the base's bias. A layer that multiplies its whole output by m / ‖V‖ answers with a
# scaled one, and the published library <code>adapters</code> (version 1.3.0) does just that.
#
# <b>The norm.</b> Take the sum of the squares of W′ as the loss. It equals the sum of the squares of m, whatever A and B are. So B's true
# gradient is zero. DoRA's is not: its B keeps trying to shrink rows whose length is fixed.
# </details>
#
# ## What does the constant cost?
#
# DoRA's gradient, then, is not the true one. How wrong is it in the model you just trained?

# %%
pt.widgets.Guess("With the norm held constant, B's gradient is off by about",
                 ("0.1 %", "1 %", "10 %", "100 %"), "dora.detach")

# %%
batch = pt.data.batches(movies.train[:48 if budget.claims else 8], tokenizer, 48)[0]
gap = pictures.gradient_gap(DoRALinear, model, batch)
pt.compare("dora.detach", f"{gap.B.iloc[0]:.1%}", "B, with dropout off")
gap.map("{:.1%}".format)

# %% [markdown]
# Let $G$ be the gradient of the loss with respect to a row of $W'$, and $\hat v$ the direction of this row. The true gradient of the same
# row of $V$ has no part along $\hat v$, because stretching $V$ changes nothing. DoRA's gradient keeps that part:
#
# $$ \underbrace{\frac{m}{\lVert V\rVert}\,\bigl(G - (G\cdot\hat v)\,\hat v\bigr)}_{\text{true}} \qquad
# \underbrace{\frac{m}{\lVert V\rVert}\,G}_{\text{DoRA}} \qquad \underbrace{G\cdot\hat v}_{\text{the gradient of } m} $$
#
# So holding the norm constant adds $\frac{m}{\lVert V\rVert}$ times the gradient of $m$, in the row's direction. In 384 dimensions, a
# gradient that ignores the row has about $1/\sqrt{384}$ of its length along the row: 5 %. So the gap begins at a few percent. Then it
# grows: $BA$ turns $V$ towards the rows of $A$, and $B$'s gradient contains $G$ along these rows only.
#
# §4.2 of the paper praises the true gradient, and §4.3 gives it up to save memory.
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
# ### Exercise 3 · There and back (2 points, about 8 minutes)
#
# `to_gain(m, W, A, B, s)` returns the `g` that makes scaled LoRA equal DoRA with this `m`. `to_dora(g, W, A, B, s)` goes the other
# way. `A`, `B` and `s` stay as they are; the matrix may have any shape, and entries of `m` and `g` may be negative.


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
pt.compare("dora.same", "the same functions" if same else "other functions", "there and back")
converted

# %% [markdown]
# **The same functions, from the same number of parameters.** DoRA is another route through the same models.
#
# On either route, $g$ is a constant for $A$ and $B$. So at the same function, $A$ and $B$ even get the same gradients. Still, training differs:
#
# - Adam moves each parameter by about the learning rate. Scaled LoRA trains $g$ itself. DoRA trains $m$, so $g = m / \lVert V\rVert$
#   moves faster on short rows than on long ones.
# - When $B$ makes a row of $V$ longer, DoRA divides by the new length. Scaled LoRA lets the row grow.
#
# So "does separating help?" is a question about training, and only runs can answer it. But why did anyone expect that it would?
#
# ## The picture that started it
#
# For each matrix, the paper takes two averages over the rows: how far they turned, and how much they stretched.
#
# $$ \Delta D = \operatorname{mean}\,\bigl(1 - \cos\angle(w', w)\bigr), \qquad
# \Delta M = \operatorname{mean}\,\bigl|\lVert w'\rVert - \lVert w\rVert\bigr| $$
#
# A dot is one matrix at one moment of training. The paper's figure *pools* the dots of all query matrices and moments. Full fine-tuning's
# dots fall (a correlation of −0.62), LoRA's rise (+0.83), and DoRA's fall a little (−0.31). In the table below,
# *over rows* stands for a correlation among the rows of one matrix.
#
# Here are four updates of our model: full fine-tuning, LoRA, DoRA, and random matrices of rank 8, as large as LoRA's. **Which
# cloud is the random one?**

# %%
guess = pt.widgets.Guess("Random numbers drew cloud", ("one", "two", "three", "four"),
                         "dora.random")
clouds_picture = pictures.explore_clouds(record, guess)
clouds_picture

# %% tags=["nbval-check-output"]
pt.compare("dora.random", pictures.HIDDEN["random"], "the random cloud")
correlated = pictures.correlations(record)          # both seeds
correlated.xs("as trained", level="size")

# %% [markdown]
# <details><summary>What the clouds say</summary>
#
# Pooled, random numbers rise like LoRA. Full fine-tuning rises, too: we looked, and found no falling line. DoRA's dots hardly form a line.
# What would that show?
# </details>
#
# Why should random numbers draw LoRA's line? Take a row $w$ and add a piece $\delta$ that ignores it. In 384 dimensions, such a piece
# stands almost at a right angle to the row. The new row is the hypotenuse, and for a small $\delta$ Pythagoras gives
#
# $$ \lVert w'\rVert - \lVert w\rVert \approx \frac{\lVert\delta\rVert^2}{2\lVert w\rVert}, \qquad
# 1-\cos\angle(w', w) \approx \frac{\lVert\delta\rVert^2}{2\lVert w\rVert^2} $$
#
# The first is $\lVert w\rVert$ times the second. They rise together because both measure *how much was added*.
#
# The angle is only almost right: by chance, a piece also lies a little along the row. When the piece is tiny, this part decides the length.

# %%
pt.plots.show(pictures.draw_crossing(record), "How much a random piece changes the length of a row "
              "of 384 entries. Bands: the recorded updates of full fine-tuning and of LoRA.")

# %% [markdown]
# Full fine-tuning lies left of the circle, where the two lines cross; LoRA mostly to the right. So give full fine-tuning's updates the size
# of LoRA's, matrix by matrix. **Where does the cloud go?**

# %%
pt.widgets.Guess("Blown up to LoRA's size, the cloud of full fine-tuning looks",
                 ("as before", "like LoRA's", "like DoRA's"), "dora.size")

# %% tags=["nbval-check-output"]
pooled = correlated[["pooled, query", "pooled, value"]].T.groupby(level=0).mean()
blown = pooled["full fine-tuning", "at the other's norm"]
off = {told: (pooled[name, "as trained"] - blown).abs().sum() for told, name in (
    ("as before", "full fine-tuning"), ("like LoRA's", "LoRA"), ("like DoRA's", "DoRA"))}
pt.compare("dora.size", min(off, key=off.get), "by its two correlations")
correlated.xs("at the other's norm", level="size")    # the three others at full fine-tuning's

# %% [markdown]
# <details><summary>What is left when the sizes are equal</summary>
#
# Pooled, full fine-tuning at LoRA's size looks like LoRA. Over the rows of one matrix, a difference is left: full fine-tuning's rows lie
# less close to a line.
# </details>
#
# In the paper's figure, too, LoRA turns the rows about seven times as far as full fine-tuning. But there even full fine-tuning is large
# enough for Pythagoras, so size does not explain why its dots fall.
#
# ## Forge it
#
# A picture that shows a cause should be hard to draw without it. So draw the paper's picture from noise. First, only add noise to one
# matrix, more each time.

# %%
W = model.get_submodule("bert.encoder.layer.3.attention.self.value").base.weight.cpu()
rising = 0
for _ in range(10):
    noise = torch.randn_like(W)
    changes = [pictures.point(W, W + size * noise)[1] for size in (0.01, 0.02, 0.03, 0.04)]
    rising += changes == sorted(changes)
f"Its dots form a rising line, {rising} of 10 times"

# %% [markdown]
# ### Exercise 4 · The forgery (3 points, about 10 minutes)
#
# Now set the lengths freely. Write `forge(weights, slope, start)`. It gets a list of matrices, and returns a changed copy of each. The dots
# $(\Delta D, \Delta M)$ of the copies lie on a line of this slope, which may be negative.
#
# - `start` is $(\Delta D, \Delta M)$ of the first dot.
# - The $\Delta D$ of neighbouring dots are at least 0.001 apart, and all below 0.1.
# - Each dot lies on the line to four digits. The given weights stay as they are.
# - Each row is turned only towards noise of its own, drawn anew at each call.


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

# %%
pt.plots.show(pictures.draw_forged(forge),
              "Your forgeries, at three slopes. All directions are noise.")

# %% [markdown]
# **Could noise alone draw a falling line?** Add noise to MiniLM's six value matrices, and choose only how much each gets.

# %%
pt.widgets.Guess("Noise added to six matrices, its amounts chosen. Their dots can form",
                 ("only a rising line", "a falling line, too"), "dora.rays")

# %%
start, slope = 0.05, -1.0                       # of the line to draw
dots, lengths = [], []
for block in range(6):
    W = model.get_submodule(f"bert.encoder.layer.{block}.attention.self.value").base.weight.cpu()
    sizes = W.norm(dim=1, keepdim=True)         # ‖w‖ of each row
    turn = start / (sizes.mean() - slope)       # where the ray ΔM = ‖w‖ ΔD meets the line
    noise = torch.nn.functional.normalize(torch.randn_like(W), dim=1)
    amount = (2 * turn * (1 + turn)) ** 0.5     # of noise, which turns by this much
    dots.append(pictures.point(W, W + amount * sizes * noise))
    lengths.append(sizes.mean().item())
r = torch.corrcoef(torch.tensor(dots).T)[0, 1].item()
pt.compare("dora.rays", "a falling line, too" if r < 0 else "only a rising line", f"{r:+.2f}")

# %%
pt.plots.show(pictures.draw_rays(dots, lengths, (start, slope)), "Noise in six matrices, a dot for "
              "each. The amount of noise decides how far out on its ray a dot lies.")

# %% [markdown]
# A dot of noise lies near the ray $\Delta M \approx \lVert w\rVert\,\Delta D$. Each matrix has rows of its own length, so each has
# its own ray. Any line that crosses the six rays can be drawn.

# %%
pt.sentence("dora.figure", ...)    # yours: what does a falling line show of an update, what not?

# %% [markdown]
# <details><summary>Ours: what the figure can say</summary>
#
# Noise added to one matrix draws a rising line. At one moment, noise in several matrices draws any line that crosses their rays. But let it
# grow over four moments, as our full fine-tuning does, and the dots rise, however the six amounts are chosen. What made the paper's
# line fall, we do not know.
# </details>
#
# ## You are the referee
#
# So run it: LoRA, scaled LoRA, and DoRA, at a low rank and a high one. At each rank, each method first chose its own learning
# rate, on sentences outside the test. Then came ten new seeds. A seed gives all three the same $A$, the same new head and the same order of
# sentences, so we compare in **pairs**: one difference for each seed.
#
# Ten differences that scatter by a point leave their mean uncertain by about 0.7 points.
#
# **Which difference would make you choose the more complicated layer?** Commit a margin, in points of accuracy. Ours stood before the first run: one point.

# %%
margin = pt.commit("dora.margin", ...)    # in points of accuracy

# %%
pt.widgets.Guess("At rank 2, compared with scaled LoRA, DoRA is",
                 ("better", "worse", "the same", "cannot tell"), "dora.verdict")

# %% [markdown]
# ### Exercise 5 · The referee (2 points, about 7 minutes)
#
# `referee(a, b, margin)` gets two lists: the accuracies of two methods in percent, seed by seed. It returns `(low, high, verdict)`. The first two
# are the limits of the 95 % interval of the mean of a − b, which is the mean ± $t$ times its standard error. `T95[n]` is Student's $t$ for n
# values. The verdict is
#
# - `"the same"` if the whole interval lies between −margin and margin;
# - if not, `"better"` or `"worse"` if the whole interval lies above or below zero;
# - `"cannot tell"` in all other cases.

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
pt.plots.show(pictures.draw_pairs(record, margin), "DoRA minus the other, a dot for each seed. "
              "The bar is the 95 % interval of the mean, the band your margin.")

# %%
ruling = pictures.verdicts(record, referee, margin)
pt.compare("dora.verdict", ruling.verdict["DoRA − scaled LoRA", 2], "your referee, at rank 2")
ruling

# %% [markdown]
# **At our margin, DoRA is the same as LoRA, and as scaled LoRA, at either rank.** The pairs agree so well that half a point would have
# shown. There was little to win: all three stand within three points of full fine-tuning.
#
# But in *Watch it learn*, DoRA stood above LoRA in both seeds: one or two runs are no evidence. Look at the search for the rates, too:

# %% tags=["nbval-check-output"]
search = record.runs.query("group == 'rates'")    # on validation sentences, one seed
search.pivot(index=["rank", "lr"], columns="method", values="validation").map("{:.1%}".format)

# %% [markdown]
# <details><summary>What the search says</summary>
#
# At each rank, all three methods chose the same rate. Where the rate is too high, they part: at rank 32 and 0.006, DoRA loses three points
# less than LoRA. It is one seed, and at rank 2 we see little of it. Compare two methods at one rate, and you may have compared how well they
# bear that rate.
# </details>
#
# ## The ladder so far
#
# Junxian He and his colleagues saw in 2021 that methods like these are variations of one line: take what a layer gives, and add something learned.
#
# $$ h \;\leftarrow\; h + \text{scale}\cdot\text{something learned} $$
#
# For a prompt or a prefix, the scale is $\lambda$, the share of attention that its vectors get.

# %%
pt.plots.show(pictures.draw_ladder(), "One block of MiniLM, drawn eight times. What is trained "
              "stands where it acts. Counts are for the whole model, without the head.")

# %% [markdown]
# Three of them never merge into the weights. What a prompt or a prefix adds depends on the whole sentence, and a bottleneck adapter is not linear.
# In the last row, DoRA is the scaling vector of lesson 06 around the sum of lesson 07.
#
# **What this lesson claims**
#
# | claim | seen here | what could have refuted it, and was tried | at larger scale |
# |---|---|---|---|
# | On these reviews, DoRA, LoRA, and scaled LoRA are the same within a point, each at its own rate. | ten paired seeds at each rank: no interval reaches half a point | the margin stood before the first run | LLaMA-7B: DoRA is two to four points ahead of LoRA at rank 32, more at other ranks (Liu et al. 2024, and their README). With all rates tuned, variants end within 1 to 2 % (Lee et al. 2026), and a well-set LoRA matches or surpasses most of them (He et al. 2026) |
# | DoRA and scaled LoRA represent the same functions. | a proof in one line: g = m / ‖V‖, for any V without a row of zeros; your trained model, converted there and back | negative m, rows of unequal lengths, oblong matrices (exercise 3) | true at every size; Chang et al. 2025 rewrite DoRA in an equivalent form, too |
# | Noise that grows draws a rising line: both measures tell how much was added. | random numbers of LoRA's size correlate, pooled, as LoRA does: +1.00 (queries) and +0.97 (values), two seeds | full fine-tuning at LoRA's size rises, too: +1.00 and +0.96. DoRA does not: −0.08 to +0.17. Without its last block, DoRA rises: +0.26 to +0.95 | Liu et al., queries of VL-BART: LoRA +0.83, DoRA −0.31, full fine-tuning −0.62 |
# | At a rate that is too high, DoRA can lose less than LoRA. An observation. | the search above: one seed, and at rank 2 little of it | nothing yet | Liu et al. expect steadier training (§4.2) |
# | A constant norm changes B's gradient, by more than chance predicts. An observation. | over a tenth after 250 steps (the run above, one seed); chance alone predicts 5 % | nothing yet | Liu et al., Table 7: a quarter of the memory saved on LLaMA-7B for 0.2 points of accuracy; no accuracy lost on VL-BART |

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
#                     target_modules="all-linear", r=32, lora_alpha=64,
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
# | first | plain LoRA at three rates: tuned variants end within 1 to 2 % of it | Lee et al. 2026 |
# | then | the same with `use_dora=True`, at LoRA's rate and a slightly lower one | README of NVlabs/DoRA |
# | rank, α, rate | on LLaMA-7B: 32, 64, 1e-4 | Liu et al. 2024, Table 8 |
# | dropout | 0: then peft reuses the base's output | peft's documentation |
# | a base in 4 bits | works with `use_dora`, too | the README |
#
# Start with LoRA; DoRA may forgive too high a rate. Stay with LoRA where you pay for time: with peft, DoRA took a fifth longer in one
# report, twice as long in another ([peft#1474](https://github.com/huggingface/peft/pull/1474)). If the first loss is `nan`, look for rows of zeros in the weights, because
# DoRA divides by their norm ([peft#2049](https://github.com/huggingface/peft/issues/2049)).
#
# What misleads at 7 billion parameters: our rates, and a task on which rank 1 is nearly enough, so that little is left to win.

# %% [markdown]
# # Further
#
# ## What the papers measured
#
# Liu et al. report 78.4 % for DoRA on LLaMA-7B and 74.7 % for LoRA, as the mean of eight sets of common-sense questions (Table 1). They
# tuned DoRA's rate for this comparison, and quoted LoRA's row from an earlier paper. Their README has 76.3 % for LoRA at the same rank, 32.
# Others who ran their code reached DoRA's figure at this rank; at other ranks they found more, or much less
# ([NVlabs/DoRA#14](https://github.com/NVlabs/DoRA/issues/14), [#26](https://github.com/NVlabs/DoRA/issues/26)).
#
# Lee et al. searched the learning rate, batch size, rank and length of training for LoRA and nine variants, DoRA among them. Different
# variants want different rates. With each at its own, the best results lay within 1 to 2 %.
#
# Chang et al. ask why DoRA works. Their answer is not the angle: the singular values of DoRA's update are more even.
#
# **Sources**
#
# - Liu et al. 2024, *DoRA: Weight-Decomposed Low-Rank Adaptation*, arXiv 2402.09353: §3.2 the picture (Figure 2), §4.1 the equation, §4.3
#   the constant norm.
# - Salimans & Kingma 2016, *Weight normalization*, arXiv 1602.07868: length and direction apart, without a frozen W.
# - He et al. 2021, *Towards a unified view of parameter-efficient transfer learning*, arXiv 2110.04366.
# - Lee et al. 2026, *Learning rate matters: vanilla LoRA may suffice for LLM fine-tuning*, arXiv 2602.04998.
# - He et al. 2026, *A unified study of LoRA variants*, arXiv 2601.22708.
# - Chang et al. 2025, *Calibrating and rotating*, arXiv 2511.00051.
# - Data: Hutto & Gilbert 2014, *VADER*, ICWSM; sentences of the film reviews of Pang & Lee 2004.
#
# The library's own version of what you wrote is `pt.dora.DoRALinear`; scaled LoRA stands in `peft_teach/course/lessons/dora/gain.py`.
