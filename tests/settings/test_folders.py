"""Folders: what exists is kept, what does not is where the system keeps such things."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import platformdirs
import pytest
from platformdirs.macos import MacOS
from platformdirs.windows import Windows

from cloudtrain import settings
from cloudtrain.errors import UsageError

KINDS = ("config", "cache", "data")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, and no variable that moves anything out of it."""
    for name in [name for name in os.environ if name.startswith(("CLOUDTRAIN_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def macos(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This machine as a Mac; the folder in which it keeps what programs need."""
    become(monkeypatch, "darwin", MacOS)
    return home / "Library"


def become(monkeypatch: pytest.MonkeyPatch, platform: str, system: type) -> None:
    """Answer for another system, as platformdirs does there."""
    stand_in = ModuleType("platformdirs")
    for kind in KINDS:

        def ask(name: str, *, appauthor: bool, kind: str = kind) -> str:
            return str(getattr(system(name, appauthor=appauthor), f"user_{kind}_dir"))

        setattr(stand_in, f"user_{kind}_dir", ask)
    monkeypatch.setitem(sys.modules, "platformdirs", stand_in)
    monkeypatch.setattr(sys, "platform", platform)


def places() -> tuple[Path, ...]:
    """Settings file, cache and state, as every command finds them."""
    config = settings.config_path()
    assert config is not None
    return config, settings.cache_folder(), Path(settings.load().state)


def test_linux_has_them_below_the_home_folder(home: Path) -> None:
    """The places of the contract; platformdirs, which is not asked here, would say the same."""
    assert places() == (
        home / ".config" / "cloudtrain" / "config.toml",
        home / ".cache" / "cloudtrain",
        home / ".local" / "share" / "cloudtrain",
    )
    asked = [Path(getattr(platformdirs, f"user_{kind}_dir")("cloudtrain", appauthor=False)) for kind in KINDS]
    assert asked == [places()[0].parent, *places()[1:]]


def test_variables_of_ours_move_each(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CLOUDTRAIN_CONFIG, CLOUDTRAIN_CACHE and CLOUDTRAIN_STATE win; `~` is the home folder; an empty one is unset."""
    monkeypatch.setenv("CLOUDTRAIN_CONFIG", "/etc/c.toml")
    monkeypatch.setenv("CLOUDTRAIN_CACHE", "~/c")
    monkeypatch.setenv("CLOUDTRAIN_STATE", "~/s")
    assert places() == (Path("/etc/c.toml"), home / "c", home / "s")
    monkeypatch.setenv("CLOUDTRAIN_CACHE", "")
    assert settings.cache_folder() == home / ".cache" / "cloudtrain"


def test_xdg_variables_are_honoured_on_a_new_installation(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the three moves one place."""
    for kind in KINDS:
        monkeypatch.setenv(f"XDG_{kind.upper()}_HOME", str(home / kind))
    assert places() == (
        home / "config" / "cloudtrain" / "config.toml",
        home / "cache" / "cloudtrain",
        home / "data" / "cloudtrain",
    )


def test_places_in_use_are_kept_when_xdg_variables_appear(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody loses sight of a run because a variable was set; and what is at the new place already is used."""
    kept = places()
    for path in kept[1:]:
        path.mkdir(parents=True)
    kept[0].parent.mkdir(parents=True)
    kept[0].write_text("watts = 7\n")
    for kind in KINDS:
        monkeypatch.setenv(f"XDG_{kind.upper()}_HOME", str(home / kind))
    assert places() == kept
    assert settings.load().watts == 7
    (home / "data" / "cloudtrain").mkdir(parents=True)
    assert places() == (*kept[:2], home / "data" / "cloudtrain")


def test_a_relative_xdg_variable_is_ignored(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As its specification asks: such a folder would move with the current one."""
    monkeypatch.setenv("XDG_DATA_HOME", "data")
    assert settings.load().state == str(home / ".local" / "share" / "cloudtrain")


def test_a_new_mac_has_its_own_folders(macos: Path) -> None:
    """Settings and data share a folder there, so the state has one of its own below it."""
    assert places() == (
        macos / "Application Support" / "cloudtrain" / "config.toml",
        macos / "Caches" / "cloudtrain",
        macos / "Application Support" / "cloudtrain" / "state",
    )


def test_a_mac_in_use_keeps_its_places(home: Path, macos: Path) -> None:
    """State and settings of an earlier version are found, also when the system's own folder exists for the other one."""
    state, config = home / ".local" / "share" / "cloudtrain", home / ".config" / "cloudtrain" / "config.toml"
    state.mkdir(parents=True)
    settings.set_value(macos / "Application Support" / "cloudtrain" / "config.toml", "watts", "7")
    assert settings.load().state == str(state)
    assert settings.load().watts == 7
    settings.set_value(config, "watts", "8")
    assert settings.load().watts == 7


def test_windows_has_its_own_folders(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All below the user's application data; the exact folder is the system's to say."""
    monkeypatch.setattr("platformdirs.windows.get_win_folder", lambda name: str(home / name))
    become(monkeypatch, "win32", Windows)
    config, cache, state = places()
    assert (config.name, state.name) == ("config.toml", "state")
    assert config.parent == state.parent
    assert len({config, cache, state}) == 3


def test_no_home_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without HOME and without an entry in the password database there are defaults, and no settings file."""
    import pwd

    def nobody(_: int) -> None:
        raise KeyError("no such user")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("USERPROFILE", raising=False)
    assert settings.config_path() is None
    assert settings.load().state == ".local/share/cloudtrain"
    monkeypatch.setenv("CLOUDTRAIN_STATE", "~/x")
    assert settings.load().state == "~/x"
    with pytest.raises(UsageError, match="no home folder"):
        settings.cache_folder()
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/somebody")
    assert settings.cache_folder() == Path("/var/cache/somebody/cloudtrain")
