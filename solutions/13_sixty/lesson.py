# %% [markdown]
# # 13 · Sixty methods: what is new, and what is yours?
#
# A paper promises a method that beats LoRA. Last week there were three. Hugging Face peft has more than forty by now, and its own table
# compares them on a model of three billion parameters. You have built nine, and a referee's tools. Take the table apart. Then read an
# equation that you have never seen, and put a method of your own beside the rest.
#
# | | |
# |---|---|
# | **Time** | about 85 minutes (an estimate), 56 of them for 4 exercises; Run All takes about two minutes |
# | **You need** | `sweep` of lesson 10; LoRA (07) and gains (06) by name |
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

import pandas as pd
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
table[["accuracy", "forgetting", "trained", "bytes", "rate"]].head(16)

# %% [markdown]
# LoRA of rank 32 solves 47.8 %, and fourteen runs stand above it. **How many of the fourteen are ahead by more than the choice of the
# problems alone could bring, with 95 % confidence? And how sure are you?**

# %%
pt.commit("sixty.above", ...)    # [runs of fourteen, how sure], such as [7, 0.6]

# %%
p, n = table.accuracy[pictures.LORA], 1319
error = (p * (1 - p) / n) ** 0.5             # of one run
needed = 1.96 * 2**0.5 * error               # of the difference of two
pt.plots.show(pictures.draw_monday(table), "Grey band: as far from LoRA as other problems "
              "alone could move a difference, 95 times of 100.")
pt.compare("sixty.above", [int((table.accuracy > p + needed).sum()), 1.0],
           "of fourteen; and how sure one is now")

# %% [markdown]
# One is left, before any seed is asked. And that one is the first of 63, so it was chosen for being high. How high does the first of 63
# equal runs stand above the truth?

# %%
luck = torch.randn(100_000, 63).amax(dim=1).mean().item()
found = pd.Series({"needed": needed, "the first of 63 equal runs": luck * error})
found.map("{:.1%}".format).to_frame("above")

# %% [markdown]
# Both runs met the same problems, and answers in pairs could decide more. The table keeps none. Nor are bytes equal: Lily's file has
# 835 MB, LoRA's 37 MB.
#
# Now look at rows of *one* method.

# %% tags=["nbval-check-output"]
pictures.pairs(table)

# %% [markdown]
# A learning rate moves IA³ further than the whole way from LoRA to the first place. Most runs, 37 of 63, share one rate, 0.0001. You know
# what that does: in lesson 10 the mask lost at LoRA's rate and won at its own. **The table orders rates and starts as much as it orders
# methods.** It does not show that a method is bad, nor that one is good.
#
# ## Does the small ladder predict the large one?
#
# Seven methods stand on your ladder and in this table. **Which of them comes first at 3 billion?**

# %%
pt.widgets.Guess("At 3 billion, the first of the seven is",
                 ("full fine-tuning", "LoRA 8", "DoRA 8", "a random mask"), "sixty.first")

# %%
both = pictures.two_ladders(ladder)
pt.plots.show(pictures.draw_two_ladders(both), "Places of seven methods: R² of lesson 10's runs, "
              "and problems solved by one run each. There LoRA and DoRA have rank 32.")
pt.compare("sixty.first", both.there.idxmax(), "of the seven")

# %% [markdown]
# A mask level with LoRA or ahead, DoRA beside LoRA, prompts last: these agree. So does forgetting: IA³ forgets most of all runs above 45 %
# there, and in lesson 10 only BitFit forgot more. Full fine-tuning leads here and not there, where it lies within luck of LoRA and of DoRA.
# This is an observation; it decides nothing.
#
# ## One rule, sixty names
#
# Every method here computes a change from few numbers. The names differ in *where* the change enters and in which *form* it has.

# %%
pt.plots.show(pictures.draw_family(), "Some of the field's names. Green: those that you have "
              "built by the end of this lesson.")

