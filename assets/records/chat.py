"""Make the record of lesson 11: a chat model learns a voice, and what it forgets.

    python assets/records/chat.py                        all that is missing, in order
    python assets/records/chat.py --methods lora none    half of it; the other process takes
    python assets/records/chat.py --methods full qlora ia3 prompt
    python assets/records/chat.py --try                  tiny settings into work/, in minutes

Writes `chat.json`: a row a checkpoint, in the part "checkpoints". Interrupted, it goes on with the
run in which it stopped. Two trained adapters are kept in `work/chat`, which git ignores, for the
groups that look at them again; where they are not there, they are trained once more.

The plan, written before the first run. SmolLM2-135M-Instruct learns a voice from the lesson's
training pairs: batches of 8, five passes, AdamW, the rate falling to 0 over all. Three methods:
LoRA of rank 8, alpha 16, on all linear layers of the blocks; QLoRA, the same on a base whose linear
layers were rounded to NF4; full fine-tuning. SmolLM2's weights come from a 4-bit file already, so
QLoRA rounds them a second time. All compute under bfloat16 autocast, what trains is float32.
QLoRA's base is laid out once instead of at each use: the same numbers, sooner.

Looked at: the answers to 60 questions, the most likely word each time, but no four tokens twice,
for a small model circles else; which of them end by themselves; the loss on 70 held-out answers in
the voice (no topic of either was trained); and what may be forgotten: the loss on plain answers,
news and code, 40 texts each, and how many of 240 film reviews are judged correctly without an
example. A loss is the mean over texts of each text's mean loss a token. Two models are compared
text by text, in pairs.

    rates    one pass of the five, seed 2, along a ladder with a factor of two a step, until both
             neighbours of the best were tried. The least loss of the voice chooses; QLoRA takes
             LoRA's rate. The same answers choose and judge: methods are compared at equal loss of
             the voice. (At first there were three rates a method, and the largest was the best.)
    main     three methods, seed 0, then seed 1. Looked at after 0, 1/4, 1/2, 1, 2, 3 and 5 passes;
             seed 1 from 1/2 on
    labels   LoRA, seed 0, three of the five passes: labels with and without the question, with and
             without the end of the turn; that of "main" is one of the four
    prompt   no training, but a system prompt that describes the voice; later, with three of the
             training pairs as examples, too
    knob     the update of LoRA, seed 0, after three passes, times f from -1 to 2
    long     does an answer ever end? 15 of the 60 questions, up to 512 tokens: the base; LoRA, seed
             0, after three passes; and the same trained without the end, with all that precedes an
             answer in the loss, a run of "labels"
    truth    what the style costs: 20 questions with a fact that a key word checks, up to 60 tokens
             an answer: the base, and LoRA, seeds 0 and 1, after one and after five passes
    ladder   the first of the five passes, as in "rates" and "main", by more methods and seeds:
             seed 3 of LoRA and full fine-tuning; then (IA)³ and a prompt of 20 vectors that start
             as common words, which look for their rate, too, and run with seeds 0, 1 and 3. A
             difference of 0.05 a token would matter

The last three were added later. Estimated before the first: thirteen passes for "long" and
"truth", two for the seeds of "ladder", and eight each for (IA)³ and the prompt, a minute of one
core each; if it lasts longer than 40 minutes, the prompt goes first, then (IA)³. Measured, on two
fifths of a core: 33 minutes for "long" and "truth", five for LoRA and full fine-tuning in "ladder";
on one core, 17 minutes for (IA)³ and the prompt.

Questions, with what would answer no. Does the style go on rising after the loss of the voice has
turned? (The best loss is at the end, or the style at its best there.) Does LoRA forget less than
full fine-tuning? (At equal loss of the voice the paired difference of the other losses includes 0,
or has the other sign with one of the seeds.) Does masking the question do anything? (Style, share
that end and loss of the voice within two standard errors.) Does the end of the turn decide whether
answers end?
Does an answer ever end (an answer of the base, with 512 tokens)? Are fewer facts right after five
passes (a paired difference beyond 0 with both seeds)?
"""

