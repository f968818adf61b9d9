"""Answers to the exercises of lesson 10."""

from answers import but

RIGHT: dict = {}
WRONG: dict = {}
BEYOND: dict = {}

# ── ladder.interval ──────────────────────────────────────────────────────────────────────────

INTERVAL = """
T = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}

def interval(a, b):
    d = a - b
    seeds, sentences = d.shape
    wider = (T[seeds] / 1.96) ** 2
    error = (wider * d.mean(dim=1).var() / seeds + d.mean(dim=0).var() / sentences).sqrt()
    return (d.mean() - 1.96 * error).item(), (d.mean() + 1.96 * error).item()
"""
D = "d = a - b"
ERROR = "(wider * d.mean(dim=1).var() / seeds + d.mean(dim=0).var() / sentences).sqrt()"
RETURN = "return (d.mean() - 1.96 * error).item(), (d.mean() + 1.96 * error).item()"
RESAMPLED = """
def interval(a, b):
    d = a - b
    means = []
    for _ in range(250):
        rows = torch.randint(len(d), (len(d),))
        columns = torch.randint(d.shape[1], (d.shape[1],))
        means.append(d[rows][:, columns].mean())
    low, high = torch.stack(means).quantile(torch.tensor([0.025, 0.975]))
    return low, high
"""

RIGHT["ladder.interval"] = {
    "two errors, in squares": INTERVAL,
    "NumPy": but(INTERVAL.replace("dim=", "axis=").replace(".var()", ".var(ddof=1)"),
                 D, "d = (a - b).numpy()", ".sqrt()", " ** 0.5"),
    "by hypot": """
T = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}

def interval(a, b):
    d, (s, n) = torch.sub(a, b).double(), a.shape
    half = math.hypot(T.get(s, 2.1) * d.mean(1).std() / s**0.5, 1.96 * d.mean(0).std() / n**0.5)
    return [d.mean() - half, d.mean() + half]
""",
    "what is left counted once": but(INTERVAL, D, """d = a - b
    rest = d - d.mean(1, keepdim=True) - d.mean(0) + d.mean()""",
                                     "d.mean(dim=0).var() / sentences)",
                                     "d.mean(dim=0).var() / sentences - rest.var() / d.numel())"
                                     ".clamp(min=0)"),
    "without tensors": """
import statistics as s
T = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}

def interval(a, b):
    d = (a - b).tolist()
    rows, columns = [s.fmean(row) for row in d], [s.fmean(column) for column in zip(*d)]
    half = (T[len(d)]**2 * s.variance(rows) / len(rows)
            + 1.96**2 * s.variance(columns) / len(columns)) ** 0.5
    return s.fmean(rows) - half, s.fmean(rows) + half
""",
    "one tensor": but(INTERVAL, RETURN, "return d.mean() + 1.96 * error * torch.tensor([-1, 1])"),
}

WRONG["ladder.interval"] = {
    "sentences_alone": (but(INTERVAL, ERROR, "d.mean(dim=0).std() / sentences ** 0.5"),
                        but(RESAMPLED, "d[rows][:, columns]", "d[:, columns]")),
    "seeds_alone": (but(INTERVAL, ERROR, "d.mean(dim=1).std() / seeds ** 0.5"),
                    but(RESAMPLED, "d[rows][:, columns]", "d[rows]")),
    "normal": but(INTERVAL, "wider * ", ""),
    "unpaired": but(INTERVAL, ERROR, "sum((x.mean(dim=1).var() / seeds + x.mean(dim=0).var() / "
                                     "sentences) for x in (a, b)).sqrt()"),
    "pooled": but(INTERVAL, ERROR, "d.std() / (seeds * sentences) ** 0.5"),
    "deviation": but(INTERVAL, ERROR, "(d.mean(dim=1).var() + d.mean(dim=0).var()).sqrt()"),
    "no_return": but(INTERVAL, "return (", "low_high = ("),
    "": (but(INTERVAL, D, "d = b - a"), INTERVAL.replace("1.96 * ", ""),
         but(INTERVAL, "+ 1.96 * error", "+ 4 * error"), but(INTERVAL, RETURN, "return d.mean()"),
         but(INTERVAL, RETURN, "return 'from', 'to'")),
}

BEYOND["ladder.interval"] = but(INTERVAL, "seeds, sentences = d.shape",
                                "seeds, sentences = len(d), min(d.shape[1], 200)")

# ── ladder.sweep ─────────────────────────────────────────────────────────────────────────────

