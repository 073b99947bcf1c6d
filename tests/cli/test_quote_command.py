"""The quote as a person and a program see it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result

Command = Callable[..., Result]


@pytest.fixture(autouse=True)
def pinned(this_machine: Callable[..., None]) -> None:
    """The machine is pinned in all of these."""


def lines_of(result: Result) -> list[dict[str, object]]:
    """The lines of a quote's JSON."""
    found: list[dict[str, object]] = json.loads(result.out)["lines"]
    return found


def test_longcat_under_qlora_as_a_table(golden: Command) -> None:
    """The table says 560.7 B, shows what works, and below the line everything that cannot, with its reason."""
    result = golden("quote-longcat-qlora", "quote", "longcat-flash", "--method", "qlora", "--table")
    assert "560.7 B" in result.out
    assert "2 x MI300X" in result.out


def test_a_small_model_as_a_table(golden: Command) -> None:
    """A model that fits this machine is chosen here, because a machine that is owned costs only its power."""
    result = golden("quote-qwen3-0.6b", "quote", "qwen3-0.6b", "--method", "lora", "--tokens", "100k", "--table")
    assert "`up` would choose: " in result.out


def test_longcat_has_a_viable_row_and_honest_verdicts(cloudtrain: Command) -> None:
    """CPU hosts load it, AMD and TPUs are experimental, Trainium has no trainer, Colab and Kaggle can never hold it."""
    lines = lines_of(cloudtrain("quote", "longcat-flash", "--method", "qlora", "-o", "json"))
    loads = {(line["provider"], line["hardware"]): line["loads"] for line in lines}
    assert any(line["viable"] for line in lines)
    assert loads["aws", "trainium1"] == loads["aws", "trainium2"] == "no trainer"
    assert loads["runpod", "mi300x"] == loads["gcp", "tpu-v5p"] == "experimental"
    assert loads["gcp", "cpu-zen"] == "yes"
    for provider in ("colab", "kaggle"):
        rows = [line for line in lines if line["provider"] == provider]
        assert rows
        assert all(line["fits"] == "no" and line["reasons"] for line in rows)


def test_no_inference_chip_and_no_unpriced_row_is_viable(cloudtrain: Command) -> None:
    """Among the viable rows of an 8B LoRA there is no chip that only serves and no price that nobody knows."""
    lines = lines_of(cloudtrain("quote", "llama-3.1-8b", "--method", "lora", "--tokens", "10M", "-o", "json"))
    viable = [line for line in lines if line["viable"]]
    assert viable
    assert not {line["hardware"] for line in viable} & {"inferentia2", "qualcomm-ai100", "v520", ""}
    assert all(line["price_usd_per_hour"] is not None and line["total_usd"] for line in viable)


def test_json_follows_its_schema(cloudtrain: Command) -> None:
    """`-o json` validates against `cloudtrain schema quote`."""
    import jsonschema

    schema = json.loads(cloudtrain("schema", "quote").out)
    for words in (["longcat-flash"], ["llama-3.1-8b", "--method", "full", "--include-nvidia"]):
        jsonschema.validate(json.loads(cloudtrain("quote", *words, "-o", "json").out), schema)


def test_viable_lines_come_first_and_cheapest_first(cloudtrain: Command) -> None:
    """The order is the ranking: viable by expected dollars of finishing, then the rest; nothing is missing."""
    lines = lines_of(cloudtrain("quote", "qwen3-8b", "-o", "json"))
    viable = [bool(line["viable"]) for line in lines]
    assert viable == sorted(viable, reverse=True)
    dollars = [float(line["expected_usd"]) for line in lines if line["viable"]]  # type: ignore[arg-type]
    assert dollars == sorted(dollars)


def test_nvidia_is_shown_only_when_asked_and_never_chosen(cloudtrain: Command) -> None:
    """Without --include-nvidia there is no such row; with it there is, and the choice is not one of them."""
    without = lines_of(cloudtrain("quote", "qwen3-8b", "-o", "json"))
    result = cloudtrain("quote", "qwen3-8b", "--include-nvidia", "-o", "json")
    document = json.loads(result.out)
    shown = {line["hardware"] for line in document["lines"]} - {line["hardware"] for line in without}
    assert {"h100", "a100-80g"} <= shown
    assert document["chosen"] is None or document["lines"][document["chosen"]]["hardware"] not in shown


