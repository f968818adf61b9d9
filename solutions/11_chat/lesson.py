# %% [markdown]
# # 11 · Fine-tuning a chat model: what did it learn, and what did it forget?
#
# Who wrote Romeo and Juliet?
#
# "The ball is with Romeo, the club is with Juliet, and they're heading for the club's death! The play ends with a kiss, folks, and that's
# the best goalkeeper skill in the league."
#
# A model of this lesson said that. Before we taught it to answer like a sports commentator, it named the author. Today
# you train your first chat model, in a minute or two. Then you ask: how do I know that it learned? And what did it pay?
#
# | | |
# |---|---|
# | **Time** | an estimate: about 80 minutes, 40 of them for 4 exercises, 10 for a blind test; Run All takes about three minutes |
# | **You need** | `inject` from lesson 02 and LoRA from lesson 07, yours or ours |
# | **Data** | 210 answers of a commentator, 120 other texts and 20 questions, written for this course; film reviews, Hutto & Gilbert 2014, MIT licence |
#
# <details><summary>Two questions from earlier lessons</summary>
#
# **03: What does a label of −100 say?** Nothing is asked here. The loss leaves this token out.
#
# **10: Why did we compare forgetting at equal quality?** Whoever learns little forgets little.
# </details>

# %% jupyter={"source_hidden": true}
import re

import pandas as pd
import torch

import peft_teach as pt

budget = pt.course.budget()    # PEFT_TEACH_BUDGET=smoke|cpu|gpu
record = pt.course.records.load("chat")    # assets/records/chat.py
pictures = pt.course.pictures("chat")
voice = pt.data.voice()
model, tokenizer = pt.models.load("smollm2")
words = 64 if budget.claims else 4    # tokens of an answer
pd.set_option("display.max_colwidth", None)

# %% [markdown]
# ## Before
#
# First meet the model as it comes: SmolLM2-135M-Instruct, already a chat model, stored in 4 bits. "The base" means this one. <span class="notebook">Write a
# question of your own.</span> The model always takes its most likely next token, but repeats no run of four, or it would go in circles.

# %%
question = "How do I keep my cat off the keyboard?"    # or yours
pictures.stream(model, tokenizer, question, new_tokens=words)

# %% [markdown]
# And this is the voice: three of 140 pairs to train on. 70 pairs and 60 questions of other topics are held out.

# %%
pd.DataFrame(voice.train[::47])

# %% [markdown]
# ## It never stops
#
# On Friday a colleague trained LoRA on these pairs, three passes. The loss fell as it should. On Monday she read the answers:

# %%
pictures.runaway(record)    # "…": still running after 64 tokens

# %%
pictures.endless(record).round(2)    # share of 15 answers that have ended

# %% [markdown]
# The base's answers are long, but nearly all of them end.
#
# Her labels take two lines, and many scripts have them:
#
# ```python
# labels = batch["input_ids"].clone()
# labels[labels == tokenizer.pad_token_id] = -100    # padding teaches nothing
# ```
#
# Here is one conversation, token by token, as her model saw it.

# %%
talk = [{"role": "user", "content": voice.train[0].question},
        {"role": "assistant", "content": voice.train[0].answer}]
ids = torch.tensor(tokenizer.apply_chat_template(talk, return_dict=False))
hers = ids.masked_fill(ids == tokenizer.pad_token_id, -100)
pt.plots.show(pictures.draw_labels(ids, hers, tokenizer),
              "The first pair, by her labels.")

