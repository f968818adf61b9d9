# %% [markdown]
# # 00 · What is inside a model
#
# Your graphics card is full. A colleague says: "Then train only 0.3 % of the parameters." How much memory will that free? Nearly all of
# it, half of it, or hardly any?
#
# To answer, you take a small model apart, put one of its blocks together again in your own
# code, and watch a training step fill the memory and empty it.
#
# | | |
# |---|---|
# | **Time** | an estimate: about 70 minutes, 45 of them for 5 exercises; Run All takes a minute |
# | **You need** | to have trained a small network in PyTorch; nothing of transformers |
# | **Data** | two sentences; the model, MiniLM, is fetched once and kept |
#
# <details class="notebook"><summary>How a lesson works</summary>
#
# Run the cells from top to bottom with Shift+Enter; any cell may be run again. Write your code in place of `raise pt.NotAttempted(…)`.
# The next cell, `pt.check(…)`, tries it on many inputs and answers with a card; the one after it is for graders. `pt.hint("inside.linear")` gives a hint, three times;
# `pt.reset("inside.linear")` the text that the exercise started with. Nothing is locked: until your code passes, the lesson goes on with
# ours. What passes is kept in `my_peft.py`, a library of your own, and later lessons use it. A prediction can be changed until
# you see its result; there is no mark. Keep the folder `work` beside this notebook: your predictions and sentences are in it. Later lessons train for about a
# minute; `PEFT_TEACH_BUDGET=smoke`, set before Jupyter starts, makes that a few steps.
#
# ■ above stops a cell that does not end. After a restart of the kernel choose Run → Run All Above Selected Cell. A page that was closed
# does not show the training that goes on: run the next cell, which waits for its end.
#
# Colab's machine forgets everything. To keep your work there, run `from google.colab import drive; drive.mount('/content/drive')` and
# `%env PEFT_TEACH_WORK=/content/drive/MyDrive/peft-teach-work` first, in each session.
# </details>

# %% jupyter={"source_hidden": true}
import pandas as pd
import torch

import peft_teach as pt

pictures = pt.course.pictures("inside")
pt.seed(0)
Guess = pt.widgets.Guess

# %% [markdown]
# LoRA (lesson 07), with its head, trains 0.33 % of the numbers that full training trains. **What share of the memory does it take? And how sure are you that
# you are within 0.1?**

# %%
pt.commit("inside.memory", ..., like=[0.9, 0.5])    # [a share, how sure]

# %%
pt.plots.show(pt.drawing.block(zoom="ffn_in"), "One of MiniLM's six blocks; q, k, v are query, key "
              "and value. Left out: biases, and a GELU between ffn_in and ffn_out. The box "
              "“softmax” is all of attention.")

# %% [markdown]
# ## Where are the parameters?
#
# ### Exercise 1 · A linear layer (1 point, about 3 minutes)
#
# `nn.Linear(n_in, n_out)` makes n_out outputs from n_in inputs. Each output is a weighted sum of all inputs, with weights of its own, plus a
# constant of its own. Write `linear_count(n_in, n_out)`, the number of parameters.


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
# Nearly every parameter of a language model stands in such a layer, or in a table of words. Here is all of MiniLM, drawn so that area is
# the number of parameters. Choose larger models, too. (*ffn* is a block's feed-forward part; *embeddings* are the table of words.)

# %%
model, tokenizer = pt.models.load("minilm", labels=2, attention="eager")
pictures.explore_parameters()

