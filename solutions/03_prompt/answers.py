"""Answers to the exercises of lesson 03."""

from answers import but

RIGHT: dict = {}
WRONG: dict = {}
BEYOND: dict = {}

# ── prompt.front ─────────────────────────────────────────────────────────────────────────────

FRONT = """
class SoftPrompt(torch.nn.Module):
    def __init__(self, model, start):
        super().__init__()
        self.model = model.requires_grad_(False)
        self.P = torch.nn.Parameter(start.clone())

    def forward(self, input_ids, attention_mask, labels=None):
        length = len(self.P)
        x = self.model.get_input_embeddings()(input_ids)
        P = self.P.expand(len(x), -1, -1)
        x = torch.cat([P, x], dim=1)
        ones = attention_mask.new_ones(len(x), length)
        mask = torch.cat([ones, attention_mask], dim=1)
        if labels is not None:
            none = labels.new_full((len(x), length), -100)
            labels = torch.cat([none, labels], dim=1)
        out = self.model(inputs_embeds=x, attention_mask=mask, labels=labels)
        out.logits = out.logits[:, length:]
        return out
"""
CUT = "        out.logits = out.logits[:, length:]\n        return out\n"
MASK = "mask = torch.cat([ones, attention_mask], dim=1)"
LABELS = "labels = torch.cat([none, labels], dim=1)"
CALL = "out = self.model(inputs_embeds=x, attention_mask=mask, labels=labels)"

RIGHT["prompt.front"] = {
    "plain": FRONT,
    "padded by functional": """
class SoftPrompt(nn.Module):
    def __init__(self, model, start):
        super().__init__()
        for p in model.parameters():
            p.requires_grad = False
        self.base, self.prompt = model, nn.Parameter(start.detach().clone())

    def forward(self, input_ids, attention_mask, labels=None):
        n = self.prompt.shape[0]
        words = self.base.get_input_embeddings()(input_ids)
        both = torch.cat((self.prompt.unsqueeze(0).repeat(len(words), 1, 1), words), 1)
        mask = nn.functional.pad(attention_mask, (n, 0), value=1)
        if labels is not None:
            labels = nn.functional.pad(labels, (n, 0), value=-100)
        out = self.base(inputs_embeds=both, attention_mask=mask, labels=labels)
        out["logits"] = out.logits = out.logits[:, -input_ids.shape[1]:]
        return out
""",
    "its own loss": but(FRONT, CALL, "out = self.model(inputs_embeds=x, attention_mask=mask)",
                        CUT, """
        logits, loss = out[0], None
        if labels is not None:
            loss = nn.functional.cross_entropy(
                logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        from types import SimpleNamespace
        return SimpleNamespace(logits=logits[:, length:], loss=loss)
"""),
    "positions by itself": but(FRONT, CALL, """
        places = torch.arange(x.shape[1]).expand(x.shape[:2])
        out = self.model(inputs_embeds=x, attention_mask=mask, labels=labels, position_ids=places)
"""),
    "two embeddings": but(FRONT, "self.P = torch.nn.Parameter(start.clone())",
                          "self.table = nn.Embedding.from_pretrained(start.clone(), freeze=False)",
                          "length = len(self.P)", "length = self.table.num_embeddings",
                          "P = self.P.expand(len(x), -1, -1)",
                          "P = self.table(torch.arange(length).expand(len(x), -1))"),
    "transformers' own output": but(FRONT, CUT, """
        from transformers.modeling_outputs import CausalLMOutputWithPast
        return CausalLMOutputWithPast(
            loss=out.loss, logits=out.logits[:, length:], past_key_values=out.past_key_values,
            hidden_states=out.hidden_states, attentions=out.attentions)
"""),
    "the model's dtype and width": but(FRONT, "P = self.P.expand(len(x), -1, -1)", """
        width = self.model.config.hidden_size
        P = self.P.to(self.model.dtype).expand(len(x), length, width)
"""),
    "by the parts of the output": but(FRONT, CUT, """
        if labels is None:
            out.logits = out[0][:, length:]
        else:
            out.logits = out[1][:, length:]
        return out
"""),
}