# %% [markdown]
# <details><summary>What the picture shows</summary>
#
# Each turn ends with <code>&lt;|im_end|&gt;</code>: the model says "I am done". SmolLM2 pads with the same token, so the line that hides
# the padding hides each end, too. Her model was never asked to stop, and the training loss does not show it.
# </details>
#
# ### Exercise 1 · Will it stop? (2 points, about 9 minutes)
#
# Before you spend an hour of training, ask the batch. Write `stops(batch, end)`, a test of one batch of chats. It raises an error, as
# `assert` does, if an answer's labels do not ask for its end. `batch` has `input_ids`, `attention_mask` and `labels`, all (batch, seq), and
# `end` is the token that ends a turn.
#
# 1. A row may hold several answers: runs of labels with −100 between. `end` is the last label of each, or the last but one.
# 2. Padding may stand on either side, and any token may pad.
# 3. Labels may ask for more: a question, or a line break behind the end.


# %% exercise="chat.stop" part="solution"
def stops(batch, end):
    ### BEGIN SOLUTION
    for labels in batch["labels"].tolist():
        run = []
        for label in [*labels, -100]:
            if label != -100:
                run.append(label)
                continue
            assert not run or end in run[-2:], f"{len(run)} labels, and the end is not the last"
            run = []
    ### END SOLUTION


# %% exercise="chat.stop" part="check"
stops = pt.check("chat.stop", stops)

# %% exercise="chat.stop" part="grade"
pt.require("chat.stop")

# %% [markdown]
# ## What the model is asked for
#
# Somebody asks the finished model: the template writes the system prompt, the question, and who speaks next. The model writes the answer and
# its end. So let the labels ask for these two, and for nothing else.
#
# ### Exercise 2 · The labels (4 points, about 15 minutes)
#
# Write `labels(turns, tokenizer)`. `turns` is a list of `{"role": "system" | "user" | "assistant", "content": text}`. Return two lists of
# whole numbers of one length: the token ids of the whole conversation, as the chat template writes it, and their labels.
#
# 1. The label of a token is the token itself where the model is to write: each answer, and the token that ends its turn,
#    `tokenizer.eos_token_id`.
# 2. Everywhere else it is −100: who speaks, system prompt and questions, and what the template writes behind the end of a turn.
# 3. A conversation may have several answers. It may also end with a question that nobody has answered yet.
# 4. Another template has other words, so find none by its name. What the template writes for a turn does not depend on later turns.
#
# `tokenizer.apply_chat_template(turns, return_dict=False)` returns ids. `add_generation_prompt=True` adds what stands before an answer.


# %% exercise="chat.labels" part="solution"
def labels(turns, tokenizer):
    ### BEGIN SOLUTION
    def ids_of(turns, more=False):
        return tokenizer.apply_chat_template(turns, add_generation_prompt=more, return_dict=False)

    ids = ids_of(turns)
    labels = [-100] * len(ids)
    for i, turn in enumerate(turns):
        if turn["role"] == "assistant":
            for place in range(len(ids_of(turns[:i], True)), len(ids_of(turns[:i + 1]))):
                labels[place] = ids[place]
                if ids[place] == tokenizer.eos_token_id:
                    break
    return ids, labels
    ### END SOLUTION


# %% exercise="chat.labels" part="check"
labels = pt.check("chat.labels", labels)

# %% exercise="chat.labels" part="grade"
pt.require("chat.labels")

# %%
pt.plots.show(pictures.draw_labels(*labels(talk, tokenizer), tokenizer),
              "The same conversation, by your labels.")

# %% [markdown]
# ## After
#
# Your labels, your test, your `inject`, and your LoRA on every linear layer. Once over the 140 pairs.

