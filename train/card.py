"""The model card: a verified bundle -> Markdown with front matter. Every figure comes from the bundle's own files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ser_core import examples, tables
from ser_core.attribution import CHANGES, RAVDESS, WHISPER, is_pretrained, trained_on
from ser_core.config import CONTRACT
from ser_core.emotions import LABELS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from huggingface_hub import EvalResult, ModelCardData

    from ser_core.bundle import Bundle

PLOTS = "plots"
"""The folder of the pictures, beside the card."""
TASK = "audio-classification"
TAGS = ("speech-emotion-recognition", "emotion-recognition", TASK, "speech", "ravdess", "openvino", "onnx")


def make(shipped: Bundle, *, repo_id: str, plots: Sequence[str] = ()) -> str:
    """The whole card.

    Args:
        shipped: a bundle that `ser_core.bundle.read` verified.
        repo_id: USER/NAME on the Hub, for the lines that load it.
        plots: names of the pictures in the folder `PLOTS`, see `train.card_plots.draw`.

    Returns:
        Markdown; parts whose figures the bundle doesn't hold are left out.
    """
    from huggingface_hub import ModelCard

    metrics = shipped.metrics()
    parts = (
        _what(shipped),
        _USE,
        _training_data(shipped),
        _loading(shipped, repo_id),
        _contract(shipped),
        _evaluation(shipped, metrics),
        _pictures(plots),
        _examples(shipped),
        _versions(shipped),
        _attribution(shipped),
    )
    body = "\n\n".join(part for part in parts if part)
    return str(ModelCard(f"---\n{front_matter(shipped, metrics).to_yaml()}\n---\n\n{body}\n"))


def front_matter(shipped: Bundle, metrics: Mapping[str, Any]) -> ModelCardData:
    """What the Hub reads of the card: licence, task, tags, data sets and the model index."""
    from huggingface_hub import ModelCardData

    return ModelCardData(
        language=[source.language for _, source in trained_on(shipped.training) if source] or None,
        license=shipped.licence.lower(),
        library_name="openvino",
        pipeline_tag=TASK,
        tags=list(TAGS),
        # The Hub links to those that it has; the others are in the card's table.
        datasets=[source.dataset for _, source in trained_on(shipped.training) if source and "/" in source.dataset]
        or None,
        metrics=["accuracy", "recall"],
        model_name=shipped.name,
        eval_results=eval_results(shipped, metrics) or None,
    )


def eval_results(shipped: Bundle, metrics: Mapping[str, Any]) -> list[EvalResult]:
    """Accuracy and UAR of each channel for the model index, under a name that says how they were measured."""
    from huggingface_hub import EvalResult

    found = []
    for channel, values in metrics.get("actor_independent", {}).items():
        # The Hub's metrics know UAR as recall, averaged over classes; "balanced accuracy" is none of them.
        for kind, value, name, averaging in (
            ("accuracy", values["accuracy"], "accuracy", None),
            ("recall", values["uar"], "UAR (unweighted average recall, balanced accuracy)", {"average": "macro"}),
        ):
            result = EvalResult(
                task_type=TASK,
                task_name="speech emotion recognition",
                dataset_type=next((source.dataset for _, source in trained_on(shipped.training) if source), "own"),
                dataset_name=f"{metrics['protocol'].partition(';')[0]}, actor-independent, {channel} alone",
                dataset_config=channel,
                dataset_split="test",
                metric_type=kind,
                metric_name=name,
                metric_value=round(value, 4),
                metric_args=averaging,
            )
            found.append(result)
    return found


def _what(shipped: Bundle) -> str:
    training = shipped.training
    recipe = training.get("recipe")
    members = recipe.get("members", 1) if isinstance(recipe, dict) else 1
    size = f" with {training['parameters']:,} parameters together" if "parameters" in training else ""
    networks = f"{members} small convolutional networks" if members > 1 else "A small convolutional network"
    if is_pretrained(training):
        networks += " and a logistic regression on what the first layers of OpenAI's Whisper tiny.en make of it,"
    return (
        f"# Emotion in a voice: {shipped.name} {shipped.version}\n\n"
        f"Tells which of eight acted emotions ({', '.join(LABELS)}) a voice sounds like, how sure it is, and which "
        f"stretch of the sound told it. {networks}{size} read a log-mel spectrogram of {shipped.features.n_mels} "
        "bands; attention over time pools what they find. They run on a CPU, in milliseconds.\n\n"
        "This repository is a *bundle*: the weights as ONNX (FP32) and as OpenVINO IR (FP16, INT8), `bundle.json` with "
        "labels, feature config, calibration and the SHA-256 of every file, and `metrics.json` with every figure below."
    )


_USE = """## What it is for, and what not

A demonstration, a lesson in what such a model can and can't do, and a starting point for one's own. It learned from
people who *acted* emotions, and hears what an emotion sounds like when acted, not what anyone feels. A voice in another
language, of a child or under real feeling is something else.

It must not be used to judge people: not at work or in schools (where the EU forbids it), not in medicine, hiring,
policing or insurance. The weights may not be used commercially (see the licence below)."""


def _training_data(shipped: Bundle) -> str:
    if not (sources := trained_on(shipped.training)):
        return ""
    lines = ["## Training data", "", "| corpus | voices | licence |", "| --- | --- | --- |"]
    lines += [
        f"| {source.title} | {source.voices} | {source.licence} |"
        if source
        else f"| {name} | not stated | not stated |"
        for name, source in sources
    ]
    if "train_clips" in shipped.training:
        lines += ["", f"{shipped.training['train_clips']:,} clips, of all speakers of these corpora."]
    return "\n".join(lines)


def _loading(shipped: Bundle, repo_id: str) -> str:
    return f"""## Use it

