# %% [markdown]
# # 13 · Dozens of methods: what is new, and what is yours?
#
# A paper promises a method that beats LoRA. Hugging Face peft compares dozens of methods in one table. Take the table apart. Then
# read an equation that you have never seen, and put a method of your own beside the rest.
#
# | | |
# |---|---|
# | **Time** | about 70 minutes (an estimate), 48 of them for 3 exercises; Run All takes about seven minutes |
# | **You need** | lesson 10's `sweep`, verdict, mask and ladder; LoRA (07) and scaling vectors (06) by name |
# | **Data** | peft's table, `assets/records/field.csv`, Apache-2.0; film reviews, Hutto & Gilbert 2014, MIT licence |
#
# <details><summary>Three questions from earlier lessons</summary>
#
# **12: How do you know that another implementation does what yours does?** The same numbers in both, the same inputs, equal outputs; and
# proof that the numbers change something.
#
# **10: Thirteen equal methods, one run each. Is the first one's number too high?** Yes: it was chosen because it is high.
#
# **06: What can gains on a layer's outputs not do?** `torch.diag(l) @ W` only makes each row longer, shorter or opposite.
# </details>

# %% jupyter={"source_hidden": true}
import copy

import torch
from torch import nn

import peft_teach as pt

budget = pt.course.budget()                  # how much to compute: PEFT_TEACH_BUDGET=smoke|cpu|gpu
pictures = pt.course.pictures("sixty")
record, ladder = pt.course.records.load("sixty"), pt.course.records.load("ladder")
sweep = pt.mine("ladder.sweep")              # yours, of lesson 10
pt.seed(0)

# %% [markdown]
# ## One table, 63 runs
#
# Llama 3.2 3B, trained on mathematics, tested on 1,319 problems, one seed a run:

# %%
table = pictures.field()
table[["accuracy", "trained", "rate"]].head(16)    # rate: the learning rate

# %% [markdown]
# Lily, the first, which is on other matrices, is 4.8 points ahead of LoRA of rank 32. Of the runs above 30 % here, peft had published 29 in January, with the same settings and
# seed, on older libraries. By July all 29 had fallen. But a fall that all share cancels in a difference. **For 95 % of the pairs
# of these runs, by at most how many points did the difference change?**

# %%
pt.commit("sixty.moved", ..., like=0.5)    # in points

# %%
pt.plots.show(pictures.draw_monday(), "The runs of January, again in July. Dashed: the average "
              "fall. Runs off this line have moved against the others.")
pt.compare("sixty.moved", round(100 * pictures.moved(), 1), "points")

# %% [markdown]
# A difference can move as far as that without a new seed. Seven of the fourteen runs above LoRA of rank 32 lead it by less. **A lead so small
# may vanish in the next table.** Yet 85 of the 109 pairs so close in January kept their order.
#
# Settings move a run, too. Several pairs of runs share a method and the number of parameters; here are two. How many points are they apart,
# in each of peft's tables that has both?

# %% tags=["nbval-check-output"]
pictures.pairs()

# %% [markdown]
# Another rate and weight decay move IA³ by 6 to 9 points. LoRA's factor $s$ alone, 8 in place of 2, moves rank 64 by 4
# to 5. **The table orders settings as well as methods.**
#
# ## Few ideas, many names
#
# What do a method's parameters change, and in which form?

# %%
pt.plots.show(pictures.draw_family(), "What is trained, in orange; faint: the same numbers "
              "again. Faint grey: frozen; strong grey: random. Bold: what you will have built.")

# %% [markdown]
# A new name may be an old form from a new start, as in PiSSA.
#
# ### Exercise 1 · Read an equation (3 points, about 15 minutes)
#
# RoAd (Liao & Monz 2024) keeps the layer $h = xW^\top + b$ frozen and turns neighbouring features in pairs, $z = Rh$. For pair $i$, features $2i$ and $2i+1$:
#
# $$ \begin{pmatrix} z_{2i} \\ z_{2i+1} \end{pmatrix} = \alpha_i \begin{pmatrix} \cos\theta_i & -\sin\theta_i \\ \sin\theta_i & \cos\theta_i
# \end{pmatrix} \begin{pmatrix} h_{2i} \\ h_{2i+1} \end{pmatrix} $$
#
# Write `RoAd(base)`, a `pt.Adapter` around an `nn.Linear` with an even number of outputs, with or without a bias.
#
# 1. Its parameters are `theta` and `alpha`, float32, (n_out / 2,) each. Untrained, it returns what its base returns.
# 2. `turned(h)` computes $z$ in float32 and returns it in the dtype of $h$. `forward` is written.
# 3. `merged()` returns a new `nn.Linear` of the same dtype that computes the same, and leaves the layer as it is.


