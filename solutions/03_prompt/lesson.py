# %% [markdown]
# # 03 · Soft prompts: can ten vectors that are no words beat an instruction?
# You write "Is this movie review positive or negative?" in front of a film review. The model sees a row of vectors, one for each token. It cannot know that these vectors came from words. Then why choose them among words?
#
# You have many tasks, and fine-tuning needs a copy of the model for each. Prompts in words do much worse. So keep the model frozen, and train the vectors in front of the text: a **soft prompt** (Lester, Al-Rfou and Constant 2021).
#
# | | |
# |---|---|
# | **Time** | about 75 minutes (estimated), 38 of them for 3 exercises, and one more if you like; Run All takes about two minutes |
# | **You need** | lessons 00 to 02; what a token is |
# | **Data** | film reviews of at most 10 words; 470 test reviews, of which half are liked; Hutto & Gilbert 2014, MIT licence |
#
# <details><summary>Two questions from earlier lessons</summary>
#
# **02: On MiniLM with two labels, what does `sum(p.requires_grad for p in inject(model, ("query",), BiasAdapter).parameters())` give?** 8: a vector in each of six blocks, and the head's weight and bias.
#
# **00: In a block of MiniLM, what does one token get from another?** The other token's value vector, weighted by attention.
# </details>

# %% jupyter={"source_hidden": true}
import pandas as pd
import torch

import peft_teach as pt

records, budget = pt.course.records, pt.course.budget()    # smoke|cpu|gpu
pictures = pt.course.pictures("prompt")
record, reading = records.load("prompt"), pictures.reading    # assets/records
pt.seed(0)
model, tokenizer = pt.models.load("smollm2")
movies = pt.data.load("movies")
train, test = reading.short(movies.train), reading.short(movies.test)

# %% [markdown]
# ## 1 · Three instructions
#
# SmolLM2, a small language model, which we store in 4 bits, reads `Review: A triumph.` and then `Sentiment:`. Of ` positive` and ` negative`, the word with the larger logit is its answer. An instruction may stand in front. Here are three:

# %%
pd.set_option("display.max_colwidth", None)    # whole sentences
answers = pictures.answers(record, test)    # a row for each of 470 reviews
scores = pictures.scores(answers.iloc[:, :6], record)
scores[["right", "says positive", "beside no instruction"]]    # brackets: 95 %

# %% [markdown]
# None of the three is better than no instruction. And no small step leads from one of 49,152 tokens to the next: gradient descent cannot walk among words. Among vectors it can.
#
# ## 2 · Give up the words, keep the matrix
#
# *Classify the sentiment of this film review* and its line break are ten tokens. The model turns them into ten vectors of 576 numbers: a matrix $P$. Give up the words, keep the matrix, and train it.

# %%
pt.plots.show(pt.drawing.block("prompt", pt.prompt.Config(length=10), model="smollm2"),
              "The first of SmolLM2's 30 blocks. Above, three vectors stand for the ten.")

# %% [markdown]
# $$ h = f([\,P\,;\,E(x)\,]) $$
#
# | symbol | shape | trained | is |
# |---|---|---|---|
# | $x$ | (batch, seq) | – | token ids |
# | $E(x)$ | (batch, seq, 576) | no | the text's vectors, as the model embeds them |
# | $P$ | (10, 576) | **yes** | the soft prompt |
# | $f$ | – | no | the whole model after its embedding |
#
# Where does the code go? Lesson 02 wrapped single modules. But if the embedding put out ten more vectors, a text of 7 tokens and 7 labels would get logits for 17 positions: a wrapper around one module cannot reach labels, mask and logits. So a soft prompt wraps the whole model.
#
# ### Exercise 1 · The prompt in front (3 points, about 15 minutes)
#
# Write `SoftPrompt(model, start)`, a `torch.nn.Module` around a language model.
#
# - One parameter trains. It has the shape of `start`, (length, d), and begins equal to it. `start` itself never changes. The whole model is frozen.
# - It is called with `input_ids`, `attention_mask` and perhaps `labels`, each (batch, seq). It returns what the model returns, with `.logits` and `.loss`. Every token of the text sees the prompt; padding stays hidden.
# - The caller notices no prompt: `.logits` is (batch, seq, vocabulary), for the text's tokens alone, and the loss is that of the text's labels. The prompt itself is never predicted: PyTorch's cross-entropy leaves out a label of −100. The text's first token may have a label; that one counts.
#
# The model accepts `inputs_embeds` in place of `input_ids`, and counts positions by itself. `model.get_input_embeddings()` is the module that embeds.


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
# ## 3 · The bet
#
# Your class goes around SmolLM2. At first its ten vectors *are* the words *Classify the sentiment of this film review*. We train for 32 steps of eight reviews at a rate of 0.02, and the only label is the word after `Sentiment:`. **Will the vectors do better than the words that they started as? And how many of the changed answers go from positive to negative?**

