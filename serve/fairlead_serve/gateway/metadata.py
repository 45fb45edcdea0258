"""The key-value pairs that clients attach to conversations and responses, within OpenAI's bounds."""

from typing import Any

from fairlead_serve.errors import ApiError

_MAX_PAIRS = 16
_MAX_KEY = 64
_MAX_VALUE = 512


def parse_metadata(value: Any) -> dict[str, str]:
    """Raises ApiError 400 for anything but at most 16 texts under short names."""
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > _MAX_PAIRS:
        raise _wrong(f"expected an object with at most {_MAX_PAIRS} keys")
    for key, text in value.items():
        if not isinstance(key, str) or len(key) > _MAX_KEY:
            raise _wrong(f"keys are at most {_MAX_KEY} characters long")
        if not isinstance(text, str) or len(text) > _MAX_VALUE:
            raise _wrong(f"values are strings of at most {_MAX_VALUE} characters")
    return value


def _wrong(expectation: str) -> ApiError:
    return ApiError(400, f"the field 'metadata' is wrong: {expectation}", param="metadata")
