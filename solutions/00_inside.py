# %% [markdown]
# # 00 · What is inside a model
#
# In this course you change a large pretrained model by training very little of it. You build each method yourself,
# in a few lines, and watch your own code work on a real model. What you build is kept, in a small library of your own.
#
# To save anything, one must know where it goes. **A model has 91 MB of weights. Training it on 16 short sentences at a time
# takes some five times as much memory, and on 16 long ones more than twenty times. What fills it, and how much goes away if we
# train only 0.3 % as many parameters?**
#
# | | |
# |---|---|
# | **Time** | about 60 minutes: 6 exercises (45 min), reading and playing; Run All takes half a minute |
# | **You need** | to have trained a small network in PyTorch. Nothing of transformers yet |
# | **Data** | none; the model, MiniLM, is fetched once and kept |
#
# **What do you already believe?** Run the next two cells; the second asks three questions that this lesson settles. A click
# commits you; there is no mark. ("ffn" is the feed-forward part of a block; "words" are the vectors that a model keeps for
# the words it knows. *LoRA*, lesson 07, freezes the model and trains two thin matrices beside some of its own.)

# %%
# Nothing happens here where the course is installed. On Colab, this installs it, once.
import importlib.util
import subprocess
import sys
from pathlib import Path

if importlib.util.find_spec("peft_teach") is None:
    colab = Path("/content")
    places = [Path.cwd().parent, colab / "peft-teach", colab / "drive/MyDrive/peft-teach"]
    course = next((p for p in places if (p / "pyproject.toml").is_file()), None)
    if course is None:
        raise SystemExit("Put the course's folder at /content/peft-teach, then run this again.")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", str(course)], check=True)
    importlib.invalidate_caches()

# %%
import math

import pandas as pd
import torch
from IPython.display import display

import peft_teach as pt

budget = pt.course.budget()
pictures = pt.course.pictures("inside")
pt.seed(0)
print("budget:", budget.name, "· computing on:", pt.device())
Guess = pt.widgets.Guess
display(Guess("Which part of MiniLM has the most parameters?", ("attention", "ffn", "words"),
              "inside.largest"),
        Guess("Twelve attention heads in place of one: how many times the parameters?", (1, 4, 12),
              "inside.heads"),
        Guess("LoRA trains 0.33 % as many parameters. How many percent of full training's memory "
              "will it take, with 16 sentences of 32 tokens?", (1, 10, 40, 75), "inside.memory"))

# %% [markdown]
# ## How a lesson works
#
# Run the cells from top to bottom with Shift+Enter. Any cell may be run again. An **exercise** has three cells: one
# where you write, in place of `raise pt.NotAttempted(…)`; one with `pt.check(…)`, which tries your code on many
# inputs; one with `pt.require(…)`, for graders. Nothing is ever locked: until your code passes, the lesson goes on with
# ours. Once it has passed, it is kept in `my_peft.py`, and later lessons use it.
#
# A check answers with a card: what was tried, what came out, what was expected; at the second failure also the mistake,
# where it knows it. `pt.hint("inside.linear")` gives a hint, three times; `pt.reset("inside.linear")` the text that the
# exercise started with.
#
# <details><summary>On Colab (click)</summary>
#
# Colab's machine forgets everything. To keep `my_peft.py` and your predictions, run
# `from google.colab import drive; drive.mount('/content/drive')` and
# `%env PEFT_TEACH_WORK=/content/drive/MyDrive/peft-teach-work` first, in each session.
#
# </details>
#
# ### Exercise 1 · A linear layer (1 point, about 3 minutes)
#
# `nn.Linear(n_in, n_out)` makes n_out outputs of n_in inputs. Each output is a weighted sum of all inputs, with weights
# of its own, plus a constant of its own. Write `linear_count(n_in, n_out)`: how many parameters are there?
# Then make a mistake on purpose, twice, and read the cards.


# %% exercise="inside.linear" part="solution"
def linear_count(n_in: int, n_out: int) -> int:
    ### BEGIN SOLUTION
    return n_in * n_out + n_out
    ### END SOLUTION


# %% exercise="inside.linear" part="check"
linear_count = pt.check("inside.linear", linear_count)

# %% exercise="inside.linear" part="grade"
pt.require("inside.linear")

# %% [markdown]
# ## The parts
#
# MiniLM is a small BERT, a transformer that reads a text in both directions. **Embeddings** make a vector of 384 numbers
# for each word piece, or *token*. Six **blocks** of one shape then change the vectors, one after the other. The **head**
# answers a question from what leaves the last.
#
# `[CLS]` and `[SEP]` mark the beginning and the end of a text. The shorter of the two sentences below is filled up with
# *padding*, which nobody should read: there the *mask* is 0.

# %%
model, tokenizer = pt.models.load("minilm", labels=2, attention="eager")    # step by step, as below
sentences = ["The plot is thin, but the actors are so good that you forgive it.", "A dull film."]
batch = tokenizer(sentences, padding=True, return_tensors="pt").to(pt.device())
for ids, real in zip(batch["input_ids"], batch["attention_mask"]):
    print(" ".join(tokenizer.convert_ids_to_tokens(ids)), " mask", "".join(map(str, real.tolist())))

