"""A small model server for tests: it speaks KServe v2 over gRPC and HTTP as OpenVINO Model Server does, and runs the
models of the same folder.

What speaks gRPC is made of `tritonclient`'s own definitions; over HTTP, tensors come and go as JSON or, with its
extension for binary tensors, as bytes.
"""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import grpc
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.fakes import free_port
from tests.kserve.models import AWAY, BAD, BROKEN, MISSING, Fault, Faults, Models, datatype_of, from_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

    from tests.kserve.models import Tensors

_GRPC = {
    BAD: grpc.StatusCode.INVALID_ARGUMENT,
    MISSING: grpc.StatusCode.NOT_FOUND,
    AWAY: grpc.StatusCode.UNAVAILABLE,
    BROKEN: grpc.StatusCode.INTERNAL,
}
_HTTP = {BAD: 400, MISSING: 404, AWAY: 503, BROKEN: 500}
_HEADER = "Inference-Header-Content-Length"


# gRPC.


class Service(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # it ships no types
    """The calls that a client of ours makes."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def ServerLive(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return service_pb2.ServerLiveResponse(live=True)

    def ServerReady(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return service_pb2.ServerReadyResponse(ready=not self._models.faults.not_ready)

    def ModelReady(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return service_pb2.ModelReadyResponse(ready=self._models.ready(request.name, request.version))

    def ModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        try:
            told = self._models.metadata(request.name, request.version)
        except Fault as fault:
            context.abort(_GRPC[fault.kind], str(fault))
        return service_pb2.ModelMetadataResponse(**told)

    def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        try:
            inputs = _sent(request)
            wanted = [one.name for one in request.outputs]
            version, found = self._models.infer(request.model_name, request.model_version, inputs, wanted)
        except Fault as fault:
            context.abort(_GRPC[fault.kind], str(fault))
        reply = service_pb2.ModelInferResponse(model_name=request.model_name, model_version=version)
        for name, array in found.items():
            reply.outputs.add(name=name, datatype=datatype_of(array), shape=array.shape)
            reply.raw_output_contents.append(array.tobytes())
        return reply


def _sent(request: Any) -> Tensors:
    if len(request.raw_input_contents) != len(request.inputs):
        raise Fault(BAD, "tensors are taken as bytes (raw_input_contents) alone")
    pairs = zip(request.inputs, request.raw_input_contents, strict=True)
    return {one.name: from_bytes(one.datatype, list(one.shape), content) for one, content in pairs}


# HTTP.


def routes(models: Models) -> list[Route]:
    """What is answered over HTTP."""

    async def live(_: Request) -> Response:
        return Response()

    async def ready(_: Request) -> Response:
        return Response(status_code=503 if models.faults.not_ready else 200)

    async def model_ready(request: Request) -> Response:
        up = await run_in_threadpool(models.ready, *_named(request))
        return Response(status_code=200 if up else 503)

    async def metadata(request: Request) -> Response:
        try:
            return JSONResponse(await run_in_threadpool(models.metadata, *_named(request)))
        except Fault as fault:
            return _refusal(fault)

    async def infer(request: Request) -> Response:
        try:
            body = await request.body()
            return await run_in_threadpool(_inferred, models, _named(request), body, request.headers.get(_HEADER))
        except Fault as fault:
            return _refusal(fault)

    found = [Route("/v2/health/live", live), Route("/v2/health/ready", ready)]
    for place in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        found += [
            Route(place, metadata),
            Route(f"{place}/ready", model_ready),
            Route(f"{place}/infer", infer, methods=["POST"]),
        ]
    return found


def _named(request: Request) -> tuple[str, str]:
    return request.path_params["name"], request.path_params.get("version", "")


def _refusal(fault: Fault) -> JSONResponse:
    return JSONResponse({"error": str(fault)}, status_code=_HTTP[fault.kind])


def _inferred(models: Models, named: tuple[str, str], body: bytes, header: str | None) -> Response:
    length = int(header) if header else len(body)
    try:
        asked = json.loads(body[:length])
    except ValueError as error:
        raise Fault(BAD, f"this is no JSON ({error})") from error
    inputs, place = {}, length
    for one in asked["inputs"]:
        size = one.get("parameters", {}).get("binary_data_size")
        if size is None:
            array = np.array(one["data"], np.float32).reshape(one["shape"])
        else:
            array = from_bytes(one["datatype"], one["shape"], body[place : place + size])
            place += size
        inputs[one["name"]] = array
    outputs = asked.get("outputs", [])
    version, found = models.infer(*named, inputs, [one["name"] for one in outputs])
    every = asked.get("parameters", {}).get("binary_data_output", False)
    binary = {one["name"] for one in outputs if one.get("parameters", {}).get("binary_data", every)}
    return _answered(named[0], version, found, set(found) if every and not outputs else binary)


def _answered(name: str, version: str, found: Tensors, binary: set[str]) -> Response:
    told: list[dict[str, Any]] = []
    contents = []
    for output, array in found.items():
        one: dict[str, Any] = {"name": output, "datatype": datatype_of(array), "shape": list(array.shape)}
        if output in binary:
            contents.append(array.tobytes())
            one["parameters"] = {"binary_data_size": array.nbytes}
        else:
            one["data"] = array.ravel().tolist()
        told.append(one)
    head = json.dumps({"model_name": name, "model_version": version, "outputs": told}).encode()
    headers = {_HEADER: str(len(head))} if contents else {}
    return Response(head + b"".join(contents), media_type="application/octet-stream", headers=headers)


# Both.


class Server:
    """Serves a folder on loopback ports until it is stopped.

    Args:
        folder: see `train.model_server`.
        port: for gRPC; a free one if 0.
        http_port: the same for HTTP.
        faults: what it does wrong on purpose.

    Attributes:
        models: what it serves, and how often it was asked.
        port, http_port: where it listens.
    """

    def __init__(self, folder: Path, port: int = 0, http_port: int = 0, faults: Faults | None = None) -> None:
        self.models = Models(folder, faults or Faults())
        self.http_port = http_port or free_port()
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="kserve-test")
        self._grpc = grpc.server(self._threads, options=[("grpc.so_reuseport", 0)])
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Service(self.models), self._grpc)
        self.port = self._grpc.add_insecure_port(f"127.0.0.1:{port}")
        application = Starlette(routes=routes(self.models))
        config = uvicorn.Config(application, "127.0.0.1", self.http_port, log_level="warning", lifespan="off")
        self._http = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._http.run, name="kserve-test-http", daemon=True)

    @property
    def faults(self) -> Faults:
        """What it does wrong; may be changed while it runs."""
        return self.models.faults

    def url(self, scheme: str, model: str) -> str:
        """A model's address, over gRPC or HTTP."""
        return f"{scheme}://127.0.0.1:{self.port if scheme == 'grpc' else self.http_port}/{model}"

    def __enter__(self) -> Self:
        self._grpc.start()
        self._thread.start()
        while not self._http.started:
            if not self._thread.is_alive():
                raise RuntimeError(f"port {self.http_port} can't be listened on")
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End at once, and give the ports back."""
        self.models.ended.set()
        self._grpc.stop(None).wait(5.0)
        self._http.force_exit = self._http.should_exit = True
        self._thread.join(5.0)
        self._threads.shutdown(wait=False)
