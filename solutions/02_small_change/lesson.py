# %% [markdown]
# # 02 · BitFit, and why a small change can be enough
# Full fine-tuning may move 22.7 million numbers, and each sentence teaches it one bit: good or bad. Surely most of that movement is waste. Take the finished change, throw 97 % of it away *by lot*, and see what the model still knows.
#
# First you take such a change apart. Then you write `inject`, which puts a small change into a model, and train one: BitFit.
#
# | | |
# |---|---|
# | **Time** | about 95 minutes (an estimate) in two sittings, 60 of them for 6 exercises; Run All takes about four minutes |
# | **You need** | lessons 00 and 01; matrix products |
# | **Data** | sentences from film reviews, each rated by about 20 people; Hutto & Gilbert 2014, MIT licence |
#
# <details><summary>Three questions from earlier lessons</summary>
#
# **01: What does your `frozen_stays(head_only, model)` do, if all of `model` trains?** It raises nothing: nothing was frozen before the call.
#
# **01: What are the two ends of the *share of the gain*?** The head on the pooler, solved, is 0. Full fine-tuning is 1.
#
# **00: Where are most of MiniLM's parameters?** In the table of word vectors: about half of the model.
# </details>

# %% jupyter={"source_hidden": true}
import copy

import pandas as pd
import torch

import peft_teach as pt

budget = pt.course.budget()    # PEFT_TEACH_BUDGET=smoke|cpu|gpu
record = pt.course.records.load("change")    # assets/records/change.py
pictures = pt.course.pictures("change")
movies = pt.data.load("movies")
few = movies.train[:min(2000, budget.train_examples)]
test = movies.test[:min(1000, budget.test_examples)]
pt.seed(0)

# %% [markdown]
# ## First half: throw it away by lot
# Train everything, on 2,000 sentences and their labels. Subtract what was there before, and you have the *update* of each tensor.

# %%
pt.seed(0)
tuned, tokenizer = pt.models.load("minilm", labels=2)
before = {name: p.detach().clone() for name, p in tuned.named_parameters()}
tuned = pt.full.inject(tuned, pt.full.Config("all"))    # as in lesson 01
batches = pt.data.batches(few, tokenizer, 16, seed=0)
pt.widgets.watch(pt.train(tuned, batches, lr=1e-4), len(batches), curve=False)

head = pt.models.head(tuned)
updates = {name: (p.detach() - before[name]).cpu()    # but the head's
           for name, p in tuned.named_parameters() if name not in head}

# %%
tests = pt.data.batches(test, tokenizer, 64, device=pt.device())
accuracy = pt.mine("full.accuracy")    # yours, of lesson 01


def accuracy_with(others):
    """Test with other updates of the tensors named here; all else stays as trained."""
    changed = copy.deepcopy(tuned)
    for name, update in others.items():
        changed.get_parameter(name).data.copy_(before[name] + update.to(pt.device()))
    return round(accuracy(changed, pt.bar(tests, "batches")), 3)


whole = accuracy_with(updates)
nothing = accuracy_with({name: 0 * update for name, update in updates.items()})
pd.Series({"the whole update": whole, "none of it": nothing}).to_frame("accuracy")

# %% [markdown]
# Take a die with 32 sides, and throw it for each number outside the head. Keep its change if the die shows 1; else undo it.
#
# **How much accuracy is left? And how much if you multiply the kept changes by 32?**

# %%
pt.commit("change.lot", ..., like=[0.5, 0.5])    # shares of right answers

# %%
def drawn(update, share):
    """Draw for each number: it stays with this probability, else it becomes zero."""
    return update * (torch.rand(update.shape) < share)


sample = {name: drawn(update, 1 / 32) for name, update in updates.items()}
plain = accuracy_with(sample)
scaled = accuracy_with({name: 32 * kept for name, kept in sample.items()})
pt.compare("change.lot", [plain, scaled], "a random 32nd: as it is, and times 32")

