"""What the documents say is there: the generated page is fresh, and links, paths, modules and make targets exist."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs import generate_pipeline

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_TOP = "ryu_apps|topologies|mininet_scripts|tests|benchmarks|docs|setup"
# A path as it is named in text or in a command; a `*` or `<name>` makes it a pattern of paths.
_PATH = re.compile(rf"(?<![\w./:-])((?:{_TOP}|\.ci)/[\w./*<>-]*[\w/*>])")
_MODULE = re.compile(rf"(?<![\w./-])((?:{_TOP})(?:\.\w+)+)\b(?!\()")
_TARGET = re.compile(r"`(?:sudo )?make ([a-z-]+)|^(?:\$ )?(?:sudo )?make ([a-z-]+)", re.MULTILINE)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def test_the_pipeline_page_is_fresh() -> None:
    """docs/pipeline.md is what the table list and the compiler make of it now."""
    assert generate_pipeline.TARGET.read_text() == generate_pipeline.document(), "run python -m docs.generate_pipeline"


def test_the_pipeline_page_does_not_depend_on_hashing() -> None:
    """Another process with other hashes makes the same page, so that it changes only when the pipeline does."""
    script = "from docs.generate_pipeline import document; print(document(), end='')"
    made = [
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, cwd=ROOT, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert made[0] == made[1] == generate_pipeline.document().encode()


def anchor(heading: str) -> str:
    """Return the fragment by which a heading is linked."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def targets() -> set[str]:
    """Return the targets of the Makefile."""
    return set(re.findall(r"^([a-z-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))


def dangling(text: str, folder: Path) -> Iterator[str]:
    """Yield what a page in a folder names and the tree does not have."""
    for link in _LINK.findall(text):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, fragment = link.partition("#")
        target = folder / path
        if path and not target.exists():
            yield f"link to {link}"
        elif fragment and fragment not in map(anchor, _HEADING.findall(target.read_text() if path else text)):
            yield f"link to {link}: no such heading"
    for path in _PATH.findall(text):
        if not any(True for _ in ROOT.glob(re.sub(r"<\w+>", "*", path).rstrip("/"))):
            yield f"path {path}"
    for module in _MODULE.findall(text):
        if not _is_there(module.split(".")):
            yield f"module {module}"
    for found in _TARGET.findall(text):
        name = found[0] or found[1]
        if name not in targets():
            yield f"make {name}"


def _is_there(parts: list[str]) -> bool:
    """Return whether dotted parts name a folder or file; what follows a file is a name inside it."""
    path = ROOT
    for position, part in enumerate(parts):
        path = path / part
        if path.with_suffix(".py").is_file():
            return all(name in path.with_suffix(".py").read_text() for name in parts[position + 1 : position + 2])
        if not path.is_dir():
            # A file as it is written in text, such as tests/conftest.py, was found as a path.
            return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_everything_that_a_page_names_is_there(page: Path) -> None:
    """Links, paths, modules and make targets of a page exist."""
    assert list(dangling(page.read_text(), page.parent)) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("see [it](nowhere.md)", "link to nowhere.md"),
        ("see [it](pipeline.md#no-such-thing)", "no such heading"),
        ("the file `ryu_apps/model/nothing.py`", "path ryu_apps/model/nothing.py"),
        ("python -m benchmarks.nothing", "module benchmarks.nothing"),
        ("the function ryu_apps.engine.walk.nothing", "module ryu_apps.engine.walk.nothing"),
        ("run `make nothing`", "make nothing"),
        ("```\nmake nothing\n```", "make nothing"),
    ],
)
def test_what_is_not_there_is_found_out(text: str, fault: str) -> None:
    """A page that names what does not exist fails."""
    assert any(fault in found for found in dangling(text, ROOT / "docs"))


def test_what_is_there_passes() -> None:
    """Patterns of paths, modules and targets that exist are no faults."""
    text = (
        "`tests/unit/<package>/` and `benchmarks/bench_*.py`, ryu_apps.vswitch, ryu_apps.engine.walk.walk, `make demo`"
    )
    assert list(dangling(text, ROOT)) == []
