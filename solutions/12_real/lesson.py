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
# | **Time** | about 75 minutes, 42 of them for 4 exercises; Run All takes about two minutes |
# | **You need** | `inject` of lesson 02, `LoRALinear` of lesson 07; your other methods come back at the end |
# | **Data** | sentences from film reviews; Hutto & Gilbert 2014, MIT licence |
# | **peft** | is not part of the course's installation. Where it is missing, the lesson shows what we recorded: `pip install peft` makes it live |
#
# <details><summary>Three questions from earlier lessons</summary>
#
# **10: Four tasks share one base. What does a batch need so that each row goes through its own adapter?** A number for each row that says
# which adapter is its own. The base answers for all rows at once.
#
# **07: Two layers have equal A and B, and different α. Do they give the same output?** No. The update is s B A with s = α/r, and no tensor
# holds s.
#
# **02: Which modules does the target `output.dense` mean in a BERT?** Two in each block: `output.dense` and `attention.output.dense` both
# end in it.
# </details>

# %% jupyter={"source_hidden": true}
import copy
import inspect
import tempfile

import pandas as pd
import torch
from IPython.display import Code

import peft_teach as pt

budget = pt.course.budget()                # how much to compute: PEFT_TEACH_BUDGET=smoke|cpu|gpu
record = pt.course.records.load("real")    # what the libraries said here (assets/records/real.py)
pictures = pt.course.pictures("real")
movies = pt.data.load("movies")
pt.seed(0)

# %% [markdown]
# ## An adapter to send
#
# First we need something worth sending. Your `LoRALinear` goes into MiniLM by your own `inject`. And since the world does not train with our loop, let transformers' `Trainer` train it. `Trainer` has never heard of your class. It needs a model that returns a loss, and parameters that require a gradient.

# %%
inject, LoRALinear = pt.mine("change.inject", "lora.layer")
base, tokenizer = pt.models.load("minilm", labels=2, device="cpu")
ours = inject(copy.deepcopy(base), ("query", "value"), lambda linear: LoRALinear(linear, 4, 12))
test = pt.data.batches(movies.test[:min(400, budget.test_examples)], tokenizer, 50, shuffle=False)
batch = test[0]                            # 50 sentences: on these the logits are compared


# %%
from transformers import Trainer, TrainingArguments


def collate(rows):
    return pt.data.batches(rows, tokenizer, len(rows), shuffle=False)[0]


settings = TrainingArguments(
    tempfile.mkdtemp(), max_steps=2 + budget.train_examples // 100, logging_steps=10,
    per_device_train_batch_size=16, learning_rate=3e-3, use_cpu=True, save_strategy="no",
    report_to="none")
trainer = Trainer(ours, settings, train_dataset=movies.train[:2000], data_collator=collate)
_ = trainer.train()

# %%
pd.Series({"before": pt.evaluate(base, test).accuracy,
           "after": pt.evaluate(ours.eval(), test).accuracy}).map("{:.0%}".format).to_frame("right")

# %% [markdown]
# ## What is in a file?
#
# What counts in a saved LoRA is in two files: tensors, and a small JSON with settings. Here are those of a very small Llama with one block. The adapted modules are `model.layers.0.self_attn.q_proj` and `model.layers.0.self_attn.v_proj`,
# and the head is `score`.

# %%
record["their_file"]["tensors"]    # name and shape

# %%
record["their_file"]["settings"]

# %% [markdown]
# `target_modules` is a list of names. peft adapts each linear layer whose full name is in the list, or *ends* in a dot and a listed name. `modules_to_save` names what is saved whole: the head. peft refuses a file without a listed head that the model has.
# peft multiplies the update by `lora_alpha / r`, and with `use_rslora` (rsLoRA) by `lora_alpha / √r`.
#
# Suppose that something is wrong with your file. **Here are six false files:** A and B are exchanged and transposed; the scale is false; the head is left out, with every setting that asks for it; half of the targets are left out of the settings; one name is misspelled; r is not the rank.
# How many of the six will peft load without a word?

# %%
pt.commit("real.silent", ...)    # a number from 0 to 6

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

