# %% [markdown]
# # 03 · Can ten vectors that are no words beat an instruction?
#
# An instruction in front of a text is to put a language model to work. Each token of it becomes a vector, and nothing tells
# the model whether a vector came from a word. **So why search among words?** Soft prompt tuning (Lester et al. 2021)
# trains the vectors themselves and leaves the whole model alone: here, 5,760 parameters train and 134.5 million do not.
#
# Three questions from before. Answer each aloud, then open it.
#
# <details><summary>02 · What does <code>inject</code> do with a name that no module has?</summary>
# It raises an error that gives this name, before anything is changed.
# </details>
# <details><summary>01 · What must be true of a frozen parameter after training?</summary>
# It is what it was, bit for bit.
# </details>
# <details><summary>00 · In a block of MiniLM, what does one token get from another?</summary>
# The other token's value vector, weighted by the attention of its own query to the other's key. All else in a block
# happens to each token by itself.
# </details>
#
# | | |
# |---|---|
# | **Time** | about 60 minutes: 5 exercises (46 min), reading and playing; Run All takes two to three minutes |
# | **You need** | lessons 00 to 02; what a token is |
# | **Data** | film reviews of at most 10 words, on MiniLM of any length; Hutto & Gilbert 2014, MIT licence |
#
# Exercises: replace `raise pt.NotAttempted(…)` by your own code, run that cell, then the one below it.
# `pt.hint("prompt.front")` gives a hint, `pt.reset("prompt.front")` the original text. Until your code
# passes, the lesson goes on with ours. The cells with `pt.require` are for graders; here they do nothing.

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
from itertools import islice

import pandas as pd
import torch

import peft_teach as pt

records = pt.course.records
budget = pt.course.budget()           # how much to compute: PEFT_TEACH_BUDGET=smoke|cpu|gpu
record = records.load("prompt")       # runs too long for a lesson, by assets/records/prompt.py
pictures = pt.course.pictures("prompt")
reading = pictures.reading            # reviews as text, and the answer read at one place
pd.set_option("display.width", 120)
pt.seed(0)
model, tokenizer = pt.models.load("smollm2")
words = reading.two_words(tokenizer)
movies = pt.data.load("movies")
train, test = reading.short(movies.train), reading.short(movies.test)
print("budget:", budget.name, "· computing on:", pt.device())
print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} million parameters, "
      f"{model.config.vocab_size:,} tokens")
print(f"a review, and the word that answers it: {reading.text_of(test[0])!r}")

# %% [markdown]
# ## 1 · Three prompts in words
#
# SmolLM2 reads a review, then the word `Sentiment:`. Its answer is ` positive` or ` negative`, whichever has the larger
# logit. An instruction stands in front of the review. Write three of your own, as different as you can, and commit
# which one does best: 0, 1 or 2.

# %%
mine = ("Classify the sentiment of this film review.\n",
        "Is this movie review positive or negative?\n",
        "Here is a review of a film, and its sentiment.\n")
best = pt.commit("prompt.best", ...)    # 0, 1 or 2

# %%
few = test[:20 if budget.claims else 4]
truth = torch.tensor([example.label for example in few])


def accuracy_of(model, before=""):
    """Share of right answers to a few reviews; `before` stands in front of each."""
    batches = pt.bar(reading.ask(few, tokenizer, 5, before), "batches of reviews")
    margins = reading.margins(model, batches, words)
    return ((margins.cpu() > 0).long() == truth).double().mean().item()


scores = [accuracy_of(model, prompt) for prompt in mine]
tie = max(scores) - records.standard_error(0.5, len(few))    # within the largest error of so few
pt.compare("prompt.best", " or ".join(str(i) for i in range(3) if scores[i] >= tie),
           "which of your three, with all ties")
found = {"no instruction": accuracy_of(model), **dict(zip(mine, scores))}
pd.Series(found, name=f"accuracy on {len(few)} reviews").map("{:.0%}".format).to_frame()

# %%
tested = record.runs.query("group == 'all'")    # recorded, on all 470 short test reviews
tested = tested.assign(text=tested.text.str.strip().replace("", "no instruction"))
records.table(tested[(tested.method == "none") & tested.bound.isna()], "text")

