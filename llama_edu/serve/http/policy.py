"""Who may ask a server, and how much of it: what an operator decides, and what follows from it."""

import hmac
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from llama_edu.errors import InputError

__all__ = ["Policy"]


@dataclass(frozen=True)
class Policy:
    """Who may ask, and how much they may send.

    Raises `InputError` for a key that no header can hold, and for what is no origin.
    """

    host: str = "127.0.0.1"
    """The address listened at."""
    allowed_hosts: tuple[str, ...] = ()
    """Other names of this server."""
    allowed_origins: tuple[str, ...] = ()
    """Other sites whose pages may ask, such as `https://chat.example`; `*` for any."""
    api_key: str | None = None
    """Letters, digits and signs of ASCII, which is what a header can hold."""
    max_body_nbytes: int = 256 * 1024
    body_seconds: float = 20.0
    head_seconds: float = 10.0
    """How long a connection may be open without the whole head of a request, or go on sending a
    body that was refused."""
    unread_seconds: float = 60.0
    """How long a reader may take for what was sent to it at once."""
    max_connections: int = 512
    max_connections_per_address: int = 128
    """So that no one address can keep all others out."""

    def __post_init__(self) -> None:
        key = self.api_key
        if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
            raise InputError(
                "expected a key of printable ASCII characters without spaces, got another one: "
                "no client could send it in a header"
            )
        for origin in self.allowed_origins:
            scheme, found, host = origin.partition("://")
            if origin != "*" and not (scheme and found and host and "/" not in host):
                raise InputError(f"expected an origin such as https://chat.example, got {origin!r}")

    def knows_origin(self, origin: str) -> bool:
        """Whether pages of this origin may ask, though they are not ours."""
        return "*" in self.allowed_origins or origin in self.allowed_origins

    def knows_host(self, header: str) -> bool:
        """Whether a Host header means this server.

        A name is known or it is not. An address cannot be made to point elsewhere, so any will do
        where the server listens at all of them.
        """
        name = _host_name(header)
        if name in ("localhost", self.host, *self.allowed_hosts):
            return True
        try:
            asked, own = ipaddress.ip_address(name), ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return asked == own or own.is_unspecified or (asked.is_loopback and own.is_loopback)

    def knows_key(self, header: str) -> bool:
        """Whether an Authorization header has the key. Takes as long for any wrong one."""
        if self.api_key is None:
            return True
        scheme, _, given = header.partition(" ")
        is_bearer = scheme.lower() == "bearer"  # a scheme may be written in any case
        is_ours = hmac.compare_digest(given.strip().encode(), self.api_key.encode())
        return is_bearer and is_ours


def _host_name(header: str) -> str:
    """The name in `name:port`, `[v6]:port` or either without its port."""
    try:
        return (urlsplit(f"//{header}").hostname or "").lower()
    except ValueError:
        return ""
