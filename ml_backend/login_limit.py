"""How often somebody may send a wrong password, counted in Redis for all web processes together.

Failures count by the client's address and by the user name. An address that failed too often is refused, whatever it
sends; so a right password found by trying is not told. Where a name was tried from many addresses, those are refused
from which nobody has logged in with it: whoever did so in the last days is not locked out by others' guesses.

No name is in Redis, since a password is easily typed in its place, but digests of names and addresses.
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
from dataclasses import dataclass

from redis import Redis
from werkzeug.exceptions import TooManyRequests

from ml_backend.log_events import LogEvent, tell
from ml_backend.queue import redis_errors

log = logging.getLogger(__name__)

WINDOW = 300  # seconds from the first failure on
FROM_ONE_ADDRESS = 10  # failures in a window
FOR_ONE_NAME = 100  # from all addresses together
KNOWN_SECONDS = 7 * 24 * 3600  # an address that logged in is known as the user's for so long

# Failures in the window that began with the first: of an address, of a name. And an address that a user came from.
FAILED_KEY = "winnow:logins:failed:{what}:{digest}"
KNOWN_KEY = "winnow:logins:known:{digest}"


@dataclass(frozen=True, slots=True)
class LoginLimit:
    """The counts. Without Redis nobody can be let in: every method raises QueueError."""

    redis: Redis

    def check(self, address: str | None, name: str) -> None:
        """Raise TooManyRequests, with the seconds to wait, where this client or this name has failed too often."""
        place = network(address)
        with redis_errors(), self.redis.pipeline(transaction=False) as pipe:
            for key in (_failed("address", place), _failed("name", name)):
                pipe.get(key)
                pipe.ttl(key)
            pipe.exists(KNOWN_KEY.format(digest=_digest(name, place)))
            by_address, address_ttl, by_name, name_ttl, known = pipe.execute()
        if int(by_address or 0) >= FROM_ONE_ADDRESS:
            raise _too_many(address_ttl)
        if int(by_name or 0) >= FOR_ONE_NAME and not known:
            raise _too_many(name_ttl)

    def failed(self, address: str | None, name: str) -> None:
        """Count a failure."""
        place = network(address)
        with redis_errors(), self.redis.pipeline() as pipe:
            for key in (_failed("address", place), _failed("name", name)):
                pipe.set(key, 0, ex=WINDOW, nx=True)
                pipe.incr(key)
            _, by_address, _, by_name = pipe.execute()
        tell(log, LogEvent.LOGIN_REFUSED, address=place, failed=by_address)
        if by_address == FROM_ONE_ADDRESS:
            tell(log, LogEvent.LOGINS_LIMITED, address=place, failed=by_address, seconds=WINDOW)
        if by_name == FOR_ONE_NAME:
            tell(log, LogEvent.LOGINS_LIMITED, address="new ones, for one user name", failed=by_name, seconds=WINDOW)

    def succeeded(self, address: str | None, name: str) -> None:
        """Remember that this user comes from there. Failures go on counting: one password must not buy guesses."""
        key = KNOWN_KEY.format(digest=_digest(name, network(address)))
        with redis_errors():
            self.redis.set(key, 1, ex=KNOWN_SECONDS)


def network(address: str | None) -> str:
    """What counts as one client: an IPv4 address, or the 64 bits of an IPv6 one that name its network."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:  # a unix socket
        return address or "local"
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


def _failed(what: str, whose: str) -> str:
    return FAILED_KEY.format(what=what, digest=_digest(whose))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _too_many(seconds: int) -> TooManyRequests:
    wait = max(int(seconds), 1)
    return TooManyRequests(f"too many failed log-ins; wait {wait} s and try again", retry_after=wait)
