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
    places = [Path.cwd().parent, Path("/content/peft-teach"), Path("/content/drive/MyDrive/peft-teach")]
    course = next((p for p in places if (p / "pyproject.toml").is_file()), None)
    if course is None:
        raise SystemExit("Put the course's folder at /content/peft-teach (upload or clone it), then run this cell again.")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", str(course)], check=True)
    importlib.invalidate_caches()

# %%
import inspect

import torch
from transformers import DynamicCache

import peft_teach as pt

records, budget = pt.course.records, pt.course.budget()    # PEFT_TEACH_BUDGET=smoke|cpu|gpu
rates = records.load("rates")         # runs too long for a lesson; assets/records/rates.py made them
pictures = pt.course.pictures("prefix")
inject, attention = pt.mine("change.inject", "inside.attention")
pt.seed(0)
print("budget:", budget.name, "· computing on:", pt.device())

# %%
pt.plots.show(pictures.draw_entries(),
              "Each box is what a layer's attention reads at one place: a key and a value. Hatched: trained, or, of a prompt, made "
              "directly of what is trained. Grey: computed by the frozen model from the layer below. White: the words'.")

# %% [markdown]
# ## 1 · Is a prompt a prefix?
#
# Put ten vectors in front of a sentence. In every layer the model makes a key and a value from each, and the words read
# these. If they were the same whatever sentence follows, one could store them, throw the vectors away, and have a prefix
# with exactly the same effect. **In how many of MiniLM's 6 layers are the keys of a prompt the same, whatever follows?**

# %%
same = pt.widgets.Guess("Layers of MiniLM, of 6, in which the sentence leaves the keys of a prompt as they are:", (0, 1, 3, 6), "prefix.same")
same

# %%
minilm, tokenizer = pt.models.load("minilm", device="cpu")
smollm2, words_of = pt.models.load("smollm2", device="cpu")


@torch.no_grad()
def keys_of_front(model, tokenizer, text, length=10):
    """By layer: the keys of ten random vectors in front of a text."""
    table = model.get_input_embeddings()
    front = table.weight.std() * torch.randn(1, length, table.embedding_dim, generator=torch.Generator().manual_seed(0))
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    cache = DynamicCache()
    model(inputs_embeds=torch.cat([front, table(ids)], 1), **{pt.models.cache_name(): cache})
    return [layer.keys[:, :, :length] for layer in cache.layers]


for name, model, its in (("MiniLM", minilm, tokenizer), ("SmolLM2", smollm2, words_of)):
    one, two = (keys_of_front(model, its, text) for text in ("A quiet, funny, generous film.", "Two hours I want back."))
    gaps = [(a - b).abs().max().item() for a, b in zip(one, two)]
    print(f"{name}: same keys in {sum(gap < 1e-3 for gap in gaps)} of {len(gaps)} layers; largest difference by layer",
          " ".join(f"{gap:.2f}" for gap in gaps[:6]), "…" if len(gaps) > 6 else "")
pt.compare("prefix.same", 1, "layers of MiniLM in which the keys of a prompt do not depend on the sentence")

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
def prefix_counts(length: int, layers: int, d_kv: int, d_model: int, hidden: int) -> tuple[int, int]:
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
for name, whole, sizes in (("MiniLM", 22_713_216, (20, 6, 384, 384, 384)), ("BERT-base", 109_482_240, (20, 12, 768, 768, 768)),
                           ("SmolLM2", 134_515_008, (20, 30, 192, 576, 512))):
    trained, kept = prefix_counts(*sizes)
    print(f"{name:10s} 20 vectors: {trained:10,} trained with the MLP ({trained / whole:5.2%} of the model), {kept:7,} kept "
          f"({kept / whole:.2%}); a prompt: {20 * sizes[3]:6,}")

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
        self.K, self.V = (torch.nn.Parameter(0.02 * torch.randn(layers, length, self.heads * width)) for _ in "KV")

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
batch = tokenizer(["A quiet, funny, generous film.", "Dull."], padding=True, return_tensors="pt").to(pt.device())
with torch.no_grad():
    gap = (model.bert(**batch)[0] - ours(**batch)[0])[batch["attention_mask"].bool()].abs().max()
print(f"{sum(p.numel() for p in model.bert.own_parameters().values()):,} parameters of the prefix; "
      f"your outputs are the library's: {bool(gap < 1e-4)}")