# %% [markdown]
# Twenty reviews hardly tell three prompts apart. On all 470, none of ours is clearly better than no instruction:
# chance alone can bring twice the standard error, some 4 points. What follows
# compares review by review. And nobody can try every instruction: each place can hold any
# of 49,152 tokens, and no small step leads from one to the next.
#
# ## 2 · Vectors in place of words
#
# Embedded, an instruction of ten tokens is a matrix of ten vectors. Give up the words, keep the matrix, and train it:
#
# $$ h = f([\,P\,;\,E(x)\,]) $$
#
# | symbol | shape | trained | is |
# |---|---|---|---|
# | $x$ | (batch, seq) | – | token ids |
# | $E(x)$ | (batch, seq, 576) | no | the text's vectors, as the model embeds them |
# | $P$ | (10, 576) | **yes** | the soft prompt; it may start as an instruction |
# | $f$ | – | no | the whole model after its embedding |
#
# This is no change *around one module*, such as `inject` makes. What happens if we use it all the same, on a tiny Llama?

# %%
from transformers import LlamaConfig, LlamaForCausalLM

inject = pt.mine("change.inject")
small = LlamaForCausalLM(LlamaConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=1,
                                     num_attention_heads=2, vocab_size=100))
small = inject(small, ("embed_tokens",), pictures.InFront)    # ten vectors more, in front
text = torch.randint(100, (2, 7))
logits = small(text, attention_mask=torch.ones_like(text)).logits
print("tokens:", tuple(text.shape), " logits:", tuple(logits.shape))
try:
    small(text, labels=text)
except ValueError as error:
    print(error)

# %% [markdown]
# The embedding returned ten places more than the rest of the call knows of. What else goes in or comes out with an
# entry for each place? A wrapper around one module sees none of it, so a soft prompt wraps the whole model.
#
# ### Exercise 1 · The prompt in front (3 points, about 12 minutes)
#
# Write `SoftPrompt(model, start)`, a `torch.nn.Module` around a language model. It keeps three promises:
#
# - one parameter trains, of the shape of `start`, (length, d), and equal to it at first; `start` itself never changes. All of the model is frozen;
# - called with `input_ids`, `attention_mask` and, if there are any, `labels`, all (batch, seq), it gives what the model gives, with `.logits` and `.loss`. Every token of the text sees the prompt; padding stays hidden;
# - whoever calls it notices no prompt: `.logits` is (batch, seq, vocabulary), about the text's tokens, and the loss is that of the text's labels. No vector of the prompt is to be predicted; but its last place predicts the text's first token, if that has a label. PyTorch's cross-entropy leaves a label of −100 out.
#
# The model takes `inputs_embeds` in place of `input_ids`, and counts positions by itself.
# `model.get_input_embeddings()` is the module that embeds.


# %% exercise="prompt.front" part="solution"
class SoftPrompt(torch.nn.Module):
    def __init__(self, model: torch.nn.Module, start: torch.Tensor):
        super().__init__()
        ### BEGIN SOLUTION
        self.model = model.requires_grad_(False)
        self.P = torch.nn.Parameter(start.detach().clone())
        ### END SOLUTION

    def forward(self, input_ids, attention_mask, labels=None):
        ### BEGIN SOLUTION
        length, pad = len(self.P), torch.nn.functional.pad
        x = self.model.get_input_embeddings()(input_ids)
        x = torch.cat([self.P.expand(len(x), -1, -1), x], dim=1)
        mask = pad(attention_mask, (length, 0), value=1)
        if labels is not None:
            labels = pad(labels, (length, 0), value=-100)
        out = self.model(inputs_embeds=x, attention_mask=mask, labels=labels)
        out.logits = out.logits[:, length:]
        return out
        ### END SOLUTION


# %% exercise="prompt.front" part="check"
SoftPrompt = pt.check("prompt.front", SoftPrompt)

# %% exercise="prompt.front" part="grade"
pt.require("prompt.front")

