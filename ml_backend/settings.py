"""Deployment settings: addresses, secrets, folders. The only reader of the environment (``WINNOW_*``)."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import secrets
import tempfile
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from label_configs.errors import ConfigError
from ml_backend.secrets_file import complete_secrets, read_secrets

GENERATED = ("password", "webhook_token")  # made where they are wanted, and Label Studio is told them
HASHED = ("viewer_password", "operator_password")  # made where somebody sees them: trainer.first_passwords

LOG_FORMATS = ("console", "json")
SOCKET_PATH_LIMIT = 100  # bytes; the kernel's limit for a unix socket's path is 108, the end marker included


class Places(BaseSettings):
    """Where an installation keeps its files: the part of the settings that whoever knows its folder can read."""

    model_config = SettingsConfigDict(env_prefix="WINNOW_", env_ignore_empty=True, extra="ignore")

    home: Path = Field(
        default=Path(".winnow"), description="Folder for projects, adapters, logs and the embedded Redis"
    )
    adapter_store: str | None = Field(
        default=None,
        description="Where adapters lie: a folder or an fsspec URL, such as `s3://bucket/adapters`, that all hosts "
        "reach; without it, `adapters` in the home folder",
    )
    secrets_folder: Path | None = Field(
        default=None,
        description="Folder with a file for each secret, named like its setting, such as `winnow_password`; what is in "
        "the environment comes first",
    )

    trust_remote_code: str = Field(
        default="",
        description="Models, hub names or folders separated by commas, whose own Python code may run, with all rights "
        "of Winnow's processes; without it, no model's",
    )

    @property
    def adapter_store_url(self) -> str:
        """Folder or URL of the adapter store."""
        return _folder_or_url(self.adapter_store, self.home / "adapters")


class Settings(Places):
    """Deployment settings; every field is ``WINNOW_<NAME>`` in the environment. Refuses nonsense when it is built."""

    label_studio_url: str = Field(default="http://127.0.0.1:8080", description="Address of Label Studio")
    label_studio_token: SecretStr | None = Field(
        default=None, description="Personal access token of the account Winnow acts as"
    )
    label_studio_timeout_seconds: float = Field(
        default=120, gt=0, description="Seconds that Label Studio may take to answer one request"
    )
    label_studio_wait_seconds: float = Field(
        default=300,
        ge=0,
        le=600,
        description="Seconds that commands and propose workers wait for a Label Studio that went away",
    )
    redis_url: SecretStr | None = Field(
        default=None, description="Redis to use; without it, the embedded one that `winnow up` starts"
    )
    host: str = Field(default="127.0.0.1", description="Address that the web process listens on")
    port: int = Field(default=9090, ge=1, le=65535, description="Port that the web process listens on")
    public_url: str | None = Field(
        default=None, description="Address under which Label Studio reaches Winnow, when it is not host and port"
    )
    authentication: bool = Field(
        default=True,
        description="Ask for passwords and tokens; `false` only where WINNOW_HOST is 127.0.0.1 or another address of "
        "this machine alone",
    )
    trusted_proxies: int = Field(
        default=0,
        ge=0,
        description="Number of reverse proxies before the web process: as many entries of `X-Forwarded-For` and "
        "`X-Forwarded-Proto` are believed",
    )
    username: str = Field(
        default="winnow", min_length=1, description="User name that Label Studio sends with its calls"
    )
    password: SecretStr | None = Field(
        default=None, description="Password for it; without it, one is generated and kept in the home folder"
    )
    viewer_password: SecretStr | None = Field(
        default=None,
        description="Password, or its hash, of the user `viewer`, who may read the dashboard and nothing else; without "
        "it, that of `winnow password viewer`",
    )
    operator_password: SecretStr | None = Field(
        default=None,
        description="Password, or its hash, of the user `operator`, who may also start and stop rounds there, promote "
        "adapters and roll them back; without it, that of `winnow password operator`",
    )
    webhook_token: SecretStr | None = Field(
        default=None, description="Bearer token of the webhook; without it, generated like the password"
    )
    api_token: SecretStr | None = Field(
        default=None,
        description="Bearer token of /classify, for programs; without it, they send user name and password",
    )
    exchange: str | None = Field(
        default=None,
        description="Where documents and results of /classify and of `--workers` lie until they are fetched: a folder "
        "or an fsspec URL that all processes reach; without it, `exchange` in the home folder",
    )
    web_workers: int = Field(default=2, ge=1, description="Number of web processes")
    predict_deadline_seconds: float = Field(
        default=60, gt=0, lt=100, description="Seconds that /predict waits for models; Label Studio gives up after 100"
    )
    reconcile_seconds: float = Field(
        default=60, gt=0, description="Seconds between two counts of the verified documents"
    )
    report_seconds: float = Field(
        default=300, gt=0, description="Seconds between two reports of a project for the dashboard, at least"
    )
    chunk_documents: int = Field(default=16, ge=1, description="Documents in one job of a propose worker")
    threads: int | None = Field(
        default=None, ge=1, description="CPU threads of a model; without it, as many as there are cores"
    )
    checkpoint_seconds: float = Field(
        default=60,
        gt=0,
        description="Seconds of training that a crash costs at most, or a 20th of all where that is more",
    )
    api_keys: Annotated[dict[str, SecretStr], NoDecode] = Field(
        default={}, description='Keys of chat APIs by the names that `api.key` gives them: `{"openai": "sk-..."}`'
    )
    base_model: str | None = Field(
        default=None, description="Model that `winnow train --examples` trains when --base is not given"
    )
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR")
    log_format: str = Field(
        default="console", description="How log lines look: `console`, or `json` for one object a line"
    )

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource, dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:  # fmt: skip
        """The environment, and what it lacks from the files of ``secrets_folder``."""
        return init_settings, env_settings, SecretsSettingsSource(settings_cls, Places().secrets_folder)

    @field_validator("label_studio_url", "public_url")
    @classmethod
    def _is_http(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
        except ValueError:  # a port that is none, an unclosed bracket
            usable = False
        if not usable:
            raise ValueError("is no URL; write http://host:port")
        return value.rstrip("/")

    @field_validator("authentication")
    @classmethod
    def _is_safe(cls, value: bool, info: ValidationInfo) -> bool:
        host = str(info.data.get("host", ""))
        if not value and not is_loopback(host):
            raise ValueError(f"cannot be false while WINNOW_HOST is {host}; set that to 127.0.0.1, or this to true")
        return value

    @field_validator("log_level")
    @classmethod
    def _is_level(cls, value: str) -> str:
        if value.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
            raise ValueError("is no log level; use DEBUG, INFO, WARNING or ERROR")
        return value.upper()

    @field_validator("log_format")
    @classmethod
    def _is_format(cls, value: str) -> str:
        if value.lower() not in LOG_FORMATS:
            raise ValueError(f"is no log format; use {' or '.join(LOG_FORMATS)}")
        return value.lower()

    @field_validator("api_keys", mode="before")
    @classmethod
    def _are_keys(cls, value: object) -> object:
        try:
            keys = json.loads(value) if isinstance(value, str) else value
        except ValueError:
            keys = None
        if not (isinstance(keys, dict) and all(k and isinstance(k, str | SecretStr) for k in keys.values())):
            raise ValueError("""is no JSON object of texts; write {"name": "key"}""") from None
        return keys

    @property
    def backend_url(self) -> str:
        """Address under which Label Studio reaches the web process."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.public_url or f"http://{host}:{self.port}"

    @property
    def logs_folder(self) -> Path:
        """Folder of the log files."""
        return self.home / "logs"

    @property
    def exchange_url(self) -> str:
        """Folder or URL where documents and results lie between processes."""
        return _folder_or_url(self.exchange, self.home / "exchange")

    @property
    def socket_path(self) -> Path:
        """Unix socket of the embedded Redis, outside the home folder where its path were too long for the kernel."""
        inside = self.home.resolve() / "redis" / "redis.sock"
        if len(str(inside).encode()) <= SOCKET_PATH_LIMIT:
            return inside
        name = f"winnow-{os.getuid()}-{hashlib.sha256(str(inside).encode()).hexdigest()[:12]}"
        return Path(tempfile.gettempdir()) / name / "redis.sock"

    def effective_redis_url(self) -> str:
        """The Redis to talk to. Holds a password where the team's URL has one: not for logs."""
        return self.redis_url.get_secret_value() if self.redis_url else f"unix://{quote(str(self.socket_path))}"


