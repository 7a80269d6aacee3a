"""One `go build` of all of a module's programs, in a folder of its own."""

import shutil
import time
from pathlib import Path

from gobuild.errors import BuildError
from gobuild.module import Module, default_name, host_platform
from gobuild.progress import Progress
from gobuild.toolchain import Go
from guarded.process import GuardedProcess

_REPORT_EVERY = 15.0


def build(module: Module, go: Go, scratch: Path, progress: Progress) -> Path:
    """Build in `scratch`; the folder in it that then holds the programs.

    Go ends with this process, however that ends, and the pinned files are only read.
    """
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(module.directory / name, scratch / name)
    out = scratch / "bin"
    out.mkdir()
    goos, goarch = host_platform()
    environ = {**go.environ, "GOOS": goos, "GOARCH": goarch, "CGO_ENABLED": "0", "GOWORK": "off"}
    shown = ", ".join(f"{name} {version}" for name, version in module.shown_versions().items())
    progress(
        f"building {shown} from the modules pinned in {module.directory / 'go.mod'} "
        f"with {go.program} ({go.version})"
    )
    progress(f"the first build takes {module.takes}; the result is kept")
    begun = time.monotonic()
    process = GuardedProcess(
        [str(go.program), "build", *module.build_flags(), "-o", f"{out}/", *module.programs],
        log=scratch / "build.log",
        cwd=scratch,
        env=environ,
    )
    try:
        while (code := process.wait(_REPORT_EVERY)) is None:
            progress(f"still building, {time.monotonic() - begun:.0f} s so far")
    finally:
        process.stop(grace=5)
    if code != 0:
        raise BuildError(f"go build ended with {code}:\n{process.log_tail()}")
    for package, name in module.programs.items():
        built = out / default_name(package)
        if not built.is_file():  # go builds a library without a word, and keeps nothing of it
            raise BuildError(f"{package} is no program")
        built.rename(out / name)
    progress(f"built in {time.monotonic() - begun:.0f} s")
    return out
