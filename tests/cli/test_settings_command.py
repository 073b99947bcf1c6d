"""`config`, `init` and `completion`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result

Command = Callable[..., Result]


def test_a_setting_is_set_shown_and_read_back(cloudtrain: Command) -> None:
    """`config set` writes it, `get` prints it, `show` says that it comes from the file."""
    assert cloudtrain("config", "set", "watts", "120").code == 0
    assert cloudtrain("config", "get", "watts").out == "120\n"
    row = next(line for line in cloudtrain("config", "show").out.splitlines() if line.startswith("watts"))
    assert row.split()[:3] == ["watts", "120", "file"]


def test_the_environment_goes_before_the_file(cloudtrain: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """flag > environment > file > default."""
    cloudtrain("config", "set", "watts", "120")
    monkeypatch.setenv("CLOUDTRAIN_WATTS", "80")
    assert cloudtrain("config", "get", "watts").out == "80\n"


def test_power_becomes_a_price(cloudtrain: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """With watts and a tariff this machine costs money, and the price says where it comes from."""
    import json

    monkeypatch.setenv("CLOUDTRAIN_WATTS", "200")
    monkeypatch.setenv("CLOUDTRAIN_USD_PER_KWH", "0.30")
    lines = json.loads(cloudtrain("quote", "smollm2-135m", "--infra", "local", "-o", "json").out)["lines"]
    assert lines[0]["price_usd_per_hour"] == "0.06"
    assert lines[0]["price"]["origin"] == "settings"


def test_an_unknown_setting_names_the_nearest(cloudtrain: Command) -> None:
    """A wrong key is exit 2 with the right one."""
    result = cloudtrain("config", "set", "wats", "1")
    assert (result.code, "did you mean `watts`?" in result.err) == (2, True)


def test_init_writes_a_spec_once(cloudtrain: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is there and loads; a second call does not write over it, an unknown model writes none."""
    from cloudtrain.spec import schema

    monkeypatch.chdir(tmp_path)
    written = cloudtrain("init", "qwen3-0.6b", "d.jsonl")
    assert (written.code, "`d.jsonl` is not there yet" in written.err) == (0, True)
    assert schema.load(tmp_path / "cloudtrain.yaml").model == "qwen3-0.6b"
    before = (tmp_path / "cloudtrain.yaml").read_bytes()
    assert cloudtrain("init").code == 2
    assert (tmp_path / "cloudtrain.yaml").read_bytes() == before
    assert cloudtrain("init", "qwen4", "-f", "other.yaml").code == 2
    assert not (tmp_path / "other.yaml").exists()


def test_init_says_what_the_data_is(cloudtrain: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its format, what is wrong with it, or how a data set of a hub is fetched; the spec is written all the same."""
    monkeypatch.chdir(tmp_path)
    turns = '{"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]}\n'
    (tmp_path / "chat.jsonl").write_text(turns * 12)
    (tmp_path / "kto.jsonl").write_text('{"prompt": "a", "completion": "b", "label": true}\n' * 62)
    (tmp_path / "book.txt").write_text("Once upon a time.")
    for data, says in {
        "chat.jsonl": "chat.jsonl: sharegpt rows",
        "kto.jsonl": "(62 rows: line 1, 2, 3 and 59 more)",
        "book.txt": "`data.format: paragraphs` trains on its paragraphs",
        "tatsu-lab/alpaca": "hf download tatsu-lab/alpaca --repo-type dataset",
    }.items():
        ended = cloudtrain("init", "qwen3-0.6b", data, "--force")
        assert (ended.code, says in ended.err) == (0, True), ended.err
        shows = "# format: sharegpt" if data == "chat.jsonl" else "# format: messages"
        assert shows in (tmp_path / "cloudtrain.yaml").read_text()
    assert "warning" not in cloudtrain("init", "qwen3-0.6b", "later.jsonl", "--force").err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script(cloudtrain: Command, shell: str) -> None:
    """The script names the program's completion variable."""
    assert "_CLOUDTRAIN_COMPLETE" in cloudtrain("completion", shell).out


def test_state_that_cannot_be_written_is_a_sentence(
    cloudtrain: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state folder that is a file, or a bucket for which there are no credentials, is named."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLOUDTRAIN_STATE", str(tmp_path / "file"))
    assert cloudtrain("ps").code == 0
    monkeypatch.setenv("CLOUDTRAIN_STATE", "s3://team/state")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    result = cloudtrain("ps")
    assert (result.code, "`s3://team/state`" in result.err) == (4, True)
