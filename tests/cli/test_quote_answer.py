"""What a quote answers first: at most ten lines of 80 columns, with commands that work as they are printed."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import GOLDEN
from tests.conftest import NOW as DAY
from tests.conftest import Result
from tests.terminal import columns

Command = Callable[..., Result]
NOW = 1795521600.0  # 2026-11-24


@pytest.fixture(autouse=True)
def nobody(this_machine: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pinned machine, and somebody without credentials, tokens and spec."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HOME", "XDG_CACHE_HOME", "RUNPOD_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SHARED_CREDENTIALS_FILE", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("llama", ["llama-3.1-8b"]),
        ("qwen", ["qwen3-8b"]),
        ("longcat", ["longcat-flash"]),
        ("gpt-oss", ["gpt-oss-20b"]),
        ("own-radeon", ["llama-3.1-8b", "--hardware", "RX 7900 XTX"]),
        ("own-mac", ["llama-3.1-8b", "--hardware", "M4 Max", "--memory", "128GB"]),
        ("own-old-radeon", ["llama-3.1-8b", "--hardware", "rx-6900-xt", "--watts", "300"]),
    ],
)
def test_the_answer_is_short_and_narrow(golden: Command, name: str, words: list[str]) -> None:
    """As a terminal of 80 columns shows it."""
    short_and_narrow(golden(f"answer-{name}", "quote", *words).out)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("table", ["llama-3.1-8b", "--table", "--infra", "gcp", "--infra", "runpod"]),
        ("all", ["qwen3-8b", "--all", "--infra", "runpod"]),
        ("why", ["longcat-flash", "--why", "runpod/2xmi300x/eu-ro-1"]),
        (
            "compare",
            ["longcat-flash", "--compare", "runpod/2xmi300x/eu-ro-1,gcp/c3-highmem-88/northamerica-northeast2/spot"],
        ),
    ],
)
def test_rows_fit_a_terminal(cloudtrain: Command, monkeypatch: pytest.MonkeyPatch, name: str, words: list[str]) -> None:
    """At 80 columns no line is wider, no word is cut, and it is as it was read."""
    monkeypatch.setenv("CLOUDTRAIN_NOW", DAY)
    monkeypatch.setenv("PAGER", "cat")
    shown = {width: at_a_terminal(monkeypatch, width, ["quote", *words]) for width in (80, 500)}
    assert max(map(len, shown[80].splitlines())) <= 80
    rest = {width: re.sub(r"^not shown: .*", "", text, flags=re.MULTILINE).lower() for width, text in shown.items()}
    words_of = [set(re.findall(r"[a-z]{5,}", rest[width])) for width in (80, 500)]
    assert not words_of[0] - words_of[1]
    path = GOLDEN / f"answer-rows-{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(shown[80])
    assert shown[80] == path.read_text()


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, width: int, words: list[str]) -> str:
    """What a command prints at a terminal so wide."""
    from cloudtrain.cli import run

    with columns(width, monkeypatch) as printed:
        assert run(words) == 0
    return printed()


def test_verdicts_are_coloured_at_a_terminal_alone(cloudtrain: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Green, yellow, red; nothing with NO_COLOR, nothing in a pipe."""
    words = ["quote", "llama-3.1-8b", "--table", "--infra", "colab", "--infra", "runpod"]
    assert "\x1b" not in at_a_terminal(monkeypatch, 80, words)
    monkeypatch.delenv("NO_COLOR")
    shown = at_a_terminal(monkeypatch, 80, words)
    assert all(code in shown for code in ("\x1b[32m", "\x1b[33m", "\x1b[31m"))
    assert "\x1b" not in cloudtrain(*words).out


def test_markdown_is_the_answer_or_the_table(cloudtrain: Command) -> None:
    """With --table a table of all rows that were looked at."""
    assert "| offer" not in cloudtrain("quote", "qwen3-8b", "-o", "md").out
    assert "| offer" in cloudtrain("quote", "qwen3-8b", "-o", "md", "--table").out


def short_and_narrow(shown: str) -> None:
    """At most ten lines, none wider than 80 columns, no word cut."""
    lines = shown.splitlines()
    assert 0 < len(lines) <= 10, shown
    assert max(map(len, lines)) <= 80, shown


def test_the_json_names_the_same_rows(cloudtrain: Command) -> None:
    """Indices into its lines; the fastest is not slower than the cheapest."""
    document = json.loads(cloudtrain("quote", "smollm2-360m", "-o", "json").out)
    lines, found = document["lines"], document["answer"]
    assert lines[found["owned"]]["market"] == "owned"
    assert lines[found["free"]]["market"] == "free"
    assert lines[found["fastest"]]["hours"]["likely"] < lines[found["owned"]]["hours"]["likely"]
    assert {"cheapest", "barely_dearer"} < found.keys()


