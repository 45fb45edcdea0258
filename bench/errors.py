"""What ends a benchmark run: a number that would not mean what its name says is never printed."""


class BenchError(Exception):
    """A server did not start, or an answer was not what it has to be. `str(error)` says which and how."""
