"""What the page says of its model: the bundle's own figures, and nothing of a stranger's that is more than text."""

from __future__ import annotations

import copy
import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import gradio as gr
import pytest

from page import about, confusion, measured
from page.plain import MAX_CHARACTERS, MAX_ENTRIES, harmless, plain
from ser_core import bundle
from ser_core.attribution import RAVDESS, SOURCES, WHISPER
from ser_core.emotions import LABELS
from ser_core.prediction import ModelInfo
from tests import bundles

if TYPE_CHECKING:
    from pathlib import Path

    from page.measured import Section
    from ser_core.bundle import Bundle

INFO = ModelInfo("small", "1.2.3", "bundled copy", None, "fp16")
EVIL = (
    "</td><img src=x onerror=alert(1)> ![t](https://evil.example/t.png) [x](https://evil.example) https://evil.example "
    'WWW.evil.example me@evil.example $$x$$ **b** __b__ | `c` ${1} {{x}} <!-- \\[ " \n\n# title'
)
UNMEASURED = "Not measured, as far as this model's own figures tell"
MEASURED = {
    "How often it is right": "actor_independent",
    "Which emotions it mixes up": "actor_independent",
    "What its per cents mean": "actor_independent",
    "As people really record": "robustness",
    "What is no voice": "not_voices",
    "Other recordings": "other_recordings",
}
"""Titles of what is told of figures, and the entry of the metrics without which there is nothing to tell."""


def channel(accuracy: float, matrix: list[list[int]]) -> dict[str, Any]:
    fold = {"speakers": ["1"], "n": 40, "accuracy": accuracy, "uar": accuracy}
    totals = [sum(row) for row in matrix]
    return {
        "n": 1234,
        "accuracy": accuracy,
        "uar": 0.521,
        "interval_95": {"accuracy": [accuracy - 0.05, accuracy + 0.05], "uar": [0.4, 0.6]},
        "folds": [{**fold, "fold": number} for number in range(5)],
        "mean": {"accuracy": 0.5, "uar": 0.5},
        "std": {"accuracy": 0.01, "uar": 0.01},
        "folds_1_to_4": {"accuracy": 0.5, "uar": 0.5},
        "recall": {
            label: row[number] / total if total else None
            for number, (label, row, total) in enumerate(zip(LABELS, matrix, totals, strict=True))
        },
        "confusion": matrix,
        "ece": 0.0471,
        "reliability": [
            {"n": 21, "confidence": 0.31, "accuracy": 0.29},
            {"n": 57, "confidence": 0.79, "accuracy": 0.68},
        ],
        "coverage": [{"coverage": step / 4, "accuracy": 1 - step / 10} for step in (1, 2, 3, 4)],
        "accuracy_surer_half": 0.9123,
    }


def matrix(absent: int = 0) -> list[list[int]]:
    """Eight of ten right, and two taken for the next emotion; the last `absent` emotions have no clips."""
    return [
        [8 if column == row else 2 if column == (row + 1) % 8 else 0 for column in range(8)]
        if row < 8 - absent
        else [0] * 8
        for row in range(8)
    ]


def figures() -> dict[str, Any]:
    """Figures such as no network has, so that each is found by its value."""
    spoken = matrix()
    spoken[3] = [0, 0, 0, 3, 0, 7, 0, 0]
    return {
        "labels": list(LABELS),
        "protocol": "RAVDESS, eight classes, five folds by actor; every clip judged once",
        "precision": "fp16",
        "actor_independent": {"speech": channel(0.613, spoken), "song": channel(0.747, matrix(absent=2))},
        "precisions": {"fp16": {"speech": 0.6131, "song": 0.7472}},
        "no_speech": 3,
        "calibration": {"uncertain_below": 0.5512},
        "robustness": {
            "unchanged": {"speech": {"accuracy": 0.613, "cost": 0.0}, "no_speech": 0},
            "small room": {"speech": {"accuracy": 0.587, "cost": 0.026}, "no_speech": 2},
            "babble, 5 dB": {"speech": {"accuracy": 0.213, "cost": 0.4}, "no_speech": 1},
        },
        "not_voices": {
            "rain": {"n": 30, "human": False, "no_speech": 0.5, "refused": 0.9},
            "dog_bark": {"n": 10, "human": False, "no_speech": 0.5, "refused": 0.5},
            "baby_cry": {"n": 8, "human": True, "no_speech": 0.25, "refused": 0.5},
        },
        "other_recordings": {
            "elsewhere": {"n": 99, "emotions": ["sad"], "trained_on": ["ravdess"], "accuracy": 0.341, "uar": 0.332}
        },
    }


