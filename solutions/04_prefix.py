# %% [markdown]
# # 04 · What can a prefix do that a prompt cannot?
#
# **A soft prompt puts vectors in front of the words, at the bottom of the model. A prefix puts keys and values in front of
# them, in every layer.** Attention alone reads them, in both cases. So is a prefix merely a larger prompt? Or can it do
# something that no prompt can?
#
# Three questions from before. Answer each aloud, then open it.
#
# <details><summary>03 · A soft prompt stands in front of the words. Which two other inputs of the model must know of it?</summary>
# The mask, since otherwise its vectors are not read; and whatever counts places: labels, positions, the place that is
# pooled.
# </details>
# <details><summary>02 · What does <code>inject</code> do with a name that no module has, and when?</summary>
# It raises an error that quotes the name, before anything is changed.
# </details>
# <details><summary>00 · What does a query read if all values are equal?</summary>
# That value: the weights come from a softmax and sum to 1. In this lesson they are divided between the words and a prefix.
# </details>
#
# | | |
# |---|---|
# | **Time** | about 60 minutes: 6 exercises (45 min), reading and playing; Run All takes two to three minutes |
# | **You need** | lessons 00 to 02; the softmax; lesson 03 helps |
# | **Data** | 10,041 sentences from film reviews, each rated by about 20 people; Hutto & Gilbert 2014, MIT licence |
#
# Exercises: replace `raise pt.NotAttempted(…)` by your own code, run that cell, then the one below it.
# `pt.hint("prefix.front")` gives a hint, `pt.reset("prefix.front")` the original text. Until your code
# passes, the lesson goes on with ours. The cells with `pt.require` are for graders; here they do nothing.

# %%
# Nothing happens here where the course is installed. On Colab, this installs it, once.
import importlib.util
import subprocess
import sys
from pathlib import Path

if importlib.util.find_spec("peft_teach") is None:
    places = [Path.cwd().parent, Path("/content/peft-teach"),
              Path("/content/drive/MyDrive/peft-teach")]
    course = next((p for p in places if (p / "pyproject.toml").is_file()), None)
    if course is None:
        raise SystemExit("Put the course's folder at /content/peft-teach (upload or clone it), "
                         "then run this cell again.")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", str(course)], check=True)
    importlib.invalidate_caches()

# %%
import inspect

import pandas as pd
import torch
from transformers import DynamicCache

import peft_teach as pt

records, live, budget = pt.course.records, pt.course.live, pt.course.budget()
record = records.load("prefix")       # runs too long for a lesson, by assets/records/prefix.py
rates = records.load("rates")         # and rates.py these
pictures = pt.course.pictures("prefix")
inject, attention = pt.mine("change.inject", "inside.attention")
pt.seed(0)
print("budget:", budget.name, "· computing on:", pt.device())

# %%
pt.plots.show(pictures.draw_entries(), "Each box is what a layer's attention reads at one place: "
              "a key and a value. Hatched: trained, or, of a prompt, made directly of what is "
              "trained. Plain, before the line: computed by the frozen model from the layer "
              "below. Behind the line: the words'.")

# %% [markdown]
# ## 1 · Is a prompt a prefix?
#
# Put ten vectors in front of a sentence. In every layer the model makes a key and a value from each, and the words read
# these. If they were the same whatever sentence follows, one could store them, throw the vectors away, and have a prefix
# with exactly the same effect. **In how many of MiniLM's 6 layers are the keys of a prompt the same, whatever follows?**

# %%
same = pt.widgets.Guess("Layers of MiniLM, of 6, in which the sentence leaves the keys of a prompt "
                        "as they are:", (0, 1, 3, 6), "prefix.same")
same

# %%
minilm, tokenizer = pt.models.load("minilm", device="cpu")
smollm2, words_of = pt.models.load("smollm2", device="cpu")