# %% [markdown]
# ## 3 · Right at first, then astray
#
# A model that writes text reads one token after another, and each call continues from the cache of the last. Here the
# prefix is not trained: it is what SmolLM2 itself computes for an instruction. So we know what must come out: what it
# writes when the instruction is read as text. This code looks right, and it runs:

# %%
print(inspect.getsource(pictures.generate_wrong))
instruction = words_of("<|im_start|>user\nWrite one sentence about the sea.<|im_end|>\n", return_tensors="pt")["input_ids"]
text = words_of("<|im_start|>assistant\n", return_tensors="pt")["input_ids"]


@torch.no_grad()
def read(ids, positions, pairs):
    """Logits of ids (1, n) at these positions, after what the pairs hold; and the pairs with them."""
    cache = DynamicCache([(k, v) for k, v in pairs] if pairs else None)
    logits = smollm2(ids, position_ids=torch.as_tensor(positions).view(1, -1), **{pt.models.cache_name(): cache}).logits
    return logits, [(layer.keys, layer.values) for layer in cache.layers]


instructed = read(instruction, torch.arange(instruction.shape[1]), None)[1]     # its keys and values: a prefix
with torch.no_grad():
    everything = torch.cat([instruction, text], 1)
    known = smollm2.generate(everything, attention_mask=torch.ones_like(everything), max_new_tokens=16, do_sample=False)
print("the words, read:  ", repr(words_of.decode(known[0, everything.shape[1]:])))
print("the code above:   ", repr(words_of.decode(pictures.generate_wrong(read, instructed, text, 16)[0])))

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
print("yours:            ", repr(words_of.decode(found[0])), "· as read:", torch.equal(found, known[:, everything.shape[1]:]))

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
K, V = pictures.start_of(minilm, tokenizer, "words", 20)          # a prefix of words, as in section 3
gaps = []
with torch.no_grad():
    for n, seen in enumerate(pictures.with_prefix(minilm, K, V, sentence)):
        q, k, v = seen["query"], seen["key"], seen["value"]
        share = prefix_share(q, k, K[n][None], heads, to_words)                               # (1, heads, tokens)
        words = attention(q, k, v, heads, to_words)
        front = attention(q, K[n][None], V[n][None], heads, to_prefix)
        gaps.append((pictures.mixed(words, front, share) - seen["read"]).abs().max().item())  # (1 − λ) words + λ front
        print(f"layer {n}: λ of its heads from {share.mean(-1).min():.2f} to {share.mean(-1).max():.2f}; "
              f"mixture and model differ by {gaps[-1]:.0e}")
print("the identity holds to 1e-5:", max(gaps) < 1e-5)

# %%
means = {}
for name, start in pictures.STARTS.items():
    table = torch.tensor(pictures.shares(minilm, *pictures.start_of(minilm, tokenizer, start, 20), sentence))
    means[start] = table.mean().item()
    print(f"{name:26s} mean λ {means[start]:.2f}; by layer", " ".join(f"{x:.2f}" for x in table.mean(1)))
pt.compare("prefix.zero", means["zeros"], "share of 20 vectors whose keys and values are zero")

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
lower = pt.widgets.Guess("The lower loss after 120 steps, at:", ("rate 0.01", "rate 0.03", "no difference"), "prefix.rate")
lower

# %%
movies = pt.data.load("movies")
some = movies.test[:200]


def answers(model):
    """The model's answer to each of these sentences: 1 for one that likes the film."""
    rows = pt.data.batches(some, tokenizer, 64, shuffle=False, device=pt.device())
    with torch.no_grad():
        return torch.cat([model(**row).logits.argmax(-1).cpu() for row in rows])


pt.seed(0)
model, tokenizer = pt.models.load("minilm", labels=2)
model = inject(model, ("bert",), Prefix).to(pt.device())
answers_before = answers(model.eval())
live = pt.data.batches(movies.train[:min(1920, budget.train_examples)], tokenizer, 16, seed=0)
recorded = {"rate 0.01": records.select(rates, model="minilm", method="prefix", group="defaults")[0]["losses"]}
steps = pt.widgets.watch(pt.train(model, live, lr=0.03), len(live), recorded if budget.claims else None,
                         {"rate 0.01": pt.plots.COLOURS["random"]})