# %%
pt.widgets.Guess("Ten trained vectors, against the words they started as:",
                 ("worse", "the same", "better"), "prompt.beats")

# %%
pt.widgets.Guess("Answers that changed from positive to negative, of all that changed:",
                 ("a quarter", "half", "three quarters", "nearly all"), "prompt.way")

# %% [markdown]
# The model reads a review now, and after training. <span class="notebook">Write one of your own.</span>

# %%
review = "It is slow, cold and odd, and I was never bored."
START, rate = record["setting"]["start"], record["setting"]["lr"]
ids = torch.tensor(tokenizer(START)["input_ids"], device=model.device)
prompt = SoftPrompt(model, model.get_input_embeddings()(ids).detach()).to(pt.device())
unread = pictures.read(prompt, tokenizer, review)

# %%
batches = reading.ask(train[:256 if budget.claims else 16], tokenizer, 8, seed=3)
pt.widgets.watch(pt.train(prompt, batches, lr=rate), len(batches), curve=False)
pictures.read(prompt, tokenizer, review, before=unread)

# %% [markdown]
# Beside your prompt, *ten vectors* are four recorded prompts from these words, which saw the 256 reviews in four orders (seeds 0 to 3; 3 is yours).

# %%
asked = pictures.by_length(test)[:None if budget.claims else 20]
mine = reading.gaps(prompt, pt.bar(reading.ask(asked, tokenizer, 20), "batches"),
                       reading.two_words(tokenizer))
answers = answers.head(len(asked)).assign(yours=(mine > 0).numpy())
scores = pictures.scores(answers, record).drop(columns="beside no instruction")
moved = scores.index.str.contains("threshold")    # for later
pt.compare("prompt.beats", scores["beside Classify …"]["ten vectors"], "vectors beside their words")
scores[~moved].tail(3)

# %%
before, now = answers[START.strip()], answers["yours"]
changed = answers[before != now]
pt.compare("prompt.way", f"{(before & ~now).sum()} of {len(changed)}",
           "changed answers that went to negative")
is_right = changed.liked.eq(now).map({True: "right", False: "wrong"})
changed[["review"]].assign(now=is_right).tail(7)

# %% [markdown]
# <details><summary>What the tables say</summary>
#
# Better, mean of four orders: 85 % against 78 %. Beside our best instruction we cannot tell.
# </details>
#
# So 5,760 trained numbers beat the instruction that they started as. Did they teach the model something about films? Nearly all changed answers went one way, from positive to negative.
#
# ## 4 · The model already knew
#
# Perhaps the model could tell good reviews from bad ones all along, and only said "positive" too easily. So far the answer is positive if the **gap**, the logit of ` positive` less that of ` negative`, is more than 0. Keep the words, train nothing, and move this **threshold**. Where would you put it?

# %%
pictures.explore_threshold(record, test)

# %% [markdown]
# For the words, the best threshold on the 256 training reviews is 1.84. On the test reviews:

# %%
scores[moved]

# %% [markdown]
# Between the instruction with this one number and 5,760 trained numbers we cannot tell.
#
# But changes that go one way prove nothing. Imagine a prompt that does teach the model to know a bad review: it lowers the gaps of disliked reviews alone. Its changes go one way, too. What tells the two apart is the **ranking**, in which no threshold has a part: of a liked and a disliked review, how often has the liked one the larger gap?

