"""The benchmark's record in Markdown, as the script prints it and a page shows it."""

BATCHES = {"minilm": (16, 32), "smollm2": (2, 64)}    # of the models that race: rows, tokens
NAMES = {"minilm": "MiniLM", "smollm2": "SmolLM2-135M"}


def table(record):
    """Return the record in Markdown: for each machine two tables a model, and one for NF4.

    A model's first table is beside full fine-tuning, its second beside peft.
    """
    text, machines = [], []
    for row in (*record.get("runs", []), *record.get("nf4", [])):
        if (row["device"], row["machine"]) not in machines:
            machines.append((row["device"], row["machine"]))
    for device, machine in machines:
        runs, nf4s = ([r for r in record.get(part, [])
                       if (r["device"], r["machine"]) == (device, machine)]
                      for part in ("runs", "nf4"))
        threads = f"{machine['threads']} thread" + "s" * (machine["threads"] > 1)
        text += ["", f"{max(row['date'] for row in (*runs, *nf4s))}, {machine['device']}, "
                     f"{threads} of {machine['cores']} cores; torch {machine['torch']}, peft "
                     f"{machine['peft']}, bitsandbytes {machine['bitsandbytes']}"]
        for name, batch in BATCHES.items():
            rows = [r for r in runs if r["model"] == name]
            if rows:
                rows_by_tokens = f"{batch[0]} × {batch[1]} tokens"
                full = next((r["ours"] for r in rows if r["method"] == "full"), {})
                text += ["", f"## {NAMES[name]}, beside full fine-tuning", "",
                         *_markdown((rows_by_tokens, "trained", "time / full", "memory / full"),
                                    [_beside_full(row, full) for row in rows]),
                         "", f"## {NAMES[name]}, beside peft", "",
                         *_markdown((rows_by_tokens, "peft trains", "time / peft", "memory / peft",
                                     "file / peft"),
                                    [_beside_peft(row) for row in rows if "peft" in row])]
        if nf4s:
            head = ("NF4", "bits a weight", "quantize, M/s", "bitsandbytes", "time, ratio",
                    "dequantize, M/s", "bitsandbytes", "time, ratio")
            text += ["", *_markdown(head, [_nf4_cells(row) for row in nf4s])]
    return "\n".join(text[1:])


def _beside_full(row, full):
    """Return one method's line beside full fine-tuning."""
    ours = row["ours"]
    return (row["method"], f"{ours['parameters']:,}",
            "1.00" if ours is full else _spread(row["step_to"].get("full")),
            _ratio(ours, full, "memory_bytes", "peak"))


def _beside_peft(row):
    """Return one method's line beside peft."""
    ours, theirs = row["ours"], row["peft"]
    return (row["method"], f"{theirs['parameters']:,}", _spread(row["step_to"].get("peft")),
            _ratio(ours, theirs, "memory_bytes", "peak"),
            _ratio(ours, theirs, "file_bytes", "weights"))


def _ratio(mine, other, *keys):
    """Return a ratio of two numbers within; a dash where one was not measured."""
    for key in keys:
        mine, other = mine.get(key, {}), other.get(key, {})
    return f"{mine / other:.2f}" if mine and other else "–"


def _nf4_cells(row):
    """Return one matrix's line."""
    line = [f"{row['shape'][0]} × {row['shape'][1]}, {row['dtype']}"
            + (", double" if row["double"] else ""), f"{row['bits']:.3f}"]
    for work in ("quantize", "dequantize"):
        line += [f"{row[work]['ours']:,}", f"{row[work]['theirs']:,}", _spread(row[work]["time"])]
    return line


def _spread(found):
    """Write a ratio and its quartiles."""
    return f"{found['median']:.2f} ({found['low']:.2f}–{found['high']:.2f})" if found else "–"


def _markdown(head, lines):
    """Return a Markdown table whose columns stand under each other in a terminal, too."""
    widths = [max(map(len, column)) for column in zip(head, *lines)]
    rule = ["-" * width for width in widths]
    return ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths)) + " |"
            for line in (head, rule, *lines)]
