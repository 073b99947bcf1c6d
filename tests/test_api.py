"""The Python interface: its functions do what the commands do, and it costs nobody else's start-up."""

from __future__ import annotations

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from cloudtrain import api
from cloudtrain.providers import Stack, load
from cloudtrain.state.store import LocalFolder
from tests.fakes import desk_with_fake_trainer


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a spec and data, and a cache whose trainer is a fake."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLOUDTRAIN_CACHE", str(tmp_path / "cache"))
    return desk_with_fake_trainer(tmp_path)


def nothing_runs() -> bool:
    """Whether no process of a run of this test's state is left."""
    store = LocalFolder(Path(os.environ["CLOUDTRAIN_STATE"]))
    mine = set(store.children("runs"))
    return not [owned for owned in load("stacks", "local", Stack).list_owned() if owned.run in mine]


def test_a_run_from_its_start_to_its_account(desk: Path) -> None:
    """`up` again reports the same run; what it emitted is typed; logs, runs and report know it."""
    told: list[api.events.Event] = []
    options = api.UpOptions(infra=("local",), yes=True)
    run = api.up(options, on_event=told.append)
    assert run is not None
    assert run.state == "finished"
    kinds = [type(event).__name__ for event in told if not isinstance(event, api.events.LogBytes | api.events.Message)]
    assert kinds == ["DataCounted", "PlanReady", "Started", "Following", "FollowingEnded", "Finished"]
    log = b"".join(event.data for event in told if isinstance(event, api.events.LogBytes))
    assert log == b"".join(api.logs(run.id))
    assert [each.id for each in api.runs()] == [run.id]
    assert api.report().steps == 20
    again: list[api.events.Event] = []
    same = api.up(options, on_event=again.append)
    assert same is not None
    assert same.id == run.id
    assert [type(event).__name__ for event in again] == ["RunFound", "Finished"]
    assert api.attach(run.id, home=desk / "elsewhere").id == run.id
    assert (desk / "elsewhere" / "adapter_config.json").exists()
    assert [ended.was for ended in api.down(run.id)] == ["finished"]
    assert nothing_runs()


def test_nothing_starts_until_somebody_agrees(desk: Path) -> None:
    """Without an answer, and with a no; the question holds the plan."""
    options, asked = api.UpOptions(infra=("local",)), []

    def refuse(question: api.events.Question) -> bool:
        asked.append(question)
        return False

    with pytest.raises(api.CloudtrainError, match="there is no terminal to ask on"):
        api.up(options)
    with pytest.raises(api.CloudtrainError, match="nothing was started") as raised:
        api.up(options, ask=refuse)
    assert raised.value.exit_code == 103
    assert isinstance(asked[0], api.events.StartQuestion)
    assert api.up(api.UpOptions(infra=("local",), dry_run=True)) is None
    assert api.runs() == []


def test_quote_estimate_and_models_answer_offline() -> None:
    """Records, not text."""
    (spec,) = api.models("qwen3-8b")
    assert spec in api.models()
    estimated = api.estimate("qwen3-8b", api.EstimateOptions(method="lora"))
    assert estimated.required_bytes > estimated.peak_bytes > 0
    quoted = api.quote(api.QuoteOptions("qwen3-8b", method="lora", infra=("gcp", "runpod")))
    assert {row.offer.provider for row in quoted.lines} == {"gcp", "runpod"}
    assert api.quote("qwen3-8b").request.method == "qlora"
    with pytest.raises(api.CloudtrainError, match="unknown model") as raised:
        api.quote("qwen3-9b")
    assert raised.value.exit_code == 2


def test_ending_and_polling_without_a_run_say_so(desk: Path) -> None:
    """Nothing is ended by an accident of arguments."""
    with pytest.raises(api.CloudtrainError, match="say which run"):
        api.down()
    assert api.down(everything=True) == []
    assert api.poll(everything=True).polled == []
    with pytest.raises(api.CloudtrainError) as raised:
        api.report()
    assert raised.value.exit_code == 102


def test_it_is_imported_only_when_asked_and_imports_little() -> None:
    """Neither `import cloudtrain` nor a quote pays for it; itself it loads no SDK, no click and no pydantic."""
    program = "import sys, cloudtrain; a = 'cloudtrain.api' in sys.modules; from cloudtrain import api; print(a, *sys.modules)"
    words = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert words[0] == "False"
    assert not {"click", "pydantic", "boto3", "pulumi", "requests", "yaml"} & set(words)


def test_every_name_is_documented() -> None:
    """Each public name has a docstring."""
    assert [name for name in api.__all__ if not getattr(api, name).__doc__] == []


def test_prices_are_renewed_and_compared(monkeypatch: pytest.MonkeyPatch, own_world: Path) -> None:
    """As the commands do it, with records out: what was asked, what differs, what one price was."""
    from tests.price_answers import answering, nobody_answers, own_lists, selling

    own_lists(monkeypatch, own_world / "shipped")
    nobody_answers(monkeypatch)
    answering(monkeypatch, "runpod", selling(lambda row: "2.45" if row.count == 1 else "4.90"), keyless=True)
    (would,) = api.prices_refresh(["runpod"], dry_run=True)
    assert (would.state, api.prices_diff()) == ("renewed", [])
    (done,) = api.prices_refresh()
    assert (done.state, {each.new for each in done.changes}) == ("renewed", {Decimal("2.45"), Decimal("4.90")})
    assert {each.provider: each.source for each in api.prices_status() if each.rows} == {
        "aws": "shipped",
        "runpod": "refresh",
    }
    assert "runpod/mi300x/eu-ro-1" in {each.id for each in api.prices_diff()}
    (course,) = api.prices_history("runpod/mi300x/eu-ro-1").values()
    assert (course.now, course.lowest, course.is_written) == (Decimal("2.45"), Decimal("2.39"), True)