# %% [markdown]
# <details><summary>What the two numbers say</summary>
#
# Times 32, hardly anything is lost: we threw 31 of 32 changes away without looking. Without the factor, the same changes are worth little. They were only too small.
# </details>
#
# Le Yu and colleagues (2023) found this in language models, and called it DARE, for *drop and rescale*. Why does it work? The output $i$ changes by $\sum_j \Delta W_{ij}\,x_j$. Keep each term with probability $s$ and multiply it by $1/s$. On average the sum stays as it was, exactly. What the die adds is noise; here it costs little.
#
# ## Small in what?
# You kept few *entries*. A change can be small in two other ways: few *parameters*, or a low *rank*. A matrix of **rank** 1 is one column times one row. The rank of a matrix is the smallest number of such matrices that add up to it.
#
# Do few parameters make a low rank? Build a counterexample.
#
# ### Exercise 1 · Three changes (2 points, about 7 minutes)
# Build three changes of an n × n matrix, each from a tensor `p` of parameters. The table holds if no parameter is zero:
#
# | | `p` has | rank of the change | entries that are not zero |
# |---|---|---|---|
# | `change_a(p, n)` | 1 parameter | n | all |
# | `change_b(p, n)` | 2n parameters | 1 | all |
# | `change_c(p, n)` | n parameters | n | n |
#
# Each result has shape (n, n), and is zero when `p` is zero. If any parameter moves, so does the matrix, and every parameter gets a gradient. The same `p` gives the same matrix.

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

# %%
generator = torch.Generator().manual_seed(0)
shown = {"1 parameter": change_a(torch.rand(1, generator=generator) + 1, 12),
         "24 parameters": change_b(torch.randn(24, generator=generator), 12),
         "12 parameters": change_c(torch.rand(12, generator=generator) + 1, 12)}
pt.plots.show(pictures.draw_changes(shown), "Your three changes, 12 × 12.")

# %% [markdown]
# Few parameters do not mean low rank: you built a change of full rank from one number.
#
# ## How many directions?
# What is the rank of a real update? The **singular value decomposition** writes any matrix as a sum of matrices of rank 1, the strongest first:
#
# $$ \Delta W = \sum_i \sigma_i\,u_i v_i^\top, \qquad \sigma_1 \ge \sigma_2 \ge \dots \ge 0 $$
#
# All $u_i$ have length 1 and are perpendicular to each other; so are all $v_i$. Each term is one **direction** of the matrix: it reads how much of $v_i$ is in the input, and writes $u_i$ into the output. $\sigma_i$ is its strength. The **energy** of a matrix is the sum of all $\sigma_i^2$, which is also the sum of all squared entries.
#
# ### Exercise 2 · Count directions (1 point, about 4 minutes)
# Write `directions(sigma, share)`: the smallest number of directions, strongest first, that hold at least this share of the energy.
#
# - `sigma` is a tensor of singular values, the largest first, and stays unchanged; `share` is a number such as 0.9.
# - The answer is a whole number, 1 if the first direction is enough.

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
PLACES = ("query", "key", "value", "attention_out", "ffn_in", "ffn_out")
found = {place: [f"{n}.weight" for n in pt.models.find(tuned, place)] for place in PLACES}
matrices = [n for names in found.values() for n in names]    # 36
sigmas = {n: torch.linalg.svdvals(updates[n]) for n in matrices}
counts = {place: [directions(sigmas[n]) for n in names] for place, names in found.items()}
for n in (384, 1536):
    counts[f"random, 384 × {n}"] = [directions(torch.linalg.svdvals(torch.randn(384, n)))] * 6
pd.DataFrame(counts).T    # directions of 384 with 90 % of the energy, by block

