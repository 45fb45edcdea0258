"""Hub: a repository of the Hugging Face hub, or of a mirror that speaks its HTTP API.

`huggingface_hub` finds the commit and the files, builds URLs and headers, and names the errors; the bytes are
read here, because its own download (2.x) begins a file again in every process: it writes to a name of its own
and deletes that when it fails. Plain HTTP with Range requests, through the client that `huggingface_hub`
shares (its proxies and certificates), never Xet: a mirror need not have that. The public hub gives files of
more than 50 GB by Xet only; those are answered with an error here.

Nothing is read from the environment: no token that was not given is sent, and a token goes to the endpoint
only, not to a store that the endpoint redirects to.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub import HfApi, get_hf_file_metadata, get_session, hf_hub_url, hf_raise_for_status
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoSibling

from fairlead_serve import __version__
from fairlead_serve.engine.weights.listing import Body, Listing, RemoteFile, check_path
from fairlead_serve.engine.weights.patience import Interrupted
from fairlead_serve.engine.weights.selection import has_weights, needed
from fairlead_serve.errors import WeightsError, WeightsForbidden, WeightsNotFound, WeightsUnavailable

PUBLIC_HUB = "https://huggingface.co"
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_AGAIN = {408, 425, 429, 500, 502, 503, 504}


class HubRepository:
    """One repository at one revision (a branch, tag or commit). Safe to share between threads.

    `timeout_s` bounds connecting and every wait for the next bytes.
    """

    def __init__(self, repo: str, revision: str, *, endpoint: str, token: str | None, timeout_s: float) -> None:
        self._repo = repo
        self._revision = revision
        self._endpoint = endpoint.rstrip("/")
        # False, not None: None would send whatever token this user once logged in with.
        self._token: str | bool = token or False
        self._timeout_s = timeout_s

    def listing(self) -> Listing:
        """The files that an engine needs, at the commit that the revision means now."""
        api = HfApi(endpoint=self._endpoint, token=self._token, library_name="fairlead", library_version=__version__)
        try:
            with self._translated():
                info = api.model_info(self._repo, revision=self._revision, files_metadata=True, timeout=self._timeout_s)
        except (ValueError, TypeError, KeyError) as error:
            # The answer was no JSON, or not a hub's: the page of some proxy.
            raise WeightsUnavailable(self._no_hub()) from error
        siblings = {sibling.rfilename: sibling for sibling in info.siblings or []}
        names = needed([*siblings])
        if info.sha is None or not has_weights(names):
            raise WeightsNotFound(f"{self._title} holds no weights that an engine can load; name another one.")
        return Listing(info.sha, tuple(self._file(siblings[name], info.sha) for name in names))

    @contextmanager
    def read(self, file: RemoteFile, offset: int) -> Iterator[Body]:
        """The bytes of a file, from wherever the endpoint redirects to."""
        # Compressed on the way, a part of a file could not be continued.
        headers = {"Accept-Encoding": "identity", "User-Agent": f"fairlead/{__version__}"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if offset:
            headers["Range"] = f"bytes={offset}-"
        with (
            self._translated(),
            get_session().stream(
                "GET", file.key, headers=headers, timeout=self._timeout_s, follow_redirects=True
            ) as response,
        ):
            hf_raise_for_status(response)
            yield Body(self._start(response, file), response.iter_bytes())

    @property
    def _title(self) -> str:
        return f"hf://{self._repo} at revision {self._revision!r}"

    def _file(self, sibling: RepoSibling, commit: str) -> RemoteFile:
        name = check_path(sibling.rfilename)
        url = hf_hub_url(self._repo, name, revision=commit, endpoint=self._endpoint)
        size = sibling.size
        if size is None:
            with self._translated():
                size = get_hf_file_metadata(
                    url, token=self._token, timeout=self._timeout_s, endpoint=self._endpoint
                ).size
        if size is None:
            raise WeightsUnavailable(f"{self._endpoint} does not say how large {name} of {self._title} is.")
        return RemoteFile(name, url, size, sha256=sibling.lfs.sha256 if sibling.lfs else None)

    def _start(self, response: httpx2.Response, file: RemoteFile) -> int:
        if response.status_code != 206:
            return 0
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None or match[2] not in {"*", str(file.size)}:
            raise WeightsUnavailable(f"{self._endpoint} answered another part of {file.path} than was asked for.")
        return int(match[1])

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except HfHubHTTPError as error:
            # Not "from error": it repeats what the hub said, and a hub may repeat the token.
            raise self._refusal(error) from None
        except httpx2.TransportError as error:
            reason = str(error) or type(error).__name__
            raise Interrupted(f"{self._endpoint} does not answer for {self._title}: {reason}") from error
        except OfflineModeIsEnabled as error:
            raise WeightsUnavailable(
                f"{self._title} is not in the cache, and HF_HUB_OFFLINE forbids fetching it; unset that."
            ) from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise WeightsUnavailable(self._no_hub()) from error

    def _refusal(self, error: HfHubHTTPError) -> WeightsError | Interrupted:
        status = error.response.status_code
        if isinstance(error, GatedRepoError) or status in {401, 403}:
            return WeightsForbidden(self._forbidden())
        if isinstance(error, RevisionNotFoundError):
            return WeightsNotFound(f"hf://{self._repo} has no revision {self._revision!r}; change spec.model.revision.")
        if isinstance(error, RemoteEntryNotFoundError):
            return WeightsNotFound(f"{self._title} no longer holds a file that it lists.")
        if status == 404:
            return WeightsNotFound(
                f"{self._endpoint} has no {self._title}; check the name in spec.model.uri, or set "
                f"spec.model.accessSecretRef if the repository is private."
            )
        if status in _AGAIN:
            asked = error.response.headers.get("Retry-After", "")
            return Interrupted(
                f"{self._endpoint} answered {status} for {self._title}",
                retry_after_s=float(asked) if asked.isdecimal() else None,
            )
        return WeightsUnavailable(f"{self._endpoint} answered {status} for {self._title}.")

    def _no_hub(self) -> str:
        return f"{self._endpoint} does not answer for {self._title} as a hub does; check the hub's address."

    def _forbidden(self) -> str:
        tried = "refuses the token it was sent" if self._token else "wants a token, and none was set"
        return (
            f"hf://{self._repo} is gated or private (or does not exist): {self._endpoint} {tried}; set "
            f"spec.model.accessSecretRef to a Secret with a token of an account that may read it."
        )
