# %% [markdown]
# # 13 · Dozens of methods: what is new, and what is yours?
#
# A paper promises a method that beats LoRA. Hugging Face peft compares 37 methods and full fine-tuning in one table. Take it apart. Then
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
# **06: What can gains on a layer's outputs not do?** `torch.diag(l) @ W` makes each row longer or shorter. It turns none.
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
# ## The field's Monday
#
# Llama 3.2 3B, trained on mathematics, tested on 1,319 problems: 63 runs, one seed each.

# %%
table = pictures.field()
table[["accuracy", "trained", "bytes", "rate"]].head(16)

# %% [markdown]
# The first is Lily, on the MLP, the feed-forward part. LoRA on the MLP, with as many trained numbers, solves 49.4 %. peft had run it for two earlier tables,
# with the same settings and seed. **How many points lie between the highest and the lowest of its three scores?**

# %%
pt.commit("sixty.again", ..., like=0.5)    # in points

# %%
scores = pictures.again().loc[pictures.MLP]
pt.plots.show(pictures.draw_monday(table), "The same run again. Large: this table. Small: the "
              "same runs in peft's earlier tables.")
pt.compare("sixty.again", round(100 * (scores.max() - scores.min()), 1), "points between")

# %% [markdown]
# The software changed between tables, and from January to July 35 of 37 runs fell. But differences changed, too: full fine-tuning minus LoRA
# of rank 32 was +1.8, then +0.5, then −0.7 points. **So the table cannot say how sure a difference is.**
#
# Settings move a run, too. Two runs of *one* method, with another rate and weight decay: the points between them in each table.

# %% tags=["nbval-check-output"]
pictures.pairs()

# %% [markdown]
# Rate and decay move IA³ by 6 to 9 points; from LoRA of rank 32 to Lily there are 4.8. **The table orders settings as well as methods.**
#
# ## Does the small ladder predict the large one?
#
# Six methods stand on both.

# %%
both = pictures.two_ladders(ladder)
pt.plots.show(pictures.draw_two_ladders(both), "Two ladders. A dot is a run there, with settings "
              "of its own.")

# %% [markdown]
# In part. Even at their best, prompt and prefix are last there as here; but full fine-tuning, first here, is not first there.
#
# ## Few ideas, many names
#
# What do a method's few numbers change, and in which form?

# %%
pt.plots.show(pictures.draw_family(), "Some of the field's names. Green: those that you have "
              "built by the end of this lesson.")

# %% [markdown]
# ### Exercise 1 · Read an equation (3 points, about 15 minutes)
#
# RoAd (Liao & Monz 2024) keeps the layer $h = xW^\top + b$ frozen and turns neighbouring features in pairs. For pair $i$, features $2i$ and $2i+1$:
#
# $$ \begin{pmatrix} z_{2i} \\ z_{2i+1} \end{pmatrix} = \alpha_i \begin{pmatrix} \cos\theta_i & -\sin\theta_i \\ \sin\theta_i & \cos\theta_i
# \end{pmatrix} \begin{pmatrix} h_{2i} \\ h_{2i+1} \end{pmatrix} $$
#
# Write `RoAd(base)`, a `pt.Adapter` around an `nn.Linear` with an even number of outputs, with or without a bias.
#
# 1. Its parameters are `theta` and `alpha`, float32, (n_out / 2,) each. As it is made, it gives what its base gives.
# 2. `turned(h)` gives $z$. `forward` is written; its output has the dtype of $h$.
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

# %% tags=["nbval-check-output"]
model, tokenizer = pt.models.load("minilm", labels=1, device=pt.device())
model = pt.attach(model, ("query", "value"), RoAd)
own = sum(p.numel() for p in pt.adapter_parameters(model).values())
print(f"{own:,} numbers, where LoRA 8 trains {12 * pt.lora.count(384, 384, 8):,}")

