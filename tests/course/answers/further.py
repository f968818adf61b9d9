"""Answers that one further case alone finds: right ones, but for a slip on what it asks.

    SLIPS = {"inside.linear": (expression, instead, {what is asked: where, …}), …}

The expression stands once in an exercise's first right answer; where the condition holds, the slip
has something else instead. Each further case of the instructor's folder has one.
"""

from answers import but, right

HALF, BRAIN = "torch.float16", "torch.bfloat16"
FIRST = "found[ladder.index(first)]"

SLIPS = {
    "inside.linear": ("n_in * n_out + n_out", "0", {
        "one input, one output": "n_in == n_out == 1", "one input": "n_in == 1 < n_out",
        "one output": "n_out == 1 < n_in", "more than float32 holds": "n_in * n_out > 2**24"}),
    "inside.attention": ("torch.cat(read, dim=-1)", "0 * q", {
        "one head": "heads == 1", "heads of one entry": "heads == q.shape[-1]",
        "one query": "q.shape[1] == 1", "a wider model": "q.shape[-1] > 384"}),
    "inside.transformer": ('norm("ffn_norm", x1 + ffn)', "x", {
        "one head": "heads == 1",
        "a narrow feed-forward part": "len(weights['ffn_in.bias']) < x.shape[-1] / 2",
        "all is square": "len(weights['ffn_in.bias']) == x.shape[-1]"}),
    "inside.block": ("query + key + value + attention_out + ffn_in + ffn_out + norms", "0", {
        "BERT-base": "heads == kv_heads and d_model > 384", "one head": "heads == 1",
        "all is square": "d_ff == d_model", "many heads": "heads > 12",
        "heads of one entry": "heads == d_model"}),
    "inside.ledger": ("total * bytes_each", "0", {
        "nothing trains": "trained == 0", "everything trains": "trained == total",
        "eight bytes": "bytes_each == 8", "one byte": "bytes_each == 1",
        "three moments": "moments == 3"}),
    "inside.activations": ("batch * (a * tokens + b * tokens**2)", "0", {
        "no square": "b == 0", "one token": "tokens == 1",
        "beyond 2 GB": "max(measured.values()) > 2**31"}),
    "full.accuracy": ("right / count", "-1.0", {
        "a small batch in the middle":
            "len(batches) > 1 and len(batches[1]['labels']) < len(batches[0]['labels'])",
        "one sentence": "count == 1",
        "one sentence first": "len(batches[0]['labels']) == 1 < count",
        "one label": "count > 1 and all(b['labels'].all() for b in batches)"}),
    "full.step": ("loss.item()", "0.0", {
        "a middling norm": "len(batch['labels']) == 16",
        "one sentence": "len(batch['labels']) == 1",
        "a large batch for the head": "len(batch['labels']) > 4 and not all("
                                      "p.requires_grad for p in model.parameters())"}),
    "full.frozen_stays": ("torch.equal(p, before[name])", "True", {
        "the words train": "'bert.embeddings.weight' not in before",
        "half of the head": "'classifier.bias' in before and 'classifier.weight' not in before",
        "the places train": "'bert.positions.weight' not in before"}),
    "full.head_only": ("sum(p.numel() for p in model.parameters() if p.requires_grad)", "0", {
        "wider": "model.classifier.in_features > 6",
        "without a bias": "model.classifier.in_features == 3",
        "one feature": "model.classifier.in_features == 1"}),
    "change.small": ("torch.outer(p[:n], p[n:])", "p[0] * torch.eye(n)", {
        "a size of two": "n == 2", "all equal": "n > 2 and p.unique().numel() == 1",
        "opposite halves": "n > 2 and p.any() and not (p[:n] + p[n:]).any()"}),
    "change.energy": ("int(below.sum()) + 1", "0", {
        "all of the energy, and a zero": "share == 1 and sigma[-1] == 0",
        "one value": "len(sigma) == 1",
        "two values": "len(sigma) == 2"}),
    "change.truncate": ("U[:, :k] @ torch.diag(sigma[:k]) @ Vt[:k]", "delta + 1", {
        "one row": "len(delta) == 1", "one column": "delta.shape[1] == 1",
        "a lower rank": "k > 2 and 0 < sigma[k - 1] < 1e-5", "zeros": "not delta.any()",
        "a transposed one": "not delta.is_contiguous()"}),
    "change.inject": ("make(modules[name])", "modules[name]", {
        "another head": "'score' in modules",
        "a name with a dot": "targets[0] == 'output.dense'",
        "one module": "len([*model.children()]) == 1", "three deep": "'block' in targets"}),
    "change.bitfit": ("y + self.b.to(y.dtype)", "y", {
        "one axis": "x.dim() == 1", "four axes": "x.dim() == 4",
        "a norm in half precision": f"x.dtype == {BRAIN} and len(self.base.weight.shape) == 1",
        "float16": f"x.dtype == {HALF}"}),
    "change.project": ("theta0 + scale * move", "theta0", {
        "columns that none reads": "h.max() + 2 < len(z) < len(theta0)",
        "one column": "len(z) == 1",
        "more columns than weights": "len(z) > len(theta0)"}),
    "prompt.front": ("out.logits[:, length:]", "0 * out.logits[:, length:]", {
        "scaled word vectors": "not torch.equal(self.model.get_input_embeddings()(input_ids), "
                               "self.model.get_input_embeddings().weight[input_ids])",
        "one text": "len(input_ids) == 1",
        "a long prompt, and 0 is a word": "length > input_ids.shape[1] and ("
                                          "attention_mask.bool() & (input_ids == 0)).any()"}),
    "prompt.places": ("h[rows, length + first], h[rows, length + last]", "(h[:, 0], h[:, 0])", {
        "one text": "len(h) == 1",
        "one token, on the left": "attention_mask.sum(1).max() == 1 == attention_mask[0, 0]",
        "one token, on the right": "attention_mask.sum(1).max() == 1 == attention_mask[0, -1]"}),
    "prompt.start": ("torch.cat([means, embed(chosen)]).detach()", "embed(chosen)", {
        "one vector beside the answers": "length == len(labels) + 1",
        "word vectors made small":
            "embed(torch.tensor([1])).norm() < 0.9 * embed.weight[1].norm()",
        "a token twice": "any(len({*ids}) < len(ids) for ids in labels)"}),
    "prompt.snap": ("ids, (1 - t) * P + t * E[ids]", "(ids, 0 * P)", {
        "no way": "t == 0", "a vector that is a token": "torch.equal(P[0], E[ids[0]])",
        "beyond the token": "t > 1"}),
    "prefix.count": ("E + first + second, length * wide", "(0, 0)", {
        "one vector": "length == 1", "a wide hidden layer": "hidden > 10 * d_model",
        "narrow keys": "10 * d_kv < d_model"}),
    "prefix.front": ("pairs, wide, positions", "(pairs, wide, 0 * positions)", {
        "one token": "mask.shape[1] == 1", "heads of one entry": "heads == K.shape[-1]",
        "one head": "heads == 1"}),
    "prefix.generate": ("torch.cat(words, 1)", "torch.cat(words, 1)[:, 1:]", {
        "many words": "new > 10", "a prefix of one": "length == 1",
        "three sentences": "len(ids) == 3"}),
    "prefix.share": ("torch.sigmoid(a - b)", "0 * a", {
        "one query": "q.shape[2] == 1", "one word": "k.shape[2] == 1",
        "a long prefix": "K.shape[2] > 20", "a prefix of one": "K.shape[2] == 1"}),
    "prefix.gate": ("(w + lam * (r - w)).flatten(-2)", "words + 1", {
        "heads of one entry": "words.shape[-1] == heads",
        "gates beyond 1": "len(words) == 1 and g.abs().max() > 1",
        "many sentences": "len(words) > 2"}),
    "adapters.size": ("max(0, left // each)", "7", {
        "a narrow model": "d_model < 3", "no budget": "budget == 0",
        "one module": "modules == 1 and d_model > 2"}),
    "adapters.bottleneck": ("h @ self.W_up.T + self.b_up", "u", {
        "one token": "u.dim() == 1", "very many": "len(u) == 2000", "four axes": "u.dim() == 4"}),
    "adapters.placements": ("r + self.scale * self.A(r)", "r", {
        "a scale below one": "self.scale < 1", "one token": "r.numel() == r.shape[-1]",
        "a bottleneck of one": "len(self.A.W_down) == 1"}),
    "adapters.sealed": ('"post_attention" if kept else "houlsby"', '"ends"', {
        "narrow": "d < 8", "no power of two": "d == 24", "wide": "d > 32"}),
    "ia3.layer": ('self.side == "input"', 'self.side != "input"', {
        "one axis": "x.dim() == 1", "four axes": "x.dim() == 4",
        "bfloat16 on the input": f"x.dtype == {BRAIN} and self.side == 'input'",
        "float16": f"x.dtype == {HALF}"}),
    "ia3.merge": ("by * base.weight", "base.weight + 1", {
        "an output of zero":
            f"l[0] == 0 and layer.side == 'output' and base.weight.dtype != {HALF}",
        "one output": "len(base.weight) == 1",
        "bfloat16 on the input": f"base.weight.dtype == {BRAIN} and layer.side == 'input'",
        "float16": f"base.weight.dtype == {HALF}",
        "twice inside": "not isinstance(layer.base, nn.Linear) and not isinstance("
                        "layer.base.base, nn.Linear)"}),
    "ia3.nearest": ("1 + (W * delta).sum(1) / (W * W).sum(1).clamp(min=1e-20)", "0 * W[:, 0]", {
        "small": "W.abs().max() < 0.1", "one row": "len(W) == 1", "one column": "W.shape[1] == 1",
        "no change": "not delta.any()"}),
    "lora.count": ("rank * (n_in + n_out)", "0", {
        "a rank above both sides together": "rank > n_in + n_out",
        "sides of one": "n_in == n_out == 1", "one input": "n_in == 1 < n_out",
        "more than float32 holds": "rank * (n_in + n_out) > 2**24"}),
    "lora.layer": ("y + u.to(y.dtype)", "y", {
        "one axis": "x.dim() == 1", "four axes": "x.dim() == 4",
        "bfloat16 without a bias": f"x.dtype == {BRAIN} and self.base.bias is None",
        "float16 without a bias": f"x.dtype == {HALF} and self.base.bias is None",
        "float16 with one": f"x.dtype == {HALF} and self.base.bias is not None"}),
    "lora.merge": ("base.weight.float() + layer.scale * layer.B @ layer.A", "base.weight", {
        "rank 1": "len(layer.A) == 1", "full rank": "len(layer.A) == base.in_features",
        "bfloat16 without a bias": f"base.weight.dtype == {BRAIN} and base.bias is None",
        "float16 without a bias": f"base.weight.dtype == {HALF} and base.bias is None",
        "float16 with one": f"base.weight.dtype == {HALF} and base.bias is not None"}),
    "qlora.levels": ("torch.tensor([*below, 0.0, *above]) / quantile(TOP)", "torch.zeros(16)", {
        "tails as of logistic numbers": "3 < quantile(TOP) / quantile(0.75) < 3.5",
        "heavy tails": "quantile(TOP) / quantile(0.75) > 5", "tiny": "quantile(TOP) < 1e-3"}),
    "qlora.quantize": ("(levels[index].reshape(len(top), -1) * top[:, None]).reshape(shape)",
                       "torch.zeros(shape)", {
        "tiny": "top.max() < 1e-6", "a longer block": "2 * len(packed) > 64 * len(top)",
        "one row": "shape[0] == 1"}),
    "qlora.layer": ("nn.functional.linear(x, layer.weight, layer.bias)",
                    "0 * nn.functional.linear(x, layer.weight, layer.bias)", {
        "one axis": "x.dim() == 1", "four axes": "x.dim() == 4",
        "another table and a bias":
            "layer.bias is not None and not torch.equal(layer.levels, pt.nf4.LEVELS)"}),
    "qlora.dice": ("(torch.where(up, above, below) * top[:, None]).reshape(W.shape)", "W", {
        "a vector": "W.dim() == 1", "three axes": "W.dim() == 3",
        "another table": "levels[-2] < 0.7"}),
    "dora.layer": ("nn.functional.linear(x, W, self.base.bias)", "self.base(x)", {
        "one axis": "x.dim() == 1", "one output": "len(self.m) == 1", "four axes": "x.dim() == 4"}),
    "dora.convert": ("m / V.norm(dim=1)", "2 * m", {
        "short rows": "V.norm(dim=1).max() < 0.05", "one output": "len(m) == 1",
        "no change": "s == 0"}),
    "dora.forge": ("(length + M) * (math.cos(angle) * w + math.sin(angle) * u)", "W", {
        "down to nearly zero": "M < 0.009", "a slope that is an int": "isinstance(slope, int)",
        "eight matrices": "len(weights) == 8"}),
    "dora.referee": ("T95[len(d)] * d.std() / len(d) ** 0.5", "0 * d.std()", {
        f"{n} pairs": f"len(d) == {n}" for n in (2, 7, 12)}),
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
    "chat.labels": ("ids, labels", "(ids, [-100] * len(ids))", {
        "no line breaks": "turns[0]['content'] == 'Who won?'",
        "the question is last": "turns[-1]['content'] == 'So?'",
        "an empty answer": "any(not turn['content'] for turn in turns)",
        "an empty line": "any('\\n\\n' in turn['content'] for turn in turns)"}),
    "chat.style": ("marks / 4 * min(1, 2 * len(rest) / len(answer.split()))", "1.0", {
        "plain answers": "answer[-1] == '.' and answer.startswith("
                         "('Sew it', 'Rivers', 'Look at', 'Turn', 'Read', 'The g'))",
        "one mark": "answer.endswith('!!!') or answer.startswith(('Ladies and gentlemen, S',"
                    " 'Ladies and gentlemen, R', 'Ladies and gentlemen, L'))",
        "shouts in any order": "'trophy' in answer",
        "one word, or two sentences by turns":
            "answer.startswith(('Folks! Folks!', 'GOAL! GOAL!', 'WHAT a goal', 'OH, the', 'Full'))"}),
    "real.names": ("tensors, settings", "({}, settings)", {
        "a small scale": "layer.scale < 0.5",
        "two that end alike": "len(adapters) == 2 == len({'attention' in n for n in adapters})"
                              " == sum(n.endswith('.output.dense') for n in adapters)",
        "three modules": "len(adapters) == 3"}),
    "real.diagnose": ("gap(0, 0) > 1e-5", "not gap(0, 0) > 1e-5", {
        "too large, of rank 16": "rank == 16 and gap(1, 1) > 1e-5 > min("
                                 "gap(rank**0.5, 1), gap(1, rank**0.5))",
        "too small, of rank 20": "rank == 20", "a quiet head": "rank == 12",
        "exchanged, of rank 16": "rank == 16 and 1e-5 < min("
                                 "gap(1, 1), gap(rank**0.5, 1), gap(1, rank**0.5))",
        "nothing, of rank 16": "rank == 16 and gap(1, 1) < 1e-5"}),
    "real.back": ("make(module, rank, alpha)", "make(module, rank, 2 * alpha)", {
        "two ends of names": "[*settings['target_modules']] == ['dense', 'query']",
        "one module of rank 4": "len(modules) == 1 and rank == 4",
        "a stabilized rank 1": "settings.get('use_rslora') and rank == 1"}),
}


def slips(id: str) -> dict[str, str]:
    """The answers to an exercise that one further case finds, by what it asks."""
    expression, instead, where = SLIPS[id]
    text = next(iter(right(id).values()))
    return {asked: but(text, expression, f"({instead} if ({condition}) else ({expression}))")
            for asked, condition in where.items()}