# %% [markdown]
# ### Exercise 2 · Its law (3 points, about 10 minutes)
#
# A prompt that shifts something by ten places need not raise an error. Write the test that notices:
# `places_kept(prompt_class, fresh)` raises, as `assert` does, unless **the text's tokens and labels keep their places
# and its padding stays hidden**. `fresh()` gives a new tiny language model, always the same one: 13 words, d = 6,
# called as transformers' models are. `prompt_class(model, start)` is a soft prompt.
#
# But how do you know the right answer for vectors that are not words? Find a `start` for which the bare model can tell
# you. Padding may stand on either side. Your test is tried on eleven broken versions and five right ones, of which one leaves zeros where the text has
# padding, since nobody reads that.


# %% exercise="prompt.holds" part="solution"
def places_kept(prompt_class, fresh):
    ### BEGIN SOLUTION
    model, front = fresh(), torch.tensor([[3, 7, 1], [3, 7, 1]])
    ids = torch.tensor([[5, 2, 9, 4, 8], [0, 0, 6, 1, 12]])      # padded where words would look
    mask = (ids > 0).long()
    labels = torch.where(torch.arange(5) >= 3, ids, -100)
    right = model(torch.cat([front, ids], 1),
                  attention_mask=torch.cat([torch.ones_like(front), mask], 1),
                  labels=torch.cat([torch.full_like(front, -100), labels], 1))
    start = model.get_input_embeddings()(front[0]).detach()
    found = prompt_class(fresh(), start)(ids, mask, labels)
    real = mask.bool()
    assert found.logits.shape[1] == ids.shape[1]
    assert torch.allclose(found.logits[real], right.logits[:, 3:][real], atol=1e-5)
    assert torch.allclose(found.loss, right.loss, atol=1e-5)
    ### END SOLUTION


# %% exercise="prompt.holds" part="check"
places_kept = pt.check("prompt.holds", places_kept)

# %% exercise="prompt.holds" part="grade"
pt.require("prompt.holds")

# %% [markdown]
# Now your class goes around SmolLM2. Our first instruction is a poor one:

# %%
pt.audit()      # every test that you wrote, put to your own pieces


def runs(group, **setting):
    """The recorded runs of these settings, by seed; None where a setting is not named."""
    return [row for row in record["runs"] if row["group"] == group
            and all(row["setting"].get(name) == value for name, value in setting.items())]


START = record["setting"]["start"]
written = runs("all", start=None, bound=None)
(by_words,), (bare,) = ([row for row in written if row["setting"]["text"] == text]
                        for text in (START, ""))
print(f"of {len(test)} reviews {sum(review.label for review in test)} are liked; the model says so "
      f"of {bare['answers'].count('1')} without any instruction, of "
      f"{by_words['answers'].count('1')} with {START.strip()!r}")

# %% [markdown]
# With this instruction the model says "positive" too often, as it does without any. A soft prompt that starts as these ten
# tokens begins exactly there. Each step reads eight reviews; the word after `Sentiment:` is the only label.
# **How will it do after 32 steps, against the words that it started as?**

# %%
pt.widgets.Guess("Ten trained vectors, against the words they started as:",
                 ("worse", "no difference", "better"), "prompt.beats")

# %%
ids = torch.tensor(tokenizer(START)["input_ids"], device=model.device)
prompt = SoftPrompt(model, model.get_input_embeddings()(ids).detach())
own = [p for p in prompt.parameters() if p.requires_grad]
print(f"{len(ids)} tokens; {sum(p.numel() for p in own):,} parameters train")

recorded, = runs("all", start="text", seed=0)
batches = reading.ask(train[:8 * record["setting"]["steps"]], tokenizer, 8, seed=0)
steps = 5 if budget.claims else 2
first = islice(pt.train(prompt, batches, lr=recorded["lr"]), steps)
beside = {"recorded": recorded["losses"]} if budget.claims else None
watched = pt.widgets.watch(first, steps, beside, {"recorded": pt.plots.COLOURS["full"]})
pd.DataFrame({"live": [step.loss for step in watched],
              "recorded": recorded["losses"][:steps]}).rename_axis("step").round(2)

