"""Who has which name among the Models that are followed. The gateway goes by the same rule."""

import threading
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from fairlead_operator.kinds import Key
from fairlead_operator.render import Manifest
from fairlead_serve.errors import ModelFileError
from fairlead_serve.model import parse_stored
from fairlead_serve.names import Claim, Loss, losses


class Names:
    """The names that Models want, kept up with them. May be shared between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._claims: dict[Key, Claim] = {}
        # As which the Models were read: only then can they want other names.
        self._read: dict[Key, tuple[str, int]] = {}
        self._wanted: Counter[str] = Counter()
        # Replaced as a whole, so that it can be read without the lock.
        self._losses: Mapping[Key, Sequence[Loss]] = {}

    def losses(self, key: Key) -> Sequence[Loss]:
        """The names that a Model wants and older ones have."""
        return self._losses.get(key, ())

    def follow(self, key: Key, model: Manifest | None) -> Collection[Key]:
        """Take in a Model as it is now, or that it is gone (None). Returns those that lose other names by that."""
        generation = None if model is None else _generation(model)
        with self._lock:
            if generation is not None and generation == self._read.get(key):
                return ()
            before = self._claims.get(key)
            claim = None if model is None else _claim(key, model, before)
            self._read.pop(key, None)
            if generation is not None:
                self._read[key] = generation
            if claim == before:
                return ()
            was_contested = self._is_contested(before)
            self._replace(key, before, claim)
            return self._settle() if was_contested or self._is_contested(claim) else ()

    def _is_contested(self, claim: Claim | None) -> bool:
        return claim is not None and any(self._wanted[name] > 1 for name in claim.names)

    def _replace(self, key: Key, before: Claim | None, claim: Claim | None) -> None:
        if before is not None:
            del self._claims[key]
            self._wanted.subtract(before.names)
            for name in before.names:
                if not self._wanted[name]:
                    del self._wanted[name]
        if claim is not None:
            self._claims[key] = claim
            self._wanted.update(claim.names)

    def _settle(self) -> Collection[Key]:
        by_name = {str(key): key for key in self._claims}
        before, found = self._losses, dict[Key, list[Loss]]()
        for loss in losses(self._claims.values()):
            found.setdefault(by_name[loss.key], []).append(loss)
        self._losses = found
        return [key for key in self._claims if found.get(key) != before.get(key)]


def _generation(model: Manifest) -> tuple[str, int] | None:
    metadata = model["metadata"]
    return (metadata.get("uid", ""), metadata["generation"]) if "generation" in metadata else None


def _claim(key: Key, model: Manifest, before: Claim | None) -> Claim | None:
    """As the gateway does: what this release cannot read wants the names that it had, and none when it is new."""
    try:
        read = parse_stored(model, source=str(key), on_unknown=_ignored)
    except ModelFileError:
        return before
    created = datetime.fromisoformat(model["metadata"]["creationTimestamp"])
    return Claim(str(key), int(created.timestamp()), read.served_names, read.adapter_names)


def _ignored(_place: str) -> None:
    """A field of a later release: the reconcile tells of it."""
