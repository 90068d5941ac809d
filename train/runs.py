"""What a training run is, and what it leaves on disk."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ser_core.config import FeatureConfig
from ser_core.errors import SerError
from train import networks, pretrained, protocols, reader, recipe, splits
from train.networks.ensemble import Ensemble
from train.networks.reader import Together

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from train.cache import FeatureCache
    from train.protocols import Splitting
    from train.recipe import Recipe


ORIGIN = ("recipe_hash", "data_digest", "train_clips", "torch", "device", "packed")
"""What results and bundles keep of the record of the networks that they come from."""


class RunError(SerError):
    """A run that can't start or go on."""


@dataclass(frozen=True)
class Run:
    """What a recipe becomes on one side of a split: as many networks as it has members, which are asked together.

    Attributes:
        recipe: what to do.
        fold: whose test speakers stay unheard; None for what ships, which hears all.
        left_out: a corpus that stays unheard as a whole, to be tested on; instead of a fold.
        validate: hold out validation speakers as well, and say after every epoch how they are recognised.
        splitting: another way to split than by speaker or corpus; instead of a fold.
        merged: the negative emotions are learnt as one.
    """

    recipe: Recipe
    fold: int | None
    validate: bool = False
    left_out: str | None = None
    splitting: Splitting | None = None
    merged: bool = False

    @property
    def name(self) -> str:
        """What its folder is called."""
        return self._side + ("-validate" if self.validate else "") + ("-merged" if self.merged else "")

    @property
    def _side(self) -> str:
        if self.splitting is not None:
            return self.splitting.name
        if self.left_out is not None:
            return f"without-{self.left_out}"
        return "all" if self.fold is None else f"fold{self.fold}"

    @property
    def option(self) -> str:
        """What `fit` is asked for it by."""
        if self.splitting is not None:
            side = self.splitting.option
        elif self.left_out is not None:
            side = f"--leave-out {self.left_out}"
        else:
            side = "--all" if self.fold is None else f"--fold {self.fold}"
        return side + (" --validate" if self.validate else "") + (" --merged" if self.merged else "")

    @property
    def main(self) -> str:
        """The corpus that makes up half of every epoch: the recipe's first that isn't left out."""
        return next(corpus for corpus in self.recipe.corpora if corpus != self.left_out)

    def folder(self, runs: Path) -> Path:
        """Where the checkpoints and the weights of its members lie."""
        return runs / self.recipe.name / self.name

    def labelled(self, cache: FeatureCache) -> FeatureCache:
        """The features with the labels that it learns."""
        return protocols.merged(cache) if self.merged else cache

    def split(self, cache: FeatureCache) -> splits.Split:
        """Its clips, by index into the cache.

        Raises:
            CacheError: the features lack one of the recipe's corpora.
            RunError: the fold has no speaker to test.
        """
        chosen = cache.of(self.recipe.corpora)
        if self.splitting is not None:
            return self.splitting.split(cache, chosen, self.main)
        clips = [cache.clips[index] for index in chosen]
        if self.left_out is not None:
            split = splits.by_corpus(clips, self.left_out)
        else:
            split = splits.by_speaker(clips, self.recipe.corpora[0], self.fold, validate=self.validate)
        if self.fold is not None and not split.test:
            raise RunError(
                f"Fold {self.fold} has no speaker to test: five folds want at least five speakers of "
                f"{self.recipe.corpora[0]}. Add some, or train with --all."
            )
        sides = (split.train, split.validation, split.test)
        return splits.Split(*(tuple(chosen[index] for index in side) for side in sides))


def build_member(chosen: Recipe) -> nn.Module:
    """One of a recipe's networks, untrained, for the bands that the features have."""
    return networks.build(chosen.network.name, {"n_mels": FeatureConfig().n_mels, **chosen.network.options})


def start_of(chosen: Recipe, folder: Path) -> nn.Module:
    """What training of a member starts from: `build_member`, with pretrained weights where the recipe asks for them.

    Raises:
        PretrainedError: they are not in `folder`, or don't fit.
    """
    network = build_member(chosen)
    if chosen.network.pretrained is not None:
        pretrained.load(network, chosen.network.pretrained, folder)
    return network


def teacher_of(run: Run, runs: Path, folder: Path = pretrained.FOLDER) -> nn.Module | None:
    """The networks that teach a run's, trained on the same clips, as one in eval mode; None where the recipe has none.

    Args:
        run: whose.
        runs: folder of all runs.
        folder: of pretrained weights, where the teacher has a reader.

    Raises:
        RunError: they aren't complete, or belong to another state of the code.
        PretrainedError: the encoder's weights aren't there.
    """
    if run.recipe.teacher is None:
        return None
    network, _ = load_network(dataclasses.replace(run, recipe=recipe.load(run.recipe.teacher)), runs, folder)
    return network


def record_path(folder: Path, member: int) -> Path:
    """Where a run's folder holds what is known of a complete member."""
    return folder / f"run-{member}.json"


def weights_path(folder: Path, member: int) -> Path:
    """Where it holds that member's weights."""
    return folder / f"weights-{member}.safetensors"


def save_member(folder: Path, network: nn.Module, record: dict[str, Any]) -> None:
    """Write a member's weights and then its record, which says that it is complete."""
    from safetensors.torch import save_file

    weights = {key: _compact(value.detach().cpu().contiguous()) for key, value in network.state_dict().items()}
    save_file(weights, weights_path(folder, record["member"]))
    record_path(folder, record["member"]).write_text(json.dumps(record, indent=1), encoding="utf-8")


