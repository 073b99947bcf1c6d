"""The settings file: complaints name the line, a change touches one value, and any bytes are answered."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import settings as example_few
from hypothesis import strategies as st

from cloudtrain import settings
from cloudtrain.errors import CloudtrainError, UsageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "config.toml"


def written(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def loaded(path: Path) -> settings.Settings:
    """What is in force when `path` is the settings file."""
    with mock.patch.dict(os.environ, {"CLOUDTRAIN_CONFIG": str(path), "HOME": "/home/somebody"}):
        return settings.load()


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
        ("\n\nwatts = 100001\n", 3, "`100001` is not a value of `watts`"),
        ("state = 'runs'\n", 1, "`state` is a relative folder"),
        ("watts = " + "[" * 5000, 1, ""),
        ("watts = " + "9" * 5000, 1, ""),
    ],
)
def test_a_broken_file_is_named_with_its_line(path: Path, text: str, line: int, says: str) -> None:
    """Broken TOML, unknown keys and wrong values in the file point at the line."""
    written(path, text)
    with pytest.raises(UsageError) as caught:
        loaded(path)
    place = caught.value.message.removeprefix(str(path))
    assert place.startswith((f":{line}: ", ": is nested"))
    assert says in place


def test_a_file_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    """A folder, another encoding or far too much text in place of the file each get a sentence."""
    (tmp_path / "latin").write_bytes(b"\n# \xe9\n")
    (tmp_path / "big").write_bytes(b"#" * (2**20 + 1))
    for name, says in {"": "cannot be read", "latin": "latin:2: is not UTF-8", "big": "larger than 1 MiB"}.items():
        with pytest.raises(UsageError, match=says):
            loaded(tmp_path / name)


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
    assert loaded(path).registry == 'a"\\b#c'


def test_taking_out_what_is_not_there_is_no_error(path: Path) -> None:
    """An empty text for a key that the file lacks changes nothing."""
    settings.set_value(path, "watts", "")
    settings.set_value(path, "watts", "5")
    settings.set_value(path, "infra", "")
    assert tomllib.loads(path.read_text()) == {"watts": 5}


def test_a_value_over_several_lines_is_replaced(path: Path) -> None:
    """Such a value becomes one line; what stands before and after it stays."""
    written(path, '# a\nregistry = """\\\n  ghcr.io"""\n# b\n')
    settings.set_value(path, "registry", "x")
    assert path.read_text() == '# a\nregistry = "x"\n# b\n'


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


@given(
    st.binary(max_size=60)
    | st.text(st.sampled_from("watsregiy =\"'#\\\n\r\t[]{}.,0123456789-T:"), max_size=60).map(str.encode)
)
def test_no_file_ends_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Any bytes in the file give settings or a usage error, for reading and for writing."""
    path = tmp_path_factory.getbasetemp() / "fuzzed.toml"
    path.write_bytes(content)
    try:
        loaded(path)
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


def test_a_relative_state_folder_is_not_written(path: Path) -> None:
    """A folder that would move with the current one is refused before the file is touched."""
    with pytest.raises(UsageError, match="`state` is a relative folder"):
        settings.set_value(path, "state", "runs")
    assert not path.exists()