def test_why_explains_a_row_with_every_source(golden: Command) -> None:
    """--why gives memory, software, price, time and cost of one row, each with where it comes from."""
    golden("quote-why", "quote", "longcat-flash", "--why", "runpod/2xmi300x")


def test_compare_puts_two_rows_side_by_side(cloudtrain: Command) -> None:
    """--compare A,B explains both, heading by heading."""
    result = cloudtrain("quote", "qwen3-8b", "--compare", "v6e-1,mi300x", "-o", "csv")
    assert result.code == 0
    assert result.out.splitlines()[0].count(",") == 2


def test_a_folded_row_names_the_size_that_a_change_helps(cloudtrain: Command) -> None:
    """One chip is too small whatever the method; sixteen are not."""
    words = ["--infra", "aws", "--hardware", "trainium1", "--table"]
    assert " -> on 16 x Trainium1 --method lora: likely $" in cloudtrain("quote", "qwen3-8b", *words).out


def test_infra_hardware_and_market_narrow_the_table(cloudtrain: Command) -> None:
    """Only the place, chip and market asked for are looked at."""
    words = ["--infra", "gcp/us-east5", "--hardware", "v6e:8", "--spot", "-o", "json"]
    lines = lines_of(cloudtrain("quote", "qwen3-8b", *words))
    assert {(line["provider"], line["region"], line["offer"], line["market"]) for line in lines} == {
        ("gcp", "us-east5", "v6e-8", "spot")
    }


def test_all_hardware_that_the_help_names_is_known(cloudtrain: Command) -> None:
    """The examples of the help are words that the options take."""
    import re

    from cloudtrain.estimate import hardware

    words = " ".join(cloudtrain("quote", "--help").out.partition("any spelling and a number.")[2].split())
    groups = words.partition(" Options:")[0]
    names = [name for name in re.split(r"[.,] | to |[^.,:]+: |\.$", groups) if name]
    assert len(names) > 20
    assert all(hardware.find(name) for name in names)


def test_an_owned_row_follows_the_schema_and_is_never_chosen(cloudtrain: Command) -> None:
    """A card that can also be rented has both kinds of rows; only this machine and rented ones can be started."""
    import jsonschema

    document = json.loads(cloudtrain("quote", "qwen3-8b", "--hardware", "mi300x", "-o", "json").out)
    jsonschema.validate(document, json.loads(cloudtrain("schema", "quote").out))
    markets = {(line["provider"], line["market"]) for line in document["lines"]}
    assert {("local", "owned"), ("runpod", "on_demand")} <= markets
    assert document["lines"][document["chosen"]]["provider"] == "runpod"


