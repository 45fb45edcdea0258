"""Which Model of a cluster has which name: many people make Models, and the gateway goes on where they contradict."""

from collections.abc import Iterable, Set
from dataclasses import dataclass, replace

from fairlead_serve.gateway.served import Listing
from fairlead_serve.names import Claim, losses
from fairlead_serve.settings import ServedModel


@dataclass(frozen=True)
class LeftOut:
    """Something that a Model wants and does not get. `reason` is a constant that programs may compare."""

    key: str
    reason: str
    message: str


def settle(listings: Iterable[Listing]) -> tuple[list[Listing], list[LeftOut]]:
    """The Models that are served, each with the names that it has, oldest first; and what is left out.

    Who came first keeps a name. A Model that has none of its own is left out as a whole.
    """
    ordered = sorted(listings, key=lambda listing: (listing.served.created, listing.key))
    lost: dict[str, set[str]] = {}
    left_out: list[LeftOut] = []
    for loss in losses(map(_claim, ordered)):
        lost.setdefault(loss.key, set()).add(loss.name)
        left_out.append(LeftOut(loss.key, "NameTaken", loss.message))
    kept = (_without(listing, lost.get(listing.key, set())) for listing in ordered)
    served = [listing for listing in kept if listing is not None]
    there = {listing.key for listing in served}
    for listing in served:
        left_out += [
            LeftOut(listing.key, "UnknownFallback", f"there is no Model {key} to fall back to; it is passed over")
            for key in listing.fallbacks
            if key not in there
        ]
    return served, left_out


def _claim(listing: Listing) -> Claim:
    served = listing.served
    return Claim(listing.key, served.created, _own(served), tuple(adapter.name for adapter in served.adapters))


def _own(served: ServedModel) -> tuple[str, ...]:
    return (served.name, *served.aliases)


def _without(listing: Listing, lost: Set[str]) -> Listing | None:
    """`listing` with what it gets of its names; None: it gets none of its own."""
    if not lost:
        return listing
    served = listing.served
    kept = [name for name in _own(served) if name not in lost]
    if not kept:
        return None
    adapters = tuple(adapter for adapter in served.adapters if adapter.name not in lost)
    update = {"name": kept[0], "aliases": tuple(kept[1:]), "adapters": adapters}
    return replace(listing, served=served.model_copy(update=update))
