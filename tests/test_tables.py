"""Tables from figures: every number stands where it belongs, with its unit and its sign."""

from __future__ import annotations

from ser_core import tables


def test_the_robustness_table_says_what_each_condition_costs() -> None:
    metrics = {
        "robustness": {
            "unchanged": {
                "speech": {"accuracy": 0.75, "cost": 0.0},
                "song": {"accuracy": 0.8, "cost": 0.0},
                "no_speech": 1,
            },
            "small room": {
                "speech": {"accuracy": 0.7, "cost": 0.05},
                "song": {"accuracy": 0.82, "cost": -0.02},
                "no_speech": 3,
            },
        }
    }
    assert tables.robustness(metrics).splitlines() == [
        "| as recorded | speech | cost | song | cost | no voice found |",
        "| --- | --- | --- | --- | --- | --- |",
        "| unchanged | 75.0 % |  | 80.0 % |  | 1 |",
        "| small room | 70.0 % | +5.0 | 82.0 % | -2.0 | 3 |",
    ]


def test_the_table_of_what_is_no_voice_keeps_human_sounds_apart() -> None:
    metrics = {
        "not_voices": {
            "baby_cry": {"n": 8, "human": True, "no_speech": 0.25, "refused": 0.5},
            "rain": {"n": 8, "human": False, "no_speech": 0.875, "refused": 1.0},
        }
    }
    assert tables.not_voices(metrics).splitlines() == [
        "| sound | recordings | no voice found | no emotion claimed |",
        "| --- | --- | --- | --- |",
        "| rain | 8 | 87.5 % | 100.0 % |",
        "| baby cry (human) | 8 | 25.0 % | 50.0 % |",
    ]


def test_the_table_of_other_recordings_names_what_was_heard() -> None:
    found = {
        "n": 1466,
        "emotions": ["neutral", "happy"],
        "trained_on": ["nemo", "ravdess"],
        "accuracy": 0.5,
        "uar": 0.45,
        "recall": {},
    }
    assert tables.other_recordings({"other_recordings": {"banglaser": found}}).splitlines() == [
        "| never heard in training | trained on | emotions | clips | UAR | accuracy |",
        "| --- | --- | --- | --- | --- | --- |",
        "| banglaser | nemo, ravdess | 2 | 1,466 | **45.0 %** | 50.0 % |",
    ]


def test_seeds_stand_below_each_other() -> None:
    metrics = {
        "seeds": {
            "0": {"speech": {"0": 0.84, "1": 0.8}, "song": {"0": 0.83, "1": 0.85}},
            "1": {"speech": {"0": 0.82, "1": 0.81}, "song": {"0": 0.9, "1": 0.7}},
        }
    }
    assert tables.seeds(metrics).splitlines() == [
        "| seed | speech, fold 0 | speech, fold 1 | song, fold 0 | song, fold 1 |",
        "| --- | --- | --- | --- | --- |",
        "| 0 | 84.0 % | 80.0 % | 83.0 % | 85.0 % |",
        "| 1 | 82.0 % | 81.0 % | 90.0 % | 70.0 % |",
    ]


def test_the_probe_is_told_in_a_sentence() -> None:
    found = {"corpora": ["ravdess", "nemo", "banglaser"], "before": 0.99, "after": 0.8, "chance": 1 / 3}
    told = tables.probe({"probe": found})
    assert "these 3 corpora" in told
    assert "99.0 % of the clips of unheard speakers as they are" in told
    assert "80.0 % as training hears them (chance: 33.3 %)" in told


def channel(confidence: float, accuracy: float) -> dict[str, object]:
    return {
        "reliability": [{"n": 1200, "confidence": confidence, "accuracy": accuracy}],
        "coverage": [{"coverage": step / 4, "accuracy": accuracy - step / 100} for step in (1, 2, 3, 4)],
    }


def test_confidence_and_accuracy_stand_side_by_side_for_each_channel() -> None:
    metrics = {"actor_independent": {"speech": channel(0.8, 0.75), "song": channel(0.9, 0.95)}}
    assert tables.reliability(metrics).splitlines()[2:] == [
        "| speech | 80.0 % | 1,200 | 75.0 % |",
        "| song | 90.0 % | 1,200 | 95.0 % |",
    ]


def test_accuracy_is_told_for_every_second_share_that_is_answered() -> None:
    metrics = {"actor_independent": {"speech": channel(0.8, 0.75), "song": channel(0.9, 0.95)}}
    assert tables.coverage(metrics).splitlines() == [
        "| answered, surest first | speech | song |",
        "| --- | --- | --- |",
        "| 50 % | 73.0 % | 93.0 % |",
        "| 100 % | 71.0 % | 91.0 % |",
    ]
