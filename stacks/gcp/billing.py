"""What Google has billed: the billing export in BigQuery, where one was switched on, by our label."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from cloudtrain.billing import Billing, BillQuestion, Bills
from cloudtrain.errors import NotFound, Permission, Unavailable, Unknown, UsageError, visible

from .._lifecycle.names import KEY
from . import rest

TABLE = "CLOUDTRAIN_GCP_BILLING_TABLE"
FIRST_S, SETTLED_S, EVERY_S = 24 * 3600.0, 72 * 3600.0, 6 * 3600.0
LARGEST_BYTES = 20 * 2**30  # that a question may read; a terabyte a month is free
WAIT_MS, WAITS, PAGE, PAGES_AT_MOST = 10_000, 6, 1000, 100
NAMED = r"(?a)([a-z][a-z0-9.:-]{4,62})\.(\w{1,200})\.(gcp_billing_export_(?:resource_)?v1_\w+)"
NOT_ON: Final = (
    "no billing export to BigQuery was found: it is not switched on, or lies in another project. Switch it on at "
    "https://console.cloud.google.com/billing/export (it holds nothing of before), or name its table: "
    f"{TABLE}=PROJECT.DATASET.TABLE"
)
RIGHTS: Final = "give it roles/bigquery.jobUser in the project and roles/bigquery.dataViewer on the export's dataset"
QUERY: Final = """\
SELECT l.value AS run_key, service.description AS service, sku.description AS sku, cost_type,
  CAST(SUM(CAST(cost AS NUMERIC) / CAST(IFNULL(currency_conversion_rate, 1) AS NUMERIC)) AS STRING) AS usd,
  CAST(SUM(IFNULL((SELECT SUM(CAST(c.amount AS NUMERIC)) FROM UNNEST(credits) AS c), 0)
    / CAST(IFNULL(currency_conversion_rate, 1) AS NUMERIC)) AS STRING) AS credit_usd
FROM `{table}`, UNNEST(labels) AS l
WHERE l.key = @label AND l.value IN UNNEST(@keys)
  AND _PARTITIONTIME >= TIMESTAMP_TRUNC(@begin, DAY) AND usage_start_time >= @begin
GROUP BY run_key, service, sku, cost_type
ORDER BY run_key, service, sku, cost_type"""
COLUMNS: Final = ("run_key", "service", "sku", "cost_type", "usd", "credit_usd")
# A word of a SKU's description -> sort of cost, in this order.
SORTS: Final = (
    ("egress", "egress"),
    ("data transfer", "egress"),
    ("external ip", "address"),
    ("pd capacity", "disk"),
    ("hyperdisk", "disk"),
    ("storage", "disk"),
    ("instance", "compute"),
    ("core", "compute"),
    ("tpu", "compute"),
)


def ask(questions: Sequence[BillQuestion], now: float) -> Bills:
    """The bills of the runs whose labels the export holds. Raises provider errors."""
    project = rest.project()
    table = named_table() or found_table(project)
    if not table:
        return Bills({}, NOT_ON)
    runs = {each.key: each.run for each in questions}
    try:
        rows = list(_rows(project, table, sorted(runs), min(each.begin for each in questions)))
    except Permission as error:
        raise Permission(error.message, error.hint if "apis/library" in error.hint else RIGHTS) from None
    except NotFound:
        return Bills({}, f"the billing export {table} is not there; {NOT_ON}")
    found: dict[str, dict[str, Decimal]] = {}
    for key, service, sku, cost_type, usd, credit in rows:
        if key not in runs:
            raise Unavailable("BigQuery names a run that was not asked for", "try again")
        sorts = found.setdefault(runs[key], {})
        for sort, amount in ((sort_of(f"{service} {sku}", cost_type), usd), ("credit", credit)):
            if amount or sort != "credit":
                sorts[sort] = sorts.get(sort, Decimal(0)) + amount
    return Bills(found)


def named_table() -> str:
    """The table that the variable names, "" when it is unset. Raises UsageError for what is no table's name."""
    text = os.environ.get(TABLE, "").strip()
    if text and not re.fullmatch(NAMED, text):
        raise UsageError(f"{TABLE} is `{visible(text)}`", "write PROJECT.DATASET.gcp_billing_export_v1_...")
    return text