@torch.no_grad()
def keys_of_front(model, tokenizer, text, length=10):
    """By layer: the keys of ten random vectors in front of a text."""
    table = model.get_input_embeddings()
    drawn = torch.randn(1, length, table.embedding_dim, generator=torch.Generator().manual_seed(0))
    front = table.weight.std() * drawn
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    cache = DynamicCache()
    model(inputs_embeds=torch.cat([front, table(ids)], 1), **{pt.models.cache_name(): cache})
    return [layer.keys[:, :, :length] for layer in cache.layers]


for name, model, its in (("MiniLM", minilm, tokenizer), ("SmolLM2", smollm2, words_of)):
    one, two = (keys_of_front(model, its, text)
                for text in ("A quiet, funny, generous film.", "Two hours I want back."))
    gaps = [(a - b).abs().max().item() for a, b in zip(one, two)]
    print(f"{name}: same keys in {sum(gap < 1e-3 for gap in gaps)} of {len(gaps)} layers; "
          "largest difference by layer", *(f"{gap:.2f}" for gap in gaps[:6]))
pt.compare("prefix.same", 1, "layers of MiniLM whose keys of a prompt never change")

# %% [markdown]
# **It depends on which token may read which.** SmolLM2 reads from left to right: no vector of the prompt can read a word,
# so nothing that follows changes its keys and values, in any layer. In such a model every soft prompt *is* a prefix.
# (*Prompt caching* relies on this: a server keeps the keys and values of a long instruction.) In MiniLM every token reads
# every other: from layer 1 on, the prompt's vectors have read the sentence. There a prompt is a prefix in layer 0 alone.
#
# And is every prefix a prompt? The frozen layers compute a prompt's keys and values, all of them, from the vectors at the
# bottom. A prefix is not bound to the layer below: its keys and values in layer 5 need have nothing to do with those in
# layer 0, nor a value with its key. This freedom has a price, in parameters.
#
# ### Exercise 1 · The price, twice (1 point, about 4 minutes)
#
# Li and Liang (2021) found it unstable to train keys and values directly. So during training they let a small network,
# an MLP, produce them. A table `E` holds a trained vector, `d_model` wide, for each place of the prefix. A linear
# layer takes it to the width `hidden`, a tanh follows, and a second linear layer gives *all* that belongs to this place:
# its key and its value in every layer, each `d_kv` wide. Both linear layers have biases. After training, the keys and
# values are kept, and the rest is thrown away.
#
# Write `prefix_counts(length, layers, d_kv, d_model, hidden)`: how many parameters are trained, and how many are kept.


# %% exercise="prefix.count" part="solution"
def prefix_counts(length: int, layers: int, d_kv: int, d_model: int, hidden: int) -> tuple:
    ### BEGIN SOLUTION
    made = layers * 2 * d_kv
    mlp = (d_model * hidden + hidden) + (hidden * made + made)
    return length * d_model + mlp, length * made
    ### END SOLUTION


# %% exercise="prefix.count" part="check"
prefix_counts = pt.check("prefix.count", prefix_counts)

# %% exercise="prefix.count" part="grade"
pt.require("prefix.count")

# %% tags=["nbval-check-output"]
rows = {}
for name, whole, sizes in (("MiniLM", 22_713_216, (20, 6, 384, 384, 384)),
                           ("BERT-base", 109_482_240, (20, 12, 768, 768, 768)),
                           ("SmolLM2", 134_515_008, (20, 30, 192, 576, 512))):
    trained, kept = prefix_counts(*sizes)
    rows[name] = {"trained with the MLP": f"{trained:,}", "of the model": f"{trained / whole:.2%}",
                  "kept": f"{kept:,}", "a prompt": f"{20 * sizes[3]:,}"}
pd.DataFrame(rows).T    # each of 20 vectors