# %% [markdown]
# In the last block the update is nearly of low rank. In the early blocks it is not. Are all these directions needed?
#
# Of all matrices of rank $k$, which is nearest to $\Delta W$, with the least energy in the difference?
#
# ### Exercise 3 · The truncation (2 points, about 8 minutes)
# Write `truncate(delta, k)`, the matrix of rank at most $k$ that is nearest to `delta`.
#
# - `delta` need not be square and stays unchanged; the result has its shape; $k$ goes from 0 to all.
# - `torch.linalg.svd(delta, full_matrices=False)` gives three parts. Check first that they multiply back to `delta`.

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
# <details><summary>Why no matrix of rank k is nearer (Eckart and Young 1936)</summary>
#
# A matrix $M$ of rank $k$ ignores all but $k$ dimensions of the input. Let $Q$ project onto these $k$. $M$ can match only the part $\Delta W Q$ of $\Delta W$, so $\|\Delta W - M\|^2$ is at least
#
# $$ \|\Delta W\|^2 - \|\Delta W Q\|^2, \qquad \|\Delta W Q\|^2 = \sum_i \sigma_i^2\,\|Q v_i\|^2 . $$
#
# The factors $\|Q v_i\|^2$ lie between 0 and 1 and add up to at most $k$. So the last sum is largest if the factor is 1 for the $k$ strongest directions and 0 for the others.
# </details>
#
# Keep only *one* direction of each of the 36 matrices: one column times one row. All other tensors stay as trained. **What accuracy is left, to within 0.03, and how sure are you?**

# %%
pt.commit("change.one", ..., like=[0.6, 0.5])    # [share right, how sure]

# %%
rows = {}
for k in (0, 1, 2, 8, 384):
    held = [(s[:k].square().sum() / s.square().sum()).item() for s in sigmas.values()]
    cut = {name: truncate(updates[name], k) for name in matrices}
    rows[k] = {"energy": sum(held) / len(held), "accuracy": accuracy_with(cut)}
cuts = pd.DataFrame(rows).T.rename_axis("directions")
cuts["restored"] = (cuts.accuracy - cuts.accuracy[0]) / (cuts.accuracy[384] - cuts.accuracy[0])
pt.compare("change.one", [cuts.accuracy[1], 1.0],
           "one direction of each matrix; and how sure one is now")
cuts.round(3)

# %% [markdown]
# <details><summary>What the table says</summary>
#
# One direction restores most of what undoing the matrices loses, and eight nearly all of it. So the update is <i>not</i> of low rank in the early blocks, and yet a low rank is enough.
# </details>
#
# One direction is a column and a row: 768 numbers, in place of 147,456. Why not train only these, from the start? That is the bet behind LoRA (Hu et al. 2021).
#
# ## Where it breaks
# Keep random entries, the largest entries, or the strongest directions. Entries are multiplied up again: by 32 for a random 32nd, by less for the largest. Ask the picture:
#
# 1. Which rule is ahead at 1/32? Does it matter?
# 2. How small may the share get, by each rule?
# 3. Make $\Delta W$ larger. Which rule falls far below *nothing*?

# %%
pictures.explore_cut(record, updates[found["value"][5]])

# %% [markdown]
# <details><summary>What the picture says</summary>
#
# At 1/32 of a small update, all three are as accurate as the whole update, or nearly. At 1/256, where one direction is left, they lose a fifth or a quarter of what the update brings. At 1/1,024, random entries are worth nothing, and the largest still help. At the largest size, few random entries are worse than no update.
# </details>
#
# ## Small from the start
# All this was surgery after the fact. Can one *train* few numbers? In 2018 Chunyuan Li and colleagues wanted to measure how hard a task is. The size of a network does not tell. So they asked how few numbers must train.
#
# Write all $D$ weights of the backbone in one column $\theta$, and train only a short column $z$ of $d$ numbers:
#
# $$ \theta = \theta_0 + P z $$
#
# The pretrained $\theta_0$ is frozen. $P$, of shape (D, d), is drawn once and never changes. Only $z$ is trained, from zero. So every weight may move, but only within a random subspace of $d$ dimensions. The smallest $d$ that works is the task's **intrinsic dimension**; Aghajanyan et al. (2020) measured it for pretrained models.

# %%
sizes = ("tens", "hundreds", "thousands", "ten thousands")
pt.widgets.Guess("How many numbers z bring half of the gain?", sizes, "change.half")

# %%
pt.plots.show(pictures.draw_subspaces(record), "How accurate is a model that may move in a random "
              "subspace of d dimensions only? Recorded (2,000 sentences, labels); a dot is a seed, "
              "the line joins the means. The ring: the smallest of these d that reaches half.")