# %% [markdown]
# ### Exercise 2 · Five equations (3 points, about 8 minutes)
#
# Each is put on one 384 × 384 matrix. Give `places`, a dict: by the name, a list of three.
#
# - Does it **merge** into one plain layer, whatever its numbers are? `True` or `False`.
# - The highest **rank** that its $\Delta W$ can have, for a $W$ of full rank. `None` if there is no $\Delta W$.
# - How many **numbers** a file must hold. What a seed draws again need not be in it.
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
# HiRA's $\Delta W$ is $W$ itself if $BA$ is all ones, and OFT's $R - I$ can be invertible: both reach full rank. Yet
# neither they nor MiSS reach every change:

# %%
pt.plots.show(pictures.draw_cannot(), "What two forms cannot do. Left: W's outputs for "
              "inputs of length one; dotted, with the inputs turned by R. Right: an input whose "
              "four pieces add up to 0.")

# %% [markdown]
# An orthogonal $R$ sends the circle of inputs onto itself. So $W$ and $WR$ have one ellipse, and the same singular values: OFT stretches
# nothing. MiSS multiplies each piece of $x$ by the same $M$: $Mx_1 + \dots + Mx_{24} = M(x_1 + \dots + x_{24})$. It sees the sum, nothing else.
#
# ## Five methods on one task
#
# We trained five methods as lesson 10 trained its thirteen, each at the rate of its own search: your RoAd, exercise 2's VeRA, OFT and MiSS,
# and PiSSA, a LoRA that starts at W's strongest directions. Beside them stands LoRA 8, at the rate of its search and at half of it.
# **For how many of the five does half the rate change the verdict in $R^2$?**

# %%
pt.commit("sixty.half", ..., like=2)    # of five

# %%
few = pictures.compared(record, ladder)
words = few.iloc[:, -2:].map(lambda told: told.partition(":")[0])
pt.compare("sixty.half", int((words.iloc[:, 0] != words.iloc[:, 1]).sum()), "of five verdicts")
few    # differences of R², four seeds, 95 % for new seeds on these sentences, each asked alone

# %% [markdown]
# At the searched rate one of LoRA 8's four runs ended far below the others, which widens every interval: only MiSS can be told from it. At
# half that rate, each asked alone, OFT is ahead, and VeRA and RoAd are behind, too. Leave that seed out, and the two rates agree on all five: **one poor run of
# the baseline decided four verdicts.**
#
# ## Yours
#
# ### Exercise 3 · A method of your own (3 points, about 25 minutes)
#
# Write `Mine(base)`, a `pt.Adapter` around an `nn.Linear`, and `count(n_in, n_out)`. You may start from your `RoAd`. The check asks for
# laws, never for a gain:
#
# 1. Before training it gives what its base gives. The base stays frozen and as it is. Each token's output depends on that token alone.
# 2. `count` says how many numbers it trains; `n_in` and `n_out` are multiples of 48. A file holds nothing else, and a second `Mine` that reads
#    it gives the same outputs: what is random has a seed of its own.
# 3. Within three steps each parameter has a gradient, and the output moves. Its inputs get their whole gradient.
# 4. If it has `merged()`, this returns a new `nn.Linear` with the same outputs, and leaves the layer as it is.
# 5. `self.new` says which method is nearest, and what differs.


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
        blocks = h.unflatten(-1, (-1, 16))                      # (…, n_out / 16, 16)
        return h + torch.einsum("...ki,koi->...ko", blocks, self.M).flatten(-2)

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
# Your `sweep` takes the better of two rates. Then train with seed 2, as LoRA 8's recorded run was. **By how much will your $R^2$ be higher?**

# %%
pt.commit("sixty.mine", ..., like=-0.02)

# %%
def wrap(model):
    return pt.attach(model, ("query", "value"), Mine)


rates = [3.2e-3, 2.56e-2]    # of OFT, and of VeRA and RoAd
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
# One seed's interval is for new sentences, not for new seeds. LoRA 8's ten runs differ in their seeds alone, and such an interval tells 28 of
# their 45 pairs apart.

