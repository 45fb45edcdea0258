"""Environment variables of an engine, as in a pod."""

from collections.abc import Iterator

from pydantic import ConfigDict, Field

from fairlead_serve import shapes
from fairlead_serve.errors import Problem
from fairlead_serve.model.fields import ATOMIC, DataKey, ObjectName
from fairlead_serve.model.part import Part
from fairlead_serve.model.source import SecretKeyRef


class ConfigMapKeyRef(Part):
    """One key of a ConfigMap in the Model's namespace."""

    model_config = ConfigDict(json_schema_extra=ATOMIC)

    name: ObjectName = Field(description="Name of the ConfigMap, in the Model's own namespace.")
    key: DataKey = Field(description="Key within the ConfigMap whose value is used.")
    optional: bool = Field(default=False, description="Start even when the key is missing; by default not.")


class SecretKeySelector(SecretKeyRef):
    """One key of a Secret, for an environment variable."""

    optional: bool = Field(default=False, description="Start even when the key is missing; by default not.")


class FieldRef(Part):
    """One field of the pod itself."""

    model_config = ConfigDict(json_schema_extra=ATOMIC)

    field_path: str = Field(min_length=1, max_length=253, description=("Path within the pod, such as status.podIP."))


class EnvVarSource(Part):
    """Where a variable's value comes from; exactly one."""

    secret_key_ref: SecretKeySelector | None = Field(default=None, description="A key of a Secret.")
    config_map_key_ref: ConfigMapKeyRef | None = Field(default=None, description="A key of a ConfigMap.")
    field_ref: FieldRef | None = Field(default=None, description="A field of the engine's pod.")

    def broken_rules(self) -> Iterator[Problem]:
        given = [ref for ref in (self.secret_key_ref, self.config_map_key_ref, self.field_ref) if ref]
        if len(given) != 1:
            yield Problem("", "give exactly one of secretKeyRef, configMapKeyRef and fieldRef")


class EnvVar(Part):
    """An environment variable of the engine."""

    name: str = Field(pattern=shapes.ENV_NAME.pattern, max_length=253, description="Name of the variable.")
    value: str | None = Field(default=None, max_length=32_768, description=("The value itself; absent with valueFrom."))
    value_from: EnvVarSource | None = Field(
        default=None, description=("Where the value comes from; absent with value.")
    )

    def broken_rules(self) -> Iterator[Problem]:
        if self.value is not None and self.value_from is not None:
            yield Problem("", "value and valueFrom exclude each other; keep one")
        if self.name == "VLLM_API_KEY":
            yield Problem("name", "the gateway holds the keys; make one with `fairlead key create`")


class ObjectRef(Part):
    """A ConfigMap or Secret as a whole."""

    model_config = ConfigDict(json_schema_extra=ATOMIC)

    name: ObjectName = Field(description="Name of the object, in the Model's own namespace.")
    optional: bool = Field(default=False, description="Start even when it is missing; by default not.")


class EnvFromSource(Part):
    """All keys of one ConfigMap or Secret as environment variables."""

    prefix: str = Field(
        default="",
        max_length=253,
        pattern=shapes.WORD.pattern,
        description="Put before every name; empty by default.",
    )
    config_map_ref: ObjectRef | None = Field(default=None, description="The ConfigMap to take all keys of.")
    secret_ref: ObjectRef | None = Field(default=None, description="The Secret to take all keys of.")

    def broken_rules(self) -> Iterator[Problem]:
        if (self.config_map_ref is None) == (self.secret_ref is None):
            yield Problem("", "give exactly one of configMapRef and secretRef")
