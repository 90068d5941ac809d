"""What importing costs: the serving side never imports torch, and `ser_core` imports nothing heavy until it is used."""

from __future__ import annotations

import importlib.util
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("librosa", "openvino", "gradio", "av", "torch", "tritonclient", "grpc", "ray", "pyarrow", "fsspec")

PROBE = """
import importlib, json, sys
heavy, modules = json.loads(sys.argv[1])
found = {}
for module in modules:
    importlib.import_module(module)
    if loaded := [name for name in heavy if name in sys.modules]:
        found[module] = loaded
print(json.dumps(found))
"""


def modules_of_ser_core() -> list[str]:
    names = {module.name for module in pkgutil.walk_packages([str(ROOT / "ser_core")], "ser_core.")}
    assert {"ser_core.config", "ser_core.features", "ser_core.recognizer", "ser_core.__main__"} <= names
    return ["ser_core", *sorted(names)]


def heavy_after_importing(modules: list[str], heavy: tuple[str, ...]) -> dict[str, list[str]]:
    """For each of `modules`, imported in turn in a fresh Python: which of `heavy` are loaded by then."""
    arguments = json.dumps([heavy, modules])
    done = subprocess.run(
        [sys.executable, "-c", PROBE, arguments], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_what_is_looked_for_can_be_imported_here() -> None:
    """Without this the tests below would pass where nothing heavy is installed."""
    assert [name for name in HEAVY if importlib.util.find_spec(name) is None] == []
    assert heavy_after_importing(["torch"], HEAVY) == {"torch": ["torch"]}


def test_importing_ser_core_imports_nothing_heavy() -> None:
    assert heavy_after_importing(["ser_core"], HEAVY) == {}


def test_no_module_of_ser_core_imports_anything_heavy() -> None:
    assert heavy_after_importing(modules_of_ser_core(), HEAVY) == {}


def test_importing_the_app_never_imports_torch_or_what_asks_model_servers() -> None:
    assert heavy_after_importing(["app", *modules_of_ser_core()], ("torch", "tritonclient", "grpc")) == {}