# %%
_, reached = pictures.half_of_the_gain(record)
size = sizes[len(str(reached)) - 2]    # by its digits
pt.compare("change.half", size, f"the smallest of these d is {reached:,}, by its seeds' mean")

# %% [markdown]
# <details><summary>What the picture says</summary>
#
# A few thousand random dimensions bring half of the gain. With three seeds each, we cannot tell 4,096 from 1,024.
#
# Mind the dotted line: the head on the mean brings as much as 4,096 dimensions, on a frozen backbone. And mind the goal. Both papers ask for 90 % of full training's <i>accuracy</i>: 1,024 dimensions reach it on average, and the head on the pooler already has 84 %. Always compare with such a head.
# </details>
#
# **Half-time.** Few entries of an update are enough, or few directions of it. Few parameters in a random subspace learn something, too. This is a good place to stop<span class="notebook">: the second half needs only the set-up cell above</span>.
#
# ## Second half: `inject`
# Better methods choose *where* to train. Somebody must find the modules, wrap them, and freeze the rest. You write that once, and later lessons use yours.
#
# An **adapter** is a class that inherits from `pt.Adapter` and holds the wrapped module as `self.base`. Every other parameter is its own. Here is one, and a tiny model:

# %% tags=["nbval-check-output"]
class Scale(pt.Adapter):
    """One trained number, 1 at the start."""

    def __init__(self, base):
        super().__init__(base)
        self.a = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return self.a * self.base(x)


pictures.Tiny()

# %% [markdown]
# ### Exercise 4 · The injection (3 points, about 18 minutes)
# Write `inject(model, targets, make)`. `targets` is a tuple of names such as `("query", "value")`; `make(module)` builds an adapter around a module.
# For the model that comes back:
#
# - **found**: a module is found if its full name is a target, or ends in a dot and a target. `"query"` finds `blocks.0.query` and `blocks.1.query`,
#   not `blocks.0.query_norm`;
# - **wrapped**: `make(module)` takes the place of each found module, once. If one lies inside another, both are wrapped, and the inner adapter lies
#   in the outer adapter's base;
# - **frozen**: only the parameters that `make` brought and those of the head train. `pt.models.head(model)` gives the head's names;
# - **refused**: if one of the targets finds no module, an error names this target, before anything is changed;
# - **returned**: the model that was given, or a copy.
#
# No target lies in the head, and no module is in two places. `model.named_modules()` gives all modules with their full names. Try yours on
# `pictures.Tiny()` and `Scale`, with `("query", "value")`, and with `("0", "query")`, where `blocks.0.query` lies inside `blocks.0`.


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
# ### Exercise 5 · The law of the injection (3 points, about 18 minutes)
# An `inject` that forgets something does not crash; the loss falls all the same. So write the test that finds it: `inject_holds(inject, fresh, make)` raises an error if an `inject` breaks one of these properties (leave out nesting and the error's text).
#
# - `fresh()` gives a new `Tiny`, `make(base)` a `Scale`.
# - Your test must reject nine broken versions, each with one slip.
# - It must accept four right ones. These raise another error, wrap in another order, or return a copy.

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
pt.audit()    # your tests on your pieces, such as inject_holds on inject

# %% [markdown]
# ## BitFit
# Where to train? Elad Ben Zaken and colleagues (2021) chose the biases. Every linear layer and every LayerNorm adds a vector $b_0$ to its output. Leave each matrix alone, and train only what is added:
#
# $$ y = \mathrm{base}(x) + b $$
#
# The paper trains $b_0$ itself. A separate $b$, zero at the start, leaves the base as it was.

# %%
pt.plots.show(pt.drawing.block("bitfit"), "One of MiniLM's six blocks. Not "
              "drawn: the head, which trains, too.")

# %% [markdown]
# ### Exercise 6 · BitFit (1 point, about 5 minutes)
# Write the adapter. `self.b` is trained, in float32; the output is the equation's, in the dtype of the base's output. Untrained, it gives the base's
# output, to the bit. `base` is a linear layer or a LayerNorm with a bias.


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
# ### Your row on the ladder
# Put it around every linear layer and every LayerNorm of the backbone. All your methods train by one protocol, so that they can be compared: the *ratings* of 4,000 sentences, once through, with the rate that a search found. What counts is R² on all 2,716 test sentences.

