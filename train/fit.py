"""`python -m train fit`: folds and recipes -> weights, with a checkpoint after every epoch."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ser_core.config import FeatureConfig
from ser_core.emotions import EMOTIONS
from ser_core.errors import SerError
from train import networks, recipe, splits
from train.batches import Sampler
from train.cache import FeatureCache
from train.loop import Trainer
from train.place import Place

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from torch import Tensor, nn

    from train.recipe import Recipe


VALIDATE_EVERY = 4
"""Epochs; judging the validation clips one by one takes a quarter of an epoch's time."""


class RunError(SerError):
    """A run that can't start or go on."""


@dataclass(frozen=True)
class Run:
    """One network to be trained: a recipe on one side of a split.

    Attributes:
        recipe: what to do.
        fold: whose test speakers stay unheard; None for the network that ships, which hears all.
        left_out: a corpus that stays unheard as a whole, to be tested on; instead of a fold.
        validate: hold out validation speakers as well, and say after every epoch how they are recognised.
    """

    recipe: Recipe
    fold: int | None
    validate: bool = False
    left_out: str | None = None

    @property
    def name(self) -> str:
        """What its folder is called."""
        if self.left_out is not None:
            return f"without-{self.left_out}"
        return ("all" if self.fold is None else f"fold{self.fold}") + ("-validate" if self.validate else "")

    @property
    def main(self) -> str:
        """The corpus that makes up half of every epoch: the recipe's first that isn't left out."""
        return next(corpus for corpus in self.recipe.corpora if corpus != self.left_out)

    def folder(self, runs: Path) -> Path:
        """Where its checkpoint and its weights lie."""
        return runs / self.recipe.name / self.name

    def split(self, cache: FeatureCache) -> splits.Split:
        """Its clips, by index into the cache."""
        chosen = [index for index, clip in enumerate(cache.clips) if clip.corpus in self.recipe.corpora]
        absent = set(self.recipe.corpora) - {cache.clips[index].corpus for index in chosen}
        if absent:
            raise RunError(
                f"The recipe {self.recipe.name!r} trains on {', '.join(sorted(absent))}, which the features don't "
                f"hold: run `python -m train prepare --data DIR --corpora {' '.join(self.recipe.corpora)}`."
            )
        if self.left_out is not None:
            split = splits.by_corpus([cache.clips[index] for index in chosen], self.left_out)
            return splits.Split(*(tuple(chosen[index] for index in side) for side in (split.train, (), split.test)))
        split = splits.by_speaker(
            [cache.clips[index] for index in chosen], self.recipe.corpora[0], self.fold, validate=self.validate
        )
        if self.fold is not None and not split.test:
            raise RunError(
                f"Fold {self.fold} has no speaker to test: five folds want at least five speakers of "
                f"{self.recipe.corpora[0]}. Add some, or train with --all."
            )
        sides = (split.train, split.validation, split.test)
        return splits.Split(*(tuple(chosen[index] for index in side) for side in sides))


