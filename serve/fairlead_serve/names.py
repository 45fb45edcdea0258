"""Which Model has a name that several want: what the gateway goes by and the operator says. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """The names that one Model wants.

    `key` is `namespace/name`, `created` in seconds since the epoch. `own`: what the Model itself is called, one at
    least; `adapters`: what its adapters are.
    """

    key: str
    created: int
    own: tuple[str, ...]
    adapters: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.own, *self.adapters)

    def place(self, name: str) -> str:
        """The field of the Model that wants `name`."""
        if name == self.own[0]:
            return "spec.model.name"
        return "spec.model.aliases" if name in self.own else "spec.lora.adapters"


@dataclass(frozen=True)
class Loss:
    """A name that the Model `key` wants, in its field `place`, and `owner` has, which is older."""

    key: str
    name: str
    owner: str
    place: str = "spec.model.name"

    @property
    def message(self) -> str:
        """What to say to whoever made the Model."""
        return f"the name {self.name} belongs to the older Model {self.owner}; give this one another ({self.place})"


def losses(claims: Iterable[Claim]) -> list[Loss]:
    """The names that Models do not get, those of the oldest first.

    Who came first keeps a name; of those made in one second, the first by key. A Model that gets none of its own takes
    none for its adapters.
    """
    owners: dict[str, str] = {}
    lost: list[Loss] = []
    for claim in sorted(claims, key=lambda claim: (claim.created, claim.key)):
        taken = [name for name in claim.names if name in owners]
        lost += [Loss(claim.key, name, owners[name], claim.place(name)) for name in taken]
        if not set(claim.own) <= set(taken):
            owners.update((name, claim.key) for name in claim.names if name not in taken)
    return lost
