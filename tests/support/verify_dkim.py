"""Verifies a mail with dkimpy. On stdin one line of JSON: the mail, and the DNS as a table of TXT records.

Says "verified" and the domain; anything else is an exception, or a signature that does not hold.
"""
import json
import sys

try:
    import dkim
    import nacl  # noqa: F401, Ed25519 needs it
except ImportError:
    sys.exit("this test needs dkimpy; run: pip install dkimpy pynacl")

given = json.load(sys.stdin)


def dns(name, timeout=5):
    return given["dns"].get(name.decode().rstrip("."), "").encode()


mail = dkim.DKIM(given["mail"].encode("latin-1"))
print("verified" if mail.verify(dnsfunc=dns) else "not verified", mail.domain.decode() if mail.domain else "")
