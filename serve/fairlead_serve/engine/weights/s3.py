"""S3: the objects below a prefix of a bucket, of AWS or of anything that speaks S3.

Credentials come by boto3's ordinary chain (environment, shared files, the pod's role). S3 has no commits:
the version is a digest of the keys, sizes and ETags listed, and every read asks for exactly the listed ETag,
so that an object overwritten meanwhile is never spliced with its old half. S3 lists no SHA-256; the size of
an object is what is checked.
"""

import hashlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import boto3
from botocore import exceptions as botocore
from botocore.config import Config

from fairlead_serve.engine.weights.listing import Body, Listing, RemoteFile, check_path
from fairlead_serve.engine.weights.patience import Interrupted
from fairlead_serve.engine.weights.selection import has_weights, needed
from fairlead_serve.errors import WeightsError, WeightsForbidden, WeightsNotFound, WeightsUnavailable

_CHUNK_BYTES = 1 << 16
_FORBIDDEN = {
    "403", "AccessDenied", "AllAccessDisabled", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken",
    "SignatureDoesNotMatch",
}  # fmt: skip
_AGAIN = {"RequestTimeout", "RequestTimeTooSkewed", "SlowDown", "ThrottlingException", "TooManyRequests"}
_NO_CREDENTIALS = (
    botocore.NoCredentialsError,
    botocore.PartialCredentialsError,
    botocore.CredentialRetrievalError,
    botocore.TokenRetrievalError,
    botocore.ProfileNotFound,
)
_BROKEN_OFF = (botocore.ConnectionError, botocore.HTTPClientError, botocore.IncompleteReadError)


class S3Prefix:
    """All objects below `prefix` (no slash at its ends; empty: the whole bucket).

    Safe to share between threads. `timeout_s` bounds connecting and every wait for the next bytes; `parallel`
    is the number of connections.
    """

    def __init__(self, bucket: str, prefix: str, *, endpoint: str | None, timeout_s: float, parallel: int) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._title = f"s3://{bucket}/{prefix}"
        self._where = endpoint or "S3"
        config = Config(
            connect_timeout=timeout_s,
            read_timeout=timeout_s,
            max_pool_connections=parallel,
            # Trying again is `patience`'s, which counts what was received.
            retries={"total_max_attempts": 1},
            # Servers other than AWS seldom have a DNS name for each bucket.
            s3={"addressing_style": "path" if endpoint else "auto"},
        )
        try:
            with self._translated():
                self._client = boto3.session.Session().client("s3", endpoint_url=endpoint, config=config)
        except ValueError as error:
            raise WeightsUnavailable(f"{endpoint!r} is not the address of an S3: {error}") from error

    def listing(self) -> Listing:
        """The objects that an engine needs."""
        with self._translated():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            objects = [found for page in pages for found in page.get("Contents", [])]
        by_path = {found["Key"].removeprefix(self._prefix): found for found in objects}
        names = needed([name for name in by_path if name and not name.endswith("/")])
        if not has_weights(names):
            raise WeightsNotFound(
                f"There are no weights below {self._title} ({len(objects)} objects); check spec.model.uri."
            )
        files = tuple(self._file(name, by_path[name]) for name in sorted(names))
        return Listing(_digest(files), files)

    @contextmanager
    def read(self, file: RemoteFile, offset: int) -> Iterator[Body]:
        """The bytes of an object, as long as it is still the listed one."""
        wanted: dict[str, Any] = {"Bucket": self._bucket, "Key": file.key, "IfMatch": file.etag}
        if offset:
            wanted["Range"] = f"bytes={offset}-"
        with self._translated():
            answer = self._client.get_object(**wanted)
            partial = answer["ResponseMetadata"]["HTTPStatusCode"] == 206
            with closing(answer["Body"]) as stream:
                yield Body(offset if partial else 0, stream.iter_chunks(_CHUNK_BYTES))

    def _file(self, path: str, found: Any) -> RemoteFile:
        return RemoteFile(check_path(path), found["Key"], found["Size"], etag=found["ETag"])

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except botocore.ClientError as error:
            raise self._refusal(error) from error
        except _NO_CREDENTIALS as error:
            raise WeightsForbidden(
                f"{self._title} cannot be read without credentials ({error}); set AWS_ACCESS_KEY_ID and "
                f"AWS_SECRET_ACCESS_KEY (spec.engine.envFrom), or give the pod a role."
            ) from error
        except _BROKEN_OFF as error:
            raise Interrupted(f"{self._where} does not answer for {self._title}: {error}") from error
        except botocore.BotoCoreError as error:
            raise WeightsUnavailable(f"{self._title} cannot be read: {error}") from error

    def _refusal(self, error: botocore.ClientError) -> WeightsError | Interrupted:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code == "NoSuchBucket":
            return WeightsNotFound(f"{self._where} has no bucket {self._bucket!r}; check spec.model.uri.")
        if code in _FORBIDDEN or status in {401, 403}:
            return WeightsForbidden(
                f"{self._where} refuses to give {self._title} to these credentials ({code}); set others "
                f"(spec.engine.envFrom), or allow them s3:ListBucket and s3:GetObject."
            )
        if status == 412 or code in {"NoSuchKey", "PreconditionFailed"}:
            return WeightsUnavailable(f"{self._title} changed while it was fetched; start again to get it as it is.")
        if status >= 500 or status == 429 or code in _AGAIN:
            return Interrupted(f"{self._where} answered {code or status} for {self._title}")
        return WeightsUnavailable(f"{self._where} answered {code or status} for {self._title}.")


def _digest(files: tuple[RemoteFile, ...]) -> str:
    lines = "".join(f"{file.key}\0{file.size}\0{file.etag}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()[:40]
