"""Fixtures of the operator's tests: a cluster, and a world in it."""

import pytest

from tests.kube.cluster import KubeCluster
from tests.kube.fixture import cluster, standin
from tests.operator.world import World

__all__ = ["cluster", "standin"]


@pytest.fixture
def world(cluster: KubeCluster) -> World:
    """A namespace in which operators can be started."""
    return World(cluster)
