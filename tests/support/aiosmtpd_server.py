"""aiosmtpd on loopback. Prints its port, then every mail as one line of JSON, read by Python's own mail parser.

usage: aiosmtpd_server.py plain|starttls|tls CERT KEY [USER PASSWORD [MECHANISM...]]
"""
import asyncio
import email
import email.policy
import json
import ssl
import sys

try:
    from aiosmtpd.smtp import SMTP, AuthResult
except ImportError:
    sys.exit("this test needs aiosmtpd; run: pip install aiosmtpd")


class Handler:
    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        print(json.dumps({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "upgraded": session.ssl is not None,
            "auth": session.auth_data,
            "headers": {name: str(value) for name, value in mail.items()},
            "defects": [str(it) for part in mail.walk() for it in part.defects],
            "types": [part.get_content_type() for part in mail.walk()],
            "text": mail.get_body(("plain",)).get_content(),
            "html": mail.get_body(("html",)).get_content(),
        }), flush=True)
        return "250 taken"


async def main(mode, cert, key, login, mechanisms):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    def authenticate(server, session, envelope, mechanism, data):
        right = [data.login.decode(), data.password.decode()] == login
        return AuthResult(success=right, handled=False, auth_data=mechanism)

    def connection():
        auth = dict(authenticator=authenticate, auth_required=True, auth_require_tls=mode == "starttls") if login else {}
        auth |= dict(auth_exclude_mechanism=[it for it in ["PLAIN", "LOGIN"] if it not in mechanisms]) if mechanisms else {}
        upgrade = dict(tls_context=context, require_starttls=True) if mode == "starttls" else {}
        return SMTP(Handler(), hostname="localhost", **auth, **upgrade)

    loop = asyncio.get_running_loop()
    server = await loop.create_server(connection, "127.0.0.1", 0, ssl=context if mode == "tls" else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:6], sys.argv[6:]))
