"""The network behind model servers: who is asked, who is believed, and what happens while nobody answers."""

from __future__ import annotations

import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import gradio as gr
import httpx
import numpy as np
import pytest

import app
import ser_core
from page import compare, guard, layout, live, options, tier
from page.judging import TITLES
from ser_core import __main__ as command
from ser_core import kserve, probe, remote
from ser_core.errors import BackendError, BundleError, ModelUnavailable
from ser_core.kserve import Address
from ser_core.recognizer import Recognizer, probabilities
from ser_core.replica import Patience
from tests import bundles, sounds, tiers
from tests.fakes import free_port
from tests.kserve.server import Server
from tests.processes import ROOT, until
from tests.tiers import HASTY, SLOW_S, asking, batch, same, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ser_core.bundle import Bundle

NAME = bundles.INFO.name
NOWHERE = f"grpc://127.0.0.1:9/{NAME}"
"""The port of "discard", on which nobody listens."""

schemes = pytest.mark.parametrize("scheme", ["grpc", "http"])


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bundles.make(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiers.other(tmp_path_factory.mktemp("other"))


@pytest.fixture
def folder(tmp_path: Path, opened: Bundle) -> Path:
    return tiers.served(tmp_path / "models", opened)


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    with Server(folder) as running:
        yield running


def heard_by(backend: Any) -> Recognizer:
    return Recognizer(backend, bundles.INFO, bundles.CALIBRATION, config=bundles.ANY_SOUND)


# Where it is.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("grpc://model:9000/voices", Address("grpc", "model:9000", "voices")),
        (" https://10.0.0.1:8000/ser-residual/3 ", Address("https", "10.0.0.1:8000", "ser-residual", "3")),
        ("grpcs://[::1]:9000/v.1/", Address("grpcs", "[::1]:9000", "v.1")),
    ],
)
def test_an_address_is_a_scheme_a_place_a_model_and_maybe_a_version(text: str, expected: Address) -> None:
    assert Address.parse(text) == expected
    assert Address.parse(str(expected)) == expected
    assert expected.secure == (expected.scheme in {"https", "grpcs"})


@pytest.mark.parametrize(
    "text",
    [
        "", "model:9000/voices", "ftp://model:9000/voices", "grpc://model/voices", "grpc://:9000/voices",
        "grpc://model:9000", "grpc://model:9000/voices/new", "grpc://model:9000/a/1/b", "grpc://model:99999/voices",
        "grpc://ann:secret@model:9000/voices", "http://model:8000/voices?x=1", "grpc://model:9000/a%20b",
    ],
)  # fmt: skip
def test_what_is_no_address_is_told_how_one_looks(text: str) -> None:
    with pytest.raises(BackendError, match="grpc://HOST:PORT/MODEL"):
        Address.parse(text)
    with pytest.raises(BackendError, match="grpc://HOST:PORT/MODEL"):
        remote.addresses(f"{text},")


# Asking.


@schemes
def test_many_windows_are_asked_in_requests_of_a_bounded_size(opened: Bundle, server: Server, scheme: str) -> None:
    with asking(opened, server.url(scheme, NAME)) as backend:
        assert same(backend.infer(batch(40)), tiers.local(opened).infer(batch(40)))
    assert server.models.largest == remote.AT_ONCE


@schemes
def test_a_version_may_be_named(opened: Bundle, other: Bundle, folder: Path, scheme: str) -> None:
    tiers.served(folder, other)
    with Server(folder) as server:
        with asking(opened, server.url(scheme, NAME) + "/1") as backend:
            assert same(backend.infer(batch()), tiers.local(opened).infer(batch()))
        with pytest.raises(BundleError, match="another model than small"), asking(opened, server.url(scheme, NAME)):
            pass


@schemes
def test_a_server_that_is_too_slow_is_given_up(opened: Bundle, server: Server, scheme: str) -> None:
    with asking(opened, server.url(scheme, NAME), patience=HASTY) as backend:
        server.faults.slow_s = SLOW_S
        with pytest.raises(ModelUnavailable):
            backend.infer(batch())


def test_a_call_as_a_whole_has_a_deadline(opened: Bundle, folder: Path) -> None:
    """Of many parts, or of many servers that are slow, each of which would have time enough."""
    patience = Patience(request_s=SLOW_S, call_s=0.5, left_out_s=0.0)
    with serving(folder, 2) as servers, asking(opened, *urls(servers), patience=patience) as backend:
        for one in servers:
            one.faults.slow_s = SLOW_S
        with pytest.raises(ModelUnavailable):
            backend.infer(batch(40))


