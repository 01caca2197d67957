"""The whole contract, spoken by an independent client. One function a check; `main` runs them in this order.

`contract.py SETTING`: a JSON file with the keys gateway ("host:port"), ca (path), tokens (user number to hex), expired_token
(hex), hello_timeout_s, and balances (path, written at the end: user number to what the wallet says).
"""

import asyncio
import json
import pathlib
import sys
import time

import shake_pb2 as wire
from aioquic.tls import CipherSuite
from phone import PATIENCE_S, Refused, frame, phone, user

REQUEST_BYTES_MAX = 4_096


async def refused(answer, code: int) -> None:
    """The stream must be reset with this code."""
    try:
        reply = await answer
    except Refused as error:
        assert error.code == code, f"{error}, not {wire.ErrorCode.Name(code)}"
    else:
        raise AssertionError(f"{reply}, not {wire.ErrorCode.Name(code)}")


def token(setting: dict, number: int) -> bytes:
    return bytes.fromhex(setting["tokens"][str(number)])


async def opened_packet(protocol):
    packet = await protocol.win()
    reply = await protocol.patiently(claim=wire.Claim(ticket=packet.ticket, cookie=packet.cookie))
    assert reply.WhichOneof("result") == "opened", reply
    return packet, reply.opened


async def balance(protocol) -> int:
    return (await protocol.patiently(wallet=wire.Wallet())).state.balance_cents


async def nothing_before_hello(setting: dict) -> None:
    async with phone(setting) as protocol:
        await refused(protocol.shake(1), wire.ERROR_CODE_BEFORE_HELLO)
        await refused(protocol.request(wallet=wire.Wallet()), wire.ERROR_CODE_BEFORE_HELLO)


async def tokens_are_checked(setting: dict) -> None:
    good = token(setting, 1)
    async with phone(setting) as protocol:
        # The second byte names a key: one that the gateway has not is taken for a retired one.
        for at, code in ((0, wire.ERROR_CODE_TOKEN_FORGED), (1, wire.ERROR_CODE_TOKEN_EXPIRED)) + tuple(
            (at, wire.ERROR_CODE_TOKEN_FORGED) for at in (5, 15, 35)
        ):
            forged = bytearray(good)
            forged[at] ^= 1
            await refused(protocol.hello(bytes(forged)), code)
        await refused(protocol.hello(b""), wire.ERROR_CODE_TOKEN_FORGED)
        await refused(protocol.hello(bytes.fromhex(setting["expired_token"])), wire.ERROR_CODE_TOKEN_EXPIRED)
        await protocol.hello(good)
        await protocol.hello(good)
        await refused(protocol.hello(token(setting, 2)), wire.ERROR_CODE_USER_CHANGED)


async def hello_tells_time_and_phase(setting: dict) -> None:
    async with phone(setting) as protocol:
        reply = await protocol.hello(token(setting, 1))
        assert abs(reply.server_time_ms - time.time() * 1000) < 60_000, reply
        assert reply.pace_ms > 0 and reply.config_version > 0, reply
        assert reply.HasField("current_phase") and reply.current_phase.name == "all win", reply
        assert reply.current_phase.starts_in_ms == 0 and reply.current_phase.ends_in_ms > 0, reply


async def bad_input_has_names(setting: dict) -> None:
    async with user(setting, 1) as protocol:
        shake = frame(wire.Request(shake=wire.Shake(sequence=300)))
        long_ticket = frame(wire.Request(claim=wire.Claim(ticket=bytes(75))))
        oversized = frame(wire.Request(claim=wire.Claim(ticket=bytes(REQUEST_BYTES_MAX))))
        no_key = frame(wire.Request(send=wire.Send(total_cents=100, shares=2)))
        field_of_the_future = bytes([4, 0xA2, 0x06, 0x01, 0x00])
        cases = [
            (b"", wire.ERROR_CODE_MALFORMED),
            (shake[:-1], wire.ERROR_CODE_MALFORMED),
            (shake + b"x", wire.ERROR_CODE_MALFORMED),
            (bytes([3, 0xFF, 0xFF, 0xFF]), wire.ERROR_CODE_MALFORMED),
            (long_ticket, wire.ERROR_CODE_MALFORMED),
            (no_key, wire.ERROR_CODE_MALFORMED),
            (bytes([0]), wire.ERROR_CODE_UNKNOWN),
            (field_of_the_future, wire.ERROR_CODE_UNKNOWN),
            (oversized, wire.ERROR_CODE_OVERSIZED),
            (bytes([0xFF] * 5_000), wire.ERROR_CODE_OVERSIZED),
        ]
        for data, code in cases:
            await refused(protocol.exchange(data), code)
        # Datagrams that are no shakes are dropped without an answer, and the connection lives on.
        for data in (bytes([0xFF] * 10), bytes([8] * 200)):
            protocol._quic.send_datagram_frame(data)
        reply = await protocol.shake_by_datagram(77)
        assert reply.sequence == 77, reply