# %% [markdown]
# <details><summary>What the map says</summary>
#
# More than half of MiniLM is a dictionary: a vector for each of 30,522 words. The famous attention is less than a sixth. In larger models
# the dictionary's share melts: make the vectors twice as wide, and a dictionary doubles, while a block has four times as many parameters.
# </details>
#
# So beware of "we train x % of the parameters". The percentage says as much about the model as about the method.
#
# ## What is in a block?
#
# Recurrent networks read a text word by word. In 2017 Ashish Vaswani and his colleagues let all words look at each other in a single
# step, and called this the **transformer**.
#
# MiniLM turns each *token*, a word or a piece of one, into a vector of 384 numbers. Six blocks change these vectors, one after the other. A
# block has two halves. In **attention** tokens read from each other. In the **feed-forward** part each token is worked on alone: `ffn_in`
# makes 1,536 numbers of its 384, a *GELU* bends them (without it, two linear layers would amount to one), and `ffn_out` brings them back to 384.
# What came into a half is added to what the half gives (the *residual*), so that a gradient can always pass. Then a *norm* brings the sum to
# a common size. On top of the last block, a **classifier** answers a question.
#
# ### One token reads
#
# Each token makes three vectors: a **query**, what it looks for; a **key**, what it can be found by; a **value**, what others get from it.
# The *score* says how well key j fits query i. The softmax turns the scores of one reader into *shares*, which sum to 1. Weighted by the
# shares, the values are added up:
#
# $$ \begin{aligned} \text{score}_{ij} &= \frac{q_i \cdot k_j}{\sqrt{w}} \\ \text{read}_i &= \sum_j \operatorname{softmax}_j(\text{score}_{ij})\; v_j \end{aligned} $$
#
# All this happens in a **head**, on $w = 32$ entries of the 384. Here one head reads for one token: `it`, in a sentence that you may
# replace. The tokenizer puts a token of its own before every text, `[CLS]`, and one after it, `[SEP]`.

# %%
sentences = ["The plot is thin, but the actors are so good that you forgive it.", "A dull film."]
batch = tokenizer(sentences, padding=True, return_tensors="pt").to(pt.device())
mask = batch["attention_mask"]
tokens = tokenizer.convert_ids_to_tokens(batch["input_ids"][0])[:mask[0].sum()]
with torch.no_grad():    # what enters block 0, 1, …, and what leaves the last
    hidden = model.bert(**batch, output_hidden_states=True).hidden_states

# %%
every = pictures.queries_keys_values(model, hidden, 0)    # (2, tokens, 384)
q, k, v = (x[0, :len(tokens), 32:64] for x in every)    # head 1: (tokens, 32)
it = len(tokens) - 3    # the last word
pt.plots.show(pictures.draw_reading(tokens, it, q[it].cpu(), k.cpu(), v.cpu()),
              "An arc is as thick as the share. Below, entry by entry from top to bottom: each "
              "value times its share, and their sum.")

# %% [markdown]
# This head reads mostly `actors`, though it is the *plot* that you forgive. But it is only one head of 72.
#
# ### Exercise 2 · One head, one sentence (2 points, about 6 minutes)
#
# Now all tokens read at once. Write `one_head(q, k, v)`: the three are (tokens, w), and so is what you return. Row i is what token i read.


# %% exercise="inside.head" part="solution"
def one_head(q, k, v):
    ### BEGIN SOLUTION
    return torch.softmax(q @ k.T / q.shape[1]**0.5, dim=1) @ v
    ### END SOLUTION


# %% exercise="inside.head" part="check"
one_head = pt.check("inside.head", one_head)

# %% exercise="inside.head" part="grade"
pt.require("inside.head")

# %% [markdown]
# ### Exercise 3 · All heads, and a mask (3 points, about 14 minutes)
#
# **Heads.** A block has twelve heads, each with its own 32 *neighbouring* entries of the 384. What they read is put side by side again.
#
# **Mask.** Sentences of a batch have different lengths, and the shorter ones are filled up with *padding*, which nobody should read. A mask
# says which keys a query may read.
#
# Write `attention(q, k, v, heads, mask)`. Begin with the heads: the first inputs of the check have a mask that allows everything.
#
# | | shape | |
# |---|---|---|
# | `q` | (batch, queries, d) | |
# | `k`, `v` | (batch, keys, d) | there may be more keys than queries (lesson 04) |
# | `mask` | (batch, queries, keys) | true where this query may read this key |
# | returns | (batch, queries, d) | what each head read, side by side |
#
# 1. If all values are 1, every query reads 1.
# 2. A key that a query may not read does not change what this query reads, whatever finite numbers stand there.


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
# ### What do the heads read?
#
# Your function returns what was read, not the shares. A trick gets them: **one-hot values**. Let the value of key j be 1 at entry j and 0 elsewhere.
# Then entry j of what is read is the share of key j. (A head returns 32 entries, enough for 32 tokens.)

# %%
n = len(tokens)
one_hot = torch.eye(n, 32, device=pt.device()).repeat(1, 12)[None]
all_of_it = torch.ones(1, n, n, dtype=torch.bool, device=pt.device())
tables = []
for i in range(6):
    q, k, _ = (x[:1, :n] for x in pictures.queries_keys_values(model, hidden, i))
    found = attention(q, k, one_hot, 12, all_of_it)[0].unflatten(-1, (12, 32))
    tables.append(found[..., :n].transpose(0, 1).cpu())
