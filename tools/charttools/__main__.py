"""Commands: build the chart's tools, or tell where they are."""

import argparse
import sys

from charttools.tools import ensure, tools_dir
from guarded.errors import ToolError


def main(argv: list[str]) -> int:
    """Run one command; its exit code."""
    args = _parser().parse_args(argv)
    try:
        if args.command == "build":
            ensure()
        print(tools_dir())
    except ToolError as error:
        print(f"charttools: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m charttools", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build the programs unless they are there, print their dir")
    commands.add_parser("path", help="print the programs' directory")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
