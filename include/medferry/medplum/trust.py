"""Why a TLS connection to Medplum failed, in words: of the certificates alone, nothing that was sent."""

from __future__ import annotations

import ssl

import httpx

from medferry.medplum.errors import CertificateRefused

_OUR_AUTHORITIES = (
    "Name the file of the authority that signed it: the extra verify of the connection, or MEDFERRY_MEDPLUM_CA; "
    "a wrong name or time is put right where the certificate or the address is from (docs/runbooks/tls.md)."
)
_OURS = "Give Medferry a certificate that it accepts: the extra cert, or MEDFERRY_MEDPLUM_CERTIFICATE and …_KEY."
_NO_TLS = "Check the port of the base URL, and what stands in between: it must speak TLS."

_ABOUT_OURS = ("CERTIFICATE_REQUIRED", "UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_EXPIRED", "HANDSHAKE_FAILURE")
"""Ends of OpenSSL's names for what a server says of a client's certificate."""


def certificate_refused(error: BaseException) -> CertificateRefused | None:
    """The error to raise in place of HTTP's, where TLS is what failed; None where it is not."""
    found = _tls_error(error)
    if found is None:
        return None
    if isinstance(found, ssl.SSLCertVerificationError):
        return CertificateRefused(
            f"Medplum's certificate is not trusted: {found.verify_message.rstrip('.')}.", _OUR_AUTHORITIES
        )
    reason = str(found.reason or "")
    if reason.endswith(_ABOUT_OURS):
        return CertificateRefused(f"Medplum refuses the certificate of Medferry, or the lack of one ({reason}).", _OURS)
    if isinstance(error, httpx.ConnectError):
        return CertificateRefused(f"No TLS connection to Medplum can be made ({reason or 'no reason'}).", _NO_TLS)
    return None


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, ssl.SSLError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None
