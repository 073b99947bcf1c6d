"""EC2 prices of this minute: on demand from the price list service, spot from the price history of the zone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from cloudtrain.endpoints import override
from cloudtrain.errors import MissingCredentials, Permission, ProviderError, Rejected, Unavailable, visible
from cloudtrain.providers import Timing, effective_timing

if TYPE_CHECKING:
    from cloudtrain.offer import OfferKey

ENDPOINT = "AWS_ENDPOINT_URL"
PRICE_LIST_REGION = "us-east-1"  # the price list of all regions is served in a few
SIGN_IN = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
CREDENTIALS = (
    *("AuthFailure", "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"),
    *("SignatureDoesNotMatch", "RequestExpired", "InvalidSignatureException"),
)
BUSY = ("RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException")


def price(key: OfferKey) -> Decimal | None:
    """US dollars per hour of the type in its region, and for spot in its zones (the cheapest without one)."""
    if key.market == "spot":
        return spot(key.offer, key.region, key.zone.split())
    return on_demand(key.offer, key.region) if key.market == "on_demand" else None


def on_demand(instance_type: str, region: str) -> Decimal | None:
    """The list price with Linux on shared hardware; None for what is not sold so (Trainium2)."""
    wanted = {
        "instanceType": instance_type,
        "regionCode": region,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
    }
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
    answer = ask("pricing", PRICE_LIST_REGION, "get_products", ServiceCode="AmazonEC2", Filters=filters)
    prices = [usd for text in answer["PriceList"] for usd in hourly(json.loads(text))]
    return min(prices) if prices else None


def hourly(product: Mapping[str, Any]) -> list[Decimal]:
    """Hourly dollar prices above zero in one entry of the price list."""
    terms = product.get("terms", {}).get("OnDemand", {}).values()
    rates = [rate for term in terms for rate in term["priceDimensions"].values() if rate["unit"] == "Hrs"]
    found = [Decimal(rate["pricePerUnit"]["USD"]) for rate in rates if "USD" in rate["pricePerUnit"]]
    return [usd for usd in found if usd > 0]


def spot(instance_type: str, region: str, zones: list[str]) -> Decimal | None:
    """The newest spot price of the zone ids, or of the region's cheapest zone when there are none."""
    answer = ask(
        *("ec2", region, "describe_spot_price_history"),
        InstanceTypes=[instance_type],
        ProductDescriptions=["Linux/UNIX"],
        StartTime=datetime.now(UTC),
        **({"AvailabilityZoneId": zones[0]} if len(zones) == 1 else {}),
    )
    newest: dict[str, tuple[Any, Decimal]] = {}
    for entry in answer["SpotPriceHistory"]:
        zone = entry.get("AvailabilityZoneId") or entry["AvailabilityZone"]
        if zone not in newest or entry["Timestamp"] > newest[zone][0]:
            newest[zone] = (entry["Timestamp"], Decimal(entry["SpotPrice"]))
    found = [usd for zone, (_, usd) in newest.items() if len(zones) < 2 or zone in zones]
    return min(found) if found else None


def ask(service: str, region: str, operation: str, **arguments: Any) -> dict[str, Any]:
    """One reading call. Raises MissingCredentials, Permission, Rejected and Unavailable."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

    endpoint = override(ENDPOINT)
    patience_s = effective_timing(Timing(request_s=20.0), endpoint is not None).request_s
    config = Config(
        connect_timeout=min(10.0, patience_s),
        read_timeout=patience_s,
        retries={"total_max_attempts": 2},
        ignore_configured_endpoint_urls=True,
        proxies={} if endpoint else None,
    )
    try:
        client = boto3.session.Session().client(service, region_name=region, endpoint_url=endpoint, config=config)
        answer: dict[str, Any] = getattr(client, operation)(**arguments)
    except ClientError as error:
        raise refused(error) from None
    except (BotoCoreError, HTTPClientError) as error:
        name = type(error).__name__
        if "Credential" in name or "Profile" in name or "SSO" in name or "Token" in name:
            raise MissingCredentials(f"no usable AWS credentials ({name})", SIGN_IN) from None
        raise Unavailable(f"AWS does not answer ({name})", "try again") from None
    return answer


def refused(error: Any) -> ProviderError:
    """The provider error for an answer that is an error."""
    code = str(error.response["Error"].get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in CREDENTIALS:
        return MissingCredentials(f"AWS refuses the credentials ({code})", SIGN_IN)
    if status == 403 or code in ("UnauthorizedOperation", "AccessDeniedException"):
        return Permission(f"AWS does not let these credentials ask for prices ({code})", "allow pricing:GetProducts")
    if status >= 500 or code in BUSY:
        return Unavailable(f"AWS cannot answer now ({code})", "try again in a minute")
    return Rejected(f"AWS: {visible(str(error.response['Error'].get('Message', '')), 200)} ({code})")
