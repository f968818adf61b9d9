# %% [markdown]
# # 00 · What is inside a model
#
# Welcome. This course is about changing a large pretrained model by training very little of it. You will
# build each method yourself, in a few lines, and then watch your own code work on a real model.
#
# Before one can save anything, one has to know where it goes. So the first question is this:
#
# **A model has 91 MB of weights. Training it with batches of 16 short sentences takes 465 MB, and with sentences
# eight times as long 2 GB. What is all that? And what of it goes away if only 0.3 % as many numbers train?**
#
# By the end you will be able to
#
# - name the parts of a transformer, by the names that the whole course uses;
# - count the parameters of a model from its sizes, without loading it;
# - predict what training holds in memory, part by part, and find it in torch;
# - say what training less will save, and what it will not.
#
# | | |
# |---|---|
# | **Time** | about 60 minutes: 4 exercises (30 min), reading and playing; Run All takes half a minute |
# | **You need** | to have trained a small network in PyTorch. Nothing of transformers yet |
# | **Data** | none; the model, MiniLM, is fetched once and kept (84 MB compressed, 91 MB unpacked) |

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

budget = pt.course.budget()
pictures = pt.course.pictures("inside")
pt.seed(0)
print("budget:", budget.name, "· computing on:", pt.device())

# %% [markdown]
# ## How a lesson works
#
# Run the cells from top to bottom with Shift+Enter. Any cell may be run again. Each lesson has a few
# **exercises**, and an exercise has three cells:
#
# 1. one where you write: replace the line `raise pt.NotAttempted(…)` by your own code, and run it;
# 2. one with `pt.check(…)`: it tries your code on many inputs and shows a card;
# 3. one with `pt.require(…)`: it is for graders, and does nothing here.
#
# The card says one of three things: **not attempted**, **wrong**, or **passed**. Nothing is ever locked: until
# your code passes, the lesson goes on with ours, so you can always read ahead. (*Run → Run All Cells* works from
# the start, too: then every exercise says *not attempted*.)
#
# Save the notebook now and then, since your code is kept in it and nowhere else. On Colab, make a copy of your own
# before you start: *File → Save a copy in Drive*. There is more on this at the end, under *Keep your work*.
#
# You will be wrong now and then; everybody is, and a check is made for that. So here is a wrong answer, before
# you write your own. Somebody wanted to count the numbers in a linear layer:

# %%
def somebody_elses(n_in, n_out):
    return n_in + n_out


shown = pt.check("inside.linear", somebody_elses)

# %% [markdown]
# The card gives the inputs, what came out, what was expected, and, where the check recognizes the mistake,
# its name. Had the code crashed, the traceback would be there in full.
#
# (`pt.check` gives something back: your function if it passed, and ours otherwise. That is why each check is
# written as an assignment. If you run that cell again later, run your own check cell again, too: **the last check is
# what counts**, for your points as well.)
#
# ### Exercise 1 · A linear layer (1 point, about 3 minutes)
#
# An `nn.Linear(n_in, n_out)` holds two tensors: a **weight** of shape (n_out, n_in), and a **bias** of shape
# (n_out,), which is added to the output. Write `linear_count(n_in, n_out)`: how many numbers are that?
#
# First run these cells as they are, to see the second kind of card. Then write, and run both again: the third
# kind is yours.


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
# When you are stuck, or curious:
#
# | | |
# |---|---|
# | `pt.hint("inside.linear")` | a hint; there are three, and each call says more |
# | `pt.reset("inside.linear")` | the text that the exercise started with, in a new cell |
# | `pt.progress()` | the state of this lesson, as below |
#
# Try one of them in a cell of your own (the + in the toolbar makes one).

# %%
pt.progress()

