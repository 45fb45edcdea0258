"""What is: the part of a Model that the operator writes."""

from typing import Literal

from pydantic import Field

from fairlead_serve import shapes
from fairlead_serve.model.fields import MAP_BY_NAME, MAP_BY_TYPE, Count, ServedName, Several
from fairlead_serve.model.part import Part


class Download(Part):
    """How far the weights are."""

    bytes_done: Count = Field(default=0, description="Bytes fetched so far.")
    bytes_total: Count = Field(default=0, description="Bytes to fetch in all; 0 while unknown.")
    bytes_per_second: Count = Field(default=0, description="Bytes fetched per second of late.")


class LastFailure(Part):
    """The latest failure of an engine; kept after it recovers."""

    reason: str = Field(max_length=128, description="A constant, such as ContainerOOMKilled.")
    message: str = Field(default="", max_length=4096, description=("What happened, with the engine's last words."))
    pod: str = Field(default="", max_length=253, description="The pod it happened in.")
    exit_code: int | None = Field(
        default=None, ge=-255, le=255, description="Exit status of the container, where it exited."
    )
    time: str = Field(default="", max_length=40, description="When, in UTC, as 2025-01-31T12:00:00Z.")


class AdapterStatus(Part):
    """One adapter on the engines."""

    name: ServedName = Field(description="Name of the adapter.")
    state: Literal["Pending", "Loading", "Loaded", "Failed"] = Field(description="Where it stands.")
    message: str = Field(default="", max_length=1024, description="Why it failed, where it did.")


class Condition(Part):
    """One aspect of the Model, as Kubernetes conditions are."""

    type: Literal["Ready", "SpecValid", "ModelCached", "WorkloadReady", "Progressing", "ScalingReady", "Suspended"] = (
        Field(description="Which aspect; Ready sums the others up.")
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(
        max_length=128, pattern=shapes.CONSTANT.pattern, description="A constant that programs may compare."
    )
    message: str = Field(default="", max_length=4096, description="The same for people, and what to do.")
    last_transition_time: str = Field(
        max_length=40,
        description="When the status last changed, in UTC, as 2025-01-31T12:00:00Z.",
        json_schema_extra={"format": "date-time"},
    )
    observed_generation: Count = Field(default=0, description=("Generation of the Model that this was said about."))


class ModelStatus(Part):
    """What is; written by the operator."""

    observed_generation: Count = Field(default=0, description=("Generation of the Model that this status is about."))
    phase: Literal[
        "Pending", "Caching", "Starting", "Serving", "Updating", "Degraded", "Idle", "Suspended", "Failed"
    ] = Field(default="Pending", description="A summary for people; programs read the conditions.")
    replicas: Count = Field(default=0, description="Engines there are.")
    ready_replicas: Count = Field(default=0, description="Engines that answer.")
    desired_replicas: Count = Field(default=0, description="Engines there should be now.")
    selector: str = Field(default="", max_length=512, description="Label selector of the engines' pods.")
    url: str = Field(default="", max_length=1024, description="Where clients reach the model: the gateway.")
    endpoint: str = Field(
        default="",
        max_length=1024,
        description="Where the gateway reaches the engines; empty without engines.",
    )
    current_revision: str = Field(default="", max_length=64, description=("Hash of the pod template that serves now."))
    updated_revision: str = Field(
        default="",
        max_length=64,
        description="Hash of the pod template being rolled out, or the current one.",
    )
    download: Download | None = Field(default=None, description="How far the weights are, while fetching.")
    last_failure: LastFailure | None = Field(default=None, description="The latest failure of an engine.")
    adapters: Several[AdapterStatus] = Field(
        default=(),
        max_length=256,
        description="The LoRA adapters on the engines.",
        json_schema_extra=MAP_BY_NAME,
    )
    conditions: Several[Condition] = Field(
        default=(),
        max_length=16,
        description="One per type, each with reason and message.",
        json_schema_extra=MAP_BY_TYPE,
    )