# %%
ends = [sum(losses[-20:]) / len(losses[-20:]) for losses in (recorded["rate 0.01"], [step.loss for step in steps])]
which = "no difference" if abs(ends[1] - ends[0]) < 0.02 else "rate 0.03" if ends[1] < ends[0] else "rate 0.01"
pt.compare("prefix.rate", which, f"mean loss of the last 20 steps: {ends[0]:.2f} "
           f"at 0.01, {ends[1]:.2f} at 0.03; one seed")
tested = pt.evaluate(model, pt.data.batches(movies.test[:min(1000, budget.test_examples)], tokenizer, 64))
print(f"your prefix: {tested.accuracy:.1%} of {tested.examples:,} test sentences "
      f"± {records.standard_error(tested.accuracy, tested.examples):.1%}")
now, truth = answers(model), torch.tensor([example.label for example in some])
print(f"answers that changed, of {len(some)}: {(answers_before != now).sum()}")
for title, chosen in (("now right", now == truth), ("now wrong", now != truth)):
    places = ((answers_before != now) & chosen).nonzero().flatten().tolist()
    for i in sorted(places, key=lambda i: len(some[i].text))[:3]:
        print(f"{title}: [{'liked' if truth[i] else 'not liked'}] {some[i].text}")

# %% [markdown]
# ### Which half learned?
#
# We put the keys of a trained prefix back to their start, and tested what was left; then the values instead. **Which does
# better: trained values with untrained keys, or trained keys with untrained values?**

# %%
half = pt.widgets.Guess("Better with the other half untrained:", ("trained values", "trained keys", "no difference"), "prefix.half")
half

# %%
prefixes = records.load("prefix")


def runs(group, model="minilm", **setting):
    """The recorded runs of these settings, by seed."""
    setting["model"] = model
    return [row for row in prefixes["runs"] if row["group"] == group and setting.items() <= row["setting"].items()]


parts = runs("parts")
for row in parts:
    back = row["put_back"]
    print(f"recorded, seed {row['setting']['seed']}: all trained {row['accuracy']:.1%}; keys untrained {back['K']:.1%}, "
          f"values untrained {back['V']:.1%}; both untrained, behind the trained head, {back['KV']:.1%}")
ahead = [row["put_back"]["K"] - row["put_back"]["V"] for row in parts]
error = records.standard_error(parts[0]["accuracy"], 1000)
pt.compare("prefix.half", "trained values" if min(ahead) > error else "trained keys" if max(ahead) < -error else "no difference",
           f"better by a standard error, {100 * error:.1f} points, in each of {len(parts)} seeds, or not: "
           + ", ".join(f"{100 * each:+.1f}" for each in ahead))

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
trained_K, trained_V = model.bert.K.detach().cpu(), model.bert.V.detach().cpu()
start_K, start_V = pictures.start_of(minilm, tokenizer, "random", 20)
for name, place in (("all tokens", None), ("[CLS] alone", 0)):
    before, after = (torch.tensor(pictures.shares(minilm, K, V, sentence, place)) for K, V in ((start_K, start_V), (trained_K, trained_V)))
    print(f"mean λ by layer, {name:11s} before:", *(f"{x:.2f}" for x in before.mean(1)), " after:", *(f"{x:.2f}" for x in after.mean(1)))
    print("   heads of each layer, of 12, that take more than before:", *(after > before).sum(1).tolist())
ungated = [row for group in ("rate", "start", "lengths") for row in runs(group)]
for key, name, rows in (("shares", "all tokens", ungated), ("cls", "[CLS] alone", [row for row in ungated + parts if "cls" in row])):
    fell = sum(row[key]["after"][5] < row[key]["before"][5] for row in rows)
    print(f"recorded, mean λ of layer 5, {name:11s} fell in {fell} of {len(rows)} runs without a gate")
pictures.explore_shares(minilm, tokenizer, trained_K, trained_V)

# %%
pt.sentence("prefix.lambda", ...)    # one sentence of yours: what did training do to λ?

