"""A small Kubernetes API server for tests: what clients, kubectl and controllers see of one, without a cluster."""
