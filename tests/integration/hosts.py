"""Hosts that share a Redis and a bucket and nothing else: processes with home folders of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from ml_backend.settings import Settings
from trainer.tether import tethered
from trainer.up import environment


@dataclass
class Host:
    """A machine: its home folder, and what runs on it. ``shared`` are the settings that all hosts have."""

    name: str
    folder: Path
    shared: Settings
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """The host's own settings."""
        return self.shared.model_copy(update={"home": self.folder / self.name})

    def project_folder(self, project_id: int) -> Path:
        """This host's copy of a project."""
        return self.settings.home / "projects" / str(project_id)

    def start(self, *arguments: str) -> None:
        """Start a process of Winnow's."""
        name = "-".join(arguments)
        with self.log_of(name).open("wb") as log:
            self.processes[name] = subprocess.Popen(
                tethered([sys.executable, "-m", "trainer.cli", *arguments]), stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, env=self._environment(), start_new_session=True,
            )  # fmt: skip

    def log_of(self, name: str) -> Path:
        """Where a process says what it does."""
        return self.folder / f"{self.name}-{name}.log"

    def check(self) -> None:
        """Fail where a process has ended."""
        for name, process in self.processes.items():
            assert process.poll() is None, f"{self.name}: {name} ended: {self.log_of(name).read_text()[-2000:]}"

    def run(self, *arguments: str, cwd: Path | None = None) -> str:
        """Run a command of Winnow's to its end; what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "trainer.cli", *arguments], env=self._environment(), cwd=cwd, capture_output=True,
            text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def stop(self) -> float:
        """Have all that runs here end; seconds it took. What does not end within a minute is killed."""
        began = time.monotonic()
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.processes.clear()
        return time.monotonic() - began

    def _environment(self) -> dict[str, str]:
        source = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        return environment(self.settings) | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": source}
