"""What a Model takes from Secrets and ConfigMaps, which an engine process finds in its environment.

In a cluster the kubelet puts the values there. Without one a person does, and is told what is missing before
anything starts. Pure.
"""

from collections.abc import Iterator, Mapping, Sequence

from fairlead_serve.errors import ConfigurationError
from fairlead_serve.model import Model

TOKEN_VARIABLE = "HF_TOKEN"  # noqa: S105 - the variable's name; huggingface_hub reads the same


def check_environment(models: Sequence[Model], environment: Mapping[str, str]) -> None:
    """Raise ConfigurationError, a line for each, when `models` refer to values that `environment` lacks."""
    missing = [line for model in models for line in _missing(model, environment)]
    if missing:
        raise ConfigurationError("\n".join(missing))


def _missing(model: Model, environment: Mapping[str, str]) -> Iterator[str]:
    secret = model.spec.model.access_secret_ref
    if secret is not None and model.spec.model.uri.startswith("hf://") and not environment.get(TOKEN_VARIABLE):
        yield (
            f"{model.name}: spec.model.accessSecretRef takes the token from the Secret {secret.name}, which only a "
            f"cluster has; put the token into the environment variable {TOKEN_VARIABLE}"
        )
    for variable in model.engine.env:
        if variable.value_from is not None and variable.name not in environment:
            yield (
                f"{model.name}: spec.engine.env takes {variable.name} from the cluster (valueFrom); without one, set "
                f"the environment variable {variable.name}"
            )
