# %% [markdown]
# # 12 · Hugging Face peft: would it believe you?
#
# You have written LoRA yourself, and DoRA, and a layer of four bits. A colleague has not. She works with Hugging Face peft, like nearly
# everybody, and asks: "Can you send me your adapter?"
#
# You send a file. She loads it, and no error appears. Does her model now say what yours says? In this lesson you write the file, read
# hers, and find out how anybody could know.
#
# | | |
# |---|---|
# | **Time** | about 65 minutes (an estimate), 50 of them for 4 exercises; Run All takes about a minute |
# | **You need** | `inject` of lesson 02, `LoRALinear` of lesson 07 |
# | **Data** | sentences from film reviews; Hutto & Gilbert 2014, MIT licence |
# | **peft** | `[lab]` brings it; where it is missing, the lesson shows what we recorded |
#
# <details><summary>Three questions from earlier lessons</summary>
#
# **10: Four tasks share one base. What does a batch need so that each row goes through its own adapter?** A number for each row that says
# which adapter is its own. The base answers for all rows at once.
#
# **07: Write the line that computes ΔW of a LoRA layer.** `layer.scale * layer.B @ layer.A`. No tensor holds `scale`.
#
# **02: Which modules does the target `output.dense` mean in a BERT?** Two in each block: `output.dense` and `attention.output.dense` both
# end in it.
# </details>

# %% jupyter={"source_hidden": true}
import copy
import inspect

import pandas as pd
import torch
from IPython.display import Code

import peft_teach as pt

budget = pt.course.budget()    # PEFT_TEACH_BUDGET=smoke|cpu|gpu
record = pt.course.records.load("real")    # assets/records/real.py
pictures = pt.course.pictures("real")
movies = pt.data.load("movies")
pt.seed(0)

# %% [markdown]
# ## An adapter to send
#
# First we need something worth sending. Your `LoRALinear` goes into MiniLM by your own `inject`, and learns for 40 steps.

# %%
inject, LoRALinear = pt.mine("change.inject", "lora.layer")
base, tokenizer = pt.models.load("minilm", labels=2, device="cpu")
ours = inject(copy.deepcopy(base), ("query", "value"), lambda linear: LoRALinear(linear, 4, 12))
batches = pt.data.batches(movies.train[:min(640, budget.train_examples)], tokenizer)
for _ in pt.bar(pt.train(ours, batches, lr=3e-3), "steps", len(batches)):
    pass
test = pt.data.batches(movies.test[:min(400, budget.test_examples)], tokenizer, 50, shuffle=False)
batch = test[0]    # 50 sentences, whose logits are compared
pd.Series({"before": pt.evaluate(base, test).accuracy,
           "after": pt.evaluate(ours.eval(), test).accuracy}).map("{:.0%}".format).to_frame("right")

# %% [markdown]
# ## What is in a file?
#
# peft saves a LoRA as two files: tensors, and a small JSON with settings. Here are those of a very small Llama with one block. Its adapted
# modules are `model.layers.0.self_attn.q_proj` and `model.layers.0.self_attn.v_proj`, and its head is `score`.

# %%
pd.Series({name: " × ".join(map(str, shape)) for name, shape
           in record["their_file"]["tensors"].items()}).to_frame("shape")

# %%
pd.Series(record["their_file"]["settings"], name="setting").to_frame()

# %% [markdown]
# - `target_modules` is a list of names. peft adapts each linear layer whose full name is in the list, or *ends* in a dot and a listed name.
# - peft multiplies the update by `lora_alpha / r`, and with `use_rslora` (rank-stabilized LoRA, rsLoRA) by `lora_alpha / √r`.
# - `modules_to_save` names what is saved whole: the head. With the `task_type` `"SEQ_CLS"` (a classifier), peft saves `classifier` and `score`, too.
#
# Here is your adapter in four files. Only the last one is right.

# %%
pt.plots.show(pictures.draw_files(ours, base), "Left: your tensors: one block of the six, and "
              "the head. Right: the file's. Solid: fed random numbers, the module answers as yours "
              "does. Dashed: it does not. Dotted: the file lacks the tensor.")