# %% [markdown]
# "Prefix tuning trains one parameter in a thousand" counts what is kept. With the MLP, 13.50 % of BERT-base's parameters
# are trained. Without it, as in P-tuning v2 (Liu et al. 2021) and in every run here, all that is trained is kept: on MiniLM
# 92,160 parameters, where a prompt of the same length has 7,680. So a prompt can make only a thin slice of all
# prefixes. Is the rest of use?
#
# ## 2 · In front of every layer
#
# The models of the `transformers` library can continue from a **cache**: the keys and values of what they have read. We
# fill one with trained vectors, which no text has produced, and the model takes them for its past. Two inputs must tell
# it the same story: the mask and the positions.
#
# ### Exercise 2 · The story's three parts (3 points, about 10 minutes)
#
# Write `prefixed(K, V, mask, heads)`. `K` and `V` are the trained tensors, (layers, length, heads · width); `mask` (batch,
# seq) is 1 for words and 0 for padding, which stands on the right in MiniLM and on the left in SmolLM2. It returns three
# things, `pairs, mask, positions`:
#
# - **pairs**: for each layer its keys and its values, each (batch, heads, length, width). A head's entries are neighbours
#   in a vector, as in lesson 00, and every sentence of the batch has the same prefix;
# - **mask**, (batch, length + seq): the prefix stands in front and may be read; padding may not;
# - **positions**, (batch, seq), whole numbers: for each word, how many vectors and words stand before it. A padded sentence
#   must give what it gives alone. Padding may have any valid position, from 0 to length + seq − 1.
#
# Gradients must reach `K` and `V` through what you return, and your function must not change `mask`.


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
# Wrapped around the whole encoder, a prefix is an adapter: it gives as many outputs as there are words. So your `inject`
# can place it:


# %%
class Prefix(pt.Adapter):
    def __init__(self, base, length=20):
        super().__init__(base)
        layers, self.heads, width = pt.models.key_value_shape(base)
        shape = (layers, length, self.heads * width)
        self.K, self.V = (torch.nn.Parameter(0.02 * torch.randn(shape)) for _ in "KV")

    def forward(self, input_ids, attention_mask, **rest):
        pairs, mask, positions = prefixed(self.K, self.V, attention_mask, self.heads)
        rest["position_ids"] = positions
        rest[pt.models.cache_name()] = DynamicCache([(k, v) for k, v in pairs])
        return self.base(input_ids=input_ids, attention_mask=mask.long(), **rest)


pt.seed(0)
model, _ = pt.models.load("minilm", labels=2)
model = inject(model, ("bert",), Prefix).to(pt.device())
ours = pt.prefix.Prefix(pt.models.load("minilm")[0]).to(pt.device())
ours.load_state_dict({"K": model.bert.K, "V": model.bert.V}, strict=False)
batch = tokenizer(["A quiet, funny, generous film.", "Dull."], padding=True, return_tensors="pt")
batch = batch.to(pt.device())
with torch.no_grad():
    gap = (model.bert(**batch)[0] - ours(**batch)[0])[batch["attention_mask"].bool()].abs().max()
print(f"{pt.account.parameters(model).adapter:,} parameters of the prefix; "
      f"your outputs are the library's: {bool(gap < 1e-4)}")

# %% [markdown]
# ## 3 · Right at first, then astray
#
# A model that writes text reads one token after another, and each call continues from the cache of the last. Here the
# prefix is not trained: it is what SmolLM2 itself computes for an instruction. So we know what must come out: what it
# writes when the instruction is read as text. This code looks right, and it runs:

# %%
print(inspect.getsource(pictures.generate_wrong))
instruction, text = (words_of(said, return_tensors="pt")["input_ids"] for said in (
    "<|im_start|>user\nWrite one sentence about the sea.<|im_end|>\n", "<|im_start|>assistant\n"))


@torch.no_grad()
def read(ids, positions, pairs):
    """Logits of ids (1, n) at these positions, after what the pairs hold; and all pairs."""
    cache = DynamicCache([(k, v) for k, v in pairs] if pairs else None)
    positions = torch.as_tensor(positions).view(1, -1)
    logits = smollm2(ids, position_ids=positions, **{pt.models.cache_name(): cache}).logits
    return logits, [(layer.keys, layer.values) for layer in cache.layers]