def _folder_or_url(named: str | None, otherwise: Path) -> str:
    """A URL as it is, a folder with its absolute path."""
    if named is not None and "://" in named:
        return named
    return str(Path(named).expanduser().resolve() if named else otherwise.resolve())


def load_settings() -> Settings:
    """Read the environment. Raises ConfigError with one line that names every setting at fault."""
    folder = Places().secrets_folder
    if folder is not None and not folder.is_dir():
        raise ConfigError(f"WINNOW_SECRETS_FOLDER: {folder} is no folder; make it, or unset it")
    try:
        settings = Settings()
    except ValidationError as error:
        problems = "; ".join(
            f"WINNOW_{str(e['loc'][0]).upper()}: {str(e['msg']).removeprefix('Value error, ')}" for e in error.errors()
        )
        raise ConfigError(f"environment: {problems}") from None
    return settings.model_copy(update={"home": settings.home.expanduser().resolve()})


def is_loopback(host: str) -> bool:
    """Whether only this machine itself can reach an address or name."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def with_secrets(settings: Settings) -> Settings:
    """Settings whose password and webhook token are set: from the environment, else from ``home/secrets.json``.

    What is missing there is generated and the file kept readable by its owner alone; hashes of the dashboard's
    passwords are taken from it where it has them. Raises EnvironmentFault where the folder cannot be written.
    """
    lacking = {name: lambda: secrets.token_urlsafe(24) for name in GENERATED if not getattr(settings, name)}
    found = complete_secrets(settings.home, lacking)[0] if lacking else read_secrets(settings.home)
    given = {name: getattr(settings, name) for name in (*GENERATED, *HASHED)}
    return settings.model_copy(
        update={name: SecretStr(found[name]) for name, value in given.items() if not value and found.get(name)}
    )