# %% [markdown]
# ### Exercise 1 · Read an equation (3 points, about 15 minutes)
#
# RoAd (Liao & Monz 2024) freezes $h = xW^\top + b$ and turns neighbouring features in pairs. For pair $i$, features $2i$ and $2i+1$:
#
# $$ \begin{pmatrix} z_{2i} \\ z_{2i+1} \end{pmatrix} = \alpha_i \begin{pmatrix} \cos\theta_i & -\sin\theta_i \\ \sin\theta_i & \cos\theta_i
# \end{pmatrix} \begin{pmatrix} h_{2i} \\ h_{2i+1} \end{pmatrix} $$
#
# Write `RoAd(base)`, a `pt.Adapter` around an `nn.Linear` with an even number of outputs.
#
# 1. Its parameters are `theta` and `alpha`, float32, (n_out / 2,) each. As it is made, it gives what its base gives.
# 2. `turned(h)` gives $z$, in the dtype of $h$; `forward` is written.
# 3. `merged()` returns a new `nn.Linear` that computes the same, and leaves the layer as it is.


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
# ### Exercise 2 · Eight equations (3 points, about 12 minutes)
#
# Each is put on one 384 × 384 matrix. Give `places`, a dict: by the name, a list of three.
#
# - Does it **merge** into one plain layer, whatever its numbers are? `True` or `False`.
# - The highest **rank** that its $\Delta W$ can have, for a $W$ of full rank. `None` if there is no $\Delta W$.
# - How many **numbers** a file must hold. What is drawn from a seed is in no file.
#
# | name | output | trained |
# |---|---|---|
# | VeRA | $Wx + b \odot (B\,(d \odot (Ax)))$; A (256, 384) and B (384, 256) are random | $b$, $d$ |
# | OFT | $W(Rx)$; R has 12 blocks $(I-Q)(I+Q)^{-1}$ of 32 × 32, $Q^\top=-Q$ | $Q$ |
# | MiSS | $Wx + (M \dots M)\,x$; the shard M (384, 16) stands there 24 times | $M$ |
# | HiRA | $(W + W \odot BA)\,x$; A (8, 384), B (384, 8) | $A$, $B$ |
# | LoKr | $Wx + (C \otimes BA)\,x$; C (16, 16), B (24, 2), A (2, 24) | $A$, $B$, $C$ |
# | SHiRA | $(W + S)\,x$; S has 6,144 entries at places drawn from a seed | the entries |
# | bottleneck | $h + U\,\mathrm{ReLU}(Dh)$, $h = Wx$; D (8, 384), U (384, 8) | $D$, $U$ |
# | linear bottleneck | $h + U D h$, the same sizes | $D$, $U$ |

