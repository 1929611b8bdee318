"""Why Vault gives no answer, by what lies at the bottom of the library's exceptions."""

from __future__ import annotations

import socket
import ssl

import pytest
import requests
import urllib3

from vllm_flows.errors import ConfigurationError, VaultUnavailableError
from vllm_flows.vault_silence import explain_silence

ADDRESS = "https://vault.example.com:8200"


def nested(cause: Exception, outer: type[requests.RequestException]) -> Exception:
    """Wrap the cause as urllib3 and requests do."""
    pool = urllib3.HTTPSConnectionPool("vault.example.com", 8200)
    return outer(urllib3.exceptions.MaxRetryError(pool, "/v1/secret", cause))


def of_ssl(kind: type[ssl.SSLError], text: str, verify: str = "") -> Exception:
    error = kind(1, text)
    if verify:
        error.verify_message = verify  # type: ignore[attr-defined]  # of the kind that verifies
    return nested(urllib3.exceptions.SSLError(error), requests.exceptions.SSLError)


@pytest.mark.parametrize(
    ("verify", "advice"),
    [
        ("self-signed certificate", "VLLM_VAULT_CA_CERT"),
        ("unable to get local issuer certificate", "VLLM_VAULT_CA_CERT"),
        ("Hostname mismatch, certificate is not valid for 'x'", "VLLM_VAULT_ADDRESS"),
        ("certificate has expired", "renew the certificate"),
    ],
)
def test_a_certificate_that_is_not_trusted_is_told_with_the_setting(verify: str, advice: str):
    error = explain_silence(of_ssl(ssl.SSLCertVerificationError, "x", verify), ADDRESS)
    assert isinstance(error, ConfigurationError)
    assert error.why == verify
    assert advice in error.next_command


@pytest.mark.parametrize(
    "text", ["[SSL: WRONG_VERSION_NUMBER] wrong version number", "[SSL] record layer failure"]
)
def test_https_to_a_port_of_http_is_told_with_the_address_that_would_do(text: str):
    error = explain_silence(of_ssl(ssl.SSLError, text), ADDRESS)
    assert "speaks http, not https" in error.what
    assert "http://vault.example.com:8200" in error.next_command


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (TimeoutError("timed out"), "timed out"),
    ],
)
def test_what_cannot_be_reached_is_told_with_the_innermost_cause(cause: Exception, said: str):
    error = explain_silence(nested(cause, requests.exceptions.ConnectionError), ADDRESS)
    assert isinstance(error, VaultUnavailableError)
    assert said in error.why
