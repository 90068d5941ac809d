"""A path or an array in, a Prediction out; safe to call from many threads at once."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ser_core import apart, audio, bundle, hub, quality, windows
from ser_core.config import CONTRACT, FeatureConfig, Limits
from ser_core.emotions import LABELS
from ser_core.errors import BundleError, ModelUnavailable, UnsupportedAudio
from ser_core.hub import Located
from ser_core.prediction import ModelInfo, Precision, Prediction, State, Timings, Window
from ser_core.sound import Sound

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ser_core.backends import Backend, Output
    from ser_core.bundle import Bundle, Calibration
    from ser_core.features import LogMel
    from ser_core.remote import RemoteBackend
    from ser_core.stretch import Stretch

log = logging.getLogger("ser.recognizer")

_BATCH = 32
"""Windows in one call of the network: enough to keep it busy, few enough that its memory stays bounded."""


def infer(backend: Backend, spectrograms: Sequence[LogMel]) -> list[Output]:
    """Judge spectrograms of any lengths, those of one length together.

    Args:
        backend: runs the network.
        spectrograms: float32 (n_mels, n_frames) each.

    Returns:
        For each its own output, with B = 1, in the same order.
    """
    from ser_core.backends import Output

    outputs: dict[int, Output] = {}
    for length in {spectrogram.shape[1] for spectrogram in spectrograms}:
        alike = [index for index, spectrogram in enumerate(spectrograms) if spectrogram.shape[1] == length]
        for first in range(0, len(alike), _BATCH):
            chosen = alike[first : first + _BATCH]
            output = backend.infer(np.stack([spectrograms[index] for index in chosen])[:, np.newaxis])
            for row, index in enumerate(chosen):
                outputs[index] = Output(output.logits[row : row + 1], output.attention[row : row + 1])
    return [outputs[index] for index in range(len(spectrograms))]


def probabilities(logits: npt.NDArray[np.float32], temperature: float) -> npt.NDArray[np.float64]:
    """Softmax of `logits / temperature` over the last axis, in double precision so that each row sums to 1."""
    from scipy.special import softmax

    result: npt.NDArray[np.float64] = softmax(logits.astype(np.float64) / temperature, axis=-1)
    return result


def joined(judged: Sequence[Window]) -> npt.NDArray[np.float64]:
    """One answer from the windows of a recording, see `windows.join`: float64 (8,), or (0,) where none has a voice."""
    voiced = [(window.probabilities, window.sound.duration_s) for window in judged if window.sound is not None]
    if not voiced:
        return np.zeros(0)
    return windows.join(np.array([list(row.values()) for row, _ in voiced]), [sound_s for _, sound_s in voiced])


class Recognizer:
    """Hears which of the eight emotions a voice acts. Made by `load`.

    Args:
        backend: runs the network.
        info: which model it is.
        calibration: how its logits are read.
        config: how its features are made.
        limits: which recordings are accepted.
        metrics: what was measured of the model; {} where nothing was.
    """

    def __init__(
        self,
        backend: Backend,
        info: ModelInfo,
        calibration: Calibration,
        *,
        config: FeatureConfig | None = None,
        limits: Limits | None = None,
        metrics: dict[str, Any] | None = None,
    ) -> None:
        self.backend = backend
        self.info = info
        self.calibration = calibration
        self.config = config or FeatureConfig()
        self.limits = limits or Limits()
        self.metrics = metrics or {}

    def __repr__(self) -> str:
        info, mels = self.info, self.config.n_mels
        return (
            f"Recognizer({info.name} {info.version} {info.precision} from {info.source}: "
            f"{CONTRACT.input} (B, 1, {mels}, T) -> {CONTRACT.logits} (B, {len(LABELS)}), "
            f"{CONTRACT.attention} (B, T / {CONTRACT.attention_stride}))"
        )

    @property
    def tier(self) -> RemoteBackend | None:
        """The model servers that run the network; None where it runs here."""
        from ser_core.remote import RemoteBackend

        return self.backend if isinstance(self.backend, RemoteBackend) else None

    def is_available(self) -> bool:
        """Whether recordings can be judged now; where the network runs elsewhere it may take a second to find out."""
        return self.tier is None or self.tier.state() != "down"

    def read(
        self, source: str | os.PathLike[str] | npt.ArrayLike | Sound | None, sample_rate: int | None = None
    ) -> Sound:
        """Decode what `predict` accepts, within this recogniser's limits; raises what `predict` raises."""
        if isinstance(source, Sound):
            if source.sample_rate != self.config.sample_rate:
                raise UnsupportedAudio(
                    f"This Sound was decoded to {source.sample_rate:,} Hz; the model hears {self.config.sample_rate:,} "
                    "Hz. Pass the path, or what this recogniser's read gives."
                )
            return source
        if source is None or isinstance(source, (str, os.PathLike)):
            return audio.read(source, sample_rate=self.config.sample_rate, limits=self.limits)
        return audio.from_array(source, sample_rate, target_rate=self.config.sample_rate, limits=self.limits)

    def predict(
        self, source: str | os.PathLike[str] | npt.ArrayLike | Sound | None, sample_rate: int | None = None
    ) -> Prediction:
        """Judge a recording.

        Args:
            source: a file's path, samples of any integer or float dtype as (n,) or (n, channels), or what `read` gave.
            sample_rate: Hz; needed with samples, ignored otherwise.

        Returns:
            The answer; `no_speech` for what can be read but holds no voice.

        Raises:
            AudioError: what can't be read; see `ser_core.errors`.
            ModelUnavailable: the network runs elsewhere, and can't be reached.
        """
        return self.listen(source, sample_rate)[1]

    def listen(
        self, source: str | os.PathLike[str] | npt.ArrayLike | Sound | None, sample_rate: int | None = None
    ) -> tuple[Sound, Prediction]:
        """Like `predict`, for whoever needs the decoded sound beside the answer, to draw it say."""
        clock = _Clock()
        sound = self.read(source, sample_rate)
        decode_ms = clock.lap()
        parts: list[Stretch] = []
        judged: tuple[Window, ...] = ()
        features_ms = network_ms = 0.0
        for batch in _ahead(windows.batches(sound.samples, self.config)):
            features_ms += clock.lap()
            judged += self.judge(batch)
            # A long recording's spectrograms would fill the memory.
            parts += [dataclasses.replace(part, spectrogram=None) for part in batch]
            network_ms += clock.lap()
        voiced = [window.sound for window in judged if window.sound is not None]
        whole = windows.hull(voiced) if voiced else None
        best = max(parts, key=lambda part: (part.voice_s, part.sound_s))
        notes = quality.notes(
            sound.samples,
            sound.sample_rate,
            peak_dbfs=max(part.peak_dbfs for part in parts),
            # Of the whole recording: measured against one window's, a long one would soon count as overdriven.
            sound_s=whole.duration_s if whole else best.sound_s,
            # Of one window: they overlap, and each is judged by its own.
            voice_s=best.voice_s,
            config=self.config,
        )
        quality_ms = clock.lap()
        state, label, confidence, answer = self._read_out(joined(judged))
        answered = Prediction(
            state=state,
            label=label,
            confidence=confidence,
            probabilities=answer,
            windows=judged,
            sound=whole,
            duration_s=sound.duration_s,
            notes=notes,
            timings=Timings(decode_ms, quality_ms, features_ms, network_ms, clock.total()),
            model=self.info,
        )
        return sound, answered

    def judge(self, parts: Sequence[Stretch]) -> tuple[Window, ...]:
        """Judge windows that are ready for the network, those of one length together; one answer each, in order."""
        outputs = iter(infer(self.backend, [part.spectrogram for part in parts if part.spectrogram is not None]))
        return tuple(self._window(part, next(outputs) if part.spectrogram is not None else None) for part in parts)

    def warm_up(self) -> None:
        """Pay for first calls now (imports, compilation, kernels of the common lengths), so that no visitor does."""
        apart.warm_up()
        rate = 48_000
        # The network must be asked about the tone, too, which is no voice.
        config = dataclasses.replace(self.config, voice_probability=0.0)
        credulous = Recognizer(self.backend, self.info, self.calibration, config=config, limits=self.limits)
        for seconds in (1.0, self.config.one_piece_s, self.config.one_piece_s + self.config.window_hop_s):
            time_s = np.arange(round(seconds * rate)) / rate
            # All but the network is warm, too, where that runs elsewhere and isn't there yet.
            with contextlib.suppress(ModelUnavailable):
                credulous.predict((0.1 * np.sin(2 * np.pi * 220.0 * time_s)).astype(np.float32), rate)

    def _window(self, part: Stretch, output: Output | None) -> Window:
        span, empty = part.span, np.zeros(0)
        if output is None or part.sound is None:
            state, label, confidence, answer = self._read_out(empty)
            return Window(span.start_s, span.end_s, None, state, label, confidence, answer, ())
        row = probabilities(output.logits[0], self.calibration.temperature)
        state, label, confidence, answer = self._read_out(row)
        attention = self._attention(output.attention[0], part.sound.duration_s)
        return Window(span.start_s, span.end_s, part.sound, state, label, confidence, answer, attention)

    def _attention(self, attention: npt.NDArray[np.float32], sound_s: float) -> tuple[float, ...]:
        """The attention on the sound alone, without what fell on the silence filled up behind it for the network."""
        # Back to whole samples: a rounding error in the seconds would add a step.
        samples = round(sound_s * self.config.sample_rate)
        steps = math.ceil(samples / (self.config.hop_length * CONTRACT.attention_stride))
        own = attention[:steps].astype(np.float64)
        total = own.sum()
        shares = own / total if total > 0.0 else np.full(steps, 1.0 / steps)
        return tuple(shares.tolist())

    def _read_out(self, row: npt.NDArray[np.float64]) -> tuple[State, str | None, float | None, dict[str, float]]:
        """State, label, confidence and named probabilities of (8,) probabilities, or of none."""
        if row.size == 0:
            return "no_speech", None, None, {}
        answer = dict(zip(LABELS, row.tolist(), strict=True))
        label = max(answer, key=answer.__getitem__)
        state: State = "ok" if answer[label] >= self.calibration.uncertain_below else "uncertain"
        return state, label, answer[label], answer


