"""What a Model refers to in its namespace: Secrets, and other Models. Pure."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from fairlead_serve.model import EngineSpec, Model


@dataclass(frozen=True)
class SecretReference:
    """A Secret that must be there, with `key` in it; `path` is the place in the Model."""

    path: str
    name: str
    key: str = ""

    def lacking(self, keys: Collection[str] | None) -> str:
        """What is amiss where the Secret has `keys`, or is not there (None); empty where nothing is."""
        if keys is None:
            what = f"the Secret {self.name}" + (f" with the key {self.key}" if self.key else "")
            return f"{self.path}: {what} is not in this namespace; create it"
        if self.key and self.key not in keys:
            return f"{self.path}: the Secret {self.name} has no key {self.key}; add it, or name another"
        return ""


def secrets_of(model: Model) -> Iterator[SecretReference]:
    """Every Secret without which the engines, or the upstream, could not be reached or started."""
    source, upstream = model.spec.model.access_secret_ref, model.spec.upstream
    if source is not None:
        yield SecretReference("spec.model.accessSecretRef", source.name, source.key)
    if upstream is not None and upstream.api_key_secret_ref is not None:
        key = upstream.api_key_secret_ref
        yield SecretReference("spec.upstream.apiKeySecretRef", key.name, key.key)
    if upstream is None:
        yield from _of_engine(model.engine)


def _of_engine(engine: EngineSpec) -> Iterator[SecretReference]:
    for index, variable in enumerate(engine.env):
        secret = variable.value_from.secret_key_ref if variable.value_from else None
        if secret is not None and not secret.optional:
            yield SecretReference(f"spec.engine.env[{index}].valueFrom.secretKeyRef", secret.name, secret.key)
    for index, source in enumerate(engine.env_from):
        if source.secret_ref is not None and not source.secret_ref.optional:
            yield SecretReference(f"spec.engine.envFrom[{index}].secretRef", source.secret_ref.name)
