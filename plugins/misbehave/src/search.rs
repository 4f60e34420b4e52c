//! Searches the guest's own memory for a secret that it must not have.

/// In how many places the secret stands whose characters are given last first. It is never put
/// together here, so what is found came from outside.
pub fn places(reversed: &str) -> usize {
    if reversed.is_empty() {
        return 0;
    }
    let bytes: Vec<u8> = reversed.chars().rev().flat_map(char_bytes_reversed).collect();
    let end = memory_bytes().saturating_sub(bytes.len());
    (1..end).filter(|start| is_at(*start, &bytes)).count()
}

/// The bytes of one character as they are, but with all bits turned, so that the secret itself is
/// not written.
fn char_bytes_reversed(character: char) -> Vec<u8> {
    let mut buffer = [0; 4];
    character.encode_utf8(&mut buffer).bytes().map(|byte| !byte).collect()
}

fn is_at(start: usize, turned: &[u8]) -> bool {
    turned.iter().enumerate().all(|(offset, byte)| read(start + offset) == !byte)
}

/// How much memory there is.
#[cfg(target_arch = "wasm32")]
fn memory_bytes() -> usize {
    core::arch::wasm32::memory_size(0) * 65_536
}

#[cfg(target_arch = "wasm32")]
#[expect(unsafe_code, reason = "looking where it should not is what this guest is for")]
fn read(address: usize) -> u8 {
    // SAFETY: the address lies in linear memory, all of which may be read.
    unsafe { core::ptr::read_volatile(core::ptr::without_provenance(address)) }
}

/// Elsewhere there is no memory of one's own to look through.
#[cfg(not(target_arch = "wasm32"))]
fn memory_bytes() -> usize {
    0
}

#[cfg(not(target_arch = "wasm32"))]
fn read(_: usize) -> u8 {
    0
}
