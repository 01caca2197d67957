"""Says Hello to addresses, so often to each, on a connection of its own each time. Prints a line for each try: the address's
place among them, and the microseconds from the first packet to the HelloReply, or what went wrong.

`beginning.py SETTING`: a JSON file with the keys targets (list of "host:port"), tries, ca (path), and tokens ("1" to hex).
`cargo xtask bench beginnings` runs it.
"""

import asyncio
import json
import pathlib
import sys
import time

from phone import phone

TRY_S = 12.0


async def hello(setting: dict) -> float:
    """Seconds from the first packet to the HelloReply."""
    began = time.monotonic()
    async with phone(setting) as protocol:
        await protocol.hello(bytes.fromhex(setting["tokens"]["1"]))
        return time.monotonic() - began


async def main() -> None:
    setting = json.loads(pathlib.Path(sys.argv[1]).read_text())
    for place, target in enumerate(setting["targets"]):
        for _ in range(setting["tries"]):
            try:
                took = await asyncio.wait_for(hello({**setting, "gateway": target}), TRY_S)
                print(f"{place} {took * 1e6:.0f}", flush=True)
            except Exception as error:  # noqa: BLE001: every failure is told, and the next try made
                print(f"{place} failed: {type(error).__name__}: {error}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
