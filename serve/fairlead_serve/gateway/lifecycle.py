"""Whether the gateway is on its way out; read by /readyz, set by the process on SIGTERM."""

from dataclasses import dataclass


@dataclass
class Lifecycle:
    draining: bool = False
