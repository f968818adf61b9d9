# %% [markdown]
# # NN · Name: which question does it ask?
#
# Say in a few sentences what happened, who has to decide something, and why nobody can tell yet. The lesson ends where the learner can.
#
# | | |
# |---|---|
# | **Time** | about 20 minutes, 10 of them for 2 exercises; Run All takes half a minute |
# | **You need** | nothing from earlier lessons |
#
# What is asked here, as an example: two thin matrices stand in for the change of one large one. How thin must they be?

# %% jupyter={"source_hidden": true}
import peft_teach as pt

pictures = pt.course.pictures("NAME")
pt.seed(0)

# %% [markdown]
# ## A bet before you look
#
# MiniLM widens each token from 384 numbers to 1,536 in its feed-forward layers. Up to which rank do two factors of that matrix hold fewer
# numbers than the matrix itself? Bet a whole number in place of `...`.

# %%
pt.commit("NAME.rank", ..., like=10)

# %%
model, tokenizer = pt.models.load("minilm", labels=2, device=pt.device())
layer = model.bert.encoder.layer[0].intermediate.dense
n_out, n_in = layer.weight.shape

# %% tags=["nbval-check-output"]
print(f"{n_in:,} in, {n_out:,} out")

# %% [markdown]
# ### Exercise 1 · What is saved (2 points, about 5 minutes)
#
# Write `saved(n_in, n_out, rank)`: how many numbers fewer the two factors hold, of shapes `(rank, n_in)` and `(n_out, rank)`, than the
# matrix of shape `(n_out, n_in)`. Where they hold more, it is negative.


# %% exercise="NAME.saved" part="solution"
def saved(n_in, n_out, rank):
    """How many numbers two factors save."""
    ### BEGIN SOLUTION
    whole, factors = n_out * n_in, rank * n_in + n_out * rank
    return whole - factors
    ### END SOLUTION


# %% exercise="NAME.saved" part="check"
saved = pt.check("NAME.saved", saved)

# %% exercise="NAME.saved" part="grade"
pt.require("NAME.saved")

# %%
ranks = [1, 8, 64, 128, 256, 384]
pt.plots.show(pictures.draw_saved(ranks, [saved(n_in, n_out, rank) for rank in ranks]),
              "What two factors save of one feed-forward matrix of MiniLM, by their rank. Below "
              "zero they cost more than they replace.")

# %% [markdown]
# ### Exercise 2 · The largest rank (1 point, about 5 minutes)
#
# Give `largest`: the largest rank at which the factors of this matrix hold fewer numbers than it has.

# %% exercise="NAME.largest" part="solution"
### BEGIN SOLUTION
largest = max(rank for rank in range(1, 385) if saved(384, 1536, rank) > 0)
### END SOLUTION

# %% exercise="NAME.largest" part="check"
largest = pt.check("NAME.largest", largest)

# %% exercise="NAME.largest" part="grade"
pt.require("NAME.largest")

# %%
pt.compare("NAME.rank", largest, "the largest rank that saves something")

# %% [markdown]
# ## What you take with you
#
# Say what was decided, and by which observation. Every number in the text is in an output above it, or has a row in `quoted.py`. A method's
# lesson ends on `pt.doors`, and each lesson on its claims:
#
# **What this lesson claims**
#
# | claim | seen here | what could have refuted it, and was tried | at larger scale |
# |---|---|---|---|
# | Two factors of this matrix save numbers up to rank 307. | 589,440 in place of 589,824 | At rank 308 they hold 591,360. | The same arithmetic. |
#
# **Sources**
#
# - Author et al. 20YY, *Title*, arXiv 0000.00000, §1.