tables = torch.stack(tables)    # (blocks, heads, reading, read)

# %%
pt.plots.show(pictures.draw_heads(tables, tokens), "Each small table is a head: a row is what one "
              "token reads, from left to right. Its name: what more than half of its reading goes "
              "to. The stronger the shade, the more; the strongest: a half or more.")

# %%
pictures.explore_heads(tables, tokens)    # one of them, large

# %% [markdown]
# Find a head in which `it` reads `plot`.
#
# <details><summary>What we found</summary>
#
# Head 4 of block 4, for example, takes `it` to `plot`. That does not tell us how the model understands the sentence. In many heads the first column is full: they read `[CLS]`. In BERT's middle blocks it is `[SEP]`: Clark et al. (2019) think
# that a head looks there when it has nothing to say.
# </details>
#
# Each of these small tables takes memory, for every sentence of a batch: a number for each *pair* of tokens. Twelve heads have one
# wide head's parameters, and twelve times the tables.
#
# ### Exercise 4 · The whole block (3 points, about 15 minutes)
#
# Write `transformer_block(x, mask, weights, heads, attention)` from the picture at the top, with a GELU after `ffn_in`.
# `x` is (batch, tokens, d). `mask` is (batch, tokens), whole numbers, 1 for a token and 0 for padding. `weights` holds the block's tensors by
# name, `"query.weight"`, `"query.bias"` and so on. `attention` is a function like yours.
#
# The places are `query`, `key`, `value`, `attention_out`, `attention_norm`, `ffn_in`, `ffn_out` and `ffn_norm`: our pictures use these
# names. A norm is `torch.nn.functional.layer_norm` over the d entries, with a weight and a bias of its own and `eps=1e-12`. There is no
# dropout.


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
def gap(i):
    """How far your block i is from the model's own."""
    yours = transformer_block(hidden[i], mask, pictures.weights_of(model, i), 12, attention)
    return (yours - hidden[i + 1]).abs().max().item()


pd.Series([gap(i) < 1e-5 for i in range(6)]).to_frame("block by block, as the model's own?")

# %% [markdown]
# That is a whole block of a transformer, and the methods of this course change single lines of it. Look at what it computes on its way: tensors
# with a row for every token. Are they needed again, after the forward pass?
#
# ## What training holds
#
# To *use* a model, you hold its weights. To *train* it, you also hold a **gradient** for each parameter that trains, and the **optimizer states**
# (of AdamW, the *moments*): what the optimizer remembers from step to step. Here is one real step with MiniLM's 22,713,986 parameters, 770 of
# them a head for two classes, made in six ways, in float32 but for one. The last column is **one sum**, in MB, of all that stays in memory.

# %%
labelled = {**batch, "labels": torch.tensor([1, 0], device=pt.device())}
pictures.six_steps(labelled)

# %% [markdown]
# ### Exercise 5 · The ledger (2 points, about 7 minutes)
#
# Take these sums apart. Write `ledger(total, trained, bytes_each, moments)`, a dict of three whole numbers of bytes,
# `{"weights": …, "gradients": …, "optimizer": …}`, which add up to each row. `total` counts all parameters, the trained ones among them;
# `moments` is how many numbers the optimizer remembers for each trained parameter. (AdamW's step counter, one number a tensor, is left out.)


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

# %% [markdown]
# A ledger should predict what it has not seen. Ask yours about LoRA.

# %% tags=["nbval-check-output"]
trainee = pictures.prepared("LoRA")
total, trained = trainee.num_parameters(), trainee.num_parameters(only_trainable=True)
pd.DataFrame({"your ledger": ledger(total, trained, bytes_each=4, moments=2),
              "torch holds": pictures.held_after_a_step(trainee, labelled, torch.optim.AdamW)}
             ).map(pt.plots.bytes_text)

# %% [markdown]
# With AdamW, training everything holds four times the weights' bytes. LoRA holds hardly more than the weights. Three quarters are
# gone! So is your colleague right? One thing is missing from your ledger.
#
# ## What the forward pass leaves behind
#
# Take one layer, $y = xW^\top$. The backward pass brings $g$, the gradient for $y$, and makes two things of it:
#
# $$ \frac{\partial L}{\partial W} = g^\top x, \qquad \frac{\partial L}{\partial x} = g\,W $$
#
# The first needs $x$, the second needs $W$. So the forward pass has to keep them. What it keeps for later is called **activations**. Now freeze
# the layer, while something below it still trains. **What does the frozen layer keep?**

