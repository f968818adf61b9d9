# %% [markdown]
# # 01 · From scratch, full fine-tuning, head only
#
# **You have 4,000 sentences from film reviews, each marked as praise or complaint, and ten minutes of a laptop.**
# Somebody else has spent far more on a model that has read about a billion pairs of sentences. You can ignore it and
# train a network of your own (*from scratch*); train all of it (*full fine-tuning*); or leave it as it is and train one
# small layer on top (*head only*).
#
# **How good is almost nothing?** The third way trains 770 of 22.7 million parameters. Every method of this course is
# measured by what it adds to that.
#
# Three questions on lesson 00 first. Answer each before you open it.
#
# <details><summary>1. Training a parameter with AdamW in float32: how many bytes does it hold, and for what?</summary>
# Sixteen: four each for the weight, its gradient, and two running means that the optimizer keeps.</details>
# <details><summary>2. And a frozen parameter?</summary>
# Four, for the weight alone.</details>
# <details><summary>3. You double the batch. Which parts of the ledger grow?</summary>
# The activations alone. Weights, gradients and the optimizer's means are as large as the model, whatever it
# reads.</details>
#
# | | |
# |---|---|
# | **Time** | about 60 minutes: 5 exercises (41 min), reading and playing; Run All takes about two minutes |
# | **You need** | a training loop in PyTorch that you have seen once; lesson 00 helps |
# | **You build** | accuracy, the training step, and the law that what is frozen does not move |
# | **Data** | 10,041 sentences from film reviews, each rated by about 20 people, the neutral ones left out; Hutto & Gilbert 2014, MIT licence |
#
# <details><summary>On Colab (click)</summary>
#
# Colab's machine forgets everything. To keep `my_peft.py` and your predictions, run
# `from google.colab import drive; drive.mount('/content/drive')` and
# `%env PEFT_TEACH_WORK=/content/drive/MyDrive/peft-teach-work` first, in each session.
#
# </details>
#
# **Guess first.** Each of the three ways sees the same 4,000 sentences once, in 250 batches of 16. A coin would be right in
# half of the test sentences. The second cell asks for two guesses.

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
import itertools
import time

import pandas as pd
import torch
from IPython.display import display

import peft_teach as pt

budget = pt.course.budget()    # how much to compute; its claims: enough to compare accuracies
records = pt.course.records
record, others = records.load("full"), records.load("lora")    # made by assets/records/*.py
pictures = pt.course.pictures("full")
place = pt.device()
pt.seed(0)
pd.set_option("display.max_colwidth", 100)
print("budget:", budget.name, "· computing on:", place)
percent = (50, 60, 70, 80, 90)
guess_scratch = pt.widgets.Guess("From scratch, 250 steps, accuracy in %:", percent, "full.scratch")
guess_head = pt.widgets.Guess("Head only, 250 steps, accuracy in %:", percent, "full.head")
display(guess_scratch, guess_head)

# %% [markdown]
# ## The task, and two numbers to beat
#
# Six sentences. Did the raters take each for praise (1) or for complaint (0)?

# %%
movies = pt.data.load("movies")
for text, _ in movies.train[4:10]:
    print("·", text[:110])

# %%
pt.commit("full.labels", ...)    # six digits, such as "110010"

# %%
labels = "".join(str(label) for _, label in movies.train[4:10])
pt.compare("full.labels", labels, "the raters' labels")
movies

# %% [markdown]
# We *train* on 4,000 sentences, choose settings on the *validation* set, and look at the *test* set
# once a run has ended. (Sentences of one review may stand in both training and test,
# which may flatter all accuracies here.)
#
# Two baselines need no network. The **majority baseline** gives every sentence the label that is more common in
# training. **Naive Bayes** counts words: how often does each word piece stand in positive and in negative training
# sentences? For a new sentence it adds up what its words say:
#
# $$ \text{score} = \sum_{w \,\in\, \text{sentence}} \log\frac{P(w \mid \text{positive})}{P(w \mid \text{negative})} $$

# %%
model, tokenizer = pt.models.load("minilm", labels=2)


def words(examples):
    """The token numbers of each sentence."""
    texts = [text for text, _ in examples]
    return tokenizer(texts, truncation=True, max_length=30, add_special_tokens=False)["input_ids"]


counts = torch.ones(2, len(tokenizer))      # (class, word); from one: no word is impossible
for ids, (_, label) in zip(words(movies.train[:4000]), movies.train):
    counts[label] += torch.bincount(torch.tensor(ids), minlength=len(tokenizer))
log_odds = (counts[1] / counts[1].sum()).log() - (counts[0] / counts[0].sum()).log()
counting = sum((log_odds[ids].sum() > 0).item() == label
               for ids, (_, label) in zip(words(movies.test), movies.test)) / len(movies.test)

