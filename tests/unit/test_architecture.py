"""The arrows between packages, read from the imports of every file, and what pure packages may not touch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = "ryu_apps"

MAY_IMPORT = {
    "model": set[str](),
    "engine": {"model"},
    "pipeline": {"model", "engine"},
    "control": {"model", "engine", "pipeline"},
    "api": {"model", "control"},
    "store": {"model"},
    "southbound": {"model", "pipeline", "control"},
    "northbound": {"model", "api"},
}
APP_FILES = "app files"
MAY_IMPORT[APP_FILES] = set(MAY_IMPORT)

RYU = {"ryu", "eventlet", "greenlet"}
MAY_USE_RYU = {"southbound", "northbound", APP_FILES}

PURE = {"model", "engine", "pipeline", "control", "api"}
# Clocks, chance, files, sockets, processes and threads; of http and urllib only the parts that do no I/O are allowed.
IMPURE = {
    "asyncio", "concurrent", "ctypes", "datetime", "fcntl", "glob", "http.client", "http.server", "importlib", "io",
    "logging", "multiprocessing", "os", "pathlib", "queue", "random", "sched", "secrets", "select", "selectors",
    "shutil", "signal", "socket", "socketserver", "sqlite3", "ssl", "subprocess", "sys", "tempfile", "threading",
    "time", "urllib.request", "uuid",
}  # fmt: skip
IMPURE_CALLS = {"open", "input", "print", "exec", "eval", "__import__"}


@dataclass(frozen=True)
class Source:
    """One file of ours: its dotted name, its syntax tree, and the modules that it imports when it is run."""

    name: str
    tree: ast.Module

    @property
    def package(self) -> str:
        """The package that the file belongs to; files directly under ryu_apps are app files."""
        parts = self.name.split(".")
        return parts[1] if len(parts) > 2 else APP_FILES

    def imports(self, *, typing_too: bool) -> set[str]:
        """Return the dotted names that the file imports, with or without those for type checkers alone."""
        skipped: set[ast.AST] = set()
        if not typing_too:
            for node in ast.walk(self.tree):
                if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
                    skipped |= {inner for statement in node.body for inner in ast.walk(statement)}
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if node in skipped:
                continue
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        return found


def read_tree(root: Path) -> dict[str, Source]:
    """Return the files of a package tree by dotted name; a package's own name stands for its __init__ file."""
    sources = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        # A package's __init__ belongs to the package, and the root's to none.
        sources[name] = Source(name + ".__init__" if parts[-1] == "__init__" else name, ast.parse(path.read_text()))
    return sources


def faults(sources: dict[str, Source]) -> list[str]:
    """Return everything in a tree that breaks the architecture, a line each."""
    found: list[str] = []
    for check in (_arrows, _ryu, _impurity, _app_files, _circles, _docstrings):
        found += check(sources)
    return found


def _ours(source: Source, sources: dict[str, Source], *, typing_too: bool = True) -> set[str]:
    return {name for name in source.imports(typing_too=typing_too) if name in sources and name != OURS}


def _arrows(sources: dict[str, Source]) -> Iterator[str]:
    for source in sources.values():
        allowed = MAY_IMPORT.get(source.package)
        if allowed is None:
            yield f"{source.name}: package {source.package!r} is not in the table of arrows"
            continue
        for name in _ours(source, sources):
            target = sources[name].package
            if target not in allowed and target != source.package:
                yield f"{source.name} imports {name}: no arrow from {source.package} to {target}"
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                yield f"{source.name}: a relative import fails under ryu-manager"


def _ryu(sources: dict[str, Source]) -> Iterator[str]:
    for source in sources.values():
        used = {name.split(".")[0] for name in source.imports(typing_too=True)} & RYU
        if used and source.package not in MAY_USE_RYU:
            yield f"{source.name} imports {', '.join(sorted(used))}"


def _impurity(sources: dict[str, Source]) -> Iterator[str]:
    for source in sources.values():
        if source.package not in PURE:
            continue
        for name in source.imports(typing_too=True):
            if name in IMPURE or name.split(".")[0] in IMPURE:
                yield f"{source.name} imports {name}"
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
                yield f"{source.name} calls {node.func.id}()"


def _app_files(sources: dict[str, Source]) -> Iterator[str]:
    apps = {name for name, source in sources.items() if source.package == APP_FILES and name != OURS}
    for source in sources.values():
        for name in source.imports(typing_too=True) & apps:
            yield f"{source.name} imports the app file {name}: its class would exist twice"
    for name in sorted(apps):
        classes = [
            node.name
            for node in ast.walk(sources[name].tree)
            if isinstance(node, ast.ClassDef) and any("RyuApp" in ast.unparse(base) for base in node.bases)
        ]
        if len(classes) != 1:
            yield f"{name} has {len(classes)} RyuApp classes: ryu-manager runs exactly one of a file"


