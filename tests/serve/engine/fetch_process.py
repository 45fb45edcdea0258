"""Fetch process: one fetch in a process of its own; each report is a line "phase done" on its output.

python fetch_process.py CACHE HUB URI
"""

import sys
from pathlib import Path

from fairlead_serve.engine.weights import Progress, WeightsStore


def _report(progress: Progress) -> None:
    print(progress.phase, progress.done, flush=True)


if __name__ == "__main__":
    cache, hub, uri = sys.argv[1:]
    WeightsStore(Path(cache), hub_endpoint=hub).fetch(uri, progress=_report)
