"""Recipes: what a YAML file says over what it extends; and a hash that changes with all that results depend on."""

from __future__ import annotations

import dataclasses
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from ser_core.config import FeatureConfig
from train import recipe
from train.augment import AugmentConfig
from train.corpora import CORPORA
from train.loop import OptimConfig
from train.networks import NETWORKS
from train.reader import ReaderConfig
from train.recipe import NetworkConfig, Recipe, RecipeError

if TYPE_CHECKING:
    from pathlib import Path

HASHED = (
    "ser_core/features.py",
    "ser_core/voice.py",
    "train/augment.py",
    "train/batches.py",
    "train/cache.py",
    "train/degrade.py",
    "train/loop.py",
    "train/prepare.py",
    "train/splits.py",
    "train/networks/ensemble.py",
    "train/networks/pooling.py",
    "train/networks/residual.py",
)
HYBRID = ("train/networks/hybrid.py", "train/networks/encoder.py")
READER = ("train/reader.py", "train/regression.py", "train/networks/reader.py", "train/networks/encoder.py")


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the code that the hash reads, which a test may change."""
    for name in {*HASHED, *HYBRID, *READER}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(recipe.ROOT / name, tmp_path / name)
    monkeypatch.setattr(recipe, "ROOT", tmp_path)
    return tmp_path


def test_every_recipe_of_the_project_can_be_read() -> None:
    assert recipe.names() == sorted(path.stem for path in recipe.CONFIGS.glob("*.yaml"))
    assert {"base", "tiny", "voices"} <= set(recipe.names())
    for name in recipe.names():
        chosen = recipe.load(name)
        assert chosen.name == name
        assert set(chosen.corpora) <= set(CORPORA)
        assert chosen.network.name in NETWORKS


def test_a_recipe_lies_over_what_it_extends() -> None:
    base, tiny, voices = (recipe.load(name) for name in ("base", "tiny", "voices"))
    assert base.corpora == ("ravdess",)
    assert voices == dataclasses.replace(
        base,
        name="voices",
        corpora=("ravdess", "nemo", "banglaser"),
        network=NetworkConfig("residual", {**base.network.options, "depths": [0, 1, 1, 1]}),
        augment=dataclasses.replace(
            base.augment, babble=0.15, babble_db=(5.0, 25.0), warped=0.25, style=0.2, mixup=0.0
        ),
        optim=dataclasses.replace(base.optim, epochs=40, batch_size=32, learning_rate=2e-3, average_decay=0.998),
        members=1,
        reader=ReaderConfig(pretrained="whisper-tiny-en", layers=2, penalty=0.05, shares=(0.3, 0.6)),
    )
    assert tiny.optim == dataclasses.replace(base.optim, epochs=2, batch_size=8, bfloat16=False)
    # Within a part, too, only what is said is changed.
    assert tiny.network == NetworkConfig("residual", {**base.network.options, "channels": [16, 16, 16, 16]})
    assert tiny.augment == base.augment
    # YAML knows no tuples, and a recipe is compared and hashed.
    assert base.augment.noise_floor_db == (-80.0, -50.0)


def test_a_recipe_may_be_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: tiny\nseed: 7\naugment: {mixup: 0.0}\n", encoding="utf-8")
    tiny = recipe.load("tiny")
    expected = dataclasses.replace(tiny, name="mine", seed=7, augment=dataclasses.replace(tiny.augment, mixup=0.0))
    assert recipe.load(str(path)) == expected


@pytest.mark.parametrize(
    ("base", "said", "network"),
    [
        # What was said of another network is no option of this one.
        ("tiny", "{name: hybrid}", NetworkConfig("hybrid")),
        ("tiny", "{name: hybrid, options: {layers: 1}}", NetworkConfig("hybrid", {"layers": 1})),
        ("teachers", "{name: residual, options: {dropout: 0.5}}", NetworkConfig("residual", {"dropout": 0.5})),
        # The same one keeps what isn't said anew, whether it is named or not.
        (
            "mine",
            "{name: residual, options: {dropout: 0.5}}",
            NetworkConfig("residual", {"dropout": 0.5, "squeeze": True}),
        ),
        ("mine", "{options: {dropout: 0.5}}", NetworkConfig("residual", {"dropout": 0.5, "squeeze": True})),
        ("mine", "{name: hybrid}", NetworkConfig("hybrid")),
        # Nothing was said that could be dropped.
        ("bare", "{name: hybrid, options: {layers: 1}}", NetworkConfig("hybrid", {"layers": 1})),
    ],
)
def test_another_network_takes_over_no_options(tmp_path: Path, base: str, said: str, network: NetworkConfig) -> None:
    (tmp_path / "mine.yaml").write_text("network: {options: {dropout: 0.1, squeeze: true}}\n", encoding="utf-8")
    (tmp_path / "bare.yaml").write_text("seed: 7\n", encoding="utf-8")
    below = base if base in recipe.names() else tmp_path / f"{base}.yaml"
    path = tmp_path / "other.yaml"
    path.write_text(f"extends: {below}\nnetwork: {said}\n", encoding="utf-8")
    assert recipe.load(str(path)).network == network


def test_a_reader_may_be_left_out_again(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: voices\nreader: null\n", encoding="utf-8")
    alone = recipe.load(str(path))
    assert alone == dataclasses.replace(recipe.load("voices"), name="mine", reader=None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: nowhere\n", r"There is no recipe 'nowhere'; there are base, .*tiny, .*or name a \.yaml file"),
        ("optim: {epoch: 3}\n", r"The recipe '.*mine\.yaml' can't be read: .*unexpected keyword argument 'epoch'"),
        ("colour: blue\n", r"can't be read: .*unexpected keyword argument 'colour'"),
        ("network: {kind: residual}\n", r"can't be read: .*unexpected keyword argument 'kind'"),
        ("reader: {depth: 3}\n", r"can't be read: .*unexpected keyword argument 'depth'"),
    ],
)
def test_a_wrong_recipe_is_told(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=message):
        recipe.load(str(path))


def test_a_loop_of_recipes_is_told(tmp_path: Path) -> None:
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    one.write_text(f"extends: {other}\n", encoding="utf-8")
    other.write_text(f"extends: {one}\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"in a loop: .*one\.yaml -> .*other\.yaml -> .*one\.yaml"):
        recipe.load(str(one))


def changed_field(name: str) -> dict[str, Any]:
    return {name: 0.123}


def test_the_hash_changes_with_everything_that_a_recipe_says() -> None:
    base = Recipe("base")
    changed = [
        dataclasses.replace(base, corpora=("ravdess", "own")),
        dataclasses.replace(base, network=NetworkConfig("residual", {"dropout": 0.5})),
        dataclasses.replace(base, seed=1),
        *(
            dataclasses.replace(base, augment=dataclasses.replace(base.augment, **changed_field(field.name)))
            for field in dataclasses.fields(AugmentConfig)
        ),
        *(
            dataclasses.replace(base, optim=dataclasses.replace(base.optim, **changed_field(field.name)))
            for field in dataclasses.fields(OptimConfig)
        ),
    ]
    hashes = [one.hash for one in (base, *changed)]
    assert len(set(hashes)) == len(hashes) > 19
    assert all(len(value) == 12 and int(value, 16) >= 0 for value in hashes)
    assert Recipe("base").hash == base.hash


def test_the_hash_changes_with_the_features(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Recipe("base").hash
    monkeypatch.setattr(recipe, "FeatureConfig", lambda: dataclasses.replace(FeatureConfig(), hop_length=320))
    assert Recipe("base").hash != before


@pytest.mark.parametrize("name", HASHED)
def test_the_hash_changes_with_the_code_but_not_with_its_wording(copied: Path, name: str) -> None:
    before = Recipe("base").hash
    reword(copied / name)
    assert Recipe("base").hash == before
    change(copied / name)
    assert Recipe("base").hash != before


def reword(path: Path) -> None:
    """Say something else about the code, which stays as it is."""
    opening, docstring, rest = path.read_text(encoding="utf-8").split('"""', 2)
    assert opening == ""
    assert docstring[0].isupper()
    path.write_text(f'"""Told otherwise."""\n\n# And explained.\n{rest}', encoding="utf-8")


