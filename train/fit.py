"""`python -m train fit`: folds and recipes -> weights, with a checkpoint after every epoch."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ser_core.emotions import EMOTIONS
from train import asked, readings, recipe
from train.batches import Sampler
from train.cache import FeatureCache
from train.loop import Trainer
from train.place import Place
from train.pretrained import FOLDER
from train.run import RunError
from train.runs import record_path, save_member, start_of, teacher_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from torch import nn

    from train.run import Run


VALIDATE_EVERY = 4
"""Epochs; judging the validation clips one by one takes a quarter of an epoch's time."""


def train(
    run: Run,
    cache: FeatureCache,
    runs: Path,
    place: Place,
    *,
    member: int = 0,
    resume: bool = False,
    max_epochs: int | None = None,
    pretrained: Path = FOLDER,
) -> dict[str, Any]:
    """Train one network of a run, from the start or from its last checkpoint.

    Args:
        run: what to train.
        cache: features of all corpora of its recipe.
        runs: folder of all runs.
        place: where to compute.
        member: which of the recipe's networks.
        resume: go on from the checkpoint, if there is one.
        max_epochs: stop, with a checkpoint, after so many in this call.
        pretrained: folder of the weights that recipes may start from.

    Returns:
        The network's record, also written, see `runs.save_member`, once it is complete.

    Raises:
        RunError: there is a checkpoint and `resume` wasn't asked for, or it belongs to another recipe or other data.
    """
    folder = run.folder(runs)
    checkpoint, seed = folder / f"checkpoint-{member}.pt", run.recipe.seed_of(member)
    identity = {"recipe_hash": run.recipe.members_hash, "data_digest": cache.digest}
    if resume and (complete := _complete(folder, member, identity)):
        return complete
    split, optim, cache = run.split(cache), run.recipe.optim, run.labelled(cache)
    if optim.batch_size % place.size:
        raise RunError(f"A batch of {optim.batch_size} can't be shared evenly by {place.size} processes.")
    sampler = Sampler(
        cache,
        split.train,
        run.main,
        batch_size=optim.batch_size,
        crop_frames=run.recipe.augment.crop_frames,
        seed=seed,
    )
    if not sampler.batches:
        raise RunError(f"{len(split.train)} clips don't fill one batch of {optim.batch_size}: add clips or lower it.")
    torch.manual_seed(seed)
    trainer = Trainer(
        start_of(run.recipe, pretrained),
        optim,
        run.recipe.augment,
        band_hz=cache.band_hz,
        steps_per_epoch=sampler.batches,
        seed=seed,
        place=place,
        teacher=teacher_of(run, runs, pretrained),
    )
    history = _take_up(checkpoint, trainer, identity) if resume and checkpoint.is_file() else []
    if checkpoint.is_file() and not resume:
        raise RunError(f"{checkpoint} is there already: go on with --resume, or move it away to start anew.")
    # Nobody writes before all have looked.
    place.wait()
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{run.recipe.name}/{run.name} {member}"
    if place.rank == 0:
        print(f"{name}: {len(split.train)} clips, {sampler.batches} steps an epoch, on {place}")
    last = optim.epochs if max_epochs is None else min(optim.epochs, len(history) + max_epochs)
    for epoch in range(len(history), last):
        started = time.monotonic()
        degraded = run.recipe.augment.at(epoch / optim.epochs).degraded
        result = trainer.epoch(epoch, sampler.epoch(epoch, degraded, place.rank, place.size))
        line = {"loss": result.loss, "train_accuracy": result.accuracy}
        if place.rank:
            history.append(line)
            continue
        if run.validate and split.validation and (epoch % VALIDATE_EVERY == 0 or epoch + 1 == optim.epochs):
            line |= _validate(trainer.averaged(sampler.epoch(epoch, degraded)), cache, split.validation)
        history.append(line)
        _save(checkpoint, {"history": history, **identity, **trainer.state()})
        figures = ", ".join(f"{key} {value:.3f}" for key, value in line.items())
        seconds = time.monotonic() - started
        print(f"{name}, epoch {epoch + 1}/{optim.epochs}: {figures}, {seconds:.0f} s", flush=True)
    record = {
        "recipe": dataclasses.asdict(run.recipe),
        **identity,
        "packed": cache.packed,
        "member": member,
        "seed": seed,
        "fold": run.fold,
        "validate": run.validate,
        "left_out": run.left_out,
        "split": run.name,
        "train_clips": len(split.train),
        "parameters": sum(parameter.numel() for parameter in trainer.network.parameters()),
        "torch": torch.__version__,
        "device": str(place),
        "history": history,
    }
    if len(history) == optim.epochs and place.rank == 0:
        save_member(folder, trainer.averaged(sampler.epoch(0, run.recipe.augment.degraded)), record)
    return record


