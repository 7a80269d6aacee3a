"""``modelinstance agent``: the sidecar beside an LLM engine.

It imports nothing of the operator: it is to be small.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
from pathlib import Path
from random import Random
from typing import Any

import click

from modelinstance.agent import pod as downward
from modelinstance.agent.metrics import ENGINES
from modelinstance.agent.models import MAX_ALIASES
from modelinstance.agent.run import Agent
from modelinstance.agent.settings import AgentSettings, Target
from modelinstance.commands.agent_options import (
    AgentCommand,
    Duration,
    Host,
    Label,
    ModelName,
    Registry,
    RoutePath,
    agent_option,
)
from modelinstance.commands.options import (
    Namespace,
    Seconds,
    log_format_option,
    log_level_option,
    set_up_logging,
)

MAX_LABELS = 32


@click.command(
    cls=AgentCommand,
    epilog="The agent never ends because of what an engine or a registry does: it says so in its "
    "log, once, and tries again. A wrong flag ends it with status 2; in a pod, which is where "
    f"{downward.UID} is set, it says what is wrong and does nothing until SIGTERM, so that it does "
    "not make the pod fail.",
)
@agent_option(
    "--registry",
    "registries",
    multiple=True,
    type=Registry(),
    envvar="MODELINSTANCE_REGISTRY",
    help="A registry to tell; repeatable (in the variable: separated by spaces). Every address of "
    "its host name is told, so that the name of a headless Service means all its replicas.",
)
@agent_option(
    "--host",
    type=Host(),
    envvar=["MODELINSTANCE_AGENT_HOST", downward.IP],
    help="Where routers reach the engine; the agent asks it there as well, and nowhere else.",
)
@agent_option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(1, 65535),
    help="The engine's port.",
)
@agent_option(
    "--scheme",
    default="http",
    show_default=True,
    type=click.Choice(["http", "https"]),
    help="How the engine is spoken to.",
)
@agent_option(
    "--base-path",
    default="",
    type=RoutePath(base=True),
    help="What routers put before the path of a call. It may end with /v1, which the agent then "
    "does not add; health and metrics are asked without it.",
)
@agent_option(
    "--engine",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", *ENGINES]),
    help="Whose names the metrics have; auto takes those that are there.",
)
@agent_option(
    "--model",
    type=ModelName(),
    help="The name of the model. Default: the first that the engine lists.",
)
@agent_option(
    "--alias",
    "aliases",
    multiple=True,
    type=ModelName(),
    help="A name under which routers find it as well, before the other names that the engine "
    "lists; repeatable (in the variable: separated by spaces). "
    f"{MAX_ALIASES} are taken, all in all.",
)
@agent_option(
    "--weight",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 21474836),
    help="Its share of the requests; 0 is listed and never picked.",
)
@agent_option(
    "--label",
    "labels",
    multiple=True,
    type=Label(),
    help="A label of the instance, for selectors; repeatable (in the variable: separated by "
    "spaces).",
)
@agent_option(
    "--namespace",
    type=Namespace(),
    envvar=["MODELINSTANCE_AGENT_NAMESPACE", downward.NAMESPACE],
    help="The namespace of the instance. Default: the registry's.",
)
@agent_option(
    "--heartbeat-timeout",
    type=Seconds(1, 86400),
    help="After how long a silence the instance is Unhealthy; at least three periods. Default: the "
    "registry's.",
)
@agent_option(
    "--health-path",
    default="/health",
    show_default=True,
    type=RoutePath(),
    help="The route that answers with 200 while the engine is well.",
)
@agent_option(
    "--period",
    default=5.0,
    show_default=True,
    type=Duration(0.1, 300),
    help="How often the engine is asked and the registries are told.",
)
@agent_option(
    "--timeout",
    default=5.0,
    show_default=True,
    type=Duration(0.1, 300),
    help="How long an answer of the engine or of a registry may take.",
)
@agent_option(
    "--failure-threshold",
    default=3,
    show_default=True,
    type=click.IntRange(1, 100),
    help="After how many failures in a row the registries are told that it cannot answer.",
)
@agent_option(
    "--success-threshold",
    default=1,
    show_default=True,
    type=click.IntRange(1, 100),
    help="After how many successes in a row they are told that it can.",
)
@agent_option(
    "--completion-interval",
    default=60.0,
    show_default=True,
    type=Duration(0, 86400),
    help="How often the engine is asked for a completion of one token; 0 for never, as for an "
    "engine that makes only embeddings.",
)
@agent_option(
    "--completion-timeout",
    default=10.0,
    show_default=True,
    type=Duration(0.1, 3600),
    help="How long a completion may take.",
)
@agent_option(
    "--drain-seconds",
    default=5.0,
    show_default=True,
    type=Duration(0, 3600),
    help="After SIGTERM, how long it waits from the drain to the goodbye. It has to be less than "
    "the pod's terminationGracePeriodSeconds.",
)
@agent_option(
    "--token-file",
    type=click.Path(path_type=Path),
    help="A file that holds the bearer token for the registries. It may change, and be missing.",
)
@agent_option(
    "--engine-token-file",
    type=click.Path(path_type=Path),
    help="A file that holds the bearer token, or API key, that the engine asks for.",
)
@log_level_option
@log_format_option
def agent(
    *,
    registries: tuple[str, ...],
    host: str | None,
    port: int,
    scheme: str,
    base_path: str,
    aliases: tuple[str, ...],
    weight: float,
    labels: tuple[tuple[str, str], ...],
    namespace: str | None,
    heartbeat_timeout: float | None,
    period: float,
    log_level: str,
    log_format: str,
    **others: Any,
) -> None:
    """Stand beside an LLM engine: ask whether it truly answers, and tell registries."""
    if not registries:
        raise click.UsageError(
            "--registry is missing: write the URL of a registry, for example "
            "http://modelinstance.modelinstance-system.svc"
        )
    if host is None:
        raise click.UsageError(
            f"--host is missing: write the address at which routers reach the engine, or set "
            f"{downward.IP} to the pod's IP by the downward API"
        )
    _check(aliases, weight, dict(labels), heartbeat_timeout, period)
    set_up_logging(log_level, log_format)
    settings = AgentSettings(
        registries=tuple(dict.fromkeys(registries)),
        target=Target(host, port, scheme, base_path),
        aliases=aliases,
        weight=round(weight, 2),
        labels=dict(labels),
        namespace=namespace,
        pod=downward.Surroundings.of(os.environ).pod_in(namespace),
        heartbeat_timeout=None if heartbeat_timeout is None else int(heartbeat_timeout),
        period=period,
        **others,
    )
    with asyncio.Runner() as runner:
        runner.run(_work(settings))


def _check(
    aliases: tuple[str, ...],
    weight: float,
    labels: dict[str, str],
    heartbeat_timeout: float | None,
    period: float,
) -> None:
    """What is wrong only together, or in number."""
    if len(aliases) > MAX_ALIASES:
        raise click.UsageError(f"--alias is given {len(aliases)} times: write at most 16")
    if len(labels) > MAX_LABELS:
        raise click.UsageError(f"--label is given {len(labels)} times: write at most 32")
    if not (weight == 0 or weight >= 0.01):
        raise click.UsageError(
            f"--weight={weight:g}: the least weight above 0 is 0.01; 0 is listed and never picked"
        )
    if heartbeat_timeout is not None and heartbeat_timeout < 3 * period:
        raise click.UsageError(
            f"--heartbeat-timeout={heartbeat_timeout:g} is less than three times --period="
            f"{period:g}: one lost heartbeat would make the instance Unhealthy; write at least "
            f"{math.ceil(3 * period)}"
        )


async def _work(settings: AgentSettings) -> None:
    """Run until a signal; a second one makes haste."""
    stop, hurry = asyncio.Event(), asyncio.Event()

    def end() -> None:
        (hurry if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    logging.getLogger("modelinstance.agent").info(
        "beside the engine at %s, for %s", settings.target.root, ", ".join(settings.registries)
    )
    await Agent(settings, random=Random()).run(stop, hurry)  # noqa: S311 - spreads load