# %% exercise="sixty.road" part="solution"
class RoAd(pt.Adapter):
    def __init__(self, base):
        super().__init__(base)
        ### BEGIN SOLUTION
        self.theta = nn.Parameter(torch.zeros(base.out_features // 2))
        self.alpha = nn.Parameter(torch.ones(base.out_features // 2))
        ### END SOLUTION

    def turned(self, h):                                        # (…, n_out)
        ### BEGIN SOLUTION
        c, s = self.alpha * self.theta.cos(), self.alpha * self.theta.sin()
        first, second = h[..., ::2].float(), h[..., 1::2].float()
        z = torch.stack([c * first - s * second, s * first + c * second], dim=-1)
        return z.flatten(-2).to(h.dtype)                        # (…, n_out)
        ### END SOLUTION

    def forward(self, x):
        return self.turned(self.base(x))

    @torch.no_grad()
    def merged(self):
        ### BEGIN SOLUTION
        linear = copy.deepcopy(self.base)
        linear.weight.copy_(self.turned(linear.weight.T).T)     # (n_out, n_in)
        if linear.bias is not None:
            linear.bias.copy_(self.turned(linear.bias))         # (n_out,)
        return linear
        ### END SOLUTION


# %% exercise="sixty.road" part="check"
RoAd = pt.check("sixty.road", RoAd)

# %% exercise="sixty.road" part="grade"
pt.require("sixty.road")

# %% [markdown]
# ### Exercise 2 · Five equations (3 points, about 8 minutes)
#
# Each is put on one 384 × 384 matrix. Write `places`, a dict from the name to a list of three:
#
# - Does it **merge** into one plain layer, whatever its numbers are? `True` or `False`.
# - What is the highest **rank** that its $\Delta W$ can have, for a $W$ of full rank? `None` if there is no $\Delta W$.
# - How many **numbers** must a file hold? Random matrices that a seed can draw again need not be in it.
#
# $\odot$ multiplies entry by entry.
#
# | name | output | trained |
# |---|---|---|
# | VeRA | $Wx + b \odot (B\,(d \odot (Ax)))$; A (256, 384) and B (384, 256) are random | $b$, $d$ |
# | OFT | $W(Rx)$; R is orthogonal: 12 blocks $(I-Q)(I+Q)^{-1}$ of 32 × 32, $Q^\top=-Q$ | $Q$ |
# | MiSS | $Wx + (M \dots M)\,x$; the shard M (384, 16) stands there 24 times | $M$ |
# | HiRA | $(W + W \odot BA)\,x$; A (4, 384), B (384, 4) | $A$, $B$ |
# | bottleneck | $h + U\,\mathrm{ReLU}(Dh)$, $h = Wx$; D (8, 384), U (384, 8) | $D$, $U$ |

# %% exercise="sixty.places" part="solution"
### BEGIN SOLUTION
places = {
    "VeRA": [True, 256, 256 + 384],
    "OFT": [True, 384, 12 * 32 * 31 // 2],
    "MiSS": [True, 16, 384 * 16],
    "HiRA": [True, 384, 2 * 4 * 384],
    "bottleneck": [False, None, 2 * 8 * 384],
}
### END SOLUTION

# %% exercise="sixty.places" part="check"
places = pt.check("sixty.places", places)

# %% exercise="sixty.places" part="grade"
pt.require("sixty.places")

# %% [markdown]
# ### What a form cannot do
#
# High rank does not make every change possible. OFT's $\Delta W$ can have rank 384, and MiSS has as many parameters as LoRA 8; yet:

# %%
pt.plots.show(pictures.draw_cannot(), "What two forms cannot do. OFT: W's outputs for "
              "inputs of length one; dotted, with the inputs turned by R. MiSS: an input whose "
              "four pieces add up to 0.")

# %% [markdown]
# An orthogonal $R$ sends the circle of inputs onto itself. So $W$ and $WR$ have the same ellipse, and the same singular values: OFT
# adds no stretch. MiSS multiplies each piece of $x$ by the same $M$: $Mx_1 + \dots + Mx_{24} = M(x_1 + \dots + x_{24})$. What it adds depends on the sum alone.
#
# ## Five methods on one task
#
# We trained five methods as lesson 10 trained its thirteen, each at the rate of its own search: RoAd, exercise 2's VeRA, OFT and MiSS,
# and PiSSA, a LoRA that starts at W's strongest directions. With five seeds, beside LoRA 8:

# %%
few = pictures.compared(record, ladder)
few.iloc[:, :-1]    # minus LoRA 8, same seeds; 95 % interval for new seeds on these sentences

# %% [markdown]
# **How many of the five can we tell from LoRA 8 by R² with ten seeds?**

# %%
pt.commit("sixty.seeds", ..., like=2)    # of five

# %%
pt.compare("sixty.seeds", int((~few.iloc[:, -1].str.startswith("cannot tell")).sum()), "of five")
few.iloc[:, -1:]

# %% [markdown]
# **Ten seeds tell what the first five could not: VeRA, too, is behind LoRA 8.** And OFT, which adds no stretch, is ahead; but beside LoRA 8 at half its rate, where
# fewer of LoRA 8's runs end low, by less than R²'s margin. We added five seeds after seeing five; the later five alone give the ten-seed verdicts, too.
#
# ## Does the small ladder predict peft's table?
#
# Ten methods stand on both. Here full fine-tuning is first. **What is its place there?**

# %%
pt.commit("sixty.there", ..., like=2)    # of ten

# %%
both = pictures.two_ladders(ladder, record)
pt.plots.show(pictures.draw_two_ladders(both), "Each method's place: here by the mean of five "
              "seeds, there by its best run, variants such as miss-bat and road_2 left out. "
              "Thick: moved by more than three places.")
pt.compare("sixty.there", int(both.there.rank(ascending=False)["full fine-tuning"]), "of ten")

# %% [markdown]
# Prefix, VeRA and prompt are in the lower half of both. But full fine-tuning, clearly first here, and MiSS, clearly behind LoRA here, are
# both within two points of LoRA of rank 32 (47.8 %) there, in January and in July. LoRA's first place is that of one run, with $s = 8$. Model, task, sizes and settings differ
# at once, so we cannot say which of them, or luck, did it. **A ranking from one setting is a ranking for that setting.**
#
# ## Yours
#
# ### Exercise 3 · A method of your own (3 points, about 25 minutes)
#
# Write `Mine(base)`, a `pt.Adapter` around an `nn.Linear`, and `count(n_in, n_out)`. You may start from your `RoAd`. The check asks for
# laws, never for a gain:
#
# 1. Untrained, it returns what its base returns. The base stays frozen and as it is. Each token's output depends on that token alone, and is
#    the same in training and in evaluation.
# 2. `count` says how many numbers it trains, all float32; `n_in` and `n_out` are multiples of 48. Its file holds these alone, and a second `Mine` that loads
#    the file gives the same outputs: what is random is drawn by a `torch.Generator` of its own, into a buffer with `persistent=False`.
# 3. Within three steps at least half of each parameter's entries get a gradient other than 0, and the output moves. Nothing cuts the gradient of the layer's inputs.
# 4. If it has `merged()`, this returns a new `nn.Linear` with the same outputs, and leaves the layer as it is.
# 5. `self.new` says which method is nearest, and what differs. Only you can judge it.


# %% exercise="sixty.mine" part="solution"
class Mine(pt.Adapter):
    def __init__(self, base):
        super().__init__(base)
        ### BEGIN SOLUTION
        self.new = "Near RoAd, but 16 features share a matrix that is free. We did not search."
        self.M = nn.Parameter(torch.zeros(base.out_features // 16, 16, 16))
        ### END SOLUTION

    def forward(self, x):
        ### BEGIN SOLUTION
        return self.moved(self.base(x))

    def moved(self, h):                                         # (…, n_out)
        blocks = h.float().unflatten(-1, (-1, 16))              # (…, n_out / 16, 16)
        return (h + torch.einsum("...ki,koi->...ko", blocks, self.M).flatten(-2)).to(h.dtype)

    @torch.no_grad()
    def merged(self):
        linear = copy.deepcopy(self.base)
        linear.weight.copy_(self.moved(linear.weight.T).T)
        if linear.bias is not None:
            linear.bias.copy_(self.moved(linear.bias))
        return linear
    ### END SOLUTION


def count(n_in, n_out):
    ### BEGIN SOLUTION
    return 16 * n_out
    ### END SOLUTION


# %% exercise="sixty.mine" part="check"
Mine, count = pt.check("sixty.mine", Mine, count)

# %% exercise="sixty.mine" part="grade"
pt.require("sixty.mine")

# %% [markdown]
# Your `sweep` takes the better of two rates. Then train with seed 2, as LoRA 8's recorded run was. **What will your $R^2$ minus LoRA 8's be?**

# %%
pt.commit("sixty.mine", ..., like=-0.02)

# %%
def wrap(model):
    return pt.attach(model, ("query", "value"), Mine)


print("Trains on", pt.device())
rates = (3.2e-3, 2.56e-2)    # OFT's, and RoAd's: change them to those of your method's kin
rate = sweep(lambda lr: pt.board.trial(wrap, lr), rates, rates[0])
trained = pt.board.train("mine", wrap, seed=2, lr=rate)

# %%
if budget.claims:
    beside = pt.board.beside("mine")
    pt.compare("sixty.mine", round(beside.attrs["difference"], 3), "R² minus LoRA 8's")
else:    # the run was cut short: the record's, in its place
    beside = pictures.compared(record, ladder).loc[["OFT 32"]]
beside

# %% [markdown]
# One seed's interval is for new sentences, not for new seeds. LoRA 8's ten runs differ in their seeds alone. Yet in 28 of their 45 pairs
# such an interval calls one run better.

# %%
pt.sentence("sixty.verdict", ...)    # yours: what do you claim of Mine?

# %% [markdown]
# <details><summary>Ours</summary>
#
# Ours, a free matrix for every 16 features: with seed 2, at the better of two rates, within 0.02 of LoRA 8. One seed says little of others.
# </details>
#
# **What this lesson claims**
#
# | claim | seen here | what could have refuted it, and was tried | at larger scale |
# |---|---|---|---|
# | A lead of less than some two points in peft's table may vanish. | 29 runs of January, again in July: 95 % of the differences moved by at most 2.4 points. 7 of the 14 runs above LoRA of rank 32 are ahead by less | the common fall cancels. Settings and seed are the same, libraries, script and data's revision are not. Most small leads did not vanish: 85 of the 109 pairs within 2.4 points in January kept their order, 52 of the 58 above 1.0 points | peft's maintainers: others can beat LoRA in accuracy or memory (Beyond LoRA, 2026) |
# | In that table settings move two methods about as far as the first is from LoRA of rank 32. An observation. | IA³ by 6.1 to 8.7 points, LoRA of rank 64 by 3.9 to 5.1: four tables, one seed; from LoRA of rank 32 to the first 4.8 | in either pair both runs train equally many parameters; LoRA's differ in s alone. They are chosen: such pairs are up to 29 points apart | IA³ on every linear layer: from 0.002 to 0.005 its accuracy hardly moves (peft's pull request 3337) |
# | On this task VeRA, RoAd and MiSS, each at the rate that one seed chose, are behind LoRA 8. | R², ten seeds in pairs, above | with new sentences, too. On these sentences the same three are behind also when all five are asked at once, in accuracy, with the later five seeds alone, and at half of LoRA 8's rate, where fewer of its runs end low. VeRA trains a tenth of LoRA 8's numbers, RoAd a sixteenth. LoRA 8, run again with seed 2, gave lesson 10's R² | in peft's table VeRA and RoAd (road_2) are behind LoRA of rank 32, MiSS's default is not: one seed. PiSSA comes within 1 to 2 % of LoRA once each has a rate of its own (Lee et al. 2026) |
# | Turning a layer's inputs changes none of its singular values, and shared shards see a sum of the pieces. | a proof of one line each, and drawn | a random layer of each form: singular values alike, and two inputs with equal sums moved alike, to 0.0001 | true of any size |

# %%
pt.progress("13")

# %% [markdown]
# ## At your desk
#
# In peft a method is a config; the rest of your script stays, but for the rate:
#
# ```python
# from peft import MissConfig, RoadConfig, get_peft_model
#
# where = {"task_type": "SEQ_CLS", "target_modules": ["query", "value"]}
# # or MissConfig(r=16, **where)
# config = RoadConfig(variant="road_1", group_size=2, **where)    # pairs of neighbours, as yours
# tuned = get_peft_model(model, config)
# tuned.print_trainable_parameters()
# tuned.save_pretrained("my-road")
# ```
#
# The next paper, in ten minutes:
#
# | ask | because |
# |---|---|
# | Which baseline, which matrices, whose rate? | each can move the score |
# | How many seeds, how many tests? | a difference below two of its standard errors does not show which is ahead |
# | How many rows stood in the table? | the first of many is usually lucky |
# | Equal numbers, equal bytes? | a file may hold one matrix many times, or random ones |
# | What was chosen on the test set? | a rate or checkpoint chosen there flatters the score |
#
# For 1 to 70 billion parameters begin with LoRA on every linear layer, at a rate of its own (lesson 10). Take LoRA of
# rank 1 or IA³ where many files must be tiny, QLoRA where memory is short, and full fine-tuning where there is much to learn.
#
# **Sources**
#
# - The table: Hugging Face peft, `method_comparison/MetaMathQA`, commit 5d602fdbf of August 2026, Apache-2.0.
# - VeRA: Kopiczko et al. 2023, arXiv 2310.11454, §3. OFT: Qiu et al. 2023, arXiv 2306.07280. MiSS: Kang & Yin 2024, arXiv 2409.15371.
#   PiSSA: Meng et al. 2024, arXiv 2404.02948, §3. RoAd: Liao & Monz 2024, arXiv 2409.00119, §3. HiRA: Huang et al. 2025,
#   OpenReview TwJrTz9cRS. Lily: Zhong et al. 2024, arXiv 2407.09946.
#   Rates: Lee et al. 2026, arXiv 2602.04998. The maintainers' reading: Beyond LoRA, Hugging Face blog, 18 June 2026.
# - The plan of our runs: `assets/records/sixty.py`.