TRAINING: dict[str, Any] = {
    "recipe": {"corpora": ["ravdess", "own"], "members": 3},
    "parameters": 3_020_109,
    "train_clips": 8399,
}


def opened(**changes: Any) -> Bundle:
    """A bundle as far as the page asks for one."""
    files = {"model-fp16.xml": bundle.FileRecord("0", 2**20), "model-fp16.bin": bundle.FileRecord("0", 2**20)}
    fields = {"licence": "CC-BY-NC-SA-4.0", "training": TRAINING, "files": files, "revision": "f" * 64}
    return SimpleNamespace(**{**fields, **changes})  # type: ignore[return-value]


def told(metrics: dict[str, Any], held: Bundle | None = None, info: ModelInfo = INFO) -> dict[str, str]:
    """All that stands under each title."""
    return {section.title: whole(section) for section in about.content(info, metrics, held)}


def whole(section: Section) -> str:
    parts = [section.title, section.words]
    for fold in section.folds:
        parts += [fold.label, fold.words, fold.table, fold.matrix]
    return "\n".join(parts)


# Figures


def test_the_headline_is_the_accuracy_on_unheard_actors_with_its_interval_and_protocol() -> None:
    said = told(figures())["How often it is right"]
    assert "**61.3 %** of 1,234 spoken clips (95 % interval: 56.3 % to 66.3 %)" in said
    assert "**74.7 %** of 1,234 sung clips (95 % interval: 69.7 % to 79.7 %)" in said
    assert "Guessing blindly among 8 emotions would be right in 12.5 %." in said
    assert "five folds by actor; every clip judged once" in said
    assert "about two thirds" in said
    assert "can't be compared" in said


def test_what_holds_for_ravdess_alone_is_not_said_of_other_recordings() -> None:
    said = told({**figures(), "protocol": "own, eight classes, five folds by speaker"})["How often it is right"]
    assert "**61.3 %**" in said
    assert "| own, eight emotions |" in said
    for of_ravdess in ("two thirds", "98 %", "folds 0 and 1", "RAVDESS"):
        assert of_ravdess not in said


CHANGES = [
    (("actor_independent", "speech", "accuracy"), 0.4321, "43.2 %", "How often it is right"),
    (("actor_independent", "song", "interval_95", "accuracy"), [0.1119, 0.9], "11.2 %", "How often it is right"),
    (("actor_independent", "speech", "uar"), 0.1234, "12.3 %", "How often it is right"),
    (("protocol",), "own, by hand", "own, by hand", "How often it is right"),
    (("actor_independent", "speech", "recall", "happy"), 0.0123, "“happy” least (1.2 %)", "Which emotions it mixes up"),
    (("actor_independent", "song", "recall", "calm"), 0.4567, "45.7 %", "Which emotions it mixes up"),
    (("actor_independent", "speech", "ece"), 0.0777, "7.8 points", "What its per cents mean"),
    (("calibration", "uncertain_below"), 0.3333, "Below 33 %", "What its per cents mean"),
    (("actor_independent", "song", "reliability", 0, "accuracy"), 0.4444, "44.4 %", "What its per cents mean"),
    (("actor_independent", "song", "coverage", 1, "accuracy"), 0.5454, "54.5 %", "What its per cents mean"),
    (
        ("robustness", "small room", "speech", "accuracy"),
        0.1357,
        "small room. Of the spoken",
        "As people really record",
    ),
    (("not_voices", "rain", "refused"), 0.1, "20.0 %", "What is no voice"),
    (("other_recordings", "elsewhere", "uar"), 0.2468, "24.7 %", "Other recordings"),
    (("precisions", "fp16", "song"), 0.3579, "35.79 %", "Which model answers"),
]


@pytest.mark.parametrize(("path", "value", "text", "title"), CHANGES)
def test_a_changed_figure_changes_what_is_said(path: tuple[Any, ...], value: Any, text: str, title: str) -> None:
    metrics = figures()
    before = told(metrics, opened())
    changed = copy.deepcopy(metrics)
    place: Any = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    after = told(changed, opened())
    assert text not in before[title]
    assert text in after[title]


