"""``modelinstance run`` and ``modelinstance serve``: what serves the endpoint."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Protocol

import click

from modelinstance.app import Operator, Standalone
from modelinstance.cluster.access import Access as ClusterAccess
from modelinstance.cluster.access import AccessError as ClusterAccessError
from modelinstance.commands.options import (
    DEFAULT_PORT,
    Namespace,
    Seconds,
    log_format_option,
    log_level_option,
    set_up_logging,
)
from modelinstance.http.access import Access, OpenAccess, TokenAccess
from modelinstance.settings import (
    DEFAULT_HEARTBEAT_TIMEOUT_SECONDS,
    DEFAULT_NAMESPACE,
    DEFAULT_REMOVE_AFTER_SECONDS,
    DEFAULT_RESYNC_INTERVAL_SECONDS,
    DEFAULT_WRITES_PER_SECOND,
    Settings,
)


class Network(click.ParamType[IPv4Network | IPv6Network]):
    """A range of IP addresses."""

    name = "CIDR"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> IPv4Network | IPv6Network:
        """The range. Fails with what to write instead."""
        try:
            return ip_network(value)
        except ValueError:
            pass
        try:
            hint = f"write {ip_network(value, strict=False)}"
        except ValueError:
            hint = "write for example 10.0.0.0/8 or fd00::/8"
        return self.fail(f"{value!r} is not a network in CIDR notation: {hint}", param, ctx)


class Program(Protocol):
    """What serves until it is told to stop."""

    async def run(self, listener: socket.socket, stop: asyncio.Event) -> None:
        """Serve on a listening socket until ``stop`` is set."""
        ...


Command = Callable[..., None]


def serving(command: Command) -> Command:
    """The options of everything that serves the endpoint."""
    options = (
        click.option(
            "--host", default="127.0.0.1", show_default=True,
            envvar="MODELINSTANCE_HOST", show_envvar=True,
            help="The IP address to serve on: 0.0.0.0 for all of IPv4, :: for IPv6 as well.",
        ),
        click.option(
            "--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(0, 65535),
            envvar="MODELINSTANCE_PORT", show_envvar=True,
            help="The TCP port to serve on; 0 picks a free one, which the log names.",
        ),
        click.option(
            "--heartbeat-timeout", type=Seconds(1, 86400),
            envvar="MODELINSTANCE_HEARTBEAT_TIMEOUT", show_envvar=True,
            help="After how long a silence an instance is Unhealthy that does not say itself. "
            f"Default: {DEFAULT_HEARTBEAT_TIMEOUT_SECONDS:g}.",
        ),
        click.option(
            "--remove-after", type=Seconds(1, 31536000),
            envvar="MODELINSTANCE_REMOVE_AFTER", show_envvar=True,
            help="After how long without a sign of life an instance is removed that came by "
            f"registration over HTTP. Default: {DEFAULT_REMOVE_AFTER_SECONDS:g}.",
        ),
        click.option(
            "--default-namespace", default=DEFAULT_NAMESPACE, show_default=True, type=Namespace(),
            envvar="MODELINSTANCE_DEFAULT_NAMESPACE", show_envvar=True,
            help="Where workers are enrolled that name no namespace.",
        ),
        click.option(
            "--access-token-file", type=click.Path(path_type=Path),
            envvar="MODELINSTANCE_ACCESS_TOKEN_FILE", show_envvar=True,
            help="A file of bearer tokens, one a line, of which each request to /api/ and /metrics "
            "must send one. It may change. Default: everyone is let in.",
        ),
        log_level_option,
        log_format_option,
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.command(
    epilog="A flag goes before its environment variable, and that before the InstanceRegistry "
    "object 'default' in the operator's namespace, where spec.heartbeat.timeoutSeconds, "
    "spec.resyncIntervalSeconds, spec.statusWritesPerSecond and "
    "spec.registration.removeAfterSeconds can be set."
)
@serving
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
    "--resync-interval",
    type=Seconds(1, 3600),
    envvar="MODELINSTANCE_RESYNC_INTERVAL",
    show_envvar=True,
    help="How often all instances are listed anew, to repair what a watch missed. "
    f"Default: {DEFAULT_RESYNC_INTERVAL_SECONDS:g}.",
)
@click.option(
    "--status-writes-per-second",
    type=click.IntRange(1, 10000),
    envvar="MODELINSTANCE_STATUS_WRITES_PER_SECOND",
    show_envvar=True,
    help="How many statuses are written in a second at the most, for example after the API server "
    f"was away. Default: {DEFAULT_WRITES_PER_SECOND:g}.",
)
@click.option(
    "--allowed-network",
    "allowed_networks",
    multiple=True,
    type=Network(),
    envvar="MODELINSTANCE_ALLOWED_NETWORK",
    show_envvar=True,
    help="A network to which the operator connects where a resource names an address in it, as for "
    "spec.probe; repeatable (in the variable: separated by spaces). Loopback and link-local "
    "addresses take a network that lies wholly among them. Default: all addresses but loopback, "
    "link-local and the API server.",
)
@click.option(
    "--pods/--no-pods",
    default=True,
    show_default=True,
    envvar="MODELINSTANCE_PODS",
    show_envvar=True,
    help="Keep a ModelInstance for each pod that has the label modelinstance.dev/model, and know "
    "of an instance what its pod shows.",
)
@click.option(
    "--kubeconfig",
    envvar=["MODELINSTANCE_KUBECONFIG", "KUBECONFIG"],
    show_envvar=True,
    help="How to reach the cluster. Default: the pod's service account, or ~/.kube/config.",
)
def run(
    *,
    host: str,
    port: int,
    namespaces: tuple[str, ...],
    operator_namespace: str | None,
    default_namespace: str,
    heartbeat_timeout: float | None,
    resync_interval: float | None,
    remove_after: float | None,
    status_writes_per_second: int | None,
    allowed_networks: tuple[IPv4Network | IPv6Network, ...],
    pods: bool,
    kubeconfig: str | None,
    access_token_file: Path | None,
    log_level: str,
    log_format: str,
) -> None:
    """Run the operator and its HTTP endpoint, in a cluster or by kubeconfig."""
    set_up_logging(log_level, log_format)
    settings = Settings(
        operator_namespace=operator_namespace or ClusterAccess.pod_namespace() or "default",
        namespaces=tuple(dict.fromkeys(namespaces)),
        default_namespace=default_namespace,
        kubeconfig=kubeconfig,
        heartbeat_timeout=heartbeat_timeout,
        resync_interval=resync_interval,
        remove_after=remove_after,
        status_writes=status_writes_per_second,
        allowed_networks=tuple(dict.fromkeys(allowed_networks)),
        pods=pods,
    )
    access = _access(access_token_file)

    async def start() -> Program:
        try:
            await (await ClusterAccess(kubeconfig).client()).close()
        except ClusterAccessError as error:
            raise click.ClickException(str(error)) from error
        return Operator(settings, access)

    _serve(host, port, start)


@click.command()
@serving
def serve(
    *,
    host: str,
    port: int,
    default_namespace: str,
    heartbeat_timeout: float | None,
    remove_after: float | None,
    access_token_file: Path | None,
    log_level: str,
    log_format: str,
) -> None:
    """Serve a registry in memory, without a cluster: for a laptop or a test."""
    set_up_logging(log_level, log_format)
    access = _access(access_token_file)

    async def start() -> Program:
        return Standalone(
            access,
            heartbeat_timeout=heartbeat_timeout or DEFAULT_HEARTBEAT_TIMEOUT_SECONDS,
            default_namespace=default_namespace,
            remove_after=remove_after or DEFAULT_REMOVE_AFTER_SECONDS,
        )

    _serve(host, port, start)


def _access(token_file: Path | None) -> Access:
    if token_file is None:
        return OpenAccess()
    try:
        return TokenAccess(token_file)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"--access-token-file={token_file}: {error}") from error


def _serve(host: str, port: int, start: Callable[[], Awaitable[Program]]) -> None:
    """Listen, and run a program until a signal to stop."""

    async def work(listener: socket.socket) -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        program = await start()
        where, at = listener.getsockname()[:2]
        logging.getLogger(__name__).info("serving on %s port %d", where, at)
        await program.run(listener, stop)

    with _listen(host, port) as listener, asyncio.Runner() as runner:
        runner.run(work(listener))


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket whose connections send at once.

    asyncio sees to that for sockets that it makes itself. Else a body that is written after its
    head would wait for the client to acknowledge the head, some 40 ms.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server(
            (host, port),
            family=family,
            backlog=2048,
            dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
        )
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise click.ClickException(
            f"cannot serve on --host={host} --port={port}: {error.strerror}; choose an address of "
            f"this machine and a free port"
        ) from error
    return listener