def _circles(sources: dict[str, Source]) -> Iterator[str]:
    """Yield each circle of imports once; imports for type checkers alone close none."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> Iterator[str]:
        if name in path:
            yield "circle of imports: " + " → ".join([*path[path.index(name) :], name])
        elif name not in done:
            for target in sorted(_ours(sources[name], sources, typing_too=False) - {name}):
                yield from visit(target, [*path, name])
            done.add(name)

    for name in sorted(sources):
        yield from visit(name, [])


def _docstrings(sources: dict[str, Source]) -> Iterator[str]:
    for source in sources.values():
        if not ast.get_docstring(source.tree):
            yield f"{source.name} has no docstring"
        yield from (f"{source.name}.{name} has no docstring" for name in _undocumented(source.tree, ""))


def _undocumented(node: ast.Module | ast.ClassDef, prefix: str) -> Iterator[str]:
    for child in node.body:
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or child.name.startswith("_"):
            continue
        if not ast.get_docstring(child):
            yield prefix + child.name
        if isinstance(child, ast.ClassDef):
            yield from _undocumented(child, f"{prefix}{child.name}.")


def test_the_tree_keeps_to_the_architecture() -> None:
    """Arrows run forward only, Ryu stays at the edge, pure packages do no I/O, and all that is public is described."""
    assert faults(read_tree(ROOT / OURS)) == []


def test_every_package_of_the_table_is_there() -> None:
    """The table of arrows names packages that exist, so that a renamed one does not escape it."""
    present = {source.package for source in read_tree(ROOT / OURS).values()}
    assert present == set(MAY_IMPORT)


GOOD = {
    "__init__.py": '"""Root."""\n',
    "model/__init__.py": '"""Values."""\n',
    "model/a.py": '"""A."""\nimport struct\n',
    "engine/__init__.py": '"""Verdicts."""\n',
    "engine/b.py": '"""B."""\nfrom ryu_apps.model.a import x\n',
    "switch.py": '"""App."""\nfrom ryu.base.app_manager import RyuApp\nclass Switch(RyuApp):\n    """App."""\n',
}
BAD = {
    "an arrow backwards": (
        {"model/c.py": '"""C."""\nfrom ryu_apps.engine import b\n'},
        "no arrow from model to engine",
    ),
    "an arrow skipped inside a function": (
        {"model/c.py": '"""C."""\ndef f():\n    """F."""\n    import ryu_apps.engine.b\n'},
        "no arrow from model to engine",
    ),
    "an arrow for type checkers": (
        {"model/c.py": '"""C."""\nif TYPE_CHECKING:\n    from ryu_apps.engine.b import B\n'},
        "no arrow from model to engine",
    ),
    "an unknown package": ({"extra/c.py": '"""C."""\n'}, "not in the table"),
    "a relative import": ({"engine/c.py": '"""C."""\nfrom . import b\n'}, "relative import"),
    "Ryu inside": ({"engine/c.py": '"""C."""\nfrom ryu.lib import hub\n'}, "imports ryu"),
    "a clock": ({"engine/c.py": '"""C."""\nfrom time import monotonic\n'}, "imports time"),
    "a file": ({"engine/c.py": '"""C."""\nx = open("f")\n'}, "calls open()"),
    "an app file imported": ({"switch2.py": '"""App."""\nfrom ryu_apps import switch\n'}, "imports the app file"),
    "two apps in a file": (
        {"two.py": '"""App."""\nclass A(RyuApp):\n    """A."""\nclass B(app_manager.RyuApp):\n    """B."""\n'},
        "2 RyuApp classes",
    ),
    "a circle of files": (
        {
            "model/c.py": '"""C."""\nfrom ryu_apps.model import d\n',
            "model/d.py": '"""D."""\nfrom ryu_apps.model.c import x\n',
        },
        "circle of imports: ryu_apps.model.c → ryu_apps.model.d → ryu_apps.model.c",
    ),
    "a public method without docstring": (
        {"model/c.py": '"""C."""\nclass C:\n    """C."""\n    def f(self): pass\n'},
        "ryu_apps.model.c.C.f has no docstring",
    ),
}


def _write(root: Path, files: dict[str, str]) -> dict[str, Source]:
    for name, text in files.items():
        path = root / OURS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read_tree(root / OURS)


def test_a_good_tree_has_no_faults(tmp_path: Path) -> None:
    """The small tree that the bad ones are made from is in order."""
    assert faults(_write(tmp_path, GOOD)) == []


@pytest.mark.parametrize("name", BAD)
def test_a_bad_tree_is_found_out(name: str, tmp_path: Path) -> None:
    """Each thing that the architecture forbids is told by name."""
    files, expected = BAD[name]
    found = faults(_write(tmp_path, GOOD | files))
    assert any(expected in fault for fault in found), found


def test_an_import_for_type_checkers_closes_no_circle(tmp_path: Path) -> None:
    """Two files may name each other's types when only one needs the other to run."""
    files = {
        "model/c.py": '"""C."""\nif TYPE_CHECKING:\n    from ryu_apps.model.d import D\n',
        "model/d.py": '"""D."""\nfrom ryu_apps.model.c import x\n',
    }
    assert faults(_write(tmp_path, GOOD | files)) == []