# %%
pt.sentence("sixty.verdict", ...)    # yours: what do you claim of Mine?

# %% [markdown]
# <details><summary>Ours</summary>
#
# At the better of two rates these two runs are the same; one seed says nothing of others.
# </details>
#
# **What this lesson claims**
#
# | claim | seen here | what could have refuted it, and was tried | at larger scale |
# |---|---|---|---|
# | peft's table does not show by how much a method is better than LoRA. | LoRA on the MLP, with the same settings and seed, in three tables: 52.6, 51.1, 49.4 %. Lily is 3.2 points ahead of the last | a run repeated within one table: there is none. Between the tables the software changed: 35 of 37 runs fell from January to July | peft's maintainers: others can beat LoRA in accuracy or memory (Beyond LoRA, 2026) |
# | In that table rate and weight decay move two methods further than the first is from LoRA. An observation. | IA³ by 6.1 to 8.7 points, prompt by 17.7 to 20.2: four tables, one seed; from LoRA of rank 32 to the first 4.8 | in either pair both runs train equally many numbers. Of LoRA there is one rate alone | from 0.002 to 0.005 IA³'s accuracy hardly moves (peft's pull request 3337): 0.0001 is far too low |
# | One poor run of LoRA 8 decides four of five verdicts in R². An observation. | four seeds; OFT minus LoRA 8 +0.023 (−0.017 to 0.063) at the searched rate, +0.017 (0.004 to 0.031) at half of it | without that seed both rates give the same five verdicts. In accuracy half the rate changes one, RoAd's. The half was run later: the search, of one seed, had chosen next to a cliff, 0.545 to 0.409 on validation. LoRA 8, run again with seed 2, gave lesson 10's R² to the last digit | variants of LoRA come within 1 to 2 % once each has a rate of its own (Lee et al. 2026) |
# | Turning a layer's inputs changes none of its singular values, and shared shards see a sum of the pieces. | a proof of one line each, and drawn | a random layer of each form: singular values alike, and two inputs with equal sums moved alike, to 0.0001 | true of any size |

# %%
pt.progress("13")

# %% [markdown]
# ## At your desk
#
# In peft a method is a config; the rest of your script stays:
#
# ```python
# from peft import MissConfig, OFTConfig, RoadConfig, get_peft_model
#
# where = {"task_type": "SEQ_CLS", "target_modules": ["query", "value"]}
# # or MissConfig(r=16, **where), or OFTConfig(oft_block_size=32, r=0, **where)
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
# | How many rows stood in the table? | the first of many is lucky |
# | Equal numbers, equal bytes? | a file may hold one matrix many times, or random ones |
# | What was chosen on the test set? | a rate, a factor, the last checkpoint |
#
# For 1 to 70 billion parameters begin with LoRA on every linear layer, at a rate of its own (lesson 10): every tool reads it. Take LoRA of
# rank 1 or IA³ where many files must be tiny, QLoRA where memory ends, and full fine-tuning where there is much to learn.
#
# **Sources**
#
# - The table: Hugging Face peft, `method_comparison/MetaMathQA`, commit 5d602fdbf of August 2026, Apache-2.0.
# - VeRA: Kopiczko et al. 2023, arXiv 2310.11454, §3. OFT: Qiu et al. 2023, arXiv 2306.07280. MiSS: Kang & Yin 2024, arXiv 2409.15371.
#   PiSSA: Meng et al. 2024, arXiv 2404.02948, §3. RoAd: Liao & Monz 2024, arXiv 2409.00119, §3. HiRA: Huang et al. 2025,
#   OpenReview TwJrTz9cRS. Lily: Zhong et al. 2024, arXiv 2407.09946.
#   Rates: Lee et al. 2026, arXiv 2602.04998. The maintainers' reading: Beyond LoRA, Hugging Face blog, 18 June 2026.
# - The plan of our runs: `assets/records/sixty.py`.