def commands(shown: str) -> list[list[str]]:
    """The commands of an answer, as words."""
    found = re.findall(r"(?:^  |: )(cloudtrain .+)$", shown, re.MULTILINE)
    return [shlex.split(each)[1:] for each in found]


@pytest.mark.parametrize("model", ["llama-3.1-8b", "qwen3-8b", "smollm2-135m"])
def test_the_commands_of_an_answer_work(cloudtrain: Command, model: str) -> None:
    """Those that ask nobody: a row explained, a spec made, a setting set."""
    words = commands(cloudtrain("quote", model).out)
    assert any(each[0] == "init" for each in words)
    for each in words:
        if each[0] in ("quote", "init", "config"):
            assert cloudtrain(*each).code == 0, each


@pytest.mark.parametrize("method", ["qlora", "lora", "dora", "freeze", "full"])
def test_every_model_has_a_short_and_narrow_answer(method: str) -> None:
    """All of the registry, without anything that starts a rented machine, and with all of it."""
    from cloudtrain.cli.quote import answer as shown
    from cloudtrain.cli.quote import nothing
    from cloudtrain.models import registry
    from cloudtrain.providers import Context
    from cloudtrain.quote import catalog, engine
    from cloudtrain.quote.answer.picks import answer
    from cloudtrain.quote.answer.start import Here
    from cloudtrain.quote.remedy.remedies import advisor
    from cloudtrain.quote.request import Request

    nobody = Here("/state", frozenset(), "", NOW)
    somebody = Here("s3://bucket/runs", frozenset(("aws", "gcp", "runpod")), "HF_TOKEN", NOW)
    for spec in registry.all_models():
        request = Request(spec=spec, method=method, max_hours=168.0, settings_hours=168.0)  # type: ignore[arg-type]
        quote = engine.quote(request, Context(catalog.folder()))
        if any(line.viable for line in quote.lines):
            for here in (nobody, somebody):
                short_and_narrow("\n".join(shown.lines(quote, answer(quote, here))))
        else:
            short_and_narrow("\n".join(nothing.lines(quote, advisor(quote), is_said=False)))


def test_the_printed_start_has_the_steps_that_were_priced(
    cloudtrain: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row of several sequences at once is started with as many in a step: with one a spec would pay for single ones."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "a-key")
    monkeypatch.setenv("CLOUDTRAIN_STATE", "s3://bucket/team?region=us-east-1")
    asked = ("quote", "longcat-flash", "--infra", "aws", "--on-demand")
    own = [words for words in commands(cloudtrain(*asked).out) if words[0] == "up"]
    given = [words for words in commands(cloudtrain(*asked, "--batch", "2").out) if words[0] == "up"]
    assert own
    assert given
    lines = json.loads(cloudtrain(*asked, "-o", "json").out)["lines"]
    batches = {line["id"]: line["recipe"]["batch"] for line in lines if line["viable"]}
    assert [f"grad_accum={batches[words[words.index('--row') + 1]]}" in words for words in own] == [True] * len(own)
    assert min(batches.values()) > 1
    assert all("micro_batch=2" in words and not any("grad_accum" in word for word in words) for words in given)


def test_why_says_what_a_rows_batch_gains(cloudtrain: Command) -> None:
    """Against single sequences there; a batch that was given needs no reason."""
    row = ("quote", "longcat-flash", "--why", "gcp/c3-highmem-88/us-central1")
    (said,) = [line for line in cloudtrain(*row).out.splitlines() if line.startswith("batch")]
    assert re.fullmatch(
        r"batch +8: [\d.]+ h instead of [\d.]+ h with 1; in a spec `grad_accum: 8` or more", said.strip()
    )
    assert not [line for line in cloudtrain(*row, "--batch", "4").out.splitlines() if line.startswith("batch")]


def test_stale_prices_are_named_with_what_renews_them(cloudtrain: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the rows that are shown: the command in a line of its own, and before it what that lacks here."""
    from tests.price_answers import answering, nobody_answers, selling

    monkeypatch.setenv("CLOUDTRAIN_NOW", "2027-06-01T12:00:00Z")
    nobody_answers(monkeypatch)
    words = ("quote", "llama-3.1-8b", "--infra", "runpod")
    assert "refresh" not in cloudtrain(*words).out
    answering(monkeypatch, "runpod", selling(lambda row: "1"), keyless=False)
    shown = cloudtrain(*words).out
    assert "stale prices of runpod; needs runpod credentials (RUNPOD_API_KEY):\n" in shown
    assert "  cloudtrain prices refresh --provider runpod\n" in shown
    short_and_narrow(shown)
    answering(monkeypatch, "runpod", selling(lambda row: "1"), keyless=True)
    assert "stale prices of runpod: cloudtrain prices refresh --provider runpod\n" in cloudtrain(*words).out
    monkeypatch.setenv("CLOUDTRAIN_NOW", DAY)
    assert "refresh" not in cloudtrain("quote", "llama-3.1-8b", "--infra", "colab").out
