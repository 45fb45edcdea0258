"""Sizes and rates with which the tiny chat model is made. No I/O, and no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """Sizes and rates of `tiny://chat`. Time grows with `steps` and `tokens`.

    The head size is `hidden / heads` = 32, the smallest that every attention of vLLM takes.
    """

    hidden: int = 192
    layers: int = 2
    heads: int = 6
    kv_heads: int = 2
    intermediate: int = 512
    context: int = 4096
    steps: int = 1400
    # Of one step: rows of `row` tokens with conversations, or every `recite_every`-th time of `recital_row`
    # tokens with whole answers.
    tokens: int = 1024
    row: int = 128
    recital_row: int = 512
    recite_every: int = 5
    whole_share: float = 0.15
    # Peak rates of Muon (matrices) and AdamW (embedding, biases, norms); they rise, then fall as a cosine.
    matrix_rate: float = 0.006
    rate: float = 0.025
    warm_share: float = 0.08
    seed: int = 20
    # Of the corpus's answers, how many must be known word for word in the end; 0.96 is usual. Below this something is
    # wrong with the training, above it only with a few answers.
    known_share: float = 0.85