# %%
Guess("Something below a frozen layer trains. The frozen layer keeps",
      ("x and W", "x", "W", "nothing"), "inside.frozen")

# %%
layer = torch.nn.Linear(384, 1536)
below = torch.randn(512, 384, requires_grad=True)    # 512 tokens
kept = {"it trains": pictures.put_aside(layer, below)}
layer.requires_grad_(False)
kept["it is frozen"] = pictures.put_aside(layer, below)
kept["frozen, and nothing below trains"] = pictures.put_aside(layer, below.detach())
kept["frozen, with LoRA beside it"] = pictures.put_aside(pt.lora.LoRALinear(layer, 8), below)
pt.compare("inside.frozen", kept["it is frozen"], "what a frozen layer keeps")
pd.Series(kept).to_frame("a layer keeps")

# %% [markdown]
# <details><summary>What the four rows say</summary>
#
# W is in memory anyway, so x is what costs, and a frozen layer drops it. Where nothing below trains, no gradient has to pass, and nothing is
# kept. LoRA puts a small layer beside the frozen one: A makes 8 numbers of each token, and B brings these to the layer's width. Both train, so x is kept
# again, and A's output with it (512 × 8). Softmax, GELU and dropout have no weights that one could freeze, and
# LayerNorm needs its input for both gradients: they keep what they kept before.
# </details>
#
# Now the whole model. On the way forward, activations pile up; on the way back they go, and gradients come. Last, AdamW takes its step: it
# needs working space for what it computes on the way. **Where is the memory fullest?**

# %%
Guess("Everything trains, on 16 sentences of 32 tokens. The memory is fullest in",
      ("the forward pass", "the backward pass", "AdamW's step"),
      "inside.fullest")

# %%
measured = {}
for trains in pt.bar(("everything", "LoRA", "classifier"), "ways"):
    trainee = pictures.prepared(trains)
    for n in (16, 32):
        ids = torch.randint(1000, 30_000, (n, 32), device=pt.device())
        measured[trains, f"{n} × 32"] = pictures.through_a_step(
            trainee, {"input_ids": ids, "labels": ids[:, 0] % 2})
pt.compare("inside.fullest", pictures.fullest(measured["everything", "16 × 32"]), "fullest in")
pictures.explore_step(measured)

# %% [markdown]
# Press play. **When everything trains, the step itself is the fullest moment**, on this batch. Torch's AdamW goes from tensor to tensor, and for
# each one it makes two more of the same size; for the table of words that is much. Choose 32 × 32, and the two passes overtake it.
# Activations are gone when the gradients are all there, so the larger of the two counts:
#
# $$ \begin{gathered} \text{at most} \approx \text{weights} + \text{optimizer states} \\ {} + \max(\text{activations},\ \text{gradients} + \text{working space}) \end{gathered} $$

# %%
full, lora = (max(measured[trains, "16 × 32"].held) for trains in ("everything", "LoRA"))
pt.compare("inside.memory", [round(lora / full, 2), 1.0],
           "LoRA's share of the memory, at most; and how sure one is now")

# %%
pictures.bill(measured)    # MB, at the fullest moment; share: of everything

# %% [markdown]
# LoRA trains 0.33 % of the numbers, and takes 37 % of the memory. (If AdamW is *fused*, its step needs no working space, and LoRA takes 44 %.)
# Gradients and moments are all but gone. The weights stay, and activations are now the largest part after them.
#
# The classifier alone keeps no activations. **Why does LoRA keep so much, and the classifier so little?**

# %%
pt.sentence("inside.keeps", ...)    # yours, in quotes, for the dots

# %% [markdown]
# <details><summary>Our sentence</summary>
#
# The gradient has to pass through everything above the lowest part that trains. LoRA begins in block 0, so the gradient passes through all six
# blocks. The classifier stands on top of them, and below it nothing is kept.
# </details>
#
# ## Longer texts
#
# Now eight times as many tokens: once as more sentences, once as longer ones. The library's ledger predicts both from tiny batches.