def test_the_emotion_that_is_mixed_up_most_is_named_with_what_it_is_taken_for() -> None:
    said = told(figures())["Which emotions it mixes up"]
    assert "“sad” least (30.0 %), which it most often takes for “fearful” (70.0 %)" in said
    assert "There are no sung clips that act disgust or surprised." in said
    assert "no spoken clips" not in said


def test_what_a_per_cent_means_is_told_of_the_confidences_near_it() -> None:
    assert (
        "Of 57 spoken clips whose answer came with about 79 %, 68 % were right."
        in (told(figures())["What its per cents mean"])
    )


def test_sounds_that_people_make_dont_count_where_nothing_human_should_be_heard() -> None:
    assert "Of 40 such recordings without a human sound that was so in 80.0 %." in told(figures())["What is no voice"]


@bundles.needs_shipped
def test_the_model_that_ships_has_every_figure_and_figures_of_its_own() -> None:
    shipped = bundle.outline(bundle.BUNDLED)
    metrics = shipped.metrics()
    said = told(metrics, shipped)
    for title, entry in MEASURED.items():
        assert (UNMEASURED in said[title]) == (entry not in metrics)
    for values in metrics["actor_independent"].values():
        assert f"**{100 * values['accuracy']:.1f} %** of {values['n']:,}" in said["How often it is right"]
    for row in metrics["actor_independent"]["speech"]["confusion"]:
        assert f">{100 * max(row) / sum(row):.0f}&nbsp;%</td>" in said["Which emotions it mixes up"]
    assert set(metrics["robustness"]) <= set(re.findall(r"^\| (.+?) \|", said["As people really record"], re.M))
    assert f"{shipped.training['parameters']:,} parameters" in said["Which model answers"]
    assert not re.search(r"\bNone\b|\bnan\b", "\n".join(said.values()))


# What isn't there


@pytest.mark.parametrize("title", MEASURED)
def test_what_was_not_measured_is_said_to_be_not_measured(title: str) -> None:
    metrics = figures()
    del metrics[MEASURED[title]]
    assert told(figures())[title].count(UNMEASURED) == 0
    assert f"\n{UNMEASURED}: " in told(metrics)[title]


def test_a_model_without_figures_has_the_same_sections() -> None:
    bare = told({}, opened())
    assert list(bare) == list(told(figures(), opened()))
    assert [title for title, said in bare.items() if UNMEASURED in said] == ["Which model answers", *MEASURED]


@pytest.mark.parametrize(
    "nonsense", [None, [], {}, "text", 0, {"speech": None}, {"speech": {"accuracy": "1"}}, float("nan")]
)
@pytest.mark.parametrize("entry", list(figures()))
def test_figures_that_cant_be_read_are_as_good_as_none(entry: str, nonsense: Any) -> None:
    said = told({**figures(), entry: nonsense}, opened())
    for title, needed in MEASURED.items():
        if needed == entry and title != "How often it is right":
            assert UNMEASURED in said[title]
    assert "nan" not in re.findall(r"\w+", "\n".join(said.values()))


def test_speech_alone_is_told_without_song() -> None:
    metrics = figures()
    del metrics["actor_independent"]["song"]
    said = told(metrics)
    assert all(UNMEASURED not in said[title] for title in MEASURED)
    assert "sung" not in "".join(said[title] for title in MEASURED)


def test_without_a_bundle_licence_and_training_remain_unsaid() -> None:
    said = told(figures())
    assert "weights of the model: not stated here." in said["Licences"]
    assert "Size: not stated" in said["Which model answers"]
    assert "Learned from: not stated" in said["Which model answers"]


# Which model, whose work


def test_the_model_is_named_by_all_that_tells_it_from_others() -> None:
    held = opened()
    said = told(figures(), held, replace(INFO, revision="c" * 40))["Which model answers"]
    for part in (
        "**small 1.2.3**: bundled copy",
        "FP16",
        f"Commit on the Hub: <code>{'c' * 40}</code>",
        "3 small networks",
    ):
        assert part in said
    assert "3,020,109 parameters" in said
    assert "8,399 clips of RAVDESS, own" in said
    assert (
        f"bundle.json): <code>{held.revision}"
        in (told(figures(), held, replace(INFO, revision=held.revision))["Which model answers"])
    )


