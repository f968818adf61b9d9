# %% [markdown]
# # 04 · Prefix tuning: what can a prefix do that a prompt cannot?
#
# In lesson 03 you trained a few vectors in front of the words. They enter at the bottom, and thirty frozen blocks, or layers, decide what becomes of them.
#
# In 2021 Xiang Lisa Li and Percy Liang wanted GPT-2 to turn tables into sentences, without a copy for every kind of table. Vectors at the bottom did it badly. So they trained vectors in front of *every* layer: a **prefix**.
#
# | | |
# |---|---|
# | **Time** | about 80 minutes (an estimate), 39 of them for 4 exercises, and one more if you like; Run All takes about three minutes |
# | **You need** | lessons 00 to 02; the softmax; lesson 03 helps |
# | **Data** | sentences from film reviews, each rated by about 20 people; Hutto & Gilbert 2014, MIT licence |

# %% jupyter={"source_hidden": true}
import inspect

import pandas as pd
import torch
from IPython.display import Markdown
from transformers import DynamicCache

import peft_teach as pt

records = pt.course.records
pictures = pt.course.pictures("prefix")
minilm, tokenizer = pt.models.load("minilm", device="cpu")
smollm2, words_of = pt.models.load("smollm2", device="cpu")
pd.set_option("display.max_colwidth", None)

# %%
pt.plots.show(pt.drawing.block("prefix"), "One of MiniLM's six blocks. Every head reads the "
              "trained keys and values as if they were more words.")

# %% [markdown]
# ## 1 · A prefix for nothing
#
# The easiest prefix needs no training. Let SmolLM2 read an instruction, and keep a key and a value for each token, in each layer. Throw the words away. The model can go on from these pairs, its **cache**, as if it had just read the words.

# %%
instruction, text = (words_of(said, return_tensors="pt")["input_ids"] for said in (
    "<|im_start|>user\nWrite one sentence about the sea.<|im_end|>\n", "<|im_start|>assistant\n"))


@torch.no_grad()
def read(ids, positions, pairs):
    """Logits of ids (1, n) at these positions, after what the pairs hold; and all pairs."""
    cache = DynamicCache([(k, v) for k, v in pairs] if pairs else None)
    positions = torch.as_tensor(positions).view(1, -1)
    logits = smollm2(ids, position_ids=positions, **{pt.models.cache_name(): cache}).logits
    return logits, [(layer.keys, layer.values) for layer in cache.layers]

# %%
prefix = read(instruction, torch.arange(instruction.shape[1]), None)[1]
Markdown(f"```python\n{inspect.getsource(pictures.generate_wrong)}```")

# %% [markdown]
# A model writes one token at a time, each from the cache that the last call returned. This code looks right, and it runs:

# %%
with torch.no_grad():
    everything = torch.cat([instruction, text], 1)
    known = smollm2.generate(everything, attention_mask=torch.ones_like(everything),
                             max_new_tokens=16, do_sample=False)[:, everything.shape[1]:]
wrong = pictures.generate_wrong(read, prefix, text, 16)
wrote = {"the instruction, as words": known, "the prefix, by this code": wrong}
pd.Series({name: words_of.decode(ids[0]) for name, ids in wrote.items()}).to_frame("what it wrote")

# %% [markdown]
# The first words are right. Then the sentence goes astray, without a warning.
#
# ### Exercise 1 · Find the bug (1 point, about 8 minutes)
#
# Find the line, and write `generate(read, pairs, ids, new)` without the bug. It continues `ids` (batch, tokens) by `new` tokens, each the likeliest, and returns only these, (batch, new). `read` is as above. Do not change `pairs` and `ids`. No text is padded.


# %% exercise="prefix.generate" part="solution"
def generate(read, pairs, ids, new):
    ### BEGIN SOLUTION
    length = pairs[0][0].shape[2]
    positions = torch.arange(length, length + ids.shape[1])
    logits, cache = read(ids, positions, pairs)
    words = [logits[:, -1:].argmax(-1)]
    while len(words) < new:
        positions = positions[-1:] + 1
        logits, cache = read(words[-1], positions, cache)
        words.append(logits[:, -1:].argmax(-1))
    return torch.cat(words, 1)
    ### END SOLUTION


# %% exercise="prefix.generate" part="check"
generate = pt.check("prefix.generate", generate)

# %% exercise="prefix.generate" part="grade"
pt.require("prefix.generate")

