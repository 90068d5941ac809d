"""A bundle -> the folder that OpenVINO Model Server is started on, version by version."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov
import pytest
import yaml

from ser_core import bundle, remote
from ser_core.backends import OpenVinoBackend
from ser_core.config import FeatureConfig
from tests import bundles
from tests.processes import ROOT
from train import __main__ as command
from train import model_server
from train.model_server import ModelServerError

if TYPE_CHECKING:
    from pathlib import Path

    from ser_core.bundle import Bundle
    from ser_core.prediction import Precision

NAME = bundles.INFO.name


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bundles.make(tmp_path_factory.mktemp("bundle"))


def stored(root: Path) -> Any:
    return json.loads((root / "config.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_what_is_served_answers_as_the_bundle_does(made: Bundle, tmp_path: Path, precision: Precision) -> None:
    place = model_server.write(made, precision, tmp_path)
    assert place == tmp_path / NAME / "1"
    assert {path.name for path in place.iterdir()} == {"model.xml", "model.bin", "served.json"}
    batch = np.random.default_rng(0).uniform(-1, 1, (3, 1, FeatureConfig().n_mels, 224)).astype(np.float32)
    ours = OpenVinoBackend(made.model_path(precision), FeatureConfig().n_mels).infer(batch)
    theirs = OpenVinoBackend(place / "model.xml", FeatureConfig().n_mels).infer(batch)
    np.testing.assert_array_equal(theirs.logits, ours.logits)
    np.testing.assert_array_equal(theirs.attention, ours.attention)


def test_the_config_names_the_model_from_beside_it_in_full_precision(made: Bundle, tmp_path: Path) -> None:
    model_server.write(made, "fp16", tmp_path)
    (entry,) = stored(tmp_path)["model_config_list"]
    assert entry["config"] == {
        "name": NAME,
        "base_path": NAME,
        "model_version_policy": {"latest": {"num_versions": 2}},
        "plugin_config": {"INFERENCE_PRECISION_HINT": "f32"},
    }
    path = tmp_path / entry["config"]["base_path"] / "1" / "model.xml"
    ov.Core().compile_model(path, "CPU", entry["config"]["plugin_config"])


def test_beside_the_weights_it_says_which_they_are(made: Bundle, tmp_path: Path) -> None:
    place = model_server.write(made, "int8", tmp_path)
    told = json.loads((place / "served.json").read_text(encoding="utf-8"))
    assert told == {"name": NAME, "version": "1.2.3", "revision": made.revision, "precision": "int8"}


def test_each_export_is_the_next_version_and_the_others_stay(made: Bundle, tmp_path: Path) -> None:
    model_server.write(made, "fp16", tmp_path)
    (tmp_path / NAME / "7").mkdir()
    (tmp_path / NAME / "notes").mkdir()
    assert model_server.write(made, "fp16", tmp_path) == tmp_path / NAME / "8"
    assert (tmp_path / NAME / "1" / "model.bin").is_file()
    assert len(stored(tmp_path)["model_config_list"]) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", NAME}


def test_a_version_that_another_export_takes_first_is_left_to_it(
    made: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def late(source: Path, target: Path) -> None:
        if target.name == "1":
            target.mkdir()
            (target / "model.xml").write_text("another's", encoding="utf-8")
        rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    assert model_server.write(made, "fp16", tmp_path) == tmp_path / NAME / "2"
    assert (tmp_path / NAME / "1" / "model.xml").read_text(encoding="utf-8") == "another's"


def test_other_models_and_what_their_host_has_set_stay(made: Bundle, tmp_path: Path) -> None:
    other = {"config": {"name": "other", "base_path": "/elsewhere", "nireq": 4}}
    mine = {"config": {"name": NAME, "base_path": "/old", "nireq": 2, "plugin_config": {"NUM_STREAMS": "2"}}}
    config = {"model_config_list": [other, mine], "monitoring": {"metrics": {"enable": True}}}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    model_server.write(made, "fp16", tmp_path)
    now = stored(tmp_path)
    assert now["monitoring"] == config["monitoring"]
    assert now["model_config_list"][0] == other
    assert now["model_config_list"][1]["config"] == {
        "name": NAME,
        "base_path": NAME,
        "nireq": 2,
        "plugin_config": {"NUM_STREAMS": "2", "INFERENCE_PRECISION_HINT": "f32"},
    }


@pytest.mark.parametrize("content", ["", "[]", '{"model_config_list": [{}]}', '{"model_config_list": [{"config": 1}]}'])
def test_a_config_that_is_none_is_refused_and_left_alone(made: Bundle, tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelServerError, match="Move it away, or name another folder"):
        model_server.write(made, "fp16", tmp_path)
    assert (tmp_path / "config.json").read_text(encoding="utf-8") == content
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_the_command_says_how_to_go_on(made: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["export", "--model-server", str(tmp_path), "--bundle", str(made.folder)]) == 0
    said = capsys.readouterr().out
    assert f"{NAME} 1.2.3, fp16" in said
    assert f"--config_path {tmp_path}/config.json" in said
    assert f"--backend grpc://HOST:PORT/{NAME}" in said


def test_a_precision_that_the_bundle_lacks_is_told(
    made: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundles.make(tmp_path / "bundle")
    for path in (tmp_path / "bundle").glob("model-int8.*"):
        path.unlink()
    bundles.seal(tmp_path / "bundle")
    arguments = [f"--model-server={tmp_path}", "--bundle", str(tmp_path / "bundle"), "--precision", "int8"]
    assert command.main(["export", *arguments]) == 1
    assert "has no int8 weights" in capsys.readouterr().err
    assert not (tmp_path / "config.json").exists()


@bundles.needs_shipped
def test_it_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from train.__main__ import main; "
        f"assert main(['export', '--model-server', {str(tmp_path)!r}]) == 0; "
        "print([name for name in ('torch', 'nncf', 'librosa') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    shipped = bundle.read(bundles.SHIPPED)
    assert (tmp_path / shipped.name / "1" / "model.xml").is_file()


def test_the_manifest_of_the_docs_is_one_and_names_what_there_is() -> None:
    page = (ROOT / "docs" / "model-server.md").read_text(encoding="utf-8")
    block = page.split("```yaml")[1].split("```")[0]
    service, servers, front = yaml.safe_load_all(block)
    assert [one["kind"] for one in (service, servers, front)] == ["Service", "StatefulSet", "Deployment"]
    name = service["metadata"]["name"]
    assert servers["spec"]["serviceName"] == name
    environment = {one["name"]: one["value"] for one in front["spec"]["template"]["spec"]["containers"][0]["env"]}
    shipped = json.loads((bundles.SHIPPED / bundle.MANIFEST).read_text(encoding="utf-8"))["name"]
    expected = [f"grpc://{name}-{number}.{name}:9000/{shipped}" for number in range(servers["spec"]["replicas"])]
    given = remote.asked_for(environment[remote.VARIABLE], environment[remote.FALLBACK])
    assert given == {"backend": ",".join(expected), "fallback": True}
