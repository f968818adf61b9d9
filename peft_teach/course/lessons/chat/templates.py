"""Chat templates as models have them, and tokenizers of a few words that write by them.

    tokenizer = tokenizer_of("chatml", turns)     words, signs and spaces are its tokens
    ids, asked = transformers_mask("chatml", turns)
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

Turns = Sequence[Mapping[str, str]]

# By name: the template, « and » around what the model is to write, and its special tokens.
TEMPLATES = {
    "chatml": ("""{% for m in messages %}{% if loop.first and m.role != 'system' %}\
{{ '<|im_start|>system\nBe helpful.<|im_end|>\n' }}{% endif %}{{ '<|im_start|>' + m.role + '\n' }}\
{% if m.role == 'assistant' %}«{{ m.content + '<|im_end|>' }}»{% else %}\
{{ m.content + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}""",
               ("<|im_start|>", "<|im_end|>")),
    "zephyr": ("""{% for m in messages %}{{ '<|' + m.role + '|>\n' }}{% if m.role == 'assistant' %}\
«{{ m.content + eos_token }}»{% else %}{{ m.content + eos_token }}{% endif %}{{ '\n' }}\
{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}""",
               ("<s>", "</s>")),
    "brackets": ("""{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}\
«{{ ' ' + m.content + eos_token }}»{% else %}{{ '[INST] ' + m.content + ' [/INST]' }}{% endif %}\
{% endfor %}""", ("<s>", "</s>")),
}


def turns(*texts: str, system: str = "") -> list[dict[str, str]]:
    """Question, answer, question, and so on."""
    first = [{"role": "system", "content": system}] if system else []
    return first + [{"role": ("user", "assistant")[i % 2], "content": text}
                    for i, text in enumerate(texts)]


def tokenizer_of(template: str, said: Turns, marked: bool = False) -> Any:
    """Return a tokenizer that knows the words of these turns; its padding token is its end.

    `marked` keeps the `{% generation %}` that SmolLM2's template does without.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    text, (start, end) = TEMPLATES[template]
    known = " ".join([text, *(f"{turn['role']} {turn['content']}" for turn in said)])
    words = dict.fromkeys([start, end, "<unk>", *sorted(set(re.findall(r"\w+|\W", known)))])
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|\W"), "isolated")    # type: ignore
    made.add_special_tokens([AddedToken(each, normalized=False) for each in (start, end)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, bos_token=start, eos_token=end,
                                        pad_token=end)
    marks = ("{% generation %}", "{% endgeneration %}") if marked else ("", "")
    tokenizer.chat_template = text.replace("«", marks[0]).replace("»", marks[1])
    return tokenizer


def transformers_mask(template: str, said: Turns) -> tuple[list[int], list[bool]]:
    """Return the token ids, and where transformers says that the model writes."""
    told = tokenizer_of(template, said, marked=True).apply_chat_template(
        [*said], return_dict=True, return_assistant_tokens_mask=True)
    return told["input_ids"], [bool(each) for each in told["assistant_masks"]]
