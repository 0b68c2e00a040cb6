"""Where documents can go, by what is configured."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr
from rich.console import Console

from ml_backend.experiment import Experiment
from ml_backend.settings import Settings
from ml_backend.source_config import ChatApi, SourceConfig, SourceKind
from ml_backend.training_config import Training
from trainer.doctor.destinations import HERE, NETWORK, all_destinations, destinations_table


def test_every_place_that_is_configured(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path, label_studio_url="https://studio.example.org", adapter_store="s3://bucket/adapters",
        exchange="s3://bucket/exchange", redis_url=SecretStr("redis://:hidden@redis.example.org/0"),
    )  # fmt: skip
    experiment = Experiment(
        "reuters8",
        (
            SourceConfig("words", SourceKind.FAKE),
            SourceConfig("near", SourceKind.SIMILARITY, model="/models/minilm"),
            SourceConfig("hubbed", SourceKind.CAUSAL, model="owner/model"),
            SourceConfig("vllm", SourceKind.CHAT_API, model="m", api=ChatApi("http://127.0.0.1:8000/v1")),
            SourceConfig(
                "cloud", SourceKind.CHAT_API, model="m",
                api=ChatApi("https://user:secret@api.example.com/v1?key=secret", allow_remote=True),
            ),
        ),
        training=Training(base="owner/base"),
    )  # fmt: skip
    found = all_destinations(settings, [("3", experiment)])
    told = [(one.part, one.place, one.where) for one in found]
    assert told == [
        ("all", "Label Studio, https://studio.example.org", NETWORK),
        ("all", str(tmp_path), HERE),
        ("all", "s3://bucket/adapters", NETWORK),
        ("all", "s3://bucket/exchange", NETWORK),
        ("3", "vllm, http://127.0.0.1:8000/v1", HERE),
        ("3", "cloud, https://api.example.com/v1", NETWORK),
        ("3", "hub, owner/model", NETWORK),
        ("3", "hub, owner/base", NETWORK),
    ]
    assert "allow_remote" in found[5].what
    assert "no document" in found[6].what
    console = Console(width=80, record=True, file=(tmp_path / "out").open("w"))
    console.print(destinations_table(found))
    text = console.export_text()
    assert "Nowhere else. Logs and Redis hold ids and figures, no document." in text
    assert "secret" not in text
    assert "hidden" not in text


def test_an_installation_on_one_machine(tmp_path: Path) -> None:
    found = all_destinations(Settings(home=tmp_path), [])
    assert [one.where for one in found] == [HERE, HERE], "store and exchange lie in the home folder"
    elsewhere = all_destinations(Settings(home=tmp_path / "home", exchange=str(tmp_path / "exchange")), [])
    assert [one.place for one in elsewhere][2:] == [str(tmp_path / "exchange")]
