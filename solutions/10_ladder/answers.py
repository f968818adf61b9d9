"""Answers to the exercises of lesson 10."""

from peft_teach.course.publish.authored import but, solution

RIGHT: dict = {}
WRONG: dict = {}
BEYOND: dict = {}

# ── ladder.interval ──────────────────────────────────────────────────────────────────────────

INTERVAL = solution("ladder.interval")
TABLE = INTERVAL[:INTERVAL.index("def ")]
D = "(a - b).double()"
OF_SEEDS = "T95[seeds] ** 2 * d.mean(dim=1).var() / seeds"
OF_SENTENCES = "1.96**2 * d.mean(dim=0).var() / sentences"
HALF = "(from_seeds + from_sentences).sqrt().item()"
ENDS = "d.mean().item() - half, d.mean().item() + half"
SIZES = "    seeds, sentences = d.shape\n"
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
    "NumPy, and the table rounded": but(
        "import numpy as np\n" + INTERVAL.replace("dim=", "axis=").replace("var()", "var(ddof=1)"),
        D, "(a - b).numpy()", "dict(enumerate((", "dict(enumerate(np.round((", "2.093), start",
        "2.093), 2), start", ".sqrt().item()", " ** 0.5"),
    "by hypot": but(INTERVAL, OF_SEEDS, "T95[seeds] * d.mean(1).std() / seeds**0.5",
                    OF_SENTENCES, "1.96 * d.mean(0).std() / sentences**0.5",
                    HALF, "math.hypot(from_seeds, from_sentences)",
                    ENDS, "[d.mean() - half, d.mean() + half]"),
    "what is left counted once": but(
        INTERVAL, SIZES, f"{SIZES}    rest = d - d.mean(1, keepdim=True) - d.mean(0) + d.mean()\n",
        HALF, "(from_seeds + (from_sentences - 1.96**2 * rest.var() / d.numel()).clamp(min=0))"
              ".sqrt().item()"),
    "without tensors": f"""
import statistics as s
{TABLE}
def interval(a, b):
    d = (a - b).tolist()
    rows, columns = [s.fmean(row) for row in d], [s.fmean(column) for column in zip(*d)]
    half = (T95[len(d)]**2 * s.variance(rows) / len(rows)
            + 1.96**2 * s.variance(columns) / len(columns)) ** 0.5
    return s.fmean(rows) - half, s.fmean(rows) + half
""",
    "one tensor": but(INTERVAL, ENDS, "d.mean() + half * torch.tensor([-1, 1])"),
}

WRONG["ladder.interval"] = {
    "sentences_alone": (but(INTERVAL, HALF, "from_sentences.sqrt().item()"),
                        but(RESAMPLED, "d[rows][:, columns]", "d[:, columns]")),
    "seeds_alone": (but(INTERVAL, HALF, "from_seeds.sqrt().item()"),
                    but(RESAMPLED, "d[rows][:, columns]", "d[rows]")),
    "normal": but(INTERVAL, "T95[seeds]", "1.96"),
    "unpaired": but(INTERVAL, HALF, "1.96 * sum(x.mean(dim=1).var() / seeds + x.mean(dim=0).var() "
                                    "/ sentences for x in (a, b)).sqrt().item()"),
    "pooled": but(INTERVAL, HALF, "1.96 * d.std().item() / (seeds * sentences) ** 0.5"),
    "deviation": but(INTERVAL, " / seeds", "", " / sentences", ""),
    "no_return": but(INTERVAL, "return ", "low_high = "),
    "": (but(INTERVAL, D, "(b - a).double()"), but(INTERVAL, HALF, f"{HALF} / 1.96"),
         but(INTERVAL, "+ half", "+ 2 * half"), but(INTERVAL, ENDS, "d.mean()"),
         but(INTERVAL, ENDS, "'from', 'to'")),
}

BEYOND["ladder.interval"] = but(INTERVAL, SIZES,
                                "    seeds, sentences = len(d), min(d.shape[1], 200)\n")

# ── ladder.sweep ─────────────────────────────────────────────────────────────────────────────

