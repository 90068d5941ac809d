"""A recipe: one YAML file and what it extends, as a frozen config; and the hash that says whether results are stale."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ser_core.config import FeatureConfig
from ser_core.errors import SerError
from train.augment import AugmentConfig
from train.loop import OptimConfig
from train.reader import ReaderConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "train" / "configs"

_CODE = (
    "ser_core/features.py",
    "ser_core/voice.py",
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
"""Code that weights depend on, beside the network's own file; how files are decoded shows in the data's digest."""

_SAME = {
    # ser_core/voice.py fills frames up with silence, of which those before it know nothing, and shares its parts.
    "131f1b246b28": "a193e509654b",
    # ser_core/features.py asks librosa in a function of its own.
    "abbf84f64db4": "49d8828442a5",
}
"""Rewritten code that gives the same, which a test shows: counts as what it was. Digests of `_meaning`, as
`code_hash` makes them: of the file now, and of the file that weights were trained by.
"""

_HEADS = "train/networks/heads.py"
_PARTS = {
    "dense": (_HEADS,),
    "fully_convolutional": (_HEADS,),
    "hybrid": ("train/networks/encoder.py",),
    "self_attention": (_HEADS,),
}
"""What a network's own file is built from, beside that."""

STATISTICS = ("train/reader.py", "train/networks/reader.py", "train/networks/encoder.py")
"""Code that what a reader's encoder says depends on beside that."""
READER = (*STATISTICS, "train/regression.py")
"""Code that a reader's weights depend on."""

_Config = TypeVar("_Config")


class RecipeError(SerError):
    """A recipe that isn't there or says something unknown."""


@dataclass(frozen=True)
class NetworkConfig:
    """A key of `train.networks.NETWORKS`, the options of its constructor, and what its encoder starts from, a key of
    `train.pretrained.FILES`; chance alone if None.
    """

    name: str = "residual"
    options: dict[str, Any] = field(default_factory=dict)
    pretrained: str | None = None


@dataclass(frozen=True)
class Recipe:
    """All that a network's weights depend on, beside the data.

    Attributes:
        name: of the YAML file.
        corpora: what is trained on, keys of `train.corpora.CORPORA`.
        network, augment, optim: see there.
        members: how many networks are trained apart and asked together, see `train.networks.ensemble`.
        reader: a linear reading of a pretrained encoder that is asked together with them; none if None.
        teacher: a recipe whose networks, trained on the same clips, teach these, see `OptimConfig.distilled`.
        seed: of everything that is drawn.
    """

    name: str
    corpora: tuple[str, ...] = ("ravdess",)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    members: int = 1
    reader: ReaderConfig | None = None
    teacher: str | None = None
    seed: int = 0

    def seed_of(self, member: int) -> int:
        """The seed of member number `member`; another in every recipe that differs in its seed alone."""
        return self.seed * self.members + member

    @property
    def hash(self) -> str:
        """Twelve hex digits that change with the recipe, the feature config and the code that both are read by."""
        if self.reader is None:
            return self.members_hash
        fields = json.dumps(dataclasses.asdict(self.reader), sort_keys=True)
        return hashlib.sha256(f"{self.members_hash}{fields}{code_hash(*READER)}".encode()).hexdigest()[:12]

    @property
    def members_hash(self) -> str:
        """The same of what the members' weights depend on."""
        digest = hashlib.sha256()
        fields = dataclasses.asdict(self) | {"features": FeatureConfig().to_dict()}
        del fields["reader"]
        if self.teacher is not None:
            fields["teacher"] = load(self.teacher).hash
        digest.update(json.dumps(fields, sort_keys=True).encode())
        own = (f"train/networks/{self.network.name}.py", *_PARTS.get(self.network.name, ()))
        digest.update(code_hash(*_CODE, *own).encode())
        return digest.hexdigest()[:12]


def load(name: str) -> Recipe:
    """The recipe `train/configs/NAME.yaml`, or a YAML file given by its path.

    A file may say `extends: OTHER`; what it says itself is laid over that, key by key.

    Raises:
        RecipeError: no such file, a loop of `extends`, or a key that is unknown.
    """
    fields = _resolve(name, ())
    try:
        return Recipe(
            name=Path(name).stem,
            corpora=tuple(fields.pop("corpora", ("ravdess",))),
            network=NetworkConfig(**fields.pop("network", {})),
            augment=_build(AugmentConfig, fields.pop("augment", {})),
            optim=_build(OptimConfig, fields.pop("optim", {})),
            reader=None if (reader := fields.pop("reader", None)) is None else _build(ReaderConfig, reader),
            **fields,
        )
    except TypeError as error:
        raise RecipeError(f"The recipe {name!r} can't be read: {error}.") from error


def code_hash(*names: str) -> str:
    """Twelve hex digits that change with what these files of the project do, not with what they say about it."""
    of_files = (_digest(_meaning(ROOT / name)) for name in names)
    return _digest(" ".join(_SAME.get(one, one) for one in of_files))


def names() -> list[str]:
    """The recipes in `train/configs`."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _build(kind: type[_Config], fields: dict[str, Any]) -> _Config:
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()})


def _resolve(name: str, seen: tuple[str, ...]) -> dict[str, Any]:
    import yaml

    path = Path(name) if name.endswith(".yaml") else CONFIGS / f"{name}.yaml"
    if not path.is_file():
        raise RecipeError(f"There is no recipe {name!r}; there are {', '.join(names())}, or name a .yaml file.")
    if name in seen:
        raise RecipeError(f"The recipes extend each other in a loop: {' -> '.join((*seen, name))}.")
    own = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    base = own.pop("extends", None)
    if base is None:
        return own
    fields = _resolve(base, (*seen, name))
    # Another network knows nothing of the options of the one before.
    before = _network_name(fields, NetworkConfig().name)
    if _network_name(own, before) != before:
        fields.pop("network", None)
    return _merge(fields, own)


def _network_name(fields: dict[str, Any], default: str) -> str:
    name: str = (fields.get("network") or {}).get("name", default)
    return name


def _merge(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _meaning(path: Path) -> str:
    """The file's syntax tree without docstrings and comments: what changes with its wording makes no result stale."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body: Iterable[ast.stmt] | None = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [statement for statement in body if not _is_text(statement)]  # type: ignore[attr-defined]
    return _dump(tree)


def _dump(node: object) -> str:
    """As `ast.dump`, but alike in every version of Python: they differ in which empty fields a node has."""
    if isinstance(node, list):
        return f"[{', '.join(map(_dump, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [f"{name}={_dump(value)}" for name, value in ast.iter_fields(node) if value is not None and value != []]
    return f"{type(node).__name__}({', '.join(fields)})"


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
