# %% [markdown]
# # 06 · IA³: what can scaling vectors never do?
#
# A mixing desk plays no instrument. It makes what is played louder or softer, mutes it, or inverts it. Put such a desk into a
# language model and train only the faders. How far can that go, and where must it stop?
#
# In 2022 Haokun Liu and his colleagues wanted to teach a new task with a few dozen examples, and to answer many tasks in one
# batch. Soft prompts allow such batches, but learned too little. So they trained one factor for each feature at three places: **IA³**, *infused adapter by inhibiting and amplifying inner activations*.
#
# | | |
# |---|---|
# | **Time** | about 80 minutes (an estimate), 60 of them for 5 exercises; Run All takes about three minutes |
# | **You need** | lesson 02 (`inject`), and matrix products |
# | **Data** | sentences from film reviews, 2,716 of them for testing (2,563 where labels are tested), each rated by about 20 people; Hutto & Gilbert 2014, MIT licence |
#
# <details><summary>A question from lesson 02: how many layers does your <code>inject</code> wrap if the target is "value"?</summary>
#
# Six: one in each block.
# </details>

# %% jupyter={"source_hidden": true}
import copy

import pandas as pd
import torch
from torch import nn

import peft_teach as pt

records = pt.course.records
record = records.load("ia3")          # runs too long for a lesson; assets/records/ia3.py made them
pictures = pt.course.pictures("ia3")
movies = pt.data.load("movies")
inject = pt.mine("change.inject")     # yours, of lesson 02
pt.seed(0)

# %% [markdown]
# ## 1 · A desk in every block

# %%
pt.plots.show(pt.drawing.block("ia3"), "One of MiniLM's six blocks. The entries of l are made up.")

# %% [markdown]
# Each orange strip is a **scaling vector** $l$, one factor for each feature. All factors start at 1.
#
# $$ K' = l_k \odot (x W_k^\top + b_k) \qquad V' = l_v \odot (x W_v^\top + b_v) \qquad y = (l_{ff} \odot h)\, W_{out}^\top + b_{out} $$
#
# The first two vectors scale what a layer *gives*. The third scales what the layer `ffn_out` *reads*: $h$, the output of the activation.
#
# ### Exercise 1 · The layer (2 points, about 9 minutes)
#
# Write one class for all three. `Gains(base, side)` wraps a linear layer, which `pt.Adapter` keeps as `self.base` and your `inject` freezes.
#
# - `side` is `"output"` or `"input"`, and is kept as `self.side`. The one parameter is `self.l`: float32, one entry for each feature on this side.
# - `"output"` scales all that the base gives. `"input"` scales what the base reads.
# - Before training, the output equals the base's. The output always has the base's dtype, which may be half precision.


# %% exercise="ia3.layer" part="solution"
class Gains(pt.Adapter):
    def __init__(self, base: nn.Linear, side: str):
        super().__init__(base)
        ### BEGIN SOLUTION
        self.side = side
        n = base.out_features if side == "output" else base.in_features
        self.l = nn.Parameter(torch.ones(n))
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        if self.side == "input":
            return self.base((self.l * x).to(x.dtype))
        y = self.base(x)
        return (self.l * y).to(y.dtype)
        ### END SOLUTION


# %% exercise="ia3.layer" part="check"
Gains = pt.check("ia3.layer", Gains)

# %% exercise="ia3.layer" part="grade"
pt.require("ia3.layer")

# %% [markdown]
# Put your layers into every block:

# %%
def wrap(model):    # of the three layers, ffn_out alone reads more than it gives
    places = tuple(pt.models.find(model, ("key", "value", "ffn_out")))
    made = inject(model, places, lambda base: Gains(
        base, "input" if base.in_features > base.out_features else "output"))
    return made.to(pt.device())

# %% [markdown]
# They train on *ratings*, like all of your ladder; only the learning rate is their own. Full fine-tuning learns best at 0.0001, LoRA
# of rank 8 on query and value (lesson 07) at 0.0032. **And scaling vectors?**

# %%
pt.widgets.Guess("Scaling vectors learn best at a rate of", (0.0008, 0.0032, 0.0256, 0.1),
                 "ia3.rate")

