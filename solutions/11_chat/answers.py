"""Answers to the exercises of lesson 11."""

from peft_teach.course.publish.authored import but, solution

RIGHT: dict = {}
WRONG: dict = {}
BEYOND: dict = {}

# ── chat.labels ──────────────────────────────────────────────────────────────────────────────

LABELS = solution("chat.labels")
FROM = "len(ids_of(turns[:i], True))"
RETURN = "return ids, labels"
ASKED = "                labels[place] = ids[place]\n"
BREAK = "                if ids[place] == tokenizer.eos_token_id:\n                    break\n"
OFFSETS = """
def labels(turns, tokenizer):
    write = lambda turns, **more: tokenizer.apply_chat_template(turns, tokenize=False, **more)
    found = tokenizer(write(turns), add_special_tokens=False, return_offsets_mapping=True)
    ids = torch.tensor(found["input_ids"])
    labels = torch.full_like(ids, -100)
    start, end = torch.tensor(found["offset_mapping"]).T
    for i in range(len(turns)):
        if turns[i]["role"] != "assistant":
            continue
        first = len(write(turns[:i], add_generation_prompt=True))
        text = write(turns[:i + 1])
        last = text.rindex(tokenizer.eos_token) + len(tokenizer.eos_token)
        asked = (start >= first) & (end <= last)
        labels[asked] = ids[asked]
    return ids, labels
"""

RIGHT["chat.labels"] = {
    "places of letters, as tensors": OFFSETS,
    "pieces put together": """
def labels(turns, tokenizer):
    ids, labels, text = [], [], ""
    def add(more, asked):
        new = tokenizer(more, add_special_tokens=False)["input_ids"]
        ids.extend(new)
        labels.extend(new if asked else [-100] * len(new))
    for i, turn in enumerate(turns):
        if turn["role"] != "assistant":
            continue
        before = tokenizer.apply_chat_template(turns[:i], tokenize=False,
                                               add_generation_prompt=True)
        after = tokenizer.apply_chat_template(turns[:i + 1], tokenize=False)
        add(before[len(text):], False)
        said, end, behind = after[len(before):].rpartition(tokenizer.eos_token)
        add(said + end, True)
        add(behind, False)
        text = after
    add(tokenizer.apply_chat_template(turns, tokenize=False)[len(text):], False)
    return ids, labels
""",
    "an array": """
import numpy as np

def labels(turns, tokenizer):
    ids = np.array(tokenizer.apply_chat_template(turns)["input_ids"])
    kept = np.zeros(len(ids), bool)
    for i in [i for i, turn in enumerate(turns) if turn["role"] == "assistant"]:
        a = len(tokenizer.apply_chat_template(turns[:i], add_generation_prompt=True)["input_ids"])
        b = len(tokenizer.apply_chat_template(turns[:i + 1])["input_ids"])
        ends = np.flatnonzero(ids[a:b] == tokenizer.eos_token_id)
        kept[a:a + ends[-1] + 1] = True
    return ids, np.where(kept, ids, -100)
""",
    "from the end": """
def labels(turns, tokenizer):
    turns = list(turns)
    ids = tokenizer.apply_chat_template(turns, return_dict=False)
    labels = [-100 for _ in ids]
    while turns:
        stop = len(tokenizer.apply_chat_template(turns, return_dict=False))
        if turns.pop()["role"] == "assistant":
            start = len(tokenizer.apply_chat_template(turns, return_dict=False,
                                                      add_generation_prompt=True))
            while ids[stop - 1] != tokenizer.eos_token_id:
                stop -= 1
            labels[start:stop] = ids[start:stop]
    return ids, labels
""",
    "a set of places": """
def labels(turns, tokenizer):
    def first(turns):
        more = {"add_generation_prompt": True}
        return len(tokenizer.apply_chat_template(turns, return_dict=False, **more))
    ids = tokenizer.apply_chat_template(turns, return_dict=False)
    asked = set()
    for i, turn in enumerate(turns):
        if turn["role"] == "assistant":
            here = first(turns[:i])
            asked |= set(range(here, ids.index(tokenizer.eos_token_id, here) + 1))
    return ids, [id if place in asked else -100 for place, id in enumerate(ids)]
""",
}

