"""What the gateway does with a model's requests."""

from typing import Literal

from pydantic import Field

from fairlead_serve.model.part import Part


class Routing(Part):
    """Which engine gets a request."""

    strategy: Literal["LeastLoad", "PrefixHash"] = Field(
        default="PrefixHash",
        description=(
            "PrefixHash sends equal beginnings to the same engine, so that its prefix cache is "
            "used, within bounds on load; LeastLoad looks at the load only."
        ),
    )


class Limits(Part):
    """How much the gateway lets through to this model."""

    max_ongoing: int = Field(
        default=256,
        ge=1,
        le=100_000,
        description="Requests of this model under way at once, as one gateway counts them; 256 is a full batch.",
    )
    max_queued: int = Field(
        default=256,
        ge=0,
        le=100_000,
        description=("Requests that may wait for a place; more get 429 with retry-after. 256 is one batch more."),
    )
    request_timeout_seconds: int = Field(
        default=600,
        ge=1,
        le=86_400,
        description=("Seconds a request may take in all before it ends with 504; longer than clients usually wait."),
    )