# %% [markdown]
# Your prompt took the first steps of the recorded run, which goes on to step 32. The next tables need three terms. *Bound*:
# the answer is positive if the logit of ` positive` is ahead by more than this, by 0 so far. *Another bound* was found
# on the 256 reviews that the prompts train on; no vector was trained. *Pairs*: of all pairs of a liked review and one
# that is not, the share in which the liked one has more of "positive", whatever the bound. *Standard errors ahead*:
# reviews won less reviews lost, divided by the root of their sum; below 2, chance will do.
#
# **Of the answers that training changed, how many went from positive to negative?**

# %%
pt.widgets.Guess("Answers that changed from positive to negative, of all that changed:",
                 ("a quarter", "about half", "three quarters", "all"), "prompt.way")

# %%
def by_seed(runs, by, what="accuracy"):
    """A row for each setting, a column for each seed; what no seed decides stands under 0."""
    shown = runs.assign(seed=runs.seed.fillna(0)).pivot_table(what, by, "seed")
    return shown.map(lambda share: "" if pd.isna(share) else f"{share:.1%}")


kinds = tested.method.map({"none": "its words", "prompt": "ten vectors that started as it"})
tested = tested.assign(prompt=kinds.mask(tested.bound.notna(), "its words, another bound"),
                       text=tested.text.mask(tested.method == "prompt", START.strip()))
by_seed(tested, ["text", "prompt"])

# %%
by_seed(tested, ["text", "prompt"], "ranked")    # pairs

# %%
def duel(old, new):
    """Reviews that `new` alone gets right, those that `old` alone does; standard errors ahead."""
    asked = sorted(test[:len(old["answers"])], key=lambda review: len(review.text))
    pairs = list(zip(asked, old["answers"], new["answers"], strict=True))
    won = [review for review, a, b in pairs if int(b) == review.label != int(a)]
    lost = [review for review, a, b in pairs if int(a) == review.label != int(b)]
    return won, lost, round((len(won) - len(lost)) / max(1, len(won) + len(lost)) ** 0.5, 1)


def turned(row, way):
    """How many answers changed that way, from those to the first instruction."""
    return sum(pair == way for pair in zip(by_words["answers"], row["answers"]))


vectors = runs("all", start="text")
bound, = runs("all", text=START, bound="best")
others = {"the words they started as": by_words, "no instruction": bare,
          "the best of the three": max(written, key=lambda row: row["accuracy"]),
          "their words with another bound": bound}
ways = {"positive to negative": ("1", "0"), "negative to positive": ("0", "1")}
pd.DataFrame({
    **{f"ahead of {name}": [duel(old, row)[2] for row in vectors] for name, old in others.items()},
    **{name: [turned(row, way) for row in vectors] for name, way in ways.items()},
}).rename_axis("seed").T

# %%
won, lost, ahead = duel(by_words, recorded)
for review in (*won[:3], *lost[:2]):
    print(f"now {'right' if review in won else 'wrong'}: "
          f"[{'liked' if review.label else 'not liked'}] {review.text}")
pt.compare("prompt.beats", "better" if ahead > 2 else "worse" if ahead < -2 else "no difference",
           "seed 0 against the words that it started as, review by review")
pt.compare("prompt.way", f"{turned(recorded, ('1', '0'))} of {len(won) + len(lost)}",
           "seed 0: answers that changed from positive to negative")

# %%
pt.sentence("prompt.beats", ...)    # of yours: what did the ten vectors change, what not?

# %% [markdown]
# <details><summary>Ours</summary>
# Not one parameter of the model moved, and it answers with the same two words. But nearly all answers that changed went
# from positive to negative: with the instruction, the model had said "positive" far too often.
# </details>
#
# **So ten vectors beat the instruction that they started as, with 85 to 87 % against 78 %; but one number does as much.** With
# another bound than 0, the same words come to 86 %. They rank 93.1 % of the pairs right, the trained vectors 93 to 94 %: by
# these measures, 32 steps brought nothing that a bound could not.
#
# <details><summary>How sure?</summary>
# Three seeds, which are three orders of the same 256 reviews; 32 steps, all 470 short test reviews, of which half are
# liked. Each seed is at least 2.9 standard errors ahead of the words that it started as, 2.5 ahead of no instruction and 1.8
# ahead of the best of the three; against the words with their own bound, none is ahead (−0.3 to 0.6).
# On reviews of up to 16 words (lesson 04), a bound took the same words from 76 to 85 %. Of the first hundred reviews only 39
# are liked, so what says "positive" less often gains more there: the words have 76 %, with another bound 90 %, the vectors
# 89 to 90 %. Section 4 has two other rates than this one, 2e-2.
# </details>
#
# ## 3 · Where is the answer read?
#
# Someone now uses your prompt, without labels. A review gets one answer alone and another in a batch:

# %%
def said(prompt, reviews, read=lambda logits, mask: logits[:, -1]):
    """Which of the two words the prompt's model says of each review."""
    texts = [f"Review: {review}\nSentiment:" for review in reviews]
    rows = tokenizer(texts, padding=True, return_tensors="pt").to(model.device)
    with torch.no_grad():
        logits = prompt(rows["input_ids"], attention_mask=rows["attention_mask"]).logits
    at = read(logits, rows["attention_mask"])
    return ["positive" if row[words[1]] > row[words[0]] else "negative" for row in at]


short = "A triumph."
long = ("It is hard to think of anything that this film, which goes on for ever, does not "
        "get wrong.")
print("alone:  ", said(prompt, [short]))
print("a batch:", said(prompt, [short, long]))

# %% [markdown]
# Which line of `said` is wrong? And with ten vectors in front, where is the `[CLS]` of an encoder such as MiniLM?
#
# ### Exercise 3 · The place that is read (2 points, about 8 minutes)
#
# Write `first_and_last(h, attention_mask, length)`, for either kind of model:
#
# - `h` is (batch, length + seq, d), the prompt's places still in front; `attention_mask` is (batch, seq), the text's own, padded on the right or on the left;
# - it returns two tensors (batch, d): the states of the first real token of each text, and of the last. Gradients reach `h`.


# %% exercise="prompt.places" part="solution"
def first_and_last(h: torch.Tensor, attention_mask: torch.Tensor, length: int):
    ### BEGIN SOLUTION
    rows, seq = torch.arange(len(h), device=h.device), attention_mask.shape[1]
    first = attention_mask.argmax(1)
    last = seq - 1 - attention_mask.flip(1).argmax(1)
    return h[rows, length + first], h[rows, length + last]
    ### END SOLUTION


# %% exercise="prompt.places" part="check"
first_and_last = pt.check("prompt.places", first_and_last)

# %% exercise="prompt.places" part="grade"
pt.require("prompt.places")

# %%
def last_real(logits, mask):
    """The last real place, by your function: these logits are the text's alone."""
    return first_and_last(logits, mask, 0)[1]


print("alone:  ", said(prompt, [short], last_real))
print("a batch:", said(prompt, [short, long], last_real))

# %% [markdown]
# ### The same method on MiniLM
#
# (From here on, what is recorded of SmolLM2 was tested on the first hundred reviews; 39 of them are liked.)
#
# MiniLM has no words to answer with, so a new head on `[CLS]` learns together with the prompt: twenty vectors that start
# at random, 120 steps of 16 reviews. **Is this better or worse than the head alone, after as many steps?**

# %%
pt.widgets.Guess("Twenty vectors and a new head on MiniLM, against the head alone:",
                 ("worse", "no difference", "better"), "prompt.minilm")

# %%
rates, heads = records.load("rates"), records.load("prompt_heads").runs
prompts = rates.runs.query("model == 'minilm' and method == 'prompt'")
alone = records.load("prefix").runs.query("group == 'head'")
gaps = prompts[prompts.group == "defaults"].accuracy.to_numpy() - alone.accuracy.to_numpy()
pt.compare("prompt.minilm", "worse" if max(gaps) < 0 else "better" if min(gaps) > 0
           else "no difference", "in each of three seeds, or neither")
print("the prompts' loss in the end:",
      [round(sum(rates.losses[id][-20:]) / 20, 2) for id in prompts.index])
by_seed(pd.concat([prompts, alone]), ["method", "lr"])

