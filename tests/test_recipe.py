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
from train.recipe import NetworkConfig, Recipe, RecipeError

if TYPE_CHECKING:
    from pathlib import Path

HASHED = (
    "ser_core/features.py",
    "ser_core/voice.py",
    "ser_core/windows.py",
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


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the code that the hash reads, which a test may change."""
    for name in HASHED:
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
    assert voices == dataclasses.replace(base, name="voices", corpora=("ravdess", "nemo", "banglaser"))
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
    ("text", "message"),
    [
        ("extends: nowhere\n", r"There is no recipe 'nowhere'; there are base, .*tiny, .*or name a \.yaml file"),
        ("optim: {epoch: 3}\n", r"The recipe '.*mine\.yaml' can't be read: .*unexpected keyword argument 'epoch'"),
        ("colour: blue\n", r"can't be read: .*unexpected keyword argument 'colour'"),
        ("network: {kind: residual}\n", r"can't be read: .*unexpected keyword argument 'kind'"),
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
    path = copied / name
    code = path.read_text(encoding="utf-8")
    opening, docstring, rest = code.split('"""', 2)
    assert opening == ""
    assert docstring[0].isupper()
    path.write_text(f'"""Told otherwise."""\n\n# And explained.\n{rest}', encoding="utf-8")
    assert Recipe("base").hash == before
    path.write_text(code + "\nCHANGED = 1\n", encoding="utf-8")
    assert Recipe("base").hash != before
