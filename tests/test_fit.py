"""Training through the real command line: what an epoch leaves behind, and that a resumed run is the same run."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ser_core import features
from ser_core.config import FeatureConfig
from ser_core.emotions import Emotion
from tests.train_data import UNCHANGED, cache_of, clip, own_corpus, python, tiny_recipe, train, train_process
from train import fit, loop, networks, recipe
from train.augment import AugmentConfig, augment
from train.batches import Batch, Sampler
from train.cache import FeatureCache
from train.loop import OptimConfig, Trainer
from train.networks.encoder import SpeechEncoder
from train.networks.ensemble import Ensemble
from train.networks.reader import Reader, Together
from train.place import Place
from train.pretrained import FILES, PretrainedError
from train.readings import path_in as reader_path
from train.run import Run, RunError
from train.runs import load_network, teacher_of
from train.splits import Split

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from train.corpora import Channel

CPU = Place(torch.device("cpu"))
BAND_HZ = features.band_hz(FeatureConfig())
SMALL = {"n_mels": FeatureConfig().n_mels, "channels": [16, 16, 16, 16]}


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


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pretrained weights: an encoder's first layer, drawn by chance."""
    folder = tmp_path_factory.mktemp("pretrained")
    torch.manual_seed(3)
    weights = SpeechEncoder(FeatureConfig().n_mels, 1).half().state_dict()
    save_file(weights, folder / FILES["whisper-tiny-en"])
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing from a second thread, and lose much where the other core is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run_fit(cache: Path, config: Path, runs: Path, *arguments: object) -> int:
    return train("fit", "--config", config, "--cache", cache, "--runs", runs, "--threads", 1, *arguments)


def record_of(runs: Path, name: str = "all", member: int = 0) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((runs / "mini" / name / f"run-{member}.json").read_text(encoding="utf-8"))
    return record


def weights_of(runs: Path, name: str = "all", member: int = 0) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = load_file(runs / "mini" / name / f"weights-{member}.safetensors")
    return weights