async def shakes_by_datagram_and_stream(setting: dict) -> None:
    async with user(setting, 9) as protocol:
        # The contract says from 1; 0, whose message is empty, is answered all the same.
        for sequence in (0, 1, 300, 2**32 - 1):
            assert (await protocol.shake_by_datagram(sequence)).sequence == sequence
            reply = await protocol.shake(sequence)
            assert reply.sequence == sequence and reply.outcome != wire.OUTCOME_UNSPECIFIED, reply
            assert reply.pace_ms > 0 and reply.config_version > 0, reply
        # A request that comes in pieces is a request.
        data = frame(wire.Request(shake=wire.Shake(sequence=70_000)))
        assert (await protocol.exchange(data, pieces=4)).shake.sequence == 70_000


async def without_datagrams_streams_do(setting: dict) -> None:
    async with user(setting, 9, datagrams=False) as protocol:
        for sequence in range(20):
            assert (await protocol.shake(sequence)).sequence == sequence


async def win_claim_repeat_split(setting: dict) -> None:
    async with user(setting, 1) as winner:
        packet, opened = await opened_packet(winner)
        assert len(packet.ticket) == 74 and 0 < len(packet.cookie) <= 122, packet
        assert packet.sponsor_id == opened.sponsor_id == 1 and not opened.repeat, opened
        again = await winner.patiently(claim=wire.Claim(ticket=packet.ticket))
        assert again.opened.repeat and again.opened.cents == opened.cents, again
        assert again.opened.packet_id == opened.packet_id and again.opened.code == opened.code, again
        assert await balance(winner) == opened.cents

        # Another user's ticket, and one with a changed byte.
        async with user(setting, 2) as thief:
            reply = await thief.request(claim=wire.Claim(ticket=packet.ticket))
            assert reply.refused.reason == wire.REASON_TICKET_FOREIGN, reply
            changed = packet.ticket[:40] + bytes([packet.ticket[40] ^ 1]) + packet.ticket[41:]
            reply = await thief.request(claim=wire.Claim(ticket=changed))
            assert reply.refused.reason == wire.REASON_TICKET_FORGED, reply
            assert await balance(thief) == 0

        shares = [opened.cents]
        for number in (2, 3, 4):
            async with user(setting, number) as friend:
                first = await friend.patiently(grab=wire.Grab(code=opened.code))
                again = await friend.patiently(grab=wire.Grab(code=opened.code))
                assert first.grabbed.cents > 0 and not first.grabbed.repeat, first
                assert again.grabbed.repeat and again.grabbed.cents == first.grabbed.cents, again
                assert await balance(friend) == first.grabbed.cents
                shares.append(first.grabbed.cents)
        async with user(setting, 5) as late:
            reply = await late.patiently(grab=wire.Grab(code=opened.code))
            assert reply.WhichOneof("result") == "empty", reply
            reply = await late.request(grab=wire.Grab(code=b"a guess"))
            assert reply.refused.reason == wire.REASON_PACKET_UNKNOWN, reply

        state = (await winner.patiently(packet_view=wire.PacketView(code=opened.code))).state
        assert [share.cents for share in state.taken] == shares, state
        assert [share.user_id for share in state.taken] == [1, 2, 3, 4], state
        assert (state.shares, state.shares_left, state.cents_left) == (4, 0, 0), state
        assert state.total_cents == sum(shares), state
        assert [share.cents for share in state.taken if share.best] == [max(shares)], state