# %%
head = {name: ours.get_parameter(name).detach() for name in pt.models.head(ours)}
file = to_peft(pt.adapters(ours), head)
pictures.explore_wires(ours, base, file)

# %% [markdown]
# Choose the false scale. Every tensor is there, to the last bit, and no adapted module answers as yours does. **A model is not its tensors.** Then
# choose the exchange. `query` and `value` are square, so transposed matrices fit, and nothing looks wrong from outside.
#
# So does peft believe you? And what does it say of the six?

# %% tags=["nbval-check-output"]
said = pictures.complaints(record, base, ours, file, batch)
silent = int((said.iloc[1:, 0] == "says nothing").sum())
pt.compare("real.silent", silent, "of six, without a word")
said.iloc[:, :1]

# %%
said.iloc[:, 1:]

# %% [markdown]
# peft gives your logits, up to rounding. It is built from other code, by other people, and knows nothing of yours. This is the most
# independent test of its forward pass that your LoRA has had in this course.
#
# But four false files pass without a word. peft checks shapes, and warns if a tensor of the adapter is missing. It says nothing of tensors that it does not use, and cannot know what you meant. "It loads" is no evidence.
#
# ## Which of the three?
#
# Three colleagues sent you the same adapter. All three files load, and all three answer wrongly.
# You cannot see inside. You can ask: here are the sentences, what are your logits? And each model has a knob, which multiplies the update by f. At 0 the update is off; at 1 the model is as it was loaded.
#
# ### Exercise 2 · The diagnosis (3 points, about 12 minutes)
#
# Write `diagnose(ours, theirs, rank)`. `ours(f)` and `theirs(f)` give the logits of your model and of theirs on the same sentences, with the update multiplied by any number f. At most one of three faults is in the file:
#
# - `"scale"`: one of you multiplies by α/r, the other by α/√r. Their scale is too small or too large, by √r.
# - `"exchanged"`: A and B are exchanged, and transposed, so that they fit.
# - `"head"`: the head was left out, and their model has another one.
#
# Return the fault's name, or `"none"` where the two models are the same. Call logits alike if they differ by less than 1e-5 of the largest logit: rounding stays well below that.


# %% exercise="real.diagnose" part="solution"
def diagnose(ours, theirs, rank):
    ### BEGIN SOLUTION
    def alike(f, g):
        a, b = ours(f), theirs(g)
        return (a - b).abs().max() < 1e-5 * a.abs().max()

    if not alike(0, 0):                       # without the update only the head is left
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
theirs = pictures.suspects(base, ours, file, batch)
mine = pictures.knob(ours, batch)
told = {name: diagnose(mine, each, 4) for name, each in theirs.items()}
other = {name: (each(1).argmax(1) != mine(1).argmax(1)).double().mean().item()
         for name, each in theirs.items()}
pd.DataFrame({"diagnosis": told, "labels that changed": other})

# %%
pt.plots.show(pictures.draw_knob(mine, theirs), "Your model, its knob turned from 0 to 3, beside "
              "each suspect as loaded: 50 sentences, distances in shares of the largest logit.")

# %% [markdown]
# One curve falls into the grey: at f = 2, which is √4, your knob makes up for the false scale. The other two stay above it at every f tried: their fault is not the scale.
#
# The labels alone do not say which fault it is.
#
# ## The way back
#
# Now she sends you her adapter. peft trained it on films, with rsLoRA. Will *your* layers say what peft said?
#
# ### Exercise 3 · Their file, your layers (3 points, about 12 minutes)
#
# Write `from_peft(model, tensors, settings, make)`. `make(linear, rank, alpha)` makes a layer as your `LoRALinear` does, with s = alpha / rank.
# Return the model with such layers in it, filled from the file.
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
pictures.compare_afar(record, hers, tokenizer)    # her logits as peft gave them, and yours

# %% [markdown]
# Her logits, to four digits, from layers that she has never seen.
#
# ## How would anybody know?
#
# You compared logits. But a comparison can be empty. A fresh LoRA does nothing, since B is zero, and then nearly every false file
# agrees with it. So a test is worth no more than the model that it is given.
#
# ### Exercise 4 · Belief (2 points, about 8 minutes)
#
# Write a test, `believes(exchange, fresh)`. `fresh(rank, alpha)` makes a model with your LoRA in it, as training begins; the rank is at most 6.
# The model takes x of shape (n, 6), and what trains has `requires_grad`. `exchange(model)` sends the model through a file, and returns what another library loads.
#
# Your test raises an error if the two models differ. A right `exchange` may compute in another order; rounding stays below 1e-5 of
# the largest logit.


