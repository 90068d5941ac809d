"""Features on disk: log-mel spectrograms of every clip, and what is known of the clips."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ser_core import features
from ser_core.config import FeatureConfig
from ser_core.emotions import Emotion
from ser_core.errors import SerError
from train.corpora import Clip

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

Quantised = npt.NDArray[np.uint8]
"""uint8 (n_frames, n_mels): 0 for -1, 255 for 1; with 80 dB in between, off by 0.16 dB at most."""


class CacheError(SerError):
    """A feature cache that isn't there or doesn't fit."""


def quantise(spectrogram: features.LogMel) -> Quantised:
    """float32 (n_mels, n_frames) in [-1, 1] -> uint8 (n_frames, n_mels)."""
    frames: Quantised = np.rint((spectrogram.T + 1.0) * 127.5).astype(np.uint8)
    return frames


def restore(frames: Quantised) -> features.LogMel:
    """What `quantise` took, off by 0.004 at most."""
    return frames.T.astype(np.float32) / np.float32(127.5) - np.float32(1.0)


@dataclass(frozen=True)
class FeatureCache:
    """Log-mel spectrograms of every clip in every version, and what is known of the clips.

    Attributes:
        clips: in the order of `offsets`.
        frames: uint8 (n_frames_in_all, n_mels), the spectrograms end to end, memory-mapped.
        offsets: int64 (n_clips, n_versions, 2), first frame and end of each; the first version is the clip as it is.
        config: how they were made.
        band_hz: float64 (n_mels,), Hz, the centres of the mel bands.
        digest: hex digits that change with the clips, their labels or their sound.
        packed: whether the spectrograms went through `train.pack`, which loses a little.
    """

    clips: tuple[Clip, ...]
    frames: Quantised
    offsets: npt.NDArray[np.int64]
    config: FeatureConfig
    band_hz: npt.NDArray[np.float64]
    digest: str
    packed: bool = False

    def of(self, corpora: Collection[str]) -> list[int]:
        """The clips of these corpora, by their numbers. Raises CacheError where there are none of one of them."""
        chosen = [number for number, clip in enumerate(self.clips) if clip.corpus in corpora]
        if absent := set(corpora) - {self.clips[number].corpus for number in chosen}:
            raise CacheError(
                f"The features hold nothing of {', '.join(sorted(absent))}: run `python -m train prepare --data DIR "
                f"--corpora {' '.join(corpora)}`."
            )
        return chosen

    def spectrogram(self, clip: int, version: int = 0) -> features.LogMel:
        """float32 (n_mels, n_frames), clip number `clip` in a version."""
        start, end = self.offsets[clip, version]
        return restore(self.frames[start:end])

    def network_input(self, clip: int) -> features.LogMel:
        """float32 (n_mels, n_frames), clip number `clip` as it is, filled up as the app does."""
        spectrogram = self.spectrogram(clip)
        return features.pad(spectrogram, features.padded_frames(spectrogram.shape[1], self.config))

    @classmethod
    def open(cls, path: Path) -> FeatureCache:
        """Open the folder that `prepare` wrote, or the file that `pack` made of it.

        Raises:
            CacheError: it isn't there or was made by another feature config.
        """
        if path.is_file():
            from train.pack import unpack

            return unpack(path)
        if not (path / "index.json").is_file():
            raise CacheError(f"There are no features in {path}: run `python -m train prepare --data DIR` first.")
        stored = json.loads((path / "index.json").read_text(encoding="utf-8"))
        return from_index(path, stored, np.load(path / "frames.npy", mmap_mode="r"), np.load(path / "offsets.npy"))


def index(clips: Sequence[Clip], band_hz: npt.NDArray[np.float64], digest: str) -> dict[str, Any]:
    """All but the spectrograms, JSON-ready."""
    return {
        "feature_config": FeatureConfig().to_dict(),
        "band_hz": band_hz.tolist(),
        "digest": digest,
        "clips": [dataclasses.asdict(clip) | {"path": str(clip.path.resolve())} for clip in clips],
    }


def from_index(path: Path, stored: dict[str, Any], frames: Quantised, offsets: npt.NDArray[np.int64]) -> FeatureCache:
    """The opposite of `index`; `path` for the message. Raises CacheError for another feature config."""
    config = FeatureConfig.from_dict(stored["feature_config"])
    if config != FeatureConfig():
        raise CacheError(
            f"The features in {path} were made with config {config.fingerprint}, this version has "
            f"{FeatureConfig().fingerprint}: run `python -m train prepare` again."
        )
    clips = [Clip(**{**c, "path": Path(c["path"]), "emotion": Emotion(c["emotion"])}) for c in stored["clips"]]
    return FeatureCache(tuple(clips), frames, offsets, config, np.array(stored["band_hz"]), stored["digest"])


def write(folder: Path, clips: Sequence[Clip], spectrograms: Sequence[Sequence[Quantised]], digest: str) -> None:
    """Write a cache, whole or not at all.

    Args:
        folder: where it goes.
        clips: what the spectrograms are of.
        spectrograms: for each clip, its versions.
        digest: see `FeatureCache`.
    """
    lengths = np.array([[len(version) for version in versions] for versions in spectrograms], dtype=np.int64)
    ends = np.cumsum(lengths.ravel()).reshape(lengths.shape)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.json").unlink(missing_ok=True)
    np.save(folder / "frames.npy", np.concatenate([version for versions in spectrograms for version in versions]))
    np.save(folder / "offsets.npy", np.stack([ends - lengths, ends], axis=-1))
    # The index comes last: a cache that was broken off has none and is not taken for whole.
    stored = index(clips, features.band_hz(FeatureConfig()), digest)
    (folder / "index.json").write_text(json.dumps(stored), encoding="utf-8")
