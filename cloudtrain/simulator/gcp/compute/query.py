"""How Compute Engine lists: filters, pages of two, and lists over all places in one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cloudtrain.simulator.gcp.compute.documents import invalid

PAGE = 2  # small on purpose: who reads only the first page is caught
Document = Mapping[str, Any]
_CLAUSE = re.compile(r'\(?\s*([A-Za-z.][\w.-]*)\s*(!=|=|:|\beq\b|\bne\b)\s*("[^"]*"|[^\s()]+)\s*\)?')
READ_PARAMETERS = {
    "filter",
    "pageToken",
    "maxResults",
    "includeAllScopes",
    "returnPartialSuccess",
    "alt",
    "prettyPrint",
}


def parameters(call: str) -> set[str]:
    """What a call that changes nothing may be asked with. The Cloud Quotas API counts pages in its own words."""
    return {"pageSize", "pageToken"} if call == "services.quotaInfos" else READ_PARAMETERS


def matcher(text: str) -> Callable[[Document], bool]:
    """A filter such as `(labels.a=b) AND (name eq "ct-.*")` as a function. Refuses (400) what it cannot read."""
    tests = [_clause(part) for part in re.split(r"\s+AND\s+", text.strip()) if part]
    return lambda document: all(test(document) for test in tests)


def _clause(text: str) -> Callable[[Document], bool]:
    found = _CLAUSE.fullmatch(text.strip())
    if not found:
        raise invalid(f"Invalid value for field 'filter': '{text}'. Invalid list filter expression.")
    name, operator, value = found[1], found[2], found[3].strip('"')

    def test(document: Document) -> bool:
        actual = _field(document, name)
        if operator == ":":
            return actual is not None and (value == "*" or value in str(actual))
        if operator in ("eq", "ne"):  # a regular expression for the whole of it
            return (re.fullmatch(value, str(actual or "")) is not None) == (operator == "eq")
        return (str(actual) == value) == (operator == "=")

    return test


def _field(document: Document, name: str) -> Any:
    first, _, rest = name.partition(".")
    value = document.get(first)
    if not rest:
        return value
    return value.get(rest) if isinstance(value, Mapping) else None


def page(items: Sequence[Document], query: Mapping[str, list[str]]) -> tuple[list[Document], str]:
    """The page that was asked for, and the token of the next, or ""."""
    chosen = [item for item in items if matcher((query.get("filter") or [""])[0])(item)]
    token = (query.get("pageToken") or ["0"])[0]
    if not token.isdigit():
        raise invalid("Invalid value for field 'pageToken'.")
    begin, size = int(token), min(PAGE, int((query.get("maxResults") or [str(PAGE)])[0]))
    return chosen[begin : begin + size], str(begin + size) if begin + size < len(chosen) else ""


def scoped(items: Sequence[Document], collection: str) -> dict[str, Any]:
    """The `items` of an aggregated list: by scope; a scope without any says so in a warning."""
    empty = {"warning": {"code": "NO_RESULTS_ON_PAGE", "message": "There are no results for this page."}}
    found: dict[str, Any] = {"zones/us-west4-c": empty, "global": empty}
    for item in items:
        part = found.setdefault(_scope(item), {})
        if part is empty:
            part = found[_scope(item)] = {}
        part.setdefault(collection, []).append(item)
    return found


def _scope(item: Document) -> str:
    parts = str(item["selfLink"]).split("/projects/")[1].split("/")
    return "global" if parts[1] == "global" else f"{parts[1]}/{parts[2]}"