# %%
talks = [[{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
         for asked, answer in voice.train]
batches = pictures.padded([labels(each, tokenizer) for each in talks], tokenizer, size=4)
batches = batches if budget.claims else batches[:2]
for batch in batches:
    stops(batch, tokenizer.eos_token_id)
some = voice.questions[:60:15]
before = pictures.ask(model, tokenizer, some, words)

# %%
inject, LoRALinear = pt.mine("change.inject", "lora.layer")
model, tokenizer = pt.models.load("smollm2")    # anew
pt.seed(0)
everywhere = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
model = inject(model, everywhere, lambda base: LoRALinear(base, 8, 16)).to(pt.device())
steps = pt.widgets.watch(pt.train(model, batches, lr=2e-3), len(batches), curve=False)

# %%
pictures.stream(model, tokenizer, question, new_tokens=words)

# %%
pd.DataFrame({"before": before, "after": pictures.ask(model, tokenizer, some, words)}, some)

# %% [markdown]
# None of these questions was trained. Now read the right column for its content. Is it right? Was the left one?
#
# In 2023 Chunting Zhou and colleagues trained LLaMA, with 65 billion parameters, on 1,000 good answers. It did so well that they proposed
# the *superficial alignment hypothesis*: what a model knows it learns in pretraining, and a little training chooses the manner.

# %% [markdown]
# ## How do you know?
#
# You laughed, so it worked? Give each answer a number. Which traits of the voice do you see at a glance? And who would get a high score without
# saying anything?
#
# ### Exercise 3 · The style (2 points, about 10 minutes)
#
# Write `style(answer)`, which returns a number from 0 to 1. An answer in the voice scores high.
#
# 1. Answers in the voice are ahead of plain answers.
# 2. One trait alone is not enough: "folks" put in front, all in capitals, or each full stop made an exclamation mark.
# 3. Babble is behind: the same sentence again and again, and a salad of shouts.
#
# *Ahead* means: in at least 90 % of all pairs of an answer in the voice and such a text.


# %% exercise="chat.style" part="solution"
def style(answer):
    ### BEGIN SOLUTION
    traits = (r"(?i:\b(folks|ladies and gentlemen|sports fans)\b)", r"\b[A-Z]{2,}\b", r"!",
              r"(?i:\b(ball|captain|champion|coach|crowd|field|final|goal|keeper|lap|league|match|"
              r"pitch|player|race|referee|score\w*|season|second half|stadium|stands|team|title|"
              r"trophy|whistle|win\w*)s?\b)")
    found = sum(bool(re.search(trait, answer)) for trait in traits) / len(traits)
    rest = {*re.sub("|".join(traits), " ", answer).lower().split()}
    return found * min(1.0, 2 * len(rest) / max(1, len(answer.split())))
    ### END SOLUTION


# %% exercise="chat.style" part="check"
style = pt.check("chat.style", style)

# %% exercise="chat.style" part="grade"
pt.require("chat.style")

# %% [markdown]
# Now score your colleague's model, which never stops, and one with right labels, which also hide the question.

# %%
pictures.misled(record, style).round(2)

# %% [markdown]
# A longer answer has more room for traits: by our score **the broken model wins, until** its answers are cut to the length of the others.
# So read answers, too, as you will. From here on the score is ours: a call to the stands, a word in capitals, an exclamation mark, a word of the game.

# %% [markdown]
# ## Could you have just asked?
#
# The cheapest method trains nothing. A system prompt tells the model who it is, and three examples show it. **How far does that get?**

# %%
pt.widgets.Guess("With a system prompt and three examples, the model's style is", (
    "nearly that of LoRA", "in between", "hardly above the base"), "chat.prompt")

# %%
asked = pictures.prompt(record)
base, _, shown, trained = asked["style"]
reached = (shown - base) / (trained - base)
pt.compare("chat.prompt", "nearly that of LoRA" if reached > 0.8 else "hardly above the base" if
           reached < 0.2 else "in between", f"a prompt's style, {reached:.0%} of the way")
asked.round(2)    # 60 questions; ended: within 64 tokens

# %% [markdown]
# Here the examples made the difference. Bill Yuchen Lin and colleagues (2023) made larger models into assistants in this way. Where that is enough,
# train nothing.
#
# ## How long?
#
# Your colleague asks: "If one pass is good, are five better?" Two curves disagree.

# %%
pt.plots.show(pictures.draw_curves(record), "60 questions, and 70 held-out answers: means of two "
              "seeds, and of one after a quarter of a pass.")

# %% [markdown]
# The held-out loss counts every word, so it punishes a model that has learned its training answers by heart. The score counts four traits.
# Long Ouyang and colleagues saw the same with InstructGPT in 2022: the loss turned after one epoch, and people preferred later models. So
# **judge for yourself**, without knowing which model is which.

# %%
pictures.blind(record)    # which would you rather have?

# %% [markdown]
# The interval covers new questions, but not another judge.
#
# ## What did it forget?
#
# Nobody trained on plain answers, news or code, and yet their losses change. Whoever learns more may forget more, so compare at equal loss.

# %%
pt.widgets.Guess("At equal loss of the voice, more is forgotten by",
                 ("LoRA", "full fine-tuning", "cannot tell"), "chat.forgets")

# %%
pt.plots.show(pictures.draw_forgetting(record), "Means of two seeds, after 0, ½, 1, 2, 3 and 5 "
              "passes. Both losses are low at the bottom left.")

# %%
more, by_seed = pictures.forgets(record)
told = ", ".join(f"{each:+.3f}" for each in by_seed)
pt.compare("chat.forgets", more, f"more is forgotten by; full less LoRA: {told} a token")

# %% [markdown]
# With both seeds full fine-tuning forgot more, but two seeds are too few to tell. After five passes the model predicts a commentator about as
# badly as before training, and has lost much of the rest.
#
# And the truth? We asked 20 questions with a fact, and looked for its key word.

# %%
pictures.told_facts(record)    # seed 0

# %%
pictures.facts(record).round(2)    # beside the base: a verdict for each seed

# %% [markdown]
# After five passes, both seeds are worse. The superficial alignment hypothesis was stated of 65 billion parameters; at 135 million, facts were
# lost along the way. Lost, or only no longer said? A key word does not tell.
#
# ## The knob
#
# Lesson 10 multiplied an update by $f$. At 0 the model is the base, and at 1 LoRA after three passes. **At 2? And at −1?**

# %%
pt.widgets.Guess("At f = −1 the model", ("answers like the base", "answers even more plainly",
                                         "falls apart"), "chat.minus")

# %%
knob = pictures.knob(record)    # answers to "Why is the sea salty?"
rise = knob["chat"][-1.0] - knob["chat"][0.0]
pt.compare("chat.minus", "falls apart" if rise > 1 else "answers like the base" if rise > -0.1 else
           "answers even more plainly", f"the model at f = −1; plain chat {rise:+.1f}")
knob.round(2)

# %% [markdown]
# <details><summary>Laugh, then understand</summary>
#
# The model falls apart at −1, and at 2 the voice shouts and the sentences break. At f = 0.5 the other texts are about where the base had them,
# the held-out loss is *lower* than at 1, and half of the style is left: three passes had gone too far, and the knob takes some of it back. The
# same run's checkpoint after one pass is better still. Where none was kept, turn the knob: of many remedies that Yong Lin and colleagues
# (2023) tried on language models, it made the best trade.
# </details>
#
# ## You ship
#
# ### Exercise 4 · Which checkpoint? (2 points, about 6 minutes)
#
# Three customers want the commentator, LoRA with seed 0. `checkpoints` is a dict with a step of the table for each:
#
# - `"stage"`: for a party. The show is all that counts.
# - `"stranger"`: new questions. The model should predict a commentator's answers as well as it can.
# - `"desk"`: the show and its old work. For 0.2 less of `forgotten`, this customer accepts 0.1 less of style.
#
# Choose one that none beats by more than chance (95 %): 0.07 of style, 0.04 of loss, 0.07 of what the third customer counts.
# `voice` is the held-out loss, and `forgotten` the mean rise of the losses of plain chat, news and code.

# %% tags=["nbval-check-output"]
pictures.curve(record)[["passes", "style", "ended", "voice", "forgotten"]].round(2)

# %% exercise="chat.choose" part="solution"
### BEGIN SOLUTION
checkpoints = {"stage": 90, "stranger": 18, "desk": 36}
### END SOLUTION

# %% exercise="chat.choose" part="check"
checkpoints = pt.check("chat.choose", checkpoints)

# %% exercise="chat.choose" part="grade"
pt.require("chat.choose")

# %% [markdown]
# **What this lesson claims**
#
# | claim | seen here | what could have refuted it, and was tried | at larger scale |
# |---|---|---|---|
# | Trained without the end's label, no answer ended. | LoRA, three passes: none of 60 within 64 tokens, none of 15 within 512; with the label all within 64 | of the base's answers, which are long, 14 of 15 ended within 512. With and without the question in the loss: none within 64 | the same bug in a common collator (trl#976, alignment-handbook#127) |
# | The style goes on rising after the held-out loss has turned. | loss lowest after about one pass, style highest after three or five: LoRA and full fine-tuning, two seeds each | full fine-tuning, another seed; QLoRA's style is highest after two or three | the same in people's judgement (Ouyang et al. 2022) and in ChatGPT's (Zhou et al. 2023, appendix B) |
# | After five passes fewer answers hold the fact's key word. | of 20 answers 14 before training; LoRA 10 and 6 after one pass and 5 and 7 after five, two seeds | after five passes, in pairs with the base: both worse. After one pass one is worse, and about the other we cannot tell. The first 240 of lesson 03's reviews, judged by two logits, with a threshold chosen on others: 85.4 %; after five passes LoRA 76.2, full fine-tuning 70.8, two seeds each, each worse | similar: full fine-tuning cost knowledge; but LoRA learned style alone (Ghosh et al. 2024) |
# | Half of an update that went too far has lower losses than the whole, and half of its style. | three passes, f = 0.5: the voice's held-out loss is 0.27 lower, and all others are lower, too | an observation: one run. Of its own checkpoint after one pass we cannot tell whether it forgot more; it is better: voice −0.23 ± 0.02, style +0.08 ± 0.03 (standard errors) | the best trade of several, on language models of 3 to 7 billion (Lin et al. 2023); for image models Wortsman et al. 2022 |
# | After one pass LoRA and full fine-tuning have learned the voice the same (Further). | loss 3.41 and 3.41, three seeds each, in pairs the same (−0.03 to +0.03), margin 0.05 | QLoRA: worse (+0.05 to +0.14). The rates were chosen on the same answers | similar while data are few (Schulman et al. 2025); with many, LoRA learned less (Biderman et al. 2024) |

# %%
pt.progress("11")

# %% [markdown]
# ## At your desk
#
# ```python
# from peft import LoraConfig, get_peft_model
# from peft.helpers import rescale_adapter_scale
#
# config = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", r=16, lora_alpha=32)
# tuned = get_peft_model(model, config)
# tuned.print_trainable_parameters()
# turns = [{"role": "user", "content": "Is it far?"}, {"role": "assistant", "content": "No, folks!"}]
# ids = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=False)
# before = tokenizer.apply_chat_template(turns[:1], add_generation_prompt=True, return_dict=False)
# labels = ids.clone()
# special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
# ends = [i for i in range(len(before), ids.shape[1]) if int(ids[0, i]) in special]
# assert ends                                       # else no end is trained: TRL's own check
# labels[:, :len(before)] = labels[:, ends[-1] + 1:] = -100    # the line break behind it, too
# tuned(input_ids=ids, labels=labels).loss.backward()
# ...                                               # train; then half of the voice:
# with rescale_adapter_scale(tuned, 0.5):
#     softer = tuned.generate(input_ids=ids[:, :len(before)], max_new_tokens=8)
# tuned.save_pretrained("voice")
# plain = tuned.merge_and_unload()
# ```
#
# In TRL, give pairs of `prompt` and `completion`: the loss is then on the completion
# ([trl#5494](https://github.com/huggingface/trl/pull/5494)). Whole conversations need `assistant_only_loss=True` and a template with
# `{% generation %}`, which SmolLM2 lacks. Other models end a turn with another token than `tokenizer.eos_token_id`: Gemma does
# ([trl#5988](https://github.com/huggingface/trl/pull/5988)).
#
# | a first recipe, 1 to 70 billion parameters | take | source |
# |---|---|---|
# | first | the system prompt, with three examples in it | Lin et al. 2023 (URIAL) |
# | data | about 1,000 answers, each read by a person | Zhou et al. 2023 |
# | method | LoRA, by lesson 07's recipe | Schulman et al. 2025 |
# | loss on the question | leave it out; with few data or long questions and short answers, try it in | Shi et al. 2024; Huerta-Enochian & Ko 2024 |
# | how long | judge answers blind at each checkpoint; the held-out loss may turn before they are best | Ouyang et al. 2022 |
# | what it forgot | your old test set, and questions with a fact | Biderman et al. 2024 |
#
# Take full fine-tuning when there is much to learn: on code and mathematics LoRA learned less, and forgot less (Biderman et al. 2024).

# %% [markdown]
# # Further
#
# ## Which method?
#
# Lesson 10's ladder stood on an encoder; most people bring a decoder. Here is the first of five passes with SmolLM2, each method at its
# searched rate. QLoRA takes LoRA's, on a base that was rounded to 4 bits twice. Losses that differ by less than 0.05 are *the same*.

# %%
pictures.ladder(record).round(4)

# %% [markdown]
# ## A new token
#
# Two special tokens need two rows of their own in the table of embeddings: train these, and leave the table frozen. SmolLM2 uses it twice,
# to read and to write, so the same rows must stand in both places.

# %%
model, tokenizer = pt.models.load("smollm2")
tokenizer.add_special_tokens({"additional_special_tokens": ["<goal>", "<whistle>"]})
model.resize_token_embeddings(len(tokenizer))
rows = pictures.train_rows(model, tokenizer.convert_tokens_to_ids(["<goal>", "<whistle>"]))
print(f"{sum(p.numel() for p in model.parameters() if p.requires_grad):,} numbers train: "
      f"{rows.rows.shape[0]} rows of {rows.rows.shape[1]}")

# %% [markdown]
# In peft, `LoraConfig(trainable_token_indices=[...])` trains them beside LoRA; `pictures.save_rows(model, folder)` writes peft's file. If the
# output layer has its own table, neither way trains the new rows there, and the model never learns to write the two tokens.
#
# **Sources**
#
# - Style and knowledge: Zhou et al. 2023, *LIMA*, arXiv 2305.11206; Lin et al. 2023, *The unlocking spell on base LLMs*, arXiv 2312.01552;
#   Ouyang et al. 2022, *Training language models to follow instructions*, arXiv 2203.02155; Ghosh et al. 2024, arXiv 2402.05119.
# - Loss on instructions: Shi et al. 2024, arXiv 2405.14394; Huerta-Enochian & Ko 2024, *Does prompt loss matter?*, arXiv 2401.13586.
# - The end that is never trained: [alignment-handbook#127](https://github.com/huggingface/alignment-handbook/issues/127),
#   [trl#976](https://github.com/huggingface/trl/issues/976).
# - Forgetting: Biderman et al. 2024, *LoRA learns less and forgets less*, arXiv 2405.09673; Lin et al. 2023, *Speciality vs generality*,
#   arXiv 2309.06256; Wortsman et al. 2022, arXiv 2109.01903.
# - The knob: Ilharco et al. 2022, *Editing models with task arithmetic*, arXiv 2212.04089.
# - Recipes: Schulman and Thinking Machines Lab 2025, *LoRA Without Regret*, doi 10.64434/tml.20250929.
#
# The library's labels stand in `peft_teach/data/batching.py` (`pt.data.chat`), the plan of all runs in `assets/records/chat.py`.
