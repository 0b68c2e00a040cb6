"""A webhook that Winnow sends itself: whether one arrives, with its token, and whether it is noted."""

from __future__ import annotations

import secrets

import httpx

from label_configs.errors import EnvironmentFault, reason
from ml_backend import queue
from ml_backend.changed_projects import take_check
from ml_backend.events import CHECK
from ml_backend.request_ids import HEADER
from ml_backend.settings import Settings
from trainer.up import local_url

SECONDS = 5.0  # Label Studio gives up after 1


def check_own_webhook(settings: Settings) -> str:
    """Send a webhook through the public address, as Label Studio does, and see in Redis that it was noted.

    It names no project and starts nothing. ``settings`` must hold the webhook's token, and the web process must run.
    """
    url = f"{settings.backend_url}/webhook"
    identifier = f"doctor-{secrets.token_hex(8)}"
    status, seconds = _send(settings, url, identifier)
    if status == 401:
        local = f"{local_url(settings)}/webhook"
        if local != url and _send(settings, local, identifier)[0] == 200:
            raise EnvironmentFault(
                f"{url}: refused, though {local} takes the same token, so something between drops or changes the "
                "header Authorization; have the proxy pass it on (nginx: `proxy_set_header Authorization "
                "$http_authorization`)"
            )
        raise EnvironmentFault(
            f"{url}: the web process refuses the token; give it and this command the same WINNOW_HOME, or "
            "WINNOW_WEBHOOK_TOKEN, and start it again"
        )
    if status != 200:
        raise EnvironmentFault(f"{url}: answered {status}; see the log of the web process, or of a proxy before it")
    with queue.connect(settings) as redis:
        noted = take_check(redis, identifier)
    if not noted:
        raise EnvironmentFault(
            f"{url}: took a webhook, but not into this Redis; give the web process and this command the same "
            "WINNOW_HOME and WINNOW_REDIS_URL"
        )
    line = f"one sent to {url} was noted after {1000 * seconds:.0f} ms"
    return line if seconds < 1 else f"{line}; Label Studio gives up after 1 s, see what slows it down"


def _send(settings: Settings, url: str, identifier: str) -> tuple[int, float]:
    """The answer's status and the seconds it took; asked directly, whatever proxy the environment names."""
    token = settings.webhook_token.get_secret_value() if settings.webhook_token else ""
    headers = {"Authorization": f"Bearer {token}", HEADER: identifier}
    try:
        with httpx.Client(trust_env=False, timeout=SECONDS) as http:
            answer = http.post(url, headers=headers, json={"action": CHECK, "project": 0})
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise EnvironmentFault(
            f"{url}: no answer to a webhook ({reason(error)}); see whether `winnow up` runs and WINNOW_PUBLIC_URL is "
            "right"
        ) from None
    return answer.status_code, answer.elapsed.total_seconds()