def found_table(project: str) -> str:
    """The export in a dataset of the project, the detailed one where there are both; "" for none."""
    found = []
    for page in rest.pages(rest.BIGQUERY, f"/projects/{project}/datasets"):
        for dataset in page.get("datasets") or []:
            where = dataset["datasetReference"]
            path = f"/projects/{where['projectId']}/datasets/{where['datasetId']}/tables"
            for tables in rest.pages(rest.BIGQUERY, path, {"maxResults": PAGE}):
                for table in tables.get("tables") or []:
                    id_ = table["tableReference"]["tableId"]
                    if re.fullmatch(NAMED, named := f"{where['projectId']}.{where['datasetId']}.{id_}"):
                        found.append(("_resource_" not in id_, named))
    return min(found)[1] if found else ""


def _rows(
    project: str, table: str, keys: list[str], begin: float
) -> Iterator[tuple[str, str, str, str, Decimal, Decimal]]:
    """The rows of the answer, over all pages."""
    at = datetime.fromtimestamp(begin, UTC).isoformat()
    body = {
        "query": QUERY.format(table=table),
        "useLegacySql": False,
        "parameterMode": "NAMED",
        "queryParameters": [
            _parameter("label", "STRING", KEY),
            _parameter("begin", "TIMESTAMP", at),
            _list("keys", keys),
        ],
        "maximumBytesBilled": str(LARGEST_BYTES),
        "timeoutMs": WAIT_MS,
        "maxResults": PAGE,
    }
    try:
        page = rest.call(rest.BIGQUERY, "POST", f"/projects/{project}/queries", body=body)
    except Unknown as error:  # a question makes nothing
        raise Unavailable(error.message, "try again") from None
    job = page["jobReference"]
    path, where = f"/projects/{job['projectId']}/queries/{job['jobId']}", {"location": job.get("location", "US")}
    for _ in range(WAITS):
        if page["jobComplete"] is True:
            break
        time.sleep(rest.timing().poll_s)
        page = _more(path, where)
    else:
        raise Unavailable("BigQuery has not finished the question", "try again")
    if tuple(field["name"] for field in page["schema"]["fields"]) != COLUMNS:
        raise Unavailable("BigQuery answers with other columns than were asked for", "try again")
    expected, seen = int(page["totalRows"]), 0
    for _ in range(PAGES_AT_MOST):
        for row in page.get("rows") or []:
            seen += 1
            yield _row(row)
        token = page.get("pageToken")
        if not token:
            break
        page = _more(path, {**where, "pageToken": token})
    if seen != expected:
        raise Unavailable(f"BigQuery gave {seen} of {expected} rows", "try again")


def _more(path: str, query: Mapping[str, str]) -> dict[str, Any]:
    """More of an answer. A question that BigQuery has forgotten is a failure, not an export that is missing."""
    try:
        return rest.call(rest.BIGQUERY, "GET", path, query={**query, "timeoutMs": WAIT_MS, "maxResults": PAGE})
    except NotFound as error:
        raise Unavailable(error.message, "try again") from None


def _row(row: Mapping[str, Any]) -> tuple[str, str, str, str, Decimal, Decimal]:
    key, service, sku, cost_type, usd, credit = (str(cell["v"] or "") for cell in row["f"])
    amounts = Decimal(usd), Decimal(credit)
    if not all(amount.is_finite() for amount in amounts):
        raise Unavailable("BigQuery answers with no amount", "try again")
    return key, service, sku, cost_type, *amounts


def _parameter(name: str, kind: str, value: str) -> dict[str, Any]:
    return {"name": name, "parameterType": {"type": kind}, "parameterValue": {"value": value}}


def _list(name: str, value: list[str]) -> dict[str, Any]:
    kind = {"type": "ARRAY", "arrayType": {"type": "STRING"}}
    return {"name": name, "parameterType": kind, "parameterValue": {"arrayValues": [{"value": each} for each in value]}}


def sort_of(text: str, cost_type: str) -> str:
    """The sort of cost of a SKU, by its words and the row's type."""
    if cost_type == "tax":
        return "tax"
    if cost_type != "regular":
        return "other"
    return next((sort for word, sort in SORTS if word in text.lower()), "other")


BILLED = Billing("Google's billing export in BigQuery", ask, FIRST_S, SETTLED_S, EVERY_S)
