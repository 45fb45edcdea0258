"""What gateway and engines have agreed between themselves. Constants only."""

TOKEN_HEADER = "x-fairlead-internal-token"  # noqa: S105 - the header's name, not a token
"""Carries the internal token on every request of the gateway to an engine."""

TOKEN_VARIABLE = "FAIRLEAD_INTERNAL_TOKEN"  # noqa: S105 - the variable's name
"""The environment variable in which a process is given the internal token."""

DEAD_HEADER = "x-fairlead-engine-dead"
"""Marks an answer of a replica whose engine core has died: the request was not worked on."""

TASKS_PATH = "/fairlead/tasks"
"""Where an engine lists what its model can do (vLLM's task names), as a JSON array."""


def engine_path(name: str) -> str:
    """The path below which the engines of the Model `name` answer, on the port of Ray Serve."""
    return f"/engines/{name}"
