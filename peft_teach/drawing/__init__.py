"""One transformer block, drawn alike for every method: what is frozen, what is trained, and where.

    show(block("lora"), "Six such blocks.")             `show` is `plots.show`
    block("lora", pt.lora.Config(rank=64))              another rank
    block("bottleneck", pt.bottleneck.HOULSBY)          another placement
    block("lora", zoom="query")                         enlarge another place
    block("prefix", model="smollm2")                    in a decoder's block
    methods()                                           all methods on one page
    parts("lora")                                       what is drawn, as a data frame

Above, a model's block at large: every part stands at one place for every method (`layouts`), and
frozen matrices are to scale, one to another; what a method adds is a sign. Below, one place
enlarged, to scale. Nothing about a method is kept here but its words: it is put on the model as
shapes alone (`outlines`), and what it trains there, where, and how large, is read off. So a method
that is not known here can be drawn, too: by what it registers.

This file only re-exports. Each idea has a file of its own:

    layouts     where the parts of a block stand, in an encoder and in a decoder
    trained     what a method trains on a model, read off
    words       what a picture says
    large       a block at large
    enlarged    one of its places, enlarged
    pictures    the two pictures, made of these
"""

from .pictures import block, methods
from .trained import parts
from .words import counted, counts_in_words

__all__ = ["block", "counted", "counts_in_words", "methods", "parts"]