# %% [markdown]
# In the first file, A and B are exchanged and transposed. Query and value are square, so everything fits. And the second file shows that
# **a model is not its tensors.**
#
# **Now six false files:** A and B are exchanged; the scale is false; the head's tensors are left out, though the settings name the head;
# half of the targets are left out of the settings; one name is misspelled; r is not the rank. How many of the six will peft's
# `PeftModel.from_pretrained` load without a word?

# %%
pt.commit("real.silent", ..., like=1)    # from 0 to 6

# %% [markdown]
# ### Exercise 1 · The file (3 points, about 10 minutes)
#
# Write `to_peft(adapters, head)`. `adapters` is what `pt.adapters(model)` gives: a dict from a module's name to your layer, with its `A`, `B` and `scale`. All have the same rank and scale.
# `head` is a dict of the head's tensors, by their names in the model; `pt.models.head(model)` lists these. Return two dicts: the tensors by peft's names, and settings that JSON can hold.
#
# 1. The file holds every tensor that peft looks for, and no other.
# 2. peft adapts the modules that you adapted, and no others. It saves the head whole.
# 3. peft multiplies the update by the same number as your layer.


# %% exercise="real.names" part="solution"
def to_peft(adapters, head):
    ### BEGIN SOLUTION
    front = "base_model.model."
    tensors = {front + name: tensor.detach() for name, tensor in head.items()}
    for name, layer in adapters.items():
        tensors[f"{front}{name}.lora_A.weight"] = layer.A.detach()
        tensors[f"{front}{name}.lora_B.weight"] = layer.B.detach()
    rank = layer.A.shape[0]
    return tensors, {"peft_type": "LORA", "r": rank, "lora_alpha": rank * layer.scale,
                     "target_modules": list(adapters),
                     "modules_to_save": sorted({name.rpartition(".")[0] for name in head})}
    ### END SOLUTION


# %% exercise="real.names" part="check"
to_peft = pt.check("real.names", to_peft)

# %% exercise="real.names" part="grade"
pt.require("real.names")

# %% tags=["nbval-check-output"]
head = {name: ours.get_parameter(name).detach() for name in pt.models.head(ours)}
file = to_peft(pt.adapters(ours), head)
said = pictures.complaints(record, base, ours, file, batch)
silent = int((said.iloc[1:7, 0] == "says nothing").sum())
pt.compare("real.silent", silent, "load without a word, of six")
said.iloc[:, :1]

# %%
said.iloc[:, 1:]

# %% [markdown]
# With the right file, peft gives your logits, up to rounding. It is built from other code, by other people, and knows nothing of yours.
#
# And three false files pass in silence. `from_pretrained` checks shapes, warns if a tensor of the adapter is missing, and refuses a file
# without the head that its settings name. (`load_adapter` warns of no missing tensor. It returns the tensors that it did
# not use: look at `unexpected_keys`.) In the last row, no setting names the head: peft loads the file, and the head is whatever her model began with. **One
# setting turns silence into refusal: name the head.** For the other three there is none. "It loads" is no evidence.
#
# ## What is wrong with it?
#
# Three colleagues sent you the same adapter. All three files load, and all three answer wrongly.
# You cannot see inside. You can ask: here are the sentences, what are your logits? And each model has a knob, which multiplies the update
# by f. At 0 the update is off; at 1 the model is as it was loaded.
#
# ### Exercise 2 · The diagnosis (3 points, about 12 minutes)
#
# Write `diagnose(ours, theirs, rank)`. `ours(f)` and `theirs(f)` give the logits of your model and of theirs on the same sentences, with
# the update multiplied by any number f. These faults may be in the file:
#
# - `"scale"`: one of you multiplies by α/r, the other by α/√r. Their scale is too small or too large, by √r.
# - `"exchanged"`: A and B are exchanged, and transposed, so that they fit.
# - `"head"`: the head was left out, and their model has another one.
#
# Return the name of a fault that is there; with two faults, either will do. Return `"none"` where the two models are the same. Call logits
# alike if they differ by less than 1e-5 of the largest logit: rounding stays well below that.