# %%
found = generate(read, prefix, text, 16)
pd.Series({"the prefix, by your code": words_of.decode(found[0]),
           "as read": torch.equal(found, known)}).to_frame("what it wrote")

# %% [markdown]
# Word for word the same. Servers do this every day, and call it *prompt caching*.
#
# It rests on a law: **in a model that reads from left to right, a text gives the same logits, however it is cut into pieces.** (Its test
# is an exercise in *Further*.) Real libraries break it. With transformers 5.24, peft 0.21.2 generates without its prefix, still shifts the positions, and raises no error. (With a classifier, it raises one.)
#
# ## 2 · Is every prompt a prefix? Is every prefix a prompt?
#
# On SmolLM2 an instruction became a prefix. Does that work on MiniLM, which rates our reviews? Put the same ten random vectors in front of two sentences. We can store their keys only if these do not depend on the sentence. **In how many of
# MiniLM's 6 layers are they the same for both?**

# %%
pt.widgets.Guess("Layers of MiniLM with the same keys:", (0, 1, 3, 6), "prefix.same")

# %%
@torch.no_grad()
def keys_of_front(model, tokenizer, text, length=10):
    """By layer: the keys of ten random vectors in front of a text."""
    table = model.get_input_embeddings()
    drawn = torch.randn(1, length, table.embedding_dim, generator=torch.Generator().manual_seed(0))
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    front, cache = torch.cat([table.weight.std() * drawn, table(ids)], 1), DynamicCache()
    model(inputs_embeds=front, **{pt.models.cache_name(): cache})
    return [layer.keys[:, :, :length] for layer in cache.layers]

# %%
gaps = {name: [(one - two).abs().max().item() for one, two in zip(
    keys_of_front(model, its, "A quiet, funny, generous film."),
    keys_of_front(model, its, "Two hours I want back."))]
    for name, model, its in (("MiniLM", minilm, tokenizer), ("SmolLM2", smollm2, words_of))}
pt.compare("prefix.same", sum(gap < 1e-3 for gap in gaps["MiniLM"]), "layers with the same keys")
table = pd.DataFrame({name: gap[:6] for name, gap in gaps.items()}).T.round(2)
table.assign(same=[f"{sum(gap < 1e-3 for gap in each)} of {len(each)}" for each in gaps.values()])

# %% [markdown]
# <details><summary>Why</summary>
#
# SmolLM2 reads from left to right: nothing that follows a vector can change its keys. In MiniLM every token reads every other, so from layer 1 on, the prompt's vectors have read the sentence.
# </details>
#
# So in a model that writes, every soft prompt *is* a prefix. Is every prefix a prompt? Count what is free:

# %%
pt.plots.show(pictures.draw_entries(), "Each box is a key and a value in one layer. In a prompt, "
              "those of layer 0 are made from the trained vectors.")
sizes = {"MiniLM": (6, 384, 384), "SmolLM2": (30, 192, 576)}    # layers, sizes
pd.DataFrame({name: {"a prompt of 20": 20 * d_model,
                     "a prefix of 20": pt.prefix.count(20, *of_keys),
                     "the same, made by an MLP": pt.prefix.count(20, *of_keys, d_model, 512)}
              for name, (*of_keys, d_model) in sizes.items()}).T

# %% [markdown]
# Li and Liang found it unstable to train keys and values directly. They trained an MLP that makes them (last column), and threw it away afterwards. For Liu et al. (2021) it is optional, and we leave it out.
#
# On SmolLM2, a prompt's 11,520 numbers become 230,400. A smooth map from so few numbers reaches only a thin sheet in the larger space. **Every prompt in SmolLM2 is a prefix; almost no prefix is a prompt.** Are the other prefixes of use?
#
# ## 3 · What a prefix does to attention
#
# Take one head and one query $q$. One softmax divides its attention among the prefix and the words. Write its sum as two sums, one over the prefix and one over the words. Then the head reads a **mixture** (He et al. 2022):
#
# $$ \mathrm{attention}(q, [K_p; K_x], [V_p; V_x]) = (1-\lambda)\,\underbrace{\mathrm{attention}(q, K_x, V_x)}_{\text{what it read before}} + \lambda\,\underbrace{\mathrm{attention}(q, K_p, V_p)}_{\text{what the prefix says}} $$
#
# | symbol | shape | is |
# |---|---|---|
# | $q$ | (batch, queries, d) | the words' queries |
# | $K_x, V_x$ | (batch, keys, d) | the words' keys and values |
# | $K_p, V_p$ | (batch, length, d) | the prefix of this layer |
# | $\lambda$ | (batch, heads, queries) | the prefix's share of the attention |

