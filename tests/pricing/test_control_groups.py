"""Limits that a container sets count as the machine's cores and memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from cloudtrain.pricing.local.cgroup import core_limit, memory_limit_bytes
from cloudtrain.pricing.local.processor import processor

from cloudtrain.units import GIB
from tests.pricing.pretended import linux, linux_processor


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "400000 100000\n"}, 4),
        ({"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1),
        ({"sys/fs/cgroup/cpu.max": "20000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "800000 100000\n"}, 8),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/cpu.max": "800000 100000\n",
                "sys/fs/cgroup/a/b/cpu.max": "1600000 100000\n",
            },
            8,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/1\n0::/other\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/docker/1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"sys/fs/cgroup/cpu.max": "400000 0\n"}, None),
        ({"sys/fs/cgroup/cpu.max": "much\n"}, None),
        ({"proc/self/cgroup": "nonsense\n::\n0::/../..\n"}, None),
        ({}, None),
    ],
)
def test_a_core_quota_counts(tmp_path: Path, files: dict[str, str], cores: int | None) -> None:
    """The tightest quota of this process's groups is the number of cores, rounded down, at least 1."""
    machine = linux(tmp_path, linux_processor() | files)
    assert core_limit(machine) == cores
    found = processor(machine)
    assert found.cores == (cores or 64)
    assert ("of 64 cores" in found.note) == bool(cores)


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"sys/fs/cgroup/memory.max": f"{8 * GIB}\n"}, 8 * GIB),
        ({"sys/fs/cgroup/memory.max": "max\n"}, None),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": f"{5 * GIB}\n"}, 5 * GIB),
        ({"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        (
            {
                "proc/self/cgroup": "9:memory:/docker/1\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": f"{2 * GIB}\n",
            },
            2 * GIB,
        ),
        ({"sys/fs/cgroup/memory.max": f"{512 * GIB}\n"}, 512 * GIB),
    ],
)
def test_a_memory_limit_counts(tmp_path: Path, files: dict[str, str], limit: int | None) -> None:
    """The tightest memory limit is the memory, unless the machine has less."""
    machine = linux(tmp_path, linux_processor() | files)
    assert memory_limit_bytes(machine) == limit
    assert processor(machine).ram_bytes == min(64 * GIB, limit or 64 * GIB)
