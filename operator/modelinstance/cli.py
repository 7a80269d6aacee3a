"""The command ``modelinstance``."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import socket
import sys
from typing import Any

import click

from modelinstance.app import Operator
from modelinstance.cluster.access import Access, AccessError
from modelinstance.settings import (
    DEFAULT_HEARTBEAT_TIMEOUT_SECONDS,
    DEFAULT_RESYNC_INTERVAL_SECONDS,
    Settings,
)

LOG_LEVELS = ("debug", "info", "warning", "error")
NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


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


@click.group(context_settings={"auto_envvar_prefix": "MODELINSTANCE", "max_content_width": 100})
@click.version_option(package_name="modelinstance-operator")
def cli() -> None:
    """A live registry of running model-serving instances, as a Kubernetes operator."""


@cli.command(
    epilog="A flag goes before its environment variable, and that before the InstanceRegistry "
    "object 'default' in the operator's namespace, where spec.heartbeat.timeoutSeconds and "
    "spec.resyncIntervalSeconds can be set."
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    envvar="MODELINSTANCE_HOST",
    show_envvar=True,
    help="The IP address to serve on; 0.0.0.0 for all.",
)
@click.option(
    "--port",
    default=8080,
    show_default=True,
    type=click.IntRange(0, 65535),
    envvar="MODELINSTANCE_PORT",
    show_envvar=True,
    help="The TCP port to serve on; 0 picks a free one, which the log names.",
)
@click.option(
    "--namespace",
    "namespaces",
    multiple=True,
    type=Namespace(),
    envvar="MODELINSTANCE_NAMESPACE",
    show_envvar=True,
    help="A namespace whose instances are mirrored; repeatable (in the variable: separated by "
    "spaces). Default: all namespaces.",
)
@click.option(
    "--operator-namespace",
    type=Namespace(),
    envvar="MODELINSTANCE_OPERATOR_NAMESPACE",
    show_envvar=True,
    help="Where the InstanceRegistry lives. Default: the pod's namespace, or 'default' outside of "
    "a cluster.",
)
@click.option(
    "--heartbeat-timeout",
    type=Seconds(1, 86400),
    envvar="MODELINSTANCE_HEARTBEAT_TIMEOUT",
    show_envvar=True,
    help="After how long a silence an instance is Unhealthy whose resource does not say. "
    f"Default: {DEFAULT_HEARTBEAT_TIMEOUT_SECONDS:g}.",
)
@click.option(
    "--resync-interval",
    type=Seconds(1, 3600),
    envvar="MODELINSTANCE_RESYNC_INTERVAL",
    show_envvar=True,
    help="How often all instances are listed anew, to repair what a watch missed. "
    f"Default: {DEFAULT_RESYNC_INTERVAL_SECONDS:g}.",
)
@click.option(
    "--kubeconfig",
    envvar=["MODELINSTANCE_KUBECONFIG", "KUBECONFIG"],
    show_envvar=True,
    help="How to reach the cluster. Default: the pod's service account, or ~/.kube/config.",
)
@click.option(
    "--log-level", default="info", show_default=True, type=click.Choice(LOG_LEVELS),
    envvar="MODELINSTANCE_LOG_LEVEL", show_envvar=True, help="The least level that is logged.",
)  # fmt: skip
def run(
    *,
    host: str,
    port: int,
    namespaces: tuple[str, ...],
    operator_namespace: str | None,
    heartbeat_timeout: float | None,
    resync_interval: float | None,
    kubeconfig: str | None,
    log_level: str,
) -> None:
    """Run the operator and its HTTP endpoint, in a cluster or by kubeconfig."""
    _set_up_logging(log_level)
    settings = Settings(
        operator_namespace=operator_namespace or Access.pod_namespace() or "default",
        namespaces=tuple(dict.fromkeys(namespaces)),
        kubeconfig=kubeconfig,
        heartbeat_timeout=heartbeat_timeout,
        resync_interval=resync_interval,
    )
    with (
        _listen(host, port) as listener,
        asyncio.Runner() as runner,
    ):
        runner.run(_run(settings, listener))


async def _run(settings: Settings, listener: socket.socket) -> None:
    try:
        await (await Access(settings.kubeconfig).client()).close()
    except AccessError as error:
        raise click.ClickException(str(error)) from error
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    host, port = listener.getsockname()[:2]
    logging.getLogger(__name__).info("serving on %s port %d", host, port)
    await Operator(settings).run(listener, stop)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise click.ClickException(
            f"cannot serve on --host={host} --port={port}: {error.strerror}; choose an address of "
            f"this machine and a free port"
        ) from error


def _set_up_logging(level: str) -> None:
    logging.basicConfig(
        level=level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    for name in ("kopf", "uvicorn"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
    # It warns that it leaves signals alone, which is what is wanted of it.
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)


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
