"""A `go` for the tests of the builder."""

import os
import select
from pathlib import Path

FAKE_GO = """\
#!/bin/sh
case "$1" in
version) echo "go version go{version} linux/amd64" ;;
build)
    while [ "$1" != -o ]; do shift; done
    out=$2
    shift 2
    echo "$$" >> "{state}/builds"
    read -r verdict < "{state}/gate"
    [ "$verdict" = ok ] || {{ echo "main.go:1: does not compile"; exit 1; }}
    for package in "$@"; do
        name=${{package##*/}}
        [ "$name" != library ] || continue
        case "$name" in v[0-9]*) package=${{package%/*}}; name=${{package##*/}} ;; esac
        printf '#!/bin/sh\\n# %s\\n' "$package" > "$out$name"
        chmod +x "$out$name"
    done ;;
esac
"""


class FakeGo:
    """A `go` that counts its builds and lets each go on when the test says how it ends.

    It names programs as Go does, and each holds the path of its package without a version. A
    package called `library` becomes no program.
    """

    def __init__(self, directory: Path, version: str) -> None:
        self.bin = directory / "bin"
        self.bin.mkdir(parents=True)
        self._gate = self._fifo(directory / "gate")
        self._builds = self._fifo(directory / "builds")
        program = self.bin / "go"
        program.write_text(FAKE_GO.format(version=version, state=directory), encoding="utf-8")
        program.chmod(0o755)

    def await_build(self, timeout: float = 30) -> int:
        """Wait until a build has begun; its pid."""
        ready, _, _ = select.select([self._builds], [], [], timeout)
        assert ready, "no build has begun"
        return int(os.read(self._builds, 64).split()[0])

    def no_build_begun(self) -> bool:
        """Whether no build has begun that `await_build` has not told of."""
        return not select.select([self._builds], [], [], 0)[0]

    def finish(self, verdict: str = "ok") -> None:
        """Let the build that waits, or else the next, succeed, or fail for any other verdict."""
        os.write(self._gate, f"{verdict}\n".encode())

    def close(self) -> None:
        """Close what the test's process holds open."""
        os.close(self._gate)
        os.close(self._builds)

    @staticmethod
    def _fifo(path: Path) -> int:
        os.mkfifo(path)
        return os.open(path, os.O_RDWR)
