"""Reading a request: query, headers, body; each refused with what to send instead.

There is no validation layer besides this and msgspec's decoding into strict types.
"""

import asyncio
import contextlib
import hashlib
import re
from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple, TypeVar
from urllib.parse import unquote

import msgspec
from falcon import HTTPUnsupportedMediaType
from falcon.asgi import Request

from esdfs.errors import InvalidPath, InvalidRequest, PayloadTooLarge
from esdfs.namenode.invalid import invalid_field
from esdfs.namenode.namespace.paths import normalise
from esdfs.namenode.rest.answers import TIME_US_MAX

T = TypeVar("T")

BODY_BYTES_MAX: Final = 1 << 20
_DISCARDED_BYTES_MAX: Final = 16 << 20
_DISCARD_S: Final = 5.0
PAGE_MAX: Final = 1000
ID_MAX: Final = (1 << 63) - 1

_UUID: Final = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_KEY: Final = re.compile(rf"(?P<client>{_UUID})(?:/(?P<seq>[0-9]{{1,19}}))?")
_TAG: Final = re.compile(r'\s*(?:W/)?"?(?P<version>[0-9]{1,19})"?\s*')
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")


class RequestName(NamedTuple):
    """Under which name a change may be repeated; all empty when under none."""

    client_id: bytes = b""
    seq: int = 0
    request_hash: int = 0


NAMELESS: Final = RequestName()


# --- query ----------------------------------------------------------------------------------------


def text(req: Request, name: str, default: str = "") -> str:
    """A query parameter."""
    value = req.get_param(name, default=default)
    if "\ufffd" in value and "%ef%bf%bd" not in req.query_string.lower():
        raise InvalidRequest(f"{name}: not valid UTF-8; percent-encode the UTF-8 bytes", field=name)
    return value


def path_param(req: Request) -> str:
    """The required query parameter ``path``, normalised."""
    value = text(req, "path")
    if not value:
        raise InvalidPath("the query parameter path is missing: add ?path=/…", field="path")
    return normalise(value)


def url_path(req: Request, path: str) -> str:
    """A path given as the tail of the URL, with or without its first slash, normalised."""
    if "\ufffd" in path and b"%ef%bf%bd" not in req.scope.get("raw_path", b"").lower():
        raise InvalidPath("the URL's path is not valid UTF-8; percent-encode the UTF-8 bytes")
    return normalise(path if path.startswith("/") else f"/{path}")


def number(req: Request, name: str, default: int, *, lowest: int = 0, highest: int = ID_MAX) -> int:
    """A whole number in ``[lowest, highest]`` from the query."""
    value = req.get_param(name)
    if value is None:
        return default
    if value.isascii() and value.isdigit() and lowest <= int(value[:20]) <= highest:
        return int(value)
    raise InvalidRequest(
        f"{name} must be a whole number from {lowest} to {highest}, not {_shown(value)}", field=name
    )


def limit(req: Request, default: int = PAGE_MAX) -> int:
    """The page size asked for."""
    return number(req, "limit", default, lowest=1, highest=PAGE_MAX)


def flag(req: Request, name: str) -> bool:
    """A query parameter that is true or false; absent is false, bare is true."""
    value = (req.get_param(name) or ("true" if name in req.params else "false")).lower()
    if value in {"true", "1", "yes"}:
        return True
    if value in {"false", "0", "no"}:
        return False
    raise InvalidRequest(f"{name} must be true or false, not {_shown(value)}", field=name)


def identifier(value: str | int, name: str) -> int:
    """A file or block id: a positive number, given in decimal."""
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) < 20):
            raise InvalidRequest(f"{name} must be a decimal number, not {_shown(value)}", field=name)
        value = int(value)
    if not 0 < value <= ID_MAX:
        raise InvalidRequest(f"{name} must be from 1 to {ID_MAX}", field=name)
    return value


# --- headers --------------------------------------------------------------------------------------


def principal(req: Request) -> str:
    """Who says to be asking."""
    user = req.get_header("Esdfs-User") or "anonymous"
    if "%" in user:
        # Headers carry ASCII: clients percent-encode other names.
        user = unquote(user)
    return check_name("Esdfs-User", user)


def check_name(field: str, value: str) -> str:
    """A user's or group's name as it may be journaled."""
    if len(value.encode()) > 255 or _CONTROL.search(value):
        raise InvalidRequest(f"{field} must be at most 255 bytes without control characters", field=field)
    return value


def peer(req: Request) -> str:
    """The address the request came from."""
    return req.remote_addr


