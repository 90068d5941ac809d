"""The bench works, and its table says what was measured; no time is held to anything here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import pytest
import soundfile
import torch
from onnx import TensorProto, helper, numpy_helper

from ser_core import bundle
from ser_core.config import CONTRACT, FeatureConfig
from tests import bundles
from tests.bench import (
    bars,
    command,
    densenet,
    floors,
    machine,
    material,
    memory,
    multiply_adds,
    network,
    table,
    timing,
    wav2vec2,
)
from tests.browser.driving import ROOT
from train import report

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.alone


# Multiply-adds.


def graph(
    *nodes: onnx.NodeProto, inputs: dict[str, Sequence[int | str]], weights: dict[str, Sequence[int]] | None = None
) -> onnx.ModelProto:
    """A model that ends with "y", whose weights are zeros."""
    zeros = [numpy_helper.from_array(torch.zeros(*shape).numpy(), name) for name, shape in (weights or {}).items()]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in inputs.items()]
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    made = helper.make_graph(list(nodes), "small", ports, [out], zeros)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)])


def node(kind: str, *inputs: str, out: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, list(inputs), [out], **attributes)


@pytest.mark.parametrize(
    ("operation", "x", "w", "expected"),
    [
        (node("Conv", "x", "w", pads=[1, 1, 1, 1]), (1, 3, 8, 8), (4, 3, 3, 3), 4 * 8 * 8 * 3 * 9),
        (node("Conv", "x", "w", strides=[2, 2]), (1, 3, 9, 9), (4, 3, 3, 3), 4 * 4 * 4 * 3 * 9),
        (node("Conv", "x", "w", group=2), (5, 4, 8, 8), (6, 2, 1, 1), 5 * 6 * 8 * 8 * 2),
        (node("Conv", "x", "w"), (1, 16, 10), (2, 16, 3), 2 * 8 * 16 * 3),
        (node("ConvTranspose", "x", "w", strides=[2, 2]), (1, 3, 5, 5), (3, 2, 2, 2), 3 * 5 * 5 * 2 * 4),
        (node("MatMul", "x", "w"), (2, 3, 4), (4, 5), 2 * 3 * 5 * 4),
        (node("MatMul", "x", "w"), (7, 2, 3, 4), (7, 2, 4, 5), 7 * 2 * 3 * 5 * 4),
        (node("MatMul", "x", "w"), (4,), (4,), 4),
        (node("Gemm", "x", "w"), (3, 4), (4, 5), 3 * 5 * 4),
        (node("Gemm", "x", "w", transA=1, transB=1), (4, 3), (5, 4), 3 * 5 * 4),
        (node("Relu", "x"), (3, 4), (1,), 0),
    ],
)
def test_known_operations(operation: onnx.NodeProto, x: Sequence[int], w: Sequence[int], expected: int) -> None:
    model = graph(operation, inputs={"x": x}, weights={"w": w})
    assert multiply_adds.count(model, {"x": x}) == expected


def test_shapes_follow_through_the_graph_from_those_of_the_inputs() -> None:
    constant = node("Constant", out="w", value=numpy_helper.from_array(torch.zeros(8, 6).numpy()))
    nodes = (node("Relu", "x", out="h"), constant, node("MatMul", "h", "w", out="p"), node("MatMul", "p", "v"))
    model = graph(*nodes, inputs={"x": ("batch", 8)}, weights={"v": (6, 2)})
    before = model.SerializeToString()
    assert multiply_adds.count(model, {"x": (1, 8)}) == 8 * 6 + 6 * 2
    assert multiply_adds.count(model, {"x": (3, 8)}) == 3 * (8 * 6 + 6 * 2)
    assert model.SerializeToString() == before


def test_what_cannot_be_counted_is_refused() -> None:
    product = graph(node("MatMul", "x", "w"), inputs={"x": ("batch", 8)}, weights={"w": (8, 6)})
    with pytest.raises(ValueError, match="'y' isn't known"):
        multiply_adds.count(product, {})
    sums = graph(node("Einsum", "x", "w", equation="ij,jk->ik"), inputs={"x": (4, 8)}, weights={"w": (8, 6)})
    with pytest.raises(ValueError, match="ONNX's Einsum isn't counted"):
        multiply_adds.count(sums, {"x": (4, 8)})


@bundles.needs_shipped
def test_the_network_that_ships_counts_as_its_torch_form_does() -> None:
    opened = bundle.read(bundles.SHIPPED)
    built = network.torch_network(opened.training)
    shape = network.window_shape(FeatureConfig(), batch=2)
    assert shape == (2, 1, 80, 320)
    model = onnx.load(opened.model_path("fp32"))
    counted = network.count_by_torch(lambda: built(torch.zeros(*shape)))
    assert multiply_adds.count(model, {CONTRACT.input: shape}) == counted
    assert sum(parameter.numel() for parameter in built.parameters()) == opened.training["parameters"]


# The references.


def test_densenet_is_the_published_one_with_eight_classes() -> None:
    built = densenet.densenet121()
    assert sum(parameter.numel() for parameter in built.parameters()) == 6_953_856 + 8 * 1024 + 8
    assert not built.training
    with torch.inference_mode():
        answer = built(torch.randn(2, 3, 64, 64))
    assert answer.shape == (2, 8)
    # Neither faded nor grown out of all bounds, where arithmetic would be slower than with trained weights.
    assert 1e-3 < answer.abs().max() < 1e3
    with torch.device("meta"):  # counts without computing
        published = densenet.densenet121(1_000)
        assert network.count_by_torch(lambda: published(torch.zeros(*densenet.INPUT))) == 2_834_161_664


@pytest.mark.skipif(not wav2vec2.is_installed(), reason=wav2vec2.SKIPPED)
def test_wav2vec2_has_the_size_of_the_large_one() -> None:
    built = wav2vec2.Wav2Vec2Large().eval()
    assert 315e6 < sum(parameter.numel() for parameter in built.parameters()) < 317e6
    with torch.inference_mode():
        assert built(torch.randn(1, 8_000)).shape == (1, 8)


# Times and memory.


def test_functions_take_turns_and_the_first_rounds_do_not_count() -> None:
    called: list[str] = []
    times = timing.in_turn(lambda: called.append("a"), lambda: called.append("b"), rounds=timing.Rounds(2, 1))
    assert called == ["a", "b"] * 3
    assert [len(mine) for mine in times] == [2, 2]
    called.clear()
    timing.in_turn(lambda: called.append("a"), lambda: called.append("b"), rounds=timing.Rounds(1, 0, settle_s=0.0))
    assert called == ["a", "a", "b", "b"]


def test_a_ratio_is_taken_round_by_round() -> None:
    found = timing.compared([1.0, 20.0, 3.0], [2.0, 10.0, 6.0], "that")
    assert found == {"median_ms": 3.0, "runs": 3, "reference": {"what": "that", "median_ms": 6.0}, "ratio": 0.5}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc is Linux's")
def test_memory_is_that_of_the_process() -> None:
    # In a process of its own: what other tests leave behind may be given back at any time.
    code = (
        "import os; from tests.bench import memory\n"
        "before = memory.of(os.getpid()); block = bytearray(64 * 2**20); after = memory.of(os.getpid())\n"
        "print(after.resident - before.resident, after.peak - after.resident)"
    )
    grown, below_peak = map(int, command.python("-c", code).split())
    assert 60 * 2**20 < grown < 80 * 2**20
    assert below_peak >= 0
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as waiting:
        memory.await_idle(waiting.pid)
        waiting.kill()


def test_the_machine_is_described() -> None:
    found = machine.described("numpy", "there-is-no-such-package")
    assert found["cpu"]
    assert found["cores"] >= 1
    assert set(found["flags"]) <= set(machine.FLAGS)
    assert set(found["versions"]) == {"python", "numpy"}


# The table.


def compared(ours: float, theirs: float, what: str = "that") -> dict[str, Any]:
    return timing.compared([ours], [theirs], what)


def crowd_of(clients: int, per_s: float, p95_ms: float, wrong: int = 0) -> dict[str, Any]:
    times = {"answers_per_s": per_s, "median_ms": p95_ms / 2, "p95_ms": p95_ms}
    return {"clients": clients, "requests": 96, "failed": 0, "wrong": wrong} | times


def canned() -> dict[str, dict[str, Any]]:
    """What the parts might write."""
    described = {"cpu": "Some CPU", "cores": 4, "flags": ["avx2", "amx_int8"], "versions": {"numpy": "1.2"}}
    dense = {"what": "DenseNet", "median_ms": 90.0, "times_ours": 30.0, "multiply_adds": 2_800_000_000}
    windows = {"int8": 3.0, "fp32": 4.0, "onnxruntime": 5.0}
    found: dict[str, dict[str, Any]] = {
        "pages": {
            "what": "The page",
            "start": compared(3_000.0, 2_000.0),
            "first_answer": compared(5_000.0, 500.0),
            "api": compared(150.0, 100.0) | {"more_ms": 50.0},
            "memory": {
                "answers": 200,
                "last": 100,
                "ours": {
                    "after_start": {"resident": 400_000_000, "peak": 420_000_000},
                    "before_last": {"resident": 455_000_000, "peak": 480_000_000},
                    "after_answers": {"resident": 460_000_000, "peak": 480_000_000},
                    "growth": 0.012,
                },
                "bare": {
                    "after_start": {"resident": 160_000_000, "peak": 161_000_000},
                    "before_last": {"resident": 170_200_000, "peak": 171_000_000},
                    "after_answers": {"resident": 170_000_000, "peak": 171_000_000},
                    "growth": -0.001,
                },
            },
        },
        "network": {
            "model": {"name": "net", "version": "1.0", "precision": "int8"},
            "input": "a window",
            "multiply_adds": 600_000_000,
            "peak": {"what": "product", "median_ms": 80.0, "gflops": 200.0},
            "floor_ms": 2.5,
            "window": {name: {"what": network.WHAT[name], "median_ms": time} for name, time in windows.items()},
            "batch": {"windows": 32} | {name: {"median_ms": 32.0 * time} for name, time in windows.items()},
            "ratios": {"fp32_to_onnxruntime": 0.8, "fp32_to_floor": 1.6, "int8_to_fp32": 1.01},
            "int8_elsewhere": "INT8 runs in OpenVINO alone.",
            "shipped": {"median_ms": 3.0},
            "larger": {"densenet_torch": dense, "wav2vec2": {"what": "wav2vec2", "skipped": "not there"}},
        },
        "stages": {
            "what": "Stages",
            "import": compared(200.0, 100.0, "NumPy"),
            "stages": {"decoding": compared(2.0, 1.0, "soundfile") | {"cold_ms": 20.0}},
            "pictures": {"median_ms": 25.0, "reference": {"what": "specshow", "skipped": "no matplotlib"}},
            "pictures_with_strip": {"seconds": 12} | compared(28.0, 112.0, "specshow"),
        },
        "profile": {
            "layers": {
                "precision": "int8",
                "total_ms": 4.0,
                "by_kind_ms": {"FullyConnected, I8": 3.0, "all others": 1.0},
            },
            "memory": {"Python": 20_000_000, "librosa": 230_000_000, "OpenVINO": 260_000_000},
        },
        "throughput": {
            "long": {"seconds": 600, "times_real_time": 300.0} | compared(2_000.0, 400.0),
            "clips": {"clips": 1_000, "clips_per_s": 50.0} | compared(20_000.0, 5_000.0),
        },
        "crowd": {
            "what": "Many",
            "at_once": 2,
            "waiting": 32,
            "curve": [crowd_of(1, 10.0, 80.0), crowd_of(4, 20.0, 300.0), crowd_of(16, 17.0, 1_760.0, wrong=1)],
            "settings": [{"at_once": 1} | crowd_of(16, 9.0, 2_000.0), {"at_once": 2} | crowd_of(16, 18.0, 1_700.0)],
        },
        "path": {"path": {"median_ms": 14.0}, "reference": {"what": "librosa", "median_ms": 3.0}},
    }
    return {part: {"command": f"python -m tests.bench.{part}"} | described | one for part, one in found.items()}


def test_visitors_bring_a_length_each(tmp_path: Path) -> None:
    lengths = [soundfile.info(path).duration for path in material.visitors(tmp_path, 20)]
    assert len(set(lengths)) == 20
    assert [number for number, seconds in enumerate(lengths) if seconds >= 12.0] == [9, 19]
    assert min(lengths) >= 1.0


def test_each_bar_stands_beside_its_figure() -> None:
    head, _, *rows = (line.strip("| ").split(" | ") for line in table.bars(canned()).splitlines())
    assert head == ["what", "ours", "beside", "measured", "asked", "met"]
    librosa, gradio = "librosa: 3.00 ms", "a bare Gradio page"
    floor = "600 million multiply-adds at 200 GFLOP/s: 2.50 ms"
    wav2vec2 = "wav2vec2: not measured, not there"
    specshow = "specshow: not measured, no matplotlib"
    no = "**not met**"
    assert [row[1:] for row in rows] == [
        ["3.00 ms", "DenseNet: 90.0 ms", "30.0 times faster", "at least 20 times faster", "met"],
        ["", wav2vec2, "not measured", "at least 250 times faster"],
        ["4.00 ms", "ONNX Runtime, FP32: 5.00 ms", "0.80 times as long", "at most 1.3 times as long", "met"],
        ["3.00 ms", "OpenVINO, FP32: 4.00 ms", "1.01 times as long", "at most 1 times as long", no],
        ["4.00 ms", floor, "1.60 times as long", "at most 2 times as long", "met"],
        ["14.0 ms", librosa, "14.0 ms", "at most 15 ms", "met"],
        ["25.0 ms", specshow, "25.0 ms", "at most 30 ms", "met"],
        ["150 ms", "that: 100 ms", "50.0 ms more", "at most 60 ms more", "met"],
        ["3.00 s", "that: 2.00 s", "1.50 times as long", "at most 1.3 times as long", no],
        ["5.00 s", "that: 500 ms", "5.00 s", "at most 6 s", "met"],
        ["2.00 s", "that: 400 ms", "300 times real time", "at least 200 times real time", "met"],
        ["20.0 s", "that: 5.00 s", "50.0 clips a second", "at least 60 clips a second", no],
        [
            "17.0 answers a second",
            "4 clients: 20.0 answers a second",
            "85.0 % of the best",
            "at least 90 % of the best",
            no,
        ],
        ["1.76 s", "the median of one client: 40.0 ms", "44.0 times as long", "at most 20 times as long", no],
        ["of 288 requests", "each alone", "1.00 answers", "at most 0 answers", no],
        ["460 MB", f"{gradio}: 170 MB", "460 MB", "at most 450 MB", no],
        ["1.20 %", f"{gradio}: -0.10 %", "1.20 %", "at most 2 %", "met"],
    ]
    assert [row[0] for row in rows] == [bar.what for bar in bars.BARS]


def test_the_page_says_what_it_was_measured_on_and_how() -> None:
    page = table.page(canned())
    assert "- Some CPU, 4 cores (avx2, amx_int8): pages, network, stages, profile, throughput, crowd, path" in page
    assert "With numpy 1.2." in page
    assert table.SHORT not in page
    for part in ("pages", "network", "stages", "profile", "throughput", "crowd"):
        assert f"\n`python -m tests.bench.{part}`\n" in page
    for row in (
        "| OpenVINO, INT8, as it ships | 3.00 ms | 96.0 ms | 3.00 |",
        "| DenseNet | 90.0 ms | 2,800 million | 30.0 times |",
        "| decoding | 20.0 ms | 2.00 ms | soundfile: 1.00 ms | 2.00 |",
        "| pictures of 12 s, with the strip of emotions |  | 28.0 ms | specshow: 112 ms | 0.25 |",
        "| FullyConnected, I8 | 3.00 ms | 75% |",
        "| librosa | 230 MB | 210 MB |",
        "| a recording of 600 s, with its timeline | 2.00 s | 300 times real time | that: 400 ms | 5.00 |",
        "| ours | 400 MB | 455 MB | 460 MB | +1.20 % | 480 MB |",
        "| 16 | 96 | 17.0 | 880 ms | 1.76 s | 1 |",
        "| 2, as the page has it | 96 | 18.0 | 850 ms | 1.70 s | 0 |",
    ):
        assert f"\n{row}\n" in page


def test_a_bar_that_is_not_met_has_its_floor_beside_it() -> None:
    found = canned()
    (told,) = floors.reasons(found)[1:]
    assert "librosa: 210 MB; OpenVINO: 30 MB" in told  # memory is over its bar
    assert "multiply-adds" not in told
    found["network"]["larger"]["densenet_torch"]["times_ours"] = 12.0
    found["path"]["path"]["median_ms"] = 16.0
    (told,) = floors.reasons(found)[1:]
    assert "DenseNet has 4.67 times as many multiply-adds" in told
    assert "goes through these stages, each measured by itself in another run: decoding 2.00 ms." in told
    assert floors.reasons({}) == []


def test_every_floor_belongs_to_a_bar() -> None:
    assert set(floors.FLOORS) <= {bar.what for bar in bars.BARS}


def test_parts_of_several_machines_and_short_runs_are_told_apart() -> None:
    found = canned()
    found["path"] |= {"cpu": "Another CPU", "flags": [], "short": True, "versions": {"numpy": "1.3"}}
    page = table.page(found)
    assert "- Some CPU, 4 cores (avx2, amx_int8): pages, network, stages, profile, throughput, crowd\n" in page
    assert "- Another CPU, 4 cores (no flags known): path\n" in page
    assert "With numpy 1.2 and 1.3." in page
    assert table.SHORT in page


def test_what_was_not_measured_is_said() -> None:
    rows = table.bars({}).splitlines()[2:]
    assert len(rows) == len(bars.BARS)
    assert all("| not measured |" in row for row in rows)
    assert "## What is asked" in table.page({})


@pytest.mark.skipif(not table.OUT.is_file(), reason="docs/speed.md isn't there: `make bench` writes it")
def test_the_page_in_docs_is_that_of_the_stored_figures() -> None:
    assert table.OUT.read_text(encoding="utf-8") == table.page(table.stored(command.FOLDER))


# All of it.


@bundles.needs_shipped
@pytest.mark.bench
@pytest.mark.timeout(600)  # where much else runs beside it
def test_the_short_form_measures_all_that_the_table_tells(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "tests.bench", "--short", "--out", str(tmp_path)]
    subprocess.run(line, cwd=ROOT, check=True, timeout=580)
    parts = set(table.PARTS) - {"page"}
    assert {path.name for path in tmp_path.iterdir()} == {*(f"{part}.json" for part in parts), "speed.md"}
    found = table.stored(tmp_path)
    for part, one in found.items():
        assert one["command"] == f"python -m tests.bench.{part} --short"
        assert one["short"]
        assert {"cpu", "cores", "flags", "versions"} <= set(one)
    page = (tmp_path / "speed.md").read_text(encoding="utf-8")
    assert page == table.page(found)
    unmeasured = [row for row in table.bars(found).splitlines() if "| not measured |" in row]
    assert all(wav2vec2.WHAT in row for row in unmeasured)
    assert len(unmeasured) == (0 if wav2vec2.is_installed() else 1)
    assert "to its Prediction" in report.speed(json.loads((tmp_path / "path.json").read_text(encoding="utf-8")))
