"""What the cluster's Events (core/v1) say of pods. Pure."""

from collections.abc import Sequence
from datetime import datetime

from fairlead_operator.fields import moment, part, text
from fairlead_operator.render import Manifest


def about(pod: Manifest, events: Sequence[Manifest]) -> list[Manifest]:
    """Those of `events` that are about `pod`, the newest first."""
    found = [event for event in events if _is_about(event, pod)]
    return sorted(found, key=lambda event: last_seen(event) or "", reverse=True)


def _is_about(event: Manifest, pod: Manifest) -> bool:
    regarding, metadata = part(event, "involvedObject"), part(pod, "metadata")
    # A name may be used again.
    same = "uid" if regarding.get("uid") and metadata.get("uid") else "name"
    return regarding.get("kind") == "Pod" and regarding.get(same) == metadata.get(same)


def first_seen(event: Manifest) -> str | None:
    """When it happened first (RFC 3339)."""
    created = text(event, "metadata", "creationTimestamp")
    return text(event, "firstTimestamp") or text(event, "eventTime") or created or None


def last_seen(event: Manifest) -> str | None:
    """When it happened last (RFC 3339). Events of the newer form count in a series."""
    return text(event, "series", "lastObservedTime") or text(event, "lastTimestamp") or first_seen(event)


def span(event: Manifest) -> tuple[datetime, datetime] | None:
    """When it happened first and last; None for one without times."""
    first, last = moment(first_seen(event)), moment(last_seen(event))
    return (first, last) if first and last else None
