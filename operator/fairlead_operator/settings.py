"""What the operator knows of its installation: images, kinds of machines, and who may reach engines.

A value comes from, first found wins: the environment (`FAIRLEAD_OPERATOR_` and the setting's name, as in
`FAIRLEAD_OPERATOR_IMAGES`; groups are JSON), a YAML file, the default. In files names are camelCase.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AliasGenerator, BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as EnvironmentSettingsError

from fairlead_operator.errors import SettingsError

WholeQuantity = Annotated[str, Field(pattern=r"^[0-9]+(m|[kMGTPE]i?|Ki)?$", max_length=32)]
"""A Kubernetes quantity without decimals, so that it can be multiplied."""

Peers = tuple[dict[str, JsonValue], ...]
"""Peers of a NetworkPolicy: podSelector, namespaceSelector or ipBlock each. Empty: nobody."""


def _component(name: str) -> Peers:
    # In any namespace, because Models may live in others than the platform; a label is no secret, and engines ask for
    # the internal token besides.
    labels: dict[str, JsonValue] = {"app.kubernetes.io/component": name, "app.kubernetes.io/part-of": "fairlead"}
    return ({"namespaceSelector": {}, "podSelector": {"matchLabels": labels}},)


class _Group(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=AliasGenerator(validation_alias=to_camel), populate_by_name=True
    )


class Images(_Group):
    """Container images of engines, for Models that name none.

    No image has a default of its own: a new one restarts every engine, so that it is chosen and not inherited.
    """

    cuda: str = Field(default="", description="For engine.device: cuda.")
    cpu: str = Field(default="", description="For engine.device: cpu.")
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        default="IfNotPresent", description="When an image is pulled."
    )
    pull_secrets: tuple[str, ...] = Field(
        default=(), description="Secrets for the registry, in the namespaces of the Models."
    )


class ResourceProfile(_Group):
    """One kind of machine, which Models name by `spec.resourceProfile`.

    Requests and limits are those of one GPU and multiplied for a pod that has several; on cpu they are the pod's.
    """

    gpu: str = Field(default="nvidia.com/gpu", description="What Kubernetes calls one GPU of it.")
    gpus_per_node: int = Field(default=8, ge=1, description="GPUs of one machine.")
    requests: dict[str, WholeQuantity] = Field(default={}, description="What is set aside for each GPU.")
    limits: dict[str, WholeQuantity] = Field(default={}, description="What may be used at most for each GPU.")
    node_selector: dict[str, str] = Field(default={}, description="Labels of its nodes.")
    tolerations: tuple[dict[str, JsonValue], ...] = Field(default=(), description="Taints of its nodes.")
    runtime_class_name: str = Field(default="", description="Runtime class, such as nvidia. Empty: the default.")


class SecretKey(_Group):
    """One key of a Secret in the namespace of each Model."""

    name: str = Field(min_length=1, description="Name of the Secret.")
    key: str = Field(min_length=1, description="Key within it.")


class Access(_Group):
    """Who may reach engines. A NetworkPolicy says so for each Model."""

    enabled: bool = Field(default=True, description="Make NetworkPolicies.")
    gateway: Peers = Field(default=_component("gateway"), description="The gateway: the engines' HTTP port.")
    operator: Peers = Field(default=_component("operator"), description="The operator: the port of the status.")
    prometheus: Peers = Field(default=(), description="Prometheus: the port of metrics.")
    kuberay: Peers = Field(default=(), description="KubeRay's operator: the dashboard of a Ray cluster.")


class Monitoring(_Group):
    """PodMonitors for the Prometheus operator."""

    enabled: bool = Field(default=False, description="Make them; the cluster must know the kind.")
    interval: str = Field(default="15s", pattern=r"^[0-9]+(ms|s|m)$", description="Time between scrapes.")
    labels: dict[str, str] = Field(default={}, description="Labels by which Prometheus selects them.")


class HeadResources(_Group):
    """Requests and limits of the head of a Ray cluster, which has no engine."""

    requests: dict[str, str] = Field(default={"cpu": "1", "memory": "4Gi"}, description="What is set aside.")
    limits: dict[str, str] = Field(default={"memory": "8Gi"}, description="What may be used at most.")


class Ray(_Group):
    """Models with cluster: KubeRay."""

    version: str = Field(default="2.60.0", description="The release of Ray in the images.")
    redis_address: str = Field(
        default="", description="host:port of a Redis that keeps the heads' state, so that engines outlive them."
    )
    redis_password: SecretKey | None = Field(default=None, description="Its password. Absent: none.")
    head: HeadResources = Field(default=HeadResources(), description="Resources of a head.")
    head_node_selector: dict[str, str] = Field(default={}, description="Labels of the nodes for heads.")
    head_tolerations: tuple[dict[str, JsonValue], ...] = Field(default=(), description="Taints of those nodes.")


class Lease(_Group):
    """The Lease by which one of several operators leads."""

    name: str = Field(default="fairlead-operator", min_length=1, description="Its name.")
    namespace: str = Field(default="", description="Its namespace. Empty: the operator's own.")


class Http(_Group):
    """Where /livez, /readyz and /metrics are."""

    host: str = Field(default="0.0.0.0", description="Address to listen on.")  # noqa: S104 - the kubelet asks from outside
    port: int = Field(default=8080, ge=0, le=65535, description="Port to listen on; 0: any free one.")


class _CamelCaseEnvironment(EnvSettingsSource):
    """The environment's variables under the names that files have for them."""

    def __call__(self) -> dict[str, Any]:
        # The settings' own names only: the labels within a group must stay as they are.
        return {to_camel(name): value for name, value in super().__call__().items()}