instructed = read(instruction, torch.arange(instruction.shape[1]), None)[1]     # a prefix
with torch.no_grad():
    everything = torch.cat([instruction, text], 1)
    known = smollm2.generate(everything, attention_mask=torch.ones_like(everything),
                             max_new_tokens=16, do_sample=False)[:, everything.shape[1]:]
print("the words, read:  ", repr(words_of.decode(known[0])))
wrong = pictures.generate_wrong(read, instructed, text, 16)
print("the code above:   ", repr(words_of.decode(wrong[0])))

# %% [markdown]
# ### Exercise 3 · Find the bug (2 points, about 6 minutes)
#
# The symptom: the first words are right, and then the sentence goes astray. No error, no warning: after training, such a
# model would merely seem poor. Find the line, and write `generate(read, pairs, ids, new)` without the bug: it continues
# `ids` (batch, tokens) by `new` tokens, each the likeliest, and returns these alone, (batch, new). `read` is as above; do
# not change `pairs` and `ids`. No text is padded.


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
found = generate(read, instructed, text, 16)
print("yours:            ", repr(words_of.decode(found[0])), "as read:", torch.equal(found, known))

# %% [markdown]
# To leave the prefix out of the count in *every* reading, training included, is no mistake: peft counts it, the `adapters`
# library does not, and both can be trained. But no two readings of one text may count differently.
#
# ### Exercise 4 · A token at a time equals all at once (3 points, about 9 minutes)
#
# This is a law: *in whatever pieces a text is read, the logits are the same.* Write its test: `stepwise_holds(read, ids)`
# raises, as `assert` does, if a way of reading breaks the law, and does nothing if it keeps it.
#
# Here `read(ids, cache)` returns `(logits, cache)`, with logits (1, tokens, vocabulary). For the first piece of a text the
# cache is `None`, then what the last call returned; what it is made of, your test need not know. The prefix is inside
# `read`. `ids` is (1, 9).
#
# It must catch eleven broken ways of reading, each with one slip, and accept five correct ones, which differ in rounding, in
# what their cache is, and in where they count from.


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

# %%
pt.audit()      # your tests, put to your own pieces: `stepwise_holds` to your `prefixed`

# %% [markdown]
# ## 4 · How much of the attention does it take?
#
# Suppose all keys and values of the prefix are zero. **Is the model then the same as without a prefix?** On MiniLM, 20 such
# vectors stand in front of "A quiet, funny, generous film." What share of the attention do they get, averaged over layers,
# heads and tokens? Commit to a number from 0 to 1.

# %%
at_zero = pt.commit("prefix.zero", ...)    # a share, from 0 to 1

# %% [markdown]
# Take one query $q$ in one head, whose keys are $w$ wide. Its scores are $s_i = q \cdot k_i / \sqrt{w}$, some for the keys
# of the prefix, $p$, and some for those of the words, $x$. The weights are a softmax over both, so they share one
# denominator. Sort its terms, and what is read is a **mixture** (He et al. 2022):
#
# $$ \mathrm{attention}(q, [K_p; K_x], [V_p; V_x]) \;=\; (1-\lambda)\;\mathrm{attention}(q, K_x, V_x) \;+\; \lambda\;\mathrm{attention}(q, K_p, V_p) $$
#
# | symbol | shape | is |
# |---|---|---|
# | $q$ | (batch, queries, d) | the words' queries |
# | $K_x, V_x$ | (batch, keys, d) | the words' keys and values |
# | $K_p, V_p$ | (batch, length, d) | the prefix of this layer |
# | $\lambda$ | (batch, heads, queries) | ? |
#
# ### Exercise 5 · λ (3 points, about 10 minutes)
#
# Which number is $\lambda$? Derive it from the softmax, then write `prefix_share(q, k, K, heads, mask)`, which returns λ
# for every head and query. `k` are the words' keys, `K` those of the prefix. `mask` (batch, queries, keys) is true where a
# query may read a word; every query may read the whole prefix.
#
# - No values are needed, and words that may not be read do not count.
# - The scores of a trained model can reach a hundred, and $e^{89}$ is infinite in float32; `torch.logsumexp` stays finite.
# - Gradients of λ must reach `q`, `k` and `K`; your function must not change its inputs.


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
# Now test the identity in the real model, with your own pieces: `attention` of lesson 00, twice, mixed by λ. The last column
# compares this with what MiniLM's attention gave when the prefix was in its cache.

