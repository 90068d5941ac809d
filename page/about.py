"""About the model: which one it is, how good, what it is for and what not, and whose work it stands on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import gradio as gr

from page import measured, tier, words
from page.measured import Section
from page.plain import harmless, plain
from ser_core.attribution import CHANGES, RAVDESS, SHARE_ALIKE, WHISPER, is_pretrained, trained_on

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ser_core.bundle import Bundle
    from ser_core.prediction import ModelInfo
    from ser_core.recognizer import Recognizer

_PRECISIONS = {
    "fp32": "weights as they were trained, of 32 bits",
    "fp16": "weights of 16 bits, half the size",
    "int8": "weights and sums of 8 bits, the smallest and fastest",
}
_BOLD = re.compile(r"\*\*(.+?)\*\*")
_ACT = "https://eur-lex.europa.eu/eli/reg/2024/1689/oj"

MISUSE = f"""It is a demonstration, and a lesson in what such a model can and can't do. **It must not be used to judge
people**: not in hiring, medicine, policing or insurance, and not at work or in schools, where the European Union
forbids systems that infer emotions (Article 5 of the [AI Act]({_ACT}), medical and safety reasons aside). Wherever else
such a system is used on people, the same law wants them to be told (Article 50): tell them before."""

PRIVACY = """Recordings are not kept: each is deleted from the server within minutes, and none is used for training. A
voice is personal: ask its owner before you let this page, or any other, hear someone else's."""


def content(
    info: ModelInfo,
    metrics: Mapping[str, Any],
    opened: Bundle | None = None,
    *,
    runs: str = "run by OpenVINO",
    elsewhere: bool = False,
) -> list[Section]:
    """All that is told, in order.

    Args:
        info: which model answers.
        metrics: what was measured of it; {} where nothing was.
        opened: its bundle, of which the manifest is enough; without it licence and training remain unsaid.
        runs: what runs it, see `tier.runs`.
        elsewhere: whether that is another machine.

    Returns:
        Sections in Markdown in which nothing that came with the model is more than text.
    """
    figures = harmless(dict(metrics))
    training = harmless(opened.training) if opened and isinstance(opened.training, dict) else {}
    return [
        _model(info, figures, opened, training, runs),
        *measured.sections(figures),
        Section("What it can't do", _limits(training)),
        Section("What it must not be used for", MISUSE),
        Section("Your recordings", f"{PRIVACY} {tier.ELSEWHERE}" if elsewhere else PRIVACY),
        _licences(opened, training),
    ]


def build(recognizer: Recognizer, opened: Bundle | None = None) -> None:
    """Lay `content` out, within a `gr.Blocks` or a `gr.Tab`.

    Args:
        recognizer: the model that answers.
        opened: its bundle, of which the manifest is enough.
    """
    told = content(
        recognizer.info,
        recognizer.metrics,
        opened,
        runs=tier.runs(recognizer),
        elsewhere=recognizer.tier is not None,
    )
    for section in told:
        _text(f"## {section.title}\n\n{section.words}")
        for fold in section.folds:
            with gr.Accordion(fold.label, open=False):
                if fold.words:
                    _text(fold.words)
                if fold.table:
                    table, beside = html_table(fold.label, fold.table)
                    gr.HTML(table)
                    if beside:
                        _text(beside)
                if fold.matrix:
                    gr.HTML(fold.matrix)


def html_table(caption: str, markdown: str) -> tuple[str, str]:
    """A table of `ser_core.tables` as HTML, since Gradio's Markdown gives a wide one no box that keys can scroll.

    Args:
        caption: what it shows.
        markdown: a table, and perhaps text around it; what came with the model is `plain` in it.

    Returns:
        The table as HTML; and what is no table, as Markdown.
    """
    lines = markdown.splitlines()
    rows = [line.strip().strip("|").split("|") for line in lines if line.startswith("|")]
    head, _, *body = [[_BOLD.sub(r"<strong>\1</strong>", cell.strip()) for cell in row] for row in rows]
    beside = "\n".join(line for line in lines if not line.startswith("|"))
    return _unbroken(words.table(caption, head, body)), beside.strip()