With the code of the project, in its folder; OpenVINO runs the {shipped.precision.upper()} weights unless `precision=` \
says otherwise:

```python
import ser_core

recognizer = ser_core.load("{repo_id}")  # or "{repo_id}@COMMIT"
prediction = recognizer.predict("voice.wav")
print(prediction.state, prediction.label, prediction.confidence, prediction.probabilities)
```

Name a commit, so that the weights never change by themselves. Where nobody speaks or sings,
the project's code claims no emotion; the voice detector that sees to it is not part of this repository."""


def _contract(shipped: Bundle) -> str:
    config, calibration, stride = shipped.features, shipped.calibration, CONTRACT.attention_stride
    rows = (
        ("", "name", "float32 of shape", "meaning"),
        ("---",) * 4,
        ("input", f"`{CONTRACT.input}`", f"(B, 1, {config.n_mels}, T)", "log-mel spectrogram in [-1, 1]"),
        ("output", f"`{CONTRACT.logits}`", f"(B, {len(LABELS)})", f"{', '.join(LABELS)}, in this order"),
        ("output", f"`{CONTRACT.attention}`", f"(B, T / {stride})", f"weight of each {stride} frames; sums to 1"),
    )
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"""### The network alone

`model.onnx`, `model-fp16.xml` and `model-int8.xml` keep one contract, for B stretches of sound with T frames each:

{table}

T is a multiple of {config.frame_step} and at least {config.min_frames}. The spectrogram is librosa's `melspectrogram` \
of the trimmed sound, mono at {config.sample_rate:,} Hz (`n_fft={config.n_fft}, hop_length={config.hop_length}, \
n_mels={config.n_mels}, fmin={config.f_min:g}, fmax={config.f_max:g}`), in dB below its loudest bin, with \
-{config.dynamic_range_db:g} to 0 dB mapped to -1 to 1 and -1 filled in behind the end. A recording of more than \
{config.one_piece_s:g} s is judged in windows of {config.window_s:g} s every {config.window_hop_s:g} s. Probabilities \
are `softmax(logits / {calibration.temperature:.4f})`; an answer whose highest one lies below \
{calibration.uncertain_below:.3f} is called uncertain."""


def _evaluation(shipped: Bundle, metrics: dict[str, Any]) -> str:
    """The tables of README.md, as far as the bundle has figures for them."""
    if "actor_independent" not in metrics:
        return ""
    channels = metrics["actor_independent"]
    parts = [
        f"## Evaluation\n\n{metrics['protocol']}.",
        tables.results(metrics),
        tables.CHOICES if trained_on(shipped.training)[:1] == [("ravdess", RAVDESS)] else "",
        tables.recalls(metrics),
    ]
    if "speech" in channels:
        parts.append(tables.calibration(metrics))
    if {"speech", "song"} <= set(channels):
        parts.append(tables.precisions(metrics, shipped))
    for name, title, table in (
        ("robustness", "As people really record", tables.robustness),
        ("not_voices", "What is no voice", tables.not_voices),
        ("seeds", "The same recipe from other seeds", tables.seeds),
        ("other_recordings", "Corpora never heard in training", tables.other_recordings),
    ):
        if name in metrics:
            parts += [f"### {title}", table(metrics)]
    return "\n\n".join(part for part in parts if part)


def _pictures(plots: Sequence[str]) -> str:
    lines = [f"![{_describe(name)}]({PLOTS}/{name})" for name in plots]
    return "\n\n".join(["### Pictures", *lines]) if lines else ""


def _describe(plot: str) -> str:
    """A picture in words, by its file name."""
    kind, _, channel = plot.removesuffix(".png").partition("-")
    return {
        "confusion": f"Confusion matrix of {channel}: acted emotion by row, answer by column, per cent of the row",
        "reliability": "Reliability diagram: accuracy over confidence, for speech and song",
        "coverage": "Accuracy over the share of clips that are answered, surest first, for speech and song",
    }.get(kind, plot)


def _examples(shipped: Bundle) -> str:
    found = examples.of(shipped)
    if found is None:
        return ""
    names = ", ".join(f"`{path.name}`" for path in found.clips)
    return (
        f"## Example clips\n\nThe page offers them to visitors: {names}. {found.credit}. The networks were trained on "
        "these very clips, so that their answers to them measure nothing."
    )


def _versions(shipped: Bundle) -> str:
    training = shipped.training
    lines = [f"- {name} {version}" for name, version in training.get("versions", {}).items()]
    if "torch" in training and "device" in training:
        lines.append(f"- trained with torch {training['torch']} on {training['device']}")
    if "recipe_hash" in training and isinstance(training["recipe"], dict):
        lines.append(
            f"- recipe `{training['recipe'].get('name')}` ({training['recipe_hash']}), data {training['data_digest']}"
        )
    lines.append(f"- SHA-256 of `bundle.json`: {shipped.revision}")
    return "\n".join(["## Made with", "", *lines])


def _attribution(shipped: Bundle) -> str:
    lines = [f"- {source}" for _, source in trained_on(shipped.training) if source]
    terms = f"## Licence and attribution\n\nThe weights are under {shipped.licence}"
    if "LICENSE.md" in shipped.files:
        terms += " ([LICENSE.md](LICENSE.md))"
    if not lines:
        return f"{terms}."
    said = [CHANGES, "", WHISPER] if is_pretrained(shipped.training) else [CHANGES]
    return "\n".join([f"{terms}, as these corpora ask:", "", *lines, "", *said])
