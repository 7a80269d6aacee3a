"""The metrics adapter: shows Prometheus what the registry counts."""