def urls(servers: Any, scheme: str = "grpc") -> list[str]:
    return [one.url(scheme, NAME) for one in servers]


@schemes
@pytest.mark.parametrize("fault", ["overloaded", "slow", "nan", "short", "gone"])
def test_another_server_is_asked_where_one_fails(opened: Bundle, folder: Path, scheme: str, fault: str) -> None:
    patience = Patience(request_s=1.0 if fault == "slow" else 5.0, left_out_s=60.0)
    with serving(folder, 2) as servers, asking(opened, *urls(servers, scheme), patience=patience) as backend:
        bad = servers[0]
        if fault == "gone":
            bad.stop()
        bad.faults.fail_every = int(fault == "overloaded")
        bad.faults.slow_s = SLOW_S * (fault == "slow")
        bad.faults.nan, bad.faults.short = fault == "nan", fault == "short"
        before = bad.models.asked
        expected = tiers.local(opened).infer(batch())
        assert all(same(backend.infer(batch()), expected) for _ in range(6))
        # It was asked once, and then left alone.
        assert bad.models.asked - before == int(fault != "gone")
        assert backend.state() == "up"
        assert str(bad.port if scheme == "grpc" else bad.http_port) in backend.faults()


@schemes
def test_what_a_server_refuses_is_not_sent_to_another(opened: Bundle, folder: Path, scheme: str) -> None:
    with serving(folder, 2) as servers, asking(opened, *urls(servers, scheme)) as backend:
        before = [one.models.asked for one in servers]
        with pytest.raises(BackendError, match="refuses what it was sent"):
            backend.infer(np.zeros((1, 1, 81, 192), np.float32))
        assert [one.models.asked for one in servers] == before
        assert same(backend.infer(batch()), tiers.local(opened).infer(batch()))
        assert backend.faults() == ""


def test_servers_are_asked_in_turn(opened: Bundle, folder: Path) -> None:
    with serving(folder, 3) as servers, asking(opened, *urls(servers)) as backend:
        before = [one.models.asked for one in servers]
        for _ in range(9):
            backend.infer(batch())
        assert [one.models.asked - then for one, then in zip(servers, before, strict=True)] == [3, 3, 3]


def test_who_is_busy_is_asked_less(opened: Bundle, folder: Path) -> None:
    patient = Patience(request_s=SLOW_S, call_s=SLOW_S)
    with serving(folder, 2) as servers, asking(opened, *urls(servers), patience=patient) as backend:
        slow, quick = (one.models for one in servers)
        slow.faults.slow_s = SLOW_S
        before = slow.asked, quick.asked
        with ThreadPoolExecutor(1) as threads:
            stuck = threads.submit(lambda: [backend.infer(batch()) for _ in range(2)])
            until(lambda: slow.asked > before[0])
            for _ in range(6):
                backend.infer(batch())
            assert slow.asked == before[0] + 1
            assert quick.asked >= before[1] + 6
            slow.ended.set()
            stuck.result(60)


# Coming back.


@schemes
def test_a_server_that_comes_back_is_asked_again(opened: Bundle, folder: Path, scheme: str) -> None:
    expected = tiers.local(opened).infer(batch())
    with Server(folder) as first:
        ports = first.port, first.http_port
        with asking(opened, first.url(scheme, NAME)) as backend:
            assert same(backend.infer(batch()), expected)
            first.stop()
            with pytest.raises(ModelUnavailable, match="Try again in a minute"):
                backend.infer(batch())
            until(lambda: backend.state() == "down")
            with Server(folder, *ports):
                until(lambda: backend.state() == "up")
                assert same(backend.infer(batch()), expected)
                assert backend.faults() == ""


def test_who_comes_back_as_another_model_is_not_believed(
    opened: Bundle, other: Bundle, folder: Path, tmp_path: Path
) -> None:
    """Of the same name and version: a folder was emptied and filled anew."""
    with Server(folder) as first:
        ports = first.port, first.http_port
        with asking(opened, first.url("grpc", NAME)) as backend:
            backend.infer(batch())
            first.stop()
            with pytest.raises(ModelUnavailable):
                backend.infer(batch())

            def is_found_out() -> bool:
                with pytest.raises(ModelUnavailable):
                    backend.infer(batch())
                return "another model than small 1.2.3" in backend.faults()

            with Server(tiers.served(tmp_path / "others", other), *ports):
                until(is_found_out)
                assert backend.state() == "down"


