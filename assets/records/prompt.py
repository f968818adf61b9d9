"""Make the records of lesson 03: prompts in words, prompts of vectors, and what lies between.

    python assets/records/prompt.py             all that is missing, half an hour on one core

Writes `prompt.json`: one row a run. Interrupted, it goes on where it stopped.

SmolLM2-135M is asked for the word behind "Review: … Sentiment:"; of " positive" and
" negative" the one with the larger logit is its answer. Reviews of at most 10 words; 32 steps of 8
reviews, 100 test reviews. `answers` are its answers to these, one digit a review, so that two runs
can be compared review by review. `ranked` is the share of pairs, one review that is liked and one
that is not, in which the liked one has the larger margin: no bound between the answers has a part
in it. Groups:

    written    an instruction in words
    soft       ten vectors in front that start as words, or at random
    rates      vectors that start as words at each of `RATES`, on the validation reviews, which
               cannot tell them apart; `validation` is the accuracy. All others run at the middle
               one, and `faster`, on all test reviews, at the highest
    all        what decides the lesson's question, on all 470 test reviews, half of which are liked
               (39 of the hundred are): instructions, also with the bound between the answers
               that is best on the training reviews (`bound`), and vectors from words
    back       (1 − t) P + t W on all of these reviews: P are `vectors`, W the tokens nearest to
               them; with `margins`, the logit of " positive" less that of " negative"

`vectors` has what was trained with seed 0, rounded; `words`, the token nearest to each vector;
`planes`, how far each is from that token, how far from that the next one is, and the cosine between
the two directions.
"""

import torch

import peft_teach as pt
from peft_teach.course import recording
from peft_teach.course.desk import reviews as reading

START = "Classify the sentiment of this film review.\n"        # ten tokens
WRITTEN = ("", START, "Is this movie review positive or negative?\n",
           "Here is a review of a film, and its sentiment.\n")
LENGTH, STEPS, BATCH, TESTS, ALL = 10, 32, 8, 100, 470
LR, RATES = 2e-2, (6e-3, 2e-2, 6e-2)
SEARCHED = {
    "prompt": "alike",                                         # on validation
    "none": "solved"}                                          # nothing of it trains
BACK = {"text": (1.0, 0.0, 0.8, 0.5), "random": (0.0, 1.0)}    # shares of the way to the words


def settings():
    """Yield (group, setting) of every run, the most needed first."""
    def soft(start, seed, **more):
        return {"model": "smollm2", "start": start, "seed": seed, **more}

    for text in WRITTEN:
        yield "written", {"model": "smollm2", "text": text}
    for start in BACK:
        yield "soft", soft(start, 0)
    for lr in RATES:
        yield "rates", soft("text", 0, lr=lr)
    for text in WRITTEN:
        yield "all", {"model": "smollm2", "text": text, "tests": ALL}
    for text in (START, ""):
        yield "all", {"model": "smollm2", "text": text, "tests": ALL, "bound": "best"}
    for seed in (0, 1, 2, 3):    # 3 is the lesson's own run
        yield "all", soft("text", seed, tests=ALL)
    yield "faster", soft("text", 0, tests=ALL, lr=RATES[-1])
    for start, shares in BACK.items():
        for t in shares:
            yield "back", {"model": "smollm2", "start": start, "t": t, "tests": ALL}


class Words:
    """SmolLM2 and its reviews, loaded once; a soft prompt is put before it and taken off again."""

    def __init__(self, data):
        self.model, self.tokenizer = pt.models.load("smollm2")
        self.words = reading.two_words(self.tokenizer)
        self.train = reading.short(data.train)
        self.validation, self.every = map(reading.short, (data.validation, data.test))
        self.E = self.model.get_input_embeddings().weight.detach()

    def take(self, reviews):
        """Test on these reviews from now on."""
        self.tests = sorted(reviews, key=lambda e: len(e.text))
        self.truth = torch.tensor([e.label for e in self.tests])

    def margins(self, examples, before=""):
        """Return the logit of " positive" less that of " negative", one a review."""
        found, ask = [], reading.AtTheAnswer(self.model)
        with torch.no_grad():
            for batch in reading.ask(examples, self.tokenizer, 20, before):
                logits = ask(**batch).logits
                found.append(logits[:, self.words[1]] - logits[:, self.words[0]])
        return torch.cat(found)

    def test(self, before="", bound=0.0):
        """Return the accuracy, the share of pairs ranked right, and the answers as digits."""
        return self.told(self.margins(self.tests, before), bound)

    def told(self, found, bound=0.0):
        """The same of margins that were found."""
        accuracy = ((found > bound).long() == self.truth).double().mean().item()
        ahead = found[self.truth == 1][:, None] - found[self.truth == 0]     # (liked, not liked)
        return {"accuracy": round(accuracy, 4),
                "ranked": round((ahead > 0).double().mean().item(), 4),
                "answers": recording.bits(found > bound)}

    def nearest(self, P):
        """Return the token nearest to each vector, and how far it is."""
        distances = torch.cdist(P.detach(), self.E,            # (length, vocabulary)
                                compute_mode="donot_use_mm_for_euclid_dist")
        return distances.argmin(1), distances.amin(1)


