"""LoRA adapters for tiny://chat: random weights, large enough to change what the model says."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

_WIDTH = 192
_LAYERS = 2


def make_adapter(directory: Path, *, seed: int, rank: int = 4) -> str:
    """An adapter in the new folder `directory`, as PEFT writes it; its URI."""
    directory.mkdir()
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": rank,
        "target_modules": ["q_proj", "o_proj"],
        "bias": "none",
    }
    (directory / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    random = np.random.default_rng(seed)
    weights = {
        f"base_model.model.model.layers.{layer}.self_attn.{module}.lora_{half}.weight": random.normal(
            size=(rank, _WIDTH) if half == "A" else (_WIDTH, rank)
        ).astype(np.float32)
        for layer in range(_LAYERS)
        for module in ("q_proj", "o_proj")
        for half in "AB"
    }
    save_file(weights, directory / "adapter_model.safetensors")
    return directory.as_uri()