COPY = "start.clone())"
WRONG["prompt.front"] = {
    "labels_behind": but(FRONT, LABELS, "labels = torch.cat([labels, none], dim=1)"),
    "first_unasked": but(FRONT, LABELS,
                         "labels = torch.cat([none, none[:, :1], labels[:, 1:]], 1)"),
    "no_return": but(FRONT, "        return out\n", ""),
    "start_shared": but(FRONT, COPY, "start)"),
    "wrong_end": but(FRONT, "[:, length:]", "[:, :-length]"),
    "padding_seen": but(FRONT, "attention_mask=mask, ", ""),
    "positions": but(FRONT, CALL, """
        places = torch.cat([torch.arange(length), torch.arange(input_ids.shape[1])])[None]
        out = self.model(inputs_embeds=x, attention_mask=mask, labels=labels, position_ids=places)
"""),
    "no_gradient": (but(FRONT, CUT, "        out.loss = labels is not None and out.loss.detach()\n"
                                    + CUT),
                    but(FRONT, CALL, "with torch.set_grad_enabled(labels is not None):\n"
                                     "            " + CALL)),
    "": ("""
def SoftPrompt(model, start):
    return lambda input_ids, attention_mask, labels=None: model(input_ids, attention_mask)
""",
         but(FRONT, "model.requires_grad_(False)", "model"),
         but(FRONT, COPY, "torch.zeros(start.shape))"),
         but(FRONT, COPY, "start.double())", "P = self.P.", "P = self.P.float()."),
         but(FRONT, "return out\n", "return out.logits\n"),
         but(FRONT, CUT, "        return out\n"),
         but(FRONT, MASK, "mask = torch.cat([ones, (input_ids != 0).long()], dim=1)"),
         but(FRONT, "        length =", "        if not self.training:\n"
             "            return self.model(input_ids, attention_mask, labels=labels)\n"
             "        length ="),
         but(FRONT, "        length =", "        input_ids.clamp_(min=0)\n        length =")),
}
BEYOND["prompt.front"] = but(FRONT, "self.model.get_input_embeddings()(input_ids)",
                             "self.model.get_input_embeddings().weight[input_ids]")

# ── prompt.holds ─────────────────────────────────────────────────────────────────────────────

HOLDS = """
def places_kept(prompt_class, fresh):
    model = fresh()
    words = torch.tensor([4, 8])
    ids = torch.tensor([[0, 3, 5, 7, 9], [1, 2, 6, 11, 10]])
    mask = (ids != 0).long()
    labels = ids.clone()
    labels[:, :3] = -100
    front = words.repeat(2, 1)
    alone = model(torch.cat([front, ids], 1),
                  attention_mask=torch.cat([torch.ones_like(front), mask], 1),
                  labels=torch.cat([torch.full_like(front, -100), labels], 1))
    start = model.get_input_embeddings()(words).detach()
    found = prompt_class(fresh(), start)(ids, mask, labels)
    real = mask == 1
    assert found.logits.shape[1] == 5
    assert torch.allclose(found.logits[real], alone.logits[:, 2:][real], atol=1e-4)
    assert torch.allclose(found.loss, alone.loss, atol=1e-4)
"""
RIGHT["prompt.holds"] = {
    "words as vectors": HOLDS,
    "vectors given to the model": """
def places_kept(prompt_class, fresh):
    torch.manual_seed(0)
    start, ids = torch.randn(3, 6), torch.randint(1, 13, (2, 6))
    mask = torch.ones_like(ids)
    mask[1, :2] = 0
    labels = torch.full_like(ids, -100)
    labels[:, 4:] = ids[:, 4:]
    model = fresh()
    x = torch.cat([start.expand(2, 3, 6), model.get_input_embeddings()(ids)], 1)
    pad = nn.functional.pad
    right = model(inputs_embeds=x, attention_mask=pad(mask, (3, 0), value=1),
                  labels=pad(labels, (3, 0), value=-100))
    out = prompt_class(fresh(), start)(input_ids=ids, attention_mask=mask, labels=labels)
    if out.logits.shape != (2, 6, 13):
        raise ValueError("another number of places")
    if (out.logits - right.logits[:, 3:])[mask == 1].abs().max() > 1e-4:
        raise ValueError("other logits")
    if abs(out.loss - right.loss) > 1e-4:
        raise ValueError("another loss")
""",
    "the first word has a label": but(HOLDS, "    labels[:, :3] = -100\n", ""),
    "twenty words before twenty": """
def places_kept(prompt_class, fresh):
    words, ids = torch.arange(20) % 13, torch.arange(1, 21)[None] % 13
    mask = (torch.arange(20) >= 3).long()[None]
    both = torch.cat([words[None], ids], 1)
    asked = nn.functional.pad(ids.masked_fill(mask == 0, -100), (20, 0), value=-100)
    right = fresh()(both, attention_mask=nn.functional.pad(mask, (20, 0), value=1), labels=asked)
    start = fresh().get_input_embeddings()(words).detach()
    found = prompt_class(fresh(), start)(ids, mask, asked[:, 20:])
    torch.testing.assert_close(found.logits[:, 3:], right.logits[:, 23:])
    torch.testing.assert_close(found.loss, right.loss)
""",
}
LOGITS = "found.logits[real], alone.logits[:, 2:][real]"
WRONG["prompt.holds"] = {
    "let_through": (    # mutants that the others find: in padding, in the loss, at one token
        but(HOLDS, "[0, 3, 5, 7, 9]", "[3, 5, 7, 9, 0]"),
        but(HOLDS, "    assert torch.allclose(found.loss, alone.loss, atol=1e-4)\n", ""),
        but(HOLDS, LOGITS, "found.logits[:, -1], alone.logits[:, -1]")),
    "accused": (    # by what it leaves at the padding, and by a copy
        but(HOLDS, LOGITS, "found.logits, alone.logits[:, 2:]"),
        but(HOLDS, "    found = prompt_class(fresh(), start)(ids, mask, labels)",
            "    found = prompt_class(model, start)\n    assert found.model is model\n"
            "    found = found(ids, mask, labels)")),
}

