"""Commands: build the control plane, tell where it is, or run one in the foreground."""

import argparse
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from controlplane.binaries import binaries_dir, ensure
from controlplane.errors import ToolError
from controlplane.plane import ControlPlane


def main(argv: list[str]) -> int:
    """Run one command; its exit code."""
    args = _parser().parse_args(argv)
    try:
        if args.command == "build":
            ensure()
            print(binaries_dir())
        elif args.command == "path":
            print(binaries_dir())
        else:
            return _up(args.dir)
    except ToolError as error:
        print(f"controlplane: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m controlplane", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build the programs unless they are there, print their dir")
    commands.add_parser("path", help="print the programs' directory")
    up = commands.add_parser("up", help="run a control plane until Ctrl-C")
    up.add_argument("--dir", type=Path, help="keep its data there (default: a temporary one)")
    return parser


def _up(directory: Path | None) -> int:
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell lets what it runs beside it ignore one
        signal.signal(number, _interrupt)
    binaries = ensure()
    with ExitStack() as stack:
        if directory is None:
            scratch = tempfile.TemporaryDirectory(prefix="controlplane-")
            directory = Path(stack.enter_context(scratch))
        plane = stack.enter_context(ControlPlane(binaries, directory))
        try:
            print(f"export KUBECONFIG={plane.kubeconfig()}", flush=True)
            print(f"controlplane: {plane.url}, logs in {plane.directory}", file=sys.stderr)
            code = plane.wait()
        except KeyboardInterrupt:
            return 0
        print(f"controlplane: kube-apiserver ended with {code}", file=sys.stderr)
        return 1


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
