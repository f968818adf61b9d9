"""Which tests are quick: what breaks most, by files that take seconds."""

FILES = ("tests/test_package.py", "tests/test_contributing.py", "tests/library/test_core.py",
         "tests/library/test_laws.py", "tests/library/test_methods.py",
         "tests/library/test_settings.py", "tests/library/test_notes.py",
         "tests/library/test_store.py", "tests/oracles/test_lora_oracle.py",
         "tests/course/test_exercise.py", "tests/course/test_judge.py",
         "tests/course/test_learner.py", "tests/course/test_lora.py")