# %% exercise="sixty.places" part="solution"
### BEGIN SOLUTION
places = {
    "VeRA": [True, 256, 256 + 384],
    "OFT": [True, 384, 12 * 32 * 31 // 2],
    "MiSS": [True, 16, 384 * 16],
    "HiRA": [True, 384, 2 * 8 * 384],
    "LoKr": [True, 16 * 2, 16 * 16 + 2 * 2 * 24],
    "SHiRA": [True, 384, 6144],
    "bottleneck": [False, None, 2 * 8 * 384],
    "linear bottleneck": [True, 8, 2 * 8 * 384],
}
### END SOLUTION

# %% exercise="sixty.places" part="check"
places = pt.check("sixty.places", places)

# %% exercise="sixty.places" part="grade"
pt.require("sixty.places")

# %% [markdown]
# ### What a form cannot do
#
# A few numbers can reach a change of full rank, as gains could in lesson 06. Some changes stay out of reach all the same.

# %%
pt.plots.show(pictures.draw_cannot(), "Left: W as an ellipse, with its inputs turned by an "
              "orthogonal R. Right: MiSS with four shards, and two inputs that it reads as 0.")

# %% [markdown]
# An orthogonal $R$ sends the circle of all inputs onto itself. So $W$ and $WR$ have one ellipse, and the same singular values: OFT stretches
# nothing. MiSS multiplies each piece of $x$ by the same $M$, so it sees the sum of the pieces and nothing else.
#
# ## The same rule for all
#
# We trained some of them as lesson 10 trained its thirteen: each at a rate of its own, found on validation sentences, and all with the
# rate of the head that lesson 10 chose. **Which is better than LoRA 8?**

# %%
few = pictures.verdicts(record, ladder)
pt.widgets.Guess("Better than LoRA 8, by the verdict", ["none", *sorted(few.index)],
                 "sixty.better")

# %%
winners = ", ".join(few.index[few.verdict == "better"]) or "none"
pt.compare("sixty.better", winners, "better than LoRA 8")
few.round(4)    # difference: R² less LoRA 8's, in pairs, with its 95 % interval

# %% [markdown]
# None is better. OFT has the highest mean, and three seeds cannot tell it from LoRA 8. PiSSA's start does the same as LoRA's. MiSS and
# VeRA are worse; VeRA trains a tenth of the numbers. Look at the column of rates: VeRA's is sixteen times MiSS's, and a factor of two away
# from its own rate costs OFT or VeRA 0.03 of $R^2$ on validation sentences. So one rate for all, as for most of peft's table, decides who
# looks good.
#
# For more seeds and RoAd run `assets/records/sixty.py`: it goes on where it stopped.
#
# ## Yours
#
# ### Exercise 3 · A method of your own (3 points, about 25 minutes)
#
# Start from your `RoAd` and change its equation. Which changes do you expect a task to need? What may few numbers share?
#
# Write `Mine(base)`, a `pt.Adapter` around an `nn.Linear`, and `count(n_in, n_out)`. The check asks for laws, never for a gain:
#
# 1. Before training it gives what its base gives, and the base stays frozen and as it is.
# 2. `count` says how many numbers it trains, for sizes that 48 divides. A file holds nothing else.
# 3. Within three steps each of its parameters has a gradient, and the output moves.
# 4. `merged()` gives a plain layer with the same outputs. If it cannot merge, leave it out.


# %% exercise="sixty.mine" part="solution"
class Mine(pt.Adapter):
    def __init__(self, base):
        super().__init__(base)
        ### BEGIN SOLUTION
        n_out, n_in = base.weight.shape    # ΔW: 24 blocks along its diagonal, zeros elsewhere
        self.M = nn.Parameter(torch.zeros(24, n_out // 24, n_in // 24))
        ### END SOLUTION

    def forward(self, x):
        ### BEGIN SOLUTION
        parts = x.unflatten(-1, (24, -1))                       # (…, 24, n_in / 24)
        return self.base(x) + torch.einsum("...ki,koi->...ko", parts, self.M).flatten(-2)

    @torch.no_grad()
    def merged(self):
        linear = copy.deepcopy(self.base)
        linear.weight += torch.block_diag(*self.M)
        return linear
    ### END SOLUTION


def count(n_in, n_out):
    ### BEGIN SOLUTION
    return n_in * n_out // 24
    ### END SOLUTION


# %% exercise="sixty.mine" part="check"
Mine, count = pt.check("sixty.mine", Mine, count)

# %% exercise="sixty.mine" part="grade"
pt.require("sixty.mine")

# %% [markdown]
# Do all of its numbers count? LoRA of rank $r$ has $r^2$ to spare: $BA$ stays the same when $A$ is multiplied by a matrix and $B$ by its
# inverse.

# %%
made = {"yours": Mine, "RoAd": RoAd, "LoRA 8": lambda base: pt.lora.LoRALinear(base, 8)}
pd.DataFrame({name: pictures.spare(make) for name, make in made.items()})    # 48 in, 48 out

# %% [markdown]
# Now train it beside LoRA 8, with seed 2, which has a recorded run. **By how much will its $R^2$ be higher?**

# %%
pt.commit("sixty.mine", ...)    # such as -0.02

# %%
def wrap(model):
    return pt.attach(model, ("query", "value"), Mine)


rates, search = (1.6e-3, 3.2e-3, 6.4e-3, 1.28e-2, 2.56e-2), False    # True: minutes for each rate
rate = sweep(lambda lr: pt.board.trial(wrap, lr), rates, 6.4e-3) if search else 6.4e-3
trained = pt.board.train("mine", wrap, seed=2, lr=rate)

# %%
beside = pt.board.beside("mine") if budget.claims else None
if beside is not None:
    gap = float(beside["R²"].iloc[0] - beside["R²"].iloc[1])
    pt.compare("sixty.mine", round(gap, 3), "R² less LoRA 8's")
beside

# %% [markdown]
# ### Exercise 4 · An honest sentence (1 point, about 4 minutes)
#
# `said` is a dict: `difference`, `low` and `high` as `beside` shows them, `seeds` and `rates`, how many you tried of each, and a `sentence`
# that says no more than they do. It contains one of the four words of lesson 10, with a margin of 0.02, and names seeds and rates.

# %% exercise="sixty.sentence" part="solution"
### BEGIN SOLUTION
said = {"difference": -0.005, "low": -0.020, "high": 0.010, "seeds": 1, "rates": 1,
        "sentence": "We cannot tell it from LoRA 8, which trains as many numbers. "
                    "One seed, at one rate that nobody searched."}
### END SOLUTION

# %% exercise="sixty.sentence" part="check"
said = pt.check("sixty.sentence", said)

# %% exercise="sixty.sentence" part="grade"
pt.require("sixty.sentence")

# %% [markdown]
# **What this lesson claims**
#
# | claim | seen here | what could have refuted it, and was tried | at larger scale |
# |---|---|---|---|
# | One of the fourteen runs above LoRA in peft's table is ahead by more than other problems could bring. | 52.6 % against 47.8 %, one seed each; at 95 % a gap of 3.8 points is needed, unpaired | chosen as the first of 63: of equal runs the first would stand 3.2 points too high. Other seeds: nobody asked | the table is of a large model |
# | In that table a rate moves one method further than the first is from LoRA. An observation. | IA³ solves 31.1 % at a rate of 0.0001 and 39.8 % at 0.001; from LoRA to the first 4.8 points | places and numbers are the same in both, 286,720; one seed each | agrees: variants of LoRA draw level once each has a rate of its own (Lee et al. 2026) |
# | Of 4 methods of the field none is better than LoRA 8 on our task, each at its own rate. An observation. | R² less LoRA 8's: OFT 32 +0.011 (−0.014 to 0.035); PiSSA 8 −0.007 (−0.018 to 0.004); MiSS 16 −0.049 (−0.074 to −0.024); VeRA 256 −0.051 (−0.084 to −0.019); 3 seeds | rates searched as in lesson 10, each with both neighbours. LoRA 8, run again with seed 2, gave lesson 10's R² to the last digit | in peft's table, where nobody searched, OFT solves 49.1 %, MiSS 48.7 %, VeRA 35.4 %, LoRA 47.8 % |
# | Turning a layer's inputs changes none of its singular values, and shared shards see a sum of the pieces. | a proof of one line each, and drawn | a random layer of each form: singular values alike, and two inputs with equal sums moved alike, to 0.0001 | true of any size |

# %%
pt.progress("13")

# %% [markdown]
# ## At your desk
#
# In peft a method is a config, and the rest of your script stays as it is:
#
# ```python
# from peft import MissConfig, OFTConfig, RoadConfig, VeraConfig, get_peft_model
#
# where = {"task_type": "SEQ_CLS", "target_modules": ["query", "value"]}
# config = VeraConfig(r=256, **where)                 # or MissConfig(r=16, **where)
# config = OFTConfig(oft_block_size=32, r=0, **where)
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
# | Which baseline, and whose rate? | one rate for all orders rates |
# | How many seeds, how many tests? | a gap below two standard errors is a draw |
# | How many rows stood in the table? | the first of many is lucky |
# | Equal numbers, equal bytes? | some files hold what could be drawn again |
# | What was chosen on the test set? | a rate, a start, the last checkpoint |
#
# For 1 to 70 billion parameters begin with LoRA on every linear layer, at a rate of its own (lesson 10): every tool reads it, servers hold
# thousands of them, and no table here shows a better start. Take VeRA or RoAd where many files must be tiny, QLoRA where memory ends, and
# full fine-tuning where there is much to learn.
#
# **Sources**
#
# - The table: Hugging Face peft, `method_comparison/MetaMathQA`, commit 5d602fdbf of August 2026, Apache-2.0.
# - VeRA: Kopiczko et al. 2023, arXiv 2310.11454, §3. OFT: Qiu et al. 2023, arXiv 2306.07280. MiSS: Kang & Yin 2024, arXiv 2409.15371.
#   PiSSA: Meng et al. 2024, arXiv 2404.02948, §3. RoAd: Liao & Monz 2024, arXiv 2409.00119, §3. SHiRA: Bhardwaj et al. 2024, arXiv
#   2406.13175.
# - The plan of our runs: `assets/records/sixty.py`; the layers: `peft_teach/course/lessons/sixty/layers.py`.
