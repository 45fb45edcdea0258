"""The data plane: engines (vLLM in Ray Serve), the gateway in front of them, and the `fairlead` command."""

__version__ = "0.1.0"