# %% exercise="real.belief" part="solution"
def believes(exchange, fresh):
    ### BEGIN SOLUTION
    model = fresh(4, 6.0)                               # α/r and α/√r differ, and neither is 1
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.normal_()                             # A, B and the head
        x = torch.randn(64, 6)
        before = model(x)                               # our answers, before anybody else's
        after = exchange(model)(x)
    assert (after - before).abs().max() < 1e-5 * before.abs().max(), "not one model"
    ### END SOLUTION


# %% exercise="real.belief" part="check"
believes = pt.check("real.belief", believes)

# %% exercise="real.belief" part="grade"
pt.require("real.belief")

# %%
pt.audit()    # your tests on your pieces; the last one sends a model through your file and back

# %% [markdown]
# ## All that you built
#
# peft has more than LoRA. The next cell fills each method of your `my_peft.py` with random numbers, lets peft load them, and compares how both move the logits. A prompt and a prefix stand in front of a small Llama. A dash: you have not built it.

# %%
rows = {}
for method, parts in pictures.built().items():
    rows[method] = pictures.beside_peft(record, method, parts, base, inject, batch)
pd.DataFrame(rows).T    # shares of the largest logit; for QLoRA, peft gets decoded weights

# %%
query, Linear4bit = base.bert.encoder.layer[0].attention.self.query, pt.mine("qlora.layer")
pictures.four_bits(record, query, Linear4bit)    # beside bitsandbytes, which peft's QLoRA stands on

# %% [markdown]
# Not one entry of W differs, and both take as many bytes: for this matrix, the base of your QLoRA is the base of peft's.
#
# ## Two processes
#
# One thing is left: to train in several processes. The library Accelerate gives each process its share of a batch, and combines
# the gradients before each step. This is the whole script, and it trains your own layer:

# %%
Code(inspect.getsource(pictures.processes.main), language="python")

# %% [markdown]
# `torchrun --nproc_per_node 2 processes.py losses.json` starts it twice. On a machine with two GPUs the same line takes both. **Will the
# losses be those of one process?**

# %%
pt.widgets.Guess("With two processes, the losses", ("are the same", "drift apart"), "real.two")

# %%
steps = pictures.losses(record, live=budget.claims)
apart = steps.iloc[:, -1].max()
pt.compare("real.two", "are the same" if apart < 1e-5 else "drift apart",
           f"largest difference {apart:.0e}")
steps.round(5)