# %% exercise="real.diagnose" part="solution"
def diagnose(ours, theirs, rank):
    ### BEGIN SOLUTION
    def alike(f, g):
        a, b = ours(f), theirs(g)
        return (a - b).abs().max() < 1e-5 * a.abs().max()

    if not alike(0, 0):    # without the update only the head is left
        return "head"
    if alike(1, 1):
        return "none"
    root = rank**0.5
    return "scale" if alike(root, 1) or alike(1, root) else "exchanged"
    ### END SOLUTION


# %% exercise="real.diagnose" part="check"
diagnose = pt.check("real.diagnose", diagnose)

# %% exercise="real.diagnose" part="grade"
pt.require("real.diagnose")

# %%
mine = pictures.knob(ours, batch)
theirs = {name: pictures.loaded(base, file, fault, batch) for name, fault in (
    ("anna", "scale"), ("ben", "head"), ("carl", "exchanged"))}


def changed(model):    # the share of labels that are not yours
    return (model(1).argmax(1) != mine(1).argmax(1)).double().mean().item()


pd.DataFrame({name: {"diagnosis": diagnose(mine, model, 4), "labels that changed": changed(model)}
              for name, model in theirs.items()}).T

# %%
pt.plots.show(pictures.draw_knob(mine, theirs), "Your model, its knob turned from 0 to 3, beside "
              "each suspect as loaded: 50 sentences, distances in shares of the largest logit.")

# %% [markdown]
# At f = 2, which is √4, your knob makes up for Anna's scale. Ben and Carl stay above the grey at every f tried: their fault is not the
# scale. Carl is nearest at 0: his exchanged matrices hardly move the base.
#
# ## The way back
#
# Now she sends you her adapter. peft trained it on films, with rsLoRA. Will *your* layers say what peft said?
#
# ### Exercise 3 · Their file, your layers (3 points, about 20 minutes)
#
# Write `from_peft(model, tensors, settings, make)`. `make(linear, rank, alpha)` makes a layer as your `LoRALinear` does, with s = alpha / rank.
# Return the model with such layers in it, filled from the file. torch replaces a module by its name (`set_submodule`) and reads a tensor (`get_parameter`).
#
# 1. It adapts what peft would adapt, by the rule for `target_modules` above.
# 2. It answers as peft would: settings hold `r` and `lora_alpha`; `use_rslora` may be missing, which means False.
# 3. Tensors whose names hold no `lora_` go into the head. All of the head must be there.
# 4. No fault is silent. If a tensor is missing, or left over, or has another shape, raise an error, and leave the model as it was.


# %% exercise="real.back" part="solution"
def from_peft(model, tensors, settings, make):
    ### BEGIN SOLUTION
    rank, alpha = settings["r"], settings["lora_alpha"]
    if settings.get("use_rslora"):
        alpha = alpha * rank**0.5                       # make divides by rank
    layers = {name: make(module, rank, alpha) for name, module in model.named_modules()
              if any(f".{name}".endswith(f".{end}") for end in settings["target_modules"])}
    front = "base_model.model."
    places = {front + name: model.get_parameter(name) for name in pt.models.head(model)}
    for name, layer in layers.items():
        places |= {f"{front}{name}.lora_A.weight": layer.A, f"{front}{name}.lora_B.weight": layer.B}
    if places.keys() != tensors.keys():
        raise ValueError(f"missing or left over: {places.keys() ^ tensors.keys()}")
    if wrong := [name for name, p in places.items() if p.shape != tensors[name].shape]:
        raise ValueError(f"another shape: {wrong}")
    with torch.no_grad():
        for name, p in places.items():
            p.copy_(tensors[name])
    for name, layer in layers.items():
        model.set_submodule(name, layer)
    return model
    ### END SOLUTION


# %% exercise="real.back" part="check"
from_peft = pt.check("real.back", from_peft)

# %% exercise="real.back" part="grade"
pt.require("real.back")

