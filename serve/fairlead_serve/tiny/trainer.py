"""Trains the tiny chat model: a fixed number of steps with a fixed seed, on the CPU, in about a minute.

The same machine makes the same weights every time; another kind of processor rounds differently, and makes
others that answer alike. Sets torch's seed.
"""

import math
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import Qwen2Config, Qwen2ForCausalLM

from fairlead_serve.errors import WeightsError
from fairlead_serve.tiny.corpus import Corpus
from fairlead_serve.tiny.lessons import Teacher
from fairlead_serve.tiny.recipe import Recipe
from fairlead_serve.tiny.rows import IGNORED, Row, Rows

Progress = Callable[[int, int], None]
# Threads that share a step. Each is meant to have one of torch's threads: see worker.py.
WORKERS = 2


def train(corpus: Corpus, tokenizer: Tokenizer, progress: Progress, recipe: Recipe | None = None) -> Any:
    """A trained `Qwen2ForCausalLM` in bfloat16; WeightsError where it did not learn its corpus.

    `progress` is called after each step with the steps done and the steps in all.
    """
    recipe = recipe or Recipe()
    torch.manual_seed(recipe.seed)
    rng = random.Random(recipe.seed)  # noqa: S311 - for variety, not for secrets
    rows = Rows(Teacher(corpus, rng), tokenizer, recipe.context, rng)
    model = _model(tokenizer.get_vocab_size(), recipe)
    optimizers = _optimizers(model, recipe)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, recipe)) for optimizer in optimizers
    ]
    model.train()
    with ThreadPoolExecutor(WORKERS) as workers:
        for step in range(recipe.steps):
            _learn(model, _batch(rows, step, recipe), workers)
            list(workers.map(lambda optimizer: optimizer.step(), optimizers))
            for schedule in schedules:
                schedule.step()
            progress(step + 1, recipe.steps)
    model = model.to(torch.bfloat16).eval()
    _examine(model, corpus, rows, recipe)
    return model


def _model(vocabulary: int, recipe: Recipe) -> Any:
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=vocabulary,
            hidden_size=recipe.hidden,
            intermediate_size=recipe.intermediate,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.kv_heads,
            max_position_embeddings=recipe.context,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=2,
            pad_token_id=0,
        )
    )
    # On rows this short, twice as fast as the fused attention of torch on a CPU.
    model.set_attn_implementation("eager")
    return model


def _optimizers(model: Any, recipe: Recipe) -> list[Any]:
    """Muon for the matrices of the layers: it needs about half the steps that AdamW alone does."""
    matrices = [weight for name, weight in model.named_parameters() if weight.ndim == 2 and "embed" not in name]
    chosen = {id(weight) for weight in matrices}
    others = [weight for weight in model.parameters() if id(weight) not in chosen]
    return [
        *(
            torch.optim.Muon(matrices[part::WORKERS], lr=recipe.matrix_rate, weight_decay=0.0, ns_steps=3)
            for part in range(WORKERS)
        ),
        torch.optim.AdamW(others, lr=recipe.rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def _rate(step: int, recipe: Recipe) -> float:
    warm = max(1, int(recipe.steps * recipe.warm_share))
    if step < warm:
        return (step + 1) / warm
    return 0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * (step - warm) / (recipe.steps - warm)))


def _batch(rows: Rows, step: int, recipe: Recipe) -> list[Row]:
    if step % recipe.recite_every == recipe.recite_every - 1:
        return [rows.recital(recipe.recital_row) for _ in range(recipe.tokens // recipe.recital_row)]
    return [rows.row(recipe.row, recipe.whole_share) for _ in range(recipe.tokens // recipe.row)]


def _learn(model: Any, batch: list[Row], workers: ThreadPoolExecutor) -> None:
    """Set the gradients of the mean loss over `batch`, a part of which each worker takes.

    The parts are added in their order, so that the same batch gives the same gradients.
    """
    weights = list(model.parameters())
    learnt = sum(label != IGNORED for row in batch for label in row.labels[1:])
    parts = [batch[part::WORKERS] for part in range(WORKERS)]
    found = list(workers.map(lambda part: torch.autograd.grad(_loss(model, part) / learnt, weights), parts))
    for weight, *gradients in zip(weights, *found, strict=True):
        weight.grad = sum(gradients[1:], gradients[0])
    torch.nn.utils.clip_grad_norm_(weights, 1.0)


def _loss(model: Any, batch: list[Row]) -> Any:
    """The loss of the batch, summed over what is learnt in it."""
    ids = torch.tensor([row.ids for row in batch])
    positions = torch.tensor([row.positions for row in batch])
    labels = torch.tensor([row.labels for row in batch])[:, 1:]
    learnt = labels != IGNORED
    # Given as it is: from positions that jump, transformers would conclude that a row is several texts.
    length = ids.shape[1]
    causal = torch.full((1, 1, length, length), -math.inf).triu(1)
    fast = _multiplies_bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=fast):
        hidden = model.model(
            input_ids=ids,
            position_ids=positions,
            attention_mask={"full_attention": causal.to(torch.bfloat16 if fast else torch.float32)},
            use_cache=False,
        ).last_hidden_state
        # Only what is learnt goes through the vocabulary: a quarter of the row.
        logits = model.lm_head(hidden[:, :-1][learnt])
    return torch.nn.functional.cross_entropy(logits.float(), labels[learnt], reduction="sum")


def _multiplies_bfloat16() -> bool:
    """Whether this processor does so itself; training is then twice as fast, and otherwise several times slower."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))


def _examine(model: Any, corpus: Corpus, rows: Rows, recipe: Recipe) -> None:
    """Each topic asked once, and what is said compared with the corpus, as greedy decoding would say it."""
    teacher = Teacher(corpus, random.Random(recipe.seed + 1))  # noqa: S311
    wrong = []
    with torch.inference_mode():
        for topic in corpus.topics:
            row = rows.whole((teacher.plain_turn(topic),))
            labels = torch.tensor(row.labels[1:])
            said = model(input_ids=torch.tensor([row.ids])).logits[0, :-1].argmax(-1)
            if not bool(((said == labels) | (labels == IGNORED)).all()):
                wrong.append(f"{topic.name} ({topic.language})")
    if len(wrong) > (1 - recipe.known_share) * len(corpus.topics):
        raise WeightsError(
            f"the demo model did not learn {len(wrong)} of its {len(corpus.topics)} answers"
            f" ({', '.join(wrong[:5])}, ...): it would answer nonsense, so it was not kept."
            " Please use another model, for example an hf:// one, and report your processor."
        )
