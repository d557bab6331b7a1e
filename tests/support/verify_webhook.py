"""Verifies a webhook with the specification's own library. Reads {"secret", "headers", "body"} as JSON."""
import json
import sys

try:
    from standardwebhooks import Webhook
except ImportError:
    sys.exit("this test needs standardwebhooks; run: pip install standardwebhooks")

given = json.load(sys.stdin)
Webhook(given["secret"]).verify(given["body"].encode(), given["headers"])
