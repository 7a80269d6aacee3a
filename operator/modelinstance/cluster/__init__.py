"""The Kubernetes adapter: the only room that knows kopf and the Kubernetes client.

It brings what the API server says to the registry, and what the registry decided to the API
server. It decides nothing about instances.
"""

FIELD_MANAGER = "modelinstance-operator"
"""Who owns the statuses (server-side apply)."""