# %% [markdown]
# By their loss, hardly under log 2 = 0.69, these prompts learned next to nothing, and were worse than the head alone in
# each seed; no higher rate was tried. Much differs at once from the runs on SmolLM2: the head is new; it reads `[CLS]`;
# the vectors start at random; the model is another. (In Hugging Face peft 0.21, BERT's head even reads the prompt's first
# vector.) **Which runs could tell these apart? Write down pairs that differ in one thing only, before you run the next
# cell.**

# %%
by_seed(heads, ["model", "length", "head", "read", "start"])    # length 0: no prompt

# %%
by_seed(heads.query("length > 0 and head == 'trained'"), ["model", "head"], "before")    # training

# %% [markdown]
# On MiniLM, none of these changes made a prompt as good as the head alone: words in the place of random numbers came to
# 59 to 61 %, a head on P's first vector to 58 to 64 %. A head trained beforehand falls from 71.2 to 62.1 % when words
# stand in front of the text, and at this one rate training failed: 48 to 57 %. On SmolLM2 such a head is no obstacle, 87
# to 89 %; a new one reached 84 and 89 %, and hardly learned in a third seed, 70 %. And a head alone comes to 88 %: the
# state after `Sentiment:` holds the answer already. Why MiniLM's prompts do worse, these runs do not say: the two models'
# runs differ in much else, and none has an untrained prompt.
#
# ## 4 · What it starts as
#
# Lester et al. §3.2 compare three starts: random numbers, the vectors of common words, and the *class labels*. The last
# takes, for each answer that the model may have to give, the mean of its tokens' vectors; common words follow.
#
# ### Exercise 4 · The start by labels (2 points, about 9 minutes)
#
# Write `label_start(embed, tokenizer, answers, common, length, generator)`. `answers` are texts as they stand behind the colon, `" positive"` say;
# `common` lists the ids of the most common tokens; `embed` is a model's module for words.
#
# - In front stands one vector an answer, in their order, as Lester et al. make it: of this answer's own tokens, as the model would read them in a text;
# - the rest, up to `length`, are different tokens out of `common`, none of them an answer's, drawn by `generator` alone: a `torch.Generator`.


# %% exercise="prompt.start" part="solution"
def label_start(embed, tokenizer, answers, common, length, generator) -> torch.Tensor:
    ### BEGIN SOLUTION
    labels = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in answers]
    free = [i for i in common if not any(i in ids for ids in labels)]
    drawn = torch.randperm(len(free), generator=generator)[:length - len(labels)]
    means = [embed(torch.tensor(ids)).mean(0) for ids in labels]
    return torch.cat([torch.stack(means), embed(torch.tensor(free)[drawn])]).detach()
    ### END SOLUTION


# %% exercise="prompt.start" part="check"
label_start = pt.check("prompt.start", label_start)

# %% exercise="prompt.start" part="grade"
pt.require("prompt.start")

# %%
embed = torch.nn.Embedding.from_pretrained(model.get_input_embeddings().weight.detach().cpu())
E = embed.weight
common = pt.models.common_tokens(tokenizer, 5000, len(E))
generator = torch.Generator().manual_seed(0)
by_labels = label_start(embed, tokenizer, reading.WORDS, common, 10, generator)
random_start = torch.rand(10, E.shape[1], generator=generator) - 0.5
starts = {"words": E[ids.cpu()], "labels": by_labels, "random in ±0.5": random_start}
pd.Series({name: P.norm(dim=1).mean().item() for name, P in starts.items()},
          name="norm of a vector").round(1).to_frame()

# %% [markdown]
# Vectors drawn in ±0.5 are more than twice as long as those of words, and point elsewhere: no run here tells these two
# apart. Does the start still matter after 32 steps? And the number of vectors?

# %%
pt.widgets.Guess("After 32 steps, best of the three starts:", ("words", "labels", "random"),
                 "prompt.starts")

# %%
trained = record.runs.query("group in ['soft', 'lengths', 'rates']")
trained = trained.replace({"start": {"text": "words"}})
by_seed(trained, ["length", "start", "lr"])

# %%
by_seed(trained[trained.group != "rates"], ["length", "start"], "ranked")    # pairs

# %%
(by_words,), (bare,) = runs("written", text=START), runs("written", text="")
starts = {name: runs("soft", start=key) for name, key in
          {"words": "text", "labels": "labels", "random": "random"}.items()}
