/** CRC32 of RFC 1952, and Adler-32 of RFC 1950. */

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

/** CRC32 of some bytes, continued from that of the bytes before. */
export function crc32(bytes, before = 0) {
  let crc = ~before;
  for (let i = 0; i < bytes.length; i++) crc = TABLE[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** Adler-32 of some bytes. */
export function adler32(bytes) {
  let low = 1;
  let high = 0;
  for (let begin = 0; begin < bytes.length; begin += 3800) {
    const end = Math.min(begin + 3800, bytes.length); // so many sums stay below 2^32
    for (let i = begin; i < end; i++) high += low += bytes[i];
    low %= 65521;
    high %= 65521;
  }
  return ((high << 16) | low) >>> 0;
}
