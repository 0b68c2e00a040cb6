"""The adapter store under s3://, against a server that speaks S3: hosts that share it, crashes, networks that fail."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

from label_configs.errors import AdapterError
from ml_backend.adapters import AdapterStore, store_of
from trainer.cli import main
from trainer.demo.walk import free_port

MANIFEST = {"base": "base", "prompt": "zero_shot", "max_document_tokens": 256, "codebook": "abc", "project": 7}
SECRET = "a-very-secret-key"
URL = "s3://winnow-test/adapters"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 server on this machine."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture(autouse=True)
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty bucket, and an environment that names server and credentials as S3's tools take them."""
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "somebody"), ("AWS_SECRET_ACCESS_KEY", SECRET), ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", server), ("AWS_EC2_METADATA_DISABLED", "true"), ("WINNOW_ADAPTER_STORE", URL),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    S3FileSystem.clear_instance_cache()
    s3 = boto3.resource("s3")
    made = s3.create_bucket(Bucket="winnow-test")
    yield
    made.objects.all().delete()
    made.delete()
    S3FileSystem.clear_instance_cache()


def trained(folder: Path, weights: bytes = b"weights" * 10_000) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(weights)
    (folder / "rows").write_bytes(b"rows")
    return folder


def publish(store: AdapterStore, folder: Path) -> str:
    manifest = MANIFEST | {"made_at": datetime.now(UTC).isoformat()}
    return store.publish(folder, manifest, {"examples.parquet": folder / "rows"}).id


def keys() -> list[str]:
    return sorted(entry.key for entry in boto3.resource("s3").Bucket("winnow-test").objects.all())


def test_hosts_that_share_a_bucket_share_adapters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = store_of(tmp_path / "one"), store_of(tmp_path / "two")
    first = publish(one, trained(tmp_path / "a"))
    assert two.ids() == [first]
    assert two.described(first).manifest["project"] == 7
    assert not (two.root / first).exists()
    assert two.get(first).manifest == one.get(first).manifest
    assert (two.get(first).folder / "examples.parquet").read_bytes() == b"rows"
    second = publish(two, trained(tmp_path / "b", b"others"))
    assert one.ids() == [first, second]
    assert [key.count("/") for key in keys()] == [2] * 8
    two.remove(first)
    assert one.ids() == [second]
    with pytest.raises(SystemExit) as ended:
        main(["adapters", "list", "--json"])
    assert not ended.value.code
    assert second in capsys.readouterr().out


def test_many_that_publish_the_same_at_once_make_one(tmp_path: Path) -> None:
    sources = [trained(tmp_path / f"s{n}") for n in range(4)]
    together = threading.Barrier(len(sources))

    def at_once(n: int) -> str:
        together.wait()
        return publish(store_of(tmp_path / f"host{n}"), sources[n])

    with ThreadPoolExecutor(len(sources)) as pool:
        made = set(pool.map(at_once, range(len(sources))))
    reader = store_of(tmp_path / "reader")
    assert reader.ids() == list(made)
    assert reader.get(made.pop()).manifest["project"] == 7


KILLED = """
import sys
from pathlib import Path
from s3fs import S3FileSystem
from ml_backend.adapters import store_of

def stopped(*_, **__):
    print("at work", flush=True)
    sys.stdin.read()

setattr(S3FileSystem, sys.argv[3], stopped)
folder = Path(sys.argv[2])
store_of(Path(sys.argv[1])).publish(folder, {}, {"examples.parquet": folder / "rows"})
"""


@pytest.mark.parametrize("moment", ["open", "pipe_file"])
def test_a_publisher_that_is_killed_leaves_no_adapter(tmp_path: Path, moment: str) -> None:
    source = trained(tmp_path / "trained")
    command = [sys.executable, "-c", KILLED, str(tmp_path / "one"), str(source), moment]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as publisher:
        assert publisher.stdout is not None
        assert publisher.stdout.readline() == "at work\n"
        publisher.kill()
    assert keys(), "it was in the middle of it"
    store = store_of(tmp_path / "two")
    assert store.ids() == []
    left = list(store.leftovers(datetime.now(UTC) + timedelta(days=1)))
    made = publish(store, source)
    assert left == [made]
    assert store.ids() == [made]
    assert store.get(made)


@pytest.mark.parametrize("what", ["network", "bucket", "credentials"])
def test_what_fails_is_one_line_without_secrets(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="ml_backend")
    source = trained(tmp_path / "trained")
    if what == "network":
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    elif what == "bucket":
        monkeypatch.setenv("WINNOW_ADAPTER_STORE", "s3://no-such-bucket/adapters")
    else:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, str(tmp_path / "absent"))
    S3FileSystem.clear_instance_cache()
    store = store_of(tmp_path / "one")
    started = time.monotonic()
    with pytest.raises(AdapterError) as caught:
        publish(store, source)
    told = str(caught.value)
    assert "\n" not in told
    assert told.startswith("adapter store s3://")
    assert "check the network, WINNOW_ADAPTER_STORE and its credentials, and try again" in told
    assert SECRET not in told + caplog.text
    assert time.monotonic() - started < 60
    assert not store.root.exists() or list(store.root.iterdir()) == []


def test_what_was_fetched_is_at_hand_when_the_network_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = publish(store_of(tmp_path / "one"), trained(tmp_path / "trained"))
    before = store_of(tmp_path / "two").get(made)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    S3FileSystem.clear_instance_cache()
    assert store_of(tmp_path / "two").get(made) == before
    assert os.environ["WINNOW_ADAPTER_STORE"] == URL