# %% [markdown]
# ### How much is computed: the budget
#
# The second cell printed a *budget*. It follows your hardware, and no lesson needs more than two CPU cores.
#
# | budget | when | what it does |
# |---|---|---|
# | `cpu` | there is no GPU | trains for about a minute a lesson |
# | `gpu` | there is one | the same, faster, on more examples |
# | `smoke` | tests | a few steps only: to see that everything runs; says nothing of accuracy |
#
# To choose it yourself, set the environment variable `PEFT_TEACH_BUDGET` to one of these names before you
# start Jupyter. What takes too long for a lesson was run beforehand, and is marked as *recorded*.
#
# ## The parts
#
# Here is the model of this course: MiniLM, a small BERT. It reads a sentence and gives, for each word piece
# (*token*), a vector of 384 numbers. (BERT is a transformer of 2018 that reads a text in both directions; Devlin et al.
# 2018.) With `labels=2` it gets a new last layer, the *head*, that answers one question about the sentence.
# `attention="eager"` asks for the plain way to compute attention, step by step. There is a *fused* way, which we shall
# meet further down.

# %%
model, tokenizer = pt.models.load("minilm", labels=2, attention="eager")
print(tokenizer.tokenize("A quiet, funny, unpretentious film."))
print(f"{sum(p.numel() for p in model.parameters()):,} numbers in {len(list(model.parameters()))} tensors")

# %% [markdown]
# It consists of **embeddings** (a vector for every token of the vocabulary, and one for every position), then
# 6 **blocks** of the same shape, one after the other, then the head. This is a block:

# %%
block = model.bert.encoder.layer[0]


def shape(place):
    name = pt.models.places(model)[place][0]          # of block 0
    return " × ".join(map(str, model.get_submodule(name).weight.shape))


names = ("query", "key", "value", "attention_out", "attention_norm", "ffn_in", "ffn_out", "ffn_norm")
pt.plots.show(pictures.draw_block({name: shape(name) for name in names}),
              "One block of MiniLM. Each box is a module with its weight's shape, (n_out, n_in). Dashed: the "
              "input goes around and is added again.")

# %% [markdown]
# Read it from the left. **Attention:** each token makes a *query*, a *key* and a *value*. Where a query fits a
# key, that token's value is read; `attention_out` mixes what was read. **Feed-forward:** each token, by itself,
# is made four times as wide (`ffn_in`), bent (GELU), and made narrow again (`ffn_out`). After each of the two,
# the input is added and the sum is normalized: a *norm* brings every vector to mean 0 and variance 1, then
# scales and shifts each of its 384 entries by a weight and a bias. (Vaswani et al. 2017, §3; Devlin et al. 2018, §3.)
#
# Other models call these parts `q_proj`, `c_attn`, `intermediate.dense` … The course has **one word for each
# place**, in every model:

# %%
for place, names in pt.models.places(model).items():
    print(f"{place:15s} {len(names)} ×  {names[0]}")

# %% [markdown]
# A method says *where* with these words: `targets=("query", "value")` is 2 places × 6 blocks = 12 modules here, and
# 2 × 32 = 64 in a model of 32 blocks. Models of the Llama family have one place more, `ffn_gate`, a second matrix
# beside `ffn_in`. Some of the words need another word:
#
# - `embeddings` is what enters the first block, `last` what leaves the last one;
# - `backbone` is everything but the head: the part that was pretrained.
#
# ## Count a block
#
# Every tensor of block 0, and its shape. Look for what is 384 (the *width*, or d_model), and what is 1536
# (d_ff, the width of the feed-forward part).

# %%
for name, p in block.named_parameters():
    print(f"{name:35s} {tuple(p.shape)!s:14s} {p.numel():9,}")

# %% [markdown]
# MiniLM's attention has 12 *heads* (no relation to the head on top of the model): each looks at other words in its own
# way. Where are they in this list?
#
# ### Exercise 2 · A block (2 points, about 8 minutes)
#
# Write `block_count(d_model, d_ff, heads)`: how many numbers does a block of a BERT hold, biases and norms
# included? d_ff need not be four times d_model. You are given the number of heads, too; what you do with it is
# up to you.
#
# (Write it in full, without calling `linear_count`: every exercise is graded on its own.)


# %% exercise="inside.block" part="solution"
def block_count(d_model: int, d_ff: int, heads: int) -> int:
    ### BEGIN SOLUTION
    attention = 4 * (d_model * d_model + d_model)             # query, key, value, attention_out
    feed_forward = d_model * d_ff + d_ff + d_ff * d_model + d_model
    norms = 2 * (d_model + d_model)
    return attention + feed_forward + norms
    ### END SOLUTION


