"""Bottleneck adapters: what the site's pages say of it."""

TITLE = "bottleneck adapters"
LESSON = "05_adapters"
EQUATION = r"$y + W_{up}\,\text{act}(W_{down}\, y)$"
COMPUTES = "`y + W_up act(W_down y)`, in six places"
SETTINGS = "`PFEIFFER`, size {size}"
WHEN = "a change that depends on the token nonlinearly"
EQUALS = "adapters"