error = records.standard_error(counting, len(movies.test))
print(f"always the same answer: {movies.majority:.1%}")
print(f"counting words: {counting:.1%} ± {error:.1%}")
often = (counts.sum(0) > 22).nonzero().flatten()
order = often[log_odds[often].argsort()].tolist()
pd.DataFrame({"most negative": tokenizer.convert_ids_to_tokens(order[:10]),
              "most positive": tokenizer.convert_ids_to_tokens(order[:-11:-1])})

# %% [markdown]
# **Three out of four, in a second, without a network.** Keep this number in mind.
#
# The ± is the *standard error*, $\sqrt{a(1-a)/n}$: with other test sentences, the accuracy $a$ would differ by about
# that much. (Where seeds are named, ± is the deviation between them.)
#
# ## Measuring
#
# Here is an accuracy that a colleague wrote, and three things that the colleague complains of. The code runs.
# **What is behind each complaint?**

# %%
def colleagues_accuracy(model, batches):
    shares = []
    for batch in batches:
        answers = model(**batch).logits.argmax(-1)                  # (batch,)
        shares.append((answers == batch["labels"]).float().mean())
    return sum(shares) / len(shares)


def by_length(examples):
    """The same sentences, the short ones first."""
    return sorted(examples, key=lambda example: len(example.text))


def batched(examples):
    """All of these sentences, in batches of 64."""
    return pt.data.batches(by_length(examples), tokenizer, 64, shuffle=False, device=place)


batches = pt.data.batches(movies.train[:4000], tokenizer, 16, device=place)    # 250, as recorded
some = None if budget.claims else 64
test_set = by_length(movies.test[:some])
test, few = batched(test_set), batched(movies.test[:70])

# %%
model.train().to(place)                                             # as any training leaves it
twice = [colleagues_accuracy(model, few).item() for _ in range(2)]
print("1. the same model and sentences, twice:", *map("{:.3f}".format, twice))
model.eval()
three = [colleagues_accuracy(model, part).item() for part in (few, few[:1], few[1:])]
print("2. 64 sentences and 6 more: {:.3f}, the mean of {:.3f} and {:.3f}".format(*three))
with pt.account.saved(model) as saved:                              # for a backward pass
    colleagues_accuracy(model, few[:1])
print(f"3. far more memory than I thought: {sum(saved.values()) / 1e6:.0f} MB for 64 sentences")

# %% [markdown]
# ### Exercise 1 · How good is it? (2 points, about 8 minutes)
#
# Write `accuracy(model, batches)`, a plain number from 0 to 1 of which nobody can complain:
#
# - the same model and sentences give the same number, in whichever mode the model comes;
# - every sentence counts the same;
# - no backward pass will ever come, and nothing is kept for one; afterwards autograd is switched as it was;
# - the batches are afterwards what they were.
#
# `batches` is a list of dicts with `labels`, and whatever else the model takes; `model(**batch)` answers with `.logits`,
# (batch, 2). Hand the whole batch over, since later models take other things than words.


# %% exercise="full.accuracy" part="solution"
def accuracy(model, batches) -> float:
    ### BEGIN SOLUTION
    model.eval()
    right = count = 0
    with torch.no_grad():
        for batch in batches:
            chosen = model(**batch).logits.argmax(-1)       # (batch,)
            right += (chosen == batch["labels"]).sum().item()
            count += len(chosen)
    return right / count
    ### END SOLUTION


# %% exercise="full.accuracy" part="check"
accuracy = pt.check("full.accuracy", accuracy)

# %% exercise="full.accuracy" part="grade"
pt.require("full.accuracy")

# %% [markdown]
# ## The step
#
# All three ways are one rule. Let $\theta$ be all parameters of the model, and $L$ its loss on a batch:
#
# $$ \theta_i \;\leftarrow\; \theta_i - \eta\, u_i \quad \text{for every } i \text{ that trains},
# \qquad u = \text{AdamW}\!\left(\frac{\partial L}{\partial \theta}\right) $$
#
# with the learning rate $\eta$. What differs is **where $\theta$ starts, and which $i$ train**:

# %%
counted = pt.account.parameters(model)
pt.plots.show(pictures.draw_ways(counted.total - counted.head, counted.head),
              "Solid boxes are trained, dashed ones stay frozen. The head is always new.")

