"""``modelinstance export``: keep a file equal to the registry, in the form that a router reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import yaml

from modelinstance.client.connection import Connection
from modelinstance.client.following import Follower
from modelinstance.commands.following import following, run_until_told
from modelinstance.commands.options import set_up_logging
from modelinstance.export import plain
from modelinstance.export.envoy import EnvoyEndpoints
from modelinstance.export.exporter import Exporter
from modelinstance.export.litellm import LiteLLM
from modelinstance.export.production_stack import ProductionStack
from modelinstance.export.rendering import BaseError, Render

LITELLM, VLLM_ROUTER, ENVOY_FILE, JSON = "litellm", "vllm-router", "envoy-file", "json"


@click.command(
    epilog="The file is replaced whole, only when its content changes, and stays as it is while "
    "the registry cannot be reached."
)
@following
@click.option(
    "--format", "form", required=True,
    type=click.Choice([LITELLM, VLLM_ROUTER, ENVOY_FILE, JSON]),
    envvar="MODELINSTANCE_FORMAT", show_envvar=True,
    help="What reads it: LiteLLM's proxy; the router of vLLM's production stack; Envoy, for the "
    "one cluster that is named like --model; or a program of your own.",
)  # fmt: skip
@click.option(
    "--watch", "path", required=True, metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="MODELINSTANCE_WATCH", show_envvar=True,
    help="The file to keep. Its directory has to be there.",
)  # fmt: skip
@click.option(
    "--base", type=click.Path(path_type=Path, dir_okay=False),
    envvar="MODELINSTANCE_BASE", show_envvar=True,
    help="A file with the other settings (YAML for litellm, JSON for vllm-router), which is read "
    "at the start.",
)  # fmt: skip
@click.option(
    "--once", is_flag=True, envvar="MODELINSTANCE_ONCE", show_envvar=True,
    help="End when the file is as the registry says.",
)  # fmt: skip
def export(
    *,
    registry: str,
    model: str | None,
    selector: str | None,
    namespace: str | None,
    hold: float,
    token_file: Path | None,
    log_level: str,
    log_format: str,
    form: str,
    path: Path,
    base: Path | None,
    once: bool,
) -> None:
    """Keep a file equal to what the registry selects, in the form that a router reads."""
    set_up_logging(log_level, log_format)
    render = _render(form, model, base, path)

    async def work() -> None:
        async with Connection(registry, token_file=token_file) as connection:
            follower = Follower(
                connection, hold=hold, model=model, namespace=namespace, selector=selector
            )
            await Exporter(path, render, follower).run(once=once)

    try:
        run_until_told(work())
    except* OSError as group:
        raise click.ClickException(f"--watch={path}: {group.exceptions[0]}") from group


def _render(form: str, model: str | None, base: Path | None, path: Path) -> Render:
    """The format that the flags ask for. Raises `click.ClickException` for what does not fit."""
    if base is not None and form not in {LITELLM, VLLM_ROUTER}:
        raise click.UsageError(f"--base={base}: a file of --format={form} has no other settings")
    if base is not None and base.resolve() == path.resolve():
        raise click.UsageError(
            f"--base={base} is the file of --watch, which is replaced: name another file"
        )
    if form == ENVOY_FILE:
        if model is None:
            raise click.UsageError(
                f"--format={form} needs --model: Envoy takes a file for one cluster alone"
            )
        return EnvoyEndpoints(model)
    try:
        if form == LITELLM:
            return LiteLLM(_settings(base, yaml.safe_load))
        if form == VLLM_ROUTER:
            return ProductionStack(_settings(base, json.loads))
    except (OSError, ValueError, yaml.YAMLError, BaseError) as error:
        raise click.ClickException(f"--base={base}: {error}".replace("\n", " ")) from error
    return plain.render


def _settings(base: Path | None, parse: Any) -> Any:
    return None if base is None else parse(base.read_text(encoding="utf-8"))
