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
    echo "$$" >> "{state}/builds"
    read -r verdict < "{state}/gate"
    [ "$verdict" = ok ] || {{ echo "main.go:1: does not compile"; exit 1; }}
    for name in kube-apiserver kubectl server; do
        printf '#!/bin/sh\\n' > "$2$name"
        chmod +x "$2$name"
    done ;;
esac
"""


class FakeGo:
    """A `go` that counts its builds and lets each go on when the test says how it ends."""

    def __init__(self, directory: Path, version: str) -> None:
        self.bin = directory / "bin"
        self._state = directory
        self.bin.mkdir(parents=True)
        os.mkfifo(directory / "gate")
        os.mkfifo(directory / "builds")
        self._builds = os.open(directory / "builds", os.O_RDWR)
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
        """Let the build that waits succeed, or fail for any other verdict."""
        (self._state / "gate").write_text(f"{verdict}\n", encoding="ascii")

    def close(self) -> None:
        """Close what the test's process holds open."""
        os.close(self._builds)