# %% [markdown]
# The head is one linear layer, which turns the 384 features in which the backbone sums up a sentence into two logits.
#
# ### Exercise 2 · The training step (3 points, about 12 minutes)
#
# Write `step(model, batch, optimizer)`: one step of training on one batch. The batch contains the labels, so what
# `model(**batch)` gives has the loss ready, as `.loss`. *Trained* are the parameters whose `requires_grad` is True. Which
# calls make the following true, and in which order, is for you to find:
#
# - What you return is the loss of the one call of the model, as a plain number.
# - When the optimizer changes the weights, which it does once, the norm of all trained parameters' gradients, as one long
#   vector, is at most 1. A longer vector was shortened to 1; a shorter one was left as it was. (`torch.nn.utils` has a
#   function for it.)
# - At that moment, each trained parameter's `.grad` comes from this batch alone. (`backward` *adds* to what is there. Before
#   the very first step nothing is there.)
# - The model is in training mode while it computes the loss, so that *dropout* is on: a tenth of the features, drawn by
#   chance, is left out.
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
# <details><summary>Which swaps? (click)</summary>Only those that use the loss before it is there crash. The others run without
# an error. Gradients cleared between the backward pass and the optimizer's step: nothing moves. The step before the backward
# pass: the optimizer finds nothing, or the batch before. Shortened too early or too late: not shortened.</details>
#
# Little is left to write around **your** step: an optimizer over what trains, and a learning rate that rises for a tenth
# of the steps and then falls to zero along a line. (In later lessons `pt.train` does the same.)
#
# We take the first 45 of full fine-tuning's 250 steps, and lay them beside the recorded run of the same seed. **Two
# questions while it runs:** does your curve coincide with the recorded one? And how good is a model after 45 steps, which
# is 720 sentences?


