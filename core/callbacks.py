"""Which addresses may be called back.

A callback makes this service send a request to where a caller says. Without a rule it would reach
what only this network reaches: databases, metadata services of clouds, the machine itself. So
addresses that are not public are refused, twice: what the URL itself shows when the scan is asked
for, and what its name resolves to when the callback is sent. The second is the one that counts,
because a name may change its address in between; the sender connects to the address it has checked.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import SplitResult, urlsplit

from core.errors import CallbackRefused
from core.settings import Settings

Address = IPv4Address | IPv6Address

MAX_URL_LENGTH = 2048
_PRINTABLE = re.compile(r"[!-\[\]-~]+")  # no space, no backslash, ASCII only
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]+")
_LOCAL_NAMES = re.compile(r"(.*\.)?(localhost|local|internal|home|lan|intranet)|[^.]+", re.I)
#: IPv6 ranges that carry an IPv4 address in their last 32 bits (RFC 6052).
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")


def check_url(url: str, settings: Settings) -> SplitResult:
    """The parts of a URL that may be called back, as far as it can be told without resolving it.

    Raises CallbackRefused with the reason.
    """
    if len(url) > MAX_URL_LENGTH or not _PRINTABLE.fullmatch(url):
        raise CallbackRefused("A callback URL has up to 2,048 printable characters of ASCII.")
    parts = _split(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and settings.callback_http):
        raise CallbackRefused("A callback URL begins with https://.")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise CallbackRefused("A callback URL has no user, password or fragment.")
    host = (parts.hostname or "").rstrip(".")
    if not _HOST.fullmatch(host):
        raise CallbackRefused("A callback URL names a host by letters, digits, dots and hyphens.")
    address = literal(host)
    if address is not None:
        check_address(address, settings)
    elif _LOCAL_NAMES.fullmatch(host) and not settings.callback_networks:
        raise CallbackRefused(f"{host} is a name of a local network; it may not be called back.")
    return parts


def check_address(address: Address, settings: Settings) -> None:
    """Raise CallbackRefused unless the address is public, or in a network that is allowed."""
    plain = unwrapped(address)
    if any(plain in network for network in settings.callback_networks):
        return
    if not plain.is_global or plain.is_multicast or plain.is_reserved or _is_site_local(plain):
        raise CallbackRefused(
            f"{plain} is not a public address; an operator can allow its network in "
            "DEEPSWEEP_CALLBACK_NETWORKS."
        )


def literal(host: str) -> Address | None:
    """The address that a host is written as, in any form a resolver takes; None for a name.

    `127.1`, `0x7f000001` and `2130706433` are all 127.0.0.1 to a resolver.
    """
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def unwrapped(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one, where that is what it is for."""
    if isinstance(address, IPv4Address):
        return address
    if address in _TRANSLATED:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_site_local(address: Address) -> bool:
    """fec0::/10, the private addresses of old IPv6, which Python counts among the global ones."""
    return isinstance(address, IPv6Address) and address.is_site_local


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no number
    except ValueError:
        raise CallbackRefused("The callback URL cannot be read.") from None
    return parts