# ── prompt.places ────────────────────────────────────────────────────────────────────────────

PLACES = """
def first_and_last(h, attention_mask, length):
    rows = torch.arange(len(h))
    places = torch.arange(attention_mask.shape[1])
    first = attention_mask.argmax(1)
    last = (attention_mask * places).argmax(1)
    return h[rows, length + first], h[rows, length + last]
"""
FIRST, LAST = "h[rows, length + first]", "h[rows, length + last]"
RIGHT["prompt.places"] = {
    "plain": PLACES,
    "a loop": """
def first_and_last(h, attention_mask, length):
    firsts, lasts = [], []
    for states, mask in zip(h, attention_mask):
        real = mask.nonzero().flatten() + length
        firsts.append(states[real[0]])
        lasts.append(states[real[-1]])
    return torch.stack(firsts), torch.stack(lasts)
""",
    "gather": but(PLACES, FIRST,
                  "h.gather(1, (length + first)[:, None, None].expand(-1, 1, h.shape[2]))[:, 0]"),
    "flipped": but(PLACES, "(attention_mask * places).argmax(1)",
                   "attention_mask.shape[1] - 1 - attention_mask.flip(1).argmax(1)"),
    "cumsum": but(PLACES, "attention_mask.argmax(1)",
                  "(attention_mask.cumsum(1) == 0).sum(1)", "(attention_mask * places).argmax(1)",
                  "attention_mask.cumsum(1).argmax(1)"),
    "one-hot and einsum": """
def first_and_last(h, attention_mask, length):
    text, seq = h[:, length:], attention_mask.shape[1]
    last = nn.functional.one_hot(attention_mask.cumsum(1).argmax(1), seq).to(h.dtype)
    first = nn.functional.one_hot(attention_mask.argmax(1), seq).to(h.dtype)
    return [torch.einsum("bs,bsd->bd", w, text) for w in (first, last)]
""",
}
SIDE = """
def first_and_last(h, attention_mask, length):
    rows, seq = torch.arange(len(h)), attention_mask.shape[1]
    real = attention_mask.sum(1)
    if attention_mask[ROW, 0] == 0:    # padded on the left?
        return h[rows, length + seq - real], h[:, -1]
    return h[:, length], h[rows, length + real - 1]
"""
WRONG["prompt.places"] = {
    "first_vector": but(PLACES, FIRST, "h[:, 0]"),
    "no_return": but(PLACES, "    return ", "    found = "),
    "not_moved": but(PLACES, LAST, "h[rows, last]"),
    "padding_first": (but(PLACES, FIRST, "h[:, length]"), *(SIDE.replace("ROW", row)
                                                            for row in ("0", "-1"))),
    "padding_last": but(PLACES, LAST, "h[:, -1]"),
    "counted": but(PLACES, LAST, "h[rows, length + attention_mask.sum(1) - 1]"),
    "no_gradient": (but(PLACES, FIRST, FIRST + ".detach()"), but(PLACES, LAST, LAST + ".detach()")),
    "": (but(PLACES, f"return {FIRST}, {LAST}", f"return {FIRST}"),
         but(PLACES, FIRST, "h[:, length:length + 1]"),
         but(PLACES, "    rows =", "    h[:, :length] = 0\n    rows ="),
         but(PLACES, LAST, "h[rows, length + last - 1]"), but(PLACES, FIRST, "2 * " + FIRST)),
}
BEYOND["prompt.places"] = but(PLACES, "first = attention_mask.argmax(1)",
                              "first = (attention_mask * (99 - places)).argmax(1)\n"
                              "    assert len(h) > 1")

