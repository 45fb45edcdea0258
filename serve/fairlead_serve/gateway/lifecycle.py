"""Whether the gateway is on its way out; read by /readyz, set by the process on SIGTERM."""

import asyncio
from dataclasses import dataclass, field


@dataclass
class Lifecycle:
    """`draining`: it is on its way out. `over` is set when nothing is waited for any longer."""

    draining: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)
