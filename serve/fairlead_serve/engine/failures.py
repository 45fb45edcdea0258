"""Why an engine did not start, in one sentence a person can act on. Pure: exceptions and text in, text out.

vLLM reports most failures as a chain of exceptions, and some only in the log of its engine-core process
("Engine core initialization failed. See root cause above."). Both are read here.
"""

import re
from collections.abc import Iterable, Iterator

from fairlead_serve.model import Model

# (pattern in vLLM's or PyTorch's words, what to say). First match wins, so the specific ones come first.
_CAUSES: tuple[tuple[str, str], ...] = (
    (
        r"out of memory|OutOfMemoryError|CUDA error: out of memory",
        "the device ran out of memory while loading; lower spec.engine.gpuMemoryUtilization or maxModelLen, "
        "quantize the model, or raise spec.parallelism.tensor",
    ),
    (
        r"No available memory for the cache blocks|KV cache is needed|larger than the available KV cache memory",
        "there is not enough memory left for the KV cache; lower spec.engine.maxModelLen or maxNumSeqs, or "
        "give the engine more memory (cpu: VLLM_CPU_KVCACHE_SPACE in spec.engine.env, in GiB)",
    ),
    (
        r"less than desired (GPU|CPU) memory|Not enough (available )?memory|Cannot allocate memory|DefaultCPUAllocator",
        "there is not enough memory on this machine; make spec.engine.gpuMemoryUtilization smaller (on cpu: "
        "VLLM_CPU_KVCACHE_SPACE in spec.engine.env, in GiB) or free some",
    ),
    (
        r"LoRA rank \d+ is greater than max_lora_rank",
        "the rank of a LoRA adapter is higher than spec.lora.maxRank; raise that",
    ),
    (
        r"max_model_len.*(greater|larger) than|maximum model length",
        "spec.engine.maxModelLen is longer than the model's own context",
    ),
    (
        r"does not recognize this architecture|not supported for now|Model architectures .* failed",
        "this vLLM does not know the model's architecture",
    ),
    (
        r"No CUDA GPUs are available|CUDA driver|Failed to infer device type",
        "there is no usable GPU on this machine",
    ),
    (
        r"[Uu]nknown quantization|quantization method .* not supported|Quantization method .* does not match",
        "spec.engine.quantization does not fit the model or this device",
    ),
)
_LAST_ERROR = re.compile(r"\b(?:\w+\.)*(\w*(?:Error|Exception|Interrupt)): (?P<message>.+)$")
# What the processes of an engine put around each other's words.
_WRAPPED = re.compile(
    r"(?:Call to \w+ method failed: )?Worker failed with error '(?P<words>.*)', please check", re.DOTALL
)
_UNHELPFUL = re.compile(r"Engine core initialization failed|See root cause above")


def explain(model: Model, error: BaseException) -> str:
    """A sentence on why the engine of `model` failed with `error`, with vLLM's own words behind it."""
    words = [str(link) or type(link).__name__ for link in chain(error)]
    return sentence(model.name, words)


def explain_log(name: str, lines: Iterable[str]) -> str | None:
    """The same from log lines of the engine (oldest first), or None where they hold no error."""
    found = [match["message"].strip() for line in lines if (match := _LAST_ERROR.search(line.rstrip()))]
    helpful = [message for message in found if not _UNHELPFUL.search(message)]
    return sentence(name, helpful[-5:]) if helpful else None


def sentence(name: str, words: list[str]) -> str:
    """`words`: vLLM's messages, the most telling anywhere in them."""
    return f"the engine of {name} did not start: {cause(words)}"


def cause(words: list[str]) -> str:
    """What to do about vLLM's messages, where that is known, and what it said."""
    own_words = next((word for word in words if not _UNHELPFUL.search(word)), words[0] if words else "no reason given")
    wrapped = _WRAPPED.search(own_words)
    own_words = (wrapped["words"] if wrapped else own_words).strip()
    own_words = own_words.splitlines()[0] if own_words else "no reason given"
    for pattern, meaning in _CAUSES:
        if any(re.search(pattern, word) for word in words):
            return f"{meaning} (vLLM: {own_words})"
    return own_words


def chain(error: BaseException) -> Iterator[BaseException]:
    """`error` and what it came from, outermost first."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__