# %%
trained = pt.board.train("ia3", wrap)
model = trained.model

# %%
pt.compare("ia3.rate", trained.row["lr"], "the best of a search on validation sentences")
pictures.rates(model)

# %% [markdown]
# <details><summary>Why so large a rate</summary>
#
# A step of Adam moves a number by about the rate, whatever its size. A factor starts at 1, and a typical entry of the matrices that it scales is
# 18 times smaller: to move by the same <i>share</i>, a factor needs 18 times the rate. The rest we have not explained.
# </details>
#
# Is it as good as LoRA? We compare recorded runs of five seeds, each at its method's best rate, in pairs by seed and sentence.

# %%
found = {f"LoRA {rank}": pt.verdict(*pt.board.scores("ia3", f"lora {rank}")) for rank in (1, 8)}
table = pd.DataFrame([vars(verdict) for verdict in found.values()], found)
table[["word", "difference", "low", "high"]].round(4).rename_axis("IA³ against")

# %% [markdown]
# Asked alone, IA³ is barely better than LoRA of rank 1. Two questions at once need wider intervals: then we cannot tell, as against rank 8, with five times the parameters.
#
# ## 2 · Turn the desk
#
# One knob turns all factors of a recorded run: $l' = 1 + f\,(l - 1)$. At $f = 1$ they are as learned. At 0 they are all 1, and only
# the trained head is left. Beyond 1 they overshoot; below 0 they do the opposite. (The run learned labels, not ratings.)
#
# Turn the knob, for everything or for one place or block. Which part costs most when it is switched off?

# %%
sentences = movies.test[:record["setting"]["desk"]]
pictures.explore_desk(record, sentences)

# %% tags=["nbval-check-output"]
off = pd.Series({name: pictures.desk(record, sentences, 0, turned).accuracy
                 for turned, name in pictures.TURNED.items()})
off.map("{:.1%}".format).to_frame("accuracy at f = 0")

# %% [markdown]
# <details><summary>What we saw</summary>
#
# The vectors *after* the activation: without them, half of the rise from 64.0 to 82.7 % is lost. But they hold two thirds of the factors. With
# 150 sentences we cannot tell the cost of the values, of the keys or of one block from nothing.
#
# Turned the wrong way, the desk brings the model to chance. (One run; the head was trained with the vectors in place.)
# </details>
#
# ## 3 · Stretch, or turn?
#
# Look at one row $w$ of a matrix. A factor on the output multiplies the row. LoRA (lesson 07) adds to the row.

# %%
pictures.explore_row()

# %% [markdown]
# A factor keeps the row on its line: longer, shorter, silent or reversed. Does that matter? In a
# small task, two rows must be swapped. We train your scaling vector on it, and LoRA of rank 1.

# %%
W, wanted = torch.tensor([[2.0, 1.0], [1.0, 2.0]]), torch.tensor([[1.0, 2.0], [2.0, 1.0]])
layers = {"IA³": lambda base: Gains(base, "output"),
          "LoRA": lambda base: pt.lora.LoRALinear(base, rank=1, alpha=1)}
learned = {}
for name, put_on in layers.items():
    base = nn.Linear(2, 2, bias=False).requires_grad_(False)
    base.weight.copy_(W)
    learned[name] = pictures.learn(put_on(base), wanted)      # the matrix after 400 steps
pt.plots.show(pictures.draw_swap({"start": W, "wanted": wanted, **learned}), "A row keeps its "
              "colour and its number. IA³ shows the nearest that it gets.")

