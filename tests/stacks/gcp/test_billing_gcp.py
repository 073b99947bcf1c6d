"""Google's billing export in BigQuery: found or named, asked once, late rows, credits, and "not switched on"."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from cloudtrain.billing import BillQuestion, Bills
from cloudtrain.errors import MissingCredentials, Permission, Unavailable, UsageError
from cloudtrain.providers import Stack, load, run_key
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.gcp.bigquery import DATASET, TABLE, BillingExport
from cloudtrain.simulator.http_server import Reply
from cloudtrain.simulator.ledger import Ledger
from tests.patience import TIMING

BEGAN = 1.79e9
HOUR, DAY = 3600.0, 86400.0
LABEL = "cloudtrain-key"
TOKEN = "PLANTED-SECRET-GCE-4a1f"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[BillingExport]:
    """A project in which two runs stood for ten hours."""
    ledger = Ledger(Clock(BEGAN))
    export = BillingExport(lambda: ledger, TOKEN)
    for name, value in export.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CLOUDTRAIN_SIMULATOR_TOKEN", TOKEN)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", export.project)
    monkeypatch.setenv("CLOUDTRAIN_SIMULATOR_TIMING", TIMING)
    for run in ("one", "two"):
        labels = {LABEL: run_key(run)}
        ledger.open(f"m-{run}", f"instance ct-{run}", 2.0, labels)
        ledger.open(f"d-{run}", f"disk ct-{run}", 0.1, labels)
    ledger.open("m-x", "instance other", 50.0, {"team": "another"})
    ledger.clock.advance(10 * HOUR)
    for entry in ledger.entries:
        ledger.close(entry.id)
    yield export
    export.stop()


def ask(fake: BillingExport, *runs: str) -> Bills:
    billed = load("stacks", "gcp", Stack).billed
    assert billed is not None
    place = ({"project": fake.project},)
    questions = [BillQuestion(run, run_key(run), (f"m-{run}",), place, BEGAN, None) for run in runs or ("one",)]
    return billed.ask(questions, fake.clock.now())


def test_bill_is_by_run_and_sort_over_all_pages(fake: BillingExport) -> None:
    fake.clock.advance(4 * DAY)
    found = ask(fake, "one", "two").usd
    assert {run: {sort: round(float(usd), 2) for sort, usd in sorts.items()} for run, sorts in found.items()} == {
        "one": {"compute": 20.0, "disk": 1.0},
        "two": {"compute": 20.0, "disk": 1.0},
    }
    assert fake.calls.count("jobs.query") == 1
    assert fake.calls.count("jobs.getQueryResults") == 1


def test_rows_come_late(fake: BillingExport) -> None:
    seen = []
    for _ in range(8):
        seen.append(sum(ask(fake).usd.get("one", {}).values(), Decimal(0)))
        fake.clock.advance(8 * HOUR)
    assert seen == sorted(seen)
    assert seen[0] < seen[3] < seen[-1] == Decimal("21.000000000")


def test_credits_are_a_sort_of_their_own(fake: BillingExport) -> None:
    fake.clock.advance(4 * DAY)
    fake.credit = 0.25
    assert ask(fake).usd["one"]["credit"] == Decimal("-5.25")


def test_missing_export_is_an_answer_with_what_to_do(fake: BillingExport) -> None:
    fake.exists = False
    found = ask(fake)
    assert found.usd == {}
    assert "not switched on" in found.message
    assert "https://console.cloud.google.com/billing/export" in found.message
    assert "CLOUDTRAIN_GCP_BILLING_TABLE=PROJECT.DATASET.TABLE" in found.message


def test_named_table_is_asked_without_a_search(fake: BillingExport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDTRAIN_GCP_BILLING_TABLE", f"{fake.project}.{DATASET}.{TABLE}")
    fake.clock.advance(4 * DAY)
    assert "one" in ask(fake).usd
    assert "datasets.list" not in fake.calls


def test_named_table_that_is_not_there_is_an_answer(fake: BillingExport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDTRAIN_GCP_BILLING_TABLE", "elsewhere.billing.gcp_billing_export_v1_X")
    assert "elsewhere.billing.gcp_billing_export_v1_X is not there" in ask(fake).message


@pytest.mark.parametrize(
    "text", ["billing", "p.d.t", "p.d.gcp_billing_export_v1_X` --", "project.d.gcp_billing_export_v1_"]
)
def test_name_of_no_table_is_refused(fake: BillingExport, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("CLOUDTRAIN_GCP_BILLING_TABLE", text)
    with pytest.raises(UsageError, match="CLOUDTRAIN_GCP_BILLING_TABLE"):
        ask(fake)


def test_question_that_takes_longer_is_waited_for(fake: BillingExport) -> None:
    fake.clock.advance(4 * DAY)
    fake.unfinished = 3
    assert "one" in ask(fake).usd


def test_question_that_never_ends_is_unavailable(fake: BillingExport) -> None:
    fake.unfinished = 100
    with pytest.raises(Unavailable, match="not finished"):
        ask(fake)


def test_use_before_the_export_is_missing(fake: BillingExport) -> None:
    fake.clock.advance(4 * DAY)
    fake.since = BEGAN + 5 * HOUR
    assert round(float(ask(fake).usd["one"]["compute"])) == 10


def test_missing_right_is_said(fake: BillingExport) -> None:
    fake.faults.add("jobs.query", "permission")
    with pytest.raises(Permission) as refused:
        ask(fake)
    assert "roles/bigquery.dataViewer" in refused.value.hint


def test_wrong_token_is_missing_credentials(fake: BillingExport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDTRAIN_SIMULATOR_TOKEN", "another")
    with pytest.raises(MissingCredentials):
        ask(fake)


@pytest.mark.parametrize("kind", ["throttled", "unavailable", "dropped", "lost_reply"])
def test_failure_of_a_question_is_unavailable(fake: BillingExport, kind: Any) -> None:
    fake.faults.add("jobs.query", kind)
    with pytest.raises(Unavailable):
        ask(fake)


ROW = {"f": [{"v": each} for each in (run_key("one"), "Compute Engine", "Core", "regular", "1", "0")]}
WHOLE = {
    "jobReference": {"projectId": "p", "jobId": "j"},
    "jobComplete": True,
    "totalRows": "1",
    "schema": {"fields": [{"name": n} for n in ("run_key", "service", "sku", "cost_type", "usd", "credit_usd")]},
    "rows": [ROW],
}


@pytest.mark.parametrize(
    "changes",
    [
        {"totalRows": "2"},
        {"totalRows": None},
        {"schema": {"fields": []}},
        {"jobComplete": None},
        {"jobReference": {}},
        {"rows": [{"f": []}]},
        {"rows": [{"f": [*ROW["f"][:4], {"v": "NaN"}, {"v": "0"}]}]},
        {"rows": [{"f": [*ROW["f"][:4], {"v": "much"}, {"v": "0"}]}]},
        {"rows": [{"f": [{"v": "somebody"}, *ROW["f"][1:]]}]},
        {"rows": 7},
    ],
)
def test_wrong_answer_is_unavailable(
    fake: BillingExport, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    import json

    answer = fake.answer

    def wrong(asked: Any) -> Reply | None:
        if fake.call_of(asked) not in ("jobs.query", "jobs.getQueryResults"):
            return answer(asked)
        return Reply(200, json.dumps({**WHOLE, **changes}).encode())

    monkeypatch.setattr(fake, "answer", wrong)
    with pytest.raises(Unavailable):
        ask(fake)


@pytest.mark.parametrize(
    "changes", [{}, {"useLegacySql": True}, {"maximumBytesBilled": None}, {"query": "SELECT 1"}, {"x": 1}]
)
def test_fake_refuses_questions_that_are_dear_or_wrong(fake: BillingExport, changes: dict[str, Any]) -> None:
    import json

    body = {"query": "SELECT 1", "useLegacySql": False, "parameterMode": "NAMED", "queryParameters": [], **changes}
    request = SimpleNamespace(
        method="POST",
        path=f"/bigquery/v2/projects/{fake.project}/queries",
        headers={"authorization": f"Bearer {TOKEN}"},
        body=json.dumps(body).encode(),
        query={},
    )
    assert fake.perform("jobs.query", request).status == 400  # type: ignore[arg-type]