def train(
    run: Run,
    cache: FeatureCache,
    runs: Path,
    place: Place,
    *,
    resume: bool = False,
    max_epochs: int | None = None,
) -> dict[str, Any]:
    """Train one network, from the start or from its last checkpoint.

    Args:
        run: what to train.
        cache: features of all corpora of its recipe.
        runs: folder of all runs.
        place: where to compute.
        resume: go on from the checkpoint, if there is one.
        max_epochs: stop, with a checkpoint, after so many in this call.

    Returns:
        The run's record, also written as `run.json` beside `weights.safetensors` once it is complete.

    Raises:
        RunError: there is a checkpoint and `resume` wasn't asked for, or it belongs to another recipe or other data.
    """
    folder = run.folder(runs)
    checkpoint = folder / "checkpoint.pt"
    split, optim = run.split(cache), run.recipe.optim
    if optim.batch_size % place.size:
        raise RunError(f"A batch of {optim.batch_size} can't be shared evenly by {place.size} processes.")
    sampler = Sampler(
        cache,
        split.train,
        run.main,
        batch_size=optim.batch_size,
        crop_frames=run.recipe.augment.crop_frames,
        seed=run.recipe.seed,
    )
    if not sampler.batches:
        raise RunError(f"{len(split.train)} clips don't fill one batch of {optim.batch_size}: add clips or lower it.")
    torch.manual_seed(run.recipe.seed)
    trainer = Trainer(
        _network(run.recipe),
        optim,
        run.recipe.augment,
        band_hz=cache.band_hz,
        steps_per_epoch=sampler.batches,
        seed=run.recipe.seed,
        place=place,
    )
    identity = {"recipe_hash": run.recipe.hash, "data_digest": cache.digest}
    history = _take_up(checkpoint, trainer, identity) if resume and checkpoint.is_file() else []
    if checkpoint.is_file() and not resume:
        raise RunError(f"{folder} holds a run already: go on with --resume, or move the folder away to start anew.")
    # Nobody writes before all have looked.
    place.wait()
    folder.mkdir(parents=True, exist_ok=True)
    if place.rank == 0:
        print(f"{run.recipe.name}/{run.name}: {len(split.train)} clips, {sampler.batches} steps an epoch, on {place}")
    last = optim.epochs if max_epochs is None else min(optim.epochs, len(history) + max_epochs)
    for epoch in range(len(history), last):
        started = time.monotonic()
        degraded = run.recipe.augment.at(epoch / optim.epochs).degraded
        result = trainer.epoch(epoch, sampler.epoch(epoch, degraded, place.rank, place.size))
        line = {"loss": result.loss, "train_accuracy": result.accuracy}
        if place.rank:
            history.append(line)
            continue
        if split.validation and (epoch % VALIDATE_EVERY == 0 or epoch + 1 == optim.epochs):
            line |= _validate(trainer.averaged(sampler.epoch(epoch, degraded)), cache, split.validation)
        history.append(line)
        _save(checkpoint, {"history": history, **identity, **trainer.state()})
        figures = ", ".join(f"{key} {value:.3f}" for key, value in line.items())
        seconds = time.monotonic() - started
        print(f"{run.recipe.name}/{run.name} epoch {epoch + 1}/{optim.epochs}: {figures}, {seconds:.0f} s", flush=True)
    record = {
        "recipe": dataclasses.asdict(run.recipe),
        **identity,
        "fold": run.fold,
        "validate": run.validate,
        "left_out": run.left_out,
        "train_clips": len(split.train),
        "parameters": sum(parameter.numel() for parameter in trainer.network.parameters()),
        "torch": torch.__version__,
        "device": str(place),
        "history": history,
    }
    if len(history) == optim.epochs and place.rank == 0:
        _finish(folder, trainer.averaged(sampler.epoch(0, run.recipe.augment.degraded)), record)
    return record