SWEEP = """
def sweep(score, ladder, first):
    found = {}
    def ask(i):
        if 0 <= i < len(ladder) and i not in found:
            value = score(ladder[i])
            found[i] = -math.inf if math.isnan(value) else value
    ask(best := ladder.index(first))
    while True:
        ask(best - 1)
        ask(best + 1)
        if found[best] == max(found.values()):
            return ladder[best]
        best = max(found, key=found.get)
"""
NAN = "-math.inf if math.isnan(value) else value"
CLIMB = """
def sweep(score, ladder, first):
    best = ladder.index(first)
    top = score(first)
    for step in (1, -1):
        while 0 <= best + step < len(ladder):
            value = score(ladder[best + step])
            if not (value > top or math.isnan(top)):
                break
            best, top = best + step, value
        if ladder[best] != first:
            break
    return ladder[best]
"""
MEMORY = """
def sweep(score, ladder, first):
    found, wanted = {}, [first]
    while wanted:
        rate = wanted[0]
        found[rate] = score(rate)
        value = lambda r: found[r] if found[r] == found[r] else -math.inf
        best = max(found, key=value)
        i = ladder.index(best)
        wanted = [r for r in (*ladder[i + 1:i + 2], *ladder[max(i - 1, 0):i]) if r not in found]
    return best
"""

RIGHT["ladder.sweep"] = {
    "both neighbours at a time": SWEEP,
    "one wish at a time": MEMORY,
    "up, then down": CLIMB,
    "the upper neighbour first": but(SWEEP, "        ask(best - 1)\n        ask(best + 1)\n",
                                     "        ask(best + 1)\n        ask(best - 1)\n"),
    "recursive": """
def sweep(score, ladder, first, found=None):
    found = found or {first: score(first)}
    best = max(found, key=lambda rate: torch.tensor(found[rate]).nan_to_num(-1e9).item())
    place = ladder.index(best)
    for rate in ladder[max(place - 1, 0):place + 2]:
        if rate not in found:
            return sweep(score, ladder, first, {**found, rate: score(rate)})
    return best
""",
    "tensors": but(SWEEP, NAN, "torch.tensor(value).nan_to_num(-torch.inf)"),
}

WRONG["ladder.sweep"] = {
    "not_needed": (but(SWEEP, "    while True:", "    [*map(ask, range(9))]\n    while True:"),
                   but(SWEEP, "ladder.index(first)", "len(ladder) // 2"),
                   but(SWEEP, "0 <= i < len(ladder)", "i < len(ladder)")),
    "stopped": (but(CLIMB, "(1, -1)", "(1,)"), but(SWEEP, "        ask(best + 1)\n", "")),
    "twice": but(SWEEP, " and i not in found", ""),
    "nan_wins": but(SWEEP, NAN, NAN[1:]),
    "no_return": but(SWEEP, "return ladder[best]", "return"),
    "": (but(SWEEP, "return ladder[best]", "return ladder[max(best - 1, 0)]"),
         but(SWEEP, "score(ladder[i])", "score(i)"),
         but(SWEEP, "return ladder[best]", "return ladder[best], found[best]"),
         but(SWEEP, "    ask(best :=", "    while True:\n        score(first)\n    ask(best :="),
         but(SWEEP, "0 <= i < len(ladder)", "0 <= i")),
}

BEYOND["ladder.sweep"] = but(CLIMB, " or math.isnan(top)", "")

# ── ladder.neighbours ────────────────────────────────────────────────────────────────────────

NEIGHBOURS = """
def neighbours(vectors, documents):
    v = vectors / vectors.norm(dim=1, keepdim=True)
    like = v @ v.T
    like.fill_diagonal_(-math.inf)
    same = documents[like.argmax(dim=1)] == documents
    size = (documents[:, None] == documents[None, :]).sum(dim=1)
    return same[size > 1].float().mean().item()
"""
UNIT = "vectors / vectors.norm(dim=1, keepdim=True)"
DIAGONAL = "    like.fill_diagonal_(-math.inf)\n"

RIGHT["ladder.neighbours"] = {
    "a table": NEIGHBOURS,
    "row by row": """
from collections import Counter

def neighbours(vectors, documents):
    v, of = nn.functional.normalize(vectors), documents.tolist()
    sizes, hits = Counter(of), []
    for i, row in enumerate(v):
        like = v @ row
        like[i] = -2
        if sizes[of[i]] > 1:
            hits.append(of[int(like.argmax())] == of[i])
    return sum(hits) / len(hits)
""",
    "the two nearest": but(NEIGHBOURS, DIAGONAL, "    top = like.topk(2, dim=1).indices\n"
                           "    me = torch.arange(len(v))\n"
                           "    near = torch.where(top[:, 0] == me, top[:, 1], top[:, 0])\n",
                           "like.argmax(dim=1)", "near"),
    "distances of unit vectors": but(NEIGHBOURS, "v @ v.T", "-torch.cdist(v, v)"),
    "NumPy": """
import numpy as np

def neighbours(vectors, documents):
    v, of = vectors.numpy().astype(float), documents.numpy()
    v /= np.sqrt((v * v).sum(1))[:, None]
    like = v @ v.T
    np.fill_diagonal(like, -9)
    _, which, counts = np.unique(of, return_inverse=True, return_counts=True)
    asked = counts[which] > 1
    return np.mean(of[like.argmax(1)][asked] == of[asked])
""",
    "counted at once, and a 0-d tensor": but(
        NEIGHBOURS, "(documents[:, None] == documents[None, :]).sum(dim=1)",
        "torch.bincount(documents)[documents]", ".mean().item()", ".mean()"),
}