# ── prompt.start ─────────────────────────────────────────────────────────────────────────────

START = """
def label_start(embed, tokenizer, answers, common, length, generator):
    labels = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in answers]
    taken = {i for ids in labels for i in ids}
    free = [i for i in common if i not in taken]
    order = torch.randperm(len(free), generator=generator)
    chosen = torch.tensor(free)[order[:length - len(labels)]]
    means = torch.stack([embed(torch.tensor(ids)).mean(0) for ids in labels])
    return torch.cat([means, embed(chosen)]).detach()
"""
MEANS = "embed(torch.tensor(ids)).mean(0)"
DRAW = "order[:length - len(labels)]"
PERM = "torch.randperm(len(free), generator=generator)"
IDS = 'tokenizer(text, add_special_tokens=False)["input_ids"]'
RIGHT["prompt.start"] = {
    "plain": START,
    "multinomial": but(START, PERM, "torch.multinomial(torch.ones(len(free)), length - len(labels),"
                                    " generator=generator)"),
    "specials cut off": but(START, IDS, "[i for i in tokenizer(text)['input_ids'] "
                                        "if i not in tokenizer.all_special_ids]"),
    "all at once": but(START, "[tokenizer(text, add_special_tokens=False)[\"input_ids\"] "
                              "for text in answers]",
                       "tokenizer(answers, add_special_tokens=False)['input_ids']"),
    "the encoding's attribute": but(START, IDS,
                                    "tokenizer(text, add_special_tokens=False).input_ids"),
    "a padded batch": """
def label_start(embed, tokenizer, answers, common, length, generator):
    batch = tokenizer(answers, add_special_tokens=False, padding=True, return_tensors="pt")
    batch = batch.to(embed.weight.device)
    mask = batch.attention_mask
    means = (embed(batch.input_ids) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    taken = batch["input_ids"][mask.bool()].tolist()
    free = torch.tensor([i for i in common if i not in taken])
    order = torch.randperm(len(free), generator=generator)[:length - len(answers)]
    return torch.cat([means, embed(free[order])]).detach()
""",
    "by tokenize": but(START, IDS, "tokenizer.convert_tokens_to_ids(tokenizer.tokenize(text))"),
    "row after row": """
def label_start(embed, tokenizer, answers, common, length, generator):
    labels = [tokenizer.encode(text, add_special_tokens=False) for text in answers]
    rows = [torch.mean(embed(torch.tensor(ids)), dim=0) for ids in labels]
    left = sorted(set(common) - set(sum(labels, [])))
    while len(rows) < length:
        i = torch.randint(len(left), (1,), generator=generator).item()
        rows.append(embed(torch.tensor(left.pop(i))))
    return torch.stack(rows)
""",
}
WRONG["prompt.start"] = {
    "one_subword": (but(START, MEANS, "embed(torch.tensor(ids[0]))"),
                    but(START, MEANS, "embed(torch.tensor(ids[-1]))")),
    "special": but(START, ", add_special_tokens=False", ""),
    "stripped": but(START, "tokenizer(text,", "tokenizer(text.strip(),"),
    "not_called": (but(START, MEANS, "embed.weight[ids].mean(0)"),
                   but(START, "embed(chosen)", "embed.weight[chosen]")),
    "no_return": but(START, "return", "P ="),
    "labels_repeated": but(START, "if i not in taken", ""),
    "repeated": but(START, PERM, "torch.randint(len(free), (length,), generator=generator)"),
    "own_chance": but(START, PERM, "torch.randperm(len(free))"),
    "": (but(START, DRAW, "order[:length]"),
         but(START, "    order", "    common.pop()\n    order"),
         but(START, IDS, "tokenizer(text)['input_ids'][1:-1]"),
         but(START, "torch.tensor(free)[order[:length - len(labels)]]",
             "torch.randperm(100, generator=generator)[:length - len(labels)]"),
         but(START, PERM, "torch.randperm(len(free), generator=torch.Generator()"
                          ".manual_seed(generator.initial_seed()))"),
         but(START, PERM, "torch.randperm(length - len(labels), generator=generator)")),
}
BEYOND["prompt.start"] = but(START, MEANS, "embed(torch.tensor(sorted(set(ids)))).mean(0)")