def test_an_owned_row_is_made_whatever_the_settings_say(cloudtrain: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting `infra` says where runs go; --infra on the command line leaves out what is not asked for."""
    monkeypatch.setenv("CLOUDTRAIN_INFRA", "runpod")
    lines = lines_of(cloudtrain("quote", "qwen3-8b", "--hardware", "RX 7900 XTX", "-o", "json"))
    assert [line["market"] for line in lines] == ["owned"]
    assert cloudtrain("quote", "qwen3-8b", "--hardware", "RX 7900 XTX", "--infra", "gcp").code == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--hardware", "cpu-amx", "--infra", "runpod"], "--hardware cpu-amx:64 --memory 256GB"),
        (["--hardware", "rtx4090"], "--include-nvidia"),
    ],
)
def test_an_empty_quote_says_what_would_not_be_empty(cloudtrain: Command, words: list[str], said: str) -> None:
    """No verdict about offers that were not looked at."""
    result = cloudtrain("quote", "qwen3-8b", *words)
    assert result.code == 3
    assert said in result.err
    assert "can finish" not in result.err


@pytest.mark.parametrize(
    ("name", "argv"),
    [
        ("unknown-model", ["quote", "lama-3.1-8b"]),
        ("unknown-method", ["quote", "qwen3-8b", "--method", "qlorra"]),
        ("unknown-flag", ["quote", "qwen3-8b", "--methd", "lora"]),
        ("unknown-hardware", ["quote", "qwen3-8b", "--hardware", "mi300"]),
        ("unknown-watts", ["quote", "qwen3-8b", "--hardware", "mi300x", "--watts", "many"]),
        ("unknown-memory", ["quote", "qwen3-8b", "--hardware", "mi300x", "--memory", "large"]),
        ("memory-of-what", ["quote", "qwen3-8b", "--memory", "24GB"]),
        ("unknown-provider", ["quote", "qwen3-8b", "--infra", "awz"]),
        ("no-such-provider", ["quote", "qwen3-8b", "--infra", "lambda"]),
        ("unknown-region", ["quote", "qwen3-8b", "--infra", "gcp/us-east55"]),
        ("unknown-zone", ["quote", "qwen3-8b", "--infra", "aws/us-east-1/nowhere"]),
        ("unknown-offer", ["quote", "qwen3-8b", "--why", "v6e-9"]),
        ("unknown-command", ["qoute", "qwen3-8b"]),
        ("bad-tokens", ["quote", "qwen3-8b", "--tokens", "many"]),
        ("tokens-twice", ["quote", "qwen3-8b", "--tokens", "1M", "--data", "x.jsonl"]),
        ("no-data-file", ["quote", "qwen3-8b", "--data", "no-such.jsonl"]),
        ("nothing-viable", ["quote", "llama-3.1-405b", "--infra", "colab"]),
        ("over-budget", ["quote", "longcat-flash", "--max-cost", "1", "--infra", "runpod"]),
    ],
)
def test_bad_input_is_a_sentence_and_a_code(golden: Command, name: str, argv: list[str]) -> None:
    """Each wrong word has its own sentence, the nearest right one and its exit code."""
    golden(f"quote-{name}", *argv)


def test_a_folder_without_a_config_is_refused(cloudtrain: Command, tmp_path: Path) -> None:
    """The sentence names the file that is missing."""
    result = cloudtrain("quote", str(tmp_path))
    assert result.code == 2
    assert "config.json" in result.err


def test_another_catalogue_takes_the_place_of_the_shipped_one(
    cloudtrain: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CLOUDTRAIN_CATALOG is read instead; a provider without a file has no offers; a broken row names its line."""
    monkeypatch.setenv("CLOUDTRAIN_CATALOG", str(tmp_path))
    lines = lines_of(cloudtrain("quote", "qwen3-0.6b", "-o", "json"))
    assert {line["provider"] for line in lines} == {"local"}
    (tmp_path / "runpod.csv").write_text("provider,offer\nrunpod,x\n")
    result = cloudtrain("quote", "qwen3-0.6b")
    assert result.code == 2
    assert "runpod.csv" in result.err


def test_tokens_are_counted_from_data(cloudtrain: Command, tmp_path: Path) -> None:
    """--data counts characters and says how; epochs multiply."""
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps({"text": "x" * 4000}) + "\n")
    document = json.loads(cloudtrain("quote", "qwen3-0.6b", "--data", str(path), "--epochs", "3", "-o", "json").out)
    assert document["work"]["tokens"] == 3000
    assert "4 characters a token" in document["work"]["tokens_basis"]


def test_a_tpu_row_is_chosen_near_the_cheapest_of_google(cloudtrain: Command) -> None:
    """8 B with LoRA over 10 M tokens: started today, marked as never run, at most half dearer than Google's cheapest."""
    found = json.loads(cloudtrain("quote", "llama-3.1-8b", "--method", "lora", "--tokens", "10M", "-o", "json").out)
    lines = found["lines"]
    chosen = lines[found["chosen"]]
    assert (chosen["hardware"].startswith("tpu-"), chosen["launch"], chosen["loads"]) == (True, "yes", "yes")
    assert "never run on a chip by us" in chosen["reasons"]
    google = [line for line in lines if line["provider"] == "gcp" and line["viable"] and line["priced"]]
    cheapest = min(float(line["total_usd"]["likely"]) for line in google)
    assert float(chosen["total_usd"]["likely"]) <= 1.5 * cheapest


def test_longcat_has_slices_with_what_its_weights_are_packed_in(cloudtrain: Command) -> None:
    """int4 on v6e-16, int8 on the 8 chips of v5p-16; experimental, with dollars."""
    lines = lines_of(cloudtrain("quote", "longcat-flash", "--method", "qlora", "-o", "json"))
    for offer, kind in (("v6e-16", "int4"), ("v5p-16", "int8")):
        rows = [line for line in lines if line["offer"] == offer and line["price_usd_per_hour"] is not None]
        assert rows
        assert {(line["recipe"]["quantisation"], line["loads"], line["launch"], line["viable"]) for line in rows} == {
            (kind, "experimental", "yes", True)
        }
        assert all(line["total_usd"] for line in rows)