WRONG["ladder.neighbours"] = {
    "itself": (but(NEIGHBOURS, DIAGONAL, ""),
               but(NEIGHBOURS, DIAGONAL, "    like.fill_diagonal_(0)\n")),
    "lengths": (but(NEIGHBOURS, UNIT, "vectors"),
                but(NEIGHBOURS, "v @ v.T", "-torch.cdist(vectors, vectors)")),
    "all_asked": but(NEIGHBOURS, "same[size > 1]", "same"),
    "left_out": but(NEIGHBOURS, "    v =", "    many = (documents[:, None] == documents).sum(1) > 1"
                    "\n    vectors, documents = vectors[many], documents[many]\n    v ="),
    "no_return": but(NEIGHBOURS, "return ", "share = "),
    "": (but(NEIGHBOURS, "return ", "return 100 * "),
         but(NEIGHBOURS, ".float().mean().item()", "")),
}

BEYOND["ladder.neighbours"] = but(NEIGHBOURS, DIAGONAL, "    like[like > 0.999999] = -math.inf\n")

# ── ladder.batch ─────────────────────────────────────────────────────────────────────────────

BATCH = """
class Many(pt.Adapter):
    def __init__(self, base, adapters):
        super().__init__(base)
        self.adapters = adapters

    def forward(self, x):
        y = self.base(x).clone()
        for k, (A, B, scale) in enumerate(self.adapters):
            mine = self.who == k
            y[mine] += scale * x[mine] @ A.T @ B.T
        return y
"""
KEEP = "        self.adapters = adapters\n"
FORWARD = BATCH[BATCH.index("        y = "):]
PADDED = """
class Many(pt.Adapter):
    def __init__(self, base, adapters):
        super().__init__(base)
        r = max(len(A) for A, _, _ in adapters)
        pad = nn.functional.pad
        A = torch.stack([pad(A, (0, 0, 0, r - len(A))) for A, _, _ in adapters])
        B = torch.stack([scale * pad(B, (0, r - B.shape[1])) for _, B, scale in adapters])
        self.register_buffer("A", torch.cat([A, torch.zeros_like(A[:1])]), persistent=False)
        self.register_buffer("B", torch.cat([B, torch.zeros_like(B[:1])]), persistent=False)

    def forward(self, x):
        h = x.flatten(1, -2) if x.dim() > 2 else x[:, None]
        u = torch.einsum("bti,bri,bor->bto", h, self.A[self.who], self.B[self.who])
        y = self.base(x)
        return y + u.reshape(y.shape)
"""

RIGHT["ladder.batch"] = {
    "a mask for each adapter": BATCH,
    "padded, and one einsum": PADDED,
    "row by row": but(BATCH, FORWARD, """        rows = []
        for y, h, k in zip(self.base(x), x, self.who.tolist()):
            if k != -1:
                A, B, scale = self.adapters[k]
                y = y + scale * (h @ A.T @ B.T)
            rows.append(y)
        return torch.stack(rows)
"""),
    "all adapters, and a choice": but(BATCH, FORWARD, """        y = self.base(x)
        shape = (-1,) + (1,) * (x.dim() - 1)
        for k, (A, B, scale) in enumerate(self.adapters):
            u = nn.functional.linear(nn.functional.linear(x, A), B)
            y = y + torch.where((self.who == k).view(shape), scale * u, 0.0)
        return y
"""),
    "sorted, and put back": but(BATCH, FORWARD, """        y = self.base(x)
        order = torch.argsort(self.who)
        added, who = [], self.who[order]
        for k in who.unique().tolist():
            h = x[order[who == k]]
            if k < 0:
                added.append(torch.zeros(h.shape[:-1] + y.shape[-1:]))
            else:
                A, B, scale = self.adapters[k]
                added.append(scale * h @ A.T @ B.T)
        return y + torch.cat(added)[torch.argsort(order)]
"""),
    "frozen parameters": but(BATCH, KEEP, """        A, B, scales = zip(*adapters)
        self.A = nn.ParameterList(nn.Parameter(a, False) for a in A)
        self.B = nn.ParameterList(nn.Parameter(s * b, False) for s, b in zip(scales, B))
""", "k, (A, B, scale) in enumerate(self.adapters)", "k, (A, B) in enumerate(zip(self.A, self.B))",
                              "scale * x", "x"),
}

