"""Commands in this process: a pinned machine, a pinned clock, and whole outputs kept in golden files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cloudtrain.providers import PriceSource, load
from cloudtrain.units import GIB
from tests.conftest import NOW, Result

GOLDEN = Path(__file__).parent / "golden"
pytest.register_assert_rewrite("tests.cli.clouds_here")  # so that it shows what differs


@pytest.fixture
def this_machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that this machine has so many cores and so much memory; 2 cores of the Zen class and 24 GiB at first."""
    load("pricing", "local", PriceSource)
    module = sys.modules["cloudtrain.pricing.local"]

    def pretend(cores: int = 2, memory_gib: int = 24, hardware: str = "cpu-zen") -> None:
        from cloudtrain.pricing.local.processor import Processor  # type: ignore[import-not-found]

        host = Processor(hardware=hardware, cores=cores, ram_bytes=memory_gib * GIB, note="pretended")
        monkeypatch.setattr(module, "processor", lambda system: host)
        monkeypatch.setattr(module, "accelerators", lambda system: {})

    pretend()
    return pretend


@pytest.fixture
def golden(
    this_machine: Callable[..., None], cloudtrain: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Run a command and compare exit code, stdout and stderr with a golden file; UPDATE_GOLDEN=1 writes it anew."""
    monkeypatch.setenv("CLOUDTRAIN_NOW", NOW)

    def compare(name: str, *argv: str) -> Result:
        result = cloudtrain(*argv)
        shown = f"$ cloudtrain {' '.join(argv)}\n{result.out}"
        shown += f"--- stderr\n{result.err}" if result.err else ""
        shown += f"--- exit {result.code}\n"
        shown = shown.replace(str(Path.cwd()), "HERE")
        path = GOLDEN / f"{name}.txt"
        if os.environ.get("UPDATE_GOLDEN"):
            path.write_text(shown)
        assert shown == path.read_text()
        return result

    return compare


@pytest.fixture
def completed(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Callable[[str, str], list[str]]:
    """What bash is told for `cloudtrain LINE BEGUN<tab>`."""
    from cloudtrain.cli import run

    def call(line: str, begun: str) -> list[str]:
        words = ["cloudtrain", *line.split(), begun]
        with monkeypatch.context() as environment:
            environment.setenv("_CLOUDTRAIN_COMPLETE", "bash_complete")
            environment.setenv("COMP_WORDS", " ".join(words))
            environment.setenv("COMP_CWORD", str(len(words) - 1))
            capfdbinary.readouterr()
            with pytest.raises(SystemExit) as ended:
                run([])
        assert ended.value.code == 0
        out, err = capfdbinary.readouterr()
        assert not err
        return [each.partition(",")[2] for each in out.decode().splitlines() if each]

    return call
