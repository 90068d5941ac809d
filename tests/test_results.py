"""What is committed: results as new as their code and recipe, and a model that carries its own figures."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from ser_core import bundle
from ser_core.config import FeatureConfig
from ser_core.emotions import EMOTIONS
from tests.train_data import one_frame_each, ravdess_clips
from train import (
    compare,
    comparison,
    export,
    figures,
    further,
    judging,
    metrics,
    recipe,
    report,
    results_page,
    robustness,
    splits,
)
from train.evaluate import RESULTS
from train.networks.encoder import SpeechEncoder
from train.protocols import RandomSplit

if TYPE_CHECKING:
    from pathlib import Path

    from ser_core.bundle import Bundle
    from train.metrics import Judged

STORED = sorted(path.parent.name for path in RESULTS.glob("*/metrics.json"))
STORED_FIGURES = sorted(path.relative_to(RESULTS).as_posix() for path in RESULTS.glob("*/*.json"))
"""Of the networks (metrics.json), and of the corpora as training hears them (probe.json)."""
STORED_LOGITS = sorted(path.relative_to(RESULTS).as_posix() for path in RESULTS.glob("*/*.npz"))
"""Of each fold, of each fold under every condition and of what is no voice, and of corpora that were left out."""


TWINS = ("ravdess/03-01-03-01-02-01-07", "ravdess/03-01-03-01-02-02-07")
"""The recordings of RAVDESS that sound the same."""


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return bundle.read(bundle.BUNDLED)


def figures_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / name / "metrics.json").read_text(encoding="utf-8"))
    return found


def judged_in(name: str, precision: str = "fp32") -> tuple[list[Judged], list[dict[str, Any]]]:
    """What a recipe's folds said, in order, and what each comes from."""
    loaded = [judging.load(path) for path in sorted((RESULTS / name).glob("fold?.npz"))]
    return [judged[precision] for judged, _ in loaded], [origin for _, origin in loaded]


def same(found: Any, stored: Any) -> bool:
    """Equal; floats nearly so, since the search for a temperature may end a hair elsewhere on another CPU."""
    if isinstance(stored, dict):
        return list(found) == list(stored) and all(same(found[key], value) for key, value in stored.items())
    if isinstance(stored, list):
        return len(found) == len(stored) and all(same(a, b) for a, b in zip(found, stored, strict=True))
    if isinstance(stored, float):
        return bool(found == pytest.approx(stored, rel=1e-3, abs=1e-3))
    return bool(found == stored)


def redo(name: str) -> str:
    return (
        f"Run `python -m train fit --config {name} --fold 0 1 2 3 4`, then "
        f"`python -m train evaluate --config {name} --data DIR`; with `--robustness`, `--leave-out` and "
        "`python -m train probe` for what else is stored."
    )


def test_the_recipe_that_ships_has_results(shipped: Bundle) -> None:
    name = shipped.training["recipe"]["name"]
    assert name in STORED, f"train/results/{name} lacks metrics.json. {redo(name)}"
    assert figures_of(name)["folds"] == list(range(5)), redo(name)


@pytest.mark.parametrize("path", STORED_FIGURES)
def test_stored_figures_are_fresh(path: str) -> None:
    name = path.partition("/")[0]
    stored = json.loads((RESULTS / path).read_text(encoding="utf-8"))
    then, now = stored["recipe_hash"], recipe.load(name).hash
    assert then == now, (
        f"train/results/{path} is stale: it comes from {then}, recipe and code are now {now}. {redo(name)}"
    )
    assert stored["data_digest"] == figures_of(name)["data_digest"]


@pytest.mark.parametrize("path", STORED_LOGITS)
def test_stored_logits_are_fresh(path: str) -> None:
    name = path.partition("/")[0]
    with np.load(RESULTS / path, allow_pickle=False) as stored:
        origin = json.loads(str(stored["origin"]))
    then, now = origin["recipe_hash"], recipe.load(name).hash
    assert then == now, (
        f"train/results/{path} is stale: it comes from {then}, recipe and code are now {now}. {redo(name)}"
    )


@pytest.mark.parametrize("name", STORED)
def test_stored_figures_come_out_again_from_the_stored_logits(name: str) -> None:
    stored = figures_of(name)
    found = json.loads(json.dumps(figures.of(RESULTS / name, recipe.load(name), stored["command"])))
    assert list(found) == list(stored)
    differing = [key for key in stored if not same(found[key], stored[key])]
    assert differing == [], f"run `python -m train evaluate --config {name}`"
    # What is counted is equal to the last clip, on every machine.
    for channel, values in stored["actor_independent"].items():
        assert found["actor_independent"][channel]["confusion"] == values["confusion"]
        assert found["actor_independent"][channel]["accuracy"] == pytest.approx(values["accuracy"], abs=1e-9)
        assert found["actor_independent"][channel]["uar"] == pytest.approx(values["uar"], abs=1e-9)


