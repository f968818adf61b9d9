# %% [markdown]
# # 06 · IA³: what can scaling vectors never do?
#
# A mixing desk plays no instrument. It makes what is played louder or softer, mutes it, or inverts it. Put such a desk into a
# language model and train only the faders. How far can that go, and where must it stop?
#
# In 2022 Haokun Liu and his colleagues wanted to teach a model a new task with a few dozen examples, and to mix many tasks in one batch.
# The better of the known methods allowed only one task in a batch. So they trained one factor for each feature at three
# places, and called the method **IA³**: *infused adapter by inhibiting and amplifying inner activations*.
#
# | | |
# |---|---|
# | **Time** | about 80 minutes (estimated), 50 of them for 6 exercises; Run All takes about two minutes |
# | **You need** | lesson 02 (`inject`), and matrix products |
# | **Data** | sentences from film reviews, 2,563 of them for testing, each rated by about 20 people; Hutto & Gilbert 2014, MIT licence |
#
# <details><summary>Three questions from earlier lessons</summary>
#
# **05: Why can a bottleneck adapter not be merged into the layer that it follows?** An activation stands between its two matrices.
#
# **04: A prefix scales the sentence's part of each head's output by 1 − λ. Could a trained factor do the same?** No. The factor is the same at every token, and λ depends on the query.
#
# **02: You built a change of an n × n matrix from n parameters. What was its rank?** n: a diagonal matrix has full rank if no entry
# is zero.
# </details>

# %% jupyter={"source_hidden": true}
import copy

import pandas as pd
import torch
from torch import nn

import peft_teach as pt

records = pt.course.records
budget = pt.course.budget()           # how much to compute: PEFT_TEACH_BUDGET=smoke|cpu|gpu
record = records.load("ia3")          # runs too long for a lesson; assets/records/ia3.py made them
pictures = pt.course.pictures("ia3")
movies = pt.data.load("movies")
inject = pt.mine("change.inject")     # yours, of lesson 02
pt.seed(0)

# %% [markdown]
# ## 1 · A desk in every block

# %%
pt.plots.show(pictures.draw_block(("key", "value", "after")), "One block. Only the three green "
              "vectors train. Dashed: added unchanged; the second norm is left out.")

# %% [markdown]
# Each green symbol stands for a **scaling vector**, one factor for each feature. All factors start at 1.
#
# $$ K' = l_k \odot (x W_k^\top + b_k) \qquad V' = l_v \odot (x W_v^\top + b_v) \qquad y = (l_{ff} \odot h)\, W_{out}^\top + b_{out} $$
#
# Here $h$ is what comes out of the activation. The first two vectors scale what a layer *gives*. The third, $l_{ff}$ (in the picture *after*), scales what the layer `ffn_out` *reads*.
#
# ### Exercise 1 · The layer (2 points, about 6 minutes)
#
# Write one class for all three. `Gains(base, side)` wraps a linear layer, which `pt.Adapter` keeps as `self.base` and your `inject` freezes.
#
# - `side` is `"output"` or `"input"`, and is kept as `self.side`. The one parameter is `self.l`: float32, one entry for each feature on this side.
# - `"output"` scales all that the base gives. `"input"` scales what the base reads.
# - Before training, the output equals the base's. The output always has the base's dtype, which may be half precision.
#
# Replace the line `raise …`, run the cell, then the one below it. `pt.hint("ia3.layer")` helps, `pt.reset("ia3.layer")` gives the
# original text back. Until yours passes, the lesson goes on with ours.


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
# We trained IA³ on 4,000 of the sentences and recorded the vectors. Now they go into *your* layers.

# %%
def with_gains(model, targets):
    """Put your layers on what `ffn_out` and `attention_out` read, and on what the others give."""
    for name in pt.models.find(model, ("ffn_out", "attention_out")):
        model.get_submodule(name).side = "input"
    made = inject(model, targets, lambda base: Gains(base, getattr(base, "side", "output")))
    return made.to(pt.device())


model, tokenizer = pt.models.load("minilm", labels=2)
model = with_gains(model, tuple(pt.models.find(model, ("key", "value", "ffn_out"))))
pictures.put_in(model, record["gains"])
trained = pt.account.parameters(model).adapter

