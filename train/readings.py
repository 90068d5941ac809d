"""The reader of a run: fitted once, and kept on disk beside the run's members."""

from __future__ import annotations

from typing import TYPE_CHECKING

from train import protocols, reader, regression
from train.run import RunError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from train.cache import FeatureCache
    from train.run import Run


def read(run: Run, cache: FeatureCache, runs: Path, cached: Path, pretrained: Path) -> None:
    """Fit the reader of a run whose recipe has one, unless it is there already.

    Args:
        run: which.
        cache: features of all corpora of its recipe.
        runs: folder of all runs.
        cached: the features on disk; what an encoder says of them is kept beside them.
        pretrained: folder of its weights.

    Raises:
        PretrainedError: the encoder's weights aren't there.
        RunError: what is there belongs to another state of the code.
    """
    config = run.recipe.reader
    if config is None:
        return
    if path_in(run.folder(runs)).is_file():
        learnt(run, runs)
        return
    main = run.recipe.corpora[0]
    kept = cached if cached.is_dir() else cached.parent
    said = reader.statistics(cache, main, config, pretrained, kept)
    # Whoever is held out talks behind others of the same fold, see `reader.statistics`.
    if run.splitting is not None or run.validate:
        own = cache.of([main])
        said = protocols.alone(said, own, config.babbled)
    save(run, runs, regression.fit(run.labelled(cache), run.split(cache).train, run.main, said, config), cache)
    print(f"{path_in(run.folder(runs))}: fitted")


def path_in(folder: Path) -> Path:
    """Where a run's folder holds what its reader has learnt."""
    return folder / "reader.safetensors"


def save(run: Run, runs: Path, values: dict[str, Tensor], cache: FeatureCache) -> None:
    """Write what the run's reader has learnt, and what it belongs to.

    Args:
        run: which.
        runs: folder of all runs.
        values: see `regression.fit`.
        cache: the features that it was fitted on.
    """
    from safetensors.torch import save_file

    origin = {"recipe_hash": run.recipe.hash, "data_digest": cache.digest}
    path = path_in(run.folder(runs))
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written beside and then renamed: what was cut off while it was written would pass for fitted.
    part = path.with_suffix(".part")
    save_file(values, part, metadata=origin)
    part.replace(path)


def learnt(run: Run, runs: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What a run's reader has learnt, see `save`, and the recipe and the data that it belongs to.

    Raises:
        RunError: it isn't fitted, or belongs to another state of the code.
    """
    from safetensors import safe_open

    path = path_in(run.folder(runs))
    if not path.is_file():
        raise RunError(
            f"There is no {path}: run `python -m train fit --config {run.recipe.name} {run.option} --resume`."
        )
    with safe_open(path, "pt") as stored:
        origin, values = stored.metadata(), {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
    if origin["recipe_hash"] != run.recipe.hash:
        raise RunError(
            f"{path} comes from recipe {origin['recipe_hash']}, the recipe and the code are now {run.recipe.hash}: "
            "move it away and fit again."
        )
    return values, origin


def load(run: Run, runs: Path, folder: Path) -> tuple[nn.Module, dict[str, str]]:
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
    # All but the encoder, which is there.
    missing, unexpected = network.load_state_dict(values, strict=False)
    if unexpected or any(not name.startswith("encoder.") for name in missing):
        raise RunError(f"{path_in(run.folder(runs))} holds another reader's values: move it away and fit again.")
    return network, origin
