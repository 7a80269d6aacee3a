"""Where helm, kubeconform and helm-unittest are: built once and kept in the user's cache."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import gobuild
from charttools.module import MODULE
from gobuild import Progress, to_stderr

print_to_stderr = to_stderr("charttools")


@dataclass(frozen=True)
class ChartTools:
    """The three programs."""

    helm: Path
    kubeconform: Path
    helm_unittest: Path

    @classmethod
    def within(cls, directory: Path) -> Self:
        """The programs by their usual names in `directory`, whether they exist or not."""
        return cls(
            helm=directory / "helm",
            kubeconform=directory / "kubeconform",
            helm_unittest=directory / "helm-unittest",
        )


def ensure(progress: Progress = print_to_stderr) -> ChartTools:
    """The programs, built first if need be; processes that call this at once build only once."""
    return ChartTools.within(gobuild.ensure(MODULE, progress))


def tools_dir() -> Path:
    """The directory that `ensure` takes the programs from, whether it exists or not."""
    return gobuild.location(MODULE)