# %% [markdown]
# On a frozen MiniLM, a new head on the first token, trained to convergence, reaches 71 %. Full fine-tuning reaches 82 %. **How much of this gap do the scaling vectors close?**

# %%
pt.widgets.Guess("Of the way from the head alone to full fine-tuning, the scaling vectors go about",
                 ("10 %", "40 %", "75 %", "all of it"), "ia3.way")

# %%
of_lora = records.load("lora").runs
runs = pd.concat([record.runs.query("group == 'many'").assign(parameters=trained),
                  of_lora.query("group == 'ranks' and rank in [1, 8]"),
                  of_lora.query("group == 'methods' and method == 'full'")])
way = records.gain(runs[runs.method == "ia3"].accuracy.mean())
pt.compare("ia3.way", f"{way:.0%}", "mean of three seeds")
records.table(runs, ["method", "rank", "parameters"])    # 2,563 test sentences

# %% [markdown]
# <details><summary>What the table says</summary>
#
# The scaling vectors go three quarters of the way, with 0.06 % of the parameters. LoRA of rank 1 goes as far with two thirds as many.
# </details>
#
# Equal results do not show an equal mechanism. So look at the desk.
#
# ## 2 · Turn the desk
#
# One knob turns all factors: $l' = 1 + t\,(l - 1)$. At $t = 1$ they are as learned. At 0 they are all 1, and only the trained head is
# left. Beyond 1 they overshoot; below 0 they do the opposite. **What is the accuracy at $t = 0$?**

# %%
at_zero = pt.commit("ia3.zero", ...)     # a share of right answers, from 0 to 1

# %% [markdown]
# Turn the knob, for everything or for one place or block. Which part of the desk can be switched off without a loss? Below the picture
# stand reviews whose answers flip.

# %%
sentences = movies.test[:record["setting"]["desk"]]
pictures.explore_desk(record, sentences)

# %%
desk = pd.DataFrame({name: {t: pictures.desk(record, sentences, t, turned).accuracy
                            for t in pictures.TURNS} for turned, name in pictures.TURNED.items()})
pt.compare("ia3.zero", desk["everything"][0.0], f"without vectors, on {len(sentences)} sentences")
desk.T.map("{:.1%}".format).rename_axis(columns="t")

# %%
pt.sentence("ia3.desk", ...)    # yours: which part of the desk carries the answer?

# %% [markdown]
# <details><summary>Ours</summary>
#
# The keys can be switched off with hardly a loss. Switching off any one block costs at most 4 points. Without the vectors *after* the activation, half of the rise from 64.0 to 82.7 % is lost.
#
# Turned the wrong way, the desk brings the model to chance. (One run, 150 sentences; the head was trained with the vectors in place.)
# </details>
#
# ## 3 · Stretch, or turn?
#
# Look at one row $w$ of a matrix. A factor on the output multiplies the row. LoRA (lesson 07) adds to the row.

# %%
pictures.explore_row()

# %% [markdown]
# A factor keeps the row on its line: longer, shorter, silent or reversed. Does that matter? Here is the smallest task that takes rows off
# their lines: a matrix has two rows, and they must be swapped. We train your scaling vector on it, and LoRA of rank 1. **Who learns it?**

# %%
pt.widgets.Guess("Two rows are swapped. It is learned by",
                 ("both", "IA³", "LoRA", "neither"), "ia3.swap")

# %%
W, wanted = torch.tensor([[2.0, 1.0], [1.0, 2.0]]), torch.tensor([[1.0, 2.0], [2.0, 1.0]])
layers = {"IA³": lambda base: Gains(base, "output"),
          "LoRA": lambda base: pt.lora.LoRALinear(base, rank=1, alpha=1)}
learned = {}
for name, put_on in layers.items():
    base = nn.Linear(2, 2, bias=False).requires_grad_(False)
    base.weight.copy_(W)
    learned[name] = pictures.learn(put_on(base), wanted)      # the matrix after 400 steps
pt.plots.show(pictures.draw_swap({"start": W, "wanted": wanted, **learned}), "The two rows, "
              "before and after. A row keeps its colour.")

# %%
off = pd.Series({name: float((found - wanted).square().sum()) for name, found in learned.items()})
pt.compare("ia3.swap", [name for name in off.index if off[name] < 0.01], "error below 0.01")
off.round(2).to_frame("squared error")