# %%
pictures.explore_mixture()

# %% [markdown]
# A word's weight $a_i$ becomes $(1-\lambda)\,a_i$. So the ratio of any two words' weights stays: given a layer's inputs, no prefix can make "not" look harder at "funny" (Petrov et al. 2024). Only the layers above, with changed inputs, may look elsewhere.
#
# And the two shares compete: more of the prefix is less of the words. Wang et al. (2025) blame this trade-off for the weakness of prefixes on large models; *Prefix-Tuning+* moves the prefix out of the softmax.
#
# ### Exercise 2 · λ (3 points, about 13 minutes)
#
# Which number is $\lambda$? Derive it from the softmax. Then write `prefix_share(q, k, K, heads, mask)`, which returns λ for every head and query. `k` holds the words' keys, `K` the prefix's. A head's scores are $q \cdot k / \sqrt{w}$ for keys of width $w$. `mask` (batch, queries, keys) is true where a query may read a word; every query may read the whole prefix.
#
# - You need no values. Words that may not be read do not count.
# - The scores of a trained model can reach a hundred, and $e^{89}$ is infinite in float32. `torch.logsumexp` stays finite.
# - Gradients of λ must reach `q`, `k` and `K`. Do not change your inputs.


# %% exercise="prefix.share" part="solution"
def prefix_share(q, k, K, heads: int, mask) -> torch.Tensor:
    ### BEGIN SOLUTION
    q, k, K = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, K))
    scale = q.shape[-1] ** 0.5
    words = (q @ k.mT / scale).masked_fill(~mask[:, None], -torch.inf)
    return torch.sigmoid(torch.logsumexp(q @ K.mT / scale, -1) - torch.logsumexp(words, -1))
    ### END SOLUTION


# %% exercise="prefix.share" part="check"
prefix_share = pt.check("prefix.share", prefix_share)

# %% exercise="prefix.share" part="grade"
pt.require("prefix.share")

# %% [markdown]
# Now put 20 vectors in front of "A quiet, funny, generous film." Let all their keys and values be **zero**. **What share of MiniLM's attention do they get**, averaged over layers, heads and tokens, to within 0.1? And how sure are you?

# %%
pt.commit("prefix.zero", ..., like=[0.0, 0.5])    # [a share, how sure]

# %%
sentence = tokenizer("A quiet, funny, generous film.", return_tensors="pt")["input_ids"]
front = pictures.start_of(minilm, 0.0, 20)    # zeros in each layer
by_layer = torch.tensor(pictures.shares(minilm, *front, sentence, share=prefix_share)).mean(1)
pt.compare("prefix.zero", [round(float(by_layer.mean()), 2), 1.0],
           "what zeros get; and how sure one is now")
pd.Series(by_layer).rename_axis("layer").to_frame("λ").T.round(2)

# %% [markdown]
# <details><summary>Why zeros are not silent</summary>
#
# A key of zero has the score 0, not minus infinity. So each of the twenty adds 1 to the softmax's denominator. The ten tokens add more, by those of their scores that are above 0.
# </details>
#
# ### Exercise 3 · A silent prefix (2 points, about 6 minutes)
#
# The mixture shows how to silence it: multiply λ by a trained **gate** $g$, one number for each head, that starts at zero. Write `gated(words, read, share, g)`. `words` and `read` (batch, queries, d) were read from the words and from the prefix; `share` is λ; `g` is (heads,).
#
# - With $g = 0$ the output is `words`, to the bit. With $g = 1$ it is the mixture above.
# - In between, the prefix's share is proportional to $g$. The two shares sum to 1, whatever $g$ is.
# - At $g = 0$ the gate receives a gradient.


