"""How a person names a row of a quote, and how a program reads rows."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from tests.conftest import Result

Command = Callable[..., Result]
Completed = Callable[[str, str], list[str]]


@pytest.fixture(autouse=True)
def pinned(this_machine: Callable[..., None]) -> None:
    """The machine is pinned in all of these."""


def explained(result: Result) -> str:
    """The id of the row that was explained."""
    assert result.code == 0, result.err
    heading, id_ = result.out.split()[:2]
    assert heading == "id"
    return id_


def test_every_id_of_the_json_names_its_row(cloudtrain: Command) -> None:
    """Some of all of them, in capitals: the row explained is that of the id."""
    document = json.loads(cloudtrain("quote", "qwen3-8b", "-o", "json").out)
    for line in document["lines"][::60]:
        shown = cloudtrain("quote", "qwen3-8b", "--why", line["id"].upper())
        assert explained(shown) == line["id"]
        assert f"{line['provider']} {line['offer']}," in shown.out
        assert not shown.err


def test_an_id_outlives_another_ranking(cloudtrain: Command) -> None:
    """The number of a row is another one for another job; its id is not."""
    ids = [
        [line["id"] for line in json.loads(cloudtrain("quote", *job, "-o", "json").out)["lines"]]
        for job in (("qwen3-8b",), ("longcat-flash",))
    ]
    assert ids[0] != ids[1]
    assert set(ids[0]) == set(ids[1])


@pytest.mark.parametrize(
    ("text", "id_"),
    [
        ("runpod 1 x MI300X", "runpod/mi300x/eu-ro-1"),
        ("RunPod 2xMI300X", "runpod/2xmi300x/eu-ro-1"),
        ("runpod AMD Instinct MI300X OAM x1", "runpod/mi300x/eu-ro-1"),
        ("local this machine, 2 vCPU zen", "local/this-machine"),
        ("this machine", "local/this-machine"),
        ("colab 1 x v5e units", "colab/tpu-v5e/units"),
        ("gcp v6e-8 = 8 x v6e us-east5-b spot", "gcp/v6e-8/us-east5/spot"),
        ("gcp v6e-8 us-east5 on demand", "gcp/v6e-8/us-east5"),
        ("c3-highmem-88/us-central1/spot", "gcp/c3-highmem-88/us-central1/spot"),
    ],
)
def test_what_a_table_shows_names_its_row(cloudtrain: Command, text: str, id_: str) -> None:
    """As it stands there, with place and market or without, however it is written."""
    assert explained(cloudtrain("quote", "qwen3-8b", "--why", text)) == id_


def test_a_number_is_told_to_be_a_rank(cloudtrain: Command) -> None:
    """It is taken, and the id that stays is said."""
    shown = cloudtrain("quote", "qwen3-8b", "--why", "3")
    assert f"the id of this row stays: {explained(shown)}" in shown.err


def test_parts_that_fit_several_rows_say_which_is_taken(cloudtrain: Command) -> None:
    """The best ranked, as ever, but not without a word."""
    shown = cloudtrain("quote", "qwen3-8b", "--why", "v6e-1")
    assert f"rows; the best ranked is {explained(shown)}" in shown.err


def test_a_shown_name_of_several_rows_lists_their_ids(cloudtrain: Command) -> None:
    """Two of Colab; many of Google, of which the first are listed; the folded name of several sizes."""
    shown = cloudtrain("quote", "qwen3-8b", "--why", "colab 1 x v5e")
    assert shown.code == 2
    assert "is shown for 2 rows" in shown.err
    assert "colab/tpu-v5e/units" in shown.err
    assert "colab/tpu-v5e/free" in shown.err
    assert " more\n" in cloudtrain("quote", "qwen3-8b", "--why", "gcp 8 x v6e").err
    assert "runpod/8xmi300x/eu-ro-1" in cloudtrain("quote", "qwen3-8b", "--why", "runpod 7..8 x MI300X").err


@pytest.mark.parametrize(
    ("text", "id_"),
    [
        ("runpod/mi300/eu-ro-1", "runpod/mi300x/eu-ro-1"),
        ("gcp/c3-highmem-88/us-central/spot", "gcp/c3-highmem-88/us-central1/spot"),
        ("c3-highmem-89", "gcp/c3-highmem-88/"),
        ("runpod 1 x MI300", "runpod/mi300x/eu-ro-1"),
    ],
)
def test_a_wrong_name_is_told_the_nearest_id(cloudtrain: Command, text: str, id_: str) -> None:
    """By the whole id, by its machine, or by what is shown."""
    shown = cloudtrain("quote", "qwen3-8b", "--why", text)
    assert shown.code == 2
    assert f"did you mean `{id_}" in shown.err


def test_compare_takes_shown_names_with_commas(cloudtrain: Command) -> None:
    """The comma between the two is the one that leaves a row on both sides."""
    shown = cloudtrain("quote", "qwen3-8b", "--compare", "local this machine, 2 vCPU zen,runpod 1 x MI300X")
    assert shown.code == 0
    ids = next(line for line in shown.out.splitlines() if line.startswith("id "))
    assert ids.split()[1:] == ["local/this-machine", "runpod/mi300x/eu-ro-1"]
    assert "write --compare A,B" in cloudtrain("quote", "qwen3-8b", "--compare", "v6e-1").err


def test_csv_holds_plain_numbers_under_unique_names(cloudtrain: Command) -> None:
    """Every figure can be read as a number and is that of the JSON; one row is the chosen one."""
    document = json.loads(cloudtrain("quote", "qwen3-8b", "-o", "json").out)
    shown = cloudtrain("quote", "qwen3-8b", "-o", "csv").out
    head = shown.splitlines()[0].split(",")
    assert len(set(head)) == len(head)
    rows = list(csv.DictReader(io.StringIO(shown)))
    viable = [line for line in document["lines"] if line["viable"]]
    assert [row["id"] for row in rows] == [line["id"] for line in viable]
    assert [int(row["rank"]) for row in rows if row["chosen"] == "yes"] == [document["chosen"]]
    for row, line in zip(rows, viable, strict=True):
        assert Decimal(row["usd_per_hour"]) == Decimal(line["price_usd_per_hour"])
        for bound in ("low", "likely", "high"):
            assert Decimal(row[f"usd_{bound}"]) == Decimal(line["total_usd"][bound])
            assert float(row[f"hours_{bound}"]) == line["hours"][bound]


@pytest.mark.parametrize(
    ("line", "begun", "expected"),
    [
        ("quote", "llama-3.1", "llama-3.1-8b"),
        ("estimate", "longcat", "longcat-flash"),
        ("quote qwen3-8b --hardware", "mi30", "mi300x"),
        ("throughput qwen3-8b --hardware", "mi30", "mi300x"),
        ("up --infra", "run", "runpod"),
        ("quote qwen3-8b --infra", "gcp/us-c", "gcp/us-central1"),
        ("quote qwen3-8b --infra", "gcp/us-central1/us-central1-", "gcp/us-central1/us-central1-a"),
        ("quote qwen3-8b --why", "gcp/c3-highmem-88/us-c", "gcp/c3-highmem-88/us-central1/spot"),
        ("quote qwen3-8b --why", "run", "runpod/mi300x/eu-ro-1"),
        ("quote qwen3-8b --compare", "local/this-machine,runpod/mi", "local/this-machine,runpod/mi300x/eu-ro-1"),
        ("up --row", "runpod/mi", "runpod/mi300x/eu-ro-1"),
        ("estimate qwen3-8b --chip", "runpod/2x", "runpod/2xmi300x/eu-ro-1"),
        ("config get", "max", "max_hours"),
        ("sweep --provider", "ru", "runpod"),
    ],
)
def test_a_shell_completes_what_a_command_takes(completed: Completed, line: str, begun: str, expected: str) -> None:
    """Everything offered begins with what was written."""
    offered = completed(line, begun)
    assert expected in offered
    assert all(each.lower().startswith(begun) for each in offered)


def test_a_row_stands_for_its_hardware(cloudtrain: Command) -> None:
    """`estimate --chip` and `throughput --hardware` take an id; a wrong one gets the nearest."""
    for command, option in (("estimate", "--chip"), ("throughput", "--hardware")):
        by_id = cloudtrain(command, "qwen3-8b", option, "RunPod/2xMI300X/eu-ro-1", "-o", "json")
        assert by_id.code == 0, by_id.err
        assert by_id.out == cloudtrain(command, "qwen3-8b", option, "mi300x:2", "-o", "json").out
        wrong = cloudtrain(command, "qwen3-8b", option, "runpod/2xmi300x/eu-ro-2")
        assert (wrong.code, "did you mean `runpod/2xmi300x/eu-ro-1`?" in wrong.err) == (2, True)


def test_only_ids_of_the_quote_are_completed(cloudtrain: Command, completed: Completed) -> None:
    """NVIDIA's rows are offered behind --include-nvidia alone."""
    ids = {line["id"] for line in json.loads(cloudtrain("quote", "qwen3-8b", "-o", "json").out)["lines"]}
    assert set(completed("quote qwen3-8b --why", "")) == ids
    more = completed("quote qwen3-8b --include-nvidia --why", "")
    assert ids < set(more)


def test_runs_are_completed_from_the_state_that_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, completed: Completed
) -> None:
    """A run's name after `down`; with a setting that cannot be read, nothing and no error."""
    state = tmp_path / "kept"
    (state / "runs" / "hob-qlora-123456").mkdir(parents=True)
    monkeypatch.setenv("CLOUDTRAIN_STATE", str(state))
    assert completed("down", "hob") == ["hob-qlora-123456"]
    monkeypatch.setenv("CLOUDTRAIN_MAX_HOURS", "many")
    assert completed("down", "hob") == []