def test_licences_and_citations_are_those_of_the_corpora_that_it_learned_from() -> None:
    said = told(figures(), opened())["Licences, and how to cite the recordings"]
    assert "CC BY-NC-SA 4.0 (https://creativecommons.org/licenses/by-nc-sa/4.0/)" in said
    assert "10.1371/journal.pone.0196391" in said
    assert RAVDESS.citation in said
    assert SOURCES["nemo"].citation not in said
    assert "Apache-2.0" in said
    assert "MIT-0" in told(figures(), opened(licence="MIT-0", training={}))["Licences"]


def test_a_pretrained_part_is_named_with_its_licence() -> None:
    plain_network, training = told(figures(), opened()), opened().training
    reading = training["recipe"] | {"reader": {"layers": 2}}
    said = told(figures(), opened(training=training | {"recipe": reading}))
    licences = "Licences, and how to cite the recordings"
    assert WHISPER not in plain_network[licences]
    assert WHISPER in said[licences]
    assert "beside the first layers of Whisper" in said["Which model answers"]


def test_limits_are_those_of_the_voices_that_it_learned_from() -> None:
    said = told(figures(), opened())["What it can't do"]
    assert RAVDESS.voices in said
    assert "North American" in said
    assert "recordings own: nothing is known here of their voices" in said
    assert "adults" not in said, "nobody knows whose voices the own ones are"
    known = {"recipe": {"corpora": ["ravdess", "banglaser"]}}
    assert "All these voices are of adults." in told(figures(), opened(training=known))["What it can't do"]


def test_what_is_forbidden_and_what_becomes_of_recordings_is_said_of_every_model() -> None:
    said = told({})
    assert "must not be used to judge" in said["What it must not be used for"]
    assert "at work or in schools" in said["What it must not be used for"]
    assert "deleted from the server within minutes" in said["Your recordings"]


# A stranger's words


