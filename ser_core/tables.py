"""Tables of a model's metrics as Markdown, the same in README, model card and page.

Each is a function of `metrics`, see `train.figures.of`, and raises KeyError where these lack what it tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ser_core import bundle

if TYPE_CHECKING:
    from collections.abc import Mapping

CHOICES = (
    "Intervals come from a bootstrap over actors. Not every choice is free of them: trials were judged on validation "
    "actors who are test actors of folds 0, 1 and 3, and how Whisper's layers are read, and how much that counts, was "
    "first looked at on the test actors of all folds."
)
"""What has to be said beside `results` of a recipe that is tested on RAVDESS."""


def results(metrics: Mapping[str, Any]) -> str:
    """The headline: accuracy and UAR of speech and of song on actors never heard in training."""
    tested = metrics["protocol"].partition(",")[0]
    head = (
        f"| {tested}, eight emotions | clips | accuracy | 95 % interval over actors "
        "| UAR | folds, mean ± std | folds 1 to 4 | each fold |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- |\n"
    )
    rows = []
    for channel, values in metrics["actor_independent"].items():
        low, high = values["interval_95"]["accuracy"]
        cells = (
            channel,
            f"{values['n']:,}",
            f"**{percent(values['accuracy'])}**",
            f"{percent(low)} to {percent(high)}",
            percent(values["uar"]),
            f"{percent(values['mean']['accuracy'])} ± {100 * values['std']['accuracy']:.1f}",
            percent(values["folds_1_to_4"]["accuracy"]),
            ", ".join(f"{100 * fold['accuracy']:.1f}" for fold in values["folds"]),
        )
        rows.append("| " + " | ".join(cells) + " |")
    return head + "\n".join(rows)


def recalls(metrics: Mapping[str, Any]) -> str:
    """How many clips of each emotion were recognised."""
    channels = metrics["actor_independent"]
    lines = [
        "| recall | " + " | ".join(metrics["labels"]) + " |",
        "| --- |" + " --- |" * len(metrics["labels"]),
    ]
    for channel, values in channels.items():
        cells = ["not sung" if value is None else percent(value) for value in values["recall"].values()]
        lines.append(f"| {channel} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def precisions(metrics: Mapping[str, Any], shipped: bundle.Bundle) -> str:
    """Accuracy of the same five networks as FP32, FP16 and INT8, and the size of the files that ship."""
    lines = ["| weights | speech | song | size |", "| --- | --- | --- | --- |"]
    for precision, values in metrics["precisions"].items():
        size = sum(shipped.files[name].size for name in bundle.MODEL_FILES[precision]) / 2**20
        chosen = " (default)" if precision == metrics["precision"] else ""
        lines.append(
            f"| {precision.upper()}{chosen} | {percent(values['speech'], 2)} | {percent(values['song'], 2)} "
            f"| {size:.1f} MB |"
        )
    return "\n".join(lines)


def robustness(metrics: Mapping[str, Any]) -> str:
    """Accuracy of the same test clips as people really record them."""
    table = metrics["robustness"]
    channels = [name for name in table["unchanged"] if name != "no_speech"]
    lines = [
        "| as recorded | " + " | ".join(f"{channel} | cost" for channel in channels) + " | no voice found |",
        "| --- |" + " --- | --- |" * len(channels) + " --- |",
    ]
    for name, values in table.items():
        cells = []
        for channel in channels:
            cost = 100 * values[channel]["cost"]
            cells += [percent(values[channel]["accuracy"]), "" if name == "unchanged" else f"{cost:+.1f}"]
        cells.append(str(values["no_speech"]))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def other_recordings(metrics: Mapping[str, Any]) -> str:
    """Corpora that training never heard."""
    lines = ["| never heard in training | trained on | emotions | clips | UAR | accuracy |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for corpus, values in metrics["other_recordings"].items():
        cells = (
            corpus,
            ", ".join(values["trained_on"]),
            str(len(values["emotions"])),
            f"{values['n']:,}",
            f"**{percent(values['uar'])}**",
            percent(values["accuracy"]),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def seeds(metrics: Mapping[str, Any]) -> str:
    """Accuracy of the same recipe from other seeds, fold by fold."""
    table = metrics["seeds"]
    folds = sorted({fold for values in table.values() for one in values.values() for fold in one}, key=int)
    channels = list(next(iter(table.values())))
    lines = ["| seed | " + " | ".join(f"{channel}, fold {fold}" for channel in channels for fold in folds) + " |"]
    lines.append("| --- |" + " --- |" * (len(channels) * len(folds)))
    for seed, values in table.items():
        cells = [percent(values[channel][fold]) for channel in channels for fold in folds]
        lines.append(f"| {seed} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def probe(metrics: Mapping[str, Any]) -> str:
    """How much the sound of a clip still says of the corpus that it comes from, in a sentence."""
    found = metrics["probe"]
    return (
        f"A linear classifier that sees only each band's mean and spread tells these {len(found['corpora'])} corpora "
        f"apart in {percent(found['before'])} of the clips of unheard speakers as they are, and in "
        f"{percent(found['after'])} as training hears them (chance: {percent(found['chance'])})."
    )


def not_voices(metrics: Mapping[str, Any]) -> str:
    """How often what is no voice gets no emotion."""
    lines = ["| sound | recordings | no voice found | no emotion claimed |", "| --- | --- | --- | --- |"]
    for kind, values in sorted(metrics["not_voices"].items(), key=lambda item: item[1]["human"]):
        name = kind.replace("_", " ") + (" (human)" if values["human"] else "")
        lines.append(f"| {name} | {values['n']} | {percent(values['no_speech'])} | {percent(values['refused'])} |")
    return "\n".join(lines)


def calibration(metrics: Mapping[str, Any]) -> str:
    """How far confidence can be trusted, in a sentence."""
    speech = metrics["actor_independent"]["speech"]
    clips = sum(values["n"] for values in metrics["actor_independent"].values())
    return (
        f"Expected calibration error on speech: {speech['ece']:.3f}. The surer half of the spoken clips is right in "
        f"{percent(speech['accuracy_surer_half'])}. Below a confidence of "
        f"{100 * metrics['calibration']['uncertain_below']:.0f} % the page says that it isn't sure. "
        f"In {metrics['no_speech']} of the {clips:,} clips no voice was found."
    )


def reliability(metrics: Mapping[str, Any]) -> str:
    """Of clips with about the same confidence, how many were right."""
    lines = ["| clips | how sure, on average | how many | right |", "| --- | --- | --- | --- |"]
    for channel, values in metrics["actor_independent"].items():
        lines += [
            f"| {channel} | {percent(one['confidence'])} | {one['n']:,} | {percent(one['accuracy'])} |"
            for one in values["reliability"]
        ]
    return "\n".join(lines)


def coverage(metrics: Mapping[str, Any]) -> str:
    """Accuracy where only the surest clips are answered, at every second step."""
    channels = metrics["actor_independent"]
    lines = ["| answered, surest first | " + " | ".join(channels) + " |", "| --- |" + " --- |" * len(channels)]
    for steps in list(zip(*(values["coverage"] for values in channels.values()), strict=True))[1::2]:
        cells = " | ".join(percent(one["accuracy"]) for one in steps)
        lines.append(f"| {percent(steps[0]['coverage'], 0)} | {cells} |")
    return "\n".join(lines)


def percent(share: float, digits: int = 1) -> str:
    """A share in [0, 1] as text, in per cent."""
    return f"{100 * share:.{digits}f} %"
