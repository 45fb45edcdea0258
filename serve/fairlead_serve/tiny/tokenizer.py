"""The tokenizer of the tiny models: byte-level BPE, trained on the corpus, so that any text
comes back whole (in Unicode's composed form).

A Chinese character is never merged with its neighbours: with so little text to learn merges from, whole
questions would become one token, and no other phrasing would be understood.
"""

import json
import random
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from fairlead_serve.tiny.corpus import Corpus
from fairlead_serve.tiny.phrasing import expand

START, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
# In this order they get the ids 0, 1 and 2.
SPECIALS = (PAD, START, END)
VOCABULARY = 4096
# How transformers' Qwen2Tokenizer cuts a text (transformers 5, models/qwen2/tokenization_qwen2.py). It does so
# whatever tokenizer.json says, so the tokenizer must be trained on the same cuts.
CUTS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' }}"
    "{%- if message['content'] is string %}{{- message['content'] }}"
    "{%- else %}{%- for part in message['content'] or [] %}"
    "{%- if part['type'] == 'text' %}{{- part['text'] }}{%- endif %}"
    "{%- endfor %}{%- endif %}"
    "{{- '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def train(corpus: Corpus) -> Tokenizer:
    """A tokenizer for the corpus; the same corpus gives the same one."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    cuts = pre_tokenizers.Split(Regex(CUTS), behavior="isolated")
    characters = pre_tokenizers.Split(Regex(r"\p{Han}"), behavior="isolated")
    signs = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cuts, characters, signs])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(corpus), trainer)
    # No merge across characters was learnt, so from here on they need not be cut apart.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cuts, signs])
    return tokenizer


def save(tokenizer: Tokenizer, target: Path, context: int) -> None:
    """Write the files of a hub snapshot: tokenizer.json, tokenizer_config.json, chat_template.jinja."""
    tokenizer.save(str(target / "tokenizer.json"))
    config = {
        "tokenizer_class": "Qwen2Tokenizer",
        "model_max_length": context,
        "eos_token": END,
        "pad_token": PAD,
        "clean_up_tokenization_spaces": False,
        "additional_special_tokens": [START],
    }
    (target / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (target / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")


def _texts(corpus: Corpus) -> list[str]:
    rng = random.Random(0)  # noqa: S311 - for variety, not for secrets
    texts = ["system\nuser\nassistant\n", *corpus.systems]
    for topic in corpus.topics:
        texts += [topic.answer] * 2
        texts += [expand(rng.choice(topic.ask), rng) for _ in range(12)]
    for again in corpus.again:
        texts += [expand(rng.choice(again.ask), rng) for _ in range(100)]
    for unknown in corpus.unknown:
        texts += unknown.whole
        texts += [
            f" {word}" if unknown.language == "en" else word for kind in unknown.words.values() for word in kind
        ] * 3
        texts += [expand(rng.choice(unknown.templates), rng) for _ in range(500)]
    return texts
