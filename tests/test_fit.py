"""Training through the real command line: what an epoch leaves behind, and that a resumed run is the same run."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ser_core.emotions import Emotion
from tests.train_data import cache_of, clip, own_corpus, tiny_recipe, train, train_process
from train import fit, networks, recipe
from train.augment import AugmentConfig
from train.batches import Batch, Sampler
from train.fit import Run, RunError
from train.loop import OptimConfig, Trainer
from train.prepare import FeatureCache

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fit")
    data = own_corpus(folder / "data")
    assert train("prepare", "--data", data, "--corpora", "own", "--cache", folder / "cache", "--workers", 1) == 0
    return folder / "cache"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_recipe(tmp_path_factory.mktemp("recipe") / "mini.yaml")


@pytest.fixture(scope="module")
def uninterrupted(cache: Path, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs after two epochs in one go."""
    runs = tmp_path_factory.mktemp("uninterrupted")
    assert run_fit(cache, config, runs, "--all") == 0
    return runs


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing from a second thread, and lose much where the other core is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run_fit(cache: Path, config: Path, runs: Path, *arguments: object) -> int:
    return train("fit", "--config", config, "--cache", cache, "--runs", runs, "--threads", 1, *arguments)


def record_of(runs: Path, name: str = "all") -> dict[str, Any]:
    record: dict[str, Any] = json.loads((runs / "mini" / name / "run.json").read_text(encoding="utf-8"))
    return record


def weights_of(runs: Path, name: str = "all") -> dict[str, Tensor]:
    weights: dict[str, Tensor] = load_file(runs / "mini" / name / "weights.safetensors")
    return weights


def test_a_run_leaves_weights_a_record_and_a_checkpoint(uninterrupted: Path, cache: Path, config: Path) -> None:
    folder = uninterrupted / "mini" / "all"
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.pt", "run.json", "weights.safetensors"]
    record = record_of(uninterrupted)
    assert record["recipe_hash"] == recipe.load(str(config)).hash
    assert record["data_digest"] == FeatureCache.open(cache).digest
    assert (record["fold"], record["validate"], record["train_clips"]) == (None, False, 24)
    assert [sorted(line) for line in record["history"]] == [["loss", "train_accuracy"]] * 2
    # About the logarithm of eight classes at first; it can't be 0 with smoothed targets.
    assert all(1.0 < line["loss"] < 3.5 for line in record["history"])
    # Nothing but tensors and plain values: no code is unpickled.
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    assert state["history"] == record["history"]
    assert set(state) >= {"network", "average", "optimiser", "schedule", "recipe_hash", "data_digest"}


def test_training_moves_every_weight(uninterrupted: Path, config: Path) -> None:
    chosen = recipe.load(str(config))
    torch.manual_seed(chosen.seed)
    start = networks.build(chosen.network.name, chosen.network.options).state_dict()
    trained = weights_of(uninterrupted)
    assert set(trained) == set(start)
    # The last layer of the attention's score has a bias that a softmax takes no notice of.
    still = {name for name, value in trained.items() if torch.equal(value, start[name])}
    assert still <= {"pooling.score.2.bias"}
    assert all(torch.isfinite(value.float()).all() for value in trained.values())