# %% [markdown]
# <details><summary>Why</summary>
#
# The swap adds $(-1, 1)$ to one row and $(1, -1)$ to the other. This change is $(-1, 1)^\top (1, -1)$, of rank 1, and LoRA writes it exactly. IA³
# shortens both rows a little, and stops.
# </details>
#
# And scaling vectors on both sides, on rows *and* columns? They replace $w_{ij}$ by $l_i\,w_{ij}\,m_j$. In the *cross ratio* of two rows $i, k$ and two columns $j, h$, all factors cancel, if none is zero:
#
# $$ \frac{w_{ij}\, w_{kh}}{w_{ih}\, w_{kj}} $$
#
# In $W$ above the cross ratio is 4, in the swapped matrix a quarter. A change by scaling may have full rank, and still it cannot swap these two rows.
#
# So what does full fine-tuning do to MiniLM: stretch, or turn? Take the change of its key and value matrices. The *energy* of a change is the sum of its squared entries. **What share of this energy could scaling vectors have made?**

# %%
pt.widgets.Guess("Scaling vectors can reach about", ("0.3 %", "3 %", "30 %", "80 %"), "ia3.reach")

# %% [markdown]
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
reach = pd.DataFrame(full["reach"]).T.groupby(pt.models.place_of(model)).mean()
W = model.get_submodule(pt.models.find(model, "query")[0]).weight.detach()
noise = torch.randn(W.shape, generator=torch.Generator().manual_seed(0)).to(W.device)
reached = (nearest_gains(W, noise) - 1)[:, None] * W     # yours
reach.loc["a random change"] = {
    "gains": (reached.norm() / noise.norm()).item() ** 2,
    "rank1": (torch.linalg.matrix_norm(noise, 2) / noise.norm()).item() ** 2}
pt.compare("ia3.reach", f"{reach.gains[['key', 'value']].mean():.2%}", "key and value")
found = reach[["gains", "rank1"]].set_axis(["scaling", "rank 1"], axis=1)
found.map("{:.2%}".format)    # for ffn_out, scaling of the columns

# %% [markdown]
# Fine-tuning turns. Scaling reaches hardly more of its change than of a random change. The nearest change of rank 1, with at most twice as many numbers, reaches 15 to 35 %.
#
# Fine-tuning changed 36 matrices. With all these changes the accuracy is 82.0 %, with none of them 58.8 %. Now replace each change by its nearest scaling. **What is the accuracy then?**

# %%
cut = pt.commit("ia3.cut", ...)      # a share of right answers, from 0 to 1

# %%
pt.compare("ia3.cut", full["gains"], "each of the 36 changes cut to its nearest scaling")
kinds = {"uncut": "the whole change", "gains": "its nearest scaling",
         "scaled": "its nearest scaling, at full size", "rank1": "its nearest change of rank 1",
         "shrunk": "the whole change, as small as its nearest scaling", "none": "no change"}
left = pd.Series({name: full[kind] for kind, name in kinds.items()})
left.map("{:.1%}".format).to_frame("accuracy")     # 2,563 test sentences

# %% [markdown]
# The nearest scaling brings nothing. Is it too small? At its size the whole change does little, too. But it brings nothing at full size, either: the direction is wrong. The nearest change of rank 1 keeps most of what was learned.
#
# **And yet trained scaling vectors reach 80 %.** They cannot copy what fine-tuning does, so they find another way.
#
# Fine-tuning moved each matrix by about 2 % of its norm; the factors moved by 13 to 25 %.
#
# And no matrix is alone. A feed-forward layer adds up the columns $w_j$ of $W_{out}$: $y = \sum_j l_j\, h_j\, w_j$. No $w_j$ turns. But make some louder and others softer, and the *sum* turns. The instruments play what they always
# played, and the music is different.
#
# We could not tell whether MiniLM's vectors work this way.

# %%
pt.sentence("ia3.never", ...)    # yours: what can scaling vectors never do?

# %% [markdown]
# <details><summary>Ours</summary>
#
# Scaling an output never takes a row off its line, and scaling an input never takes a column off its line. Nonzero factors on both never change a cross ratio.
# </details>
#
# ## 4 · Where do the vectors go?
#
# After training you want plain matrices again. So *fold* each vector into a matrix: a **merge**. Each output feature has a **row** and an entry of the bias: scale both. Or scale the **columns**, one for each input feature. The block must give the same output for *every* $x$.

