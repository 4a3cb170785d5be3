"""Which addresses may be called back, in every way of writing them."""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Network

import pytest

from core import callbacks
from core.errors import CallbackRefused
from core.settings import Settings

STRICT = Settings()


@pytest.mark.parametrize(
    "url",
    [
        "https://desk.example.com/hook",
        "https://desk.example.com:8443/hook?token=1",
        "https://DESK.example.com",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]/",
        "https://xn--bcher-kva.example/",
    ],
)
def test_public_addresses_may_be_called(url):
    assert callbacks.check_url(url, STRICT).geturl().lower() == url.lower()


@pytest.mark.parametrize(
    "url",
    [
        # this machine, as its many names
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://0/",
        "https://[::1]/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://localhost/",
        "https://LOCALHOST./",
        "https://api.localhost/",
        # this network
        "https://10.1.2.3/",
        "https://172.16.0.1/",
        "https://192.168.1.1/",
        "https://100.64.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[fe80::1]/",
        "https://[fc00::1]/",
        "https://[fec0::1]/",
        "https://metadata.google.internal/",
        "https://printer.local/",
        "https://redis/",
        # nobody
        "https://224.0.0.1/",
        "https://255.255.255.255/",
        "https://240.0.0.1/",
        "https://192.0.2.1/",
        "https://[2001:db8::1]/",
        "https://[ff02::1]/",
    ],
)
def test_addresses_that_are_not_public_are_refused(url):
    with pytest.raises(CallbackRefused):
        callbacks.check_url(url, STRICT)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "desk.example.com/hook",
        "http://desk.example.com/",
        "ftp://desk.example.com/",
        "https://",
        "https:///hook",
        "https://user:password@desk.example.com/",
        "https://desk.example.com\\@10.0.0.1/",
        "https://desk.example.com /",
        "https://desk.example.com/\r\nX-Header: 1",
        "https://desk.exämple.com/",
        "https://desk.example.com/#part",
        "https://desk.example.com:port/",
        "https://desk.example.com:99999/",
        "https://[::1/",
        "https://desk_%65xample.com/",
        "https://desk.example.com/" + "x" * 3000,
    ],
)
def test_what_is_no_plain_https_url_is_refused(url):
    with pytest.raises(CallbackRefused):
        callbacks.check_url(url, STRICT)


def test_an_operator_can_allow_a_network_and_nothing_else_with_it():
    settings = Settings(callback_networks=(IPv4Network("10.0.0.0/8"),), callback_http=True)
    callbacks.check_url("http://10.1.2.3:8080/hook", settings)
    callbacks.check_url("https://receiver.internal/hook", settings)
    callbacks.check_address(ipaddress.ip_address("::ffff:10.1.2.3"), settings)
    with pytest.raises(CallbackRefused):
        callbacks.check_url("http://192.168.1.1/", settings)
    with pytest.raises(CallbackRefused):
        callbacks.check_address(ipaddress.ip_address("127.0.0.1"), settings)
