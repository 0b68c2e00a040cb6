"""`winnow adapters serve`: an adapter into a vLLM server."""

from __future__ import annotations

import click

from trainer.logs import settings_and_log


@click.command(name="serve")
@click.argument("adapter_id")
@click.option("--base-url", required=True, help="Address of the vLLM server, as in http://127.0.0.1:8000/v1.")
@click.option("--key", default="", help="Name of an entry of WINNOW_API_KEYS, where the server wants a key.")
@click.option("--allow-remote", is_flag=True, help="Let a server be asked that is not on this machine.")
def adapters_serve(adapter_id: str, base_url: str, key: str, allow_remote: bool) -> None:
    """Load an adapter into a running vLLM server, and say how winnow.yaml names it as a source.

    \b
    Example:
      winnow adapters serve 3f2a9c41d07be865 --base-url http://127.0.0.1:8000/v1
    """
    from label_configs.strictyaml import dump_yaml
    from ml_backend.adapter_serving import load_adapter_into_server, served_source
    from ml_backend.adapters import store_of
    from ml_backend.api_keys import api_key
    from ml_backend.source_config import ChatApi

    settings = settings_and_log()
    adapter = store_of(settings.home).get(adapter_id)
    api = ChatApi(base_url, key=key, allow_remote=allow_remote)
    load_adapter_into_server(api, api_key("--key", api, settings.api_keys), adapter)
    click.echo(dump_yaml({"sources": [served_source(adapter, api)]}), nl=False)