def change(path: Path) -> None:
    """Let the code do more than before."""
    path.write_text(path.read_text(encoding="utf-8") + "\nCHANGED = 1\n", encoding="utf-8")


@pytest.mark.parametrize("name", HYBRID)
def test_the_hash_changes_with_the_code_of_the_recipes_own_network(copied: Path, name: str) -> None:
    hybrid, residual = Recipe("x", network=NetworkConfig("hybrid")), Recipe("x")
    before, others = hybrid.hash, residual.hash
    reword(copied / name)
    assert hybrid.hash == before
    change(copied / name)
    assert hybrid.hash != before
    assert residual.hash == others


# With a reader, or a teacher.

PLAIN = Recipe("x")
READ = Recipe("x", reader=ReaderConfig())


def test_the_hash_changes_with_all_that_a_reader_is_told_and_that_of_the_members_does_not() -> None:
    assert READ.reader is not None
    changed = [
        dataclasses.replace(READ, reader=dataclasses.replace(READ.reader, **changed_field(field.name)))
        for field in dataclasses.fields(ReaderConfig)
    ]
    hashes = [one.hash for one in (PLAIN, READ, *changed)]
    assert len(set(hashes)) == len(hashes) > 10
    assert all(len(value) == 12 and int(value, 16) >= 0 for value in hashes)
    # What the members weigh doesn't depend on who is asked beside them.
    assert {one.members_hash for one in (PLAIN, READ, *changed)} == {PLAIN.hash}