names = ("query", "key", "value", "attention_out", "attention_norm", "ffn_in", "ffn_out",
         "ffn_norm")
place_of = pt.models.places(model)    # the course's word for a place → its modules, block by block
shapes = {name: " × ".join(map(str, model.get_submodule(place_of[name][0]).weight.shape))
          for name in names}
pt.plots.show(pictures.draw_block(shapes), "One block of MiniLM. Each box is a module with its "
              "weight's shape, (n_out, n_in). Dashed: the input goes around and is added again.")

# %% [markdown]
# Other models call these parts `q_proj`, `c_attn`, `fc1` … The course has **one word for each place**, and
# a method says with these words where it goes: `targets=("query", "value")`.
#
# In **attention** tokens look at each other; in the **feed-forward** part each is changed by itself. After each of the
# two, the input is added and the sum is normalized. You will now compute all of that, from the weights alone.
#
# ## Attention, one query at a time
#
# Each token makes a *query*, a *key* and a *value* of 384 entries. Twelve *heads* cut them into pieces of 32
# neighbouring entries, and each head works with its piece. (The *head* on top of the model is no relation.) Here is
# one query of one head, step by step, on the real weights: the word "dull" in head 5 of block 0.

# %%
with torch.no_grad():    # what enters block 0, 1, …, and leaves the last
    hidden = model.bert(**batch, output_hidden_states=True).hidden_states


def weights_of(i):
    """The sixteen tensors of block i by their place: "query.weight", "query.bias", …"""
    return {f"{name}.{kind}": getattr(model.get_submodule(place_of[name][i]), kind).detach()
            for name in names for kind in ("weight", "bias")}


def queries_keys_values(i):
    """What block i makes of its input: three tensors (sentences, tokens, 384)."""
    W = weights_of(i)
    return [torch.nn.functional.linear(hidden[i], W[f"{name}.weight"], W[f"{name}.bias"])
            for name in ("query", "key", "value")]


q, k, v = queries_keys_values(0)
dull, part = 2, slice(5 * 32, 6 * 32)                     # the third token of sentence 1; head 5
readable = batch["attention_mask"][1].nonzero().flatten().tolist()
scores = {key: (q[1, dull, part] @ k[1, key, part]).item() / 32**0.5 for key in readable}
total = sum(math.exp(score) for score in scores.values())
shares = {key: math.exp(score) / total for key, score in scores.items()}    # they sum to 1
read = sum(share * v[1, key, part] for key, share in shares.items())
tokens = tokenizer.convert_ids_to_tokens(batch["input_ids"][1])
print({tokens[key]: round(share, 3) for key, share in shares.items()}, "→", tuple(read.shape))

# %% [markdown]
# A *score* says how well a key fits the query; the softmax makes weights of the scores; the values are read with these
# weights. (Vaswani et al. 2017, §3.2. The root keeps scores of wide heads from growing with their width.)
#
# ### Exercise 2 · Attention (3 points, about 12 minutes)
#
# Write `attention(q, k, v, heads, mask)` for all queries, heads and sentences.
#
# | | shape | |
# |---|---|---|
# | `q` | (batch, queries, d) | |
# | `k`, `v` | (batch, keys, d) | lesson 04 will put keys in front that belong to no token: `keys` may exceed `queries` |
# | `mask` | (batch, queries, keys) | true where this query may read this key |
# | returns | (batch, queries, d) | what each head read, side by side |
#
# What must hold: if all values are 1, every query reads 1. A key that a query may not read does not change
# what it reads, whatever finite numbers stand there. Each head minds its own entries only.


# %% exercise="inside.attention" part="solution"
def attention(q, k, v, heads, mask):
    ### BEGIN SOLUTION
    width = q.shape[-1] // heads
    read = []
    for part in (slice(h * width, (h + 1) * width) for h in range(heads)):
        fit = torch.einsum("bqw,bkw->bqk", q[..., part], k[..., part]) / width**0.5
        read.append(fit.masked_fill(~mask, float("-inf")).softmax(-1) @ v[..., part])
    return torch.cat(read, dim=-1)
    ### END SOLUTION


# %% exercise="inside.attention" part="check"
attention = pt.check("inside.attention", attention)

# %% exercise="inside.attention" part="grade"
pt.require("inside.attention")

# %% [markdown]
# ## What do the heads read?
#
# Your function gives what was read, not the weights. But **give it values that are one-hot**, a 1 in another place for each
# key, and what comes back *is* the weights. (A head returns 32 entries, so it has room for the weights of 32 tokens.)
#
# **What do the words of this sentence read most**, on average over all 72 heads: themselves, the two special tokens `[CLS]` and
# `[SEP]`, their neighbours, or another word? The other words are many, so we divide by the *fair share*, what each kind would
# get if all 18 tokens were read alike.

# %%
may_read = pictures.may_read(batch["attention_mask"])     # for each query, the keys of words
yours = attention(q, k, v, 12, may_read)[1, dull, part]
print("as by hand:", torch.allclose(yours, read, atol=1e-5))