@pytest.mark.parametrize("name", STORED)
def test_stored_logits_are_of_whole_folds(name: str, tmp_path: Path) -> None:
    """Every clip of RAVDESS that a judged fold tests once, in the fold that tests its actor, with its own label."""
    judged, _ = judged_in(name)
    tested = frozenset().union(*(splits.ACTOR_FOLDS[one.fold] for one in judged))
    expected = {clip.key: clip for clip in ravdess_clips(tmp_path) if clip.speaker in tested}
    assert sorted(key for one in judged for key in one.keys) == sorted(expected)
    for one in judged:
        clips = [expected[key] for key in one.keys]
        assert {clip.speaker for clip in clips} == splits.ACTOR_FOLDS[one.fold]
        assert [EMOTIONS.index(clip.emotion) for clip in clips] == one.emotions.tolist()
        assert [clip.channel for clip in clips] == one.channels.tolist()
        assert [clip.speaker for clip in clips] == one.speakers.tolist()


@pytest.mark.parametrize("name", STORED)
def test_stored_conditions_are_of_whole_folds(name: str) -> None:
    """Where a fold was judged under conditions, it was under all of them, on all its clips, and on what is no voice."""
    for path in sorted((RESULTS / name).glob("robustness-fold?.npz")):
        number = path.stem.removeprefix("robustness-")
        clean, origin = judging.load(RESULTS / name / f"{number}.npz")
        changed, same_origin = judging.load(path)
        sounds, sounds_origin = judging.load(RESULTS / name / f"not-voices-{number}.npz")
        assert list(changed) == list(robustness.CONDITIONS)
        assert same_origin == sounds_origin == origin
        for one in changed.values():
            assert one.keys.tolist() == clean["int8"].keys.tolist()
            assert one.emotions.tolist() == clean["int8"].emotions.tolist()
        assert list(sounds) == ["int8"]
        assert len(sounds["int8"].keys) >= robustness.GENERATED


@pytest.mark.parametrize("path", [path for path in STORED_LOGITS if "/random-" in path])
def test_stored_random_splits_come_out_again(path: str, tmp_path: Path) -> None:
    """From the names of the clips, and the one pair of RAVDESS that sounds the same."""
    clips = ravdess_clips(tmp_path)
    (twins,) = [(a, b) for a, one in enumerate(clips) for b, other in enumerate(clips) if (one.key, other.key) == TWINS]
    cache = one_frame_each(clips, [twins])
    *shares, draw = path.partition("/random-")[2].removesuffix(".npz").removesuffix("-merged").split("-")
    split = RandomSplit.parse("/".join(shares), int(draw.removeprefix("draw"))).split(
        cache, range(len(clips)), "ravdess"
    )
    judged, origin = judging.load(RESULTS / path)
    for one in judged.values():
        assert one.keys.tolist() == [clips[index].key for index in split.test]
    # All clips of the other corpora train, too.
    whole = judged_in(path.partition("/")[0])
    others = whole[1][0]["train_clips"] + len(whole[0][0].keys) - len(clips)
    assert origin["train_clips"] == len(split.train) + others


@pytest.mark.parametrize("name", sorted({path.partition("/")[0] for path in STORED_LOGITS if "-statement" in path}))
def test_stored_sentences_were_never_heard(name: str, tmp_path: Path) -> None:
    by_key = {clip.key: clip for clip in ravdess_clips(tmp_path)}
    tested = []
    for path in (RESULTS / name).glob("fold?-statement?.npz"):
        fold, _, heard = path.stem.partition("-statement")
        for one in judging.load(path)[0].values():
            clips = [by_key[key] for key in one.keys]
            assert {clip.speaker for clip in clips} == splits.ACTOR_FOLDS[int(fold[-1])]
            assert {clip.statement for clip in clips} == {"1", "2"} - {heard}
            tested += clips
    # Every clip was judged once.
    assert len(tested) == len({clip.key for clip in tested}) == len(by_key)


