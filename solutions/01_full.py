# %% [markdown]
# # 01 · From scratch, full fine-tuning, head only
#
# **You have 4,000 sentences of film reviews to learn from, each marked as liking the film or not, and ten minutes of a
# laptop.** Somebody else has spent far more on a model that has read about a billion pairs of sentences. There
# are three ways to go about it: ignore their model and train one of your own (*from scratch*); take it and
# train all of it (*full fine-tuning*); take it, leave it as it is, and train only a small layer on top
# (*head only*).
#
# **How far apart will the three end, and what does each of them cost?**
#
# Every method of this course is measured against these three. By the end you will be able to
#
# - write the step that trains a model, and tell by the symptom which line of it is missing;
# - measure an accuracy, and say what it has to be compared with;
# - freeze a model except for its head, and count what trains;
# - say what stands in memory while a model trains, and what a task costs on disk;
# - say what pretraining brought to this task, and show it.
#
# | | |
# |---|---|
# | **Time** | about 65 minutes: 3 exercises (33 min), reading and playing; Run All takes about two minutes |
# | **You need** | a training loop in PyTorch that you have seen once. Helpful: lesson 00 |
# | **Data** | 10,041 sentences from film reviews, each rated by about 20 people; Hutto & Gilbert 2014, MIT licence |
#
# How the exercises work: replace the line `raise pt.NotAttempted(…)` by your own code, run that cell,
# then the one below it, which tells you what it found. `pt.hint("full.step")` gives a hint,
# `pt.reset("full.step")` the original text. Until your code passes, the lesson goes on with ours, so you
# can always read ahead. The last check counts. The cells with `pt.require` are for graders; here they do nothing.
# The checks try your code on a very small model, so that they are quick: do not count on MiniLM's sizes.

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
import textwrap
import time
from collections import Counter

import torch

import peft_teach as pt

budget = pt.course.budget()              # how much to compute (budget.claims: enough to say something of accuracies)
record = pt.course.records.load("full")  # runs too long for a lesson; assets/records/full.py made them
others = pt.course.records.load("lora")  # full fine-tuning and the head alone, with three seeds each
pictures = pt.course.pictures("full")
pt.seed(0)
print("budget:", budget.name, "· computing on:", pt.device())

# %% [markdown]
# ## The task, and the number to beat
#
# A few sentences first: 1 is positive, 0 is negative. **Try to say of each, before you look at its number,
# which it is.** Some are hard: the raters saw no more of the review than you do.

# %%
movies = pt.data.load("movies")
for text, label in movies.train[4:10]:
    print(label, "·", text[:110])
print(movies)
print(textwrap.fill(f"source: {movies.source}", 100))

# %% [markdown]
# The dullest answer of all is to say the same thing every time. The label that is more common in training
# would be the one to choose. What does that give on the test sentences?
#
# (There are three sets. We *train* on 4,000 of the 5,962 sentences for it, the same as every recorded run. The
# *validation* set is looked at along the way: the curves below show 1,000 *held-out* sentences of it. The *test* set
# is looked at once, when a run has ended.)

# %% tags=["nbval-check-output"]
labels = Counter(label for _, label in movies.train)
answer = labels.most_common(1)[0][0]
print("training:", dict(sorted(labels.items())), "→ always say", answer)
print("right in the test set:", f"{sum(label == answer for _, label in movies.test) / len(movies.test):.1%}")
print("the same, from the library:", f"{movies.majority:.1%}")

# %% [markdown]
# This is the **majority baseline**, and every accuracy of this course stands beside it. On these data it is a
# coin toss, so 60 % means that something was learned. On `pt.data.load("tweets")`, another data set of the course, it
# would be 68 %, and an accuracy of 68 % would mean nothing at all.
#
# ## Guess first
#
# Each of the three will see the same 4,000 sentences once, in 250 batches of 16. Two guesses, please; they
# come back below.

# %%
guess_scratch = pt.widgets.Guess("From scratch, accuracy after 250 steps, in %:", (50, 60, 70, 80, 90),
                                 "full.scratch")
guess_scratch

# %%
guess_head = pt.widgets.Guess("Head only, 770 numbers of 22.7 million, in %:", (50, 60, 70, 80, 90),
                              "full.head")
guess_head

# %% [markdown]
# ## The idea
#
# All three are one and the same rule. Let $\theta$ be all numbers of the model, and $L$ its loss on a batch:
#
# $$ \theta_i \;\leftarrow\; \theta_i - \eta\, u_i \quad \text{for every } i \text{ that trains},
# \qquad u = \text{AdamW}\!\left(\frac{\partial L}{\partial \theta}\right) $$
#
# | symbol | shape | what it is |
# |---|---|---|
# | $\theta$ | 22,713,986 numbers | the backbone (22,713,216) and the head (770) |
# | $L$ | a number | cross-entropy of the two logits, mean over the batch |
# | $\eta$ | a number | the learning rate |
# | $u$ | as $\theta$ | the direction that AdamW makes of the gradient; it keeps two running means of it |
#
# What differs is **where $\theta$ starts, and which $i$ train**:

# %%
model, tokenizer = pt.models.load("minilm", labels=2)
counted = pt.account.parameters(model)
pt.plots.show(pictures.draw_ways(counted.total - counted.head, counted.head),
              "Three ways. A solid box is trained, a dashed one stays frozen. The head is always new.")

# %% [markdown]
# The head is one linear layer: it turns the 384 numbers in which the backbone sums up a sentence into two
# logits, 384 · 2 + 2 = 770 numbers. The pretrained model knows nothing of our two classes, so the head starts
# random in all three. (That is what the well-known warning means that some weights "are newly initialized":
# it is right, and not an error, as long as you go on to train,
# [transformers#180](https://github.com/huggingface/transformers/issues/180).)

# %% [markdown]
# ### Exercise 1 · How good is it? (2 points, about 10 minutes)
#
# Before anything is trained, write what measures it: `accuracy(model, batches)`, a number from 0 to 1.
#
# - `batches` is a list of dicts. `model(**batch).logits` has the shape (batch, 2), `batch["labels"]` the shape
#   (batch,). The model's answer is the class with the larger logit: `.argmax(-1)`.
# - The last batch may be smaller than the others, and no sentence may count more than another.
# - Put the model into eval mode with `model.eval()`, which switches dropout off; in training mode it drops one
#   in ten features at random.
# - Work under `with torch.no_grad():`, so that nothing is kept for a backward pass that never comes.


# %% exercise="full.accuracy" part="solution"
def accuracy(model, batches) -> float:
    ### BEGIN SOLUTION
    model.eval()
    right = count = 0
    with torch.no_grad():
        for batch in batches:
            answers = model(**batch).logits.argmax(-1)      # (batch,)
            right += (answers == batch["labels"]).sum().item()
            count += len(answers)
    return right / count
    ### END SOLUTION


# %% exercise="full.accuracy" part="check"
accuracy = pt.check("full.accuracy", accuracy)

# %% exercise="full.accuracy" part="grade"
pt.require("full.accuracy")

# %% [markdown]
# Now measure a model that is pretrained, but whose head is new. **What do you expect, and why?**

# %%
place = pt.device()
batches = pt.data.batches(movies.train[:4000], tokenizer, 16, device=place)       # 250, as in the record
test = pt.data.batches(movies.test[:budget.test_examples], tokenizer, 64, shuffle=False, device=place)
few = pt.data.batches(movies.test[:512 if budget.claims else 64], tokenizer, 64, shuffle=False, device=place)
for seed in (0, 1, 2):
    pt.seed(seed)
    untrained, _ = pt.models.load("minilm", labels=2)
    print(f"head of seed {seed}: {accuracy(untrained, few):.1%} of {sum(len(b['labels']) for b in few)} test sentences")

# %% [markdown]
# Near a half: whatever the backbone knows, a random head passes on only by luck. (On 512 sentences the standard
# error is 2.2 points, so these differences say little.)
#
# ## The step
#
# ### Exercise 2 · The training step (3 points, about 15 minutes)
#
# Write `step(model, batch, optimizer)`: one step of training, which returns the loss as a plain number. Here is what
# must be true; which calls make it so, and in which order, is for you to find.
#
# - **While the loss is computed**, dropout is on. (`pt.models.load` and your `accuracy` leave it off.) The batch
#   contains the labels, so `model(**batch)` has the loss ready, as `.loss`.
# - **When the optimizer changes the weights**, each trained parameter's `.grad` comes from this batch alone, and
#   backward *adds* to what is there. And the norm of all gradients together, as one long vector, is at most 1: if it
#   was larger, they were shortened, and if not, left as they were. (`torch.nn.utils` has a function for it.)
# - **What you return** is the loss that the gradient was taken of, and nothing hangs on it: a tensor would keep its
#   whole graph alive.
#
# Before you run it, swap two of your lines in your head. Which swaps would crash? Which would train, but wrongly?


# %% exercise="full.step" part="solution"
def step(model, batch, optimizer) -> float:
    ### BEGIN SOLUTION
    model.train()
    loss = model(**batch).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()
    ### END SOLUTION


# %% exercise="full.step" part="check"
step = pt.check("full.step", step)

# %% exercise="full.step" part="grade"
pt.require("full.step")