def test_a_run_leaves_weights_a_record_and_a_checkpoint(uninterrupted: Path, cache: Path, config: Path) -> None:
    folder = uninterrupted / "mini" / "all"
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-0.pt", "run-0.json", "weights-0.safetensors"]
    record = record_of(uninterrupted)
    assert record["recipe_hash"] == recipe.load(str(config)).hash
    assert record["data_digest"] == FeatureCache.open(cache).digest
    assert (record["fold"], record["validate"], record["train_clips"]) == (None, False, 24)
    assert (record["member"], record["seed"], record["packed"]) == (0, 0, False)
    assert [sorted(line) for line in record["history"]] == [["loss", "train_accuracy"]] * 2
    # About the logarithm of eight classes at first; it can't be 0 with smoothed targets.
    assert all(1.0 < line["loss"] < 3.5 for line in record["history"])
    weights = weights_of(uninterrupted)
    network = networks.build("residual", {**SMALL, **recipe.load(str(config)).network.options})
    assert record["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    # Kernels and matrices are stored as they ship, the little else as exactly as it was trained.
    assert {name: value.dtype for name, value in weights.items()} == {
        name: torch.float16 if value.dim() > 1 else value.dtype for name, value in network.state_dict().items()
    }
    # Nothing but tensors and plain values: no code is unpickled.
    state = torch.load(folder / "checkpoint-0.pt", weights_only=True)
    assert state["history"] == record["history"]
    assert set(state) >= {"network", "average", "optimiser", "schedule", "recipe_hash", "data_digest"}


def test_training_moves_every_weight(uninterrupted: Path, config: Path) -> None:
    chosen = recipe.load(str(config))
    torch.manual_seed(chosen.seed)
    start = networks.build(chosen.network.name, {**SMALL, **chosen.network.options}).state_dict()
    trained = weights_of(uninterrupted)
    assert set(trained) == set(start)
    # The last layer of the attention's score has a bias that a softmax takes no notice of.
    still = {name for name, value in trained.items() if torch.equal(value, start[name].to(value.dtype))}
    assert still <= {"pooling.score.2.bias"}
    assert all(torch.isfinite(value.float()).all() for value in trained.values())


@pytest.mark.parametrize("as_process", [False, True])
def test_a_resumed_run_ends_with_the_same_bits(
    uninterrupted: Path, cache: Path, config: Path, tmp_path: Path, as_process: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_fit(cache, config, tmp_path, "--all", "--max-epochs", 1) == 0
    folder = tmp_path / "mini" / "all"
    assert f"{folder}, member 0: stopped, go on with --resume" in capsys.readouterr().out
    assert not (folder / "run-0.json").exists()
    rest = ("fit", "--config", config, "--cache", cache, "--runs", tmp_path, "--all", "--resume", "--threads", 1)
    if as_process:
        done = train_process(*rest)
        assert done.returncode == 0, done.stderr
        printed = done.stdout
    else:
        assert train(*rest) == 0
        printed = capsys.readouterr().out
    assert re.findall(r"^mini/all 0, epoch (\d/\d): loss ", printed, re.MULTILINE) == ["2/2"]
    assert f"{folder}, member 0: complete" in printed
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
    # As if it had been carried here from a machine with a GPU, without its checkpoint.
    folder = tmp_path / "mini" / "all"
    (folder / "checkpoint-0.pt").unlink()
    record = folder / "run-0.json"
    record.write_text(record.read_text(encoding="utf-8").replace('"device": "cpu', '"device": "cuda'), encoding="utf-8")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert run_fit(cache, config, tmp_path, "--all", "--resume") == 0
    assert "mini/all, member 0: complete" in (told := capsys.readouterr().out)
    assert ", epoch " not in told
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_run_is_not_overwritten_unasked(
    uninterrupted: Path, cache: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (uninterrupted / "mini" / "all" / "weights-0.safetensors").read_bytes()
    assert run_fit(cache, config, uninterrupted, "--all") == 1
    assert (
        "checkpoint-0.pt is there already: go on with --resume, or move it away to start anew."
        in capsys.readouterr().err
    )
    assert (uninterrupted / "mini" / "all" / "weights-0.safetensors").read_bytes() == before


def test_a_checkpoint_of_another_recipe_is_refused(
    uninterrupted: Path, cache: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(uninterrupted / "mini", tmp_path / "mini")
    other = tiny_recipe(tmp_path / "mini.yaml", augment={"mixup": 0.0})
    assert run_fit(cache, other, tmp_path, "--all", "--resume") == 1
    then, now = (recipe.load(str(path)).hash for path in (config, other))
    expected = f"checkpoint-0.pt can't be resumed: its recipe hash is {then}, now it is {now}. Move the folder away"
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
    assert "mini/fold0-validate 0: 12 clips, 1 steps an epoch, on " in printed
    assert re.search(r", epoch 1/2: loss .*, speech_accuracy [01]\.\d+, speech_loss \d+\.\d+, \d+ s$", printed, re.M)


class Told(nn.Module):
    """Answers always the same, as an averaged network does."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.logits.expand(len(images), 8), torch.ones(len(images), 1)


def test_speech_and_song_of_validation_speakers_are_told_apart(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By name the second of the speakers validates fold 0: three of ben's clips are spoken, two sung.
    acted = {"speech": (Emotion.SAD, Emotion.SAD, Emotion.CALM), "song": (Emotion.CALM, Emotion.SAD)}
    channels: tuple[Channel, ...] = ("speech", "song")
    clips = [
        dataclasses.replace(clip(0, emotion=emotion, speaker=who), channel=channel)
        for who in ("ana", "ben", "cho", "dag", "eva")
        for channel in channels
        for emotion in acted[channel]
    ]
    # Sad, with exp(2) of the odds' sum of exp(2) + 1: of calm, the only other emotion that anybody acted.
    monkeypatch.setattr(Trainer, "averaged", lambda *_: Told([0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0]))
    record = fit.train(Run(recipe.load(str(config)), 0, validate=True), cache_of(clips, [60] * 25), tmp_path, CPU)
    total = np.log(np.exp(2.0) + 1.0)
    expected = {
        "speech_accuracy": pytest.approx(2 / 3),
        "speech_loss": pytest.approx(total - 4 / 3, rel=1e-5),
        "song_accuracy": 0.5,
        "song_loss": pytest.approx(total - 1.0, rel=1e-5),
    }
    for line in record["history"]:
        assert {name: value for name, value in line.items() if name not in ("loss", "train_accuracy")} == expected


def test_a_fold_does_not_depend_on_its_test_speakers(cache: Path, config: Path, tmp_path: Path) -> None:
    """The same weights come out when the test speakers' sound is replaced by noise."""
    one = Run(recipe.load(str(config)), 0)
    whole = FeatureCache.open(cache)
    spoilt = dataclasses.replace(whole, frames=np.array(whole.frames))
    test = one.split(whole).test
    assert len(test) == 8
    for index in test:
        for start, end in spoilt.offsets[index]:
            spoilt.frames[start:end] = 160
    for name, heard in (("whole", whole), ("spoilt", spoilt)):
        fit.train(one, heard, tmp_path / name, CPU)
    first, second = (weights_of(tmp_path / name, "fold0") for name in ("whole", "spoilt"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_members_are_trained_apart_and_answer_together(
    uninterrupted: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_recipe(tmp_path / "mini.yaml", members=2)
    one = Run(recipe.load(str(config)), None)
    # By two processes, say.
    assert run_fit(cache, config, tmp_path, "--all", "--member", 1) == 0
    with pytest.raises(RunError, match=r"There is no complete member 0 in .*all: run `python -m train fit --config"):
        load_network(one, tmp_path)
    assert run_fit(cache, config, tmp_path, "--all", "--resume") == 0
    assert re.findall(r"^mini/all (\d), epoch (\d)", capsys.readouterr().out, re.M) == [
        ("1", "1"),
        ("1", "2"),
        ("0", "1"),
        ("0", "2"),
    ]
    assert [record_of(tmp_path, member=member)["seed"] for member in (0, 1)] == [0, 1]
    first, second = (weights_of(tmp_path, member=member) for member in (0, 1))
    # The first is as it would be alone, the second begins and goes on by draws of its own.
    assert all(torch.equal(value, first[name]) for name, value in weights_of(uninterrupted).items())
    assert not torch.equal(first["classifier.weight"], second["classifier.weight"])
    network, record = load_network(one, tmp_path)
    assert record["recipe_hash"] == one.recipe.hash
    for number, member in enumerate(network.get_submodule("members").children()):
        stored = weights_of(tmp_path, member=number)["classifier.weight"].float()
        assert torch.equal(member.get_submodule("classifier").weight, stored)  # type: ignore[arg-type]
    path = tmp_path / "mini" / "all" / "run-1.json"
    path.write_text(json.dumps(record_of(tmp_path, member=1) | {"data_digest": "f" * 16}), encoding="utf-8")
    with pytest.raises(RunError, match=r"were trained on different data \(.*f{16}.*\): train them again\."):
        load_network(one, tmp_path)


def test_recipes_that_differ_in_their_seed_share_no_member() -> None:
    seeds = [recipe.Recipe("x", members=3, seed=seed).seed_of(member) for seed in range(3) for member in range(3)]
    assert seeds == list(range(9))


def test_wrong_wishes_end_in_a_sentence(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    large = tiny_recipe(tmp_path / "large.yaml", optim={"batch_size": 32})
    assert run_fit(cache, large, tmp_path, "--all") == 1
    assert "error: 24 clips don't fill one batch of 32: add clips or lower it." in capsys.readouterr().err
    both = tiny_recipe(tmp_path / "both.yaml", corpora=["own", "nemo"])
    assert run_fit(cache, both, tmp_path, "--all") == 1
    expected = "error: The features hold nothing of nemo: run `python -m train prepare --data DIR --corpora own nemo`."
    assert expected in capsys.readouterr().err
    assert run_fit(tmp_path / "nowhere", both, tmp_path, "--all") == 1
    assert "error: There are no features in " in capsys.readouterr().err
    few = tiny_recipe(tmp_path / "few.yaml")
    assert run_fit(cache, few, tmp_path, "--leave-out", "own", "nemo") == 1
    assert "error: nemo can't be left out: few has own." in capsys.readouterr().err
    assert run_fit(cache, few, tmp_path, "--leave-out", "own") == 1
    assert "error: The recipe few trains on own alone: nothing is left without it." in capsys.readouterr().err
    assert run_fit(cache, few, tmp_path, "--all", "--member", 0, 1) == 1
    assert "error: few has 1 member, from 0 on: there is no member 1." in capsys.readouterr().err
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    with pytest.raises(SystemExit) as stopped:
        run_fit(cache, large, tmp_path)
    assert stopped.value.code == 2


def test_weights_are_loaded_only_where_they_fit(uninterrupted: Path, config: Path, tmp_path: Path) -> None:
    chosen = recipe.load(str(config))
    network, record = load_network(Run(chosen, None), uninterrupted)
    assert not network.training
    assert record == record_of(uninterrupted)
    stored = weights_of(uninterrupted)
    (member,) = network.get_submodule("members").children()
    assert all(torch.equal(value, stored[name].to(value.dtype)) for name, value in member.state_dict().items())
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    with pytest.raises(
        RunError, match=r"There is no complete member 0 in .*fold3: run `python -m train fit --config mini --fold 3`"
    ):
        load_network(Run(chosen, 3), uninterrupted)
    other = recipe.load(str(tiny_recipe(tmp_path / "mini.yaml", seed=1)))
    with pytest.raises(RunError, match=rf"come from recipe {chosen.hash}, .* are now {other.hash}: train again\."):
        load_network(Run(other, None), uninterrupted)


class Constant(nn.Module):
    """Answers the same logits and attributes, its only weights, to whatever it hears."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(8))
        self.attributes = nn.Parameter(torch.zeros(3, 2))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.logits.expand(len(images), -1), self.attributes.expand(len(images), -1, -1)


def batch_of(classes: list[list[int]], emotions: list[int], attributes: Tensor | None = None) -> Batch:
    """Silent clips with these classes, emotions and attributes, of which nothing is known unless given."""
    held = torch.zeros(len(classes), 8, dtype=torch.bool)
    for row, one in zip(held, classes, strict=True):
        row[one] = True
    silence = torch.full((len(classes), FeatureConfig().n_mels, AugmentConfig().crop_frames), -1.0)
    unknown = torch.zeros(len(classes), 3, 2)
    return Batch(silence, torch.tensor(emotions), held, unknown if attributes is None else attributes)


def trainer_of(
    network: nn.Module, changes: AugmentConfig, *, steps: int = 1, teacher: nn.Module | None = None, **optim: Any
) -> Trainer:
    return Trainer(
        network,
        OptimConfig(epochs=2, bfloat16=False, **optim),
        changes,
        band_hz=BAND_HZ,
        steps_per_epoch=steps,
        seed=0,
        place=CPU,
        teacher=teacher,
    )


def step(network: Constant, batch: Batch, *, attributes: float = 0.0, **changes: Any) -> float:
    """One step on a batch, with gradients left on the weights; the mean loss that is told."""
    changes = {"mixup": 0.0, "label_smoothing": 0.1} | changes
    optim: dict[str, Any] = {"attributes": attributes, "learning_rate": 0.1, "weight_decay": 0.0}
    return trainer_of(network, AugmentConfig(**changes), **optim).epoch(0, [batch]).loss


def moved(classes: list[list[int]], emotions: list[int], **changes: Any) -> Tensor:
    """Where `Constant`'s logits are after one step on clips with these classes and emotions."""
    network = Constant()
    step(network, batch_of(classes, emotions), **changes)
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


ALL = list(range(8))
SUNG_BY_A_WOMAN = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
"""Attributes of a clip of whose intensity nothing is known."""


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_attributes_are_taught_as_heavily_as_they_weigh(weight: float) -> None:
    network = Constant()
    step(network, batch_of([ALL] * 4, [3] * 4, SUNG_BY_A_WOMAN.expand(4, 3, 2)), attributes=weight)
    assert network.attributes.grad is not None
    # A softmax over two equal logits errs by a half; what is unknown teaches nothing.
    half = 0.5 * weight
    assert network.attributes.grad.tolist() == [
        [0.0, 0.0],
        pytest.approx([-half, half]),
        pytest.approx([-half, half]),
    ]
    moves = network.attributes.detach()[1:]
    assert (moves[:, 0] > 0.0).tolist() == (moves[:, 1] < 0.0).tolist() == [weight > 0.0] * 2


def test_what_clips_say_of_themselves_is_averaged_over_the_batch() -> None:
    network = Constant()
    spoken_by_a_man = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    said = torch.stack([SUNG_BY_A_WOMAN, SUNG_BY_A_WOMAN, SUNG_BY_A_WOMAN, spoken_by_a_man])
    step(network, batch_of([ALL] * 4, [3] * 4, said), attributes=1.0)
    assert network.attributes.grad is not None
    # One of four is known to be strong; three of four are sung by women, the fourth takes a third of that back.
    assert network.attributes.grad.flatten().tolist() == pytest.approx([-0.125, 0.125, -0.25, 0.25, -0.25, 0.25])


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_attributes_reach_the_weights_of_the_network_where_they_weigh(weight: float) -> None:
    """Their own layer, and all that hears for it; the emotion's layer learns from the emotion alone."""

    def gradients(attributes: Tensor) -> dict[str, Tensor]:
        torch.manual_seed(0)
        network = networks.build("residual", {**SMALL, "dropout": 0.0})
        trainer_of(network, AugmentConfig(), attributes=weight).epoch(0, [batch_of([ALL] * 4, [3] * 4, attributes)])
        return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}

    known, unknown = gradients(SUNG_BY_A_WOMAN.expand(4, 3, 2)), gradients(torch.zeros(4, 3, 2))
    head = "attributes."
    assert all(not value.any() for name, value in unknown.items() if name.startswith(head))
    taught = {name for name, value in known.items() if not torch.equal(value, unknown[name])}
    assert {name for name in taught if name.startswith(head)} == ({head + "weight", head + "bias"} if weight else set())
    assert ("stem.0.weight" in taught) == (weight > 0.0)
    assert not any("classifier" in name for name in taught)


def test_the_loss_that_is_told_is_the_emotions_alone() -> None:
    network = Constant()
    told = step(network, batch_of([ALL] * 4, [3] * 4, SUNG_BY_A_WOMAN.expand(4, 3, 2)), attributes=1.0)
    assert told == pytest.approx(np.log(8.0))


def test_averaging_leaves_training_undisturbed() -> None:
    cache = cache_of([clip(number, emotion=emotion) for number, emotion in enumerate(Emotion)], [200] * 8)
    changes = AugmentConfig()
    sampler = Sampler(cache, range(8), "own", batch_size=4, crop_frames=changes.crop_frames, seed=0)

    def trained(ask: bool) -> dict[str, Tensor]:
        torch.manual_seed(0)
        trainer = trainer_of(networks.build("residual", SMALL), changes, steps=sampler.batches, batch_size=4)
        for number in range(2):
            trainer.epoch(number, sampler.epoch(number, changes.degraded))
            if ask:
                assert not trainer.averaged(sampler.epoch(0, changes.degraded)).training
        return dict(trainer.network.state_dict())

    plain, asked = trained(ask=False), trained(ask=True)
    assert all(torch.equal(plain[name], asked[name]) for name in plain)


def test_changes_grow_with_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a ramp over the whole training, the first of four epochs hears clips as they are, the third half of it."""
    changes = AugmentConfig(degraded=0.4, ramp=1.0)
    one = Run(
        recipe.Recipe(
            "ramped",
            corpora=("own",),
            network=recipe.NetworkConfig(options={"channels": SMALL["channels"]}),
            augment=changes,
            optim=OptimConfig(epochs=4, batch_size=4, bfloat16=False),
        ),
        None,
    )
    cache = cache_of([clip(number, emotion=emotion) for number, emotion in enumerate(Emotion)], [200] * 8)
    shares, heard = [], []
    epoch = Sampler.epoch

    def sampled(self: Sampler, number: int, degraded: float, *place: int) -> Iterator[Batch]:
        shares.append((number, degraded))
        return epoch(self, number, degraded, *place)

    def augmented(batch: Tensor, config: AugmentConfig, *rest: Any) -> Tensor:
        heard.append((batch.shape[2], config))
        return augment(batch, config, *rest)

    monkeypatch.setattr(Sampler, "epoch", sampled)
    monkeypatch.setattr(loop, "augment", augmented)
    fit.train(one, cache, tmp_path, CPU)
    # The averaged network's statistics are measured at the end, on clips as many of which are degraded as are meant.
    assert shares == [(0, 0.0), (1, pytest.approx(0.1)), (2, pytest.approx(0.2)), (3, pytest.approx(0.3)), (0, 0.4)]
    # Two batches an epoch; crops have their full length from the start.
    expected = [changes.at(number / 4) for number in range(4) for _ in range(2)]
    assert heard == [(changes.crop_frames, config) for config in expected]
    assert changes.crop_frames == 232


# With a teacher.

SAID = torch.tensor([0.0, 1.0, 0.0, 0.0, 2.0, 0.0, -1.0, 0.0])
"""A teacher's logits: angry, or else calm."""


def taught(network: nn.Module, batch: Batch, distilled: float, *, steps: int = 1) -> None:
    """So many steps on a batch whose clips nothing is changed of, under a teacher that always says the same."""
    teacher = Told(SAID.tolist()).eval()
    trainer = trainer_of(
        network, UNCHANGED, steps=steps, teacher=teacher, distilled=distilled, learning_rate=0.1, weight_decay=0.0
    )
    for number in range(2):
        trainer.epoch(number, [batch] * steps)
    # Who teaches doesn't learn.
    assert teacher.logits.grad is None
    assert torch.equal(teacher.logits, SAID)


def test_a_network_learns_what_its_teacher_says_where_that_is_the_whole_target() -> None:
    network = Constant()
    taught(network, batch_of([ALL] * 4, [3] * 4), 1.0, steps=60)
    # That the clips are sad is nowhere to be seen.
    assert network.logits.softmax(dim=0).tolist() == pytest.approx(SAID.softmax(dim=0).tolist(), abs=0.01)


@pytest.mark.parametrize("distilled", [0.0, 0.25, 1.0])
def test_a_teacher_is_so_much_of_the_target(distilled: float) -> None:
    network = Constant()
    trainer = trainer_of(network, UNCHANGED, teacher=Told(SAID.tolist()).eval(), distilled=distilled)
    trainer.epoch(0, [batch_of([ALL] * 4, [3] * 4)])
    assert network.logits.grad is not None
    true = torch.eye(8)[3]
    # A softmax over equal logits says an eighth to everything.
    expected = 1 / 8 - ((1.0 - distilled) * true + distilled * SAID.softmax(dim=0))
    assert network.logits.grad.tolist() == pytest.approx(expected.tolist(), abs=1e-6)


def test_a_teacher_says_nothing_of_a_class_that_a_corpus_lacks() -> None:
    network, held = Constant(), [0, 3, 4]
    trainer = trainer_of(network, UNCHANGED, teacher=Told(SAID.tolist()).eval(), distilled=1.0)
    trainer.epoch(0, [batch_of([held] * 4, [3] * 4)])
    assert network.logits.grad is not None
    # Calm is none of theirs: the three that are share out what it was given.
    expected = torch.zeros(8)
    expected[held] = 1 / 3 - SAID[held].softmax(dim=0)
    assert network.logits.grad.tolist() == pytest.approx(expected.tolist(), abs=1e-6)


class Louder(nn.Module):
    """Answers by how loud each spectrogram is, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Tensor] = []

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        self.asked.append(images)
        return images.mean(dim=(1, 2, 3))[:, None].expand(-1, 8), torch.ones(len(images), 1)


def test_a_teacher_hears_what_the_network_hears() -> None:
    """The same changed and mixed spectrograms: a consistent teacher (Beyer et al. 2022)."""

    class Keeping(Constant):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            heard.append(images)
            return super().forward(images)

    heard: list[Tensor] = []
    teacher, batch = Louder().eval(), batch_of([ALL] * 4, [3] * 4)
    spectrograms = torch.rand(batch.spectrograms.shape, generator=torch.Generator().manual_seed(5)) * 2.0 - 1.0
    changes = AugmentConfig(noise_floor_probability=1.0, mixup=0.3)
    trainer = trainer_of(Keeping(), changes, teacher=teacher, distilled=0.5)
    trainer.epoch(0, [dataclasses.replace(batch, spectrograms=spectrograms)])
    assert len(heard) == len(teacher.asked) == 1
    assert torch.equal(heard[0], teacher.asked[0])


def test_a_recipe_is_taught_by_another_on_the_same_clips(
    uninterrupted: Path, cache: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    pupil = tiny_recipe(tmp_path / "pupil.yaml", teacher=str(config), optim={"distilled": 0.5})
    one = Run(recipe.load(str(pupil)), None)
    assert run_fit(cache, pupil, runs, "--all") == 1
    folder = runs / "mini" / "all"
    expected = f"error: There is no complete member 0 in {folder}: run `python -m train fit --config mini --all`."
    assert expected in capsys.readouterr().err
    assert not runs.exists()
    shutil.copytree(uninterrupted / "mini", runs / "mini")
    assert run_fit(cache, pupil, runs, "--all") == 0
    # All else being equal, the seed too, it is the teacher that led elsewhere.
    found, alone = (load_file(runs / name / "all" / "weights-0.safetensors") for name in ("pupil", "mini"))
    assert not torch.equal(found["classifier.weight"], alone["classifier.weight"])
    record = json.loads((runs / "pupil" / "all" / "run-0.json").read_text(encoding="utf-8"))
    assert (record["recipe"]["teacher"], record["recipe_hash"]) == (str(config), one.recipe.hash)
    # On the same clips: whoever taught all speakers teaches no fold.
    assert run_fit(cache, pupil, runs, "--fold", 3) == 1
    assert "in " + str(runs / "mini" / "fold3") + ": run `python -m train fit --config mini --fold 3`." in (
        capsys.readouterr().err
    )


def test_a_teacher_is_the_complete_run_of_its_recipe(uninterrupted: Path, config: Path, tmp_path: Path) -> None:
    plain = recipe.load(str(config))
    assert teacher_of(Run(plain, None), uninterrupted) is None
    taught = dataclasses.replace(plain, name="pupil", teacher=str(config))
    teacher = teacher_of(Run(taught, None), uninterrupted)
    assert isinstance(teacher, Ensemble)
    assert not teacher.training
    (member,) = teacher.members
    stored = weights_of(uninterrupted)
    assert all(torch.equal(value, stored[name].to(value.dtype)) for name, value in member.state_dict().items())
    for other, folder in ((Run(taught, 2), "fold2"), (Run(taught, 2, validate=True), "fold2-validate")):
        with pytest.raises(RunError, match=rf"no complete member 0 in .*mini/{folder}: run `.* {other.option}`\."):
            teacher_of(other, uninterrupted)
    # Trained by another recipe of this name.
    path = tiny_recipe(tmp_path / "mini.yaml", seed=1)
    with pytest.raises(RunError, match=rf"come from recipe {plain.hash}, .* are now {recipe.load(str(path)).hash}"):
        teacher_of(Run(dataclasses.replace(taught, teacher=str(path)), None), uninterrupted)


# From pretrained weights.


def hybrid_recipe(path: Path, rate: float) -> Path:
    """Two tiny convolutions, one pretrained layer, and a head; `rate` is the encoder's."""
    network = {"name": "hybrid", "options": {"channels": [], "layers": 1}, "pretrained": "whisper-tiny-en"}
    return tiny_recipe(path, network=network, optim={"pretrained_rate": rate})


def test_an_encoder_has_a_learning_rate_of_its_own() -> None:
    network = networks.build("hybrid", {"n_mels": FeatureConfig().n_mels, "channels": (), "layers": 1})
    trainer = trainer_of(network, UNCHANGED, steps=3, learning_rate=0.01, pretrained_rate=0.1)
    others, encoder = trainer.optimiser.param_groups
    expected = {id(values) for values in network.get_submodule("encoder").parameters()}
    assert {id(values) for values in encoder["params"]} == expected
    assert {id(values) for values in others["params"]} == {id(values) for values in network.parameters()} - expected
    assert (others["max_lr"], encoder["max_lr"]) == pytest.approx((0.01, 0.001))
    for number in range(2):
        trainer.epoch(number, [batch_of([ALL] * 2, [3] * 2)] * 3)
        # Up and down they go together.
        assert encoder["lr"] == pytest.approx(0.1 * others["lr"])


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_an_encoder_moves_by_its_own_rate(rate: float) -> None:
    torch.manual_seed(0)
    network = networks.build("hybrid", {"n_mels": FeatureConfig().n_mels, "channels": (), "layers": 0})
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    trainer = trainer_of(network, UNCHANGED, learning_rate=1e-3, weight_decay=0.0, pretrained_rate=rate)
    trainer.epoch(0, [batch_of([ALL] * 2, [3] * 2)])
    moved = {name: float((p.detach() - before[name]).abs().max()) for name, p in network.named_parameters()}
    # Adam's first step is as long as the learning rate, wherever there is a gradient.
    head, convolution = moved["classifier.bias"], moved["encoder.convolution_2.bias"]
    assert head > 0.0
    assert convolution == pytest.approx(rate * head, rel=1e-3)


def test_a_network_without_an_encoder_has_one_learning_rate() -> None:
    network = networks.build("residual", SMALL)
    (group,) = trainer_of(network, UNCHANGED, pretrained_rate=0.1).optimiser.param_groups
    assert len(group["params"]) == len(list(network.parameters()))


def test_training_starts_from_pretrained_weights(
    cache: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = hybrid_recipe(tmp_path / "mini.yaml", 0.0)
    assert run_fit(cache, config, tmp_path, "--all", "--pretrained", tmp_path / "nowhere") == 1
    assert f"error: There is no {tmp_path / 'nowhere'}" in (said := capsys.readouterr().err)
    assert "run `python -m train pretrained` first." in said
    assert not (tmp_path / "mini").exists()
    assert run_fit(cache, config, tmp_path, "--all", "--pretrained", encoder) == 0
    theirs = load_file(encoder / FILES["whisper-tiny-en"])
    trained = weights_of(tmp_path)
    # At a rate of 0 they stay what they were.
    assert {name for name in trained if name.startswith("encoder.")} == {f"encoder.{name}" for name in theirs}
    assert all(torch.equal(trained[f"encoder.{name}"].half(), value) for name, value in theirs.items())
    torch.manual_seed(recipe.load(str(config)).seed)
    start = networks.build("hybrid", {"n_mels": FeatureConfig().n_mels, "channels": [], "layers": 1}).state_dict()
    assert not torch.equal(trained["classifier.weight"], start["classifier.weight"].half())


# With a reader.

READER = {"layers": 1, "warped": 1, "iterations": 10}


@pytest.fixture(scope="module")
def read(cache: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe that has a reader, features, and the runs of `fit --all`."""
    folder = tmp_path_factory.mktemp("read")
    shutil.copytree(cache, folder / "cache")
    config = tiny_recipe(folder / "mini.yaml", reader=READER)
    assert run_fit(folder / "cache", config, folder / "runs", "--all", "--pretrained", encoder) == 0
    return folder


def test_a_reader_is_fitted_once(
    read: Path, uninterrupted: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(read, tmp_path, dirs_exist_ok=True)
    config, runs = tmp_path / "mini.yaml", tmp_path / "runs"
    path = runs / "mini" / "all" / "reader.safetensors"
    assert path == reader_path(Run(recipe.load(str(config)), None).folder(runs))
    before = path.read_bytes()
    learnt = load_file(path)
    assert {name: tuple(value.shape) for name, value in learnt.items()} == {
        "classifier.weight": (8, 2 * 5 * 384),
        "classifier.bias": (8,),
        "sung.weight": (1, 2 * 5 * 384),
        "sung.bias": (1,),
    }
    assert learnt["classifier.weight"].any()
    # The members are those that would be trained alone.
    alone, member = weights_of(uninterrupted), weights_of(runs)
    assert all(torch.equal(alone[name], member[name]) for name in alone)
    again = (tmp_path / "cache", config, runs, "--all", "--resume", "--pretrained", encoder)
    assert run_fit(*again) == 0
    assert ": fitted" not in capsys.readouterr().out
    assert path.read_bytes() == before
    (tmp_path / "changed").mkdir()
    changed = tiny_recipe(tmp_path / "changed" / "mini.yaml", reader=READER | {"penalty": 0.5})
    assert run_fit(again[0], changed, *again[2:]) == 1
    assert "move it away and fit again" in capsys.readouterr().err
    # Where it was moved away it comes out again, from what was read and kept; the encoder isn't needed for it.
    path.unlink()
    assert run_fit(*again[:-1], tmp_path / "nowhere") == 0
    assert f"{path}: fitted" in capsys.readouterr().out
    assert load_file(path)["classifier.weight"].equal(learnt["classifier.weight"])


def test_a_reader_waits_for_all_members(
    cache: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever trains one member, beside others that train theirs, leaves the reader to `fit --resume`."""
    config = tiny_recipe(tmp_path / "mini.yaml", reader=READER)
    assert run_fit(cache, config, tmp_path, "--all", "--member", 0, "--pretrained", encoder) == 0
    assert ": fitted" not in capsys.readouterr().out
    one = Run(recipe.load(str(config)), None)
    expected = (
        rf"There is no {reader_path(one.folder(tmp_path))}: run `python -m train fit --config mini --all --resume`\."
    )
    with pytest.raises(RunError, match=expected):
        load_network(one, tmp_path, encoder)


@torch.no_grad()
def test_members_and_reader_are_loaded_together(read: Path, encoder: Path) -> None:
    one, runs = Run(recipe.load(str(read / "mini.yaml")), None), read / "runs"
    network, record = load_network(one, runs, encoder)
    assert isinstance(network, Together)
    assert isinstance(network.convolutions, Ensemble)
    assert isinstance(network.reader, Reader)
    assert not any(part.training for part in network.modules())
    assert one.recipe.reader is not None
    assert (network.temperature, network.shares) == (one.recipe.reader.temperature, one.recipe.reader.shares)
    learnt = load_file(reader_path(one.folder(runs)))
    assert torch.equal(network.reader.classifier.weight, learnt["classifier.weight"])
    assert torch.equal(network.reader.sung.bias, learnt["sung.bias"])
    theirs = load_file(encoder / FILES["whisper-tiny-en"])
    assert torch.equal(
        network.reader.encoder.state_dict()["convolution_1.weight"], theirs["convolution_1.weight"].float()
    )
    # What is told is told of both.
    assert record["recipe_hash"] == one.recipe.hash != one.recipe.members_hash == record_of(runs)["recipe_hash"]
    assert record["recipe"] == json.loads(json.dumps(dataclasses.asdict(one.recipe)))
    assert record["parameters"] == sum(values.numel() for values in network.parameters())
    logits, attention = network(torch.zeros(2, 1, FeatureConfig().n_mels, FeatureConfig().min_frames))
    assert (logits.shape, attention.shape) == ((2, 8), (2, FeatureConfig().min_frames // 8))
    with pytest.raises(PretrainedError, match=r"run `python -m train pretrained` first"):
        load_network(one, runs, read / "nowhere")


def test_a_reader_of_another_recipe_is_refused(read: Path, encoder: Path, tmp_path: Path) -> None:
    shutil.copytree(read / "runs", tmp_path / "runs")
    fitted = recipe.load(str(read / "mini.yaml"))
    changed = recipe.load(str(tiny_recipe(tmp_path / "mini.yaml", reader=READER | {"penalty": 0.5})))
    # The members stay as good as they were.
    assert changed.members_hash == fitted.members_hash
    expected = (
        rf"reader\.safetensors comes from recipe {fitted.hash}, the recipe and the code are now {changed.hash}: move"
    )
    with pytest.raises(RunError, match=expected):
        load_network(Run(changed, None), tmp_path / "runs", encoder)
    # Without a reader there is nothing to be refused; what was said of one is forgotten.
    alone = recipe.load(str(tiny_recipe(tmp_path / "mini.yaml")))
    network, record = load_network(Run(alone, None), tmp_path / "runs")
    assert isinstance(network, Ensemble)
    assert (record["recipe_hash"], record["recipe"]["reader"]) == (alone.hash, None)


def test_a_reader_of_other_data_is_refused(read: Path, encoder: Path, tmp_path: Path) -> None:
    one, runs = Run(recipe.load(str(read / "mini.yaml")), None), tmp_path / "runs"
    shutil.copytree(read / "runs", runs)
    path = runs / "mini" / "all" / "run-0.json"
    path.write_text(json.dumps(record_of(runs) | {"data_digest": "f" * 16}), encoding="utf-8")
    with pytest.raises(RunError, match=r"were trained on different data \(.*f{16}.*\): train them again\."):
        load_network(one, runs, encoder)


def test_a_reader_of_other_values_is_refused(read: Path, encoder: Path, tmp_path: Path) -> None:
    one, runs = Run(recipe.load(str(read / "mini.yaml")), None), tmp_path / "runs"
    shutil.copytree(read / "runs", runs)
    path = reader_path(one.folder(runs))
    with safe_open(path, "pt") as stored:
        origin = stored.metadata()
    save_file({"weight": torch.zeros(8, 3840), "bias": torch.zeros(8)}, path, metadata=origin)
    with pytest.raises(RunError, match=r"holds another reader.s values: move it away and fit again"):
        load_network(one, runs, encoder)


def test_a_teacher_with_a_reader_finds_its_encoder(
    read: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the folder that `fit --pretrained` names."""
    config, runs = read / "mini.yaml", tmp_path / "runs"
    shutil.copytree(read / "runs", runs)
    pupil = tiny_recipe(tmp_path / "pupil.yaml", teacher=str(config), optim={"distilled": 1.0})
    arguments = (read / "cache", pupil, runs, "--all", "--max-epochs", 1, "--pretrained")
    assert run_fit(*arguments, tmp_path / "nowhere") == 1
    assert f"error: There is no {tmp_path / 'nowhere'}" in capsys.readouterr().err
    assert run_fit(*arguments, encoder) == 0


# Several processes.


def test_two_processes_train_one_network(cache: Path, config: Path, tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "-m", "train", "fit")
    where = ("--config", config, "--cache", cache, "--runs", tmp_path, "--threads", 1)
    done = python(*launcher, *where, "--all")
    assert done.returncode == 0, done.stderr
    # One of them speaks and writes, of the whole.
    epochs = re.findall(r"^mini/all 0, epoch (\d/\d): loss ", done.stdout, re.MULTILINE)
    assert epochs == ["1/2", "2/2"]
    assert (
        done.stdout.count("mini/all 0: 24 clips, 3 steps an epoch, on 2 processes (gloo), each on cpu, 1 threads") == 1
    )
    record = record_of(tmp_path)
    assert record["device"] == "2 processes (gloo), each on cpu, 1 threads"
    assert all(torch.isfinite(value.float()).all() for value in weights_of(tmp_path).values())


def test_a_batch_that_processes_can_not_share_evenly_is_refused(cache: Path, config: Path, tmp_path: Path) -> None:
    one = Run(recipe.load(str(config)), None)
    with pytest.raises(RunError, match=r"A batch of 8 can't be shared evenly by 3 processes\."):
        fit.train(one, FeatureCache.open(cache), tmp_path, Place(torch.device("cpu"), 0, 3))
    assert not list(tmp_path.iterdir())


def test_a_corpus_that_is_left_out_is_tested_by_a_network_of_the_others() -> None:
    clips = [clip(number, corpus) for number, corpus in enumerate(("own", "ravdess", "nemo", "own", "nemo", "nemo"))]
    cache = cache_of(clips, [200] * 6)
    both = recipe.Recipe("both", corpora=("own", "nemo"))
    without_own, without_nemo = Run(both, None, left_out="own"), Run(both, None, left_out="nemo")
    assert (without_own.name, without_nemo.name) == ("without-own", "without-nemo")
    # The recipe's first corpus makes up half of every epoch, or the second where that is the one that is left out.
    assert (Run(both, 0).main, without_own.main, without_nemo.main) == ("own", "nemo", "own")
    # RAVDESS, which the features hold too, is none of this recipe's.
    assert without_own.split(cache) == Split((2, 4, 5), (), (0, 3))
    assert without_nemo.split(cache) == Split((0, 3), (), (2, 4, 5))


def test_a_fold_without_a_speaker_to_test_is_refused() -> None:
    cache = cache_of([clip(number, speaker=name) for number, name in enumerate(("ana", "ben", "eve"))], [200] * 3)
    with pytest.raises(RunError, match=r"Fold 3 has no speaker to test: five folds want at least five speakers of own"):
        Run(recipe.Recipe("few", corpora=("own",)), 3).split(cache)


def test_leaving_a_corpus_out_has_no_validation_speakers(
    cache: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_fit(cache, config, tmp_path, "--leave-out", "own", "--validate") == 1
    assert "--validate and --statement are of a fold: name one" in capsys.readouterr().err