# %% [markdown]
# They are the same, up to rounding, because we asked for `split_batches`. By default each process would get 16 sentences of its own. That would be another run, with twice the batch and half the steps.
#
# Each process holds the whole frozen base. Once it no longer fits on one card, PyTorch's FSDP spreads it over all of them.
#
# **What this lesson claims**
#
# | claim | seen here | what could have refuted it, and was tried | at larger scale |
# |---|---|---|---|
# | A LoRA, a DoRA and an IA³ written by hand give peft's logits. | your layers in MiniLM, filled with random numbers, on 50 sentences | each layer was first shown to move the logits; six false files show what a difference looks like | the equation is the same at every size; other hardware and half precision round differently |
# | Four of six false files load in peft without a word. | peft 0.21, MiniLM, no `task_type`, the table above | peft can object: it warns of a misspelled name, and refuses a wrong rank | peft refuses the exchange where a target is not square. Another loader met transposed A and B, which fitted and computed something else ([vmlx-swift#320](https://github.com/osaurus-ai/vmlx-swift/pull/320)). `from_pretrained` warns of missing names since [peft#2118](https://github.com/huggingface/peft/pull/2118) |
# | One knob tells the three faults apart. | three files in MiniLM, and small models in the check of exercise 2 | the check tries small updates, and rank 1, where √r is 1; two faults at once were not tried | not known to us |
# | Two processes give the losses of one. | eight steps on a CPU, without dropout | gradients that are not exchanged drive the losses apart; a sum in place of the mean does not, since AdamW hides a constant factor ([torchtitan#2323](https://github.com/pytorch/torchtitan/pull/2323)) | a loss averaged over tokens differs where the processes get unequal numbers of tokens |

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
# config = LoraConfig(task_type="SEQ_CLS", target_modules=["query", "value"], r=4, lora_alpha=12)
# tuned = get_peft_model(model, config).eval()
# for p in filter(lambda p: p.requires_grad, tuned.parameters()):
#     torch.nn.init.normal_(p)                          # A, B and the head: for a test, not for training
# tuned.print_trainable_parameters()
# batch = tokenizer(["A warm film.", "so tired of this"], padding=True, return_tensors="pt")
# with torch.no_grad():
#     before = tuned(**batch).logits
#     tuned.save_pretrained("sent")                     # adapter_model.safetensors, adapter_config.json
#     after = PeftModel.from_pretrained(fresh, "sent").eval()(**batch).logits
# assert (after - before).abs().max() < 1e-5 * before.abs().max()
# ```
#
# With the course's library it is `pt.export.to_peft(model, "sent")` and `pt.export.from_peft(model, "sent")`, for every method that both have.
#
# The same on a larger model, on a GPU with 16 GB. We had none: the numbers below are computed from the model's shapes, not measured.
#
# ```
# model, tokenizer = pt.models.load("hub:TinyLlama/TinyLlama-1.1B-Chat-v1.0", dtype=torch.bfloat16)
# model = pt.lora.inject(model, pt.lora.Config(rank=8))
# for step in pt.train(model, batches, lr=2e-4): ...    # batches of 8 texts, at most 256 tokens
# pt.export.to_peft(model, "tinyllama-peft")
# ```

# %%
pictures.on_a_card()    # GB, bfloat16, 8 × 256 tokens: computed

# %% [markdown]
# | a first recipe, 1 to 70 billion parameters | take | source |
# |---|---|---|
# | a file to give away | safetensors: unlike older formats, it runs no code when loaded; write down the base's name and revision | peft's documentation |
# | which modules | full names, or `"all-linear"` | peft's documentation |
# | before you trust a file | the logits of one batch, from the person who trained it; keep them beside the file | exercise 4 |
# | a head | name it in `modules_to_save`, and check that the file holds it | [peft#577](https://github.com/huggingface/peft/issues/577) |
# | many adapters on one base | vLLM with `--enable-lora`: each request names its adapter | Sheng et al. 2023; vLLM's documentation |
# | several GPUs | the same script by `torchrun` while the base fits on each; beyond that FSDP with peft | peft's documentation |
#
# Such servers do what your batch of lesson 10 did. peft's `adapter_names` loops over the adapters, like your `Many`. vLLM corrects all rows at once, with GPU code after Punica, and can keep further adapters in the CPU's memory. It takes LoRA and rsLoRA. It refuses DoRA and `modules_to_save`.
#
# What misleads here: MiniLM computes in float32, where 1e-5 tells right from wrong. In bfloat16 neighbouring numbers are 0.4 % apart or more.
# Compare in float32, or compare tensors and settings.

# %% [markdown]
# # Further
#
# Before peft there was the library `adapter-transformers`, and `adapters` succeeded it: [lesson 05](05_adapters.ipynb) shows its workflow.
#
# **Sources**
#
# - Hu et al. 2021, *LoRA*, arXiv 2106.09685; Kalajdzievski 2023, on α/√r, arXiv 2312.03732.
# - Serving: Chen et al. 2023, *Punica*, arXiv 2310.18547; Sheng et al. 2023, *S-LoRA*, arXiv 2311.03285.
# - Poth et al. 2023, *Adapters: a unified library*, arXiv 2311.11077.
# - Zhao et al. 2023, *PyTorch FSDP*, arXiv 2304.11277.
# - Data: Hutto & Gilbert 2014, *VADER*, ICWSM; sentences of the film reviews of Pang & Lee 2004.
#
# How the library does it is in `peft_teach/export.py`; how peft reads a file, in small, in `peft_teach/course/lessons/real/files.py`.
