"""The types of the agent's options, and how they are named."""

from __future__ import annotations

import logging
import math
import os
import re
import signal
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, NoReturn, TypeVar

import click
from yarl import URL

from modelinstance.agent import pod as downward
from modelinstance.agent.models import is_name
from modelinstance.commands.options import TEXT, is_host, set_up_logging, shown
from modelinstance.registry.instance import DNS_LABEL, DNS_NAME
from modelinstance.registry.intake.registrations import MANAGED_BY

F = TypeVar("F", bound=Callable[..., Any] | click.Command)

_LABEL_NAME = r"[A-Za-z0-9](?:[-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?"
_DNS_NAME = re.compile(DNS_NAME)
_LABEL_KEY = re.compile(rf"(?:(?=[^/]{{1,253}}/){DNS_LABEL}(?:\.{DNS_LABEL})*/)?{_LABEL_NAME}")
_LABEL_VALUE = re.compile(rf"(?:{_LABEL_NAME})?")
_PATH = re.compile(r"/[^\s\x00-\x1f\x7f-\x9f?#]*")


class Duration(click.ParamType[float]):
    """A number of seconds, which may be broken."""

    name = "SECONDS"

    def __init__(self, least: float, most: float) -> None:
        self.least, self.most = least, most

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number. Fails with what to write instead."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not self.least <= seconds <= self.most:
            self.fail(
                f"{value!r} is not a number of seconds from {self.least:g} to {self.most:g}",
                param,
                ctx,
            )
        return seconds


class Registry(click.ParamType[str]):
    """The base URL of a registry."""

    name = "URL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The URL. Fails with what to write instead."""
        try:
            url = URL(value)
            plain = url.scheme in {"http", "https"} and is_host(url.host) and bool(url.port)
            plain = plain and url.user is None and url.password is None
            plain = plain and not url.query_string and not url.fragment
        except ValueError:
            plain = False
        if not plain:
            self.fail(
                f"{shown(value)} is not the URL of a registry: write http or https, a host and "
                f"perhaps a port, for example http://modelinstance.modelinstance-system.svc",
                param,
                ctx,
            )
        return str(value)


class Host(click.ParamType[str]):
    """An IP address or a DNS name."""

    name = "HOST"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The host. Fails with what to write instead."""
        try:
            if "%" not in value:  # a zone is about one machine's own interfaces
                return str(ip_address(value))
        except ValueError:
            pass
        host = str(value).lower().removesuffix(".")
        if not _DNS_NAME.fullmatch(host) or host.rpartition(".")[2].isdigit():
            self.fail(
                f"{value!r} is no IP address and no DNS name: write for example 10.0.0.5, fd00::5 "
                f"or vicuna-0.models.svc; no scheme, no port, no brackets",
                param,
                ctx,
            )
        return host


class ModelName(click.ParamType[str]):
    """A name that routers ask for."""

    name = "NAME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name. Fails with what to write instead."""
        if not is_name(value):
            self.fail(
                f"{value!r} is not the name of a model: write 1 to 253 characters with no space at "
                f"either end and no control characters, for example meta-llama/Llama-3.1-8B",
                param,
                ctx,
            )
        return str(value)


class RoutePath(click.ParamType[str]):
    """A path on the engine; ``base`` is one that calls follow upon."""

    name = "PATH"

    def __init__(self, *, base: bool = False) -> None:
        self.base = base

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The path. Fails with what to write instead."""
        if self.base and not value:
            return ""
        if not _PATH.fullmatch(value) or len(value) > 1024 or (self.base and value.endswith("/")):
            instead = "/v1, without '/' at its end" if self.base else "/health"
            self.fail(
                f"{value!r} is not a path: write '/' first, and no space, '?' or '#', for example "
                f"{instead}",
                param,
                ctx,
            )
        return str(value)


class Label(click.ParamType[tuple[str, str]]):
    """A Kubernetes label."""

    name = "KEY=VALUE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Its key and value. Fails with what to write instead."""
        key, equals, wanted = str(value).partition("=")
        if not (equals and _LABEL_KEY.fullmatch(key) and _LABEL_VALUE.fullmatch(wanted)):
            self.fail(
                f"{value!r} is no label: write KEY=VALUE in the syntax of Kubernetes labels, for "
                f"example tier=gold",
                param,
                ctx,
            )
        if key == MANAGED_BY:
            self.fail(f"{MANAGED_BY} is set by the registry: leave it out", param, ctx)
        return key, wanted


class AgentCommand(click.Command):
    """In a pod, wrong settings do not end it: a container that ends makes its pod fail."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """What is wrong with one setting."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            _refuse(ctx, error)

    def invoke(self, ctx: click.Context) -> Any:
        """What is wrong with several of them, or missing."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            _refuse(ctx, error)


def _refuse(ctx: click.Context, error: click.UsageError) -> NoReturn:
    """Raise the error; in a pod, log it and wait for the end of the pod."""
    if not os.environ.get(downward.UID):
        raise error
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    set_up_logging("error", ctx.params.get("log_format") or TEXT)
    logging.getLogger("modelinstance.agent").error(
        "the agent does nothing, as its settings are wrong: %s", error.format_message()
    )
    signal.sigwait(ends)
    ctx.exit(0)


def agent_option(*names: str, **settings: Any) -> Callable[[F], F]:
    """An option with its variable: MODELINSTANCE_AGENT_ and its name.

    Kubernetes itself sets variables such as MODELINSTANCE_PORT, in the namespace of a Service
    ``modelinstance``.
    """
    flag = names[0].removeprefix("--").replace("-", "_").upper()
    variable = settings.pop("envvar", f"MODELINSTANCE_AGENT_{flag}")
    return click.option(*names, envvar=variable, show_envvar=True, **settings)