def soft(setting, task):
    """Put vectors before SmolLM2, train and test them; return the row, and what parts gain."""
    pt.seed(setting["seed"])
    start = setting["start"]
    config = pt.prompt.Config(LENGTH, start=start, words=(START,) if start == "text" else ())
    task.model = pt.prompt.inject(task.model, config, task.tokenizer)
    P = task.model.model.P
    asked = reading.AtTheAnswer(task.model)
    batches = reading.ask(task.train[:STEPS * BATCH], task.tokenizer, BATCH, seed=setting["seed"])
    rate = setting.get("lr", LR)
    losses = [round(step.loss, 3) for step in pt.train(asked, batches, rate)]
    row = {"method": "prompt", "length": LENGTH, "lr": rate, "losses": losses, **task.test()}
    gains = {}
    if start in BACK and setting == {"model": "smollm2", "start": start, "seed": 0}:
        words = [task.tokenizer.decode([i]) for i in task.nearest(P)[0].tolist()]
        gains = {"words": {start: words},
                 "vectors": {start: [[round(x, 3) for x in p] for p in P.tolist()]}}
    task.model = pt.remove(task.model)
    return row, gains


def back(setting, task, vectors):
    """Put recorded vectors before SmolLM2, a share t of the way to their words; as `soft`."""
    P, t = torch.tensor(vectors[setting["start"]]), setting["t"]
    task.model = pt.prompt.inject(task.model, pt.prompt.Config(len(P)), task.tokenizer)
    task.model.model.P.data.copy_((1 - t) * P + t * task.E[task.nearest(P)[0]])
    found = task.margins(task.tests)
    task.model = pt.remove(task.model)
    return {"method": "prompt", "length": len(P), **task.told(found),
            "margins": [round(x, 2) for x in found.tolist()]}, {
                "planes": {setting["start"]: plane(P, task)}}


def plane(P, task):
    """Return where each vector lies as seen from its nearest word, and from there the next word."""
    ids, far = task.nearest(P)
    W = task.E[ids]
    apart = torch.cdist(W, task.E).scatter(1, ids[:, None], torch.inf)    # not the word itself
    towards = torch.cosine_similarity(P - W, task.E[apart.argmin(1)] - W, dim=1)
    return {name: [round(x, 3) for x in values.tolist()] for name, values in (
        ("far", far), ("other", apart.amin(1)), ("towards", towards))}


def threshold(setting, task):
    """Return the accuracy of an instruction with the bound that is best on the training reviews."""
    few = task.train[:STEPS * BATCH]
    found = task.margins(few, setting["text"])
    truth = torch.tensor([e.label for e in few])
    bounds = found.sort().values
    right = torch.stack([((found > b).long() == truth).double().mean() for b in bounds])
    bound = bounds[right.argmax()].item()
    return {"bound": round(bound, 3), "training": round(right.max().item(), 4)} | task.test(
        setting["text"], bound)


def main():
    """Make what is missing, one run after the other, saving after each."""
    options = recording.arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    data = pt.data.load("movies")
    record = recording.Recorder(__file__, {
        "length": LENGTH, "lr": LR, "steps": STEPS, "batch_size": BATCH, "tests": TESTS,
        "start": START, "longest": reading.LONGEST, "torch": torch.__version__},
        options.again, options.forget)
    task = None

    def make(about):
        nonlocal task
        group, setting = about["group"], about["setting"]
        task = task or Words(data)
        count = setting.get("tests", TESTS)
        task.take(task.validation if group == "rates" else task.every[:count])
        if group == "back":
            row, gains = back(setting, task, record.read()["vectors"])
        elif "start" in setting:
            row, gains = soft(setting, task)
        elif "bound" in setting:
            row, gains = {"method": "none"} | threshold(setting, task), {}
        else:
            row, gains = {"method": "none"} | task.test(setting["text"]), {}
        if group == "rates":
            row["validation"] = row.pop("accuracy")
            return row, gains
        return row | {"tests": count}, gains

    wanted = [{"group": group, "setting": setting} for group, setting in settings()]
    record.make(wanted, make)


if __name__ == "__main__":
    main()
