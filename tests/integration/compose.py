"""The services of docker/compose.yaml as processes: the very same command lines, in folders instead of containers.

What a container would give is put in its place, and nothing else is changed:

- paths of volumes, of ``/tmp`` and of ``/run/secrets`` become folders below one that is thrown away; a service sees
  those secrets alone that it lists, and the volumes that it mounts;
- a service's name, where it is a host, becomes 127.0.0.1, and so does 0.0.0.0; each port becomes a free one;
- the environment is the image's own (of Winnow's image, what its Dockerfile says) and what compose.yaml adds.

An image's set-up of its own is done here: Postgres' (a database with the named user) and Redis' user.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.integration.running import until
from trainer.demo.walk import free_port
from trainer.tether import tethered

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker" / "compose.yaml"
DOCKERFILE = ROOT / "docker" / "Dockerfile"
PORTS = ("5432", "6379", "8080", "9090")
OWN_PROGRAMS = ROOT / ".venv" / "bin"  # an older Redis is there too, which only Winnow itself is to find
PROGRAMS = (ROOT / ".venv-label-studio" / "bin", *Path("/usr/lib/postgresql").glob("*/bin"))
IMAGES = {  # what other images say of their environment
    "label-studio": {"LABEL_STUDIO_BASE_DATA_DIR": "/label-studio/data"},
    "redis": {},
    "postgres": {},
}
HEALTHY_SECONDS = 300  # Label Studio makes its tables first


def winnow_image() -> tuple[dict[str, str], list[str], list[str]]:
    """Environment, entry point and health check of the Dockerfile."""
    text = DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", " ")
    line = next(one for one in text.splitlines() if one.startswith("ENV "))
    environment = dict(pair.split("=", 1) for pair in line.split()[1:])
    entry = re.search(r"^ENTRYPOINT (\[.*\])$", text, re.MULTILINE)
    health = re.search(r"^HEALTHCHECK .*?CMD (\[.*\])$", text, re.MULTILINE)
    assert entry
    assert health
    environment.pop("PATH")
    return environment, json.loads(entry[1]), json.loads(health[1])


@dataclass
class Composed:
    """An installation that compose.yaml describes, below ``folder``. Services are started one by one."""

    folder: Path
    scale: Mapping[str, int]
    processes: dict[str, list[subprocess.Popen[bytes]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.file: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
        self.services: dict[str, dict[str, Any]] = self.file["services"]
        self._ports = {port: str(free_port()) for port in PORTS}
        self._outside = Path(tempfile.mkdtemp(prefix="winnow-postgres-"))  # its user must get there
        self.seconds: dict[str, float] = {}

    def port(self, of: int) -> int:
        """The port that stands in for one of compose.yaml."""
        return int(self._ports[str(of)])

    def make_secrets(self) -> None:
        """Run the shell lines at the top of compose.yaml, as they are."""
        (self.folder / "docker").mkdir()
        told = COMPOSE.read_text(encoding="utf-8").split("name: winnow")[0]
        lines = [line.removeprefix("#").strip() for line in told.splitlines()]
        begin = next(i for i, line in enumerate(lines) if line.startswith("mkdir"))
        end = next(i for i, line in enumerate(lines) if line.startswith("docker compose"))
        subprocess.run(["sh", "-euc", "\n".join(lines[begin:end])], cwd=self.folder, check=True)

    def secret(self, name: str) -> Path:
        """The file of a secret, as compose.yaml names it."""
        return self.folder / "docker" / str(self.file["secrets"][name]["file"])

    def environment(self, service: str) -> dict[str, str]:
        """All that a service's process has in its environment."""
        described = self.services[service]
        ours = described["image"].startswith("winnow:")
        own = winnow_image()[0] if ours else IMAGES[service]
        values = {**own, **{name: str(value) for name, value in described.get("environment", {}).items()}}
        values = {name: self._placed(service, _interpolated(value)) for name, value in values.items()}
        values |= {
            name: "127.0.0.1" for name, value in values.items() if name.endswith("HOST") and value in self.services
        }
        path = os.pathsep.join([*([str(OWN_PROGRAMS)] if ours else []), *map(str, PROGRAMS), os.environ["PATH"]])
        home = str(self._volume("winnow") if ours else self.folder)
        return values | {"PATH": path, "HOME": home, "WINNOW_PORT": self._ports["9090"], "NO_PROXY": "127.0.0.1",
                         "PGPORT": self._ports["5432"], "OMP_NUM_THREADS": "1"}  # fmt: skip

    def command(self, service: str) -> list[str]:
        """A service's command line, entry point included."""
        described = self.services[service]
        entry = described.get("entrypoint") or (winnow_image()[1] if described["image"].startswith("winnow:") else [])
        return [self._placed(service, _interpolated(part)) for part in [*entry, *described["command"]]]

    def up(self, *services: str) -> None:
        """Start services when what they depend on is healthy, and wait until they are."""
        for service in services:
            for other, how in self.services[service].get("depends_on", {}).items():
                assert how == {"condition": "service_healthy"}
                assert self.healthy(other), f"{service} needs {other}"
            began = time.monotonic()
            self._lay_out(service)
            for number in range(self.scale.get(service, 1)):
                self._start(service, number)
            until(lambda service=service: self.healthy(service), HEALTHY_SECONDS)
            self.seconds[service] = time.monotonic() - began

    def run(self, service: str, *arguments: str, cwd: Path) -> str:
        """`docker compose run --rm SERVICE ARGUMENTS`: one command in a service's surroundings; what it prints."""
        entry = winnow_image()[1]
        done = subprocess.run(
            [*entry, *arguments], env=self.environment(service), cwd=cwd, capture_output=True, text=True, check=False,
            timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def healthy(self, service: str) -> bool:
        """Whether every process of it lives and its health check passes."""
        for process in self.processes.get(service, []):
            assert process.poll() is None, f"{service} ended: {self.log(service)[-2000:]}"
        check = self.services[service].get("healthcheck")
        if check == {"disable": True}:
            return True
        test = check["test"] if check else ["CMD", *winnow_image()[2]]
        line = ["sh", "-c", test[1]] if test[0] == "CMD-SHELL" else test[1:]
        line = [self._placed(service, _interpolated(part)) for part in line]
        done = subprocess.run(line, env=self.environment(service), capture_output=True, timeout=30, check=False)
        return done.returncode == 0

    def log(self, service: str) -> str:
        """What a service has said so far."""
        found = sorted(self.folder.glob(f"{service}-*.log"))
        return "".join(path.read_text(encoding="utf-8", errors="replace") for path in found)

    def stop(self, *services: str) -> dict[str, float]:
        """Signal services together as an engine would; seconds until each had ended, and 0 is its exit code."""
        began, seconds = time.monotonic(), dict[str, float]()
        for service in services:
            for process in self.processes[service]:
                process.send_signal(signal.SIGINT if service == "postgres" else signal.SIGTERM)  # the image's own
        for service in services:
            for process in self.processes.pop(service):
                process.wait(_seconds(self.services[service].get("stop_grace_period", "10s")))
                assert process.returncode in (0, -signal.SIGTERM), (service, process.returncode)
            seconds[service] = time.monotonic() - began
        return seconds

    def kill(self) -> None:
        """End whatever still runs, and remove what lies outside ``folder``."""
        for processes in self.processes.values():
            for process in processes:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        shutil.rmtree(self._outside, ignore_errors=True)

    def _start(self, service: str, number: int) -> None:
        command = self._postgres() if service == "postgres" else tethered(self.command(service))
        with (self.folder / f"{service}-{number}.log").open("wb") as log:
            process = subprocess.Popen(
                command, env=self.environment(service), stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True, cwd=self._outside if service == "postgres" else None,
            )  # fmt: skip
        self.processes.setdefault(service, []).append(process)

    def _lay_out(self, service: str) -> None:
        """A service's secrets and its ``/tmp``; volumes are made as they are named."""
        secrets, temporary = self.folder / service / "secrets", self.folder / service / "tmp"
        secrets.mkdir(parents=True)
        temporary.mkdir()
        for name in self.services[service].get("secrets", []):
            text = self.secret(name).read_text(encoding="utf-8")
            path = secrets / name
            path.write_text(self._placed(service, text), encoding="utf-8")
            path.chmod(0o600)

    def _postgres(self) -> list[str]:
        """What the image does before it serves: a cluster with the named user and database. Postgres refuses root."""
        named = self.environment("postgres")
        password = self._outside / "password"
        shutil.copyfile(named["POSTGRES_PASSWORD_FILE"], password)
        data, user = self._outside / "data", named["POSTGRES_USER"]
        prefix = ["setpriv", "--pdeathsig", "INT"]
        if os.geteuid() == 0:
            prefix += ["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
            for path in (self._outside, password):
                shutil.chown(path, "postgres", "postgres")
        initdb = ["initdb", "--auth", "scram-sha-256", "--username", user, "--pwfile", str(password), str(data)]
        environment = {"PATH": named["PATH"], "LC_ALL": "C.UTF-8"}
        for line, said in (
            ([*prefix, *initdb], b""),
            ([*prefix, "postgres", "--single", "-D", str(data), "postgres"],
             f"CREATE DATABASE {named['POSTGRES_DB']}\n".encode()),
        ):  # fmt: skip
            subprocess.run(line, input=said, env=environment, cwd=self._outside, capture_output=True, check=True)
        return [*prefix, "postgres", "-D", str(data), "-h", "127.0.0.1", "-k", str(self._outside), "-p",
                self._ports["5432"]]  # fmt: skip

    def _placed(self, service: str, text: str) -> str:
        """``text`` with this machine's folders, hosts and ports in it."""
        mounts = {"/run/secrets": self.folder / service / "secrets", "/tmp": self.folder / service / "tmp"}
        for volume in self.services[service].get("volumes", []):
            source, target = _interpolated(volume).split(":")[:2]
            mounts[target] = self._volume(source) if source in self.file["volumes"] else self.folder / source
        names = "|".join(self.services)
        text = re.sub(rf"(?<=//)({names})(?=:)|(?<=@)({names})(?=:)|\b0\.0\.0\.0\b", "127.0.0.1", text)
        text = re.sub(r"(?<![\w.])(?:{})(?!\w)".format("|".join(PORTS)), lambda found: self._ports[found[0]], text)
        return re.sub(r"(?<![\w./-])({})(?![\w-])".format("|".join(mounts)), lambda found: str(mounts[found[0]]), text)

    def _volume(self, name: str) -> Path:
        folder = self.folder / "volumes" / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder


def _interpolated(text: str) -> str:
    """What compose makes of ``${NAME:-default}`` where nothing is set, and of ``$$``."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text).replace("$$", "$")


def _seconds(period: str) -> float:
    assert period.endswith("s"), period
    return float(period.removesuffix("s"))