def test_the_comparison_is_what_its_logits_say() -> None:
    stored = json.loads((RESULTS / "compare.json").read_text(encoding="utf-8"))
    costs = {one["name"]: one for one in stored["networks"]}
    found = {"command": stored["command"], **compare.table(RESULTS, costs)}
    assert same(json.loads(json.dumps(found)), stored), "run `python -m train compare`"
    assert {one["name"] for one in stored["networks"]} == {*compare.NAMES}
    # Of the last, Whisper's two layers and its convolutions, which stay frozen, are not counted.
    frozen = sum(p.numel() for p in SpeechEncoder(FeatureConfig().n_mels, 2, read=True).parameters())
    for one in stored["networks"]:
        assert one["parameters"] - frozen * (one["name"] == comparison.SHIPPED) <= 600_000


@pytest.mark.parametrize("name", [path.partition("/")[0] for path in STORED_FIGURES if path.endswith("/further.json")])
def test_stored_further_figures_come_out_again(name: str) -> None:
    stored = json.loads((RESULTS / name / "further.json").read_text(encoding="utf-8"))
    found = {"command": stored["command"], **further.of(RESULTS / name, recipe.load(name))}
    found["data_digest"] = stored["data_digest"]
    assert same(json.loads(json.dumps(found)), stored), f"run `python -m train evaluate --config {name}`"


def test_five_classes_at_random_pass_their_bar(shipped: Bundle) -> None:
    name = shipped.training["recipe"]["name"]
    found = json.loads((RESULTS / name / "further.json").read_text(encoding="utf-8"))["five"]["random"]
    assert found["random-50-20-30-draw0-merged"]["accuracy"] >= 0.88


@pytest.mark.parametrize("name", STORED)
def test_a_stored_corpus_was_left_out_of_training(name: str) -> None:
    for path in sorted((RESULTS / name).glob("without-*.npz")):
        corpus = path.stem.removeprefix("without-")
        judged, origin = judging.load(path)
        assert origin["trained_on"] == sorted(set(recipe.load(name).corpora) - {corpus})
        for one in judged.values():
            assert {key.partition("/")[0] for key in one.keys.tolist()} == {corpus}


def test_the_model_that_ships_has_its_recipes_figures(shipped: Bundle) -> None:
    name, carried = shipped.training["recipe"]["name"], shipped.metrics()
    again = f"run `python -m train export --config {name} --out assets/model`"
    assert carried == figures_of(name), again
    assert carried["schema_version"] == metrics.SCHEMA_VERSION
    assert shipped.training["recipe_hash"] == carried["recipe_hash"] == recipe.load(name).hash, again
    assert shipped.training["data_digest"] == carried["data_digest"], again
    assert shipped.precision == carried["precision"], again
    assert shipped.calibration.temperature == carried["calibration"]["temperature"], again


def test_the_model_that_ships_was_trained_on_all_speakers(shipped: Bundle) -> None:
    judged, origins = judged_in(shipped.training["recipe"]["name"])
    # A fold's network heard all but the clips that test it; the one that ships heard those too.
    totals = {origin["train_clips"] + len(one.keys) for one, origin in zip(judged, origins, strict=True)}
    assert totals == {shipped.training["train_clips"]}


def test_the_model_that_ships_was_checked_against_torch(shipped: Bundle) -> None:
    for name in ("onnxruntime", "fp32", "fp16"):
        parity = shipped.training["parity"][name]
        assert parity["clips"] >= 200
        assert parity["probability"] <= export.TOLERANCE
        assert parity["labels"] == 0


def test_speech_of_unheard_actors_passes_its_bar(shipped: Bundle) -> None:
    found = shipped.metrics()["actor_independent"]
    assert (found["speech"]["n"], found["song"]["n"]) == (1_440, 1_012)
    assert found["speech"]["accuracy"] >= 0.77


def test_the_readme_says_what_the_stored_figures_say() -> None:
    page = report.README.read_text(encoding="utf-8")
    assert report.fill(page, report.parts()) == page, "run `make results`"


def test_the_page_of_results_says_what_the_stored_figures_say() -> None:
    made = results_page.files()
    assert {*results_page.PLOTS.iterdir()} == {path for path in made if path.parent == results_page.PLOTS}
    for path, content in made.items():
        found = path.read_bytes()
        if path.suffix == ".png":
            # How a picture is packed is Pillow's affair.
            ours, theirs = (np.asarray(Image.open(io.BytesIO(one))) for one in (content, found))
            assert np.array_equal(ours, theirs), f"{path.name}: run `make results`"
        else:
            assert content == found, "run `make results`"


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(report.ReportError, match=r"no <!-- results -->"):
        report.fill("# A page\n", {"results": lambda: "text"})