import hashlib
import json
import re
import time
from pathlib import Path

import torch

import peft_teach as pt
from peft_teach.course import recording
from peft_teach.course.desk import reviews as reading
from peft_teach.course.lessons.chat import measure

RANK, ALPHA, TARGETS = 8, 16, ("linear",)    # all linear layers of the blocks
BATCH, PASSES = 8, 5
LADDER = {"lora": (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2),
          "full": (2.5e-5, 5e-5, 1e-4, 2e-4, 4e-4, 8e-4),
          "ia3": (5e-3, 1e-2, 2e-2, 4e-2, 8e-2, 1.6e-1),
          "prompt": (7.5e-3, 1.5e-2, 3e-2, 6e-2, 1.2e-1, 2.4e-1)}
FIRST = {"lora": 2e-3, "full": 5e-5, "ia3": 4e-2, "prompt": 3e-2}
LOOKS = {0: (0, 0.25, 0.5, 1, 2, 3, 5), 1: (0.5, 1, 2, 3, 5)}
FILMS_AT = (0, 1, 3, 5)
KEPT_AT = (1, 3, 5)
KNOB = (-1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 1.5, 2.0)
LONG, LONG_TOKENS, FACT_TOKENS = 15, 512, 60
LENGTH = 20                                  # vectors of the prompt
METHODS = ("lora", "none", "full", "qlora", "ia3", "prompt")
REVIEWS = 240       # a third as many more find the threshold
SYSTEM = ("You are an excited sports commentator at a live match. Answer each question in two or "
          "three sentences, correctly, and as if you were commenting on the match.")
KEPT = Path(__file__).parents[2] / "work" / "chat"


# ── what is trained on, and looked at ─────────────────────────────────────────────────────────────


def told(examples):
    """Return a system prompt that describes the voice, and examples of it."""
    said = [("system", SYSTEM)] + [turn for pair in examples
                                   for turn in zip(("user", "assistant"), pair)]
    return [{"role": role, "content": text} for role, text in said]


def without_end(batches, tokenizer):
    """Return batches whose labels never ask for the end of a turn."""
    return [batch | {"labels": batch["labels"].masked_fill(
        batch["labels"] == tokenizer.eos_token_id, -100)} for batch in batches]


def with_question(batches):
    """Return batches whose labels ask for all that precedes the answer, too."""
    return [batch | {"labels": _from_the_start(batch)} for batch in batches]


def _from_the_start(batch):
    """Return labels (batch, seq) on every token from the first to each row's last label."""
    asked = batch["labels"] != -100                                       # (batch, seq)
    up_to_last = asked.flip(1).cummax(1).values.flip(1) & batch["attention_mask"].bool()
    return batch["input_ids"].masked_fill(~up_to_last, -100)


def texts(voice, tokenizer):
    """Return the texts to measure a loss on, by kind: answers alone, or all tokens."""
    def chat(pairs):
        return pt.data.chat(pairs, tokenizer, 12, shuffle=False)

    return {"voice": chat(voice.validation), "chat": chat(voice.others["chat"]),
            "news": plain(voice.others["news"], tokenizer),
            "code": plain(voice.others["code"], tokenizer)}


def plain(texts, tokenizer, size=12):
    """Return texts as batches that ask for every token."""
    made = []
    for start in range(0, len(texts), size):
        batch = tokenizer(list(texts[start:start + size]), padding=True, return_tensors="pt")
        ids, mask = batch["input_ids"], batch["attention_mask"]           # (batch, seq)
        made.append({"input_ids": ids, "attention_mask": mask,
                     "labels": ids.masked_fill(mask == 0, -100)})
    return made


def right(question, answer):
    """Return whether an answer has the fact that this question of `measure.FACTS` asks for."""
    return bool(re.search(rf"\b({measure.FACTS[question]})\b", answer, re.IGNORECASE))