# %%
sentence = tokenizer("A quiet, funny, generous film.", return_tensors="pt")["input_ids"]
heads, tokens = 12, sentence.shape[1]
to_words, to_prefix = (torch.ones(1, tokens, n, dtype=torch.bool) for n in (tokens, 20))
K, V = pictures.start_of(minilm, tokenizer, "words", 20)    # a prefix of words, as in section 3
gaps = []
with torch.no_grad():
    for n, seen in enumerate(pictures.with_prefix(minilm, K, V, sentence)):
        q, k, v = seen["query"], seen["key"], seen["value"]
        share = prefix_share(q, k, K[n][None], heads, to_words)    # (1, heads, tokens)
        words = attention(q, k, v, heads, to_words)
        front = attention(q, K[n][None], V[n][None], heads, to_prefix)
        mixture = pictures.mixed(words, front, share)                      # (1 − λ) words + λ front
        gaps.append((mixture - seen["read"]).abs().max().item())
        by_head = share.mean(-1)
        print(f"layer {n}: λ of its heads from {by_head.min():.2f} to {by_head.max():.2f}; "
              f"mixture and model differ by {gaps[-1]:.0e}")
print("the identity holds to 1e-5:", max(gaps) < 1e-5)

# %%
by_layer = {}
for name, start in pictures.STARTS.items():
    prefix = pictures.start_of(minilm, tokenizer, start, 20)
    by_layer[name] = torch.tensor(pictures.shares(minilm, *prefix, sentence)).mean(1).tolist()
means = pd.DataFrame(by_layer).rename_axis("layer").T
pt.compare("prefix.zero", means.loc["zeros"].mean(), "share of 20 vectors of zeros")
means.assign(mean=means.mean(axis=1)).round(2)

# %% [markdown]
# **A prefix of zeros is not silent.** A key of zero has the score 0, not minus infinity: each of the twenty adds $e^0$ to
# the denominator. The values are zero, too, so the head reads only $1-\lambda$ times what it would read from the words.
#
# The mixture shows a way out: put a trained gate $g$, one number for each head, on the prefix's share.
#
# ### Exercise 6 · A silent prefix (2 points, about 6 minutes)
#
# Write `gated(words, read, share, g)`. `words` and `read` (batch, queries, d) are what was read from the words and from the
# prefix, `share` is λ, and `g` is (heads,).
#
# - With $g = 0$ the output is `words`, to the bit; with $g = 1$ it is the mixture above;
# - in between, the prefix's share is in proportion to $g$, and the two shares sum to 1, whatever $g$ is;
# - at $g = 0$ the gate receives a gradient.


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


# %%
class SilentPrefix(pt.Adapter):
    """A prefix as an adapter around one attention: no cache, no wider mask, no shifted position."""

    def __init__(self, base, length=20):
        super().__init__(base)
        self.heads, d = base.num_attention_heads, base.query.out_features
        self.K, self.V = (torch.nn.Parameter(0.02 * torch.randn(length, d)) for _ in "KV")
        self.g = torch.nn.Parameter(torch.zeros(self.heads))

    def forward(self, x, attention_mask=None, **rest):
        words, weights = self.base(x, attention_mask, **rest)
        q, k = self.base.query(x), self.base.key(x)
        K, V = (p.expand(len(x), -1, -1) for p in (self.K, self.V))
        mask = pictures.readable(attention_mask, *q.shape[:2], x.device)
        read = attention(q, K, V, self.heads, mask.new_ones(*q.shape[:2], K.shape[1]))
        return gated(words, read, prefix_share(q, k, K, self.heads, mask), self.g), weights


