"""Which tests are quick: what breaks most, by files that take seconds, and the laws on a BERT."""

FILES = ("tests/test_package.py", "tests/test_contributing.py", "tests/library/test_core.py",
         "tests/library/test_methods.py", "tests/library/test_settings.py",
         "tests/library/test_state.py", "tests/library/test_store.py",
         "tests/oracles/test_lora_oracle.py", "tests/course/test_exercise.py",
         "tests/course/test_judge.py", "tests/course/test_learner.py",
         "tests/course/test_lora.py")
LAWS = "tests/library/test_laws.py"


def is_quick(path: str, item) -> bool:
    """Return whether this test of the file `path` is quick."""
    settings = item.callspec.params if hasattr(item, "callspec") else {}
    family = settings.get("family") or settings.get("untouched", {}).get("family", "bert")
    return (item.get_closest_marker("long") is None
            and (path in FILES or (path == LAWS and family == "bert")))