# %% exercise="inside.block" part="check"
block_count = pt.check("inside.block", block_count)

# %% exercise="inside.block" part="grade"
pt.require("inside.block")

# %% tags=["nbval-check-output"]
counted = sum(p.numel() for p in block.parameters())
print(f"you:   {block_count(384, 1536, 12):,}")
print(f"torch: {counted:,}")
print("heads make no difference:", len({block_count(384, 1536, heads) for heads in (1, 4, 12)}) == 1)

# %% [markdown]
# The heads *share* the matrices. The query's 384 outputs are cut into 12 pieces of 32, one a head. More heads
# means narrower ones, not more numbers.
#
# ## Guess first
#
# A block has 1.77 million numbers, and there are 6. The whole model has 22.7 million. **How much of it are the
# embeddings**, the part that only looks up a vector for each token?

# %%
guess = pt.widgets.Guess("Percent of MiniLM that are embeddings:", (5, 15, 30, 50, 70),
                         "inside.embeddings")
guess

# %% [markdown]
# Now the whole, from sizes alone: 30,522 tokens, 512 positions and 2 segments (BERT can read a pair of texts, and marks
# which of the two a token is in), each with a vector of 384, and a norm; six blocks; the *pooler*, a linear layer and
# a tanh that make one vector for the whole sentence from that of its first token; the head, from that vector to 2
# answers.

# %% tags=["nbval-check-output"]
embeddings = (30_522 + 512 + 2) * 384 + 2 * 384
blocks = 6 * block_count(384, 1536, 12)
rest = linear_count(384, 384) + linear_count(384, 2)
total = embeddings + blocks + rest
print(f"embeddings      {embeddings:10,}  {embeddings / total:6.1%}")
print(f"6 blocks        {blocks:10,}  {blocks / total:6.1%}")
print(f"pooler and head {rest:10,}  {rest / total:6.1%}")
print(f"all             {total:10,}  torch says {pt.account.parameters(model).total:,}")

# %%
told = f"You guessed {guess.value} %. " if guess.value else ""
print(f"{told}The embeddings are {embeddings / total:.1%} of the model.")
pt.plots.show(pictures.draw_parameters(pictures.parameters("minilm", ["embeddings"])),
              "Every number of MiniLM as area: the embeddings, a sliver of pooler and head, six blocks.")

# %% [markdown]
# **More than half of this model is a dictionary.** A sentence of ten words touches ten of its 30,522 rows. And of
# a block, two thirds is the feed-forward part; the famous attention is one third.
#
# Is that so in larger models? To know, one needs their sizes and nothing else. `pt.outlines` builds models on
# torch's *meta device*, where a tensor has a shape and no numbers: 6.7 billion parameters in no memory at all.

# %% tags=["nbval-check-output"]
for name in pt.outlines.SIZES:
    sizes = pt.outlines.counts(name)
    whole = sum(sizes.values())
    print(f"{name:15s} {whole:13,} numbers, embeddings {sizes['embeddings'] / whole:5.1%}")

bert = pt.outlines.outline("bert-base").bert.encoder
print(f"12 blocks of width 768: you {12 * block_count(768, 3072, 12):,}, "
      f"torch {sum(p.numel() for p in bert.parameters()):,}")

# %% [markdown]
# The dictionary grows with the width, the blocks with its square and with their number. In a model of 7 billion
# it is two percent. So **"x % of the parameters" is a statement about the model as much as about the
# method**: the same LoRA is 0.33 % of MiniLM, and 0.06 % of the 7 B model. (*LoRA*, lesson 07, freezes a matrix and
# trains two thin ones beside it. Here you need only know that it adds 0.33 % of new numbers, and trains those and the
# head. What a method adds to a frozen model is called an *adapter*.)
#
# > **In the wild.** Somebody followed a tutorial with a model of 20 billion parameters, and its script
# > printed "all params: 10597552128" ([peft#1020](https://github.com/huggingface/peft/issues/1020)). The model
# > was held in 4 bits, two numbers in a byte, and the script counted bytes. A count that can be derived
# > from shapes would have noticed. You can do that now.
#
# ### Play: the parameter map
#
# Choose a model, and one or several places. Try to find:
#
# 1. which place a method should touch to reach the most numbers, and which the fewest;
# 2. how much `query` and `value` are of MiniLM, and of the 7 B model;
# 3. why key and value are so small in smollm2 and tinyllama. (They have 9 and 32 query heads, but only 3 and 4
#    for keys and values.)

