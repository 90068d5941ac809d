"""The networks' contract: names, shapes, ranges; and what they must not depend on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from ser_core import bundle
from ser_core.config import CONTRACT, FeatureConfig
from ser_core.errors import SerError
from train import compare, networks, recipe, runs
from train.networks import NETWORKS
from train.networks.ensemble import Ensemble
from train.networks.pooling import AttentiveStatisticsPooling
from train.networks.reader import Reader
from train.networks.self_attention import SelfAttention

N_MELS, MIN_FRAMES = FeatureConfig().n_mels, FeatureConfig().min_frames
SMALL: dict[str, dict[str, Any]] = {
    "dense": {"growth": 8, "depths": [2, 2, 2, 2]},
    "fully_convolutional": {"channels": [16, 16, 16, 16, 16]},
    "hybrid": {"channels": [16, 16, 16, 16]},
    "residual": {"channels": [16, 16, 16, 16]},
    "self_attention": {"channels": [16, 16, 16, 16], "width": 32},
}
TEACHERS = {"teachers"} | {recipe.load(name).teacher for name in recipe.names()}
"""Recipes whose networks never ship: they teach those that do, and may be as large as they like."""


def built(name: str = "residual", seed: int = 0, **options: Any) -> nn.Module:
    """A network for the features of this version, small unless `options` say otherwise."""
    torch.manual_seed(seed)
    return networks.build(name, {"n_mels": N_MELS, **SMALL[name], **options})


def inputs(size: int, frames: int = MIN_FRAMES, n_mels: int = N_MELS) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand((size, 1, n_mels, frames), generator=generator) * 2.0 - 1.0


@pytest.mark.parametrize("frames", [192, 224, 608])
@pytest.mark.parametrize("name", sorted(NETWORKS))
@torch.no_grad()
def test_a_network_answers_logits_and_attention(name: str, frames: int) -> None:
    logits, attention = built(name).eval()(inputs(3, frames))
    assert logits.shape == (3, 8)
    assert attention.shape == (3, frames // CONTRACT.attention_stride)
    assert logits.dtype == attention.dtype == torch.float32
    assert attention.min() >= 0.0
    assert torch.allclose(attention.sum(dim=1), torch.ones(3), atol=1e-6)
    assert logits.std(dim=0).max() > 0.0


@pytest.mark.parametrize("name", sorted(NETWORKS))
@torch.no_grad()
def test_while_it_trains_a_network_tells_attributes(name: str) -> None:
    logits, attributes = built(name).train()(inputs(4))
    assert logits.shape == (4, 8)
    assert attributes.shape == (4, 3, 2)
    assert logits.dtype == attributes.dtype == torch.float32


@pytest.mark.parametrize("name", sorted(NETWORKS))
@torch.no_grad()
def test_a_clip_is_judged_alike_alone_and_in_company(name: str) -> None:
    network = built(name).eval()
    batch = inputs(4)
    together, _ = network(batch)
    alone = torch.cat([network(one[None])[0] for one in batch])
    assert torch.allclose(together, alone, atol=1e-5)


@torch.no_grad()
def test_members_are_asked_together() -> None:
    members = [built(seed=seed).eval() for seed in range(3)]
    told, attended = Ensemble(members).eval()(inputs(2))
    logits, attention = zip(*(member(inputs(2)) for member in members), strict=True)
    assert torch.allclose(told, sum(logits) / 3.0, atol=1e-6)
    assert torch.allclose(attended, sum(attention) / 3.0, atol=1e-6)
    assert torch.allclose(attended.sum(dim=1), torch.ones(2), atol=1e-6)
    assert not torch.allclose(told, logits[0], atol=1e-3)


@pytest.mark.parametrize("n_mels", [32, 64, 128])
@torch.no_grad()
def test_bands_are_a_matter_of_the_stem_alone(n_mels: int) -> None:
    network = built(n_mels=n_mels)
    stem = network.get_submodule("stem")
    assert stem(inputs(1, n_mels=n_mels)).shape == (1, 16, 32, 96)
    behind = sum(p.numel() for p in network.parameters()) - sum(p.numel() for p in stem.parameters())
    assert behind == sum(p.numel() for p in built(n_mels=64).parameters()) - (16 * 5 * 5 + 2 * 16)
    # A window of the stem is a little wider than the bands that it steps over, and 5 frames long.
    assert sum(p.numel() for p in stem.parameters()) == 16 * (2 * (n_mels // 32) + 1) * 5 + 2 * 16


@torch.no_grad()
def test_of_bands_that_are_no_multiple_of_32_up_to_40_are_left() -> None:
    network = built()
    assert N_MELS == 80
    behind = network.get_submodule("stem")(inputs(1))
    assert behind.shape == (1, 16, 40, 96)
    assert network.get_submodule("blocks")(behind).shape == (1, 16, 5, 24)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"channels": (), "layers": 2}, {"encoder"}),
        ({"layers": 2}, {"encoder", "blocks"}),
        # Without layers, the encoder's two convolutions stay.
        ({"layers": 0}, {"encoder", "blocks"}),
        ({"channels": (), "layers": 0}, {"encoder"}),
    ],
)
@torch.no_grad()
def test_the_hybrid_network_does_without_convolutions_or_layers(options: dict[str, Any], parts: set[str]) -> None:
    network = built("hybrid", **options).eval()
    assert {name for name, _ in network.named_children()} & {"encoder", "blocks"} == parts
    assert len(list(network.get_submodule("encoder.layers").children())) == options["layers"]
    logits, attention = network(inputs(2))
    assert logits.shape == (2, 8)
    assert attention.shape == (2, MIN_FRAMES // CONTRACT.attention_stride)
    assert torch.allclose(attention.sum(dim=1), torch.ones(2), atol=1e-6)


@pytest.mark.parametrize("name", sorted(NETWORKS))
@torch.no_grad()
def test_answers_are_float32_under_autocast_too(name: str) -> None:
    network = built(name)
    with torch.autocast("cpu", torch.bfloat16):
        trained = network.train()(inputs(2))
        asked = network.eval()(inputs(1))
    assert [answer.dtype for answer in (*trained, *asked)] == [torch.float32] * 4


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_weight_is_trained(name: str) -> None:
    network = built(name)
    logits, attributes = network(inputs(2))
    (logits.square().sum() + attributes.square().sum()).backward()
    heads = [p for name, p in network.named_parameters() if {"classifier", "attributes"} & {*name.split(".")}]
    assert len(heads) == 4
    assert all(p.grad is not None and p.grad.abs().sum() > 0.0 for p in heads)
    silent = [name for name, p in network.named_parameters() if p.grad is None]
    assert silent == []


def test_the_residual_network_has_its_size() -> None:
    network = built(channels=[16, 32, 96, 160], depths=[0, 1, 2, 2])
    # With 128 bands, of which 4 are left, 1,260,579. A fifth is worth 160 * (128 + 2 * 8 + 2 * 6) to the pooling and
    # the two heads, and the stem's window is narrower by 16 * 4 * 5.
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_285_219


def test_the_first_stage_sees_all_that_the_stem_gives() -> None:
    for depths, expected in (([0, 1, 1, 1], 0), ([2, 1, 1, 1], 2)):
        blocks = built(depths=depths).get_submodule("blocks")
        assert len(list(blocks.children())) == 3 + expected
        strides = [tuple(block.get_submodule("convolution_1").stride) for block in blocks.children()]  # type: ignore[arg-type]
        assert strides == [(1, 1)] * expected + [(2, 2), (2, 2), (2, 1)]


@pytest.mark.parametrize("name", [name for name in recipe.names() if name not in TEACHERS])
def test_every_recipes_networks_fit_into_a_bundle(name: str) -> None:
    chosen = recipe.load(name)
    shipped = [runs.build_member(chosen) for _ in range(chosen.members)]
    if chosen.reader is not None:
        shipped.append(Reader(N_MELS, chosen.reader.layers))
    parameters = sum(p.numel() for network in shipped for p in network.parameters())
    # Four bytes each in ONNX, two in FP16, one in INT8, and a tenth of a MB or two for the graphs.
    assert 7 * parameters < bundle.MAX_BYTES - 500_000


@pytest.mark.parametrize("name", compare.NAMES)
def test_what_is_compared_is_of_a_size(name: str) -> None:
    network = runs.build_member(recipe.load(f"compare/{name}"))
    assert 500_000 < sum(p.numel() for p in network.parameters()) <= 600_000


@torch.no_grad()
def test_a_fully_convolutional_network_pools_the_places_that_score_high() -> None:
    """Scores that don't differ make the mean of all places; those that differ much, one place alone."""
    network = built("fully_convolutional").eval()
    pooled: list[torch.Tensor] = []
    network.get_submodule("heads").register_forward_pre_hook(lambda _, given: pooled.append(given[0]))
    hidden = network.get_submodule("convolutions")(inputs(1))[0]
    last = network.get_submodule("score.2")
    assert isinstance(last, nn.Linear)
    weight = last.weight.clone()
    last.weight.zero_()
    _, attention = network(inputs(1))
    assert torch.allclose(attention, torch.full_like(attention, 1.0 / attention.shape[1]), atol=1e-6)
    assert torch.allclose(pooled.pop()[0], hidden.mean(dim=(1, 2)), atol=1e-5)
    last.weight.copy_(weight * 1e6)
    _, attention = network(inputs(1))
    place = network.get_submodule("score")(hidden.permute(1, 2, 0))[..., 0].argmax()
    assert attention[0].argmax() == place % hidden.shape[2]
    assert torch.allclose(pooled.pop()[0], hidden.flatten(1)[:, place], atol=1e-3)


@torch.no_grad()
def test_self_attention_tells_which_steps_are_attended_to() -> None:
    """Step 3 has a key that every query likes."""
    layer = SelfAttention(32, 4).eval()
    x = torch.randn((2, 24, 32), generator=torch.Generator().manual_seed(0))
    _, spread = layer(x)
    weight, bias = layer.query_key_value.weight, layer.query_key_value.bias
    weight[:32] = 0.0
    bias[:32] = 50.0
    weight[32:64] = layer.norm(x[0, 3])[None] / 32.0
    bias[32:64] = 0.0
    _, attention = layer(x)
    assert spread.max() < 0.5
    assert attention[0].argmax() == 3
    assert attention[0, 3] > 0.9


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
    expected = (
        r"No network is called 'transformer'; there are dense, fully_convolutional, hybrid, residual, self_attention\."
    )
    with pytest.raises(SerError, match=expected):
        networks.build("transformer", {})