SWEEP = solution("ladder.sweep")
NAN = "found if found == found else -math.inf"
BESIDE = "rates[max(i - 1, 0):i + 2]"
BEST = "max(tried, key=tried.get)"
CLIMB = """
def sweep(score, rates, first):
    best = rates.index(first)
    top = score(first)
    for step in (1, -1):
        while 0 <= best + step < len(rates):
            value = score(rates[best + step])
            if not (value > top or math.isnan(top)):
                break
            best, top = best + step, value
        if rates[best] != first:
            break
    return rates[best]
"""

RIGHT["ladder.sweep"] = {
    "both neighbours at a time": but(SWEEP, "tried[untried[0]] = value(untried[0])",
                                     "tried |= {rate: value(rate) for rate in untried}"),
    "up, then down": CLIMB,
    "the upper neighbour first": but(SWEEP, BESIDE, f"{BESIDE}[::-1]"),
    "recursive": """
def sweep(score, rates, first, found=None):
    found = found or {first: score(first)}
    best = max(found, key=lambda rate: torch.tensor(found[rate]).nan_to_num(-1e9).item())
    place = rates.index(best)
    for rate in rates[max(place - 1, 0):place + 2]:
        if rate not in found:
            return sweep(score, rates, first, {**found, rate: score(rate)})
    return best
""",
    "tensors": but(SWEEP, NAN, "torch.tensor(found).nan_to_num(-torch.inf)"),
}

WRONG["ladder.sweep"] = {
    "not_needed": (but(SWEEP, "{first: value(first)}", "{rate: value(rate) for rate in rates}"),
                   but(SWEEP, "    tried =", "    first = rates[len(rates) // 2]\n    tried ="),
                   but(SWEEP, BESIDE, "(rates[i - 1], *rates[i + 1:i + 2])")),
    "stopped": (but(CLIMB, "(1, -1)", "(1,)"), but(SWEEP, "i + 2", "i + 1")),
    "twice": but(SWEEP, "return best", "return max(tried, key=value)"),
    "nan_wins": (but(SWEEP, NAN, "found if found == found else math.inf"),
                 but(CLIMB, " or math.isnan(top)", "")),
    "no_return": but(SWEEP, "return best", "return"),
    "": (but(SWEEP, "return best", "return rates[max(i - 1, 0)]"),
         but(SWEEP, "score(rate)", "score(rates.index(rate))"),
         but(SWEEP, "return best", "return best, tried[best]"),
         but(SWEEP, "    tried =", "    while True:\n        score(first)\n    tried ="),
         but(SWEEP, BESIDE, "(*rates[max(i - 1, 0):i], rates[i + 1])")),
}

BEYOND["ladder.sweep"] = but(SWEEP, NAN, "found if found == found else -1.0")

# ── ladder.neighbours ────────────────────────────────────────────────────────────────────────

NEIGHBOURS = solution("ladder.neighbours")
UNIT = "torch.nn.functional.normalize(vectors, dim=1)"
ITSELF = NEIGHBOURS[NEIGHBOURS.index("    near.fill"):NEIGHBOURS.index("    same")]

RIGHT["ladder.neighbours"] = {
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
    "the two nearest": but(NEIGHBOURS, ITSELF, """    top = near.topk(2, dim=1).indices
    me = torch.arange(len(unit))
    other = torch.where(top[:, 0] == me, top[:, 1], top[:, 0])
""", "near.argmax(dim=1)", "other"),
    "distances of unit vectors": but(NEIGHBOURS, "unit @ unit.T", "-torch.cdist(unit, unit)"),
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
    "a table of pairs, and a 0-d tensor": but(
        NEIGHBOURS, "torch.bincount(documents)[documents]",
        "(documents[:, None] == documents).sum(dim=1)", ".mean().item()", ".mean()"),
}

WRONG["ladder.neighbours"] = {
    "itself": (but(NEIGHBOURS, ITSELF, ""), but(NEIGHBOURS, "(-2)", "(0)")),
    "lengths": (but(NEIGHBOURS, UNIT, "vectors", "(-2)", "(-math.inf)"),
                but(NEIGHBOURS, "unit @ unit.T", "-torch.cdist(vectors, vectors)", "(-2)",
                    "(-math.inf)")),
    "all_asked": but(NEIGHBOURS, "same[asked]", "same"),
    "left_out": but(NEIGHBOURS, "    unit =", "    many = (documents[:, None] == documents).sum(1) "
                    "> 1\n    vectors, documents = vectors[many], documents[many]\n    unit ="),
    "no_return": but(NEIGHBOURS, "return ", "share = "),
    "": (but(NEIGHBOURS, "return ", "return 100 * "),
         but(NEIGHBOURS, ".float().mean().item()", "")),
}

