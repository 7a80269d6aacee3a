"""``modelinstance why``: why an instance is in its phase, and what would change that."""

from __future__ import annotations

import asyncio
import difflib
import json
import re
from http import HTTPStatus
from pathlib import Path
from typing import Any

import click

from modelinstance.client.connection import Answer, Connection
from modelinstance.client.errors import RegistryUnavailableError
from modelinstance.commands.following import local_registry_option, token_file_option
from modelinstance.commands.options import JSON, TEXT
from modelinstance.commands.why_text import UnreadableError, rendered, staleness
from modelinstance.registry.instance import DNS_LABEL, DNS_NAME

INSTANCES = "/api/v1/instances"
KEY = re.compile(rf"(?P<namespace>{DNS_LABEL})/(?P<name>{DNS_NAME})")
MAX_NEAR = 3
"""How many names are proposed instead of an unknown one."""


class Key(click.ParamType[tuple[str, str]]):
    """``NAMESPACE/NAME``."""

    name = "NAMESPACE/NAME"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """The namespace and the name. Fails with what to write instead."""
        found = KEY.fullmatch(str(value))
        if found is None:
            self.fail(
                f"{value!r} names no instance: write its namespace, '/' and its name, for example "
                f"default/vicuna-0",
                param,
                ctx,
            )
        return found["namespace"], found["name"]


@click.command(
    epilog="The status is 1 if there is no such instance, or the registry does not answer. In a "
    "cluster: kubectl -n NAMESPACE exec deploy/modelinstance-operator -- modelinstance why ..."
)
@click.argument("instance", metavar="NAMESPACE/NAME", type=Key())
@local_registry_option
@token_file_option
@click.option(
    "--output", "-o", "form", default=TEXT, show_default=True, type=click.Choice([TEXT, JSON]),
    envvar="MODELINSTANCE_OUTPUT", show_envvar=True,
    help="As a text for people, or as the JSON that the registry answers.",
)  # fmt: skip
def why(*, instance: tuple[str, str], registry: str, token_file: Path | None, form: str) -> None:
    """Say why an instance is in its phase: every check, what would change it, and what to do."""
    answer = asyncio.run(_ask(registry, token_file, *instance))
    stale = staleness(answer.headers)
    try:
        if form == JSON:
            if stale:
                click.echo(stale, err=True)
            click.echo(json.dumps(answer.body, indent=2))
            return
        text = rendered(answer.body)
    except UnreadableError as error:
        raise click.ClickException(f"--registry={registry}: {error}") from error
    click.echo(f"{stale}\n\n{text}" if stale else text)


async def _ask(registry: str, token_file: Path | None, namespace: str, name: str) -> Answer:
    """What a registry says of an instance. Raises `click.ClickException`, saying what to write."""
    async with Connection(registry, token_file=token_file) as connection:
        try:
            return await connection.request("GET", f"{INSTANCES}/{namespace}/{name}/why")
        except RegistryUnavailableError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                raise await _unknown(connection, namespace, name) from error
            raise click.ClickException(f"{error}{_advice(error)}") from error


def _advice(error: RegistryUnavailableError) -> str:
    if error.status is None:
        return "; write the URL of a registry that runs: --registry http://HOST:PORT"
    if error.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return "; name a file with a token that it takes: --token-file FILE"
    return ""


async def _unknown(connection: Connection, namespace: str, name: str) -> click.ClickException:
    """That there is no such instance, with names that resemble it."""
    key = f"{namespace}/{name}"
    try:
        keys = await _keys(connection, {"namespace": namespace})
        near = difflib.get_close_matches(key, keys, MAX_NEAR)
        near = near or [
            other for other in await _keys(connection, {}) if other.endswith(f"/{name}")
        ]
    except RegistryUnavailableError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return click.ClickException(
                f"{connection} is no registry: write the URL of one, --registry http://HOST:PORT"
            )
        near = []  # a registry with too many instances to look through
    proposed = f"; write {' or '.join(near[:MAX_NEAR])}" if near else "; see GET /api/v1/instances"
    return click.ClickException(f"there is no instance {key} in {connection}{proposed}")


async def _keys(connection: Connection, query: dict[str, str]) -> list[str]:
    answer = await connection.request("GET", INSTANCES, query=query)
    try:
        return [f"{item['namespace']}/{item['name']}" for item in answer.body["items"]]
    except (KeyError, TypeError):
        return []