def load(
    model: str | os.PathLike[str] | Located | None = None,
    *,
    precision: Precision | None = None,
    limits: Limits | None = None,
    backend: str | None = None,
    fallback: bool = False,
) -> Recognizer:
    """Load a model and be ready to answer.

    Args:
        model: the folder of a bundle, USER/NAME or USER/NAME@COMMIT on the Hugging Face Hub, or what `hub.locate` gave;
            the copy that comes with the project if None.
        precision: "fp32", "fp16" or "int8"; the bundle's own choice if None.
        limits: which recordings are accepted; `Limits()` if None.
        backend: addresses of model servers that run this very model, grpc://HOST:PORT/NAME, with commas between them:
            the network runs there, and all else here. It runs here, too, if None.
        fallback: with `backend`, have the network run here while no server answers.

    Returns:
        A recogniser that may be called from many threads. It is given also where no server can be reached yet, see
        `Recognizer.is_available`.

    Raises:
        BundleError: there is no bundle, it is damaged, or it doesn't fit this version; or the servers run another
            model.
        BackendError: `backend` names no server, or `tritonclient` isn't installed.
    """
    found = model if isinstance(model, Located) else hub.locate(model)
    opened = bundle.read(found.folder)
    network, chosen = _backend(opened, precision)
    if backend is not None:
        from ser_core import remote

        network = remote.connected(backend, network, opened, chosen, fallback=fallback)
    info = ModelInfo(
        name=opened.name,
        version=opened.version,
        source=found.source,
        revision=found.commit or opened.revision,
        precision=chosen,
    )
    return Recognizer(
        network, info, opened.calibration, config=opened.features, limits=limits, metrics=opened.metrics()
    )