async def send_notice_grab_wallet(setting: dict) -> None:
    async with user(setting, 6) as sender, user(setting, 7) as friend:
        while await balance(sender) < 40:
            await opened_packet(sender)
        before = await balance(sender)
        send = wire.Send(idempotency_key=b"0123456789abcdef", total_cents=40, shares=2, recipients=[7, 8])
        sent = (await sender.patiently(send=send)).sent
        again = (await sender.patiently(send=send)).sent
        assert not sent.repeat and again.repeat and again.code == sent.code, (sent, again)
        assert await balance(sender) == before - 40

        offer = await friend.offered()
        assert (offer.code, offer.from_user_id) == (sent.code, 6), offer
        share = (await friend.patiently(grab=wire.Grab(code=offer.code))).grabbed
        async with user(setting, 8) as absent:
            # Who was away is told at the Hello.
            offer = await absent.offered()
            rest = (await absent.patiently(grab=wire.Grab(code=offer.code))).grabbed
        assert share.cents + rest.cents == 40, (share, rest)
        async with user(setting, 9) as stranger:
            reply = await stranger.patiently(grab=wire.Grab(code=sent.code))
            assert reply.refused.reason == wire.REASON_NOT_ENTITLED, reply

        wallet = (await sender.patiently(wallet=wire.Wallet())).state
        assert wallet.transfers[0].cents == -40 and wallet.transfers[0].packet_id == sent.packet_id, wallet
        assert sum(transfer.cents for transfer in wallet.transfers) == wallet.balance_cents, wallet
        too_much = wire.Send(idempotency_key=b"fedcba9876543210", total_cents=10**9, shares=2)
        reply = await sender.patiently(send=too_much)
        assert reply.refused.reason == wire.REASON_BALANCE, reply
        senseless = wire.Send(idempotency_key=b"fedcba9876543210", total_cents=1, shares=2)
        reply = await sender.request(send=senseless)
        assert reply.refused.reason == wire.REASON_AMOUNT, reply


async def many_streams_at_once(setting: dict) -> None:
    async with user(setting, 10) as protocol:
        replies = await asyncio.gather(*(protocol.shake(sequence) for sequence in range(100)))
        assert [reply.sequence for reply in replies] == list(range(100))


async def keys_and_connection_ids_change(setting: dict) -> None:
    async with user(setting, 10) as protocol:
        for sequence in range(5):
            protocol._quic.request_key_update()
            assert (await protocol.shake_by_datagram(sequence)).sequence == sequence
            protocol.change_connection_id()
            assert (await protocol.shake_by_datagram(sequence)).sequence == sequence


async def a_silent_connection_is_closed_by_name(setting: dict) -> None:
    async with phone(setting) as protocol:
        code = await asyncio.wait_for(protocol.closed, setting["hello_timeout_s"] + PATIENCE_S)
        assert code == wire.ERROR_CODE_HELLO_TIMEOUT, hex(code)


async def other_cipher_suites_are_refused(setting: dict) -> None:
    for suite in (CipherSuite.AES_256_GCM_SHA384, CipherSuite.CHACHA20_POLY1305_SHA256):
        try:
            async with phone(setting, suites=[suite]) as protocol:
                await protocol.ping()
        except ConnectionError:
            continue
        raise AssertionError(f"a connection with {suite} was accepted")
    async with phone(setting, suites=[CipherSuite.AES_128_GCM_SHA256]) as protocol:
        await protocol.hello(token(setting, 1))


async def another_protocol_is_refused(setting: dict) -> None:
    try:
        async with phone(setting, alpn="h3") as protocol:
            await protocol.ping()
    except ConnectionError:
        return
    raise AssertionError("a connection with ALPN h3 was accepted")


CHECKS = [
    nothing_before_hello,
    tokens_are_checked,
    hello_tells_time_and_phase,
    bad_input_has_names,
    shakes_by_datagram_and_stream,
    without_datagrams_streams_do,
    win_claim_repeat_split,
    send_notice_grab_wallet,
    many_streams_at_once,
    keys_and_connection_ids_change,
    a_silent_connection_is_closed_by_name,
    other_cipher_suites_are_refused,
    another_protocol_is_refused,
]


async def main() -> int:
    setting = json.loads(pathlib.Path(sys.argv[1]).read_text())
    failed = 0
    for check in CHECKS:
        try:
            await asyncio.wait_for(check(setting), 60)
            print(f"ok      {check.__name__}", flush=True)
        except Exception as error:  # noqa: BLE001: every failure is reported, and the next check runs
            failed += 1
            where = error.__traceback__
            while where.tb_next:
                where = where.tb_next
            place = f"{pathlib.Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}"
            print(f"FAILED  {check.__name__} at {place}: {type(error).__name__}: {error}", flush=True)
    balances = {}
    for number in setting["tokens"]:
        async with user(setting, int(number)) as protocol:
            balances[number] = await balance(protocol)
    pathlib.Path(setting["balances"]).write_text(json.dumps(balances))
    print(f"{len(CHECKS) - failed} of {len(CHECKS)} checks passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