def request_name(req: Request, body: bytes) -> RequestName:
    """What ``Idempotency-Key`` names this request: ``<client uuid>/<seq>``, a UUID, or any other text."""
    key = req.get_header("Idempotency-Key")
    if key is None:
        return NAMELESS
    if not 0 < len(key) <= 255:
        raise InvalidRequest("Idempotency-Key must have 1 to 255 characters", field="Idempotency-Key")
    target = f"{req.path}?{req.query_string}" if req.query_string else req.path
    digest = hashlib.sha256(f"{req.method}\n{target}\n".encode() + body).digest()
    request_hash = int.from_bytes(digest[:8], "big")
    if found := _KEY.fullmatch(key):
        seq = int(found["seq"] or 1)
        if not 0 < seq <= ID_MAX:
            raise InvalidRequest(
                f"the number in Idempotency-Key must be from 1 to {ID_MAX}", field="Idempotency-Key"
            )
        return RequestName(bytes.fromhex(found["client"].replace("-", "")), seq, request_hash)
    return RequestName(hashlib.sha256(key.encode()).digest()[:16], 1, request_hash)


def wanted_version(req: Request) -> int | None:
    """The version ``If-Match`` names; 0 = any existing one (``*``), None = no such header."""
    return _tag(req, "If-Match")


def known_version(req: Request) -> int | None:
    """The version ``If-None-Match`` names; 0 = any existing one (``*``), None = no such header."""
    return _tag(req, "If-None-Match")


def _tag(req: Request, header: str) -> int | None:
    value = req.get_header(header)
    if value is None:
        return None
    if value.strip() == "*":
        return 0
    found = _TAG.fullmatch(value)
    if found is None:
        raise InvalidRequest(
            f'{header} must be * or one entity tag as ETag gave it ("1234"), not {_shown(value)}',
            field=header,
        )
    return int(found["version"])


# --- body -----------------------------------------------------------------------------------------


async def read_body(req: Request) -> bytes:
    """The whole body, however it is framed.

    Raises:
        PayloadTooLarge: Over ``BODY_BYTES_MAX``; at most that much was kept.
        InvalidRequest: Cut short.
        HTTPUnsupportedMediaType: Its Content-Type says it is not JSON. (Browsers send other types to
            other sites without asking them first, so this is also what keeps web pages out.)
    """
    declared = req.content_length
    if declared is not None and declared > BODY_BYTES_MAX:
        await _discard(req)
        raise PayloadTooLarge(_too_large())
    media = (req.content_type or "application/json").partition(";")[0].strip().lower()
    if media != "application/json" and not media.endswith("+json"):
        raise HTTPUnsupportedMediaType(
            description=f"send JSON with Content-Type: application/json, not {_shown(media)}"
        )
    if declared is not None:
        body: bytes = await req.stream.readall()
        if len(body) != declared:
            raise InvalidRequest(f"body ended after {len(body)} of {declared} bytes")
        return body
    chunks = []
    size_bytes = 0
    async for chunk in req.stream:
        size_bytes += len(chunk)
        if size_bytes > BODY_BYTES_MAX:
            await _discard(req)
            raise PayloadTooLarge(_too_large())
        chunks.append(chunk)
    return b"".join(chunks)


async def _discard(req: Request) -> None:
    """Let the sender finish, within reason: one who still sends may lose the answer in a reset connection."""
    size_bytes = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_S):
            while size_bytes < _DISCARDED_BYTES_MAX and (chunk := await req.stream.read(1 << 16)):
                size_bytes += len(chunk)


def parse(decode: Callable[[bytes], T], body: bytes) -> T:
    """The body as what ``decode`` makes of it.

    Raises:
        InvalidRequest: Says which field, or that it is not JSON.
    """
    if not body:
        raise InvalidRequest("body is empty: send a JSON object")
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        raise invalid_field(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"body is not JSON: {error}") from error
    except RecursionError as error:
        raise InvalidRequest("body is nested too deeply") from error


def octal_mode(value: str) -> int:
    """Permission bits from their octal text."""
    if not re.fullmatch("[0-7]{1,4}", value):
        raise InvalidRequest(f'mode must be octal text like "0644", not {_shown(value)}', field="mode")
    return int(value, 8)


def time_us(value: str, name: str) -> int:
    """Microseconds of an ISO 8601 time."""
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            moment = datetime.fromisoformat(f"{value}+00:00")
        delta = moment - _EPOCH
    except (ValueError, OverflowError):
        raise InvalidRequest(
            f"{name} must be an ISO 8601 time (2026-01-31T12:00:00Z), not {_shown(value)}", field=name
        ) from None
    micros = (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
    if not 0 <= micros <= TIME_US_MAX:
        raise InvalidRequest(f"{name} must be from 1970 to 9999", field=name)
    return micros


def crc(value: str | int, name: str) -> int:
    """A CRC32C as a number or as 8 hex digits."""
    if isinstance(value, str):
        if not re.fullmatch("[0-9a-fA-F]{1,8}", value):
            raise InvalidRequest(f"{name} must be a number or 8 hex digits, not {_shown(value)}", field=name)
        value = int(value, 16)
    if not 0 <= value < 1 << 32:
        raise InvalidRequest(f"{name} must fit 32 bits", field=name)
    return value


_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def _too_large() -> str:
    return f"body is over {BODY_BYTES_MAX} bytes: split the request (file bytes go to DataNodes, not here)"


def _shown(value: str) -> str:
    return repr(value if len(value) <= 80 else value[:77] + "...")
