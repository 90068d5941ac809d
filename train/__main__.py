"""The command line of training: `python -m train COMMAND --help`."""

from __future__ import annotations

import argparse
import importlib
import sys

from ser_core.errors import SerError

COMMANDS = {
    "download": "fetch RAVDESS from Zenodo",
    "prepare": "read the corpora and compute features once",
    "pack": "features -> one small file, to train elsewhere",
    "pretrained": "fetch what a recipe starts from: the first layers of Whisper's encoder",
    "fit": "train folds, or the network that ships",
    "evaluate": "measure the folds' networks on the speakers they never heard",
    "compare": "train architectures under one recipe, and lay them side by side",
    "trials": "gather what changes to the recipe were worth on validation speakers",
    "probe": "measure how well the corpora can be told apart by their sound",
    "report": "stored figures -> the tables in README.md",
    "export": "networks -> ONNX and OpenVINO, checked, as a bundle; or with --model-server a bundle -> a model server",
    "publish": "a bundle with its card -> a model on the Hugging Face Hub",
    "publish-space": "the page -> a Space on the Hugging Face Hub",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; 0 when it was done, 1 with a message when it could not be, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    arguments = sys.argv[1:] if argv is None else argv
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        # Only the asked command is imported: `download --help` needs no torch.
        if name in arguments[:1]:
            module = importlib.import_module(f"train.{_module(name, arguments)}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    args = parser.parse_args(arguments)
    try:
        return int(args.run(args))
    except SerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; what was complete is kept", file=sys.stderr)
        return 130


def _module(name: str, arguments: list[str]) -> str:
    # A bundle is handed to a model server where nothing is trained, and torch need not be there.
    if name == "export" and any(one.split("=")[0] == "--model-server" for one in arguments):
        return "model_server"
    return name.replace("-", "_")


if __name__ == "__main__":
    raise SystemExit(main())
