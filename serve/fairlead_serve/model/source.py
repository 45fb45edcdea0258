"""Where a model comes from: weights, or another server."""

from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from fairlead_serve import shapes
from fairlead_serve.errors import Problem
from fairlead_serve.model.fields import ATOMIC, SET, DataKey, ObjectName, ServedName, Several, WeightsUri
from fairlead_serve.model.part import Part


def _bare_url(url: str) -> str:
    # The words of the exception would quote the URL, and it may hold a password.
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise PydanticCustomError("url", "expected http://host:port/v1 or https://host/v1")
    if parts.username is not None or parts.password is not None:
        raise PydanticCustomError("url", "must not hold a user name or a password; use apiKeySecretRef")
    return url


class SecretKeyRef(Part):
    """One key of a Secret in the Model's namespace."""

    model_config = ConfigDict(json_schema_extra=ATOMIC)

    name: ObjectName = Field(description="Name of the Secret, in the Model's own namespace.")
    key: DataKey = Field(description="Key within the Secret whose value is used.")


class ModelSource(Part):
    """Which weights, and under which names clients ask for them."""

    uri: WeightsUri = Field(
        default="",
        description=(
            "Where the weights are: hf://organisation/model (Hugging Face Hub), pvc://claim/path,"
            " file:///path, s3://bucket/prefix, or tiny://name for the built-in offline "
            "demonstration models. Empty only with an upstream."
        ),
    )
    name: str = Field(
        default="",
        pattern=shapes.OPTIONAL_SERVED_NAME.pattern,
        max_length=128,
        description="The name clients put into `model`. Empty: the name of the resource.",
    )
    aliases: Several[ServedName] = Field(
        default=(),
        max_length=16,
        description="More names clients may use for the same model; none by default.",
        json_schema_extra=SET,
    )
    revision: str = Field(
        default="main",
        pattern=shapes.REVISION.pattern,
        max_length=128,
        description=(
            "Branch, tag or commit of an hf:// repository. A commit pins the weights; the default"
            " main follows the repository."
        ),
    )
    access_secret_ref: SecretKeyRef | None = Field(
        default=None,
        description=(
            "The token for hf:// or the credentials for s3://. Absent: anonymous, or what the environment offers."
        ),
    )

    @property
    def scheme(self) -> str:
        """`hf`, `pvc`, `file`, `s3`, `tiny`, or empty where there is no uri."""
        return self.uri.partition("://")[0]

    def broken_rules(self) -> Iterator[Problem]:
        if self.uri and self.scheme != "hf" and self.revision != "main":
            yield Problem("revision", "only hf:// repositories have revisions; remove it")
        if self.access_secret_ref and self.scheme in ("pvc", "file", "tiny"):
            yield Problem("accessSecretRef", f"{self.scheme}:// needs no credentials; remove it")


class Upstream(Part):
    """Another OpenAI-compatible server that answers instead of engines of our own."""

    url: Annotated[str, AfterValidator(_bare_url)] = Field(
        pattern=shapes.URL.pattern,
        max_length=1024,
        description="Base of its API, up to and including /v1, such as http://ollama:11434/v1.",
    )
    model: str = Field(
        default="",
        pattern=shapes.OPTIONAL_SERVED_NAME.pattern,
        max_length=128,
        description="What the server calls the model. Empty: the name it has here.",
    )
    api_key_secret_ref: SecretKeyRef | None = Field(
        default=None, description="Its key, sent as a bearer token. Absent: none is sent."
    )
