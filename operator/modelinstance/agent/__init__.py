"""The agent beside an LLM engine: it asks the engine, and tells the registries.

It imports the client alone of all that is here, so that it stays small.
"""