# %% [markdown]
# <details><summary>Ours</summary>
# 1. In our run the mean over all tokens rose in layers 0 to 3 and fell in 4 and 5; with two other seeds it fell in layer 0,
# too. In each layer some heads went the other way. What all recorded prefixes without a gate share is the fall in layer 5,
# for <code>[CLS]</code>, too, which alone the classifier reads there.<br>
# 2. Each new word adds a term to the softmax's denominator, but in an encoder it also changes the queries and keys of the
# others, from layer 1 on.<br>
# 3. No: if the vectors have equal scores, and but for the shifted positions, less than half of λ is lost in layer 0, since
# the words' part of the denominator stays as it is. In deeper layers this holds only as a rule.
# </details>
#
# ## What it brought
#
# The recorded runs took 120 steps of 16 sentences and trained a new head, too; 1,000 test sentences decide. *Clear* we call
# what exceeds one standard error, 1.4 points, in each of three seeds. **What does a gate bring to a prefix of 20?**

# %%
gate = pt.widgets.Guess("A prefix with a gate, against one without:", ("clearly worse", "no clear difference", "clearly better"), "prefix.gate")
gate

# %%
def recorded_at(method, model="minilm"):
    """The recorded runs of a method at the course's own rate."""
    return records.select(rates, model=model, method=method, group="defaults")


plain = runs("rate", lr=0.03)
by_words = [row for row in records.load("prompt_heads")["runs"] if row["group"] == "minilm"
            and {"head": "new", "start": "text"}.items() <= row["setting"].items()]
found = {"the head alone at the rate 0.01": runs("head_rates", lr=0.01), "the head alone": runs("head"),
         "the head alone at the rate 0.1": runs("head_rates", lr=0.1), "the head alone at 0.1, no dropout": runs("still", length=0),
         "the head behind an untrained prefix": runs("frozen"),
         "a prompt of 20": recorded_at("prompt"), "a prompt of 20 from words": by_words, "a prompt of 240": runs("prompt"),
         "a prefix of 20 at the rate 0.01": recorded_at("prefix"), "a prefix of 20": plain,
         "a prefix of 20, no dropout": runs("still", length=20), "a prefix of 20 at the rate 0.1": runs("rate", lr=0.1),
         "a prefix of 20 from words": runs("start"), "a prefix of 20 with a gate": runs("gate"),
         **{f"a prefix of {n}": runs("lengths", length=n) for n in (1, 5, 50)},
         "LoRA": recorded_at("lora"), "full fine-tuning": recorded_at("full")}
rows = {name: [row["accuracy"] for row in each] for name, each in found.items()}
rows |= {"yours, a prefix of 20": [tested.accuracy]} if budget.claims else {}
for name, values in rows.items():
    mean = sum(values) / len(values)
    print(f"{name:36s} {mean:.1%} ± {records.standard_error(mean, 1000):.1%}   by seed " + "  ".join(f"{value:.1%}" for value in values))
error = records.standard_error(rows["a prefix of 20"][0], 1000)
gaps = [b["accuracy"] - a["accuracy"] for a, b in zip(plain, runs("gate"))]
pt.compare("prefix.gate", "clearly better" if min(gaps) > error else "clearly worse" if max(gaps) < -error else "no clear difference",
           "by seed: " + ", ".join(f"{100 * gap:+.1f}" for gap in gaps) + " points")
pt.plots.show(pictures.draw_recorded(rows), "Accuracy on the first 1,000 test sentences after 120 steps of 16; heads, prompts and prefixes at "
                                            "the rate 0.03 unless another is named. A mark is a seed, a bar the mean, a colour a method. "
                                            "Broken lines: after 4,000 sentences.")

# %%
def accuracies(rows):
    """The accuracy of each seed."""
    return [row["accuracy"] for row in rows]


for name, pool in (("[CLS]", "cls"), ("the mean of all tokens", "mean")):
    as_long = records.select(records.load("full"), group="read", pool=pool, standardized=False, steps=250)
    print(f"lesson 01's heads, 250 steps, on {name + ':':23s} " + "  ".join(f"{value:.1%}" for value in accuracies(as_long)))
print("parameters of a prefix of 1, 5, 20, 50: " + "  ".join(f"{prefix_counts(n, 6, 384, 384, 384)[1]:,}" for n in (1, 5, 20, 50)))
print("heads, of 72, whose gate is below zero after training, by seed:", *(72 - row["opened"] for row in runs("gate")))
timed = {m: records.select(records.load("benchmark"), device="cpu", model="minilm", method=m)[0] for m in ("prompt", "prefix", "full")}
for name in ("prompt", "prefix"):
    peak = timed[name]["ours"]["memory_bytes"]["peak"] / timed["full"]["ours"]["memory_bytes"]["peak"]
    print(f"a {name} of 20: a step takes {timed[name]['step_to']['full']['median']:.0%} of full fine-tuning's time and {peak:.0%} of its memory")

