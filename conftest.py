"""Defaults for every test and every notebook that is run as one: small, offline, quiet."""

import os

os.environ.setdefault("PEFT_TEACH_BUDGET", "smoke")
os.environ.setdefault("PEFT_TEACH_WORK", "")    # no reader works here: nothing is kept
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
