"""Selection: which files of a repository an engine needs. Names only; no I/O here.

A repository often holds the same weights several times over, for several frameworks. vLLM loads safetensors
when there are any (`load_format: auto`, vLLM 0.32), so where a directory has them its other weight files are
left out. Mistral's `consolidated*.safetensors` stay: vLLM chooses between them and the sharded ones by its
own arguments. A repository of nothing but GGUF files is taken whole, every quantisation in it.
"""

from collections.abc import Sequence
from pathlib import PurePosixPath

_OTHER_FRAMEWORKS = {"original", "onnx", "openvino", "coreml", "tensorrt", "flax", "tf", "metal", "runs"}
_NEVER = {
    ".ckpt", ".gif", ".gz", ".h5", ".jpeg", ".jpg", ".md", ".mlmodel", ".mp4", ".msgpack", ".nemo", ".onnx",
    ".onnx_data", ".ot", ".pdf", ".pdparams", ".png", ".pth", ".svg", ".tflite", ".webp", ".zip",
}  # fmt: skip
_TRAINING = {"optimizer.bin", "optimizer.pt", "scheduler.bin", "scheduler.pt", "training_args.bin"}
_PICKLED = {".bin", ".pt"}
_GGUF = ".gguf"
_SAFETENSORS = ".safetensors"


def needed(names: Sequence[str]) -> list[str]:
    """The names of the files to fetch, in the order given. Hidden files and directories never are."""
    kept = [name for name in names if not _useless(PurePosixPath(name))]
    paths = [PurePosixPath(name) for name in kept]
    safe = {path.parent for path in paths if path.suffix == _SAFETENSORS}
    other_weights = any(path.suffix in {_SAFETENSORS, ".bin"} for path in paths)

    def duplicate(path: PurePosixPath) -> bool:
        in_safe_directory = path.suffix in _PICKLED and path.parent in safe
        return in_safe_directory or (path.suffix == _GGUF and other_weights)

    return [name for name, path in zip(kept, paths, strict=True) if not duplicate(path)]


def has_weights(names: Sequence[str]) -> bool:
    """Whether any of the names is a weight file that vLLM can load."""
    return any(PurePosixPath(name).suffix in {_SAFETENSORS, _GGUF, *_PICKLED} for name in names)


def _useless(path: PurePosixPath) -> bool:
    # A name that climbs is not hidden: `check_path` has to see and refuse it.
    hidden = any(part.startswith(".") and part != ".." for part in path.parts)
    foreign = any(part.lower() in _OTHER_FRAMEWORKS for part in path.parts[:-1])
    return hidden or foreign or path.name in _TRAINING or path.suffix.lower() in _NEVER
