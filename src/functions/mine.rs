//! `mine` searches a range of nonces for one that makes a Bitcoin block header meet its target.
//!
//! Input, an object:
//! - `header`: the first 76 bytes of the 80-byte header, in header byte order, as 152 hexadecimal digits;
//! - `start`: the first nonce to try, an integer from 0 to 2^32 - 1;
//! - `count`: how many nonces to try; `start` + `count` is at most 2^32;
//! - either `bits`: the target in compact form, as the 8 digits that block explorers show ("1d00ffff");
//! - or `target`: the target itself, as 64 digits, most significant first.
//!
//! Output, an object: `hashes`, how many nonces were tried, and `found`, the first nonce whose hash is at
//! most the target, with that hash as block explorers show it (byte-reversed), or null.
//!
//! Errors: `BadInput` for anything else, and for compact targets that are negative, zero or over 2^256.
//!
//! Sources: Bitcoin developer reference, "Block Headers" and "Target nBits"; FIPS 180-4. The hash is SHA-256
//! twice. The first of the header's two 64-byte blocks does not hold the nonce, so the state after it (the
//! midstate) is computed once, which leaves two compressions for each nonce.

use std::slice;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::block_api::compress256;

use super::{Function, FunctionError, bad_input, clip, hex, write};

pub(super) const FUNCTION: Function = Function {
    name: "mine",
    description: "Searches a range of nonces for one that makes a Bitcoin block header meet its target.",
    input: concat!(
        r#"{"header": 152 hex digits, "start": integer, "count": integer, "#,
        r#""bits": 8 hex digits or "target": 64 hex digits}"#,
    ),
    output: r#"{"hashes": integer, "found": {"nonce": integer, "hash": 64 hex digits} or null}"#,
    example: (
        concat!(
            r#"{"header":"0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd"#,
            r#"7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a29ab5f49ffff001d","#,
            r#""start":2083236890,"count":10,"bits":"1d00ffff"}"#,
        ),
        concat!(
            r#"{"hashes":4,"found":{"nonce":2083236893,"#,
            r#""hash":"000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"}}"#,
        ),
    ),
    run,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    header: String,
    start: u32,
    count: u64,
    bits: Option<String>,
    target: Option<String>,
}

#[derive(Serialize)]
struct Output {
    hashes: u64,
    found: Option<Found>,
}

#[derive(Serialize)]
struct Found {
    nonce: u32,
    hash: String,
}

/// A 256-bit number, most significant byte first, so that the order of arrays is the order of numbers.
type Number = [u8; 32];

fn run(input: &RawValue, out: &mut Vec<u8>) -> Result<(), FunctionError> {
    let input: Input = FUNCTION.parse_object(input)?;
    let header = digits("header", &input.header)?;
    let target = target(&input)?;
    let nonces = nonces(input.start, input.count)?;
    write(&search(&Header::new(&header), nonces, &target), out);
    Ok(())
}

