"""What a figure was measured on and with: stored beside it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

FLAGS = (
    *("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_bf16", "amx_int8"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve"),
)
"""Instructions that decide how fast a network runs in FP32 and in INT8: of x86, then of ARM."""


def cpu_name() -> str:
    """The processor's name as Linux tells it, else what Python knows."""
    return _of_cpuinfo("model name") or platform.processor() or platform.machine()


def cpu_flags() -> list[str]:
    """Those of `FLAGS` that the processor has; none where the system doesn't tell."""
    has = (_of_cpuinfo("flags") or _of_cpuinfo("Features")).split()
    return [flag for flag in FLAGS if flag in has]


def _of_cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    entries = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in entries if name.strip() == key), "")


def described(*packages: str) -> dict[str, Any]:
    """`cpu`, `cores`, `flags`, and `versions` of Python and of those of `packages` that are installed."""
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"cpu": cpu_name(), "cores": os.cpu_count(), "flags": cpu_flags(), "versions": versions}
