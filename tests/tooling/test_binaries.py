"""Programs that `KUBEBUILDER_ASSETS` names instead of built ones."""

from pathlib import Path

import pytest

from controlplane.binaries import Binaries, binaries_dir, ensure
from controlplane.errors import AssetsError, ToolError
from gobuild import BuildError, ToolchainError

NAMES = ["etcd", "kube-apiserver", "kubectl"]


@pytest.fixture
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    for name in NAMES:
        (tmp_path / name).touch(mode=0o755)
    return tmp_path


def test_assets_are_taken_as_they_are(assets: Path) -> None:
    assert ensure(pytest.fail) == Binaries.within(assets)
    assert binaries_dir() == assets


@pytest.mark.parametrize("name", NAMES)
def test_missing_assets_are_named(assets: Path, name: str) -> None:
    (assets / name).unlink()
    with pytest.raises(AssetsError) as caught:
        ensure(pytest.fail)
    assert f"KUBEBUILDER_ASSETS is {assets}, which has no executable {name};" in str(caught.value)


def test_an_asset_that_cannot_be_run_is_missing(assets: Path) -> None:
    (assets / "etcd").chmod(0o644)
    with pytest.raises(AssetsError, match="no executable etcd;"):
        ensure(pytest.fail)


@pytest.mark.parametrize("error", [AssetsError, BuildError, ToolchainError])
def test_whatever_is_wrong_with_the_programs_is_an_error_of_the_control_plane(
    error: type[Exception],
) -> None:
    assert issubclass(error, ToolError)
