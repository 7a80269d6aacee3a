"""What routers and workers import to speak to a registry. It knows nothing of the operator."""
