"""Settings: one table, one file, one precedence; the file is changed a line at a time."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as example_few
from hypothesis import strategies as st

from cloudtrain import settings
from cloudtrain.errors import CloudtrainError, UsageError


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


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("# mine\nwats = 3\n", 2, "unknown setting `wats`"),
        ("\nwatts = true\n", 2, "`watts` is not one text or number"),
        ("watts = [1]", 1, "`watts` is not one text or number"),
        ("\n[watts]\na = 1", 2, "`watts` is not one text or number"),
        ("a = 1\nwatts = = 3\n", 2, "invalid value"),
        ("watts = 1\nwatts = 2\n", 2, "cannot overwrite a value"),
        ("watts = 'x", 1, ""),
        ("\n\nwatts = 0\n", 3, "`0` is not a value of `watts`"),
        ("state = 'runs'\n", 1, "`state` is a relative folder"),
        ("watts = " + "[" * 5000, 1, ""),
        ("watts = " + "9" * 5000, 1, ""),
    ],
)
def test_a_broken_file_is_named_with_its_line(path: Path, text: str, line: int, says: str) -> None:
    """Broken TOML, unknown keys and wrong values in the file point at the line."""
    env = written(path, text)
    with pytest.raises(UsageError) as caught:
        settings.load(env)
    place = caught.value.message.removeprefix(str(path))
    assert place.startswith((f":{line}: ", ": is nested"))
    assert says in place


def test_a_file_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    """A folder, another encoding or far too much text in place of the file each get a sentence."""
    (tmp_path / "latin").write_bytes(b"\n# \xe9\n")
    (tmp_path / "big").write_bytes(b"#" * (2**20 + 1))
    for name, says in {"": "cannot be read", "latin": "latin:2: is not UTF-8", "big": "larger than 1 MiB"}.items():
        with pytest.raises(UsageError, match=says):
            settings.load(environment(tmp_path / name))


def test_setting_one_value_leaves_the_rest_of_the_file(path: Path) -> None:
    """Comments, order, spacing and line ends of the other lines stay; the changed line keeps its comment."""
    written(path, "# mine\r\nregistry   = 'ghcr.io/a' # ours\r\n\r\nwatts = 3\t# measured\r\n# end")
    path.write_bytes(path.read_bytes().replace(b"\r\r", b"\r"))
    settings.set_value(path, "watts", "45.5")
    settings.set_value(path, "infra", "local")
    settings.set_value(path, "registry", 'a"\\b#c')
    assert path.read_bytes().decode() == (
        '# mine\r\nregistry   = "a\\"\\\\b#c" # ours\r\n\r\nwatts = 45.5\t# measured\r\n# end\ninfra = "local"\n'
    )
    settings.set_value(path, "watts", "")
    assert b"watts" not in path.read_bytes()
    assert settings.load(environment(path)).registry == 'a"\\b#c'


def test_taking_out_what_is_not_there_is_no_error(path: Path) -> None:
    """An empty text for a key that the file lacks changes nothing."""
    settings.set_value(path, "watts", "")
    settings.set_value(path, "watts", "5")
    settings.set_value(path, "infra", "")
    assert tomllib.loads(path.read_text()) == {"watts": 5}


def test_a_line_that_cannot_be_changed_alone_is_left_alone(path: Path) -> None:
    """A value over several lines is refused with a hint to edit by hand, and the file stays as it was."""
    text = 'registry = """\\\n  ghcr.io"""\n'
    written(path, text)
    with pytest.raises(UsageError, match="without rewriting other lines"):
        settings.set_value(path, "registry", "x")
    assert path.read_text() == text


def test_a_broken_file_is_not_overwritten(path: Path) -> None:
    """`config set` into a file that does not parse says so instead of repairing it silently."""
    written(path, "watts = \n")
    with pytest.raises(UsageError, match=":1: invalid value"):
        settings.set_value(path, "registry", "x")
    assert path.read_text() == "watts = \n"


def test_the_file_belongs_to_its_owner_alone(path: Path) -> None:
    """It is made with mode 600, its folders are made too, and nothing is left beside it."""
    settings.set_value(path, "watts", "5")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["config.toml"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """A settings file kept elsewhere is changed there."""
    (tmp_path / "real.toml").write_text("watts = 1\n")
    (tmp_path / "config.toml").symlink_to(tmp_path / "real.toml")
    settings.set_value(tmp_path / "config.toml", "watts", "2")
    assert (tmp_path / "config.toml").is_symlink()
    assert (tmp_path / "real.toml").read_text() == "watts = 2\n"


def test_a_place_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    """A file where a folder should be is said, with another way."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be"):
        settings.set_value(tmp_path / "file" / "config.toml", "watts", "5")


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


@given(
    st.binary(max_size=60)
    | st.text(st.sampled_from("watsregiy =\"'#\\\n\r\t[]{}.,0123456789-T:"), max_size=60).map(str.encode)
)
def test_no_file_ends_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Any bytes in the file give settings or a usage error, for reading and for writing."""
    path = tmp_path_factory.getbasetemp() / "fuzzed.toml"
    path.write_bytes(content)
    try:
        settings.load({"CLOUDTRAIN_CONFIG": str(path), "HOME": "/h"})
        settings.set_value(path, "watts", "7")
    except CloudtrainError:
        assert path.read_bytes() == content
    else:
        assert tomllib.loads(path.read_text(encoding="utf-8-sig"))["watts"] == 7


@example_few(max_examples=20, deadline=None)  # every example writes to the disk some ten times
@given(
    st.dictionaries(
        st.sampled_from([row.key for row in settings.KEYS if row.key not in ("state", "infra", "registry")]),
        st.integers(1, 9),
    ),
    st.data(),
)
def test_values_set_in_any_order_all_hold(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, int], data: st.DataObject
) -> None:
    """The file holds exactly what was set last, whatever was set and taken out before."""
    path = tmp_path_factory.getbasetemp() / "ordered.toml"
    path.write_text("# begin\n")
    for key in data.draw(st.permutations(list(values))):
        settings.set_value(path, key, "3")
        settings.set_value(path, key, data.draw(st.sampled_from(["", "4"])))
        settings.set_value(path, key, str(values[key]))
    assert tomllib.loads(path.read_text()) == values
    assert path.read_text().startswith("# begin\n")
