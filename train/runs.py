"""What a training run leaves on disk, and the networks that come back from it."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from ser_core.config import FeatureConfig
from train import networks, pretrained, readings, recipe
from train.networks.ensemble import Ensemble
from train.networks.reader import Together
from train.run import Run, RunError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from train.recipe import Recipe


ORIGIN = ("recipe_hash", "data_digest", "train_clips", "torch", "device", "packed")
"""What results and bundles keep of the record of the networks that they come from."""


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
        beside, origin = readings.load(run, runs, folder)
        together = Together(together, beside, run.recipe.reader.temperature, run.recipe.reader.shares)
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
