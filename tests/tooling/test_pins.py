"""What is read from a go.mod."""

from pathlib import Path

import pytest

from gobuild.pins import GoVersion, Pins

GO_MOD = """\
module example.com/tools

go 1.26.3

replace example.com/replaced => example.com/fork v0.0.9

tool example.com/a/cmd/a

require example.com/alone v3.1.4

require (
	example.com/a v1.2.3
	example.com/a/v2 v2.0.1 // indirect
	example.com/replaced v0.0.1
)
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "go.mod").write_text(GO_MOD, encoding="utf-8")
    (tmp_path / "go.sum").write_text("example.com/a v1.2.3 h1:x=\n", encoding="utf-8")
    return tmp_path


def test_reads_the_needed_go(directory: Path) -> None:
    assert Pins.read(directory).go == GoVersion(1, 26, 3)


@pytest.mark.parametrize("line", ["", "go next"])
def test_refuses_a_go_mod_that_asks_for_no_go(directory: Path, line: str) -> None:
    text = GO_MOD.replace("go 1.26.3", line)
    (directory / "go.mod").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"go\.mod"):
        Pins.read(directory)


@pytest.mark.parametrize(
    ("module", "version"),
    [
        ("example.com/a", "1.2.3"),
        ("example.com/a/v2", "2.0.1"),
        ("example.com/replaced", "0.0.1"),
        ("example.com/alone", "3.1.4"),
    ],
)
def test_reads_the_version_of_a_module(directory: Path, module: str, version: str) -> None:
    assert Pins.read(directory).version(module) == version


@pytest.mark.parametrize("module", ["example.com/b", "example.com", "example.com/fork"])
def test_refuses_a_module_that_is_not_required(directory: Path, module: str) -> None:
    with pytest.raises(ValueError, match="no line that matches"):
        Pins.read(directory).version(module)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("1.26", GoVersion(1, 26, 0)),
        ("1.26.8", GoVersion(1, 26, 8)),
        ("go1.26.8", GoVersion(1, 26, 8)),
        ("go1.27rc1", GoVersion(1, 27, -1)),
        ("devel", None),
        ("go1.26.8-custom", None),
    ],
)
def test_reads_a_go_version(text: str, version: GoVersion | None) -> None:
    assert GoVersion.parse(text) == version


def test_go_versions_are_ordered_by_number() -> None:
    ascending = ["1.9.9", "1.26rc2", "1.26.0", "1.26.2", "1.26.10", "1.27rc1", "1.27", "2.0"]
    parsed = [GoVersion.parse(text) for text in ascending]
    assert None not in parsed
    assert sorted(version for version in parsed if version) == parsed