tokens = tokenizer.convert_ids_to_tokens(batch["input_ids"][0])
one_hot = torch.eye(len(tokens), 32, device=pt.device()).repeat(1, 12)[None]
tables = []                                               # of each block: (12 heads, reading, read)
for i in range(6):
    queries, keys, _ = queries_keys_values(i)
    found = attention(queries[:1], keys[:1], one_hot, 12, may_read[:1])[0]
    tables.append(found.unflatten(-1, (12, 32))[..., :len(tokens)].transpose(0, 1).cpu())

where = ("itself", "special", "neighbour", "another")
pt.widgets.Guess("Most, for its fair share, is read from", where, "inside.reads")

# %% [markdown]
# Then look yourself. Find (1) a head that does little but look one word back or ahead; (2) the block that looks most at
# `[CLS]` and `[SEP]`; (3) a head in which `it` reads `plot` or `actors`.

# %%
alike = torch.full((len(tokens), len(tokens)), 1 / len(tokens))
found = pd.DataFrame({"weight": pictures.shares(torch.stack(tables).mean((0, 1)), tokens),
                      "fair share": pictures.shares(alike, tokens)})
times = found["weight"] / found["fair share"]
pt.compare("inside.reads", where[times.argmax()], "what is read most for its fair share")
display(found.map("{:.0%}".format).assign(times=times.round(1)))
pictures.explore_attention(tokens, tables)

# %% [markdown]
# The special tokens win, by either count: they get 44 % of the reading, four times their fair share. The other words get
# half of theirs.
#
# <details><summary>What we found (click)</summary>
#
# (1) Head 2 of block 0 looks one word back, head 8 of block 1 one ahead. (2) Block 2; head 5 of block 4 does little else.
# (3) Head 4 of block 4 takes `it` to `plot`, head 1 of block 0 takes it to `actors`: both are there, and neither shows what
# the model takes the sentence to mean.
#
# </details>
# <details><summary>How sure? (click)</summary>
#
# One sentence, one model. That many heads of BERT look at `[SEP]` was found on a thousand texts by Clark et al. 2019,
# who take it for a way of reading nothing. A weight is not an importance: what is read is weight times value,
# and a value may be short (Kobayashi et al. 2020).
#
# </details>
#
# ## The whole block
#
# ### Exercise 3 · A block from its weights (3 points, about 10 minutes)
#
# Write `transformer_block(x, mask, weights, heads, attention)`, from the picture above. `x` is (batch, tokens, d), `mask`
# (batch, tokens) as the tokenizer gives it, whole numbers 1 and 0, `weights` what `weights_of` returns, and `attention` a function
# like yours (an argument, so that the block runs with any attention).
#
# What the picture does not say: a weight is (n_out, n_in); between `ffn_in` and `ffn_out` stands a GELU; a *norm* brings
# each token's vector to mean 0 and variance 1, then multiplies by its weight and adds its bias, each of d entries
# (`torch.nn.functional.layer_norm`; MiniLM has `eps=1e-12`); dropout is off.


# %% exercise="inside.transformer" part="solution"
def transformer_block(x, mask, weights, heads, attention):
    ### BEGIN SOLUTION
    F = torch.nn.functional
    layer = {name: (weights[f"{name}.weight"], weights[f"{name}.bias"])
             for name in {key.split(".")[0] for key in weights}}
    may_read = mask.bool().unsqueeze(1).repeat(1, x.shape[1], 1)
    q, k, v = (F.linear(x, *layer[name]) for name in ("query", "key", "value"))
    mixed = F.linear(attention(q, k, v, heads, may_read), *layer["attention_out"])
    x = F.layer_norm(x + mixed, x.shape[-1:], *layer["attention_norm"], eps=1e-12)
    wide = F.gelu(F.linear(x, *layer["ffn_in"]))
    x = x + F.linear(wide, *layer["ffn_out"])
    return F.layer_norm(x, x.shape[-1:], *layer["ffn_norm"], eps=1e-12)
    ### END SOLUTION


# %% exercise="inside.transformer" part="check"
transformer_block = pt.check("inside.transformer", transformer_block)

# %% exercise="inside.transformer" part="grade"
pt.require("inside.transformer")

# %% tags=["nbval-check-output"]
# Your block, beside the model's own, on the two sentences, padding and all:
mask = batch["attention_mask"]
with torch.no_grad():
    for i in range(6):
        gap = transformer_block(hidden[i], mask, weights_of(i), 12, attention) - hidden[i + 1]
        print(f"block {i}: within 1e-5 of the model's output:", gap.abs().max().item() < 1e-5)

# %% [markdown]
# That is all there is in a block. Every method of this course is a change of something in these lines.
#
# ## Four matrices without labels
#
# ### Exercise 4 · Which is which? (2 points, about 7 minutes)
#
# Here is the attention of block 3: four 384 × 384 matrices, each with its bias, under the letters a to d. They have been
# rewritten: none equals a matrix of the model, and yet, in one order, they give the block's output. Which letter is `query`,
# `key`, `value`, `attention_out`? Write a search in a cell of your own. Then type what you found as a text of four letters, in
# this order: `order = "abcd"`.

# %%
pieces = pictures.unlabelled(model)                       # letter → (weight, bias)
x, target = hidden[3], hidden[4]
rest = {name: w for name, w in weights_of(3).items() if name.startswith(("ffn", "attention_norm"))}
{letter: (tuple(weight.shape), tuple(bias.shape)) for letter, (weight, bias) in pieces.items()}

