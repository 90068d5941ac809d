"""Where a run computes: the CPU, a GPU, or several processes that `torchrun` started."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, distributed, nn

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True)
class Place:
    """A process's device, and its number among those that share a run.

    Attributes:
        device: where it computes.
        rank: its number; 0 also writes the checkpoints and prints.
        size: how many processes share the run.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    @classmethod
    def find(cls) -> Self:
        """A GPU where there is one; one of several processes where `torchrun` says so in the environment."""
        size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
        device = torch.device("cpu")
        if torch.cuda.is_available():
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            torch.cuda.set_device(device)
        if size > 1 and not distributed.is_initialized():
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(device, rank, size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.size > 1:
            distributed.destroy_process_group()

    def __str__(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"
        threads = f", {torch.get_num_threads()} threads" if self.device.type == "cpu" else ""
        if self.size == 1:
            return f"{name}{threads}"
        return f"{self.size} processes ({distributed.get_backend()}), each on {name}{threads}"

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network, whose gradients become the mean over all processes where there are several."""
        if self.size == 1:
            return network
        return nn.parallel.DistributedDataParallel(network)

    def captured(self, network: nn.Module, shape: tuple[int, ...], *, bfloat16: bool) -> nn.Module:
        """On one GPU, the network's passes of training as CUDA graphs; elsewhere the network as it is.

        A small network's kernels take less time than starting them one by one from Python.

        Args:
            network: in training mode; one pass is made in it.
            shape: of every batch, float32.
            bfloat16: whether the passes run under autocast.
        """
        if self.device.type != "cuda" or self.size > 1:
            return network
        images = torch.zeros(shape, device=self.device)
        # What autocast has cast once would be missing in the graph.
        with torch.autocast("cuda", torch.bfloat16, enabled=bfloat16, cache_enabled=False):
            # The same network, whose passes are replaced.
            torch.cuda.make_graphed_callables(network, (images,))
        return network

    def take(self, values: Tensor) -> Tensor:
        """Values from the CPU, on the device, which goes on with what it has while they travel."""
        if self.device.type == "cpu":
            return values
        return values.pin_memory().to(self.device, non_blocking=True)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a value over all processes."""
        if self.size == 1:
            return value
        value = value.clone()
        distributed.all_reduce(value)
        return value / self.size

    def wait(self) -> None:
        """Until all processes have come here."""
        if self.size > 1:
            distributed.barrier()
