"""What one step and one epoch of training do to the weights. Nothing here reads or writes files."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from train.augment import AugmentConfig, augment, mixup, targets

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from train.batches import Batch
    from train.place import Place


@dataclass(frozen=True)
class OptimConfig:
    """How the weights move.

    Attributes:
        epochs: passes over RAVDESS.
        batch_size: clips in a step.
        learning_rate: peak of the one-cycle schedule (Smith & Topin 2018, arXiv:1708.07120).
        warm_up: share of all steps in which it rises to that peak.
        weight_decay: of AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101).
        average_decay: of the exponential moving average of the weights, which is the result.
        attributes: weight of the loss for intensity, channel and sex, see `Batch`, beside that for the emotion.
        bfloat16: convolutions in bfloat16 under autocast; weights and everything else stay float32.
    """

    epochs: int = 64
    batch_size: int = 32
    learning_rate: float = 2e-3
    warm_up: float = 0.1
    weight_decay: float = 0.05
    average_decay: float = 0.999
    attributes: float = 0.0
    bfloat16: bool = True


@dataclass(frozen=True)
class EpochResult:
    """Means over an epoch's steps: the loss, and the share of clips whose heavier half was recognised."""

    loss: float
    accuracy: float


class Trainer:
    """A network with its optimiser, its schedule and its running average.

    Args:
        network: see `train.networks.build`; moved to `device`.
        optim: how the weights move.
        changes: how the spectrograms are changed.
        band_hz: centres of the mel bands, see `train.augment.augment`.
        steps_per_epoch: for the schedule.
        seed: with the epoch's number and the process's, all that an epoch's draws depend on.
        place: where to compute, and beside which other processes.
    """

    def __init__(
        self,
        network: nn.Module,
        optim: OptimConfig,
        changes: AugmentConfig,
        *,
        band_hz: npt.NDArray[np.float64],
        steps_per_epoch: int,
        seed: int,
        place: Place,
    ) -> None:
        self.network: nn.Module = network.to(place.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.distributed = place.wrap(self.network)
        self.average = AveragedModel(
            self.network,
            multi_avg_fn=get_ema_multi_avg_fn(optim.average_decay),  # type: ignore[no-untyped-call]
            use_buffers=True,
        )
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=optim.learning_rate, weight_decay=optim.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            optim.learning_rate,
            total_steps=optim.epochs * steps_per_epoch,
            pct_start=optim.warm_up,
        )
        self.optim, self.changes, self.band_hz, self.seed = optim, changes, band_hz, seed
        self.place, self.device = place, place.device

    def epoch(self, number: int, batches: Iterable[Batch]) -> EpochResult:
        """One pass over `batches`, changed as much as this epoch's place in the training asks for.

        All randomness is drawn from the seed and `number`, so that a run can be resumed.
        """
        seed = int(np.random.SeedSequence([self.seed, number, self.place.rank]).generate_state(1)[0])
        torch.manual_seed(seed)
        generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
        self.network.train()
        changes = self.changes.at(number / self.optim.epochs)
        losses, hits = [], []
        for batch in batches:
            loss, hit = self._step(batch, changes, generator, rng)
            losses.append(loss)
            hits.append(hit)
        return EpochResult(
            self.place.mean(torch.stack(losses).mean()).item(), self.place.mean(torch.stack(hits).mean()).item()
        )

    def _step(
        self, batch: Batch, changes: AugmentConfig, generator: torch.Generator, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        spectrograms, emotions = self.place.take(batch.spectrograms), self.place.take(batch.emotions)
        classes, attributes = self.place.take(batch.classes), self.place.take(batch.attributes)
        target = targets(emotions, classes, changes.label_smoothing)
        changed = augment(spectrograms, changes, self.band_hz, generator)
        changed, target, attributes, classes = mixup(changed, target, attributes, classes, changes.mixup, rng)
        images = changed[:, None].contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.optim.bfloat16):
            logits, told = self.distributed(images)
        # A class that a clip's corpus lacks takes no part in its loss: no corpus teaches "never calm".
        scores = logits.float().masked_fill(~classes, -1e4).log_softmax(dim=1)
        loss = -(target * scores).sum(dim=1).mean()
        told = told.float().log_softmax(dim=2)
        of_attributes = -(attributes * told).sum(dim=(1, 2)).mean()
        self.optimiser.zero_grad(set_to_none=True)
        (loss + self.optim.attributes * of_attributes).backward()
        self.optimiser.step()
        self.schedule.step()
        self.average.update_parameters(self.network)
        return loss.detach(), (logits.argmax(dim=1) == emotions).float().mean()

    def averaged(self, batches: Iterable[Batch]) -> nn.Module:
        """The averaged network with batch-norm statistics of its own, in eval mode; training goes on undisturbed.

        Averaged statistics don't fit averaged weights, and those of changed and mixed spectrograms don't fit sound as
        the app hears it: both are measured anew on `batches`, unchanged.
        """
        network: nn.Module = copy.deepcopy(self.average.module)
        update_bn((batch.spectrograms[:, None] for batch in batches), network, device=self.device)
        return network.eval()

    def state(self) -> dict[str, Any]:
        """All that `load_state` needs to go on as if nothing had happened; tensors and plain values only."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
