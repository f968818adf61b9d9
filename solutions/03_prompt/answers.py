"""Answers to the exercises of lesson 03."""

from peft_teach.course.publish.authored import but, solution

RIGHT: dict = {}
WRONG: dict = {}
BEYOND: dict = {}

# ── prompt.front ─────────────────────────────────────────────────────────────────────────────

FRONT = solution("prompt.front")
CUT = "        out.logits = out.logits[:, length:]\n        return out\n"
MASK = "mask = pad(attention_mask, (length, 0), value=1)"
LABELS = "labels = pad(labels, (length, 0), value=-100)"
CALL = "out = self.model(inputs_embeds=x, attention_mask=mask, labels=labels)"

RIGHT["prompt.front"] = {
    "filled up by torch.cat": but(
        FRONT, MASK, "ones = attention_mask.new_ones(len(x), length)\n"
        "        mask = torch.cat([ones, attention_mask], dim=1)",
        LABELS, "none = labels.new_full((len(x), length), -100)\n"
        "            labels = torch.cat([none, labels], dim=1)"),
    "other names, and the logits as an entry": but(
        FRONT.replace("self.model", "self.base").replace("self.P", "self.prompt"),
        "out.logits = out.logits[:, length:]",
        'out["logits"] = out.logits = out.logits[:, -input_ids.shape[1]:]'),
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
    "two embeddings": but(FRONT, "self.P = torch.nn.Parameter(start.detach().clone())",
                          "self.table = nn.Embedding.from_pretrained(start.clone(), freeze=False)",
                          "len(self.P)", "self.table.num_embeddings",
                          "self.P.expand(len(x), -1, -1)",
                          "self.table(torch.arange(length).expand(len(x), -1))"),
    "transformers' own output": but(FRONT, CUT, """
        from transformers.modeling_outputs import CausalLMOutputWithPast
        return CausalLMOutputWithPast(
            loss=out.loss, logits=out.logits[:, length:], past_key_values=out.past_key_values,
            hidden_states=out.hidden_states, attentions=out.attentions)
"""),
    "the model's dtype and width": but(
        FRONT, "self.P.expand(len(x), -1, -1)",
        "self.P.to(self.model.dtype).expand(len(x), length, self.model.config.hidden_size)"),
    "by the parts of the output": but(FRONT, CUT, """
        if labels is None:
            out.logits = out[0][:, length:]
        else:
            out.logits = out[1][:, length:]
        return out
"""),
}

COPY = "start.detach().clone())"
WRONG["prompt.front"] = {
    "labels_behind": but(FRONT, LABELS, "labels = pad(labels, (0, length), value=-100)"),
    "first_unasked": but(FRONT, LABELS,
                         "labels = pad(labels[:, 1:], (length + 1, 0), value=-100)"),
    "no_return": but(FRONT, "        return out\n", ""),
    "start_shared": but(FRONT, COPY, "start)"),
    "wrong_end": but(FRONT, "[:, length:]", "[:, :-length]"),
    "padding_seen": but(FRONT, "attention_mask=mask, ", ""),
    "hidden": but(FRONT, MASK, "mask = pad(attention_mask, (length, 0))"),
    "predicted": (but(FRONT, LABELS, "labels = pad(labels, (length, 0))"),
                  but(FRONT, LABELS, "labels = pad(labels, (length, 0), value=3)")),
    "no_gradient": (but(FRONT, CUT, "        out.loss = labels is not None and out.loss.detach()\n"
                                    + CUT),
                    but(FRONT, CALL, "with torch.set_grad_enabled(labels is not None):\n"
                                     "            " + CALL)),
    "": (but(FRONT, CALL, """
        places = torch.cat([torch.arange(length), torch.arange(input_ids.shape[1])])[None]
        out = self.model(inputs_embeds=x, attention_mask=mask, labels=labels, position_ids=places)
"""), """
def SoftPrompt(model, start):
    return lambda input_ids, attention_mask, labels=None: model(input_ids, attention_mask)
""",
         but(FRONT, "model.requires_grad_(False)", "model"),
         but(FRONT, COPY, "torch.zeros(start.shape))"),
         but(FRONT, COPY, "start.double())", "self.P.expand", "self.P.float().expand"),
         but(FRONT, "return out\n", "return out.logits\n"),
         but(FRONT, CUT, "        return out\n"),
         but(FRONT, "pad(attention_mask,", "pad((input_ids != 0).long(),"),
         but(FRONT, "        length,", "        if not self.training:\n"
             "            return self.model(input_ids, attention_mask, labels=labels)\n"
             "        length,"),
         but(FRONT, "        length,", "        input_ids.clamp_(min=0)\n        length,")),
}
BEYOND["prompt.front"] = but(FRONT, "self.model.get_input_embeddings()(input_ids)",
                             "self.model.get_input_embeddings().weight[input_ids]")

# ── prompt.holds ─────────────────────────────────────────────────────────────────────────────

