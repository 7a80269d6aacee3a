"""The demo: the whole idea on a real API server, told and checked step by step.

It is a tool of the repository, not a part of the product.
"""
