"""The control plane: reconciles Model resources into Helm-rendered workloads."""
