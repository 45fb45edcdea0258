"""How many engines there are."""

from collections.abc import Iterator

from pydantic import Field

from fairlead_serve.errors import Problem
from fairlead_serve.model.fields import Seconds
from fairlead_serve.model.part import Part


class ColdStart(Part):
    """What happens to requests for a model that has no engine yet."""

    max_queued: int = Field(
        default=100,
        ge=0,
        le=100_000,
        description=("Requests that may wait for the first engine; more get 503. 100 keeps the memory bounded."),
    )
    timeout_seconds: int = Field(
        default=600,
        ge=1,
        le=86_400,
        description=(
            "Seconds a request waits for the first engine before it gets 503; 600 covers the load"
            " of most weights from a cache."
        ),
    )


class Scaling(Part):
    """How the number of engines follows the load."""

    min_replicas: int = Field(
        default=1, ge=0, le=1000, description="Fewest engines; 0 lets an idle model give its devices back."
    )
    max_replicas: int = Field(
        ge=1, le=1000, description="Most engines. No default: it is the most that the model may cost."
    )
    target_ongoing_requests: int = Field(
        default=16,
        ge=1,
        le=100_000,
        description=(
            "Requests in progress per engine to aim at; more add engines. 16 keeps answers brisk "
            "while batches stay full."
        ),
    )
    scale_up_delay_seconds: Seconds = Field(
        default=5,
        description="Seconds the load must stay high before engines are added; 5 skips single bursts.",
    )
    scale_down_delay_seconds: Seconds = Field(
        default=300,
        description="Seconds the load must stay low before engines are removed; 300 because loading is slow.",
    )
    scale_to_zero_delay_seconds: Seconds = Field(
        default=1800,
        description=(
            "Seconds without a request before the last engine goes, with minReplicas 0; half an "
            "hour, since the next request waits for a load."
        ),
    )
    cold_start: ColdStart = Field(
        default_factory=ColdStart, description="What happens to requests while there is no engine."
    )

    def broken_rules(self) -> Iterator[Problem]:
        if self.min_replicas > self.max_replicas:
            yield Problem("minReplicas", f"is above maxReplicas ({self.max_replicas}); lower it")
