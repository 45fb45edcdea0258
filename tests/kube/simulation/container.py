"""What a container is given from the cluster: its environment and its volumes."""

import base64
import re
from collections.abc import Mapping
from typing import Any

from fairlead_operator.render import Manifest
from tests.kube.simulation.api import Api

_REFERENCE = re.compile(r"\$\((?P<name>[A-Za-z_][\w.-]*)\)")


class MissingError(Exception):
    """Something that a pod refers to is not there; the text is the kubelet's."""


def environment(api: Api, pod: Manifest, container: Mapping[str, Any]) -> dict[str, str]:
    """The variables of `container`. Raises MissingError."""
    found: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        for kind, plural in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
            if kind in source:
                values = _values(api, pod, plural, source[kind])
                found |= {source.get("prefix", "") + name: value for name, value in values.items()}
    for variable in container.get("env") or ():
        value = _value(api, pod, variable)
        if value is not None:
            found[variable["name"]] = _REFERENCE.sub(lambda match: found.get(match["name"], match[0]), value)
    return found


def expanded(words: list[str], variables: Mapping[str, str]) -> list[str]:
    """`words` of a command with their `$(NAME)` replaced."""
    return [_REFERENCE.sub(lambda match: variables.get(match["name"], match[0]), word) for word in words]


def files(api: Api, pod: Manifest, volume: Mapping[str, Any]) -> dict[str, str]:
    """The files of a volume that is a config map or a secret. Raises MissingError."""
    for kind, plural, name in (("configMap", "configmaps", "name"), ("secret", "secrets", "secretName")):
        if kind in volume:
            source = volume[kind]
            values = _values(api, pod, plural, {**source, "name": source[name]})
            return _chosen(values, source, "config" if kind == "configMap" else "secret")
    return {}


def mounted(api: Api, pod: Manifest, container: Mapping[str, Any], path: str) -> str:
    """The text of the file that a config map or a secret puts at `path`; empty where none does."""
    folder, _, name = path.rpartition("/")
    there = {mount["name"] for mount in container.get("volumeMounts") or () if mount["mountPath"] == folder}
    volumes = (volume for volume in pod["spec"].get("volumes") or () if volume["name"] in there)
    return next((files(api, pod, volume).get(name, "") for volume in volumes), "")


def missing_volume(api: Api, pod: Manifest) -> str:
    """Why a volume of the pod cannot be mounted, as the kubelet says it in an Event; empty when all can."""
    for volume in pod["spec"].get("volumes") or ():
        try:
            files(api, pod, volume)
        except MissingError as error:
            return f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}'
    return ""


def claims_of(pod: Manifest) -> list[str]:
    """The names of the claims that the pod mounts."""
    volumes = pod["spec"].get("volumes") or ()
    return [volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume]


def _value(api: Api, pod: Manifest, variable: Mapping[str, Any]) -> str | None:
    source = variable.get("valueFrom") or {}
    for kind, plural in (("configMapKeyRef", "configmaps"), ("secretKeyRef", "secrets")):
        if kind in source:
            return _value_of_key(api, pod, plural, source[kind])
    if "fieldRef" in source:
        return _field(pod, source["fieldRef"]["fieldPath"])
    return str(variable.get("value", ""))


def _value_of_key(api: Api, pod: Manifest, plural: str, reference: Mapping[str, Any]) -> str | None:
    values = _values(api, pod, plural, reference)
    if reference["key"] in values:
        return values[reference["key"]]
    if reference.get("optional"):
        return None
    kind = "ConfigMap" if plural == "configmaps" else "Secret"
    raise MissingError(
        f"couldn't find key {reference['key']} in {kind} {pod['metadata']['namespace']}/{reference['name']}"
    )


def _values(api: Api, pod: Manifest, plural: str, reference: Mapping[str, Any]) -> dict[str, str]:
    found = api.get(plural, (pod["metadata"]["namespace"], reference["name"]))
    if found is None:
        if reference.get("optional"):
            return {}
        raise MissingError(f'{plural.removesuffix("s")} "{reference["name"]}" not found')
    data = found.get("data") or {}
    if plural == "configmaps":
        return dict(data)
    return {name: base64.b64decode(value).decode() for name, value in data.items()}


def _chosen(values: Mapping[str, str], source: Mapping[str, Any], word: str) -> dict[str, str]:
    if "items" not in source:
        return dict(values)
    lost = [item["key"] for item in source["items"] if item["key"] not in values]
    if lost and not source.get("optional"):
        raise MissingError(f"references non-existent {word} key: {lost[0]}")
    return {item["path"]: values[item["key"]] for item in source["items"] if item["key"] in values}


def _field(pod: Manifest, path: str) -> str:
    """The value of a field that the downward API gives: `metadata.name`, `metadata.labels['x']`, `status.podIP`."""
    match = re.fullmatch(r"metadata\.(labels|annotations)\['(?P<name>[^']+)'\]", path)
    if match is not None:
        return str(pod["metadata"].get(match[1], {}).get(match["name"], ""))
    value: Any = pod
    for part in path.split("."):
        value = value.get(part, {})
    return str(value) if value else ""
