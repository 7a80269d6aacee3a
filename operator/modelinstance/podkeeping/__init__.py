"""Keeps a resource for each labelled pod: where the pods' adapter meets the mirror and the records.

Nothing is written before the pods of a namespace, and all resources, were listed.
"""