class OperatorSettings(BaseSettings):
    """The installation, as far as the workload of a Model depends on it."""

    model_config = SettingsConfigDict(
        env_prefix="FAIRLEAD_OPERATOR_",
        extra="forbid",
        frozen=True,
        alias_generator=AliasGenerator(validation_alias=to_camel),
        populate_by_name=True,
    )

    chart: Path = Field(default=Path("/opt/fairlead/charts/model"), description="The chart of one Model.")
    images: Images = Field(default=Images(), description="Container images of engines.")
    resource_profiles: dict[str, ResourceProfile] = Field(
        default={}, description="Kinds of machines, by the names that Models use."
    )
    internal_token: SecretKey = Field(
        default=SecretKey(name="fairlead-internal-token", key="token"),
        description="What engines want to see, in a Secret of each Model's namespace.",
    )
    run_as_user: int = Field(default=10001, ge=1, description="User and group of engines; caches belong to it.")
    headless_services: bool = Field(
        default=True, description="Give engines no virtual address: the gateway chooses among the pods by itself."
    )
    access: Access = Field(default=Access(), description="Who may reach engines.")
    monitoring: Monitoring = Field(default=Monitoring(), description="PodMonitors.")
    ray: Ray = Field(default=Ray(), description="Models with cluster: KubeRay.")
    namespaces: tuple[str, ...] = Field(
        default=(), description="Namespaces whose Models are looked after. Empty: the operator's own."
    )
    all_namespaces: bool = Field(default=False, description="Look after the Models of every namespace.")
    workers: int = Field(default=4, ge=1, le=64, description="Models that are worked on at the same time.")
    resync_seconds: float = Field(
        default=600.0, ge=1.0, description="Seconds after which a Model is looked at though nothing has changed."
    )
    lease: Lease = Field(default=Lease(), description="By which one of several operators leads.")
    http: Http = Field(default=Http(), description="Health and metrics.")
    gateway_url: str = Field(
        default="", description="Where clients reach the gateway, for the status of Models. Empty: not said."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic-settings' signature
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The file is handed to the constructor, and the environment goes before it. Both have to name things alike.
        return _CamelCaseEnvironment(settings_cls), init_settings


def load_operator_settings(file: Path | None) -> OperatorSettings:
    """Settings from `file` (YAML; None: no file) and the environment. Raises SettingsError, a line for each problem."""
    values = {} if file is None else _read_mapping(file)
    try:
        return OperatorSettings(**values)
    except EnvironmentSettingsError as error:
        message = f"the environment: {error}; groups are written as JSON there"
        raise SettingsError(message) from None
    except ValidationError as error:
        source = "the operator's settings" if file is None else str(file)
        lines = [f"{source}: {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise SettingsError("\n".join(lines)) from None


def watching(settings: OperatorSettings, *, namespaces: tuple[str, ...], all_namespaces: bool) -> OperatorSettings:
    """`settings` with the namespaces that the command line gives, if any. Raises SettingsError where it gives both."""
    if namespaces and all_namespaces:
        message = "--namespace and --all-namespaces exclude each other; give one of them"
        raise SettingsError(message)
    if not namespaces and not all_namespaces:
        return settings
    return settings.model_copy(update={"namespaces": namespaces, "all_namespaces": all_namespaces})


def _read_mapping(file: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"{file} cannot be read: {error.strerror}"
        raise SettingsError(message) from error
    except yaml.YAMLError as error:
        message = f"{file} is not YAML: {error}"
        raise SettingsError(message) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        message = f"{file} must hold a mapping of settings, not a {type(values).__name__}"
        raise SettingsError(message)
    return values
