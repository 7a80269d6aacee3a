"""The HTTP adapter: what routers ask. It reads the registry and knows nothing of Kubernetes."""
