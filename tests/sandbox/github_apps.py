"""GitHub Apps: what proves to be one, and the routes that serve it; `github_rest` has the table they stand in."""

import functools

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.sandbox.github_rest import Answer, Exchange, Refused, route
from tests.sandbox.github_state import App, Installation, World

LONGEST_LIFE = 600
"""Seconds from now to the end of a JSON web token."""


@functools.cache
def private_key() -> str:
    """The key of all apps of a process, as making one takes long; GitHub gives it out in this form."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


@functools.cache
def _public_key() -> rsa.RSAPublicKey:
    key = serialization.load_pem_private_key(private_key().encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key.public_key()


def app_of_token(world: World, token: str | None) -> App:
    """The app that signed a JSON web token.

    Raises:
        Refused: the token is none of an app's, or not of now.
    """
    try:
        # Whether it is of now is a matter of the sandbox's clock.
        options: jwt.types.Options = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}
        claims = jwt.decode(token or "", _public_key(), ["RS256"], options)
    except jwt.PyJWTError:
        raise Refused(401, "A JSON web token could not be decoded") from None
    now, issued, expires = world.clock(), claims.get("iat"), claims.get("exp")
    if not isinstance(issued, int) or issued > now:
        raise Refused(
            401, "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
        )
    if not isinstance(expires, int) or expires <= now:
        raise Refused(
            401,
            "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the "
            "assertion expires",
        )
    if expires > now + LONGEST_LIFE:
        raise Refused(401, "'Expiration time' claim ('exp') is too far in the future")
    app = world.app(str(claims.get("iss")))
    if not app:
        raise Refused(404, "Integration not found")
    return app


@route("GET", "/app", "Integration", needs="app")
def get_app(x: Exchange) -> Answer:
    return x.bodies.app(x.app)


@route("GET", "/repos/{owner}/{repo}/installation", "Installation", needs="app")
def get_repository_installation(x: Exchange) -> Answer:
    installation = x.world.installation(x.app, x.repository.owner)
    if not installation:
        raise Refused(404, "Not Found")
    return x.bodies.installation(installation)


@route("GET", "/app/installations/{number}", "Installation", needs="app")
def get_installation(x: Exchange, number: str) -> Answer:
    return x.bodies.installation(_installation(x, number))


@route(
    "POST",
    "/app/installations/{number}/access_tokens",
    "InstallationToken",
    needs="app",
    status=201,
    takes="AppInstallationsInstallationIdAccessTokensPostBody",
)
def create_installation_token(x: Exchange, number: str) -> Answer:
    installation = _installation(x, number)
    granted = x.bodies.permissions()
    wanted = x.data.get("permissions") or granted
    if any(granted.get(name) not in (level, "write") for name, level in wanted.items()):
        raise Refused(422, "The permissions requested are not granted to this installation.")
    token, expires_at = x.world.add_installation_token(installation)
    x.effects.append(f"create token of installation {number}")
    return {
        "token": token,
        "expires_at": expires_at,
        "permissions": wanted,
        "repository_selection": "all",
    }


def _installation(x: Exchange, number: str) -> Installation:
    for installation in x.app.installations:
        if str(installation.id) == number:
            return installation
    raise Refused(404, "Not Found")
