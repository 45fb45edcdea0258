"""What text in a Model must look like: regular expressions, each with the words for it.

The expressions are those that both pydantic (Rust) and the API server (Go) understand: no look-around. Where a field
may be left out, its shape accepts the empty string too, because the API server checks defaults as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Shape:
    """A regular expression with the words for it.

    `wanted` completes the sentence "expected ..."; `showable` is false where the text may hold a secret.
    """

    pattern: str
    wanted: str
    showable: bool = True


LABEL = Shape(
    r"^[a-z]([-a-z0-9]*[a-z0-9])?$",
    "lower-case letters, digits and hyphens, beginning with a letter and not ending in a hyphen",
)
OPTIONAL_LABEL = Shape(
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$",
    "lower-case letters, digits and hyphens, neither beginning nor ending in a hyphen",
)
OBJECT_NAME = Shape(
    r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$",
    "the name of a Kubernetes object: lower-case letters, digits, hyphens and dots",
)
OPTIONAL_OBJECT_NAME = Shape(
    r"^([a-z0-9]([-.a-z0-9]*[a-z0-9])?)?$",
    "the name of a Kubernetes object: lower-case letters, digits, hyphens and dots",
)
DATA_KEY = Shape(r"^[-._a-zA-Z0-9]+$", "a key: letters, digits, hyphens, underscores and dots")
SERVED_NAME = Shape(
    r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$",
    "a model name: letters, digits and . _ : / @ + -, beginning with a letter or a digit",
)
OPTIONAL_SERVED_NAME = Shape(
    r"^([A-Za-z0-9][A-Za-z0-9._:/@+-]*)?$",
    "a model name: letters, digits and . _ : / @ + -, beginning with a letter or a digit",
)
_HF = r"hf://[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?"
_PVC = r"pvc://[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?(/[^\s]*)?"
_FILE = r"file:///[^\s]+"
_S3 = r"s3://[A-Za-z0-9][-.A-Za-z0-9]{0,252}(/[^\s]*)?"
WEIGHTS = Shape(
    rf"^({_HF}|{_PVC}|{_FILE}|{_S3}|tiny://(chat|embed))?$",
    "hf://organisation/model, pvc://claim/path, file:///path, s3://bucket/prefix, tiny://chat or tiny://embed",
    showable=False,
)
ADAPTER_WEIGHTS = Shape(
    rf"^({_HF}|{_PVC}|{_FILE}|{_S3})$",
    "hf://organisation/adapter, pvc://claim/path, file:///path or s3://bucket/prefix",
    showable=False,
)
REVISION = Shape(r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", "a branch, a tag or a commit")
URL = Shape(r"^https?://[^\s/?#]+[^\s?#]*$", "http://host:port/v1 or https://host/v1", showable=False)
IMAGE = Shape(r"^[^\s]*$", "an image reference without spaces, registry/name:tag")
WORD = Shape(r"^[A-Za-z0-9._-]*$", "letters, digits and . _ -")
FRACTION = Shape(r"^(0\.[0-9]*[1-9][0-9]*|1|1\.0+)$", 'a fraction above 0 and up to 1, in quotes, such as "0.90"')
QUANTITY = Shape(
    r"^([0-9]+(\.[0-9]+)?|\.[0-9]+)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$",
    'an amount such as 4, "500m" or 50Gi',
)
ENV_NAME = Shape(
    r"^[A-Za-z_][A-Za-z0-9_]*$",
    "the name of an environment variable: letters, digits and underscores, not beginning with a digit",
)
QUALIFIED_NAME = Shape(
    r"^([a-z0-9]([-.a-z0-9]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
    "a name with an optional prefix, such as example.com/team",
)
LABEL_VALUE = Shape(
    r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
    "letters, digits and - _ . with a letter or a digit at both ends",
)

CONSTANT = Shape(r"^[A-Za-z][A-Za-z0-9]*$", "letters and digits, beginning with a letter")

ALL: Mapping[str, Shape] = MappingProxyType({
    shape.pattern: shape
    for shape in (
        LABEL, OPTIONAL_LABEL, OBJECT_NAME, OPTIONAL_OBJECT_NAME, DATA_KEY, SERVED_NAME,
        OPTIONAL_SERVED_NAME, WEIGHTS, ADAPTER_WEIGHTS, REVISION, URL, IMAGE, WORD, FRACTION, QUANTITY,
        ENV_NAME, QUALIFIED_NAME, LABEL_VALUE, CONSTANT,
    )
})  # fmt: skip
"""Every shape, by its pattern."""
