"""4-bit weights that are made once: kept in a folder while they are quantised, and loaded from it the next time.

With the weights that stay wide in the last pieces (`pieces.py`) a complete folder makes the model without the published
weights. A folder that is not complete yields the matrices that it has. What belongs to other weights, another recipe or
other versions is made anew; so is what is damaged.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from job import Job
from pieces import INDEX, Pieces, read, say, write_json

RECIPE = 1  # of what is written; of another one nothing is used
STATISTICS = ("absmax", "quant_map", "nested_absmax", "nested_quant_map", "quant_state.bitsandbytes__nf4")
WEIGHTS = {".safetensors", ".bin", ".pt", ".pth"}
TELL_EVERY_S = 60.0
TYPES = {"bfloat16": "bf16", "float32": "fp32"}


def load(job: Job, config: Any, options: dict[str, Any]) -> Any:
    """The job's model as `from_pretrained` makes it with these options, out of its folder as far as that has it."""
    from transformers import AutoModelForCausalLM

    if job.method != "qlora":
        return AutoModelForCausalLM.from_pretrained(job.model, **options)
    if not job.quantised.folder:
        with _Hooks(None).installed():
            return AutoModelForCausalLM.from_pretrained(job.model, **options)
    pieces = pieces_of(job, config, options["quantization_config"], options["dtype"])
    if pieces.complete and (model := _out_of(pieces, job, config, options)) is not None:
        return model
    if not pieces.may_write:  # another run does, or nobody can
        say("made for this run alone")
    with _Hooks(pieces if pieces.may_write else None).installed() as hooks:
        model = AutoModelForCausalLM.from_pretrained(job.model, **options)
    if pieces.may_write:
        _finish(pieces, model, hooks)
    return model


def pieces_of(job: Job, config: Any, quantisation: Any, dtype: Any) -> Pieces:
    """What the job's folder holds of the weights that it would make."""
    wanted = key(job, config, quantisation, dtype)
    return Pieces(Path(job.quantised.folder or ""), wanted, job.quantised.piece_bytes)


def key(job: Job, config: Any, quantisation: Any, dtype: Any) -> dict[str, Any]:
    """What has to be equal for kept weights to be used: their source, recipe, number type, versions."""
    import bitsandbytes
    import torch
    import transformers

    return {
        "recipe": RECIPE,
        "model": source(job, config),
        "dtype": str(dtype).removeprefix("torch."),
        "quantisation": json.loads(json.dumps(quantisation.to_dict(), sort_keys=True, default=str)),
        "versions": {each.__name__: each.__version__.split("+")[0] for each in (torch, transformers, bitsandbytes)},
    }


def source(job: Job, config: Any) -> str:
    """Which weights they are made from: what the job says, the hub's commit, or a hash of what a folder's files are."""
    if job.quantised.model:
        return job.quantised.model
    folder = Path(job.model)
    if not folder.is_dir():
        return f"{job.model}@{getattr(config, '_commit_hash', None) or job.revision or ''}"
    facts: list[Any] = [(folder / "config.json").read_text(encoding="utf-8")]
    for path in sorted(path for path in folder.rglob("*") if path.suffix in WEIGHTS):
        about = path.stat()
        facts.append((path.relative_to(folder).as_posix(), about.st_size, about.st_mtime_ns))
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def number_type(job: Job) -> str | None:
    """bf16 or fp32, as the weights were made that were fetched for this job; None where none were, or where both do."""
    if not job.quantised.folder or not job.quantised.fetched or job.dtype == "amp":
        return None
    found = read(Path(job.quantised.folder))
    if not found or found.get("complete") is not True or not isinstance(found.get("key"), dict):
        return None
    return TYPES.get(str(found["key"].get("dtype")))


