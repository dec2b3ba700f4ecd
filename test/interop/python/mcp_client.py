"""A client of an MCP server, with PyPI's mcp. It knows only the server's address, and learns from the refusal where to
sign in. It has the URL of its metadata document, or registers itself.
"""

import asyncio
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata

from steps import browse, done, redirect_uri, settings

opened = []


class Kept:
    """Where the client keeps what it was given."""

    tokens = client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


async def open_page(url):
    opened.append(url)


async def answer():
    query = parse_qs(urlsplit(await asyncio.to_thread(browse, opened[-1])).query)
    return AuthorizationCodeResult(code=query["code"][0], state=query["state"][0], iss=query["iss"][0])


async def main():
    kept = Kept()
    provider = OAuthClientProvider(
        server_url=settings["mcp"],
        client_metadata=OAuthClientMetadata(
            client_name=settings["name"],
            redirect_uris=[redirect_uri],
            grant_types=["authorization_code", "refresh_token"],
            token_endpoint_auth_method="none",
        ),
        storage=kept,
        redirect_handler=open_page,
        callback_handler=answer,
        client_metadata_url=settings.get("document"),
    )

    def connected():
        http = httpx2.AsyncClient(auth=provider)
        return Client(streamable_http_client(settings["mcp"], http_client=http))

    async with connected() as client:
        done("signed in", alive=kept.tokens.access_token)
        tools = [tool.name for tool in (await client.list_tools()).tools]
        assert tools == ["add"], tools
        done("tools")
        result = await client.call_tool("add", {"a": 17, "b": 25})
        assert result.content[0].text == "42", result
        done("called")

    # A token that is over, as the package knows by itself, is refreshed without asking the user.
    before = kept.tokens.access_token
    provider.context.token_expiry_time = 1
    async with connected() as client:
        result = await client.call_tool("add", {"a": 1, "b": 1})
        assert result.content[0].text == "2", result
    assert len(opened) == 1 and kept.tokens.access_token != before, opened
    done("refreshed", alive=kept.tokens.access_token)


asyncio.run(main())