# %%
pictures.explore_parameters()

# %% [markdown]
# <details><summary>What we found (click)</summary>
#
# 1. In MiniLM the embeddings, 52.5 %; of what is in the blocks `ffn_in`, by a hair (its bias is longer than that of
#    `ffn_out`). The fewest: the head, 770 numbers, then the norms. In the 7 B model each of the three feed-forward
#    matrices is 21.4 %, and the embeddings are 1.9 %.
# 2. 7.8 % and 15.9 %.
# 3. Three, or eight, query heads share a key and a value, so these matrices are a third, or an eighth, as tall as
#    `query` (*grouped-query attention*).
#
# </details>
#
# ## What training holds
#
# To *use* the model, its weights have to be in memory. To *train* it, three more things:
#
# | part | what it is | how many numbers |
# |---|---|---|
# | **weights** | the model | all, trained or frozen |
# | **gradients** | one for each number that trains | the trained |
# | **optimizer** | what it remembers. AdamW: two *moments*, running means of the gradient and of its square | 2 × the trained |
# | **activations** | what the forward pass keeps, because the backward pass needs it | see below |
#
# $$ \text{bytes} = s\,(N + T + m\,T) + \text{activations} $$
#
# | symbol | meaning | here |
# |---|---|---|
# | $N$ | all numbers in memory, a method's own among them | 22,713,986; 22,787,714 with the LoRA of lesson 07 |
# | $T$ | those that train | 22,713,986; 74,498 with LoRA (73,728 new, and the head); 770 for the head alone |
# | $s$ | bytes a number | 4 in float32; 2 in bfloat16, which keeps fewer digits |
# | $m$ | moments | 2 for AdamW, 1 for SGD with momentum, 0 for plain SGD |
#
# Here is the question from the top again. With AdamW and 16 sentences of 32 tokens, training everything takes 465 MB.
# **How many percent of that does LoRA take, with 0.33 % of the numbers trained?** Your guess comes back.

# %%
guess_memory = pt.widgets.Guess("Percent of full training's memory that LoRA takes:", (1, 10, 35, 75),
                                "inside.memory")
guess_memory

# %% [markdown]
# ### Exercise 3 · The ledger (2 points, about 7 minutes)
#
# Write `ledger(total, trained, bytes_each, moments)`: in the table these are $N$, $T$, $s$ and $m$. Return a dict with the bytes of the three parts:
# `{"weights": …, "gradients": …, "optimizer": …}`, whole numbers. `total` counts all numbers of the model,
# the trained ones among them. The moments are held in the same precision as the weights.


# %% exercise="inside.ledger" part="solution"
def ledger(total: int, trained: int, bytes_each: int = 4, moments: int = 2) -> dict[str, int]:
    ### BEGIN SOLUTION
    return {"weights": total * bytes_each, "gradients": trained * bytes_each,
            "optimizer": moments * trained * bytes_each}
    ### END SOLUTION


# %% exercise="inside.ledger" part="check"
ledger = pt.check("inside.ledger", ledger)

# %% exercise="inside.ledger" part="grade"
pt.require("inside.ledger")

# %% [markdown]
# A prediction wants to be tested. We take three copies of the model: one in which everything trains, one with
# LoRA, one in which only the head does.

# %%
def prepared(trains, targets=("query", "value")):
    """Return a fresh model in which this trains."""
    fresh, _ = pt.models.load("minilm", labels=2, attention="eager")
    if trains == "LoRA":
        return pt.lora.inject(fresh, pt.lora.Config(rank=8, alpha=16, targets=targets))
    return pt.full.inject(fresh, pt.full.Config(trains))


# %% [markdown]
# (`inject` puts a method into a model, and freezes whatever it does not train.) Each makes **one real step**, and then we look at what torch holds.

# %%
batch = tokenizer(["A quiet, funny, generous film.", "Two hours that I want back."],
                  padding=True, return_tensors="pt").to(pt.device())
batch["labels"] = torch.tensor([1, 0], device=pt.device())