# %%
def wrap(model):
    return inject(model, ("query", "key", "value", "dense", "LayerNorm"), BiasAdapter)


run = pt.board.train("bitfit", wrap)    # a minute or two
run

# %% [markdown]
# No matrix of the backbone changed, and the model learned.
#
# ## One direction, trained
# Back to the one direction of a matrix. Train a column and a row from the start, for 12 matrices, query and value of each block: 9,216 numbers in all. This is LoRA of rank 1; you build it in lesson 07. BitFit trains nearly three times as many.

# %%
pt.widgets.Guess("Beside BitFit, LoRA of rank 1 is", ("worse", "the same", "better"), "change.most")

# %%
one, fit = pt.board.scores("lora 1", "bitfit")    # R² by seed, sentence
verdict = pt.verdict(one, fit)
pt.compare("change.most", verdict.word, "LoRA of rank 1 beside BitFit")
verdict

# %% [markdown]
# <details><summary>How to read it</summary>
#
# <i>The same</i>: the interval lies inside the margin, a difference that would not matter. If not, and zero lies outside: <i>better</i> or <i>worse</i>. Else: <i>cannot tell</i>. These are the words of all lessons.
# </details>

# %%
pt.sentence("change.kinds", ...)    # yours: is it the number that counts?

# %% [markdown]
# <details><summary>Ours</summary>
#
# A third of the parameters, and better. So counting parameters is not enough. BitFit adds the same vector to every token; a direction reads the token first. Whether that is the reason, we did not test.
# </details>
#
# ## Three doors
# Your BitFit beside the library's; peft has none.

# %%
pt.doors("bitfit", wrap, pt.bitfit.Config())

# %% [markdown]
# Open the library's page under the table. **A question that only this page answers:** the paper trains the bias itself, and you train what is added to it. Both get the same gradients. Which setting of the optimizer still tells the two apart?
#
# <details><summary>The answer</summary>
#
# Weight decay. It draws the paper's bias to zero. It draws your $b$ to zero, too, and so your layer back to its pretrained bias.
# </details>

# %% [markdown]
# **What this lesson claims**
#
# | claim | seen here | what could have refuted it, and was tried | at larger scale |
# |---|---|---|---|
# | Of a small update, a random 32nd is enough, if it is rescaled. | 80.5 % with a 32nd of the 36 updates, each about 1.5 % as long as its W; 80.8 % with all: mean of three seeds; 1,000 sentences, standard error of a run 1.3 points | Not rescaled: 64.4 %. With no change of these matrices: 62.8 %. At 1/1,024, and at 1/256 of updates of 3.5 and 6.5 %, the largest entries beat random ones. | 90 to 99 % can go, more in larger models (Yu et al. 2023). It fails for large updates, where important entries do better (Deng et al. 2024). |
# | In the early blocks the update is not of low rank. Yet one direction of each matrix restores most of what the matrices learned, and eight nearly all of it. | One restores 73 to 83 %, two 90 to 93 %, eight 96 to 98 %: three recorded runs, 2,563 sentences for testing. The rank: the table of directions. | Without its strongest direction the update still restores 53, 16 and 92 %. With eight and no other change at all: 79.9 %. | The rank is high at 7 billion, too (Biderman et al. 2024). On mathematics, few directions cost accuracy (Ping et al. 2024). |
# | A few thousand random dimensions bring half of the gain. A head that reads the mean of all tokens brings as much without them. | 4,096 bring 58 %: mean of three seeds, from 44 to 70 %. The gain begins at the head on the pooler. | 4,096 reach 75.1 %; the head on the mean 76.4 %, from the same 2,000 sentences (solved, with a penalty). The step was chosen at 1,024 alone: with shorter ones, 16,384 reach 78.0 % for 75.4 % (one seed). | The larger the pretrained model, the fewer are needed (Aghajanyan et al. 2020). |
# | LoRA of rank 1 is better than BitFit, with about a third of its parameters. | R² better by 0.036 (0.010 to 0.062): five seeds each, all 2,716 test sentences; 9,216 and 26,112 parameters | By the accuracy of the sign: better by 1.6 points (0.3 to 2.9). Each at its own searched rate; the head's is shared. | On GPT-3 the same: a third of the parameters, and ahead on three tasks of three (Hu et al. 2021, Table 4). BitFit comes close to full fine-tuning on small data (Ben Zaken et al. 2021). |

