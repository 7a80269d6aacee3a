"""Writes what a registry selects into files that routers read."""