# ── prompt.snap ──────────────────────────────────────────────────────────────────────────────

SNAP = """
def snap(P, E, t=1.0):
    ids = torch.cdist(P, E).argmin(1)
    return ids, (1 - t) * P + t * E[ids]
"""
NEAR = "torch.cdist(P, E).argmin(1)"
MOVE = "(1 - t) * P + t * E[ids]"
RIGHT["prompt.snap"] = {
    "cdist": SNAP,
    "written out": but(SNAP, NEAR, "((E ** 2).sum(1) - 2 * P @ E.T).argmin(1)"),
    "one vector after the other": but(SNAP, NEAR,
                                      "torch.stack([(E - p).norm(dim=1).argmin() for p in P])"),
    "a list of tensors": but(SNAP, NEAR, "[(E - p).norm(dim=1).argmin() for p in P]",
                             MOVE, "torch.lerp(P, torch.stack([E[i] for i in ids]), t)"),
    "a list": but(SNAP, NEAR, "[int((E - p).square().sum(1).argmin()) for p in P]"),
    "lerp": but(SNAP, MOVE, "torch.lerp(P, E[ids], t)"),
    "a step": but(SNAP, MOVE, "P + t * (E[ids] - P)"),
}
WRONG["prompt.snap"] = {
    "angle": but(SNAP, NEAR, "(nn.functional.normalize(P) @ nn.functional.normalize(E).T)"
                             ".argmax(1)"),
    "no_return": but(SNAP, "    return ids, ", "    moved = "),
    "product": but(SNAP, NEAR, "(P @ E.T).argmax(1)"),
    "other_way": but(SNAP, MOVE, "t * P + (1 - t) * E[ids]"),
    "too_large": but(SNAP, NEAR, "(P[:, None] - E[None]).norm(dim=2).argmin(1)"),
    "": (but(SNAP, f"return ids, {MOVE}", f"return {MOVE}"),
         but(SNAP, "return ids,", "return ids.float(),"),
         but(SNAP, NEAR, "torch.cdist(P, E).topk(1, largest=False).indices", MOVE, "P"),
         but(SNAP, f"return ids, {MOVE}", "P *= 1 - t\n    P += t * E[ids]\n    return ids, P"),
         but(SNAP, MOVE, "E[ids]")),
}
BEYOND["prompt.snap"] = but(SNAP, MOVE, "(1 - t) * P + t * E[ids] if t else P * 1.0001 + 0.001")

# What each message says, of its mistake and of no other: see `answers.says`.
SAYS = {
    "prompt.front": {
        "start_shared": "one piece of memory", "wrong_end": "counted from P on",
        "padding_seen": "padding is seen", "positions": "Positions go on counting",
        "first_unasked": "the last vector of P: its label stays",
        "labels_behind": "`length` places too early", "no_gradient": "the graph is cut"},
    "prompt.places": {
        "first_vector": "the place of a vector of P", "not_moved": "in the text alone",
        "padding_first": "on the left, a text begins where its mask does",
        "padding_last": "where no text of the batch is longer",
        "no_gradient": "trains the prompt through them",
        "counted": "only if the padding is on the right"},
    "prompt.start": {
        "special": "special tokens around a text", "stripped": "without the blank",
        "not_called": "scales what stands in its table", "one_subword": "one alone was taken",
        "labels_repeated": "from the other common ones", "repeated": "drawn twice",
        "own_chance": "hand it to what draws"},
    "prompt.snap": {
        "angle": "the most similar direction", "product": "the largest scalar product",
        "other_way": "t = 0 leaves P as it is", "too_large": "|p − e|² = |p|² − 2 p·e + |e|²"},
}

# What one further case alone finds: see `answers.slips`.
SLIPS: dict = {
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
}
