"""Documents per second by 1, 2 and 4 propose workers, each a process with a home folder of its own.

    python -m tests.benchmarks.several_hosts [--workers 1 2 4] [--sources waiting computing]

They share a Redis and an s3:// bucket (moto's server) and nothing else; documents and proposals lie in the bucket, as
with `winnow classify --workers`. Two sources: one whose cost is waiting, a chat API that answers each request after
half a second, and one whose cost is computing, SmolLM2 with one thread. All runs on this machine: of the second kind no
more workers can gain than it has cores, and moto's server and Redis take some of them.

Each worker classifies once before it is timed, so that models are loaded. Prints a table to standard error and one JSON
object last to standard output.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer
from pydantic import SecretStr
from redis import Redis

from label_configs.codebook import Codebook, load_codebook
from label_configs.records import Document
from ml_backend import embedded_redis
from ml_backend.classify_queue import classify_over_queue
from ml_backend.classifying import ClassifySpec
from ml_backend.exchange import Exchange
from ml_backend.heartbeat import live_workers
from ml_backend.settings import Settings
from ml_backend.source_config import ChatApi, SourceConfig, SourceKind
from ml_backend.versions import ActiveSource, source_version
from tests.benchmarks.served import process, until, winnow
from tests.unit.ml_backend.chat_server import ChatServer, Reply, Request, completion
from trainer.demo import documents, wheels
from trainer.demo.walk import free_port

DEMO = Path(__file__).parent.parent.parent / ".demo"
DELAY = 0.5  # seconds until the chat API answers
CHUNK = 8
CONCURRENCY = 4  # requests of one worker under way at once
SIZES = {"waiting": 256, "computing": 96}  # documents that are timed
BUCKET = "winnow-benchmark"


@contextmanager
def bucket() -> Iterator[str]:
    """A bucket, and an environment that names its server."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
    server.start()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    host, port = server.get_host_and_port()
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "a-key", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    boto3.resource("s3").create_bucket(Bucket=BUCKET)
    yield f"s3://{BUCKET}"
    server.stop()


@contextmanager
def hosts(shared: Settings, folder: Path, number: int) -> Iterator[Redis]:
    """So many hosts with a propose worker each, and their Redis."""
    socket = folder / "redis.sock"
    settings = shared.model_copy(update={"redis_url": SecretStr(f"unix://{socket}")})
    with ExitStack() as running, Redis(unix_socket_path=str(socket)) as redis:
        command = embedded_redis.command(folder / "redis", socket)
        running.enter_context(process(settings.model_copy(update={"home": folder}), "redis", command))
        until(socket.exists)
        for host in range(number):
            own = settings.model_copy(update={"home": folder / f"host{host}"})
            running.enter_context(process(own, "propose", winnow("worker", "propose")))
        until(lambda: len(live_workers(redis)) == number)
        yield redis


def measured(redis: Redis, url: str, folder: Path, spec: ClassifySpec, texts: Sequence[str], workers: int) -> float:
    """Documents per second, after every worker has done its first."""

    def chunks(prefix: str, count: int) -> list[list[Document]]:
        made = [Document(f"{prefix}-{n}", texts[n % len(texts)]) for n in range(count)]
        return [made[n : n + CHUNK] for n in range(0, count, CHUNK)]

    exchange = Exchange(f"{url}/exchange")
    for _ in classify_over_queue(redis, exchange, folder, spec, chunks("warm", 2 * CHUNK * workers), at_once=64):
        pass
    size = SIZES["waiting" if spec.sources[0].config.kind is SourceKind.CHAT_API else "computing"]
    began = time.monotonic()
    done = sum(len(made) for made in classify_over_queue(redis, exchange, folder, spec, chunks("timed", size),
                                                         at_once=64))  # fmt: skip
    assert done == size
    return size / (time.monotonic() - began)


def specs(codebook: Codebook, chat: str) -> dict[str, ClassifySpec]:
    """The two sources."""
    api = ChatApi(chat, logprobs=False, concurrency=CONCURRENCY)
    waiting = SourceConfig("waiting", SourceKind.CHAT_API, model="slow", prompt="zero_shot", api=api)
    model = str(DEMO / "models" / "smollm2")
    computing = SourceConfig("computing", SourceKind.CAUSAL, model=model, prompt="zero_shot", max_document_tokens=128)
    return {
        one.name: ClassifySpec(codebook, (ActiveSource(one, source_version(one, None)),))
        for one in (waiting, computing)
    }


def main(workers: Sequence[int], names: Sequence[str]) -> None:
    """Measure, and say what was found."""
    found = wheels.fetch(DEMO)
    codebook = load_codebook("reuters8")
    texts = [document.text for document, _ in documents.sample(found.reuters_train, codebook.label_keys, 160)]
    first = codebook.codes[0]

    def answer(request: Request) -> Reply:
        threading.Event().wait(DELAY)
        return completion(first.word or first.key)

    rates: dict[str, dict[int, float]] = {name: {} for name in names}
    with bucket() as url, ChatServer(answer) as chat:
        shared = Settings(threads=1, adapter_store=f"{url}/adapters", exchange=f"{url}/exchange")
        for number in workers:
            for name in names:
                spec = specs(codebook, chat.url)[name]
                with tempfile.TemporaryDirectory(prefix="hosts-") as temporary:
                    folder = Path(temporary)
                    with hosts(shared, folder, number) as redis:
                        rates[name][number] = measured(redis, url, folder, spec, texts, number)
                print(f"{name:10} {number} workers {rates[name][number]:8.2f} documents/s", file=sys.stderr, flush=True)
    print(json.dumps({"cores": os.cpu_count(), "delay_seconds": DELAY, "documents_per_second": rates}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--sources", choices=list(SIZES), nargs="+", default=list(SIZES))
    given = parser.parse_args()
    main(given.workers, given.sources)
