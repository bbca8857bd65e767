"""What msgspec found wrong with a body, in our own words."""

import msgspec

from esdfs.errors import InvalidRequest


def invalid_field(error: msgspec.ValidationError) -> InvalidRequest:
    """What msgspec found wrong, with the field it names as a detail."""
    message = str(error)
    _, found, place = message.rpartition(" - at `$")
    if not found:
        return InvalidRequest(f"body: {message}")
    return InvalidRequest(f"body: {message}", field=place.rstrip("`").lstrip("."))
