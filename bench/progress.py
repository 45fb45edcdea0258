"""What a run is doing now, on standard error: the result alone goes to standard output."""

import time
from dataclasses import dataclass, field
from typing import TextIO


@dataclass
class Progress:
    """Writes one line for each step, with the seconds since the start."""

    stream: TextIO
    began: float = field(default_factory=time.monotonic)

    def say(self, what: str) -> None:
        self.stream.write(f"[{time.monotonic() - self.began:5.0f} s] {what}\n")
        self.stream.flush()