# %% exercise="inside.order" part="solution"
### BEGIN SOLUTION
order = "cadb"
### END SOLUTION

# %% exercise="inside.order" part="check"
order = pt.check("inside.order", order)

# %% exercise="inside.order" part="grade"
pt.require("inside.order")

# %%
with torch.no_grad():
    gaps = pictures.try_orders(lambda W: transformer_block(x, mask, W, 12, attention), target, rest,
                               pieces)
near, second = sorted(gaps.values())[:2]
print(f"from the model's output, the right order: {near:.0e}; the next: {second:.1e}")

# %% [markdown]
# One order fits to rounding, the next is far off. Even query and key can be told apart, although each score is a product
# of the two: exchanged, the table of scores is transposed, and the softmax runs along its *rows*.
#
# ## Count it
#
# You know all parts of a block. Newer models save on one of them: several query heads *share* a head of keys and
# values (Ainslie et al. 2023). There are `heads` heads of queries, but only `kv_heads` of keys and values, and
# each is d_model / heads wide. In MiniLM the two numbers are the same.
#
# ### Exercise 5 · A block's parameters (2 points, about 7 minutes)
#
# Write `block_count(d_model, d_ff, heads, kv_heads)`, with all biases and both norms. `d_ff` is the width of the feed-forward part,
# 1536 in MiniLM, and need not be four times d_model. (Write it in full, without `linear_count`: every exercise is graded on its own.)


