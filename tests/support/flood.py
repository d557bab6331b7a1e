"""Opens many connections at once, and does with them what nobody should: flood.py ADDRESS COUNT PATH.

ADDRESS is the path of a socket, or HOST:PORT. It says how many connections were taken, and keeps them until stdin ends.
"""
import resource
import socket
import sys

address, count, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

BEHAVIOURS = [
    b"",  # Never says anything.
    b"GET " + path.encode() + b" HTTP/1.1\r\nhost: ",  # Never ends its head.
    b"GET /" + b"x" * 1_000_000,  # A path of a megabyte.
    b"GET / HTTP/1.1\r\nhost: x\r\nlong: " + b"x" * 1_000_000,  # A header of a megabyte.
    b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 100_000,  # A hundred thousand headers.
    b"GET " + path.encode() + b" HTTP/1.1\r\nhost: x\r\n\r\n",  # Never reads its answer.
    b"POST " + path.encode() + b" HTTP/1.1\r\nhost: x\r\ncontent-length: 9999999999\r\n\r\n" + b"x" * 65_536,
    b"\x16\x03\x01\x00\xff" + b"\x00" * 255,  # Another protocol.
]

kept = []
for number in range(count):
    family = socket.AF_UNIX if address.startswith("/") else socket.AF_INET
    stream = socket.socket(family, socket.SOCK_STREAM)
    stream.settimeout(0.2)
    try:
        if family == socket.AF_UNIX:
            stream.connect(address)
        else:
            host, port = address.rsplit(":", 1)
            stream.connect((host, int(port)))
        stream.setblocking(False)
        stream.send(BEHAVIOURS[number % len(BEHAVIOURS)])
    except OSError:
        pass  # It was turned away, or has to wait: that is how it should be.
    kept.append(stream)
print(len(kept), flush=True)
sys.stdin.read()
