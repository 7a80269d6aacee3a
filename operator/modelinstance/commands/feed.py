"""``modelinstance feed``: keep the workers of running routers equal to the registry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from modelinstance.client.connection import Connection
from modelinstance.client.following import Follower
from modelinstance.commands.following import BaseUrl, following, run_until_told
from modelinstance.commands.options import Seconds, set_up_logging, shown
from modelinstance.feed.feeding import Manner
from modelinstance.feed.feeding import feed as keep
from modelinstance.feed.routers import Router
from modelinstance.feed.sglang import SGLangRouter
from modelinstance.feed.state import State, StateError
from modelinstance.feed.vllm import VLLMRouter

KINDS: dict[str, Callable[[str, Path | None], Router]] = {
    "sglang": SGLangRouter,
    "vllm": VLLMRouter,
}
DEFAULT_INTERVAL_SECONDS = 5


class RouterAddress(click.ParamType[tuple[str, str]]):
    """``KIND=URL``."""

    name = "KIND=URL"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """The kind and the base URL. Fails with what to write instead."""
        kind, equals, url = str(value).partition("=")
        if not equals or kind not in KINDS:
            self.fail(
                f"{shown(value)} names no kind of router: write {' or '.join(KINDS)}, '=' and its "
                f"URL, for example sglang=http://127.0.0.1:30000",
                param,
                ctx,
            )
        return kind, BaseUrl().convert(url, param, ctx)


@click.command(
    epilog="It leaves alone what others have added to a router, and says so. At its end the "
    "routers stay as they are."
)
@following
@click.option(
    "--router", "routers", multiple=True, required=True, type=RouterAddress(),
    envvar="MODELINSTANCE_ROUTER", show_envvar=True,
    help="A router to feed: sglang=URL (sglang-router) or vllm=URL (vllm-router); repeatable (in "
    "the variable: separated by spaces).",
)  # fmt: skip
@click.option(
    "--router-token-file", type=click.Path(path_type=Path),
    envvar="MODELINSTANCE_ROUTER_TOKEN_FILE", show_envvar=True,
    help="A file with the bearer token for the routers (their --api-key). It may change.",
)  # fmt: skip
@click.option(
    "--state", "state_file", type=click.Path(path_type=Path, dir_okay=False),
    envvar="MODELINSTANCE_STATE", show_envvar=True,
    help="A file to remember in what was added, so that after a restart workers are removed that "
    "the registry does not list any more. One for each feed.",
)  # fmt: skip
@click.option(
    "--exclusive", is_flag=True, envvar="MODELINSTANCE_EXCLUSIVE", show_envvar=True,
    help="All workers of the routers are the feed's: remove also those that it did not add.",
)  # fmt: skip
@click.option(
    "--interval", default=DEFAULT_INTERVAL_SECONDS, show_default=True, type=Seconds(1, 3600),
    envvar="MODELINSTANCE_INTERVAL", show_envvar=True,
    help="How often routers are compared, besides after each change.",
)  # fmt: skip
def feed(
    *,
    registry: str,
    model: str | None,
    selector: str | None,
    namespace: str | None,
    hold: float,
    token_file: Path | None,
    log_level: str,
    log_format: str,
    routers: tuple[tuple[str, str], ...],
    router_token_file: Path | None,
    state_file: Path | None,
    exclusive: bool,
    interval: float,
) -> None:
    """Keep the workers of running routers equal to what the registry selects."""
    set_up_logging(log_level, log_format)
    try:
        state = State(state_file)
    except StateError as error:
        raise click.ClickException(f"--state={state_file}: {error}") from error

    async def work() -> None:
        async with Connection(registry, token_file=token_file) as connection:
            follower = Follower(
                connection, hold=hold, model=model, namespace=namespace, selector=selector
            )
            await keep(
                follower,
                [KINDS[kind](url, router_token_file) for kind, url in dict.fromkeys(routers)],
                state,
                Manner(interval=interval, hold=hold, exclusive=exclusive),
                mixed=model is None,
            )

    run_until_told(work())