# %%
plain_words, instruction_words = runs("bound", "smollm2")
from_words = [row for row in records.load("prompt")["runs"] if row["group"] == "soft" and row["setting"]["start"] == "text"]
head_alone = [row for row in records.load("prompt_heads")["runs"] if row["group"] == "smollm2" and row["setting"]["length"] == 0]
on_smollm2 = {
    "nothing trained": [plain_words["plain"]], "  with another bound, found on the training sentences": [plain_words["accuracy"]],
    "an instruction of words, nothing trained": [instruction_words["plain"]],
    "a prompt of 20 from random numbers": accuracies(recorded_at("prompt", "smollm2")),
    "a prefix of 20 from random numbers": accuracies(recorded_at("prefix", "smollm2")),
    "a prefix of 20 that is the instruction, said twice": [runs("start", "smollm2")[0]["before"]],
    "  trained": accuracies(runs("start", "smollm2")),
    "lesson 03, shorter sentences: a prompt of 10 from words": accuracies(from_words),
    "lesson 03, shorter sentences: a head alone": accuracies(head_alone)}
for name, values in on_smollm2.items():
    print(f"SmolLM2, {name:56s} " + "  ".join(f"{value:.0%}" for value in values))
print(f"each on 100 sentences: at 85 % a standard error is {100 * records.standard_error(0.85, 100):.1f} points")

# %% [markdown]
# **So what can a prefix do that a prompt cannot?** Have keys and values, in each layer, that no vectors at the bottom lead
# to. On MiniLM, at the rate 0.03, prefixes of 20 did better than prompts of 20 in each seed, 71 to 72 % against 60 to 63 %.
# Why is open: their start is smaller, too, 0.02 against ±0.5, and may disturb the head less. And they are cheaper: a step takes 54 % of full
# fine-tuning's time, one of a prompt, whose vectors pass through every layer as words do, 88 %.
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
# <details><summary>And on SmolLM2?</summary>
# We saw no gain over a prompt. From random numbers, prompts reached 78 to 84 % and prefixes 68 to 85 %; the plain model has
# 82 %, and 85 % with another bound between the two answers. A prefix that is an instruction, said twice, begins with 70 %
# and reached 87 to 89 %; lesson 03's prompts from words reached 89 to 90 %, a head alone 88 %. For these prefixes no rate
# but 0.01 was tried.
# </details>
#
# <details><summary>How sure?</summary>
# A row's standard error stands beside it; a single number is a single seed. An untrained prefix takes 0.8 to 5.6 points from
# the head at 0.03. A prompt of 240, with as many parameters as the prefix of 20, stayed at chance, 48.1 %, at the one rate
# tried. A frozen prompt, a prompt of one vector and a prefix in layer 0 alone could tell the causes apart. And 120 steps
# are few: P-tuning v2 reports prefixes on a par with full fine-tuning, but for larger encoders and longer training.
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
# ### Break it on purpose
#
# Use one cache for two batches: the model appends to the cache it is given, so the second sentence reads the first.

# %%
alone = torch.ones(1, 20 + tokens, dtype=torch.long)
pairs, _, positions = prefixed(K, V, torch.ones_like(sentence), heads)
cache = DynamicCache([(k, v) for k, v in pairs])
with torch.no_grad():
    minilm(sentence, attention_mask=alone, position_ids=positions, **{pt.models.cache_name(): cache})
print(f"a prefix of 20; after one sentence of {tokens} tokens its cache holds {cache.layers[0].keys.shape[2]}")

# %% [markdown]
# ### In real libraries
#
# > **In the wild.** Real libraries break the law of exercise 4, without an error. With transformers 5.24 the argument for the
# > cache has a new name. peft 0.21.2 looks for the old one: in `generate` its soft prompt is put in again at every step and its
# > prefix is left out, while positions are still shifted. On models with a prefix, gradient checkpointing drops the cache, and peft
# > refuses the combination ([peft#869](https://github.com/huggingface/peft/issues/869)). And since a saved file holds only keys
# > and values, training with the MLP cannot be resumed from it ([peft#2256](https://github.com/huggingface/peft/issues/2256)).
#
# For comparison with yours: the prefix of the course's own library, with its safeguards.

# %%
print(inspect.getsource(pt.prefix.Prefix))
