"""Which of Google's quotas a TPU uses up, what this project has of it, and the page on which to ask for more.

Read through the Cloud Quotas API, before anything is asked for: Compute Engine itself shows none of them, and a request
without quota may wait for ever. Who may not read them is not held up.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from cloudtrain.errors import NoQuotaHere, ProviderError
from cloudtrain.providers import Finding

from . import rest
from .errors import QUOTA_PAGE
from .shapes import zone

if TYPE_CHECKING:
    from cloudtrain.offer import OfferKey

COMPUTE, TPU = "compute.googleapis.com", "tpu.googleapis.com"
UNLIMITED = -1
ELSEWHERE = "every other place"


class Pool(NamedTuple):
    """A quota: its service, its id, or its metric where the id is not known for sure, and what it is for.

    Its limits count chips, by `level` (region or zone) and by the `fixed` dimensions.
    """

    service: str
    word: str
    level: str
    about: str
    fixed: Mapping[str, str] = {}

    @property
    def title(self) -> str:
        """As the console's page has it."""
        return " with ".join([self.word, *(f"{key}={value}" for key, value in self.fixed.items())])


PREEMPTIBLE_V6E = Pool(COMPUTE, "PREEMPTIBLE-TPU-V6E-per-project-region", "region", "v6e, spot and flex-start")
V6E = Pool(
    *(COMPUTE, "TPUS-PER-TPU-FAMILY-per-project-region", "region", "v6e on demand; 0 unless asked for"),
    {"tpu_family": "CT6E"},
)
PREEMPTIBLE_V5P = Pool(COMPUTE, "PREEMPTIBLE-TPU-V5P-per-project-region", "region", "v5p, spot and flex-start")
V5P = Pool(COMPUTE, "TPU-V5P-per-project-region", "region", "v5p on demand")
PREEMPTIBLE_V5E = Pool(TPU, "tpu-v5s-litepod-preemptible", "zone", "v5e, spot and flex-start")
V5E = Pool(TPU, "tpu-v5s-litepod", "zone", "v5e on demand")
POOLS = (PREEMPTIBLE_V6E, V6E, PREEMPTIBLE_V5P, V5P, PREEMPTIBLE_V5E, V5E)


def pool(key: OfferKey, is_preemptible: bool) -> Pool | None:
    """What an offer uses up; None for what is no TPU of a generation whose quota is known."""
    both = {"v6e": (PREEMPTIBLE_V6E, V6E), "v5p": (PREEMPTIBLE_V5P, V5P), "v5litepod": (PREEMPTIBLE_V5E, V5E)}
    found = both.get(key.offer.partition("-")[0])
    return None if found is None else found[0 if is_preemptible else 1]


def check(key: OfferKey, is_preemptible: bool) -> None:
    """Raise NoQuotaHere when this project may not have the offer in its place; silent where that cannot be known."""
    wanted = pool(key, is_preemptible)
    if wanted is None or not rest.reachable(rest.QUOTAS):
        return
    project, where = rest.project(), zone(key, 1)
    if wanted.service == COMPUTE and all_regions(project) == 0:
        message = f"quota GPUS_ALL_REGIONS of project {project} is 0, and without it no TPU of Compute Engine starts"
        raise NoQuotaHere(message, asking("GPUS_ALL_REGIONS", project))
    place = where if wanted.level == "zone" else where.rpartition("-")[0]
    limit = limit_of(wanted, project, place)
    if limit is not None and UNLIMITED < limit < key.count:
        message = f"quota {wanted.title} is {limit} in {place}, and {key.offer} needs {key.count}"
        raise NoQuotaHere(message, asking(wanted.title, project))


def findings() -> Iterator[Finding]:
    """For doctor: where the project may have how many chips of each generation and market."""
    if not rest.reachable(rest.QUOTAS):
        return
    project = rest.project()
    for each in POOLS:
        what = f"quota {each.title} ({each.about})"
        try:
            limits = limits_of(each, project)
        except ProviderError as error:
            hint = "enable the Cloud Quotas API, and give this account cloudquotas.quotas.get, to have this looked at"
            yield Finding("quotas of TPUs", "unknown", error.message, hint)
            return
        some = {place: limit for place, limit in limits.items() if limit}
        if not limits:
            yield Finding(what, "unknown", "the project does not list it", asking(each.title, project))
        elif some:
            shown = ", ".join(f"{number(limit)} in {place}" for place, limit in sorted(some.items()))
            yield Finding(what, "ok", f"chips: {shown}")
        else:
            yield Finding(what, "problem", f"0 in every {each.level}", asking(each.title, project))


def asking(name: str, project: str) -> str:
    """What to do about a quota that is too small."""
    return f"ask for more of {name}: {QUOTA_PAGE}?project={project}"


def number(limit: int) -> str:
    """A limit for a person."""
    return "no limit" if limit == UNLIMITED else str(limit)


def all_regions(project: str) -> float | None:
    """GPUS_ALL_REGIONS, which new billing accounts have at 0 and which stops TPUs too; None where it is not known."""
    try:
        quotas = _project(project, int(time.time() // 60)).get("quotas") or []
    except ProviderError:
        return None
    return next((float(quota["limit"]) for quota in quotas if quota.get("metric") == "GPUS_ALL_REGIONS"), None)


def limit_of(wanted: Pool, project: str, place: str) -> int | None:
    """The chips that the project may have in a region or zone; None where that cannot be known."""
    try:
        limits = limits_of(wanted, project)
    except ProviderError:
        return None
    return limits.get(place, limits.get(ELSEWHERE))


def limits_of(wanted: Pool, project: str) -> dict[str, int]:
    """Chips by region or zone; ELSEWHERE is what holds where no limit of its own does. Raises provider errors."""
    found: dict[str, int] = {}
    for info in _infos(wanted.service, project, int(time.time() // 60)):
        if wanted.word not in (info.get("quotaId"), str(info.get("metric", "")).partition("/")[2]):
            continue
        for entry in info.get("dimensionsInfos") or ():
            dimensions, value = dict(entry.get("dimensions") or {}), (entry.get("details") or {}).get("value")
            place = dimensions.pop(wanted.level, ELSEWHERE)
            # An entry that names the family is about it; one that names none holds for families without their own.
            if value is None or not dimensions.items() <= dict(wanted.fixed).items():
                continue
            if dimensions or place not in found:
                found[place] = int(value)
    return found


@lru_cache(maxsize=8)
def _infos(service: str, project: str, minute: int) -> tuple[Mapping[str, Any], ...]:
    """Every quota of a service; asked for once a minute. Raises provider errors."""
    path = f"/projects/{project}/locations/global/services/{service}/quotaInfos"
    pages = rest.pages(rest.QUOTAS, path, {"pageSize": 1000})
    return tuple(info for page in pages for info in page.get("quotaInfos") or ())


@lru_cache(maxsize=2)
def _project(project: str, minute: int) -> Mapping[str, Any]:
    return rest.call(rest.COMPUTE, "GET", f"/projects/{project}")
