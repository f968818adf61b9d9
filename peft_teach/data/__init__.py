"""The course's four tasks: sentences that people rated, as (text, label) with fixed splits.

    movies    10,041 snippets of film reviews        50 % positive
    products   2,935 sentences of 300 reviews        59 %
    tweets     3,362 tweets                          68 %
    news       2,751 sentences of 498 editorials     40 %

About 20 people rated each sentence from -4 to 4. The label is 1 for a mean above 0.5 and 0 for one
below -0.5; what lies between is left out. Repeated texts are dropped: 2, 8, 0 and 37.

A hash decides about the split, 60 % training, 15 % validation and 25 % test, so that it depends
neither on the order of the file nor on a seed. Products and news are split **by document**: a
sentence's neighbours give away its mood, and would be in training otherwise. Film snippets
carry no number of the review that they come from, about 2,000 reviews in all, so siblings of test
snippets may be in training there: read their accuracies with that in mind.

`ratings` gives the mean ratings themselves, of every sentence, for a model that predicts a number.
`voice` gives questions and answers for a chat model, which we wrote ourselves.

Source: `Dataset.source`. Film snippets are from Pang & Lee 2004, products from Hu & Liu 2004.

This file only re-exports. Each idea has a file of its own:

    tasks            the four tasks, in their splits
    conversations    questions and answers in one voice
    batching         texts, or conversations, as batches
"""

from .batching import batches, chat, labels
from .conversations import Pair, Voice, voice
from .tasks import DOMAINS, Dataset, Example, documents, lines, load, ratings

__all__ = ["DOMAINS", "Dataset", "Example", "Pair", "Voice", "batches", "chat", "documents",
           "labels", "lines", "load", "ratings", "voice"]
