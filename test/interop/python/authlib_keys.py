import os

import requests
from authlib.common.security import generate_token
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT, private_key_jwt_sign
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url

from steps import browse, done, redirect_uri, refused, settings

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "true"  # the redirect URI is http on loopback

# {issuer, api, scope, value, uri, marked}, where each client is {id, key}, and uri has next, the key after that.
issuer, scope = settings["issuer"], settings["scope"]

server = AuthorizationServerMetadata(requests.get(get_well_known_url(issuer, external=True), timeout=30).json())
server.validate()


class Assertion(PrivateKeyJWT):
    """Assertions for an audience. The library's own are for the token endpoint's URL and last an hour, do not name the
    key, and if the caller sets one of their claims, all have the same jti."""

    def __init__(self, audience, seconds=60):
        super().__init__(audience)
        self.seconds = seconds

    def sign(self, auth, token_endpoint):
        return private_key_jwt_sign(
            auth.client_secret,
            auth.client_id,
            token_endpoint,
            alg="ES256",
            header={"kid": auth.client_secret["kid"]},
            expires_in=self.seconds,
        )


def session(client, key, audience=issuer, **lasting):
    session = OAuth2Session(
        client["id"],
        key,
        scope=scope,
        redirect_uri=redirect_uri,
        code_challenge_method="S256",
        token_endpoint=server["token_endpoint"],
        token_endpoint_auth_method="private_key_jwt",
        revocation_endpoint_auth_method="private_key_jwt",
    )
    session.register_client_auth_method(Assertion(audience, **lasting))
    return session


def sign_in(client):
    verifier = generate_token(48)
    url, state = client.create_authorization_url(server["authorization_endpoint"], code_verifier=verifier)
    token = client.fetch_token(authorization_response=browse(url), state=state, code_verifier=verifier)
    assert token["scope"] == scope and not token.is_expired(), token
    return token


def refresh(client, token):
    fresh = client.refresh_token(server["token_endpoint"], refresh_token=token["refresh_token"])
    assert fresh["refresh_token"] != token["refresh_token"]
    return fresh


def introspect(client, token):
    return client.introspect_token(server["introspection_endpoint"], token=token["access_token"]).json()


def alone(client):
    return client.fetch_token(server["token_endpoint"], grant_type="client_credentials", scope="read")


value = settings["value"]
client = session(value, value["key"])
token = sign_in(client)
done("value", alive=token["access_token"])
fresh = refresh(client, token)
done("value_refresh", alive=fresh["access_token"])
found = introspect(client, fresh)
assert found["active"] and found["client_id"] == value["id"] and found["scope"] == scope, found
done("value_introspect")
answer = client.revoke_token(
    server["revocation_endpoint"], token=fresh["refresh_token"], token_type_hint="refresh_token"
)
assert answer.ok, answer.text
assert not introspect(client, fresh)["active"]
done("value_revoke", dead=fresh["access_token"])

marked, endpoint = settings["marked"], server["token_endpoint"]
refused("audience", OAuthError, "invalid_client", lambda: alone(session(value, value["key"], endpoint)))
for audience in (issuer, endpoint):  # an hour is too long, whoever the assertion is for
    try:
        alone(session(marked, marked["key"], audience, seconds=3600))
        raise AssertionError("an assertion for an hour is accepted")
    except OAuthError as error:
        assert error.error == "invalid_client", error
done("marked", alive=alone(session(marked, marked["key"], endpoint))["access_token"])

uri = settings["uri"]
token = sign_in(session(uri, uri["key"]))
done("uri", alive=token["access_token"])
fresh = refresh(session(uri, uri["next"]), token)
done("rotated", alive=fresh["access_token"])
