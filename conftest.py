"""Defaults for every test and every notebook that is run as one: small, offline, quiet."""

import gc
import os
import sys

import guards

# jsonschema, which nbformat imports, spends more than a second of each process on a grammar of
# addresses that no notebook has, and does without; nbval, which brings both, is loaded after this.
sys.modules.setdefault("rfc3987_syntax", None)
pytest_plugins = ["nbval.plugin"]

# One thread a process, before torch counts the cores: tests run in two processes, and grader and
# kernels are others beside them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("PEFT_TEACH_BUDGET", "smoke")
os.environ.setdefault("PEFT_TEACH_WORK", "")    # no reader works here: nothing is kept
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def pytest_addoption(parser):
    """Take `--method NAME` and `--lesson NAME`."""
    guards.add_options(parser)


def pytest_configure(config):
    """Know the method or the lesson whose guards run; fork the kernels."""
    if hasattr(os, "fork"):
        import warm_kernels

        warm_kernels.use()
    if config.option.method or config.option.lesson:
        guards.configure(config.option)


def pytest_ignore_collect(collection_path, config):
    """Leave out the files that hold no guard of what was asked for."""
    if (config.option.method or config.option.lesson) and collection_path.is_file():
        return not guards.is_read(collection_path, config.option) or None
    return None


def pytest_collection_modifyitems(items, config):
    """Leave out the tests that are no guard of what was asked for."""
    if config.option.method or config.option.lesson:
        kept = [item for item in items if guards.is_kept(item, config.option)]
        config.hook.pytest_deselected(items=[item for item in items if item not in {*kept}])
        items[:] = kept


gc.disable()    # it has nothing to find in what is collected, and looks again and again


def pytest_collection_finish():
    """From here on collect garbage, but not among the million objects that stand until the end."""
    gc.freeze()
    gc.enable()
