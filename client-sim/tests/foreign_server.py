"""A server of the contract on aioquic, for the test `foreign`: it greets, answers every shake, and makes use of what a
server may do. It installs aioquic into a virtual environment of its own; the interpreter needs nothing but `venv`.

It says `listening PORT` on stdout, and ends when its stdin does.
"""

import argparse
import fcntl
import os
import pathlib
import random
import subprocess
import sys

PACKAGE = "aioquic==1.7.2"
INSTALL_S = 240


def into_environment(folder: pathlib.Path) -> None:
    """Goes on in the environment, which is made first when it is not there."""
    python = folder / "bin" / "python"
    if pathlib.Path(sys.prefix).resolve() == folder.resolve():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ready = folder / "ready"
        if not ready.exists() or ready.read_text() != PACKAGE:
            for command in (
                [sys.executable, "-m", "venv", "--clear", str(folder)],
                [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE],
            ):
                done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S)
                if done.returncode != 0:
                    sys.exit(f"cannot install {PACKAGE} from PyPI: `{' '.join(command)}` said:\n{done.stdout}{done.stderr}")
            ready.write_text(PACKAGE)
    os.execv(python, [str(python), *sys.argv])


def varint(number: int) -> bytes:
    """A protobuf varint."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        number |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return number, at


def field(number: int, content: bytes) -> bytes:
    """A protobuf field of bytes or of a message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def shake_reply(shake: bytes) -> tuple[int, bytes]:
    """The shake's sequence (field 1), and a ShakeReply with it and a greeting (field 2, outcome 2)."""
    sequence = read_varint(shake, 1)[0] if shake else 0
    return sequence, shake + b"\x10\x02"


def serve(options: argparse.Namespace) -> None:
    import asyncio

    from aioquic.asyncio import QuicConnectionProtocol
    from aioquic.asyncio.server import QuicServer
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.events import DatagramFrameReceived, StreamDataReceived

    chance = random.Random(options.seed)

    class LossyServer(QuicServer):
        """Loses datagrams in both directions."""

        def connection_made(self, transport):
            send = transport.sendto
            transport.sendto = lambda data, address: None if chance.random() < options.loss else send(data, address)
            super().connection_made(transport)

        def datagram_received(self, data, address):
            if chance.random() >= options.loss:
                super().datagram_received(data, address)

    class Session(QuicConnectionProtocol):
        def __init__(self, *arguments, **named):
            super().__init__(*arguments, **named)
            self.requests = {}

        def quic_event_received(self, event):
            if isinstance(event, DatagramFrameReceived):
                sequence, reply = shake_reply(event.data)
                self.use_the_protocol(sequence)
                self._quic.send_datagram_frame(reply)
            elif isinstance(event, StreamDataReceived):
                request = self.requests.setdefault(event.stream_id, bytearray())
                request += event.data
                if event.end_stream:
                    self.on_request(event.stream_id, bytes(request))
            self.transmit()

        def on_request(self, stream, request):
            length, at = read_varint(request, 0)
            assert length == len(request) - at, request
            kind = request[at] >> 3
            _, at = read_varint(request, at + 1)
            if kind == 1:  # Hello
                reply = field(1, b"")
            else:  # Shake
                assert kind == 2, request
                reply = field(2, shake_reply(request[at:])[1])
            message = varint(len(reply)) + reply
            for part in range(len(message)):  # each byte in a frame of its own
                self._quic.send_stream_data(stream, message[part : part + 1], part == len(message) - 1)

        def use_the_protocol(self, sequence):
            if sequence == 1:
                self._quic.request_key_update()
            elif sequence == 2:
                self._quic.change_connection_id()
            elif sequence == 3:
                self._quic.send_ping(1)
            elif sequence == 4:  # an empty Notice
                self._quic.send_stream_data(self._quic.get_next_available_stream_id(is_unidirectional=True), b"\x00", True)

    async def run():
        configuration = QuicConfiguration(alpn_protocols=["shake/1"], is_client=False, max_datagram_frame_size=65536)
        configuration.load_cert_chain(options.certificate, options.key)
        loop = asyncio.get_running_loop()
        make = lambda: LossyServer(configuration=configuration, create_protocol=Session, retry=options.retry)
        transport, _ = await loop.create_datagram_endpoint(make, local_addr=("127.0.0.1", 0))
        print("listening", transport.get_extra_info("sockname")[1], flush=True)
        await loop.run_in_executor(None, sys.stdin.read)
        os._exit(0)  # sessions need no farewell

    asyncio.run(run())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environment", type=pathlib.Path, required=True, help="folder of the virtual environment")
    parser.add_argument("--certificate", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--retry", action="store_true", help="ask every client to prove its address")
    parser.add_argument("--loss", type=float, default=0.0, help="share of datagrams lost, each way")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    into_environment(options.environment)
    serve(options)


main()
