"""`python -m train publish-space`: what the page needs of this checkout -> one commit of a Gradio Space on the Hub.

The Space runs the model that its variable SER_MODEL_REPO names, at one commit.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import SpaceCard
from yaml import YAMLError

from ser_core import bundle, pull
from ser_core.errors import BundleError
from ser_core.hub import VARIABLE, HubModel
from train import hub_upload
from train.hub_errors import PublishError, Repo, check_repo_id, explained
from train.hub_upload import Delivered, Upload
from train.recipe import ROOT

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from huggingface_hub import HfApi

MARKER = "ser_core/__init__.py"
PATTERNS = (
    "app.py",
    "requirements.txt",
    "README.md",
    "LICENSE",
    "CONTRIBUTING.md",
    "docs/*.md",
    "docs/plots/*.png",
    "page/*.py",
    "ser_core/**/*.py",
    "assets/*.md",
    "assets/*.css",
    "assets/*.js",
    "assets/*.png",
    "assets/examples/*.wav",
    "assets/voice/*",
)
"""All that `app.py` and `ser_core` read, and what the README links to, beside the bundle; see `gather`."""


def files_of(api: HfApi, repo: Repo, model: HubModel) -> list[str]:
    """What the model's bundle consists of, as its manifest on the Hub says.

    Raises:
        BundleError: this version can't use it.
        PublishError: there is no such model, or it can't be asked for.
    """
    with explained(repo), tempfile.TemporaryDirectory() as folder:
        # Where the Hub keeps models, whatever `repo` is.
        path = api.hf_hub_download(model.repo_id, bundle.MANIFEST, revision=model.revision, local_dir=folder)
        files = bundle.outline(Path(path).parent).files
    pull.check_names(files, str(model))
    return [bundle.MANIFEST, *files]


def gather(root: Path, model: HubModel, preloaded: Sequence[str]) -> dict[str, bytes]:
    """All files of the Space by path.

    The bundle of the checkout is among them: the page runs it where the Hub can't be reached.

    Args:
        root: of the checkout.
        model: what the Space shall run, for its front matter.
        preloaded: the model's files, which the Space's image shall hold.

    Raises:
        BundleError: the bundle is damaged.
        PublishError: something that the page needs is missing.
    """
    beside = root / "assets" / "model"
    shipped = bundle.read(beside)
    found = [beside / name for name in (bundle.MANIFEST, *shipped.files)]
    for pattern in PATTERNS:
        if not (matching := [path for path in root.glob(pattern) if path.is_file()]):
            raise PublishError(
                f"{root} has no {pattern}, which the Space needs. Nothing was sent. Use a whole checkout."
            )
        found += matching
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(found)}
    files["README.md"] = _with_model(files["README.md"].decode(), model, preloaded).encode()
    return files


def _with_model(page: str, model: HubModel, preloaded: Sequence[str]) -> str:
    """The page with the model in its front matter: linked from the Space, and put into its image when that is built, so
    that a start needs no network.

    Raises:
        PublishError: the Hub couldn't tell from the page what to run.
    """
    try:
        card = SpaceCard(page)
        complete = card.data.get("sdk") == "gradio" and card.data.get("app_file") == "app.py"
        card.data["models"] = [model.repo_id]
        card.data["preload_from_hub"] = [f"{model.repo_id} {','.join(preloaded)} {model.revision}"]
    except (ValueError, YAMLError):
        complete = False
    if not complete:
        raise PublishError(
            "README.md doesn't begin with a front matter that says `sdk: gradio` and `app_file: app.py`. Nothing was "
            "sent. Put it there, between two lines of `---`."
        )
    return str(card)


def pinned(text: str) -> HubModel:
    """Read --model. Raises PublishError where it isn't USER/MODEL@HASH with a full commit hash."""
    try:
        model = HubModel.parse(text)
    except BundleError:
        model = None
    if model is None or not model.pinned:
        raise PublishError(
            f"--model is {text!r}, which doesn't name one state of a model for good. Nothing was sent. Give "
            "USER/MODEL@HASH with all 40 hex digits of a commit, as `python -m train publish` prints it."
        )
    check_repo_id(model.repo_id)
    return model


def set_model(api: HfApi, repo: Repo, model: HubModel, commit: str) -> bool:
    """Set the Space's variable; False where it names this model already.

    Args:
        api: the Hub's client.
        repo: the Space.
        model: what it shall run.
        commit: that the Space holds, for the message.

    Raises:
        PublishError: the Hub refused, or can't be reached.
    """
    with explained(repo, f"{repo.repo_id} holds the files as commit {commit}, but {VARIABLE} is not set to {model}."):
        now = api.get_space_variables(repo.repo_id).get(VARIABLE)
        if now is not None and now.value == str(model):
            return False
        api.add_space_variable(repo.repo_id, VARIABLE, str(model), description="The model that the page runs")
        return True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m train publish-space`."""
    parser.add_argument("--repo-id", required=True, metavar="USER/NAME", help="the Space on the Hub; made if missing")
    parser.add_argument(
        "--model", required=True, metavar="USER/MODEL@HASH", help="what it runs, as `python -m train publish` prints it"
    )
    parser.add_argument("--private", action="store_true", help="if it has to be made, for its owner's eyes alone")
    parser.add_argument("--dry-run", action="store_true", help="say what would be sent, and send nothing")


def run(args: argparse.Namespace) -> int:
    """Make or update the Space, or say what would be sent."""
    check_repo_id(args.repo_id)
    model = pinned(args.model)
    if args.dry_run:
        # Told without asking the Hub, as if the model were the one of this checkout.
        upload = _upload(args, model, [bundle.MANIFEST, *bundle.outline(bundle.BUNDLED).files])
        print("\n".join([*upload.lines(), f"{VARIABLE}={model}", "Nothing was sent (--dry-run)."]))
        return 0
    api = hub_upload.connect()
    repo = Repo(args.repo_id, "space", api.endpoint)
    delivered: Delivered = hub_upload.deliver(api, _upload(args, model, files_of(api, repo, model)))
    print("\n".join(delivered.lines()))
    changed = set_model(api, repo, model, delivered.commit)
    print(f"{VARIABLE}={model} {'is set' if changed else 'was set already'}")
    return 0


def _upload(args: argparse.Namespace, model: HubModel, preloaded: Sequence[str]) -> Upload:
    return Upload(
        repo_id=args.repo_id,
        repo_type="space",
        files=gather(ROOT, model, preloaded),
        message=f"The page, on {model.repo_id}",
        marker=MARKER,
        private=args.private,
    )
