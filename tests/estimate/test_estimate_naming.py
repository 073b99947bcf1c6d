"""Names of hardware as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudtrain.errors import UsageError
from cloudtrain.estimate import hardware, naming
from cloudtrain.units import GIB


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("RX 7900 XTX", "rx7900xtx"),
        ("rx-7900-xtx", "rx7900xtx"),
        ("rx_7900_xtx", "rx7900xtx"),
        ("AMD Radeon(TM) RX 7900 XTX", "rx7900xtx"),
        ("7900xtx", "rx7900xtx"),
        ("RX 7900 XT", "rx7900xt"),
        ("radeon rx 9070 xt", "rx9070xt"),
        ("Radeon PRO W7900", "w7900"),
        ("AMD Instinct MI210", "mi210"),
        ("Apple M4 Max", "apple-m4-max"),
        ("m4-max", "apple-m4-max"),
        ("MacBook Pro M3 Max", "apple-m3-max"),
        ("M4", "apple-m4"),
        ("Intel Arc A770", "arc-a770"),
        ("Intel(R) Arc(TM) B580 Graphics", "arc-b580"),
        ("Intel Data Center GPU Max 1550", "max1550"),
        ("gaudi 3", "gaudi3"),
        ("Google TPU v6e", "tpu-v6e"),
        ("AWS Trainium2", "trainium2"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("AVX512_BF16", "cpu-zen"),
        ("Sapphire Rapids", "cpu-amx"),
    ],
)
def test_a_chip_is_known_in_any_spelling(text: str, key: str) -> None:
    """Case, blanks, dashes, underscores and the words of makers do not matter, in any command."""
    assert [chip.key for chip in naming.read(text).chips] == [key]
    assert hardware.find(text).key == key


def test_every_name_of_the_table_means_its_own_row() -> None:
    """No spelling of one row's key, name or alias is taken by another."""
    for name, row in hardware.by_name().items():
        for text in (name, name.upper(), name.replace(" ", "-"), name.replace("-", "_"), f" {name} "):
            assert naming.read(text).chips == (row,), text
    for row in hardware.all_hardware():
        assert naming.read(row.key).chips == (row,)


@pytest.mark.parametrize(
    "text", ["MI210:2", "mi210 : 2", "2x MI210", "2 x MI210", "MI210 x2", "AMD Instinct MI210 x 2"]
)
def test_how_many_is_part_of_the_name(text: str) -> None:
    """`:N` and `N x` say the number; nothing else of a name is taken for one."""
    named = naming.read(text)
    assert (named.chips[0].key, named.count, named.devices) == ("mi210", 2, 2)
    assert naming.read("7900 XTX").count is None


def test_devices_are_what_a_framework_sees() -> None:
    """An MI250 is two devices, and a processor one, whatever its vCPUs."""
    assert naming.read("mi250:2").devices == 4
    assert naming.read("cpu-zen:64").devices == 1
    assert naming.read("mi250").devices is None


@pytest.mark.parametrize(
    ("text", "key", "size"),
    [("M4 Max 128GB", "apple-m4-max", 128), ("MI50 32 GB", "mi50", 32), ("W7800 48GiB", "w7800", 48)],
)
def test_memory_in_a_name_is_its_memory(text: str, key: str, size: int) -> None:
    """What is sold in several sizes can be named with its size."""
    named = naming.read(text)
    assert (named.chips[0].key, named.memory_bytes) == (key, size * GIB)


def test_an_architecture_is_all_its_cards() -> None:
    """gfx1100 is five cards: all of them for a quote, none of them for a command that wants one."""
    keys = {chip.key for chip in naming.read("GFX1100").chips}
    assert keys == {"rx7900xtx", "rx7900xt", "rx7900gre", "w7900", "w7800"}
    with pytest.raises(UsageError, match="architecture of several cards") as caught:
        hardware.find("gfx1100")
    assert all(key in caught.value.hint for key in keys)
    assert hardware.find("gfx908").key == "mi100"


@pytest.mark.parametrize(
    ("text", "named", "never"),
    [
        ("gfx1103", "gfx1100", "h100"),
        ("mi300", "`mi300x` or `mi300a`", "mi210"),
        ("mi300z", "`mi300x`", "mi210"),
        ("RX 7900", "`rx7900gre`", "mi300x"),
        ("mps", "apple-m4-max", "mi300x"),
        ("mac", "apple-m4-max", "mi300x"),
        ("MacBook Pro 128GB", "apple-m4-max", "m4 pro 20c"),
        ("radeon", "rx9070xt", "apple"),
        ("strix-halo", "amd: mi210", "did you mean"),
    ],
)
def test_the_nearest_thing_is_named_not_the_nearest_string(text: str, named: str, never: str) -> None:
    """An unknown name is answered with chips of its kind, or with all by maker."""
    with pytest.raises(UsageError, match="unknown hardware") as caught:
        naming.read(text)
    assert named in caught.value.hint
    assert never not in caught.value.hint


@pytest.mark.parametrize("text", ["mi210:", "mi210:0", "mi210:two", "mi210:9999999", ":2", "mi210:-1"])
def test_a_number_that_is_none_is_refused(text: str) -> None:
    """What stands behind the colon is a number from 1."""
    with pytest.raises(UsageError):
        naming.read(text)


@given(text=st.text(max_size=60))
def test_whatever_is_typed_is_a_chip_or_a_sentence(text: str) -> None:
    """No text makes it fail in another way."""
    try:
        hint = naming.read(text).chips[0].key
    except UsageError as refused:
        hint = refused.hint
    assert hint
