"""A fake BigQuery with a billing export in it: late rows, negative credits, another currency, or no export at all."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from cloudtrain.simulator.gcp.accounts import PROJECT
from cloudtrain.simulator.http_server import Front, Reply, Request
from cloudtrain.simulator.ledger import Delay, Entry, Ledger

OTHER, DATASET, TABLE = "analytics", "billing", "gcp_billing_export_resource_v1_01ABCD_234567_89ABCD"
DELAY = Delay(6 * 3600.0, 48 * 3600.0)
ROOT = "/bigquery/v2/projects/"
FIELDS = ("run_key", "service", "sku", "cost_type", "usd", "credit_usd")
# What a question about the export must have, or its answer is wrong or reads the whole table.
NEEDED = (
    r"UNNEST\(labels\) AS l\b",
    r"l\.key = @label\b",
    r"l\.value IN UNNEST\(@keys\)",
    r"_PARTITIONTIME >= TIMESTAMP_TRUNC\(@begin, DAY\)",
    r"usage_start_time >= @begin",
    r"currency_conversion_rate",
    r"UNNEST\(credits\)",
    r"GROUP BY run_key, service, sku, cost_type",
)
PARAMETERS = {"label": "STRING", "begin": "TIMESTAMP", "keys": "ARRAY"}
SETTINGS = {
    "query",
    "useLegacySql",
    "parameterMode",
    "queryParameters",
    "maximumBytesBilled",
    "timeoutMs",
    "maxResults",
}


class Refusal(Exception):
    """Google's error: status, reason, message."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


class BillingExport(Front):
    """`exists`: whether the export was switched on, and since when. `credit`: what share of a cost is given back."""

    def __init__(self, ledger: Callable[[], Ledger], token: str, project: str = PROJECT) -> None:
        super().__init__(ledger().clock)
        self.of_cloud, self.token, self.project = ledger, token, project
        self.exists, self.since = True, 0.0
        self.credit = 0.0
        self.unfinished = 0  # so many times a question is not finished when it is asked after
        self.jobs: dict[str, list[tuple[str, ...]]] = {}
        self._numbers = itertools.count(1)

    def environment(self) -> dict[str, str]:
        return {"CLOUDTRAIN_BIGQUERY_URL": self.url}

    def call_of(self, request: Request) -> str:
        rest = request.path.removeprefix(f"{ROOT}{self.project}/")
        known = {
            ("GET", "datasets"): "datasets.list",
            **{("GET", f"datasets/{name}/tables"): "tables.list" for name in (OTHER, DATASET)},
            ("POST", "queries"): "jobs.query",
        }
        if request.method == "GET" and re.fullmatch(r"queries/[^/]+", rest):
            return "jobs.getQueryResults"
        return known.get((request.method, rest), "unknown")

    def mutates(self, call: str) -> bool:
        return False

    def refuse(self, kind: str) -> Reply:
        status, reason = (429, "rateLimitExceeded") if kind == "throttled" else (503, "backendError")
        return _refused(Refusal(status, reason, "try again later"))

    def perform(self, call: str, request: Request) -> Reply:
        try:
            if request.headers.get("authorization") != f"Bearer {self.token}":
                raise Refusal(401, "authError", "Invalid Credentials")
            if self.faults.take(call, "permission"):
                raise Refusal(403, "accessDenied", f"Access Denied: User does not have permission for {call}")
            answers: dict[str, Callable[[Request], dict[str, Any]]] = {
                "datasets.list": self._datasets,
                "tables.list": self._tables,
                "jobs.query": self._query,
                "jobs.getQueryResults": self._results,
            }
            if call not in answers:
                raise Refusal(404, "notFound", f"Not found: {request.path}")
            return Reply(200, json.dumps(answers[call](request)).encode(), {"Content-Type": "application/json"})
        except Refusal as error:
            return _refused(error)

    def _datasets(self, request: Request) -> dict[str, Any]:
        """Pages of one, so that who reads only the first misses the export."""
        names = [OTHER, *([DATASET] if self.exists else [])]
        at = int(request.query.get("pageToken", ["0"])[0])
        page = [{"datasetReference": {"projectId": self.project, "datasetId": names[at]}}]
        more = {"nextPageToken": str(at + 1)} if at + 1 < len(names) else {}
        return {"kind": "bigquery#datasetList", "datasets": page, **more}

    def _tables(self, request: Request) -> dict[str, Any]:
        if f"/{OTHER}/" in request.path:
            return {"kind": "bigquery#tableList", "totalItems": 0}
        where = {"projectId": self.project, "datasetId": DATASET}
        names = ["cloud_pricing_export", "gcp_billing_export_v1_01ABCD_234567_89ABCD", TABLE]
        found = [{"tableReference": {**where, "tableId": name}} for name in names]
        return {"kind": "bigquery#tableList", "tables": found, "totalItems": len(found)}

    def _query(self, request: Request) -> dict[str, Any]:
        body = _checked(request.body)
        given = {each["name"]: each["parameterValue"] for each in body["queryParameters"]}
        table = re.search(r"FROM `([^`]+)`", body["query"])
        if not self.exists or table is None or table[1] != f"{self.project}.{DATASET}.{TABLE}":
            raise Refusal(404, "notFound", f"Not found: Table {table[1] if table else '?'}")
        keys = [each["value"] for each in given["keys"]["arrayValues"]]
        begin = datetime.fromisoformat(given["begin"]["value"]).timestamp()
        job = f"job_{next(self._numbers)}"
        self.jobs[job] = sorted(self._rows(given["label"]["value"], keys, begin))
        return self._page(job, 0, int(body["maxResults"]))

    def _results(self, request: Request) -> dict[str, Any]:
        job = request.path.rsplit("/", 1)[-1]
        if job not in self.jobs or request.query.get("location") != ["EU"]:
            raise Refusal(404, "notFound", f"Not found: Job {job}")
        start = int(request.query.get("pageToken", ["0"])[0])
        return self._page(job, start, int(request.query.get("maxResults", ["1000"])[0]))

    def _page(self, job: str, start: int, most: int) -> dict[str, Any]:
        """Two rows at the most, as an answer is cut by its size."""
        reference = {"projectId": self.project, "jobId": job, "location": "EU"}
        if self.unfinished:
            self.unfinished -= 1
            return {"kind": "bigquery#queryResponse", "jobReference": reference, "jobComplete": False}
        rows, size = self.jobs[job], min(most, 2)
        more = {"pageToken": str(start + size)} if start + size < len(rows) else {}
        return {
            "kind": "bigquery#queryResponse",
            "schema": {"fields": [{"name": name, "type": "STRING", "mode": "NULLABLE"} for name in FIELDS]},
            "jobReference": reference,
            "totalRows": str(len(rows)),
            "rows": [{"f": [{"v": cell} for cell in row]} for row in rows[start : start + size]],
            "jobComplete": True,
            **more,
        }

    def _rows(self, label: str, keys: list[str], begin: float) -> Iterator[tuple[str, ...]]:
        sums: dict[tuple[str, str, str, str], float] = {}
        ledger = self.of_cloud()
        for entry in ledger.entries:
            key = entry.tags.get(label, "")
            hours = ledger.billed_hours(entry, DELAY, max(begin, self.since), self.clock.now()) if key in keys else 0.0
            if hours > 0:
                name = (key, *sku(entry), "regular")
                sums[name] = sums.get(name, 0.0) + hours * entry.usd_per_hour
        yield from ((*name, f"{usd:.9f}", f"{-usd * self.credit:.9f}") for name, usd in sums.items())


