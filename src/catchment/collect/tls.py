"""HTTPS by certificate and key files, which may be renewed while the collector runs."""

from __future__ import annotations

import ssl
from pathlib import Path

from catchment.errors import UsageError
from catchment.log import get_log

_log = get_log("collect")


class Certificate:
    """A certificate and its key as files; `context` is for the listening socket."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises `UsageError` where the files cannot be read or do not belong together."""
        self._files = certificate, key
        self._modified = self._times()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            self.context.load_cert_chain(*self._files)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(
                f"[collect] tls_certificate: {certificate} with {key}: {error.strerror or error}",
                "PEM files of a certificate, its chain behind it, and its key",
            ) from None

    def refresh(self) -> None:
        """Read the files again if they have changed. New connections get what is new; a mistake is said, and the
        old certificate stays."""
        now = self._times()
        if now == self._modified:
            return
        self._modified = now
        try:
            self.context.load_cert_chain(*self._files)
        except (OSError, ssl.SSLError) as error:
            _log.error("the new certificate cannot be used; the old one stays", exc=error)
        else:
            _log.info("the certificate was renewed")

    def _times(self) -> list[float]:
        return [path.stat().st_mtime if path.exists() else 0.0 for path in self._files]
