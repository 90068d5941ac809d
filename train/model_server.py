"""`python -m train export --model-server DIR`: a bundle's weights, laid out for OpenVINO Model Server.

    DIR/config.json            what the server is started with (--config_path)
    DIR/NAME/1/model.xml, .bin the weights; the next export is DIR/NAME/2, and a running server takes it up by itself
    DIR/NAME/1/served.json     which bundle, in which precision

(docs.openvino.ai: "Preparing a Model Repository", "Model Server Parameters".)
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ser_core import bundle
from ser_core.backends import EXACT
from ser_core.bundle import BUNDLED
from ser_core.errors import SerError
from ser_core.prediction import Precision

if TYPE_CHECKING:
    import argparse

    from ser_core.bundle import Bundle

CONFIG = "config.json"
SERVED = "served.json"
MODEL = "model.xml"
KEPT_VERSIONS = 2
"""The server offers so many: while pages are replaced, old ones ask the version before by its number."""


class ModelServerError(SerError):
    """A folder that can't be laid out for a model server; the message says what is in the way."""


def write(opened: Bundle, precision: Precision, root: Path) -> Path:
    """Add a bundle's weights to a model server's folder, as the next version of the model of the bundle's name.

    A server that watches the folder sees all of a version or nothing, and never half of `config.json`.

    Args:
        opened: the bundle.
        precision: of the weights that are served.
        root: the folder; made if it isn't there. What it holds of other models stays.

    Returns:
        The folder of the version.

    Raises:
        BundleError: the bundle lacks that precision.
        ModelServerError: `config.json` is there and can't be understood.
    """
    source = opened.model_path(precision)
    config = _config(root / CONFIG)
    _enter(config, opened.name)
    home = root / opened.name
    home.mkdir(parents=True, exist_ok=True)
    # Beside the model's own folder, in which a server looks for versions.
    with tempfile.TemporaryDirectory(dir=root, prefix=".export-") as scratch:
        made = Path(scratch) / "version"
        made.mkdir()
        _put(source, made / MODEL)
        served = {
            "name": opened.name,
            "version": opened.version,
            "revision": opened.revision,
            "precision": precision,
        }
        (made / SERVED).write_text(json.dumps(served, indent=1) + "\n", encoding="utf-8")
        for path in made.iterdir():
            path.chmod(0o644)  # a container's user is another one
        made.chmod(0o755)
        place = _settle(made, home)
        written = Path(scratch) / CONFIG
        written.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        written.chmod(0o644)
        written.replace(root / CONFIG)
    return place


def _put(source: Path, target: Path) -> None:
    """Write a network as IR: copied where it is one, converted with all its bits where it is ONNX."""
    if source.suffix == ".xml":
        shutil.copyfile(source, target)
        shutil.copyfile(source.with_suffix(".bin"), target.with_suffix(".bin"))
        return
    import openvino as ov

    ov.save_model(ov.Core().read_model(source), target, compress_to_fp16=False)


def _settle(made: Path, home: Path) -> Path:
    """Move a finished version to the next free number; another export may take that first."""
    while True:
        taken = [int(path.name) for path in home.iterdir() if path.name.isascii() and path.name.isdecimal()]
        place = home / str(max(taken, default=0) + 1)
        try:
            os.rename(made, place)  # noqa: PTH104  Path.rename does the same; a folder with something in it stays
        except OSError:
            if not place.exists():
                raise
        else:
            return place


def _config(path: Path) -> dict[str, Any]:
    """What the server is told already; an empty list of models where there is no such file."""
    if not path.exists():
        return {"model_config_list": []}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if all(isinstance(entry["config"]["name"], str) for entry in config["model_config_list"]):
            return dict(config)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        pass
    raise ModelServerError(
        f"{path} is there and isn't a model server's list of models. Move it away, or name another folder."
    )


def _enter(config: dict[str, Any], name: str) -> None:
    """Enter a model, or keep its entry with what its host has changed, but for what the answers depend on."""
    entries = config["model_config_list"]
    mine = next((entry["config"] for entry in entries if entry["config"]["name"] == name), None)
    if mine is None:
        mine = {"name": name, "model_version_policy": {"latest": {"num_versions": KEPT_VERSIONS}}}
        entries.append({"config": mine})
    mine["base_path"] = name  # beside config.json, wherever that is mounted
    mine["plugin_config"] = {**mine.get("plugin_config", {}), **EXACT}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m train export --model-server`."""
    parser.add_argument("--model-server", type=Path, required=True, metavar="DIR", help="the model server's folder")
    parser.add_argument(
        "--bundle", type=Path, default=BUNDLED, help="folder of the bundle (default: the one that ships)"
    )
    parser.add_argument("--precision", choices=get_args(Precision), help="of its weights (default: the bundle's own)")


def run(args: argparse.Namespace) -> int:
    """Lay a bundle out for a model server."""
    opened = bundle.read(args.bundle)
    precision = args.precision or opened.precision
    place = write(opened, precision, args.model_server)
    print(
        f"{place}: {opened.name} {opened.version}, {precision}. Start the server with --config_path "
        f"{args.model_server / CONFIG}, and the page with --backend grpc://HOST:PORT/{opened.name}"
    )
    return 0
