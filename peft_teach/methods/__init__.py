"""One file a method; each opens like the key page of its paper.

`METHODS` is the table of them all, by the names used in files and in a model's `Note`. What
lists methods reads it, or a test compares the two (`tests/library/test_methods.py`).
"""

from . import bitfit, bottleneck, dora, full, ia3, lora, prefix, prompt, qlora

METHODS = {"full": full, "bitfit": bitfit, "prompt": prompt, "prefix": prefix,
           "bottleneck": bottleneck, "ia3": ia3, "lora": lora, "dora": dora, "qlora": qlora}