WRONG["ladder.batch"] = {
    "last_for_plain": but(RIGHT["ladder.batch"]["row by row"], "if k != -1:", "if True:"),
    "no_scale": but(BATCH, "scale * x", "x"),
    "unsorted": but(RIGHT["ladder.batch"]["sorted, and put back"], "return y + torch.cat(added)"
                    "[torch.argsort(order)]", "return y[order] + torch.cat(added)"),
    "base_calls": but(BATCH, "        y = self", "        self.base(x)\n        y = self"),
    "no_return": but(BATCH, "        return y\n", ""),
    "": (but(RIGHT["ladder.batch"]["frozen parameters"], "nn.Parameter(a, False)",
             "nn.Parameter(a)"),
         but(PADDED, "torch.cat([A, torch.zeros_like(A[:1])]), persistent=False",
             "torch.cat([A, torch.zeros_like(A[:1])])"),
         but(BATCH, "y[mine] += ", "y[mine] = "), but(BATCH, "self.who == k", "self.who >= k"),
         but(BATCH, "scale * x[mine] @ A.T", "scale * x[mine].mean(0) @ A.T")),
}

BEYOND["ladder.batch"] = but(PADDED, "x.flatten(1, -2) if x.dim() > 2 else x[:, None]",
                             "x if x.dim() > 2 else x[:, None]")

# ── ladder.ship ──────────────────────────────────────────────────────────────────────────────

PICKS = """
picks = {"file": "IA³", "time": "bottleneck", "any": "full fine-tuning", "keep": "LoRA everywhere"}
"""

RIGHT["ladder.ship"] = {
    "names of the tables": PICKS,
    "small letters": 'picks = dict(keep="lora all", any="full", time="mask", file="ia3")',
    "filled in": 'picks = {"any": "Full fine-tuning", "time": "a random mask"}\n'
                 'picks["file"], picks["keep"] = "IA3", "LoRA everywhere"',
}

WRONG["ladder.ship"] = {
    "over": (but(PICKS, "IA³", "LoRA 8"), but(PICKS, "bottleneck", "full fine-tuning"),
             but(PICKS, "LoRA everywhere", "IA³")),
    "worse": (but(PICKS, "full fine-tuning", "the head alone"), but(PICKS, "IA³", "LoRA 1")),
    "": (but(PICKS, "bottleneck", "LoRA 9"), but(PICKS, '"any": "full fine-tuning", ', "")),
}

# What each message says, of its mistake and of no other: see `answers.says`.
SAYS = {
    "ladder.interval": {
        "unpaired": "what two separate intervals give",
        "normal": "1.96 standard errors are too few",
        "sentences_alone": "asks what other sentences would change",
        "seeds_alone": "asks what other seeds would change",
        "pooled": "every pair of a seed and a sentence",
        "deviation": "how single seeds or sentences spread"},
    "ladder.sweep": {
        "not_needed": "beside the best so far", "stopped": "may be beaten by it: go on",
        "twice": "keep what you were told", "nan_wins": "the score of a run that broke"},
    "ladder.neighbours": {
        "itself": "Its neighbour is another sentence", "lengths": "the cosine does not",
        "all_asked": "do not ask it", "left_out": "may still be somebody's neighbour"},
    "ladder.batch": {
        "last_for_plain": "for the plain base nothing is added", "no_scale": "a scale of its own",
        "unsorted": "sorted by adapter", "base_calls": "answer for all rows at once"},
    "ladder.ship": {"over": "over the budget", "worse": "within this budget another one is better"},
}

# What one further case alone finds: see `answers.slips`.
FIRST = "found[ladder.index(first)]"
SLIPS: dict = {
    "ladder.interval": ("(d.mean() - 1.96 * error).item(), (d.mean() + 1.96 * error).item()",
                        "(0.0, 0.0)", {
        "few sentences": "3 < sentences < 20", "many sentences": "sentences > 200",
        "far below zero": "d.mean() < -2"}),
    "ladder.sweep": ("ladder[best]", "None", {
        "the first run broke": f"{FIRST} == -math.inf", "one rate": "len(ladder) == 1",
        "two rates": "len(ladder) == 2",
        "two alike at the top": "len(found) > 1 and min(found.values()) < "
                                "sorted(found.values())[-2] == found[best]"}),
    "ladder.neighbours": ("same[size > 1].float().mean().item()", "-1.0", {
        "twins": "(like > 0.99999).sum() > 20", "one document": "len(documents.unique()) == 1",
        "large numbers": "documents.max() > 5000"}),
    "ladder.batch": ("self.base(x).clone()", "self.base(x) + 1", {
        "four axes": "x.dim() == 4", "all plain": "(self.who == -1).all()",
        "one adapter": "len(self.adapters) == 1"}),
}