def after_one_step(model):
    """Train one step; return the bytes that torch then holds, by what they are for."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)
    model.train()
    model(**batch).loss.backward()
    optimizer.step()
    states = [t for state in optimizer.state.values() for t in state.values()]
    return {"weights": sum(p.nbytes for p in model.parameters()),
            "gradients": sum(p.grad.nbytes for p in parameters),
            "optimizer": sum(t.nbytes for t in states)}


# %% tags=["nbval-check-output"]
for trains in ("all", "LoRA", "head"):
    trainee = prepared(trains)
    numbers = [p.numel() for p in trainee.parameters() if p.requires_grad]
    yours = ledger(sum(p.numel() for p in trainee.parameters()), sum(numbers))
    found = after_one_step(trainee)
    print(f"{trains}: {sum(numbers):,} numbers in {len(numbers)} tensors train")
    for part in yours:
        print(f"    {part:10s} predicted {yours[part]:11,}   torch holds {found[part]:11,}   "
              f"difference {found[part] - yours[part]}")

# %% [markdown]
# Weights and gradients: to the byte. The optimizer is a little off, by 420 bytes where everything trains. What
# could that be? Divide it by the number of tensors … AdamW also counts its steps, with one number of 4 bytes for
# each tensor.
#
# So training everything takes four times the weights: 363 MB for 91. With LoRA, gradients and moments
# together are 0.9 MB. **This is what parameter-efficient training saves**, and it saves nearly all of it.
#
# The same function for 7 billion, in bfloat16:

# %% tags=["nbval-check-output"]
base, added = 6_738_415_616, 4_194_304
for name, total, trained in (("everything", base, base), ("LoRA, rank 8, query and value", base + added, added)):
    parts = ledger(total, trained, bytes_each=2)
    told = " + ".join(f"{part} {size / 1e9:.2f}" for part, size in parts.items())
    print(f"{name:30s} {told} = {sum(parts.values()) / 1e9:.1f} GB")

# %% [markdown]
# 54 GB against 13.5. (Pure bfloat16, as here, is the cheapest way. Most recipes keep a float32 copy of
# what trains and float32 moments: 16 bytes a trained number in place of our 8; Rajbhandari et al. 2020, §3.1.)
#
# ## What the forward pass keeps
#
# The fourth part is the one that surprises people. Why keep anything? Take a layer $y = xW^\top$, and let $g$ be the
# gradient that comes from above, $\partial L / \partial y$. Then
#
# $$ \frac{\partial L}{\partial W} = g^\top x, \qquad \frac{\partial L}{\partial x} = g\,W $$
#
# One needs $x$, the other $W$: whoever wants them later must keep them.
# Torch lets us watch: it calls a function of ours for every tensor that it puts aside.

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
x = torch.randn(512, 384, requires_grad=True)           # 512 tokens
print("the layer trains:      ", put_aside(lambda: layer(x)))
layer.requires_grad_(False)
print("frozen:                ", put_aside(lambda: layer(x)))
print("frozen, nothing below: ", put_aside(lambda: layer(x.detach())))

# %% [markdown]
# - **It trains:** the input x and the weight are kept. The weight is in memory anyway; x is new.
# - **Frozen, but something below it trains:** the weight, to pass the gradient on. The input is not kept.
# - **Frozen, and nothing below trains:** nothing. The backward pass never comes here.
#
# So the activations depend on *what* trains and *where*. Now the whole model, sentences × tokens
# (`pt.account.activations` uses the same hooks, counts each piece of memory once, and leaves the weights out):

# %%
def measure(model, sentences, tokens):
    ids = torch.ones(sentences, tokens, dtype=torch.long, device=pt.device())
    return pt.account.activations(model, {"input_ids": ids})


everywhere = ("query", "key", "value", "attention_out", "ffn_in", "ffn_out")
trainees = {"all": prepared("all"), "LoRA everywhere": prepared("LoRA", everywhere),
            "LoRA": prepared("LoRA"), "head": prepared("head")}
for trains, trainee in trainees.items():
    kept = [measure(trainee, *size) / 1e6 for size in ((1, 32), (4, 32), (4, 64), (4, 128))]
    print(f"{trains:15s} 1 × 32: {kept[0]:4.1f} MB   4 × 32: {kept[1]:5.1f} MB   "
          f"4 × 64: {kept[2]:5.1f} MB   4 × 128: {kept[3]:5.1f} MB")

# %% [markdown]
# Four things to see:
#
# 1. **Four sentences take four times as much.** Weights, gradients and moments do not know the batch.
# 2. **Twice as long takes more than twice as much.** Attention compares every token with every other, and that
#    table of pairs is kept: tokens × tokens, for each head.
# 3. **LoRA saves little here.** It trains 0.33 % of the numbers and keeps 69 to 78 % of the activations, since
#    the gradient has to pass through the whole model. Put on every matrix, it keeps 98 to 99 %: there, each
#    input is needed again, for the gradient of LoRA's own matrix.
# 4. **The head alone keeps nothing** to speak of. The backward pass stops before it reaches the blocks.
#
# > **In the wild.** "LoRA takes as much memory as full fine-tuning", or more. With TinyLlama and short texts it
# > saved a lot, with long ones hardly anything ([peft#1514](https://github.com/huggingface/peft/issues/1514)); the
# > activations of a ResNet, a network for images, doubled ([peft#2196](https://github.com/huggingface/peft/issues/2196)). With long inputs
# > the activations are nearly all there is, and an adapter adds some of its own.
#
# ### Exercise 4 · The law of activations (3 points, about 12 minutes)
#
# A part grows with the tokens, a part with their pairs, and both with the batch:
#
# $$ \text{bytes} = \text{batch} \cdot (a \cdot \text{tokens} + b \cdot \text{tokens}^2) $$
#
# Two measurements of **one** sentence are enough to find $a$ and $b$. Then we know the bytes of batches that would
# never fit. Write `activation_bytes(batch, tokens, measured)`; `measured` maps two lengths to the bytes of one
# sentence, such as `{32: 6349124, 128: 35999300}`.
#
# Divide the law for one sentence by its tokens, and look at what is left: what kind of curve is it, and how
# do you find it from two points?


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

# %% [markdown]
# Two small measurements of our model; then a size that was not measured, to see whether to believe it;
# and then one that you had better not try.

# %%
measured = {tokens: measure(trainees["all"], 1, tokens) for tokens in (32, 128)}
for sentences, tokens in ((8, 64), (2, 256)):
    predicted, real = activation_bytes(sentences, tokens, measured), measure(trainees["all"], sentences, tokens)
    print(f"{sentences:2d} × {tokens:3d}: predicted {predicted / 1e6:7.1f} MB, measured {real / 1e6:7.1f} MB")
print(f"32 × 512: predicted {activation_bytes(32, 512, measured) / 1e9:.1f} GB, not tried")

# %% [markdown]
# And what is $b$? Your function knows it: one token gives $a+b$, two tokens give $2a+4b$.

# %%
b = (activation_bytes(1, 2, measured) - 2 * activation_bytes(1, 1, measured)) / 2
print(f"b = {b:.0f} bytes for each pair of tokens = 6 blocks · 12 heads · {b / 72:.2f} bytes")

# %% [markdown]
# Twelve bytes: three numbers of 4 bytes for each pair of tokens in each head. They are the attention, the
# dropout's mask, and the attention after it. (On a CPU torch keeps even the mask, a yes or no, as floats. On a GPU it
# takes one byte, and $b$ is 9 bytes a head.) (On paper: Korthikanti et al. 2022, §4.1, who derive the same law.)
# *Fused* attention, such as FlashAttention, computes them again in the backward pass and keeps none
# of them; then only $a$ is left.
#
# ## The whole bill
#
# Those were the exercises. This section answers the question from the top; what comes after it (two mistakes, a widget,
# a table of remedies) can wait for another day.
#
# All four parts, by the course's own ledger, which later lessons use. 16 sentences of 32 tokens:

# %%
told = f"You guessed {guess_memory.value} %. " if guess_memory.value else ""
bills = {name: pt.account.ledger(trainees[trains], batch_size=16, tokens=32) for name, trains in
         (("everything", "all"), ("LoRA, rank 8", "LoRA"), ("head only", "head"))}
pt.plots.show(pt.plots.ledgers(bills), "What training MiniLM holds, 16 sentences of 32 tokens.")
print(f"{told}LoRA takes {bills['LoRA, rank 8'].total_bytes / bills['everything'].total_bytes:.0%} of it.")

# %%
longer = {name: pt.account.ledger(trainees[trains], batch_size=16, tokens=256) for name, trains in
          (("everything", "all"), ("LoRA, rank 8", "LoRA"), ("head only", "head"))}
pt.plots.show(pt.plots.ledgers(longer), "The same with sentences of 256 tokens.")
print(f"Now LoRA takes {longer['LoRA, rank 8'].total_bytes / longer['everything'].total_bytes:.0%}.")

# %% [markdown]
# There is the answer to the question at the top. With short sentences LoRA takes 162 of 465 MB, a third: of the gradients
# and moments hardly anything is left, of the activations two thirds. With long sentences the activations are most
# of it, and LoRA takes three quarters of what full fine-tuning does. Both numbers are right; quoted without
# the length, neither says anything.
#
# (The sum is what the four parts need. They are not all full at the same moment, since activations are freed
# while gradients are made; and libraries take some working space besides. Read it as a good first estimate.)
#
# ## Break it on purpose
#
# Two mistakes that cost memory and never raise an error.
#
# **1. `model.eval()` to save memory.** It switches off dropout, and that is all.

# %%
ids = torch.ones(16, 32, dtype=torch.long, device=pt.device())
tensors = {"train()": len(put_aside(lambda: trainees["all"].train()(input_ids=ids))),
           "eval()": len(put_aside(lambda: trainees["all"].eval()(input_ids=ids)))}
with torch.no_grad():
    tensors["eval(), no_grad()"] = len(put_aside(lambda: trainees["all"].eval()(input_ids=ids)))
for how, count in tensors.items():
    print(f"{how:18s} {count:4d} tensors put aside")

# %% [markdown]
# Whoever evaluates without `torch.no_grad()`, and collects the outputs in a list, keeps the activations of every batch
# ([pytorch#4932](https://github.com/pytorch/pytorch/issues/4932)). `pt.evaluate` takes care of it.
#
# **2. Freezing too late.** Somebody trains a step, then decides to freeze the model and to train the head alone.

# %% tags=["nbval-check-output"]
late = prepared("all")
optimizer = torch.optim.AdamW(late.parameters(), lr=1e-4)
late.train()(**batch).loss.backward()
optimizer.step()
for name, p in late.named_parameters():
    p.requires_grad_(name in pt.models.head(late))             # frozen now, but …
gradients = sum(p.grad.nbytes for p in late.parameters() if p.grad is not None)
states = sum(t.nbytes for state in optimizer.state.values() for t in state.values())
before = late.bert.encoder.layer[0].output.dense.weight.detach().clone()
optimizer.step()
moved = not torch.equal(before, late.bert.encoder.layer[0].output.dense.weight)
print(f"gradients still held: {gradients / 1e6:.1f} MB; moments: {states / 1e6:.1f} MB")
print("and the frozen weights still move:", moved)

# %% [markdown]
# `requires_grad_(False)` stops *new* gradients. The old ones stay, so do the moments, and the optimizer goes on
# using them. **Freeze first, then make the optimizer**, from what is left to train. In this course, `inject` and
# `attach` (which loads a saved method into a model) freeze for you.
#
# ## Play: the ledger
#
# The widget holds the shapes of five models and your four parts. Nothing is loaded; the law of the activations was
# measured on two blocks without numbers, and extended to all of them. Find out:
#
# 1. For MiniLM with everything trained: from which batch on do the activations outweigh all the rest (dashed)?
# 2. The 7 B model in bfloat16, one sentence of 512 tokens, everything trained: which part is the largest? And with LoRA?
# 3. Can LoRA bring that model onto a GPU of 16 GB? What if attention is fused? What would you change next?
# 4. Why does training the last block alone need so few activations, though it trains more numbers than LoRA?

# %%
pictures.explore_memory()

# %% [markdown]
# <details><summary>What we found (click)</summary>
#
# 1. With 32 tokens from 58 on: 368 MB of activations against 363 MB. The slider's next stop is 64.
# 2. With everything trained, the moments: 27 of 59 GB. With LoRA the weights: 13.5 of 18 GB, and the rest is nearly all
#    activations.
# 3. Not at 512 tokens, not even with fused attention: 16.2 GB. With 256 tokens, just so. The next thing to shrink is
#    the weights themselves: held in 4 bits instead of 16, with 16 values to choose from, they are a quarter (lesson 08).
# 4. The backward pass ends where nothing below trains. What is not passed keeps nothing.
#
# </details>
#
# The numbers of 2 and 3, with the function that the widget uses:

# %%
lora = "LoRA, rank 8, query and value"
for trains, tokens, fused in (("everything", 512, False), (lora, 512, False), (lora, 512, True), (lora, 256, False)):
    bill = pt.outlines.ledger("llama-2-7b", trains, batch_size=1, tokens=tokens, dtype="bfloat16", fused=fused)
    print(f"{trains:30s} {tokens} tokens, {'fused' if fused else 'plain'}: activations "
          f"{bill.activations_bytes / 1e9:3.1f} GB, all {bill.total_bytes / 1e9:4.1f} GB")

# %% [markdown]
# ## Which part is your problem?
#
# That is the use of a ledger: it says which remedy can help, before you try.
#
# | what is large | what helps | what does not | where |
# |---|---|---|---|
# | gradients, optimizer | train fewer numbers; another optimizer | a smaller batch | lessons 02 to 10 |
# | activations | a smaller batch, shorter texts, fused attention, *checkpointing*: keep only some, and compute the others again in the backward pass (Chen et al. 2016) | training fewer numbers, mostly | here |
# | weights | fewer bits a number | anything else | lesson 08 |
# | files, one for each task | save only what was trained | | lesson 07 |
#
# ## Keep your work
#
# - **On your own machine**, what you write is in this notebook's file: save it (Ctrl+S, ⌘S). Variables are not in
#   it; when you come back, run the cells from the top, which takes half a minute. To start a lesson afresh,
#   copy its notebook first; the course may be updated under you, and your copy stays.
# - **On Colab**, the machine and its files are gone when you leave. *File → Save a copy in Drive* keeps the notebook.
#   The model is fetched again next time, in about a minute.
# - **For a grader**, hand in the notebook file as it is. Only the definitions that the exercises name are read.

# %%
pt.progress()

# %% [markdown]
# **Five lines to remember**
#
# 1. A block is four square matrices (attention), two wide ones (feed-forward), biases and two norms: about
#    $12\,d^2$ numbers, whatever the heads.
# 2. Small models are largely dictionary, large ones are blocks: a percentage needs a model beside it.
# 3. Training everything with AdamW holds four times the weights; then come the activations.
# 4. Gradients and moments shrink with what trains. Activations grow with batch and length, and shrink little, unless
#    only the top of the model trains.
# 5. Make the ledger first: which part is large decides which remedy helps.
#
# **Sources**
#
# - Vaswani et al. 2017, *Attention Is All You Need*, arXiv 1706.03762: §3 the block.
# - Devlin et al. 2018, *BERT*, arXiv 1810.04805: §3 the sizes. Wang et al. 2020, *MiniLM*, arXiv 2002.10957.
# - Rajbhandari et al. 2020, *ZeRO*, arXiv 1910.02054: §3 where the memory goes.
# - Korthikanti et al. 2022, *Reducing Activation Recomputation in Large Transformer Models*, arXiv 2205.05198: §4.1.
# - Chen et al. 2016, *Training Deep Nets with Sublinear Memory Cost*, arXiv 1604.06174.
# - Kingma & Ba 2014, *Adam*, arXiv 1412.6980; Loshchilov & Hutter 2017, *Decoupled Weight Decay*, arXiv 1711.05101.
# - Sizes of the larger models: Touvron et al. 2023, *Llama 2*, arXiv 2307.09288; Zhang et al. 2024, *TinyLlama*,
#   arXiv 2401.02385; Allal et al. 2025, *SmolLM2*, arXiv 2502.02737.
#
# The library's ledger, beside yours (without its first lines, which say what it does):

# %%
import inspect
import textwrap

source = inspect.getsource(pt.account.ledger)
print(textwrap.dedent(source[source.index("    states, counter"):]))