# %%
hers = from_peft(copy.deepcopy(base), *pictures.from_afar(record), LoRALinear)
pictures.compare_afar(record, hers, tokenizer)    # her logits, and yours

# %% [markdown]
# Her logits, to four digits, from layers that she has never seen.
#
# ## How would anybody know?
#
# You compared logits, by hand. Now let a test do it.
#
# ### Exercise 4 · Belief (2 points, about 8 minutes)
#
# Write a test, `believes(exchange, fresh)`. `fresh(rank, alpha)` makes a model with your LoRA in it, as training begins; the rank is at most 6.
# The model takes x of shape (n, 6), and what trains has `requires_grad`. `exchange(model)` sends the model through a file, and returns what another library loads.
#
# Your test raises an error if the two models differ. An `exchange` that is right may add the same numbers in another order: by such rounding,
# logits differ by less than 1e-5 of the largest one.


# %% exercise="real.belief" part="solution"
def believes(exchange, fresh):
    ### BEGIN SOLUTION
    model = fresh(4, 6.0)    # α/r and α/√r differ, and neither is 1
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.normal_()    # A, B and the head
        x = torch.randn(64, 6)
        before = model(x)    # our answers, before anybody else's
        after = exchange(model)(x)
    assert (after - before).abs().max() < 1e-5 * before.abs().max(), "not one model"
    ### END SOLUTION


# %% exercise="real.belief" part="check"
believes = pt.check("real.belief", believes)

# %% exercise="real.belief" part="grade"
pt.require("real.belief")

# %%
pictures.noticed(believes)    # nine false ways, and who notices them

# %% [markdown]
# A comparison can be empty. A fresh LoRA does nothing, since B is zero, and a fresh head is the base's own. Send them
# through seven of the nine false ways, and the answers stay the same. **A test is worth no more than the model that it is given.**

# %%
pt.audit()    # the last test sends a model through your file and back

# %% [markdown]
# You asked whether peft would believe you. It would believe nearly anything. Your test would not.
#
# **What this lesson claims**
#
# | claim | seen here | what could have refuted it, and was tried | at larger scale |
# |---|---|---|---|
# | peft gives the logits of your LoRA. | record: MiniLM with random A, B and head, α = 8, 32 sentences, peft 0.21.2: the largest difference is below 1e-5 of the largest logit | The false files that load differ by 0.01 to 0.99 of it. | the equation is the same at every size; in half precision, rounding adds differences of its own |
# | `from_pretrained` loads three of six false files without a word, and a fourth if no setting names the head. | peft 0.21.2, MiniLM: the table of *What is in a file?* | peft can object: `from_pretrained` warns of a misspelled name, and refuses a wrong rank and a missing head that is named. | peft refuses the exchange where a target is not square. Another loader's pull request warns of transposed A and B, which fit and compute something else ([vmlx-swift#320](https://github.com/osaurus-ai/vmlx-swift/pull/320)). `from_pretrained` warns of missing names since [peft#2118](https://github.com/huggingface/peft/pull/2118) |
# | One knob names these three faults. | MiniLM: a file with each | Small updates, large logits, two faults at once, and rank 1, where √r is 1: the check of exercise 2. | not known to us |
# | A comparison of two fresh models misses seven of nine false ways through a file. | small models of width 6, the table after exercise 4 | It notices rounding to half precision, and answers that are 2 % louder. | peft's LoRA starts with B at zero, too |

# %%
pt.progress("12")

