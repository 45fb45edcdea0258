"""Reading objects of the Kubernetes API: the server leaves out what is empty, or writes null for it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fairlead_operator.render import Manifest

Fields = Mapping[str, Any]


def part(manifest: Fields, *path: str) -> Fields:
    """The mapping at `path`; empty where there is none."""
    for name in path:
        manifest = manifest.get(name) or {}
    return manifest


def items(manifest: Fields, *path: str) -> list[Any]:
    """The list at `path`; empty where there is none."""
    return part(manifest, *path[:-1]).get(path[-1]) or []


def text(manifest: Fields, *path: str) -> str:
    """The text at `path`; empty where there is none."""
    return part(manifest, *path[:-1]).get(path[-1]) or ""


def name_of(manifest: Fields) -> str:
    """The name of an object."""
    return text(manifest, "metadata", "name")


def condition(manifest: Fields, name: str) -> Manifest:
    """The condition of type `name` in the status of an object; empty where there is none."""
    return next((one for one in items(manifest, "status", "conditions") if one.get("type") == name), {})


def moment(time: str | None) -> datetime | None:
    """A time of the API, such as `2025-01-31T12:00:00Z`, as an aware one; None where there is none."""
    return datetime.fromisoformat(time) if time else None
