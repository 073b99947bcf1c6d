"""Settings: one table, one file, one precedence; the file is changed a line at a time."""

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


def environment(path: Path, **more: str) -> dict[str, str]:
    return {"CLOUDTRAIN_CONFIG": str(path), "HOME": "/home/somebody", **more}


def written(path: Path, text: str) -> dict[str, str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return environment(path)


def test_defaults_hold_without_a_file(path: Path) -> None:
    """Nothing set: the documented defaults, each with the origin `default`."""
    found = settings.load(environment(path))
    assert found.state == "/home/somebody/.local/share/cloudtrain"
    assert (found.usd_per_kwh, found.watts, found.registry) == (0, None, "")
    assert (found.ask_above_usd, found.infra, found.max_hours) == (5, (), 168)
    assert {found.origin(row.key) for row in settings.KEYS} == {"default"}


def test_flag_beats_environment_beats_file_beats_default(path: Path) -> None:
    """Each layer wins over the next, and the origin says which one did."""
    env = written(path, "watts = 10\n")
    assert (settings.load(env).watts, settings.load(env).origin("watts")) == (10, "file")
    env["CLOUDTRAIN_WATTS"] = "20"
    assert (settings.load(env).watts, settings.load(env).origin("watts")) == (20, "environment")
    found = settings.load(env, {"watts": "30", "state": None})
    assert (found.watts, found.origin("watts"), found.origin("state")) == (30, "flag", "default")


def test_an_empty_variable_is_unset(path: Path) -> None:
    """`CLOUDTRAIN_WATTS=` means that nobody has said."""
    assert settings.load(environment(path, CLOUDTRAIN_WATTS="")).origin("watts") == "default"


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
    found = settings.load(environment(path))
    assert getattr(found, key) == value
    assert found.origin(key) == "file"
    assert found.text(key).replace(",", ", ") == str(value if not isinstance(value, tuple) else ", ".join(value))


@pytest.mark.parametrize(
    ("key", "text", "hint"),
    [
        ("watts", "many", "plain number of watts"),
        ("watts", "0", "between 1 and 100000"),
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
def test_a_wrong_value_is_refused_everywhere(path: Path, key: str, text: str, hint: str) -> None:
    """Flag, environment and `config set` refuse the same values, name the place, and write nothing."""
    row = settings.find(key)
    with pytest.raises(UsageError) as from_environment:
        settings.load(environment(path, **{row.environment: text}))
    with pytest.raises(UsageError) as from_flag:
        settings.load(environment(path), {key: text})
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


def test_no_home_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without HOME and without an entry in the password database there are defaults, and no settings file."""
    import pwd

    def nobody(_: int) -> None:
        raise KeyError("no such user")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert settings.config_path({}) is None
    assert settings.load({}).state == ".local/share/cloudtrain"
    assert settings.load({"CLOUDTRAIN_STATE": "~/x"}).state == "~/x"
    with pytest.raises(UsageError, match="no home folder"):
        settings.cache_folder({})


def test_folders_are_where_the_contract_says() -> None:
    """~/.config/cloudtrain/config.toml and ~/.cache/cloudtrain, unless a variable moves them."""
    env = {"HOME": "/home/somebody"}
    assert settings.config_path(env) == Path("/home/somebody/.config/cloudtrain/config.toml")
    assert settings.cache_folder(env) == Path("/home/somebody/.cache/cloudtrain")
    env |= {"CLOUDTRAIN_CONFIG": "/etc/c.toml", "CLOUDTRAIN_CACHE": "~/c"}
    assert settings.config_path(env) == Path("/etc/c.toml")
    assert settings.cache_folder(env) == Path("/home/somebody/c")
    assert settings.config_path({"CLOUDTRAIN_CONFIG": "", "HOME": "/h"}) == Path("/h/.config/cloudtrain/config.toml")


@pytest.mark.parametrize(
    ("text", "epoch"),
    [
        ("2026-11-22T12:00:00Z", 1795348800),
        ("2026-11-22T13:00:00+01:00", 1795348800),
        ("2026-11-22 12:00:00", 1795348800),
        ("1795348800.5", 1795348800.5),
    ],
)
def test_the_clock_can_be_stopped(text: str, epoch: float) -> None:
    """CLOUDTRAIN_NOW takes RFC 3339 (UTC when no zone is given) or seconds."""
    assert settings.now({"CLOUDTRAIN_NOW": text}) == epoch


@pytest.mark.parametrize("text", ["soon", "nan", "inf", "-5", "1e300", "2026-13-01"])
def test_a_wrong_clock_is_a_usage_error(text: str) -> None:
    """What is no instant is refused by name."""
    with pytest.raises(UsageError, match="CLOUDTRAIN_NOW"):
        settings.now({"CLOUDTRAIN_NOW": text})


def test_the_clock_runs_when_nobody_stops_it() -> None:
    """Without CLOUDTRAIN_NOW it is the time of day."""
    before = time.time()
    assert before <= settings.now({}) <= time.time()


def test_loading_settings_imports_nothing_heavy(tmp_path: Path) -> None:
    """Without a file not even tomllib is read; the start-up budget depends on it."""
    code = (
        "import sys; from cloudtrain import settings; settings.load(); settings.now();"
        "print(sorted(set(sys.modules) & {'tomllib', 'tempfile', 'pydantic', 'yaml', 'dataclasses', 'inspect'}))"
    )
    env = {"PYTHONPATH": os.pathsep.join(sys.path), "CLOUDTRAIN_CONFIG": str(tmp_path / "none.toml")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
