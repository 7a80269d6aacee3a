"""Keeps the workers of running routers equal to what a registry selects."""