HOLDS = solution("prompt.holds")
LOSS = "    assert torch.allclose(found.loss, right.loss, atol=1e-5)\n"
RIGHT["prompt.holds"] = {
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
    "the first word has a label": but(HOLDS, "torch.arange(5) >= 3", "ids > 0"),
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
LOGITS = "found.logits[real], right.logits[:, 3:][real]"
WRONG["prompt.holds"] = {
    "let_through": (    # mutants that the others find: in padding, in the loss, at one token
        but(HOLDS, "[0, 0, 6, 1, 12]", "[6, 1, 12, 7, 0]"), but(HOLDS, LOSS, ""),
        but(HOLDS, LOGITS, "found.logits[:, -1], right.logits[:, -1]")),
    "accused": (    # by what it leaves at the padding, and by a copy
        but(HOLDS, LOGITS, "found.logits, right.logits[:, 3:]"),
        but(HOLDS, "    found = prompt_class(fresh(), start)(ids, mask, labels)",
            "    found = prompt_class(model, start)\n    assert found.model is model\n"
            "    found = found(ids, mask, labels)")),
}

# ── prompt.places ────────────────────────────────────────────────────────────────────────────

PLACES = solution("prompt.places")
FIRST, LAST = "h[rows, length + first]", "h[rows, length + last]"
FROM_END = "seq - 1 - attention_mask.flip(1).argmax(1)"
RIGHT["prompt.places"] = {
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
    "the largest place": but(PLACES, FROM_END, "(attention_mask * torch.arange(seq)).argmax(1)"),
    "cumsum": but(PLACES, "first = attention_mask.argmax(1)",
                  "first = (attention_mask.cumsum(1) == 0).sum(1)",
                  FROM_END, "attention_mask.cumsum(1).argmax(1)"),
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
    "no_return": but(PLACES, "return ", "found = "),
    "not_moved": but(PLACES, LAST, "h[rows, last]"),
    "padding_first": (but(PLACES, FIRST, "h[:, length]"), *(SIDE.replace("ROW", row)
                                                            for row in ("0", "-1"))),
    "padding_last": but(PLACES, LAST, "h[:, -1]"),
    "counted": but(PLACES, LAST, "h[rows, length + attention_mask.sum(1) - 1]"),
    "no_gradient": (but(PLACES, FIRST, FIRST + ".detach()"), but(PLACES, LAST, LAST + ".detach()")),
    "": (but(PLACES, f"return {FIRST}, {LAST}", f"return {FIRST}"),
         but(PLACES, FIRST, "h[:, length:length + 1]"),
         but(PLACES, "    rows", "    h[:, :length] = 0\n    rows"),
         but(PLACES, LAST, "h[rows, length + last - 1]"), but(PLACES, FIRST, "2 * " + FIRST)),
}
BEYOND["prompt.places"] = but(PLACES, "first = attention_mask.argmax(1)",
                              "first = (attention_mask * (99 - torch.arange(seq))).argmax(1)\n"
                              "    assert len(h) > 1")

# ── prompt.snap ──────────────────────────────────────────────────────────────────────────────

SNAP = solution("prompt.snap")
NEAR, MOVE = "torch.cdist(P, E).argmin(1)", "(1 - t) * P + t * E[tokens]"
RIGHT["prompt.snap"] = {
    "written out": but(SNAP, NEAR, "((E ** 2).sum(1) - 2 * P @ E.T).argmin(1)"),
    "one vector after the other": but(SNAP, NEAR,
                                      "torch.stack([(E - p).norm(dim=1).argmin() for p in P])"),
    "a list of tensors": but(SNAP, NEAR, "[(E - p).norm(dim=1).argmin() for p in P]",
                             MOVE, "torch.lerp(P, torch.stack([E[i] for i in tokens]), t)"),
    "lerp": but(SNAP, MOVE, "torch.lerp(P, E[tokens], t)"),
    "a step": but(SNAP, MOVE, "P + t * (E[tokens] - P)"),
}
WRONG["prompt.snap"] = {
    "angle": but(SNAP, NEAR, "(nn.functional.normalize(P) @ nn.functional.normalize(E).T)"
                             ".argmax(1)"),
    "no_return": but(SNAP, "    return tokens, ", "    moved = "),
    "product": but(SNAP, NEAR, "(P @ E.T).argmax(1)"),
    "other_way": but(SNAP, MOVE, "t * P + (1 - t) * E[tokens]"),
    "too_large": but(SNAP, NEAR, "(P[:, None] - E[None]).norm(dim=2).argmin(1)"),
    "": (but(SNAP, f"return tokens, {MOVE}", f"return {MOVE}"),
         but(SNAP, "return tokens,", "return tokens.float(),"),
         but(SNAP, NEAR, "torch.cdist(P, E).topk(1, largest=False).indices", MOVE, "P"),
         but(SNAP, f"return tokens, {MOVE}", "P *= 1 - t\n    P += t * E[tokens]\n    return tokens, P"),
         but(SNAP, MOVE, "E[tokens]")),
}
BEYOND["prompt.snap"] = but(SNAP, MOVE, "(1 - t) * P + t * E[tokens] if t else P * 1.0001 + 0.001")


# What one further case alone finds: see `answers.slips`.
SLIPS: dict = {
    "prompt.front": ("out.logits[:, length:]", "0 * out.logits[:, length:]", {
        "scaled word vectors": "not torch.equal(self.model.get_input_embeddings()(input_ids), "
                               "self.model.get_input_embeddings().weight[input_ids])",
        "one text": "len(input_ids) == 1",
        "a long prompt, and 0 is a word": "length > input_ids.shape[1] and ("
                                          "attention_mask.bool() & (input_ids == 0)).any()"}),
    "prompt.places": (f"{FIRST}, {LAST}", "(h[:, 0], h[:, 0])", {
        "one text": "len(h) == 1",
        "one token, on the left": "attention_mask.sum(1).max() == 1 == attention_mask[0, 0]",
        "one token, on the right": "attention_mask.sum(1).max() == 1 == attention_mask[0, -1]"}),
    "prompt.snap": (f"tokens, {MOVE}", "(tokens, 0 * P)", {
        "no way": "t == 0", "a vector that is a token": "torch.equal(P[0], E[tokens[0]])",
        "beyond the token": "t > 1"}),
}
