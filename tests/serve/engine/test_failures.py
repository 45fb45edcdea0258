"""Why an engine did not start, in words."""

from pathlib import Path

import pytest

from fairlead_serve.engine.failures import explain, explain_log
from fairlead_serve.model import load
from tests.processes import model_file


def raised(*messages: str) -> BaseException:
    """An exception with the last of `messages`, caused by those before it."""
    error: BaseException | None = None
    for message in messages:
        cause, error = error, RuntimeError(message)
        error.__cause__ = cause
    assert error is not None
    return error


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "gpuMemoryUtilization"),
        ("No available memory for the cache blocks. Try increasing gpu_memory_utilization", "maxModelLen"),
        ("To serve at least one request, 4.0 GiB KV cache is needed, larger than the available", "maxModelLen"),
        ("User-specified max_model_len (99999) is greater than the derived max_model_len", "maxModelLen"),
        ("Transformers does not recognize this architecture", "architecture"),
        ("Unknown quantization method: awqq", "quantization"),
        ("No CUDA GPUs are available", "GPU"),
        ("LoRA rank 64 is greater than max_lora_rank 8.", "spec.lora.maxRank"),
    ],
)
def test_a_known_cause_names_the_field_to_change_and_keeps_vllms_words(tmp_path: Path, words: str, field: str) -> None:
    (model,) = load(model_file(tmp_path, "one"))
    sentence = explain(model, raised(words))
    assert sentence.startswith("the engine of one did not start: ")
    assert field in sentence
    assert words.splitlines()[0][:40] in sentence


def test_the_root_cause_is_said_rather_than_the_wrapper_around_it(tmp_path: Path) -> None:
    (model,) = load(model_file(tmp_path, "one"))
    sentence = explain(model, raised("the disk is on fire", "Engine core initialization failed. See root cause above."))
    assert sentence == "the engine of one did not start: the disk is on fire"


def test_words_that_went_from_process_to_process_are_told_without_their_wrapping(tmp_path: Path) -> None:
    (model,) = load(model_file(tmp_path, "one"))
    words = "Call to add_lora method failed: Worker failed with error 'no such layer', please check the stack trace"
    assert explain(model, raised(words)) == "the engine of one did not start: no such layer"


def test_an_unknown_cause_is_given_in_vllms_words(tmp_path: Path) -> None:
    (model,) = load(model_file(tmp_path, "one"))
    assert explain(model, raised("something new")) == "the engine of one did not start: something new"


def test_the_root_cause_is_found_in_the_log_of_the_engine_core() -> None:
    lines = [
        "(EngineCore pid=7) INFO loading",
        "(EngineCore pid=7) ERROR [core.py:1] ValueError: No available memory for the cache blocks.",
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
    ]
    sentence = explain_log("one", lines)
    assert sentence is not None
    assert "spec.engine.maxModelLen" in sentence


def test_a_log_without_an_error_says_nothing() -> None:
    assert explain_log("one", ["INFO all is well"]) is None
