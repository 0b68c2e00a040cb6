"""Label Studio: its release and clock, and how its projects are connected to Winnow."""

from __future__ import annotations

import re

from label_configs.errors import LabelStudioError
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.labelstudio_connections import CONNECTED
from ml_backend.labelstudio_projects import WEBHOOK_ACTIONS
from ml_backend.settings import Settings

OLDEST_LABEL_STUDIO = (1, 20)
CONNECT_AGAIN = "run `winnow init` again while `winnow up` runs, it connects them anew"


def check_label_studio(settings: Settings) -> str:
    """That Label Studio answers, accepts the token, and is new enough."""
    version = LabelStudioClient(settings).version()
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or tuple(map(int, found.groups())) < OLDEST_LABEL_STUDIO:
        oldest = ".".join(map(str, OLDEST_LABEL_STUDIO))
        raise LabelStudioError(f"{settings.label_studio_url}: is release {version}; upgrade it to {oldest} or newer")
    return f"{settings.label_studio_url}: release {version}"


def check_backend(settings: Settings, client: LabelStudioClient, project_id: int) -> str:
    """That the project has one ML backend at Winnow's address, and that Label Studio reaches it there just now.

    Label Studio calls it to answer the question, so what it says is of now: an address that it blocks, a password that
    changed, a name that it cannot resolve are told.
    """
    url = settings.backend_url
    every = client.connected_backends(project_id)
    ours = [backend for backend in every if backend.url.rstrip("/") == url]
    if not ours:
        others = ", ".join(backend.url for backend in every) or "none"
        raise LabelStudioError(f"Label Studio has no ML backend {url} (it has {others}); {CONNECT_AGAIN}")
    if len(ours) > 1:
        raise LabelStudioError(f"Label Studio has {len(ours)} ML backends {url}; {CONNECT_AGAIN}")
    backend = ours[0]
    if backend.state != CONNECTED:
        said = f", it says {backend.error}" if backend.error else ""
        raise LabelStudioError(
            f"Label Studio does not reach {url} (state {backend.state}{said.replace('; ', ', ')}); see that "
            "`winnow up` runs and Label Studio's host reaches it, and for an address of a local network start Label "
            "Studio with ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false"
        )
    if backend.user != settings.username or not backend.has_password:
        raise LabelStudioError(f"Label Studio's ML backend {url} has another user name or no password; {CONNECT_AGAIN}")
    return f"Label Studio reaches {url}"


def check_webhook(settings: Settings, client: LabelStudioClient, project_id: int) -> str:
    """That the project has one webhook to Winnow, active, with its token and events, whose address is not blocked.

    ``settings`` must hold the webhook's token. To see whether the address is blocked, it is written once more as it is.
    """
    url = f"{settings.backend_url}/webhook"
    every = client.connected_webhooks(project_id)
    ours = [hook for hook in every if hook.url == url]
    if len(ours) != 1:
        others = ", ".join(hook.url for hook in every) or "none"
        told = f"no webhook {url} (it has {others})" if not ours else f"{len(ours)} webhooks {url}, which double events"
        raise LabelStudioError(f"Label Studio has {told}; {CONNECT_AGAIN}")
    hook = ours[0]
    token = settings.webhook_token.get_secret_value() if settings.webhook_token else ""
    wrong = []
    if not hook.active:
        wrong.append("is switched off")
    if hook.authorization != f"Bearer {token}":
        wrong.append("has another token" if hook.authorization else "has no token")
    if missing := sorted(set(WEBHOOK_ACTIONS) - hook.actions):
        wrong.append(f"lacks the events {', '.join(missing)}")
    if wrong:
        raise LabelStudioError(f"Label Studio's webhook {url} {' and '.join(wrong)}; {CONNECT_AGAIN}")
    client.write_again(hook)
    return f"{url} is active, with token and {len(WEBHOOK_ACTIONS)} events"