# %%
pt.progress("02")

# %% [markdown]
# ## At your desk
# Find, wrap, freeze and count, with Hugging Face peft:
#
# ```python
# from peft import LoraConfig, get_peft_model
#
# config = LoraConfig(task_type="SEQ_CLS",            # "CAUSAL_LM" for a language model
#                     target_modules=["query", "key", "value", "dense"], r=16, lora_alpha=32)
# tuned = get_peft_model(model, config)               # finds, wraps, freezes: your inject
# tuned.print_trainable_parameters()                  # count before you train,
# found = tuned.targeted_module_names                 # and look where it went
# assert len(found) == 6 * model.config.num_hidden_layers + 1    # the pooler
# ...                                                 # your training loop, or a Trainer
# tuned.save_pretrained("my-adapter")                 # the adapter and the head
# plain = tuned.merge_and_unload()
# ```
#
# peft raises an error if *no* target is found. One misspelt name beside a right one passes
# ([peft#1959](https://github.com/huggingface/peft/issues/1959)), so count.
#
# | 1 to 70 billion parameters | take | source |
# |---|---|---|
# | training little | LoRA on every linear layer (lesson 07) | Biderman et al. 2024 |
# | merging full fine-tunings | drop by lot and rescale each update first, 90 % or more; check each model alone | Yu et al. 2023 |
# | dropping 99 %, or from a large update | a smaller factor, or the important entries in place of random ones | Deng et al. 2024 |
# | storing many full fine-tunings | few directions of each update, and test: on mathematics this cost accuracy. At the same size it was better to keep more directions, the weak ones in fewer bits | Ping et al. 2024 |
#
# **What misleads at 7 billion:** "a low rank is enough", which is about film reviews, and our learning rates. BitFit has nothing to train in
# Llama and its kin: they have no biases.

# %% [markdown]
# # Further
# ### A stretch · The random subspace (1 point, about 8 minutes)
# Write `project(theta0, z, h, sign)`: the weights $\theta_0 + Pz$, for all $i$ at once. `theta0`, `h` and `sign` have shape (D,), `z` has shape (d,).
#
# - Row $i$ of $P$ has one entry that is not zero, in column `h[i]`. Its sign is `sign[i]`, 1 or −1; its size is the same number $c$ everywhere.
# - With this $c$, a column of $D/d$ entries has length 1. (So the weights move about as far as $z$ does, whatever $d$ is.) Which $c$ is it?
# - A dense $P$ is never built, and no loop goes over $D$; a gradient finds its way back to `z`; the inputs stay unchanged.


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
# **Sources**
#
# - Dimensions: Li et al. 2018, *Measuring the Intrinsic Dimension of Objective Landscapes*, arXiv 1804.08838, §2; Aghajanyan et al. 2020, arXiv
#   2012.13255; Hu et al. 2021, *LoRA*, arXiv 2106.09685: §4.1 the hypothesis of a low rank, §7.2 its test.
# - Parts of updates: Yu et al. 2023, *Language Models are Super Mario* (DARE), arXiv 2311.03099; Deng et al. 2024, *DARE the Extreme*, arXiv
#   2410.09344; Ping et al. 2024, *Delta-CoMe*, arXiv 2406.08903; Biderman et al. 2024, *LoRA Learns Less and Forgets Less*, arXiv 2405.09673.
# - Ben Zaken et al. 2021, *BitFit*, arXiv 2106.10199: §3 the method. Eckart & Young 1936, *Psychometrika* 1.
# - Data: Hutto & Gilbert 2014, *VADER*, ICWSM; sentences of the film reviews of Pang & Lee 2004.
#
# The library's own injection, with its safeguards, is `pt.attach`; its BitFit, `pt.bitfit.BiasAdapter`.
