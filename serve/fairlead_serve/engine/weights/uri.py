"""Uri: what a weights URI names. No I/O here.

Each class is one scheme; `parse` is the only way from a string to them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from fairlead_serve.errors import WeightsError, WeightsNotFound

TINY_NAMES = ("chat", "embed")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")


@dataclass(frozen=True)
class HubPlace:
    """`hf://owner/name`; the owner is missing in a few old names."""

    repo: str

    @property
    def shelf(self) -> str:
        """A directory's name for it."""
        return self.repo.replace("/", "--")


@dataclass(frozen=True)
class S3Place:
    """`s3://bucket/prefix`; the prefix has no slash at either end and may be empty."""

    bucket: str
    prefix: str

    @property
    def shelf(self) -> str:
        """A directory's name for it; prefixes may share one, since entries are named by what they hold."""
        words = re.sub(r"[^A-Za-z0-9._-]+", "--", self.prefix)
        return f"{self.bucket}--{words}"[:150].rstrip("-")


@dataclass(frozen=True)
class LocalPlace:
    """`file:///abs/path`."""

    path: Path


@dataclass(frozen=True)
class ClaimPlace:
    """`pvc://claim/path`."""

    claim: str
    path: PurePosixPath


@dataclass(frozen=True)
class TinyPlace:
    """`tiny://chat` or `tiny://embed`."""

    name: str


Place = HubPlace | S3Place | LocalPlace | ClaimPlace | TinyPlace


def parse(uri: str) -> Place:
    """What `uri` names.

    Raises:
        WeightsError: it is not a weights URI; says which form is missed.
        WeightsNotFound: it names a tiny model that there is not.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme not in _PARSERS:
        known = " ".join(f"{name}://" for name in _PARSERS)
        raise WeightsError(f"{uri!r} is not a place of weights; it must begin with one of {known}.")
    return _PARSERS[scheme](uri, rest)


def _hub(uri: str, rest: str) -> HubPlace:
    repo = rest.rstrip("/")
    if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo:
        raise WeightsError(f"{uri!r} does not name a repository; write hf://owner/name.")
    return HubPlace(repo)


def _s3(uri: str, rest: str) -> S3Place:
    bucket, _, prefix = rest.partition("/")
    if not _NAME.fullmatch(bucket):
        raise WeightsError(f"{uri!r} does not name a bucket; write s3://bucket/prefix.")
    return S3Place(bucket, prefix.strip("/"))


def _local(uri: str, _rest: str) -> LocalPlace:
    # Percent-escapes as in every file URI (pathlib's as_uri writes them).
    parts = urlsplit(uri)
    path = Path(unquote(parts.path))
    if parts.netloc not in {"", "localhost"} or not path.is_absolute():
        raise WeightsError(f"{uri!r} is not an absolute path; write file:///absolute/path (three slashes).")
    return LocalPlace(path)


def _claim(uri: str, rest: str) -> ClaimPlace:
    claim, _, path = rest.partition("/")
    if not _NAME.fullmatch(claim) or ".." in path.split("/"):
        raise WeightsError(f"{uri!r} does not name a directory of a claim; write pvc://claim/path without '..'.")
    return ClaimPlace(claim, PurePosixPath(path.strip("/")))


def _tiny(uri: str, rest: str) -> TinyPlace:
    if rest not in TINY_NAMES:
        known = " and ".join(f"tiny://{name}" for name in TINY_NAMES)
        raise WeightsNotFound(f"There is no {uri}; there are {known}.")
    return TinyPlace(rest)


_PARSERS: dict[str, Callable[[str, str], Place]] = {
    "hf": _hub,
    "s3": _s3,
    "file": _local,
    "pvc": _claim,
    "tiny": _tiny,
}
