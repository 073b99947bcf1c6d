"""EC2 shapes, without asking anybody: what we can make, which image it boots, which quota it counts against."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cloudtrain.offer import OfferKey

# Both are public parameters that AWS keeps at the newest image; RunInstances resolves them itself, so that a repeated
# request is the same text. Their root device is /dev/sda1 (Ubuntu's images, and the Neuron images built on them).
NEURON_IMAGE = "/aws/service/neuron/dlami/multi-framework/ubuntu-24.04/latest/image_id"
UBUNTU_IMAGE = "/aws/service/canonical/ubuntu/server/24.04/stable/current/{processor}/hvm/ebs-gp3/ami-id"
ROOT_DEVICE = "/dev/sda1"
SERVED = re.compile(r"trainium\d+$|cpu(-amx|-zen|-graviton\d+|-arm)?$")


class Family(NamedTuple):
    """A quota of running vCPUs: what it is called, its codes, and the smallest shape of the catalogue in it."""

    name: str
    pattern: str  # of the instance type
    on_demand: str
    spot: str
    least_vcpus: int


# Codes: gruntwork-io/terraform-aws-utilities (2026-03-26).
FAMILIES = (
    Family("Trn", r"trn", "L-2C3B7624", "L-6B0D517C", 8),
    Family("X", r"x", "L-7295265B", "L-E3A00192", 48),
    Family("High memory", r"u", "L-43DA4232", "", 224),
    Family("Standard (A, C, D, H, I, M, R, T, Z)", r"[acdimrtz]\d", "L-1216C47A", "L-34B43A08", 64),
)


def serves(key: OfferKey) -> bool:
    """Whether it is a Trainium or processor machine of EC2 that one call can make.

    Trainium2 on demand is left out: AWS sells it by spot and in prepaid blocks only.
    """
    if key.provider != "aws" or not SERVED.match(key.hardware) or key.market not in ("on_demand", "spot"):
        return False
    return not (key.hardware == "trainium2" and key.market == "on_demand")


def family(instance_type: str) -> Family | None:
    """The quota that the type counts against; None for one that we have no code of."""
    return next((each for each in FAMILIES if re.match(each.pattern, instance_type)), None)


def quota_code(instance_type: str, market: str) -> str:
    """The code of that quota, "" when unknown."""
    found = family(instance_type)
    return "" if found is None else found.spot if market == "spot" else found.on_demand


def quota_link(code: str, region: str) -> str:
    """Where a person asks for more."""
    return f"https://{region}.console.aws.amazon.com/servicequotas/home/services/ec2/quotas/{code}"


def image(hardware: str) -> str:
    """`resolve:ssm:...` of the image that the hardware boots."""
    if hardware.startswith("trainium"):
        return f"resolve:ssm:{NEURON_IMAGE}"
    arm = hardware.startswith("cpu-graviton") or hardware == "cpu-arm"
    return f"resolve:ssm:{UBUNTU_IMAGE.format(processor='arm64' if arm else 'amd64')}"
