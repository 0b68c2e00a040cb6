"""The passwords that an installation makes for itself at its first start: shown once, where somebody sees them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from rich.console import Console

from ml_backend.passwords import hashed, new_password
from ml_backend.secrets_file import SECRETS_FILE, complete_secrets, read_secrets
from ml_backend.settings import HASHED, Settings, with_secrets


def first_passwords(settings: Settings, console: Console) -> Settings:
    """Settings with their secrets. What the dashboard's users lack is made, kept as hashes, and shown.

    Only on a terminal: in a log all who read it would find them, so there none is made, and `winnow password` sets
    them. Raises EnvironmentFault where the home folder cannot be written.
    """
    known = bool(settings.password) or "password" in read_secrets(settings.home)
    settings = with_secrets(settings)
    if not (settings.authentication and console.file.isatty()):
        return settings
    passwords = {name: new_password() for name in HASHED if not getattr(settings, name)}
    hashes = {name: partial(hashed, password) for name, password in passwords.items()}
    _, made = complete_secrets(settings.home, hashes)
    shown = {name.removesuffix("_password"): passwords[name] for name in made}
    if settings.password and not known:
        shown = {settings.username: settings.password.get_secret_value(), **shown}
    if shown:
        _show(console, settings, shown)
    return with_secrets(settings)


def _show(console: Console, settings: Settings, passwords: Mapping[str, str]) -> None:
    width = max(map(len, passwords))
    lines = (f"  {user:<{width}}  {password}" for user, password in passwords.items())
    told = (
        f"Users of {settings.backend_url}/dashboard/ and their passwords, shown this once:", *lines,
        f"{settings.home / SECRETS_FILE} has hashes of them, but Label Studio's own; `winnow password` sets new ones.",
    )  # fmt: skip
    for line in told:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
