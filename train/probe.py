"""`python -m train probe`: can the corpora be told apart by how they sound, before and after augmentation?

Where loudness, bandwidth, noise or a codec give a corpus away, a network learns the corpus and the emotions that it
happens to have, and fails on a visitor's voice. A small classifier that sees only each mel band's mean and spread over
a clip measures how much of that is left. Its training and test clips share no speaker.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from train import recipe
from train.augment import augment
from train.batches import Sampler
from train.cache import CacheError, FeatureCache

if TYPE_CHECKING:
    import argparse

    from train.recipe import Recipe

CLIPS = 400
"""Of each corpus, half to train on and half to test on."""


def measure(cache: FeatureCache, chosen: Recipe) -> dict[str, Any]:
    """How well corpora are told apart from clips as they are, and as training hears them.

    Args:
        cache: features of the recipe's corpora.
        chosen: whose augmentation is measured.

    Returns:
        JSON-ready: `before` and `after`, the mean of the corpora's recalls on unheard speakers; `chance`.

    Raises:
        CacheError: the features lack one of the recipe's corpora, or it has one alone.
    """
    if len(chosen.corpora) < 2:
        raise CacheError(f"The recipe {chosen.name} has one corpus alone: there is nothing to tell it apart from.")
    cache.of(chosen.corpora)
    sides = [_clips(cache, chosen.corpora, test=test) for test in (False, True)]
    truth = [[cache.clips[clip].corpus for clip in side] for side in sides]
    return {
        "corpora": list(chosen.corpora),
        "chance": 1.0 / len(chosen.corpora),
        "before": _recall(truth, [[_summary(cache.spectrogram(clip)) for clip in side] for side in sides]),
        "after": _recall(truth, [_augmented(cache, chosen, side) for side in sides]),
    }


def _clips(cache: FeatureCache, corpora: tuple[str, ...], *, test: bool) -> list[int]:
    """Clips of every second speaker of each corpus."""
    rng, chosen = np.random.default_rng(0), []
    for corpus in corpora:
        speakers = sorted({clip.speaker for clip in cache.clips if clip.corpus == corpus})[int(test) :: 2]
        own = [n for n, clip in enumerate(cache.clips) if clip.corpus == corpus and clip.speaker in speakers]
        chosen += rng.permutation(own)[: CLIPS // 2].tolist()
    return chosen


def _summary(spectrogram: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.concatenate([spectrogram.mean(axis=1), spectrogram.std(axis=1)])


def _augmented(cache: FeatureCache, chosen: Recipe, clips: list[int]) -> list[npt.NDArray[np.float32]]:
    generator, rng = torch.Generator().manual_seed(0), np.random.default_rng(0)
    sampler = Sampler(cache, clips, chosen.corpora[0], batch_size=1, crop_frames=chosen.augment.crop_frames, seed=0)
    crops = np.stack([sampler.crop(clip, chosen.augment.degraded, rng) for clip in clips])
    heard = augment(torch.from_numpy(crops), chosen.augment, cache.band_hz, generator).numpy()
    return [_summary(one) for one in heard]


def _recall(truth: list[list[str]], heard: list[list[npt.NDArray[np.float32]]]) -> float:
    """Mean recall of the corpora on the second of two sides, by a classifier trained on the first."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2_000)).fit(heard[0], truth[0])
    return float(balanced_accuracy_score(truth[1], probe.predict(heard[1])))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m train probe`."""
    from train.evaluate import RESULTS

    parser.add_argument("--config", default="voices", help="a recipe of train/configs, or a .yaml file")
    parser.add_argument("--cache", type=Path, default=Path(".cache/features"), help="features made by `prepare`")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures go")


def run(args: argparse.Namespace) -> int:
    """Measure, print and store."""
    chosen, cache = recipe.load(args.config), FeatureCache.open(args.cache)
    found = {
        "command": shlex.join(["python", "-m", "train", "probe", "--config", args.config]),
        "recipe_hash": chosen.hash,
        "data_digest": cache.digest,
        **measure(cache, chosen),
    }
    folder = args.results / chosen.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "probe.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(
        f"corpora told apart: {found['before']:.1%} of clips as they are, {found['after']:.1%} as training hears them "
        f"(chance {found['chance']:.1%})"
    )
    return 0