ahead = {f"{name} of {than}": [duel(old, row)[2] for row in rows] for name, rows in starts.items()
         for than, old in (("the first instruction", by_words), ("no instruction", bare))}
ahead |= {f"words of {name}": [duel(*pair)[2] for pair in zip(starts[name], starts["words"])]
          for name in ("labels", "random")}
means = trained[trained.group == "soft"].groupby("start").accuracy.mean()
pt.compare("prompt.starts", means.idxmax(), "the highest mean of three seeds")
pt.plots.show(pictures.draw_recorded(record), "Accuracy on the recorded 100 reviews, 32 steps, "
              "by start and by length. A mark is a seed, a bar the mean.")
pd.DataFrame(ahead).rename_axis("standard errors ahead, by seed", axis=1).T

# %% [markdown]
# In each of three seeds the words come out ahead: of labels by 3 to 4 points, of random numbers by 5 to 6, which is 1.0
# to 1.3 and 1.7 standard errors: a hint, no proof. By pairs, words and labels tie. From random numbers, ten
# vectors do not even clearly beat the poor instruction (1.4 to 1.6). A rate three times lower or higher (one seed) is
# better for no start. And the length? Fifty vectors reach 84 to 90 %, no more than ten do, yet by pairs they are ahead in
# each seed. One reaches 74 to 85 %, and had not finished: its loss was still above 1.
#
# ## 5 · Can a prompt be read?
#
# Every trained vector has a nearest word. Papers print these words, and sometimes they look like an instruction. Do they
# carry what was learned? Put the words in place of the vectors, and see.
#
# ### Exercise 5 · Snap (2 points, about 7 minutes)
#
# Write `snap(P, E, t)`. It returns two things: the token nearest to each vector of `P`, (length,), by Euclidean
# distance in `E`, (vocabulary, d); and `P`, moved along a straight line towards these tokens, so that `t` = 0 leaves it
# and `t` = 1 ends at them.
#
# All differences at once, of ten vectors and 49,152 tokens of 576 entries, would take a gigabyte: make no tensor larger
# than `E`.


# %% exercise="prompt.snap" part="solution"
def snap(P: torch.Tensor, E: torch.Tensor, t: float = 1.0):
    ### BEGIN SOLUTION
    tokens = torch.cdist(P, E).argmin(1)
    return tokens, (1 - t) * P + t * E[tokens]
    ### END SOLUTION


# %% exercise="prompt.snap" part="check"
snap = pt.check("prompt.snap", snap)

# %% exercise="prompt.snap" part="grade"
pt.require("prompt.snap")

# %% [markdown]
# Take the recorded prompt of seed 0, which started as our instruction and answers 89 % right. **How many of its ten nearest
# words are no longer those of the start? And what share of the answers is right once it is snapped to these words?**

# %%
changed = pt.commit("prompt.changed", ...)    # 0 to 10
left = pt.commit("prompt.left", ...)          # a share of right answers, from 0 to 1

# %%
after, first = torch.tensor(record["vectors"]["text"]), E[ids.cpu()]
tokens, _ = snap(after, E, 1.0)
tokens, move = torch.as_tensor(tokens), after - first
others = torch.cdist(first, E).scatter(1, ids.cpu()[:, None], torch.inf)    # not the word itself
towards = torch.cosine_similarity(move, E[others.argmin(1)] - first, dim=1)
pd.DataFrame({"started as": [repr(tokenizer.decode([i])) for i in ids.tolist()],
              "moved by": move.norm(dim=1), "towards another": towards,
              "nearest now": [repr(tokenizer.decode([i])) for i in tokens.tolist()],
              "away": (after - E[tokens]).norm(dim=1)}).round(2)

# %%
random = torch.randn(move.shape, generator=torch.Generator().manual_seed(0))
for times in (1, 3):
    far = times * move.norm(dim=1, keepdim=True)
    strayed = snap(first + far * torch.nn.functional.normalize(random, dim=1), E, 1.0)[0]
    print(f"control, moved by {far.mean():.2f} in random directions: "
          f"{int((torch.as_tensor(strayed) != ids.cpu()).sum())} of 10 nearest words change")