# %% tags=["nbval-check-output"]
pt.seed(0)
silent, _ = pt.models.load("minilm", labels=2)
labels = torch.tensor([1, 0], device=pt.device())
with torch.no_grad():
    outputs = silent(**batch).logits
silent = inject(silent, ("self",), SilentPrefix).to(pt.device())
with torch.no_grad():
    print("same outputs, to the bit:", torch.equal(outputs, silent(**batch).logits))
silent(**batch, labels=labels).loss.backward()
for name in "gKV":
    grads = [getattr(adapter, name).grad for adapter in pt.adapters(silent).values()]
    print(f"first gradient of {name} is zero: {not any(grad.any() for grad in grads)}")

# %% [markdown]
# In the first step only the gates learn; once they have opened, keys and values learn, too. Written out, the class adds
# something to the output of a frozen module: $y = \mathrm{base}(x) + g\lambda\,(\mathrm{read} - \mathrm{base}(x))$. So does
# the parallel adapter of lesson 05, with a bottleneck in place of the softmax; but it takes nothing away from the words.
#
# ## 5 · Watch it learn
#
# Now the plain `Prefix` of section 2 is trained live, on 1,920 sentences, at the rate 0.03. The recorded curve has the
# same start and the same sentences, and the rate 0.01. **Which loss is lower at the end?**

# %%
lower = pt.widgets.Guess("The lower loss after 120 steps, at:",
                         ("rate 0.01", "rate 0.03", "no difference"), "prefix.rate")
lower

# %%
review = "Two hours that I would gladly give again."    # write one of yours
movies = pt.data.load("movies")
pt.seed(0)
model, tokenizer = pt.models.load("minilm", labels=2)
model = inject(model, ("bert",), Prefix).to(pt.device())
unread = live.read(model.eval(), tokenizer, review)
batches = pt.data.batches(movies.train[:min(1920, budget.train_examples)], tokenizer, 16, seed=0)
slow = records.select(rates, model="minilm", method="prefix", group="defaults")[0]["losses"]
steps = pt.widgets.watch(pt.train(model, batches, lr=0.03), len(batches),
                         {"rate 0.01": slow} if budget.claims else None,
                         {"rate 0.01": pt.plots.COLOURS["random"]})

# %%
fast = [step.loss for step in steps]
low, high = (sum(losses[-20:]) / len(losses[-20:]) for losses in (slow, fast))
which = "no difference" if abs(high - low) < 0.02 else "rate 0.03" if high < low else "rate 0.01"
pt.compare("prefix.rate", which, f"last 20 steps: {low:.2f} at 0.01, {high:.2f} at 0.03; one seed")
tests = pt.data.batches(movies.test[:min(1000, budget.test_examples)], tokenizer, 64)
tested = pt.evaluate(model, tests)
print(f"your prefix: {tested.accuracy:.1%} of {tested.examples:,} test sentences")
live.read(model, tokenizer, review, before=unread)

# %% [markdown]
# ### Which half learned?
#
# We put the keys of a trained prefix back to their start, and tested what was left; then the values instead. **Which does
# better: trained values with untrained keys, or trained keys with untrained values?**

# %%
half = pt.widgets.Guess("Better with the other half untrained:",
                        ("trained values", "trained keys", "no difference"), "prefix.half")
half