def _complete(folder: Path, member: int, identity: dict[str, str]) -> dict[str, Any] | None:
    """The record of a member that is complete, and stays as it was made; None where there is none of this identity."""
    path = record_path(folder, member)
    if not path.is_file():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record if all(record[key] == value for key, value in identity.items()) else None


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


@torch.no_grad()
def _validate(network: nn.Module, cache: FeatureCache, indices: Sequence[int]) -> dict[str, float]:
    """How clips are recognised, each in one piece, filled up as the app does: accuracy and log loss of each channel."""
    device = next(network.parameters()).device
    found: dict[str, list[tuple[bool, float]]] = {}
    known = {clip.emotion for clip in cache.clips}
    unknown = torch.tensor([emotion not in known for emotion in EMOTIONS], device=device)
    for index in indices:
        clip = cache.clips[index]
        batch = torch.from_numpy(cache.network_input(index))[None, None].to(device)
        scores = network(batch)[0][0].masked_fill(unknown, -1e4).log_softmax(dim=0)
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
    which.add_argument("--random", **asked.RANDOM)
    asked.add_arguments(parser)
    parser.add_argument("--member", type=int, nargs="+", help="only these of the recipe's networks (default: all)")
    parser.add_argument("--validate", action="store_true", help="hold out validation speakers of the training side")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint; skip what is complete")
    parser.add_argument("--cache", type=Path, default=Path(".cache/features"), help="features made by `prepare`")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where checkpoints and weights go")
    parser.add_argument("--pretrained", type=Path, default=FOLDER, help="folder of pretrained weights")
    parser.add_argument("--max-epochs", type=int, help="stop after so many, with a checkpoint")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all cores, shared by torchrun's processes)")


def run(args: argparse.Namespace) -> int:
    """Train what was asked for, one network after the other."""
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(args.threads or max(1, (os.cpu_count() or 1) // beside))
    cache = FeatureCache.open(args.cache)
    chosen = recipe.load(args.config)
    members = range(chosen.members) if args.member is None else args.member
    if absent := set(members) - set(range(chosen.members)):
        raise RunError(
            f"{chosen.name} has {chosen.members} member{'s' * (chosen.members > 1)}, from 0 on: there is no member "
            f"{', '.join(map(str, sorted(absent)))}."
        )
    with Place.find() as place:
        for one, member in itertools.product(asked.runs(chosen, args), members):
            record = train(
                one,
                cache,
                args.runs,
                place,
                member=member,
                resume=args.resume,
                max_epochs=args.max_epochs,
                pretrained=args.pretrained,
            )
            done = len(record["history"]) == chosen.optim.epochs
            if place.rank == 0:
                told = "complete" if done else "stopped, go on with --resume"
                print(f"{one.folder(args.runs)}, member {member}: {told}")
        if place.rank == 0 and args.member is None:
            for one in asked.runs(chosen, args):
                readings.read(one, cache, args.runs, args.cache, args.pretrained)
    return 0