# %% exercise="inside.block" part="solution"
def block_count(d_model: int, d_ff: int, heads: int, kv_heads: int) -> int:
    ### BEGIN SOLUTION
    kv = kv_heads * (d_model // heads)
    outputs_of = {"query": (d_model, d_model), "key": (d_model, kv), "value": (d_model, kv),
                  "attention_out": (d_model, d_model), "ffn_in": (d_model, d_ff),
                  "ffn_out": (d_ff, d_model)}
    layers = sum((n_in + 1) * n_out for n_in, n_out in outputs_of.values())
    return layers + 2 * 2 * d_model
    ### END SOLUTION


# %% exercise="inside.block" part="check"
block_count = pt.check("inside.block", block_count)

# %% exercise="inside.block" part="grade"
pt.require("inside.block")

# %% tags=["nbval-check-output"]
counted = sum(p.numel() for p in model.get_submodule(place_of["block"][0]).parameters())
print(f"a block of MiniLM: you {block_count(384, 1536, 12, 12):,}, torch {counted:,}")
for heads, kv in ((1, 1), (12, 12), (12, 4), (12, 1)):
    print(f"{heads} heads, {kv} of keys and values: {block_count(384, 1536, heads, kv):,}")

# %% [markdown]
# More heads are narrower heads; the matrices stay. Before the blocks stand 30,522 words, 512 positions and 2 segments
# (BERT can read a pair of texts), each with a vector of 384, and a norm; behind them the *pooler*, a layer that makes
# one vector for the sentence out of that of `[CLS]` (in this model it was never trained: lesson 01), and the head, from
# there to 2 answers.

# %% tags=["nbval-check-output"]
counts = pd.Series({"embeddings": (30_522 + 512 + 2) * 384 + 2 * 384,
                    "6 blocks": 6 * block_count(384, 1536, 12, 12),
                    "pooler and head": linear_count(384, 384) + linear_count(384, 2)})
sizes = pt.account.by_place(model)
parts = {"attention": sum(sizes[name] for name in names[:4]),
         "ffn": sizes["ffn_in"] + sizes["ffn_out"], "words": 30_522 * 384}
print(f"all: {counts.sum():,}; torch says {pt.account.parameters(model).total:,}; in all blocks "
      f"attention {parts['attention'] / counts.sum():.1%}, ffn {parts['ffn'] / counts.sum():.1%}")
pd.DataFrame({"parameters": counts.map("{:,}".format),
              "share": (counts / counts.sum()).map("{:.1%}".format)})

# %% [markdown]
# **More than half of this model is a dictionary**, and the famous attention is less than a sixth. Is that so in larger
# models? The map shows any of them, place by place, without loading it. (Some models keep the words twice: as embeddings,
# and as the matrix that predicts the next word.)
#
# Which two places would you train, to train as little as possible and be in every block? What are `query` and `value` together
# of MiniLM, and of the 7 B model? Why are key and value so small in tinyllama?

# %%
twelve, one = (block_count(384, 1536, heads, heads) for heads in (12, 1))
pt.compare("inside.heads", twelve / one, "how many times the parameters twelve heads have")
pt.compare("inside.largest", max(parts, key=parts.get), "the part with the most parameters")
pictures.explore_parameters()

# %% [markdown]
# <details><summary>What we found (click)</summary>
#
# The norms, then key and value where heads share them. `query` and `value` are 7.8 % of MiniLM and 15.9 % of the 7 B model.
# In tinyllama eight query heads share a key head, so `key` is an eighth as tall as `query`: your `kv_heads`.
#
# </details>
#
# The words grow with the width, the blocks with its square and with their number. So **"x % of the parameters" says
# something of the model as much as of the method**.
#
# ## What training holds
#
# To *use* a model, its weights have to be in memory. To *train* it, more has to: a **gradient**, and what the
# **optimizer** remembers from step to step, its *moments*. Here is one real step in six ways, and of each, as on a
# memory monitor, **one sum** of all three.

# %%
def prepared(trains):
    """A fresh model in which this trains; all else is frozen."""
    fresh, _ = pt.models.load("minilm", labels=2, attention="eager")
    if trains == "LoRA":                  # beside query and value, two thin matrices each
        return pt.lora.inject(fresh, pt.lora.Config(rank=8, targets=("query", "value")))
    return pt.full.inject(fresh, pt.full.Config(trains))


def counted_in(model):
    """All parameters, and those that train."""
    return model.num_parameters(), model.num_parameters(only_trainable=True)


labelled = {**batch, "labels": torch.tensor([1, 0], device=pt.device())}
optimizers = {"plain SGD": lambda ps: torch.optim.SGD(ps, lr=1e-4), "AdamW": torch.optim.AdamW,
              "SGD with momentum": lambda ps: torch.optim.SGD(ps, lr=1e-4, momentum=0.9)}
rows = []
for trains, name, dtype in pt.bar((
        ("all", "plain SGD", "float32"), ("all", "SGD with momentum", "float32"),
        ("all", "AdamW", "float32"), ("all", "AdamW", "bfloat16"),
        ("head", "plain SGD", "float32"), ("head", "AdamW", "float32")), "steps"):
    trainee = prepared(trains).to(getattr(torch, dtype))
    held = pictures.held_after_a_step(trainee, labelled, optimizers[name])
    numbers = map("{:,}".format, (*counted_in(trainee), sum(held.values())))
    rows.append((name, dtype, *numbers))
pd.DataFrame(rows, columns=["optimizer", "dtype", "parameters", "train", "bytes"])

# %% [markdown]
# ### Exercise 6 · The ledger (2 points, about 7 minutes)
#
# Take the sums apart. Which parameters have a gradient, which have moments, how many has each optimizer, and what does
# `bfloat16` change? Write `ledger(total, trained, bytes_each, moments)`, a dict of three whole numbers of bytes,
# `{"weights": …, "gradients": …, "optimizer": …}`, which add up to each row. `total` counts all parameters, the trained ones
# among them; `moments` is how many numbers the optimizer remembers for each parameter that it trains. (AdamW's step counter,
# one number a tensor, is left out of the sums.)


# %% exercise="inside.ledger" part="solution"
def ledger(total: int, trained: int, bytes_each: int, moments: int) -> dict[str, int]:
    ### BEGIN SOLUTION
    numbers = {"weights": total, "gradients": trained, "optimizer": moments * trained}
    return {part: count * bytes_each for part, count in numbers.items()}
    ### END SOLUTION


# %% exercise="inside.ledger" part="check"
ledger = pt.check("inside.ledger", ledger)

# %% exercise="inside.ledger" part="grade"
pt.require("inside.ledger")

# %% tags=["nbval-check-output"]
# Now what was not measured before: LoRA, and 7 billion parameters in bfloat16.
trainee = prepared("LoRA")
found = pictures.held_after_a_step(trainee, labelled, torch.optim.AdamW)
for part, size in ledger(*counted_in(trainee), bytes_each=4, moments=2).items():
    print(f"LoRA: {part:10s} predicted {size:11,}, torch holds {found[part]:11,}")
base, added = 6_738_415_616, 4_194_304
for name, N, T in (("everything", base, base), ("LoRA", base + added, added)):
    parts = ledger(N, T, bytes_each=2, moments=2)
    print(f"7 B, {name}: " + " + ".join(f"{size / 1e9:.2f}" for size in parts.values())
          + f" = {sum(parts.values()) / 1e9:.1f} GB")

# %% [markdown]
# With AdamW, training everything takes four times the weights. With LoRA, gradients and moments are hardly anything.
# **This is what parameter-efficient training saves**, and it saves nearly all of it.
#
# (Most recipes keep a float32 copy of what trains and float32 moments: 16 bytes
# a trained parameter in place of 8; Rajbhandari et al. 2020, §3.1.)
#
# ## What the forward pass keeps
#
# There is a fourth part: **activations**. Take a layer $y = xW^\top$, and let $g$ be the gradient
# that comes from above, $\partial L / \partial y$. Then
#
# $$ \frac{\partial L}{\partial W} = g^\top x, \qquad \frac{\partial L}{\partial x} = g\,W $$
#
# One needs $x$, the other $W$: whoever wants them later must keep them. What is kept if the layer trains? If nothing below it
# trains, and it does not either? And between the two:

# %%
Guess("A layer is frozen, and something below it trains. It keeps",
      ("x and W", "x", "W", "nothing"), "inside.frozen")

# %%
def put_aside(compute):
    """Run compute(); return the shapes that autograd keeps for the backward pass."""
    kept = []

    def pack(tensor):
        kept.append(tuple(tensor.shape))
        return tensor.detach()                          # only the numbers, not how they were made

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        compute()
    return kept


layer = torch.nn.Linear(384, 1536)                      # torch keeps W transposed: (384, 1536)
x512 = torch.randn(512, 384, requires_grad=True)        # 512 tokens
print("the layer trains:      ", put_aside(lambda: layer(x512)))
layer.requires_grad_(False)
kept = put_aside(lambda: layer(x512))
print("frozen:                ", kept)
print("frozen, nothing below: ", put_aside(lambda: layer(x512.detach())))
found = " and ".join({(512, 384): "x", (384, 1536): "W"}[shape] for shape in kept) or "nothing"
pt.compare("inside.frozen", found, "what a frozen layer keeps")

# %% [markdown]
# A frozen layer keeps W alone, and that is in memory anyway; x is what costs. So activations depend on *what* trains and
# *where*: below the lowest part that trains, nothing is kept.
#
# Now the whole model, through one step: block by block forward, and back again. Activations pile up on the way forward and
# go on the way back, while gradients come. **At which moment is the most held**, if everything trains, on 4 sentences of 128
# tokens?

# %%
Guess("Everything trains, 4 × 128 tokens: most is held at the",
      ("start", "loss", "half back", "end"), "inside.fullest")

# %%
trainees = {"everything": prepared("all"), "LoRA": prepared("LoRA"), "head only": prepared("head")}
measured = {}
for trains, trainee in pt.bar(trainees.items(), "ways"):
    for n_sentences, n_tokens in ((4, 128), (16, 32), (8, 32)):
        ids = torch.randint(1000, 30_000, (n_sentences, n_tokens), device=pt.device())
        step = pictures.through_a_step(trainee, {"input_ids": ids, "labels": ids[:, 0] % 2})
        bill = pt.account.ledger(trainee, n_sentences, n_tokens)
        measured[trains, f"{n_sentences} × {n_tokens}"] = (bill, step)
_, step = measured["everything", "4 × 128"]
sums = [a + g for a, g in zip(step.activations, step.gradients)]
phase, place = step.moments[sums.index(max(sums))]
when = {"forward": "start", "backward": "end" if place == "in" else "half back"}.get(phase, phase)
pt.compare("inside.fullest", when, "when most is held, 4 sentences of 128 tokens")
pictures.explore_step(measured)

# %% [markdown]
# Look at LoRA and at the head alone, then at 16 × 32, which is as many tokens: there, on a CPU, the end comes near the loss. (With
# half the tokens, 8 × 32, it is the end.) Then one sentence: **why does LoRA keep so much with 0.33 % trained, and the head
# alone so little?**

# %%
pt.sentence("inside.keeps", ...)    # one sentence of yours, in quotes, in place of the three dots

# %% [markdown]
# <details><summary>Our sentence (click)</summary>
#
# The gradient has to pass through all that lies above the lowest trained part. On its way a frozen linear layer need not keep
# its input, but softmax, GELU, norms and dropout keep what they did before; LoRA begins in block 0, the head above the blocks.
#
# </details>
#
# ## The bill
#
# The four parts, added up by the library's ledger: the dashed line of the picture, not quite reached, since gradients come
# while activations go. **Which of the two moves LoRA's share of the memory, batch or length, and which its share of the
# activations?** Last, 16 × 32 in three ways: what is alive at most, the ledger, and a recorded training, with all that
# a process needs.

# %%
rows = {}
for n, t in ((16, 32), (256, 32), (1, 256), (16, 256)):
    bills = {trains: pt.account.ledger(trainee, n, t) for trains, trainee in trainees.items()}
    full, lora = bills["everything"], bills["LoRA"]
    rows[f"{n} × {t}"] = {
        "everything": f"{full.total_bytes / 1e6:,.0f} MB",
        "times the weights": round(full.total_bytes / full.weights_bytes, 1),
        "LoRA takes": f"{lora.total_bytes / full.total_bytes:.0%}",
        "of activations": f"{lora.activations_bytes / full.activations_bytes:.0%}"}
display(pd.DataFrame(rows).T)
pt.plots.show(pt.plots.ledgers(bills), f"What training MiniLM holds, {n} sentences of {t} tokens.")
cost, rows = pt.course.records.load("lora")["cost"], {}
for trains, method in (("everything", "full"), ("LoRA", "lora"), ("head only", "head")):
    bill, step = measured[trains, "16 × 32"]
    recorded = 1e6 * (cost[method]["peak_mb"] - cost[method]["loaded_mb"])
    rows[trains] = {"alive at most": bill.weights_bytes + bill.optimizer_bytes + step.peak,
                    "the ledger": bill.total_bytes, "a process": bill.weights_bytes + recorded}
found = pd.DataFrame(rows).T
shares = (100 * found.loc["LoRA"] / found.loc["everything"]).round()
pt.compare("inside.memory", shares["alive at most"], "percent that LoRA takes, 16 × 32, at most")
shown = (found / 1e6).map("{:.0f} MB".format)
shown.loc["LoRA takes"] = shares.map("{:.0f} %".format)
shown

# %% [markdown]
# **So how much goes away?** With 16 sentences of 32 tokens somewhat more than half: LoRA takes 43 % of what is alive at
# most, and of a real process. (By the ledger 35 %, which adds up the parts as if all were full at once. In full
# training they are not.) With 16 of 256 tokens a quarter: it takes 74 %, by the ledger. Batch and length both move this
# share; only length moves that of the activations. In small batches weights, gradients and moments are most of it, and
# LoRA removes nearly all of the last two. In large ones the activations are, and the longer each sentence, the fewer of
# these LoRA removes. (Attention keeps its pairs of tokens here; a process takes working space besides, not taken apart.)
#
# > **In the wild.** "Tinyllama with Lora consumes more memory than full-finetuning"
# > ([peft#1514](https://github.com/huggingface/peft/issues/1514)): with short texts LoRA saved much, with long ones hardly
# > anything.

# %%
pt.progress("00")

# %% [markdown]
# **Five lines to remember**
#
# 1. A block of BERT: heads read values where keys fit queries; then each token goes through the feed-forward part; each time the
#    input is added and the sum normalized.
# 2. Heads cut one matrix into pieces: more of them add no parameters, shared ones save some. (Each keeps a table of pairs.)
# 3. The smaller the model and the larger its vocabulary, the more of it is dictionary: a percentage needs a model beside it.
# 4. Training everything with AdamW holds four times the weights, and the activations. Less training shrinks gradients
#    and moments. Activations vanish below the lowest trained part; above it a frozen layer drops only its input.
# 5. Make the ledger first: which part is large decides which remedy helps.
#
# ## Further
#
# ### Which part is your problem?
#
# | what is large | what helps | where |
# |---|---|---|
# | gradients, optimizer | train less; another optimizer; *sharding*, each of several GPUs holding a part (Rajbhandari et al. 2020) | lessons 02 to 10 |
# | activations | a smaller batch, shorter texts, fused attention; *checkpointing*: keep only some, and compute the others again in the backward pass (Chen et al. 2016); training only the top | here |
# | weights | fewer bits a parameter; *offloading*, holding them in the CPU's memory and fetching them block by block; sharding | lesson 08 |
# | files, one for each task | save only what was trained | lesson 07 |
#
# ### Exercise 7 · The law of activations (optional, 2 points, about 12 minutes)
#
# A part of the activations grows with the tokens, a part with their pairs, and both with the batch:
#
# $$ \text{bytes} = \text{batch} \cdot (a \cdot \text{tokens} + b \cdot \text{tokens}^2) $$
#
# Two measurements of **one** sentence are enough to find $a$ and $b$. Write `activation_bytes(batch, tokens, measured)`;
# `measured` maps two lengths to the bytes of one sentence, such as `{32: 6349056, 128: 35999232}`.


# %% exercise="inside.activations" part="solution"
def activation_bytes(batch: int, tokens: int, measured: dict[int, int]) -> float:
    ### BEGIN SOLUTION
    (t1, bytes1), (t2, bytes2) = measured.items()
    b = (bytes2 / t2 - bytes1 / t1) / (t2 - t1)     # bytes / tokens = a + b tokens: a straight line
    a = bytes1 / t1 - b * t1
    return batch * (a * tokens + b * tokens**2)
    ### END SOLUTION


# %% exercise="inside.activations" part="check"
activation_bytes = pt.check("inside.activations", activation_bytes)

# %% exercise="inside.activations" part="grade"
pt.require("inside.activations")

# %%
def measure(model, sentences, tokens):
    ids = torch.ones(sentences, tokens, dtype=torch.long, device=pt.device())
    return pt.account.activations(model, {"input_ids": ids})


one = {tokens: measure(trainees["everything"], 1, tokens) for tokens in (32, 128)}
for n, t in ((8, 64), (2, 256)):
    predicted, real = activation_bytes(n, t, one), measure(trainees["everything"], n, t)
    print(f"{n} × {t}: predicted {predicted / 1e6:.1f} MB, measured {real / 1e6:.1f} MB")
b = (activation_bytes(1, 2, one) - 2 * activation_bytes(1, 1, one)) / 2    # of a + b and 2a + 4b
print(f"b = {b:.1f} bytes for each pair of tokens = 6 blocks · 12 heads · {b / 72:.2f} bytes")

# %% [markdown]
# Nearly twelve bytes: three numbers for each pair in each head, the attention, the dropout's mask, and the attention after it
# (Korthikanti et al. 2022, §4.1).
#
# *Fused* attention, such as FlashAttention, computes the pairs again in the backward pass and keeps none of them; then $b$ is
# 0. On a GPU a dropout's mask takes a byte an entry in place of four.
#
# ### A bias that does nothing
#
# Is everything in the four matrices that certain? **One of the four biases can be set to zero, and the block's
# output stays what it was.** Which one? Think of what a softmax does when every score of a row grows by the same
# number.

# %%
Guess("The bias that does nothing is that of", ("query", "key", "value", "out"), "inside.idle")

# %% tags=["nbval-check-output"]
moves = {}
with torch.no_grad():
    for name in names[:4]:
        W = weights_of(3) | {f"{name}.bias": torch.zeros(384, device=pt.device())}
        moves[name] = (transformer_block(x, mask, W, 12, attention) - target).abs().max().item()
        print(name, "without its bias: the output", "moves" if moves[name] > 1e-4 else "stays")

# %%
pt.compare("inside.idle", min(moves, key=moves.get), "whose bias does nothing")
pt.sentence("inside.idle", ...)                    # why? one sentence of yours

# %% [markdown]
# <details><summary>Our sentence (click)</summary>
#
# The key's bias b adds q·b to *every* score of a query's row, and a softmax does not change when all scores grow by the
# same number. (So its gradient is zero, too: remember it when lesson 02 trains nothing but biases.)
#
# </details>
#
# ### Break it on purpose
#
# A mistake that costs memory and never raises an error: somebody trains a step, then decides to freeze the model and to train
# the head alone.

# %% tags=["nbval-check-output"]
late = prepared("all").train()
optimizer = torch.optim.AdamW(late.parameters(), lr=1e-4)
late(**labelled).loss.backward()
optimizer.step()
for name, p in late.named_parameters():
    p.requires_grad_(name in pt.models.head(late))             # frozen now, but …
weight = late.bert.encoder.layer[0].output.dense.weight
before = weight.clone()
optimizer.step()
print("a step moves frozen weights:", not torch.equal(before, weight))
states = sum(t.nbytes for state in optimizer.state.values() for t in state.values())
print(f"still held: its gradient, and moments of {states / 1e6:.1f} MB")

# %% [markdown]
# `requires_grad_(False)` stops *new* gradients. A step before the next `zero_grad()` still uses the old ones and moves what is
# frozen, and the moments stay until there is a new optimizer. **Freeze first, then make the optimizer**, from what is left to
# train.
#
# ### Play: the ledger of larger models
#
# Nothing is loaded; the law of the activations was measured on two blocks without numbers, and extended to all of them.
#
# 1. For MiniLM with everything trained: from which batch on do the activations outweigh all the rest (dashed)?
# 2. The 7 B model in bfloat16, one sentence of 512 tokens: which part is the largest with everything trained? With LoRA?
# 3. Can LoRA bring that model onto a GPU of 16 GB? What if attention is fused? What would you change next?

# %%
pictures.explore_memory()

# %%
lora, rows = "LoRA, rank 8, query and value", []
for trains, length, fused in (("everything", 512, False), (lora, 512, False), (lora, 512, True),
                              (lora, 256, False)):
    bill = pt.outlines.ledger("llama-2-7b", trains, "adamw", 1, length, "bfloat16", fused)
    rows.append({"trains": trains, "tokens": length, "fused": fused,
                 "weights": bill.weights_bytes, "moments": bill.optimizer_bytes,
                 "activations": bill.activations_bytes, "all": bill.total_bytes})
pd.DataFrame(rows).set_index(["trains", "tokens", "fused"]).map(lambda n: f"{n / 1e9:.1f} GB")

# %% [markdown]
# <details><summary>What we found (click)</summary>
#
# 1. With 32 tokens, at the slider's stop after 32.
# 2. With everything trained, the moments; with LoRA the weights, and the rest is nearly all activations.
# 3. Not at 512 tokens, if a card of "16 GB" holds 16 GiB, which are 17.2 GB of the table. With fused attention it is too close
#    to call: the ledger is a lower estimate, and a gigabyte is left for all else. With 256 tokens, just barely. The next thing to shrink is the weights themselves: in 4 bits instead of 16 they are a quarter (lesson 08).
#
# </details>
#
# ### Budget, and keeping your work
#
# The second cell printed a *budget*, by your hardware: `cpu` and `gpu` train for about a minute a lesson; `smoke` takes a few
# steps, to see that everything runs. To choose, set `PEFT_TEACH_BUDGET` before Jupyter starts. What takes too long for a
# lesson was run beforehand, and is marked as *recorded*. Save this notebook, and keep `my_peft.py` and the folder `work` beside
# it: your pieces, predictions and sentences are in them. For a grader, hand in the notebook as it is.

# %% [markdown]
# **Sources**
#
# - Vaswani et al. 2017, *Attention Is All You Need*, arXiv 1706.03762: §3 the block.
# - Devlin et al. 2018, *BERT*, arXiv 1810.04805: §3 the sizes. Wang et al. 2020, *MiniLM*, arXiv 2002.10957.
# - Ainslie et al. 2023, *GQA*, arXiv 2305.13245: §2 shared keys and values.
# - Clark et al. 2019, *What Does BERT Look At?*, arXiv 1906.04341: §3. Kobayashi et al. 2020, *Attention is Not Only a
#   Weight*, arXiv 2004.10102.
# - Rajbhandari et al. 2020, *ZeRO*, arXiv 1910.02054: §3 where the memory goes.
# - Korthikanti et al. 2022, *Reducing Activation Recomputation in Large Transformer Models*, arXiv 2205.05198: §4.1.
# - Chen et al. 2016, *Training Deep Nets with Sublinear Memory Cost*, arXiv 1604.06174.
# - Kingma & Ba 2014, *Adam*, arXiv 1412.6980; Loshchilov & Hutter 2017, *Decoupled Weight Decay*, arXiv 1711.05101.
# - Sizes of the larger models: Touvron et al. 2023, *Llama 2*, arXiv 2307.09288; Zhang et al. 2024, *TinyLlama*,
#   arXiv 2401.02385; Allal et al. 2025, *SmolLM2*, arXiv 2502.02737.