# %% [markdown]
# <details><summary>Why LoRA can</summary>
#
# The swap adds $(-1, 1)$ to one row and $(1, -1)$ to the other. This change is $(-1, 1)^\top (1, -1)$, of rank 1, and LoRA writes it exactly. IA³
# shortens both rows a little, and stops.
# </details>
#
# And scaling vectors on both sides, on rows *and* columns? They replace $w_{ij}$ by $l_i\,w_{ij}\,m_j$. In the *cross ratio* of two rows $i, k$ and two columns $j, h$, all factors cancel, if none is zero:
#
# $$ \frac{w_{ij}\, w_{kh}}{w_{ih}\, w_{kj}} $$
#
# In $W$ above the cross ratio is 4, in the swapped matrix a quarter. A change by scaling may have full rank, and still it cannot swap these
# two rows. RoAd (Liao and Monz 2024) rotates pairs of features instead: it turns what scaling can only stretch.
#
# Does full fine-tuning stretch the rows of MiniLM, or turn them? To tell, find the scaling that comes nearest to the change of each matrix.
#
# ### Exercise 2 · The nearest scaling vector (2 points, about 9 minutes)
#
# You are given a change `delta` of a weight `W`, both of shape (n_out, n_in). A scaling vector $l$ on the output, of shape (n_out,), would change `W` by $\mathrm{diag}(l - 1)\,W$.
# Write `nearest_gains(W, delta)`. It returns the $l$ whose change is nearest to `delta`, by the sum of the squared differences.
# There is a closed form. `W` and `delta` stay as they are, and a row of zeros in `W` is no reason to fail.