# %%
parts = records.select(record, group="parts")
names = {"K": "keys untrained", "V": "values untrained", "KV": "both, behind the trained head"}
halves = pd.DataFrame([row["put_back"] for row in parts]).rename(columns=names)
halves.insert(0, "all trained", [row["accuracy"] for row in parts])
said = {"better": "trained values", "worse": "trained keys", records.NONE: "no difference"}
found = records.compared(halves[names["K"]], halves[names["V"]])
pt.compare("prefix.half", said[found], "three seeds")
halves.map("{:.1%}".format).rename_axis("seed")

# %% [markdown]
# ### Play
#
# The picture shows λ of every head, before and after your training, on a sentence of yours. Ask it:
#
# 1. In which layers does training give the prefix more of the attention, and where less?
# 2. As a rule, λ falls as the sentence grows. For one query and fixed keys it must. Why does it not always fall in an
#    encoder?
# 3. Does half the number of vectors give half the λ?

# %%
for key, name in (("shares", "all tokens"), ("cls", "[CLS] alone")):
    rows = [row[key] for row in record["runs"] if key in row and row["group"] != "gate"]
    fell = sum(row["after"][5] < row["before"][5] for row in rows)
    print(f"recorded, mean λ of layer 5, {name}: fell in {fell} of {len(rows)} runs without a gate")
pictures.explore_shares(minilm, tokenizer, model.bert.K, model.bert.V)

# %%
pt.sentence("prefix.lambda", ...)    # one sentence of yours: what did training do to λ?

# %% [markdown]
# <details><summary>Ours</summary>
# 1. All recorded prefixes without a gate share the fall in layer 5, also for <code>[CLS]</code>, which alone is read there.<br>
# 2. Each new word adds a term to the softmax's denominator, but in an encoder it also changes the queries and keys of the
# others, from layer 1 on.<br>
# 3. No: if the vectors have equal scores, and but for the shifted positions, less than half of λ is lost in layer 0, since
# the words' part of the denominator stays as it is. In deeper layers this holds only as a rule.
# </details>
#
# ## What it brought
#
# The recorded runs took 120 steps of 16 sentences and trained a new head, too; 1,000 test sentences decide. *Clear* we call
# a difference of the means of three seeds above a point and above two standard errors. **What does a gate bring?**

# %%
gate = pt.widgets.Guess("A prefix with a gate, against one without:",
                        ("clearly worse", "no clear difference", "clearly better"), "prefix.gate")
gate

# %%
runs = pictures.outcomes(record, rates)
yours = pd.DataFrame({"name": ["yours"], "accuracy": tested.accuracy})
shown = pd.concat([runs, yours]) if budget.claims else runs
pt.plots.show(pictures.draw_recorded(shown), "Accuracy on the first 1,000 test sentences after 120 "
              "steps of 16. A mark is a seed, a bar the mean, a colour a method. Broken lines: "
              "after 4,000 sentences.")
with_gate, without = (runs[runs.name == f"{name} of 20, rate 0.03"].accuracy
                      for name in ("gated prefix", "prefix"))
said = {"better": "clearly better", "worse": "clearly worse", records.NONE: "no clear difference"}
pt.compare("prefix.gate", said[records.compared(with_gate, without)], "three seeds")
records.table(shown, "name")

# %%
print("heads, of 72, whose gate is below zero after training, by seed:",
      *(72 - row["opened"] for row in records.select(record, group="gate")))
bench = pd.json_normalize(records.load("benchmark")["runs"])
bench = bench.query("device == 'cpu' and model == 'minilm'").set_index("method")
bench.loc[["prompt", "prefix"], "step_to.full.median"].map("{:.0%}".format).to_frame(
    "of full's step")

