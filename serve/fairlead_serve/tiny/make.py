"""Makes the models behind `tiny://chat` and `tiny://embed`, offline, from texts that come with the package.

The work is done by worker.py in a process of its own, so that the caller, which may be the gateway, keeps
neither torch in memory nor its threads. Importing this module is cheap: no torch, no transformers.
"""

import hashlib
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from fairlead_serve.errors import WeightsError, WeightsNotFound
from fairlead_serve.tiny.recipe import Recipe

HERE = Path(__file__).parent
# What each model is made from: a change in any of these files makes another model.
TEXT_SOURCES = ("corpus.py", "phrasing.py", "tokenizer.py", "worker.py")
SOURCES = {
    "chat": (*TEXT_SOURCES, "lessons.py", "rows.py", "recipe.py", "trainer.py"),
    "embed": (*TEXT_SOURCES, "embedder.py"),
}
STEPS = {"chat": Recipe().steps, "embed": 1}
PULSE_SECONDS = 0.5
LAST_WORDS = 5


def make(name: str, target: Path, progress: Callable[[int, int], None]) -> None:
    """Make the model `name` ("chat" or "embed") as a snapshot in the directory `target`, made where missing.

    `progress(done, total)` counts training steps and is called at least once a second, in the caller's
    thread; what it raises ends the work. `chat` takes about a minute on two cores, `embed` a few seconds.
    Raises WeightsNotFound for an unknown name, WeightsError where the model cannot be made.
    """
    _known(name)
    target.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-W", "ignore", "-m", "fairlead_serve.tiny.worker", name, str(target)]
    progress(0, STEPS[name])
    with subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as worker:
        try:
            words = _follow(worker, STEPS[name], progress)
        except BaseException:
            worker.kill()
            raise
    if worker.returncode != 0:
        raise WeightsError(f"tiny://{name} could not be made: {words or f'exit status {worker.returncode}'}")


def recipe_digest(name: str) -> str:
    """12 hexadecimal digits that change when the corpus or the recipe of the model `name` does.

    Raises WeightsNotFound for an unknown name. Reads the files of this package; does not import torch.
    """
    _known(name)
    return digest([*(HERE / source for source in SOURCES[name]), *sorted((HERE / "texts").glob("*.yaml"))])


def digest(files: Iterable[Path]) -> str:
    """12 hexadecimal digits for the names and contents of `files`, in their order."""
    total = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        total.update(f"{file.name} {len(content)}\n".encode())
        total.update(content)
    return total.hexdigest()[:12]


def _known(name: str) -> None:
    if name not in SOURCES:
        known = " and ".join(f"tiny://{known}" for known in SOURCES)
        raise WeightsNotFound(f"there is no tiny://{name}: the demo models are {known}")


def _follow(worker: "subprocess.Popen[str]", total: int, progress: Callable[[int, int], None]) -> str:
    """Pass on the worker's progress until it ends; its last words on standard error."""
    assert worker.stdout is not None  # noqa: S101 - for mypy: both were asked for
    assert worker.stderr is not None  # noqa: S101
    steps: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    words: list[str] = []
    readers = [
        threading.Thread(target=_read_steps, args=(worker.stdout, steps), daemon=True),
        threading.Thread(target=words.extend, args=(worker.stderr,), daemon=True),
    ]
    for reader in readers:
        reader.start()
    done = 0
    while True:
        with suppress(queue.Empty):
            line = steps.get(timeout=PULSE_SECONDS)
            if line is None:
                break
            done, total = map(int, line.split())
        progress(done, total)
    for reader in readers:
        reader.join()
    return "".join(words[-LAST_WORDS:]).strip()


def _read_steps(lines: IO[str], steps: "queue.SimpleQueue[str | None]") -> None:
    for line in lines:
        steps.put(line)
    steps.put(None)