fn digits<const N: usize>(field: &str, text: &str) -> Result<[u8; N], FunctionError> {
    hex::decode(text).ok_or_else(|| {
        bad_input(format!(r#"mine wants {} hex digits as "{field}", not {:?}"#, 2 * N, clip(text, 80)))
    })
}

fn target(input: &Input) -> Result<Number, FunctionError> {
    match (&input.bits, &input.target) {
        (Some(bits), None) => expand(digits("bits", bits)?).map_err(|fault| {
            bad_input(format!(r#"mine wants a usable target as "bits": {bits} is {fault}"#))
        }),
        (None, Some(target)) => digits("target", target),
        (Some(_), Some(_)) => Err(bad_input(r#"mine wants one of "bits" and "target", not both"#)),
        (None, None) => Err(bad_input(r#"mine wants one of "bits" and "target", not neither"#)),
    }
}

/// The target that a compact form stands for: a sign bit and 23 bits of mantissa, times 256^(exponent - 3).
fn expand([exponent, mantissa @ ..]: [u8; 4]) -> Result<Number, &'static str> {
    if mantissa[0] & 0x80 != 0 {
        return Err("negative");
    }
    let mut target = [0; 32];
    for (digit, place) in mantissa.into_iter().zip((0..usize::from(exponent)).rev()) {
        match target.iter_mut().rev().nth(place) {
            Some(byte) => *byte = digit,
            None if digit == 0 => {}
            None => return Err("over 2^256"),
        }
    }
    if target == [0; 32] { Err("zero") } else { Ok(target) }
}

fn nonces(start: u32, count: u64) -> Result<impl Iterator<Item = u32>, FunctionError> {
    let most = (1 << 32) - u64::from(start);
    if count > most {
        return Err(bad_input(format!(
            r#"mine wants a "count" of at most {most} from {start} on, not {count}"#
        )));
    }
    Ok((u64::from(start)..u64::from(start) + count).map(|nonce| nonce as u32))
}

fn search(header: &Header, nonces: impl Iterator<Item = u32>, target: &Number) -> Output {
    let mut hashes = 0;
    for nonce in nonces {
        hashes += 1;
        let hash = header.hash(nonce);
        if hash <= *target {
            let mut shown = Vec::new();
            hex::push(&hash, &mut shown);
            return Output {
                hashes,
                found: Some(Found { nonce, hash: String::from_utf8_lossy(&shown).into() }),
            };
        }
    }
    Output { hashes, found: None }
}

/// A block header that lacks its nonce.
struct Header {
    /// The state of SHA-256 after the first 64 bytes.
    midstate: [u32; 8],
    /// The other 12 bytes, room for the nonce, and padding.
    last: [u8; 64],
}

impl Header {
    fn new(header: &[u8; 76]) -> Self {
        let mut first = [0; 64];
        first.copy_from_slice(&header[..64]);
        let mut midstate = INITIAL;
        compress256(&mut midstate, &[first]);
        let mut last = padded::<16>(80);
        last[..12].copy_from_slice(&header[64..]);
        Self { midstate, last }
    }

    /// The hash as a number, which takes its digest as little-endian.
    fn hash(&self, nonce: u32) -> Number {
        let mut block = self.last;
        block[12..16].copy_from_slice(&nonce.to_le_bytes());
        let inner = compressed(self.midstate, &block);
        let mut block = const { padded::<32>(32) };
        block[..32].copy_from_slice(&inner);
        let mut hash = compressed(INITIAL, &block);
        hash.reverse();
        hash
    }
}

/// The initial hash value of SHA-256 (FIPS 180-4, 5.3.3).
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The last block of a message of so many bytes, with room for its last `ROOM` bytes (FIPS 180-4, 5.1.1).
const fn padded<const ROOM: usize>(message_bytes: u16) -> [u8; 64] {
    let mut block = [0; 64];
    block[ROOM] = 0x80;
    [block[62], block[63]] = (8 * message_bytes).to_be_bytes();
    block
}

fn compressed(mut state: [u32; 8], block: &[u8; 64]) -> [u8; 32] {
    compress256(&mut state, slice::from_ref(block));
    let mut digest = [0; 32];
    for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::super::{call, refusal};
    use super::*;

    const GENESIS: &str = concat!(
        "01000000",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "3ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a",
        "29ab5f49ffff001d",
    );
    const GENESIS_HASH: &str = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f";

    fn genesis(start: u32, count: u64, rest: &str) -> String {
        format!(r#"{{"header":"{GENESIS}","start":{start},"count":{count}{rest}}}"#)
    }

    #[test]
    fn finds_the_genesis_block() {
        let target = format!(r#","target":"00000000ffff{}""#, "0".repeat(52));
        for rest in [r#","bits":"1d00ffff""#, &target] {
            let output = call("mine", &genesis(2_083_236_893 - 5000, 10_000, rest)).unwrap();
            let found = format!(r#"{{"nonce":2083236893,"hash":"{GENESIS_HASH}"}}"#);
            assert_eq!(output, format!(r#"{{"hashes":5001,"found":{found}}}"#));
        }
    }

    #[test]
    fn gives_null_when_the_range_misses() {
        for (start, count) in [(2_083_236_893 - 5000, 5000), (2_083_236_894, 10), (u32::MAX, 1), (7, 0)] {
            let output = call("mine", &genesis(start, count, r#","bits":"1d00ffff""#)).unwrap();
            assert_eq!(output, format!(r#"{{"hashes":{count},"found":null}}"#));
        }
    }

    #[test]
    fn meets_a_target_that_the_hash_equals() {
        let mine = |target: &str| {
            call("mine", &genesis(2_083_236_893, 1, &format!(r#","target":"{target}""#))).unwrap()
        };
        assert!(mine(GENESIS_HASH).contains("2083236893"));
        assert!(mine(&GENESIS_HASH.replace("e26f", "e26e")).contains("null"));
    }

    #[test]
    fn the_midstate_changes_no_hash() {
        for seed in 0..200_u32 {
            let random = |part: u32| Sha256::digest([seed, part].map(u32::to_be_bytes).concat());
            let bytes = [random(0), random(1), random(2)].concat();
            let nonce = seed.wrapping_mul(0x9e37_79b9);
            let header: [u8; 76] = bytes[..76].try_into().unwrap();
            let plain = Sha256::digest(Sha256::digest([&header[..], &nonce.to_le_bytes()].concat()));
            let mut hash = Header::new(&header).hash(nonce);
            hash.reverse();
            assert_eq!(hash, *plain);
        }
    }

    /// The cases of the developer reference and of Bitcoin Core's `arith_uint256` tests.
    #[test]
    fn expands_compact_targets() {
        let last =
            |bits: u32| expand(bits.to_be_bytes()).map(|n| u64::from_be_bytes(*n.last_chunk().unwrap()));
        assert_eq!(last(0x0112_3456), Ok(0x12));
        assert_eq!(last(0x0212_3456), Ok(0x1234));
        assert_eq!(last(0x0312_3456), Ok(0x12_3456));
        assert_eq!(last(0x0412_3456), Ok(0x1234_5600));
        assert_eq!(last(0x0500_9234), Ok(0x9234_0000));
        assert_eq!(expand([0x20, 0x12, 0x34, 0x56]).unwrap()[..4], [0x12, 0x34, 0x56, 0]);
        assert_eq!(expand([0x22, 0, 0, 0xff]).unwrap()[..2], [0xff, 0]);
        for (bits, fault) in [
            (0, "zero"),
            (0x0012_3456, "zero"),
            (0x0100_3456, "zero"),
            (0xff00_0000, "zero"),
            (0x0492_3456, "negative"),
            (0x01fe_dcba, "negative"),
            (0xff12_3456, "over 2^256"),
            (0x2300_0001, "over 2^256"),
            (0x2200_0100, "over 2^256"),
            (0x2101_0000, "over 2^256"),
        ] {
            assert_eq!(last(bits), Err(fault), "{bits:08x}");
        }
    }

    #[test]
    fn refuses_bad_input() {
        let bits = r#","bits":"1d00ffff""#;
        let both = format!(r#"{bits},"target":"{}""#, "0".repeat(64));
        for (input, reason) in [
            (genesis(0, 1, ""), "not neither"),
            (genesis(0, 1, &both), "not both"),
            (genesis(1, 1 << 32, bits), "at most 4294967295 from 1 on"),
            (genesis(1, u64::MAX, bits), "at most 4294967295 from 1 on"),
            (genesis(0, 1, r#","bits":"1d00fff""#), r#"8 hex digits as "bits", not "1d00fff""#),
            (genesis(0, 1, r#","target":"00""#), r#"64 hex digits as "target""#),
            (genesis(0, 1, r#","bits":"1d80ffff""#), "1d80ffff is negative"),
            (genesis(0, 1, bits).replace("0100", "01"), r#"152 hex digits as "header""#),
            ("5".to_owned(), "not 5"),
            ("{}".to_owned(), "missing field `header`"),
        ] {
            let message = refusal("mine", &input);
            assert!(message.starts_with("mine wants ") && message.contains(reason), "{message}");
        }
    }
}