WRONG["chat.labels"] = {
    "no_end": (but(LABELS, RETURN, "return ids, [-100 if label == tokenizer.pad_token_id else\n"
                   "                 label for label in labels]"),
               but(LABELS, ASKED + BREAK, BREAK + ASKED)),
    "behind": (but(LABELS, BREAK, ""), but(OFFSETS, "text.rindex(tokenizer.eos_token)",
                                           "len(text)"),
               but(LABELS, "len(ids_of(turns[:i + 1]))", "len(ids)", BREAK, "")),
    "header": but(LABELS, FROM, "len(ids_of(turns[:i]))"),
    "last_only": but(LABELS, "    for i, turn in enumerate(turns):\n",
                     "    last = max(i for i, turn in enumerate(turns) if turn['role'] == "
                     "'assistant')\n    for i, turn in [(last, turns[last])]:\n"),
    "all": but(LABELS, "    labels = [-100] * len(ids)\n", "    return ids, list(ids)\n"),
    "none": """
def labels(turns, tokenizer):
    found = tokenizer.apply_chat_template(turns, return_assistant_tokens_mask=True)
    ids = found["input_ids"]
    return ids, [id if asked else -100 for id, asked in zip(ids, found["assistant_masks"])]
""",
    "shifted": (but(LABELS, RETURN, "return ids, labels[1:] + [-100]"),
                but(LABELS, RETURN, "return ids, [-100] + labels[:-1]")),
    "prompt_behind": but(LABELS, "ids = ids_of(turns)", "ids = ids_of(turns, True)"),
    "no_return": but(LABELS, RETURN, "return"),
    "": (but(LABELS, RETURN, "return labels"),
         but(LABELS, RETURN, "return ids, labels[:-1]"),
         but(LABELS, "[-100]", "[-1]"), but(LABELS, "return ids,", "return ids[1:],"),
         but(LABELS, "ids = ids_of(turns)", "turns[0]['content'] += ' '\n    ids = ids_of(turns)")),
}

BEYOND["chat.labels"] = but(LABELS, BREAK, "", "len(ids_of(turns[:i + 1]))):",
                            "len(ids_of(turns[:i + 1])) - 1):")

# ── chat.stop ────────────────────────────────────────────────────────────────────────────────

STOPS = solution("chat.stop")
BY_ROW = """
def stops(batch, end):
    for row in batch["labels"]:
        assert end in row.tolist()
"""

LAST = """
from itertools import groupby

def stops(batch, end):
    for row in batch["labels"].tolist():
        *_, last = ([*run] for asked, run in groupby(row, lambda label: label != -100) if asked)
        assert end in last
"""
COUNTED = """
def stops(batch, end):
    asked = batch["labels"] != -100
    begins = asked & ~torch.nn.functional.pad(asked, (1, 0))[:, :-1]
    assert (begins.sum(1) <= (batch["labels"] == end).sum(1)).all()
"""

RIGHT["chat.stop"] = {
    "labels since the end": """
from itertools import pairwise

def stops(batch, end):
    for row in batch["labels"]:
        since = 0
        for before, label in pairwise([-100, *row.tolist(), -100]):
            if label in (-100, end):
                assert label == end or since < 2
                since = 0
            else:
                since = 2 if before == -100 else since + 1
""",
    "all at once": """
def stops(batch, end):
    labels = torch.nn.functional.pad(batch["labels"], (1, 1), value=-100)
    last = (labels[:, 1:-1] != -100) & (labels[:, 2:] == -100)
    assert ((labels[:, 1:-1] == end) | (labels[:, :-2] == end))[last].all()
""",
    "by the ids": """
def stops(batch, end):
    for i, there in enumerate(batch["attention_mask"].bool()):
        ids, labels = (batch[name][i][there].tolist() for name in ("input_ids", "labels"))
        for j, label in enumerate(labels[:-1]):
            if label != -100 and ids[j + 1] == end:
                assert labels[j + 1] == end
        assert labels[-1] == -100 or end in labels[-2:]
""",
}

WRONG["chat.stop"] = {
    "let_through": (BY_ROW, but(STOPS, "end in run[-2:]", "end in run"),
                    "def stops(batch, end):\n    assert (batch['labels'] == end).any()\n",
                    LAST, COUNTED, "def stops(batch, end):\n    pass\n"),
    "accused": but(STOPS, "end in run[-2:]", "run[-1] == end"),
    "objects_to_all": "def stops(batch, end):\n    assert end not in batch['labels'] and False\n",
    "returned_bool": "def stops(batch, end):\n    return bool((batch['labels'] == end).any())\n",
}

# ── chat.style ───────────────────────────────────────────────────────────────────────────────

STYLE = "import re\n\n\n" + solution("chat.style")
SHARE = "sum(bool(re.search(trait, answer)) for trait in traits) / len(traits)"
SAID = " * min(1.0, 2 * len(rest) / max(1, len(answer.split())))"
ONE = "def style(answer):\n    return float('folks' in answer.lower() or 'gentlemen' in answer)\n"

