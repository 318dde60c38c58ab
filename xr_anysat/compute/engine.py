"""The networks of a process at work: loaded once, and run in lanes.

A lane is a thread that computes one job after the other. On a CPU there are as many lanes as
threads to be used, and torch computes each job on its lane alone: whole jobs side by side keep
the cores busier than single products cut in parts, with no waiting for one another in between.
On a CUDA device each lane has a stream, so that copies of one lane overlap with the products of
another. Jobs of all callers, such as the threads of a dask scheduler, go through the same lanes.
"""

import os
import sys
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing import parent_process
from typing import TYPE_CHECKING, Any, TypeVar

import numpy.typing as npt

from xr_anysat.errors import OptionError, ScaleError
from xr_anysat.findings import Advice, SetOption
from xr_anysat.job.model import Model
from xr_anysat.model.config import ModelConfig
from xr_anysat.weights.files import WeightsSource, load_tensors

if TYPE_CHECKING:
    import torch

    from xr_anysat.model.network import AnySat

__all__ = ["Engine", "engine_of", "resolved_device", "resolved_precision"]

ENGINES = 2
"""Networks kept in a process; the one unused longest goes first."""

CUDA_LANES = 3
"""One computes, one copies in, one copies out."""

CPU_PIXEL_DATES, CPU_TOKENS = 1024, 1024
"""Vectors of a batch: the widest intermediate (2 D and 4 D floats each) stays in the cache."""

CUDA_SHARE = 0.5
"""Share of a CUDA device's free memory that the batches of all lanes may take."""

CUDA_PIXEL_DATES, CUDA_TOKENS = 2**19, 2**17
"""Largest batches on a CUDA device: more gives no more speed."""

TOKEN_COPIES = 24
"""Vectors of D float32 that a token needs while it is computed: 4 D wide layers, and residuals."""

_FAST_BFLOAT16 = ("amx_bf16", "avx512_bf16", "bf16")
"""Instructions of x86-64 and of Arm that multiply bfloat16, as torch names them."""

Result = TypeVar("Result")

_lock = threading.RLock()
_engines: "OrderedDict[tuple[WeightsSource, ModelConfig, str, str, bool], Engine]" = OrderedDict()
_pools: dict[tuple[str, int], ThreadPoolExecutor] = {}
_here = threading.local()


class Engine:
    """A network on its device.

    Parameters
    ----------
    network
        With its weights, on the device.
    precision
        Of matrix products: "float32", "bfloat16" or "float16".
    batch_size
        Vectors of a batch, where the user says so.
    """

    def __init__(self, network: "AnySat", precision: str, batch_size: int | None = None) -> None:
        self.network = network
        self.device: torch.device = network.cls_token.device
        self.precision = precision
        self.batch_size = batch_size

    @property
    def lanes(self) -> int:
        """Jobs that are computed side by side."""
        if self.device.type == "cpu":
            return max(1, _threads())
        return CUDA_LANES if self.device.type == "cuda" else 1

    @property
    def pixel_dates(self) -> int:
        """Pixel-dates of a batch."""
        if self.batch_size is not None:
            return self.batch_size
        return CPU_PIXEL_DATES if self.device.type == "cpu" else 4 * self.tokens

    @property
    def tokens(self) -> int:
        """Tokens of a batch of patches or tiles."""
        import torch

        if self.batch_size is not None:
            return self.batch_size
        if self.device.type != "cuda":
            return CPU_TOKENS
        free, _ = torch.cuda.mem_get_info(self.device)
        free += torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        each = TOKEN_COPIES * 4 * self.network.config.width
        return int(min(max(CUDA_SHARE * free / CUDA_LANES / each, CPU_TOKENS), CUDA_TOKENS))

    def map(self, job: Callable[[Any], Result], items: Iterable[Any]) -> Iterator[Result]:
        """Compute jobs in the lanes; results in order, and few of them at once."""
        lanes = self.lanes
        pool = _pool(self.device, lanes)
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                if len(waiting) > lanes:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(self._in_lane, job, item))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def _in_lane(self, job: Callable[[Any], Result], item: Any) -> Result:
        import torch

        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if self.device.type == "cuda":
                stack.enter_context(torch.cuda.stream(_stream(self.device)))
            if self.precision != "float32":
                kind = getattr(torch, self.precision)
                stack.enter_context(torch.autocast(self.device.type, dtype=kind))
            return job(item)

    def send(self, values: npt.NDArray[Any]) -> "torch.Tensor":
        """Copy an array to the device; the copy may still be under way in the lane's stream."""
        import torch

        tensor = torch.from_numpy(values)
        if self.device.type == "cpu":
            return tensor
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def fetch(self, tensor: "torch.Tensor") -> npt.NDArray[Any]:
        """Copy a tensor back, of a kind that numpy knows."""
        import torch

        if self.device.type == "cuda":
            host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            host.copy_(tensor, non_blocking=True)
            _stream(self.device).synchronize()
            tensor = host
        return tensor.cpu().numpy()

    def check(self, values: "torch.Tensor") -> None:
        """Refuse what a network gives for values that it is not made for.

        Raises
        ------
        ScaleError
            Where some are not finite.
        """
        if values.isfinite().all():
            return
        raise ScaleError(
            "values.not-finite",
            SetOption("precision", "float32", python='model=Model(..., precision="float32")')
            if self.precision != "float32"
            else Advice("a cube scaled to DN"),
            option=SetOption("precision", self.precision),
        )

    def halving(self, job: Callable[[Any], Result], items: Any) -> list[Result]:
        """Run a job on many items, or on half of them twice where the device's memory is short."""
        import torch

        try:
            return [job(items)]
        except torch.cuda.OutOfMemoryError:
            if len(items) == 1:
                raise
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        half = len(items) // 2
        return [*self.halving(job, items[:half]), *self.halving(job, items[half:])]