# %%
words, vectors = (gaps[:len(answers)] for gaps in pictures.gaps(record))
liked = answers.liked.to_numpy()
fronts = {"the words": words, "all gaps less 1.84": words - 1.84, "ten vectors, seed 0": vectors,
          "yours": mine.numpy(), "imagined: less 0.5 where disliked": words - 0.5 * ~liked}
pd.DataFrame([{"answers changed": ((gap > 0) != (words > 0)).sum(),
               "to negative": ((gap <= 0) & (words > 0)).sum(),
               "ranked right": (gap[liked][:, None] > gap[~liked]).mean()}
              for gap in fronts.values()], [*fronts]).round(3)

# %% [markdown]
# The imagined prompt ranks more pairs right. Yours ranks about as the words did.
#
# **A prompt need not teach a model its task. It can bring out what the model already knows.** On the review above, the model now says one of the two words.

# %%
pt.sentence("prompt.beats", ...)    # yours: what did the ten vectors change?

# %% [markdown]
# <details><summary>Ours</summary>
#
# They made the model say one of the two words, and "positive" less easily. The ranking stayed within a point. What they do *inside* the model, we cannot tell.
# </details>
#
# ## 5 · Bugs that raise no error
#
# A prompt that shifts the labels by ten positions raises no error. So write the test that notices.
#
# ### Exercise 2 · The law of the prompt (3 points, about 16 minutes)
#
# `places_kept(prompt_class, fresh)` must fail, as `assert` does, unless **the text's tokens and labels keep their positions and its padding stays hidden**. `fresh()` returns a new copy of one tiny language model: 13 words, d = 6, called like any model of transformers. `prompt_class(model, start)` is a soft prompt. Padding may stand on either side.
#
# What is the right answer for vectors that are not words? Nobody knows. So find a `start` for which the bare model can tell you. One correct prompt writes zeros at the padding, which nobody reads.


# %% exercise="prompt.holds" part="solution"
def places_kept(prompt_class, fresh):
    ### BEGIN SOLUTION
    model, front = fresh(), torch.tensor([[3, 7, 1], [3, 7, 1]])
    ids = torch.tensor([[5, 2, 9, 4, 8], [0, 0, 6, 1, 12]])    # one padded
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
# Take a trained prompt. Ask about a review alone, then beside a long one.

# %%
trained = SoftPrompt(model, torch.tensor(record["vectors"]["text"], device=model.device))
two = reading.two_words(tokenizer)


def said(reviews, read=lambda logits, mask: logits[:, -1]):
    """Which of the two words the model says of each review."""
    texts = [reading.QUESTION.format(review) for review in reviews]
    rows = tokenizer(texts, padding=True, return_tensors="pt").to(model.device)
    with torch.no_grad():
        logits = trained(rows["input_ids"], rows["attention_mask"]).logits
    at = read(logits, rows["attention_mask"])
    return ["positive" if row[two[1]] > row[two[0]] else "negative" for row in at]

# %%
short, long = "A triumph.", ("It is hard to think of anything that this film, which goes on for "
                             "ever, does not get wrong.")
pd.DataFrame({"alone": said([short]), "beside a long one": said([short, long])[:1]}, index=[short])

# %% [markdown]
# The same review, two answers: `logits[:, -1]` is padding where another text is longer. An encoder's head reads the first token, `[CLS]`, and now a prompt stands in front.
#
# ### Exercise 3 · The position that is read (optional, 2 points, about 8 minutes)
#
# Write `first_and_last(h, attention_mask, length)` for both kinds of model. `h` is (batch, length + seq, d), with the prompt's positions still in front. `attention_mask` is (batch, seq), the text's own, padded on the right or on the left. Return two tensors (batch, d): the state of each text's first real token, and of its last. Gradients must reach `h`.


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
    return first_and_last(logits, mask, 0)[1]    # 0: no prompt there


pd.DataFrame({"alone": said([short], last_real),
              "beside a long one": said([short, long], last_real)[:1]}, index=[short])

# %% [markdown]
# ## 6 · Can a prompt be read?
#
# The ten vectors have left their words. Each still has a nearest word in the vocabulary, and papers print these words. Perhaps they make a better instruction.
#
# ### Exercise 4 · Snap (2 points, about 7 minutes)
#
# Write `snap(P, E, t)`. For each vector of `P` it returns the nearest token, (length,), by Euclidean distance to the rows of `E`, (vocabulary, d). It also returns `P`, moved in straight lines towards these rows: not at all at `t` = 0, the whole way at `t` = 1.
#
# All differences together take a gigabyte: make no tensor larger than `E`.


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
# Take the recorded prompt of seed 0. **What share of the answers is right once each vector is replaced by its nearest word, to within 0.03, and how sure are you?**

