"""Why something on the network went wrong, in words."""

from __future__ import annotations

import os
import re
import ssl


def reason_of(error: OSError) -> str:
    """Return what went wrong, without the places in Python's own code that name it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS: {error.reason.replace('_', ' ').lower()}"
    if not isinstance(error, ssl.SSLError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    text = re.sub(r"^_ssl\.c:\d+: | \(_ssl\.c:\d+\)$", "", error.strerror or str(error))
    return text or type(error).__name__