# %% [markdown]
# **So what can a prefix do that a prompt cannot?** Have keys and values, in each layer, that no vectors at the bottom lead
# to. On MiniLM, at the rate 0.03, prefixes of 20 did better than prompts of 20 in each seed, 71 to 72 % against 60 to 63 %.
# Why is open: their start is smaller, too, 0.02 against ±0.5, and may disturb the head less. And they are cheaper: a step
# takes 54 % of full fine-tuning's time, one of a prompt, whose vectors pass through every layer as words do, 88 %.
#
# **And what, that a head alone cannot?** Trained in the same way, at three rates, the head has 62 to 67 %. Twenty vectors are
# clearly ahead, by 4 to 7 points at its best rate, by 5 to 9 points if both do without dropout; one or five are not, and
# fifty do no better than twenty. All of these heads read `[CLS]`. Lesson 01's, on the mean of all tokens, have 76 to 77 % after
# 250 steps; neither a prefix for as long nor such a head for 120 was tried.
#
# **The gate is no clear gain.** Where $g$ ends below zero, in 35 to 48 of the 72 heads, the words have more than their whole
# share, which no key can do. Whether this helps is open: two of the three counts are no more than a coin gives, and the gated
# prefix also starts silent and shifts no position.
#
# <details><summary>How sure?</summary>
# Beside a row's mean stands the deviation of its seeds; one test has a standard error of 1.4 points. An untrained prefix
# takes 0.8 to 5.6 points from the head at 0.03. A prompt of 240, with as many parameters as the prefix of 20, stayed at
# chance, 48.1 %, at the one rate tried. A frozen prompt, a prompt of one vector and a prefix in layer 0 alone could tell the
# causes apart. And 120 steps are few: P-tuning v2 reports prefixes on a par with full fine-tuning, but for larger encoders
# and longer training.
# </details>

# %%
pt.progress("04")

# %% [markdown]
# ## When, and when not
#
# **A prefix** needs no access to a model's modules, only a cache to fill, and can serve many tasks in one batch: each
# sentence may bring its own. **But** it costs memory and time in every attention, for it cannot be merged into the weights;
# and on this small encoder LoRA learned more in as many steps. Where a model reads from left to right and a text already
# does the job, the keys and values of that text are a prefix that needs no training at all.
#
# **Five lines to remember**
#
# 1. A prefix is keys and values in every layer. In a model that reads from left to right every soft prompt is one, but few prefixes are prompts.
# 2. Three things must agree: the pairs, the mask, the positions. Reading a token at a time must equal reading all at once.
# 3. Attention with a prefix is a mixture, (1 − λ) words + λ prefix; λ is the prefix's part of the softmax's denominator.
# 4. A prefix of zeros is not silent: its λ is not 0. A gate can silence it.
# 5. Before you praise a prompt or a prefix, train the head alone for as long, and at its own best rate.
#
# **Sources**
#
# - Li & Liang 2021, *Prefix-Tuning*, arXiv 2101.00190: §4 the method, §4.3 the MLP.
# - Liu et al. 2021, *P-Tuning v2*, arXiv 2110.07602: prefixes for encoders, the MLP optional.
# - He et al. 2022, *Towards a Unified View of Parameter-Efficient Transfer Learning*, arXiv 2110.04366: §3.1, the mixture.
# - Zhang et al. 2023, *LLaMA-Adapter*, arXiv 2303.16199: another gate that starts at zero: words + g · read, each with a
#   softmax of its own.
# - Data: Hutto & Gilbert 2014, *VADER*, ICWSM; sentences of the film reviews of Pang & Lee 2004.
#
# ## Further
#
# Use one cache for two batches, and the second sentence reads the first: the model appends to the cache that it is given.
#
# ### In real libraries
#
# > **In the wild.** Real libraries break the law of exercise 4, without an error. With transformers 5.24 the argument for the
# > cache has a new name. peft 0.21.2 looks for the old one: in `generate` its soft prompt is put in again at every step and its
# > prefix is left out, while positions are still shifted. On models with a prefix, gradient checkpointing drops the cache, and peft
# > refuses the combination ([peft#869](https://github.com/huggingface/peft/issues/869)). And since a saved file holds only keys
# > and values, training with the MLP cannot be resumed from it ([peft#2256](https://github.com/huggingface/peft/issues/2256)).
#
# The library's own version of what you wrote, with its safeguards, is `pt.prefix.Prefix`.