def test_the_hash_changes_with_the_members_beside_a_reader() -> None:
    assert dataclasses.replace(READ, seed=1).hash != READ.hash


@pytest.mark.parametrize("name", READER)
def test_the_hash_changes_with_a_readers_code_and_that_of_the_members_does_not(copied: Path, name: str) -> None:
    before, members = READ.hash, READ.members_hash
    reword(copied / name)
    assert (READ.hash, READ.members_hash) == (before, members)
    change(copied / name)
    assert READ.hash != before
    assert READ.members_hash == PLAIN.hash == members


def test_the_hash_changes_with_what_a_teacher_is(tmp_path: Path) -> None:
    teacher = tmp_path / "teacher.yaml"
    taught = Recipe("x", teacher=str(teacher))
    hashes = [PLAIN.hash]
    for text in ("extends: tiny\n", "extends: tiny\nseed: 1\n", "extends: tiny\nreader: {layers: 1}\n"):
        teacher.write_text(text, encoding="utf-8")
        hashes.append(taught.hash)
        assert taught.members_hash == taught.hash
    assert len(set(hashes)) == 4


def test_code_that_was_shown_to_give_the_same_counts_as_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "ROOT", tmp_path)
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    one.write_text("x = 1\n", encoding="utf-8")
    other.write_text("y = 1\n", encoding="utf-8")
    before = recipe.code_hash("one.py", "other.py")
    then = recipe._digest(recipe._meaning(one))
    one.write_text("x = 2 - 1\n", encoding="utf-8")
    assert recipe.code_hash("one.py", "other.py") != before
    monkeypatch.setattr(recipe, "_SAME", {recipe._digest(recipe._meaning(one)): then})
    assert recipe.code_hash("one.py", "other.py") == before
    one.write_text("x = 3\n", encoding="utf-8")
    assert recipe.code_hash("one.py", "other.py") != before