# %% exercise="prefix.gate" part="solution"
def gated(words, read, share, g) -> torch.Tensor:
    ### BEGIN SOLUTION
    by_head = (g[:, None] * share).transpose(1, 2)
    by_entry = by_head.repeat_interleave(words.shape[-1] // len(g), -1)
    return words + by_entry * (read - words)
    ### END SOLUTION


# %% exercise="prefix.gate" part="check"
gated = pt.check("prefix.gate", gated)

# %% exercise="prefix.gate" part="grade"
pt.require("prefix.gate")

# %% [markdown]
# Random keys and values, all gates at 1: do your pieces give what MiniLM's last layer reads?

# %%
attention, front = pt.mine("inside.attention"), pictures.start_of(minilm, 1.0, 20)
layer = pictures.with_prefix(minilm, *front, sentence)[5]
q, k, v = (layer[name] for name in ("query", "key", "value"))
K, V = (x[5:] for x in front)
of_words, of_prefix = (torch.ones(1, q.shape[1], n, dtype=torch.bool) for n in (k.shape[1], 20))
mixed = gated(attention(q, k, v, 12, of_words), attention(q, K, V, 12, of_prefix),
              prefix_share(q, k, K, 12, of_words), torch.ones(12))
torch.allclose(mixed, layer["read"], atol=1e-5)

# %% [markdown]
# Where does training take λ? In the last layer it fell in each run that we recorded. A gate that starts at 0 goes to both sides: in the last two layers the mean share g λ ended *negative* with each of three seeds. On average, what the prefix says is subtracted, and that is no mixture any more.
#
# ## 4 · In front of every layer
#
# Fill a cache with trained vectors, and the model takes them for tokens it has read. Mask and positions must tell the same story.
#
# ### Exercise 4 · The story's three parts (3 points, about 12 minutes)
#
# Write `prefixed(K, V, mask, heads)`. `K` and `V` are the trained tensors, (layers, length, heads · width). `mask` (batch, seq) is 1 for words and 0 for padding, which may stand on either side. Return `pairs, mask, positions`:
#
# - **pairs**: for each layer its keys and its values, each (batch, heads, length, width). A head's entries stand side by side in a vector, as in lesson 00. Every sentence of the batch has the same prefix.
# - **mask**, (batch, length + seq): the prefix stands in front and may be read; padding may not.
# - **positions**, (batch, seq), whole numbers: for each word, how many vectors and words precede it. A padded sentence must give the same output as alone. Padding may have any valid position, from 0 to length + seq − 1.
#
# Gradients must reach `K` and `V` through what you return. Do not change `mask`.


# %% exercise="prefix.front" part="solution"
def prefixed(K: torch.Tensor, V: torch.Tensor, mask: torch.Tensor, heads: int):
    ### BEGIN SOLUTION
    batch, length = len(mask), K.shape[1]

    def by_head(x):
        return x.unflatten(-1, (heads, -1)).transpose(0, 1).expand(batch, -1, -1, -1)

    pairs = [(by_head(k), by_head(v)) for k, v in zip(K, V)]
    wide = torch.cat([mask.new_ones(batch, length), mask], 1)
    return pairs, wide, length + mask.cumsum(1) - 1
    ### END SOLUTION


# %% exercise="prefix.front" part="check"
prefixed = pt.check("prefix.front", prefixed)

# %% exercise="prefix.front" part="grade"
pt.require("prefix.front")

# %% [markdown]
# Wrapped around the whole encoder, this is an adapter, and your `inject` can place it:

# %%
class Prefix(pt.Adapter):
    def __init__(self, base, length=20):
        super().__init__(base)
        layers, self.heads, width = pt.models.key_value_shape(base)
        shape = (layers, length, self.heads * width)
        self.K, self.V = (torch.nn.Parameter(0.02 * torch.randn(shape)) for _ in "KV")

    def forward(self, input_ids, attention_mask, **rest):
        pairs, mask, positions = prefixed(self.K, self.V, attention_mask, self.heads)
        rest |= {"position_ids": positions, pt.models.cache_name(): DynamicCache(pairs)}
        return self.base(input_ids, attention_mask=mask.long(), **rest)

# %% [markdown]
# ## 5 · Six messages at once
#
# Draw a message for each layer of MiniLM: a random vector, with half the norm of `[CLS]` in that layer. **The task:** whatever the sentence, `[CLS]` leaves each layer as it would have, plus that layer's message. What arrives is $1 - |\text{missing}|^2 / |\text{message}|^2$.
#
# A prefix of one vector has 4,608 numbers, and so has a prompt of twelve. Each trains for 100 steps, at the best of its learning rates. **On new sentences, how much of the six messages arrives by the prompt?**

# %%
pt.widgets.Guess("It brings:", ("all", "half", "a tenth or less"), "prefix.message")

# %%
movies, steps = pt.data.load("movies"), 100 if pt.course.budget().claims else 2
plain = pt.models.load("minilm", device=pt.device())[0].requires_grad_(False)
messages = pictures.Messages(plain, tokenizer, movies.train[:4 * steps], movies.test[:64])
pt.seed(0)
carrier = Prefix(plain, length=1).to(pt.device())    # yours
losses = [*pt.bar(messages.train(carrier, lr=0.2), "steps", steps)]
pd.Series(messages.arrived(carrier)).rename_axis("layer").to_frame("your prefix").T.round(2)

# %% tags=["nbval-check-output"]
told = pictures.carried(records.load("messages"))
share = told["mean"]["prompt"].mean()
pt.compare("prefix.message", "all" if share > 0.75 else "half" if share > 0.3 else
           "a tenth or less", "the prompt brings; five seeds, alone three")
told.groupby("in front").mean().round(2).astype(object).fillna("")

# %% [markdown]
# The prefix brings half of the messages. The prompt brings a little in layers 0 and 5, and almost nothing between; asked for layer 5's message alone, it brings nearly half of that. Why, we did not test.
#
# But nobody needs random messages. Does it help with a real task?
#
# ## 6 · Onto your ladder
#
# Twenty vectors in front of every layer, trained on ratings as every method of the course. One rival is a prompt of 20. Another has nothing in front: the head on the mean, a ridge regression on all tokens of the frozen model.

# %%
pt.widgets.Guess("The prefix, beside the head on the mean:",
                 ("better", "the same", "worse", "cannot tell"), "prefix.order")

# %%
inject = pt.mine("change.inject")     # yours, of lesson 02


def wrap(model):
    return inject(model, ("bert",), Prefix)


run = pt.board.train("prefix", wrap)    # a minute or two, on pt.device()
run

# %%
verdicts = pictures.beside()
pt.compare("prefix.order", verdicts["the head on the mean"].word, "the prefix beside that head")
pd.DataFrame([(each.difference, each.word) for each in verdicts.values()], [*verdicts],
             ["the prefix is ahead in R² by", "verdict"]).round(2)

# %% [markdown]
# <details><summary>What the table says</summary>
#
# Four of five prompts hardly trained. The prefix is better than the head on the pooler, which reads <code>[CLS]</code>, too. From the head on the mean we cannot tell it; to rate reviews, that head and BitFit are cheaper.
# </details>
#
# ## 7 · Three doors
#
# Yours, the library's and peft's, with the same numbers:

# %%
pt.doors("prefix", wrap, pt.prefix.Config(20))

# %% [markdown]
# **What this lesson claims**
#
# | claim | seen here | what could have refuted it, and was tried | at larger scale |
# |---|---|---|---|
# | In a model that reads left to right every soft prompt is a prefix. In MiniLM that holds only in layer 0. | a proof from the mask; the same keys in 30 of 30 layers of SmolLM2, in 1 of 6 of MiniLM | nothing can refute the proof; MiniLM's keys were compared under two sentences | the basis of prompt caching |
# | Given a layer's inputs, a prefix cannot change how the words divide attention among themselves. | a proof in one line: all weights are multiplied by 1 − λ | nothing can refute the proof; it is about one layer, and the layers above get changed inputs | tasks that need new attention patterns may not be learned (Petrov et al. 2024); for some given models, not for all (2402.14753) |
# | In 100 steps a prefix brings half of six messages, one a layer. A prompt of its size brings almost nothing to layers 1 to 4. | 50.5 ± 1.9 % by a prefix of one vector; by a prompt of twelve 6.6 % in layer 0, 19.5 % in layer 5, below 1 % between: means of five seeds | Each had the best of its rates, and 100 steps; more may bring more. Asked for the last layer's message alone, the prompt brings 45.1 %, the prefix 83.0 % (at the same rates, three seeds) | vectors in every layer do better than at the bottom (Liu et al. 2021) |
# | On MiniLM, by the protocol, a prefix of 20 is better than the head on the pooler. From the head on the mean we cannot tell it. A prompt of 20 hardly trained. | R² 0.438, 0.318 and 0.413, five seeds, the heads solved, the second with a penalty; prompts below 0.05 with 4 of 5 seeds | In pairs, ahead of the heads by 0.12 (0.09 to 0.15) and 0.02 (−0.01 to 0.05). By signs the same two verdicts. A prompt of 240, as many numbers, was tried once, at one rate: it did not train | on classification most methods come close (He et al. 2022, §4.2) |
# | In the last layer training makes the prefix quieter; with a gate, its mean share is negative in the last two. *An observation.* | λ fell in 16 of 16 runs without a gate, at four lengths; with a gate, g λ ended below zero in 3 of 3 | another start and another rate, one of each, without a gate; one model only | not known to us |

# %%
pt.progress("04")

# %% [markdown]
# ## At your desk
#
# With Hugging Face peft, which starts from $N(0, 1)$:
#
# ```python
# from peft import PrefixTuningConfig, get_peft_model
#
# config = PrefixTuningConfig(task_type="SEQ_CLS",         # transformers < 5.24 (section 1)
#                             num_virtual_tokens=20,
#                             prefix_projection=False)     # True: Li and Liang's MLP
# tuned = get_peft_model(model, config)
# tuned.print_trainable_parameters()
# ...                                                      # your training loop, or a Trainer
# tuned.save_pretrained("my-prefix")                       # keys, values and the head
# ```
#
# | a first recipe, for larger models | take | source |
# |---|---|---|
# | initialization | with little data, the keys and values of an instruction, one of its tokens for each vector: peft's `initialize_kv_prefix_from_text` | Li & Liang 2021, §7.4 |
# | layers and gate | a prefix in all but the lowest two layers, with a gate that starts at zero | Zhang et al. 2023 (LLaMA-Adapter, 7 billion), the authors' script |
# | MLP | off. If training is unstable, on; then keep the MLP, because training cannot go on from the saved prefix alone ([peft#2256](https://github.com/huggingface/peft/issues/2256)) | Li & Liang 2021, §4.3 |
# | dropout | try without | here, three seeds on labels, 120 steps at one rate: 74.0 % for 71.4 % |
# | before any training | a good instruction, cached | section 1 |
# | when not | every call must be fast; or you need gradient checkpointing: peft 0.21.2 raises an error | peft's source |
#
# A prefix cannot be merged. It is right where many tasks share one batch: each sentence may bring its own.
#
# # Further
#
# ### Exercise 5 · A token at a time equals all at once (optional, 3 points, about 12 minutes)
#
# In a model that reads from left to right, a text gives the same logits, however it is cut into pieces. Write the test of this law. `stepwise_holds(read, ids)` raises an error, as `assert` does, if a way of reading breaks the law.
#
# Here `read(ids, cache)` returns `(logits, cache)`, with logits of shape (1, tokens, vocabulary). It puts the prefix in front by itself. The first cache is `None`; after that, pass on whatever the last call returned. `ids` is (1, 9).
#
# Correct ways of reading differ in rounding (allow `1e-4`), in their cache's type, and in the position at which they start.


# %% exercise="prefix.stepwise" part="solution"
def stepwise_holds(read, ids):
    ### BEGIN SOLUTION
    whole, _ = read(ids, None)
    for size in (1, 2):
        cache, parts = None, []
        for piece in ids.split(size, dim=1):
            logits, cache = read(piece, cache)
            parts.append(logits)
        assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-4), f"pieces of {size}"
    ### END SOLUTION