apart = record["way"]["text"]["yardstick"]
print(f"for comparison: two random words are {apart['random pair']:.2f} apart, "
      f"a word and the one nearest to it {apart['nearest']:.2f}")
snapped = SoftPrompt(model, snap(after, E, 1.0)[1])
print(f"live on {len(few)} reviews: trained {accuracy_of(SoftPrompt(model, after)):.1%}, "
      f"its nearest words {accuracy_of(snapped):.1%}")
pt.compare("prompt.changed", int((tokens != ids.cpu()).sum()), "nearest words that changed")
pt.compare("prompt.left", by_words["accuracy"], "recorded accuracy of its nearest words")

# %% [markdown]
# Now walk the whole way: from the start to the trained vectors, then from these to their nearest words. Ask the
# picture:
#
# 1. And a prompt that starts as random numbers: which words are nearest to it, before and after?
# 2. How far towards the words can one go before the gain is lost?
# 3. How far have the vectors moved, compared with the distances between words?

# %%
pictures.explore_way(record)

# %%
pt.sentence("prompt.read", ...)    # of yours: what do a prompt's nearest words tell about it?

# %% [markdown]
# <details><summary>Ours</summary>
# Nothing, here. Each vector is still nearest to the word that it started as; but so it is after a move three times as
# far in a random direction: among 576 dimensions hardly any way leads to another word. These ten words give 76 %, the
# vectors 89 %; a fifth of the way from words to vectors is enough for 88 %. The vectors moved about as far as the
# nearest other word is, but not towards it.
# </details>
#
# <details><summary>How sure?</summary>
# One prompt from words and one from random numbers, seed 0, 32 steps, one rate, which decides how far vectors move. Those
# of the second are 7.3 away from their nearest words (6.9 at first), twice as far as two random words are apart. These
# words are gibberish, before and after. Snapped to them, the prompt gives 77 %, no less than our instruction; trained, 83 %.
# </details>

# %%
pt.progress("03")

# %% [markdown]
# ## When, and when not
#
# **For it:** nothing in the model changes, so one model in memory can serve many tasks in one batch, each row with its
# own prompt. A task costs 5,760 parameters, 23 kB in float32. Here the prompt helped a model that can nearly do the
# task already.
#
# **Against it:** every text has ten more places to attend to, for good: nothing can be merged into the weights. They are
# also read anew each time unless cached, as SmolLM2 allows (lesson 04). And the gradient still goes back through the
# whole model to reach P.

# %% tags=["nbval-check-output"]
lengths = [len(tokenizer(reading.text_of(example))["input_ids"]) for example in test]
mean = sum(lengths) / len(lengths)
print(f"a file: 10 · 576 · 4 bytes = {10 * 576 * 4 / 1e3:.0f} kB")
print(f"a review as it is asked: {mean:.1f} tokens; with ten vectors in front {mean + 10:.1f}, "
      f"{10 / mean:.0%} more to read, unless cached")

# %% [markdown]
# **Five lines to remember**
#
# 1. A soft prompt is an input, so its module wraps the whole model, and mask, labels and logits must make room for it.
# 2. Vectors that are words must do what the words do: a test that needs no training.
# 3. From a poor instruction's 78 %, ten vectors came to 85 to 87 %, another bound to 86 %. Try the one number first.
# 4. On MiniLM prompts were worse than a head alone, at the rates tried. On a hundred reviews SmolLM2's ten vectors had 89 or
#    90 %, not clearly more than a head's 88.
# 5. The nearest words are not the prompt: snap it to them, and see what is left.
#
# **Sources**
#
# - Lester, Al-Rfou & Constant 2021, *The Power of Scale for Parameter-Efficient Prompt Tuning*, arXiv 2104.08691: §2 the method, §3.2 the starts, §7 nearest words.
# - Data: Hutto & Gilbert 2014, *VADER*, ICWSM; sentences of the film reviews of Pang & Lee 2004.
#
# ## Further
#
# The library's own soft prompt wraps the backbone, so that heads, pooling and `generate` remain those of transformers:

# %%
import inspect

print(inspect.getsource(pt.prompt.SoftPrompt.forward))
