"""Make `field.csv`: Hugging Face peft's own comparison of methods, and what it found before.

    git clone https://github.com/huggingface/peft
    python assets/records/field.py peft

Nothing is trained. The last run of a name is the one of the table at `COMMIT`. Above it stand those
that the repository's history holds of the same name, optimizer, steps and, to 1 %, file size: other
versions of the libraries, the same seed. AdamW's `weight_decay` is 0.01 where a run sets none.
"""

import argparse
import csv
import json
import subprocess
from pathlib import Path

COMMIT, FOLDER = "5d602fdbf", "method_comparison/MetaMathQA/results"
HEAD = f"""\
# Hugging Face peft's own comparison of methods: repository huggingface/peft, up to commit
# {COMMIT} of 2026-08-21, {FOLDER}, Apache-2.0; made by
# field.py. Llama-3.2-3B, 5,000 steps of batch 4, tested on the 1,319 problems of GSM8K, seed 0,
# AdamW. The last run of a name is the table's; those above it are earlier ones.
# accuracy: share of problems solved. trained: numbers. bytes: of the file. rate, decay: AdamW's.
# table: the day on which peft published the run.
"""
COLUMNS = ("run", "method", "accuracy", "trained", "bytes", "rate", "decay", "table")


def git(clone, *words):
    """Return what git says."""
    return subprocess.run(["git", "-C", clone, *words], check=True, capture_output=True,
                          encoding="utf-8").stdout


def found(clone):
    """Yield every run once, the oldest first: a file may change and tell of the same run."""
    begun = set()
    log = git(clone, "log", "--reverse", "--format=%h %cs", COMMIT, "--", FOLDER)
    for commit, day in (line.split() for line in log.splitlines()):
        for path in git(clone, "diff-tree", "-r", "--no-commit-id", "--name-only",
                        "--diff-filter=d", commit, "--", f"{FOLDER}/*.json").split():
            result = json.loads(git(clone, "show", f"{commit}:{path}"))
            info, trained = result["run_info"], result["train_info"]
            config = info["train_config"]
            method, _, setting = Path(path).stem.partition("--llama-3.2-3B-")
            if (path, info["created_at"]) not in begun:
                begun.add((path, info["created_at"]))
                yield {"run": f"{method}-{setting}", "method": method, "table": day,
                       "accuracy": round(trained["metrics"][-1]["test accuracy"], 4),
                       "trained": trained.get("num_trainable_params"),    # not in the first ones
                       "bytes": trained["file_size"], "rate": config["optimizer_kwargs"]["lr"],
                       "decay": config["optimizer_kwargs"].get("weight_decay", 0.01),
                       "other": (config["optimizer_type"], config["max_steps"])}


def alike(one, other):
    """Whether two runs have the same settings, as far as the results say."""
    return (all(one[key] == other[key] for key in ("rate", "decay", "other"))
            and abs(one["bytes"] / other["bytes"] - 1) < 0.01)


def main():
    """Read the history, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("clone", help="of https://github.com/huggingface/peft")
    clone, runs = parser.parse_args().clone, {}
    for run in found(clone):
        runs.setdefault(run["run"], []).append(run)
    last = {Path(path).stem.replace("--llama-3.2-3B-", "-") for path in git(
        clone, "ls-tree", "-r", "--name-only", COMMIT, f"{FOLDER}/").split()}
    table = sorted((runs[name] for name in sorted(last & runs.keys())),
                   key=lambda tried: -tried[-1]["accuracy"])
    with Path(__file__).with_suffix(".csv").open("w", encoding="utf-8", newline="\n") as file:
        file.write(HEAD)
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(run for tried in table for run in tried if alike(run, tried[-1]))


if __name__ == "__main__":
    main()
