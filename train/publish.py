"""`python -m train publish`: a verified bundle with its card and its pictures -> one commit of a model on the Hub.

What is there already is not sent again, and a bundle that didn't change makes no commit.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ser_core import bundle, examples, pull
from ser_core.emotions import EMOTIONS
from ser_core.errors import BundleError
from ser_core.hub import VARIABLE, HubModel
from train import attribution, card, card_plots, corpora, hub_upload
from train.hub_errors import PublishError, check_repo_id, check_tag
from train.hub_upload import Upload

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from ser_core.bundle import Bundle
    from train.corpora import Clip

CARD = "README.md"
ATTRIBUTION = "examples.md"
"""Whose the example clips are."""


def gather(shipped: Bundle, repo_id: str) -> dict[str, bytes]:
    """All files of the repository by path: the bundle's, the card and its pictures.

    Args:
        shipped: a bundle that `ser_core.bundle.read` verified.
        repo_id: USER/NAME, for the card.

    Raises:
        PublishError: a file of the bundle could not be downloaded again.
    """
    _check_names(shipped)
    files = {name: (shipped.folder / name).read_bytes() for name in (bundle.MANIFEST, *shipped.files)}
    plots = card_plots.draw(shipped.metrics())
    files |= {f"{card.PLOTS}/{name}": picture for name, picture in plots.items()}
    return {CARD: card.make(shipped, repo_id=repo_id, plots=list(plots)).encode(), **files}


def with_examples(shipped: Bundle, clips: Sequence[Clip], folder: Path) -> Bundle:
    """The same bundle and example clips beside it, under one seal, so that the app can vouch for them.

    Args:
        shipped: a verified bundle.
        clips: of RAVDESS.
        folder: empty; where it is put together.
    """
    for name in shipped.files:
        shutil.copy(shipped.folder / name, folder)
    examples.write(folder, attribution.CREDIT, [(clip.path, clip.emotion.value) for clip in clips])
    (folder / ATTRIBUTION).write_text(attribution.of_examples(clips), "utf-8")
    return bundle.write(
        folder,
        name=shipped.name,
        version=shipped.version,
        precision=shipped.precision,
        calibration=shipped.calibration,
        licence=shipped.licence,
        training=shipped.training,
    )


def choose(clips: Sequence[Clip]) -> list[Clip]:
    """One spoken clip for each emotion, each by another actor, women and men in turn, strongly acted where it can be.

    Args:
        clips: all of RAVDESS.
    """
    chosen = []
    for number, emotion in enumerate(EMOTIONS, start=1):
        of_emotion = [
            clip
            for clip in clips
            if clip.channel == "speech" and clip.emotion is emotion and clip.speaker == str(number)
        ]
        chosen.append(min(of_emotion, key=lambda clip: (not clip.strong, clip.key)))
    return chosen


def _check_names(shipped: Bundle) -> None:
    """Hold the bundle to what `ser_core.pull` would refuse."""
    try:
        pull.check_names(shipped.files, str(shipped.folder))
    except BundleError as error:
        raise PublishError(f"{error}. Nothing was sent. Export it again into an empty folder.") from error
    if CARD in shipped.files:
        raise PublishError(
            f"The bundle in {shipped.folder} holds {CARD}, which is made from the figures. Nothing was sent. Export it "
            "again into an empty folder."
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m train publish`."""
    parser.add_argument("--repo-id", required=True, metavar="USER/NAME", help="the model on the Hub; made if missing")
    parser.add_argument("--bundle", type=Path, default=bundle.BUNDLED, help="what to publish (default: assets/model)")
    parser.add_argument("--private", action="store_true", help="if it has to be made, for its owner's eyes alone")
    parser.add_argument("--tag", help="a name for the commit, as in v1.2.0 (default: none)")
    parser.add_argument(
        "--examples-from", type=Path, metavar="DIR", help="add eight clips of RAVDESS, which lies in this folder"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be sent, and send nothing")


def run(args: argparse.Namespace) -> int:
    """Publish the bundle, or say what would be sent."""
    check_repo_id(args.repo_id)
    if args.tag is not None:
        check_tag(args.tag)
    shipped = bundle.read(args.bundle)
    with tempfile.TemporaryDirectory() as folder:
        if args.examples_from is not None:
            clips = choose(corpora.read(args.examples_from, ["ravdess"]))
            shipped = with_examples(shipped, clips, Path(folder))
        files = gather(shipped, args.repo_id)
    upload = Upload(
        repo_id=args.repo_id,
        repo_type="model",
        files=files,
        message=f"{shipped.name} {shipped.version}",
        marker=bundle.MANIFEST,
        tag=args.tag,
        private=args.private,
    )
    if args.dry_run:
        print("\n".join([*upload.lines(), "Nothing was sent (--dry-run)."]))
        return 0
    delivered = hub_upload.deliver(hub_upload.connect(), upload)
    print("\n".join(delivered.lines()))
    print(f"{VARIABLE}={HubModel(args.repo_id, delivered.commit)}")
    return 0
