"""Fixtures of the server's own tests."""

from tests.kube.fixture import cluster, standin

__all__ = ["cluster", "standin"]