# %%
pt.commit("prompt.left", ..., like=[0.5, 0.6])    # [share right, how sure]

# %%
E, trained_P = model.get_input_embeddings().weight.detach().cpu(), trained.P.detach().cpu()
tokens, _ = snap(trained_P, E, 1.0)
snapped = pictures.way(record, 1.0)
pt.compare("prompt.left", [snapped.curves["text"][1.0], 1.0],
           f"its nearest words, on {snapped.tested} reviews; and how sure one is now")
pd.DataFrame({"started as": [repr(tokenizer.decode([i])) for i in ids],
              "nearest now": [repr(tokenizer.decode([i])) for i in tokens]}).T

# %% [markdown]
# Now walk back to the words, from these vectors and from others that began as random numbers. How far can one go before accuracy falls?

# %%
pictures.explore_way(record)

# %%
pt.sentence("prompt.read", ...)    # yours: what do nearest words tell?

# %% [markdown]
# <details><summary>Ours</summary>
#
# They tell nothing of what was learned. By distance, all ten are still the words of the start, and as words they bring the old 78 % again. Each vector moved about as far as its nearest other word is, but not towards it: in 576 dimensions there is much room between words. A fifth of the move brings most of the gain in accuracy. Vectors from random numbers stay far from every word, and fall to 78 % at their nearest words.
# </details>
#
# Would any move have kept the nearest words? Push each vector of the start in a random direction:

# %% tags=["nbval-check-output"]
first = E[ids.cpu()]
far = (trained_P - first).norm(dim=1, keepdim=True)
way = torch.nn.functional.normalize(
    torch.randn(first.shape, generator=torch.Generator().manual_seed(0)), dim=1)
pd.Series({f"{times} × as far": sum(int(a) != int(b) for a, b in zip(
    snap(first + times * far * way, E, 1.0)[0], ids)) for times in (1, 3)}).to_frame(
        "nearest words that change")

# %% [markdown]
# None changes here, either: **such a prompt's nearest words say nothing of what it learned.** Khashabi et al. even trained good prompts whose nearest words are any chosen text, such as another task's instruction.
#
# ## 7 · Onto your ladder
#
# MiniLM says no words: a new head reads its first token. Your class goes in front of its blocks, with twenty random vectors, and trains on ratings as every rung does. The head on the pooler, solved, has an $R^2$ of 0.318. **Of five recorded seeds with the prompt, how many come within 0.1 of it, or above?**

# %%
pt.commit("board.prompt", ..., like=3)    # 0 to 5

# %%
inject = pt.mine("change.inject")


def wrap(model):
    return inject(model, ("bert",), lambda base: pictures.OnBackbone(base, SoftPrompt, 20))


runs = pt.board.scores("prompt")[0].mean(1)
near = runs > records.load("ladder")["exact"]["r2"] - 0.1
pt.compare("board.prompt", int(near.sum()), "seeds within 0.1, of five")
pd.Series(runs, range(2, 7), name="R²").rename_axis("seed").to_frame().T.round(3)

# %%
pt.board.offer("prompt", wrap)    # yours: two minutes and more

# %% [markdown]
# Four of five seeds learned next to nothing, and one came as far as the head on the pooler. The rate was searched with one seed, which learned; smaller rates were not tried with others. At 11 billion parameters a prompt meets fine-tuning, however it starts (Lester et al.).
#
# ## Three doors

# %%
pt.doors("prompt", wrap, pt.prompt.Config(length=20))

