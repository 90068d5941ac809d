"""What one step and one epoch of training do to the weights. Nothing here reads or writes files."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from ser_core.config import FeatureConfig
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
        pretrained_rate: the learning rate of an encoder that was pretrained, as a share of that of everything else.
        weight_decay: of AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101).
        average_decay: of the exponential moving average of the weights, which is the result.
        attributes: weight of the loss for intensity, channel and sex, see `Batch`, beside that for the emotion.
        distilled: share of the target that is what a teacher says of the same changed spectrogram, where the recipe has
            one (Hinton et al. 2015, arXiv:1503.02531; on what both hear alike: Beyer et al. 2022, arXiv:2106.05237).
        bfloat16: convolutions in bfloat16 under autocast; weights and everything else stay float32.
    """

    epochs: int = 64
    batch_size: int = 32
    learning_rate: float = 2e-3
    warm_up: float = 0.1
    pretrained_rate: float = 1.0
    weight_decay: float = 0.05
    average_decay: float = 0.999
    attributes: float = 0.0
    distilled: float = 0.0
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
        teacher: in eval mode; what it says is a share of the target, see `OptimConfig.distilled`.
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
        teacher: nn.Module | None = None,
    ) -> None:
        self.network: nn.Module = network.to(place.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = AveragedModel(
            self.network,
            multi_avg_fn=get_ema_multi_avg_fn(optim.average_decay),  # type: ignore[no-untyped-call]
            use_buffers=True,
        )
        groups = _groups(self.network, optim)
        self.optimiser = torch.optim.AdamW(groups, weight_decay=optim.weight_decay)
        # Behind the average, which shall be a network of its own and no graph.
        shape = (optim.batch_size // place.size, 1, len(band_hz), FeatureConfig().min_frames)
        self.distributed = place.wrap(place.captured(self.network.train(), shape, bfloat16=optim.bfloat16))
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            [group["lr"] for group in groups],
            total_steps=optim.epochs * steps_per_epoch,
            pct_start=optim.warm_up,
        )
        self.optim, self.changes, self.band_hz, self.seed = optim, changes, band_hz, seed
        self.place, self.device = place, place.device
        self.teacher = None if teacher is None else teacher.to(place.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

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
        target = self._taught(target, images, classes)
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

    @torch.no_grad()
    def _taught(self, target: Tensor, images: Tensor, classes: Tensor) -> Tensor:
        """Float32 (B, 8), the target as it is, or moved towards what the teacher says."""
        if self.teacher is None:
            return target
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.optim.bfloat16):
            logits, _ = self.teacher(images)
        said = logits.float().masked_fill(~classes, -1e4).softmax(dim=1)
        return torch.lerp(target, said, self.optim.distilled)

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


def _groups(network: nn.Module, optim: OptimConfig) -> list[dict[str, Any]]:
    """The parameters with their learning rates: an encoder's, where there is one, and all others."""
    encoder = [values for name, values in network.named_parameters() if name.startswith("encoder.")]
    others = [values for name, values in network.named_parameters() if not name.startswith("encoder.")]
    groups = [{"params": others, "lr": optim.learning_rate}]
    if encoder:
        groups.append({"params": encoder, "lr": optim.learning_rate * optim.pretrained_rate})
    return groups