# %%
pt.plots.show(pictures.draw_block(), "Five places for a vector. “Sum” is what the norm reads; "
              "“before” and “after” are the two sides of the activation.")

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

# %% tags=["nbval-check-output"]
off = pd.DataFrame({vector: {place: pictures.apart(vector, place) for place in pictures.FOLDS}
                    for vector in pictures.VECTORS})     # a random block: how its outputs differ
off.map(lambda x: "–" if pd.isna(x) else "equal" if x < 1e-9 else f"{x:.2f}")

# %% [markdown]
# <details><summary>Why</summary>
#
# A sum over features lets a factor through. GELU does not: gelu(l·h) is not l·gelu(h). The norm does not: it divides by the spread of all features. And `attention_out` makes only one term of *sum*.
# </details>
#
# The table has a surprise. A vector on the keys does what one on the queries does, and a vector on the values does what one on the input of `attention_out` does. **If you train both of a pair, you pay twice for one effect.**
#
# Hugging Face peft lets you name targets by the ends of their names: `("key", "value", "output.dense")`. **How many factors do MiniLM's six blocks
# get then, instead of 13,824?**

# %%
layers = {name: tuple(module.weight.shape) for name, module
          in pt.models.load("minilm", labels=2)[0].bert.encoder.layer[0].named_modules()
          if isinstance(module, nn.Linear)}
pd.Series(layers).to_frame("(n_out, n_in), in each block")

# %%
suffix = pt.commit("ia3.suffix", ...)    # a whole number

# %% tags=["nbval-check-output"]
by_suffix = with_gains(pt.models.load("minilm", labels=2)[0], ("key", "value", "output.dense"))
pt.compare("ia3.suffix", pt.account.parameters(by_suffix).adapter, "factors by suffix")

# %% [markdown]
# <details><summary>What happened</summary>
#
# `attention.output.dense` ends in `output.dense`, too, so each block gets a fourth vector. Hugging Face peft's default for BERT trains it. It repeats the effect of $l_v$.
# </details>
#
# ### Exercise 4 · The law of the merge (3 points, about 11 minutes)
#
# Next you will write `fold(layer)`, which turns a scaled layer into a plain `nn.Linear`. A wrong fold raises no error: it makes a model that
# answers a little differently. So write the test first. `fold_holds(fold, make)` raises, as `assert` does, if `fold` breaks the law below. `make(base, side)` gives a layer such as your `Gains`.
#
# - The result is an `nn.Linear`. Its weight and bias are its own and do all the work: nothing of the adapter is left in it, and it shares no parameter with the layer.
# - On any input it gives what the layer gave, up to rounding (about 1e-6): for either side, whatever the factors are, and for any float32 base, of any shape, with or without a bias.
# - Afterwards the layer itself still gives what it gave before.
#
# Your test must catch twenty broken folds and accept four right ones.


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
# ### Exercise 5 · The merge (2 points, about 10 minutes)
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
test = pt.data.batches(sentences, tokenizer, 50, shuffle=False)
said = [pt.course.live.logits(each, test).argmax(-1) for each in (model, plain)]
pd.Series({"adapters left": len(pt.adapters(plain)), "sentences": len(sentences),
           "the same answers": int((said[0] == said[1]).sum())}).to_frame("folded")

# %% [markdown]
# The desk is gone, and the music still plays.
#
# ## 5 · Sixteen sentences
#
# IA³ was made for few examples, and for a model that can almost do the task. So ask SmolLM2 in words. After “Review: … Sentiment:”, which is more likely, “ positive” or “ negative”?

# %%
lm, lm_tokenizer = pt.models.load("smollm2")
lm_tokenizer.padding_side = "left"
lm = with_gains(lm, tuple(pt.models.find(lm, ("key", "value", "ffn_out"))))
asking = pictures.Words(lm, lm_tokenizer).to(pt.device())
sixteen = pictures.draw(pictures.ask(movies.train), 16, seed=0)      # 8 of each label
others = pictures.ask(movies.test)[:40 if budget.claims else 8]


def questions(examples, size=20, **more):
    return pt.data.batches(examples, lm_tokenizer, size, max_tokens=64, **more)

