"""What can go wrong between the gateway and an upstream."""

from fairlead_serve.errors import FairleadError


class UpstreamError(FairleadError):
    """An upstream did not answer as HTTP servers do. `sent`: how often it may have seen the request."""

    def __init__(self, message: str, *, sent: int = 0) -> None:
        super().__init__(message)
        self.sent = sent


class UpstreamUnreachable(UpstreamError):  # noqa: N818 - named for what happened
    """No connection could be made."""


class UpstreamBroken(UpstreamError):  # noqa: N818
    """The connection ended, or spoke something else than HTTP, before the answer was whole.

    `answered` tells whether any byte of the answer had come.
    """

    def __init__(self, message: str, *, sent: int, answered: bool) -> None:
        super().__init__(message, sent=sent)
        self.answered = answered


class AnswerTooLarge(UpstreamError):  # noqa: N818
    """The answer is larger than the reader can hold."""
