"""How many tokens an answer took, read from its bytes as they pass."""

from collections.abc import Iterable

import msgspec

from fairlead_serve.gateway import sse

# In every dialect the counts are keys with this end. Inside a JSON string the quote would be escaped.
_MARK = b'_tokens"'
# Of a prompt whose answer never told: about what English takes.
_BYTES_PER_TOKEN = 4


class _Counts(msgspec.Struct):
    total_tokens: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Carrier(msgspec.Struct):
    usage: _Counts | None = None


class _Payload(msgspec.Struct):
    """Where the dialects have their usage: at the top, in Responses' `response`, in Anthropic's `message`."""

    usage: _Counts | None = None
    response: _Carrier | None = None
    message: _Carrier | None = None
    choices: list[msgspec.Raw] | None = None

    def counts(self) -> Iterable[_Counts]:
        carriers = (self, self.response, self.message)
        return [one.usage for one in carriers if one is not None and one.usage is not None]


_decoder = msgspec.json.Decoder(_Payload)


class UsageMeter:
    """Counts the tokens of one answer. `asked`: the gateway asked for the usage and the client did not."""

    def __init__(self, *, asked: bool = False) -> None:
        self._asked = asked
        self._input = 0
        self._output = 0
        self._total = 0
        self._events = 0

    @property
    def begun(self) -> bool:
        """Whether anything of a stream has passed."""
        return self._events > 0

    def whole(self, body: bytes) -> None:
        """Read an answer that is not a stream."""
        self._read(body)

    def stream(self, events: bytes) -> bytes:
        """Read whole events of a stream; gives back what the client is to see of them."""
        self._events += events.count(sse.END)
        if _MARK not in events:
            return events
        dropped = [one for one, data in sse.each(events) if self._is_ours_alone(data)]
        for one in dropped:
            events = events.replace(one, b"")
        return events

    def tokens(self, *, prompt_bytes: int, whole: bool) -> int:
        """What to charge. An answer that was cut before it told (`whole` is False) is charged by what passed of it."""
        told = max(self._total, self._input + self._output)
        if told or whole:
            return told
        return prompt_bytes // _BYTES_PER_TOKEN + self._events

    def _is_ours_alone(self, data: bytes) -> bool:
        payload = self._read(data)
        return self._asked and payload is not None and payload.usage is not None and payload.choices == []

    def _read(self, data: bytes) -> _Payload | None:
        try:
            payload = _decoder.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        for counts in payload.counts():
            # Streams tell more than once, and each time of the whole answer so far.
            self._total = max(self._total, counts.total_tokens or 0)
            self._input = max(self._input, counts.input_tokens or counts.prompt_tokens or 0)
            self._output = max(self._output, counts.output_tokens or counts.completion_tokens or 0)
        return payload