# %% [markdown]
# ### Exercise 6 · By hand (1 point, about 5 minutes)
#
# Before any training, turn the desk yourself. Write `by_hand`, a dict such as `{"key": 1.0, "value": 1.0, "ffn_out": 1.0, "blocks": "all"}`. Each place gets one factor for all features: 0.8, 1 or 1.25. Blocks are `"all"`, or the `"lower"` or the `"upper"` fifteen.
#
# Find a setting whose loss on the sixteen sentences is at
# least 0.02 below that of the untouched model. What would you try first: softer or louder?

# %%
def listen(examples, **desk):
    """Turn the desk; return loss and accuracy on these sentences."""
    pictures.turn(lm, {"key": 1.0, "value": 1.0, "ffn_out": 1.0, "blocks": "all"} | desk)
    return pt.evaluate(asking, questions(examples))


listen(sixteen)      # and then, for example, listen(sixteen, key=1.25, blocks="upper")


# %% exercise="ia3.by_hand" part="solution"
### BEGIN SOLUTION
by_hand = {"key": 1.0, "value": 0.8, "ffn_out": 1.0, "blocks": "all"}
### END SOLUTION

# %% exercise="ia3.by_hand" part="check"
by_hand = pt.check("ia3.by_hand", by_hand)

# %% exercise="ia3.by_hand" part="grade"
pt.require("ia3.by_hand")

# %%
bet = pt.commit("ia3.bet", ...)      # by hand: accuracy on other sentences, from 0 to 1

# %%
untouched, yours = listen(others), listen(others, **by_hand)
pt.compare("ia3.bet", yours.accuracy, f"by hand, on {len(others)} other sentences")

# %% [markdown]
# On the sixteen, softer values help. Now train your class on the same sentences.

# %%
review = "A warm, funny film, and I would gladly see it again."      # write your own
(question, _), = pictures.ask([pt.data.Example(review, 1)])
listen(sixteen)                                  # all factors are at one again
unread = pt.course.live.read(asking, lm_tokenizer, question)
drawn = questions(sixteen, 4, seed=0, epochs=4 if budget.claims else 1)
steps = pt.widgets.watch(pt.train(asking, drawn, lr=0.03), len(drawn), name="IA³", window=4)

# %%
trained = pt.evaluate(asking, questions(others))
pd.DataFrame({"untouched": [untouched.accuracy], "by hand": [yours.accuracy],
              f"after {len(steps)} steps": [trained.accuracy]},
             index=[f"accuracy on {len(others)} others"]).map("{:.1%}".format)

# %%
pt.course.live.read(asking, lm_tokenizer, question, before=unread)

# %% [markdown]
# Training helps at once. Or does it? That was one draw, and forty sentences. Here are three draws and 200 sentences, beside a cheap rival: keep the model frozen, and fit
# **one number**, a threshold between its two words.

# %%
few, untrained = pictures.few(record)
pt.plots.show(pictures.draw_few(few, untrained), "SmolLM2 on 200 short reviews: a dot a draw, a "
              "bar at the mean.")
records.table(few, ["shots", "method"])

# %% [markdown]
# With sixteen sentences one number does as well as IA³ or LoRA. SmolLM2 knew most of the task, and leaned towards “positive”. (Half of the sixteen are positive, and four in ten of the 200.)

# %%
pt.sentence("ia3.few", ...)    # yours: what would you use with sixteen sentences?

