"""Defaults for every test and every notebook that is run as one: small, offline, quiet."""

import gc
import os

# One thread a process, before torch counts the cores: tests run in two processes, and grader and
# kernels are others beside them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("PEFT_TEACH_BUDGET", "smoke")
os.environ.setdefault("PEFT_TEACH_WORK", "")    # no reader works here: nothing is kept
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

gc.disable()    # it has nothing to find in what is collected, and looks again and again


def pytest_collection_finish():
    """From here on collect garbage, but not among the million objects that stand until the end."""
    gc.freeze()
    gc.enable()
