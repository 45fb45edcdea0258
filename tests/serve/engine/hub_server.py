"""Hub server: what huggingface_hub needs of a hub, with faults that can be switched on.

GET  /api/models/{repo}/revision/{revision}     the commit and the files, with sizes and LFS digests
GET  /{repo}/resolve/{commit}/{file}            the bytes, with Range; HEAD too
"""

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from tests.serve.engine.loopback import Handler, listening

REPO = "acme/parrot"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
_API = re.compile(r"/api/models/(.+)/revision/(.+)")
_FILE = re.compile(r"/(.+)/resolve/([^/]+)/(.+)")


@dataclass(frozen=True)
class Request:
    """One request that the hub got."""

    method: str
    path: str
    range: str | None
    authorization: str | None


@dataclass(frozen=True)
class Refusal:
    """An answer in place of the right one, for paths that contain `path`, `times` times."""

    status: int
    path: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    times: int = 1_000_000


class Hub:
    """A hub with one repository. Everything may be changed while it serves."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.url = ""
        self.files = files
        self.revisions = {"main": COMMIT, COMMIT: COMMIT}
        self.lfs = {name for name in files if name.endswith((".safetensors", ".bin"))}
        self.token: str | None = None
        self.sizes_listed = True
        self.ranges_honoured = True
        self.redirect_to: str | None = None
        self.refusals: list[Refusal] = []
        self.cut_after: dict[str, list[int]] = {}
        self.trickle_after: dict[str, int] = {}
        self.hold: dict[str, threading.Event] = {}
        self.stopping = threading.Event()
        self.requests: list[Request] = []
        self._lock = threading.Lock()

    def gets(self, name: str) -> list[Request]:
        """The GETs of one file."""
        return [request for request in self.requests if request.method == "GET" and request.path.endswith(f"/{name}")]

    def note(self, request: Request) -> Refusal | None:
        """Write the request down; a refusal if one is due."""
        with self._lock:
            self.requests.append(request)
            for place, refusal in enumerate(self.refusals):
                if refusal.path in request.path:
                    if refusal.times == 1:
                        del self.refusals[place]
                    else:
                        self.refusals[place] = Refusal(
                            refusal.status, refusal.path, refusal.headers, refusal.body, refusal.times - 1
                        )
                    return refusal
        if self.token is not None and request.authorization != f"Bearer {self.token}":
            return Refusal(401, headers={"X-Error-Message": "Invalid username or password."})
        return None

    def description(self, commit: str) -> bytes:
        """The answer of the models API."""
        siblings = []
        for name, content in self.files.items():
            sibling: dict[str, object] = {"rfilename": name}
            if self.sizes_listed:
                sibling["size"] = len(content)
            if name in self.lfs:
                digest = hashlib.sha256(content).hexdigest()
                sibling["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 134}
            siblings.append(sibling)
        return json.dumps({"id": REPO, "sha": commit, "siblings": siblings}).encode()


@contextlib.contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    """`hub`, serving."""

    class HubHandler(Handler):
        def do_HEAD(self) -> None:  # noqa: N802
            self.do_GET()

        def do_GET(self) -> None:  # noqa: N802
            path = unquote(urlsplit(self.path).path)
            request = Request(self.command, path, self.headers["Range"], self.headers["Authorization"])
            refusal = hub.note(request)
            if refusal is not None:
                self.answer(refusal.status, refusal.headers, refusal.body)
            elif match := _API.fullmatch(path):
                self._describe(match[1], match[2])
            elif match := _FILE.fullmatch(path):
                self._send(match[1], match[2], match[3])
            else:
                self.answer(404, {})

        def _describe(self, repo: str, revision: str) -> None:
            if repo != REPO:
                self.answer(404, {"X-Error-Code": "RepoNotFound"})
            elif revision not in hub.revisions:
                self.answer(404, {"X-Error-Code": "RevisionNotFound"})
            else:
                self.answer(200, {"Content-Type": "application/json"}, hub.description(hub.revisions[revision]))

        def _send(self, repo: str, commit: str, name: str) -> None:
            if repo != REPO or commit not in hub.revisions.values() or name not in hub.files:
                self.answer(404, {"X-Error-Code": "EntryNotFound"})
                return
            content = hub.files[name]
            headers = {
                "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
                "X-Repo-Commit": commit,
                "X-Linked-Size": str(len(content)),
            }
            if hub.redirect_to is not None and name in hub.lfs:
                self.answer(302, headers | {"Location": f"{hub.redirect_to}{self.path}"})
                return
            start = self._start(len(content))
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self._stream(name, 206 if start else 200, headers, content[start:])

        def _start(self, size: int) -> int:
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
            return int(wanted[1]) if wanted and hub.ranges_honoured and int(wanted[1]) < size else 0

        def _stream(self, name: str, status: int, headers: dict[str, str], body: bytes) -> None:
            if name in hub.hold:
                hub.hold[name].wait()
            cuts = hub.cut_after.get(name)
            cut = cuts.pop(0) if cuts else None
            trickle = hub.trickle_after.get(name)
            if self.command == "HEAD" or (cut is None and trickle is None):
                self.answer(status, headers, body)
                return
            at_once = trickle if cut is None else cut
            self.answer(status, headers | {"Content-Length": str(len(body))}, body[:at_once])
            if cut is not None:
                self.hang_up()
                return
            self._trickle(body[at_once:])

        def _trickle(self, rest: bytes) -> None:
            piece = 1 << 14
            for place in range(0, len(rest), piece):
                if hub.stopping.wait(0.05):
                    break
                self.wfile.write(rest[place : place + piece])
                self.wfile.flush()

    with listening(HubHandler) as server:
        host, port = server.server_address[:2]
        hub.url = f"http://{host!s}:{port}"
        try:
            yield hub
        finally:
            hub.stopping.set()
