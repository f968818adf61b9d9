"""To and from Hugging Face peft: the same adapter in the other library's folder.

    movie-lora-peft/
        adapter_model.safetensors    adapter and head, by peft's names
        adapter_config.json          method, settings, and the modules that are adapted

peft itself is not needed, and nothing is unpickled. On the same base both libraries then compute
the same, except that with a soft prompt peft

- returns the hidden states and logits of the prompt, too: ours are its [:, length:];
- lets a bare encoder's pooler read the first vector of the prompt, where ours reads [CLS];
- lets a decoder's classifier read the last position, which in a row padded on the right is
  padding: classify one text at a time;
- counts positions through padding on the left, which moves a decoder's text, and RoBERTa's, away
  from the prompt: a padded row is not read as the row alone, nor is it in `generate`. (Before a
  decoder's prefix it does so in `forward` alone.) Ours reads the row as if it stood alone.

This file only re-exports. Each idea has a file of its own:

    modules    which modules a folder means, by peft's rules
    tensors    the same tensors, by peft's names and in its shapes
    writing    a folder for what is on a model
    reading    a method put on a model from a folder
"""

from .reading import from_peft
from .tensors import by_our_names
from .writing import NOT_WRITTEN, WRITTEN, to_peft

__all__ = ["NOT_WRITTEN", "WRITTEN", "by_our_names", "from_peft", "to_peft"]
