"""The format in which weights are published: how it is named, and that every method has a verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.models import config, formats
from cloudtrain.quote.compatibility import entries

LLAMA = {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ({}, ""),
        ({"quantization_config": None}, ""),
        ({"quantization_config": {}}, ""),
        ({"quantization_config": {"quant_method": "GPTQ", "bits": 4}}, "gptq"),
        ({"quantization_config": {"quant_method": "awq"}}, "awq"),
        ({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}, "fp8"),
        ({"quantization_config": {"quant_method": "mxfp4"}}, "mxfp4"),
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, "bitsandbytes 4-bit"),
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}, "bitsandbytes 8-bit"),
        ({"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}}, "modelopt (nvfp4)"),
        ({"quantization_config": {"quant_algo": "FP8"}}, "modelopt (fp8)"),
        (
            {"quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized"}},
            "compressed-tensors (pack-quantized)",
        ),
        ({"quantization": {"group_size": 64, "bits": 4}}, "mlx"),
        ({"quantization": {"group_size": 64, "bits": 4}, "quantization_config": {"group_size": 64, "bits": 4}}, "mlx"),
        ({"quantization_config": {"quant_method": 7}}, "unnamed"),
        ({"quantization_config": "fp8"}, ""),
    ],
)
def test_a_config_names_its_format(keys: dict[str, Any], name: str, tmp_path: Path) -> None:
    """By the key of transformers or of mlx-lm, with details in brackets."""
    (tmp_path / "config.json").write_text(json.dumps(LLAMA | keys))
    assert config.read(tmp_path).published.format == name


def test_the_language_models_own_key_counts(tmp_path: Path) -> None:
    """A wrapper may say it one level down."""
    inner = {**LLAMA, "quantization_config": {"quant_method": "fp8"}}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava", "text_config": inner}))
    assert config.read(tmp_path).published.format == "fp8"


@pytest.mark.parametrize("content", ['{"quantization": {"quant_algo": "NVFP4"}}', "[]", "{", '{"quantization": 7}'])
def test_the_side_file_of_nvidias_tool_is_read(content: str, tmp_path: Path) -> None:
    """Where config.json is silent; a damaged one says nothing."""
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / formats.SIDE_FILE).write_text(content)
    assert config.read(tmp_path).published.format == ("modelopt (nvfp4)" if "NVFP4" in content else "")


def test_every_method_has_a_verdict_on_every_back_end() -> None:
    """Whatever the format is called; and a no tells what to do instead."""
    for backend in {entry.backend for entry in entries()}:
        for method in ("full", "lora", "qlora", "dora", "freeze"):
            assert formats.verdict("", "llama", method, backend).word == "yes"
            for name in ("fp8", "mlx", "bitsandbytes 4-bit", "never heard of", "modelopt (nvfp4)"):
                found = formats.verdict(name, "llama", method, backend)
                assert found.word in ("yes", "no", "untried", "dequantised")
                assert found.word != "no" or ": take " in found.reason


def test_what_longcat_is_pinned_to_reads_16_bit_alone() -> None:
    """The row of an architecture comes before those of all."""
    assert formats.verdict("fp8", "longcat_flash", "lora", "torch-cpu").word == "no"
    assert formats.verdict("fp8", "qwen3", "lora", "torch-cpu").word == "dequantised"
