"""What a feed remembers over its restarts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelinstance.feed.state import State, StateError

URL = "http://10.0.0.1:8000"


def test_what_was_added_is_known_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    state = State(path)
    assert state.owned("sglang=u") == set()
    state.own("sglang=u", {URL: "m", "http://b:1": ""})
    state.own("vllm=u", {"http://c:1": "m"})
    again = State(path)
    assert again.owned("sglang=u") == {URL, "http://b:1"}
    assert again.models("sglang=u") == {URL: "m", "http://b:1": ""}
    again.own("sglang=u", {})
    assert json.loads(path.read_text("utf-8")) == {
        "version": 1, "routers": {"sglang=u": {}, "vllm=u": {"http://c:1": "m"}},
    }  # fmt: skip


def test_what_an_earlier_feed_has_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text(json.dumps({"version": 1, "routers": {"r": [URL]}}), "utf-8")
    assert State(path).models("r") == {URL: ""}


def test_nothing_is_written_without_a_change(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    State(path).own("r", {URL: "m"})
    before = path.stat().st_ino
    State(path).own("r", {URL: "m"})
    assert path.stat().st_ino == before
    State(None).own("r", {URL: "m"})


def test_what_cannot_be_written_is_not_taken_for_written(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    state = State(folder / "state.json")
    with pytest.raises(FileNotFoundError):
        state.own("r", {URL: "m"})
    folder.mkdir()
    state.own("r", {URL: "m"})
    assert State(folder / "state.json").owned("r") == {URL}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"version": 2, "routers": {}}', '{"version": 1, "routers": {"r": [1]}}',
     '{"version": 1, "routers": {"r": {"u": 1}}}', '{"version": 1, "routers": []}',
     '{"version": 1, "routers": {"r": null}}'],
)  # fmt: skip
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text, "utf-8")
    with pytest.raises(StateError, match=r"holds no state of a feed|has version 2, not 1"):
        State(path)
    path.write_bytes(b"\xff")
    with pytest.raises(StateError, match="cannot be read"):
        State(path)
    with pytest.raises(StateError, match="cannot be read"):
        State(tmp_path)