class Tags(HTMLParser):
    """Names and attributes of all tags, and the text between them."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile(value: Any) -> Any:
    """Figures in which every text, names of channels and conditions included, is followed by the worst one."""
    if isinstance(value, str):
        return value + EVIL
    if isinstance(value, list):
        return [hostile(entry) for entry in value]
    if isinstance(value, dict):
        return {key: hostile(entry) for key, entry in value.items()}
    return value


def hostile_figures() -> dict[str, Any]:
    metrics: dict[str, Any] = hostile(figures())
    metrics["precision"] = "fp16"
    for values in metrics["actor_independent"].values():
        values["recall"] = {label + EVIL: share for label, share in values["recall"].items()}
    for entry in ("robustness", "not_voices", "other_recordings"):
        metrics[entry].update({name + EVIL: values for name, values in copy.deepcopy(metrics[entry]).items()})
    metrics["not_voices"]["rain"]["n"] = 30
    metrics["robustness"]["small room"]["no_speech"] = EVIL
    return metrics


def test_a_strangers_words_are_never_more_than_text() -> None:
    training = {"recipe": {"corpora": ["ravdess", EVIL], "members": EVIL}, "parameters": EVIL, "train_clips": [EVIL]}
    info = replace(INFO, name=EVIL, version=EVIL, source=EVIL, revision=EVIL)
    said = "\n".join(told(hostile_figures(), opened(licence=EVIL, training=training), info).values())
    ours = "\n".join(told(figures(), opened()).values())
    assert UNMEASURED not in said
    assert "evil" in said
    assert {tag for tag, _ in Tags(said).found} == {tag for tag, _ in Tags(ours).found} | {"code"}
    assert all("onerror" not in attributes for _, attributes in Tags(said).found)
    links = re.findall(r"https?:\S+|\bwww\.\S+|\S+@\S+|\]\([^)]*\)", said, re.IGNORECASE)
    assert [link for link in links if "evil" in link] == []
    for markup in ("**b**", "__b__", "`c`", "$$", "{{", "<!--", "\\[", "\n# title", "| `"):
        assert markup not in said
    assert "</td><img src=x onerror=alert(1)>" in Tags(said).text


def test_plain_text_reads_just_like_it() -> None:
    shown = " ".join(EVIL.split())[: MAX_CHARACTERS - 2]
    assert html.unescape(plain(EVIL)).removesuffix(" …") == shown
    assert plain("noise_floor of white noise, 20 dB (loud); 8.5 % - v1.2") == (
        "noise_floor of white noise, 20 dB (loud); 8.5 % - v1.2"
    )
    assert plain("_a_ __b__") == "&#95;a&#95; &#95;&#95;b&#95;&#95;"
    assert plain("a\u202eb\x00c\n d") == "abc d"
    assert plain(None) == "None"


def test_harmless_figures_are_small_ones() -> None:
    nest: Any = "deep"
    for _ in range(500):
        nest = [nest]
    found = harmless(
        {"many": list(range(1000)), "nest": nest, "inf": float("inf"), "n": 3, "text": "x" * 1000, "<b>": True}
    )
    assert len(found["many"]) == MAX_ENTRIES
    assert len(html.unescape(found["text"])) <= MAX_CHARACTERS
    assert "deep" not in json.dumps(found)
    assert (found["inf"], found["n"], found["&#60;b&#62;"]) == (None, 3, True)


# The table of what is taken for what


def test_the_confusion_matrix_can_be_read_aloud() -> None:
    table = confusion.table([[3, 1, 0], [0, 0, 0], [0, 0, 7]], ["a", "b", "c"], "spoken clips")
    tags = Tags(table).found
    assert [tag for tag, _ in tags].count("caption") == 1
    scopes = [attributes.get("scope") for tag, attributes in tags if tag == "th"]
    assert scopes == ["col"] * 4 + ["row"] * 3
    assert (
        "div",
        {"class": "scrolls", "role": "region", "aria-label": "Confusion matrix of spoken clips", "tabindex": "0"},
    ) in tags
    assert (
        '<th scope="row">a</th><td style="--share: 75%">75&nbsp;%</td><td style="--share: 25%">25&nbsp;%</td>' in table
    )
    assert '<th scope="row">b</th><td colspan="3">no such clips</td>' in table


def test_a_matrix_of_another_size_than_its_labels_is_refused() -> None:
    for wrong in ([[1, 2]], [[1, 2], [3]]):
        with pytest.raises(ValueError, match=r"argument|labels"):
            confusion.table(wrong, ["a", "b"], "clips")


# On the page


def test_the_page_shows_all_of_it_with_long_tables_folded_away(tmp_path: Path) -> None:
    held = bundles.make(tmp_path)
    recognizer: Any = SimpleNamespace(info=INFO, metrics=figures(), tier=None)
    with gr.Blocks() as page, gr.Tab("About"):
        about.build(recognizer, held)
    components = [block for block in page.blocks.values() if isinstance(block, (gr.Markdown, gr.HTML))]
    shown = "\n".join(str(component.value) for component in components).replace("\N{NO-BREAK SPACE}", " ")
    for section in about.content(INFO, figures(), held):
        assert f"## {section.title}" in shown
        for fold in section.folds:
            assert (
                not fold.table
                or about.html_table(fold.label, fold.table)[0].replace("\N{NO-BREAK SPACE}", " ") in shown
            )
            assert fold.matrix in shown
    folds = [block for block in page.blocks.values() if isinstance(block, gr.Accordion)]
    assert folds
    assert not any(fold.open for fold in folds)
    for component in components:
        wide = "| --- |" in str(component.value)
        assert ("scrolls" in component.elem_classes) == wide
        if wide:
            assert isinstance(component.parent, gr.Accordion)


def test_a_label_of_a_fold_is_ours() -> None:
    """Gradio shows it as it is, so nothing of a model's may be in it."""
    labels = {fold.label for section in measured.sections(harmless(hostile_figures())) for fold in section.folds}
    assert labels == {fold.label for section in measured.sections(harmless(figures())) for fold in section.folds}


def test_a_table_becomes_html_whose_cells_say_what_they_are_of() -> None:
    table, beside = about.html_table(
        "Figures", "| clips | right |\n| --- | --- |\n| speech | **69.8 %** |\n\nAnd more."
    )
    assert "<caption>Figures</caption>" in table
    assert '<th scope="col">clips</th><th scope="col">right</th>' in table
    assert '<tr><th scope="row">speech</th><td><strong>69.8\N{NO-BREAK SPACE}%</strong></td></tr>' in table
    assert 'tabindex="0"' in table
    assert beside == "And more."
