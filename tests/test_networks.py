"""The networks' contract: names, shapes, ranges; and what they must not depend on."""

from __future__ import annotations

import pytest
import torch

from ser_core import bundle
from ser_core.config import CONTRACT, FeatureConfig
from ser_core.errors import SerError
from train import networks, recipe
from train.networks import NETWORKS
from train.networks.pooling import AttentiveStatisticsPooling

SMALL = {"channels": [16, 16, 16, 16]}


def inputs(size: int, frames: int = 192) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand((size, 1, FeatureConfig().n_mels, frames), generator=generator) * 2.0 - 1.0


@pytest.mark.parametrize("frames", [192, 224, 320])
@pytest.mark.parametrize("name", sorted(NETWORKS))
@torch.no_grad()
def test_a_network_answers_logits_and_attention(name: str, frames: int) -> None:
    torch.manual_seed(0)
    logits, attention = networks.build(name, SMALL).eval()(inputs(3, frames))
    assert logits.shape == (3, 8)
    assert attention.shape == (3, frames // CONTRACT.attention_stride)
    assert logits.dtype == attention.dtype == torch.float32
    assert attention.min() >= 0.0
    assert torch.allclose(attention.sum(dim=1), torch.ones(3), atol=1e-6)
    assert logits.std(dim=0).max() > 0.0


@pytest.mark.parametrize("name", sorted(NETWORKS))
@torch.no_grad()
def test_a_clip_is_judged_alike_alone_and_in_company(name: str) -> None:
    torch.manual_seed(0)
    network = networks.build(name, SMALL).eval()
    batch = inputs(4)
    together, _ = network(batch)
    alone = torch.cat([network(one[None])[0] for one in batch])
    assert torch.allclose(together, alone, atol=1e-5)


@torch.no_grad()
def test_answers_are_float32_under_autocast_too() -> None:
    network = networks.build("residual", SMALL).eval()
    with torch.autocast("cpu", torch.bfloat16):
        logits, attention = network(inputs(1))
    assert logits.dtype == attention.dtype == torch.float32


def test_every_weight_is_trained() -> None:
    torch.manual_seed(0)
    network = networks.build("residual", SMALL)
    logits, _ = network(inputs(2))
    logits.square().sum().backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0.0 for p in network.get_submodule("classifier").parameters()
    )
    silent = [name for name, p in network.named_parameters() if p.grad is None]
    assert silent == []


def test_the_residual_network_has_its_size() -> None:
    network = networks.build("residual", {"channels": [16, 32, 96, 160]})
    assert sum(parameter.numel() for parameter in network.parameters()) == 611_257


@pytest.mark.parametrize("name", recipe.names())
def test_every_recipes_network_fits_into_a_bundle(name: str) -> None:
    chosen = recipe.load(name).network
    parameters = sum(p.numel() for p in networks.build(chosen.name, chosen.options).parameters())
    # Four bytes each in ONNX, two in FP16, one in INT8, and a tenth of a MB or two for the graphs.
    assert 7 * parameters < bundle.MAX_BYTES - 500_000


def test_pooling_is_the_weighted_mean_and_deviation() -> None:
    pooling = AttentiveStatisticsPooling(2, hidden=4)
    with torch.no_grad():
        for parameter in pooling.parameters():
            parameter.zero_()
    hidden = torch.tensor([[[1.0, 3.0], [5.0, 5.0]]])
    pooled, attention = pooling(hidden)
    assert attention.tolist() == [[0.5, 0.5]]
    # Means 2 and 5; deviations 1 and, where all is alike, the floor of the variance.
    assert pooled[0].tolist() == pytest.approx([2.0, 5.0, 1.0, 1e-5**0.5])


def test_an_unknown_network_is_told() -> None:
    with pytest.raises(SerError, match=r"No network is called 'transformer'; there are residual\."):
        networks.build("transformer", {})
