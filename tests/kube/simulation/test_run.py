"""Containers whose command is a process of this machine."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fairlead_operator.render import Manifest
from tests.kube.simulation.clock import LoopClock
from tests.kube.simulation.run import Local, Rewriting
from tests.kube.simulation.world import World, condition, state

SERVER = """
import http.server, os, pathlib, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/die":
            sys.stderr.write("the last line\\n"); sys.stderr.flush(); os._exit(3)
        if self.path == "/say":
            pathlib.Path(os.environ["LAST"]).write_text("why"); os._exit(4)
        text = pathlib.Path(sys.argv[2]).read_text() if self.path == "/file" else os.environ["WORD"]
        self.send_response(200); self.end_headers(); self.wfile.write(text.encode())
        pathlib.Path(os.environ["CACHE"], "seen").write_text("yes")
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer((sys.argv[1], 8000), Handler).serve_forever()
"""
PROBE = "import sys, urllib.request as u; u.urlopen('http://127.0.0.1:8000/' + sys.argv[1], timeout=1)"
VOLUMES = [
    {"name": "config", "configMap": {"name": "c"}},
    {"name": "cache", "persistentVolumeClaim": {"claimName": "cache"}},
]
MOUNTS = [{"name": "config", "mountPath": "/etc/app"}, {"name": "cache", "mountPath": "/var/cache/app"}]
CONTAINER: dict[str, Any] = {
    "command": ["python3", "-c", SERVER, "0.0.0.0", "/etc/app/file"],
    "env": [
        {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "word"}}},
        {"name": "CACHE", "value": "/var/cache/app"},
        {"name": "LAST", "value": "/dev/termination-log"},
    ],
    "readinessProbe": {"exec": {"command": ["python3", "-c", PROBE, "word"]}, "periodSeconds": 1, "timeoutSeconds": 5},
    "volumeMounts": MOUNTS,
    "terminationMessagePolicy": "FallbackToLogsOnError",
}
_SECONDS = 30


def test_words_of_a_container_are_rewritten_to_this_machine(tmp_path: Path) -> None:
    mounts = {"/etc/app": tmp_path / "config", "/tmp": tmp_path / "tmp", "/tmp/inner": tmp_path / "inner"}
    rewriting = Rewriting(Local(programs={"app": ("python", "-m", "app")}), ip="127.9.9.9", mounts=mounts)
    command = rewriting.command(
        ["app", "--file=/etc/app/file", "--host", "0.0.0.0", "/tmp/inner/a", "/tmpfile", "/a/tmp"]
    )
    assert command[:3] == ["python", "-m", "app"]
    assert command[3:6] == [f"--file={tmp_path}/config/file", "--host", "127.9.9.9"]
    assert command[6:] == [f"{tmp_path}/inner/a", "/tmpfile", "/a/tmp"]
    assert rewriting.environment({"HOME": "/tmp"})["HOME"] == f"{tmp_path}/tmp"


@pytest.fixture
async def local() -> AsyncIterator[World]:
    """A cluster in real time, in which the containers of the Model m are processes."""
    world = World(clock=LoopClock())
    world.script.play(Local(), model="m")
    world.create("secrets", "s", stringData={"word": "open"})
    world.create("configmaps", "c", data={"file": "at 0.0.0.0"})
    resources = {"requests": {"storage": "1Gi"}}
    world.create("persistentvolumeclaims", "cache", spec={"accessModes": ["ReadWriteOnce"], "resources": resources})
    world.deploy(pod={"volumes": VOLUMES, "terminationGracePeriodSeconds": 5}, **CONTAINER)
    yield world
    await world.simulation.stop()


async def until(world: World, holds: Callable[[Manifest], bool]) -> Manifest:
    """The first pod of the cluster of which something holds."""
    found: asyncio.Future[Manifest] = asyncio.get_running_loop().create_future()

    def look(*_: object) -> None:
        for pod in world.pods:
            if holds(pod) and not found.done():
                found.set_result(pod)

    end = world.store.subscribe(look)
    look()
    try:
        async with asyncio.timeout(_SECONDS):
            return await found
    finally:
        end()


def is_ready(pod: Manifest) -> bool:
    return condition(pod, "Ready").get("status") == "True"


async def fetch(pod: Manifest, path: str) -> str:
    async with aiohttp.ClientSession() as http, http.get(f"http://{pod['status']['podIP']}:8000{path}") as answer:
        return await answer.text()


async def test_a_process_has_the_address_the_files_and_the_secrets_of_its_pod(local: World) -> None:
    assert state(local.pod)["ready"] is False
    pod = await until(local, is_ready)
    assert await fetch(pod, "/word") == "open"
    assert await fetch(pod, "/file") == f"at {pod['status']['podIP']}"


@pytest.mark.parametrize(
    ("path", "code", "message"), [("/die", 3, "the last line\n"), ("/say", 4, "why")], ids=["log", "termination log"]
)
async def test_a_process_that_ends_is_heard_and_started_again(local: World, path: str, code: int, message: str) -> None:
    pod = await until(local, is_ready)
    with pytest.raises(aiohttp.ClientError):
        await fetch(pod, path)
    pod = await until(local, lambda pod: is_ready(pod) and state(pod)["restartCount"] == 1)
    last = state(pod)["lastState"]["terminated"]
    assert (last["exitCode"], last["message"]) == (code, message)


async def test_a_deleted_pod_takes_its_process_along_and_leaves_its_claim(local: World) -> None:
    first = await until(local, is_ready)
    local.delete("pods", first["metadata"]["name"])
    second = await until(local, lambda pod: is_ready(pod) and pod["metadata"]["uid"] != first["metadata"]["uid"])
    with pytest.raises(aiohttp.ClientConnectionError):
        await fetch(first, "/word")
    assert first["status"]["podIP"] != second["status"]["podIP"]
    assert [pod["metadata"]["uid"] for pod in local.pods] == [second["metadata"]["uid"]]
