"""The paths of printer columns: names, indexes and one filter, as `.status.conditions[?(@.type=="Ready")].status`."""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

Path = Callable[[Any], list[Any]]

_STEP = re.compile(
    r"""\.(?P<name>(?:[^.\[\\]|\\.)+)                                   # .name, dots in it as \.
    |\[(?P<index>\d+|\*)\]                                              # [0] [*]
    |\['(?P<quoted>[^']+)'\]                                            # ['name']
    |\[\?\(@\.(?P<field>[\w.]+)\s*==\s*["'](?P<value>[^"']*)["']\)\]    # [?(@.type=="Ready")]
    """,
    re.VERBOSE,
)


@cache
def compiled(path: str) -> Path:
    """A function from an object to everything at `path`. Raises ValueError for a path of another form."""
    steps, end = [], 0
    for match in _STEP.finditer(path):
        if match.start() != end:
            break
        steps.append(match)
        end = match.end()
    if end != len(path):
        raise ValueError(f"{path} is no path of a printer column")

    def find(value: Any) -> list[Any]:
        found = [value]
        for step in steps:
            found = [inner for one in found for inner in _inner(one, step)]
        return found

    return find


def _inner(value: Any, step: re.Match[str]) -> list[Any]:
    name = step["name"] or step["quoted"]
    if name is not None:
        name = name.replace("\\", "")
        return [value[name]] if isinstance(value, dict) and value.get(name) is not None else []
    if not isinstance(value, list):
        return []
    if step["field"] is not None:
        return [one for one in value if isinstance(one, dict) and str(one.get(step["field"])) == step["value"]]
    if step["index"] == "*":
        return value
    return value[int(step["index"]) :][:1]
