"""What every file and document of the repository keeps to: commands and links exist, nothing private, nothing large."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def tracked() -> list[Path]:
    """Every text file that git tracks."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize(
    "word", ["/wo" + "rk/", "pypi" + ".org", "files.python" + "hosted", "download.py" + "torch", "farm" + "-"]
)
def test_no_file_names_a_private_path_or_a_registry_host(word: str) -> None:
    """What is committed runs anywhere: no path of one machine, no host of a package registry."""
    assert [str(path) for path in tracked() if word in path.read_text(encoding="utf-8", errors="replace")] == []


def test_no_file_installs_what_is_not_published() -> None:
    """As long as no project is registered, nobody is told to install it by name."""
    said = re.compile(r"pip install (?:-\S+ )*['\"]?cloudtrain(?!-\d)")
    assert [str(path) for path in tracked() if said.search(path.read_text(errors="replace"))] == []


DOCUMENTS = sorted(path for path in tracked() if path.suffix == ".md")
GUIDES = (
    "CONTRIBUTING.md",
    "SECURITY.md",
    "README.md",
    *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_in_a_document_exists(path: Path) -> None:
    """A `cloudtrain NAME` is a command, and a `make TARGET` a target."""
    from cloudtrain.cli import ALIASES, root

    text = path.read_text()
    known = set(root.list_commands(None)) | set(ALIASES)  # type: ignore[arg-type]
    assert set(re.findall(r"(?:`|^)cloudtrain ([a-z]+)", text, re.MULTILINE)) <= known
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE)) <= set(targets)


def test_workflows_call_what_exists() -> None:
    """A `make TARGET` in a workflow is a target."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    workflows = [path.read_text() for path in (ROOT / ".github" / "workflows").glob("*.yml")]
    called = {name for text in workflows for name in re.findall(r"run: make ([a-z]+)", text)}
    assert called
    assert called <= targets


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    """A relative link names a file, and a heading in it where it says one."""
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", path.read_text()):
        there = path.parent / target if target else path
        assert there.exists(), target
        if anchor:
            assert anchor in headings(there), f"{target}#{anchor}"


def headings(path: Path) -> set[str]:
    """The headings of a document as links name them."""
    found = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("name", GUIDES)
def test_the_files_that_a_guide_names_exist(name: str) -> None:
    """What stands in backquotes and looks like a path of this repository is one; X, NAME and <...> stand for something."""
    folders = "cloudtrain|pricing|stacks|templates|tests|docs|\\.github|\\.ci"
    named = re.findall(rf"`((?:{folders})/[A-Za-z0-9_./-]*)`", (ROOT / name).read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("folder", ["cloudtrain", "pricing", "stacks", "templates", "tests", "cloudtrain/simulator"])
def test_a_folder_readme_names_files_that_exist(folder: str) -> None:
    """The first cell of a row holds names of files and folders there, or words without a dot or a slash."""
    text = (ROOT / folder / "README.md").read_text()
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    names = {name for cell in cells for name in re.findall(r"`([\w./-]+)`", cell)}
    paths = {name for name in names if "/" in name or name.endswith((".py", ".sh", ".csv", ".json", ".toml"))}
    missing = {name for name in paths if not list((ROOT / folder).rglob(name.strip("/").removeprefix("../")))}
    assert {name for name in missing if not (ROOT / folder / name).exists()} == set()


def test_the_maps_name_every_module_and_folder() -> None:
    """What stands directly in `cloudtrain/` is in its map; what providers share in `stacks/` is in that guide."""
    own = [path for path in (ROOT / "cloudtrain").iterdir() if not path.name.startswith(("_", "."))]
    names = {f"{path.name}/" if path.is_dir() else path.name for path in own if path.is_dir() or path.suffix == ".py"}
    assert {name for name in names if f"`{name}`" not in (ROOT / "cloudtrain" / "README.md").read_text()} == set()
    shared = [path for path in (ROOT / "stacks").glob("_*/*.py") if not path.name.startswith("_")]
    guide = (ROOT / "stacks" / "README.md").read_text()
    assert {
        f"{path.parent.name}/{path.name}" for path in shared if f"`{path.parent.name}/{path.name}`" not in guide
    } == set()


def test_the_guide_to_clouds_names_every_field() -> None:
    """Who adds a cloud finds each field of its record explained."""
    from cloudtrain.providers import Cloud

    table = (ROOT / "stacks" / "README.md").read_text().partition("## Add a cloud")[2].partition("## ")[0]
    assert [name for name in Cloud.__dataclass_fields__ if f"`{name}" not in table] == []


def test_the_guide_to_trainers_names_every_key_of_the_job() -> None:
    """The table of job keys is complete: each field of the record that the trainer reads."""
    import ast

    program = next(ROOT.joinpath("templates").rglob("job.py"))
    record = next(n for n in ast.parse(program.read_text()).body if isinstance(n, ast.ClassDef) and n.name == "Job")
    keys = [
        node.target.id for node in record.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]
    table = (ROOT / "docs" / "trainer.md").read_text().partition("## The job file")[2].partition("## Events")[0]
    assert len(keys) > 20
    assert [key for key in keys if f"`{key}" not in table] == []


def test_modules_and_functions_stay_small() -> None:
    """No module over 300 lines and no function over 60, tests apart; the supervisor is one file by design."""
    import ast

    too_large = []
    for path in tracked():
        if path.suffix != ".py" or "tests" in path.parts:
            continue
        text = path.read_text()
        if text.count("\n") > 300 and path.name != "supervisor.py":
            too_large.append(f"{path.name}: {text.count(chr(10))} lines")
        too_large += [
            f"{path.name}:{node.lineno} {node.name}"
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and (node.end_lineno or node.lineno) - node.lineno + 1 > 60
        ]
    assert too_large == []
