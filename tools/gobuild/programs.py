"""Where a module's programs are, and that they are there."""

from pathlib import Path

from gobuild import cache
from gobuild.build import build
from gobuild.module import Module, host_platform
from gobuild.progress import Progress
from gobuild.toolchain import find_go


def ensure(module: Module, progress: Progress) -> Path:
    """The directory of the programs, built first if need be."""

    def make(scratch: Path) -> Path:
        go = find_go(module.pins().go, progress)
        return build(module, go, scratch, progress)

    directory = location(module)
    cache.ensure(directory, lambda: not module.missing(directory), make, progress)
    return directory


def location(module: Module) -> Path:
    """The directory that `ensure` builds the programs into, whether it exists or not."""
    return cache.root(module.cache) / module.key(*host_platform())