def films(model, tokenizer, reviews=REVIEWS):
    """Return which film reviews the model judges correctly, a task that nobody trained it on.

    At the threshold that suits it best on other reviews: what moves all gaps alike is not
    forgotten.
    """
    task = pt.data.load("movies")
    parts = [reading.short(split)[:count] for split, count in (
        (task.validation, reviews // 3), (task.test, reviews))]
    words = reading.two_words(tokenizer)
    with pt.models.in_mode(model, training=False):
        other, found = (reading.gaps(model, reading.ask(part, tokenizer, 24), words)
                        for part in parts)
    labels = [torch.tensor([example.label for example in part]).bool() for part in parts]
    return ((found > best_threshold(other, labels[0])) == labels[1]).tolist()


def best_threshold(gaps, labels):
    """Return the threshold between two gaps with the fewest mistakes, (reviews,) both."""
    ordered = gaps.sort().values
    bounds = torch.cat([ordered[:1] - 1, (ordered[1:] + ordered[:-1]) / 2, ordered[-1:] + 1])
    return float(bounds[((gaps > bounds[:, None]) == labels.bool()).sum(1).argmax()])


# ── the runs ──────────────────────────────────────────────────────────────────────────────────────


class Looker:
    """What every look needs: the tokenizer, the texts, and the record."""

    def __init__(self, record: recording.Recorder, small: bool):
        self.record, self.small = record, small
        self.tokenizer = pt.models.load("smollm2")[1]
        voice = pt.data.voice()
        self.train, self.questions = voice.train, voice.questions
        self.reviews, self.new_tokens = REVIEWS, measure.NEW_TOKENS
        self.texts = texts(voice, self.tokenizer)
        if small:
            self.train, self.questions = self.train[:32], self.questions[:4]
            self.reviews, self.new_tokens = 24, 8
            self.texts = {kind: batches[:1] for kind, batches in self.texts.items()}
        self.steps = -(-len(self.train) // BATCH)    # a pass

    def training(self, seed, question, end):
        """Return the batches of all passes."""
        made = pt.data.chat(self.train, self.tokenizer, BATCH, seed=seed, epochs=PASSES)
        made = with_question(made) if question else made
        return made if end else without_end(made, self.tokenizer)

    def losses(self, model, kinds=("voice", *measure.OTHERS)):
        """Return a model's loss on each text of these kinds."""
        return {"losses": {kind: measure.losses(model, self.texts[kind]) for kind in kinds}}

    def answers(self, model, before=()):
        """Return a model's answers to the held-out questions, and which end."""
        said, ended = measure.answers(model, self.tokenizer, self.questions, before,
                                      self.new_tokens)
        return {"answers": said, "ended": recording.bits(ended)}

    def films(self, model):
        """Return which film reviews a model judges correctly."""
        return {"films": recording.bits(films(model, self.tokenizer, self.reviews))}

    def add(self, about, found):
        """Write a row, and say so."""
        self.record.add(about, found, part="checkpoints")
        told = {kind: round(sum(each) / len(each), 3)
                for kind, each in found.get("losses", {}).items()}
        print(*about.values(), told, found.get("ended", "").count("1"),
              found.get("answers", [""])[0][:70], flush=True)


def in_bfloat16():
    """Return the context of all computing. No cast weight is kept: the next step changes it."""
    return torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False)


def put_on(method):
    """Return SmolLM2 with a method on it."""
    model, tokenizer = pt.models.load("smollm2")
    lora = {"rank": RANK, "alpha": ALPHA, "targets": TARGETS}
    if method == "full":
        return pt.full.inject(model)
    if method == "lora":
        return pt.lora.inject(model, pt.lora.Config(**lora))
    if method == "ia3":
        return pt.ia3.inject(model)
    if method == "prompt":
        return pt.prompt.inject(model, pt.prompt.Config(LENGTH, "vocabulary"), tokenizer)
    model = pt.qlora.inject(model, pt.qlora.Config(**lora))
    for name, layer in pt.models.quantized(model).items():
        model.set_submodule(name, layer.to_linear().requires_grad_(False))
    return model


def about(group, method, seed, lr, passes, question=False, end=True):
    """Describe a checkpoint."""
    return {"group": group, "method": method, "seed": seed, "lr": lr, "passes": passes,
            "question": question, "end": end}


def train(look, group, method, seed, lr, looks, question=False, end=True):
    """Train one run as far as its last look; write a row at each, if any is missing."""
    def row(passes):
        return about(group, method, seed, lr, passes, question, end)

    if all(look.record.holds(row(passes), "checkpoints") for passes in looks):
        return
    pt.seed(seed)
    begun, model = time.perf_counter(), put_on(method)
    wanted = {round(passes * look.steps): passes for passes in looks}
    with in_bfloat16():
        for at, passes in wanted.items():
            if at == 0:
                look.add(row(passes), {"step": 0, **seen(look, model, group, passes)})
        for step in pt.train(model, look.training(seed, question, end), lr):
            passes = wanted.get(step.index + 1)
            if passes is None:
                continue
            found = {"step": step.index + 1, **seen(look, model, group, passes),
                     "seconds": round(time.perf_counter() - begun)}
            if method == "lora" and group == "main" and passes in KEPT_AT:
                pt.save(model, kept(look, seed, passes))
            look.add(row(passes), found)
            if passes == max(looks):
                break


def seen(look, model, group, passes):
    """Return what is looked at in a model of this group."""
    if group == "rates":
        return look.losses(model, ("voice",))
    found = look.losses(model)
    if group == "ladder":
        return found
    found |= look.answers(model)
    return found | look.films(model) if group == "main" and passes in FILMS_AT else found


def kept(look, seed, passes, endless=False):
    """Return the folder of LoRA after so many of five passes."""
    return KEPT / f"{'small ' * look.small}{'endless ' * endless}lora {seed} {passes}"


def chosen(look, method):
    """Return a method's rate with the least loss of the voice after one pass; search it first."""
    of = {"qlora": "lora"}.get(method, method)
    while rate := recording.next_rate(tried(look.record.made(), of), LADDER[of], FIRST[of]):
        train(look, "rates", of, 2, rate, (1,))
    found = tried(look.record.read(), of)
    return max(found, key=found.get)


def tried(record, method):
    """Return the loss of the voice by rate, its sign turned: more is better."""
    return {row["lr"]: -sum(row["losses"]["voice"]) for row in record.get("checkpoints", [])
            if row["group"] == "rates" and row["method"] == method}


def main_run(look, method, seed):
    """Train one of the runs that the lesson compares."""
    train(look, "main", method, seed, chosen(look, method), LOOKS[seed])


def labels(look):
    """Train with the other labels, half as long; the fourth is a run of "main"."""
    for question, end in ((True, False), (False, False), (True, True)):
        train(look, "labels", "lora", 0, chosen(look, "lora"), (3,), question, end)


def prompt(look):
    """Ask the base with a system prompt that describes the voice, without and with examples."""
    for examples in (), look.train[::47]:
        asked = {"group": "prompt", "method": "none", "system": SYSTEM,
                 "examples": len(examples)}
        if not look.record.holds(asked, "checkpoints"):
            model, _ = pt.models.load("smollm2")
            with in_bfloat16():
                look.add(asked, look.answers(model, told(examples)))


def restored(look, seed, passes, endless=False):
    """Return LoRA as it was after so many of five passes; train it once more if need be."""
    if not kept(look, seed, passes, endless).exists():
        pt.seed(seed)
        model = put_on("lora")
        wanted = {each * look.steps: each for each in ((passes,) if endless else KEPT_AT)}
        batches = look.training(seed, question=endless, end=not endless)
        with in_bfloat16():
            for step in pt.train(model, batches, chosen(look, "lora")):
                if at := wanted.get(step.index + 1):
                    pt.save(model, kept(look, seed, at, endless))
                    if at == max(wanted.values()):
                        break
    return pt.store.swap(put_on("lora"), kept(look, seed, passes, endless))


def knob(look):
    """Look at the trained update, times f."""
    rows = [{"group": "knob", "method": "lora", "seed": 0, "f": f} for f in KNOB]
    if all(look.record.holds(row, "checkpoints") for row in rows):
        return
    model = restored(look, 0, 3)
    scale = {name: layer.scale for name, layer in pt.adapters(model).items()}
    for row in rows:
        if not look.record.holds(row, "checkpoints"):
            for name, layer in pt.adapters(model).items():
                layer.scale = scale[name] * row["f"]
            with in_bfloat16():
                look.add(row, look.losses(model) | look.answers(model))


def asked(look, group, seed, passes, endless=False):
    """Ask the base (0 passes) or LoRA for long answers, or for facts."""
    row = about(group, "lora", seed, chosen(look, "lora"), passes, endless, not endless)
    if look.record.holds(row, "checkpoints"):
        return
    model = restored(look, seed, passes, endless) if passes else pt.models.load("smollm2")[0]
    begun = time.perf_counter()
    with in_bfloat16():
        if group == "long":
            tokens = 16 if look.small else LONG_TOKENS
            said, ended = measure.answers(model, look.tokenizer, look.questions[::4][:LONG],
                                          new_tokens=tokens)
            found = {"tokens": [len(look.tokenizer(text)["input_ids"]) for text in said]}
        else:
            said, ended = measure.answers(model, look.tokenizer, [*measure.FACTS],
                                          new_tokens=8 if look.small else FACT_TOKENS)
            found = {"answers": said, "right": recording.bits(map(right, measure.FACTS,
                                                                  said))}
    print(group, seed, passes, found.get("tokens", found.get("right")))
    look.add(row, found | {"ended": recording.bits(ended),
                           "seconds": round(time.perf_counter() - begun)})


def ladder(look, method):
    """Train the first pass with the seeds that "main" has not."""
    for seed in (3,) if method in ("lora", "full") else (0, 1, 3):
        train(look, "ladder", method, seed, chosen(look, method), (1,))


def truth(look, seed):
    """Ask for facts before training, after one pass, and after five."""
    for passes in (0, 1, 5) if seed == 0 else (1, 5):
        asked(look, "truth", seed, passes)


def long(look):
    """Let answers run."""
    for passes, endless in ((0, False), (3, False), (3, True)):
        asked(look, "long", 0, passes, endless)


JOBS = (("lora", lambda look: main_run(look, "lora", 0)), ("none", prompt),
        ("full", lambda look: main_run(look, "full", 0)),
        ("qlora", lambda look: main_run(look, "qlora", 0)),
        ("lora", labels), ("lora", knob), ("lora", lambda look: main_run(look, "lora", 1)),
        ("full", lambda look: main_run(look, "full", 1)),
        ("qlora", lambda look: main_run(look, "qlora", 1)),
        ("lora", lambda look: truth(look, 0)), ("lora", lambda look: truth(look, 1)),
        ("lora", long), ("lora", lambda look: ladder(look, "lora")),
        ("full", lambda look: ladder(look, "full")), ("ia3", lambda look: ladder(look, "ia3")),
        ("prompt", lambda look: ladder(look, "prompt")))


def main():
    """Make what is missing, the most important first, saving after each checkpoint."""
    parser = recording.arguments(__doc__)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--try", dest="small", action="store_true",
                        help="tiny settings, into work/chat: does everything run?")
    options = parser.parse_args()
    voice = pt.data.voice()
    shared = {"model": "smollm2", "rank": RANK, "alpha": ALPHA, "targets": TARGETS,
              "batch_size": BATCH, "passes": PASSES, "train_pairs": len(voice.train),
              "validation_pairs": len(voice.validation), "questions": len(voice.questions),
              "new_tokens": measure.NEW_TOKENS, "tests": REVIEWS,
              "precision": "bfloat16 autocast", "torch": torch.__version__,
              "texts": hashlib.sha256(json.dumps(vars(voice)).encode()).hexdigest()[:12]}
    script = KEPT / "small.py" if options.small else Path(__file__)
    KEPT.mkdir(parents=True, exist_ok=True)
    look = Looker(recording.Recorder(script, shared, options.again, options.forget), options.small)
    for method, job in JOBS:
        if method in options.methods:
            job(look)


if __name__ == "__main__":
    main()
