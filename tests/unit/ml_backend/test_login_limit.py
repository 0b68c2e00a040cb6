"""How often a password may be wrong: by address, by name, over all web processes."""

from __future__ import annotations

import base64

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr
from redis import Redis
from werkzeug.security import check_password_hash
from werkzeug.test import TestResponse

from ml_backend import login_limit, passwords, queue
from ml_backend.app import create_app
from ml_backend.login_limit import FOR_ONE_NAME, FROM_ONE_ADDRESS, WINDOW, network
from ml_backend.settings import Settings

HERE, THERE = "192.0.2.1", "198.51.100.7"


@pytest.fixture
def safe(settings: Settings) -> Settings:
    """Settings with a viewer, whose password is kept as its hash."""
    return settings.model_copy(
        update={"password": SecretStr("right"), "viewer_password": SecretStr(passwords.hashed("look"))}
    )


@pytest.fixture
def client(safe: Settings, redis: Redis) -> FlaskClient:
    return create_app(safe, redis).test_client()


def ask(
    client: FlaskClient, password: str, address: str = HERE, name: str = "winnow", path: str = "/versions", **more: str
) -> TestResponse:
    token = base64.b64encode(f"{name}:{password}".encode()).decode()
    headers = {"Authorization": f"Basic {token}", **more}
    return client.get(path, headers=headers, environ_base={"REMOTE_ADDR": address})


def fail(client: FlaskClient, times: int, address: str = HERE, name: str = "winnow") -> None:
    for number in range(times):
        assert ask(client, f"wrong {number}", address, name).status_code == 401


def test_an_address_that_failed_too_often_is_refused_whatever_it_sends(client: FlaskClient) -> None:
    fail(client, FROM_ONE_ADDRESS)
    for password in ("wrong", "right"):
        answer = ask(client, password)
        assert answer.status_code == 429
        assert answer.get_json()["error"]["code"] == "too-many-requests"
        assert 0 < int(answer.headers["Retry-After"]) <= WINDOW
        assert f"wait {answer.headers['Retry-After']} s" in answer.get_json()["error"]["message"]
        assert "WWW-Authenticate" not in answer.headers, "a browser would ask for another password"
    assert ask(client, "right", THERE).status_code == 200, "others are not hindered"
    assert client.get("/health", environ_base={"REMOTE_ADDR": HERE}).status_code == 200


def test_all_web_processes_count_together(client: FlaskClient, safe: Settings, redis: Redis) -> None:
    fail(client, FROM_ONE_ADDRESS)
    with queue.client(safe) as other:
        assert ask(create_app(safe, other).test_client(), "right").status_code == 429


def test_tokens_count_as_well(client: FlaskClient, redis: Redis) -> None:
    for number in range(FROM_ONE_ADDRESS):
        answer = client.post(
            "/webhook", headers={"Authorization": f"Bearer {number}"}, environ_base={"REMOTE_ADDR": HERE}
        )
        assert answer.status_code == 401
    assert ask(client, "right").status_code == 429


def test_who_is_asked_for_a_password_has_not_failed(client: FlaskClient) -> None:
    for _ in range(3 * FROM_ONE_ADDRESS):
        assert client.get("/versions", environ_base={"REMOTE_ADDR": HERE}).status_code == 401
    assert ask(client, "right").status_code == 200


def test_a_right_password_buys_no_further_guesses(client: FlaskClient) -> None:
    fail(client, FROM_ONE_ADDRESS - 1)
    assert ask(client, "look", name="viewer", path="/dashboard/none").status_code == 404
    fail(client, 1)
    assert ask(client, "right").status_code == 429


def test_guesses_from_many_addresses_do_not_lock_out_who_came_before(
    client: FlaskClient, safe: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_limit, "FOR_ONE_NAME", 12)
    assert FOR_ONE_NAME > FROM_ONE_ADDRESS
    assert ask(client, "right", THERE).status_code == 200
    for number in range(12):
        fail(client, 1, f"203.0.113.{number}")
    again = create_app(safe, redis).test_client()  # which remembers nobody
    assert ask(again, "right", "203.0.113.200").status_code == 429, "not even a right password, from where nobody came"
    assert ask(again, "right", THERE).status_code == 200
    assert ask(again, "look", THERE, "viewer", "/dashboard/none").status_code == 404, "other names are not concerned"


def test_failures_are_forgotten_and_name_nobody(client: FlaskClient, redis: Redis) -> None:
    fail(client, 2, name="my-secret-typed-as-a-name")
    keys = list(redis.scan_iter("winnow:logins:*"))
    assert len(keys) == 2
    assert all(0 < int(str(redis.ttl(key))) <= WINDOW for key in keys)
    assert all(redis.get(key) == b"2" for key in keys)
    assert b"secret" not in b"".join(keys)


def test_without_redis_only_those_come_in_who_were_lately(client: FlaskClient, safe: Settings) -> None:
    gone = safe.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    away = create_app(gone, queue.client(gone))
    answer = ask(away.test_client(), "right")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (503, "queue")
    assert ask(client, "right").status_code == 200
    away.extensions["winnow-logins"] = client.application.extensions["winnow-logins"]
    away.extensions["winnow-logins"]._limit = login_limit.LoginLimit(queue.client(gone))
    assert ask(away.test_client(), "right").status_code == 200
    assert ask(away.test_client(), "wrong").status_code == 503


def test_a_hash_is_not_computed_at_every_look(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[str] = []

    def check(known: str, sent: str) -> bool:
        computed.append(sent)
        return check_password_hash(known, sent)

    monkeypatch.setattr(passwords, "check_password_hash", check)
    for _ in range(5):
        assert ask(client, "look", name="viewer", path="/dashboard/none").status_code == 404
    assert len(computed) == 1
    assert ask(client, "look!", name="viewer", path="/dashboard/none").status_code == 401
    assert len(computed) == 2


def test_the_address_is_the_proxys_unless_it_is_trusted(safe: Settings, redis: Redis) -> None:
    direct = create_app(safe, redis).test_client()
    behind = create_app(safe.model_copy(update={"trusted_proxies": 1}), redis).test_client()
    for number in range(FROM_ONE_ADDRESS):
        ask(direct, "wrong", **{"X-Forwarded-For": f"203.0.113.{number}"})
    assert ask(direct, "right", **{"X-Forwarded-For": THERE}).status_code == 429, "who sends the header is not believed"
    assert ask(behind, "right", **{"X-Forwarded-For": f"{HERE}, {THERE}"}).status_code == 200
    assert ask(behind, "right", **{"X-Forwarded-For": f"{THERE}, {HERE}"}).status_code == 429


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "local"),
        (None, "local"),
        ("unix:", "unix:"),
    ],
)
def test_what_counts_as_one_client(address: str | None, counted: str) -> None:
    assert network(address) == counted
