"""`python -m train pack`: a feature cache as one small file, to be carried to a machine that has a GPU but no sound.

The file is a ZIP archive with the clips' table and each spectrogram as a WebP picture, which is lossy: at the qualities
below the levels are off by about 2 dB (RMS), as much as the frames of a steady sound differ among themselves. `fit`
takes it in place of a cache's folder and needs neither librosa nor the corpora.
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from train import cache
from train.cache import CacheError, FeatureCache, Quantised

if TYPE_CHECKING:
    import argparse

QUALITY = 60
"""WebP's, of the clips as they are."""
QUALITY_DEGRADED = 30
"""Of their degraded versions, which are there to be varied."""
LONGEST = 16_383
"""Frames: the most that WebP takes along one side of a picture; over four minutes."""
_INDEX = "index.json"


def pack(source: FeatureCache, path: Path) -> None:
    """Write a cache as one file, whole or not at all. Raises CacheError for a clip longer than `LONGEST`."""
    from PIL import Image
    from tqdm import tqdm

    versions = source.offsets.shape[1]
    part = path.with_name(path.name + ".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for number in tqdm(range(len(source.clips)), desc="packing", unit="clip", mininterval=2.0):
            for version in range(versions):
                start, end = source.offsets[number, version]
                if end - start > LONGEST:
                    key = source.clips[number].key
                    raise CacheError(f"{key} has {end - start:,} frames, a picture holds {LONGEST:,}: leave it out.")
                picture = io.BytesIO()
                quality = QUALITY_DEGRADED if version else QUALITY
                Image.fromarray(source.frames[start:end]).save(picture, "WEBP", quality=quality, method=6)
                archive.writestr(_name(number, version), picture.getvalue())
        index = cache.index(source.clips, source.band_hz, source.digest) | {"versions": versions}
        archive.writestr(_INDEX, json.dumps(index), zipfile.ZIP_DEFLATED)
    part.replace(path)


def unpack(path: Path) -> FeatureCache:
    """A packed cache, in memory.

    Raises:
        CacheError: the file is no packed cache, or was made by another feature config.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            index = json.loads(archive.read(_INDEX))
            count, versions = len(index["clips"]), index["versions"]
            pictures = [archive.read(_name(n, version)) for n in range(count) for version in range(versions)]
        with ThreadPoolExecutor() as pool:
            spectrograms = list(pool.map(_read, pictures))
    # JSON that isn't any is a ValueError, a picture that isn't any an OSError.
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise CacheError(
            f"{path} is no packed feature cache ({error}): make one with `python -m train pack`."
        ) from error
    lengths = np.array([len(one) for one in spectrograms], dtype=np.int64)
    ends = np.cumsum(lengths)
    offsets = np.stack([ends - lengths, ends], axis=-1).reshape(count, versions, 2)
    return dataclasses.replace(cache.from_index(path, index, np.concatenate(spectrograms), offsets), packed=True)


def _read(picture: bytes) -> Quantised:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(picture)).convert("L"))


def _name(number: int, version: int) -> str:
    return f"{number}-{version}.webp"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m train pack`."""
    parser.add_argument("--cache", type=Path, default=Path(".cache/features"), help="features made by `prepare`")
    parser.add_argument("--out", type=Path, default=Path(".cache/features.zip"), help="the file to write")


def run(args: argparse.Namespace) -> int:
    """Pack, and say how large it became."""
    args.out.parent.mkdir(parents=True, exist_ok=True)
    pack(FeatureCache.open(args.cache), args.out)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB; train from it with `fit --cache {args.out}`")
    return 0