def _out_of(pieces: Pieces, job: Job, config: Any, options: dict[str, Any]) -> Any:
    """The model out of the pieces alone; None when something is missing or too much."""
    from transformers import AutoModelForCausalLM

    left = {name: value for name, value in options.items() if name not in ("quantization_config", "revision")}
    config.quantization_config = options["quantization_config"].to_dict()
    try:
        write_json(pieces.folder / INDEX, {"metadata": {}, "weight_map": pieces.where})
        model, found = AutoModelForCausalLM.from_pretrained(
            str(pieces.folder),
            config=config,
            generation_config=_generation(job, config),
            output_loading_info=True,
            **left,
        )
        wrong = [name for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") for name in found[kind]]
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        wrong = [str(error)]
    if wrong:
        say(f"those in {pieces.folder} do not make the model alone: {wrong[0]}")
        return None
    _settle(model)
    model.config._name_or_path = model.name_or_path = job.model  # an adapter names its base
    say(f"taken from {len(pieces.entries)} pieces in {pieces.folder}")
    return model


def _settle(model: Any) -> None:
    """Move what lies in the files into memory of its own, aligned as it is in a model that was quantised.

    Where a tensor begins decides how kernels add up: read in place, the last bit of a loss can be another.
    """
    from bitsandbytes.nn import Params4bit

    for _, value in _tensors(model):
        value.data = value.data.clone()
        if isinstance(value, Params4bit):
            for state in (value.quant_state, value.quant_state.state2):
                state.absmax, state.code = state.absmax.clone(), state.code.clone()


def _generation(job: Job, config: Any) -> Any:
    """How the model generates: beside the published weights, where that is said."""
    from transformers import GenerationConfig

    try:
        return GenerationConfig.from_pretrained(job.model, revision=job.revision)
    except (OSError, ValueError, TypeError):
        return GenerationConfig.from_model_config(config)


class _Hooks:
    """What transformers and bitsandbytes do with each matrix that they quantise, seen by its name in the model.

    Without pieces it only says how far they are: a large model takes hours, and whoever is silent so long is ended.
    """

    def __init__(self, pieces: Pieces | None) -> None:
        self.pieces = pieces
        self.made = self.taken = 0
        self._names: dict[int, str] = {}  # id of a module -> name of its weight
        self._lock = threading.Lock()
        self._said_at = time.monotonic()

    @contextlib.contextmanager
    def installed(self) -> Iterator[_Hooks]:
        """Within it, matrices are taken over where they are kept, and kept where they are made."""
        from bitsandbytes.nn import Linear4bit, Params4bit
        from transformers.quantizers.quantizer_bnb_4bit import Bnb4BitHfQuantizer

        prepare, quantise = Bnb4BitHfQuantizer._process_model_before_weight_loading, Params4bit._quantize

        def prepared(quantizer: Any, model: Any, *arguments: Any, **options: Any) -> Any:
            answer = prepare(quantizer, model, *arguments, **options)
            matrices = ((name, module) for name, module in model.named_modules() if isinstance(module, Linear4bit))
            self._names = {id(module): f"{name}.weight" for name, module in matrices}
            return answer

        def quantised(parameter: Any, device: Any) -> Any:
            name = self._names.get(id(parameter.module))
            if name is None:
                return quantise(parameter, device)
            if not self._take(name, parameter, device):
                quantise(parameter, device)
                self._keep(name, parameter)
            self._tell()
            return parameter

        setattr(Bnb4BitHfQuantizer, prepare.__name__, prepared)
        setattr(Params4bit, quantise.__name__, quantised)
        try:
            yield self
        finally:
            setattr(Bnb4BitHfQuantizer, prepare.__name__, prepare)
            setattr(Params4bit, quantise.__name__, quantise)

    def _tell(self) -> None:
        """Say now and then how far it is."""
        if time.monotonic() - self._said_at >= TELL_EVERY_S:
            self._said_at = time.monotonic()
            say(f"{self.made + self.taken:,} of {len(self._names):,} matrices")

    def _take(self, name: str, parameter: Any, device: Any) -> bool:
        """Give a matrix its kept weights. Whether there were any, of its shape and type."""
        from bitsandbytes.nn import Params4bit

        if self.pieces is None:
            return False
        packed = self.pieces.tensor(name)
        found = {each: self.pieces.tensor(f"{name}.{each}") for each in STATISTICS}
        if packed is None or any(value is None for value in found.values()):
            return False
        kept = Params4bit.from_prequantized(packed, found, device=device)
        state = kept.quant_state
        if state.shape != parameter.data.shape or state.dtype != parameter.data.dtype:
            return False
        parameter.data, parameter.quant_state, parameter.bnb_quantized = kept.data, state, True
        parameter.module.quant_state = state
        self.taken += 1
        return True

    def _keep(self, name: str, made: Any) -> None:
        statistics = made.quant_state.as_dict(packed=True)
        with self._lock:
            self.made += 1
            if self.pieces is not None:
                self.pieces.add({name: made.data, **{f"{name}.{each}": value for each, value in statistics.items()}})


def _finish(pieces: Pieces, model: Any, hooks: _Hooks) -> None:
    """Keep what stays wide too: the folder then makes the model alone."""
    from bitsandbytes.nn import Params4bit

    for name, value in _tensors(model):
        if name in pieces.where:
            continue
        if isinstance(value, Params4bit):
            say(f"not kept: `{name}` was quantised past us")
            return
        pieces.add({name: value})
    pieces.finish()
    if pieces.complete:
        about = f"{hooks.made} matrices made, {hooks.taken} taken over"
        say(f"{about}, {pieces.bytes / 1e9:,.1f} GB kept in {pieces.folder}")


def _tensors(model: Any) -> Iterator[tuple[str, Any]]:
    """Parameters and lasting buffers, each once."""
    yield from model.named_parameters()
    for prefix, module in model.named_modules():
        for name, value in module.named_buffers(prefix, recurse=False):
            if name.rpartition(".")[2] not in module._non_persistent_buffers_set:
                yield name, value