# %% exercise="prefix.stepwise" part="check"
stepwise_holds = pt.check("prefix.stepwise", stepwise_holds)

# %% exercise="prefix.stepwise" part="grade"
pt.require("prefix.stepwise")

# %% [markdown]
# **Sources**
#
# - Li & Liang 2021, *Prefix-Tuning*, arXiv 2101.00190.
# - Liu et al. 2021, *P-Tuning v2*, arXiv 2110.07602: prefixes for encoders, the MLP optional.
# - He et al. 2022, *Towards a Unified View of Parameter-Efficient Transfer Learning*, arXiv 2110.04366: §3.1, the mixture; §4.2, where classification hardly separates methods.
# - Petrov, Torr & Bibi 2024, *When Do Prompting and Prefix-Tuning Work?*, arXiv 2310.19698.
# - The same 2024, *Prompting a Pretrained Transformer Can Be a Universal Approximator*, arXiv 2402.14753: limits hold for a given model.
# - Wang et al. 2025, *Prefix-Tuning+*, arXiv 2506.13674: the trade-off in λ.
# - Diaz 2025, *Learned Structure in Cartridges*, arXiv 2508.17032: what trained keys and values do.
# - Zhang et al. 2023, *LLaMA-Adapter*, arXiv 2303.16199: another gate that starts at zero.
# - Data: Hutto & Gilbert 2014, *VADER*, ICWSM; sentences of the film reviews of Pang & Lee 2004.
