"""The command ``modelinstance``.

A sub-command is imported when it is asked for: an agent beside an engine has no use for the
libraries of the operator, and should not have to hold them in memory.
"""

from __future__ import annotations

import importlib
import sys

import click

COMMANDS = {
    "agent": "modelinstance.commands.agent:agent",
    "export": "modelinstance.commands.export:export",
    "feed": "modelinstance.commands.feed:feed",
    "run": "modelinstance.commands.serving:run",
    "serve": "modelinstance.commands.serving:serve",
    "why": "modelinstance.commands.why:why",
}
"""Where each sub-command is found."""


class Commands(click.Group):
    """The sub-commands of `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One of them, imported now; ``None`` if there is none of that name."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(
    cls=Commands,
    context_settings={"auto_envvar_prefix": "MODELINSTANCE", "max_content_width": 100},
)
@click.version_option(package_name="modelinstance-operator")
def cli() -> None:
    """A live registry of running model-serving instances, as a Kubernetes operator."""


def main() -> None:
    """Run the command; an error is one line on standard error."""
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.ClickException as error:
        click.echo(f"modelinstance: {error.format_message()}", err=True)
        code = error.exit_code
    except click.Abort:
        code = 130
    sys.exit(code)