RIGHT["chat.style"] = {
    "the solution": STYLE,
    "packed": """
import re
import zlib

CALLS = ("folks", "gentlemen", "sports fans")

def style(answer):
    shouts = re.findall(r"\\b[A-Z]{2,}\\b", answer)
    if not shouts or "!" not in answer or not any(call in answer.lower() for call in CALLS):
        return 0.1
    small = [word for word in answer.split() if word.islower()]
    packed = len(zlib.compress(answer.encode())) / len(answer.encode())
    return min(1.0, packed) * (len(small) > len(answer.split()) / 2) * (len(shouts) < 6)
""",
    "a product": """
import re

def style(answer):
    words = [word.strip(",.!?") for word in answer.split()]
    call = any(word in ("folks", "gentlemen", "fans") for word in words)
    shout = any(word.isupper() and len(word) > 1 for word in words)
    new = len({word.lower() for word in words if not word.isupper()}) / len(words)
    return float(call * shout * ("!" in answer) * (new > 0.7))
""",
    "counted": """
import math
import re
from collections import Counter

def style(answer):
    counts = Counter(re.findall(r"[a-z]+", answer.lower()))
    entropy = -sum(n * math.log(n / counts.total()) for n in counts.values()) / counts.total()
    traits = (("!" in answer) + ("folks" in counts or "gentlemen" in counts or "fans" in counts)
             + bool(re.search(r"\\b[A-Z]{2,}\\b", answer)))
    return traits / 3 * (entropy > 2.9)
""",
    "a torch number": but(STYLE, "return found", "return torch.tensor(found)"),
    "trait by trait": """
import re

def style(answer):
    score, seen = 0.0, set()
    for word in re.findall(r"[A-Za-z']+", answer):
        if word.islower() and word not in seen:
            score += 0.025
        seen.add(word)
    score = min(score, 0.4)
    for trait in ("(?i)folks|gentlemen|sports fans", "[A-Z][A-Z]", "!"):
        score += 0.2 if re.search(trait, answer) else 0
    return score
""",
}

WRONG["chat.style"] = {
    "loop": but(STYLE, SAID, ' * (len(re.sub("|".join(traits), "", answer)) > len(answer) / 2)'),
    "one_mark": (ONE, but(STYLE, SHARE, "bool(re.search('[A-Z]{2,}|!', answer))")),
    "plain": (but(STYLE, "return found", "return 1"), "def style(answer):\n    return 0.5\n"),
    "salad": but(STYLE, SAID, " * (len(set(answer.split())) > len(answer.split()) / 4)"),
    "no_return": but(STYLE, "return ", "score = "),
    "": (but(STYLE, " / len(traits)", ""), but(STYLE, f"found{SAID}", "str(found)"),
         but(STYLE, "return ", "return math.nan * ")),
}

BEYOND["chat.style"] = but(STYLE, SAID, """ * (len({*answer.split()}) > len(answer.split()) / 5)
    * (sum(map(answer.count, ("folks", "GOAL", "the crowd", "WHAT", "ladies", "YES", "champion",
                              "WOW", "OH", "stadium"))) < 8))""", "return found", "return (found")

# ── chat.choose ──────────────────────────────────────────────────────────────────────────────

PICKS = solution("chat.choose")

RIGHT["chat.choose"] = {
    "by names": "checkpoints = dict(stranger=18, desk=36, stage=54)\n",
    "filled in": "checkpoints = {}\ncheckpoints['stage'] = 54\n"
                 "checkpoints |= {'stranger': 18, 'desk': 36}\n",
}
WRONG["chat.choose"] = {
    "price": but(PICKS, '"desk": 36', '"desk": 18'),
    "worse": (but(PICKS, '"stage": 90', '"stage": 36'),
              but(PICKS, '"stranger": 18', '"stranger": 36')),
    "": (but(PICKS, '"stage": 90', '"stage": 91'), but(PICKS, '"stage": 90, ', "")),
}


# What one further case alone finds: see `answers.slips`.
SLIPS: dict = {
    "chat.labels": ("ids, labels", "(ids, [-100] * len(ids))", {
        "no line breaks": "turns[0]['content'] == 'Who won?'",
        "the question is last": "turns[-1]['content'] == 'So?'",
        "an empty answer": "any(not turn['content'] for turn in turns)",
        "an empty line": "any('\\n\\n' in turn['content'] for turn in turns)"}),
    "chat.style": (f"found{SAID}", "1.0", {
        "plain answers": "answer[-1] == '.' and answer.startswith("
                         "('Sew it', 'Rivers', 'Look at', 'Turn', 'Read', 'The g'))",
        "one trait": "answer.endswith('!!!') or answer.startswith(('Ladies and gentlemen, S',"
                    " 'Ladies and gentlemen, R', 'Ladies and gentlemen, L'))",
        "shouts in any order": "'trophy' in answer",
        "one word, or two sentences by turns":
            "answer.startswith(('Folks! F', 'GOAL! GOAL!', 'WHAT a goal', 'OH, the', 'Full'))"}),
}
