"""Which LoRA adapters an engine is to have, as told in the body of `PUT /adapters`, and in a file at its start."""

import logging
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fairlead_serve.model import Adapter

_log = logging.getLogger(__name__)

MAX_ADAPTERS = 256


class AdapterList(BaseModel):
    """`{"adapters": [{"name": "sql", "uri": "hf://org/lora"}]}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    adapters: tuple[Adapter, ...] = Field(max_length=MAX_ADAPTERS)


def parse_adapters(text: bytes) -> list[tuple[str, str]]:
    """Name and URI of each adapter. Raises ValueError with a sentence for a text that says no adapters."""
    try:
        wanted = AdapterList.model_validate_json(text).adapters
    except ValidationError as error:
        raise ValueError(f"this says no adapters: {_first(error)}") from None
    adapters = {adapter.name: adapter.uri for adapter in wanted}
    if len(adapters) < len(wanted):
        raise ValueError("two adapters have the same name; names must differ")
    return list(adapters.items())


def read_adapters(file: Path) -> list[tuple[str, str]]:
    """Those that `file` lists; none where it is not there or cannot be used, for an engine serves without them too."""
    try:
        return parse_adapters(file.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        _log.warning("the LoRA adapters of %s are left out: %s", file, error)
        return []


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, problem["loc"]))
    return f"{place}: {problem['msg']}" if place else problem["msg"]
