"""Whether an object in the cluster still is what was applied. Pure.

The API server adds defaults, and others may add fields and entries of their own: neither is a difference, since
server-side apply leaves both alone. What was applied and reads otherwise now is one, and so is one more condition in
what selects pods or nodes, or in what a NetworkPolicy lets in: that is another selection.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fairlead_operator.quantities import number

# By what Kubernetes tells the entries of a list apart, where server-side apply merges it. All other lists belong to
# whoever applied them, as a whole.
_KEYS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "ownerReferences": ("uid",),
}
_PORT = ("name", "port", "containerPort", "protocol")
_QUANTITIES = frozenset({"limits", "requests"})
# Atomic to server-side apply.
_WHOLE = frozenset({"selector", "podSelector", "namespaceSelector", "matchLabels", "nodeSelector", "ingress"})


def differences(applied: Any, found: Any, path: str = "") -> Iterator[str]:
    """The places, as `spec.replicas`, at which `found` does not say what `applied` says."""
    if isinstance(applied, dict) and isinstance(found, dict):
        yield from _in_mapping(applied, found, path)
    elif isinstance(applied, list) and isinstance(found, list):
        yield from _in_list(applied, found, path)
    elif not _is_same(applied, found):
        yield path


def _in_mapping(applied: Mapping[str, Any], found: Mapping[str, Any], path: str) -> Iterator[str]:
    last = path.rpartition(".")[2].partition("[")[0]
    quantities = last in _QUANTITIES
    if last == "from" and _given(applied) != _given(found):
        # In a peer an empty selector is one of everything, and so another than none.
        yield path
        return
    if found.get("endPort") is not None and applied.get("endPort") is None:
        yield f"{path}.endPort"
    if last in _WHOLE:
        yield from (f"{path}.{name}" for name in found if name not in applied and not _is_empty(found[name]))
    for name, value in applied.items():
        other = found.get(name)
        if not isinstance(value, (dict, list)) and _is_same(value, other):
            # Most of an object: not worth a generator each.
            continue
        if (quantities or name == "sizeLimit") and _same_amount(value, other):
            continue
        yield from differences(value, other, f"{path}.{name}" if path else name)


def _in_list(applied: Sequence[Any], found: Sequence[Any], path: str) -> Iterator[str]:
    keys = _KEYS.get(path.rpartition(".")[2], ()) or (_PORT if _is_port_list(path) else ())
    if keys and all(isinstance(item, dict) and not item.keys().isdisjoint(keys) for item in (*applied, *found)):
        for item in applied:
            # A key that was not given was not applied: the server knows its default.
            given = [key for key in keys if key in item]
            same = [other for other in found if all(other.get(key) == item[key] for key in given)]
            place = f"{path}[{item.get(keys[0], '')}]"
            if same:
                yield from differences(item, same[0], place)
            else:
                yield place
    elif len(applied) != len(found):
        yield path
    else:
        for index, (item, other) in enumerate(zip(applied, found, strict=True)):
            yield from differences(item, other, f"{path}[{index}]")


def _given(mapping: Mapping[str, Any]) -> set[str]:
    return {name for name, value in mapping.items() if value is not None}


def _is_port_list(path: str) -> bool:
    """Whether `path` is the ports of a container or of a Service; those of a NetworkPolicy belong together."""
    return path == "spec.ports" or (path.endswith(".ports") and "ontainers[" in path)


def _is_same(one: Any, other: Any) -> bool:
    """Whether two values of which not both are objects or lists are one."""
    if one == other:
        return isinstance(one, bool) == isinstance(other, bool)
    return _is_empty(one) and _is_empty(other)


def _is_empty(value: Any) -> bool:
    """What the API server does not store, or stores as nothing: an empty list is as good as none."""
    return value is None or (isinstance(value, (dict, list, str)) and not value)


def _same_amount(one: object, other: object) -> bool:
    """`1000m` is `1`, and the API server writes it so."""
    try:
        return number(str(one)) == number(str(other))
    except ValueError:
        return False