def _text(markdown: str) -> None:
    # A dollar is a dollar, and starts no formula.
    gr.Markdown(_unbroken(markdown), elem_classes="about", latex_delimiters=[])


def _unbroken(text: str) -> str:
    """With each figure and its per cent on one line."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def _model(
    info: ModelInfo, figures: Mapping[str, Any], opened: Bundle | None, training: Mapping[str, Any], runs: str
) -> Section:
    lines = [
        f"- **{plain(info.name)} {plain(info.version)}**: {plain(info.source)}",
        f"- Precision: {info.precision.upper()} ({_PRECISIONS[info.precision]}), {runs}",
        f"- {_revision(info, opened)}",
        f"- Size: {_size(training)}",
        f"- Learned from: {_corpora(training)}",
    ]
    return Section("Which model answers", "\n".join(lines), (measured.precisions(figures, opened),) if opened else ())


def _revision(info: ModelInfo, opened: Bundle | None) -> str:
    """What names these very weights."""
    if not info.revision:
        return "Revision: not stated"
    fingerprint = opened is not None and info.revision == opened.revision
    kind = "Fingerprint (SHA-256 of its bundle.json)" if fingerprint else "Commit on the Hub"
    return f"{kind}: <code>{plain(info.revision)}</code>"


def _size(training: Mapping[str, Any]) -> str:
    """How many networks and parameters it is made of, as far as that is known."""
    recipe = training.get("recipe")
    members = recipe.get("members", 1) if isinstance(recipe, dict) else None
    read = " beside the first layers of Whisper" if is_pretrained(training) else ""
    told = [
        _count(members, ("small network" if members == 1 else "small networks that answer together") + read),
        _count(training.get("parameters"), "parameters (numbers that were learned)"),
    ]
    return ", ".join(part for part in told if part) or "not stated"


def _corpora(training: Mapping[str, Any]) -> str:
    """Whose voices it heard, as far as that is known."""
    names = [source.title if source else name for name, source in trained_on(training)]
    told = [_count(training.get("train_clips"), "clips"), ", ".join(names)]
    return " of ".join(part for part in told if part) or "not stated"


def _count(number: object, what: str) -> str:
    return f"{number:,} {what}" if type(number) is int else ""


def _limits(training: Mapping[str, Any]) -> str:
    lines = [
        "- It learned from people who acted. It hears what an emotion sounds like when acted, not what anyone feels."
    ]
    corpora = trained_on(training)
    lines += [
        f"- {source.title}: {source.voices}."
        if source
        else f"- The recordings {name}: nothing is known here of their voices."
        for name, source in corpora
    ]
    if not corpora:
        lines.append("- Whose voices it learned from isn't stated.")
    if ("ravdess", RAVDESS) in corpora:
        lines.append("- The English of RAVDESS has a North American accent.")
    if corpora and all(source for _, source in corpora):
        lines.append("- All these voices are of adults.")
    lines.append(
        "- Not measured: real feelings, children and old people, accents, and voices changed by illness. A language "
        "that it never heard it hears far worse, where that was measured (see other recordings), and women and men not "
        "always equally well."
    )
    return "\n".join(lines)


def _licences(opened: Bundle | None, training: Mapping[str, Any]) -> Section:
    if opened is None:
        weights = "not stated here"
    elif opened.licence == "CC-BY-NC-SA-4.0":
        weights = f"{SHARE_ALIKE}: to be used with their makers named, shared under the same terms, and never for money"
    else:
        weights = plain(opened.licence)
    words = (
        f"- The weights of the model: {weights}.\n"
        "- The code of this page: Apache-2.0.\n"
        "- The voice detector: [Silero VAD](https://github.com/snakers4/silero-vad), MIT.\n"
        "- The synthetic example voices: made with espeak-ng."
    )
    if is_pretrained(training):
        words += f"\n- {WHISPER}"
    sources = [f"- {source}" for _, source in trained_on(training) if source]
    if not sources:
        return Section("Licences", words)
    cite = "\n".join([*sources, "", CHANGES])
    return Section("Licences, and how to cite the recordings", f"{words}\n\nIt learned from:\n\n{cite}")
