"""Merge an adapter into its base model: `python merge.py ADAPTER_DIR OUT_DIR`. OUT_DIR appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "common"))  # what all trainers share

import merging


def merge(adapter: Path, out: Path) -> None:
    """Write the base model (in bf16, also after qlora) with the adapter's change added to its weights.

    Raises BadJob when `adapter` is no adapter or `out` is there already.
    """
    about = merging.settings(adapter, out)
    base = about["base_model_name_or_path"]
    if Path(base).is_dir():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DISABLE", "1")
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model = AutoModelForCausalLM.from_pretrained(base, revision=about.get("revision"), dtype=torch.bfloat16)
    merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload(safe_merge=True)
    merged.save_pretrained(partial)
    AutoTokenizer.from_pretrained(str(adapter)).save_pretrained(partial)
    partial.rename(out)


if __name__ == "__main__":
    sys.exit(merging.main(sys.argv[1:], merge))