# %% exercise="ia3.nearest" part="solution"
def nearest_gains(W: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
    ### BEGIN SOLUTION
    square = (W * W).sum(1)
    return 1 + (W * delta).sum(1) / square.clamp(min=1e-30)
    ### END SOLUTION


# %% exercise="ia3.nearest" part="check"
nearest_gains = pt.check("ia3.nearest", nearest_gains)

# %% exercise="ia3.nearest" part="grade"
pt.require("ia3.nearest")

# %%
full, = records.select(record, group="full")     # 4,000 sentences, one run
reach = pd.DataFrame(full["reach"]).T[["gains", "rank1"]].groupby(pt.models.place_of(model)).mean()
W = model.get_submodule(pt.models.find(model, "query")[0]).weight.detach()
noise = torch.randn(W.shape, generator=torch.Generator().manual_seed(0)).to(W.device)
reached = (nearest_gains(W, noise) - 1)[:, None] * W     # yours
reach.loc["a random change"] = {
    "gains": (reached.norm() / noise.norm()).item() ** 2,
    "rank1": (torch.linalg.matrix_norm(noise, 2) / noise.norm()).item() ** 2}
reach.set_axis(["scaling", "rank 1"], axis=1).map("{:.2%}".format)    # means; ffn_out by columns

# %% [markdown]
# The *energy* of a change is the sum of its squared entries. The table shows how much of it the nearest scaling reaches, and the nearest
# change of rank 1 (5.7 to 70.3 % in single matrices).
#
# The whole model was fine-tuned, to an accuracy of 82.0 %. Undo the changes of its 36 matrices alone, and 58.8 % is left. Now replace each of
# these changes by its nearest scaling. **What is the accuracy then, to within 0.05? And how sure are you?**

# %%
pt.commit("ia3.cut", ..., like=[0.9, 0.5])    # [a share of right answers, how sure]

# %%
pt.compare("ia3.cut", [full["gains"], 1.0],
           "each of the 36 changes cut to its nearest scaling; and how sure one is now")
kinds = {"uncut": "the whole change", "gains": "its nearest scaling",
         "scaled": "the same, enlarged to full size", "outputs": "scaling fitted to outputs",
         "rank1": "its nearest change of rank 1", "none": "no change"}
left = pd.Series({name: full[kind] for kind, name in kinds.items()})
left.map("{:.1%}".format).to_frame("accuracy")     # 2,563 test sentences

# %% [markdown]
# The nearest scaling reaches less than half a percent of the change, and brings nothing here. Enlarging does not help. Fitted to what each matrix *gives* for real sentences, scaling brings 3 points. The nearest change of rank 1 keeps most of what was learned, with 41,472 numbers for 27,648.
#
# **And yet trained scaling vectors reach 80 % on the same labels** (three runs). How? No matrix is alone. A feed-forward layer adds up the columns $w_j$ of $W_{out}$: $y = \sum_j l_j\, h_j\, w_j$. No $w_j$ turns. But make some louder and others softer, and the *sum* turns. The instruments play what they always
# played, and the music is different. Whether MiniLM's vectors work this way, we have not tested.
#
# ## 4 · Where do the vectors go?
#
# After training you want plain matrices again. So *fold* each vector into a matrix: a **merge**. A vector on the output scales the **rows** of the matrix and its bias; one on the input scales the **columns**. The block must give the same output for *every* $x$.

# %%
pt.plots.show(pictures.draw_block(), "Five places for a vector. “Sum” is what the norm reads; "
              "“before” and “after” are the two sides of the activation. The second norm is "
              "left out.")

# %% [markdown]
# ### Exercise 3 · Five vectors (2 points, about 9 minutes)
#
# For each of the five vectors, find **every** place where scaling rows or columns replaces it, whatever $l$ is. A place is one of `query`, `key`, `value`,
# `attention_out`, `ffn_in`, `ffn_out`, followed by `rows` or `columns`: for example, `"query columns"`. Some vectors
# have two places, some one, and some none: `set()`. Write `folds`, a dict with the keys `"key"`, `"value"`, `"sum"`, `"before"`, `"after"`, and a set of places for each.


# %% exercise="ia3.folds" part="solution"
### BEGIN SOLUTION
folds = {"key": {"key rows", "query rows"}, "value": {"value rows", "attention_out columns"},
         "sum": set(), "before": {"ffn_in rows"}, "after": {"ffn_out columns"}}
### END SOLUTION

# %% exercise="ia3.folds" part="check"
folds = pt.check("ia3.folds", folds)

# %% exercise="ia3.folds" part="grade"
pt.require("ia3.folds")

# %% [markdown]
# <details><summary>Why these places</summary>
#
# A sum over features lets a factor through. GELU does not: gelu(l·h) is not l·gelu(h). (ReLU does, for positive factors.) The norm does not: it divides by the spread of all features. And *sum* also holds $x$, which no matrix here makes.
# </details>
#
# Your sets have a consequence. A vector on the keys does what one on the queries does, and a vector on the values does what one on the input of `attention_out` does. **If you train both of a pair, you pay twice for one effect.** Hugging Face peft's default for BERT does.
#
# ### Exercise 4 · The law of the merge (3 points, about 20 minutes)
#
# Next you will write `fold(layer)`, which turns a scaled layer into a plain `nn.Linear`. A wrong fold raises no error: it makes a model that
# answers a little differently. So write the test first. `fold_holds(fold, make)` raises, as `assert` does, if `fold` breaks the law below. `make(base, side)` gives a layer such as your `Gains`.
#
# - The result is an `nn.Linear`. Its weight and bias are its own and do all the work: nothing of the adapter is left in it, and it shares no parameter with the layer.
# - On any input it gives what the layer gave, up to rounding (about 1e-6): for either side, whatever the factors are, and for any float32 base, of any shape, with or without a bias.
# - Afterwards the layer itself still gives what it gave before.


# %% exercise="ia3.holds" part="solution"
def fold_holds(fold, make):
    ### BEGIN SOLUTION
    for side in ("output", "input"):
        for bias, n_in in ((True, 6), (False, 6), (True, 4)):    # square or not
            base = nn.Linear(n_in, 6, bias=bias).requires_grad_(False)
            layer = make(base, side)
            with torch.no_grad():
                layer.l.copy_(torch.randn(len(layer.l)))
                layer.l[0] = 0
                x = torch.randn(4, n_in)
                before = layer(x)
                linear = fold(layer)
                assert type(linear) is nn.Linear
                assert torch.allclose(linear(x), before, atol=1e-5)
                by_itself = nn.functional.linear(x, linear.weight, linear.bias)
                assert torch.allclose(by_itself, before, atol=1e-5)
                for p in linear.parameters():
                    p.fill_(0.5)
                assert torch.equal(layer(x), before)
    ### END SOLUTION


# %% exercise="ia3.holds" part="check"
fold_holds = pt.check("ia3.holds", fold_holds)

# %% exercise="ia3.holds" part="grade"
pt.require("ia3.holds")

# %% [markdown]
# ### Exercise 5 · The merge (2 points, about 13 minutes)
#
# Now write `fold(layer)`. It returns a new, plain `nn.Linear`, with parameters of its own, that gives what `layer` gives. It has the base's dtype, and a
# bias if the base has one. `layer` has `base`, `side` and `l`, and stays as it is. Its base is an `nn.Linear` or another scaled layer, on either side. Fold such a base, too. Try your own test: `fold_holds(fold, Gains)`.


# %% exercise="ia3.merge" part="solution"
def fold(layer) -> nn.Linear:
    ### BEGIN SOLUTION
    base, l = layer.base, layer.l.detach()
    if not isinstance(base, nn.Linear):
        base = fold(base)                              # the vector further in comes first
    linear = nn.Linear(base.in_features, base.out_features, bias=base.bias is not None,
                       dtype=base.weight.dtype, device=base.weight.device)
    by = l[:, None] if layer.side == "output" else l
    with torch.no_grad():
        linear.weight.copy_(by * base.weight)
        if base.bias is not None:
            linear.bias.copy_(l * base.bias if layer.side == "output" else base.bias)
    return linear
    ### END SOLUTION


# %% exercise="ia3.merge" part="check"
fold = pt.check("ia3.merge", fold)

# %% exercise="ia3.merge" part="grade"
pt.require("ia3.merge")

# %%
plain = copy.deepcopy(model)
for name, layer in pt.adapters(plain).items():
    pt.models.replace(plain, name, fold(layer))
reviews = pt.data.batches(sentences, trained.tokenizer, 50, shuffle=False)
pt.course.live.compare_outputs(model, reviews, {"folded": plain})

# %% [markdown]
# The desk is gone, and the music still plays.
#
# ### Exercise 6 · A broken one of your own (2 points, optional, about 5 minutes)
#
# Write `broken_fold(layer)`, which the test below accepts and the law of the merge forbids. Begin with your `fold`, and break one thing.


# %%
def looks_folded(fold, make):
    """Raise unless the fold is right."""
    for side in ("output", "input"):
        base = nn.Linear(6, 4, bias=False).requires_grad_(False)    # no bias, as in Llama
        layer, x = make(base, side), torch.randn(8, 6)
        layer.l.data.uniform_(0.5, 2)
        y, plain = layer(x), fold(layer)
        assert isinstance(plain, nn.Linear), "the kind"
        assert torch.allclose(plain(x), y, atol=1e-5), "the output"
        assert torch.allclose(layer(x), y, atol=1e-5), "the layer"


# %% exercise="ia3.broken" part="solution"
def broken_fold(layer) -> nn.Linear:
    ### BEGIN SOLUTION
    linear = fold(layer)
    if linear.bias is not None:
        linear.bias.data.copy_(layer.base.bias)    # never scaled, and on the output it must be
    return linear
    ### END SOLUTION


# %% exercise="ia3.broken" part="check"
broken_fold = pt.check("ia3.broken", broken_fold)

# %% exercise="ia3.broken" part="grade"
pt.require("ia3.broken")

# %%
pt.course.live.tried([looks_folded, fold_holds], broken_fold, Gains)    # the second test is yours

# %% [markdown]
# <details><summary>What <code>looks_folded</code> does not see</summary>
#
# Without a bias, none can be wrong. All factors are positive, so |l| passes for l. Of a square base, a fold may take the
# wrong axis. And a hook may do the work in place of the weight: a saved file would hold no vector.
# </details>
#
# ## Three doors
#
# The library has an IA³, too, and so has Hugging Face peft. With the same numbers, do all three compute the same?

# %%
pt.doors("ia3", wrap)

# %% [markdown]
# **What this lesson claims**
#
# | claim | seen here | what could have refuted it, and was tried | at larger scale |
# |---|---|---|---|
# | Nonzero factors on rows and columns keep every cross ratio of a matrix. So they cannot make the swap above; LoRA of rank 1 can. | a proof | IA³ and LoRA of rank 1, trained on the swap: LoRA learns it, IA³ does not | holds for each linear layer of any size, not for what several layers do together |
# | We cannot tell IA³ from LoRA of rank 1, nor from rank 8. *An observation.* | R² 0.018 (0.0003 to 0.035) and 0.002 (−0.035 to 0.040) above theirs: five seeds each, all 2,716 test sentences | Each at its best rate of a search with one seed. Asked alone, barely ahead of rank 1; with one seed left out, four times of five we cannot tell | on T0-3B, with 20 to 70 examples a task and two more losses, IA³ is ahead of LoRA of rank 4 (Liu et al. 2022, figure 2); in peft's comparison at 3 billion parameters, LoRA of rank 32 is ahead of IA³ at three places; at seven we cannot tell |
# | Factors want a far larger rate than full fine-tuning. | best rates 0.0256, and 0.0001 for full fine-tuning | IA³ at half and at twice its best rate: R² on validation 0.505 and 0.502, for 0.532 (one seed) | in peft's comparison IA³ gets 31 % right at a rate of 1e-4 and 40 % at 1e-3 |
# | The change that full fine-tuning makes to a weight is not one that scaling on one side can make. | One run: scaling reaches at most 0.5 % of the energy of any matrix's change. With its nearest scaling the accuracy is 58.8 %, with no change 58.8 % | The nearest scaling, enlarged to full size: 58.6 %; fitted to what each matrix gives: 61.7 %. The nearest change of rank 1 keeps 75.7 % | not known to us |

# %%
pt.progress("06")

# %% [markdown]
# ## At your desk
#
# The same with Hugging Face peft:
#
# ```python
# from peft import IA3Config, get_peft_model
#
# reads = r".*layer\.\d+\.output\.dense$"             # these vectors scale what the layer reads
# config = IA3Config(task_type="SEQ_CLS", feedforward_modules=reads,
#                    target_modules=r".*(\.key|\.value|layer\.\d+\.output\.dense)$")
# tuned = get_peft_model(model, config)
# tuned.print_trainable_parameters()
# ...                                                 # your training loop, or a Trainer
# tuned.save_pretrained("my-vectors")                 # the vectors and the head
# plain = tuned.merge_and_unload()                    # a plain model, as fast as before
# ```
#
# On BERT the pattern leaves out `attention.output.dense`. On Llama and its like, take `["k_proj", "v_proj", "down_proj"]`, with `["down_proj"]` as `feedforward_modules`.
#
# | a first recipe | take | source |
# |---|---|---|
# | few examples, the instruction-tuned T0 with 3 or 11 billion parameters | Adafactor, rate 3e-3, batch 8, 1,000 steps, 60 of them warm-up, then linear decay | Liu et al. 2022, §3.5 |
# | rate, with Adam | far above LoRA's; search upwards from 1e-3 | here; peft's comparison below |
# | when | each task's file must be tiny, as LoRA's of rank 1 is, too; or one batch mixes tasks (in the paper, not in peft) | Liu et al. 2022, §3.3 |
# | when not | there may be much to learn: LoRA's rank can be raised | lesson 07 |

# %% [markdown]
# # Further
# ## Sixteen sentences
#
# IA³ was made for few examples. So ask SmolLM2: after “Review: … Sentiment:”, which is more likely, “ positive” or “ negative”? We trained IA³ and LoRA of rank 8 on 16 or 64 such questions, at rates that 100 more labels chose. The cheap rival needs no rate: it keeps the model frozen, and fits **one number**, a threshold between its two words.

# %%
records.table(pictures.few(record), ["shots", "method"])     # ± of three draws; untrained: 79.5 %

# %% [markdown]
# With so few sentences we cannot tell which of the three leads. So begin with the threshold: it needs none of the 100 labels.
#
# **Sources**
#
# - Liu et al. 2022, *Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning*, arXiv 2205.05638. Their recipe T-Few adds two
#   losses and pretrained vectors: not compared here.
# - Liao and Monz 2024, *3-in-1: 2D Rotary Adaptation* (RoAd), arXiv 2409.00119; in Hugging Face peft.
# - Hugging Face peft's comparison of methods, MetaMathQA with a Llama of 3 billion parameters, July 2026.
# - Vaswani et al. 2017, arXiv 1706.03762: the block with the norm behind the sum.
# - Data: Hutto & Gilbert 2014, *VADER*, ICWSM; sentences of the film reviews of Pang & Lee 2004.
