"""Discovery, tested with fabricated distributions."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stackgraft import flavors
from stackgraft.errors import ConfigError, FlavorUnavailableError, UnknownFlavorError

MODULE = """
from typing import ClassVar
from stackgraft.components import Component

class Thing(Component):
    role: ClassVar[str] = "deployer"
    flavor: ClassVar[str] = "fabricated"
    size: int = 1
"""


@pytest.fixture
def distribute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install a made-up distribution that registers a deployer."""

    def install(name: str, entry: str, module: str = MODULE) -> None:
        site = tmp_path / name
        info = site / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[stackgraft.deployer]\n{entry}\n")
        (site / f"{name.replace('-', '_')}.py").write_text(module)
        monkeypatch.syspath_prepend(str(site))
        monkeypatch.delitem(sys.modules, name.replace("-", "_"), raising=False)

    return install


def test_a_third_party_flavor_is_found_by_its_entry_point(distribute: Callable[..., None]) -> None:
    distribute("thirdparty", "fabricated = thirdparty:Thing")
    component = flavors.create("deployer", {"flavor": "fabricated", "size": 3})
    assert component.claim() == {"flavor": "fabricated", "size": 3}
    assert "fabricated" in flavors.installed("deployer")


def test_a_missing_extra_says_what_to_install(distribute: Callable[..., None]) -> None:
    distribute("thirdparty", "fabricated = thirdparty:Thing [cloud]", "import a_package_that_nobody_has")
    with pytest.raises(FlavorUnavailableError, match=r"pip install 'thirdparty\[cloud\]'") as missing:
        flavors.load("deployer", "fabricated")
    assert "a_package_that_nobody_has" in str(missing.value)


def test_two_packages_claiming_one_name_are_both_named(distribute: Callable[..., None]) -> None:
    distribute("first-party", "fabricated = first_party:Thing")
    distribute("second-party", "fabricated = second_party:Thing")
    with pytest.raises(ConfigError, match="claim one flavor") as clash:
        flavors.load("deployer", "fabricated")
    assert "first-party" in str(clash.value)
    assert "second-party" in str(clash.value)


def test_an_unknown_flavor_lists_those_installed() -> None:
    with pytest.raises(UnknownFlavorError, match="known: process"):
        flavors.load("deployer", "zzz")


def test_an_unknown_role_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'deployer'"):
        flavors.load("deploier", "process")
