"""Which Model of a cluster has which name: many people make Models, and the gateway goes on where they contradict."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from fairlead_serve.gateway.served import Listing
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
    owners: dict[str, str] = {}
    served: list[Listing] = []
    left_out: list[LeftOut] = []
    for listing in ordered:
        kept, lost = _claim(listing, owners)
        left_out += [LeftOut(listing.key, "NameTaken", _sentence(name, owners)) for name in lost]
        if kept is not None:
            served.append(kept)
    there = {listing.key for listing in served}
    for listing in served:
        left_out += [
            LeftOut(listing.key, "UnknownFallback", f"there is no Model {key} to fall back to; it is passed over")
            for key in listing.fallbacks
            if key not in there
        ]
    return served, left_out


def _claim(listing: Listing, owners: dict[str, str]) -> tuple[Listing | None, Sequence[str]]:
    """`listing` with what it gets of its names, and the names that it does not get; None: it gets none of its own."""
    served = listing.served
    own = (served.name, *served.aliases)
    wanted = (*own, *(adapter.name for adapter in served.adapters))
    lost = [name for name in wanted if name in owners]
    if not lost:
        owners.update(dict.fromkeys(wanted, listing.key))
        return listing, ()
    kept = [name for name in own if name not in lost]
    if not kept:
        return None, lost
    owners.update((name, listing.key) for name in wanted if name not in lost)
    return replace(listing, served=_without(served, kept, lost)), lost


def _without(served: ServedModel, kept: Sequence[str], lost: Sequence[str]) -> ServedModel:
    adapters = tuple(adapter for adapter in served.adapters if adapter.name not in lost)
    return served.model_copy(update={"name": kept[0], "aliases": tuple(kept[1:]), "adapters": adapters})


def _sentence(name: str, owners: Mapping[str, str]) -> str:
    return f"the name {name} belongs to the older Model {owners[name]}; give this one another (spec.model.name)"