# %% [markdown]
# Open the library's page under the table. **A question that only this page answers:** your prompt stands at the very front of a row. When a text is padded on the left, where does the library put its prompt?
#
# <details><summary>The answer</summary>
#
# Behind the padding, directly in front of the text (`behind_padding`): a sliding window of attention counts padding, too, and might not reach a prompt on its other side.
# </details>
#
# **What this lesson claims**
#
# | claim | seen here | what could have refuted it, and was tried | at larger scale |
# |---|---|---|---|
# | A trained prompt is better than the words that it started as. Beside our best instruction we cannot tell. | 85.3 %, four orders of the same 256 reviews, from 83.6 to 86.6 %; 470 test reviews. Beside its words better by 2.7 to 11.6 points, beside our best −0.0 to 8.4 | No words at all: better by 1.3 to 9.6 points. A prompt from random numbers, 83.4 %: cannot tell it from no instruction (one seed). On 277 validation reviews we cannot tell three rates apart; this is the middle one. | related: T5 with a trained prompt is far ahead of GPT-3 with a few examples (Lester et al. 2021, figure 1) |
# | We cannot tell the trained prompt from its words with one threshold, and see no better ranking. | The words with a threshold: 85.7 %; the vectors beside it −3.3 to 2.3 points, cannot tell. 89 to 94 % of the answers are the same. | Ranking: the words have 93.1 % of pairs right, the vectors 93.0 to 93.9 % (seed 0: −1.3 to 1.1 points). A threshold without the instruction: the vectors are −1.1 to 6.1 points from it, cannot tell. At three times the rate 85.5 % are right, and 92.4 % of pairs (one seed). | prompts bring out what a model has, and may fail where a task needs new patterns of attention (Petrov et al. 2024) |
# | What a prompt from random numbers learned is not in its nearest words, by distance. | put back to these, it falls from 83.4 to 78.3 % (one seed) | A prompt from words falls from 85.5 to 78.1 %, which proves nothing: a random move three times as long would leave its nearest words, too | mixed: related words were found (Lester et al. 2021, §7); good prompts lie near almost any text (Khashabi et al. 2022) |

# %%
pt.progress("03")

# %% [markdown]
# ## At your desk
#
# The same with Hugging Face peft:
#
# ```python
# from peft import PromptTuningConfig, get_peft_model
#
# config = PromptTuningConfig(task_type="SEQ_CLS",         # "CAUSAL_LM" for a language model
#                             num_virtual_tokens=20,       # the text is repeated or cut to 20
#                             prompt_tuning_init="TEXT", tokenizer_name_or_path=name,
#                             prompt_tuning_init_text="Classify the sentiment of this review.")
# tuned = get_peft_model(model, config)
# tuned.print_trainable_parameters()
# ...                                                      # your training loop, or a Trainer
# tuned.save_pretrained("my-prompt")                       # the vectors, and a new head
# ```
#
# Think of section 5: in a language model peft leaves the prompt's positions in `.logits`, and BERT's head reads the prompt's first vector.
#
# | a first recipe, 1 to 70 billion parameters | take | source |
# |---|---|---|
# | before any training | several instructions, and a threshold chosen on labelled texts; or a few examples in the prompt, and the model's leaning to some answers corrected | this lesson; Zhao et al. 2021 |
# | length and start | 20 vectors, from the labels | Lester et al. 2021, §3.2 |
# | training | search the rate; thousands of steps, not 32 (T5: Adafactor, 0.3, batch 32, 30,000 steps) | Lester et al. 2021, §3 |
# | when | one model in memory serves many tasks, each row of a batch with its own prompt | Lester et al. 2021, §1 |
# | when not | you cannot spare 20 tokens: a prompt cannot be merged, LoRA can (lesson 07) | |
# | what misleads here | our rate, 32 steps, and what one threshold did: this task was nearly solved before we began | |
#
# **Sources**
#
# - Lester, Al-Rfou & Constant 2021, *The Power of Scale for Parameter-Efficient Prompt Tuning*, arXiv 2104.08691: §2 the method; §3.1 and figure 1, the curve over scale; §3.2 and figure 3, lengths and starts; §7 nearest words.
# - Petrov, Torr & Bibi 2024, *When Do Prompting and Prefix-Tuning Work?*, arXiv 2310.19698.
# - Zhao et al. 2021, *Calibrate Before Use*, arXiv 2102.09690.
# - Khashabi et al. 2022, *Prompt Waywardness*, arXiv 2112.08348.
# - Data: Hutto & Gilbert 2014, *VADER*, ICWSM; sentences of the film reviews of Pang & Lee 2004.
