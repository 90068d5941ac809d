"""Parts of the README from what was measured; the tables of figures are in test_tables.py."""

from __future__ import annotations

from train import report


def test_the_environments_sentence_says_what_takes_most_of_it() -> None:
    said = report.environment({"bytes": 901_364_181, "largest": {"openvino": 183_453_129, "llvmlite": 179_309_395}})
    assert said == (
        "An environment with `requirements.txt` alone, without torch, takes 0.90 GB; most of it is openvino 183 MB, "
        "llvmlite 179 MB."
    )