def engine_of(model: Model) -> Engine:
    """Engine of a model in this process. Its network is loaded at the first call.

    Raises
    ------
    OptionError
        Where the process has no such device.
    WeightsError
        Where the weights are missing.
    """
    device = resolved_device(model)
    precision = resolved_precision(model, device)
    key = (model.source, model.config, str(device), precision, model.compile)
    with _lock:
        if key not in _engines:
            _engines[key] = Engine(_load(model, device, precision), precision)
            while len(_engines) > ENGINES:
                _engines.popitem(last=False)
        _engines.move_to_end(key)
        kept = _engines[key]
    if model.batch_size is None:
        return kept
    return Engine(kept.network, precision, model.batch_size)


def resolved_device(model: Model) -> "torch.device":
    """Find the device that this process computes a model on.

    Raises
    ------
    OptionError
        Where the process has no such device.
    """
    import torch

    if model.device is None:
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(model.device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        raise OptionError(
            "model.device",
            option=SetOption("device", model.device),
            error=str(error).splitlines()[0],
        ) from None
    return device


def resolved_precision(model: Model, device: "torch.device") -> str:
    """Find the precision of matrix products: "float32", "bfloat16" or "float16"."""
    if model.precision != "auto":
        return model.precision
    return "bfloat16" if _multiplies_bfloat16(device) else "float32"


def _multiplies_bfloat16(device: "torch.device") -> bool:
    """Whether a device has instructions for products of bfloat16, rather than emulating them."""
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        known: Any = getattr(torch.cpu, "get_capabilities", dict)()
        return any(known.get(name) for name in _FAST_BFLOAT16)
    return False


def _load(model: Model, device: "torch.device", precision: str) -> "AnySat":
    import torch

    from xr_anysat.model.network import AnySat

    tensors = load_tensors(model.source, model.config)
    with torch.device("meta"):
        network = AnySat(model.config)
    network.load_state_dict(tensors, strict=True, assign=True)
    if precision != "float32":  # once, and not with every product; norms stay as they are
        for module in network.modules():
            if isinstance(module, torch.nn.Linear):
                module.to(getattr(torch, precision))
    network = network.requires_grad_(False).eval().to(device)
    if model.compile:
        network.compile_stages()
    return network


def _pool(device: "torch.device", lanes: int) -> ThreadPoolExecutor:
    """Lanes of a device, made at the first call."""
    import torch

    key = (str(device), lanes)
    with _lock:
        if key not in _pools:
            before = torch.get_num_threads()
            ready = threading.Barrier(lanes + 1)

            def begin() -> None:
                torch.get_num_threads()  # a thread takes the process's number at its first call
                torch.set_num_threads(1)
                ready.wait()

            _pools[key] = ThreadPoolExecutor(lanes, thread_name_prefix=f"anysat-{device}")
            for _ in range(lanes):
                _pools[key].submit(begin)
            ready.wait()
            torch.set_num_threads(before)  # it is also what threads begin with that start later
        return _pools[key]


def _stream(device: "torch.device") -> "torch.cuda.Stream":
    """Stream of this lane."""
    import torch

    streams = _here.__dict__.setdefault("streams", {})
    if device not in streams:
        streams[device] = torch.cuda.Stream(device)
    stream: torch.cuda.Stream = streams[device]
    return stream


def _threads() -> int:
    """Count the threads that this process may compute with."""
    import torch

    variable = os.environ.get("OMP_NUM_THREADS", "")
    limit = int(variable) if variable.isdigit() else 0
    worker = _dask_worker()
    if worker is not None:  # its nanny says OMP_NUM_THREADS=1, meaning one for each of its threads
        return max(worker, limit)
    if parent_process() is not None:  # one of many, as of dask's "processes" scheduler
        return limit or 1
    return torch.get_num_threads()


def _dask_worker() -> int | None:
    """Count the threads of the dask worker that runs this task, if one does."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return int(distributed.get_worker().state.nthreads)
    except ValueError:  # no worker here
        return None


def _forget() -> None:
    """Forget the lanes of the parent process: their threads do not survive a fork."""
    global _lock
    _lock = threading.RLock()
    _pools.clear()


if hasattr(os, "register_at_fork"):  # POSIX
    os.register_at_fork(after_in_child=_forget)
