"""Why programs cannot be built."""

from guarded.errors import ToolError


class ToolchainError(ToolError):
    """There is no Go that can build the programs, and none could be installed."""


class BuildError(ToolError):
    """`go build` failed; the message ends with the tail of its output."""