# %%
def my_training(model, batches, lr, total=250):
    """Your step, once over the batches; the rate rises and falls as over `total` of them."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=lr, weight_decay=0.0)
    for index, batch in enumerate(batches):
        now = lr * pt.training.rate(index, total, warmup=0.1)
        optimizer.param_groups[0]["lr"] = now
        start = time.perf_counter()
        loss = step(model, batch, optimizer)
        yield pt.Step(index, loss, len(batch["labels"]), time.perf_counter() - start, now)
    model.eval()


pt.seed(0)
full_model = pt.models.load("minilm", labels=2)[0].to(place)
runs = {m: records.select(record, group="curves", method=m)[0] for m in ("scratch", "head", "full")}
part = batches[:45 if budget.claims else 6]
recorded = runs["full"]["losses"][:len(part)]
full_steps = pt.widgets.watch(my_training(full_model, part, lr=1e-4), len(part),
                              {"recorded": recorded}, {"recorded": pt.plots.COLOURS["full"]})
gap = max(abs(step.loss - loss) for step, loss in zip(full_steps, recorded))
print(f"largest difference between your losses and the recorded ones: {gap:.3f}")
with pt.bar(None, "batches", len(test)) as waiting:
    hook = full_model.register_forward_hook(lambda *_: waiting.update() and None)
    fine_tuned, n = accuracy(full_model, test), len(test_set)
hook.remove()
error = records.standard_error(fine_tuned, n)
print(f"accuracy after {len(part)} steps: {fine_tuned:.1%} ± {error:.1%}, of {n:,} test sentences")

# %% [markdown]
# On a CPU, with the record's torch, the curves coincide. (Elsewhere they may be only alike: a GPU's dropout draws other
# numbers.) About four in five
# are right, with the learning rate just past its peak.
#
# ## The law of the frozen
#
# The rest of this course freezes a backbone and trains something small. When that goes wrong, nothing crashes: a backbone
# that was left trainable still learns, and you have measured another method. So write the law first, as a test.
#
# ### Exercise 3 · What is frozen does not move (3 points, about 10 minutes)
#
# Write `frozen_stays(train, model)`. It calls `train(model)` once, and **raises** (as `assert` does) if a
# parameter that was frozen when the model came (its `requires_grad` is False) has moved. `model.named_parameters()` gives
# names and parameters. If the training itself breaks off with an error, that error gets through.
#
# The check gives your test trainings that keep the law, and others that break it. How could somebody break it unseen?
# By very little; by thawing for a while; by putting something else in its place. (A frozen name that is gone counts as moved;
# another tensor with the very same entries does not.) And what may a training do? Anything with parameters that are
# *not* frozen, nothing at all, and freeze or thaw what it likes, as long as nothing frozen moves.


# %% exercise="full.frozen_stays" part="solution"
def frozen_stays(train, model):
    ### BEGIN SOLUTION
    before = {name: p.detach().clone() for name, p in model.named_parameters()
              if not p.requires_grad}
    train(model)
    after = dict(model.named_parameters())
    for name, value in before.items():
        assert torch.equal(after[name], value), f"{name} is frozen, and has moved"
    ### END SOLUTION


# %% exercise="full.frozen_stays" part="check"
frozen_stays = pt.check("full.frozen_stays", frozen_stays)

# %% exercise="full.frozen_stays" part="grade"
pt.require("full.frozen_stays")

# %% [markdown]
# ### Exercise 4 · Freeze it (1 point, about 4 minutes)
#
# Write `head_only(model)`: afterwards the head trains **and nothing else**, in whatever state the model came. It returns
# how many parameters train, every entry of a tensor counted. `pt.models.head(model)` gives the names of the head's tensors.


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

# %% [markdown]
# ## How good is almost nothing?
#
# Your law tests your step, on a model that your `head_only` froze. (`pt.audit()` puts your tests to your own pieces, in
# all lessons to come. The *pooler*, a layer with a tanh at the end of the backbone, stays frozen, too.)
#
# The last lines show the head alone after 250 steps, at the best of five rates.
# (A thousand times that of full fine-tuning; *Further* asks why.)

# %%
pt.seed(0)
head_model = pt.models.load("minilm", labels=2)[0].to(place)
counted = pt.account.parameters(head_model)
print(f"parameters that train: {head_only(head_model):,} of {counted.total:,}")
frozen_stays(lambda model: list(my_training(model, batches[:2], lr=0.1)), head_model)
pt.audit()

short = others.runs.query("group == 'methods' and method == 'head'")
pt.compare("full.head", 100 * short.accuracy.mean(), "head only, 250 steps, in %")
records.table(short, "lr")

# %% [markdown]
# Far below a count of words. **Is that what a frozen model is worth?** Before you believe it, try more. A step takes long
# only because it runs the whole backbone, which is frozen and makes the same features of a sentence every time.
# *Compute them once.* Without dropout, that is exact.
#
# We keep two readings. The *pooler's output*, which our head reads, is the first token behind a layer that was never trained:
# biases start at zero, and all 384 in `head_model.bert.pooler.dense.bias` still are (print them). This model was pretrained on
# the *mean* of the last hidden states over all tokens, which passes the pooler by.


# %%
@torch.no_grad()
def read(model, batches):
    """What a head could read of each batch, by place; the backbone runs once."""
    found = {"pooler": [], "mean": []}
    for batch in pt.bar(batches, "batches"):
        out = model.eval().bert(batch["input_ids"], batch["attention_mask"])
        mask = batch["attention_mask"].unsqueeze(-1)                          # (batch, seq, 1)
        mean = (out.last_hidden_state * mask).sum(1) / mask.sum(1)            # (batch, 384)
        for name, features in (("pooler", out.pooler_output), ("mean", mean)):
            found[name].append({"features": features, "labels": batch["labels"]})
    return found


parts = {"train": batches if budget.claims else batches[:6], "test": test,
         "validation": batched(movies.validation[:some])}
cached = {part: read(head_model, each) for part, each in parts.items()}
whole = {name: {key: torch.cat([b[key] for b in found]) for key in ("features", "labels")}
         for name, found in cached["train"].items()}
for name, each in whole.items():
    print(f"{name}: standard deviation of a feature {each['features'].std(0).mean():.3f}")

# %% [markdown]
# To your `step` and your `accuracy`, a head on features is a model like any other: it takes a batch and answers with a loss
# and logits.

# %%
from transformers.modeling_outputs import SequenceClassifierOutput


class Head(torch.nn.Module):
    """Two logits from cached features; it answers as a model of transformers does."""

    def __init__(self):
        super().__init__()
        self.classifier = torch.nn.Linear(384, 2)
        torch.nn.init.normal_(self.classifier.weight, std=0.02)         # as a new head of MiniLM
        torch.nn.init.zeros_(self.classifier.bias)
        self.to(place).device = place                                   # models know where they are

    def forward(self, features, labels=None):
        logits = self.classifier(features)                              # (batch, 2)
        loss = None if labels is None else torch.nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


def train_head(batches, lr, seed=0):
    """A new head, trained once over these batches; the head and its losses."""
    pt.seed(seed)
    head = Head()
    return head, [each.loss for each in my_training(head, batches, lr, total=len(batches))]


start = time.perf_counter()
short_one, short_losses = train_head(cached["train"]["pooler"], lr=0.1)
seconds, short_head = time.perf_counter() - start, accuracy(short_one, cached["test"]["pooler"])
print(f"{len(short_losses)} steps in {seconds:.1f} s: {short_head:.1%} of {n:,} test sentences")

# %% [markdown]
# About the accuracy of the recorded heads, which had dropout, in a moment.
#
# ## One thing at a time
#
# Before the head is blamed: what if it reads the mean?

# %%
found = []
for reads in ("pooler", "mean"):
    for lr, seed in itertools.product((0.03, 0.1, 0.3), (0, 1, 2)):
        head, _ = train_head(cached["train"][reads], lr, seed)
        found.append({"reads": reads, "lr": lr, "accuracy": accuracy(head, cached["test"][reads])})
records.table(pd.DataFrame(found), ["reads", "lr"])

# %% [markdown]
# At every rate, seven to nine points lie between two heads of the same size on the same backbone. (The seeds draw the
# heads' starts; the order of the sentences stays.) Three explanations:
#
# - **The place.** The pooler's output holds less of what is asked for than the mean.
# - **The steps.** It holds as much, but takes longer to learn from: on the mean 250 steps are enough, on the pooler they are
#   not.
# - **The scale.** It holds as much, but its features vary a fifth as much, as you saw, and a head learns badly from such.
#
# These two heads decide nothing: all three predict what came out. Other runs may. Features can be *standardized*, shifted and
# scaled to mean 0 and standard deviation 1 over the training sentences; and ten times the steps take seconds.
#
# ### Exercise 5 · Design the experiment (2 points, about 7 minutes)
#
# Choose two runs that differ in **one** thing, and for which the explanations do not all predict the same. Then say what each
# predicts if it is the whole truth.
#
# | | may be |
# |---|---|
# | `reads` | `"pooler"`, `"mean"` |
# | `features` | `"raw"`, `"standardized"` |
# | `steps` | `250`, `2500` |
#
# `first_run` and `second_run` are dicts with these three. `foretold` has the keys `"place"`, `"steps"` and `"scale"`, each
# `"apart"` or `"together"`: where the two runs end. (The rate is no rival: each run is made at several, and the one
# that is best on the validation sentences counts.)

# %% exercise="full.pair" part="solution"
### BEGIN SOLUTION
first_run = {"reads": "pooler", "features": "standardized", "steps": 2500}
second_run = {"reads": "mean", "features": "standardized", "steps": 2500}
foretold = {"place": "apart", "steps": "together", "scale": "together"}
### END SOLUTION

# %% exercise="full.pair" part="check"
first_run, second_run, foretold = pt.check("full.pair", first_run, second_run, foretold)

# %% exercise="full.pair" part="grade"
pt.require("full.pair")

# %% [markdown]
# Such a head has an end. The problem is *convex*: there is one lowest loss, to which a training that is long enough leads,
# whatever its seed or order. **Where will the head on the pooler be at its end?** Put its accuracy on the test sentences, in
# per cent, in place of the three dots.

# %%
pt.commit("full.end", ...)


# %%
def standardized(batch, like):
    """The batch, its features shifted and scaled as for `like` to have mean 0, deviation 1."""
    x = like["features"]
    return batch | {"features": (batch["features"] - x.mean(0)) / x.std(0)}


def run_of(setting):
    """A head trained as the setting says, at the rate best on validation; its test accuracy."""
    name = setting["reads"]
    sets = {part: each[name] for part, each in cached.items()}
    if setting["features"] == "standardized":
        sets = {part: [standardized(b, whole[name]) for b in each] for part, each in sets.items()}
    heads = [train_head(sets["train"] * (setting["steps"] // 250), lr)[0]
             for lr in pt.bar((0.003, 0.01, 0.03, 0.1), "rates")]
    head = max(heads, key=lambda head: accuracy(head, sets["validation"]))
    return head, accuracy(head, sets["test"])


for setting in (first_run, second_run):
    found = run_of(setting)[1]
    print(setting, f"→ {found:.1%} ± {records.standard_error(found, n):.1%}")
print("you predicted:", foretold, "· which explanations have lost?")

# %% [markdown]
# One pair cannot refute all three. Here are all eight runs, recorded, with three seeds each; and the ends.

# %% tags=["nbval-check-output"]
ends = record.runs.query("group == 'converged' and penalty == 0").set_index("pool").accuracy
pt.compare("full.end", 100 * ends["cls"], "the head on the pooler at its end, in %")
print(f"at its end: on the pooler {ends['cls']:.1%}, on the mean {ends['mean']:.1%}")
eight = record.runs.query("group == 'read'").replace({"pool": {"cls": "pooler"}})
records.table(eight, ["pool", "standardized", "steps"])

# %%
pt.sentence("full.place", ...)    # one sentence of yours: where do the eight points come from?

# %% [markdown]
# <details><summary>Ours</summary>The place brings most or half, depending on where one stops: six are left when both heads have
# had 2,500 steps, four at the ends, where the mean's head has lost a point again. The rest come from the steps: ten times as many
# bring the pooler's head about two points, and the mean's hardly anything. None come from the scale alone: after 250 steps, each
# at the best of six rates, standardized features were as good as raw ones. As the whole truth, all three have lost.</details>
#
# (The course stays with the pooler, since `BertForSequenceClassification` reads it. `pt.models.load(…, pool="mean")` makes
# the other.)
#
# ## The ruler
#
# Whoever measures a method against a head that had not finished credits the method with what patience would have given. So
# the zero of our ruler is the head on the pooler *at its end*, and its one is full fine-tuning. Between them lies the **share of
# the gain**:
#
# $$ \text{gain}(a) = \frac{a - a_\text{head at its end}}{a_\text{full} - a_\text{head at its end}} $$

# %%
zero, one = records.ends()
print(f"the ruler: 0 is {zero:.1%}, 1 is {one:.1%}: {100 * (one - zero):.0f} points long")
by_short = (counting - short.accuracy.mean()) / (one - short.accuracy.mean())
print(f"counting words: gain {records.gain(counting):.0%}; from the short head {by_short:.0%}")

# %% [markdown]
# **So how good is almost nothing?** Trained to its end, the head on the pooler has 71 %, not the short run's 68 %. That is
# still less than counting words, 76 %, without any network: our zero reads the first token through a random map. So to be
# above it is no feat yet: counting words has 45 % of the gain, the head on the mean after 2,500 steps 51 %.

# %%
pt.sentence("full.ruler", ...)    # what should a reader ask who finds "head only: 68 %" in a table?

# %% [markdown]
# <details><summary>Ours</summary>What the head read, how long it was trained, and whether validation still gained: a baseline
# deserves as much care as the method that is to beat it.</details>
#
# <details><summary>How sure?</summary>L-BFGS found the ends, in float64, until no entry
# of the gradient was above a millionth. A penalty on large weights moves the pooler's: five of them gave from 70.4 to 72.0 %,
# and validation chooses none. On the mean it chooses one of 0.01, with 76.2 %. The short head has three seeds, at the best
# of five rates; the eight runs chose among six, some at the edge. Four poolers drawn at random in place of the model's, and the
# first token without any, ended within a point of it. All of this is one model on one task.</details>
#
# ## The three, side by side
#
# Recorded runs of all three, at every rate that was tried, with yours in green. **Look for two things:** where
# do 45 steps take full fine-tuning? And at which rates does it fail?

# %%
by_rate = pictures.ways_recorded(record, others)    # one run a method and rate, all of seed 0
guesses = {way: guess.value and guess.value / 100
           for way, guess in (("scratch", guess_scratch), ("head", guess_head))}
levels = {"always the same answer": movies.majority, "counting words": counting,
          "head only, at its end": zero}
own = {"full": ([step.loss for step in full_steps], fine_tuned), "head": (short_losses, short_head)}
best = {"scratch": 1e-4, "head": 1e-1, "full": 1e-4}
pictures.explore_learning(by_rate, levels, best, guesses, own)

# %%
longer = records.select(record, group="longer")[0]
fast = records.select(others, group="rates", method="full", lr=1e-3)[0]
losses = ", ".join(f"{loss:.2f}" for loss in fast["losses"][-4:])
print(f"full fine-tuning at 1e-3: {fast['accuracy']:.2%}, last losses {losses}; log 2 is 0.69")
print(f"always the same answer:   {movies.majority:.2%}")
pt.compare("full.scratch", 100 * runs["scratch"]["accuracy"], "from scratch, 250 steps, in %")
found = pd.Series({
    "always the same answer": movies.majority, "head only, 250 steps": short.accuracy.mean(),
    "from scratch, 250 steps*": runs["scratch"]["accuracy"], "head only, at its end": zero,
    "from scratch, 1,250 steps*": longer["accuracy"], "head on the mean, at its end": ends["mean"],
    "counting words": counting, "full fine-tuning, 45 steps*": fine_tuned,
    "full fine-tuning, 250 steps": one})
pd.DataFrame({"accuracy": found.map("{:.1%}".format),                        # *: one seed
              "share of the gain": records.gain(found).map("{:.0%}".format)})

# %% [markdown]
# **Full fine-tuning** has gone most of the way after 45 steps, and has a cliff: at 1e-3 (one seed) its accuracy equals the majority
# baseline to the last digit, and its loss lies at log 2, the entropy of classes that are half and half. It says the *same thing of
# every sentence*. Learn to recognize the two together
# ([transformers#735](https://github.com/huggingface/transformers/issues/735)).
#
# **From scratch** does the same after 250 steps, at both rates that were tried, one seed each. Are 4,000 sentences too few?
# Counting words needs no more, and with five times the steps, on the same sentences, the same network passes the head on
# the pooler (again one seed). So 250 steps were too few to tell.
#
# ## What changed
#
# Here are test sentences on which your fine-tuned model and a head of 2,500 steps disagree. **Can you see what the head
# lacks?** The last lines count one suspicion.


# %%
live = pt.course.live
end_head = run_of({"reads": "pooler", "features": "standardized", "steps": 2500})[0]
features = [standardized(b, whole["pooler"]) for b in cached["test"]["pooler"]]
found = pd.DataFrame(test_set, columns=["text", "label"])
before = live.logits(end_head, features).argmax(1).numpy()
after = live.logits(full_model, pt.bar(test, "batches")).argmax(1).numpy()
found["head"], found["fine-tuned"] = before == found.label, after == found.label
mended, spoiled = (found[(found["head"] != right) & (found["fine-tuned"] == right)]
                   for right in (True, False))
print(f"mended: {len(mended)}, spoiled: {len(spoiled)} of {n:,}")
display(pd.concat([mended[::100], spoiled[::60]]))
found["counting words"] = [log_odds[ids].sum().item() > 0 for ids in words(test_set)] == found.label
found["characters"] = found.text.str.len()
turns = found.text.str.contains(r"\b(?:not?|never|nothing|but)\b|n't", case=False)
found.drop(columns=["text", "label"]).groupby(turns.rename("not or but")).mean().round(3)

# %% [markdown]
# It is never one way: what mends some spoils others. And a *not* or a *but*? The head is ten points worse with
# them, which looks like the answer. But so is the fine-tuned model, which gains some seven points in both kinds; and
# counting words, which sees no order, is worse there too. Such sentences are longer. (One run.)
#
# ## The bill
#
# Full fine-tuning is the most accurate of the three. **Before you run it:** by what factor does it cost more than the
# head, in memory, in time, on disk?

# %%
head_steps = list(my_training(head_model, batches[:7], lr=0.1))      # the first seven of both
bill = {}
for name, way, steps in (("full", full_model, full_steps[:7]), ("head", head_model, head_steps)):
    ledger, cost = pt.account.ledger(way, 16, 32, "adamw"), others["cost"][name]
    bill[name] = {"one step, ms": 1000 * min(step.seconds for step in steps),      # the fastest
                  "memory, predicted, MB*": (ledger.total_bytes - ledger.weights_bytes) / 1e6,
                  "memory, measured, MB*": cost["peak_mb"] - cost["loaded_mb"],
                  "saved for a task, MB": ledger.gradients_bytes / 1e6}     # as much as what trains
print("* beside the weights; measured is recorded, the peak of a fresh process")
bill = pd.DataFrame(bill)
bill.assign(factor=bill["full"] / bill["head"]).round(3)

# %% [markdown]
# Full fine-tuning holds the model four times, and the activations on top (Rajbhandari et al. 2020, §3.1); the head holds it
# once. Of what was measured, the ledger foresaw three quarters for full fine-tuning and almost nothing for the head: believe
# the measured factor. On cached features, the head's next rate costs hundreds of times less than the
# model's.
#
# **One 91 MB file for each task, or a few kB beside a file that all tasks share.** So there is a good method that costs
# much, and a cheap one that is eleven points behind if it reads the pooler, and five to seven if it reads the mean.
# (So what a method gains on this ruler includes what a better reading would have brought.) **What lies between?** That is what
# the rest of this course is about.

# %%
pt.progress("01")

# %% [markdown]
# **Five lines to remember**
#
# 1. A baseline deserves as much care as the method: ask what the head reads, train it until validation gains no more, and
#    count words.
# 2. What is frozen stays the same to the bit; test it, since nothing crashes when it does not.
# 3. Frozen features can be computed once: then experiments take seconds.
# 4. Two runs that differ in two things rarely tell which of them did it.
# 5. A loss at the entropy of the class shares (here log 2), an accuracy equal to one share: the model always says the same.
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
# ## Further
#
# ### When, and when not
#
# **From scratch**, when your data are like nothing that a model was ever pretrained on, and you have many more of them
# than here. Not for these few thousand sentences: counting words was no worse than the runs here (one seed each).
#
# **Head only**, as the thing to try at the start, and where one base serves many tasks: features are computed once and
# kept, and a new task costs seconds. It can only use what is already there and easy to read off; so ask which
# features you read.
#
# **Full fine-tuning**, when there is one task, enough memory, and every point counts. It is touchy: small learning
# rate, warm-up, more than one seed (Mosbach et al. 2021, §5 and §6). And where the sentences to come are of another kind
# than those of training, it can do worse than the head alone, since it bends features that were good (Kumar et al. 2022, §3).
#
# ### Why such a rate?
#
# The head learned at 0.1, full fine-tuning at 0.0001. You saw that the pooler's features vary little, with a standard
# deviation of 0.037 against 0.182 in the mean. Is that why? With cached features it can be tried: **multiply the pooler's
# features by ten. At which rate is the loss lowest then?**

# %%
rates = (0.001, 0.01, 0.1, 1, 10)
guess_tenfold = pt.widgets.Guess("It was 0.1. Ten times as large:", rates, "full.tenfold")
guess_tenfold


# %%
def sweep(name, times):
    """Validation loss of the short head at each rate, on features that many times as large."""
    train, held_out = ([b | {"features": times * b["features"]} for b in cached[part][name]]
                       for part in ("train", "validation"))
    return {lr: pt.evaluate(train_head(train, lr)[0], held_out).loss
            for lr in pt.bar((1e-4, 1e-3, 1e-2, 1e-1, 1.0), "rates")}


sweeps = pd.DataFrame({f"{name} × {times}": sweep(name, times)
                       for name in ("pooler", "mean") for times in (1, 10)})
if budget.claims:
    pt.compare("full.tenfold", sweeps["pooler × 10"].idxmin(), "the rate of the lowest loss")
sweeps.round(3)

# %% [markdown]
# Ten times the features, a tenth of the rate, for both places, on this grid of tens. A logit is a sum of weight times feature, so larger features
# reach the same logits with smaller weights, and AdamW moves each weight by about $\eta$ a step, whatever the size of its
# gradient. **A good rate belongs to the scale of what is read.** That is a part of the thousand and not all: in the eight runs,
# 250 steps on features of deviation 1 still chose rates from 0.001 to 0.03.
#
# ### Exercise 6 · Three runs that went wrong (optional; 2 points, about 6 minutes)
#
# Each of these trained a head on the pooler's output, for 250 steps, with **one** change to a good training (the lesson's own, not
# yours). Nothing crashed. Which change was it?
#
# 1. the gradients are never cleared
# 2. the gradients are cleared between the backward pass and the optimizer's step
# 3. each batch has the labels of the batch before
# 4. the loss has the wrong sign
# 5. the rate is 100 times as large
# 6. the rate is 100 times as small
#
# Write `culprits`, a dictionary that gives each of `"A"`, `"B"` and `"C"` the number of its change.

# %%
pt.seed(0)
patients = pictures.patients(Head, cached["train"]["pooler"], lr=0.1)
pt.plots.show(pt.plots.curves({name: seen.losses for name, (_, seen) in patients.items()}),
              "The losses of the three, and of a healthy run.")
held_out = cached["validation"]["pooler"]
pd.DataFrame({name: {"accuracy": accuracy(head, held_out), "distance of the weights": seen.moved}
              for name, (head, seen) in patients.items()}).T.round(3)

# %% exercise="full.culprits" part="solution"
### BEGIN SOLUTION
culprits = {"A": 3, "B": 1, "C": 6}
### END SOLUTION

# %% exercise="full.culprits" part="check"
culprits = pt.check("full.culprits", culprits)

# %% exercise="full.culprits" part="grade"
pt.require("full.culprits")

# %% [markdown]
# **What did pretraining bring?** The features are there, so ask them: which training sentences are nearest to
# the one below, in the mean? **Guess:** will they be about scripts? About messes? Negative?

# %%
library = movies.train[:1000 if budget.claims else 64]
labels = torch.tensor([label for _, label in library])
question = ("The script is a mess.", 0)    # change it
pt.seed(0)
networks = {"pretrained": head_model,
            "random": pt.models.load("minilm", labels=2, pretrained=False)[0].to(place)}
lines = pt.data.batches([question, *library], tokenizer, 64, shuffle=False, device=place)
for name, network in networks.items():
    space = torch.cat([b["features"] for b in read(network, lines)["mean"]])
    space = torch.nn.functional.normalize(space - space.mean(0), dim=-1).cpu()    # (sentences, 384)
    near = (space @ space.T).fill_diagonal_(-1)
    votes = labels[near[1:, 1:].topk(10).indices].float().mean(1) > 0.5
    right = (votes == labels).float().mean()
    print(f"{name}: the vote of the ten nearest is right for {right:.1%}; near to {question[0]!r}")
    display(pd.DataFrame([library[i] for i in near[0, 1:].topk(3).indices.tolist()]))

# %% [markdown]
# The pretrained network finds sentences about the same thing, often in the same word; the random one finds sentences of a similar
# build, with the same small words. Seven in ten of the pretrained neighbours' votes are right, without a single step of
# training: sentences of similar meaning lie close together there, and liking a film is a part of the meaning.
