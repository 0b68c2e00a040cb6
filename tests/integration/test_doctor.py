"""What the doctor finds of a real Label Studio, a real Redis and a running web process, in order and out of order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import httpx
import pytest
from label_studio_sdk import LabelStudio
from pydantic import SecretStr
from redis import Redis

from label_configs.codebook import load_codebook
from label_configs.errors import EnvironmentFault, LabelStudioError
from ml_backend.changed_projects import CHANGED_KEY
from ml_backend.experiment import Experiment
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.set_up import set_up_project
from ml_backend.settings import Settings
from ml_backend.source_config import SourceConfig, SourceKind
from tests.local_server import serving
from trainer.demo.walk import free_port
from trainer.doctor.clock import check_clock, label_studio_time
from trainer.doctor.label_studio import check_backend, check_webhook
from trainer.doctor.webhook import check_own_webhook

pytestmark = pytest.mark.label_studio

EXPERIMENT = Experiment("reuters8", (SourceConfig("words", SourceKind.FAKE),))


@pytest.fixture
def project_id(served: Settings, client: LabelStudioClient) -> int:
    return set_up_project(served, client, EXPERIMENT, load_codebook("reuters8"), title="doctor").id


@contextmanager
def proxy(target: str, *, authorization: bool) -> Iterator[str]:
    """A proxy before ``target`` that passes the header Authorization on, or does not; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            headers = {name: self.headers[name] for name in ("Content-Type", "X-Request-ID")}
            if authorization:
                headers["Authorization"] = self.headers["Authorization"]
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = httpx.post(f"{target}{self.path}", content=body, headers=headers)
            self.send_response(answer.status_code)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            del arguments  # nothing is logged

    with serving(Handler) as url:
        yield url


def test_a_project_in_order(served: Settings, client: LabelStudioClient, project_id: int) -> None:
    assert check_backend(served, client, project_id) == f"Label Studio reaches {served.backend_url}"
    assert check_webhook(served, client, project_id).endswith("/webhook is active, with token and 6 events")
    assert check_clock(lambda: label_studio_time(client), "Label Studio").startswith("Label Studio's clock is within")


def test_a_webhook_that_somebody_changed(
    served: Settings, client: LabelStudioClient, sdk: LabelStudio, project_id: int
) -> None:
    (hook,) = sdk.webhooks.list(project=str(project_id))

    def told() -> str:
        with pytest.raises(LabelStudioError, match="run `winnow init` again") as caught:
            check_webhook(served, client, project_id)
        return str(caught.value)

    sdk.webhooks.update(
        hook.id, url=hook.url, is_active=False, headers={}, send_for_all_actions=False, actions=["ANNOTATION_CREATED"]
    )
    line = told()
    assert "is switched off and has no token and lacks the events ANNOTATIONS_CREATED" in line
    assert "has another token" not in line
    sdk.webhooks.update(hook.id, url=hook.url, headers={"Authorization": "Bearer old"}, is_active=True)
    assert "has another token" in told()
    sdk.webhooks.create(project=project_id, url=hook.url)
    assert "2 webhooks" in told()
    for one in sdk.webhooks.list(project=str(project_id)):
        sdk.webhooks.delete(one.id)
    assert "has no webhook" in told()


def test_a_backend_that_label_studio_does_not_reach(
    served: Settings, client: LabelStudioClient, sdk: LabelStudio, project_id: int
) -> None:
    moved = served.model_copy(update={"port": free_port()})
    with pytest.raises(
        LabelStudioError, match=re.escape(f"no ML backend {moved.backend_url} (it has {served.backend_url})")
    ):
        check_backend(moved, client, project_id)
    with pytest.raises(LabelStudioError, match="another user name"):
        check_backend(served.model_copy(update={"username": "somebody"}), client, project_id)
    (backend,) = sdk.ml.list(project=project_id)
    sdk.ml.delete(backend.id)
    with pytest.raises(LabelStudioError, match="it has none"):
        check_backend(served, client, project_id)


def test_a_webhook_sent_to_oneself_is_noted_and_starts_nothing(served: Settings, redis: Redis) -> None:
    assert re.match(rf"one sent to {served.backend_url}/webhook was noted after \d+ ms", check_own_webhook(served))
    assert not redis.exists(CHANGED_KEY)
    assert not [key for key in redis.scan_iter() if b"check" in key or b"rq:" in key], "nothing is left or enqueued"


def test_a_proxy_that_drops_the_token(served: Settings) -> None:
    with proxy(served.backend_url, authorization=True) as url:
        assert url in check_own_webhook(served.model_copy(update={"public_url": url}))
    with (
        proxy(served.backend_url, authorization=False) as url,
        pytest.raises(EnvironmentFault, match="drops or changes the header Authorization; have the proxy pass it on"),
    ):
        check_own_webhook(served.model_copy(update={"public_url": url}))


def test_a_web_process_with_another_token_or_another_redis(served: Settings) -> None:
    other = served.model_copy(update={"webhook_token": SecretStr("of-another-home")})
    with pytest.raises(EnvironmentFault, match="refuses the token; give it and this command the same WINNOW_HOME"):
        check_own_webhook(other)
    assert served.redis_url
    elsewhere = SecretStr(re.sub(r"/0$", "/1", served.redis_url.get_secret_value()))
    with pytest.raises(EnvironmentFault, match="took a webhook, but not into this Redis"):
        check_own_webhook(served.model_copy(update={"redis_url": elsewhere}))
    away = served.model_copy(update={"public_url": f"http://127.0.0.1:{free_port()}"})
    with pytest.raises(EnvironmentFault, match="no answer to a webhook"):
        check_own_webhook(away)
