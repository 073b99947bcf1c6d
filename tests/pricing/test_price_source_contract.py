"""What every file in `pricing/` promises to the rest, whichever provider it is for."""

from __future__ import annotations

import csv
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import cloudtrain.pricing
import pytest

from cloudtrain.errors import UsageError
from cloudtrain.offer import Offer, Terms
from cloudtrain.providers import PriceSource, load, names
from tests.patience import PATIENCE_S
from tests.pricing.price_tables import SNAPSHOTS, offers_of

SOURCES = names("pricing")
HEAVY = (
    "pydantic",
    "boto3",
    "requests",
    "pulumi",
    "numpy",
    "yaml",
    "importlib.metadata",
    "subprocess",
    "ssl",
)


@pytest.mark.parametrize("name", SOURCES)
def test_a_file_ends_with_a_record_of_its_name(name: str) -> None:
    """A price source is called as its file is."""
    assert load("pricing", name, PriceSource).name == name


def test_a_misnamed_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose record has another name is an error that names the file."""
    (tmp_path / "misnamed.py").write_text("from cloudtrain.pricing.aws import provider\n", encoding="utf-8")
    monkeypatch.setattr(cloudtrain.pricing, "__path__", [*cloudtrain.pricing.__path__, str(tmp_path)])
    assert "misnamed" in names("pricing")
    with pytest.raises(TypeError, match=r"pricing/misnamed\.py"):
        load("pricing", "misnamed", PriceSource)
    monkeypatch.delitem(sys.modules, "cloudtrain.pricing.misnamed")


def test_a_new_file_is_a_new_price_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adding a file, and nothing else, adds a price source."""
    (tmp_path / "newcloud.py").write_text(
        "from cloudtrain.pricing.aws import provider as like\n"
        "from cloudtrain.providers import PriceSource\n"
        "provider = PriceSource('newcloud', lambda context: [], terms=like.terms)\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(cloudtrain.pricing, "__path__", [*cloudtrain.pricing.__path__, str(tmp_path)])
    assert offers_of("newcloud") == []
    monkeypatch.delitem(sys.modules, "cloudtrain.pricing.newcloud")


def test_an_unknown_name_is_a_usage_error_with_the_nearest() -> None:
    """A provider that nobody has written is refused with a suggestion."""
    with pytest.raises(UsageError, match="unknown provider") as raised:
        load("pricing", "runpood", PriceSource)
    assert "runpod" in raised.value.hint


@pytest.mark.parametrize("name", SOURCES)
def test_offers_are_whole(name: str) -> None:
    """Every offer is of its provider, has a name, a count and more than 1 GiB a chip, and says where its price is from."""
    offers = offers_of(name)
    assert offers
    for offer in offers:
        assert isinstance(offer, Offer)
        assert offer.provider == name
        assert offer.name
        assert offer.count >= 1
        assert offer.memory_bytes > 2**30
        assert offer.vcpus is None or offer.vcpus >= 1
        assert offer.market in ("on_demand", "spot", "free", "units", "owned")
        assert offer.price.origin in ("snapshot", "settings", "assumed")
        assert offer.price.confidence in ("VERIFIED", "MEDIUM", "MEMORY", "SETTINGS", "ASSUMED")


@pytest.mark.parametrize("name", SOURCES)
def test_offers_are_the_same_each_time(name: str) -> None:
    """Asking twice gives the same offers in the same order."""
    assert offers_of(name) == offers_of(name)


@pytest.mark.parametrize("name", SOURCES)
def test_terms_are_ranges_in_order_with_a_source(name: str) -> None:
    """Low, likely and high of every figure are in that order, rates are positive, and the source is a sentence."""
    terms: Terms = load("pricing", name, PriceSource).terms
    for figure in (terms.boot_s, terms.image_bytes_per_s, terms.download_bytes_per_s):
        assert 0 <= figure.low <= figure.likely <= figure.high
    assert terms.image_bytes_per_s.low > 0
    assert terms.download_bytes_per_s.low > 0
    assert terms.minimum_billed_s >= 0
    assert len(terms.source) > 40


def test_price_sources_import_nothing_heavy() -> None:
    """Reading every price loads no library that costs start-up time."""
    code = (
        "import sys\n"
        "from cloudtrain.providers import Context, PriceSource, load, names\n"
        "from pathlib import Path\n"
        "for name in names('pricing'):\n"
        "    list(load('pricing', name, PriceSource).offers(Context(Path(sys.argv[1]))))\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(SNAPSHOTS)], capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_colab_sells_no_less_than_its_smallest_purchase() -> None:
    """What units cost at the least is what the table of extra costs says; a session of 24 hours is Pro+ alone."""
    with (SNAPSHOTS / "extra_costs.csv").open(encoding="utf-8", newline="") as file:
        listed = {(row["provider"], row["item"]): Decimal(row["usd"]) for row in csv.DictReader(file)}
    for offer in offers_of("colab"):
        sold = offer.market == "units"
        assert offer.limits.purchase_usd == (listed["colab", "Pay as you go"] if sold else None)
        assert offer.limits.session_hours == (12 if sold else 1.5)


def test_flex_sizes_are_slowed_and_no_others() -> None:
    """Their guarantee is 40 % of the processor."""
    paces = {("-flex." in offer.name, offer.pace and offer.pace[:3]) for offer in offers_of("aws")}
    assert paces == {(True, (0.4, 0.97, 1.0)), (False, None)}
