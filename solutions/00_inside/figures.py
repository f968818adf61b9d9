"""Lesson 00: what its prose says and no output of it shows."""

from figures import record

from peft_teach import outlines

TOTAL = sum(outlines.counts("minilm").values())
TRAINED = 12 * 8 * (384 + 384) + 770    # LoRA of rank 8 on query and value, and the head
COST = record("lora")["cost"]
PROCESS = {name: 4 * TOTAL + 1e6 * (COST[name]["peak_mb"] - COST[name]["loaded_mb"])
           for name in ("lora", "full")}

PEAKS = {row["method"]: row["ours"]["memory_bytes"]["peak"] for row in record("benchmark")["runs"]
         if (row["device"], row["model"]) == ("cpu", "minilm")}

FIGURES = {
    "only 0.3 %": TRAINED / TOTAL,
    "trains 0.33 %": TRAINED / TOTAL,
    "30,522 words": outlines.SIZES["minilm"][6],
    "7 billion": sum(outlines.counts("llama-2-7b").values()),
    "254 of 591 MB": (PROCESS["lora"], PROCESS["full"]),
    "another record: 36 %": PEAKS["lora"] / PEAKS["full"],
    "350 of 1,200 GB": "Hu et al. 2021, §4.2",
    "1 to 70 billion": "the sources of the table",
}