@pytest.mark.parametrize("as_process", [False, True])
def test_a_resumed_run_ends_with_the_same_bits(
    uninterrupted: Path, cache: Path, config: Path, tmp_path: Path, as_process: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_fit(cache, config, tmp_path, "--all", "--max-epochs", 1) == 0
    folder = tmp_path / "mini" / "all"
    assert f"{folder}: stopped, go on with --resume" in capsys.readouterr().out
    assert not (folder / "run.json").exists()
    rest = ("fit", "--config", config, "--cache", cache, "--runs", tmp_path, "--all", "--resume", "--threads", 1)
    if as_process:
        done = train_process(*rest)
        assert done.returncode == 0, done.stderr
        printed = done.stdout
    else:
        assert train(*rest) == 0
        printed = capsys.readouterr().out
    assert re.findall(r"^mini/all epoch (\d/\d): loss ", printed, re.MULTILINE) == ["2/2"]
    assert f"{folder}: complete" in printed
    whole, resumed = weights_of(uninterrupted), weights_of(tmp_path)
    assert {name for name in whole if not torch.equal(whole[name], resumed[name])} == set()
    assert record_of(uninterrupted)["history"] == record_of(tmp_path)["history"]


def test_another_seed_ends_elsewhere(uninterrupted: Path, cache: Path, tmp_path: Path) -> None:
    assert run_fit(cache, tiny_recipe(tmp_path / "mini.yaml", seed=1), tmp_path, "--all") == 0
    name = "classifier.weight"
    assert not torch.equal(weights_of(uninterrupted)[name], weights_of(tmp_path)[name])


def test_what_is_complete_can_be_resumed_and_stays_as_it_is(
    uninterrupted: Path, cache: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(uninterrupted / "mini", tmp_path / "mini")
    assert run_fit(cache, config, tmp_path, "--all", "--resume") == 0
    assert " epoch " not in capsys.readouterr().out
    before, after = weights_of(uninterrupted), weights_of(tmp_path)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_run_is_not_overwritten_unasked(
    uninterrupted: Path, cache: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (uninterrupted / "mini" / "all" / "weights.safetensors").read_bytes()
    assert run_fit(cache, config, uninterrupted, "--all") == 1
    assert "holds a run already: go on with --resume, or move the folder away to start anew." in capsys.readouterr().err
    assert (uninterrupted / "mini" / "all" / "weights.safetensors").read_bytes() == before


def test_a_checkpoint_of_another_recipe_is_refused(
    uninterrupted: Path, cache: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(uninterrupted / "mini", tmp_path / "mini")
    other = tiny_recipe(tmp_path / "mini.yaml", augment={"mixup": 0.0})
    assert run_fit(cache, other, tmp_path, "--all", "--resume") == 1
    then, now = (recipe.load(str(path)).hash for path in (config, other))
    expected = f"checkpoint.pt can't be resumed: its recipe hash is {then}, now it is {now}. Move the folder away"
    assert expected in capsys.readouterr().err


def test_a_checkpoint_of_other_data_is_refused(
    uninterrupted: Path, cache: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(uninterrupted / "mini", tmp_path / "mini")
    shutil.copytree(cache, tmp_path / "cache")
    index = json.loads((cache / "index.json").read_text(encoding="utf-8"))
    (tmp_path / "cache" / "index.json").write_text(json.dumps(index | {"digest": "f" * 16}), encoding="utf-8")
    assert run_fit(tmp_path / "cache", config, tmp_path, "--all", "--resume") == 1
    assert f"its data digest is {index['digest']}, now it is {'f' * 16}." in capsys.readouterr().err


def test_a_fold_with_validation_says_how_its_speakers_are_recognised(
    cache: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_fit(cache, config, tmp_path, "--fold", 0, "--validate", "--max-epochs", 1) == 0
    printed = capsys.readouterr().out
    # Of six speakers two are tested (ana, fay), one validates (ben), three train with four clips each.
    assert "mini/fold0-validate: 12 clips, 1 steps an epoch, on " in printed
    assert "validation_accuracy 0." in printed


def test_a_fold_does_not_depend_on_its_test_speakers(cache: Path, config: Path, tmp_path: Path) -> None:
    """The same weights come out when the test speakers' sound is replaced by noise."""
    one = Run(recipe.load(str(config)), 0)
    whole = FeatureCache.open(cache)
    spoilt = FeatureCache(whole.clips, whole.frames.copy(), whole.offsets, whole.config, whole.digest)
    test = one.split(whole).test
    assert len(test) == 8
    for index in test:
        for start, end in spoilt.offsets[index]:
            spoilt.frames[start:end] = 0.25
    for name, features in (("whole", whole), ("spoilt", spoilt)):
        fit.train(one, features, tmp_path / name)
    first, second = (weights_of(tmp_path / name, "fold0") for name in ("whole", "spoilt"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_wrong_wishes_end_in_a_sentence(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    large = tiny_recipe(tmp_path / "large.yaml", optim={"batch_size": 32})
    assert run_fit(cache, large, tmp_path, "--all") == 1
    assert "error: 24 clips don't fill one batch of 32: add clips or lower it." in capsys.readouterr().err
    both = tiny_recipe(tmp_path / "both.yaml", corpora=["own", "nemo"])
    assert run_fit(cache, both, tmp_path, "--all") == 1
    expected = (
        "trains on nemo, which the features don't hold: run `python -m train prepare --data DIR --corpora own nemo`"
    )
    assert expected in capsys.readouterr().err
    assert run_fit(tmp_path / "nowhere", both, tmp_path, "--all") == 1
    assert "error: There are no features in " in capsys.readouterr().err
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    with pytest.raises(SystemExit) as stopped:
        run_fit(cache, large, tmp_path)
    assert stopped.value.code == 2


def test_weights_are_loaded_only_where_they_fit(uninterrupted: Path, config: Path, tmp_path: Path) -> None:
    chosen = recipe.load(str(config))
    network, record = fit.load_network(Run(chosen, None), uninterrupted)
    assert not network.training
    assert record == record_of(uninterrupted)
    stored = weights_of(uninterrupted)
    assert all(torch.equal(value, stored[name]) for name, value in network.state_dict().items())
    with pytest.raises(RunError, match=r"There is no complete run in .*fold3: run `python -m train fit --config mini`"):
        fit.load_network(Run(chosen, 3), uninterrupted)
    other = recipe.load(str(tiny_recipe(tmp_path / "mini.yaml", seed=1)))
    with pytest.raises(RunError, match=rf"come from recipe {chosen.hash}, .* are now {other.hash}: train again\."):
        fit.load_network(Run(other, None), uninterrupted)


class Constant(nn.Module):
    """Answers the same logits, its only weights, to whatever it hears."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(8))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.logits.expand(len(images), 8), torch.ones(len(images), 1)


def moved(classes: list[list[int]], emotions: list[int], **changes: Any) -> Tensor:
    """Where `Constant`'s logits are after one step on clips with these classes and emotions."""
    held = torch.zeros(len(classes), 8, dtype=torch.bool)
    for row, one in zip(held, classes, strict=True):
        row[one] = True
    network = Constant()
    optim = OptimConfig(epochs=2, batch_size=len(classes), learning_rate=0.1, weight_decay=0.0, bfloat16=False)
    changes = {"mixup": 0.0, "label_smoothing": 0.1} | changes
    trainer = Trainer(network, optim, AugmentConfig(**changes), steps_per_epoch=1, seed=0, device=torch.device("cpu"))
    trainer.epoch(0, [Batch(torch.zeros(len(classes), 64, 192), torch.tensor(emotions), held)])
    return network.logits.detach()


def test_a_class_that_a_corpus_lacks_is_neither_taught_nor_untaught() -> None:
    after = moved([[0, 3, 4]] * 4, [3, 3, 3, 3])
    assert after[[1, 2, 5, 6, 7]].tolist() == [0.0] * 5
    assert after[3] > 0.0
    assert after[0] < 0.0
    assert after[4] < 0.0


@pytest.mark.parametrize("mixup", [0.0, 0.3])
def test_another_clip_of_the_batch_still_teaches_it(mixup: float) -> None:
    after = moved([[0, 3, 4]] * 4 + [list(range(8))] * 4, [3] * 4 + [1] * 4, mixup=mixup)
    assert after[1] > 0.0
    assert (after[[2, 5, 6, 7]] < 0.0).all()


def test_averaging_leaves_training_undisturbed() -> None:
    cache = cache_of([clip(number, emotion=emotion) for number, emotion in enumerate(Emotion)], [200] * 8)
    sampler = Sampler(cache, range(8), "own", 4, 0)

    def trained(ask: bool) -> dict[str, Tensor]:
        torch.manual_seed(0)
        network = networks.build("residual", {"channels": [16, 16, 16, 16]})
        optim = OptimConfig(epochs=2, batch_size=4, bfloat16=False)
        trainer = Trainer(network, optim, AugmentConfig(), steps_per_epoch=2, seed=0, device=torch.device("cpu"))
        for number in range(2):
            trainer.epoch(number, sampler.epoch(number))
            if ask:
                assert not trainer.averaged(sampler.epoch(0)).training
        return dict(trainer.network.state_dict())

    plain, asked = trained(ask=False), trained(ask=True)
    assert all(torch.equal(plain[name], asked[name]) for name in plain)


def test_a_fold_without_a_speaker_to_test_is_refused() -> None:
    cache = cache_of([clip(number, speaker=name) for number, name in enumerate(("ana", "ben", "eve"))], [200] * 3)
    with pytest.raises(RunError, match=r"Fold 3 has no speaker to test: five folds want at least five speakers of own"):
        Run(recipe.Recipe("few", corpora=("own",)), 3).split(cache)
