"""Which network addresses a client may connect to: those of the kinds where it was sent.

A redirect, a link or a changed name must not lead a crawler of the public web to servers
that only this machine can reach.
"""

import ipaddress
import socket
import urllib.request
from dataclasses import dataclass, field
from functools import cached_property

from anystore.uris import parse_uri

_PUBLIC = "public"


def address_kind(address: str) -> str:
    """Name the kind of an IP address.

    Args:
        address: The address; one of IPv6 that stands for one of IPv4 counts as that.

    Returns:
        ``public``, ``loopback``, ``link-local`` or ``private``; the last stands for all else that is not
        reachable from everywhere.

    Example:
        >>> address_kind("127.0.0.1"), address_kind("::ffff:169.254.169.254"), address_kind("9.9.9.9")
        ('loopback', 'link-local', 'public')
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.sixtofour or (parsed.teredo[1] if parsed.teredo else None)
        if inner is None and parsed not in _THIS_HOST and any(parsed in network for network in _WITH_IPV4):
            inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        if inner is not None:
            return address_kind(str(inner))
    # A connection to "this host on this network" ends at the machine itself.
    if parsed.is_loopback or any(parsed in network for network in (_THIS_HOST, _THIS_NETWORK)):
        return "loopback"
    if parsed.is_link_local:
        return "link-local"
    local = parsed.is_multicast or (isinstance(parsed, ipaddress.IPv6Address) and parsed.is_site_local)
    return _PUBLIC if parsed.is_global and not local else "private"


_THIS_HOST = ipaddress.IPv6Network("::/127")
_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")
# Mapped, compatible, translated (RFC 2765), and by NAT64 (RFC 6052, RFC 8215): the last 32 bits are one of IPv4.
_WITH_IPV4 = tuple(
    map(ipaddress.IPv6Network, ("::ffff:0:0/96", "::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48"))
)


@dataclass(frozen=True)
class AddressGuard:
    """Checks each address when it is connected to, after the name was looked up.

    Args:
        seed: The URL that the user gave. Where its own host is at an address that is not public,
            addresses of that kind are allowed; public ones always are.
    """

    seed: str = field(repr=False)

    def allows(self, address: str) -> bool:
        """Tell whether an address may be connected to."""
        kind = address_kind(address)
        return kind == _PUBLIC or kind in self.kinds

    @cached_property
    def kinds(self) -> frozenset[str]:
        """The kinds of address, besides public ones, where the seed's host is."""
        host = parse_uri(self.seed).host.strip("[]")
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return frozenset()  # the connection itself will say so
        return frozenset(address_kind(str(one[4][0])) for one in found) - {_PUBLIC}


def is_proxied(url: str) -> bool:
    """Tell whether the environment sends requests for a URL through a proxy, which then sees the addresses."""
    parts = parse_uri(url)
    proxies = urllib.request.getproxies()
    return bool(proxies.get(parts.scheme) or proxies.get("all")) and not urllib.request.proxy_bypass(parts.host)
