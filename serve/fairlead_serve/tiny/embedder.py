"""The tiny embedding model: never trained, so that it is made in a second.

Its vectors are means of random token vectors, mixed by random layers. Texts that share words come out close
to each other, which is enough to try an API and not enough to search with.
"""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2Config, Qwen2Model

CONTEXT = 2048
DIMENSIONS = 128
SEED = 7


def build(vocabulary: int) -> Any:
    """A `Qwen2Model` in float32 with seeded random weights; sets torch's seed."""
    torch.manual_seed(SEED)
    model = Qwen2Model(
        Qwen2Config(
            vocab_size=vocabulary,
            hidden_size=DIMENSIONS,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=CONTEXT,
            bos_token_id=None,
            eos_token_id=2,
            pad_token_id=0,
        )
    )
    # Large beside what the layers add: which words there are then counts for more than random mixing.
    torch.nn.init.normal_(model.embed_tokens.weight)
    return model.eval()


def save_pooling(target: Path) -> None:
    """Write the sentence-transformers files, from which vLLM learns to average over a text and to normalise."""
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    pooling = {"word_embedding_dimension": DIMENSIONS, "pooling_mode_mean_tokens": True}
    _write(target / "modules.json", modules)
    _write(target / "sentence_bert_config.json", {"max_seq_length": CONTEXT, "do_lower_case": False})
    (target / "1_Pooling").mkdir()
    _write(target / "1_Pooling" / "config.json", pooling)


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
