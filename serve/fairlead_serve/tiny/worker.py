"""Makes one tiny model in a process of its own: `python -m fairlead_serve.tiny.worker chat DIRECTORY`.

On standard output a line "done total" for each step, and nothing else. Ends with 0 when the directory is a
complete snapshot; otherwise the reason is the last line on standard error. Sets torch's threads and seeds for
the whole process: that is why it is one of its own.
"""

import json
import sys
from pathlib import Path

import torch
from transformers.utils import logging

from fairlead_serve.errors import WeightsError
from fairlead_serve.tiny import corpus, embedder, tokenizer, trainer
from fairlead_serve.tiny.recipe import Recipe


def main(name: str, target: Path) -> int:
    """Write the snapshot of `name` to the existing directory `target`; the exit status."""
    _quiet()
    # More gain nothing on matrices this small, and beside any busy program each of the thousands of barriers of
    # a step would wait for a core. The trainer's two workers meet twice a step instead.
    torch.set_num_threads(1)
    try:
        if name == "chat":
            _make_chat(target)
        else:
            _make_embed(target)
    except WeightsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _make_chat(target: Path) -> None:
    texts = corpus.load()
    pieces = tokenizer.train(texts)
    recipe = Recipe()
    model = trainer.train(texts, pieces, _report, recipe)
    model.save_pretrained(target)
    tokenizer.save(pieces, target, recipe.context)
    # Greedy unless a request says otherwise: the answers are then exactly those of the corpus.
    generation = {"eos_token_id": 2, "pad_token_id": 0, "do_sample": False, "temperature": 0.0}
    (target / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n", encoding="utf-8")
    _readable(target)


def _make_embed(target: Path) -> None:
    pieces = tokenizer.train(corpus.load())
    embedder.build(pieces.get_vocab_size()).save_pretrained(target)
    tokenizer.save(pieces, target, embedder.CONTEXT)
    embedder.save_pooling(target)
    _readable(target)
    _report(1, 1)


def _readable(target: Path) -> None:
    # safetensors leaves its files to their owner alone; a cache may be read by another user.
    for file in target.glob("*.safetensors"):
        file.chmod(0o644)


def _report(done: int, total: int) -> None:
    sys.stdout.write(f"{done} {total}\n")
    sys.stdout.flush()


def _quiet() -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