def _compact(values: Tensor) -> Tensor:
    """Kernels and matrices in half precision, as they ship, so that what is measured is what is stored; the few values
    of biases and batch norms, whose variances may be tiny, as they are.
    """
    return values.half() if values.dim() > 1 else values


def load_record(run: Run, runs: Path, member: int) -> dict[str, Any]:
    """What is known of a complete member.

    Raises:
        RunError: it isn't complete, or belongs to another state of the code.
    """
    path = record_path(run.folder(runs), member)
    if not path.is_file():
        raise RunError(
            f"There is no complete member {member} in {path.parent}: run `python -m train fit --config "
            f"{run.recipe.name} {run.option}`."
        )
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if record["recipe_hash"] != run.recipe.members_hash:
        raise RunError(
            f"The weights in {path.parent} come from recipe {record['recipe_hash']}, the recipe and the code are now "
            f"{run.recipe.members_hash}: train again."
        )
    return record


def reader_path(folder: Path) -> Path:
    """Where a run's folder holds what its reader has learnt."""
    return folder / "reader.safetensors"


def save_reader(run: Run, runs: Path, weight: Tensor, bias: Tensor, cache: FeatureCache) -> None:
    """Write what the run's reader has learnt, and what it belongs to.

    Args:
        run: which.
        runs: folder of all runs.
        weight: float32 (8, C).
        bias: float32 (8,).
        cache: the features that it was fitted on.
    """
    from safetensors.torch import save_file

    origin = {"recipe_hash": run.recipe.hash, "data_digest": cache.digest}
    path = reader_path(run.folder(runs))
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written beside and then renamed: what was cut off while it was written would pass for fitted.
    part = path.with_suffix(".part")
    save_file({"weight": weight, "bias": bias}, part, metadata=origin)
    part.replace(path)


def learnt(run: Run, runs: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What a run's reader has learnt, see `save_reader`, and the recipe and the data that it belongs to.

    Raises:
        RunError: it isn't fitted, or belongs to another state of the code.
    """
    from safetensors import safe_open

    path = reader_path(run.folder(runs))
    if not path.is_file():
        raise RunError(
            f"There is no {path}: run `python -m train fit --config {run.recipe.name} {run.option} --resume`."
        )
    with safe_open(path, "pt") as stored:
        origin, values = stored.metadata(), {key: stored.get_tensor(key) for key in ("weight", "bias")}
    if origin["recipe_hash"] != run.recipe.hash:
        raise RunError(
            f"{path} comes from recipe {origin['recipe_hash']}, the recipe and the code are now {run.recipe.hash}: "
            "move it away and fit again."
        )
    return values, origin


def load_reader(run: Run, runs: Path, folder: Path) -> tuple[nn.Module, dict[str, str]]:
    """A run's reader, in eval mode, and the recipe and the data that it belongs to.

    Args:
        run: of a recipe that has a reader.
        runs: folder of all runs.
        folder: of the pretrained weights.

    Raises:
        RunError: it isn't fitted, or belongs to another state of the code.
        PretrainedError: the encoder's weights aren't there.
    """
    if run.recipe.reader is None:
        raise RunError(f"The recipe {run.recipe.name} has no reader.")
    values, origin = learnt(run, runs)
    network = reader.build(run.recipe.reader, folder)
    network.classifier.load_state_dict(values)
    return network, origin


def load_network(run: Run, runs: Path, folder: Path = pretrained.FOLDER) -> tuple[nn.Module, dict[str, Any]]:
    """The averaged networks of a complete run as one, in eval mode, and what is known of them.

    Args:
        run: which.
        runs: folder of all runs.
        folder: of pretrained weights, where the recipe has a reader.

    Returns:
        An `Ensemble`, with a reader beside it where the recipe has one; and the record of its first member, with the
        run's recipe, and `torch` and `device` those of all.

    Raises:
        RunError: a member isn't complete, belongs to another state of the code, or was trained on other data than the
            first.
        PretrainedError: the encoder's weights aren't there.
    """
    from safetensors.torch import load_file

    members, records = [], []
    for member in range(run.recipe.members):
        records.append(load_record(run, runs, member))
        network = build_member(run.recipe)
        network.load_state_dict(load_file(weights_path(run.folder(runs), member)))
        members.append(network)
    together: nn.Module = Ensemble(members)
    digests = {record["data_digest"] for record in records}
    if run.recipe.reader is not None:
        beside, origin = load_reader(run, runs, folder)
        together = Together(together, beside, run.recipe.reader.temperature)
        digests.add(origin["data_digest"])
    if len(digests) > 1:
        raise RunError(
            f"The networks in {run.folder(runs)} were trained on different data ({', '.join(sorted(digests))}): train "
            "them again."
        )
    # The members know nothing of a reader that came to their recipe later.
    said = {"recipe": json.loads(json.dumps(dataclasses.asdict(run.recipe))), "recipe_hash": run.recipe.hash}
    places = {key: ", ".join(sorted({record[key] for record in records})) for key in ("torch", "device")}
    found = records[0] | places | {"packed": any(record["packed"] for record in records)}
    parameters = sum(values.numel() for values in together.parameters())
    return together.eval(), found | said | {"parameters": parameters}
