"""How engines are replaced, and how many a drain of nodes leaves."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from fairlead_serve.errors import Problem
from fairlead_serve.model.part import Part


class RolloutStrategy(Part):
    """How engines are replaced when the Model changes."""

    max_surge: int = Field(
        default=0,
        ge=0,
        le=1000,
        description=("Engines started above the wanted number during an update; 0 because spare GPUs are rare."),
    )
    max_unavailable: int = Field(
        default=1, ge=0, le=1000, description="Engines that may be missing during an update; 1 at a time."
    )
    progress_deadline_seconds: int = Field(
        default=1800,
        ge=60,
        le=604_800,
        description=("Seconds without progress after which an update has failed; must exceed the load of the weights."),
    )
    on_failure: Literal["Rollback", "Hold"] = Field(
        default="Rollback",
        description=(
            "What a failed update does: return to the last good revision, or stay as it is for "
            "inspection. The old engines keep serving in both."
        ),
    )

    def broken_rules(self) -> Iterator[Problem]:
        if self.max_surge == 0 and self.max_unavailable == 0:
            yield Problem(
                "",
                "maxSurge and maxUnavailable are both 0, so no engine could be replaced; set one to 1",
            )


class Disruption(Part):
    """What a drain of nodes must leave running."""

    min_available: int = Field(
        default=1,
        ge=0,
        le=1000,
        description=(
            "Engines that voluntary disruptions must leave; no effect on a model with one engine,"
            " whose node could never be drained."
        ),
    )
