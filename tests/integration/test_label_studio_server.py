"""The real Label Studio: it starts, lets people in, and ends with whoever started it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from label_studio_sdk import LabelStudio

from label_configs.errors import LabelStudioError
from trainer.demo.account import Account
from trainer.demo.label_studio import LabelStudioServer

pytestmark = pytest.mark.label_studio

OWNER = """
import sys
from pathlib import Path
from trainer.demo.label_studio import LabelStudioServer
executable, folder, template = map(Path, sys.argv[1:])
with LabelStudioServer(executable, folder, template=template) as server:
    print(server.pid, flush=True)
    sys.stdin.read()
"""


def test_the_token_opens_the_api_for_the_sdk(label_studio: LabelStudioServer) -> None:
    client = LabelStudio(base_url=label_studio.url, api_key=label_studio.token())
    assert client.users.whoami().email == label_studio.username
    assert label_studio.token() == label_studio.token()


def test_a_second_coder_signs_up_and_is_another_user(label_studio: LabelStudioServer) -> None:
    token = label_studio.create_user("second@example.com", "wolfram-seven-7")
    client = LabelStudio(base_url=label_studio.url, api_key=token)
    assert client.users.whoami().email == "second@example.com"
    with pytest.raises(LabelStudioError, match=r"did not let second@example\.com in: the invite"):
        label_studio.create_user("second@example.com", "wolfram-seven-7")


def test_a_wrong_password_is_refused(label_studio: LabelStudioServer) -> None:
    with pytest.raises(LabelStudioError, match="the email or the password is not right"):
        Account(label_studio.url, label_studio.username, "not-the-password").log_in()


def test_the_password_cannot_be_seen_among_the_processes(label_studio: LabelStudioServer) -> None:
    assert label_studio.pid is not None
    assert label_studio.password not in " ".join(psutil.Process(label_studio.pid).cmdline())


@pytest.mark.skipif(sys.platform != "linux", reason="the tie is Linux's parent-death signal")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_it_does_not_outlive_its_owner(
    end: signal.Signals, label_studio_executable: Path, label_studio_template: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-c",
        OWNER,
        str(label_studio_executable),
        str(tmp_path / "data"),
        str(label_studio_template),
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as owner:
        assert owner.stdout is not None
        server = psutil.Process(int(owner.stdout.readline()))
        owner.send_signal(end)
        _, alive = psutil.wait_procs([server], timeout=20)
        # Without an init that reaps, an orphan that ended stays a zombie.
        assert all(process.status() == psutil.STATUS_ZOMBIE for process in alive)