def sku(entry: Entry) -> tuple[str, str]:
    """Service and SKU, as the export describes what costs."""
    kind = entry.what.split()[0]
    if kind == "disk":
        return "Compute Engine", "Balanced PD Capacity in Iowa"
    if kind == "TPU":
        return "Cloud TPU", "TPU v5e Compute in Iowa"
    return "Compute Engine", "N2 Instance Core running in Iowa" if kind == "instance" else entry.what


def _checked(body: bytes) -> dict[str, Any]:
    """The question. Raises Refusal for one that is not as the API wants it, or would be dear or wrong."""
    try:
        given = json.loads(body)
        kinds = {each["name"]: each["parameterType"]["type"] for each in given["queryParameters"]}
        query = str(given["query"])
    except (ValueError, KeyError, TypeError) as error:
        raise Refusal(400, "invalid", f"Invalid JSON payload: {error}") from None
    if unknown := set(given) - SETTINGS:
        raise Refusal(400, "invalid", f"Unknown name {sorted(unknown)[0]}")
    if given.get("useLegacySql") is not False or given.get("parameterMode") != "NAMED":
        raise Refusal(400, "invalidQuery", "named parameters need standard SQL")
    if kinds != PARAMETERS:
        raise Refusal(400, "invalidQuery", f"Undeclared query parameters: {sorted(set(PARAMETERS) ^ set(kinds))}")
    if not str(given.get("maximumBytesBilled", "")).isdigit():
        raise Refusal(400, "invalid", "this fake wants a limit of what a question reads")
    if lacking := [each for each in NEEDED if not re.search(each, query)]:
        raise Refusal(400, "invalidQuery", f"this fake does not know a question without {lacking[0]}")
    return dict(given)


def _refused(error: Refusal) -> Reply:
    document: Mapping[str, Any] = {
        "error": {
            "code": error.status,
            "message": error.message,
            "errors": [{"reason": error.reason, "message": error.message, "domain": "global"}],
        }
    }
    return Reply(error.status, json.dumps(document).encode(), {"Content-Type": "application/json"})