# %% [markdown]
# > **In the wild.** A running sum `total += loss`, without `.item()`, keeps every batch's graph, and memory
# > grows until the process dies
# > ([labelmodels#4](https://github.com/BatsResearch/labelmodels/issues/4) is one of very many).
#
# Around your step there is little left to write: an optimizer over what trains, and a learning rate that first
# rises, for a tenth of the steps, and then falls to zero along a line (`pt.training.rate` gives the factor, from 0 to
# 1). That is all that `pt.train` does, in every lesson to come; here it runs **your** step.


# %%
def my_training(model, batches, lr, total=250):
    """Your step, once over the batches; the rate rises and falls as if there were `total` of them."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=lr, weight_decay=0.0)
    for index, batch in enumerate(batches):
        now = lr * pt.training.rate(index, total, warmup=0.1)
        optimizer.param_groups[0]["lr"] = now
        start = time.perf_counter()
        loss = step(model, batch, optimizer)
        yield pt.Step(index, loss, int(batch["attention_mask"].sum()), time.perf_counter() - start, now)
    model.eval()


# %% [markdown]
# ## Watch it learn: full fine-tuning
#
# The whole run takes one to three minutes, so we take the first 45 of its 250 steps here, with your step, and
# lay them beside the recorded run of the same seed. (`pt.course.records.select` picks recorded runs by their fields.)
# **Two questions while it runs:** does your curve lie on the
# recorded one? And how good is a model after 45 steps, which is 720 sentences?

# %%
pt.seed(0)
full_model = pt.full.inject(pt.models.load("minilm", labels=2)[0], pt.full.Config("all"))
runs = {m: pt.course.records.select(record, group="curves", method=m)[0] for m in ("scratch", "head", "full")}
part = batches[:45 if budget.claims else 6]
colours = {"recorded": pt.plots.COLOURS["full"]}

full_steps = pt.widgets.watch(my_training(full_model, part, lr=1e-4), len(part),
                              {"recorded": runs["full"]["losses"][:45]}, colours)

# %%
gap = max(abs(s.loss - loss) for s, loss in zip(full_steps, runs["full"]["losses"]))
print(f"largest difference between your losses and the recorded ones: {gap:.3f}")
print(f"accuracy after {len(full_steps)} steps: {accuracy(full_model, few):.1%}   (majority {movies.majority:.1%})")

# %% [markdown]
# The same numbers: the dashes of the recorded curve lie on yours. (Rounding grows a little from step to step; and on a GPU
# dropout draws other numbers, and the curves are only alike.) And after 45 steps, with the learning rate just past
# its peak, four in five are right. Whatever happened here was fast; keep that in mind for what follows.
#
# ## Head only
#
# ### Exercise 3 · Freeze it (2 points, about 8 minutes)
#
# A parameter `p` is trained if `p.requires_grad` is True; with False it gets no gradient, and backward does not
# even go down to it. Write `head_only(model)`, which makes the head train **and nothing else**, and returns how
# many numbers that is.
#
# - `model.named_parameters()` gives (name, parameter) pairs. `pt.models.head(model)` gives the names (only the names)
#   of the head's parameters.
# - Set `requires_grad` of every parameter, to True or to False: the model may come to you half frozen.
# - `p.requires_grad_(True)` or `p.requires_grad = True` sets it; `p.numel()` is how many numbers `p` has.


# %% exercise="full.head_only" part="solution"
def head_only(model) -> int:
    ### BEGIN SOLUTION
    names = pt.models.head(model)
    for name, p in model.named_parameters():
        p.requires_grad_(name in names)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
    ### END SOLUTION


# %% exercise="full.head_only" part="check"
head_only = pt.check("full.head_only", head_only)

# %% exercise="full.head_only" part="grade"
pt.require("full.head_only")

# %% tags=["nbval-check-output"]
pt.seed(0)
head_model, _ = pt.models.load("minilm", labels=2)
print("the head's parameters:", pt.models.head(head_model))
print("numbers that train:", head_only(head_model))
print("of:", f"{sum(p.numel() for p in head_model.parameters()):,}")

# %% [markdown]
# The pooler, a layer with a tanh at the end of the backbone, is not among them: it came with the pretrained
# weights. All 250 steps now, since backward ends right below the head. The rate is 0.1, a *thousand*
# times that of full fine-tuning; we will see why.

# %%
part = batches if budget.claims else batches[:6]
colours = {"recorded": pt.plots.COLOURS["head"]}
head_steps = pt.widgets.watch(my_training(head_model, part, lr=1e-1), len(part),
                              {"recorded": runs["head"]["losses"]}, colours)

# %%
gap = max(abs(s.loss - loss) for s, loss in zip(head_steps, runs["head"]["losses"]))
found = accuracy(head_model, test)
print(f"largest difference from the recorded losses: {gap:.3f}")
print(f"your head, {len(head_steps)} steps: {found:.1%} of {len(movies.test[:budget.test_examples]):,} test sentences")

# %% [markdown]
# Did you see the loss rise after step 25, above log 2 = 0.69, the loss of somebody who knows nothing? The rate has just
# reached its peak there, and the head takes such large steps that it is often very sure and wrong. A mistake made with
# certainty costs much in the loss, and no more than any other in the accuracy, which you will see climb all the while.
#
# ## The three curves
#
# Here they are, on the same sentences in the same order: your two, and from scratch, where the same network
# starts with random numbers. Left the training loss, right the accuracy on 1,000 sentences that none of them
# has seen. **Look at the right one, and at its first hundred steps.**

# %%
best = {"scratch": 1e-4, "head": 1e-1, "full": 1e-4}
chosen = {"scratch": guess_scratch.value, "head": guess_head.value}
guesses = {m: value and value / 100 for m, value in chosen.items()}
three = pictures.learning(list(runs.values()), movies.majority, tuple(runs), guesses, **best)
pt.plots.show(pictures.draw_learning(three),
              "Recorded: the three ways, one seed. The green lines across are your guesses, if you made any.")

# %%
rows = {"from scratch": pt.course.records.select(record, group="curves", method="scratch"),
        "head only": pt.course.records.select(others, group="methods", method="head"),
        "full fine-tuning": pt.course.records.select(others, group="methods", method="full")}
for name, found in rows.items():
    mean, spread = pt.course.records.accuracy(found)
    print(f"{name:17s} {mean:.1%}{f' ± {spread:.1%}' if len(found) > 1 else '       '}   test accuracy, seeds: {len(found)}")
print(f"always the same   {movies.majority:.1%}")
print(f"you guessed       from scratch {chosen['scratch'] or '–'}, head only {chosen['head'] or '–'}")

# %% [markdown]
# **Full fine-tuning needs 45 steps**, 720 sentences, to get from nothing to about four in five; the other 205 steps
# add a few points more. **The head alone climbs slowly**, and is still climbing at the end: fourteen points
# below, with 770 numbers in place of 22.7 million. **From scratch learns nothing at all**: its held-out accuracy
# flips between 48.4 % and 51.6 %, which are the shares of the two classes there, and was once, at step 30, one point
# above. It says the same thing of every sentence, and now and then changes its mind about what. Its dot at the end
# stands at 49.5 %, *exactly* on the baseline. (The curve ends at 48.4 % and the dot stands a little higher, since they
# are of two sets, held-out and test, in which the classes have slightly different shares. So it is with the others.)
#
# (Look at the left picture, too: the losses are restless, since each point is the mean of 20 batches of 16. That is why
# the two whose accuracies lie close enough to argue about have three seeds. From scratch there is one, and it is at
# chance.)

# %% [markdown]
# ## Is it the learning rate?
#
# The first thing to ask when something does not learn. **Before you run it:** which of the three do you expect
# to be the most delicate?

# %%
by_rate = pictures.ways_recorded(record, others)             # one run a method and rate, all of seed 0
ways = {"from scratch": "scratch", "head only": "head", "full fine-tuning": "full"}
sweeps = {name: {r["lr"]: r["accuracy"] for r in by_rate if r["method"] == m} for name, m in ways.items()}
pt.plots.show(pt.plots.rates(sweeps,
                             {name: pt.plots.COLOURS[m] for name, m in ways.items()}, movies.majority,
                             rings=("from scratch",)),
              "Recorded: test accuracy after 250 steps against the learning rate, one seed each. The open "
              "circles are from scratch; at 1e-3 full fine-tuning lies inside of one.")
for name, m in (("new", untrained), ("trained", head_model)):
    print(f"a weight of a {name} head is about ±{m.classifier.weight.abs().mean():.2f}")

# %% [markdown]
# From scratch, both rates that were tried end on the same spot, so **it is not that the rate is too small**. Full
# fine-tuning has a window, and beside it a cliff: 1e-4 and 3e-4 work, 1e-5 has not arrived after 250 steps, and at
# 1e-3 everything is lost. (BERT's authors took 2e-5 to 5e-5, with longer training; Devlin et al. 2019, A.3.) The
# head does not care much, over a factor of a hundred.
#
# And why does the head want a rate a thousand times as large? AdamW moves each number by about $\eta$ in a step,
# whatever the size of its gradient. With $\eta = 10^{-4}$, falling to zero, 250 steps can move a weight by little
# more than 0.01; the two lines under the figure say how far the head's weights had to go. The backbone's weights
# need not go far: they *start* near a good place. That is the first thing to be said about pretraining.
#
# ## Why does it stay at chance?
#
# The usual answer is "4,000 sentences are too few". **Is it true?** Before you believe it, say what would have to
# be the case: do these sentences not contain enough to tell good from bad?
#
# Let us ask the simplest thing that could work. Count how often each word stands in positive and in negative
# training sentences. For a new sentence, add up what its words say (this is *naive Bayes*):
#
# $$ \text{score} = \sum_{w \,\in\, \text{sentence}} \log\frac{P(w \mid \text{positive})}{P(w \mid \text{negative})} $$

# %%
def words(examples):
    """The token numbers of each sentence."""
    texts = [text for text, _ in examples]
    return tokenizer(texts, truncation=True, max_length=30, add_special_tokens=False)["input_ids"]


counts = torch.ones(2, len(tokenizer))      # (class, word); it starts at one, so that no word is impossible
for ids, (_, label) in zip(words(movies.train[:4000]), movies.train):
    counts[label] += torch.bincount(torch.tensor(ids), minlength=len(tokenizer))
log_odds = (counts[1] / counts[1].sum()).log() - (counts[0] / counts[0].sum()).log()

right = sum((log_odds[ids].sum() > 0).item() == label for ids, (_, label) in zip(words(movies.test), movies.test))
print(f"counting words: {right / len(movies.test):.1%}")
often = (counts.sum(0) > 22).nonzero().flatten()
order = often[log_odds[often].argsort()].tolist()
print("most negative:", ", ".join(tokenizer.convert_ids_to_tokens(order[:10])))
print("most positive:", ", ".join(tokenizer.convert_ids_to_tokens(order[:-11:-1])))

# %% [markdown]
# **Three out of four, in a second, without a network**, from the same 4,000 sentences and the same tokens. So it is
# not true that they contain too little. And our head alone, with a pretrained network below it, does worse than
# counting words! Whoever had reported its 68 % without having counted would now be embarrassed. Always run the
# dull baseline.
#
# Then why does the large network not find what counting finds? Look at what it has to learn from:

# %% tags=["nbval-check-output"]
seen = Counter(i for ids in words(movies.train[:4000]) for i in ids)
tested = Counter(i for ids in words(movies.test) for i in ids)
print(f"the vocabulary has {len(tokenizer):,} words and pieces of words")
for least in (1, 10, 100):
    print(f"  in training at least {least:3d} times: {sum(n >= least for n in seen.values()):6,}")
print(f"different words in the test sentences: {len(tested):,}")
print(f"  never seen in training: {sum(i not in seen for i in tested):,}")
print(f"  seen once to five times: {sum(1 <= seen[i] <= 5 for i in tested):,}")

# %% [markdown]
# Counting learns something of a word from every single time that it occurs, at once and exactly. The network
# starts with a random vector of 384 numbers for each word, and six blocks of random matrices above them. A
# word that occurs three times has its vector nudged three times, in a direction that only makes sense once the
# blocks above know what to do with it; and these learn from words whose vectors mean nothing yet. Both must get
# going together, in 250 steps. **Given more steps, will they?** The record has the same network on the same sentences,
# five times over, 1,250 steps. Say first where it will end; you have 49.5 % (the baseline), 68 % (our head) and 76 %
# (counting words) to go by.

# %%
guess_longer = pt.widgets.Guess("From scratch, accuracy after 1,250 steps, in %:", (50, 60, 68, 75, 82),
                                "full.longer")
guess_longer

# %%
longer = pt.course.records.select(record, group="longer")[0]
print(f"from scratch, {longer['epochs']} times over the same sentences, {len(longer['losses']):,} steps:")
for at, held_out in longer["curve"]:
    if at and at % 125 == 0:
        loss = sum(longer["losses"][at - 50:at]) / 50
        print(f"  after {at:5,} steps: training loss {loss:.3f}, held-out accuracy {held_out:.1%}")
print(f"test accuracy at the end: {longer['accuracy']:.1%}   (you guessed {guess_longer.value or '–'})")

# %% [markdown]
# **It does learn.** After the first pass there is next to nothing to be seen, in the second it falls into place, and
# it passes our head alone. From then on the held-out accuracy gains three points, while the training loss falls to
# less than a third: it learns the sentences by heart. It ends a little below counting words, after five times the steps.
#
# So the honest answer is: 4,000 sentences are enough to learn some words; 250 steps are not enough to learn *to
# read*; and more steps on the same sentences do not lead further. What full fine-tuning has beyond that, it has
# from what was read before.
#
# ## What did pretraining bring?
#
# MiniLM was trained twice before it came to us: to imitate a larger model that had learned to fill gaps in
# text (Wang et al. 2020), and then to put sentences that belong together near each other (Reimers & Gurevych
# 2019 started this line of work). Nobody gave it the labels of ours. **Guess:** take the backbone as it is,
# before any training of ours, and look for the sentences nearest to *The script is a mess.* Will they be about
# scripts? About messes? Negative?

# %%
@torch.no_grad()
def features(model, examples):
    """The mean of the last hidden states over the real tokens; centered, each row of length 1."""
    rows = []
    for batch in pt.data.batches(examples, tokenizer, 64, shuffle=False, device=place):
        hidden = model.eval().bert(batch["input_ids"], batch["attention_mask"])[0]      # (batch, seq, 384)
        mask = batch["attention_mask"].unsqueeze(-1)                                    # (batch, seq, 1)
        rows.append((hidden * mask).sum(1) / mask.sum(1))
    rows = torch.cat(rows)
    return torch.nn.functional.normalize(rows - rows.mean(0), dim=-1)                   # (sentences, 384)


questions = ["The jokes are old and the actors look tired.", "The script is a mess."]   # change them
library = [(text, 0) for text in questions] + list(movies.train[:1000 if budget.claims else 100])
pt.seed(0)
networks = {"pretrained": pt.models.load("minilm", labels=2)[0],
            "random": pt.models.load("minilm", labels=2, pretrained=False)[0]}
space = {name: features(network, library) for name, network in networks.items()}

# %%
for name in networks:
    near = space[name] @ space[name].T
    near.fill_diagonal_(-1)
    for i, question in enumerate(questions):
        print(f"{name}, near to {question!r}")
        for j in near[i, len(questions):].topk(3).indices.tolist():
            text, label = library[len(questions) + j]
            print("   ", label, "·", text[:95])

# %% [markdown]
# The pretrained network finds sentences about the same thing, in other words: humor that fails, scripts. The random one
# finds short sentences of a similar build, with the same small words (*the*, *a*, *of*): a cast that is *phenomenal*
# and *the smartest comedy* beside tired actors and old jokes. How far does that carry? Let the ten nearest of
# each sentence vote on its label:

# %%
labels = torch.tensor([label for _, label in library[len(questions):]])
for name in networks:
    own = space[name][len(questions):].cpu()
    near = own @ own.T
    near.fill_diagonal_(-1)
    votes = labels[near.topk(10).indices].float().mean(1)              # the share of positive neighbors
    share = (votes * labels + (1 - votes) * (1 - labels)).mean().item()
    right = ((votes > 0.5).long() == labels).float().mean().item()
    print(f"{name:10s}: {share:.1%} of the ten nearest have the same label; their vote is right for {right:.1%}")

# %% [markdown]
# Seven in ten are right, **without a single step of training**, from a thousand sentences: better than the head
# that we trained. The random network, with the same architecture and the same words, is a little above a coin. So
# what pretraining brought is a space in which sentences that mean similar things lie close together, and liking a
# film happens to be one of the things that matter there, though not the main one: among the neighbors of the messy
# script is *Arguably the best script that Besson has written in years.* Full fine-tuning makes the mood the main
# thing. It rearranges a space; from scratch one would have to build it.
#
# One more thing should make you suspicious. These neighbors were found in the *mean* of the last hidden states.
# Our head reads something else: the first token, passed through the *pooler*. In this model the sentence training
# used the mean, and the pooler was only carried along. **Guess:** what would the same head do on the mean?

# %%
pooled = pt.course.records.select(record, group="pooling")
by_reading = {"head on the pooler's output": pt.course.records.select(others, group="methods", method="head"),
              "head on the mean of all tokens": pooled}
for name, found in by_reading.items():
    mean, spread = pt.course.records.accuracy(found)
    print(f"{name:31s} {mean:.1%} ± {spread:.1%}   learning rate {found[0]['lr']:g}, seeds: {len(found)}")

# %% [markdown]
# The same backbone, frozen as before, the same number of trained numbers (770), and eight points more, for reading
# at another place. It is now about as good as counting words. So "head only" is not one number: **before you say
# that frozen features are not good enough, ask which features you looked at.** (`pt.models.load(…, pool="mean")`
# makes such a model. The course stays with the pooler, since that is what `BertForSequenceClassification` has, and
# every method can be compared with other people's numbers.)
#
# ## The bill
#
# Full fine-tuning is the most accurate of the three, so why a whole course about other ways? Because of what it
# costs. **Before you run it:** by what factor do the two differ in memory? In time? On disk?

# %%
ways = {"full, AdamW": (full_model, 16, "adamw"), "full, plain SGD": (full_model, 16, "sgd"),
        "full, AdamW, 128 sentences": (full_model, 128, "adamw"), "head, AdamW": (head_model, 16, "adamw"),
        "head, AdamW, 128 sentences": (head_model, 128, "adamw")}
bill = {name: pt.account.ledger(m, batch, 32, optimizer) for name, (m, batch, optimizer) in ways.items()}
pt.plots.show(pt.plots.ledgers(bill),
              "Predicted memory of one training step: 16 sentences of 32 tokens, where nothing else is said.")

# %% [markdown]
# Full fine-tuning with AdamW holds the model four times: weights, gradients, and the two running means
# (Rajbhandari et al. 2020, §3.1, count much the same for large models), and the activations on top, which grow
# with the batch. The head alone holds the model once, and almost nothing else: backward never enters the
# backbone, so its activations are thrown away as soon as they are used.
#
# That was predicted. Now what was measured: your own steps above, and the peak of a fresh process (recorded), with what
# the ledger predicts for the same steps, less the weights, which were loaded before.

# %%
def milliseconds(steps):
    """Median time of a step."""
    return 1000 * sorted(s.seconds for s in steps)[len(steps) // 2]


peak = {name: c["peak_mb"] - c["loaded_mb"] for name, c in others["cost"].items()}
work = Path("work")
work.mkdir(exist_ok=True)
torch.save({n: p for n, p in head_model.state_dict().items() if n in pt.models.head(head_model)}, work / "head.pt")
megabytes = sum(t.numel() * t.element_size() for t in full_model.state_dict().values()) / 1e6

small = (work / "head.pt").stat().st_size / 1e6
costs = {"one step": (milliseconds(full_steps), milliseconds(head_steps), "ms"),
         "peak memory, added*": (peak["full"], peak["head"], "MB"), "one task on disk": (megabytes, small, "MB")}
for name, (full, head, unit) in costs.items():
    print(f"{name:20s} full {full:5.0f} {unit}   head {head:8.3g} {unit}   {full / head:7,.0f} times as much")
predicted = {w: (bill[f"{w}, AdamW"].total_bytes - bill[f"{w}, AdamW"].weights_bytes) / 1e6 for w in ("full", "head")}
print(f"memory, predicted    full {predicted['full']:5.0f} MB   head {predicted['head']:8.3g} MB")
print("* recorded: resident memory of a fresh process while training, above that with the model loaded")

# %% [markdown]
# In time the factor is the smallest. The forward pass stays; the backward pass, which costs about twice as much, goes.
# That would be a factor of three; what is above it is mostly the update of 22.7 million numbers. In memory the factor
# is larger, and measured is more than predicted, about 500 MB against 374, and 29 against nearly nothing: a step needs
# working space, for what is computed and let go of again, which the ledger leaves out. On disk it is larger still:
# 770 numbers are 3 kB, against 22.7 million. (The file has 5 kB, since torch's format takes the rest.) **One 91 MB
# file for each task, or a few kB beside a file that all tasks share.** For a model of seven billion parameters read 28 GB
# instead of 91 MB, and 112 GB to train it, before the first activation (in float32; lesson 00 counted bfloat16).
#
# So there is a good method that costs much, and a cheap one that gives away fourteen points, or six if it reads the
# mean. **What lies between?**
# That is what the rest of this course is about.
#
# ## Break it on purpose
#
# **1. The gradients are never cleared.** Your own step, with an optimizer that forgets. The head alone, so that it is
# quick. **Guess:** does it crash? Does the loss go up? Does the accuracy go down?


# %%
class Forgetful(torch.optim.AdamW):
    def zero_grad(self, set_to_none=True):
        pass                                        # the mistake


pt.seed(0)
broken = pt.models.load("minilm", labels=2)[0]
head_only(broken)
forgetful = Forgetful([p for p in broken.parameters() if p.requires_grad], lr=1e-1, weight_decay=0.0)
losses = []
for index, batch in enumerate(batches[:100 if budget.claims else 6]):
    forgetful.param_groups[0]["lr"] = 1e-1 * pt.training.rate(index, 250, warmup=0.1)
    losses.append(step(broken, batch, forgetful))

beside = {"cleared after each step": [s.loss for s in head_steps[:len(losses)]], "never cleared": losses}
pt.plots.show(pt.plots.curves(beside, {"cleared after each step": pt.plots.COLOURS["yours"]}),
              "The same steps, with and without clearing the gradients.")
held_out = pt.data.batches(movies.validation[:1000 if budget.claims else 64], tokenizer, 64, shuffle=False, device=place)
print(f"held-out accuracy after {len(losses)} steps without clearing: {accuracy(broken, held_out):.1%}")
print(f"the recorded run with clearing, after 100 steps: {dict(runs['head']['curve'])[100]:.1%}")

# %% [markdown]
# Nothing crashes. The loss climbs to more than twice the loss of knowing nothing, and **the accuracy hardly tells**. The
# gradient in each step is the sum of all that came before, cut to norm 1, so it turns very slowly: the weights keep
# running in the direction in which they once set out, and the model becomes very sure of itself, right or wrong.
# Whoever looks at the accuracy alone can train for days with it. **The symptom: a loss that rises while the
# accuracy stays.**
#
# **2. Ten times the learning rate.** From the record: full fine-tuning at 1e-3 instead of 1e-4.

# %%
fast = pt.course.records.select(others, group="rates", method="full", lr=1e-3)[0]
normal = pt.course.records.select(others, group="methods", method="full", seed=0)[0]
pt.plots.show(pt.plots.curves({"rate 1e-4": normal["losses"], "rate 1e-3": fast["losses"]},
                              {"rate 1e-4": pt.plots.COLOURS["full"], "rate 1e-3": pt.plots.COLOURS["random"]}),
              "Recorded: full fine-tuning at its best rate, and at ten times that rate.")
n = len(movies.test)
print(f"right at 1e-3: {fast['accuracy'] * n:.0f} of {n:,} test sentences, {fast['accuracy']:.2%}")
print(f"always the same answer: {sum(label == answer for _, label in movies.test)} of {n:,}, {movies.majority:.2%}")

# %% [markdown]
# Look at the two numbers: they are the same *to the last digit*. (The same count, too: it is right
# exactly where the label is 0.) It is not that this model guesses; it gives **the same answer
# to every sentence**, and its loss lies at log 2 = 0.693, the loss of somebody who knows nothing. Learn to
# recognize this: a loss that sits at the log of the number of classes, and an accuracy that equals a class's share
# exactly. The large steps have overwritten what pretraining brought, before any of it could be used. People meet it with every large model
# ([transformers#735](https://github.com/huggingface/transformers/issues/735): "Changing my learning rate from 0.01
# to 5e-5 worked for me").
#
# ## Play
#
# The three ways at every learning rate that was recorded. The head and full fine-tuning open at rates that are too small. Your guesses, if you made any, are the green lines. Can you find a
# rate at which the head alone beats full fine-tuning? (The held-out curve is there for some of the runs only.)

# %%
pictures.explore_learning(by_rate, movies.majority, best | {"head": 1e-2, "full": 1e-5}, guesses)

# %% [markdown]
# And the memory: of what is it made, at which batch, length and optimizer? Look for a setting in
# which the activations are larger than everything else together, and for one in which the optimizer is the
# largest part. (Lesson 00 has the same for models up to seven billion parameters.)

# %%
pictures.explore_bill({"full fine-tuning": full_model, "head only": head_model})

# %%
pt.progress()

# %% [markdown]
# ## When, and when not
#
# **From scratch**, when your data are like nothing that a model was ever pretrained on, and you have very much of
# them. Not for a few thousand sentences: there, counting words is as good, and takes a second.
#
# **Head only**, as the first thing to try, and where one base serves many tasks: features can be computed once and
# kept, and a new task costs seconds. It can only use what is already there and easy to read off.
#
# **Full fine-tuning**, when there is one task, enough memory, and every point counts. With few data, or data unlike
# those at test time, it can even do worse than the head alone, since it bends features that were good (Kumar et al.
# 2022, §3); and it is touchy: small learning rate, warm-up, more than one seed (Mosbach et al. 2021, §5 and §6).
#
# **Five lines to remember**
#
# 1. An accuracy means nothing without the majority baseline, and little without a count of words.
# 2. A step: train mode, forward, backward, clip, step, clear. Most of these can be missing, and nothing crashes.
# 3. A loss at log(classes) and an accuracy equal to a class's share: the model says always the same.
# 4. Full fine-tuning with AdamW holds four times the weights, and writes all of them for each task.
# 5. Pretraining makes 250 steps enough, and leads where counting words does not; the rest of the course asks how
#    little of it one has to change.
#
# **Sources**
#
# - Devlin et al. 2019, *BERT*, arXiv 1810.04805: §4 and A.3, fine-tuning and its learning rates.
# - Wang et al. 2020, *MiniLM*, arXiv 2002.10957: §3, how the base was made.
# - Reimers & Gurevych 2019, *Sentence-BERT*, arXiv 1908.10084: §3, sentences as vectors.
# - Mosbach et al. 2021, *On the Stability of Fine-tuning BERT*, arXiv 2006.04884: §5 why runs fail, §6 the remedy.
# - Kumar et al. 2022, *Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution*,
#   arXiv 2202.10054: §3.
# - Rajbhandari et al. 2020, *ZeRO*, arXiv 1910.02054: §3.1, what stands in memory.
# - Loshchilov & Hutter 2019, *Decoupled Weight Decay Regularization*, arXiv 1711.05101: AdamW.
# - Data: Hutto & Gilbert 2014, *VADER*, ICWSM; sentences of the film reviews of Pang & Lee 2004.
#
# The library's own version of your step, out of the loop around it; and of your `head_only`:

# %%
import inspect

source = inspect.getsource(pt.training._steps)
print(textwrap.dedent(source[source.index("            loss = model"):source.index("            schedule")]))
print(inspect.getsource(pt.full.inject))