# %%
rows = {}
for n, length in ((16, 32), (128, 32), (16, 256)):
    full, lora = (pt.account.ledger(pictures.prepared(trains), n, length)
                  for trains in ("everything", "LoRA"))
    rows[f"{n} × {length}"] = {
        "everything": f"{full.peak_bytes / 1e6:,.0f} MB",
        "LoRA": f"{lora.peak_bytes / 1e6:,.0f} MB",
        "LoRA takes": f"{lora.peak_bytes / full.peak_bytes:.0%}",
        "of the activations": f"{lora.activations_bytes / full.activations_bytes:.0%}"}
pd.DataFrame(rows).T

# %% [markdown]
# (The first row says 35 % where you measured 37: the formula leaves out what the passes make and drop within a block.)
#
# The saving melts. Weights and moments stay as they are, however much the model reads. Activations grow, and LoRA keeps more than two thirds
# of them. On longer sentences it saves least: the tables of pairs have grown, and LoRA removes none of them.
#
# So your colleague's figure is true of what trains, and says little about memory. **Ask first which part is large:**
#
# | what is large | what helps |
# |---|---|
# | gradients, optimizer states, the step | train less (lessons 02 to 10); a fused AdamW |
# | activations | fewer or shorter texts at a time; fused attention, which keeps no tables of pairs; checkpointing, which keeps few and computes the others again; train only the top |
# | weights | fewer bits each (lesson 08) |
#
# **What this lesson claims**
#
# | claim | seen here | what could have refuted it, and was tried | at larger scale |
# |---|---|---|---|
# | LoRA (rank 8, query and value) on MiniLM takes 37 % of full training's memory. | one step of 16 × 32, float32, AdamW, every tensor counted: 167 of 457 MB | A whole process, by the operating system: 207 of 575 MB, both a quarter above our count, their ratio 36 %. Torch's AdamW as it is on a CPU goes tensor by tensor; a fused one needs no working space: 44 % | GPT-3: 350 of 1,200 GB (Hu et al. 2021, §4.2); by our count, weights in 16 bits take 350 |
# | When everything trains on 16 × 32, AdamW's step is the fullest moment. | the two passes 379 MB, the step 457 | torch's own allocator: as counted. On 32 × 32 it fails: the passes 483, the step 457. With gradient accumulation activations and gradients add up | here the largest tensor is half of the model, elsewhere a smaller part; on a GPU torch's default, `foreach`, takes about the parameters' size more (torch's documentation) |
# | Where attention keeps its tables, we predict that longer sentences cost LoRA more of its saving than more sentences do. | 128 × 32: 60 %; 16 × 256: 77 %, predicted from small batches | measured: 63 %, and 78 % | activations grow with tokens and pairs (Korthikanti et al. 2022, §4.1); with fused attention we predict no difference |

# %%
pt.progress("00")

# %% [markdown]
# ## At your desk
#
# Measure before you choose, with your longest batch:
#
# ```python
# import torch
# from peft import LoraConfig, get_peft_model
#
# # For large activations; in transformers 6: activation_checkpointing_enable.
# model.gradient_checkpointing_enable()
# config = LoraConfig(task_type="SEQ_CLS", target_modules="all-linear", r=16, lora_alpha=32)
# tuned = get_peft_model(model, config)
# tuned.train()                          # as loaded, in eval mode, nothing is checkpointed
# optimizer = torch.optim.AdamW((p for p in tuned.parameters() if p.requires_grad), fused=True)
# tuned.print_trainable_parameters()
# batch = tokenizer(["Your longest text."] * 8, return_tensors="pt").to(tuned.device)
# for _ in range(2):                     # optimizer states come with the first step
#     tuned(**batch, labels=torch.ones(8, dtype=torch.long, device=tuned.device)).loss.backward()
#     optimizer.step()
#     optimizer.zero_grad()
# print(torch.cuda.max_memory_allocated() / 1e9, "GB")
# tuned.save_pretrained("my-adapter")    # what trained, and no more
# ```
#
# `fused=True` counts here: its step needs no working space. The Trainer of transformers has it as its default (`adamw_torch_fused`); torch has not.
#
# | a first count, 1 to 70 billion parameters | bytes | source |
# |---|---|---|
# | full training in mixed precision | 16 for each parameter, before activations | Rajbhandari et al. 2020, §3.1 |
# | LoRA | 2 for each frozen parameter, 16 for each trained one | the same count |
# | LoRA on 4-bit weights | about half of one for each frozen parameter | Dettmers et al. 2023 |
# | activations of a block, in 16 bits | for each sentence 34 · tokens · width, and 5 · heads · tokens² where attention is not fused | Korthikanti et al. 2022, §4.1 |
#
# If the weights alone do not fit, no choice of what to train helps: take fewer bits. What misleads here: half of MiniLM is its dictionary,
# and we count float32 and unfused attention.