# %% [markdown]
# <details><summary>Ours</summary>
#
# The threshold first. IA³ or LoRA? We cannot tell: after 16 sentences LoRA leads, after 64 IA³ does.
# </details>
#
# **What this lesson claims**
#
# | claim | seen here | what could have refuted it, and was tried | at larger scale |
# |---|---|---|---|
# | Nonzero factors on rows and columns keep every cross ratio of a matrix. So they cannot make the swap above; LoRA of rank 1 can. | a proof; IA³ and LoRA trained on the 2 × 2 task | for the proof, nothing can | holds for each linear layer of any size, not for what several layers do together |
# | IA³ is about as good as LoRA of rank 1 on MiniLM. | 79.9 ± 0.6 and 79.9 ± 0.7 %, three seeds | three seeds would have shown a gap of two points; LoRA's rate was searched (at rank 8), IA³'s was not | on T0-3B, with 20 to 70 examples a task and two more losses, IA³ is ahead of LoRA of rank 4 (Liu et al. 2022, figure 2) |
# | The change that full fine-tuning makes is not one that scaling on one side can make. | one run: scaling reaches 0.2 to 0.5 % of its energy in each matrix. With its nearest scaling the accuracy is 58.8 %, as with no change | the nearest scaling at full size: 58.6 %. The nearest change of rank 1 keeps 75.7 % of accuracy, the whole change has 82.0 % | not known to us |
# | With 16 sentences we cannot tell IA³, LoRA and a threshold apart. (An observation) | SmolLM2, three draws, 200 test sentences: 84.5 to 86.5 % | nothing yet: too few test sentences | Liu et al. compare IA³ and LoRA on other tasks; calibrating a frozen model's answers helps (Zhao et al. 2021, arXiv 2102.09690) |

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
# | when | each task's file must be tiny, for thousands of tasks; or one batch mixes tasks, and each sentence brings its own vectors | Liu et al. 2022, §3.3 |
# | when not | in all other cases: LoRA first (lesson 07). IA³ needs no less memory than LoRA | the table below |

# %%
costs = pd.json_normalize(records.load("benchmark")["runs"])
costs = costs.query("device == 'cpu' and model == 'minilm'").set_index("method")
costs = costs.loc[["full", "lora", "lora, all linear", "ia3"]]
pd.DataFrame({"parameters": costs["ours.parameters"].map("{:,}".format),
              "a step": costs["ours.step_ms"].map("{:.0f} ms".format),
              "peak": (costs["ours.memory_bytes.peak"] / 1e6).map("{:.0f} MB".format),
              "file": (costs["ours.file_bytes.weights"] / 1e3).map("{:,.1f} kB".format)})

# %% [markdown]
# **Sources**
#
# - Liu et al. 2022, *Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning*, arXiv 2205.05638. Their recipe T-Few is IA³, two more
#   losses, and vectors that were pretrained: not compared here.
# - Vaswani et al. 2017, arXiv 1706.03762: the block with the norm behind the sum.
# - Data: Hutto & Gilbert 2014, *VADER*, ICWSM; sentences of the film reviews of Pang & Lee 2004.
#
# # Further
#
# ## When would an activation let a factor through?
#
# Folding `after` into `ffn_in rows` failed for GELU. For which activation, and which factors, would it work? Decide before you run the cell.

# %%
pd.DataFrame({name: {kind: pictures.apart("after", "ffn_in rows", activation=f, positive=positive)
                     for kind, positive in (("positive factors", True), ("both signs", False))}
              for name, f in (("GELU", nn.functional.gelu), ("ReLU", torch.relu))}).round(2)

# %% [markdown]
# ReLU is linear on each side of zero, and a positive factor moves no value to the other side.
#
# ## Keys, queries, and a rotation
#
# SmolLM2 rotates keys and queries by their position before it multiplies them. Does a vector on the keys still fold into the queries? Here is a small block of its kind, with random weights. The vectors are on the rows of `k_proj` or of `q_proj`:

# %%
from transformers import LlamaConfig, LlamaModel

pt.seed(0)
small = LlamaModel(LlamaConfig(
    hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2,
    num_key_value_heads=2, vocab_size=50, initializer_range=0.2)).double().eval()


def scaled(name, l):
    """The hidden states with the rows of one matrix scaled."""
    other = copy.deepcopy(small)
    other.get_submodule(f"layers.0.self_attn.{name}").weight.mul_(l[:, None])
    return other(torch.arange(12)[None]).last_hidden_state

# %%
drawn = 1 + 0.5 * torch.randn(32, dtype=torch.float64)
pairs = drawn.view(2, 2, 8)[:, :1].expand(2, 2, 8).reshape(32)
with torch.no_grad():
    differ = {name: (scaled("k_proj", l) - scaled("q_proj", l)).abs().max().item()
              for name, l in (("any factors", drawn), ("equal in each turned pair", pairs))}
pd.Series(differ).map("{:.0e}".format).to_frame("on keys less on queries")

# %% [markdown]
# The rotation mixes features in pairs, so a factor passes only where both of a pair have the same factor.
#
# The library's own class is `pt.ia3.IA3Linear`; `pt.ia3.IA3Linear??` shows it beside yours.
