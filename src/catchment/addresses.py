"""Addresses of the network: where to listen, whose request it is behind proxies that are trusted, and how much of
that is kept."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal

_Network = IPv4Network | IPv6Network


class Proxies:
    """The proxies whose word is believed."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self._trusted: list[_Network] = [ip_network(network, strict=False) for network in trusted]

    def client(self, peer: str, forwarded_for: str) -> str:
        """The nearest address that is no trusted proxy's: of `X-Forwarded-For` the right end alone is known to be
        true, since anybody may send the rest of it."""
        if not self._trusted or not self.trusts(peer):
            return peer
        client = peer
        for each in reversed(forwarded_for.split(",")):
            address = parsed(each.strip())
            if address is None:
                break
            client = str(address)
            if not self.trusts(client):
                break
        return client

    def trusts(self, address: str) -> bool:
        """Whether this is one of them."""
        found = parsed(address)
        return found is not None and any(found in network for network in self._trusted)


@lru_cache(maxsize=10_000)
def parsed(text: str) -> IPv4Address | IPv6Address | None:
    """An address as people and proxies write it; None for anything else."""
    text = text.partition("%")[0]
    if text.startswith("[") and "]" in text:
        text = text[1 : text.index("]")]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def kept(address: str, how: Literal["full", "truncated", "none"]) -> str | None:
    """As much of an address as is to be kept; None for nothing."""
    found = None if how == "none" else parsed(address)
    if found is None or how == "full":
        return None if found is None else str(found)
    bits = 24 if isinstance(found, IPv4Address) else 48
    return str(ip_network(f"{found}/{bits}", strict=False).network_address)


def check_listen(address: str) -> None:
    """Raise ValueError(what it must be, how to fix it) for a setting that is no HOST:PORT."""
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdecimal() and int(port) <= 65_535):
        raise ValueError("must be HOST:PORT", 'such as "127.0.0.1:8000"')


def check_network(network: str) -> None:
    """Raise ValueError(what it must be, how to fix it) for a setting that is neither an address nor a network."""
    try:
        ip_network(network, strict=False)
    except ValueError:
        raise ValueError("must be an address or a network", 'such as "10.0.0.0/8"') from None


def own_network(address: str) -> str:
    """What one person has of an address: all of IPv4's, a /64 of IPv6's, of which each customer has at least one."""
    found = parsed(address)
    if not isinstance(found, IPv6Address):
        return address
    return str(ip_network(f"{found}/64", strict=False))