@schemes
def test_a_version_that_a_running_server_takes_up_is_not_believed(
    opened: Bundle, other: Bundle, folder: Path, scheme: str
) -> None:
    with Server(folder) as server, asking(opened, server.url(scheme, NAME)) as backend:
        assert same(backend.infer(batch()), tiers.local(opened).infer(batch()))
        tiers.served(folder, other)
        with pytest.raises(ModelUnavailable):
            backend.infer(batch())
        # The same weights as a further version are taken for what they are.
        tiers.served(folder, opened)
        until(lambda: backend.state() == "up")
        assert same(backend.infer(batch()), tiers.local(opened).infer(batch()))


def test_servers_that_are_away_at_first_are_asked_once_they_are_there(
    opened: Bundle, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    with caplog.at_level(logging.WARNING, "ser.remote"), asking(opened, f"grpc://127.0.0.1:{port}/{NAME}") as backend:
        assert backend.state() == "down"
        assert "No model server answers; nothing is judged" in caplog.text
        assert not heard_by(backend).is_available()
        heard_by(backend).warm_up()
        with Server(folder, port):
            until(lambda: heard_by(backend).is_available())
            assert same(backend.infer(batch()), tiers.local(opened).infer(batch()))


def test_one_that_is_not_ready_is_not_up(opened: Bundle, server: Server) -> None:
    for scheme in ("grpc", "http"):
        with asking(opened, server.url(scheme, NAME)) as backend:
            assert backend.state() == "up"
            server.faults.not_ready = True
            until(lambda: backend.state() == "down")
            server.faults.not_ready = False
            until(lambda: backend.state() == "up")


def test_whether_it_is_up_is_found_out_without_waiting_for_an_answer(opened: Bundle, server: Server) -> None:
    """A server that takes connections and says nothing; the probe would wait for it."""
    server.faults.slow_s = SLOW_S
    with asking(opened, server.url("http", NAME), patience=HASTY) as backend:
        assert backend.state() == "down"


# Held to the bundle.


@schemes
@pytest.mark.parametrize(
    ("network", "told"),
    [
        ({"n_mels": 128}, "takes 128 mel bands .* features have 80 bands"),
        ({"emotions": 7}, "answers 7 emotions; .* it knows 8 emotions"),
        (
            {"names": {"logits": "scores"}},
            r"outputs \['attention', 'scores'\]; this version needs 'log_mel' and 'logits'",
        ),
    ],
)
def test_a_model_of_other_shapes_or_names_is_refused_naming_both_sides(
    opened: Bundle, tmp_path: Path, scheme: str, network: dict[str, Any], told: str
) -> None:
    bundles.make(tmp_path / "bundle")
    wrong = tiers.replaced(tmp_path / "bundle", bundles.network(**network))
    with (
        Server(tiers.served(tmp_path / "models", wrong)) as server,
        pytest.raises(BundleError, match=told),
        asking(opened, server.url(scheme, NAME)),
    ):
        pass


@schemes
def test_other_weights_in_the_same_shapes_are_refused(opened: Bundle, server: Server, scheme: str) -> None:
    server.faults.shifted = True
    told = r"another model than small 1\.2\.3 in FP16: on a fixed probe .* lie 0\.\d+ apart, at most 0\.01"
    with pytest.raises(BundleError, match=told), asking(opened, server.url(scheme, NAME)):
        pass


def test_one_right_server_of_two_is_enough(opened: Bundle, folder: Path) -> None:
    with serving(folder, 2) as servers:
        servers[0].faults.shifted = True
        with asking(opened, *urls(servers), NOWHERE) as backend:
            assert all(same(backend.infer(batch()), tiers.local(opened).infer(batch())) for _ in range(4))


def test_a_model_that_is_not_there_is_as_a_server_that_is_not(opened: Bundle, server: Server) -> None:
    for scheme in ("grpc", "http"):
        with asking(opened, server.url(scheme, "nobody")) as backend:
            assert backend.state() == "down"
            assert "not found" in backend.faults()


@bundles.needs_shipped
def test_the_probe_tells_versions_apart_but_not_kinds_of_numbers(shipped: Recognizer) -> None:
    """What INT8 changes is about what it changes between processors with and without VNNI, too."""
    asked = probe.spectrograms(shipped.config)
    assert asked.shape == (16, 1, 80, 192)
    assert asked.dtype == np.float32
    assert abs(asked).max() <= 1.0
    assert len(asked) <= remote.AT_ONCE
    rows = {
        name: probabilities(ser_core.load(precision=name).backend.infer(asked).logits, 1.0)
        for name in ("int8", "fp16", "fp32")
    }
    assert probe.distance(rows["fp32"], rows["fp16"]) < probe.TOLERANCE["fp16"] / 2
    assert probe.TOLERANCE["fp16"] < probe.distance(rows["int8"], rows["fp16"]) < probe.TOLERANCE["int8"]
    # The network is of more than one mind about most of it: only so does another training show.
    assert np.median(rows["fp16"].max(axis=1)) < 0.7
    assert len(set(rows["fp16"].argmax(axis=1))) >= 3
    assert probe.distance(np.roll(rows["int8"], 1, axis=0), rows["int8"]) > 4 * probe.TOLERANCE["int8"]


# Standing in.


@schemes
def test_the_network_here_stands_in_where_that_was_asked_for(opened: Bundle, folder: Path, scheme: str) -> None:
    expected = tiers.local(opened).infer(batch(40))
    with Server(folder) as server:
        ports = server.port, server.http_port
        with asking(opened, server.url(scheme, NAME), fallback=True) as backend:
            assert (backend.state(), heard_by(backend).is_available()) == ("up", True)
            server.stop()
            assert same(backend.infer(batch(40)), expected)
            until(lambda: backend.state() == "standing_in")
            assert heard_by(backend).is_available()
            with Server(folder, *ports) as again:
                until(lambda: backend.state() == "up")
                before = again.models.asked
                assert same(backend.infer(batch(40)), expected)
                assert again.models.asked > before


def test_it_stands_in_for_servers_of_another_model(opened: Bundle, server: Server) -> None:
    server.faults.shifted = True
    with asking(opened, server.url("grpc", NAME), fallback=True) as backend:
        assert same(backend.infer(batch()), tiers.local(opened).infer(batch()))
        assert backend.state() == "standing_in"


# As it is asked for.


def test_load_reads_the_bundle_here_and_runs_the_network_there(opened: Bundle, server: Server) -> None:
    judge = ser_core.load(opened.folder, backend=f"{server.url('grpc', NAME)}, {server.url('http', NAME)}")
    alone = ser_core.load(opened.folder)
    assert alone.tier is None
    assert alone.is_available()
    assert judge.tier is not None
    assert repr(judge.tier) == f"RemoteBackend({server.url('grpc', NAME)}, {server.url('http', NAME)})"
    assert (judge.info, judge.metrics, judge.calibration) == (alone.info, alone.metrics, alone.calibration)
    before = server.models.asked
    voice = sounds.voice(9.0)
    assert judge.predict(voice, 16_000).probabilities == pytest.approx(alone.predict(voice, 16_000).probabilities)
    assert server.models.asked > before
    judge.tier.close()


def test_the_command_line_asks_the_servers_of_the_environment(
    opened: Bundle, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = str(sounds.write(tmp_path, sounds.voice(2.0), 16_000))
    arguments = [clip, "--format", "csv", "--model", str(opened.folder)]
    assert command.run(arguments) == 0
    alone = capsys.readouterr().out
    monkeypatch.setenv("SER_BACKEND", server.url("grpc", NAME))
    before = server.models.asked
    assert command.run(arguments) == 0
    assert capsys.readouterr().out.split(",")[:3] == alone.split(",")[:3]
    assert server.models.asked > before


def test_the_command_line_says_at_once_that_no_server_can_be_asked(
    opened: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], clip: Path
) -> None:
    monkeypatch.setenv("SER_BACKEND", NOWHERE)
    with pytest.raises(SystemExit) as ended:
        command.run([str(clip), "--model", str(opened.folder)])
    assert ended.value.code == 2
    assert f"No model server can be asked ({NOWHERE}: " in capsys.readouterr().err
    monkeypatch.setenv("SER_BACKEND_FALLBACK", "local")
    assert command.run([str(clip), "--model", str(opened.folder)]) == 0
    monkeypatch.setenv("SER_BACKEND_FALLBACK", "remote")
    with pytest.raises(SystemExit):
        command.run([str(clip), "--model", str(opened.folder)])
    assert "'remote' can't stand in" in capsys.readouterr().err


def test_the_page_takes_servers_from_its_options_or_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (remote.VARIABLE, remote.FALLBACK):
        monkeypatch.delenv(name, raising=False)
    assert (options.parse([]).backend, options.parse([]).fallback) == (None, False)
    monkeypatch.setenv("SER_BACKEND", f"{NOWHERE}, http://localhost:8000/small")
    monkeypatch.setenv("SER_BACKEND_FALLBACK", "local")
    assert options.parse([]).backend == f"{NOWHERE},http://localhost:8000/small"
    assert options.parse([]).fallback
    assert options.parse(["--backend", NOWHERE]).backend == NOWHERE
    with pytest.raises(SystemExit):
        options.parse(["--backend", "localhost:9000"])
    assert "no address of a model server" in capsys.readouterr().err


def test_without_its_library_it_says_what_to_install(
    opened: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("tritonclient.grpc", "tritonclient.http.aio"):
        monkeypatch.setitem(sys.modules, module, None)
    for url in (NOWHERE, "http://127.0.0.1:9/small"):
        with pytest.raises(BackendError, match=r"pip install -r requirements-remote\.txt"):
            ser_core.load(opened.folder, backend=url)
    assert app.main(["--model", str(opened.folder), "--backend", NOWHERE]) == 1
    assert "pip install -r requirements-remote.txt" in capsys.readouterr().err
    assert (ROOT / kserve.REQUIREMENTS).is_file()


def test_where_no_server_is_named_nothing_of_it_is_imported(opened: Bundle) -> None:
    code = (
        f"import sys, ser_core, ser_core.remote; ser_core.load({str(opened.folder)!r}); "
        "print([name for name in ('tritonclient', 'grpc', 'aiohttp', 'gevent') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# On the page.


def test_visitors_are_told_in_a_sentence_and_live_listening_goes_on(
    opened: Bundle, folder: Path, tmp_path: Path
) -> None:
    port = free_port()
    with asking(opened, f"grpc://127.0.0.1:{port}/{NAME}") as backend:
        sessions = live.Sessions(heard_by(backend))
        pieces = iter([sounds.write(tmp_path, sounds.tone(1.0), 16_000, stem=f"piece-{n}") for n in range(9)])
        for _ in range(2):
            assert sessions.push("ann", str(next(pieces)))
        with pytest.raises(ModelUnavailable):
            sessions.push("ann", str(next(pieces)))
        with Server(folder, port):
            until(lambda: backend.state() == "up")
            for _ in range(5):
                session = sessions.push("ann", str(next(pieces)))
            assert session is not None
            assert [window.start_s for window in session.stream.windows] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
        until(lambda: backend.state() == "down")
        with pytest.raises(ModelUnavailable):
            sessions.push("ann", str(next(pieces)))
        left = sessions.leave("ann")
        assert left is not None
        assert len(left.stream.windows) == 6
    assert TITLES[ModelUnavailable] == "Not just now"


def test_the_comparison_is_of_networks_that_run_here(opened: Bundle, clip: Path) -> None:
    with asking(opened, NOWHERE) as backend:
        judge = Recognizer(backend, ser_core.load(opened.folder).info, bundles.CALIBRATION, config=bundles.ANY_SOUND)
        networks = compare.Networks(judge, lambda name: ser_core.load(opened.folder, precision=name), opened)
        assert [one.precision for one in compare.judge(networks, str(clip))] == ["fp16", "int8", "fp32"]


@pytest.fixture
def page(opened: Bundle, folder: Path) -> Iterator[tuple[gr.Blocks, Server]]:
    """A page on a model server."""
    with Server(folder) as server, asking(opened, server.url("grpc", NAME)) as backend:
        built = layout.build(heard_by(backend), opened=opened)
        app.launch(built, options.Options(port=free_port(), rate=1))
        yield built, server
        built.close()


def test_the_page_says_whether_servers_answer_however_often_it_is_asked(page: tuple[Any, Server]) -> None:
    built, server = page

    def look() -> str:
        reply = httpx.post(f"{built.local_url}gradio_api/run/{tier.ENDPOINT}", json={"data": []})
        assert reply.status_code == 200
        return str(reply.json()["data"][0])

    assert look() == ""
    server.stop()
    until(lambda: look() == tier.SAID["down"])
    shown = str(built.config)
    assert "run by a model server" in shown
    assert tier.ELSEWHERE in shown
    assert "127.0.0.1" not in tier.SAID["down"]


def test_a_page_without_servers_says_nothing_of_any(fake_page: Any) -> None:
    assert tier.ENDPOINT not in {function.api_name for function in fake_page.fns.values()}
    assert not [block for block in fake_page.blocks.values() if isinstance(block, gr.Timer)]
    assert tier.ELSEWHERE not in str(fake_page.config)


def test_only_the_look_itself_is_no_work() -> None:
    assert not guard.STARTS.fullmatch(f"/gradio_api/run/{tier.ENDPOINT}")
    for path in ("run/predict", "run/tiers", "run/tier/", "api/show", "queue/join", "call/tier"):
        assert guard.STARTS.fullmatch(f"/gradio_api/{path}")
