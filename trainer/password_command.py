"""`winnow password`: a new password for a user of the web process."""

from __future__ import annotations

import click

from label_configs.errors import ConfigError
from ml_backend.access import Role
from ml_backend.passwords import hashed, new_password
from ml_backend.secrets_file import SECRETS_FILE, put_secret
from ml_backend.settings import Settings
from trainer.logs import settings_and_log

SHORTEST = 12


@click.command()
@click.argument("user", type=click.Choice([role.value for role in Role]))
@click.option("--generate", is_flag=True, help="Make one and show it, this once, instead of asking for it.")
@click.option("--hash", "only_hash", is_flag=True,
              help="Print the hash, for WINNOW_VIEWER_PASSWORD or _OPERATOR_PASSWORD; store nothing.")  # fmt: skip
def password(user: str, *, generate: bool, only_hash: bool) -> None:
    """Set the password of viewer, operator, or the installation's own account, which Label Studio uses.

    That of viewer and operator is stored as a hash. It counts from the next start of `winnow up` or `winnow serve` on;
    after that of the account, run `winnow init` for each project, which tells Label Studio.

    \b
    Example:
      winnow password viewer --generate
    """
    settings, role = settings_and_log(), Role(user)
    if only_hash and role is Role.ACCOUNT:
        raise ConfigError("--hash: Label Studio is told the account's password itself; leave --hash out")
    setting = "password" if role is Role.ACCOUNT else f"{user}_password"
    if not only_hash:
        _check_stored(settings, setting)
    chosen = new_password() if generate else _asked(user)
    if generate:
        click.echo(f"{user}: {chosen}", err=only_hash)
    if only_hash:
        click.echo(hashed(chosen))
        return
    put_secret(settings.home, setting, chosen if role is Role.ACCOUNT else hashed(chosen))
    tell_label_studio = ", then run `winnow init` for each project" if role is Role.ACCOUNT else ""
    click.echo(
        f"Stored in {settings.home / SECRETS_FILE}. It counts after a new start of `winnow up` or `winnow serve`"
        f"{tell_label_studio}.",
        err=True,
    )


def _check_stored(settings: Settings, setting: str) -> None:
    """Raise ConfigError where the password is taken from elsewhere, so that a stored one would count for nothing."""
    if getattr(settings, setting):
        variable = f"WINNOW_{setting.upper()}"
        hint = "put the new one there" if setting == "password" else "put the new one, or its --hash, there"
        raise ConfigError(f"{variable}: is set and comes before a stored password; {hint}, or unset it")


def _asked(user: str) -> str:
    chosen: str = click.prompt(f"New password of {user}", hide_input=True, confirmation_prompt=True, err=True)
    if len(chosen) < SHORTEST:
        raise ConfigError(f"password: has {len(chosen)} characters; take {SHORTEST} or more, or --generate")
    return chosen