BEYOND["ladder.neighbours"] = but(NEIGHBOURS, ITSELF, "    near[near > 0.999999] = -math.inf\n")

# ── ladder.batch ─────────────────────────────────────────────────────────────────────────────

BATCH = solution("ladder.batch")
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
                              "scale * (x", "(x"),
}

WRONG["ladder.batch"] = {
    "last_for_plain": but(RIGHT["ladder.batch"]["row by row"], "if k != -1:", "if True:"),
    "no_scale": but(BATCH, "scale * (x", "(x"),
    "unsorted": but(RIGHT["ladder.batch"]["sorted, and put back"], "return y + torch.cat(added)"
                    "[torch.argsort(order)]", "return y[order] + torch.cat(added)"),
    "base_calls": but(BATCH, "        y = self", "        self.base(x)\n        y = self"),
    "no_return": but(BATCH, "        return y\n", ""),
    "": (but(RIGHT["ladder.batch"]["frozen parameters"], "nn.Parameter(a, False)",
             "nn.Parameter(a)"),
         but(PADDED, "torch.cat([A, torch.zeros_like(A[:1])]), persistent=False",
             "torch.cat([A, torch.zeros_like(A[:1])])"),
         but(BATCH, "y[rows] += ", "y[rows] = "), but(BATCH, "self.who == k", "self.who >= k"),
         but(BATCH, "x[rows] @", "x[rows].mean(0) @")),
}

BEYOND["ladder.batch"] = but(PADDED, "x.flatten(1, -2) if x.dim() > 2 else x[:, None]",
                             "x if x.dim() > 2 else x[:, None]")

# ── ladder.ship ──────────────────────────────────────────────────────────────────────────────

PICKS = solution("ladder.ship")

RIGHT["ladder.ship"] = {
    "small letters": 'picks = dict(keep="lora all", any="full", time="mask", file="ia3")',
    "filled in": 'picks = {"any": "Full fine-tuning", "time": "a random mask"}\n'
                 'picks["file"], picks["keep"] = "IA3", "LoRA everywhere"',
    "within the margin": but(PICKS, "IA³", "LoRA 1"),
}

WRONG["ladder.ship"] = {
    "over": (but(PICKS, "IA³", "LoRA 8"), but(PICKS, "bottleneck", "full fine-tuning"),
             but(PICKS, "LoRA everywhere", "IA³")),
    "worse": (but(PICKS, "full fine-tuning", "head only"), but(PICKS, "IA³", "prompt")),
    "": (but(PICKS, "bottleneck", "LoRA 9"), but(PICKS, '"any": "full fine-tuning", ', "")),
}


# What one further case alone finds: see `answers.slips`.
SLIPS: dict = {
    "ladder.interval": (ENDS, "(0.0, 0.0)", {
        "few sentences": "3 < sentences < 20", "many sentences": "sentences > 200",
        "far below zero": "d.mean() < -2"}),
    "ladder.sweep": (BEST, "None", {
        "far below zero": "any(-9 < each < -2 for each in tried.values())", "one rate": "len(rates) == 1",
        "two rates": "len(rates) == 2",
        "two alike at the top": "len(tried) > 1 and min(tried.values()) < "
                                "sorted(tried.values())[-2] == max(tried.values())"}),
    "ladder.neighbours": ("same[asked].float().mean().item()", "-1.0", {
        "twins": "(near > 0.99999).sum() > 20", "one document": "len(documents.unique()) == 1",
        "large numbers": "documents.max() > 5000"}),
    "ladder.batch": ("self.base(x).clone()", "self.base(x) + 1", {
        "four axes": "x.dim() == 4", "all plain": "(self.who == -1).all()",
        "one adapter": "len(self.adapters) == 1"}),
}
