"""Programs out of Debian's packages, with an apt-get and a dpkg that are made up."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

import debian
from debian import DebianError
from gobuild import cache

NAME = "frobnicate"
APT_GET = """
test "$1" = download || exit 9
shift 2
for package; do echo "$package" >> "$LOG"; echo > "${package}_1.0_all.deb"; done
"""
DPKG = f"""
test "$1" = -x && test -f "$2" || exit 9
mkdir -p "$3/usr/bin" && echo '#!/bin/sh' > "$3/usr/bin/{NAME}"
chmod +x "$3/usr/bin/{NAME}"
"""


class FakeDebian:
    """The programs of a machine, and what was asked of its apt-get."""

    def __init__(self, directory: Path) -> None:
        self.bin = directory / "bin"
        self.bin.mkdir()
        self._log = directory / "fetched"
        self.environ = {
            "PATH": f"{self.bin}{os.pathsep}/usr/bin{os.pathsep}/bin",
            "LOG": str(self._log),
            "XDG_CACHE_HOME": str(directory / "cache"),
        }
        self.install("apt-get", APT_GET)
        self.install("dpkg", DPKG)

    def install(self, name: str, script: str) -> Path:
        """Put a shell script on PATH."""
        program = self.bin / name
        program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return program

    def remove(self, name: str) -> None:
        """Take a program away."""
        (self.bin / name).unlink()

    @property
    def fetched(self) -> list[str]:
        """The packages that were fetched, in order."""
        return self._log.read_text(encoding="utf-8").split() if self._log.exists() else []


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDebian:
    made = FakeDebian(tmp_path)
    for name, value in made.environ.items():
        monkeypatch.setenv(name, value)
    return made


def kept() -> list[str]:
    """What the cache holds, the lock left out."""
    return sorted(path.name for path in cache.root(debian.CACHE).iterdir() if path.name != ".lock")


def test_a_program_on_the_path_is_taken_as_it_is(fake: FakeDebian) -> None:
    installed = fake.install(NAME, "exit 0")
    assert debian.find(NAME, "pack") == debian.Program(installed, {})
    assert not fake.fetched


def test_a_program_is_fetched_once(fake: FakeDebian) -> None:
    found = debian.find(NAME, "pack", "library")
    assert os.access(found.path, os.X_OK)
    assert debian.find(NAME, "pack", "library") == found
    assert fake.fetched == ["pack", "library"]
    assert kept() == ["pack+library"]


def test_those_who_ask_at_once_fetch_only_once(fake: FakeDebian) -> None:
    fake.install("apt-get", APT_GET + "sleep 0.3  # so that all of them have asked by then")
    threads = [threading.Thread(target=debian.find, args=(NAME, "pack")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fake.fetched == ["pack"]
    assert kept() == ["pack"]


def test_the_libraries_of_the_packages_are_found(fake: FakeDebian) -> None:
    fake.install("dpkg", DPKG + 'mkdir -p "$3/usr/lib/x86_64-linux-gnu"')
    found = debian.find(NAME, "pack")
    assert found.environ == {
        "LD_LIBRARY_PATH": str(cache.root(debian.CACHE) / "pack/usr/lib/x86_64-linux-gnu")
    }


@pytest.mark.parametrize(
    ("program", "script", "told"),
    [
        ("apt-get", "echo E: Unable to locate package pack; exit 100",
         "`apt-get download` ended with 100:\nE: Unable to locate package pack\n"
         "Run `apt-get update`"),
        ("dpkg", DPKG + "echo not a Debian archive >&2; exit 2", "not a Debian archive"),
        ("dpkg", "exit 0", f"pack holds no program /usr/bin/{NAME}"),
    ],
    ids=["not fetched", "unpacked in part", "not in the package"],
)  # fmt: skip
def test_what_fails_says_why_and_leaves_nothing_that_looks_finished(
    fake: FakeDebian, program: str, script: str, told: str
) -> None:
    fake.install(program, script)
    with pytest.raises(DebianError) as error:
        debian.find(NAME, "pack")
    assert told in str(error.value)
    assert not kept()
    fake.install("apt-get", "echo > pack_1.0_all.deb")
    fake.install("dpkg", DPKG)
    assert os.access(debian.find(NAME, "pack").path, os.X_OK)


@pytest.mark.parametrize(("user", "had"), [(0, True), (1000, False)])
def test_root_gets_package_lists_that_are_missing(
    fake: FakeDebian, monkeypatch: pytest.MonkeyPatch, user: int, had: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    lists = '"$XDG_CACHE_HOME/lists"'
    fake.install(
        "apt-get",
        f'if [ "$1" = update ]; then touch {lists}; '
        f"elif [ -e {lists} ]; then echo > pack_1.0_all.deb; else exit 100; fi",
    )
    if had:
        assert os.access(debian.find(NAME, "pack").path, os.X_OK)
    else:
        with pytest.raises(DebianError, match="Run `apt-get update`"):
            debian.find(NAME, "pack")


@pytest.mark.parametrize("missing", ["apt-get", "dpkg"])
def test_without_debians_programs_it_says_what_to_install(
    fake: FakeDebian, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    fake.remove(missing)
    monkeypatch.setenv("PATH", str(fake.bin))
    with pytest.raises(DebianError, match=f"{NAME} is not on PATH, and without {missing}.*pack"):
        debian.find(NAME, "pack")
    assert not kept()


def test_what_a_killed_process_left_is_removed(fake: FakeDebian) -> None:
    left = cache.root(debian.CACHE) / ".tmp-left" / "unpacked" / "usr"
    left.mkdir(parents=True)
    debian.find(NAME, "pack")
    assert kept() == ["pack"]