# %% [markdown]
# # Further
#
# ### Exercise 6 · Count a block (optional, 2 points, about 7 minutes)
#
# Newer models let several heads of queries *share* one head of keys and values (Ainslie et al. 2023). There are `heads` heads of queries,
# but only `kv_heads` of keys and values, and each is d_model / heads wide. Write `block_count(d_model, d_ff, heads, kv_heads)`: all parameters
# of a block, with biases and both norms. `d_ff` is the width between ffn_in and ffn_out.


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

# %% [markdown]
# ### Exercise 7 · Which is which? (optional, 2 points, about 7 minutes)
#
# Somebody removed the labels from the attention of block 3. Here are its four matrices and their biases, under the letters a to d. They were
# also rewritten: none equals a matrix of the model, and yet, in the right order, they give the output `target` from the input `x`. Search
# for this order in a cell of your own. Then write the letters of query, key, value and attention_out as one text: `order = "abcd"`.

# %%
pieces = pictures.unlabelled(model)    # letter → (weight, bias)
x, target = hidden[3], hidden[4]
rest = {name: tensor for name, tensor in pictures.weights_of(model, 3).items()
        if name.startswith(("ffn", "attention_norm"))}
pd.DataFrame({letter: [" × ".join(map(str, weight.shape)), len(bias)]
              for letter, (weight, bias) in pieces.items()}, ["weight", "bias"])

# %% exercise="inside.order" part="solution"
### BEGIN SOLUTION
order = "cadb"
### END SOLUTION

# %% exercise="inside.order" part="check"
order = pt.check("inside.order", order)

# %% exercise="inside.order" part="grade"
pt.require("inside.order")

# %% [markdown]
# Even query and key cannot be exchanged, although a score is just their product: exchange them, and the table of scores is transposed, but
# the softmax still runs along its rows. The key's bias was even replaced by random numbers: it moves
# all scores of a query by the same amount, and the softmax ignores that (Namazifar et al. 2023).

# %% [markdown]
# ### Seven billion parameters
#
# Llama 2, predicted and not measured: all in bfloat16, with fused attention, such as FlashAttention. LoRA's A and B are float32, as in peft.

# %% tags=["nbval-check-output"]
def at_most(trains, n, step):
    return pt.outlines.ledger("llama-2-7b", trains, "adamw", n, 512, "bfloat16", fused=True,
                              step=step).peak_bytes


rows = {}
for n in (1, 4, 8):
    plain, full, thin = (at_most(*each) for each in (
        ("full", n, "fused"), ("full", n, "foreach"), ("lora", n, "fused")))
    rows[f"{n} × 512"] = {
        "everything, fused": f"{plain / 1e9:.1f} GB", "everything, foreach": f"{full / 1e9:.1f} GB",
        "LoRA, fused": f"{thin / 1e9:.1f} GB", "LoRA takes": f"{thin / plain:.0%}"}
pd.DataFrame(rows).T

# %% [markdown]
# Here a step by `foreach` takes as much as the weights: with everything training, it is the fullest moment in each row. On a CPU torch's allocator gives exactly what the
# ledger says of the three kinds of step; on a GPU we did not measure.
#
# **Sources**
#
# - Vaswani et al. 2017, *Attention is all you need*, arXiv 1706.03762: §3 the block. Wang et al. 2020, *MiniLM*, arXiv 2002.10957.
# - Ainslie et al. 2023, *GQA*, arXiv 2305.13245: §2. Namazifar et al. 2023, on biases in attention, arXiv 2302.08626. Clark et al. 2019, *What
#   does BERT look at?*, arXiv 1906.04341: §3.
# - Hu et al. 2021, *LoRA*, arXiv 2106.09685. Dettmers et al. 2023, *QLoRA*, arXiv 2305.14314.
# - Rajbhandari et al. 2020, *ZeRO*, arXiv 1910.02054: §3. Korthikanti et al. 2022, *Reducing activation recomputation in large transformer
#   models*, arXiv 2205.05198: §4.1. Chen et al. 2016, *Training deep nets with sublinear memory cost*, arXiv 1604.06174: checkpointing.
# - Touvron et al. 2023, *Llama 2*, arXiv 2307.09288: one of the larger models; the others stand in `peft_teach/outlines.py`.