def load_network(run: Run, runs: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The averaged network of a complete run, in eval mode, and the run's record.

    Raises:
        RunError: the run isn't complete, or belongs to another state of the code.
    """
    from safetensors.torch import load_file

    folder = run.folder(runs)
    if not (folder / "run.json").is_file():
        raise RunError(f"There is no complete run in {folder}: run `python -m train fit --config {run.recipe.name}`.")
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    if record["recipe_hash"] != run.recipe.hash:
        raise RunError(
            f"The weights in {folder} come from recipe {record['recipe_hash']}, the recipe and the code are now "
            f"{run.recipe.hash}: train again."
        )
    network = _network(run.recipe)
    network.load_state_dict(load_file(folder / "weights.safetensors"))
    return network.eval(), record


def _network(chosen: Recipe) -> nn.Module:
    return networks.build(chosen.network.name, {"n_mels": FeatureConfig().n_mels, **chosen.network.options})


def _take_up(checkpoint: Path, trainer: Trainer, identity: dict[str, str]) -> list[dict[str, float]]:
    state = torch.load(checkpoint, weights_only=True, map_location=trainer.device)
    for key, now in identity.items():
        if state[key] != now:
            raise RunError(
                f"{checkpoint} can't be resumed: its {key.replace('_', ' ')} is {state[key]}, now it is {now}. "
                "Move the folder away to start anew."
            )
    trainer.load_state(state)
    history: list[dict[str, float]] = state["history"]
    return history


def _save(path: Path, state: dict[str, Any]) -> None:
    # Written beside and then renamed: a run that is cut off while it writes keeps its last whole checkpoint.
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def _finish(folder: Path, network: nn.Module, record: dict[str, Any]) -> None:
    from safetensors.torch import save_file

    weights = {key: _compact(value.detach().cpu().contiguous()) for key, value in network.state_dict().items()}
    save_file(weights, folder / "weights.safetensors")
    (folder / "run.json").write_text(json.dumps(record, indent=1), encoding="utf-8")


def _compact(values: Tensor) -> Tensor:
    """Kernels and matrices in half precision, as they ship, so that what is measured is what is stored; the few values
    of biases and batch norms, whose variances may be tiny, as they are.
    """
    return values.half() if values.dim() > 1 else values


@torch.no_grad()
def _validate(network: nn.Module, cache: FeatureCache, indices: Sequence[int]) -> dict[str, float]:
    """How clips are recognised, each in one piece, filled up as the app does: accuracy and log loss of each channel."""
    device = next(network.parameters()).device
    found: dict[str, list[tuple[bool, float]]] = {}
    for index in indices:
        clip = cache.clips[index]
        batch = torch.from_numpy(cache.network_input(index))[None, None].to(device)
        scores = network(batch)[0][0].log_softmax(dim=0)
        true = EMOTIONS.index(clip.emotion)
        found.setdefault(clip.channel, []).append((int(scores.argmax()) == true, -float(scores[true])))
    figures: dict[str, float] = {}
    for channel, clips in sorted(found.items(), reverse=True):
        hits, losses = zip(*clips, strict=True)
        figures[f"{channel}_accuracy"] = sum(hits) / len(clips)
        figures[f"{channel}_loss"] = sum(losses) / len(clips)
    return figures


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m train fit`."""
    parser.add_argument("--config", default="base", help="a recipe of train/configs, or a .yaml file (default: base)")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--fold", type=int, nargs="+", choices=range(5), help="leave these folds' test speakers out")
    which.add_argument("--leave-out", nargs="+", metavar="CORPUS", help="leave each of these corpora out as a whole")
    which.add_argument("--all", action="store_true", help="train on all speakers: the network that ships")
    parser.add_argument("--validate", action="store_true", help="hold out validation speakers of the training side")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint; skip what is complete")
    parser.add_argument("--cache", type=Path, default=Path(".cache/features"), help="features made by `prepare`")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where checkpoints and weights go")
    parser.add_argument("--max-epochs", type=int, help="stop after so many, with a checkpoint")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all cores, shared by torchrun's processes)")


def asked(chosen: Recipe, args: argparse.Namespace) -> list[Run]:
    """The runs that the options name. Raises RunError for a corpus that the recipe doesn't train on."""
    if args.leave_out and args.validate:
        raise RunError("--validate holds out speakers of a fold: name one with --fold, or leave --validate away.")
    if args.leave_out:
        if unknown := set(args.leave_out) - set(chosen.corpora):
            raise RunError(
                f"{', '.join(sorted(unknown))} can't be left out: {chosen.name} has {', '.join(chosen.corpora)}."
            )
        if len(chosen.corpora) == 1:
            raise RunError(f"The recipe {chosen.name} trains on {chosen.corpora[0]} alone: nothing is left without it.")
        return [Run(chosen, None, left_out=corpus) for corpus in args.leave_out]
    return [Run(chosen, fold, args.validate) for fold in ([None] if args.all else args.fold)]


def run(args: argparse.Namespace) -> int:
    """Train what was asked for, one network after the other."""
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(args.threads or max(1, (os.cpu_count() or 1) // beside))
    cache = FeatureCache.open(args.cache)
    chosen = recipe.load(args.config)
    with Place.find() as place:
        for one in asked(chosen, args):
            record = train(one, cache, args.runs, place, resume=args.resume, max_epochs=args.max_epochs)
            done = len(record["history"]) == chosen.optim.epochs
            if place.rank == 0:
                print(f"{one.folder(args.runs)}: {'complete' if done else 'stopped, go on with --resume'}")
    return 0
