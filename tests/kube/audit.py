"""What was asked of the server, for tests that count it."""

from collections.abc import Iterator
from dataclasses import dataclass

_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True)
class Record:
    """One request; `resource` with its group: `deployments.apps`."""

    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str
    user: str
    agent: str

    @property
    def writes(self) -> bool:
        return self.verb in _WRITES


class Audit:
    """All requests about objects, in order. Read from any thread."""

    def __init__(self) -> None:
        self._records: list[Record] = []

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.since(0))

    def add(self, record: Record) -> None:
        self._records.append(record)

    def since(self, mark: int) -> list[Record]:
        """Everything after the first `mark` requests; `len(audit)` makes a mark."""
        return self._records[mark:]

    def writes(self, mark: int = 0) -> list[Record]:
        """The requests after `mark` that were to change something."""
        return [record for record in self.since(mark) if record.writes]

    def verbs(self, mark: int = 0) -> set[tuple[str, str]]:
        """Which verbs were used on which resources."""
        return {(record.verb, record.resource) for record in self.since(mark)}