def _backend(opened: Bundle, asked: Precision | None) -> tuple[Backend, Precision]:
    """The network in the precision that was asked for, or in the bundle's own; where OpenVINO can't read that, as ONNX,
    which older and newer versions read alike.
    """
    from ser_core.backends import OpenVinoBackend

    def tried(precision: Precision) -> Backend:
        backend = OpenVinoBackend(opened.model_path(precision), opened.features.n_mels)
        _try_out(backend, opened)
        return backend

    chosen = asked or opened.precision
    try:
        return tried(chosen), chosen
    except BundleError as error:
        if asked is not None or chosen == "fp32":
            raise
        log.warning("%s The ONNX file beside it serves instead.", error)
        return tried("fp32"), "fp32"


def _try_out(backend: Backend, opened: Bundle) -> None:
    """Raise BundleError where a network that was loaded doesn't answer what the contract says, at any length."""
    config = opened.features
    for frames in (config.min_frames, config.min_frames + config.frame_step):
        silence = np.full((1, 1, config.n_mels, frames), -1.0, np.float32)
        try:
            output = backend.infer(silence)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise BundleError(f"The model in {opened.folder} can't judge {frames} frames ({reason}).") from error
        shapes = (output.logits.shape, output.attention.shape)
        if (
            shapes != ((1, len(LABELS)), (1, frames // CONTRACT.attention_stride))
            or not np.isfinite(output.logits).all()
        ):
            raise BundleError(f"The model in {opened.folder} answers {shapes} to {frames} frames, or no numbers.")


def _ahead(batches: Iterator[list[Stretch]]) -> Iterator[list[Stretch]]:
    """The same, each made ready in a thread of its own while the network judges the one before."""
    with ThreadPoolExecutor(1) as worker:
        coming = worker.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = worker.submit(next, batches, None)
            yield batch


class _Clock:
    def __init__(self) -> None:
        self.started = self.last = time.perf_counter()

    def lap(self) -> float:
        """Milliseconds since the last lap."""
        now = time.perf_counter()
        elapsed, self.last = now - self.last, now
        return 1000.0 * elapsed

    def total(self) -> float:
        """Milliseconds since the start."""
        return 1000.0 * (time.perf_counter() - self.started)
