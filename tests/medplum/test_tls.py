"""TLS to Medplum: none beyond this machine without it, and what is wrong with a certificate is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedded_medplum.server import EmbeddedMedplum
from medferry.errors import SettingsError
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import CertificateRefused
from medferry.medplum.http import HttpSettings, check_address, open_http
from medferry.runtime.settings import settings_from_environment
from tests.tls import certificate_in, tls_before


def count(server: EmbeddedMedplum, base_url: str, http: HttpSettings) -> int:
    with MedplumClient(base_url, server.client_id, server.client_secret, http=http) as client:
        return client.count("Patient")


@pytest.mark.parametrize(
    "url", ["http://medplum.example/", "HTTP://10.0.0.7:8103", "http://localhost.example", "ftp://m"]
)
def test_a_plain_way_beyond_this_machine_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="would be reached without TLS"):
        open_http(url, HttpSettings())


def test_a_way_that_nobody_checks_is_refused_too() -> None:
    with pytest.raises(SettingsError, match="certificates that nobody checks"):
        open_http("https://medplum.example/", HttpSettings(verify=False))


@pytest.mark.parametrize(
    "url", ["http://localhost:8103", "http://127.0.0.1/", "http://[::1]:8103/", "https://m.example"]
)
def test_this_machine_and_tls_are_not_refused(url: str) -> None:
    open_http(url, HttpSettings()).close()


def test_a_named_host_may_be_reached_in_plain_and_no_other() -> None:
    settings = settings_from_environment({"MEDFERRY_PLAIN_HTTP": "medplum-server, Other"}).medplum_http
    open_http("http://medplum-server:8103/", settings).close()
    open_http("http://OTHER/", settings).close()
    with pytest.raises(SettingsError, match="MEDFERRY_PLAIN_HTTP"):
        open_http("http://medplum-server.example/", settings)


def test_a_malformed_address_is_told_without_its_password() -> None:
    for url in ("https://user:hush@[::1/", "https://user:hush@host:hush/", "http://user:hush@[::1/"):
        with pytest.raises(SettingsError) as raised:
            open_http(url, HttpSettings())
        assert "hush" not in str(raised.value) and raised.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("127.0.0.1:8103", "not usable"),
        ("localhost", "not usable"),
        ("ftp://127.0.0.1/", "not usable"),
        (" http://127.0.0.1:8103/", "not usable"),
        ("http://127.0.0.1:8103/\n", "not usable"),
        ('"http://127.0.0.1:8103/"', "not usable"),
        ("http://[::1/", "not usable"),
        ("https://medplum.example/fhir/R4/", "ends with /fhir/R4"),
        ("http://127.0.0.1:8103/fhir/r4", "ends with /fhir/R4"),
    ],
)
def test_what_cannot_be_the_address_is_told_before_anybody_is_asked(url: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        check_address(url)


@pytest.mark.parametrize("url", ["HTTPS://m.example", "http://127.0.0.1:8103/", "https://m.example/medplum/"])
def test_an_address_may_have_a_path_and_any_case(url: str) -> None:
    check_address(url)


def test_a_certificate_that_is_not_trusted_is_named_at_once(
    medplum: EmbeddedMedplum, own_certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    elsewhere = certificate_in(tmp_path, "DNS:medplum.example")
    with tls_before(medplum.port, *own_certificate) as known, tls_before(medplum.port, *elsewhere) as other:
        with pytest.raises(CertificateRefused, match="not trusted: self-signed certificate"):
            count(medplum, f"https://127.0.0.1:{known}/", HttpSettings())
        with pytest.raises(CertificateRefused, match="not trusted: IP address mismatch"):
            count(medplum, f"https://127.0.0.1:{other}/", HttpSettings(verify=str(elsewhere[0])))
        settings = settings_from_environment({"MEDFERRY_MEDPLUM_CA": str(own_certificate[0])})
        assert count(medplum, f"https://127.0.0.1:{known}/", settings.medplum_http) == 0


def test_what_speaks_no_tls_is_named(medplum: EmbeddedMedplum) -> None:
    with pytest.raises(CertificateRefused, match="No TLS connection to Medplum can be made"):
        count(medplum, f"https://127.0.0.1:{medplum.port}/", HttpSettings())


def test_a_certificate_of_ours_is_shown_where_one_is_wanted(
    medplum: EmbeddedMedplum, own_certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    ours = certificate_in(tmp_path, "DNS:medferry")
    with tls_before(medplum.port, *own_certificate, clients=ours[0]) as port:
        url, trusting = f"https://127.0.0.1:{port}/", {"MEDFERRY_MEDPLUM_CA": str(own_certificate[0])}
        with pytest.raises(CertificateRefused, match="or the lack of one"):
            count(medplum, url, settings_from_environment(trusting).medplum_http)
        shown = {"MEDFERRY_MEDPLUM_CERTIFICATE": str(ours[0]), "MEDFERRY_MEDPLUM_CERTIFICATE_KEY": str(ours[1])}
        assert count(medplum, url, settings_from_environment(trusting | shown).medplum_http) == 0
    with pytest.raises(SettingsError, match="MEDFERRY_MEDPLUM_CERTIFICATE is not set"):
        settings_from_environment({"MEDFERRY_MEDPLUM_CERTIFICATE_KEY": "key.pem"})
