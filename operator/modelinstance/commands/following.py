"""What ``feed`` and ``export`` have in common: which registry to follow, and when to end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from modelinstance.client.errors import RegistryUnavailableError
from modelinstance.commands.options import (
    DEFAULT_PORT,
    Namespace,
    Seconds,
    is_host,
    log_format_option,
    log_level_option,
    shown,
)

DEFAULT_HOLD_SECONDS = 30
LOCAL_REGISTRY = f"http://127.0.0.1:{DEFAULT_PORT}"
"""A registry on this machine, as it is for who is in the operator's pod."""
C = TypeVar("C", bound=Callable[..., None])


class BaseUrl(click.ParamType[str]):
    """The base URL of a registry or a router."""

    name = "URL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The URL. Fails with what to write instead; what may be a password is not repeated."""
        try:
            parts = urlsplit(value)
            good = parts.scheme in {"http", "https"} and is_host(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good:
            self.fail(
                f"{shown(value)} is not the base URL of a server: write http://HOST:PORT",
                param, ctx,
            )  # fmt: skip
        if "@" in parts.netloc:
            self.fail(
                f"the URL for {parts.hostname} names a user: put a bearer token into a file",
                param, ctx,
            )  # fmt: skip
        if parts.query or parts.fragment:
            self.fail(
                f"the URL for {parts.hostname} has a query or a fragment: write it without",
                param, ctx,
            )  # fmt: skip
        return str(value).rstrip("/")


registry_option = click.option(
    "--registry", required=True, type=BaseUrl(),
    envvar="MODELINSTANCE_REGISTRY", show_envvar=True,
    help="The base URL of the registry.",
)  # fmt: skip
local_registry_option = click.option(
    "--registry", default=LOCAL_REGISTRY, show_default=True, type=BaseUrl(),
    envvar="MODELINSTANCE_REGISTRY", show_envvar=True,
    help="The base URL of the registry. Where it runs, as in its pod, it needs not be named.",
)  # fmt: skip
token_file_option = click.option(
    "--token-file", type=click.Path(path_type=Path),
    envvar="MODELINSTANCE_TOKEN_FILE", show_envvar=True,
    help="A file with the bearer token for the registry. It may change.",
)  # fmt: skip


def following(command: C) -> C:
    """The options of everything that follows a registry."""
    options = (
        registry_option,
        click.option(
            "--model", metavar="MODEL", envvar="MODELINSTANCE_MODEL", show_envvar=True,
            help="Only instances of this model, or with this alias. Default: all.",
        ),
        click.option(
            "--selector", metavar="SELECTOR", envvar="MODELINSTANCE_SELECTOR", show_envvar=True,
            help="Only instances with these labels, in the syntax of Kubernetes: tier=gold,!old.",
        ),
        click.option(
            "--namespace", type=Namespace(),
            envvar="MODELINSTANCE_NAMESPACE", show_envvar=True,
            help="Only instances of this namespace. Default: all.",
        ),
        click.option(
            "--hold", default=DEFAULT_HOLD_SECONDS, show_default=True, type=Seconds(0, 3600),
            envvar="MODELINSTANCE_HOLD", show_envvar=True,
            help="How long instances stay in use that a registry does not know after a restart, or "
            "that fall silent as the last ones of their model.",
        ),
        token_file_option,
        log_level_option,
        log_format_option,
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def run_until_told(work: Coroutine[Any, Any, None]) -> None:
    """Run until the work is done, or SIGTERM or SIGINT comes.

    Raises `click.ClickException` when the registry says that the query is wrong.
    """

    async def run() -> None:
        task, loop = asyncio.ensure_future(work), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            return

    try:
        asyncio.run(run())
    except* RegistryUnavailableError as group:
        raise click.ClickException(str(group.exceptions[0])) from group
