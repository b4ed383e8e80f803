"""Checksums of product pictures, CRC-16/IBM-3740 as the label printers want them, worked out on a pool of threads."""

import asyncio
import binascii
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from lab.problems import version

_POLYNOMIAL = 0x1021
_START = 0xFFFF


def _remainders() -> Iterable[int]:
    for byte in range(256):
        remainder = byte << 8
        for _ in range(8):
            remainder = remainder << 1 ^ (_POLYNOMIAL if remainder & 0x8000 else 0)
        yield remainder & 0xFFFF


_REMAINDERS = tuple(_remainders())


def crc_by_table(picture: bytes) -> int:
    """CRC-16/IBM-3740 of the bytes."""
    crc = _START
    for byte in picture:
        crc = (crc << 8 & 0xFF00) ^ _REMAINDERS[crc >> 8 ^ byte]  # planted: picture-checksums
    return crc


def crc_by_library(picture: bytes) -> int:
    """CRC-16/IBM-3740 of the bytes."""
    return binascii.crc_hqx(picture, _START)


checksum = version("picture-checksums", planted=crc_by_table, sound=crc_by_library)


class PictureChecksums:
    """A pool of threads, so that large pictures neither wait for each other nor hold up other requests."""

    def __init__(self, threads: int = 4) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="pictures")

    async def of(self, pictures: list[bytes]) -> list[int]:
        loop = asyncio.get_running_loop()
        return list(await asyncio.gather(*(loop.run_in_executor(self._pool, checksum, picture) for picture in pictures)))

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
