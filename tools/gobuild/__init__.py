"""Programs built from a Go module that this repository pins by a go.mod and a go.sum.

`Module` describes one such module and the programs that it is for, `ensure` tells where they are
and builds them first if need be. Nothing here knows what the programs are.
"""

from gobuild.errors import BuildError, ToolchainError
from gobuild.module import Module
from gobuild.pins import Pins
from gobuild.programs import ensure, location
from gobuild.progress import Progress, to_stderr

__all__ = [
    "BuildError",
    "Module",
    "Pins",
    "Progress",
    "ToolchainError",
    "ensure",
    "location",
    "to_stderr",
]
