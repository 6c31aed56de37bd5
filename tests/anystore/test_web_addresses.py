"""Which addresses a client may connect to."""

import pytest

from anystore.web.addresses import AddressGuard, address_kind, is_proxied


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("8.8.8.8", "public"),
        ("2606:4700::1", "public"),
        ("127.8.9.1", "loopback"),
        ("::1", "loopback"),
        ("169.254.169.254", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("10.0.0.1", "private"),
        ("172.16.3.4", "private"),
        ("192.168.1.1", "private"),
        ("100.64.0.1", "private"),
        ("0.0.0.0", "loopback"),
        ("0.1.2.3", "loopback"),
        ("255.255.255.255", "private"),
        ("224.0.0.1", "private"),
        ("fc00::1", "private"),
        ("ff02::1", "private"),
        ("fec0::1", "private"),
        ("fd00:ec2::254", "private"),
        ("::", "loopback"),
        ("::127.0.0.1", "loopback"),
        ("::ffff:0.0.0.0", "loopback"),
        ("::ffff:0:10.0.0.1", "private"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:10.0.0.1", "private"),
        ("64:ff9b::a9fe:a9fe", "link-local"),
        ("64:ff9b:1::7f00:1", "loopback"),
        ("2001:0:4136:e378:8000:63bf:80ff:fffe", "loopback"),
        ("2002:7f00:1::", "loopback"),
    ],
)
def test_kinds(address, kind):
    assert address_kind(address) == kind


def test_the_seed_allows_its_own_kind_and_no_other():
    guard = AddressGuard("http://127.0.0.1:8000/files/")
    assert guard.allows("127.0.0.1")
    assert guard.allows("::1")
    assert guard.allows("8.8.8.8")
    assert not guard.allows("10.0.0.1")
    assert not guard.allows("169.254.169.254")
    public = AddressGuard("http://8.8.8.8/")
    assert not any(public.allows(address) for address in ("127.0.0.1", "10.0.0.1", "fe80::1"))
    assert "8.8.8.8" not in repr(public)


def test_a_host_that_is_not_found_allows_what_is_public_alone():
    guard = AddressGuard("http://name.invalid/")
    assert guard.kinds == frozenset()
    assert not guard.allows("127.0.0.1")


def test_a_proxy_is_seen(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert not is_proxied("https://host/")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "inner.host")
    assert is_proxied("https://host/")
    assert not is_proxied("http://host/")
    assert not is_proxied("https://inner.host/")
