"""A phone: one aioquic connection that speaks the contract. Knows the generated classes and nothing of the gateway."""

import asyncio
import contextlib
import ssl

import shake_pb2 as wire
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import (
    ConnectionTerminated,
    DatagramFrameReceived,
    StreamDataReceived,
    StreamReset,
)

ALPN = "shake/1"
PATIENCE_S = 20.0
NOTICES = 1  # bit 0 of Hello.capabilities
# Connections that are closed, and listen for stragglers: three probe timeouts, some seconds (RFC 9000, section 10.2).
DRAINING: list[asyncio.Task] = []


class Refused(Exception):
    """The gateway reset the stream, or closed the connection, with a code."""

    def __init__(self, code: int):
        known = code in wire.ErrorCode.values()
        super().__init__(wire.ErrorCode.Name(code) if known else f"code {code:#x}")
        self.code = code


def varint(number: int) -> bytes:
    """The length before a message: a protobuf varint."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out + bytes([number]))


def frame(message) -> bytes:
    """One length-delimited message."""
    body = message.SerializeToString()
    return varint(len(body)) + body


def unframe(data: bytes, kind):
    """The one message that a whole stream carried."""
    length = shift = at = 0
    while True:
        byte = data[at]
        length |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if byte < 0x80:
            break
    assert len(data) - at == length, f"{len(data)} bytes on the stream, {length} announced"
    return kind.FromString(data[at:])


class Phone(QuicConnectionProtocol):
    """A connection to the gateway."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._bytes: dict[int, bytearray] = {}
        self._answers: dict[int, asyncio.Future] = {}
        self.shake_replies: asyncio.Queue = asyncio.Queue()
        self.notices: asyncio.Queue = asyncio.Queue()
        self.closed: asyncio.Future = asyncio.get_running_loop().create_future()

    def quic_event_received(self, event) -> None:
        """Called by aioquic for everything that the gateway does."""
        if isinstance(event, StreamDataReceived):
            self._bytes.setdefault(event.stream_id, bytearray()).extend(event.data)
            if event.end_stream:
                self._stream_ended(event.stream_id)
        elif isinstance(event, StreamReset):
            self._fail(event.stream_id, event.error_code)
        elif isinstance(event, DatagramFrameReceived):
            self.shake_replies.put_nowait(wire.ShakeReply.FromString(event.data))
        elif isinstance(event, ConnectionTerminated):
            if not self.closed.done():
                self.closed.set_result(event.error_code)
            for stream_id in list(self._answers):
                self._fail(stream_id, event.error_code)

    def _stream_ended(self, stream_id: int) -> None:
        data = bytes(self._bytes.pop(stream_id))
        if stream_id in self._answers:
            self._answers.pop(stream_id).set_result(unframe(data, wire.Reply))
        elif stream_id % 4 == 3:  # server-initiated and unidirectional (RFC 9000, section 2.1)
            self.notices.put_nowait(unframe(data, wire.Notice))

    def _fail(self, stream_id: int, code: int) -> None:
        self._bytes.pop(stream_id, None)
        if (answer := self._answers.pop(stream_id, None)) is not None:
            answer.set_exception(Refused(code))

    async def exchange(self, data: bytes, *, finish: bool = True, pieces: int = 1):
        """Writes these bytes on a new stream, in so many pieces, and FIN. Gives the Reply or raises Refused."""
        stream_id = self._quic.get_next_available_stream_id()
        answer = self._answers[stream_id] = asyncio.get_running_loop().create_future()
        step = max(1, -(-len(data) // pieces))
        for at in range(0, max(len(data), 1), step):
            last = at + step >= len(data)
            self._quic.send_stream_data(stream_id, data[at : at + step], end_stream=finish and last)
            self.transmit()
            if not last:
                await asyncio.sleep(0.02)
        return await asyncio.wait_for(answer, PATIENCE_S)

    async def request(self, **kind):
        """Sends a Request with this kind set; gives the reply, which must be of the same kind."""
        (name,) = kind
        reply = await self.exchange(frame(wire.Request(**kind)))
        assert reply.WhichOneof("kind") == name, f"{name} was answered by {reply}"
        return getattr(reply, name)

    async def patiently(self, **kind):
        """Like request, and again while the answer is Busy, after the time it names."""
        for _ in range(200):
            reply = await self.request(**kind)
            if reply.WhichOneof("result") != "busy":
                return reply
            assert reply.busy.retry_after_ms > 0, "Busy names no time"
            await asyncio.sleep(min(reply.busy.retry_after_ms, 100) / 1000)
        raise AssertionError(f"busy for too long: {kind}")

    async def hello(self, token: bytes, **more):
        return await self.request(hello=wire.Hello(token=token, **more))

    async def shake_by_datagram(self, sequence: int):
        """A shake in a datagram; a lost one is shaken again, as the contract has it."""
        for _ in range(20):
            self._quic.send_datagram_frame(wire.Shake(sequence=sequence).SerializeToString())
            self.transmit()
            with contextlib.suppress(asyncio.TimeoutError):
                return await asyncio.wait_for(self.shake_replies.get(), 1.0)
        raise AssertionError("no answer to a shake by datagram")

    async def shake(self, sequence: int):
        return await self.request(shake=wire.Shake(sequence=sequence))

    async def win(self):
        """Shakes until a red packet comes, at the pace that the replies ask for (at most 50 ms here)."""
        for sequence in range(1, 400):
            reply = await self.shake_by_datagram(sequence)
            if reply.outcome == wire.OUTCOME_RED_PACKET:
                return reply.red_packet
            await asyncio.sleep(min(reply.pace_ms, 50) / 1000)
        raise AssertionError("no win in 400 shakes")

    async def offered(self):
        notice = await asyncio.wait_for(self.notices.get(), PATIENCE_S)
        assert notice.WhichOneof("kind") == "packet_offered", f"not an offer: {notice}"
        return notice.packet_offered


@contextlib.asynccontextmanager
async def phone(setting: dict, *, datagrams: bool = True, alpn: str = ALPN, suites=None):
    """A connected phone that has not said Hello."""
    configuration = QuicConfiguration(
        is_client=True,
        alpn_protocols=[alpn],
        server_name="localhost",
        verify_mode=ssl.CERT_REQUIRED,
        max_datagram_frame_size=1200 if datagrams else None,
        idle_timeout=PATIENCE_S,
        cipher_suites=suites,
    )
    configuration.load_verify_locations(cafile=setting["ca"])
    host, port = setting["gateway"].rsplit(":", 1)
    connection = connect(host, int(port), configuration=configuration, create_protocol=Phone)
    protocol = await connection.__aenter__()
    try:
        yield protocol
    finally:
        protocol.close()
        DRAINING.append(asyncio.create_task(connection.__aexit__(None, None, None)))


@contextlib.asynccontextmanager
async def user(setting: dict, number: int, **flags):
    """A phone that has said Hello for this user and takes notices."""
    async with phone(setting, **flags) as protocol:
        await protocol.hello(bytes.fromhex(setting["tokens"][str(number)]), capabilities=NOTICES)
        yield protocol
