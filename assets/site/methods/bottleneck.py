"""Adapters: what the site's pages say of it."""

from peft_teach.course.publish.methods import FROZEN, TRAINED

TITLE = "adapters"
LESSON = "05_adapters"
EQUATION = r"$y + W_{up}\,\text{act}(W_{down}\, y)$"
COMPUTES = "`y + W_up act(W_down y)`, in six places"
SETTINGS = "`PFEIFFER`, size {size}"
WHEN = "a change that depends on the token nonlinearly"
EQUALS = "adapters"
DRAWING = (
    (FROZEN, 0, 0, 2, 3, "sub-layer"), (TRAINED, 2.6, 0, 0.8, 3, "down"),
    (TRAINED, 3.7, 1, 0.4, 1, ""), (TRAINED, 4.4, 0, 0.8, 3, "up"))
