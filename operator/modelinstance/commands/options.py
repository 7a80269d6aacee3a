"""What the options of several commands have in common: their types, and the log."""

from __future__ import annotations

import logging
import re
from typing import Any

import click

from modelinstance.registry.instance import DNS_LABEL

LOG_LEVELS = ("debug", "info", "warning", "error")
TEXT, JSON = "text", "json"
DEFAULT_PORT = 8080
"""Where a registry serves unless it is told otherwise."""
TEXT_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
NAMESPACE = re.compile(DNS_LABEL)
HOST = re.compile(r"[\w-]{1,63}(?:\.[\w-]{1,63})*\.?|[0-9a-fA-F]*:[0-9a-fA-F:.]*(?:%[\w.-]+)?")
"""What may be resolved: a name, not necessarily of DNS alone, or an IP address."""


def is_host(host: str | None) -> bool:
    """Whether a host of a URL may be one at all."""
    return host is not None and bool(HOST.fullmatch(host))


def shown(url: str) -> str:
    """A wrong URL in an error; not where it may hold a password or a token."""
    return "the value (not shown, it may hold a secret)" if {"@", "?"} & {*url} else repr(url)


class Seconds(click.ParamType[float]):
    """A whole number of seconds, as in the resources."""

    name = "SECONDS"

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number. Fails with what to write instead."""
        try:
            seconds = int(value)
        except ValueError:
            seconds = -1
        if not self.least <= seconds <= self.most:
            self.fail(
                f"{value!r} is not a whole number of seconds from {self.least} to {self.most}",
                param,
                ctx,
            )
        return float(seconds)


class Namespace(click.ParamType[str]):
    """The name of a namespace."""

    name = "NAMESPACE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name. Fails with what to write instead."""
        if not NAMESPACE.fullmatch(value):
            self.fail(
                f"{value!r} is not the name of a namespace: write lower-case letters, digits and "
                f"'-', at most 63",
                param,
                ctx,
            )
        return str(value)


log_level_option = click.option(
    "--log-level", default="info", show_default=True, type=click.Choice(LOG_LEVELS),
    envvar="MODELINSTANCE_LOG_LEVEL", show_envvar=True,
    help="The least level that is logged.",
)  # fmt: skip


log_format_option = click.option(
    "--log-format", default=TEXT, show_default=True, type=click.Choice([TEXT, JSON]),
    envvar="MODELINSTANCE_LOG_FORMAT", show_envvar=True,
    help="How it is logged: as text, or as JSON, in either case an entry a line.",
    is_eager=True,  # so that it is known when another one is wrong
)  # fmt: skip


class OneLine(logging.Formatter):
    """Keeps a message on its line: what others sent must not look like another entry."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The entry, with control characters escaped."""
        record.message = CONTROL.sub(lambda found: repr(found[0])[1:-1], record.message)
        return super().formatMessage(record)


def _json_lines() -> logging.Formatter:
    """What makes JSON of an entry; its library is for those alone who ask for it."""
    from modelinstance.commands.jsonlog import JsonLines  # noqa: PLC0415

    return JsonLines()


def set_up_logging(level: str, form: str) -> None:
    """Log to standard error, an entry a line."""
    handler = logging.StreamHandler()
    handler.setFormatter(_json_lines() if form == JSON else OneLine(TEXT_FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    for name in ("kopf", "uvicorn"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
    # It warns of each request that is no HTTP, which any caller may send.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    # It warns that it leaves signals alone, which is what is wanted of it.
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
