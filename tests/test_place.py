"""Where a run computes: one process alone, and two that share what they learn."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import torch
from torch import nn

from tests.train_data import python
from train.place import Place

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

TOLD = """
import json
import sys
from pathlib import Path

import torch
from torch import nn
from train.place import Place

torch.set_num_threads(1)
with Place.find() as place:
    layer = nn.Linear(1, 1, bias=False)
    shared = place.wrap(layer)
    shared(torch.tensor([[float(place.rank + 1)]])).sum().backward()
    place.wait()
    mean = place.mean(torch.tensor(float(4 * place.rank)))
    told = [place.rank, place.size, str(place), layer.weight.grad.item(), mean.item()]
    # Into a file each: what processes print at once may be mixed up.
    (Path(sys.argv[1]) / f"{place.rank}.json").write_text(json.dumps(told))
"""


def test_a_process_alone_shares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with Place.find() as place:
        assert place == Place(torch.device("cpu"), 0, 1)
        assert str(place) == f"cpu, {torch.get_num_threads()} threads"
        layer, value = nn.Linear(1, 1), torch.tensor(3.0)
        assert place.wrap(layer) is layer
        assert place.mean(value) is value
        place.wait()
    assert not torch.distributed.is_initialized()


def test_processes_share_gradients_and_figures(tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "--no-python")
    done = python(*launcher, sys.executable, "-c", TOLD, tmp_path)
    assert done.returncode == 0, done.stderr
    # Each alone would have the gradients 1 and 2, and the figures 0 and 4.
    name = "2 processes (gloo), each on cpu, 1 threads"
    told = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert told == [[0, 2, name, 1.5, 2.0], [1, 2, name, 1.5, 2.0]]
