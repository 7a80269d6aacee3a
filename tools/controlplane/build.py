"""One `go build` of the three programs, in a folder of its own."""

import shutil
import time
from pathlib import Path

from controlplane.errors import BuildError
from controlplane.guard import GuardedProcess
from controlplane.pins import MODULE_DIR, PACKAGES, Pins, host_platform
from controlplane.toolchain import Go, Progress

_REPORT_EVERY = 15.0


def build(pins: Pins, go: Go, scratch: Path, progress: Progress) -> Path:
    """Build in `scratch`; the folder in it that then holds etcd, kube-apiserver and kubectl.

    Go ends with this process, however that ends, and the pinned files are only read.
    """
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(MODULE_DIR / name, scratch / name)
    out = scratch / "bin"
    out.mkdir()
    goos, goarch = host_platform()
    environ = {**go.environ, "GOOS": goos, "GOARCH": goarch, "CGO_ENABLED": "0", "GOWORK": "off"}
    progress(
        f"building kube-apiserver and kubectl {pins.kubernetes} and etcd {pins.etcd} "
        f"from the modules pinned in {MODULE_DIR / 'go.mod'} with {go.program} ({go.version})"
    )
    progress("the first build takes some 4 minutes on two cores; the result is kept")
    begun = time.monotonic()
    process = GuardedProcess(
        [str(go.program), "build", *pins.build_flags(), "-o", f"{out}/", *PACKAGES],
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
    (out / "server").rename(out / "etcd")  # go names a program after the last part of its path
    progress(f"built in {time.monotonic() - begun:.0f} s")
    return out
