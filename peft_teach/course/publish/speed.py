"""The benchmark's record in Markdown, as the script prints it and a page shows it."""

BATCHES = {"minilm": (16, 32), "smollm2": (2, 64)}    # of the models that race: rows, tokens


def table(record):
    """Return the record in Markdown: for each machine a table a model, and one for NF4."""
    text, machines = [], []
    for row in (*record.get("runs", []), *record.get("nf4", [])):
        if (row["device"], row["machine"]) not in machines:
            machines.append((row["device"], row["machine"]))
    for device, machine in machines:
        runs, nf4s = ([r for r in record.get(part, [])
                       if (r["device"], r["machine"]) == (device, machine)]
                      for part in ("runs", "nf4"))
        threads = f"{machine['threads']} thread" + "s" * (machine["threads"] > 1)
        text += ["", f"{machine['device']}, {threads} of {machine['cores']} cores; "
                     f"torch {machine['torch']}, peft {machine['peft']}, bitsandbytes "
                     f"{machine['bitsandbytes']}; {max(row['date'] for row in (*runs, *nf4s))}"]
        for name, batch in BATCHES.items():
            rows = [r for r in runs if r["model"] == name]
            if rows:
                head = (f"{name}, {batch[0]} × {batch[1]}", "trained", "peft's", "time / peft",
                        "memory / peft", "file / peft", "time / full", "memory / full")
                text += ["", *_markdown(head, [_cells(row, rows) for row in rows])]
        if nf4s:
            head = ("NF4", "bits a weight", "quantize, M/s", "bitsandbytes", "time, ratio",
                    "dequantize, M/s", "bitsandbytes", "time, ratio")
            text += ["", *_markdown(head, [_nf4_cells(row) for row in nf4s])]
    return "\n".join(text[1:])


def _cells(row, rows):
    """Return one method's line; a dash where there is nothing to compare."""
    ours, theirs = row["ours"], row.get("peft", {})
    full = next((r["ours"] for r in rows if r["method"] == "full"), {})

    def over(other, *keys):
        mine = ours
        for key in keys:
            mine, other = mine.get(key, {}), other.get(key, {})
        return f"{mine / other:.2f}" if mine and other else "–"

    return (row["method"], f"{ours['parameters']:,}",
            f"{theirs['parameters']:,}" if theirs else "–",
            _spread(row["step_to"].get("peft")), over(theirs, "memory_bytes", "peak"),
            over(theirs, "file_bytes", "weights"), _spread(row["step_to"].get("full")),
            over(full, "memory_bytes", "peak"))


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