# %% [markdown]
# ## At your desk
#
# Save, load, and prove it, in Hugging Face peft:
#
# ```python
# import copy
#
# import torch
# from peft import LoraConfig, PeftModel, get_peft_model
#
# fresh = copy.deepcopy(model)                          # peft changes the model that it gets
# config = LoraConfig(task_type="SEQ_CLS", target_modules="all-linear", r=16, lora_alpha=32)
# tuned = get_peft_model(model, config).eval()
# for p in filter(lambda p: p.requires_grad, tuned.parameters()):
#     torch.nn.init.normal_(p, std=0.05)                # A, B and the head: for a test alone
# tuned.print_trainable_parameters()
# batch = tokenizer(["A warm film.", "so tired of this"], padding=True, return_tensors="pt")
# with torch.no_grad():
#     before = tuned(**batch).logits
#     tuned.save_pretrained("sent")                     # its weights and adapter_config.json
#     after = PeftModel.from_pretrained(fresh, "sent").eval()(**batch).logits
# assert (after - before).abs().max() < 1e-5 * before.abs().max()
# ```
#
# With the course's library it is `pt.export.to_peft(model, "sent")` and `pt.export.from_peft(model, "sent")`, for every method that both have.
#
# | a file to give away | take | source |
# |---|---|---|
# | format | safetensors: unlike older formats, it runs no code when loaded; write down the base's name and revision | peft's documentation |
# | a head | name it in `modules_to_save`, and check that the file holds it | [peft#577](https://github.com/huggingface/peft/issues/577) |
# | before you trust it | the logits of one batch, from the person who trained it; keep them beside the file | exercise 4 |
#
# For LoRA's places, rank, α and rate take lesson 07's recipe.
#
# What misleads here: MiniLM computes in float32, where 1e-5 tells right from wrong. In bfloat16 neighbouring numbers are 0.4 % apart or more.
# Compare in float32, or compare tensors and settings.

# %% [markdown]
# # Further
#
# ## With transformers' `Trainer`
#
# `Trainer` has never heard of your class. It needs a model that returns a loss, and parameters that require a gradient:
#
# ```python
# settings = TrainingArguments("out", max_steps=40, per_device_train_batch_size=16,
#                              learning_rate=3e-3, report_to="none", use_cpu=True)
# Trainer(ours, settings, train_dataset=movies.train[:640], data_collator=collate).train()
# ```
#
# `collate` makes a batch of sentences: `lambda rows: pt.data.batches(rows, tokenizer, len(rows), shuffle=False)[0]`.
#
# ## Two processes
#
# The library Accelerate gives each process its share of a batch, and combines the gradients before each step. This is the whole script, and
# it trains your own layer:

# %%
Code(inspect.getsource(pictures.processes.main), language="python")

# %% [markdown]
# `torchrun --nproc_per_node 2 processes.py losses.json` starts it twice. On a machine with two GPUs the same line takes both.

# %%
pictures.losses(record, live=budget.claims).round(5)

# %% [markdown]
# The losses agree, up to rounding, because we asked for `split_batches`. By default each process would get 16 sentences of its own: batches
# of 32, and half as many steps. Each process holds the whole frozen base. Once it no longer fits on one card, PyTorch's FSDP
# spreads it over all of them (Zhao et al. 2023).
#
# ## Many adapters on one base
#
# A server does what your batch of lesson 10 did. peft's `adapter_names` loops over the adapters, like your `Many`. vLLM with `--enable-lora`
# corrects all rows at once, with GPU code after the paper *Punica*. It takes LoRA and rsLoRA, and refuses DoRA and `modules_to_save`. Unless you set
# `--max-lora-rank`, it takes ranks up to 16 ([vllm#22782](https://github.com/vllm-project/vllm/pull/22782)).
#
# Before peft there was the library `adapter-transformers`, and `adapters` succeeded it: [lesson 05](05_adapters.ipynb) shows its workflow.
#
# **Sources**
#
# - Hu et al. 2021, *LoRA*, arXiv 2106.09685; Kalajdzievski 2023, on α/√r, arXiv 2312.03732.
# - Serving: Chen et al. 2023, *Punica*, arXiv 2310.18547; Sheng et al. 2023, *S-LoRA*, arXiv 2311.03285.
# - Poth et al. 2023, *Adapters: a unified library*, arXiv 2311.11077; Zhao et al. 2023, *PyTorch FSDP*, arXiv 2304.11277.
# - Data: Hutto & Gilbert 2014, *VADER*, ICWSM; sentences of the film reviews of Pang & Lee 2004.
#
# How the library does it is in `peft_teach/export`; how peft reads a file, in small, in `peft_teach/course/lessons/real/files.py`.
