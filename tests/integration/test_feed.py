"""The commands `feed` and `export`: what they refuse, and how they end."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelinstance.cli import main
from routers.processes import modelinstance
from support.operator_process import OperatorProcess
from support.waiting import eventually

FEED = ["feed", "--registry=http://r:1", "--router=vllm=http://r:2"]
EXPORT = ["export", "--registry=http://r:1", "--watch=/tmp/file"]
REFUSED: list[tuple[list[str], int, str]] = [
    (["feed", "--registry=http://r:1"], 2, r"Missing option '--router'"),
    (FEED[::2], 2, r"Missing option '--registry'"),
    ([*FEED, "--registry=r:1"], 2, r"'r:1' is not the base URL of a server: write http://"),
    ([*FEED, "--registry=http://r:x"], 2, r"'http://r:x' is not the base URL"),
    ([*FEED, "--registry=http://r?x=1"], 2, r"the URL for r has a query or a fragment"),
    ([*FEED, "--registry=http://r r:1"], 2, r"'http://r r:1' is not the base URL"),
    ([*FEED, "--registry=http://r..r:1"], 2, r"'http://r..r:1' is not the base URL"),
    ([*FEED, "--registry=http://r:0"], 2, r"'http://r:0' is not the base URL"),
    ([*FEED, "--registry=ftp://me:hush@r"], 2, r": the value \(not shown, .*\) is not the base"),
    ([*FEED, "--router=nginx=http://me:hush@r"], 2, r": the value \(not shown, .*\) names no kind"),
    ([*FEED, "--router=http://r:2"], 2, r"names no kind of router: write sglang or vllm, '='"),
    ([*FEED, "--router=nginx=http://r"], 2, r"'nginx=http://r' names no kind of router"),
    ([*FEED, "--router=vllm=r"], 2, r"'r' is not the base URL of a server"),
    ([*FEED, "--router=vllm=http://me:hush@r"], 2, r"the URL for r names a user: put a bearer"),
    ([*FEED, "--interval=0"], 2, r"'0' is not a whole number of seconds from 1 to 3600"),
    ([*FEED, "--state={bad}"], 1, r"--state=.*bad: it holds no state of a feed .* name another"),
    (["export", "--registry=http://r:1", "--format=json"], 2, r"Missing option '--watch'"),
    ([*EXPORT, "--format=nginx"], 2, r"'nginx' is not one of"),
    ([*EXPORT, "--format=envoy-file"], 2, r"--format=envoy-file needs --model: Envoy takes"),
    ([*EXPORT, "--format=json", "--base=b"], 2, r"--base=b: a file of --format=json has no"),
    ([*EXPORT, "--format=litellm", "--base=/tmp/../tmp/file"], 2, r"is the file of --watch, which"),
    ([*EXPORT, "--format=litellm", "--base=/no/b"], 1, r"--base=/no/b: .*No such file"),
    ([*EXPORT, "--format=litellm", "--base={bad}"], 1, r"--base=.*bad: .*expected"),
    ([*EXPORT, "--format=vllm-router", "--base={bad}"], 1, r"--base=.*bad: Expecting"),
]
"""Arguments, the exit status, and what the one line has to say."""


def test_what_is_wrong_ends_it_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad"
    bad.write_text("{", encoding="utf-8")
    for arguments, status, sentence in REFUSED:
        given = [argument.replace("{bad}", str(bad)) for argument in arguments]
        monkeypatch.setattr(sys, "argv", ["modelinstance", *given])
        with pytest.raises(SystemExit) as ended:
            main()
        output, error = capfd.readouterr()
        assert (ended.value.code, output) == (status, ""), (given, error)
        assert re.fullmatch(r"modelinstance: .*\n", error), error
        assert re.search(sentence, error), (given, error)
        assert "hush" not in error


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[OperatorProcess]:
    server = OperatorProcess(None, tmp_path / "registry.log")
    server.wait_ready()
    yield server
    assert server.stop() == 0, server.log()


@pytest.mark.parametrize(
    "command",
    [
        ["feed", "--router=vllm=http://127.0.0.1:1"],
        ["export", "--format=json", "--watch={file}"],
        ["export", "--format=json", "--watch={file}", "--once"],
    ],
)
def test_a_selector_that_the_registry_refuses_ends_it(
    command: list[str], tmp_path: Path, registry: OperatorProcess
) -> None:
    process = modelinstance(
        tmp_path / "log", *(each.replace("{file}", str(tmp_path / "file")) for each in command),
        f"--registry={registry.http.base_url}", "--selector=a in b",
    )  # fmt: skip
    eventually(lambda: process.process.poll() is not None, within=5)
    assert process.process.returncode == 1
    assert re.search(r"modelinstance: GET .* HTTP 422: query\.selector: ", process.log())
    assert "Traceback" not in process.log()


def test_a_token_is_sent_and_never_told(tmp_path: Path) -> None:
    tokens, token, file = (tmp_path / name for name in ("tokens", "token", "file"))
    tokens.write_text("s3cret\n", "utf-8")
    token.write_text("wrong\n", "utf-8")
    server = OperatorProcess(None, tmp_path / "registry.log", f"--access-token-file={tokens}")
    server.wait_ready()
    export = modelinstance(
        tmp_path / "log", "export", "--format=json", f"--watch={file}",
        f"--registry={server.http.base_url}", f"--token-file={token}", "--log-level=debug",
    )  # fmt: skip
    try:
        eventually(lambda: export.says("HTTP 401"), within=5)
        assert not file.exists()
        token.write_text("s3cret\n", "utf-8")
        eventually(file.exists, within=10)
    finally:
        assert export.stop() == 0, export.log()
        server.stop()
    assert "s3cret" not in export.log()
