"""Settings: one table, one precedence, folders that are found and kept, a clock that can be stopped."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest

from cloudtrain import settings
from cloudtrain.errors import UsageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "config.toml"


@pytest.fixture(autouse=True)
def environment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the caller's settings and folders is in force."""
    for name in [name for name in os.environ if name.startswith(("CLOUDTRAIN_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLOUDTRAIN_CONFIG", str(path))
    monkeypatch.setenv("HOME", "/home/somebody")


def test_defaults_hold_without_a_file() -> None:
    """Nothing set: the documented defaults, each with the origin `default`."""
    found = settings.load()
    assert found.state == "/home/somebody/.local/share/cloudtrain"
    assert (found.usd_per_kwh, found.watts, found.registry) == (None, None, "")
    assert (found.ask_above_usd, found.infra, found.max_hours) == (5, (), 168)
    assert {found.origin(row.key) for row in settings.KEYS} == {"default"}


def test_flag_beats_environment_beats_file_beats_default(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each layer wins over the next, and the origin says which one did."""
    settings.set_value(path, "watts", "10")
    assert (settings.load().watts, settings.load().origin("watts")) == (10, "file")
    monkeypatch.setenv("CLOUDTRAIN_WATTS", "20")
    assert (settings.load().watts, settings.load().origin("watts")) == (20, "environment")
    found = settings.load({"watts": "30", "state": None})
    assert (found.watts, found.origin("watts"), found.origin("state")) == (30, "flag", "default")


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """`CLOUDTRAIN_WATTS=` means that nobody has said."""
    monkeypatch.setenv("CLOUDTRAIN_WATTS", "")
    assert settings.load().origin("watts") == "default"


def test_the_table_is_the_record() -> None:
    """Every row of the table is a field of the record, in the same order, with an environment name of its own."""
    assert (*(row.key for row in settings.KEYS), "origins") == settings.Settings._fields
    for row in settings.KEYS:
        assert row.environment == f"CLOUDTRAIN_{row.key.upper()}"
        assert row.help


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("state", "~/runs", "/home/somebody/runs"),
        ("state", "s3://bucket/prefix", "s3://bucket/prefix"),
        ("usd_per_kwh", "0.31", Decimal("0.31")),
        ("watts", "45", Decimal(45)),
        ("registry", "ghcr.io/acme/", "ghcr.io/acme"),
        ("infra", "local, aws/us-east-1", ("local", "aws/us-east-1")),
        ("max_hours", "0.5", Decimal("0.5")),
    ],
)
def test_a_value_set_is_the_value_loaded(path: Path, key: str, text: str, value: object) -> None:
    """`config set` then `config get` agree, through the file."""
    settings.set_value(path, key, text)
    found = settings.load()
    assert getattr(found, key) == value
    assert found.origin(key) == "file"
    assert found.text(key).replace(",", ", ") == str(value if not isinstance(value, tuple) else ", ".join(value))


@pytest.mark.parametrize(
    ("key", "text", "hint"),
    [
        ("watts", "many", "plain number of watts"),
        ("watts", "100001", "between 0 and 100000"),
        ("watts", "1e999999999", "plain number"),
        ("watts", "nan", "plain number"),
        ("usd_per_kwh", "31", "between 0 and 10"),
        ("usd_per_kwh", "-1", "plain number"),
        ("state", "ftp://host/x", "s3://bucket"),
        ("state", "s3://", "s3://bucket"),
        ("state", "a\nb", "one line"),
        ("registry", "https://ghcr.io", "without a scheme"),
        ("infra", "aws us", "provider[/region[/zone]]"),
        ("max_hours", "0", "between 0.01 and 8760"),
    ],
)
def test_a_wrong_value_is_refused_everywhere(
    path: Path, key: str, text: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flag, environment and `config set` refuse the same values, name the place, and write nothing."""
    row = settings.find(key)
    monkeypatch.setenv(row.environment, text)
    with pytest.raises(UsageError) as from_environment:
        settings.load()
    monkeypatch.delenv(row.environment)
    with pytest.raises(UsageError) as from_flag:
        settings.load({key: text})
    with pytest.raises(UsageError) as from_set:
        settings.set_value(path, key, text)
    assert from_environment.value.message.startswith(f"{row.environment}: ")
    assert from_flag.value.message.startswith(f"--{key.replace('_', '-')}: ")
    for caught in (from_environment, from_flag, from_set):
        assert hint in caught.value.hint
        assert "\n" not in caught.value.message
    assert not path.exists()


def test_an_unknown_setting_names_the_nearest(path: Path) -> None:
    """A slip in the key is answered with the key that was meant."""
    for act in (lambda: settings.set_value(path, "usd-per-kwH", "1"), lambda: settings.find("usd_kwh")):
        with pytest.raises(UsageError, match="unknown setting") as caught:
            act()
        assert "`usd_per_kwh`" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "epoch"),
    [
        ("2026-11-22T12:00:00Z", 1795348800),
        ("2026-11-22T13:00:00+01:00", 1795348800),
        ("2026-11-22 12:00:00", 1795348800),
        ("1795348800.5", 1795348800.5),
    ],
)
def test_the_clock_can_be_stopped(text: str, epoch: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """CLOUDTRAIN_NOW takes RFC 3339 (UTC when no zone is given) or seconds."""
    monkeypatch.setenv("CLOUDTRAIN_NOW", text)
    assert settings.now() == epoch


@pytest.mark.parametrize("text", ["soon", "nan", "inf", "-5", "1e300", "2026-13-01"])
def test_a_wrong_clock_is_a_usage_error(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no instant is refused by name."""
    monkeypatch.setenv("CLOUDTRAIN_NOW", text)
    with pytest.raises(UsageError, match="CLOUDTRAIN_NOW"):
        settings.now()


def test_the_clock_runs_when_nobody_stops_it() -> None:
    """Without CLOUDTRAIN_NOW it is the time of day."""
    before = time.time()
    assert before <= settings.now() <= time.time()


def test_loading_settings_imports_nothing_heavy(tmp_path: Path) -> None:
    """Without a file not even tomllib is read, and on Linux no platformdirs; the start-up budget depends on it."""
    code = (
        "import sys; from cloudtrain import settings; third = {'tomlkit', 'platformdirs'}; settings.load(); settings.now();"
        "print(sorted(set(sys.modules) & {'tomllib', 'tempfile', 'pydantic', 'yaml', 'dataclasses', 'inspect', *third}))"
    )
    env = {"PYTHONPATH": os.pathsep.join(sys.path), "CLOUDTRAIN_CONFIG": str(tmp_path / "none.toml")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
