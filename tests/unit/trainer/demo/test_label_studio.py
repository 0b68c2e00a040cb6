"""Starting Label Studio: what it is given, and every way in which it may fail to start.

The real server is in tests/integration; here a shell script stands where its executable is expected.
"""

from __future__ import annotations

import socket
from pathlib import Path

import psutil
import pytest

from label_configs.errors import EnvironmentFault, LabelStudioError
from trainer.demo.account import Account
from trainer.demo.label_studio import DATABASE, LabelStudioServer, prepared_data_folder


def write_executable(folder: Path, script: str) -> Path:
    path = folder / "label-studio"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_an_executable_that_is_not_there_names_the_remedy(tmp_path: Path) -> None:
    server = LabelStudioServer(tmp_path / "label-studio", tmp_path / "data")
    with pytest.raises(EnvironmentFault, match="not installed there; run `make label-studio`"):
        server.start()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = LabelStudioServer(write_executable(tmp_path, "exit 0"), tmp_path / "data", port=port)
        with pytest.raises(EnvironmentFault, match=rf"port {port} on 127\.0\.0\.1 cannot be used .*choose another"):
            server.start()


def test_a_server_that_ends_early_is_quoted_with_its_log(tmp_path: Path) -> None:
    executable = write_executable(tmp_path, "echo first; echo no such table >&2; exit 3")
    server = LabelStudioServer(executable, tmp_path / "data")
    with pytest.raises(EnvironmentFault, match=r"code 3 while starting: no such table; see .*label-studio\.log"):
        server.start()
    assert server.pid is None


def test_a_server_that_never_answers_is_ended_at_the_deadline(tmp_path: Path) -> None:
    executable = write_executable(tmp_path, f"echo $$ > {tmp_path}/pid; echo waiting; exec sleep 300")
    with pytest.raises(EnvironmentFault, match=r"does not answer at .* after 1 s: waiting"):
        LabelStudioServer(executable, tmp_path / "data", deadline=1).start()
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_the_password_is_in_the_environment_and_not_in_the_arguments(tmp_path: Path) -> None:
    executable = write_executable(tmp_path, f'echo "$@" > {tmp_path}/arguments; env > {tmp_path}/environment')
    server = LabelStudioServer(executable, tmp_path / "data", username="a@example.com", password="wolfram-7")
    with pytest.raises(EnvironmentFault):
        server.start()
    assert "wolfram-7" not in (tmp_path / "arguments").read_text()
    environment = (tmp_path / "environment").read_text().splitlines()
    assert "LABEL_STUDIO_PASSWORD=wolfram-7" in environment
    assert "LABEL_STUDIO_USERNAME=a@example.com" in environment
    assert f"LABEL_STUDIO_BASE_DATA_DIR={tmp_path}/data" in environment
    assert {"ML_BLOCK_LOCAL_IP=false", "SSRF_PROTECTION_ENABLED=false", "COLLECT_ANALYTICS=false"} <= set(environment)


def test_settings_of_another_label_studio_do_not_leak_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LABEL_STUDIO_PORT", "HEARTEX_HOST", "DJANGO_DB", "HOST", "USER_TOKEN", "WINNOW_LABEL_STUDIO_TOKEN"):
        monkeypatch.setenv(name, "leaked")
    monkeypatch.setenv("no_proxy", "example.com")
    executable = write_executable(tmp_path, f"env > {tmp_path}/environment")
    with pytest.raises(EnvironmentFault):
        LabelStudioServer(executable, tmp_path / "data").start()
    environment = (tmp_path / "environment").read_text()
    assert "leaked" not in environment
    assert "no_proxy=example.com,127.0.0.1,localhost\n" in environment


def test_only_its_owner_can_look_into_the_data_folder(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault):
        LabelStudioServer(write_executable(tmp_path, "exit 1"), tmp_path / "data").start()
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0


def test_a_made_up_password_differs_from_server_to_server(tmp_path: Path) -> None:
    one, other = (LabelStudioServer(tmp_path / "label-studio", tmp_path / name) for name in ("a", "b"))
    assert len(one.password) >= 12
    assert one.password != other.password


def test_a_template_fills_only_an_empty_data_folder(tmp_path: Path) -> None:
    template, target = tmp_path / "template", tmp_path / "data"
    assert not prepared_data_folder(template, target)
    template.mkdir()
    (template / DATABASE).write_text("migrated")
    assert prepared_data_folder(template, target)
    assert [path.name for path in target.iterdir()] == [DATABASE]
    (target / DATABASE).write_text("in use")
    assert not prepared_data_folder(template, target)
    assert (target / DATABASE).read_text() == "in use"


def test_an_environment_without_label_studio_is_named_before_a_template_is_made(tmp_path: Path) -> None:
    server = LabelStudioServer(write_executable(tmp_path, "exit 0"), tmp_path / "data", template=tmp_path / "template")
    with pytest.raises(EnvironmentFault, match="holds no working Label Studio"):
        server.start()


def test_an_account_says_when_label_studio_is_away() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(LabelStudioError, match=f"{url}: Label Studio does not answer"):
        Account(url, "a@example.com", "wolfram-7").log_in()
