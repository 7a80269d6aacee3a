"""Keeps the records in step with the resources of a cluster, and their statuses with them."""
